//! From keys and values to the types of the protocol.
//!
//! Every key that belongs to a value must be there, `null` where the value has none; other keys are passed
//! over.

mod error;
mod reply;
mod values;

use std::borrow::Cow;

use albatross_core::eventlog::Log;
use albatross_core::journal::Entries;
use albatross_proto::command::{ByDigest, History, RevocationCommand};
use albatross_proto::frame::MAX_ENCODED;
use albatross_proto::log::{LogCommand, LogRecord};
use albatross_proto::state::{Change, Record, RecordedUnikernel, State};
use albatross_proto::{
    Arguments, BlockCommand, BlockDevice, Command, Config, ConsoleCommand, FailBehaviour, Header, Name,
    NetDevice, Path, Payload, Policy, PolicyCommand, StatisticsCommand, Typ, UnikernelCommand, WIRE_VERSION,
    Wire,
};
use serde_json::Value;

pub use error::{JsonError, Problem};
pub(crate) use values::{Object, bytes};
use values::{boolean, fixed, int, int64, list, mac, name, set, text, time, word};

/// The longest JSON that is read, in octets: the longest value as hexadecimal digits, and half as much again.
pub const MAX_JSON: usize = 3 * MAX_ENCODED;
/// The most values in all JSON that is read: an `info` of ten thousand unikernels has a quarter. An object with
/// a single value takes some 700 octets of memory, and seven in the text.
pub const MAX_JSON_VALUES: usize = 2 * 1024 * 1024;
/// The most JSON texts one after the other: more certificates than there are in any file of several.
const MAX_JSON_TEXTS: usize = 1024;

/// The values of a JSON text, of which there may be several one after the other.
///
/// # Errors
/// [`JsonError`]: too long, too many values, too deep, not JSON.
pub fn parse(json: &[u8]) -> Result<Vec<Value>, JsonError> {
    if json.len() > MAX_JSON {
        return Err(Problem::TooLong { limit: MAX_JSON }.into());
    }
    if count_values(json) > MAX_JSON_VALUES {
        return Err(Problem::TooManyValues { limit: MAX_JSON_VALUES }.into());
    }
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_slice(json).into_iter() {
        if values.len() == MAX_JSON_TEXTS {
            return Err(Problem::TooManyValues { limit: MAX_JSON_TEXTS }.into());
        }
        values.push(value.map_err(Problem::NotJson)?);
    }
    Ok(values)
}

/// At least how many values there are: each but the first of an array or object follows a comma.
fn count_values(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (1_usize, false, false);
    for octet in json {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count = count.saturating_add(1),
            _ => {}
        }
    }
    count
}

/// A message.
///
/// # Errors
/// [`JsonError`] says which value is not what it should be, here and below.
pub fn wire(value: &Value) -> Result<Wire<'static>, JsonError> {
    let fields = Object::of(value)?;
    Ok(Wire::new(fields.get("header", header)?, fields.get("payload", payload)?))
}

/// The command in the value of the certificate extension.
///
/// # Errors
/// [`JsonError`].
pub fn command(value: &Value) -> Result<Command<'static>, JsonError> {
    let fields = Object::of(value)?;
    fields.get("version", version)?;
    fields.get("command", any_command)
}

/// What a state file holds.
///
/// # Errors
/// [`JsonError`].
pub fn state(value: &Value) -> Result<State<'static>, JsonError> {
    let fields = Object::of(value)?;
    let unikernel = |value: &Value| {
        let fields = Object::of(value)?;
        Ok((fields.get("name", name)?, fields.get("config", config)?))
    };
    Ok(State { unikernels: fields.get("unikernels", list(unikernel))?, policies: policies(&fields)? })
}

/// Our own record.
///
/// # Errors
/// [`JsonError`].
pub fn record(value: &Value) -> Result<Record, JsonError> {
    Object::of(value)?.get("record", |value| {
        let fields = Object::of(value)?;
        let unikernels = fields.get("unikernels", list(|value| recorded(&Object::of(value)?)))?;
        Ok(Record { unikernels, policies: policies(&fields)? })
    })
}

fn recorded(fields: &Object<'_>) -> Result<(Name, RecordedUnikernel), JsonError> {
    let recorded =
        RecordedUnikernel { config: fields.get("config", config)?, digest: fields.get("digest_hex", fixed)? };
    Ok((fields.get("name", name)?, recorded))
}

/// The file that our own record is kept in; what is torn of it is not written again.
///
/// # Errors
/// [`JsonError`] says which value is not what it should be.
pub fn journal(value: &Value) -> Result<Entries, JsonError> {
    let fields = Object::of(value)?;
    let change = |value: &Value| {
        let fields = Object::of(value)?;
        Ok(match fields.word("op")? {
            "unikernel" => {
                let (name, unikernel) = recorded(&fields)?;
                Change::Unikernel(name, unikernel)
            }
            "no-unikernel" => Change::NoUnikernel(fields.get("name", name)?),
            "policy" => Change::Policy(fields.get("name", path)?, fields.get("policy", policy)?),
            "no-policy" => Change::NoPolicy(fields.get("name", path)?),
            _ => return fields.unknown("op"),
        })
    };
    Ok(Entries {
        salt: fields.get("salt_hex", fixed)?,
        record: record(value)?,
        changes: fields.get("changes", list(change))?,
        torn: 0,
    })
}

/// A file of the event log; its links follow from its records.
///
/// # Errors
/// [`JsonError`] says which value is not what it should be.
pub fn log(value: &Value) -> Result<Log, JsonError> {
    let fields = Object::of(value)?;
    let record = |value: &Value| {
        let fields = Object::of(value)?;
        Ok(LogRecord { name: fields.get("name", name)?, entry: reply::log_entry(&fields)? })
    };
    let previous = fields.get("previous_link_hex", fixed)?;
    Ok(Log { previous, records: fields.get("log", list(record))?, link: previous, torn: 0 })
}

fn header(value: &Value) -> Result<Header, JsonError> {
    let fields = Object::of(value)?;
    fields.get("version", version)?;
    let name = fields.get("name", name)?;
    // What follows from the name may be left out, but not be something else.
    let labels: Vec<&str> = name.path().labels().collect();
    fields.agrees("name_path", &labels.into())?;
    fields.agrees("name_label", &name.label().map(|label| label.as_str()).into())?;
    Ok(Header::new(fields.get("sequence", int64)?, name))
}

fn version(value: &Value) -> Result<(), JsonError> {
    if value.as_i64() == Some(WIRE_VERSION) { Ok(()) } else { Err(Problem::Version.into()) }
}

fn payload(value: &Value) -> Result<Payload<'static>, JsonError> {
    let fields = Object::of(value)?;
    Ok(match fields.word("kind")? {
        "command" => Payload::Command(fields.get("command", any_command)?),
        "success" => Payload::Success(fields.get("success", reply::success)?),
        "failure" => Payload::Failure(fields.get("message", text)?),
        "data" => Payload::Data(fields.get("data", reply::data)?),
        _ => return fields.unknown("kind"),
    })
}

fn any_command(value: &Value) -> Result<Command<'static>, JsonError> {
    let fields = Object::of(value)?;
    Ok(match fields.word("class")? {
        "console" => Command::Console(console(&fields)?),
        "stats" => Command::Statistics(statistics(&fields)?),
        "unikernel" => Command::Unikernel(unikernel(&fields)?),
        "policy" => Command::Policy(match fields.word("op")? {
            "info" => PolicyCommand::Info,
            "add" => PolicyCommand::Add(fields.get("policy", policy)?),
            "remove" => PolicyCommand::Remove,
            _ => return fields.unknown("op"),
        }),
        "block" => Command::Block(block(&fields)?),
        "log" => match fields.word("op")? {
            "subscribe" => Command::Log(LogCommand(history(&fields)?)),
            _ => return fields.unknown("op"),
        },
        "revocation" => match fields.word("op")? {
            "install" => Command::Revocation(RevocationCommand::Install(fields.get("crl_hex", octets)?)),
            _ => return fields.unknown("op"),
        },
        _ => return fields.unknown("class"),
    })
}

fn console(fields: &Object<'_>) -> Result<ConsoleCommand, JsonError> {
    Ok(match fields.word("op")? {
        "add" => ConsoleCommand::Add(fields.get("max_unikernels", int)?),
        "subscribe" => ConsoleCommand::Subscribe(history(fields)?),
        "list-inactive" => ConsoleCommand::ListInactive,
        _ => return fields.unknown("op"),
    })
}

fn history(fields: &Object<'_>) -> Result<History, JsonError> {
    match fields.if_present("since", time)? {
        Some(since) => Ok(History::Since(since)),
        None => fields.get("count", int).map(History::Count),
    }
}

fn statistics(fields: &Object<'_>) -> Result<StatisticsCommand, JsonError> {
    let pair = |value: &Value| {
        let fields = Object::of(value)?;
        Ok((fields.get("bridge", text)?, fields.get("tap", text)?))
    };
    Ok(match fields.word("op")? {
        "add" => StatisticsCommand::Add {
            vmmdev: fields.get("vmmdev", text)?,
            pid: fields.get("pid", int)?,
            network: fields.get("network", list(pair))?,
        },
        "remove" => StatisticsCommand::Remove,
        "subscribe" => StatisticsCommand::Subscribe,
        "initial" => StatisticsCommand::Initial,
        _ => return fields.unknown("op"),
    })
}

fn unikernel(fields: &Object<'_>) -> Result<UnikernelCommand<'static>, JsonError> {
    Ok(match fields.word("op")? {
        "info" => UnikernelCommand::Info,
        "old-info5" => UnikernelCommand::InfoV5,
        "old-info4" => UnikernelCommand::InfoV4,
        "get" => UnikernelCommand::Get(fields.get("compress_level", int)?),
        "destroy" => UnikernelCommand::Destroy,
        "create" => UnikernelCommand::Create(fields.get("config", config)?),
        "force-create" => UnikernelCommand::ForceCreate(fields.get("config", config)?),
        "restart" => UnikernelCommand::Restart(fields.optional("arguments", arguments)?),
        "status" => UnikernelCommand::Status,
        "create-by-digest" => UnikernelCommand::CreateByDigest(by_digest(fields)?),
        "force-create-by-digest" => UnikernelCommand::ForceCreateByDigest(by_digest(fields)?),
        _ => return fields.unknown("op"),
    })
}

fn by_digest(fields: &Object<'_>) -> Result<ByDigest, JsonError> {
    Ok(ByDigest {
        config: fields.get("config", config)?,
        sha256: fields.get("sha256_hex", fixed)?,
        size: fields.get("size", int)?,
    })
}

fn block(fields: &Object<'_>) -> Result<BlockCommand<'static>, JsonError> {
    Ok(match fields.word("op")? {
        "info" => BlockCommand::Info,
        "add" => BlockCommand::Add(fields.get("size", int)?),
        "remove" => BlockCommand::Remove,
        "old-add" => BlockCommand::AddOld {
            size: fields.get("size", int)?,
            compressed: fields.get("compressed", boolean)?,
            data: fields.optional("data_hex", octets)?,
        },
        "old-set" => BlockCommand::SetOld {
            compressed: fields.get("compressed", boolean)?,
            data: fields.get("data_hex", octets)?,
        },
        "old-dump" => BlockCommand::DumpOld(fields.get("compress_level", int)?),
        "dump" => BlockCommand::Dump(fields.get("compress_level", int)?),
        "set" => BlockCommand::Set { compressed: fields.get("compressed", boolean)? },
        _ => return fields.unknown("op"),
    })
}

fn config(value: &Value) -> Result<Config<'static>, JsonError> {
    let fields = Object::of(value)?;
    Ok(Config {
        typ: fields.get("typ", typ)?,
        compressed: fields.get("compressed", boolean)?,
        image: fields.get("image_hex", octets)?,
        arguments: arguments(value)?,
    })
}

fn arguments(value: &Value) -> Result<Arguments, JsonError> {
    let fields = Object::of(value)?;
    let block_device = |value: &Value| {
        let fields = Object::of(value)?;
        Ok(BlockDevice {
            name: fields.get("name", text)?,
            device: fields.optional("device", text)?,
            sector_size: fields.optional("sector_size", int)?,
        })
    };
    let net_device = |value: &Value| {
        let fields = Object::of(value)?;
        Ok(NetDevice {
            name: fields.get("netif", text)?,
            bridge: fields.optional("bridge", text)?,
            mac: fields.optional("mac", mac)?,
        })
    };
    Ok(Arguments {
        fail_behaviour: fields.get("fail_behaviour", fail_behaviour)?,
        startup: fields.optional("startup", int)?,
        add_name: fields.get("add_name", boolean)?,
        cpuids: fields.get("cpuids", set(int))?,
        memory: fields.get("memory", int)?,
        block_devices: fields.get("block_devices", list(block_device))?,
        net_devices: fields.get("bridges", list(net_device))?,
        argv: fields.optional("argv", list(text))?,
        cpus: fields.get("numcpus", int)?,
        linux_boot_partition: fields.optional("linux_boot_partition", text)?,
    })
}

fn fail_behaviour(value: &Value) -> Result<FailBehaviour, JsonError> {
    let fields = Object::of(value)?;
    Ok(match fields.word("kind")? {
        "quit" => FailBehaviour::Quit,
        "restart" => FailBehaviour::Restart(fields.optional("exit_codes", set(int))?.unwrap_or_default()),
        _ => return fields.unknown("kind"),
    })
}

fn typ(value: &Value) -> Result<Typ, JsonError> {
    match word(value)? {
        "solo5" => Ok(Typ::Solo5),
        "bhyve" => Ok(Typ::Bhyve),
        _ => Err(Problem::UnknownWord.into()),
    }
}

/// A policy belongs to a path, written as its name: `foo:`.
fn path(value: &Value) -> Result<Path, JsonError> {
    let name: Name = name(value)?;
    if name.label().is_some() { Err(Problem::NotAPath.into()) } else { Ok(name.path().clone()) }
}

fn policies(fields: &Object<'_>) -> Result<Vec<(Path, Policy)>, JsonError> {
    let entry = |value: &Value| {
        let fields = Object::of(value)?;
        Ok((fields.get("name", path)?, fields.get("policy", policy)?))
    };
    fields.get("policies", list(entry))
}

fn policy(value: &Value) -> Result<Policy, JsonError> {
    let fields = Object::of(value)?;
    Ok(Policy {
        cpuids: fields.get("cpuids", set(int))?,
        unikernels: fields.get("unikernels", int)?,
        memory: fields.get("memory", int)?,
        block: fields.optional("block", int)?,
        bridges: fields.get("bridges", set(text))?,
    })
}

fn octets(value: &Value) -> Result<Cow<'static, [u8]>, JsonError> {
    bytes(value).map(Cow::Owned)
}
