//! The connections of a server, with who is ready and whose patience ends when.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::Instant;

use albatross_proto::frame::Piece;
use libc::uid_t;
use mio::net::UnixStream;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::{CloseReason, ConnectionId, Event, KEPT_SILENT, MAX_CLIENTS, PATIENCE, Part, STEP};
use crate::connection::{Connection, ConnectionError, QueueFull};
use crate::timer::Timers;

#[derive(Debug)]
pub(super) struct Clients {
    /// The users whose processes may keep silent.
    pub(super) trusted: Vec<uid_t>,
    all: HashMap<usize, Client>,
    /// Those that were accepted and have not sent a frame, oldest first (ids grow).
    silent: BTreeSet<usize>,
    /// Those that may have something to read.
    readable: BTreeSet<usize>,
    /// Those to which something is to be written.
    dirty: BTreeSet<usize>,
    /// Those who take no more, and of whom epoll does not tell yet when they do.
    blocked: Vec<usize>,
    /// Those that went while something was sent to them.
    lost: Vec<(usize, CloseReason)>,
    deadlines: Timers<usize>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This process made it.
    Own,
    /// A process of a user who may keep silent, which was silent long enough to be looked at.
    Trusted,
    /// A process of a user that nobody has had to look at yet. It connected then, and has to send a frame soon.
    Accepted(Instant),
}

#[derive(Debug)]
pub(super) struct Client {
    connection: Connection<UnixStream>,
    origin: Origin,
    /// Nothing is read any more; it goes when everything is written.
    closing: bool,
    /// epoll is to tell, or tells, when more can be written.
    watched: bool,
    /// [`Event::Ended`] was reported.
    ended: bool,
    /// Octets read since the deadline was set.
    progress: usize,
}

impl Clients {
    /// Nobody yet; processes of the users `trusted` will be allowed to keep silent.
    pub(super) fn new(trusted: Vec<uid_t>) -> Self {
        Self {
            trusted,
            all: HashMap::new(),
            silent: BTreeSet::new(),
            readable: BTreeSet::new(),
            dirty: BTreeSet::new(),
            blocked: Vec::new(),
            lost: Vec::new(),
            deadlines: Timers::default(),
        }
    }

    /// Adds a connection.
    pub(super) fn insert(&mut self, id: usize, connection: Connection<UnixStream>, origin: Origin) {
        self.all.insert(
            id,
            Client {
                connection,
                origin,
                closing: false,
                watched: origin == Origin::Own,
                ended: false,
                progress: 0,
            },
        );
        self.readable.insert(id);
        if !matches!(origin, Origin::Own) {
            self.silent.insert(id);
        }
        if let Origin::Accepted(now) = origin {
            self.deadlines.set(id, now + PATIENCE);
        }
    }

    pub(super) fn get(&self, id: usize) -> Option<&Connection<UnixStream>> {
        self.all.get(&id).map(|client| &client.connection)
    }

    /// The stream of a connection, for registering it.
    pub(super) fn stream(&mut self, id: usize) -> Option<&mut UnixStream> {
        self.all.get_mut(&id).map(|client| client.connection.stream_mut())
    }

    pub(super) fn is_open(&self, id: usize) -> bool {
        self.all.get(&id).is_some_and(|client| !client.closing)
    }

    /// Whether one more can be accepted, perhaps in place of a silent one.
    pub(super) fn has_room(&self) -> bool {
        self.all.len() < MAX_CLIENTS || self.superfluous().is_some()
    }

    /// Makes room for one more, at the cost of those that have been silent longest.
    pub(super) fn make_room(&mut self, events: &mut Vec<Event>) {
        while self.all.len() >= MAX_CLIENTS {
            let Some(oldest) = self.superfluous() else { return };
            self.drop_client(oldest, CloseReason::Crowded, events);
        }
    }

    /// Who has been silent longest and is not to be kept all the same.
    fn superfluous(&self) -> Option<usize> {
        let mut kept = 0;
        self.silent.iter().copied().find(|id| {
            let is_trusted = self.is_trusted(*id);
            kept += usize::from(is_trusted);
            !is_trusted || kept > KEPT_SILENT
        })
    }

    /// Whether it may keep silent, which costs a system call, and which nobody asks of those that do not.
    fn is_trusted(&self, id: usize) -> bool {
        let Some(client) = self.all.get(&id) else { return false };
        match client.origin {
            Origin::Own | Origin::Trusted => true,
            Origin::Accepted(_) => getsockopt(client.connection.stream(), PeerCredentials)
                .is_ok_and(|peer| self.trusted.contains(&peer.uid())),
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.readable.is_empty() || !self.lost.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Notes what mio reports; false where the token is none of ours.
    pub(super) fn ready(&mut self, id: usize, event: &mio::event::Event) -> bool {
        let Some(client) = self.all.get_mut(&id) else { return false };
        client.connection.ready(event);
        if client.connection.can_read() || client.connection.has_hung_up() {
            self.readable.insert(id);
        }
        if client.connection.can_write() {
            self.dirty.insert(id);
        }
        true
    }

    /// Lets `queue` queue something on a connection that is not closing.
    pub(super) fn send(
        &mut self,
        id: usize,
        queue: impl FnOnce(&mut Connection<UnixStream>) -> Result<(), QueueFull>,
    ) {
        let Some(client) = self.all.get_mut(&id).filter(|client| !client.closing) else { return };
        if queue(&mut client.connection).is_ok() {
            self.dirty.insert(id);
        } else {
            self.remove(id);
            self.lost.push((id, CloseReason::Full));
        }
    }

    /// Closes it when everything is written.
    pub(super) fn close(&mut self, id: usize, now: Instant) {
        let Some(client) = self.all.get_mut(&id) else { return };
        client.closing = true;
        self.readable.remove(&id);
        self.silent.remove(&id);
        if client.connection.pending() == 0 {
            self.remove(id);
        } else {
            self.dirty.insert(id);
            self.deadlines.set(id, now + PATIENCE);
        }
    }

    /// Takes a connection out that is not closing, see [`Connection::into_parts`].
    pub(super) fn detach(&mut self, id: usize) -> Option<(UnixStream, Vec<u8>, Vec<u8>)> {
        if !self.is_open(id) {
            return None;
        }
        self.remove(id).map(|client| client.connection.into_parts())
    }

    pub(super) fn remove(&mut self, id: usize) -> Option<Client> {
        // Dropping the stream takes it out of epoll: nothing else holds the descriptor.
        let client = self.all.remove(&id);
        self.readable.remove(&id);
        self.dirty.remove(&id);
        self.silent.remove(&id);
        self.deadlines.cancel(id);
        client
    }

    /// Lets one go of whom epoll wants to know nothing.
    pub(super) fn fail(&mut self, id: usize, error: io::Error, events: &mut Vec<Event>) {
        self.drop_client(id, CloseReason::Failed(ConnectionError::Io(error)), events);
    }

    fn drop_client(&mut self, id: usize, reason: CloseReason, events: &mut Vec<Event>) {
        let known = self.all.get(&id).is_some_and(|client| !client.closing);
        self.remove(id);
        if known {
            events.push(Event::Closed(ConnectionId(id), reason));
        }
    }

    /// Writes what waits, as far as it is taken.
    pub(super) fn flush(&mut self, now: Instant, events: &mut Vec<Event>) {
        for (id, reason) in self.lost.drain(..) {
            events.push(Event::Closed(ConnectionId(id), reason));
        }
        for id in std::mem::take(&mut self.dirty) {
            let Some(client) = self.all.get_mut(&id) else { continue };
            let flushed = client.connection.flush();
            if client.connection.pending() > 0 && !client.watched {
                client.watched = true;
                self.blocked.push(id);
            }
            match flushed {
                Err(error) => self.fail(id, error, events),
                Ok(_) if client.closing && client.connection.pending() == 0 => drop(self.remove(id)),
                Ok(0) => {}
                Ok(_) if client.closing => self.deadlines.set(id, now + PATIENCE),
                Ok(count) => {
                    events.push(Event::Written(ConnectionId(id), count));
                    if client.connection.can_read() {
                        self.readable.insert(id);
                    }
                }
            }
        }
    }

    /// Those who took less than was there for them for the first time.
    pub(super) fn take_blocked(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.blocked)
    }

    /// Reads a bounded amount from everybody who has sent something.
    pub(super) fn read(&mut self, scratch: &mut [u8], now: Instant, events: &mut Vec<Event>) {
        let mut frames = Vec::new();
        for id in std::mem::take(&mut self.readable) {
            let Some(client) = self.all.get_mut(&id).filter(|client| !client.closing) else { continue };
            if client.connection.is_paused() {
                continue;
            }
            let result = client.connection.read_pieces(scratch, &mut frames);
            let ends = |piece: &Piece| matches!(piece, Piece::Whole(_) | Piece::Part { last: true, .. });
            let got_frame = frames.iter().any(ends);
            events.extend(frames.drain(..).map(|piece| match piece {
                Piece::Whole(payload) => Event::Frame(ConnectionId(id), payload),
                Piece::Part { length, octets, last } => {
                    Event::Part(ConnectionId(id), Part { length, octets, last })
                }
            }));
            if got_frame {
                self.silent.remove(&id);
            }
            match result {
                Err(error) => self.drop_client(id, CloseReason::Failed(error), events),
                Ok(count) => self.after_read(id, count, got_frame, now, events),
            }
        }
    }

    fn after_read(
        &mut self,
        id: usize,
        count: usize,
        got_frame: bool,
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        let silent = self.silent.contains(&id);
        let Some(client) = self.all.get_mut(&id) else { return };
        if client.connection.can_read() {
            self.readable.insert(id);
        }
        if client.connection.has_ended() {
            if client.connection.has_hung_up() {
                return self.drop_client(id, CloseReason::Peer, events);
            }
            if !client.ended {
                client.ended = true;
                self.silent.remove(&id);
                self.deadlines.cancel(id);
                events.push(Event::Ended(ConnectionId(id)));
            }
            return;
        }
        client.progress += count;
        let must_speak = silent && matches!(client.origin, Origin::Accepted(_));
        if !client.connection.is_partial() && !must_speak {
            self.deadlines.cancel(id);
            client.progress = 0;
        } else if client.origin != Origin::Own
            && (got_frame || client.progress >= STEP || !self.deadlines.has(id))
        {
            self.deadlines.set(id, now + PATIENCE);
            client.progress = 0;
        }
    }

    /// Lets those go whose patience has ended.
    pub(super) fn expire(&mut self, now: Instant, events: &mut Vec<Event>) {
        while let Some(id) = self.deadlines.expire(now) {
            let may_wait = self.silent.contains(&id) && self.is_trusted(id);
            match self.all.get_mut(&id) {
                Some(client) if may_wait && !client.connection.is_partial() => {
                    client.origin = Origin::Trusted
                }
                _ => self.drop_client(id, CloseReason::Silent, events),
            }
        }
    }
}
