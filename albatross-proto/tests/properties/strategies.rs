//! Arbitrary values of every type that is encoded. Lists are short, numbers lie at the ends of their ranges
//! as often as between them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use albatross_proto::command::{ByDigest, History, RevocationCommand};
use albatross_proto::log::{Event, LogCommand, LogEntry, Session};
use albatross_proto::reply::{Exit, Info, InfoBlock, InfoNet, State as Doing, Status};
use albatross_proto::state::{Record, RecordedUnikernel, State};
use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};
use albatross_proto::{
    Arguments, BlockCommand, BlockDevice, BlockDeviceInfo, Command, Config, ConsoleCommand, Data,
    FailBehaviour, Header, Int, Label, MacAddress, Name, NetDevice, Path, Payload, Policy, PolicyCommand,
    StatisticsCommand, Success, Text, Time, Typ, UnikernelCommand, Wire,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;

pub(crate) fn label() -> BoxedStrategy<Label> {
    prop_oneof![
        8 => "[a-zA-Z0-9.][a-zA-Z0-9.-]{0,5}",
        1 => "[a-z0-9.][a-z0-9.-]{62}",
    ]
    .prop_map(|text| text.parse().unwrap())
    .boxed()
}

pub(crate) fn path() -> BoxedStrategy<Path> {
    vec(label(), 0..4)
        .prop_map(|labels| labels.iter().fold(Path::root(), |path, label| path.join(label)))
        .boxed()
}

pub(crate) fn name() -> BoxedStrategy<Name> {
    (path(), of(label())).prop_map(|(path, label)| Name::new(path, label)).boxed()
}

pub(crate) fn int() -> BoxedStrategy<Int> {
    let end = prop::sample::select(&[Int::MIN, Int::MAX, Int::ZERO, Int::ONE][..]);
    let power = (0_u32..62, -1_i64..=1, any::<bool>()).prop_map(|(power, off, negative)| {
        let value = (1_i64 << power) + off;
        Int::new(if negative { -value } else { value }).unwrap()
    });
    prop_oneof![1 => end, 4 => power].boxed()
}

fn int64() -> BoxedStrategy<i64> {
    prop_oneof![Just(0), Just(i64::MIN), Just(i64::MAX), any::<i64>()].boxed()
}

pub(crate) fn text() -> BoxedStrategy<Text> {
    prop_oneof![
        4 => "[ -~]{0,12}".prop_map(Text::from),
        1 => vec(any::<u8>(), 0..140).prop_map(|octets| Text::from(octets.as_slice())),
    ]
    .boxed()
}

fn octets() -> BoxedStrategy<Cow<'static, [u8]>> {
    prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 250..260)].prop_map(Cow::Owned).boxed()
}

/// A time as it is kept when it has travelled: whole milliseconds.
pub(crate) fn time() -> BoxedStrategy<Time> {
    let range = Time::MIN.unix_millis()..=Time::MAX.unix_millis();
    let end = prop::sample::select(vec![0, 1, -1, 999, 1000, *range.start(), *range.end()]);
    prop_oneof![1 => end, 4 => range].prop_map(|millis| Time::from_unix_millis(millis).unwrap()).boxed()
}

fn ints() -> BoxedStrategy<BTreeSet<Int>> {
    btree_set(int(), 0..4).boxed()
}

fn mac() -> BoxedStrategy<MacAddress> {
    any::<[u8; 6]>().prop_map(MacAddress).boxed()
}

pub(crate) fn policy() -> BoxedStrategy<Policy> {
    (ints(), int(), int(), of(int()), btree_set(text(), 0..4))
        .prop_map(|(cpuids, unikernels, memory, block, bridges)| Policy {
            cpuids,
            unikernels,
            memory,
            block,
            bridges,
        })
        .boxed()
}

fn fail_behaviour() -> BoxedStrategy<FailBehaviour> {
    prop_oneof![Just(FailBehaviour::Quit), ints().prop_map(FailBehaviour::Restart)].boxed()
}

fn typ() -> BoxedStrategy<Typ> {
    prop_oneof![Just(Typ::Solo5), Just(Typ::Bhyve)].boxed()
}

fn block_device() -> BoxedStrategy<BlockDevice> {
    (text(), of(text()), of(int()))
        .prop_map(|(name, device, sector_size)| BlockDevice { name, device, sector_size })
        .boxed()
}

fn net_device() -> BoxedStrategy<NetDevice> {
    (text(), of(text()), of(mac())).prop_map(|(name, bridge, mac)| NetDevice { name, bridge, mac }).boxed()
}

pub(crate) fn arguments() -> BoxedStrategy<Arguments> {
    let first = (fail_behaviour(), of(int()), any::<bool>(), ints(), int());
    let then = (vec(block_device(), 0..3), vec(net_device(), 0..3), of(vec(text(), 0..4)), int(), of(text()));
    (first, then)
        .prop_map(|(first, then)| {
            let (fail_behaviour, startup, add_name, cpuids, memory) = first;
            let (block_devices, net_devices, argv, cpus, linux_boot_partition) = then;
            Arguments {
                fail_behaviour,
                startup,
                add_name,
                cpuids,
                memory,
                block_devices,
                net_devices,
                argv,
                cpus,
                linux_boot_partition,
            }
        })
        .boxed()
}

pub(crate) fn config() -> BoxedStrategy<Config<'static>> {
    (typ(), any::<bool>(), octets(), arguments())
        .prop_map(|(typ, compressed, image, arguments)| Config { typ, compressed, image, arguments })
        .boxed()
}

fn history() -> BoxedStrategy<History> {
    prop_oneof![time().prop_map(History::Since), int().prop_map(History::Count)].boxed()
}

pub(crate) fn command() -> BoxedStrategy<Command<'static>> {
    prop_oneof![
        console().prop_map(Command::Console),
        statistics_command().prop_map(Command::Statistics),
        unikernel().prop_map(Command::Unikernel),
        policy_command().prop_map(Command::Policy),
        block().prop_map(Command::Block),
        history().prop_map(|history| Command::Log(LogCommand(history))),
        octets().prop_map(|list| Command::Revocation(RevocationCommand::Install(list))),
    ]
    .boxed()
}

fn console() -> BoxedStrategy<ConsoleCommand> {
    prop_oneof![
        int().prop_map(ConsoleCommand::Add),
        history().prop_map(ConsoleCommand::Subscribe),
        Just(ConsoleCommand::ListInactive),
    ]
    .boxed()
}

fn statistics_command() -> BoxedStrategy<StatisticsCommand> {
    let add = (text(), int(), vec((text(), text()), 0..3));
    prop_oneof![
        add.prop_map(|(vmmdev, pid, network)| StatisticsCommand::Add { vmmdev, pid, network }),
        Just(StatisticsCommand::Remove),
        Just(StatisticsCommand::Subscribe),
        Just(StatisticsCommand::Initial),
    ]
    .boxed()
}

fn by_digest() -> BoxedStrategy<ByDigest> {
    (config(), any::<[u8; 32]>(), int())
        .prop_map(|(config, sha256, size)| ByDigest {
            config: Config { image: Cow::Borrowed(&[]), ..config },
            sha256,
            size,
        })
        .boxed()
}

fn unikernel() -> BoxedStrategy<UnikernelCommand<'static>> {
    use UnikernelCommand as Command;
    prop_oneof![
        prop::sample::select(vec![
            Command::Info,
            Command::InfoV5,
            Command::InfoV4,
            Command::Destroy,
            Command::Status
        ]),
        config().prop_map(Command::Create),
        config().prop_map(Command::ForceCreate),
        of(arguments()).prop_map(Command::Restart),
        int().prop_map(Command::Get),
        by_digest().prop_map(Command::CreateByDigest),
        by_digest().prop_map(Command::ForceCreateByDigest),
    ]
    .boxed()
}

fn policy_command() -> BoxedStrategy<PolicyCommand> {
    prop_oneof![Just(PolicyCommand::Info), policy().prop_map(PolicyCommand::Add), Just(PolicyCommand::Remove)]
        .boxed()
}

fn block() -> BoxedStrategy<BlockCommand<'static>> {
    use BlockCommand as Command;
    prop_oneof![
        prop::sample::select(vec![Command::Info, Command::Remove]),
        int().prop_map(Command::Add),
        (int(), any::<bool>(), of(octets())).prop_map(|(size, compressed, data)| Command::AddOld {
            size,
            compressed,
            data
        }),
        (any::<bool>(), octets()).prop_map(|(compressed, data)| Command::SetOld { compressed, data }),
        int().prop_map(Command::DumpOld),
        int().prop_map(Command::Dump),
        any::<bool>().prop_map(|compressed| Command::Set { compressed }),
    ]
    .boxed()
}

fn info() -> BoxedStrategy<Info> {
    let block =
        (text(), text(), int(), int()).prop_map(|(unikernel_device, host_device, sector_size, size)| {
            InfoBlock { unikernel_device, host_device, sector_size, size }
        });
    let net = (text(), text(), mac()).prop_map(|(unikernel_device, host_device, mac)| InfoNet {
        unikernel_device,
        host_device,
        mac,
    });
    (typ(), text(), vec(block, 0..3), vec(net, 0..3), time(), arguments())
        .prop_map(|(typ, digest, block_devices, net_devices, started, arguments)| Info {
            typ,
            startup: arguments.startup,
            fail_behaviour: arguments.fail_behaviour,
            cpuids: arguments.cpuids,
            memory: arguments.memory,
            digest,
            block_devices,
            net_devices,
            argv: arguments.argv,
            started,
            cpus: arguments.cpus,
            linux_boot_partition: arguments.linux_boot_partition,
        })
        .boxed()
}

fn exit() -> BoxedStrategy<Exit> {
    prop_oneof![int().prop_map(Exit::Exited), int().prop_map(Exit::Signalled), int().prop_map(Exit::Stopped)]
        .boxed()
}

fn status() -> BoxedStrategy<Status> {
    let state = prop_oneof![
        Just(Doing::Running),
        Just(Doing::Starting),
        time().prop_map(Doing::Waiting),
        text().prop_map(Doing::Failed)
    ];
    (state, time(), int(), of(int()), of(exit()))
        .prop_map(|(state, since, restarts, pid, last_exit)| Status {
            state,
            since,
            restarts,
            pid,
            last_exit,
        })
        .boxed()
}

fn named<T: std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Vec<(Name, T)>> {
    vec((name(), value), 0..4).boxed()
}

fn success() -> BoxedStrategy<Success<'static>> {
    let device = (int(), any::<bool>()).prop_map(|(size, active)| BlockDeviceInfo { size, active });
    let image = || (any::<bool>(), octets());
    prop_oneof![
        Just(Success::Empty),
        text().prop_map(Success::Text),
        named(policy()).prop_map(Success::Policies),
        named(device).prop_map(Success::BlockDevices),
        image().prop_map(|(compressed, image)| Success::UnikernelImage { compressed, image }),
        image().prop_map(|(compressed, image)| Success::BlockDeviceImageOld { compressed, image }),
        any::<bool>().prop_map(|compressed| Success::BlockDeviceImage { compressed }),
        named(info()).prop_map(Success::InfoV4),
        named(info()).prop_map(Success::InfoV5),
        named(info()).prop_map(Success::Info),
        vec(name(), 0..4).prop_map(Success::Consoles),
        named(status()).prop_map(Success::Status),
    ]
    .boxed()
}

fn timeval() -> BoxedStrategy<TimeVal> {
    (int64(), int()).prop_map(|(seconds, microseconds)| TimeVal { seconds, microseconds }).boxed()
}

fn rusage() -> BoxedStrategy<Rusage> {
    (timeval(), timeval(), prop::array::uniform14(int64()))
        .prop_map(|(utime, stime, counters)| {
            let [maxrss, ixrss, idrss, isrss, minflt, majflt, nswap, inblock, outblock, msgsnd, rest @ ..] =
                counters;
            let [msgrcv, nsignals, nvcsw, nivcsw] = rest;
            Rusage {
                utime,
                stime,
                maxrss,
                ixrss,
                idrss,
                isrss,
                minflt,
                majflt,
                nswap,
                inblock,
                outblock,
                msgsnd,
                msgrcv,
                nsignals,
                nvcsw,
                nivcsw,
            }
        })
        .boxed()
}

fn interface() -> BoxedStrategy<IfData> {
    (text(), any::<[i32; 5]>(), prop::array::uniform12(int64()))
        .prop_map(|(bridge, small, large)| {
            let [flags, send_length, max_send_length, send_drops, mtu] = small;
            let [
                baudrate,
                input_packets,
                input_errors,
                output_packets,
                output_errors,
                collisions,
                input_bytes,
                output_bytes,
                input_mcast,
                output_mcast,
                input_dropped,
                output_dropped,
            ] = large;
            IfData {
                bridge,
                flags,
                send_length,
                max_send_length,
                send_drops,
                mtu,
                baudrate,
                input_packets,
                input_errors,
                output_packets,
                output_errors,
                collisions,
                input_bytes,
                output_bytes,
                input_mcast,
                output_mcast,
                input_dropped,
                output_dropped,
            }
        })
        .boxed()
}

fn kinfo_mem() -> BoxedStrategy<KinfoMem> {
    (prop::array::uniform6(int64()), int(), timeval())
        .prop_map(|(sizes, cow, start)| {
            let [vsize, rss, tsize, dsize, ssize, runtime] = sizes;
            KinfoMem { vsize, rss, tsize, dsize, ssize, runtime, cow, start }
        })
        .boxed()
}

fn statistics() -> BoxedStrategy<Statistics> {
    let vmm = of(vec((text(), int64()), 0..4));
    (rusage(), vec(interface(), 0..3), vmm, of(kinfo_mem()))
        .prop_map(|(rusage, interfaces, vmm, kinfo_mem)| Statistics { rusage, interfaces, vmm, kinfo_mem })
        .boxed()
}

fn event() -> BoxedStrategy<Event> {
    let session = || (text(), text()).prop_map(|(address, serial)| Session { address, serial });
    prop_oneof![
        Just(Event::DaemonStarted),
        session().prop_map(Event::Login),
        session().prop_map(Event::Logout),
        (text(), of(text())).prop_map(|(command, failure)| Event::Command { command, failure }),
        int().prop_map(Event::UnikernelStarted),
        (int(), of(exit())).prop_map(|(pid, exit)| Event::UnikernelStopped { pid, exit }),
    ]
    .boxed()
}

fn data() -> BoxedStrategy<Data<'static>> {
    prop_oneof![
        statistics().prop_map(|statistics| Data::Statistics(Box::new(statistics))),
        (time(), octets()).prop_map(|(timestamp, line)| Data::Console { timestamp, line }),
        of(octets()).prop_map(Data::Block),
        (time(), event()).prop_map(|(timestamp, event)| Data::Log(LogEntry { timestamp, event })),
    ]
    .boxed()
}

pub(crate) fn wire() -> BoxedStrategy<Wire<'static>> {
    let payload = prop_oneof![
        command().prop_map(Payload::Command),
        success().prop_map(Payload::Success),
        text().prop_map(Payload::Failure),
        data().prop_map(Payload::Data),
    ];
    (int64(), name(), payload)
        .prop_map(|(sequence, name, payload)| Wire { header: Header { sequence, name }, payload })
        .boxed()
}

/// Names that are different nodes: every other entry of a path is a unikernel, so that none is both.
fn nodes<T: std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Vec<(Path, T)>> {
    btree_map(path(), value, 0..5).prop_map(|map| map.into_iter().collect()).boxed()
}

pub(crate) fn state() -> BoxedStrategy<State<'static>> {
    (nodes((config(), any::<bool>())), nodes(policy()))
        .prop_map(|(unikernels, policies)| State {
            unikernels: unikernels
                .into_iter()
                .map(|(node, (config, with_label))| {
                    (if with_label { as_name(&node) } else { node.to_name() }, config)
                })
                .collect(),
            policies,
        })
        .boxed()
}

/// A node's last label as the label of the name.
fn as_name(node: &Path) -> Name {
    match (node.parent(), node.labels().last()) {
        (Some(path), Some(label)) => Name::new(path, Some(label.parse().unwrap())),
        _ => node.to_name(),
    }
}

pub(crate) fn record() -> BoxedStrategy<Record> {
    let unikernel = (config(), any::<[u8; 32]>()).prop_map(|(config, digest)| RecordedUnikernel {
        config: Config { image: Cow::Borrowed(&[]), ..config },
        digest,
    });
    (vec((name(), unikernel), 0..3), vec((path(), policy()), 0..3))
        .prop_map(|(unikernels, policies)| Record { unikernels, policies })
        .boxed()
}
