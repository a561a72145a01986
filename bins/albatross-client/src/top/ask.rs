//! Threads that ask. Each has connections of its own, so that one daemon that does not answer holds up nothing else.
//! They end with the program.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use albatross_driver::escape;
use albatross_driver::signals::{Signal, Signals};
use albatross_proto::command::History;
use albatross_proto::{
    BlockCommand, Command, ConsoleCommand, Data, Int, Name, Path, PolicyCommand, StatisticsCommand, Success,
    Text, UnikernelCommand,
};
use mio::unix::{SourceFd, pipe};
use mio::{Events, Interest, Poll, Token};
use ratatui::crossterm::event::{self, Event};

use super::model::{Link, Model, Round};
use crate::command::Request;
use crate::conversation::{ConversationError, Manner};
use crate::error::Error;
use crate::exit::Exit;
use crate::open_in;
use crate::options::{Destination, Options};
use crate::reply::Answer;

/// Time between two rounds of questions to sockets of this host.
const LOCAL_ROUND: Duration = Duration::from_secs(1);

/// Time between two rounds of questions to an endpoint: each question is a handshake there, and a login and a logout
/// in its event log.
const REMOTE_ROUND: Duration = Duration::from_secs(3);

/// Policies and block devices change seldom: they are asked for in every so manieth round.
const POLICY_ROUNDS: u32 = 5;

/// A daemon that does not know the question for statuses is asked again after so many rounds: it may be another then.
const STATUS_ROUNDS: u32 = 60;

/// How long a daemon may be silent before it counts as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time before a subscription is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The console of a unikernel is asked for when it is selected for so long: who goes through the list wants none.
const SETTLED: Duration = Duration::from_millis(200);

/// Lines of the past that are asked for: a few screens.
const HISTORY: i32 = 256;

/// Happenings that wait for the screen. News are told once, so these are keys.
const WAITING: usize = 64;

/// What the screen is told.
pub(crate) enum Happened {
    /// Something is known that was not.
    News,
    /// A key, or another size.
    Input(Event),
    /// There are no more keys.
    Lost(io::Error),
    /// A signal to end.
    End,
}

/// Why there is no answer.
pub(crate) enum Unanswered {
    /// The server says why.
    Refused(Name, Text),
    Failed(Error),
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Unanswered {
    /// What is shown of it: one line, without what a terminal obeys.
    fn shown(&self) -> String {
        match self {
            Self::Refused(_, text) => escape::bytes(text.as_bytes()).to_string(),
            Self::Failed(error) => error.to_string(),
        }
    }
}

/// Who asks, shared between the threads.
#[derive(Clone)]
pub(crate) struct Asker(Arc<Shared>);

struct Shared {
    options: &'static Options,
    destination: Destination,
    /// What is asked for.
    name: Name,
    model: Mutex<Model>,
    /// Another unikernel is selected.
    selected: Condvar,
    has_news: AtomicBool,
    happened: SyncSender<Happened>,
    /// Ends the subscription to a console: there is an octet in it from when another unikernel is selected.
    stop: pipe::Sender,
    stopped: Arc<pipe::Receiver>,
    /// Nothing ever comes out of it.
    never: Arc<pipe::Receiver>,
    _never: pipe::Sender,
}

impl Asker {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Those of making pipes.
    pub(crate) fn new(
        options: &'static Options,
        destination: Destination,
        name: Name,
    ) -> io::Result<(Self, Receiver<Happened>)> {
        let (happened, receiver) = sync_channel(WAITING);
        let (stop, stopped) = pipe::new()?;
        let (_never, never) = pipe::new()?;
        let shared = Shared {
            options,
            destination,
            name,
            model: Mutex::new(Model::default()),
            selected: Condvar::new(),
            has_news: AtomicBool::new(false),
            happened,
            stop,
            stopped: Arc::new(stopped),
            never: Arc::new(never),
            _never,
        };
        Ok((Self(Arc::new(shared)), receiver))
    }

    /// Who is asked, for people.
    pub(crate) fn destination(&self) -> String {
        match &self.0.destination {
            Destination::Remote(host) => host.clone(),
            _ => escape::line(self.0.options.tmpdir().display()).to_string(),
        }
    }

    /// The first questions. That nobody answers is no error: that can change.
    ///
    /// # Errors
    /// What would be the same again.
    pub(crate) fn first_round(&self) -> Result<(), Unanswered> {
        match self.round(&mut Rounds::default()) {
            Err(Unanswered::Failed(error)) if matches!(error.exit(), Exit::Connect | Exit::Communication) => {
                self.update(|model| model.trouble(Link::Daemon, Some(error.to_string())));
                Ok(())
            }
            other => other,
        }
    }

    /// Starts the threads. From now on signals to end are read.
    ///
    /// # Errors
    /// Those of starting threads.
    pub(crate) fn start(&self) -> io::Result<()> {
        let signals = Signals::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])?;
        self.spawn(move |asker| _ = asker.0.happened.send(asker.wait_for(&signals)))?;
        self.spawn(Self::read_input)?;
        self.spawn(Self::ask_for_ever)?;
        self.spawn(Self::gather_for_ever)?;
        self.spawn(Self::follow_for_ever)
    }

    fn spawn(&self, work: impl FnOnce(&Self) + Send + 'static) -> io::Result<()> {
        let asker = self.clone();
        thread::Builder::new().spawn(move || work(&asker)).map(drop)
    }

    /// Changes what is known, and says so.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.lock();
        let before = model.selections();
        let changed = change(&mut model);
        if model.selections() != before {
            // A pipe that is full says the same.
            _ = (&self.0.stop).write(&[0]);
            self.0.selected.notify_all();
        }
        drop(model);
        if !self.0.has_news.swap(true, Ordering::AcqRel) {
            // Where there is no room the screen looks soon anyway.
            _ = self.0.happened.try_send(Happened::News);
        }
        changed
    }

    /// Shows what is known; what comes from now on is news.
    pub(crate) fn seen<T>(&self, show: impl FnOnce(&mut Model) -> T) -> T {
        self.0.has_news.store(false, Ordering::Release);
        show(&mut self.lock())
    }

    /// Whether something is known that was not shown.
    pub(crate) fn has_news(&self) -> bool {
        self.0.has_news.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        // Who panics ends the program.
        self.0.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, signals: &Signals) -> Happened {
        let wait = || -> io::Result<()> {
            let mut poll = Poll::new()?;
            poll.registry().register(&mut SourceFd(&signals.as_raw_fd()), Token(0), Interest::READABLE)?;
            let mut events = Events::with_capacity(1);
            while signals.next()?.is_none() {
                match poll.poll(&mut events, None) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        };
        wait().map_or_else(Happened::Lost, |()| Happened::End)
    }

    fn read_input(&self) {
        loop {
            let (happened, is_last) = match event::read() {
                Ok(event) => (Happened::Input(event), false),
                Err(error) => (Happened::Lost(error), true),
            };
            if self.0.happened.send(happened).is_err() || is_last {
                return;
            }
        }
    }

    /// What runs, policies and block devices, again and again.
    fn ask_for_ever(&self) {
        let pause = match self.0.destination {
            Destination::Remote(_) => REMOTE_ROUND,
            _ => LOCAL_ROUND,
        };
        let mut rounds = Rounds::default();
        loop {
            thread::sleep(pause);
            if let Err(why) = self.round(&mut rounds) {
                self.update(|model| model.trouble(Link::Daemon, Some(why.shown())));
                // Who comes back may be another.
                rounds = Rounds::default();
            }
        }
    }

    fn round(&self, rounds: &mut Rounds) -> Result<(), Unanswered> {
        let Answer { name, result } = self.query(Command::Unikernel(UnikernelCommand::Info))?;
        let base = name.path().clone();
        let running = match result {
            Ok(Success::Info(list) | Success::InfoV5(list) | Success::InfoV4(list)) => list,
            Ok(_) => Vec::new(),
            Err(text) => return Err(Unanswered::Refused(name, text)),
        };
        let mut round = Round { base, running, ..Round::default() };
        if Rounds::are_due(&mut rounds.statuses) {
            match self.query(Command::Unikernel(UnikernelCommand::Status)).map(|answer| answer.result) {
                Ok(Ok(Success::Status(statuses))) => round.statuses = Some(statuses),
                _ => rounds.statuses = STATUS_ROUNDS,
            }
        }
        let mut refused = None;
        if Rounds::are_due(&mut rounds.policies) {
            rounds.policies = POLICY_ROUNDS;
            match self.query(Command::Policy(PolicyCommand::Info)) {
                Ok(Answer { result: Ok(Success::Policies(list)), .. }) => round.policies = Some(list),
                Ok(Answer { result: Err(text), name }) => refused = Some(Unanswered::Refused(name, text)),
                Ok(_) => {}
                Err(error) => refused = Some(error.into()),
            }
            if round.policies.as_ref().is_some_and(|list| list.iter().any(|(_, it)| it.block.is_some()))
                && let Answer { result: Ok(Success::BlockDevices(list)), .. } =
                    self.query(Command::Block(BlockCommand::Info))?
            {
                round.blocks = Some(list);
            }
        }
        self.update(|model| {
            model.learn(round);
            if let Some(refused) = refused {
                model.trouble(Link::Daemon, Some(format!("policies: {}", refused.shown())));
            }
        });
        Ok(())
    }

    fn query(&self, command: Command<'static>) -> Result<Answer, Error> {
        let manner = Manner::unseen(Arc::clone(&self.0.never), Some(PATIENCE));
        let request = Request { name: self.0.name.clone(), command };
        open_in(manner, self.0.options, &self.0.destination, request, None)?.answer()
    }

    /// Statistics, as they are gathered.
    fn gather_for_ever(&self) {
        loop {
            let Err(why) = self.gather();
            self.update(|model| {
                model.trouble(Link::Statistics, Some(format!("statistics: {}", why.shown())));
            });
            thread::sleep(RETRY);
        }
    }

    fn gather(&self) -> Result<std::convert::Infallible, Unanswered> {
        let command = Command::Statistics(StatisticsCommand::Subscribe);
        let request = Request { name: self.0.name.clone(), command };
        self.subscribe(
            request,
            Arc::clone(&self.0.never),
            || self.good(Link::Statistics),
            |name, data| {
                if let Data::Statistics(statistics) = data {
                    self.update(|model| model.sample(Instant::now(), &name, &statistics));
                }
            },
        )
    }

    fn good(&self, link: Link) {
        self.update(|model| model.trouble(link, None));
    }

    /// The console of the selected unikernel.
    fn follow_for_ever(&self) {
        loop {
            let (selections, name, base) = self.settle();
            let followed = match self.full(&name, &base) {
                Some(full) => self.follow(&name, full).map(|never| match never {}),
                None => Err(Unanswered::Refused(name, BELOW.into())),
            };
            match followed {
                Err(Unanswered::Failed(Error::Conversation(ConversationError::Stopped))) | Ok(()) => {}
                Err(why) => {
                    let text = format!("console: {}", why.shown());
                    self.update(|model| {
                        if model.selections() == selections {
                            model.trouble(Link::Console, Some(text));
                        }
                    });
                    let model = self.lock();
                    let waited =
                        self.0.selected.wait_timeout_while(model, RETRY, |it| it.selections() == selections);
                    drop(waited);
                }
            }
        }
    }

    /// Waits until one is selected and stays so.
    fn settle(&self) -> (u64, Name, Path) {
        let mut model = self.lock();
        loop {
            let before = model.selections();
            if let (Some(name), Some(base)) = (model.selected().cloned(), model.base.clone()) {
                let waited =
                    self.0.selected.wait_timeout_while(model, SETTLED, |it| it.selections() == before);
                let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                model = again;
                if timeout.timed_out() {
                    // With the lock, so that no later selection is taken out, too.
                    let mut octets = [0; WAITING];
                    while (&*self.0.stopped).read(&mut octets).is_ok_and(|count| count > 0) {}
                    return (before, name, base);
                }
            } else {
                model = self.0.selected.wait(model).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// What the console is asked for by; `None` where a certificate cannot name it.
    fn full(&self, name: &Name, base: &Path) -> Option<Name> {
        match self.0.destination {
            Destination::Remote(_) => name.path().is_root().then(|| name.clone()),
            _ if base.is_root() => Some(name.clone()),
            _ => format!("{base}:{}", name.to_string().trim_start_matches(':')).parse().ok(),
        }
    }

    fn follow(&self, name: &Name, full: Name) -> Result<std::convert::Infallible, Unanswered> {
        let history = History::Count(Int::from(HISTORY));
        let command = Command::Console(ConsoleCommand::Subscribe(history));
        let request = Request { name: full, command };
        let begin = || self.update(|model| model.begin_console(name));
        self.subscribe(request, Arc::clone(&self.0.stopped), begin, |_, data| {
            if let Data::Console { timestamp, line } = data {
                self.update(|model| model.console_line(name, timestamp, &line));
            }
        })
    }

    /// Subscribes, and takes what comes; it has no good end.
    fn subscribe(
        &self,
        request: Request,
        stop: Arc<pipe::Receiver>,
        begin: impl FnOnce(),
        take: impl Fn(Name, Data<'_>),
    ) -> Result<std::convert::Infallible, Unanswered> {
        let name = request.name.clone();
        let manner = Manner::unseen(stop, None);
        let mut asked = open_in(manner, self.0.options, &self.0.destination, request, None)?;
        begin();
        let mut answered = false;
        while let Some(taken) = asked.next_data(&mut answered, &take)? {
            taken.map_err(|text| Unanswered::Refused(name.clone(), text))?;
        }
        Err(Unanswered::Refused(name, CLOSED.into()))
    }
}

/// Why there is no console of a unikernel deeper down.
const BELOW: &str = "a certificate below --ca names one label only: take that of its path to see its console";

const CLOSED: &str = "the daemon has closed the connection, its log says why";

/// In how many rounds something is asked for again.
#[derive(Default)]
struct Rounds {
    policies: u32,
    statuses: u32,
}

impl Rounds {
    const fn are_due(left: &mut u32) -> bool {
        *left = left.saturating_sub(1);
        *left == 0
    }
}
