//! The text, requests as they may come, and each rule of the exporter.

use albatross_proto::stats::{IfData, KinfoMem, Rusage, TimeVal};
use albatross_proto::{Data, Header, Int, Payload, Success, Text, Time, Wire};

use super::http::Asked;
use super::*;

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct Host {
    exporter: Exporter,
    now: Now,
    here: bool,
    asked: usize,
    answers: Vec<(ClientId, String)>,
    closed: Vec<Output>,
    notices: Vec<Notice>,
}

impl Host {
    fn new() -> Self {
        let now = Now { wall: Time::from_unix(1_000_000, 0).unwrap(), monotonic: Duration::ZERO };
        let exporter = Exporter::new(Name::root(), "1.2.3");
        let mut host = Self {
            exporter,
            now,
            here: true,
            asked: 0,
            answers: Vec::new(),
            closed: Vec::new(),
            notices: Vec::new(),
        };
        host.pass(Duration::ZERO);
        host
    }

    fn give(&mut self, input: Input<'_>) {
        for output in self.exporter.handle(self.now, input) {
            match output {
                Output::ConnectStatistics if self.here => self.give(Input::StatisticsConnected),
                Output::ConnectStatistics => {
                    self.give(Input::StatisticsClosed(Broken::Unreachable("refused".to_owned())));
                }
                Output::SendStatistics(_) => {
                    self.asked += 1;
                    self.frame(":", Payload::Success(Success::Text("subscribed".into())));
                }
                Output::Answer(client, octets) => {
                    self.answers.push((client, String::from_utf8(octets).unwrap()));
                }
                Output::Log(notice) => self.notices.push(notice),
                closed => self.closed.push(closed),
            }
        }
    }

    fn frame(&mut self, name: &str, payload: Payload<'_>) {
        let wire = Wire::new(Header::new(0, name.parse().unwrap()), payload);
        self.give(Input::StatisticsFrame(&wire.encode().unwrap()));
    }

    fn data(&mut self, name: &str, statistics: Statistics) {
        self.frame(name, Payload::Data(Data::Statistics(Box::new(statistics))));
    }

    fn get(&mut self) -> String {
        self.give(Input::Connected(ClientId(1)));
        self.give(Input::Octets(ClientId(1), GET));
        self.give(Input::Closed(ClientId(1)));
        self.answers.pop().expect("an answer").1
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(next) = self.exporter.next_deadline().filter(|next| *next <= end) {
            self.now.monotonic = self.now.monotonic.max(next);
            self.give(Input::Tick);
        }
        self.now.monotonic = end;
    }
}

fn statistics() -> Statistics {
    let time = TimeVal { seconds: 12, microseconds: Int::new(34).unwrap() };
    let interface =
        |name: &str| IfData { bridge: name.into(), mtu: 1500, input_packets: 7, ..IfData::default() };
    Statistics {
        rusage: Rusage { utime: time, maxrss: 3, nivcsw: 9, ..Rusage::default() },
        interfaces: vec![interface("service"), interface("a\"b\\c\nd"), interface("service")],
        vmm: Some(vec![("exits".into(), 5), ("exits".into(), 6)]),
        kinfo_mem: Some(KinfoMem { rss: 4096, runtime: 1_500_000, start: time, ..KinfoMem::default() }),
    }
}

#[test]
fn figures_are_shown_with_their_units() {
    let mut host = Host::new();
    host.data("a:b:hello", statistics());
    host.data(":top", Statistics { interfaces: Vec::new(), vmm: None, kinfo_mem: None, ..statistics() });
    let answer = host.get();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0;"),
        "{head}"
    );
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", text.len())), "{head}");
    let lines: Vec<&str> = text.lines().collect();
    for line in [
        "albatross_build_info{version=\"1.2.3\"} 1",
        "albatross_statistics_up 1",
        "albatross_unikernels 2",
        "# TYPE albatross_cpu_seconds counter",
        "# UNIT albatross_cpu_seconds seconds",
        "albatross_cpu_seconds_total{unikernel=\"a:b:hello\",mode=\"user\"} 12.000034",
        "albatross_cpu_seconds_total{unikernel=\":top\",mode=\"system\"} 0.000000",
        "albatross_resident_max_bytes{unikernel=\":top\"} 3072",
        "albatross_context_switches_total{unikernel=\":top\",kind=\"involuntary\"} 9",
        "albatross_resident_bytes{unikernel=\"a:b:hello\"} 4096",
        "albatross_runtime_seconds_total{unikernel=\"a:b:hello\"} 1.500000",
        "albatross_start_time_seconds{unikernel=\"a:b:hello\"} 12.000034",
        "albatross_interface_packets_total{unikernel=\"a:b:hello\",bridge=\"service\",direction=\"vm_to_host\"} 7",
        "albatross_interface_mtu_bytes{unikernel=\"a:b:hello\",bridge=\"a\\\"b\\\\c\\nd\"} 1500",
        "albatross_vmm{unikernel=\"a:b:hello\",counter=\"exits\"} 5",
    ] {
        assert_eq!(lines.iter().filter(|it| **it == line).count(), 1, "{line}\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    // No sample twice, and none outside of its family.
    let mut seen = std::collections::BTreeSet::new();
    let mut family = "";
    for line in &lines {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
        }
        if !line.starts_with('#') {
            let (sample, _) = line.rsplit_once(' ').unwrap();
            assert!(sample.starts_with(family) && seen.insert(sample), "{family} {line}");
        }
    }
}

#[test]
fn what_is_no_longer_told_of_is_no_longer_shown() {
    let mut host = Host::new();
    let shown = |host: &mut Host| host.get().matches("albatross_swaps_total{").count();
    for _ in 0..3 {
        host.data(":stays", statistics());
        host.data(":goes", statistics());
        host.pass(Duration::from_secs(10));
    }
    host.data(":new", statistics());
    for _ in 0..2 {
        assert_eq!(shown(&mut host), 3);
        host.data(":stays", statistics());
        host.pass(Duration::from_secs(10));
    }
    assert_eq!(shown(&mut host), 3);
    host.pass(Duration::from_millis(1));
    assert_eq!(shown(&mut host), 2);
    // The statistics daemon goes: its figures count for a while, and it is said that it is gone.
    host.here = false;
    host.give(Input::StatisticsClosed(Broken::Lost("reset".to_owned())));
    assert!(host.get().contains("\nalbatross_statistics_up 0\n"));
    assert_eq!(shown(&mut host), 2);
    host.pass(Duration::from_secs(60));
    assert_eq!(shown(&mut host), 0);
    host.here = true;
    host.pass(Duration::from_secs(5));
    assert_eq!(host.asked, 2);
    assert!(host.get().contains("\nalbatross_statistics_up 1\n"));
}

#[test]
fn a_request_may_come_in_any_pieces() {
    for cut in 0..GET.len() {
        let mut host = Host::new();
        host.give(Input::Connected(ClientId(1)));
        let (first, second) = GET.split_at(cut);
        host.give(Input::Octets(ClientId(1), first));
        assert!(host.answers.is_empty());
        host.give(Input::Octets(ClientId(1), second));
        assert!(host.answers[0].1.starts_with("HTTP/1.1 200 OK"), "{cut}");
        // What comes after is not looked at.
        host.give(Input::Octets(ClientId(1), GET));
        assert_eq!(host.answers.len(), 1);
    }
    let octet_by_octet = |text: &[u8]| {
        let mut request = Request::default();
        text.iter().find_map(|octet| request.push(&[*octet]).transpose())
    };
    assert_eq!(octet_by_octet(b"HEAD /metrics?x=1 HTTP/1.0\n\n"), Some(Ok(Asked::Head)));
    assert_eq!(octet_by_octet(b"GET / HTTP/1.1\r\n\r\n"), Some(Err(RequestError::NotFound)));
    assert_eq!(octet_by_octet(b"POST /metrics HTTP/1.1\r\n\r\n"), Some(Err(RequestError::Method)));
    for text in [
        &b"GET /metrics\r\n\r\n"[..],
        b"\r\n\r\n",
        b"GET  /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/2\n\n",
    ] {
        assert_eq!(octet_by_octet(text), Some(Err(RequestError::Malformed)), "{text:?}");
    }
    let long = vec![b'x'; MAX_REQUEST];
    assert_eq!(Request::default().push(&long), Err(RequestError::TooLong));
    assert_eq!(octet_by_octet(&long), Some(Err(RequestError::TooLong)));
    assert_eq!(Request::default().push(&long[1..]), Ok(None));
}

#[test]
fn who_is_refused_is_told_why() {
    let mut host = Host::new();
    for (request, status) in [
        (&b"GET /other HTTP/1.1\r\n\r\n"[..], "404 Not Found"),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"\x16\x03\x01\n\n", "400 Bad Request"),
    ] {
        host.give(Input::Connected(ClientId(1)));
        host.give(Input::Octets(ClientId(1), request));
        host.give(Input::Closed(ClientId(1)));
        let (_, answer) = host.answers.pop().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert_eq!(answer.contains("Allow: GET, HEAD\r\n"), status.starts_with("405"), "{answer}");
    }
    // A head has no text after it.
    host.give(Input::Connected(ClientId(1)));
    host.give(Input::Octets(ClientId(1), b"HEAD /metrics HTTP/1.1\r\n\r\n"));
    assert!(host.answers.pop().unwrap().1.ends_with("\r\n\r\n"));
}

#[test]
fn clients_are_bounded_in_number_and_in_time() {
    let mut host = Host::new();
    for id in 0..=MAX_CLIENTS {
        host.give(Input::Connected(ClientId(id)));
    }
    assert_eq!(host.closed, [Output::Close(ClientId(MAX_CLIENTS))]);
    host.give(Input::Octets(ClientId(MAX_CLIENTS), GET));
    assert!(host.answers.is_empty());
    // One goes, another comes.
    host.give(Input::Closed(ClientId(0)));
    host.pass(Duration::from_secs(1));
    host.give(Input::Connected(ClientId(100)));
    host.give(Input::Octets(ClientId(100), GET));
    assert_eq!(host.answers.len(), 1);
    // Whoever takes too long goes: he that does not ask, and he that does not take the answer.
    host.pass(PATIENCE - Duration::from_secs(1));
    assert_eq!(host.closed.len(), 1 + MAX_CLIENTS - 1);
    host.pass(Duration::from_secs(1));
    assert_eq!(host.closed.last(), Some(&Output::Close(ClientId(100))));
    assert_eq!(host.exporter.next_deadline(), None);
}

#[test]
fn unikernels_are_bounded() {
    let mut host = Host::new();
    let empty = Statistics { interfaces: Vec::new(), vmm: None, kinfo_mem: None, ..statistics() };
    for number in 0..MAX_UNIKERNELS + 10 {
        host.data(&format!(":n{number}"), empty.clone());
    }
    assert_eq!(host.exporter.unikernels.len(), MAX_UNIKERNELS);
    assert!(matches!(host.notices[..], [Notice::Full(_)]));
    // Those that do not count any more make room.
    host.pass(UNKNOWN_INTERVAL + Duration::from_millis(1));
    host.data(":more", empty);
    assert_eq!(host.exporter.unikernels.len(), 1);
}

#[test]
fn a_statistics_daemon_that_sends_something_else_is_left() {
    let mut host = Host::new();
    host.frame(":", Payload::Failure(Text::from("no")));
    assert_eq!(host.closed, [Output::CloseStatistics]);
    host.pass(Duration::from_secs(1));
    assert_eq!(host.asked, 2);
}

#[test]
fn the_dashboard_asks_for_what_is_shown() {
    const DASHBOARD: &str = include_str!("../../../docs/grafana.json");
    let mut host = Host::new();
    host.data("a:hello", statistics());
    let answer = host.get();
    let words = DASHBOARD.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    let metrics: std::collections::BTreeSet<&str> =
        words.filter(|word| word.starts_with("albatross_")).collect();
    assert!(metrics.len() >= 10, "{metrics:?}");
    for metric in metrics {
        let is_shown = answer
            .lines()
            .any(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
        assert!(is_shown, "{metric}");
    }
}

/// The operator reads these: each names whom or what it is about, and what is wrong.
#[test]
fn notices_say_whom_they_are_about_and_what_is_wrong() {
    let client = ClientId(7);
    let refused = |error| (Notice::Refused(client, error), Level::Info);
    for ((notice, level), text) in [
        (
            (Notice::Subscription(Broken::Unreachable("refused".to_owned())), Level::Warning),
            "albatross-stats cannot be reached: refused",
        ),
        (refused(RequestError::Malformed), "client 7 is refused: no request of HTTP/1"),
        (refused(RequestError::NotFound), "client 7 is refused: there is only /metrics"),
        (refused(RequestError::Method), "client 7 is refused: only GET and HEAD are answered"),
        (refused(RequestError::TooLong), "client 7 is refused: a request of more than 8192 octets"),
        ((Notice::TooMany(client), Level::Warning), "client 7 is closed: there are too many"),
        ((Notice::TooSlow(client), Level::Warning), "client 7 is closed: it takes too long"),
        (
            (Notice::Full("a:b".parse().unwrap()), Level::Warning),
            "a:b is left out: there are 16384 unikernels already",
        ),
    ] {
        assert_eq!((notice.level(), notice.to_string().as_str()), (level, text));
    }
}
