//! Figures of the delivered endpoint and client on this machine, each beside what it is held against; those of the
//! endpoint in turns with OpenSSL's server.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use albatross_core::certificate::{Root, pem};
use albatross_core::issue::KeyPair;
use albatross_e2e::{Failure, Host, Pki, Profile, Programs, eventually, processes, raw};
use albatross_proto::frame;
use ring::rand::SystemRandom;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::measure::as_delivered;
use crate::measure::table::{Table, Target, median, mib, milliseconds, number};

/// Connections that say nothing.
const SILENT: usize = 1000;

/// What is written to a block device and read from it, in MiB.
const BLOCK: usize = 256;

/// Leaves that nobody has seen before, in each round.
const FRESH: usize = 20;

/// How often the client is run in each round.
const RUNS: usize = 10;

/// The longest file of certificates or of a key.
const MAX_FILE: usize = 1 << 20;

/// What the OCaml implementation did on the machine where it was measured: processor time of its endpoint for a
/// handshake with `info` in microseconds, of which ours may take so much; MiB/s into and out of a block device.
const OCAML_TIME: f64 = 760.0;
const SHARE: f64 = 0.35;
const OCAML_SET: f64 = 222.0;
const OCAML_DUMP: f64 = 100.0;

/// A connection to an endpoint.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// What is measured on.
struct House {
    host: Host,
    pki: Pki,
    endpoint: i32,
    port: u16,
}

/// OpenSSL's server with the same certificates; ended when this is dropped.
struct OpenSsl {
    child: Child,
    port: u16,
}

/// What was measured in turns.
#[derive(Default)]
struct Rounds {
    handshakes: Vec<f64>,
    time: Vec<f64>,
    fresh_time: Vec<f64>,
    theirs: Vec<f64>,
    their_time: Vec<f64>,
    ratio: Vec<f64>,
    set: Vec<f64>,
    dump: Vec<f64>,
    openssl: Vec<f64>,
    moved: Vec<f64>,
    local: Vec<f64>,
    remote: Vec<f64>,
}

/// Measures in so many rounds, of so many handshakes each, and prints.
pub(crate) fn run(rounds: usize, count: usize) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        let (rounds, count) = (rounds.to_string(), count.to_string());
        return as_delivered(&["measure-door", "--rounds", &rounds, "--count", &count]);
    }
    let mut table = Table::default();
    fill(&Programs::build(Profile::Release, false)?, &mut table, rounds, count)?;
    table.end();
    Ok(())
}

/// Measures into this table.
pub(crate) fn fill(
    programs: &Programs,
    table: &mut Table,
    rounds: usize,
    count: usize,
) -> Result<(), Failure> {
    let house = House::new(programs)?;
    table.section("memory of the endpoint");
    table.figure("idle", mib(house.resident()), "MiB", Target::Most(4.0));
    house.silent(table)?;
    let mut figures = Rounds::default();
    for round in 0..rounds {
        house.round(&mut figures, round, count)?;
    }
    let idle = "idle, after handshakes and streams";
    table.figure(idle, mib(house.resident()), "MiB", Target::Most(4.0));
    figures.print(table);
    Ok(())
}

impl Rounds {
    fn print(self, table: &mut Table) {
        table.section(
            "a mutual handshake with info, one client, in turns with the handshake alone of openssl s_server",
        );
        table.figure("info over TLS", median(self.handshakes), "1/s", Target::None);
        table.figure("s_server", median(self.theirs), "1/s", Target::None);
        table.figure("info over TLS, of s_server", median(self.ratio), "", Target::Least(1.0));
        let most = Target::Most(SHARE * OCAML_TIME);
        table.figure("processor time of the endpoint for each", median(self.time), "us", most);
        let fresh = "the same with a leaf that was never seen";
        table.figure(fresh, median(self.fresh_time), "us", Target::None);
        table.figure("processor time of s_server for each", median(self.their_time), "us", Target::None);
        table.section(&format!("{BLOCK} MiB over TLS, in turns with openssl s_client to s_server"));
        table.figure("set-block", median(self.set), "MiB/s", Target::Least(2.5 * OCAML_SET));
        table.figure("dump-block", median(self.dump), "MiB/s", Target::Least(4.0 * OCAML_DUMP));
        table.figure("openssl", median(self.openssl), "MiB/s", Target::None);
        table.figure("set-block, of openssl", median(self.moved), "", Target::Least(0.9));
        table.section("albatross-client from start to end");
        table.figure("info, local", median(self.local), "ms", Target::Most(3.0));
        table.figure("info, remote", median(self.remote), "ms", Target::Most(6.0));
    }
}

impl House {
    fn new(programs: &Programs) -> Result<Self, Failure> {
        let mut host = Host::new(programs)?;
        let pki = Pki::generate(programs, &host.work())?;
        let block = (2 * BLOCK).to_string();
        pki.intermediate("ca", "alice", 4, &["--mem", "64", "--block", &block])?;
        pki.leaf("alice", "asks", &["info", "--name", "asks"])?;
        let data = host.work().join("data");
        fs::write(&data, [0]).map_err(|error| Failure::io("write", &data, error))?;
        pki.leaf("alice", "disk", &["set-block", "disk", "data", "--compression-level=0"])?;
        fs::rename(pki.path("disk.pem"), pki.path("set.pem"))
            .map_err(|error| Failure::io("rename", &data, error))?;
        fs::rename(pki.path("disk.key"), pki.path("set.key"))
            .map_err(|error| Failure::io("rename", &data, error))?;
        pki.leaf("alice", "disk", &["dump-block", "disk", "--compression-level=0"])?;
        host.start_console(&[])?;
        host.start_albatrossd(&[])?;
        host.client(&["create-block", "alice:disk", &BLOCK.to_string()])?.expect(0, "")?;
        let [ca, certificate, key] = pki.server();
        let port = host.start_endpoint(&ca, &certificate, &key)?;
        let endpoint = host.endpoint().map_or(0, |daemon| daemon.pid());
        Ok(Self { host, pki, endpoint, port })
    }

    fn resident(&self) -> u64 {
        processes::status(self.endpoint, "VmRSS").unwrap_or(0)
    }

    /// How soon many who say nothing are let in, and what they cost.
    fn silent(&self, table: &mut Table) -> Result<(), Failure> {
        let (memory, before) = (self.resident(), processes::descriptors(self.endpoint));
        let begin = Instant::now();
        let silent: Vec<TcpStream> = (0..SILENT).map(|_| connect(self.port)).collect::<Result<_, _>>()?;
        eventually("the connections", || {
            (processes::descriptors(self.endpoint) >= before + SILENT).then_some(())
        })?;
        let took = begin.elapsed().as_secs_f64();
        let more = number(self.resident().saturating_sub(memory)) / count_of(SILENT);
        table.figure(&format!("{SILENT} silent connections, each"), more, "KiB", Target::Most(40.0));
        table.figure("until they are let in", took, "s", Target::Most(1.0));
        drop(silent);
        eventually("their end", || (processes::descriptors(self.endpoint) <= before).then_some(()))
    }

    fn round(&self, figures: &mut Rounds, round: usize, count: usize) -> Result<(), Failure> {
        let asks = Client::new(&self.pki, "asks")?;
        let (ours, time) = self.handshakes(&asks, self.port, self.endpoint, count, true)?;
        let server = OpenSsl::start(&self.pki, &["-Verify", "9", "-verify_return_error", "-quiet"])?;
        let (theirs, their_time) = self.handshakes(&asks, server.port, server.pid(), count, false)?;
        drop(server);
        figures.handshakes.push(ours);
        figures.time.push(time);
        figures.theirs.push(theirs);
        figures.their_time.push(their_time);
        figures.ratio.push(ours / theirs);
        for index in 0..FRESH {
            let name = format!("fresh-{round}-{index}");
            self.pki.leaf("alice", &name, &["info", "--name", &name])?;
            let fresh = Client::new(&self.pki, &name)?;
            figures.fresh_time.push(self.handshakes(&fresh, self.port, self.endpoint, 1, true)?.1);
        }
        let (set, dump, openssl) = (timed(|| self.set())?, timed(|| self.dump())?, self.openssl_moves()?);
        figures.moved.push(set / openssl);
        figures.set.push(set);
        figures.dump.push(dump);
        figures.openssl.push(openssl);
        for _ in 0..RUNS {
            figures.local.push(took(self.host.client_command(&["info"]))?);
            let destination = format!("127.0.0.1:{}", self.port);
            let words = ["certificate", "asks.pem", "asks.key", "-d", &destination];
            figures.remote.push(took(self.pki.client_command(&words))?);
        }
        Ok(())
    }

    /// How many connections there are in a second, one after the other, with an answer that is waited for or without,
    /// and the processor time of the server for each, in microseconds.
    fn handshakes(
        &self,
        client: &Client,
        port: u16,
        server: i32,
        count: usize,
        is_answered: bool,
    ) -> Result<(f64, f64), Failure> {
        let (before, begin) = (processes::processor_time(server), Instant::now());
        for _ in 0..count {
            let mut tls = client.connect(port)?;
            while tls.conn.is_handshaking() || tls.conn.wants_write() {
                tls.conn.complete_io(&mut tls.sock).map_err(|error| failed("shake hands", error))?;
            }
            if is_answered {
                read_frame(&mut tls).map_err(|error| failed("read the answer", error))?;
            }
        }
        let rate = per_second(count, begin.elapsed());
        let time = processes::processor_time(server).saturating_sub(before);
        Ok((rate, time.as_secs_f64() * 1e6 / count_of(count)))
    }

    fn set(&self) -> Result<(), Failure> {
        let mut tls = Client::new(&self.pki, "set")?.connect(self.port)?;
        let chunk = frame::frame(&[7; 64 * 1024]);
        let mut send = || {
            for _ in 0..BLOCK * 16 {
                tls.write_all(&chunk)?;
            }
            tls.write_all(&frame::frame(&[]))?;
            tls.flush()?;
            read_frame(&mut tls)
        };
        send().map(drop).map_err(|error| failed("send", error))
    }

    fn dump(&self) -> Result<(), Failure> {
        let mut tls = Client::new(&self.pki, "disk")?.connect(self.port)?;
        let copied = std::io::copy(&mut tls, &mut std::io::sink()).map_err(|error| failed("read", error))?;
        let whole = u64::try_from(BLOCK << 20).unwrap_or(u64::MAX);
        if copied > whole { Ok(()) } else { Err(failed("read", std::io::ErrorKind::UnexpectedEof.into())) }
    }

    /// MiB in a second that OpenSSL's client moves to its server.
    fn openssl_moves(&self) -> Result<f64, Failure> {
        let path = self.host.work().join("zeros");
        let zeros = || File::create(&path)?.set_len(u64::try_from(BLOCK << 20).unwrap_or(0));
        zeros().map_err(|error| Failure::io("make", &path, error))?;
        let server = OpenSsl::start(&self.pki, &["-quiet", "-naccept", "2"])?;
        let file = File::open(&path).map_err(|error| Failure::io("open", &path, error))?;
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-quiet", "-no_ign_eof", "-connect", &format!("127.0.0.1:{}", server.port)])
            .stdin(file);
        let begin = Instant::now();
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.map_err(|error| Failure::io("run", Path::new("openssl"), error))?;
        Ok(per_second(BLOCK, begin.elapsed()))
    }
}

/// A chain and its key, read once.
pub(crate) struct Client(ClientConfig);

impl Client {
    /// With the leaf that the files of this name hold.
    pub(crate) fn new(pki: &Pki, leaf: &str) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = pki.path(name);
            let text = fs::read(&path).map_err(|error| Failure::io("read", &path, error))?;
            pem::certificates(&text, MAX_FILE).map_err(|error| other("read a certificate", error))
        };
        let root = read("cacert.pem")?.pop().ok_or(Failure::BuildBefore)?;
        let root = Root::new(root).map_err(|error| other("read the root", error))?;
        let path = pki.path(&format!("{leaf}.key"));
        let text = fs::read(&path).map_err(|error| Failure::io("read", &path, error))?;
        let key =
            KeyPair::from_pem(&text, &SystemRandom::new()).map_err(|error| other("read a key", error))?;
        let config = albatross_tls::client::config(root, None, &read(&format!("{leaf}.pem"))?, key);
        Ok(Self(config.map_err(|error| other("begin", error))?))
    }

    /// Connects; the handshake comes with the first octets.
    pub(crate) fn connect(&self, port: u16) -> Result<Tls, Failure> {
        let connection = albatross_tls::client::connection(self.0.clone());
        Ok(StreamOwned::new(connection.map_err(|error| other("begin", error))?, connect(port)?))
    }
}

impl OpenSsl {
    fn start(pki: &Pki, options: &[&str]) -> Result<Self, Failure> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| failed("find a port", error))?.port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-tls1_3", "-num_tickets", "0", "-accept", &format!("127.0.0.1:{port}")]);
        let [ca, certificate, key] = pki.server();
        command.arg("-CAfile").arg(ca).arg("-cert").arg(certificate).arg("-key").arg(key).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| Failure::io("run", Path::new("openssl"), error))?;
        let it = Self { child, port };
        eventually("openssl s_server", || TcpStream::connect(("127.0.0.1", port)).ok())?;
        Ok(it)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn connect(port: u16) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| failed("connect", error))?;
    stream.set_nodelay(true).map_err(|error| failed("connect", error))?;
    Ok(stream)
}

fn read_frame(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    raw::read_frame(from)?.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn per_second(count: usize, time: Duration) -> f64 {
    count_of(count) / time.as_secs_f64()
}

/// MiB in a second.
fn timed(what: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let begin = Instant::now();
    what()?;
    Ok(per_second(BLOCK, begin.elapsed()))
}

/// How long a program takes that ends well, in milliseconds.
fn took(mut command: Command) -> Result<f64, Failure> {
    let program = Path::new(command.get_program()).to_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let status = command.status().map_err(|error| Failure::io("run", &program, error))?;
    let time = milliseconds(begin.elapsed());
    if status.success() {
        Ok(time)
    } else {
        Err(Failure::Unexpected { command: format!("{command:?}"), what: status.to_string() })
    }
}

fn count_of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn other(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    failed(what, std::io::Error::other(error))
}

fn failed(what: &'static str, error: std::io::Error) -> Failure {
    Failure::io(what, Path::new("over TLS"), error)
}
