//! From keys and values to what daemons answer and send.

use std::borrow::Cow;

use albatross_proto::log::{Event, LogEntry, Session};
use albatross_proto::reply::{Exit, Info, InfoBlock, InfoNet, State, Status};
use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};
use albatross_proto::{BlockDeviceInfo, Data, Name, Success, Text};
use serde_json::Value;

use super::values::{boolean, int, int32, int64, list, mac, name, set, text, time};
use super::{JsonError, Object, bytes, fail_behaviour, octets, policy, typ};

pub(super) fn success(value: &Value) -> Result<Success<'static>, JsonError> {
    let fields = Object::of(value)?;
    let compressed = || fields.get("compressed", boolean);
    let image = || fields.get("image_hex", octets);
    let infos = || fields.get("unikernels", list(named("info", info)));
    Ok(match fields.word("op")? {
        "empty" => Success::Empty,
        "string" => Success::Text(fields.get("string", text)?),
        "policies" => Success::Policies(fields.get("policies", list(named("policy", policy)))?),
        "block-devices" => Success::BlockDevices(fields.only_list("block_devices", block_device)?),
        "unikernel-image" => Success::UnikernelImage { compressed: compressed()?, image: image()? },
        "old-block-device-image" => {
            Success::BlockDeviceImageOld { compressed: compressed()?, image: image()? }
        }
        "block-device-image" => Success::BlockDeviceImage { compressed: compressed()? },
        "old-unikernel-info4" => Success::InfoV4(infos()?),
        "old-unikernel-info5" => Success::InfoV5(infos()?),
        "unikernel-info" => Success::Info(infos()?),
        "consoles" => Success::Consoles(fields.only_list("consoles", name)?),
        "status" => Success::Status(fields.get("unikernels", list(named("status", status)))?),
        _ => return fields.unknown("op"),
    })
}

pub(super) fn data(value: &Value) -> Result<Data<'static>, JsonError> {
    let fields = Object::of(value)?;
    Ok(match fields.word("op")? {
        "stats" => Data::Statistics(Box::new(statistics(&fields)?)),
        "console" => Data::Console {
            timestamp: fields.get("timestamp", time)?,
            line: Cow::Owned(fields.get("line", text)?.as_bytes().to_vec()),
        },
        "block" => Data::Block(fields.optional("data_hex", octets)?),
        "log" => Data::Log(log_entry(&fields)?),
        _ => return fields.unknown("op"),
    })
}

pub(super) fn log_entry(fields: &Object<'_>) -> Result<LogEntry, JsonError> {
    Ok(LogEntry { timestamp: fields.get("timestamp", time)?, event: fields.get("event", event)? })
}

/// A pair of a name and what stands under `key`.
fn named<T>(
    key: &'static str,
    read: impl Fn(&Value) -> Result<T, JsonError>,
) -> impl Fn(&Value) -> Result<(Name, T), JsonError> {
    move |value| {
        let fields = Object::of(value)?;
        Ok((fields.get("name", name)?, fields.get(key, &read)?))
    }
}

fn block_device(value: &Value) -> Result<(Name, BlockDeviceInfo), JsonError> {
    let fields = Object::of(value)?;
    let info = BlockDeviceInfo { size: fields.get("size", int)?, active: fields.get("active", boolean)? };
    Ok((fields.get("name", name)?, info))
}

fn info(value: &Value) -> Result<Info, JsonError> {
    let fields = Object::of(value)?;
    let block = |value: &Value| {
        let fields = Object::of(value)?;
        Ok(InfoBlock {
            unikernel_device: fields.get("unikernel_device", text)?,
            host_device: fields.get("host_device", text)?,
            sector_size: fields.get("sector_size", int)?,
            size: fields.get("size", int)?,
        })
    };
    let net = |value: &Value| {
        let fields = Object::of(value)?;
        Ok(InfoNet {
            unikernel_device: fields.get("unikernel_device", text)?,
            host_device: fields.get("host_device", text)?,
            mac: fields.get("mac", mac)?,
        })
    };
    Ok(Info {
        typ: fields.get("typ", typ)?,
        startup: fields.optional("startup", int)?,
        fail_behaviour: fields.get("fail_behaviour", fail_behaviour)?,
        cpuids: fields.get("cpuids", set(int))?,
        memory: fields.get("memory", int)?,
        digest: fields.get("digest_hex", text_of_hex)?,
        block_devices: fields.get("block_devices", list(block))?,
        net_devices: fields.get("bridges", list(net))?,
        argv: fields.optional("argv", list(text))?,
        started: fields.get("started", time)?,
        cpus: fields.get("numcpus", int)?,
        linux_boot_partition: fields.optional("linux_boot_partition", text)?,
    })
}

fn text_of_hex(value: &Value) -> Result<Text, JsonError> {
    bytes(value).map(|octets| Text::from(octets.as_slice()))
}

fn status(value: &Value) -> Result<Status, JsonError> {
    let fields = Object::of(value)?;
    let state = |value| {
        let fields = Object::of(value)?;
        Ok(match fields.word("kind")? {
            "running" => State::Running,
            "starting" => State::Starting,
            "waiting" => State::Waiting(fields.get("until", time)?),
            "failed" => State::Failed(fields.get("reason", text)?),
            _ => return fields.unknown("kind"),
        })
    };
    Ok(Status {
        state: fields.get("state", state)?,
        since: fields.get("since", time)?,
        restarts: fields.get("restarts", int)?,
        pid: fields.optional("pid", int)?,
        last_exit: fields.optional("last_exit", exit)?,
    })
}

fn exit(value: &Value) -> Result<Exit, JsonError> {
    let fields = Object::of(value)?;
    let code = fields.get("code", int)?;
    Ok(match fields.word("kind")? {
        "exited" => Exit::Exited(code),
        "signalled" => Exit::Signalled(code),
        "stopped" => Exit::Stopped(code),
        _ => return fields.unknown("kind"),
    })
}

fn event(value: &Value) -> Result<Event, JsonError> {
    let fields = Object::of(value)?;
    let session = || -> Result<Session, JsonError> {
        Ok(Session { address: fields.get("address", text)?, serial: fields.get("serial_hex", text_of_hex)? })
    };
    Ok(match fields.word("kind")? {
        "daemon-started" => Event::DaemonStarted,
        "login" => Event::Login(session()?),
        "logout" => Event::Logout(session()?),
        "command" => Event::Command {
            command: fields.get("command", text)?,
            failure: fields.optional("failure", text)?,
        },
        "unikernel-started" => Event::UnikernelStarted(fields.get("pid", int)?),
        "unikernel-stopped" => {
            Event::UnikernelStopped { pid: fields.get("pid", int)?, exit: fields.optional("exit", exit)? }
        }
        _ => return fields.unknown("kind"),
    })
}

fn statistics(fields: &Object<'_>) -> Result<Statistics, JsonError> {
    let counter = |value: &Value| {
        let fields = Object::of(value)?;
        Ok((fields.get("key", text)?, fields.get("value", int64)?))
    };
    Ok(Statistics {
        rusage: fields.get("rusage", rusage)?,
        interfaces: fields.get("ifdata", list(interface))?,
        vmm: fields.optional("vmm", list(counter))?,
        kinfo_mem: fields.optional("kinfo_mem", kinfo_mem)?,
    })
}

fn timeval(value: &Value) -> Result<TimeVal, JsonError> {
    let fields = Object::of(value)?;
    Ok(TimeVal { seconds: fields.get("seconds", int64)?, microseconds: fields.get("microseconds", int)? })
}

fn rusage(value: &Value) -> Result<Rusage, JsonError> {
    let fields = Object::of(value)?;
    Ok(Rusage {
        utime: fields.get("utime", timeval)?,
        stime: fields.get("stime", timeval)?,
        maxrss: fields.get("maxrss", int64)?,
        ixrss: fields.get("ixrss", int64)?,
        idrss: fields.get("idrss", int64)?,
        isrss: fields.get("isrss", int64)?,
        minflt: fields.get("minflt", int64)?,
        majflt: fields.get("majflt", int64)?,
        nswap: fields.get("nswap", int64)?,
        inblock: fields.get("inblock", int64)?,
        outblock: fields.get("outblock", int64)?,
        msgsnd: fields.get("msgsnd", int64)?,
        msgrcv: fields.get("msgrcv", int64)?,
        nsignals: fields.get("nsignals", int64)?,
        nvcsw: fields.get("nvcsw", int64)?,
        nivcsw: fields.get("nivcsw", int64)?,
    })
}

fn kinfo_mem(value: &Value) -> Result<KinfoMem, JsonError> {
    let fields = Object::of(value)?;
    Ok(KinfoMem {
        vsize: fields.get("vsize", int64)?,
        rss: fields.get("rss", int64)?,
        tsize: fields.get("tsize", int64)?,
        dsize: fields.get("dsize", int64)?,
        ssize: fields.get("ssize", int64)?,
        runtime: fields.get("runtime", int64)?,
        cow: fields.get("cow", int)?,
        start: fields.get("start", timeval)?,
    })
}

fn interface(value: &Value) -> Result<IfData, JsonError> {
    let fields = Object::of(value)?;
    Ok(IfData {
        bridge: fields.get("bridge", text)?,
        flags: fields.get("flags", int32)?,
        send_length: fields.get("send_length", int32)?,
        max_send_length: fields.get("max_send_length", int32)?,
        send_drops: fields.get("send_drops", int32)?,
        mtu: fields.get("mtu", int32)?,
        baudrate: fields.get("baudrate", int64)?,
        input_packets: fields.get("input_packets", int64)?,
        input_errors: fields.get("input_errors", int64)?,
        output_packets: fields.get("output_packets", int64)?,
        output_errors: fields.get("output_errors", int64)?,
        collisions: fields.get("collisions", int64)?,
        input_bytes: fields.get("input_bytes", int64)?,
        output_bytes: fields.get("output_bytes", int64)?,
        input_mcast: fields.get("input_mcast", int64)?,
        output_mcast: fields.get("output_mcast", int64)?,
        input_dropped: fields.get("input_dropped", int64)?,
        output_dropped: fields.get("output_dropped", int64)?,
    })
}
