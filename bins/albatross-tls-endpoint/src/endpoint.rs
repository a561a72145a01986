//! The loop: who is ready, whose patience has ended, who may come in.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use albatross_core::endpoint::limits::{LARGE_PLACES, MAX_CONNECTIONS};
use albatross_core::endpoint::{Admission, Door, Input};
use albatross_core::machine::ClientId;
use albatross_driver::logging::Logger;
use albatross_driver::signals::{Signal, Signals};
use albatross_driver::timer::{self, Timers};
use albatross_tls::server::{Acceptor, READ_PER_TURN};
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::events;
use crate::link::{Context, FIRST_INTEREST, Link, Socket, Turn};
use crate::listener;
use crate::lists::Lists;
use crate::memory;

/// Clients accepted in one turn, so that those connected are served in between.
const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Octets read with one system call.
const SCRATCH: usize = 64 * 1024;

/// What is kept of the buffer for decrypted octets: a turn of a client, and a read on top of that.
const KEEP_DATA: usize = READ_PER_TURN + SCRATCH;

/// Connections at one time after which, when all have left, memory is given back: more than a few users have, less
/// than would be missed.
const CROWD: usize = 64;

/// Events taken from the kernel at a time.
const EVENTS: usize = 256;

const SIGNALS: Token = Token(0);
const LISTENER: Token = Token(1);
const LISTS: Token = Token(2);
const LOG: Token = Token(3);

/// The first token of a client; the next is that of its daemon.
const FIRST_LINK: usize = 4;

/// Whom it serves.
#[derive(Debug)]
pub(crate) enum Serves {
    /// Whoever connects, until it is asked to end.
    All(TcpListener),
    /// This one.
    One(TcpStream),
}

/// The program at work.
pub(crate) struct Endpoint<'a> {
    poll: Poll,
    signals: Signals,
    /// `None` where there is one client, and no other comes.
    listener: Option<TcpListener>,
    acceptable: bool,
    paused_until: Option<Instant>,
    acceptor: Acceptor,
    lists: Option<Lists>,
    events: events::Events,
    /// The lists that the links were asked about.
    changes: u64,
    door: Door,
    /// Each on its own, so that a table that once had to grow stays small.
    links: HashMap<ClientId, Box<Link>>,
    next: usize,
    /// The most links at one time since there were none.
    most: usize,
    /// Links with something to do.
    busy: BTreeSet<ClientId>,
    /// Links that wait for a place for a large chain, the oldest first.
    waiting: BTreeSet<ClientId>,
    timers: Timers<ClientId>,
    deadlines: HashMap<ClientId, Duration>,
    began: Instant,
    tmpdir: PathBuf,
    log: &'a Logger,
    scratch: Box<[u8]>,
    data: Vec<u8>,
}

impl<'a> Endpoint<'a> {
    pub(crate) fn new(
        serves: Serves,
        signals: Signals,
        acceptor: Acceptor,
        lists: Option<Lists>,
        tmpdir: PathBuf,
        log: &'a Logger,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)?;
        if let Some(lists) = &lists {
            poll.registry().register(&mut SourceFd(&lists.as_raw_fd()), LISTS, Interest::READABLE)?;
        }
        let changes = acceptor.judge().changes();
        let mut it = Self {
            poll,
            signals,
            listener: None,
            acceptable: false,
            paused_until: None,
            acceptor,
            lists,
            events: events::Events::new(&tmpdir, LOG),
            changes,
            door: Door::new(MAX_CONNECTIONS),
            links: HashMap::new(),
            next: 0,
            most: 0,
            busy: BTreeSet::new(),
            waiting: BTreeSet::new(),
            timers: Timers::new(),
            deadlines: HashMap::new(),
            began: Instant::now(),
            tmpdir,
            log,
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            data: Vec::new(),
        };
        match serves {
            Serves::All(mut listener) => {
                it.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
                it.acceptable = true;
                it.listener = Some(listener);
            }
            Serves::One(stream) => {
                // It may be a connection of another kind.
                _ = listener::prepare(&stream);
                let address = stream.peer_addr().ok();
                it.admit(stream, address)?;
            }
        }
        Ok(it)
    }

    /// Serves until SIGTERM or SIGINT, or until the one client is served.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        if self.is_asked_to_end()? {
                            self.end();
                        }
                    }
                    LISTENER => self.acceptable = true,
                    LOG => self.events.ready(event),
                    LISTS => {
                        if let Some(lists) = &self.lists {
                            lists.reread(&mut self.acceptor.judge(), self.log);
                        }
                    }
                    Token(number) => self.note(number, event),
                }
            }
            self.accept();
            self.give_places();
            self.serve();
            self.expire();
            self.end_revoked();
            self.settle();
            self.events.turn(self.began.elapsed(), self.poll.registry(), self.log);
            if self.listener.is_none() && self.links.is_empty() && !self.events.is_waiting() {
                return Ok(());
            }
        }
    }

    fn is_asked_to_end(&self) -> io::Result<bool> {
        while let Some(signal) = self.signals.next()? {
            if matches!(signal, Signal::SIGTERM | Signal::SIGINT) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells every session, so that each is logged, and lets nobody in any more.
    fn end(&mut self) {
        self.listener = None;
        self.acceptable = false;
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.tell(id, Input::Shutdown);
            self.forget(id);
        }
    }

    /// For ever where nothing is due, so that an idle endpoint is never woken.
    fn timeout(&self) -> Option<Duration> {
        let can_accept = self.acceptable && self.paused_until.is_none() && self.door.has_room();
        let can_give = self.finders().next().is_some();
        if can_accept || can_give || !self.busy.is_empty() {
            return Some(Duration::ZERO);
        }
        let (now, paused) = (Instant::now(), self.paused_until.filter(|_| self.acceptable));
        let own = timer::timeout(self.timers.next(), paused, now).map(|wait| now + wait);
        timer::timeout(own, self.events.deadline().map(|deadline| self.began + deadline), now)
    }

    fn note(&mut self, number: usize, event: &mio::event::Event) {
        let id = ClientId((number - FIRST_LINK) / 2);
        let Some(link) = self.links.get_mut(&id) else { return };
        if number.is_multiple_of(2) {
            link.client_ready(event)
        } else {
            link.daemon_ready(event)
        }
        self.busy.insert(id);
    }

    fn accept(&mut self) {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        self.paused_until = None;
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.acceptable || !self.door.has_room() {
                return;
            }
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, mut address)) => {
                    address.set_ip(address.ip().to_canonical());
                    if let Err(error) = self.admit(stream, Some(address)) {
                        self.log.warning(format_args!("{address}: cannot be served: {error}"));
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.acceptable = false,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        // No descriptors or no memory. Who comes waits in the socket's queue.
                        self.log.warning(format_args!("no connection can be accepted: {error}"));
                        self.paused_until = Some(now + ACCEPT_PAUSE);
                        return;
                    }
                },
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream, address: Option<SocketAddr>) -> io::Result<()> {
        let id = ClientId(self.next);
        self.next += 1;
        let token = FIRST_LINK + 2 * id.0;
        self.poll.registry().register(&mut stream, Token(token), FIRST_INTEREST)?;
        let stream = self.acceptor.accept(Socket::new(stream), address.map(|it| it.ip()));
        let stream = stream.map_err(io::Error::other)?;
        match self.door.admit(id) {
            Admission::Welcome => {}
            Admission::InPlaceOf(oldest) => {
                self.tell(oldest, Input::Crowded);
                self.forget(oldest);
            }
            // Asked before it was accepted.
            Admission::Full => return Ok(()),
        }
        self.links.insert(
            id,
            Box::new(Link::new(stream, address, [token, token + 1].map(Token), self.began.elapsed())),
        );
        self.busy.insert(id);
        Ok(())
    }

    /// Who waited the longest goes on where there is a place.
    fn give_places(&mut self) {
        let finders: Vec<ClientId> = self.finders().take(LARGE_PLACES).collect();
        self.busy.extend(finders);
    }

    /// Who waits for a place and finds one, the oldest first.
    fn finders(&self) -> impl Iterator<Item = ClientId> {
        let finds = |id: &&ClientId| self.links.get(id).is_some_and(|link| link.finds_place());
        self.waiting.iter().filter(finds).copied()
    }

    /// Each link with something to do gets one turn.
    fn serve(&mut self) {
        for id in std::mem::take(&mut self.busy) {
            let stranger = self.links.get(&id).is_some_and(|link| !link.is_known());
            let Some(turn) = self.with_link(id, Link::turn) else { continue };
            let Some(link) = self.links.get(&id) else { continue };
            if stranger && let Some(visit) = link.visit() {
                self.events.login(visit);
            }
            // There are few with a place, and what they send takes its time: they do not have to make room for others.
            if stranger && (link.is_known() || link.has_place()) {
                self.door.knows(id);
            }
            if link.awaits_place() {
                self.waiting.insert(id);
            } else {
                self.waiting.remove(&id);
            }
            self.after(id, turn);
        }
        self.data.shrink_to(KEEP_DATA);
    }

    /// Has a link do something, with what all links use. `None` where there is none of this name.
    fn with_link<T>(
        &mut self,
        id: ClientId,
        act: impl FnOnce(&mut Link, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let link = self.links.get_mut(&id)?;
        let mut context = Context {
            registry: self.poll.registry(),
            tmpdir: &self.tmpdir,
            log: self.log,
            acceptor: &self.acceptor,
            lists: self.lists.as_ref(),
            scratch: &mut self.scratch,
            data: &mut self.data,
            now: self.began.elapsed(),
        };
        Some(act(link, &mut context))
    }

    fn after(&mut self, id: ClientId, turn: Turn) {
        match turn {
            Turn::Over => {
                self.forget(id);
                self.door.leaves(id);
                return;
            }
            Turn::Again => _ = self.busy.insert(id),
            Turn::Wait => {}
        }
        let deadline = self.links.get(&id).and_then(|link| link.deadline());
        if self.deadlines.get(&id).copied() != deadline {
            match deadline {
                Some(deadline) => {
                    self.timers.set(id, self.began + deadline);
                    self.deadlines.insert(id, deadline);
                }
                None => {
                    self.timers.cancel(id);
                    self.deadlines.remove(&id);
                }
            }
        }
    }

    /// When all have left, so does what a crowd has cost.
    fn settle(&mut self) {
        self.most = self.most.max(self.links.len());
        if self.links.is_empty() && std::mem::take(&mut self.most) >= CROWD {
            memory::forget_the_crowd();
        }
    }

    /// A list that came ends the connections of what it revokes.
    fn end_revoked(&mut self) {
        let changes = self.acceptor.judge().changes();
        if std::mem::replace(&mut self.changes, changes) == changes {
            return;
        }
        let revoked = self.links.iter().filter_map(|(id, link)| Some((*id, link.revoked(&self.acceptor)?)));
        for (id, error) in revoked.collect::<Vec<_>>() {
            self.tell(id, Input::Revoked(error));
        }
    }

    fn forget(&mut self, id: ClientId) {
        // Dropping its sockets takes them out of epoll.
        if let Some(visit) = self.links.remove(&id).and_then(|link| link.visit()) {
            self.events.logout(visit);
        }
        self.busy.remove(&id);
        self.waiting.remove(&id);
        self.timers.cancel(id);
        self.deadlines.remove(&id);
    }

    fn tell(&mut self, id: ClientId, input: Input<'_>) {
        if self.with_link(id, |link, context| link.happens(input, context)).is_some() {
            self.busy.insert(id);
        }
    }

    fn expire(&mut self) {
        while let Some(id) = self.timers.expire(Instant::now()) {
            self.deadlines.remove(&id);
            self.tell(id, Input::Tick);
        }
    }
}
