//! A client of the endpoint that keeps coming: each command is a connection with a certificate of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use albatross_core::certificate::{Root, pem};
use albatross_core::issue::KeyPair;
use albatross_e2e::pki::ROOT;
use albatross_e2e::raw::Raw;
use albatross_e2e::{Failure, Host, PATIENCE, Pki};
use albatross_proto::{BlockCommand, Command, Data, Int, Payload, Success, Wire, frame};
use ring::rand::SystemRandom;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::admin::{Trouble, local};
use super::house::PORT;
use super::ledger::{Dice, Kind, Ledger};

/// From one command to the next.
const PAUSE: Duration = Duration::from_millis(10);
/// Its unikernel and its block device.
const UNIKERNEL: &str = "short";
const BLOCK: &str = "disk";
/// How albatrossd refuses to destroy what is not there.
const NOT_RUNNING: &str = "is not running";
/// What is sent at a time, in octets, as the client of the OCaml implementation does at most.
const CHUNK: usize = 64 * 1024;
/// How often a client that is to end tries to destroy its unikernel.
const TRIES: usize = 3;
/// What is set and dumped, in octets: all of the device.
const CONTENT: usize = 1 << 20;
/// The longest file of certificates or of a key.
const MAX_FILE: usize = 1 << 20;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Yes,
    No,
    /// A command that changes it was not answered.
    Unknown,
}

/// What came back.
enum Seen {
    Done,
    /// The unikernels that run.
    Unikernels(usize),
    /// The content of the block device.
    Content(Vec<u8>),
}

/// One of them, at a path of its own.
pub(super) struct Client {
    number: usize,
    path: String,
    leaves: BTreeMap<Kind, ClientConfig>,
    /// What goes after a create by digest; nothing where the certificate has the image.
    image: Option<Vec<u8>>,
    dice: Dice,
    unikernel: There,
    /// What the block device holds; `None` where that is not known.
    content: Option<u8>,
    sets: u8,
}

impl Client {
    /// With certificates, and a block device.
    pub(super) fn new(host: &Host, pki: &Pki, number: usize, seed: u64) -> Result<Self, Failure> {
        let path = format!("c{number}");
        pki.intermediate(ROOT, &path, 2, &["--mem=64", "--block=4"])?;
        let image = host.programs().guest("tick");
        let words = image.to_string_lossy();
        let data = host.work().join("data");
        fs::write(&data, [0]).map_err(|error| Failure::io("write", &data, error))?;
        let is_streamed = number % 2 == 1;
        let mut create = vec!["create", UNIKERNEL, &words, "--mem=2", "--arg=--ms=200"];
        create.extend(is_streamed.then_some("--by-digest"));
        let mut leaves = BTreeMap::new();
        for (kind, label, command) in [
            (Kind::Info, UNIKERNEL, &["info", "--name", UNIKERNEL][..]),
            (Kind::Policy, "policy", &["policy"]),
            (Kind::Create, UNIKERNEL, &create),
            (Kind::Console, UNIKERNEL, &["console", UNIKERNEL, "--count=1"]),
            (Kind::Destroy, UNIKERNEL, &["destroy", UNIKERNEL]),
            (Kind::Set, BLOCK, &["set-block", BLOCK, "data", "--compression-level=0"]),
            (Kind::Dump, BLOCK, &["dump-block", BLOCK, "--compression-level=0"]),
        ] {
            pki.leaf(&path, label, command)?;
            leaves.insert(kind, read_leaf(pki, label)?);
            for end in ["req", "key", "pem"] {
                let file = pki.path(&format!("{label}.{end}"));
                fs::remove_file(&file).map_err(|error| Failure::io("remove", &file, error))?;
            }
        }
        let image = match is_streamed {
            true => Some(fs::read(&image).map_err(|error| Failure::io("read", &image, error))?),
            false => None,
        };
        let add = Command::Block(BlockCommand::Add(Int::ONE));
        let policy = local(&host.socket("vmmd"), &format!("{path}:{BLOCK}"), add);
        policy.map_err(|trouble| Failure::Unexpected {
            command: "create-block".to_owned(),
            what: trouble.to_string(),
        })?;
        let dice = Dice::new(seed.wrapping_add(u64::try_from(number).unwrap_or(0)));
        Ok(Self { number, path, leaves, image, dice, unikernel: There::No, content: None, sets: 0 })
    }

    /// Works until there is to be no more work, and removes its unikernel.
    pub(super) fn work(&mut self, ledger: &Ledger) {
        while !ledger.is_work_over() {
            let kind = match self.dice.roll(10) {
                0..=2 => Kind::Info,
                3 => Kind::Policy,
                4 => Kind::Set,
                5 => Kind::Dump,
                _ => self.next_of_unikernel(),
            };
            if self.one(kind, ledger) {
                ledger.served(self.number);
            }
            thread::sleep(PAUSE);
        }
        self.leave(ledger);
    }

    /// Destroys its unikernel.
    pub(super) fn leave(&mut self, ledger: &Ledger) {
        for _ in 0..TRIES {
            if self.unikernel != There::No {
                self.one(Kind::Destroy, ledger);
            }
        }
    }

    fn next_of_unikernel(&mut self) -> Kind {
        match self.unikernel {
            There::No => Kind::Create,
            There::Yes if self.dice.roll(2) == 0 => Kind::Console,
            There::Yes | There::Unknown => Kind::Destroy,
        }
    }

    /// Whether it is served with everything: a unikernel is made, seen on its console, and ended.
    pub(super) fn try_all(&mut self, ledger: &Ledger) -> bool {
        let is_clear = self.unikernel == There::No || self.one(Kind::Destroy, ledger);
        is_clear
            && [Kind::Create, Kind::Console, Kind::Destroy].into_iter().all(|kind| self.one(kind, ledger))
    }

    /// One command; whether it succeeded.
    fn one(&mut self, kind: Kind, ledger: &Ledger) -> bool {
        let began = Instant::now();
        let mut seen = self.exchange(kind);
        if kind == Kind::Destroy
            && self.unikernel == There::Unknown
            && matches!(&seen, Err(Trouble::Refused(why)) if why.contains(NOT_RUNNING))
        {
            // It was not made, or is gone already.
            self.unikernel = There::No;
            return true;
        }
        if let Ok(Some(why)) = seen.as_ref().map(|seen| self.differs(seen)) {
            seen = Err(Trouble::Refused(why));
        }
        let is_done = seen.is_ok();
        let path = &self.path;
        ledger.note(kind, began, seen.map(drop).map_err(|trouble| format!("{path}: {trouble}")));
        self.settle(kind, is_done, ledger);
        is_done
    }

    /// What is not as it has to be.
    fn differs(&self, seen: &Seen) -> Option<String> {
        match (seen, self.unikernel, self.content) {
            (Seen::Unikernels(1), There::No, _) => Some("it runs, and was destroyed".to_owned()),
            (Seen::Unikernels(0), There::Yes, _) => Some("it does not run, and was created".to_owned()),
            (Seen::Content(content), _, Some(octet)) => {
                let is_same = content.len() == CONTENT && content.iter().all(|it| *it == octet);
                (!is_same).then(|| format!("{} octets, not what was set", content.len()))
            }
            _ => None,
        }
    }

    /// Remembers what is known after a command.
    fn settle(&mut self, kind: Kind, is_done: bool, ledger: &Ledger) {
        let words = match kind {
            Kind::Create => {
                self.unikernel = if is_done { There::Yes } else { There::Unknown };
                // One by digest is one when the endpoint has compared the digest.
                "create"
            }
            Kind::Destroy => {
                self.unikernel = if is_done { There::No } else { There::Unknown };
                "destroy"
            }
            Kind::Set => {
                self.content = is_done.then_some(self.sets);
                "block set"
            }
            _ => return,
        };
        if is_done {
            let label = if kind == Kind::Set { BLOCK } else { UNIKERNEL };
            ledger.acknowledge(format!("{}:{label}", self.path), words);
        }
    }

    fn exchange(&mut self, kind: Kind) -> Result<Seen, Trouble> {
        let broken = |error: io::Error| Trouble::Broken(error.to_string());
        let mut raw = self.connect(kind).map_err(broken)?;
        // Who is refused may find that nobody reads any more; the answer says why.
        let sent = match (kind, &self.image) {
            (Kind::Create, Some(image)) => stream(&mut raw, image),
            (Kind::Set, _) => {
                self.sets = self.sets.wrapping_add(1);
                stream(&mut raw, &vec![self.sets; CONTENT])
            }
            _ => Ok(()),
        };
        let answer = answer(kind, &mut raw);
        match (sent, answer) {
            (Err(error), Err(Trouble::Broken(_))) => Err(broken(error)),
            (_, answer) => answer,
        }
    }

    fn connect(&self, kind: Kind) -> io::Result<Raw<Tls>> {
        let config = self.leaves.get(&kind).ok_or(io::ErrorKind::NotFound)?;
        let connection = albatross_tls::client::connection(config.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(("127.0.0.1", PORT))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Raw::over(StreamOwned::new(connection, stream)))
    }

    /// Removes its block device.
    pub(super) fn remove(&self, host: &Host) -> Result<(), Trouble> {
        let remove = Command::Block(BlockCommand::Remove);
        local(&host.socket("vmmd"), &format!("{}:{BLOCK}", self.path), remove).map(drop)
    }
}

/// Reads the answer as far as it is wanted.
fn answer<S: Read + Write>(kind: Kind, raw: &mut Raw<S>) -> Result<Seen, Trouble> {
    let broken = |error: io::Error| Trouble::Broken(error.to_string());
    let mut content = Vec::new();
    loop {
        let frame = raw.frame().map_err(broken)?.ok_or_else(|| Trouble::Broken("closed".to_owned()))?;
        match Wire::decode(&frame).map_err(|error| Trouble::Broken(error.to_string()))?.payload {
            Payload::Failure(why) => return Err(Trouble::Refused(why.to_string())),
            Payload::Success(Success::Info(all)) => return Ok(Seen::Unikernels(all.len())),
            Payload::Data(Data::Console { .. }) => return Ok(Seen::Done),
            Payload::Data(Data::Block(Some(part))) => content.extend_from_slice(&part),
            Payload::Data(Data::Block(None)) => return Ok(Seen::Content(content)),
            Payload::Success(_) if matches!(kind, Kind::Console | Kind::Dump) => {}
            Payload::Success(_) => return Ok(Seen::Done),
            _ => return Err(Trouble::Broken("something else was answered".to_owned())),
        }
    }
}

fn stream<S: Read + Write>(raw: &mut Raw<S>, octets: &[u8]) -> io::Result<()> {
    for chunk in octets.chunks(CHUNK) {
        raw.send(&frame::frame(chunk))?;
    }
    raw.send(&frame::frame(&[]))
}

/// The certificate and key of these names, ready to connect with.
fn read_leaf(pki: &Pki, label: &str) -> Result<ClientConfig, Failure> {
    let read = |name: &str| {
        let path = pki.path(name);
        fs::read(&path).map_err(|error| Failure::io("read", &path, error))
    };
    let certificates = |name: &str| {
        pem::certificates(&read(name)?, MAX_FILE).map_err(|error| failed("read a certificate", error))
    };
    let root =
        certificates("cacert.pem")?.pop().ok_or_else(|| failed("read a root", io::Error::other("none")))?;
    let root = Root::new(root).map_err(|error| failed("read a root", error))?;
    let key = KeyPair::from_pem(&read(&format!("{label}.key"))?, &SystemRandom::new());
    let key = key.map_err(|error| failed("read a key", error))?;
    let chain = certificates(&format!("{label}.pem"))?;
    albatross_tls::client::config(root, None, &chain, key).map_err(|error| failed("connect", error))
}

fn failed(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::io(what, std::path::Path::new("as a client"), io::Error::other(error))
}
