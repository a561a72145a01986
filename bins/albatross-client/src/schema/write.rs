//! From the types of the protocol to keys and values.

mod reply;

use std::io;

use albatross_core::eventlog::Log;
use albatross_core::journal::Entries;
use albatross_proto::command::{ByDigest, History, RevocationCommand};
use albatross_proto::state::{Change, Record, RecordedUnikernel, State};
use albatross_proto::{
    Arguments, BlockCommand, Command, Config, ConsoleCommand, FailBehaviour, Header, Int, Name, Path,
    Payload, Policy, PolicyCommand, StatisticsCommand, Text, Typ, UnikernelCommand, WIRE_VERSION, Wire,
};

use super::{Fields, Slot};

/// Writes a message.
///
/// # Errors
/// As the output has them, here and below.
pub fn write_wire(slot: Slot<'_, '_>, wire: &Wire<'_>) -> io::Result<()> {
    slot.object(|fields| {
        write_header(fields.put("header")?, &wire.header)?;
        write_payload(fields.put("payload")?, &wire.payload)
    })
}

/// Writes the header of a message.
///
/// # Errors
/// As the output has them.
pub fn write_header(slot: Slot<'_, '_>, header: &Header) -> io::Result<()> {
    slot.object(|fields| {
        version(fields)?;
        fields.put("sequence")?.counter(header.sequence)?;
        name_fields(fields, &header.name)
    })
}

/// Writes what a message says.
///
/// # Errors
/// As the output has them.
pub fn write_payload(slot: Slot<'_, '_>, payload: &Payload<'_>) -> io::Result<()> {
    slot.object(|fields| match payload {
        Payload::Command(command) => {
            fields.put("kind")?.string("command")?;
            write_command(fields.put("command")?, command)
        }
        Payload::Success(success) => {
            fields.put("kind")?.string("success")?;
            reply::write_success(fields.put("success")?, success)
        }
        Payload::Failure(message) => {
            fields.put("kind")?.string("failure")?;
            text(fields.put("message")?, message)
        }
        Payload::Data(data) => {
            fields.put("kind")?.string("data")?;
            reply::write_data(fields.put("data")?, data)
        }
    })
}

/// Writes the value of the certificate extension.
///
/// # Errors
/// As the output has them.
pub fn write_extension(slot: Slot<'_, '_>, command: &Command<'_>) -> io::Result<()> {
    slot.object(|fields| {
        version(fields)?;
        write_command(fields.put("command")?, command)
    })
}

/// Writes what a state file holds.
///
/// # Errors
/// As the output has them.
pub fn write_state(slot: Slot<'_, '_>, state: &State<'_>) -> io::Result<()> {
    slot.object(|fields| {
        fields.put("unikernels")?.list(&state.unikernels, |slot, (name, config)| {
            slot.object(|fields| {
                fields.put("name")?.string(&name.to_string())?;
                fields.put("config")?.object(|fields| config_fields(fields, config))
            })
        })?;
        policies_by_path(fields, &state.policies)
    })
}

/// Writes our own record.
///
/// # Errors
/// As the output has them.
pub fn write_record(slot: Slot<'_, '_>, record: &Record) -> io::Result<()> {
    slot.object(|fields| record_field(fields, record))
}

fn record_field(fields: &mut Fields<'_, '_>, record: &Record) -> io::Result<()> {
    fields.put("record")?.object(|fields| {
        fields.put("unikernels")?.list(&record.unikernels, |slot, (name, unikernel)| {
            slot.object(|fields| recorded(fields, name, unikernel))
        })?;
        policies_by_path(fields, &record.policies)
    })
}

fn recorded(fields: &mut Fields<'_, '_>, name: &Name, unikernel: &RecordedUnikernel) -> io::Result<()> {
    fields.put("name")?.string(&name.to_string())?;
    fields.put("config")?.object(|fields| config_fields(fields, &unikernel.config))?;
    fields.put("digest_hex")?.hex(&unikernel.digest)
}

/// Writes the file that our own record is kept in.
///
/// # Errors
/// As the output has them.
pub fn write_journal(slot: Slot<'_, '_>, entries: &Entries) -> io::Result<()> {
    slot.object(|fields| {
        fields.put("salt_hex")?.hex(&entries.salt)?;
        record_field(fields, &entries.record)?;
        fields.put("changes")?.list(&entries.changes, |slot, change| {
            slot.object(|fields| match change {
                Change::Unikernel(name, unikernel) => {
                    fields.put("op")?.string("unikernel")?;
                    recorded(fields, name, unikernel)
                }
                Change::NoUnikernel(name) => {
                    fields.put("op")?.string("no-unikernel")?;
                    fields.put("name")?.string(&name.to_string())
                }
                Change::Policy(path, policy) => {
                    fields.put("op")?.string("policy")?;
                    fields.put("name")?.string(&path.to_name().to_string())?;
                    write_policy(fields.put("policy")?, policy)
                }
                Change::NoPolicy(path) => {
                    fields.put("op")?.string("no-policy")?;
                    fields.put("name")?.string(&path.to_name().to_string())
                }
            })
        })?;
        fields.put("torn_octets")?.number(entries.torn)
    })
}

/// Writes a file of the event log.
///
/// # Errors
/// As the output has them.
pub fn write_log(slot: Slot<'_, '_>, log: &Log) -> io::Result<()> {
    slot.object(|fields| {
        fields.put("previous_link_hex")?.hex(&log.previous)?;
        fields.put("log")?.list(&log.records, |slot, record| {
            slot.object(|fields| {
                fields.put("name")?.string(&record.name.to_string())?;
                reply::log_entry(fields, &record.entry)
            })
        })?;
        fields.put("link_hex")?.hex(&log.link)?;
        fields.put("torn_octets")?.number(log.torn)
    })
}

/// Writes a policy.
///
/// # Errors
/// As the output has them.
pub fn write_policy(slot: Slot<'_, '_>, policy: &Policy) -> io::Result<()> {
    slot.object(|fields| {
        fields.put("cpuids")?.ints(&policy.cpuids)?;
        fields.put("unikernels")?.int(policy.unikernels)?;
        fields.put("memory")?.int(policy.memory)?;
        fields.put("block")?.optional(policy.block, Slot::int)?;
        fields.put("bridges")?.texts(policy.bridges.iter().map(Text::as_bytes))
    })
}

/// Writes a command.
///
/// # Errors
/// As the output has them.
pub(crate) fn write_command(slot: Slot<'_, '_>, command: &Command<'_>) -> io::Result<()> {
    slot.object(|fields| {
        let class = match command {
            Command::Console(_) => "console",
            Command::Statistics(_) => "stats",
            Command::Unikernel(_) => "unikernel",
            Command::Policy(_) => "policy",
            Command::Block(_) => "block",
            Command::Log(_) => "log",
            Command::Revocation(_) => "revocation",
        };
        fields.put("class")?.string(class)?;
        match command {
            Command::Console(command) => console(fields, command),
            Command::Statistics(command) => statistics(fields, command),
            Command::Unikernel(command) => unikernel(fields, command),
            Command::Policy(command) => policy(fields, command),
            Command::Block(command) => block(fields, command),
            Command::Log(command) => {
                op(fields, "subscribe")?;
                history(fields, &command.0)
            }
            Command::Revocation(RevocationCommand::Install(list)) => {
                op(fields, "install")?;
                fields.put("crl_hex")?.hex(list)
            }
        }
    })
}

fn version(fields: &mut Fields<'_, '_>) -> io::Result<()> {
    fields.put("version")?.int(Int::new(WIRE_VERSION).unwrap_or(Int::MAX))
}

/// A name, and for programs its parts.
pub(crate) fn name_fields(fields: &mut Fields<'_, '_>, name: &Name) -> io::Result<()> {
    fields.put("name")?.string(&name.to_string())?;
    if fields.is_json() {
        fields.put("name_path")?.texts(name.path().labels().map(str::as_bytes))?;
        fields.put("name_label")?.optional(name.label(), |slot, label| slot.string(label.as_str()))?;
    }
    Ok(())
}

fn policies_by_path(fields: &mut Fields<'_, '_>, policies: &[(Path, Policy)]) -> io::Result<()> {
    fields.put("policies")?.list(policies, |slot, (path, policy)| {
        slot.object(|fields| {
            fields.put("name")?.string(&path.to_name().to_string())?;
            write_policy(fields.put("policy")?, policy)
        })
    })
}

fn op(fields: &mut Fields<'_, '_>, word: &str) -> io::Result<()> {
    fields.put("op")?.string(word)
}

fn text(slot: Slot<'_, '_>, text: &Text) -> io::Result<()> {
    slot.text(text.as_bytes())
}

fn console(fields: &mut Fields<'_, '_>, command: &ConsoleCommand) -> io::Result<()> {
    match command {
        ConsoleCommand::Add(consoles) => {
            op(fields, "add")?;
            fields.put("max_unikernels")?.int(*consoles)
        }
        ConsoleCommand::Subscribe(from) => {
            op(fields, "subscribe")?;
            history(fields, from)
        }
        ConsoleCommand::ListInactive => op(fields, "list-inactive"),
    }
}

fn history(fields: &mut Fields<'_, '_>, history: &History) -> io::Result<()> {
    match history {
        History::Since(time) => fields.put("since")?.time(*time),
        History::Count(count) => fields.put("count")?.int(*count),
    }
}

fn statistics(fields: &mut Fields<'_, '_>, command: &StatisticsCommand) -> io::Result<()> {
    match command {
        StatisticsCommand::Add { vmmdev, pid, network } => {
            op(fields, "add")?;
            text(fields.put("vmmdev")?, vmmdev)?;
            fields.put("pid")?.int(*pid)?;
            fields.put("network")?.list(network, |slot, (bridge, tap)| {
                slot.object(|fields| {
                    text(fields.put("bridge")?, bridge)?;
                    text(fields.put("tap")?, tap)
                })
            })
        }
        StatisticsCommand::Remove => op(fields, "remove"),
        StatisticsCommand::Subscribe => op(fields, "subscribe"),
        StatisticsCommand::Initial => op(fields, "initial"),
    }
}

fn unikernel(fields: &mut Fields<'_, '_>, command: &UnikernelCommand<'_>) -> io::Result<()> {
    let mut with_config = |word, config: &Config<'_>| {
        op(fields, word)?;
        fields.put("config")?.object(|fields| config_fields(fields, config))
    };
    match command {
        UnikernelCommand::Create(config) => with_config("create", config),
        UnikernelCommand::ForceCreate(config) => with_config("force-create", config),
        UnikernelCommand::CreateByDigest(it) => by_digest(fields, "create-by-digest", it),
        UnikernelCommand::ForceCreateByDigest(it) => by_digest(fields, "force-create-by-digest", it),
        UnikernelCommand::Get(level) => {
            op(fields, "get")?;
            fields.put("compress_level")?.int(*level)
        }
        UnikernelCommand::Restart(given) => {
            op(fields, "restart")?;
            fields.put("arguments")?.optional(given.as_ref(), |slot, given| {
                slot.object(|fields| {
                    fail_behaviour(fields, &given.fail_behaviour)?;
                    start(fields, given)?;
                    resources(fields, given)
                })
            })
        }
        UnikernelCommand::Info => op(fields, "info"),
        UnikernelCommand::InfoV5 => op(fields, "old-info5"),
        UnikernelCommand::InfoV4 => op(fields, "old-info4"),
        UnikernelCommand::Destroy => op(fields, "destroy"),
        UnikernelCommand::Status => op(fields, "status"),
    }
}

fn by_digest(fields: &mut Fields<'_, '_>, word: &str, it: &ByDigest) -> io::Result<()> {
    op(fields, word)?;
    fields.put("config")?.object(|fields| config_fields(fields, &it.config))?;
    fields.put("sha256_hex")?.hex(&it.sha256)?;
    fields.put("size")?.int(it.size)
}

fn policy(fields: &mut Fields<'_, '_>, command: &PolicyCommand) -> io::Result<()> {
    match command {
        PolicyCommand::Info => op(fields, "info"),
        PolicyCommand::Add(policy) => {
            op(fields, "add")?;
            write_policy(fields.put("policy")?, policy)
        }
        PolicyCommand::Remove => op(fields, "remove"),
    }
}

fn block(fields: &mut Fields<'_, '_>, command: &BlockCommand<'_>) -> io::Result<()> {
    let mut with_level = |word, level| {
        op(fields, word)?;
        fields.put("compress_level")?.int(level)
    };
    match command {
        BlockCommand::DumpOld(level) => with_level("old-dump", *level),
        BlockCommand::Dump(level) => with_level("dump", *level),
        BlockCommand::Info => op(fields, "info"),
        BlockCommand::Remove => op(fields, "remove"),
        BlockCommand::Add(size) => {
            op(fields, "add")?;
            fields.put("size")?.int(*size)
        }
        BlockCommand::AddOld { size, compressed, data } => {
            op(fields, "old-add")?;
            fields.put("size")?.int(*size)?;
            fields.put("compressed")?.boolean(*compressed)?;
            fields.put("data_hex")?.optional(data.as_deref(), Slot::hex)
        }
        BlockCommand::SetOld { compressed, data } => {
            op(fields, "old-set")?;
            fields.put("compressed")?.boolean(*compressed)?;
            fields.put("data_hex")?.hex(data)
        }
        BlockCommand::Set { compressed } => {
            op(fields, "set")?;
            fields.put("compressed")?.boolean(*compressed)
        }
    }
}

fn config_fields(fields: &mut Fields<'_, '_>, config: &Config<'_>) -> io::Result<()> {
    typ(fields, config.typ)?;
    fields.put("compressed")?.boolean(config.compressed)?;
    fields.put("image_hex")?.hex(&config.image)?;
    start(fields, &config.arguments)?;
    fail_behaviour(fields, &config.arguments.fail_behaviour)?;
    resources(fields, &config.arguments)
}

fn typ(fields: &mut Fields<'_, '_>, typ: Typ) -> io::Result<()> {
    fields.put("typ")?.string(match typ {
        Typ::Solo5 => "solo5",
        Typ::Bhyve => "bhyve",
    })
}

fn start(fields: &mut Fields<'_, '_>, arguments: &Arguments) -> io::Result<()> {
    fields.put("startup")?.optional(arguments.startup, Slot::int)?;
    fields.put("add_name")?.boolean(arguments.add_name)
}

fn fail_behaviour(fields: &mut Fields<'_, '_>, behaviour: &FailBehaviour) -> io::Result<()> {
    fields.put("fail_behaviour")?.object(|fields| match behaviour {
        FailBehaviour::Quit => fields.put("kind")?.string("quit"),
        FailBehaviour::Restart(codes) => {
            fields.put("kind")?.string("restart")?;
            fields.put("exit_codes")?.optional(Some(codes).filter(|codes| !codes.is_empty()), Slot::ints)
        }
    })
}

fn resources(fields: &mut Fields<'_, '_>, arguments: &Arguments) -> io::Result<()> {
    fields.put("cpuids")?.ints(&arguments.cpuids)?;
    fields.put("memory")?.int(arguments.memory)?;
    fields.put("block_devices")?.list(&arguments.block_devices, |slot, device| {
        slot.object(|fields| {
            text(fields.put("name")?, &device.name)?;
            fields.put("device")?.optional(device.device.as_ref(), text)?;
            fields.put("sector_size")?.optional(device.sector_size, Slot::int)
        })
    })?;
    fields.put("bridges")?.list(&arguments.net_devices, |slot, device| {
        slot.object(|fields| {
            text(fields.put("netif")?, &device.name)?;
            fields.put("bridge")?.optional(device.bridge.as_ref(), text)?;
            fields.put("mac")?.optional(device.mac, |slot, mac| slot.string(&mac.to_string()))
        })
    })?;
    argv(fields, arguments.argv.as_deref())?;
    fields.put("numcpus")?.int(arguments.cpus)?;
    fields.put("linux_boot_partition")?.optional(arguments.linux_boot_partition.as_ref(), text)
}

fn argv(fields: &mut Fields<'_, '_>, argv: Option<&[Text]>) -> io::Result<()> {
    let write = |slot: Slot<'_, '_>, argv: &[Text]| slot.texts(argv.iter().map(Text::as_bytes));
    fields.put("argv")?.optional(argv, write)
}
