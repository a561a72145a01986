//! Revocation lists: from the folder, from clients, and what they end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use albatross_core::certificate::{Certificate, pem};
use albatross_core::issue::{
    self, Issuer, KeyKind, KeyPair, ListIssuer, ListTerms, Revoked, Serial, SigningKey as _, Terms, Validity,
};
use albatross_core::revocation::RevocationList;
use albatross_proto::command::{History, RevocationCommand};
use albatross_proto::{
    Command, ConsoleCommand, Int, Payload, Policy, Success, Text, Time, UnikernelCommand, Wire,
};
use common::{Client, End, Endpoint, ok};
use ring::rand::SystemRandom;
use tempfile::TempDir;

/// A root, alice below it, and the server.
struct Pki {
    directory: TempDir,
    root: Ca,
    alice: Ca,
}

struct Ca {
    chain: Vec<Certificate<'static>>,
    key: KeyPair,
}

fn key() -> KeyPair {
    KeyPair::generate(KeyKind::Ed25519, &SystemRandom::new()).unwrap()
}

fn validity() -> Validity {
    Validity::new("2020-01-01".parse().unwrap(), "2100-01-01".parse().unwrap()).unwrap()
}

fn at(text: &str) -> Time {
    text.parse().unwrap()
}

impl Ca {
    fn issuer(&self) -> Issuer<'_> {
        Issuer::new(&self.chain, &self.key).unwrap()
    }

    /// List `number` of this CA, which revokes these certificates; the numbers before are passed over.
    fn list(&self, number: u32, revoked: &[&Certificate<'_>]) -> RevocationList<'static> {
        let random = SystemRandom::new();
        let issuer = ListIssuer::new(&self.chain[0], &self.key).unwrap();
        let made = |before: Option<&RevocationList<'_>>, revoked: &[&Certificate<'_>]| {
            let revoked: Vec<Revoked> = revoked
                .iter()
                .map(|it| Revoked {
                    serial: Serial::new(it.serial()).unwrap(),
                    date: at("2026-01-01"),
                    reason: None,
                })
                .collect();
            issuer.issue(before, &revoked, &ListTerms::new(validity(), &random)).unwrap()
        };
        let mut before = None;
        for _ in 1..number {
            before = Some(made(before.as_ref(), &[]));
        }
        made(before.as_ref(), revoked)
    }
}

impl Pki {
    fn new() -> Self {
        let random = SystemRandom::new();
        let terms = || Terms::new(validity(), &random).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let root_key = key();
        let root = Ca { chain: vec![issue::root("ca", &root_key, &terms()).unwrap()], key: root_key };
        let policy = Policy {
            cpuids: [Int::ZERO].into(),
            unikernels: Int::from(2),
            memory: Int::from(64),
            block: None,
            bridges: [].into(),
        };
        let alice_key = key();
        let alice = root
            .issuer()
            .intermediate(&"alice".parse().unwrap(), alice_key.public_key(), &policy, &terms())
            .unwrap();
        let server_key = key();
        let server = root.issuer().server("server", server_key.public_key(), &[], &terms()).unwrap();
        let write = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).unwrap();
        write("ca.pem", pem::encode_certificates(&root.chain).as_bytes());
        write("server.pem", pem::encode_certificates(&[server]).as_bytes());
        write("server.key", server_key.to_pem().as_bytes());
        fs::create_dir(directory.path().join("lists")).unwrap();
        let alice = Ca { chain: vec![alice], key: alice_key };
        Self { directory, root, alice }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn lists(&self) -> PathBuf {
        self.path("lists")
    }

    fn start(&self) -> Endpoint {
        let lists = self.lists();
        let [ca, server, key] = ["ca.pem", "server.pem", "server.key"].map(|name| self.path(name));
        Endpoint::with_options(&ca, &server, &key, &["--crl-dir", lists.to_str().unwrap()])
    }

    /// A leaf of this CA with this command.
    fn leaf(&self, ca: &Ca, name: &str, command: &Command<'_>) -> Certificate<'static> {
        let leaf_key = key();
        let random = SystemRandom::new();
        let terms = Terms::new(validity(), &random).unwrap();
        let leaf =
            ca.issuer().leaf(Some(&name.parse().unwrap()), leaf_key.public_key(), command, &terms).unwrap();
        fs::write(self.path(&format!("{name}.pem")), ca.issuer().chain_pem(&leaf)).unwrap();
        fs::write(self.path(&format!("{name}.key")), leaf_key.to_pem().as_bytes()).unwrap();
        leaf
    }

    fn connect(&self, endpoint: &Endpoint, name: &str) -> Client {
        let (chain, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        endpoint.client_with(&chain, &key, &self.path("ca.pem"))
    }

    /// Sends a list with a leaf of this CA; empty where it is installed, or what is wrong.
    fn install(&self, endpoint: &Endpoint, ca: &Ca, list: &RevocationList<'_>) -> String {
        let command = Command::Revocation(RevocationCommand::Install(list.der().into()));
        self.leaf(ca, "installs", &command);
        let (frames, end) = self.connect(endpoint, "installs").rest();
        assert_eq!((frames.len(), end), (1, End::Clean));
        match Wire::decode(&frames[0]).unwrap().payload {
            Payload::Success(Success::Empty) => String::new(),
            Payload::Failure(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

fn info() -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Info)
}

fn subscribe() -> Command<'static> {
    Command::Console(ConsoleCommand::Subscribe(History::Count(Int::from(20))))
}

/// A daemon that answers everything.
fn serves_info(endpoint: &Endpoint) {
    endpoint.daemon("vmmd", |mut daemon| {
        let (header, _) = daemon.after_policies(1);
        daemon.say(&header, ok("yes")).unwrap();
        true
    });
}

/// Puts a file in place as a whole.
fn put(path: &Path, content: impl AsRef<[u8]>) {
    let aside = path.with_extension("new");
    fs::write(&aside, content).unwrap();
    fs::rename(aside, path).unwrap();
}

/// The files that are in the folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_list_in_the_folder_counts_without_a_restart() {
    let pki = Pki::new();
    let (first, second) = (pki.leaf(&pki.alice, "first", &info()), pki.leaf(&pki.alice, "second", &info()));
    put(&pki.lists().join("alice.crl"), pki.alice.list(1, &[&first]).der());
    let mut endpoint = pki.start();
    serves_info(&endpoint);
    let revoked = "the client's chain is refused: certificate 0 (CN=first): revoked by its issuer";
    assert_eq!(pki.connect(&endpoint, "first").failure(), revoked);
    assert_eq!(pki.connect(&endpoint, "second").rest().0.len(), 1);
    // A leaf, as PEM; then the intermediate, by the root.
    put(&pki.lists().join("alice.crl"), pki.alice.list(2, &[&second]).to_pem());
    endpoint.logs("list 2 of CN=alice revokes 1 certificates");
    assert!(pki.connect(&endpoint, "second").failure().contains("certificate 0 (CN=second): revoked"));
    put(&pki.lists().join("root.pem"), pki.root.list(1, &[&pki.alice.chain[0]]).to_pem());
    endpoint.logs("list 1 of CN=ca");
    assert!(pki.connect(&endpoint, "first").failure().contains("certificate 1 (CN=alice): revoked"));
}

#[test]
fn a_list_that_is_bad_or_older_is_said_and_the_last_good_one_counts() {
    let pki = Pki::new();
    let leaf = pki.leaf(&pki.alice, "leaf", &info());
    let file = pki.lists().join("root.crl");
    put(&file, pki.root.list(2, &[&pki.alice.chain[0]]).der());
    let mut endpoint = pki.start();
    let other = Pki::new();
    for (content, says) in [
        (b"nonsense".to_vec(), "[ERROR]"),
        (pki.root.list(3, &[]).der()[..100].to_vec(), "what counted before still does"),
        (other.root.list(3, &[]).der().to_vec(), "not signed by the key of"),
        (pki.root.list(1, &[]).der().to_vec(), "number 1, and number 2 is on file"),
        (pki.root.list(2, &[]).der().to_vec(), "another revocation list with number 2"),
    ] {
        put(&file, content);
        let line = endpoint.logs(says);
        assert!(line.contains("root.crl"), "{line}");
        assert!(pki.connect(&endpoint, "leaf").failure().contains("(CN=alice): revoked"));
    }
    // What is taken away takes nothing back.
    fs::remove_file(&file).unwrap();
    put(&pki.lists().join("alice.crl"), pki.alice.list(1, &[&leaf]).der());
    endpoint.logs("alice.crl");
    assert!(pki.connect(&endpoint, "leaf").failure().contains("(CN=alice): revoked"));
}

#[test]
fn at_the_start_a_list_that_cannot_be_read_is_an_error() {
    let pki = Pki::new();
    let run = |folder: &Path| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_albatross-tls-endpoint"))
            .args(["ca.pem", "server.pem", "server.key"].map(|name| pki.path(name)))
            .arg("--port=0")
            .arg("--crl-dir")
            .arg(folder)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = run(Path::new("/nowhere"));
    assert!(code == Some(125) && text.contains("/nowhere: No such file"), "{text}");
    fs::write(pki.lists().join("bad.crl"), "0 nonsense").unwrap();
    let (code, text) = run(&pki.lists());
    assert!(code == Some(125) && text.contains("bad.crl: the revocation list cannot be read"), "{text}");
}

#[test]
fn a_list_that_its_ca_installs_counts_at_once_and_after_a_restart() {
    let pki = Pki::new();
    let leaf = pki.leaf(&pki.alice, "leaf", &info());
    let other = pki.leaf(&pki.alice, "other", &info());
    let mut endpoint = pki.start();
    serves_info(&endpoint);
    assert_eq!(pki.connect(&endpoint, "leaf").rest().0.len(), 1);
    let second = pki.alice.list(2, &[&leaf]);
    assert_eq!(pki.install(&endpoint, &pki.alice, &second), "");
    assert!(endpoint.logs("revocation: done").contains("CN=installs"));
    assert!(pki.connect(&endpoint, "leaf").failure().contains("CN=leaf): revoked"));
    let before = names(&pki.lists());
    assert_eq!(before.len(), 1);
    assert_eq!(fs::read(pki.lists().join(&before[0])).unwrap(), second.der());
    // Once more is no mistake, an older one is, and one of a CA that is none of the chain's.
    assert_eq!(pki.install(&endpoint, &pki.alice, &second), "");
    let older = pki.install(&endpoint, &pki.alice, &pki.alice.list(1, &[]));
    assert_eq!(older, "the revocation list has number 1, and number 2 is on file");
    let stranger = pki.install(&endpoint, &pki.alice, &Pki::new().alice.list(9, &[]));
    assert_eq!(stranger, "the revocation list names another key than that of CN=alice");
    let sister = Ca { chain: vec![pki.alice.chain[0].clone()], key: key() };
    assert!(ListIssuer::new(&sister.chain[0], &sister.key).is_err());
    assert_eq!(names(&pki.lists()), before);
    // The newer one takes the place of the older, in the folder, too.
    assert_eq!(pki.install(&endpoint, &pki.alice, &pki.alice.list(3, &[&leaf, &other])), "");
    let after = names(&pki.lists());
    assert!(after.len() == 1 && after != before, "{after:?}");
    endpoint.terminate();
    let endpoint = pki.start();
    for name in ["leaf", "other"] {
        assert!(pki.connect(&endpoint, name).failure().contains("revoked by its issuer"), "{name}");
    }
}

#[test]
fn a_list_that_cannot_be_kept_is_said() {
    let pki = Pki::new();
    let leaf = pki.leaf(&pki.root, "leaf", &info());
    let [ca, server, key] = ["ca.pem", "server.pem", "server.key"].map(|name| pki.path(name));
    let endpoint = Endpoint::with(&ca, &server, &key);
    assert!(
        pki.install(&endpoint, &pki.root, &pki.root.list(1, &[&leaf])).contains("start it with --crl-dir")
    );
    let endpoint = pki.start();
    fs::remove_dir(pki.lists()).unwrap();
    let list = pki.root.list(1, &[&leaf]);
    let text = pki.install(&endpoint, &pki.root, &list);
    assert!(text.contains("counts until the endpoint ends") && text.contains("No such file"), "{text}");
    assert!(pki.connect(&endpoint, "leaf").failure().contains("revoked"));
}

#[test]
fn connections_of_what_is_revoked_end_and_others_go_on() {
    let pki = Pki::new();
    let leaf = pki.leaf(&pki.alice, "follows", &subscribe());
    pki.leaf(&pki.alice, "stays", &subscribe());
    let mut endpoint = pki.start();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let said = std::sync::Mutex::new(told);
    let console = endpoint.directory.path().join("util/console.sock");
    let listener = std::os::unix::net::UnixListener::bind(console).unwrap();
    std::thread::spawn(move || {
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut daemon = common::Daemon(listener.accept().unwrap().0);
            let (header, _) = daemon.command();
            daemon.say(&header, ok("subscribed")).unwrap();
            streams.push((daemon, header));
        }
        said.lock().unwrap().recv().unwrap();
        let (daemon, header) = &mut streams[1];
        daemon.say(header, ok("goes on")).unwrap();
        said.lock().unwrap().recv().unwrap_err();
    });
    let mut follows = pki.connect(&endpoint, "follows");
    assert_eq!(Wire::decode(&follows.receive()).unwrap().payload, ok("subscribed"));
    let mut stays = pki.connect(&endpoint, "stays");
    assert_eq!(Wire::decode(&stays.receive()).unwrap().payload, ok("subscribed"));
    // From the folder: alice is known from the connections that are there.
    put(&pki.lists().join("alice.crl"), pki.alice.list(1, &[&leaf]).der());
    let revoked =
        Text::from("the client's chain is refused: certificate 0 (CN=follows): revoked by its issuer");
    let (frames, end) = follows.rest();
    assert_eq!((frames.len(), end), (1, End::Clean));
    assert_eq!(Wire::decode(&frames[0]).unwrap().payload, Payload::Failure(revoked));
    assert!(endpoint.logs("CN=follows").contains("console subscribe: failed: the client's chain is refused"));
    tell.send(()).unwrap();
    assert_eq!(Wire::decode(&stays.receive()).unwrap().payload, ok("goes on"));
    // From the root: with the intermediate go all.
    assert_eq!(pki.install(&endpoint, &pki.root, &pki.root.list(1, &[&pki.alice.chain[0]])), "");
    let (frames, end) = stays.rest();
    assert_eq!((frames.len(), end), (1, End::Clean));
    match Wire::decode(&frames[0]).unwrap().payload {
        Payload::Failure(text) => assert!(text.to_string().contains("certificate 1 (CN=alice): revoked")),
        other => panic!("{other:?}"),
    }
}
