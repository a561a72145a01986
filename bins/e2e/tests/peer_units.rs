//! The command lines of the units that the OCaml implementation comes with: an operator who keeps his units starts ours
//! by them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use albatross_e2e::pki::ROOT;
use albatross_e2e::{Host, Pki, Programs, eventually};

/// A daemon that systemd would start, with the socket of its unit.
struct Unit(Child);

impl Unit {
    /// Starts a program with these words, `%t/albatross` in them as systemd would have it.
    fn start(host: &Host, name: &str, words: &[&str], socket: Option<OwnedFd>) -> Self {
        let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&0 0</dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(host.programs().path(name));
        let run = host.tmpdir().display().to_string();
        command.args(words.iter().map(|word| word.replace("%t/albatross", &run)));
        command.stdin(socket.map_or_else(Stdio::null, Stdio::from));
        let log = File::options().create(true).append(true).open(host.work().join(name)).unwrap();
        Self(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        albatross_e2e::run::kill(&mut self.0);
    }
}

fn listen(host: &Host, name: &str) -> Option<OwnedFd> {
    Some(UnixListener::bind(host.socket(name)).unwrap().into())
}

#[test]
fn daemons_start_by_the_command_lines_of_the_ocaml_units() {
    let host = Host::new(Programs::for_tests().unwrap()).unwrap();
    let pki = Pki::generate(host.programs(), &host.work().join("pki")).unwrap();
    pki.intermediate(ROOT, "alice", 4, &["--mem=64"]).unwrap();
    let dbdir = format!("--dbdir={}", host.dbdir().display());
    let activated = ["--systemd-socket-activation", "--tmpdir=%t/albatross/"];
    let [ca, certificate, key] = pki.server().map(|path| path.display().to_string());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _console = Unit::start(
        &host,
        "albatross-console",
        &[&activated[..], &["-vv"]].concat(),
        listen(&host, "console"),
    );
    let with_dbdir = [&activated[..], &["-vv", &dbdir]].concat();
    let _albatrossd = Unit::start(&host, "albatrossd", &with_dbdir, listen(&host, "vmmd"));
    let _statistics = Unit::start(&host, "albatross-stats", &activated, listen(&host, "stat"));
    let chain = [&activated[..], &[&ca, &certificate, &key]].concat();
    let _endpoint = Unit::start(&host, "albatross-tls-endpoint", &chain, Some(listener.into()));
    let words = ["--influx=127.0.0.1", "--tmpdir=%t/albatross/", "-vv"];
    let mut influx = Unit::start(&host, "albatross-influx", &words, None);
    let image = host.programs().guest("tick").display().to_string();
    pki.remote(port, "alice", &["create", "tick", &image, "--mem=2"]).unwrap().assert(0, "created unikernel");
    eventually("a line on the console", || {
        (!host.console_lines("alice:tick", 1).ok()?.is_empty()).then_some(())
    })
    .unwrap();
    host.client(&["info"]).unwrap().assert(0, "alice:tick");
    assert!(influx.0.try_wait().unwrap().is_none());
    host.client(&["destroy", "alice:tick"]).unwrap().assert(0, "destroyed");
}

#[test]
fn options_of_freebsd_are_refused_by_name() {
    let programs = Programs::for_tests().unwrap();
    for (name, words) in [
        ("albatrossd", &["--allow-zvol-for", "foo"][..]),
        ("albatrossd", &["--allow-zvol-for=foo", "--allow-zvol-for=bar"]),
        ("albatross-stats", &["--gather-bhyve-stats"]),
    ] {
        let finished = albatross_e2e::run::run(Command::new(programs.path(name)).args(words)).unwrap();
        finished.assert(124, "FreeBSD");
    }
}
