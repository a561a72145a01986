//! One client, its session, and the daemon that it talks to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use albatross_core::certificate::ChainError;
use albatross_core::endpoint::{Input, InstallError, KnownPath, Output, Report, Session};
use albatross_driver::clock::wall_clock_second;
use albatross_driver::listener::socket_path;
use albatross_driver::logging::{Level, Logger};
use albatross_proto::Name;
use albatross_proto::command::{Daemon, RevocationCommand};
use albatross_proto::log;
use albatross_tls::server::{Acceptor, EndWriting, Places, Shown, Stream, TlsError};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::libc;
use nix::sys::socket::{MsgFlags, sendmsg};

use crate::events;
use crate::lists::Lists;
use crate::pipe::Pipe;

/// What epoll is asked about a connection at first.
pub(crate) const FIRST_INTEREST: Interest = Interest::READABLE;

/// What all links use.
pub(crate) struct Context<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) tmpdir: &'a Path,
    pub(crate) log: &'a Logger,
    pub(crate) acceptor: &'a Acceptor,
    /// Where lists are kept, where there is such a place.
    pub(crate) lists: Option<&'a Lists>,
    /// For reading by.
    pub(crate) scratch: &'a mut [u8],
    /// For what was read; empty between two uses.
    pub(crate) data: &'a mut Vec<u8>,
    /// Since the program began.
    pub(crate) now: Duration,
}

/// A TCP connection of which one direction can be closed.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// What is written is sent with the end.
    ends: bool,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Link {
    client: Stream<Socket>,
    session: Session,
    daemon: Option<Pipe>,
    token: Token,
    daemon_token: Token,
    /// What epoll is asked about.
    client_interest: Interest,
    daemon_interest: Interest,
    /// `None` where the connection is not one over the network.
    address: Option<SocketAddr>,
    /// Once it was shown.
    who: Option<Who>,
    reads_client: bool,
    reads_daemon: bool,
    client_ended: bool,
    dropped: bool,
    /// What the session was told of the places for large chains.
    places: Places,
}

/// Who the client is.
#[derive(Debug)]
struct Who {
    /// What its chain names; the root where it has no authority.
    name: Name,
    subject: String,
    serial: String,
    path: KnownPath,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is more to be done at once.
    Again,
    /// Something has to happen first.
    Wait,
    /// The link is to be forgotten.
    Over,
}

impl Link {
    pub(crate) fn new(
        client: Stream<Socket>,
        address: Option<SocketAddr>,
        [token, daemon_token]: [Token; 2],
        now: Duration,
    ) -> Self {
        Self {
            client,
            session: Session::new(now),
            daemon: None,
            token,
            daemon_token,
            client_interest: FIRST_INTEREST,
            daemon_interest: FIRST_INTEREST,
            address,
            who: None,
            reads_client: true,
            reads_daemon: true,
            client_ended: false,
            dropped: false,
            places: Places::None,
        }
    }

    pub(crate) fn client_ready(&mut self, event: &mio::event::Event) {
        let failed = event.is_error();
        let writable = event.is_writable() || event.is_write_closed() || failed;
        self.client.ready(event.is_readable(), writable, event.is_read_closed() || failed);
    }

    pub(crate) fn daemon_ready(&mut self, event: &mio::event::Event) {
        if let Some(daemon) = &mut self.daemon {
            daemon.ready(event);
        }
    }

    /// When the session has to be told the time.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.session.deadline()
    }

    /// Whether the client has shown its certificate.
    pub(crate) const fn is_known(&self) -> bool {
        self.who.is_some()
    }

    /// What the event log is told of the client, once it has shown its certificate.
    pub(crate) fn visit(&self) -> Option<(Name, log::Session)> {
        let who = self.who.as_ref()?;
        let serial = events::octets(&who.serial).as_slice().into();
        Some((who.name.clone(), log::Session { address: self.from().as_str().into(), serial }))
    }

    /// Where it comes from.
    fn from(&self) -> String {
        self.address.map_or_else(|| "standard input".to_owned(), |it| it.to_string())
    }

    /// Whether it waits for a place for its large chain.
    pub(crate) fn awaits_place(&self) -> bool {
        !self.dropped && matches!(self.client.places(), Places::Awaited | Places::Free)
    }

    /// Whether it waits, and there is one.
    pub(crate) fn finds_place(&self) -> bool {
        !self.dropped && self.client.places() == Places::Free
    }

    /// Whether it has such a place.
    pub(crate) fn has_place(&self) -> bool {
        self.client.places() == Places::Taken
    }

    /// Which of the client's certificates has been revoked since it was shown.
    pub(crate) fn revoked(&self, acceptor: &Acceptor) -> Option<ChainError> {
        acceptor.judge().revoked(&self.who.as_ref()?.path)
    }

    /// Tells the session what happened, and does what it says.
    pub(crate) fn happens(&mut self, input: Input<'_>, context: &mut Context<'_>) {
        let mut outputs = Vec::new();
        self.session.handle(context.now, input, &mut outputs);
        while !outputs.is_empty() {
            let mut next = Vec::new();
            for output in outputs {
                if let Some(input) = self.carry_out(output, context) {
                    self.session.handle(context.now, input, &mut next);
                }
            }
            outputs = next;
        }
    }

    /// Reads and writes a bounded amount.
    pub(crate) fn turn(&mut self, context: &mut Context<'_>) -> Turn {
        self.read_client(context);
        self.read_daemon(context);
        self.write(context);
        if self.client.is_closed() {
            self.happens(Input::ClientGone, context);
        }
        if let Err(error) = self.watch(context.registry) {
            let text = format!("its connection cannot be watched: {error}");
            self.happens(Input::Broken(text), context);
            self.dropped = true;
        }
        if self.dropped {
            Turn::Over
        } else if self.may_go_on() {
            Turn::Again
        } else {
            Turn::Wait
        }
    }

    fn may_go_on(&self) -> bool {
        let daemon = self.daemon.as_ref();
        self.reads_client && self.client.can_read()
            || self.client.can_write()
            || daemon.is_some_and(|daemon| self.reads_daemon && daemon.can_read() || daemon.can_write())
    }

    /// Most connections take all that is written to them, and would only wake us by saying so. Who did not once is asked
    /// about from then on.
    fn watch(&mut self, registry: &Registry) -> io::Result<()> {
        let all = Interest::READABLE | Interest::WRITABLE;
        if self.client.is_stuck() && self.client_interest != all {
            registry.reregister(&mut self.client.stream_mut().stream, self.token, all)?;
            self.client_interest = all;
        }
        if let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.is_stuck())
            && self.daemon_interest != all
        {
            registry.reregister(daemon.stream_mut(), self.daemon_token, all)?;
            self.daemon_interest = all;
        }
        Ok(())
    }

    fn read_client(&mut self, context: &mut Context<'_>) {
        if !self.reads_client || !self.client.can_read() {
            return;
        }
        let mut data = std::mem::take(context.data);
        let handshaking = self.client.is_handshaking();
        let result = self.client.read(context.scratch, &mut data);
        self.tell_of_place(context);
        match &result {
            // With the end of a handshake may have come what follows it.
            Ok(count) if self.client.is_handshaking() => {
                self.happens(Input::HandshakeOctets(*count), context)
            }
            _ => {}
        }
        match self.client.take_shown() {
            Some(Shown::Path(judged)) => {
                let judged = *judged;
                let name = judged.authority.as_ref().map_or_else(|_| Name::root(), |it| it.name.clone());
                self.who =
                    Some(Who { name, subject: judged.subject, serial: judged.serial, path: judged.path });
                self.happens(Input::HandshakeDone(Box::new(judged.authority)), context);
            }
            Some(Shown::Refused(error)) => self.happens(Input::Refused(error), context),
            None => {}
        }
        if !data.is_empty() {
            self.happens(Input::ClientData(&data), context);
        }
        data.clear();
        *context.data = data;
        match result {
            Ok(_) if self.client.has_ended() && !self.client_ended => {
                self.client_ended = true;
                self.happens(Input::ClientEnded, context);
            }
            Ok(_) => {}
            Err(TlsError::Io(_)) if !handshaking => self.happens(Input::ClientGone, context),
            Err(error) => self.happens(Input::Broken(error.to_string()), context),
        }
    }

    fn tell_of_place(&mut self, context: &mut Context<'_>) {
        let places = match self.client.places() {
            Places::Free => Places::Awaited,
            other => other,
        };
        if std::mem::replace(&mut self.places, places) == places {
            return;
        }
        match places {
            Places::Awaited => self.happens(Input::PlaceAwaited, context),
            Places::Taken => self.happens(Input::PlaceGiven, context),
            Places::None | Places::Free => {}
        }
    }

    fn read_daemon(&mut self, context: &mut Context<'_>) {
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| self.reads_daemon && daemon.can_read())
        else {
            return;
        };
        let mut data = std::mem::take(context.data);
        daemon.read(context.scratch, &mut data);
        let ended = daemon.has_ended();
        if !data.is_empty() {
            self.happens(Input::DaemonData(&data), context);
        }
        data.clear();
        *context.data = data;
        // It may have become another connection, or none.
        if ended && self.daemon.as_ref().is_some_and(Pipe::has_ended) {
            self.happens(Input::DaemonEnded, context);
        }
    }

    fn write(&mut self, context: &mut Context<'_>) {
        if let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.can_write()) {
            match daemon.flush() {
                0 => {}
                count => self.happens(Input::DaemonTook(count), context),
            }
        }
        if !self.dropped && self.client.can_write() {
            match self.client.flush() {
                Ok(0) => {}
                Ok(count) => self.happens(Input::ClientTook(count), context),
                Err(_) => self.happens(Input::ClientGone, context),
            }
        }
    }

    /// Does what the session says; returns what has happened by that.
    fn carry_out(&mut self, output: Output, context: &Context<'_>) -> Option<Input<'static>> {
        match output {
            Output::Install(command) => return Some(Input::Installed(self.install(&command, context))),
            Output::Connect(daemon) => return Some(self.connect(daemon, context)),
            Output::ToDaemon(octets) => {
                if let Some(daemon) = &mut self.daemon {
                    daemon.send(octets);
                }
            }
            Output::ToClient(octets) => self.client.send(octets),
            Output::ReadDaemon(on) => self.reads_daemon = on,
            Output::ReadClient(on) => self.reads_client = on,
            Output::CloseDaemon => self.daemon = None,
            Output::CloseClient => {
                self.reads_client = true;
                self.client.close();
            }
            Output::DropClient => self.dropped = true,
            Output::Report(report) => self.log(&report, context.log),
            _ => {}
        }
        None
    }

    fn connect(&mut self, daemon: Daemon, context: &Context<'_>) -> Input<'static> {
        let connected =
            Pipe::connect(&socket_path(context.tmpdir, socket_name(daemon))).and_then(|mut pipe| {
                context.registry.register(pipe.stream_mut(), self.daemon_token, FIRST_INTEREST)?;
                Ok(pipe)
            });
        match connected {
            Ok(pipe) => {
                self.daemon = Some(pipe);
                self.daemon_interest = FIRST_INTEREST;
                Input::Connected
            }
            Err(error) => Input::ConnectFailed(error),
        }
    }

    /// Whether it counts now, and is on the disk.
    fn install(&self, command: &RevocationCommand<'_>, context: &Context<'_>) -> Result<(), InstallError> {
        let (Some(lists), Some(who)) = (context.lists, &self.who) else { return Err(InstallError::NoFolder) };
        let mut judge = context.acceptor.judge();
        judge.install(command, &who.path, wall_clock_second()).map_err(InstallError::Refused)?;
        // One that was on file may not have been written.
        let RevocationCommand::Install(list) = command;
        lists.keep(list).map_err(InstallError::NotWritten)
    }

    fn log(&self, report: &Report, log: &Logger) {
        let level = Level::from(report.level());
        if !log.enabled(level) {
            return;
        }
        let address = self.from();
        match &self.who {
            Some(Who { subject, serial, .. }) => {
                log.log(level, format_args!("{address}: {subject} (serial {serial}): {report}"));
            }
            None => log.log(level, format_args!("{address}: {report}")),
        }
    }
}

/// The name of a daemon's socket.
const fn socket_name(daemon: Daemon) -> &'static str {
    match daemon {
        Daemon::Console => "console",
        Daemon::Stats => "stat",
        Daemon::Log => "log",
        // The endpoint itself is never connected to.
        Daemon::Vmmd | Daemon::Endpoint => "vmmd",
    }
}

impl Socket {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, ends: false }
    }
}

impl io::Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl io::Write for Socket {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.write(octets)
    }

    fn write_vectored(&mut self, blocks: &[io::IoSlice<'_>]) -> io::Result<usize> {
        if !self.ends {
            return self.stream.write_vectored(blocks);
        }
        // One packet in place of two, and its client wakes up once.
        let flags = MsgFlags::from_bits_retain(libc::MSG_MORE) | MsgFlags::MSG_NOSIGNAL;
        Ok(sendmsg::<()>(self.stream.as_raw_fd(), blocks, &[], flags, None)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl EndWriting for Socket {
    fn end_follows(&mut self) {
        self.ends = true;
    }

    fn end_writing(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }
}
