//! The machine of the TLS endpoint: one [`Session`] for each connection, and the [`Door`] before them.
//!
//! A session is told what happens ([`Input`]) and says what is to be done ([`Output`]). It owns every rule
//! of the conversation that `docs/protocol.md` describes under "TLS conversation": what is done for which
//! command, what passes in which direction and how much of it at a time, what is answered when something
//! fails, and every patience ([`limits`]). It knows neither sockets nor TLS: the driver keeps the
//! handshake, and hands over the verified path.
//!
//! [`Judge`] knows the root and the revocation lists, and says of each chain whether it is a path to that root;
//! of a session it is told what came of that. A list that is installed later ends the sessions of what it
//! revokes, in the middle of a stream, too.
//!
//! Who may do what is decided by [`authority`](crate::authority) from the verified path and nothing else.
//! The policies of the chain go to albatrossd before the command, on the same connection, outermost first;
//! where one is refused they are tried once more deepest first, over a new connection. A command that changes
//! something is sent when all of them were accepted, one that only asks together with them.
//!
//! Nothing of a stream is held but what waits in the queues: replies and chunks pass octet by octet. Only an
//! image that is streamed after a create is put together here, up to [`limits::MAX_STREAMED_IMAGE`].

mod ask;
mod door;
mod flow;
mod gather;
mod judge;
pub mod limits;
mod relay;
mod report;
mod scan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use albatross_proto::{
    Command, EncodeError, Header, Name, Payload, Success, Text, Wire,
    command::{Daemon, RevocationCommand},
    frame,
};

pub use door::{Admission, Door};
pub use judge::{Judge, Judged, KnownPath};
pub use report::{CHAIN_REFUSED, Failure, InstallError, Outcome, Report};

use crate::{
    authority::{Authority, AuthorityError},
    certificate::ChainError,
};
use ask::{Asking, Kind, Phase, Verdict};
use flow::Flow;
use gather::Gathering;
use limits::{
    CONNECT_PAUSE, DAEMON_PATIENCE, HANDSHAKE_PATIENCE, LARGE_STEP, LARGE_STEP_PATIENCE, LINGER,
    MAX_HANDSHAKE, MAX_LARGE_HANDSHAKE, PLACE_PATIENCE, WRITE_PATIENCE,
};
use relay::{ClientStep, Patience, Relay, Step};

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// The client sent this many octets, and the handshake is not done.
    HandshakeOctets(usize),
    /// The client's chain is a large one, and all places for such are taken: it is not read.
    PlaceAwaited,
    /// The client's chain is a large one, and has a place.
    PlaceGiven,
    /// The handshake is done: the client holds the key of the leaf of a verified path, and this is what the
    /// path may do.
    HandshakeDone(Box<Result<Authority<'static>, AuthorityError>>),
    /// The handshake is done, and what the client showed is not a path to the root.
    Refused(ChainError),
    /// A certificate of the path has been revoked since.
    Revoked(ChainError),
    /// The answer to [`Output::Install`]: the list counts and is kept, or why not.
    Installed(Result<(), InstallError>),
    /// The handshake failed, or the client broke the rules of TLS later. An alert may wait to be written.
    Broken(String),
    /// Octets that the client sent, decrypted.
    ClientData(&'a [u8]),
    /// The client sends no more. It may still read.
    ClientEnded,
    /// The client's connection is closed in both directions, or has failed.
    ClientGone,
    /// This many octets of what was for the client are written.
    ClientTook(usize),
    /// The connection to the daemon is made.
    Connected,
    /// It cannot be made. `WouldBlock` says that the daemon's queue is full.
    ConnectFailed(std::io::Error),
    /// Octets of the daemon.
    DaemonData(&'a [u8]),
    /// The daemon sends no more, or its connection failed.
    DaemonEnded,
    /// This many octets of what was for the daemon are written, or can never be.
    DaemonTook(usize),
    /// The room is needed for another client.
    Crowded,
    /// The program ends.
    Shutdown,
    /// The deadline may have come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Have the revocation list judged ([`Judge::install`]), keep it, and say [`Input::Installed`].
    Install(RevocationCommand<'static>),
    /// Connect to this daemon, and say [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect(Daemon),
    /// Write these octets to the daemon.
    ToDaemon(Vec<u8>),
    /// Write these octets to the client.
    ToClient(Vec<u8>),
    /// Read from the daemon, or stop to. It is read in the beginning.
    ReadDaemon(bool),
    /// Read from the client, or stop to. It is read in the beginning.
    ReadClient(bool),
    /// Close the connection to the daemon, and report nothing of it any more.
    CloseDaemon,
    /// When all is written, say that nothing more comes (close_notify, end of the stream), then read and
    /// forget what the client sends until it closes as well, and say [`Input::ClientGone`].
    CloseClient,
    /// Close the connection to the client at once. The session is over.
    DropClient,
    /// Log this. Said once in each session.
    Report(Report),
}

/// One client's connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Whom and what it is about, once it is known.
    about: Option<(Name, &'static str)>,
    to_client: Flow,
    to_daemon: Flow,
    reads_client: bool,
    reads_daemon: bool,
    handshake_octets: usize,
    reported: bool,
}

#[derive(Debug)]
enum State {
    Handshake {
        until: Duration,
        place: Place,
    },
    Gathering {
        authority: Box<Authority<'static>>,
        gathering: Box<Gathering>,
        patience: Patience,
    },
    /// The driver answers at once.
    Installing,
    Asking(Box<Asking>),
    Relaying(Box<Relay>),
    Leaving {
        until: Duration,
    },
    Over,
}

/// What a handshake has to do with the places for large chains.
#[derive(Clone, Copy, Debug)]
enum Place {
    None,
    Awaited,
    /// With so many octets of the step that it is expected to make.
    Given {
        progress: usize,
    },
}

impl Session {
    /// A session with a client that has just connected. `now` is a clock that never goes back, from a
    /// beginning of the driver's choice.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            state: State::Handshake { until: now + HANDSHAKE_PATIENCE, place: Place::None },
            about: None,
            to_client: Flow::default(),
            to_daemon: Flow::default(),
            reads_client: true,
            reads_daemon: true,
            handshake_octets: 0,
            reported: false,
        }
    }

    /// Whether nothing more happens in this session.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// When to say [`Input::Tick`] at the latest, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let client_waits = self.to_client.is_waiting();
        match &self.state {
            State::Handshake { until, .. } => Some(*until),
            State::Gathering { patience, .. } => Some(patience.until),
            State::Asking(asking) => Some(match &asking.phase {
                Phase::Connecting { until, again } => again.unwrap_or(*until),
                Phase::Policy { until, .. } => *until,
            }),
            State::Relaying(_) | State::Leaving { .. } if client_waits => {
                Some(self.to_client.moved() + WRITE_PATIENCE)
            }
            State::Relaying(relay) if relay.awaits_client() && !self.to_daemon.is_waiting() => {
                Some(relay.client_until())
            }
            State::Relaying(relay) => {
                let moved = relay.daemon_moved.max(self.to_client.moved());
                relay.awaits_daemon().then_some(moved + DAEMON_PATIENCE)
            }
            State::Leaving { until } => Some((*until).max(self.to_client.moved() + LINGER)),
            State::Installing | State::Over => None,
        }
    }

    /// What is to be done, appended to `out`, after `input` happened at `now`.
    pub fn handle(&mut self, now: Duration, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::HandshakeOctets(count) => self.handshake_octets(now, count, out),
            Input::PlaceAwaited => self.place_awaited(now),
            Input::PlaceGiven => self.place_given(now),
            Input::HandshakeDone(authority) => self.begin(now, *authority, out),
            Input::Refused(error) => self.refused(now, error, out),
            Input::Revoked(error) => self.revoked(now, error, out),
            Input::Installed(result) => self.installed(now, result, out),
            Input::Broken(text) => self.finish(now, Outcome::Broken(text), out),
            Input::ClientData(data) => self.client_data(now, data, out),
            Input::ClientEnded => self.client_ended(now, out),
            Input::ClientGone => self.abandon(Outcome::Gone, out),
            Input::ClientTook(count) => self.to_client.took(now, count),
            Input::Connected => self.connected(now, out),
            Input::ConnectFailed(error) => self.connect_failed(now, error, out),
            Input::DaemonData(data) => self.daemon_data(now, data, out),
            Input::DaemonEnded => self.daemon_ended(now, out),
            Input::DaemonTook(count) => self.daemon_took(now, count),
            Input::Crowded => self.abandon(Outcome::Crowded, out),
            Input::Shutdown => self.abandon(Outcome::Shutdown, out),
            Input::Tick => self.tick(now, out),
        }
        self.regulate(out);
    }

    fn handshake_octets(&mut self, now: Duration, count: usize, out: &mut Vec<Output>) {
        self.handshake_octets += count;
        let State::Handshake { until, place } = &mut self.state else { return };
        let mut limit = MAX_HANDSHAKE;
        if let Place::Given { progress } = place {
            limit = MAX_LARGE_HANDSHAKE;
            *progress += count;
            if *progress >= LARGE_STEP {
                *progress = 0;
                *until = now + LARGE_STEP_PATIENCE;
            }
        }
        if self.handshake_octets > limit {
            self.finish(now, Outcome::LongHandshake { limit }, out);
        }
    }

    const fn place_awaited(&mut self, now: Duration) {
        if let State::Handshake { until, place } = &mut self.state {
            *until = now.saturating_add(PLACE_PATIENCE);
            *place = Place::Awaited;
        }
    }

    const fn place_given(&mut self, now: Duration) {
        if let State::Handshake { until, place } = &mut self.state {
            *until = now.saturating_add(LARGE_STEP_PATIENCE);
            *place = Place::Given { progress: 0 };
        }
    }

    /// The client has shown its chain.
    fn begin(
        &mut self,
        now: Duration,
        authority: Result<Authority<'static>, AuthorityError>,
        out: &mut Vec<Output>,
    ) {
        if !matches!(self.state, State::Handshake { .. }) {
            return;
        }
        let authority = match authority {
            Ok(authority) => authority,
            Err(error) => return self.fail(now, Failure::Authority(error), out),
        };
        self.about = Some((authority.name.clone(), report::words(&authority.command)));
        let authority = match authority {
            Authority { command: Command::Revocation(command), .. } => {
                out.push(Output::Install(command));
                self.state = State::Installing;
                return;
            }
            other => other,
        };
        match Gathering::for_command(&authority.command) {
            Some(gathering) => {
                let (authority, gathering) = (Box::new(authority), Box::new(gathering));
                self.state = State::Gathering { authority, gathering, patience: Patience::new(now) };
            }
            None => self.ask(now, authority, out),
        }
    }

    /// The client is told what is wrong with its chain, and nothing else is done for it.
    fn refused(&mut self, now: Duration, error: ChainError, out: &mut Vec<Output>) {
        if matches!(self.state, State::Handshake { .. }) {
            self.fail(now, Failure::Chain(error), out);
        }
    }

    /// Whatever has not come to its end does not: subscriptions, streams, and commands whose answer is awaited.
    fn revoked(&mut self, now: Duration, error: ChainError, out: &mut Vec<Output>) {
        if !matches!(self.state, State::Leaving { .. } | State::Over) {
            self.fail(now, Failure::Chain(error), out);
        }
    }

    fn installed(&mut self, now: Duration, result: Result<(), InstallError>, out: &mut Vec<Output>) {
        if !matches!(self.state, State::Installing) {
            return;
        }
        if let Err(error) = result {
            return self.fail(now, Failure::NotInstalled(error), out);
        }
        let name = self.about.as_ref().map_or_else(Name::root, |(name, _)| name.clone());
        match Wire::new(Header::new(0, name), Payload::Success(Success::Empty)).encode() {
            Ok(reply) => {
                self.say_to_client(now, frame::frame(&reply), out);
                self.finish(now, Outcome::Done, out);
            }
            Err(error) => self.fail(now, Failure::TooLong(error), out),
        }
    }

    fn ask(&mut self, now: Duration, authority: Authority<'static>, out: &mut Vec<Output>) {
        out.push(Output::Connect(authority.command.daemon()));
        self.state = State::Asking(Box::new(Asking::new(now, authority)));
    }

    fn client_data(&mut self, now: Duration, data: &[u8], out: &mut Vec<Output>) {
        match &mut self.state {
            State::Gathering { .. } => self.gather(now, data, out),
            State::Asking(asking) => {
                if asking.kind() == Kind::Upload {
                    asking.early.extend_from_slice(data);
                }
            }
            State::Relaying(relay) => {
                let step = relay.client_data(now, data);
                self.client_step(now, step, data, out);
            }
            State::Handshake { .. } | State::Installing | State::Leaving { .. } | State::Over => {}
        }
    }

    fn gather(&mut self, now: Duration, mut data: &[u8], out: &mut Vec<Output>) {
        let State::Gathering { gathering, patience, .. } = &mut self.state else { return };
        patience.advance(now, data.len());
        match gathering.add(&mut data) {
            Ok(false) => return,
            Err(failure) => return self.fail(now, failure, out),
            Ok(true) => {}
        }
        let State::Gathering { authority, gathering, .. } = std::mem::replace(&mut self.state, State::Over)
        else {
            return;
        };
        let Authority { name, policies, command } = *authority;
        match gathering.complete(command) {
            Ok(command) => self.ask(now, Authority { name, policies, command }, out),
            Err(failure) => self.fail(now, failure, out),
        }
    }

    fn client_step(&mut self, now: Duration, step: ClientStep, data: &[u8], out: &mut Vec<Output>) {
        match step {
            ClientStep::Pass(count) => {
                self.say_to_daemon(now, data.get(..count).unwrap_or_default().to_vec(), out)
            }
            ClientStep::Fail(failure) => self.fail(now, failure, out),
            ClientStep::Leave => self.finish(now, Outcome::Left, out),
        }
    }

    fn client_ended(&mut self, now: Duration, out: &mut Vec<Output>) {
        match &mut self.state {
            State::Handshake { .. } => {
                let text = "closed by the client before the handshake was done".to_owned();
                self.abandon(Outcome::Broken(text), out);
            }
            State::Gathering { .. } => self.fail(now, Failure::StreamCut, out),
            State::Asking(asking) => asking.client_ended = true,
            State::Relaying(relay) => {
                let step = relay.client_ended();
                self.client_step(now, step, &[], out);
            }
            State::Installing | State::Leaving { .. } | State::Over => {}
        }
    }

    fn connected(&mut self, now: Duration, out: &mut Vec<Output>) {
        if matches!(&self.state, State::Asking(asking) if matches!(asking.phase, Phase::Connecting { .. })) {
            self.say(now, 0, out);
        }
    }

    fn connect_failed(&mut self, now: Duration, error: std::io::Error, out: &mut Vec<Output>) {
        let State::Asking(asking) = &mut self.state else { return };
        let daemon = asking.daemon();
        match &mut asking.phase {
            Phase::Connecting { until, again }
                if error.kind() == std::io::ErrorKind::WouldBlock && now + CONNECT_PAUSE < *until =>
            {
                *again = Some(now + CONNECT_PAUSE);
            }
            _ => self.fail(now, Failure::Unreachable(daemon, error), out),
        }
    }

    /// Says the policy with this index, or the command if there is none.
    fn say(&mut self, now: Duration, index: usize, out: &mut Vec<Output>) {
        let State::Asking(asking) = &mut self.state else { return };
        if asking.is_together() {
            let frames = asking.all_frames();
            asking.await_policy(now, index);
            return match frames {
                Ok(frames) => self.say_to_daemon(now, frames, out),
                Err(error) => self.fail(now, Failure::TooLong(error), out),
            };
        }
        match asking.policy_frame(index) {
            Some(Ok(frame)) => {
                asking.await_policy(now, index);
                self.say_to_daemon(now, frame, out);
            }
            Some(Err(error)) => self.fail(now, Failure::TooLong(error), out),
            None => self.say_command(now, out),
        }
    }

    fn say_command(&mut self, now: Duration, out: &mut Vec<Output>) {
        let State::Asking(mut asking) = std::mem::replace(&mut self.state, State::Over) else { return };
        let (daemon, kind) = (asking.daemon(), asking.kind());
        let (early, client_ended) = (std::mem::take(&mut asking.early), asking.client_ended);
        self.state = State::Relaying(Box::new(Relay::new(now, daemon, kind)));
        // Where all was said together, the command is with the daemon.
        let frame = if asking.is_together() { Ok(Vec::new()) } else { asking.command_frame() };
        match frame {
            Ok(frame) => self.say_to_daemon(now, frame, out),
            Err(error) => return self.fail(now, Failure::TooLong(error), out),
        }
        if !early.is_empty() {
            self.client_data(now, &early, out);
        }
        if client_ended {
            self.client_ended(now, out);
        }
    }

    fn daemon_data(&mut self, now: Duration, mut data: &[u8], out: &mut Vec<Output>) {
        match &mut self.state {
            State::Asking(asking) => match asking.policy_answer(&mut data) {
                Verdict::Wait => {}
                Verdict::Next(index) if asking.is_together() => {
                    if asking.has_policy(index) {
                        asking.await_policy(now, index);
                    } else {
                        self.say_command(now, out);
                    }
                    // As often as the chain has policies.
                    if !data.is_empty() {
                        self.daemon_data(now, data, out);
                    }
                }
                Verdict::Next(index) => self.say(now, index, out),
                Verdict::OtherOrder => {
                    asking.phase = Phase::connecting(now);
                    self.to_daemon.reset();
                    out.extend([Output::CloseDaemon, Output::Connect(Daemon::Vmmd)]);
                }
                Verdict::Fail(failure) => self.fail(now, failure, out),
            },
            State::Relaying(relay) => {
                let step = relay.daemon_data(now, data);
                self.daemon_step(now, step, data, out);
            }
            State::Handshake { .. }
            | State::Gathering { .. }
            | State::Installing
            | State::Leaving { .. }
            | State::Over => {}
        }
    }

    fn daemon_step(&mut self, now: Duration, step: Step, data: &[u8], out: &mut Vec<Output>) {
        match step {
            Step::Go => self.say_to_client(now, data.to_vec(), out),
            Step::End(count, outcome) => {
                self.say_to_client(now, data.get(..count).unwrap_or_default().to_vec(), out);
                self.finish(now, outcome, out);
            }
            Step::Fail(failure) => self.fail(now, failure, out),
            Step::CutOff => self.cut_off(out),
        }
    }

    fn daemon_ended(&mut self, now: Duration, out: &mut Vec<Output>) {
        match &self.state {
            State::Asking(asking) => {
                let daemon = asking.daemon();
                self.fail(now, Failure::Closed(daemon), out);
            }
            State::Relaying(relay) => {
                let step = relay.daemon_ended();
                self.daemon_step(now, step, &[], out);
            }
            _ => {}
        }
    }

    fn daemon_took(&mut self, now: Duration, count: usize) {
        self.to_daemon.took(now, count);
        if let State::Relaying(relay) = &mut self.state {
            relay.daemon_took(now);
        }
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match &mut self.state {
            State::Handshake { place, .. } => {
                let outcome = match place {
                    Place::None => Outcome::Silent,
                    Place::Awaited => Outcome::NoPlace,
                    Place::Given { .. } => Outcome::SlowChain,
                };
                self.abandon(outcome, out);
            }
            State::Gathering { .. } => self.fail(now, Failure::StreamSlow, out),
            State::Asking(asking) => {
                let daemon = asking.daemon();
                if asking.phase.takes_another_try() {
                    out.push(Output::Connect(daemon));
                } else {
                    self.fail(now, Failure::DaemonSilent(daemon), out);
                }
            }
            State::Relaying(_) if self.to_client.is_waiting() => self.abandon(Outcome::NotReading, out),
            State::Relaying(relay) if relay.awaits_client() && !self.to_daemon.is_waiting() => {
                self.fail(now, Failure::StreamSlow, out);
            }
            State::Relaying(relay) => {
                let failure = Failure::DaemonSilent(relay.daemon);
                self.fail(now, failure, out);
            }
            State::Installing => {}
            State::Leaving { .. } | State::Over => self.abandon(Outcome::NotReading, out),
        }
    }

    /// Answers with a failure of our own, where the client can still be told.
    fn fail(&mut self, now: Duration, failure: Failure, out: &mut Vec<Output>) {
        if matches!(&self.state, State::Relaying(relay) if relay.is_within_frame()) {
            return self.abandon(Outcome::Failed(failure), out);
        }
        let name = self.about.as_ref().map_or_else(Name::root, |(name, _)| name.clone());
        // A failure text is short, its frame can always be made.
        if let Ok(frame) = failure_frame(name, &failure) {
            self.say_to_client(now, frame, out);
        }
        self.finish(now, Outcome::Failed(failure), out);
    }

    fn cut_off(&mut self, out: &mut Vec<Output>) {
        if let State::Relaying(relay) = &self.state {
            let outcome = Outcome::CutOff(relay.daemon);
            self.abandon(outcome, out);
        }
    }

    /// Everything was said.
    fn finish(&mut self, now: Duration, outcome: Outcome, out: &mut Vec<Output>) {
        if matches!(self.state, State::Leaving { .. } | State::Over) && self.reported {
            return;
        }
        self.close_daemon(out);
        self.report(outcome, out);
        out.push(Output::CloseClient);
        self.state = State::Leaving { until: now + LINGER };
    }

    /// Nothing more can be said.
    fn abandon(&mut self, outcome: Outcome, out: &mut Vec<Output>) {
        if matches!(self.state, State::Over) {
            return;
        }
        self.close_daemon(out);
        self.report(outcome, out);
        out.push(Output::DropClient);
        self.state = State::Over;
    }

    fn close_daemon(&mut self, out: &mut Vec<Output>) {
        if matches!(self.state, State::Asking(_) | State::Relaying(_)) {
            out.push(Output::CloseDaemon);
        }
        self.to_daemon.reset();
    }

    fn report(&mut self, outcome: Outcome, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.reported, true) {
            let (name, command) = self.about.take().unzip();
            out.push(Output::Report(Report { name, command, outcome }));
        }
    }

    fn say_to_client(&mut self, now: Duration, octets: Vec<u8>, out: &mut Vec<Output>) {
        if !octets.is_empty() {
            self.to_client.push(now, octets.len());
            out.push(Output::ToClient(octets));
        }
    }

    fn say_to_daemon(&mut self, now: Duration, octets: Vec<u8>, out: &mut Vec<Output>) {
        if !octets.is_empty() {
            self.to_daemon.push(now, octets.len());
            out.push(Output::ToDaemon(octets));
        }
    }

    /// Stops reading from one side while too much waits for the other, or the other is not there yet.
    fn regulate(&mut self, out: &mut Vec<Output>) {
        if matches!(self.state, State::Leaving { .. } | State::Over) {
            return;
        }
        let early = matches!(&self.state, State::Asking(asking) if asking.kind() == Kind::Upload);
        let read_client = !early && !self.to_daemon.is_stopped();
        if std::mem::replace(&mut self.reads_client, read_client) != read_client {
            out.push(Output::ReadClient(read_client));
        }
        let read_daemon = !self.to_client.is_stopped();
        if std::mem::replace(&mut self.reads_daemon, read_daemon) != read_daemon {
            out.push(Output::ReadDaemon(read_daemon));
        }
    }
}

impl Authority<'_> {
    /// The same with a command of its own, for a session that outlives the certificates.
    #[must_use]
    pub fn into_owned(self) -> Authority<'static> {
        Authority { name: self.name, policies: self.policies, command: self.command.into_owned() }
    }
}

fn failure_frame(name: Name, failure: &Failure) -> Result<Vec<u8>, EncodeError> {
    let text = Payload::Failure(Text::from(failure.to_string()));
    Ok(frame::frame(&Wire::new(Header::new(0, name), text).encode()?))
}
