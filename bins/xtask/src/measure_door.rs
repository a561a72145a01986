//! Figures of the delivered endpoint on this machine, beside those of OpenSSL's server in the same run.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use albatross_core::certificate::{Certificate, Root, pem};
use albatross_core::issue::KeyPair;
use albatross_e2e::{Failure, Host, Pki, Profile, Programs, eventually, processes};
use albatross_proto::frame;
use ring::rand::SystemRandom;
use rustls::{ClientConnection, StreamOwned};

/// Connections that say nothing.
const SILENT: usize = 1000;

/// What is written to a block device and read from it, in MiB.
const BLOCK: usize = 256;

/// The longest file of certificates or of a key.
const MAX_FILE: usize = 1 << 20;

type Tls = StreamOwned<ClientConnection, TcpStream>;

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

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "it talks to a person")]
pub(crate) fn run(count: usize) -> Result<(), Failure> {
    let house = House::new()?;
    println!("idle: {} KiB resident", house.resident());
    house.silent()?;
    let before = processor_time(house.endpoint);
    let ours = house.handshakes(house.port, count, Some(()))?;
    let ours_time = processor_time(house.endpoint).saturating_sub(before) / u32::try_from(count).unwrap_or(1);
    let server = OpenSsl::start(&house.pki, &["-Verify", "9", "-verify_return_error", "-quiet"])?;
    let before = processor_time(server.pid());
    let theirs = house.handshakes(server.port, count, None)?;
    let theirs_time = processor_time(server.pid()).saturating_sub(before) / u32::try_from(count).unwrap_or(1);
    println!("info, handshake included: {ours:.0}/s, {ours_time:.1?} of the endpoint's processor time each");
    println!("openssl s_server, handshakes alone: {theirs:.0}/s, {theirs_time:.1?} each");
    drop(server);
    let (set, set_time) = house.timed(|house| house.set())?;
    let (dump, dump_time) = house.timed(|house| house.dump())?;
    let openssl = house.openssl_moves()?;
    println!("set-block: {set:.0} MiB/s, {set_time:.0?} of the endpoint's processor time for {BLOCK} MiB");
    println!("dump-block: {dump:.0} MiB/s, {dump_time:.0?}");
    println!("openssl s_client to s_server: {openssl:.0} MiB/s");
    println!("afterwards: {} KiB resident", house.resident());
    Ok(())
}

impl House {
    fn new() -> Result<Self, Failure> {
        let programs = Programs::build(Profile::Release, false)?;
        let mut host = Host::new(&programs)?;
        let pki = Pki::generate(&programs, &host.work())?;
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
    #[expect(clippy::print_stdout, reason = "it talks to a person")]
    fn silent(&self) -> Result<(), Failure> {
        let (memory, before) = (self.resident(), processes::descriptors(self.endpoint));
        let begin = Instant::now();
        let silent: Vec<TcpStream> = (0..SILENT).map(|_| connect(self.port)).collect::<Result<_, _>>()?;
        eventually("the connections", || {
            (processes::descriptors(self.endpoint) >= before + SILENT).then_some(())
        })?;
        let took = begin.elapsed();
        let more = self.resident().saturating_sub(memory);
        let each = more / u64::try_from(SILENT).unwrap_or(1);
        println!("{SILENT} connections that say nothing: let in within {took:.1?}, {each} KiB each");
        drop(silent);
        eventually("their end", || (processes::descriptors(self.endpoint) <= before).then_some(()))
    }

    /// How many connections there are in a second, one after the other; with an answer that is waited for.
    fn handshakes(&self, port: u16, count: usize, answer: Option<()>) -> Result<f64, Failure> {
        let client = Client::new(&self.pki, "asks")?;
        let begin = Instant::now();
        for _ in 0..count {
            let mut tls = client.connect(port)?;
            while tls.conn.is_handshaking() || tls.conn.wants_write() {
                tls.conn.complete_io(&mut tls.sock).map_err(|error| failed("shake hands", error))?;
            }
            if answer.is_some() {
                read_frame(&mut tls).map_err(|error| failed("read the answer", error))?;
            }
        }
        Ok(per_second(count, begin.elapsed()))
    }

    /// MiB in a second, and the processor time of the endpoint.
    fn timed(&self, what: impl Fn(&Self) -> Result<(), Failure>) -> Result<(f64, Duration), Failure> {
        let (before, begin) = (processor_time(self.endpoint), Instant::now());
        what(self)?;
        Ok((per_second(BLOCK, begin.elapsed()), processor_time(self.endpoint).saturating_sub(before)))
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
struct Client {
    root: Root<'static>,
    chain: Vec<Certificate<'static>>,
    key: PathBuf,
}

impl Client {
    fn new(pki: &Pki, leaf: &str) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = pki.path(name);
            let text = fs::read(&path).map_err(|error| Failure::io("read", &path, error))?;
            pem::certificates(&text, MAX_FILE)
                .map_err(|error| Failure::io("read", &path, std::io::Error::other(error)))
        };
        let root = read("cacert.pem")?.pop().ok_or(Failure::BuildBefore)?;
        let root = Root::new(root).map_err(|error| failed("read the root", std::io::Error::other(error)))?;
        Ok(Self { root, chain: read(&format!("{leaf}.pem"))?, key: pki.path(&format!("{leaf}.key")) })
    }

    fn connect(&self, port: u16) -> Result<Tls, Failure> {
        let text = fs::read(&self.key).map_err(|error| Failure::io("read", &self.key, error))?;
        let key = KeyPair::from_pem(&text, &SystemRandom::new())
            .map_err(|error| failed("read a key", std::io::Error::other(error)))?;
        let connection = albatross_tls::client::connect(self.root.clone(), None, &self.chain, key)
            .map_err(|error| failed("begin", std::io::Error::other(error)))?;
        Ok(StreamOwned::new(connection, connect(port)?))
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
    let mut header = [0; frame::HEADER_LENGTH];
    from.read_exact(&mut header)?;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes(header)).map_err(std::io::Error::other)?];
    from.read_exact(&mut payload)?;
    Ok(payload)
}

/// The time for which a process was on a processor.
fn processor_time(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0))
}

fn per_second(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}

fn failed(what: &'static str, error: std::io::Error) -> Failure {
    Failure::io(what, Path::new("over TLS"), error)
}
