//! What was done, how long it took, and what went wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::house::Which;

/// The most faults that are kept in words: the first ones tell what is wrong.
const MAX_FAULTS: usize = 20;

/// What is asked, and what is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Info,
    Policy,
    Create,
    Console,
    Set,
    Dump,
    Destroy,
    /// A change of policies or block devices, over the socket of albatrossd.
    Admin,
    /// A scrape of the metrics.
    Scrape,
    /// Lines of a console, over the socket of the daemon.
    Follow,
    /// The event log, likewise.
    Log,
    /// Statistics, likewise.
    Statistics,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Policy => "policy",
            Self::Create => "create",
            Self::Console => "console, to the first line",
            Self::Set => "set-block, 1 MiB",
            Self::Dump => "dump-block, 1 MiB",
            Self::Destroy => "destroy",
            Self::Admin => "policies and block devices, local",
            Self::Scrape => "metrics, a scrape",
            Self::Follow => "a console, local",
            Self::Log => "the event log, local",
            Self::Statistics => "statistics, local",
        }
    }

    const fn is_remote(self) -> bool {
        use Kind::{Console, Create, Destroy, Dump, Info, Policy, Set};
        matches!(self, Info | Policy | Create | Console | Set | Dump | Destroy)
    }

    /// Whether it may fail because this daemon is away. All that is not here goes on without it.
    const fn needs(self, which: Which) -> bool {
        match which {
            Which::Albatrossd => self.is_remote() || matches!(self, Self::Admin),
            Which::Endpoint => self.is_remote(),
            Which::Console => matches!(self, Self::Create | Self::Console | Self::Follow),
            Which::Log => matches!(self, Self::Log),
            Which::Stats => matches!(self, Self::Statistics | Self::Scrape),
            Which::Metrics => matches!(self, Self::Scrape),
            Which::Influx => false,
        }
    }
}

/// A time in which a daemon was away.
struct Window {
    which: Which,
    from: Instant,
    to: Option<Instant>,
}

impl Window {
    fn meets(&self, from: Instant) -> bool {
        self.to.is_none_or(|to| to >= from)
    }
}

/// Durations of what succeeded.
pub(super) type Times = BTreeMap<Kind, Vec<Duration>>;

/// All that is known; shared by all threads.
pub(super) struct Ledger {
    times: Mutex<Times>,
    faults: Mutex<(usize, Vec<String>)>,
    /// How often which command on which name was acknowledged, in the words of the event log.
    acknowledged: Mutex<BTreeMap<(String, String), usize>>,
    windows: Mutex<Vec<Window>>,
    /// What each client got done.
    done: Vec<AtomicUsize>,
    excused: AtomicUsize,
    is_work_over: AtomicBool,
    is_all_over: AtomicBool,
}

impl Ledger {
    pub(super) fn new(clients: usize) -> Self {
        Self {
            times: Mutex::default(),
            faults: Mutex::default(),
            acknowledged: Mutex::default(),
            windows: Mutex::default(),
            done: (0..clients).map(|_| AtomicUsize::new(0)).collect(),
            excused: AtomicUsize::new(0),
            is_work_over: AtomicBool::new(false),
            is_all_over: AtomicBool::new(false),
        }
    }

    /// Notes what came of something that began then. A failure counts unless it is of the absence of a daemon that it
    /// needs.
    pub(super) fn note<T>(&self, kind: Kind, began: Instant, result: Result<T, String>) -> Option<T> {
        let windows = lock(&self.windows);
        match result {
            Ok(it) => {
                let is_quiet = !windows.iter().any(|window| window.meets(began));
                drop(windows);
                if is_quiet {
                    lock(&self.times).entry(kind).or_default().push(began.elapsed());
                }
                Some(it)
            }
            Err(why) => {
                let is_excused = windows.iter().any(|window| kind.needs(window.which) && window.meets(began));
                drop(windows);
                if is_excused {
                    self.excused.fetch_add(1, Ordering::Relaxed);
                } else {
                    self.fault(format!("{}: {why}", kind.name()));
                }
                None
            }
        }
    }

    /// Something is wrong.
    pub(super) fn fault(&self, what: String) {
        let mut faults = lock(&self.faults);
        faults.0 += 1;
        if faults.1.len() < MAX_FAULTS {
            faults.1.push(what);
        }
    }

    /// How many faults there are, and the first ones.
    pub(super) fn faults(&self) -> (usize, Vec<String>) {
        lock(&self.faults).clone()
    }

    /// A command that changed something was answered with success.
    pub(super) fn acknowledge(&self, name: String, words: &str) {
        *lock(&self.acknowledged).entry((name, words.to_owned())).or_default() += 1;
    }

    pub(super) fn acknowledged(&self) -> BTreeMap<(String, String), usize> {
        lock(&self.acknowledged).clone()
    }

    /// A client got something done.
    pub(super) fn served(&self, client: usize) {
        if let Some(done) = self.done.get(client) {
            done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What each client got done.
    pub(super) fn done(&self) -> Vec<usize> {
        self.done.iter().map(|it| it.load(Ordering::Relaxed)).collect()
    }

    /// Failures of the absence of a daemon.
    pub(super) fn excused(&self) -> usize {
        self.excused.load(Ordering::Relaxed)
    }

    /// From now on a daemon is away.
    pub(super) fn open_window(&self, which: Which) {
        lock(&self.windows).push(Window { which, from: Instant::now(), to: None });
    }

    /// It serves again; returns how long it did not.
    pub(super) fn close_window(&self) -> Duration {
        let now = Instant::now();
        let mut windows = lock(&self.windows);
        let window = windows.last_mut().filter(|window| window.to.is_none());
        window.map_or(Duration::ZERO, |window| {
            window.to = Some(now);
            now.duration_since(window.from)
        })
    }

    /// Durations so far, of what no kill disturbed.
    pub(super) fn times(&self) -> Times {
        lock(&self.times).clone()
    }

    /// Clients are to end.
    pub(super) fn end_work(&self) {
        self.is_work_over.store(true, Ordering::Relaxed);
    }

    /// Everybody is to end.
    pub(super) fn end_all(&self) {
        self.end_work();
        self.is_all_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_work_over(&self) -> bool {
        self.is_work_over.load(Ordering::Relaxed)
    }

    pub(super) fn is_all_over(&self) -> bool {
        self.is_all_over.load(Ordering::Relaxed)
    }
}

/// What a thread that panicked left is still what it noted.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers that look random and are the same for the same seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of so many.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % sides
    }
}
