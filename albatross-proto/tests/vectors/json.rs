//! From the JSON of the recorded vectors (see `testdata/vectors/README.md`) to our types.

use std::borrow::Cow;
use std::collections::BTreeSet;

use albatross_proto::command::{
    BlockCommand, ConsoleCommand, History, PolicyCommand, StatisticsCommand, UnikernelCommand,
};
use albatross_proto::reply::{BlockDeviceInfo, Info, InfoBlock, InfoNet};
use albatross_proto::state::State;
use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};
use albatross_proto::{
    Arguments, BlockDevice, Command, Config, Data, FailBehaviour, Header, Int, MacAddress, Name, NetDevice,
    Path, Payload, Policy, Success, Text, Time, Typ, Wire,
};
use serde_json::Value;

pub(crate) fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "hex of odd length");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn wire(v: &Value) -> Wire<'static> {
    Wire::new(header(&v["header"]), payload(&v["payload"]))
}

fn header(v: &Value) -> Header {
    assert_eq!(v["version"], 5);
    let name = name(&v["name"]);
    let labels: Vec<&str> = v["name_path"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert_eq!(name.path().labels().collect::<Vec<_>>(), labels, "name_path");
    assert_eq!(name.label().map(|l| l.as_str()), v["name_label"].as_str(), "name_label");
    Header::new(int64(&v["sequence"]), name)
}

fn payload(v: &Value) -> Payload<'static> {
    match v["kind"].as_str().unwrap() {
        "command" => Payload::Command(command(&v["command"])),
        "success" => Payload::Success(success(&v["success"])),
        "failure" => Payload::Failure(text(&v["message"])),
        "data" => Payload::Data(data(&v["data"])),
        other => panic!("unknown payload kind {other}"),
    }
}

pub(crate) fn command(v: &Value) -> Command<'static> {
    let op = v["op"].as_str().unwrap();
    match v["class"].as_str().unwrap() {
        "console" => Command::Console(match op {
            "add" => ConsoleCommand::Add(int(&v["max_unikernels"])),
            "subscribe" if !v["since"].is_null() => {
                ConsoleCommand::Subscribe(History::Since(time(&v["since"])))
            }
            "subscribe" => ConsoleCommand::Subscribe(History::Count(int(&v["count"]))),
            "list-inactive" => ConsoleCommand::ListInactive,
            other => panic!("unknown console op {other}"),
        }),
        "stats" => Command::Statistics(match op {
            "add" => StatisticsCommand::Add {
                vmmdev: text(&v["vmmdev"]),
                pid: int(&v["pid"]),
                network: list(&v["network"], |v| (text(&v["bridge"]), text(&v["tap"]))),
            },
            "remove" => StatisticsCommand::Remove,
            "subscribe" => StatisticsCommand::Subscribe,
            "initial" => StatisticsCommand::Initial,
            other => panic!("unknown stats op {other}"),
        }),
        "unikernel" => Command::Unikernel(match op {
            "info" => UnikernelCommand::Info,
            "old-info5" => UnikernelCommand::InfoV5,
            "old-info4" => UnikernelCommand::InfoV4,
            "get" => UnikernelCommand::Get(int(&v["compress_level"])),
            "destroy" => UnikernelCommand::Destroy,
            "create" => UnikernelCommand::Create(config(&v["config"])),
            "force-create" => UnikernelCommand::ForceCreate(config(&v["config"])),
            "restart" => UnikernelCommand::Restart(optional(&v["arguments"], arguments)),
            other => panic!("unknown unikernel op {other}"),
        }),
        "policy" => Command::Policy(match op {
            "info" => PolicyCommand::Info,
            "add" => PolicyCommand::Add(policy(&v["policy"])),
            "remove" => PolicyCommand::Remove,
            other => panic!("unknown policy op {other}"),
        }),
        "block" => Command::Block(match op {
            "info" => BlockCommand::Info,
            "add" => BlockCommand::Add(int(&v["size"])),
            "remove" => BlockCommand::Remove,
            "old-add" => BlockCommand::AddOld {
                size: int(&v["size"]),
                compressed: boolean(&v["compressed"]),
                data: optional(&v["data_hex"], |v| Cow::Owned(bytes(v))),
            },
            "old-set" => BlockCommand::SetOld {
                compressed: boolean(&v["compressed"]),
                data: Cow::Owned(bytes(&v["data_hex"])),
            },
            "old-dump" => BlockCommand::DumpOld(int(&v["compress_level"])),
            "dump" => BlockCommand::Dump(int(&v["compress_level"])),
            "set" => BlockCommand::Set { compressed: boolean(&v["compressed"]) },
            other => panic!("unknown block op {other}"),
        }),
        other => panic!("unknown command class {other}"),
    }
}

fn success(v: &Value) -> Success<'static> {
    let infos = |v: &Value| list(&v["unikernels"], |v| (name(&v["name"]), info(&v["info"])));
    let image = |v: &Value| (boolean(&v["compressed"]), Cow::Owned(bytes(&v["image_hex"])));
    match v["op"].as_str().unwrap() {
        "empty" => Success::Empty,
        "string" => Success::Text(text(&v["string"])),
        "policies" => Success::Policies(list(&v["policies"], |v| (name(&v["name"]), policy(&v["policy"])))),
        "block-devices" => Success::BlockDevices(list(only_list(v), |v| {
            (name(&v["name"]), BlockDeviceInfo { size: int(&v["size"]), active: boolean(&v["active"]) })
        })),
        "unikernel-image" => {
            let (compressed, image) = image(v);
            Success::UnikernelImage { compressed, image }
        }
        "old-block-device-image" => {
            let (compressed, image) = image(v);
            Success::BlockDeviceImageOld { compressed, image }
        }
        "block-device-image" => Success::BlockDeviceImage { compressed: boolean(&v["compressed"]) },
        "old-unikernel-info4" => Success::InfoV4(infos(v)),
        "old-unikernel-info5" => Success::InfoV5(infos(v)),
        "unikernel-info" => Success::Info(infos(v)),
        "consoles" => Success::Consoles(list(only_list(v), name)),
        other => panic!("unknown success op {other}"),
    }
}

fn info(v: &Value) -> Info {
    Info {
        typ: typ(&v["typ"]),
        startup: optional(&v["startup"], int),
        fail_behaviour: fail_behaviour(&v["fail_behaviour"]),
        cpuids: set(&v["cpuids"]),
        memory: int(&v["memory"]),
        digest: Text::from(bytes(&v["digest_hex"]).as_slice()),
        block_devices: list(&v["block_devices"], |v| InfoBlock {
            unikernel_device: text(&v["unikernel_device"]),
            host_device: text(&v["host_device"]),
            sector_size: int(&v["sector_size"]),
            size: int(&v["size"]),
        }),
        net_devices: list(&v["bridges"], |v| InfoNet {
            unikernel_device: text(&v["unikernel_device"]),
            host_device: text(&v["host_device"]),
            mac: mac(&v["mac"]),
        }),
        argv: optional(&v["argv"], |v| list(v, text)),
        started: time(&v["started"]),
        cpus: int(&v["numcpus"]),
        linux_boot_partition: optional(&v["linux_boot_partition"], text),
    }
}

fn data(v: &Value) -> Data<'static> {
    match v["op"].as_str().unwrap() {
        "stats" => Data::Statistics(Box::new(Statistics {
            rusage: rusage(&v["rusage"]),
            interfaces: list(&v["ifdata"], ifdata),
            vmm: optional(&v["vmm"], |v| list(v, |v| (text(&v["key"]), int64(&v["value"])))),
            kinfo_mem: optional(&v["kinfo_mem"], kinfo),
        })),
        "console" => Data::Console {
            timestamp: time(&v["timestamp"]),
            line: Cow::Owned(text(&v["line"]).as_bytes().to_vec()),
        },
        "block" => Data::Block(optional(&v["data_hex"], |v| Cow::Owned(bytes(v)))),
        other => panic!("unknown data op {other}"),
    }
}

fn rusage(v: &Value) -> Rusage {
    Rusage {
        utime: timeval(&v["utime"]),
        stime: timeval(&v["stime"]),
        maxrss: int64(&v["maxrss"]),
        ixrss: int64(&v["ixrss"]),
        idrss: int64(&v["idrss"]),
        isrss: int64(&v["isrss"]),
        minflt: int64(&v["minflt"]),
        majflt: int64(&v["majflt"]),
        nswap: int64(&v["nswap"]),
        inblock: int64(&v["inblock"]),
        outblock: int64(&v["outblock"]),
        msgsnd: int64(&v["msgsnd"]),
        msgrcv: int64(&v["msgrcv"]),
        nsignals: int64(&v["nsignals"]),
        nvcsw: int64(&v["nvcsw"]),
        nivcsw: int64(&v["nivcsw"]),
    }
}

fn kinfo(v: &Value) -> KinfoMem {
    KinfoMem {
        vsize: int64(&v["vsize"]),
        rss: int64(&v["rss"]),
        tsize: int64(&v["tsize"]),
        dsize: int64(&v["dsize"]),
        ssize: int64(&v["ssize"]),
        runtime: int64(&v["runtime"]),
        cow: int(&v["cow"]),
        start: timeval(&v["start"]),
    }
}

fn ifdata(v: &Value) -> IfData {
    let int32 = |v: &Value| i32::from_be_bytes(v.as_i64().unwrap().to_be_bytes()[4..].try_into().unwrap());
    IfData {
        bridge: text(&v["bridge"]),
        flags: int32(&v["flags"]),
        send_length: int32(&v["send_length"]),
        max_send_length: int32(&v["max_send_length"]),
        send_drops: int32(&v["send_drops"]),
        mtu: int32(&v["mtu"]),
        baudrate: int64(&v["baudrate"]),
        input_packets: int64(&v["input_packets"]),
        input_errors: int64(&v["input_errors"]),
        output_packets: int64(&v["output_packets"]),
        output_errors: int64(&v["output_errors"]),
        collisions: int64(&v["collisions"]),
        input_bytes: int64(&v["input_bytes"]),
        output_bytes: int64(&v["output_bytes"]),
        input_mcast: int64(&v["input_mcast"]),
        output_mcast: int64(&v["output_mcast"]),
        input_dropped: int64(&v["input_dropped"]),
        output_dropped: int64(&v["output_dropped"]),
    }
}

fn timeval(v: &Value) -> TimeVal {
    TimeVal { seconds: int64(&v["seconds"]), microseconds: int(&v["microseconds"]) }
}

pub(crate) fn state(v: &Value) -> State<'static> {
    State {
        unikernels: list(&v["unikernels"], |v| (name(&v["name"]), config(&v["config"]))),
        policies: list(&v["policies"], |v| (path_of_key(&v["name"]), policy(&v["policy"]))),
    }
}

/// A policy's key is its path as a name.
fn path_of_key(v: &Value) -> Path {
    let name = name(v);
    assert!(name.label().is_none(), "a policy belongs to a path");
    name.path().clone()
}

fn config(v: &Value) -> Config<'static> {
    Config {
        typ: typ(&v["typ"]),
        compressed: boolean(&v["compressed"]),
        image: Cow::Owned(bytes(&v["image_hex"])),
        arguments: arguments(v),
    }
}

fn arguments(v: &Value) -> Arguments {
    Arguments {
        fail_behaviour: fail_behaviour(&v["fail_behaviour"]),
        startup: optional(&v["startup"], int),
        add_name: boolean(&v["add_name"]),
        cpuids: set(&v["cpuids"]),
        memory: int(&v["memory"]),
        block_devices: list(&v["block_devices"], |v| BlockDevice {
            name: text(&v["name"]),
            device: optional(&v["device"], text),
            sector_size: optional(&v["sector_size"], int),
        }),
        net_devices: list(&v["bridges"], |v| NetDevice {
            name: text(&v["netif"]),
            bridge: optional(&v["bridge"], text),
            mac: optional(&v["mac"], mac),
        }),
        argv: optional(&v["argv"], |v| list(v, text)),
        cpus: int(&v["numcpus"]),
        linux_boot_partition: optional(&v["linux_boot_partition"], text),
    }
}

fn policy(v: &Value) -> Policy {
    Policy {
        cpuids: set(&v["cpuids"]),
        unikernels: int(&v["unikernels"]),
        memory: int(&v["memory"]),
        block: optional(&v["block"], int),
        bridges: list(&v["bridges"], text).into_iter().collect(),
    }
}

fn typ(v: &Value) -> Typ {
    match v.as_str().unwrap() {
        "solo5" => Typ::Solo5,
        "bhyve" => Typ::Bhyve,
        other => panic!("unknown typ {other}"),
    }
}

fn fail_behaviour(v: &Value) -> FailBehaviour {
    match v["kind"].as_str().unwrap() {
        "quit" => FailBehaviour::Quit,
        "restart" => FailBehaviour::Restart(optional(&v["exit_codes"], set).unwrap_or_default()),
        other => panic!("unknown fail behaviour {other}"),
    }
}

fn time(v: &Value) -> Time {
    let seconds = v["unix_seconds"].as_i64().unwrap();
    Time::from_unix_picos(seconds, v["frac_ps"].as_u64().unwrap()).unwrap()
}

fn name(v: &Value) -> Name {
    v.as_str().unwrap().parse().unwrap()
}

fn mac(v: &Value) -> MacAddress {
    v.as_str().unwrap().parse().unwrap()
}

fn text(v: &Value) -> Text {
    match v {
        Value::String(text) => Text::from(text.as_str()),
        Value::Object(_) => Text::from(bytes(&v["hex"]).as_slice()),
        other => panic!("not a text: {other}"),
    }
}

fn bytes(v: &Value) -> Vec<u8> {
    hex(v.as_str().unwrap())
}

fn boolean(v: &Value) -> bool {
    v.as_bool().unwrap()
}

fn int(v: &Value) -> Int {
    Int::new(v.as_i64().unwrap()).unwrap()
}

fn int64(v: &Value) -> i64 {
    v.as_str().unwrap().parse().unwrap()
}

fn set(v: &Value) -> BTreeSet<Int> {
    list(v, int).into_iter().collect()
}

fn list<T>(v: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    v.as_array().unwrap().iter().map(read).collect()
}

/// The one list in an object.
fn only_list(v: &Value) -> &Value {
    let mut lists = v.as_object().unwrap().values().filter(|v| v.is_array());
    let list = lists.next().unwrap_or_else(|| panic!("no list in {v}"));
    assert!(lists.next().is_none(), "several lists in {v}");
    list
}

fn optional<T>(v: &Value, read: impl Fn(&Value) -> T) -> Option<T> {
    if v.is_null() { None } else { Some(read(v)) }
}
