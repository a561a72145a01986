//! Results as JSON: one object for each thing, its kind under `type`, keys that do not change.
//!
//! Text that is not UTF-8 stands as `{"hex": ".."}`, times as RFC 3339. Counters are numbers.

use std::path::Path;

use albatross_proto::log::{Event, Session};
use albatross_proto::reply::{Exit, Info, InfoBlock, InfoNet, State, Status};
use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};
use albatross_proto::{BlockDeviceInfo, Config, Data, FailBehaviour, Int, Name, Policy, Success, Text, Typ};

use crate::print::hex;
use serde_json::{Value, json};

/// The objects for a success; for a list that is empty there are none.
pub(crate) fn success(name: &Name, success: &Success<'_>, arguments: bool) -> Vec<Value> {
    let at = |kind: &str| json!({ "type": kind, "host": name.to_string() });
    match success {
        Success::Empty => vec![with(at("success"), "message", Value::Null)],
        Success::Text(message) => vec![with(at("success"), "message", text(message))],
        Success::Policies(list) => each(list, &at("policy"), policy),
        Success::BlockDevices(list) => each(list, &at("block-device"), block_device),
        Success::InfoV4(list) | Success::InfoV5(list) | Success::Info(list) => {
            each(list, &at("unikernel"), |it| info(it, arguments))
        }
        Success::Consoles(names) => {
            names.iter().map(|it| with(at("console"), "name", it.to_string().into())).collect()
        }
        Success::Status(list) => each(list, &at("status"), status),
        Success::UnikernelImage { .. }
        | Success::BlockDeviceImageOld { .. }
        | Success::BlockDeviceImage { .. } => Vec::new(),
    }
}

/// The objects for unikernels that run, with their `status` where that is known, and for those on record that
/// do not.
pub(crate) fn unikernels(
    name: &Name,
    running: &Success<'_>,
    statuses: &[(Name, Status)],
    arguments: bool,
) -> Vec<Value> {
    let mut rest: Vec<(Name, &Status)> = statuses.iter().map(|(name, it)| (name.clone(), it)).collect();
    let mut objects = success(name, running, arguments);
    for object in &mut objects {
        let text = object.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let found = rest.iter().position(|(name, _)| name.to_string() == text);
        let value = found.map_or(Value::Null, |index| status(rest.remove(index).1));
        *object = with(object.take(), "status", value);
    }
    let base = json!({ "type": "status", "host": name.to_string() });
    objects.extend(each(&rest, &base, |it| status(it)));
    objects
}

/// The object for something to be said.
pub(crate) fn note(name: &Name, text: &str) -> Value {
    json!({ "type": "success", "host": name.to_string(), "message": text })
}

/// The object for a certificate that was revoked.
pub(crate) fn revoked(serial: &str, name: Option<&str>) -> Value {
    json!({ "type": "revoked", "serial": serial, "name": name })
}

/// The object for a unikernel in a file.
pub(crate) fn recorded(
    name: &Name,
    config: &Config<'_>,
    elsewhere: Option<&[u8; 32]>,
    arguments: bool,
) -> Value {
    let it = &config.arguments;
    let blocks = it.block_devices.iter().map(|block| {
        json!({
            "unikernel_device": text(&block.name),
            "host_device": block.device.as_ref().map(text),
            "sector_size": block.sector_size.map(int),
        })
    });
    let nets = it.net_devices.iter().map(|net| {
        json!({
            "unikernel_device": text(&net.name),
            "host_device": net.bridge.as_ref().map(text),
            "mac": net.mac.map(|mac| mac.to_string()),
        })
    });
    let object = json!({
        "type": "unikernel",
        "name": name.to_string(),
        "typ": typ(config.typ),
        "startup": it.startup.map(int),
        "restart": restart(&it.fail_behaviour),
        "cpuids": it.cpuids.iter().map(|id| int(*id)).collect::<Value>(),
        "memory": int(it.memory),
        "digest": elsewhere.map(|sha256| hex(sha256)),
        "compressed": config.compressed,
        "octets": config.image.len(),
        "block_devices": blocks.collect::<Value>(),
        "net_devices": nets.collect::<Value>(),
        "add_name": it.add_name,
        "cpus": int(it.cpus),
        "linux_boot_partition": it.linux_boot_partition.as_ref().map(text),
    });
    if !arguments {
        return object;
    }
    let argv = it.argv.as_ref().map(|argv| argv.iter().map(text).collect::<Value>());
    with(object, "arguments", argv.unwrap_or(Value::Null))
}

/// The object for a policy in a file.
pub(crate) fn recorded_policy(name: &Name, it: &Policy) -> Value {
    let object = with(policy(it), "type", "policy".into());
    with(object, "name", name.to_string().into())
}

/// The object for a failure.
pub(crate) fn failure(name: &Name, message: &Text) -> Value {
    json!({ "type": "failure", "host": name.to_string(), "message": text(message) })
}

/// The object for what a subscriber receives.
pub(crate) fn data(name: &Name, data: &Data<'_>) -> Option<Value> {
    match data {
        Data::Console { timestamp, line } => Some(json!({
            "type": "line",
            "name": name.to_string(),
            "time": timestamp.to_string(),
            "line": octets(line),
        })),
        Data::Statistics(it) => Some(with(statistics(it), "name", name.to_string().into())),
        Data::Log(entry) => {
            let object = with(event(&entry.event), "name", name.to_string().into());
            Some(with(object, "time", entry.timestamp.to_string().into()))
        }
        Data::Block(_) => None,
    }
}

/// The object for a file that was written.
pub(crate) fn written(name: Option<&Name>, path: &Path) -> Value {
    let object = json!({ "type": "file", "path": path.to_string_lossy() });
    match name {
        Some(name) => with(object, "host", name.to_string().into()),
        None => object,
    }
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Value::Object(map) = &mut object {
        map.insert(key.to_owned(), value);
    }
    object
}

/// An object for each entry: `base`, its name, and what `fields` says about it.
fn each<T>(list: &[(Name, T)], base: &Value, fields: impl Fn(&T) -> Value) -> Vec<Value> {
    let object = |(name, value): &(Name, T)| {
        let mut object = with(base.clone(), "name", name.to_string().into());
        if let (Value::Object(map), Value::Object(more)) = (&mut object, fields(value)) {
            map.extend(more);
        }
        object
    };
    list.iter().map(object).collect()
}

fn text(text: &Text) -> Value {
    octets(text.as_bytes())
}

fn octets(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": hex(bytes) }),
    }
}

fn int(int: Int) -> Value {
    int.get().into()
}

fn policy(policy: &Policy) -> Value {
    json!({
        "unikernels": int(policy.unikernels),
        "memory": int(policy.memory),
        "cpuids": policy.cpuids.iter().map(|id| int(*id)).collect::<Value>(),
        "block": policy.block.map(int),
        "bridges": policy.bridges.iter().map(text).collect::<Value>(),
    })
}

fn block_device(info: &BlockDeviceInfo) -> Value {
    json!({ "size": int(info.size), "active": info.active })
}

fn info(info: &Info, arguments: bool) -> Value {
    let object = json!({
        "typ": typ(info.typ),
        "startup": info.startup.map(int),
        "restart": restart(&info.fail_behaviour),
        "cpuids": info.cpuids.iter().map(|id| int(*id)).collect::<Value>(),
        "memory": int(info.memory),
        "digest": hex(info.digest.as_bytes()),
        "block_devices": info.block_devices.iter().map(info_block).collect::<Value>(),
        "net_devices": info.net_devices.iter().map(info_net).collect::<Value>(),
        "started": info.started.to_string(),
        "cpus": int(info.cpus),
        "linux_boot_partition": info.linux_boot_partition.as_ref().map(text),
    });
    if !arguments {
        return object;
    }
    let argv = info.argv.as_ref().map(|argv| argv.iter().map(text).collect::<Value>());
    with(object, "arguments", argv.unwrap_or(Value::Null))
}

fn typ(typ: Typ) -> Value {
    match typ {
        Typ::Solo5 => "solo5",
        Typ::Bhyve => "bhyve",
    }
    .into()
}

fn restart(behaviour: &FailBehaviour) -> Value {
    match behaviour {
        FailBehaviour::Quit => Value::Null,
        FailBehaviour::Restart(codes) => codes.iter().map(|code| int(*code)).collect(),
    }
}

fn status(status: &Status) -> Value {
    let (state, until, why) = match &status.state {
        State::Running => ("running", None, None),
        State::Starting => ("starting", None, None),
        State::Waiting(until) => ("waiting", Some(until.to_string()), None),
        State::Failed(why) => ("failed", None, Some(text(why))),
    };
    json!({
        "state": state,
        "until": until,
        "why": why,
        "since": status.since.to_string(),
        "restarts": int(status.restarts),
        "pid": status.pid.map(int),
        "last_exit": status.last_exit.map(exit),
    })
}

fn exit(exit: Exit) -> Value {
    let (how, number) = match exit {
        Exit::Exited(code) => ("exited", code),
        Exit::Signalled(signal) => ("signalled", signal),
        Exit::Stopped(signal) => ("stopped", signal),
    };
    json!({ how: int(number) })
}

fn event(event: &Event) -> Value {
    let kind = |kind: &str| json!({ "type": "event", "event": kind });
    match event {
        Event::DaemonStarted => kind("daemon-started"),
        Event::Login(it) => session(kind("login"), it),
        Event::Logout(it) => session(kind("logout"), it),
        Event::Command { command, failure } => {
            let object = with(kind("command"), "command", text(command));
            with(object, "failure", failure.as_ref().map_or(Value::Null, text))
        }
        Event::UnikernelStarted(pid) => with(kind("unikernel-started"), "pid", int(*pid)),
        Event::UnikernelStopped { pid, exit: how } => {
            let object = with(kind("unikernel-stopped"), "pid", int(*pid));
            with(object, "exit", how.map_or(Value::Null, exit))
        }
    }
}

fn session(object: Value, session: &Session) -> Value {
    let object = with(object, "address", text(&session.address));
    with(object, "serial", hex(session.serial.as_bytes()).into())
}

fn info_block(block: &InfoBlock) -> Value {
    json!({
        "unikernel_device": text(&block.unikernel_device),
        "host_device": text(&block.host_device),
        "sector_size": int(block.sector_size),
        "size": int(block.size),
    })
}

fn info_net(net: &InfoNet) -> Value {
    json!({
        "unikernel_device": text(&net.unikernel_device),
        "host_device": text(&net.host_device),
        "mac": net.mac.to_string(),
    })
}

fn statistics(statistics: &Statistics) -> Value {
    let vmm = statistics.vmm.as_ref().map(|pairs| {
        pairs.iter().map(|(key, value)| json!({ "key": text(key), "value": value })).collect::<Value>()
    });
    json!({
        "type": "statistics",
        "rusage": rusage(&statistics.rusage),
        "kinfo_mem": statistics.kinfo_mem.as_ref().map(kinfo_mem),
        "interfaces": statistics.interfaces.iter().map(interface).collect::<Value>(),
        "vmm": vmm,
    })
}

fn timeval(time: &TimeVal) -> Value {
    json!({ "seconds": time.seconds, "microseconds": int(time.microseconds) })
}

fn rusage(usage: &Rusage) -> Value {
    json!({
        "utime": timeval(&usage.utime),
        "stime": timeval(&usage.stime),
        "maxrss": usage.maxrss,
        "ixrss": usage.ixrss,
        "idrss": usage.idrss,
        "isrss": usage.isrss,
        "minflt": usage.minflt,
        "majflt": usage.majflt,
        "nswap": usage.nswap,
        "inblock": usage.inblock,
        "outblock": usage.outblock,
        "msgsnd": usage.msgsnd,
        "msgrcv": usage.msgrcv,
        "nsignals": usage.nsignals,
        "nvcsw": usage.nvcsw,
        "nivcsw": usage.nivcsw,
    })
}

fn kinfo_mem(memory: &KinfoMem) -> Value {
    json!({
        "vsize": memory.vsize,
        "rss": memory.rss,
        "tsize": memory.tsize,
        "dsize": memory.dsize,
        "ssize": memory.ssize,
        "runtime": memory.runtime,
        "cow": int(memory.cow),
        "start": timeval(&memory.start),
    })
}

fn interface(interface: &IfData) -> Value {
    json!({
        "bridge": text(&interface.bridge),
        "flags": interface.flags,
        "send_length": interface.send_length,
        "max_send_length": interface.max_send_length,
        "send_drops": interface.send_drops,
        "mtu": interface.mtu,
        "baudrate": interface.baudrate,
        "input_packets": interface.input_packets,
        "input_errors": interface.input_errors,
        "output_packets": interface.output_packets,
        "output_errors": interface.output_errors,
        "collisions": interface.collisions,
        "input_bytes": interface.input_bytes,
        "output_bytes": interface.output_bytes,
        "input_mcast": interface.input_mcast,
        "output_mcast": interface.output_mcast,
        "input_dropped": interface.input_dropped,
        "output_dropped": interface.output_dropped,
    })
}
