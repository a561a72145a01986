//! The real program on one side, daemons and clients played by the tests around it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test stops at the first surprise; not every test needs all of this"
)]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use albatross_core::certificate::{Certificate, Root, pem};
use albatross_core::issue::KeyPair;
use albatross_e2e::{processes, raw};
use albatross_proto::{Command, Header, Payload, Success, Text, Wire, frame};
use ring::rand::SystemRandom;
use rustls::{ClientConnection, StreamOwned};
use tempfile::TempDir;

/// How long anything may take before the test fails.
pub const SOON: Duration = Duration::from_secs(30);

/// The folder of a recorded chain.
pub fn case(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.join("testdata/vectors/chain").join(name)
}

/// The endpoint, listening on a port of the kernel's choice.
pub struct Endpoint {
    child: Child,
    pub port: u16,
    log: Receiver<String>,
    pub directory: TempDir,
}

impl Endpoint {
    /// Trusting the root of the recorded chains.
    pub fn start() -> Self {
        Self::with(&case("_lib-root/ca.pem"), &case("_lib-root/server.pem"), &case("_lib-root/server.key"))
    }

    pub fn with(ca: &Path, certificate: &Path, key: &Path) -> Self {
        Self::with_options(ca, certificate, key, &[])
    }

    pub fn with_options(ca: &Path, certificate: &Path, key: &Path, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("util")).unwrap();
        let mut command = Process::new(env!("CARGO_BIN_EXE_albatross-tls-endpoint"));
        command.args([ca, certificate, key]).args(options);
        command.args(["--ip", "127.0.0.1", "--port=0", "-v", "--tmpdir"]).arg(directory.path());
        Self::run(command, directory)
    }

    /// With these options and the daemons of this directory.
    pub fn with_words(tmpdir: &Path, words: &[&str]) -> Self {
        let mut command = Process::new(env!("CARGO_BIN_EXE_albatross-tls-endpoint"));
        command.args(["ca.pem", "server.pem", "server.key"].map(|name| case("_lib-root").join(name)));
        command.args(words).arg("--tmpdir").arg(tmpdir);
        Self::run(command, tempfile::tempdir().unwrap())
    }

    fn run(mut command: Process, directory: TempDir) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (say, log) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("{line}");
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        let mut endpoint = Self { child, port: 0, log, directory };
        let line = endpoint.logs("listening on");
        endpoint.port = line.rsplit(':').next().unwrap().parse().unwrap();
        endpoint
    }

    /// The next line of the log that contains `text`.
    pub fn logs(&mut self, text: &str) -> String {
        let end = Instant::now() + SOON;
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no log line with {text:?} ({error}), but {seen:#?}"),
            }
        }
    }

    /// See [`daemon`].
    pub fn daemon(&self, name: &str, serve: impl FnMut(Daemon) -> bool + Send + 'static) -> JoinHandle<()> {
        daemon(self.directory.path(), name, serve)
    }

    pub fn connect(&self) -> TcpStream {
        impatient(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    /// A client with a recorded chain.
    pub fn client(&self, name: &str) -> Client {
        let case = case(name);
        self.client_with(&case.join("chain.pem"), &case.join("leaf.key"), &self::case("_lib-root/ca.pem"))
    }

    pub fn client_with(&self, chain: &Path, key: &Path, server_ca: &Path) -> Client {
        client_over(self.connect(), chain, key, server_ca)
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// A number of `/proc/PID/status`, in KiB.
    pub fn status_kib(&self, field: &str) -> usize {
        usize::try_from(processes::status(self.pid(), field).unwrap()).unwrap()
    }

    pub fn terminate(mut self) -> Option<i32> {
        processes::signal(self.pid(), nix::sys::signal::Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A stream that fails where nothing comes.
pub fn impatient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

pub fn client_over(stream: TcpStream, chain: &Path, key: &Path, server_ca: &Path) -> Client {
    let connection =
        albatross_tls::client::connect(root(server_ca), None, &certificates(chain), pair(key)).unwrap();
    Client(StreamOwned::new(connection, stream))
}

/// Lets `serve` answer the first connections to a daemon below `tmpdir`, one after the other, until it returns
/// false.
pub fn daemon(
    tmpdir: &Path,
    name: &str,
    mut serve: impl FnMut(Daemon) -> bool + Send + 'static,
) -> JoinHandle<()> {
    let listener = UnixListener::bind(tmpdir.join(format!("util/{name}.sock"))).unwrap();
    std::thread::spawn(move || {
        loop {
            let stream = accept_soon(&listener);
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.set_write_timeout(Some(SOON)).unwrap();
            if !serve(Daemon(stream)) {
                return;
            }
        }
    })
}

/// The next connection. A test whose endpoint never connects fails instead of waiting.
fn accept_soon(listener: &UnixListener) -> UnixStream {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut wanted, PollTimeout::try_from(SOON).unwrap()).unwrap(), 1, "nobody connected");
    listener.accept().unwrap().0
}

pub fn certificates(path: &Path) -> Vec<Certificate<'static>> {
    pem::certificates(&fs::read(path).unwrap(), 1 << 20).unwrap()
}

pub fn root(path: &Path) -> Root<'static> {
    Root::new(certificates(path).remove(0)).unwrap()
}

pub fn pair(path: &Path) -> KeyPair {
    KeyPair::from_pem(&fs::read(path).unwrap(), &SystemRandom::new()).unwrap()
}

/// A client over TLS.
pub struct Client(pub StreamOwned<ClientConnection, TcpStream>);

/// The end of a connection to a client.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With close_notify.
    Clean,
    /// With this alert, or without any.
    Broken(String),
}

impl Client {
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.write_all(octets)?;
        self.0.flush()
    }

    pub fn receive(&mut self) -> Vec<u8> {
        read_frame(&mut self.0).unwrap()
    }

    /// All frames up to the end.
    pub fn rest(&mut self) -> (Vec<Vec<u8>>, End) {
        let mut octets = Vec::new();
        let end = match self.0.read_to_end(&mut octets) {
            Ok(_) => End::Clean,
            Err(error) => End::Broken(error.to_string()),
        };
        let mut octets = octets.as_slice();
        let mut frames = Vec::new();
        while !octets.is_empty() {
            frames.push(read_frame(&mut octets).unwrap());
        }
        (frames, end)
    }

    /// The one failure that comes.
    pub fn failure(&mut self) -> String {
        let (frames, end) = self.rest();
        assert_eq!((frames.len(), end), (1, End::Clean));
        match Wire::decode(&frames[0]).unwrap().payload {
            Payload::Failure(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// How the endpoint refuses to talk.
    pub fn refusal(&mut self) -> String {
        match self.rest() {
            (frames, End::Broken(text)) if frames.is_empty() => text,
            other => panic!("{other:?}"),
        }
    }
}

/// A connection to a daemon.
pub struct Daemon(pub UnixStream);

impl Daemon {
    pub fn receive(&mut self) -> Vec<u8> {
        read_frame(&mut self.0).unwrap()
    }

    /// The header and command of the next message.
    pub fn command(&mut self) -> (Header, Command<'static>) {
        let frame = self.receive();
        match Wire::decode(&frame).unwrap() {
            Wire { header, payload: Payload::Command(command) } => (header, command.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    pub fn say(&mut self, header: &Header, payload: Payload<'_>) -> io::Result<()> {
        self.0.write_all(&message(header, payload))
    }

    /// Accepts so many policies, then returns the command.
    pub fn after_policies(&mut self, count: usize) -> (Header, Command<'static>) {
        for _ in 0..count {
            let (header, command) = self.command();
            assert!(
                matches!(command, Command::Policy(albatross_proto::PolicyCommand::Add(_))),
                "{command:?}"
            );
            self.say(&header, ok("added policy")).unwrap();
        }
        self.command()
    }
}

pub fn message(header: &Header, payload: Payload<'_>) -> Vec<u8> {
    frame::frame(&Wire::new(header.clone(), payload).encode().unwrap())
}

pub fn ok(text: &str) -> Payload<'static> {
    Payload::Success(Success::Text(Text::from(text)))
}

pub fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    raw::read_frame(from)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// What `openssl s_client` says when it connects with these arguments and sends nothing.
pub fn s_client(port: u16, arguments: &[&str]) -> String {
    let output = Process::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
