//! Conversations of a session, with everything around it played by the tests.

mod answers;
mod deadlines;

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use albatross_proto::{
    BlockCommand, Command, Config, ConsoleCommand, Data, Int, Name, Payload, Policy, PolicyCommand,
    StatisticsCommand, Success, Text, Time, Typ, UnikernelCommand, Wire,
    command::{ByDigest, Daemon, History, RevocationCommand},
    frame::{FrameReader, frame},
    unikernel::Arguments,
};
use ring::digest;

use super::limits::*;
use super::*;
use crate::revocation::RevocationError;

const NAME: &str = "alice:bob:hello";

/// A session and what it has said so far.
struct Rig {
    session: Session,
    now: Duration,
    client: Vec<u8>,
    daemon: Vec<u8>,
    connects: Vec<Daemon>,
    installs: Vec<RevocationCommand<'static>>,
    connected: bool,
    report: Option<String>,
    closing: bool,
    dropped: bool,
    reads: (bool, bool),
}

impl Rig {
    fn new() -> Self {
        let now = Duration::from_secs(1000);
        Self {
            session: Session::new(now),
            now,
            client: Vec::new(),
            daemon: Vec::new(),
            connects: Vec::new(),
            installs: Vec::new(),
            connected: false,
            report: None,
            closing: false,
            dropped: false,
            reads: (true, true),
        }
    }

    /// A session whose client asks for this under [`NAME`], with policies of so many levels.
    fn asks(command: Command<'static>, levels: usize) -> Self {
        let mut rig = Self::new();
        let policies =
            ["alice", "alice:bob"].iter().take(levels).map(|path| (path.parse().unwrap(), policy()));
        let authority = Authority { name: name(), policies: policies.collect(), command };
        rig.happens(Input::HandshakeDone(Box::new(Ok(authority))));
        rig
    }

    fn happens(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.session.handle(self.now, input, &mut out);
        for output in out {
            assert!(!self.dropped, "{output:?} after the end");
            match output {
                Output::Connect(daemon) => self.connects.push(daemon),
                Output::Install(command) => self.installs.push(command),
                Output::ToDaemon(octets) => {
                    assert!(self.connected);
                    self.daemon.extend(octets);
                }
                Output::ToClient(octets) => {
                    assert!(!self.closing);
                    self.client.extend(octets);
                }
                Output::ReadDaemon(on) => self.reads.1 = on,
                Output::ReadClient(on) => self.reads.0 = on,
                Output::CloseDaemon => self.connected = false,
                Output::CloseClient => self.closing = true,
                Output::DropClient => self.dropped = true,
                Output::Report(report) => assert_eq!(self.report.replace(report.to_string()), None),
            }
        }
    }

    fn connects(&mut self) {
        self.connected = true;
        self.happens(Input::Connected);
    }

    fn daemon_says(&mut self, payload: Payload<'_>) {
        self.happens(Input::DaemonData(&message(payload)));
    }

    fn waits(&mut self, time: Duration) {
        self.now += time;
        self.happens(Input::Tick);
    }

    /// The commands that the daemon has got since this was asked last: sequence, name, command.
    fn commands(&mut self) -> Vec<(i64, String, Command<'static>)> {
        let octets = std::mem::take(&mut self.daemon);
        let took = octets.len();
        self.happens(Input::DaemonTook(took));
        frames(&octets)
            .iter()
            .map(|frame| match Wire::decode(frame).unwrap() {
                Wire { header, payload: Payload::Command(command) } => {
                    (header.sequence, header.name.to_string(), command.into_owned())
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The failure that the client has got as the last thing.
    fn failure(&mut self) -> String {
        match Wire::decode(frames(&self.client).last().unwrap()).unwrap().payload {
            Payload::Failure(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn report(&self) -> &str {
        self.report.as_deref().unwrap()
    }
}

fn name() -> Name {
    NAME.parse().unwrap()
}

fn policy() -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(2),
        memory: Int::from(64),
        block: None,
        bridges: [Text::from("service")].into(),
    }
}

fn message(payload: Payload<'_>) -> Vec<u8> {
    frame(&Wire::new(Header::new(2, name()), payload).encode().unwrap())
}

fn frames(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = FrameReader::new(usize::MAX);
    let mut frames = Vec::new();
    while !octets.is_empty() {
        frames.extend(reader.read(&mut octets).unwrap());
    }
    assert!(!reader.is_partial());
    frames
}

fn ok(text: &str) -> Payload<'static> {
    Payload::Success(Success::Text(Text::from(text)))
}

fn no(text: &str) -> Payload<'static> {
    Payload::Failure(Text::from(text))
}

fn line(text: &str) -> Payload<'static> {
    let line = Cow::Owned(text.as_bytes().to_vec());
    Payload::Data(Data::Console { timestamp: Time::from_unix(1, 0).unwrap(), line })
}

fn config() -> Config<'static> {
    Config { typ: Typ::Solo5, compressed: false, image: Cow::Borrowed(b""), arguments: Arguments::new() }
}

fn info() -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Info)
}

fn destroy() -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Destroy)
}

fn create() -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Create(config()))
}

fn by_digest(image: &[u8], size: i64) -> Command<'static> {
    let sha256 = digest::digest(&digest::SHA256, image).as_ref().try_into().unwrap();
    let signed = ByDigest { config: config(), sha256, size: Int::new(size).unwrap() };
    Command::Unikernel(UnikernelCommand::ForceCreateByDigest(signed))
}

fn subscribe() -> Command<'static> {
    Command::Console(ConsoleCommand::Subscribe(History::Count(Int::from(20))))
}

fn chunks(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| frame(piece)).collect()
}

#[test]
fn policies_go_first_and_the_reply_comes_back_as_it_is() {
    let mut rig = Rig::asks(destroy(), 2);
    assert_eq!(rig.connects, [Daemon::Vmmd]);
    rig.connects();
    let add = || Command::Policy(PolicyCommand::Add(policy()));
    assert_eq!(rig.commands(), [(0, "alice:".into(), add())]);
    rig.daemon_says(ok("added policy"));
    assert_eq!(rig.commands(), [(1, "alice:bob:".into(), add())]);
    rig.daemon_says(ok("added policy"));
    assert_eq!(rig.commands(), [(2, NAME.into(), destroy())]);
    let reply = message(ok("destroyed unikernel"));
    let (first, second) = reply.split_at(7);
    rig.happens(Input::DaemonData(first));
    assert!(!rig.closing);
    rig.happens(Input::DaemonData(second));
    assert_eq!(rig.client, reply);
    assert!(rig.closing && !rig.connected);
    assert_eq!(rig.report(), "alice:bob:hello, destroy: done");
    rig.happens(Input::ClientTook(reply.len()));
    rig.happens(Input::ClientGone);
    assert!(rig.dropped && rig.session.is_over());
    assert_eq!(rig.session.deadline(), None);
}

#[test]
fn who_only_asks_is_answered_in_one_turn() {
    let add = || Command::Policy(PolicyCommand::Add(policy()));
    let reply = message(Payload::Success(Success::Info(Vec::new())));
    let answers = [message(ok("added policy")), message(ok("added policy")), reply.clone()].concat();
    // However the answers come.
    for size in 1..=answers.len() {
        let mut rig = Rig::asks(info(), 2);
        rig.connects();
        let all = [(0, "alice:".into(), add()), (1, "alice:bob:".into(), add()), (2, NAME.into(), info())];
        assert_eq!(rig.commands(), all);
        answers.chunks(size).for_each(|octets| rig.happens(Input::DaemonData(octets)));
        assert_eq!((&rig.client, rig.connected), (&reply, false), "{size}");
        assert_eq!(rig.report(), "alice:bob:hello, info: done");
    }
    // One that is refused a policy is not shown what was answered.
    let answers = [message(ok("added policy")), message(no("too large")), reply].concat();
    let mut rig = Rig::asks(info(), 2);
    rig.connects();
    rig.happens(Input::DaemonData(&answers));
    assert_eq!(rig.connects, [Daemon::Vmmd, Daemon::Vmmd]);
    rig.connects();
    rig.commands();
    rig.happens(Input::DaemonData(&message(no("too small"))));
    assert_eq!(rig.failure(), "policy of alice:bob was not accepted: too small");
    assert_eq!(frames(&rig.client).len(), 1);
}

#[test]
fn policies_are_tried_in_the_other_order_once() {
    let mut rig = Rig::asks(destroy(), 2);
    rig.connects();
    rig.commands();
    rig.daemon_says(ok("added policy"));
    rig.commands();
    rig.daemon_says(no("policy violates policy above"));
    assert_eq!(rig.connects, [Daemon::Vmmd, Daemon::Vmmd]);
    assert!(!rig.connected && rig.client.is_empty());
    rig.connects();
    assert_eq!(rig.commands()[0].1, "alice:bob:");
    rig.daemon_says(ok("added policy"));
    assert_eq!(rig.commands()[0].1, "alice:");
    rig.daemon_says(no("too small"));
    assert_eq!(rig.failure(), "policy of alice was not accepted: too small");
    assert!(rig.closing && !rig.connected);
}

#[test]
fn one_policy_is_tried_once() {
    let mut rig = Rig::asks(info(), 1);
    rig.connects();
    rig.daemon_says(no("policy is unusable"));
    assert_eq!(rig.failure(), "policy of alice was not accepted: policy is unusable");
    assert_eq!(rig.connects.len(), 1);
}

#[test]
fn other_daemons_get_no_policies() {
    for (command, daemon) in [
        (subscribe(), Daemon::Console),
        (Command::Console(ConsoleCommand::ListInactive), Daemon::Console),
        (Command::Statistics(StatisticsCommand::Subscribe), Daemon::Stats),
    ] {
        let mut rig = Rig::asks(command.clone(), 2);
        assert_eq!(rig.connects, [daemon]);
        rig.connects();
        assert_eq!(rig.commands(), [(0, NAME.into(), command)]);
    }
}

#[test]
fn a_chain_without_authority_is_answered() {
    let mut rig = Rig::new();
    rig.happens(Input::HandshakeDone(Box::new(Err(AuthorityError::NoCommand {
        subject: "CN=hello".into(),
    }))));
    assert_eq!(rig.failure(), "CN=hello carries no command");
    assert_eq!(rig.report(), "failed: CN=hello carries no command");
    assert!(rig.closing && rig.connects.is_empty());
}

fn install() -> Rig {
    let list = RevocationCommand::Install(Cow::Borrowed(b"x"));
    let rig = Rig::asks(Command::Revocation(list.clone()), 2);
    assert_eq!(rig.installs, [list]);
    assert!(rig.connects.is_empty() && rig.client.is_empty());
    rig
}

#[test]
fn a_revocation_list_is_installed_here_and_answered() {
    let mut rig = install();
    rig.happens(Input::Installed(Ok(())));
    let reply = Wire::new(Header::new(0, name()), Payload::Success(Success::Empty));
    assert_eq!(frames(&rig.client), [reply.encode().unwrap()]);
    assert_eq!(rig.report(), "alice:bob:hello, revocation: done");
    assert!(rig.closing);
    for (error, text) in [
        (InstallError::NoFolder, "--crl-dir"),
        (InstallError::Refused(RevocationError::Full { limit: 7 }), "7 octets"),
        (InstallError::NotWritten(io::ErrorKind::StorageFull.into()), "no storage space"),
    ] {
        let mut rig = install();
        rig.happens(Input::Installed(Err(error)));
        assert!(rig.failure().contains(text), "{}", rig.failure());
        assert!(rig.closing);
    }
}

fn revoked() -> ChainError {
    ChainError::Refused {
        position: crate::certificate::Position::Sent(1),
        subject: "CN=alice".into(),
        rule: crate::certificate::Rule::Revoked,
    }
}

#[test]
fn a_chain_that_is_refused_is_answered() {
    let mut rig = Rig::new();
    rig.happens(Input::Refused(revoked()));
    let text = "the client's chain is refused: certificate 1 (CN=alice): revoked by its issuer";
    assert_eq!(rig.failure(), text);
    assert_eq!(rig.report(), format!("failed: {text}"));
    assert!(rig.closing && rig.connects.is_empty());
}

#[test]
fn what_is_revoked_later_ends_whatever_it_does() {
    // A stream of the client, a daemon that does not answer, a command, a subscription.
    let mut rigs =
        vec![Rig::asks(create(), 1), Rig::asks(info(), 1), Rig::asks(info(), 0), Rig::asks(subscribe(), 0)];
    rigs[2].connects();
    rigs[3].connects();
    rigs[3].daemon_says(ok("subscribed"));
    for rig in &mut rigs {
        rig.happens(Input::Revoked(revoked()));
        assert!(rig.failure().contains("(CN=alice): revoked"), "{}", rig.failure());
        assert!(rig.closing && !rig.connected);
        rig.happens(Input::Revoked(revoked()));
    }
    // Within a frame nothing can be said.
    let mut rig = Rig::asks(subscribe(), 0);
    rig.connects();
    rig.happens(Input::DaemonData(&[0, 0]));
    rig.happens(Input::Revoked(revoked()));
    assert!(rig.dropped && rig.report().contains("revoked by its issuer"));
}

#[test]
fn an_image_in_the_certificate_is_passed_on_and_needs_no_stream() {
    let image = vec![7; 1000];
    let command = Command::Unikernel(UnikernelCommand::Create(Config { image: image.into(), ..config() }));
    let mut rig = Rig::asks(command.clone(), 0);
    rig.connects();
    assert_eq!(rig.commands(), [(0, NAME.into(), command)]);
}

#[test]
fn a_streamed_image_is_put_into_the_create() {
    let mut rig = Rig::asks(create(), 1);
    assert!(rig.connects.is_empty());
    for octet in chunks(&[b"one", b"two", b"", b"ignored"]) {
        rig.happens(Input::ClientData(&[octet]));
    }
    assert_eq!(rig.connects, [Daemon::Vmmd]);
    rig.connects();
    rig.daemon_says(ok("added policy"));
    let image = Cow::Borrowed(b"onetwo".as_slice());
    let wanted = Command::Unikernel(UnikernelCommand::Create(Config { image, ..config() }));
    assert_eq!(rig.commands()[1], (1, NAME.into(), wanted));
    rig.daemon_says(ok("created unikernel"));
    assert_eq!(rig.report(), "alice:bob:hello, create: done");
}

#[test]
fn broken_image_streams_are_answered() {
    let failure = |octets: &[u8], end: bool| {
        let mut rig = Rig::asks(create(), 1);
        rig.happens(Input::ClientData(octets));
        if end {
            rig.happens(Input::ClientEnded);
        }
        assert!(rig.closing && rig.connects.is_empty());
        rig.failure()
    };
    assert!(failure(&[0x7f, 0xff, 0xff, 0xff], false).contains("2147483647 octets"));
    assert!(failure(&chunks(&[b""]), false).contains("empty"));
    assert!(failure(&chunks(&[b"x"]), true).contains("without its last"));
    assert!(failure(&[0, 0], true).contains("without its last"));
    let mut rig = Rig::asks(create(), 1);
    let chunk = frame(&vec![0; MAX_CHUNK]);
    for _ in 0..=MAX_STREAMED_IMAGE / MAX_CHUNK {
        rig.happens(Input::ClientData(&chunk));
    }
    assert!(rig.failure().contains("longer than"));
}

#[test]
fn a_slow_image_stream_is_given_up() {
    let mut rig = Rig::asks(create(), 1);
    let chunk = frame(&vec![0; STREAM_STEP]);
    for _ in 0..5 {
        rig.waits(STREAM_PATIENCE - Duration::from_secs(1));
        rig.happens(Input::ClientData(&chunk));
    }
    assert!(!rig.closing);
    rig.waits(STREAM_PATIENCE);
    assert_eq!(rig.failure(), "the stream came too slowly");
}

#[test]
fn an_image_by_digest_is_checked() {
    let run = |command, pieces: &[&[u8]]| {
        let mut rig = Rig::asks(command, 0);
        rig.happens(Input::ClientData(&chunks(pieces)));
        if rig.closing {
            return Err(rig.failure());
        }
        rig.connects();
        Ok(rig.commands().remove(0).2)
    };
    let image = Cow::Borrowed(b"image".as_slice());
    let wanted = Command::Unikernel(UnikernelCommand::ForceCreate(Config { image, ..config() }));
    assert_eq!(run(by_digest(b"image", 5), &[b"ima", b"ge", b""]), Ok(wanted));
    let wrong = run(by_digest(b"image", 5), &[b"imagf", b""]).unwrap_err();
    assert!(wrong.contains("SHA-256"), "{wrong}");
    let long = run(by_digest(b"image", 5), &[b"imag", b"es", b""]).unwrap_err();
    assert!(long.contains("longer than 5 octets, the size that was signed"), "{long}");
    assert!(run(by_digest(b"image", -1), &[b"image", b""]).is_err());
}

#[test]
fn a_subscription_lasts_until_one_side_ends_it() {
    let start = || {
        let mut rig = Rig::asks(subscribe(), 1);
        rig.connects();
        rig.commands();
        rig.daemon_says(ok("subscribed"));
        rig.daemon_says(line("one"));
        let octets = rig.client.len();
        rig.happens(Input::ClientTook(octets));
        // Nothing is waited for any more.
        assert_eq!(rig.session.deadline(), None);
        rig
    };
    let mut rig = start();
    rig.happens(Input::ClientEnded);
    assert!(rig.closing && !rig.connected);
    assert_eq!(rig.report(), "alice:bob:hello, console subscribe: the client left");
    let mut rig = start();
    rig.happens(Input::ClientData(&chunks(&[b""])));
    assert!(rig.closing && !rig.connected);
    let mut rig = start();
    rig.happens(Input::DaemonEnded);
    assert_eq!(frames(&rig.client).len(), 3);
    assert_eq!(rig.failure(), "albatross-console ended the stream");
    let mut rig = start();
    rig.happens(Input::DaemonData(&message(line("two"))[..9]));
    rig.happens(Input::DaemonEnded);
    assert!(rig.dropped && !rig.connected);
    assert!(rig.report().contains("within a frame"));
}

#[test]
fn what_a_subscriber_sends_before_the_answer_is_no_farewell() {
    let mut rig = Rig::asks(subscribe(), 0);
    rig.connects();
    rig.commands();
    rig.happens(Input::ClientData(&chunks(&[b""])));
    assert!(!rig.closing && rig.connected);
    rig.daemon_says(ok("subscribed"));
    assert_eq!(frames(&rig.client).len(), 1);
    rig.happens(Input::ClientData(&chunks(&[b""])));
    assert!(rig.closing && !rig.connected);
}

#[test]
fn a_subscription_that_is_refused_ends() {
    let mut rig = Rig::asks(subscribe(), 0);
    rig.connects();
    rig.daemon_says(no("path used instead of name"));
    assert!(rig.closing);
    assert_eq!(rig.report(), "alice:bob:hello, console subscribe: failed: path used instead of name");
}

#[test]
fn a_slow_client_stops_the_daemon_and_one_that_never_reads_goes() {
    let mut rig = Rig::asks(subscribe(), 0);
    rig.connects();
    rig.daemon_says(ok("subscribed"));
    let long = "x".repeat(500);
    while rig.reads.1 {
        rig.daemon_says(line(&long));
        assert!(rig.client.len() < QUEUE_HIGH + 1000);
    }
    let waiting = rig.client.len();
    rig.happens(Input::ClientTook(waiting - QUEUE_LOW - 1));
    assert!(!rig.reads.1);
    rig.waits(WRITE_PATIENCE - Duration::from_secs(1));
    rig.happens(Input::ClientTook(1));
    assert!(rig.reads.1 && !rig.closing);
    rig.waits(WRITE_PATIENCE - Duration::from_secs(1));
    assert!(!rig.dropped);
    rig.waits(Duration::from_secs(1));
    assert!(rig.dropped && !rig.connected);
    assert!(rig.report().contains("did not read"));
}

#[test]
fn a_dump_ends_with_its_last_message() {
    let dump = || {
        let mut rig = Rig::asks(Command::Block(BlockCommand::Dump(Int::ZERO)), 0);
        rig.connects();
        rig.commands();
        rig.daemon_says(Payload::Success(Success::BlockDeviceImage { compressed: false }));
        let chunk = vec![1; 4096];
        for _ in 0..3 {
            rig.daemon_says(Payload::Data(Data::Block(Some(Cow::Borrowed(&chunk)))));
        }
        assert!(!rig.closing);
        rig
    };
    let mut rig = dump();
    rig.daemon_says(Payload::Data(Data::Block(None)));
    assert!(rig.closing);
    assert_eq!(frames(&rig.client).len(), 5);
    assert_eq!(rig.report(), "alice:bob:hello, block dump: done");
    let mut rig = dump();
    rig.happens(Input::DaemonEnded);
    assert_eq!(rig.failure(), "albatrossd ended the stream");
    let mut rig = dump();
    let waiting = rig.client.len();
    rig.happens(Input::ClientTook(waiting));
    rig.waits(DAEMON_PATIENCE);
    assert_eq!(rig.failure(), "albatrossd does not answer");
}

#[test]
fn block_data_is_passed_on_as_it_comes() {
    let set = Command::Block(BlockCommand::Set { compressed: true });
    let mut rig = Rig::asks(set.clone(), 1);
    assert!(!rig.reads.0);
    let data = chunks(&[b"one", b"two", b"", b"more"]);
    let wanted = chunks(&[b"one", b"two", b""]);
    let (early, late) = data.split_at(5);
    rig.happens(Input::ClientData(early));
    rig.connects();
    rig.commands();
    rig.daemon_says(ok("added policy"));
    assert!(rig.reads.0);
    let frames_so_far = std::mem::take(&mut rig.daemon);
    let command = frame(&Wire::new(Header::new(1, name()), Payload::Command(set)).encode().unwrap());
    assert_eq!(frames_so_far, [command.as_slice(), early].concat());
    rig.happens(Input::ClientData(late));
    assert_eq!([early, &rig.daemon].concat(), wanted);
    rig.happens(Input::ClientEnded);
    assert!(!rig.closing);
    rig.daemon_says(ok("set block device"));
    assert_eq!(rig.report(), "alice:bob:hello, block set: done");
}

fn upload() -> Rig {
    let mut rig = Rig::asks(Command::Block(BlockCommand::Set { compressed: false }), 0);
    rig.connects();
    rig.commands();
    rig
}

#[test]
fn a_slow_daemon_stops_the_client() {
    let mut rig = upload();
    let chunk = frame(&[0; 1000]);
    while rig.reads.0 {
        rig.happens(Input::ClientData(&chunk));
        assert!(rig.daemon.len() < QUEUE_HIGH + 2000);
    }
    rig.waits(STREAM_PATIENCE);
    assert!(!rig.closing);
    rig.happens(Input::DaemonTook(QUEUE_HIGH));
    assert!(rig.reads.0);
    rig.waits(DAEMON_PATIENCE);
    assert_eq!(rig.failure(), "albatrossd does not answer");
}

#[test]
fn an_early_answer_and_broken_uploads_end_the_stream() {
    let mut rig = upload();
    rig.happens(Input::ClientData(&frame(b"x")));
    rig.daemon_says(no("no such device"));
    assert!(rig.closing && !rig.connected);
    assert_eq!(rig.failure(), "no such device");
    let mut rig = upload();
    rig.happens(Input::ClientEnded);
    assert!(rig.failure().contains("without its last"));
    let mut rig = upload();
    rig.happens(Input::ClientData(&[0x7f, 0xff, 0xff, 0xff]));
    assert!(rig.failure().contains("2147483647"));
    let mut rig = upload();
    rig.waits(STREAM_PATIENCE);
    assert_eq!(rig.failure(), "the stream came too slowly");
    let mut rig = upload();
    rig.happens(Input::DaemonEnded);
    assert_eq!(rig.failure(), "albatrossd closed the connection without an answer");
    let mut rig = Rig::asks(Command::Block(BlockCommand::Set { compressed: false }), 0);
    rig.happens(Input::ClientEnded);
    rig.connects();
    assert!(rig.failure().contains("without its last"));
}

#[test]
fn a_daemon_that_is_not_there_is_named() {
    let mut rig = Rig::asks(info(), 1);
    rig.happens(Input::ConnectFailed(io::ErrorKind::NotFound.into()));
    assert_eq!(rig.failure(), "albatrossd is not reachable");
    assert!(rig.report().contains("entity not found"), "{}", rig.report());
}

#[test]
fn a_busy_daemon_is_tried_again_for_a_while() {
    let mut rig = Rig::asks(info(), 1);
    let busy = || io::Error::from(io::ErrorKind::WouldBlock);
    for tries in 2..10 {
        rig.happens(Input::ConnectFailed(busy()));
        rig.waits(CONNECT_PAUSE);
        assert_eq!(rig.connects.len(), tries);
    }
    rig.now += CONNECT_PATIENCE;
    rig.happens(Input::ConnectFailed(busy()));
    assert_eq!(rig.failure(), "albatrossd is not reachable");
}

#[test]
fn nonsense_of_a_daemon_is_noticed() {
    let mut rig = Rig::asks(info(), 1);
    rig.connects();
    rig.happens(Input::DaemonData(&frame(b"nonsense")));
    assert_eq!(rig.failure(), "albatrossd answered with what is no message");
    let mut rig = Rig::asks(info(), 1);
    rig.connects();
    rig.happens(Input::DaemonData(&[0x7f, 0xff, 0xff, 0xff]));
    assert_eq!(rig.failure(), "albatrossd answered with what is no message");
    let mut rig = Rig::asks(info(), 1);
    rig.connects();
    rig.happens(Input::DaemonEnded);
    assert_eq!(rig.failure(), "albatrossd closed the connection without an answer");
    let mut rig = Rig::asks(info(), 0);
    rig.connects();
    rig.happens(Input::DaemonData(&[0x7f, 0xff, 0xff, 0xff]));
    assert!(rig.dropped);
}

#[test]
fn strangers_have_limits() {
    let mut rig = Rig::new();
    assert_eq!(rig.session.deadline(), Some(rig.now + HANDSHAKE_PATIENCE));
    rig.waits(HANDSHAKE_PATIENCE);
    assert!(rig.dropped && rig.report().contains("10 s"), "{}", rig.report());
    let mut rig = Rig::new();
    rig.happens(Input::HandshakeOctets(MAX_HANDSHAKE));
    assert!(!rig.closing);
    rig.happens(Input::HandshakeOctets(1));
    assert!(rig.closing && rig.report().contains("octets"));
    for (input, text) in [
        (Input::Broken("no certificate".into()), "no certificate"),
        (Input::ClientEnded, "before the handshake"),
        (Input::ClientGone, "closed"),
        (Input::Crowded, "too many"),
    ] {
        let mut rig = Rig::new();
        rig.happens(input);
        assert!(rig.report().contains(text), "{}", rig.report());
    }
}

#[test]
fn a_large_chain_has_to_get_on_once_it_has_a_place() {
    let mut rig = Rig::new();
    rig.happens(Input::PlaceAwaited);
    rig.waits(PLACE_PATIENCE - Duration::from_secs(1));
    assert!(!rig.dropped);
    rig.happens(Input::PlaceGiven);
    // More than others may send, at the least speed.
    let mut sent = 0;
    while sent + LARGE_STEP <= MAX_LARGE_HANDSHAKE {
        rig.waits(LARGE_STEP_PATIENCE - Duration::from_millis(1));
        rig.happens(Input::HandshakeOctets(LARGE_STEP));
        sent += LARGE_STEP;
        assert!(!rig.dropped && !rig.closing, "after {sent} octets");
    }
    rig.happens(Input::HandshakeOctets(LARGE_STEP - 1));
    assert!(rig.closing && rig.report().contains("octets"), "{}", rig.report());

    let mut rig = Rig::new();
    rig.happens(Input::PlaceGiven);
    rig.happens(Input::HandshakeOctets(LARGE_STEP - 1));
    rig.waits(LARGE_STEP_PATIENCE);
    assert!(rig.dropped && rig.report().contains("large certificates came"), "{}", rig.report());

    let mut rig = Rig::new();
    rig.happens(Input::PlaceAwaited);
    rig.waits(PLACE_PATIENCE);
    assert!(rig.dropped && rig.report().contains("4 others were sending"), "{}", rig.report());
}

#[test]
fn what_is_not_expected_is_ignored_up_to_a_limit() {
    let mut rig = Rig::asks(info(), 0);
    rig.connects();
    rig.commands();
    rig.happens(Input::ClientData(&[0; MAX_UNEXPECTED]));
    rig.happens(Input::ClientEnded);
    assert!(rig.daemon.is_empty() && !rig.closing);
    rig.happens(Input::ClientData(&[0]));
    assert!(rig.failure().contains("where none are expected"));
}

#[test]
fn a_client_that_goes_takes_its_daemon_connection_along() {
    let mut rig = Rig::asks(info(), 0);
    rig.connects();
    rig.happens(Input::ClientGone);
    assert!(rig.dropped && !rig.connected);
    assert!(rig.report().contains("before it was answered"));
}

#[test]
fn a_client_that_does_not_close_is_dropped() {
    let mut rig = Rig::asks(info(), 0);
    rig.connects();
    rig.daemon_says(ok("x"));
    let waiting = rig.client.len();
    rig.happens(Input::ClientTook(waiting));
    rig.happens(Input::ClientData(b"ignored"));
    rig.waits(LINGER - Duration::from_secs(1));
    assert!(!rig.dropped);
    rig.waits(Duration::from_secs(1));
    assert!(rig.dropped);
}
