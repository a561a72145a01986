//! One connection on standard input, as inetd, xinetd and systemd pass it, and the socket that systemd passes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use albatross_proto::{Payload, Success};
use common::{Client, End, Endpoint, SOON, case, client_over, impatient};
use tempfile::TempDir;

const ENDPOINT: &str = env!("CARGO_BIN_EXE_albatross-tls-endpoint");
const INETD: &str = env!("CARGO_BIN_EXE_albatross-tls-inetd");

/// A directory with the socket of a daemon that answers every `info`.
fn tmpdir() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("util")).unwrap();
    common::daemon(directory.path(), "vmmd", |mut daemon| {
        let (header, _) = daemon.after_policies(2);
        daemon.say(&header, Payload::Success(Success::Info(Vec::new()))).unwrap();
        true
    });
    directory
}

fn files() -> [PathBuf; 3] {
    ["ca.pem", "server.pem", "server.key"].map(|name| case("_lib-root").join(name))
}

/// The arguments of either program.
fn arguments(tmpdir: &Path, options: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    arguments.push(format!("--tmpdir={}", tmpdir.display()));
    arguments.extend(files().map(|file| file.to_string_lossy().into_owned()));
    arguments
}

fn client(stream: TcpStream) -> Client {
    let case = case("lib-cmd-unikernel-info-path");
    client_over(
        impatient(stream),
        &case.join("chain.pem"),
        &case.join("leaf.key"),
        &self::case("_lib-root/ca.pem"),
    )
}

/// A client whose `info` is answered.
fn is_served(stream: TcpStream) {
    let (frames, end) = client(stream).rest();
    assert_eq!((frames.len(), end), (1, End::Clean));
}

/// The program, with a connection as standard input, output and error, and the other end of it.
fn with_connection(program: &str, arguments: &[String]) -> (Child, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let theirs = OwnedFd::from(listener.accept().unwrap().0);
    let theirs = || Stdio::from(theirs.as_fd().try_clone_to_owned().unwrap());
    let child = Command::new(program)
        .args(arguments)
        .stdin(theirs())
        .stdout(theirs())
        .stderr(theirs())
        .spawn()
        .unwrap();
    (child, ours)
}

#[test]
fn one_connection_is_served_and_the_program_ends() {
    let directory = tmpdir();
    for (program, options) in
        [(ENDPOINT, &["--inetd", "--quiet"][..]), (ENDPOINT, &["--inetd", "--syslog"]), (INETD, &[])]
    {
        let (mut child, stream) = with_connection(program, &arguments(directory.path(), options));
        is_served(stream);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{program} {options:?}");
    }
}

#[test]
fn nothing_but_tls_is_on_the_connection() {
    let directory = tmpdir();
    let good = arguments(directory.path(), &["-v"]);
    let mut no_key = good.clone();
    *no_key.last_mut().unwrap() = "/nowhere/server.key".into();
    let mut no_daemon = good.clone();
    no_daemon[1] = "--tmpdir=/nowhere".into();
    for (arguments, code) in [(no_key, 125), (vec![], 124), (vec!["--help".to_owned()], 0)] {
        let (mut child, mut stream) = with_connection(INETD, &arguments);
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(String::from_utf8_lossy(&said), "", "{arguments:?}");
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}");
    }
    let (mut child, stream) = with_connection(INETD, &no_daemon);
    assert_eq!(client(stream).failure(), "albatrossd is not reachable");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn somewhere_to_log_is_asked_for() {
    let directory = tmpdir();
    let run = |program: &str, options: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments(directory.path(), options)).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(run(ENDPOINT, &["--inetd"]), (Some(3), String::new()));
    assert_eq!(run(ENDPOINT, &["--inetd", "-v"]).0, Some(3));
    // Not a connection: with a word for who can read it.
    assert_eq!(run(ENDPOINT, &["--inetd", "--quiet"]).0, Some(125));
    assert_eq!(run(INETD, &["--quiet"]).0, Some(125));
    for options in
        [&["--inetd", "--syslog", "--port=1"][..], &["--inetd", "-q", "--systemd-socket-activation"]]
    {
        let (code, text) = run(ENDPOINT, options);
        assert!(code == Some(124) && text.contains("--inetd cannot be used with"), "{text}");
    }
}

/// A program of the system, ended when this is dropped.
struct Super(Child);

impl Drop for Super {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Starts a super-server, where it is installed, and connects to it as soon as it listens.
fn super_server(command: &mut Command, port: u16) -> Option<(Super, impl Fn() -> TcpStream + use<>)> {
    let name = command.get_program().to_owned();
    let Ok(child) = command.stdin(Stdio::null()).spawn() else {
        println!("skipped: {} is not installed", name.display());
        return None;
    };
    let begin = Instant::now();
    let connect = move || {
        loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => return stream,
                Err(error) => assert!(begin.elapsed() < SOON, "{}: {error}", name.display()),
            }
            std::thread::yield_now();
        }
    };
    Some((Super(child), connect))
}

/// A port that nobody had a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: inetd wants root");
    }
    root
}

#[test]
fn under_openbsd_inetd() {
    if !is_root() {
        return;
    }
    let (directory, port) = (tmpdir(), free_port());
    let config = directory.path().join("inetd.conf");
    let words = arguments(directory.path(), &[]).join(" ");
    fs::write(
        &config,
        format!("127.0.0.1:{port} stream tcp nowait root {INETD} albatross-tls-inetd {words}\n"),
    )
    .unwrap();
    let Some((_inetd, connect)) = super_server(Command::new("inetd").arg("-i").arg(config), port) else {
        return;
    };
    for _ in 0..3 {
        is_served(connect());
    }
}

#[test]
fn under_xinetd() {
    if !is_root() {
        return;
    }
    let (directory, port) = (tmpdir(), free_port());
    let config = directory.path().join("xinetd.conf");
    let words = arguments(directory.path(), &[]).join(" ");
    let text = format!(
        "service albatross\n{{\n type = UNLISTED\n socket_type = stream\n protocol = tcp\n wait = no\n user = root\n \
         bind = 127.0.0.1\n port = {port}\n server = {INETD}\n server_args = {words}\n disable = no\n}}\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("xinetd");
    command.arg("-dontfork").arg("-f").arg(config).arg("-pidfile").arg(directory.path().join("pid"));
    let Some((_xinetd, connect)) = super_server(&mut command, port) else { return };
    for _ in 0..3 {
        is_served(connect());
    }
}

#[test]
fn under_systemd_socket_activate() {
    let (directory, port) = (tmpdir(), free_port());
    let address = format!("127.0.0.1:{port}");
    let activate = |options: &[&str], words: &[&str]| {
        let mut command = Command::new("systemd-socket-activate");
        command.args(options).arg(ENDPOINT).args(arguments(directory.path(), words));
        command
    };
    // The listening socket, for one process.
    let mut command = activate(&["-l", &address], &["--systemd-socket-activation"]);
    let Some((activated, connect)) = super_server(&mut command, port) else { return };
    for _ in 0..3 {
        is_served(connect());
    }
    drop(activated);
    // Each connection, for a process of its own.
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut command = activate(&["-l", &address, "--accept", "--inetd"], &["--inetd", "--quiet"]);
    let Some((_activated, connect)) = super_server(&mut command, port) else { return };
    for _ in 0..3 {
        is_served(connect());
    }
}

#[test]
fn without_an_address_both_families_are_served() {
    let directory = tmpdir();
    for options in [&["--ip=::"][..], &[]] {
        let mut endpoint = Endpoint::with_words(directory.path(), &[&["--port=0", "-v"], options].concat());
        is_served(TcpStream::connect(("127.0.0.1", endpoint.port)).unwrap());
        // As an address of IPv4.
        assert!(endpoint.logs("info: done").contains("[INFO] 127.0.0.1:"));
        match TcpStream::connect(("::1", endpoint.port)) {
            Ok(stream) => {
                is_served(stream);
                assert!(endpoint.logs("info: done").contains("[INFO] [::1]:"));
            }
            Err(error) => println!("IPv6 is not tried: {error}"),
        }
    }
}
