//! Statistics of real guests in a real InfluxDB and a real Prometheus, read back from them.
//!
//! Needs root and /dev/net/tun for a network of its own, in which every port is free, and Debian's packages `influxdb`
//! and `prometheus`; what is not there is said, and the test passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use albatross_e2e::{Daemon, Host, eventually, processes};
use serde_json::Value;

mod namespace;
use namespace::{in_new_network, ip, taps};

/// Whether this program is there; else it is said.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !there {
        println!("skipped: there is no {program}");
    }
    there
}

/// Asks by HTTP, and returns the body of an answer that says that all is well.
fn ask(port: u16, request: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(albatross_e2e::PATIENCE))?;
    let length = body.len();
    write!(stream, "{request} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let is_well = head.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
    if is_well { Ok(body.to_owned()) } else { Err(io::Error::other(format!("{request}: {text}"))) }
}

/// A word for a query: all but letters and digits in their codes.
fn encoded(text: &str) -> String {
    let code = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(octet).to_string(),
        octet => format!("%{octet:02X}"),
    };
    text.bytes().map(code).collect()
}

/// A host with guests and their statistics: `a:pong` on a network, `b:burn` that computes.
fn host() -> (Host, Daemon) {
    ip("link set lo up");
    let host = Host::for_test().unwrap();
    let statistics = host.start_beside("albatross-stats", Some("stat"), &["--interval=1"]).unwrap();
    host.create("a:pong", "pong", &["--net", "service", "--arg=--ipv4=10.9.0.2"])
        .unwrap()
        .assert(0, "created");
    host.create("b:burn", "burn", &["--mem=16", "--arg=--touch=4"]).unwrap().assert(0, "created");
    (host, statistics)
}

fn pid(host: &Host, name: &str) -> i32 {
    host.tenders().into_iter().find(|(_, line)| line.contains(&format!("/{name}.img"))).expect("a tender").0
}

/// KiB of `/proc/PID/status` in octets.
fn octets(pid: i32, field: &str) -> f64 {
    f64::from(u32::try_from(processes::status(pid, field).unwrap()).unwrap()) * 1024.0
}

/// Takes lines by TCP and passes them on by HTTP, as telegraf does: InfluxDB itself has no port for them.
fn relay(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            for line in BufReader::new(stream.unwrap()).lines().map_while(Result::ok) {
                ask(to, "POST /write?db=albatross", &line).expect("InfluxDB takes each line");
            }
        }
    });
    port
}

#[test]
fn influxdb_takes_what_is_written_and_gives_it_back() {
    const PORT: u16 = 8086;
    if !has("influxd") {
        return;
    }
    in_new_network(|| {
        let (host, _statistics) = host();
        let work = host.work();
        let mut command = Command::new("influxd");
        command.args(["run", "-config", "/dev/null"]);
        command.env("INFLUXDB_REPORTING_DISABLED", "true").env("INFLUXDB_BIND_ADDRESS", "127.0.0.1:8088");
        command.env("INFLUXDB_HTTP_BIND_ADDRESS", format!("127.0.0.1:{PORT}"));
        for (variable, name) in
            [("INFLUXDB_META_DIR", "meta"), ("INFLUXDB_DATA_DIR", "data"), ("INFLUXDB_DATA_WAL_DIR", "wal")]
        {
            command.env(variable, work.join(name));
        }
        let mut influxd = Daemon::start("influxd", command, &work.join("influxd.log")).unwrap();
        influxd.ready("InfluxDB", || ask(PORT, "GET /ping", "").ok()).unwrap();
        ask(PORT, "POST /query?q=CREATE%20DATABASE%20albatross", "").unwrap();
        let to = format!("127.0.0.1:{}", relay(PORT));
        let _influx =
            host.start_beside("albatross-influx", None, &["--influx", &to, "--no-drop-path"]).unwrap();
        // The newest value of a column.
        let value = |fields: &str, of: &str| {
            eventually(of, || {
                let query = encoded(&format!("SELECT last({fields}) FROM {of}"));
                let text = ask(PORT, &format!("GET /query?db=albatross&q={query}"), "").ok()?;
                let answer: Value = serde_json::from_str(&text).unwrap();
                answer["results"][0]["series"][0]["values"][0][1].as_f64()
            })
            .unwrap()
        };
        let burn = pid(&host, "b:burn");
        assert_eq!(value("vsize", "kinfo_mem WHERE vm='b:burn'"), octets(burn, "VmSize"));
        assert_eq!(value("maxrss", "resource_usage WHERE vm='b:burn'") * 1024.0, octets(burn, "VmHWM"));
        assert_eq!(value("mtu", "interface WHERE vm='a:pong' AND bridge='service'"), 1500.0);
        let uptime = value("uptime", "kinfo_mem WHERE vm='b:burn'");
        assert!((0.0..600.0).contains(&uptime), "{uptime}");
        // It computes, and that is seen.
        let first = value("utime", "resource_usage WHERE vm='b:burn'");
        eventually("more time", || {
            (value("utime", "resource_usage WHERE vm='b:burn'") > first).then_some(())
        })
        .unwrap();
    });
}

#[test]
fn prometheus_takes_the_target_and_answers_from_it() {
    const PORT: u16 = 9090;
    if !has("prometheus") {
        return;
    }
    in_new_network(|| {
        let (host, _statistics) = host();
        let mut metrics = host.start_beside("albatross-metrics", None, &[]).unwrap();
        metrics.logged("listening on 127.0.0.1:9025").unwrap();
        let work = host.work();
        let config = "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: albatross\n  static_configs: [{targets: ['127.0.0.1:9025']}]\n";
        fs::write(work.join("prometheus.yml"), config).unwrap();
        let mut command = Command::new("prometheus");
        let at = |option: &str, path: &Path| format!("--{option}={}", path.display());
        command.arg(at("config.file", &work.join("prometheus.yml")));
        command
            .arg(at("storage.tsdb.path", &work.join("tsdb")))
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"));
        let mut prometheus = Daemon::start("prometheus", command, &work.join("prometheus.log")).unwrap();
        prometheus.ready("Prometheus", || ask(PORT, "GET /-/ready", "").ok()).unwrap();
        let value = |query: &str| {
            eventually(query, || {
                let text = ask(PORT, &format!("GET /api/v1/query?query={}", encoded(query)), "").ok()?;
                let answer: Value = serde_json::from_str(&text).unwrap();
                answer["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
            })
            .unwrap_or_else(|failure| panic!("{failure}: {}", metrics.log()))
        };
        assert_eq!(value("up{job='albatross'} == 1"), 1.0);
        assert_eq!(value("albatross_build_info"), 1.0);
        let burn = pid(&host, "b:burn");
        assert_eq!(value("albatross_virtual_bytes{unikernel='b:burn'}"), octets(burn, "VmSize"));
        assert_eq!(value("albatross_resident_max_bytes{unikernel='b:burn'}"), octets(burn, "VmHWM"));
        assert_eq!(value("albatross_interface_mtu_bytes{unikernel='a:pong',bridge='service'}"), 1500.0);
        assert!(value("rate(albatross_cpu_seconds_total{unikernel='b:burn',mode='user'}[10s]) > 0") > 0.0);
        // It knows what they are.
        let text = ask(PORT, "GET /api/v1/targets/metadata?metric=albatross_cpu_seconds", "").unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&answer["data"][0]["type"], &answer["data"][0]["unit"]),
            (&"counter".into(), &"seconds".into())
        );
        assert_eq!(taps().len(), 1);
    });
}
