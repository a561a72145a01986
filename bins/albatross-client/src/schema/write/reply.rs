//! From what daemons answer and send to keys and values.

use std::io;

use albatross_proto::log::{Event, LogEntry, Session};
use albatross_proto::reply::{Exit, Info, State, Status};
use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};
use albatross_proto::{Data, Int, Name, Success};

use super::{Fields, Slot, argv, fail_behaviour, op, text, typ, write_policy};

/// Writes the answer to a command that was carried out.
///
/// # Errors
/// As the output has them, here and below.
pub(super) fn write_success(slot: Slot<'_, '_>, success: &Success<'_>) -> io::Result<()> {
    slot.object(|fields| {
        let word = match success {
            Success::Empty => "empty",
            Success::Text(_) => "string",
            Success::Policies(_) => "policies",
            Success::BlockDevices(_) => "block-devices",
            Success::UnikernelImage { .. } => "unikernel-image",
            Success::BlockDeviceImageOld { .. } => "old-block-device-image",
            Success::BlockDeviceImage { .. } => "block-device-image",
            Success::InfoV4(_) => "old-unikernel-info4",
            Success::InfoV5(_) => "old-unikernel-info5",
            Success::Info(_) => "unikernel-info",
            Success::Consoles(_) => "consoles",
            Success::Status(_) => "status",
        };
        op(fields, word)?;
        match success {
            Success::Empty => Ok(()),
            Success::Text(words) => text(fields.put("string")?, words),
            Success::Policies(list) => {
                named(fields, "policies", list, |fields, policy| write_policy(fields.put("policy")?, policy))
            }
            Success::BlockDevices(list) => named(fields, "block_devices", list, |fields, device| {
                fields.put("size")?.int(device.size)?;
                fields.put("active")?.boolean(device.active)
            }),
            Success::UnikernelImage { compressed, image }
            | Success::BlockDeviceImageOld { compressed, image } => {
                fields.put("compressed")?.boolean(*compressed)?;
                fields.put("image_hex")?.hex(image)
            }
            Success::BlockDeviceImage { compressed } => fields.put("compressed")?.boolean(*compressed),
            Success::InfoV4(list) | Success::InfoV5(list) | Success::Info(list) => {
                named(fields, "unikernels", list, |fields, it| info(fields.put("info")?, it))
            }
            Success::Consoles(names) => {
                let names: Vec<String> = names.iter().map(Name::to_string).collect();
                fields.put("consoles")?.texts(names.iter().map(String::as_bytes))
            }
            Success::Status(list) => {
                named(fields, "unikernels", list, |fields, it| status(fields.put("status")?, it))
            }
        }
    })
}

/// Writes what a daemon sends to a subscriber.
///
/// # Errors
/// As the output has them.
pub(super) fn write_data(slot: Slot<'_, '_>, data: &Data<'_>) -> io::Result<()> {
    slot.object(|fields| match data {
        Data::Statistics(it) => {
            op(fields, "stats")?;
            statistics(fields, it)
        }
        Data::Console { timestamp, line } => {
            op(fields, "console")?;
            fields.put("timestamp")?.time(*timestamp)?;
            fields.put("line")?.text(line)
        }
        Data::Block(part) => {
            op(fields, "block")?;
            fields.put("data_hex")?.optional(part.as_deref(), Slot::hex)
        }
        Data::Log(entry) => {
            op(fields, "log")?;
            log_entry(fields, entry)
        }
    })
}

fn named<T>(
    fields: &mut Fields<'_, '_>,
    key: &'static str,
    list: &[(Name, T)],
    write: impl Fn(&mut Fields<'_, '_>, &T) -> io::Result<()>,
) -> io::Result<()> {
    fields.put(key)?.list(list, |slot, (name, value)| {
        slot.object(|fields| {
            fields.put("name")?.string(&name.to_string())?;
            write(fields, value)
        })
    })
}

fn info(slot: Slot<'_, '_>, info: &Info) -> io::Result<()> {
    slot.object(|fields| {
        typ(fields, info.typ)?;
        fields.put("startup")?.optional(info.startup, Slot::int)?;
        fail_behaviour(fields, &info.fail_behaviour)?;
        fields.put("cpuids")?.ints(&info.cpuids)?;
        fields.put("memory")?.int(info.memory)?;
        fields.put("digest_hex")?.hex(info.digest.as_bytes())?;
        fields.put("block_devices")?.list(&info.block_devices, |slot, device| {
            slot.object(|fields| {
                text(fields.put("unikernel_device")?, &device.unikernel_device)?;
                text(fields.put("host_device")?, &device.host_device)?;
                fields.put("sector_size")?.int(device.sector_size)?;
                fields.put("size")?.int(device.size)
            })
        })?;
        fields.put("bridges")?.list(&info.net_devices, |slot, device| {
            slot.object(|fields| {
                text(fields.put("unikernel_device")?, &device.unikernel_device)?;
                text(fields.put("host_device")?, &device.host_device)?;
                fields.put("mac")?.string(&device.mac.to_string())
            })
        })?;
        argv(fields, info.argv.as_deref())?;
        fields.put("started")?.time(info.started)?;
        fields.put("numcpus")?.int(info.cpus)?;
        fields.put("linux_boot_partition")?.optional(info.linux_boot_partition.as_ref(), text)
    })
}

fn status(slot: Slot<'_, '_>, status: &Status) -> io::Result<()> {
    slot.object(|fields| {
        fields.put("state")?.object(|fields| match &status.state {
            State::Running => fields.put("kind")?.string("running"),
            State::Starting => fields.put("kind")?.string("starting"),
            State::Waiting(until) => {
                fields.put("kind")?.string("waiting")?;
                fields.put("until")?.time(*until)
            }
            State::Failed(reason) => {
                fields.put("kind")?.string("failed")?;
                text(fields.put("reason")?, reason)
            }
        })?;
        fields.put("since")?.time(status.since)?;
        fields.put("restarts")?.int(status.restarts)?;
        fields.put("pid")?.optional(status.pid, Slot::int)?;
        fields.put("last_exit")?.optional(status.last_exit, exit)
    })
}

fn exit(slot: Slot<'_, '_>, exit: Exit) -> io::Result<()> {
    let (kind, code): (&str, Int) = match exit {
        Exit::Exited(code) => ("exited", code),
        Exit::Signalled(signal) => ("signalled", signal),
        Exit::Stopped(signal) => ("stopped", signal),
    };
    slot.object(|fields| {
        fields.put("kind")?.string(kind)?;
        fields.put("code")?.int(code)
    })
}

pub(super) fn log_entry(fields: &mut Fields<'_, '_>, entry: &LogEntry) -> io::Result<()> {
    fields.put("timestamp")?.time(entry.timestamp)?;
    fields.put("event")?.object(|fields| match &entry.event {
        Event::DaemonStarted => fields.put("kind")?.string("daemon-started"),
        Event::Login(it) => session(fields, "login", it),
        Event::Logout(it) => session(fields, "logout", it),
        Event::Command { command, failure } => {
            fields.put("kind")?.string("command")?;
            text(fields.put("command")?, command)?;
            fields.put("failure")?.optional(failure.as_ref(), text)
        }
        Event::UnikernelStarted(pid) => {
            fields.put("kind")?.string("unikernel-started")?;
            fields.put("pid")?.int(*pid)
        }
        Event::UnikernelStopped { pid, exit: how } => {
            fields.put("kind")?.string("unikernel-stopped")?;
            fields.put("pid")?.int(*pid)?;
            fields.put("exit")?.optional(*how, exit)
        }
    })
}

fn session(fields: &mut Fields<'_, '_>, kind: &str, session: &Session) -> io::Result<()> {
    fields.put("kind")?.string(kind)?;
    text(fields.put("address")?, &session.address)?;
    fields.put("serial_hex")?.hex(session.serial.as_bytes())
}

fn statistics(fields: &mut Fields<'_, '_>, statistics: &Statistics) -> io::Result<()> {
    fields.put("rusage")?.object(|fields| rusage(fields, &statistics.rusage))?;
    fields.put("kinfo_mem")?.optional(statistics.kinfo_mem.as_ref(), |slot, memory| {
        slot.object(|fields| kinfo_mem(fields, memory))
    })?;
    fields.put("vmm")?.optional(statistics.vmm.as_ref(), |slot, counters| {
        slot.list(counters, |slot, (key, value)| {
            slot.object(|fields| {
                text(fields.put("key")?, key)?;
                fields.put("value")?.counter(*value)
            })
        })
    })?;
    fields.put("ifdata")?.list(&statistics.interfaces, |slot, it| slot.object(|fields| interface(fields, it)))
}

fn timeval(slot: Slot<'_, '_>, time: &TimeVal) -> io::Result<()> {
    slot.object(|fields| {
        fields.put("seconds")?.counter(time.seconds)?;
        fields.put("microseconds")?.int(time.microseconds)
    })
}

fn rusage(fields: &mut Fields<'_, '_>, usage: &Rusage) -> io::Result<()> {
    timeval(fields.put("utime")?, &usage.utime)?;
    timeval(fields.put("stime")?, &usage.stime)?;
    for (key, value) in [
        ("maxrss", usage.maxrss),
        ("ixrss", usage.ixrss),
        ("idrss", usage.idrss),
        ("isrss", usage.isrss),
        ("minflt", usage.minflt),
        ("majflt", usage.majflt),
        ("nswap", usage.nswap),
        ("inblock", usage.inblock),
        ("outblock", usage.outblock),
        ("msgsnd", usage.msgsnd),
        ("msgrcv", usage.msgrcv),
        ("nsignals", usage.nsignals),
        ("nvcsw", usage.nvcsw),
        ("nivcsw", usage.nivcsw),
    ] {
        fields.put(key)?.counter(value)?;
    }
    Ok(())
}

fn kinfo_mem(fields: &mut Fields<'_, '_>, memory: &KinfoMem) -> io::Result<()> {
    for (key, value) in [
        ("vsize", memory.vsize),
        ("rss", memory.rss),
        ("tsize", memory.tsize),
        ("dsize", memory.dsize),
        ("ssize", memory.ssize),
        ("runtime", memory.runtime),
    ] {
        fields.put(key)?.counter(value)?;
    }
    fields.put("cow")?.int(memory.cow)?;
    timeval(fields.put("start")?, &memory.start)
}

fn interface(fields: &mut Fields<'_, '_>, interface: &IfData) -> io::Result<()> {
    text(fields.put("bridge")?, &interface.bridge)?;
    for (key, value) in [
        ("flags", interface.flags),
        ("send_length", interface.send_length),
        ("max_send_length", interface.max_send_length),
        ("send_drops", interface.send_drops),
        ("mtu", interface.mtu),
    ] {
        fields.put(key)?.int(Int::from(value))?;
    }
    for (key, value) in [
        ("baudrate", interface.baudrate),
        ("input_packets", interface.input_packets),
        ("input_errors", interface.input_errors),
        ("output_packets", interface.output_packets),
        ("output_errors", interface.output_errors),
        ("collisions", interface.collisions),
        ("input_bytes", interface.input_bytes),
        ("output_bytes", interface.output_bytes),
        ("input_mcast", interface.input_mcast),
        ("output_mcast", interface.output_mcast),
        ("input_dropped", interface.input_dropped),
        ("output_dropped", interface.output_dropped),
    ] {
        fields.put(key)?.counter(value)?;
    }
    Ok(())
}
