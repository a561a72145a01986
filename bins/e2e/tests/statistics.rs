//! The statistics daemon and albatrossd: first this test plays its part, then it is the real one, with real tenders.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use albatross_e2e::pki::ROOT;
use albatross_e2e::raw::Raw;
use albatross_e2e::{Daemon, Host, Pki, eventually, processes};
use albatross_proto::stats::{Statistics, TimeVal};
use albatross_proto::{Command as Wanted, Data, Int, Payload, StatisticsCommand, Success, Wire};

mod namespace;
use namespace::{in_new_network, ip, taps};

fn told(statistics: &mut Raw<UnixStream>) -> (i64, String, Payload<'static>) {
    let frame = statistics.frame().unwrap().expect("a message");
    let Wire { header, payload } = Wire::decode(&frame).unwrap();
    let payload = match payload {
        Payload::Success(Success::Empty) => Payload::Success(Success::Empty),
        Payload::Command(Wanted::Statistics(command)) => Payload::Command(Wanted::Statistics(command)),
        other => panic!("{other:?}"),
    };
    (header.sequence, header.name.to_string(), payload)
}

#[test]
fn it_is_told_what_runs_under_which_process() {
    let host = Host::for_test().unwrap();
    let mut statistics = Raw::unix(&host.socket("vmmd")).unwrap();
    statistics.command(":", Wanted::Statistics(StatisticsCommand::Initial)).unwrap();
    assert_eq!(told(&mut statistics), (0, ":".to_owned(), Payload::Success(Success::Empty)));

    let image = host.programs().guest("tick").to_string_lossy().into_owned();
    host.client(&["create", "a:tick", &image, "--mem=2"]).unwrap().assert(0, "created unikernel");
    let [(pid, _)] = host.tenders()[..] else { panic!("one tender: {:?}", host.tenders()) };
    let add = StatisticsCommand::Add { vmmdev: "".into(), pid: Int::from(pid), network: Vec::new() };
    let expected = Payload::Command(Wanted::Statistics(add));
    assert_eq!(told(&mut statistics), (1, "a:tick".to_owned(), expected));
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed unikernel");
    let remove = Payload::Command(Wanted::Statistics(StatisticsCommand::Remove));
    assert_eq!(told(&mut statistics), (2, "a:tick".to_owned(), remove));
}

/// A daemon that gathers every second.
fn start_statistics(host: &Host) -> Daemon {
    host.start_beside("albatross-stats", Some("stat"), &["--interval=1"]).unwrap()
}

/// Who is subscribed.
struct Subscriber(Raw<UnixStream>);

impl Subscriber {
    fn to(host: &Host, name: &str) -> Self {
        let mut raw = Raw::unix(&host.socket("stat")).unwrap();
        raw.command(name, Wanted::Statistics(StatisticsCommand::Subscribe)).unwrap();
        let frame = raw.frame().unwrap().expect("an answer");
        let answer = Wire::decode(&frame).unwrap();
        assert_eq!(answer.payload, Payload::Success(Success::Text("subscribed".into())));
        Self(raw)
    }

    fn next(&mut self) -> (String, Statistics) {
        let frame = self.0.frame().unwrap().expect("statistics");
        let Wire { header, payload } = Wire::decode(&frame).unwrap();
        let Payload::Data(Data::Statistics(statistics)) = payload else { panic!("{payload:?}") };
        (header.name.to_string(), *statistics)
    }

    /// The next of one unikernel.
    fn next_of(&mut self, name: &str) -> Statistics {
        let found = (0..1000).map(|_| self.next()).find(|(of, _)| of == name);
        found.expect("its statistics").1
    }
}

/// What a process has computed, in microseconds, by its own account of it.
fn computed(pid: i32) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: i64 = fields[11].parse::<i64>().unwrap() + fields[12].parse::<i64>().unwrap();
    ticks * 10_000
}

fn micros(time: &TimeVal) -> i64 {
    time.seconds * 1_000_000 + time.microseconds.get()
}

fn now() -> i64 {
    i64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

fn tender(host: &Host, name: &str) -> i32 {
    let marked = host.tenders().into_iter().find(|(_, line)| line.contains(&format!("/{name}.img")));
    marked.unwrap_or_else(|| panic!("{name}: {:?}", host.tenders())).0
}

#[test]
fn figures_of_guests_that_compute_and_touch_memory_are_theirs() {
    let host = Host::for_test().unwrap();
    let _statistics = start_statistics(&host);
    let before = now();
    host.create("a:small", "burn", &["--mem=64", "--arg=--touch=2"]).unwrap().assert(0, "created");
    host.create("a:large", "burn", &["--mem=64", "--arg=--touch=42"]).unwrap().assert(0, "created");
    host.create("b:idle", "tick", &["--mem=64", "--arg=--ms=3600000"]).unwrap().assert(0, "created");
    host.console_ends_with("a:large", &["touched 42 MB"]).unwrap();
    host.console_ends_with("a:small", &["touched 2 MB"]).unwrap();
    let created = now();
    let (small, idle) = (tender(&host, "a:small"), tender(&host, "b:idle"));
    let mut subscriber = Subscriber::to(&host, ":");
    // Memory: 40 MB are the difference between the two, in octets, in KiB where it is the most that there was.
    let (of_small, of_large) = (subscriber.next_of("a:small"), subscriber.next_of("a:large"));
    let (memory, larger) = (of_small.kinfo_mem.unwrap(), of_large.kinfo_mem.unwrap());
    let megabytes = |octets: i64| octets / 1024 / 1024;
    assert!((39..=41).contains(&megabytes(larger.rss - memory.rss)), "{memory:?} {larger:?}");
    let most = of_large.rusage.maxrss - of_small.rusage.maxrss;
    assert!((39..=41).contains(&(most / 1024)), "{of_small:?} {of_large:?}");
    // How many pages come with one fault is the kernel's choice.
    assert!(of_large.rusage.minflt > of_small.rusage.minflt);
    assert_eq!(memory.vsize, larger.vsize);
    assert_eq!(memory.vsize, 1024 * i64::try_from(processes::status(small, "VmSize").unwrap()).unwrap());
    assert_eq!(memory.dsize, i64::try_from(processes::status(small, "VmData").unwrap()).unwrap() / 4);
    assert_eq!(memory.ssize, i64::try_from(processes::status(small, "VmStk").unwrap()).unwrap() / 4);
    assert!((before - 1..=created + 1).contains(&memory.start.seconds), "{before} {created} {memory:?}");
    // Computing: what is told lies between what it was before and after.
    let (low, low_of_idle) = (computed(small), processes::status(idle, "voluntary_ctxt_switches").unwrap());
    let (busy, quiet) = (subscriber.next_of("a:small"), subscriber.next_of("b:idle"));
    let high = computed(small);
    let runtime = busy.kinfo_mem.unwrap().runtime;
    assert!((low..=high).contains(&runtime), "{low} {runtime} {high}");
    assert_eq!(micros(&busy.rusage.utime) + micros(&busy.rusage.stime), runtime);
    assert!(busy.rusage.utime.seconds > 0 || runtime > quiet.kinfo_mem.unwrap().runtime, "{busy:?}");
    assert_eq!(quiet.rusage.nvcsw, i64::try_from(low_of_idle).unwrap());
    assert_eq!((busy.interfaces, busy.vmm), (Vec::new(), None));
}

#[test]
fn counters_of_taps_are_those_of_their_guests() {
    in_new_network(|| {
        let host = Host::for_test().unwrap();
        let _statistics = start_statistics(&host);
        host.create("a:pong", "pong", &["--net", "service", "--arg=--ipv4=10.9.0.2"])
            .unwrap()
            .assert(0, "created");
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut answers = 0;
        eventually("50 answers of 1000 octets", || {
            socket.send_to(&[7; 1000], "10.9.0.2:7").unwrap();
            let mut answer = [0; 1024];
            answers += i64::from(socket.recv(&mut answer).is_ok_and(|count| count == 1000));
            (answers == 50).then_some(())
        })
        .unwrap();
        let [tap] = &taps()[..] else { panic!("{:?}", taps()) };
        let counter = |name: &str| -> i64 {
            let text = fs::read_to_string(format!("/sys/class/net/{tap}/statistics/{name}")).unwrap();
            text.trim().parse().unwrap()
        };
        let mut subscriber = Subscriber::to(&host, "a:pong");
        let low = [counter("rx_packets"), counter("rx_bytes"), counter("tx_packets"), counter("tx_bytes")];
        let statistics = subscriber.next_of(":pong");
        let high = [counter("rx_packets"), counter("rx_bytes"), counter("tx_packets"), counter("tx_bytes")];
        let [interface] = &statistics.interfaces[..] else { panic!("{statistics:?}") };
        assert_eq!((interface.bridge.to_string(), interface.mtu), ("service".to_owned(), 1500));
        // Up, and what is broadcast reaches it.
        assert_eq!(interface.flags & 3, 3);
        let seen = [
            interface.input_packets,
            interface.input_bytes,
            interface.output_packets,
            interface.output_bytes,
        ];
        for (seen, (low, high)) in seen.into_iter().zip(low.into_iter().zip(high)) {
            assert!((low..=high).contains(&seen), "{low} {seen} {high}");
        }
        // Input is what the guest sent: an answer for each that it got, and one about its address.
        assert!(interface.input_packets >= 50 && interface.input_bytes >= 50 * (1000 + 8 + 20 + 14));
        assert!(interface.output_packets >= interface.input_packets - 1);
        // What changes, and what comes, is noticed.
        ip(&format!("link set {tap} mtu 1400"));
        eventually("the new mtu", || (subscriber.next_of(":pong").interfaces[0].mtu == 1400).then_some(()))
            .unwrap();
        host.create("b:pong", "pong", &["--net", "service", "--arg=--ipv4=10.9.0.3"])
            .unwrap()
            .assert(0, "created");
        let mut other = Subscriber::to(&host, "b:pong");
        assert_eq!(other.next_of(":pong").interfaces[0].mtu, 1500);
        assert_eq!(subscriber.next_of(":pong").interfaces[0].mtu, 1400);
    });
}

#[test]
fn statistics_go_on_through_restarts_of_guests_and_daemons() {
    let mut host = Host::for_test().unwrap();
    let mut statistics = start_statistics(&host);
    host.create("a:tick", "tick", &[]).unwrap().assert(0, "created");
    let mut subscriber = Subscriber::to(&host, "a:");
    let start = |statistics: &Statistics| micros(&statistics.kinfo_mem.unwrap().start);
    let first = start(&subscriber.next_of(":tick"));
    // The same name, another process.
    host.client(&["restart", "a:tick"]).unwrap().assert(0, "created");
    let mut second = first;
    while second == first {
        second = start(&subscriber.next_of(":tick"));
    }
    assert!(second > first, "{first} {second}");
    // albatrossd is replaced: nothing is missed meanwhile, and what is new is told.
    host.take_albatrossd().unwrap().hand_over().unwrap();
    assert_eq!(start(&subscriber.next_of(":tick")), second);
    host.start_albatrossd(&[]).unwrap();
    host.create("a:new", "tick", &[]).unwrap().assert(0, "created");
    subscriber.next_of(":new");
    host.client(&["destroy", "a:tick"]).unwrap().assert(0, "destroyed");
    // A round that has nothing of it.
    eventually("rounds without what was destroyed", || {
        ((0..2).map(|_| subscriber.next().0).collect::<Vec<_>>() == [":new", ":new"]).then_some(())
    })
    .unwrap();
    // The statistics daemon is replaced: it is told again what runs.
    statistics = {
        drop(statistics);
        start_statistics(&host)
    };
    let lines = shown(host.client_command(&["stats", "--name=a:new"]), 1);
    assert!(lines[0].contains(":new") && lines[0].contains(" rss "), "{lines:?}");
    assert!(statistics.runs());
}

/// The first lines of statistics that a client shows.
fn shown(mut client: Command, count: usize) -> Vec<String> {
    let mut child = client.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let lines = lines.filter(|line| line.contains("max rss")).take(count).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    lines
}

#[test]
fn by_certificate_one_sees_what_is_under_ones_own_path() {
    let mut host = Host::for_test().unwrap();
    let _statistics = start_statistics(&host);
    let pki = Pki::generate(host.programs(), &host.work().join("pki")).unwrap();
    pki.intermediate(ROOT, "alice", 4, &["--mem=64"]).unwrap();
    let [ca, cert, key] = pki.server();
    let port = host.start_endpoint(&ca, &cert, &key).unwrap();
    for name in ["alice:one", "alice:b:two", "bob:three"] {
        host.create(name, "tick", &[]).unwrap().assert(0, "created");
    }
    let mut all = shown(pki.remote_command(port, "alice", &["stats"]), 4);
    all.sort();
    assert!(all.iter().all(|line| !line.contains("three")), "{all:?}");
    assert!(
        all.iter().any(|line| line.contains("one")) && all.iter().any(|line| line.contains("b:two")),
        "{all:?}"
    );
    let one = shown(pki.remote_command(port, "alice", &["stats", "--name=one"]), 2);
    assert!(one.iter().all(|line| line.contains(":one")), "{one:?}");
}

#[test]
fn a_user_without_rights_gathers_of_tenders_of_other_users() {
    const NOBODY: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let host = Host::for_test().unwrap();
    host.create("a:burn", "burn", &["--mem=16", "--arg=--touch=4"]).unwrap().assert(0, "created");
    let pid = tender(&host, "a:burn");
    // As the daemons' group has it: who may write to the directory and to the socket of albatrossd.
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    let util = host.tmpdir().join("util");
    open(host.tmpdir().parent().unwrap());
    open(&util);
    open(&host.socket("vmmd"));
    let mut command = Command::new(host.programs().path("albatross-stats"));
    command.arg("--tmpdir").arg(host.tmpdir()).args(["-v", "--interval=1"]).uid(NOBODY).gid(NOBODY);
    let mut daemon = Daemon::start("albatross-stats", command, &host.work().join("log")).unwrap();
    daemon.logged("albatrossd says what runs").unwrap();
    assert_eq!(processes::status(daemon.pid(), "Uid"), Some(u64::from(NOBODY)));
    assert_ne!(processes::status(pid, "Uid"), Some(u64::from(NOBODY)));
    let mut subscriber = Subscriber::to(&host, "a:burn");
    let (low, statistics) = (computed(pid), subscriber.next_of(":burn"));
    let memory = statistics.kinfo_mem.unwrap();
    assert!((low..=computed(pid)).contains(&memory.runtime) && memory.rss > 4 * 1024 * 1024, "{memory:?}");
}
