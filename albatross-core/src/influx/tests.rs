//! The lines as they are written, octet by octet, and each rule of the forwarder.

use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};
use albatross_proto::{Data, Header, Int, Payload, Success, Time, Wire};

use super::*;

fn at(seconds: i64, micros: i64) -> TimeVal {
    TimeVal { seconds, microseconds: Int::new(micros).unwrap() }
}

fn statistics() -> Statistics {
    let rusage = Rusage {
        utime: at(12, 34),
        stime: at(0, 990_000),
        maxrss: 1,
        ixrss: 2,
        idrss: 3,
        isrss: 4,
        minflt: 5,
        majflt: 6,
        nswap: 7,
        inblock: 8,
        outblock: 9,
        msgsnd: 10,
        msgrcv: 11,
        nsignals: 12,
        nvcsw: 13,
        nivcsw: 14,
    };
    let memory = KinfoMem {
        vsize: 20,
        rss: 21,
        tsize: 22,
        dsize: 23,
        ssize: 24,
        runtime: 12_990_034,
        cow: Int::new(25).unwrap(),
        start: at(999_000, 250_000),
    };
    let interface = IfData {
        bridge: "service".into(),
        flags: 3,
        send_length: 30,
        max_send_length: 31,
        send_drops: 32,
        mtu: 1500,
        baudrate: 33,
        input_packets: 34,
        input_errors: 35,
        output_packets: 36,
        output_errors: 37,
        collisions: 38,
        input_bytes: 39,
        output_bytes: 40,
        input_mcast: 41,
        output_mcast: 42,
        input_dropped: 43,
        output_dropped: 44,
    };
    let vmm = vec![("vm exits, all".into(), 50), ("a=b".into(), 51)];
    Statistics { rusage, interfaces: vec![interface], vmm: Some(vmm), kinfo_mem: Some(memory) }
}

fn wall() -> Time {
    Time::from_unix(1_000_000, 0).unwrap()
}

/// As the names and the order in the protocol have it.
const LINES: &str = "\
resource_usage,vm=hello utime=12.000034,stime=0.990000,maxrss=1i,ixrss=2i,idrss=3i,isrss=4i,minflt=5i,maxflt=6i,\
nswap=7i,inblock=8i,outblock=9i,msgsnd=10i,msgrcv=11i,nsignals=12i,nvcsw=13i,nivcsw=14i
kinfo_mem,vm=hello vsize=20i,rss=21i,tsize=22i,dsize=23i,ssize=24i,cow_faults=25i,runtime=12990034i,\
uptime=999.750000
vmm,vm=hello vm\\ exits\\,\\ all=50i,a\\=b=51i
interface,vm=hello,bridge=service send_queue_length=30i,max_send_queue_length=31i,send_queue_drops=32i,mtu=1500i,\
baudrate=33i,vm_to_host_packets=34i,vm_to_host_errors=35i,vm_to_host_bytes=39i,vm_to_host_mcast=41i,\
vm_to_host_dropped=43i,collisions=38i,host_to_vm_packets=36i,host_to_vm_errors=37i,host_to_vm_bytes=40i,\
host_to_vm_mcast=42i,host_to_vm_dropped=44i
";

#[test]
fn lines_are_what_the_protocol_says() {
    assert_eq!(lines("hello", &statistics(), wall()), LINES);
    let mut less = statistics();
    less.vmm = Some(Vec::new());
    less.kinfo_mem = None;
    less.interfaces.clear();
    assert_eq!(lines("hello", &less, wall()), format!("{}\n", LINES.lines().next().unwrap()));
}

#[test]
fn no_name_makes_another_line_or_another_field() {
    let mut strange = statistics();
    strange.interfaces[0].bridge = "a b,c=d\n\\e\u{85}".into();
    strange.vmm = Some(vec![("".into(), -1), (albatross_proto::Text::from(&b"\xff\x00"[..]), 1)]);
    let text = lines("", &strange, wall());
    assert_eq!(text.lines().count(), 4);
    assert!(text.contains("interface,vm=_,bridge=a\\ b\\,c\\=d__e_ send_queue"), "{text}");
    assert!(text.contains("vmm,vm=_ _=18446744073709551615i,\u{fffd}_=1i\n"), "{text}");
}

#[test]
fn times_out_of_range_are_numbers_all_the_same() {
    let mut strange = statistics();
    strange.rusage.utime = TimeVal { seconds: i64::MIN, microseconds: Int::MIN };
    strange.rusage.stime = at(0, 0);
    strange.kinfo_mem.as_mut().unwrap().start = at(1_000_001, 500_000);
    let text = lines("x", &strange, wall());
    assert!(text.contains(" utime=-9223376648540794235.387904,stime=0.000000,"), "{text}");
    assert!(text.contains(",uptime=-1.500000\n"), "{text}");
}

#[test]
fn addresses_have_a_port_or_the_usual_one() {
    for (text, expected) in [
        ("127.0.0.1", "127.0.0.1:8094"),
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("::1", "[::1]:8094"),
        ("[::1]", "[::1]:8094"),
        ("[::1]:9000", "[::1]:9000"),
    ] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), expected);
    }
    for text in ["", "localhost", "1.2.3", "127.0.0.1:", "127.0.0.1:99999", "::1]:8094"] {
        assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
    }
}

/// The machine, and what is around it.
struct Host {
    forwarder: Forwarder,
    now: Now,
    /// Whether both sides answer.
    here: bool,
    database_here: bool,
    connects: Vec<Duration>,
    written: Vec<String>,
    notices: Vec<Notice>,
    closed: Vec<Output>,
    asked: usize,
}

impl Host {
    fn new(name: &str, drop_path: bool) -> Self {
        Self {
            forwarder: Forwarder::new(name.parse().unwrap(), drop_path),
            now: Now { wall: wall(), monotonic: Duration::ZERO },
            here: true,
            database_here: true,
            connects: Vec::new(),
            written: Vec::new(),
            notices: Vec::new(),
            closed: Vec::new(),
            asked: 0,
        }
    }

    fn give(&mut self, input: Input<'_>) {
        for output in self.forwarder.handle(self.now, input) {
            match output {
                Output::ConnectStatistics if self.here => self.give(Input::StatisticsConnected),
                Output::ConnectStatistics => {
                    self.give(Input::StatisticsClosed(Broken::Unreachable("refused".to_owned())));
                }
                Output::Database(ToDatabase::Connect) => {
                    self.connects.push(self.now.monotonic);
                    if self.database_here {
                        self.give(Input::Database(FromDatabase::Connected));
                    }
                }
                Output::SendStatistics(message) => {
                    self.asked += 1;
                    let Wire { header, .. } = Wire::decode(&message).unwrap();
                    self.frame(
                        &header.name.to_string(),
                        Payload::Success(Success::Text("subscribed".into())),
                    );
                }
                Output::Database(ToDatabase::Write(text)) => self.written.push(text),
                Output::Log(notice) => self.notices.push(notice),
                closed => self.closed.push(closed),
            }
        }
    }

    fn frame(&mut self, name: &str, payload: Payload<'_>) {
        let wire = Wire::new(Header::new(0, name.parse().unwrap()), payload);
        self.give(Input::StatisticsFrame(&wire.encode().unwrap()));
    }

    fn data(&mut self, name: &str) {
        self.frame(name, Payload::Data(Data::Statistics(Box::new(statistics()))));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(next) = self.forwarder.next_deadline().filter(|next| *next <= end) {
            self.now.monotonic = self.now.monotonic.max(next);
            self.give(Input::Tick);
        }
        self.now.monotonic = end;
    }
}

#[test]
fn each_message_is_one_write_under_the_label_or_the_whole_name() {
    for (name, drop_path, relative, vm) in [
        (":", true, "a:b:hello", "hello"),
        (":", false, "a:b:hello", "a:b:hello"),
        (":", false, ":hello", ":hello"),
        ("a:b:", false, ":hello", "a:b:hello"),
        ("a:", false, "b:hello", "a:b:hello"),
        ("a:b:hello", false, ":hello", "a:b:hello"),
        ("a:b:hello", true, ":hello", "hello"),
    ] {
        let mut host = Host::new(name, drop_path);
        host.pass(Duration::ZERO);
        host.data(relative);
        assert_eq!(host.written, [LINES.replace("vm=hello", &format!("vm={vm}"))], "{name} {relative}");
        assert_eq!(host.asked, 1);
    }
}

#[test]
fn both_sides_are_looked_for_for_ever_with_longer_and_longer_pauses() {
    let mut host = Host::new(":", true);
    (host.here, host.database_here) = (false, false);
    host.pass(Duration::ZERO);
    for _ in 0..8 {
        let before = host.connects.len();
        host.give(Input::Database(FromDatabase::Closed("refused".to_owned())));
        while host.connects.len() == before {
            host.pass(Duration::from_millis(50));
        }
    }
    let pauses: Vec<u128> = host.connects.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
    let unreached = host.notices.iter().filter(|notice| matches!(notice, Notice::Subscription(_))).count();
    assert!((8..=9).contains(&unreached), "{:?}", host.notices);
    // The statistics come first: what nobody takes is counted.
    host.here = true;
    host.pass(Duration::from_secs(5));
    host.data(":a");
    host.data(":b");
    assert!(host.written.is_empty());
    host.give(Input::Database(FromDatabase::Connected));
    assert_eq!(host.notices.last(), Some(&Notice::Database(2)));
    host.data(":c");
    assert_eq!(host.written.len(), 1);
    // After a success the next failure is the first.
    let before = host.now.monotonic;
    host.give(Input::Database(FromDatabase::Closed("reset".to_owned())));
    assert_eq!(host.forwarder.next_deadline(), Some(before + Duration::from_millis(250)));
    host.give(Input::StatisticsClosed(Broken::Lost("reset".to_owned())));
    host.pass(Duration::from_millis(250));
    assert_eq!(host.asked, 2);
}

#[test]
fn what_waits_for_the_database_is_bounded_and_one_that_takes_nothing_is_left() {
    let mut host = Host::new(":", true);
    host.pass(Duration::ZERO);
    for _ in 0..2 * MAX_WAITING / LINES.len() {
        host.data(":hello");
    }
    let waiting: usize = host.written.iter().map(String::len).sum();
    assert!(waiting <= MAX_WAITING && waiting > MAX_WAITING - LINES.len());
    assert_eq!(host.notices.iter().filter(|notice| **notice == Notice::DatabaseSlow).count(), 1);
    // It takes some: some more fits.
    host.pass(PATIENCE / 2);
    let before = host.written.len();
    host.give(Input::Database(FromDatabase::Written(2 * LINES.len())));
    (0..5).for_each(|_| host.data(":hello"));
    assert_eq!(host.written.len(), before + 2);
    host.pass(PATIENCE - Duration::from_millis(1));
    assert!(host.closed.is_empty());
    host.database_here = false;
    host.pass(Duration::from_millis(1));
    assert_eq!(host.closed, [Output::Database(ToDatabase::Close)]);
    // One that does not answer is left, too.
    host.pass(PATIENCE + Duration::from_secs(1));
    assert_eq!(host.closed, [Output::Database(ToDatabase::Close), Output::Database(ToDatabase::Close)]);
}

#[test]
fn a_statistics_daemon_that_refuses_or_sends_something_else_is_left_and_asked_again() {
    let command =
        Payload::Command(albatross_proto::Command::Statistics(albatross_proto::StatisticsCommand::Initial));
    for payload in [Payload::Failure("no".into()), command, Payload::Success(Success::Empty)] {
        let mut host = Host::new(":", true);
        host.pass(Duration::ZERO);
        host.frame(":", payload);
        assert_eq!(host.closed, [Output::CloseStatistics]);
        host.pass(Duration::from_secs(1));
        assert_eq!(host.asked, 2);
    }
    let mut host = Host::new(":", true);
    host.pass(Duration::ZERO);
    host.give(Input::StatisticsFrame(b"nonsense"));
    assert_eq!(host.closed, [Output::CloseStatistics]);
}

#[test]
fn a_daemon_measures_itself_every_period_while_the_database_is_there() {
    use report::{Input, Output, Reporter, of_connections, of_process};
    let mut reporter = Reporter::default();
    let second = Duration::from_secs(1);
    assert_eq!(reporter.next_deadline(), Some(Duration::ZERO));
    assert_eq!(reporter.handle(Duration::ZERO, Input::Tick), [Output::Database(ToDatabase::Connect)]);
    let connected = || Input::Database(FromDatabase::Connected);
    let outputs = reporter.handle(second, connected());
    assert_eq!(outputs, [Output::Log(Notice::Database(0)), Output::Measure]);
    let lines = vec![of_connections("albatross", "unix", 1, 5)];
    assert_eq!(lines, ["connections,vm=albatross,kind=unix active=1i,total=5i\n"]);
    let write = Output::Database(ToDatabase::Write(lines[0].clone()));
    assert_eq!(reporter.handle(second, Input::Lines(lines.clone())), [write]);
    assert_eq!(reporter.handle(second, Input::Database(FromDatabase::Written(lines[0].len()))), []);
    assert_eq!(reporter.next_deadline(), Some(second + PERIOD));
    assert_eq!(reporter.handle(PERIOD, Input::Tick), []);
    assert_eq!(reporter.handle(second + PERIOD, Input::Tick), [Output::Measure]);
    // While it is away nothing is measured.
    let gone = reporter.handle(2 * PERIOD, Input::Database(FromDatabase::Closed("reset".to_owned())));
    assert_eq!(gone, [Output::Log(Notice::DatabaseClosed("reset".to_owned()))]);
    let later = 5 * PERIOD;
    assert_eq!(reporter.handle(later, Input::Tick), [Output::Database(ToDatabase::Connect)]);
    assert_eq!(reporter.handle(later, connected()), [Output::Log(Notice::Database(0)), Output::Measure]);
    let usage = crate::stats::process::Usage { rusage: statistics().rusage, ..Default::default() };
    let [own, memory] = &of_process("albatross", &usage, at(999_000, 250_000), wall())[..] else { panic!() };
    let expected = LINES.lines().next().unwrap().replace("vm=hello", "vm=albatross");
    assert_eq!(own.trim_end(), expected);
    assert!(
        memory.starts_with("kinfo_mem,vm=albatross vsize=0i,") && memory.ends_with(",uptime=999.750000\n")
    );
}

/// The operator reads these: each says what it is about, and what is wrong.
#[test]
fn notices_say_what_is_wrong() {
    let gone = Notice::Subscription(Broken::Lost("reset".to_owned()));
    for (notice, level, text) in [
        (gone, Level::Warning, "the connection to albatross-stats is gone: reset"),
        (Notice::Database(0), Level::Info, "the database is reached"),
        (Notice::Database(3), Level::Info, "the database is reached; 3 messages were left out before"),
        (
            Notice::DatabaseClosed("refused".to_owned()),
            Level::Warning,
            "the database is not reached: refused",
        ),
        (Notice::DatabaseSlow, Level::Warning, "the database takes less than comes: statistics are left out"),
    ] {
        assert_eq!((notice.level(), notice.to_string().as_str()), (level, text));
    }
    let example = "an address is IP or IP:PORT, for example 127.0.0.1:8094 or [::1]:8094";
    assert_eq!(AddressError.to_string(), example);
}

#[test]
fn what_is_left_out_is_counted_and_said_once_each_time() {
    let mut host = Host::new(":", true);
    host.pass(Duration::ZERO);
    let fill = |host: &mut Host| {
        host.written.clear();
        (0..MAX_WAITING / LINES.len() + 3).for_each(|_| host.data(":hello"));
        host.written.iter().map(String::len).sum::<usize>()
    };
    let slow = |host: &Host| host.notices.iter().filter(|it| **it == Notice::DatabaseSlow).count();
    let waiting = fill(&mut host);
    assert_eq!(slow(&host), 1);
    // As much as may wait is not too much.
    let before = host.written.len();
    host.give(Input::Database(FromDatabase::Written(waiting + LINES.len() - MAX_WAITING)));
    host.data(":hello");
    assert_eq!((host.written.len(), slow(&host)), (before + 1, 1));
    let waiting = MAX_WAITING;
    // It has caught up, and is slow again.
    host.give(Input::Database(FromDatabase::Written(waiting)));
    fill(&mut host);
    assert_eq!(slow(&host), 2);
    host.give(Input::Database(FromDatabase::Closed("reset".to_owned())));
    host.pass(Duration::from_secs(1));
    assert_eq!(host.notices.last(), Some(&Notice::Database(6)));
}

/// The clock of the one side may tick for the other.
#[test]
fn nobody_is_looked_for_or_left_before_his_time() {
    let mut host = Host::new(":", true);
    host.database_here = false;
    host.pass(Duration::ZERO);
    host.give(Input::Tick);
    assert_eq!((host.connects.len(), host.asked), (1, 1));
    assert!(host.closed.is_empty(), "it is still being connected to");
    host.give(Input::Database(FromDatabase::Closed("refused".to_owned())));
    host.give(Input::StatisticsClosed(Broken::Lost("reset".to_owned())));
    host.give(Input::Tick);
    assert_eq!((host.connects.len(), host.asked), (1, 1));
    host.database_here = true;
    host.pass(Duration::from_millis(250));
    assert_eq!((host.connects.len(), host.asked), (2, 2));
    // Nothing waits, however long.
    assert_eq!(host.forwarder.next_deadline(), None);
    host.pass(10 * PATIENCE);
    host.give(Input::Tick);
    assert!(host.closed.is_empty());
    host.data(":hello");
    let deadline = host.now.monotonic + PATIENCE;
    assert_eq!(host.forwarder.next_deadline(), Some(deadline), "it has as long as ever for this");
}

#[test]
fn what_a_thousand_unikernels_make_in_an_interval_may_wait() {
    let mut host = Host::new(":", true);
    host.pass(Duration::ZERO);
    let one = Statistics { vmm: None, ..statistics() };
    for number in 0..1000 {
        host.frame(&format!(":u{number}"), Payload::Data(Data::Statistics(Box::new(one.clone()))));
    }
    assert_eq!(host.written.len(), 1000);
}
