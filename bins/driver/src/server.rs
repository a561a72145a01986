//! The loop of a daemon: it accepts clients, reads their frames, writes what is to be sent, and keeps the
//! limits that protect it from them.
//!
//! [`Server::poll`] waits until something happens and says what. Nothing here knows what a frame means.
//! A daemon that has nothing to do sleeps without a timeout. The limits:
//!
//! * [`MAX_CLIENTS`] clients; beyond them the one that has been silent longest makes room.
//! * A client has [`PATIENCE`] for its first frame, and for each [`STEP`] octets of a frame it has begun.
//!   Processes of root and of our own user may keep silent: albatrossd connects to the console when it
//!   starts and says nothing before the first unikernel does, and one that is not ours never connects
//!   again. [`KEPT_SILENT`] of them do not make room for others either.
//! * One turn reads a bounded amount from each client ([`READ_PER_TURN`](crate::connection::READ_PER_TURN))
//!   and accepts a bounded number.
//! * What waits to be written is bounded, see [`connection`](crate::connection).

mod clients;
mod event;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry, Token};
use nix::unistd::geteuid;

use crate::connection::Connection;
use crate::listener::Listener;
use crate::signals::Signals;
use crate::timer;
use clients::{Clients, Origin};
pub use event::{CloseReason, ConnectionId, Event, Part, SourceEvent};

/// Clients served at one time. Half of the 1024 descriptors that a process usually has, or
/// what the members of the group albatross need many times over.
pub const MAX_CLIENTS: usize = 512;

/// How long a client may take for its first frame, for [`STEP`] octets of a frame that it has begun, and
/// for taking anything of the last reply before the connection is closed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How many silent connections of root and of our own user are kept however many others come: albatrossd's,
/// and those of its predecessors or tests beside it.
pub const KEPT_SILENT: usize = 8;

/// The progress that is expected within [`PATIENCE`], in octets.
pub const STEP: usize = 64 * 1024;

/// Clients accepted in one turn, so that those connected are served in between.
const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Octets read with one system call: what a pipe or a socket usually holds.
const SCRATCH: usize = 64 * 1024;

/// Events taken from the kernel at a time.
const EVENTS: usize = 256;

const SIGNALS: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST_FREE: usize = 2;

/// What epoll reports of a connection.
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A connection that was taken out of the loop.
#[derive(Debug)]
pub struct Detached {
    /// The connection, which blocks.
    pub stream: std::os::unix::net::UnixStream,
    /// Octets that were read and are part of no frame that was reported.
    pub read: Vec<u8>,
    /// Octets that are to be written first.
    pub unsent: Vec<u8>,
}

/// The loop of a daemon.
#[derive(Debug)]
pub struct Server {
    poll: Poll,
    ready: mio::Events,
    signals: Signals,
    listener: Option<Accepting>,
    clients: Clients,
    next_token: usize,
    /// Those that were accepted in this turn; epoll does not watch them yet.
    unregistered: Vec<usize>,
    /// Longer frames of clients are given in parts.
    whole: usize,
    scratch: Box<[u8]>,
}

#[derive(Debug)]
struct Accepting {
    listener: Listener,
    /// The limit of the frames that clients send first.
    limit: usize,
    ready: bool,
    paused_until: Option<Instant>,
}

impl Server {
    /// A loop without a socket.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn new(signals: Signals) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        Ok(Self {
            poll,
            ready: mio::Events::with_capacity(EVENTS),
            signals,
            listener: None,
            clients: Clients::new(vec![0, geteuid().as_raw()]),
            next_token: FIRST_FREE,
            unregistered: Vec::new(),
            whole: usize::MAX,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        })
    }

    /// Accepts clients from `listener` whose frames have at most `limit` octets.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn listen(&mut self, mut listener: Listener, limit: usize) -> io::Result<()> {
        self.poll.registry().register(listener.socket_mut(), LISTENER, Interest::READABLE)?;
        self.listener = Some(Accepting { listener, limit, ready: true, paused_until: None });
        Ok(())
    }

    /// Frames of more than `whole` octets, of clients that are accepted from now on, are given in parts as they
    /// come ([`Event::Part`]): nothing of them is kept here.
    pub const fn split_above(&mut self, whole: usize) {
        self.whole = whole;
    }

    /// Stops accepting, and removes the socket. Clients stay connected.
    pub fn stop_listening(&mut self) {
        self.listener = None;
    }

    /// Takes over a connection that was made by this process, which does not have to send anything soon.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn add(&mut self, stream: std::os::unix::net::UnixStream, limit: usize) -> io::Result<ConnectionId> {
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream);
        let token = self.token();
        self.poll.registry().register(&mut stream, token, BOTH)?;
        self.clients.insert(token.0, Connection::of_socket(stream, limit), Origin::Own);
        Ok(ConnectionId(token.0))
    }

    /// Takes a connection out of the loop, for a thread that reads or writes a lot and may block. `None` where
    /// it is gone. Frames that were reported already are not in what is returned.
    ///
    /// # Errors
    /// Those of the system calls; the connection is closed.
    pub fn detach(&mut self, connection: ConnectionId) -> io::Result<Option<Detached>> {
        let Some((mut stream, read, unsent)) = self.clients.detach(connection.0) else { return Ok(None) };
        match self.unregistered.iter().position(|id| *id == connection.0) {
            Some(at) => drop(self.unregistered.swap_remove(at)),
            None => self.poll.registry().deregister(&mut stream)?,
        }
        let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(stream));
        stream.set_nonblocking(false)?;
        Ok(Some(Detached { stream, read, unsent }))
    }

    /// Takes the stream of [`detach`](Self::detach) back: a last reply can be sent on it and it can be closed.
    /// What comes is read as frames of at most `limit` octets.
    ///
    /// # Errors
    /// Those of the system calls; the connection is closed.
    pub fn reattach(
        &mut self,
        connection: ConnectionId,
        stream: std::os::unix::net::UnixStream,
        limit: usize,
    ) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(connection.0), BOTH)?;
        self.clients.insert(connection.0, Connection::of_socket(stream, limit), Origin::Own);
        Ok(())
    }

    /// A token for a source of the caller's own.
    pub const fn token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    /// Where to register sources of the caller's own.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Queues `payload` as one frame; [`Self::poll`] writes it. Nothing is sent on a connection that is
    /// gone. Where the peer does not read, the connection is closed, which the next poll reports.
    pub fn send(&mut self, connection: ConnectionId, payload: &[u8]) {
        self.clients.send(connection.0, |queue| queue.send(payload));
    }

    /// The same for whole frames, headers included.
    pub fn send_frames(&mut self, connection: ConnectionId, frames: &[u8]) {
        self.clients.send(connection.0, |queue| queue.send_frames(frames));
    }

    /// Octets that wait to be written on `connection`.
    #[must_use]
    pub fn pending(&self, connection: ConnectionId) -> usize {
        self.clients.get(connection.0).map_or(0, Connection::pending)
    }

    /// Whether `connection` is there and was not given to [`Self::close`].
    #[must_use]
    pub fn is_open(&self, connection: ConnectionId) -> bool {
        self.clients.is_open(connection.0)
    }

    /// Closes `connection` once what is queued is written. Nothing is reported of it any more.
    pub fn close(&mut self, connection: ConnectionId) {
        self.clients.close(connection.0, Instant::now());
    }

    /// Closes `connection` at once. Nothing is reported of it any more.
    pub fn abort(&mut self, connection: ConnectionId) {
        self.clients.remove(connection.0);
    }

    /// Writes what is queued, waits until something happens or `deadline` has come, and appends what
    /// happened to `events`. It may return without an event.
    ///
    /// A caller with sources of its own that are still ready passes a deadline that has come.
    ///
    /// # Errors
    /// Those of epoll itself. What fails on a connection is an event.
    pub fn poll(&mut self, deadline: Option<Instant>, events: &mut Vec<Event>) -> io::Result<()> {
        self.clients.flush(Instant::now(), events);
        self.watch(events);
        let timeout = self.timeout(deadline, events.is_empty());
        match self.poll.poll(&mut self.ready, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        self.note_ready(events)?;
        let now = Instant::now();
        self.accept(now, events);
        self.clients.read(&mut self.scratch, now, events);
        self.clients.expire(now, events);
        Ok(())
    }

    fn timeout(&self, deadline: Option<Instant>, nothing_happened: bool) -> Option<Duration> {
        let accepting = self.listener.as_ref().filter(|accepting| accepting.ready);
        let can_accept = accepting.is_some_and(|accepting| accepting.paused_until.is_none());
        if !nothing_happened || can_accept && self.clients.has_room() || self.clients.has_ready() {
            return Some(Duration::ZERO);
        }
        let resume = accepting.and_then(|accepting| accepting.paused_until);
        let now = Instant::now();
        let own = timer::timeout(self.clients.next_deadline(), resume, now).map(|wait| now + wait);
        timer::timeout(own, deadline, now)
    }

    fn note_ready(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        for event in &self.ready {
            match event.token() {
                SIGNALS => {
                    while let Some(signal) = self.signals.next()? {
                        events.push(Event::Signal(signal));
                    }
                }
                LISTENER => {
                    if let Some(accepting) = &mut self.listener {
                        accepting.ready = true;
                    }
                }
                token => {
                    if !self.clients.ready(token.0, event) {
                        events.push(Event::Source(SourceEvent {
                            token,
                            readable: event.is_readable(),
                            writable: event.is_writable(),
                            closed: event.is_read_closed(),
                        }));
                    }
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, now: Instant, events: &mut Vec<Event>) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(accepting) = &mut self.listener else { return };
            if accepting.paused_until.is_some_and(|until| now < until) {
                return;
            }
            accepting.paused_until = None;
            if !accepting.ready || !self.clients.has_room() {
                return;
            }
            let limit = accepting.limit;
            match accepting.listener.socket_mut().accept() {
                Ok((stream, _)) => {
                    self.clients.make_room(events);
                    let id = self.token().0;
                    let mut connection = Connection::of_socket(stream, limit);
                    connection.split_above(self.whole);
                    self.clients.insert(id, connection, Origin::Accepted(now));
                    self.unregistered.push(id);
                    events.push(Event::Connected(ConnectionId(id)));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => accepting.ready = false,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        // No descriptors or no memory. The client keeps waiting in the socket's queue.
                        accepting.paused_until = Some(now + ACCEPT_PAUSE);
                        events.push(Event::AcceptFailed(error));
                    }
                },
            }
        }
    }

    /// Lets epoll watch those who were accepted and are still there, and those who take no more for writing too. Most
    /// clients have sent their command when they are accepted, take the reply at once, and are gone before epoll would
    /// have to hear of them.
    fn watch(&mut self, events: &mut Vec<Event>) {
        let blocked = self.clients.take_blocked();
        for &id in &self.unregistered {
            let interest = if blocked.contains(&id) { BOTH } else { Interest::READABLE };
            if let Some(stream) = self.clients.stream(id)
                && let Err(error) = self.poll.registry().register(stream, Token(id), interest)
            {
                self.clients.fail(id, error, events);
            }
        }
        for id in blocked.into_iter().filter(|id| !self.unregistered.contains(id)) {
            if let Some(stream) = self.clients.stream(id)
                && let Err(error) = self.poll.registry().reregister(stream, Token(id), BOTH)
            {
                self.clients.fail(id, error, events);
            }
        }
        self.unregistered.clear();
    }
}

impl AsRawFd for Server {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}
