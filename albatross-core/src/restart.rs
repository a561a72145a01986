//! Whether and when a unikernel that ended is started again.
//!
//! [`decide`] answers whether, [`Backoff`] when. Neither reads a clock or keeps a timer: the time is an
//! argument, from a clock that never goes back.
//!
//! Rules: `docs/protocol.md`, "Exit and restart".

use std::collections::BTreeSet;
use std::time::Duration;

use albatross_proto::reply::Exit;
use albatross_proto::{FailBehaviour, Int};

/// The exit code of a tender that cannot run the image, and of every error of Solo5.
const TENDER_ERROR: i64 = 1;

/// The exit codes of a unikernel that does not accept its arguments: they are the same the next time.
const ARGUMENT_ERRORS: std::ops::RangeInclusive<i64> = 60..=64;

/// The exit code for an argument that the unikernel does not know.
const UNKNOWN_ARGUMENT: i64 = 64;

/// What to do about a unikernel that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It is over: take it off the record.
    Remove,
    /// Start it again, after the delay of [`Backoff::ended`].
    Restart,
    /// It did not know `--name=`: start it once more without, at once, and store that.
    RestartWithoutName,
}

/// What to do about a unikernel that ended by itself or by a signal that nobody here sent.
///
/// `name_added`: it had been started with an automatic `--name=` argument.
pub fn decide(fail_behaviour: &FailBehaviour, exit: Exit, name_added: bool) -> Decision {
    if name_added && exit_code(exit) == Some(UNKNOWN_ARGUMENT) {
        return Decision::RestartWithoutName;
    }
    let restarts = match fail_behaviour {
        FailBehaviour::Quit => false,
        FailBehaviour::Restart(codes) if codes.is_empty() => restarts_on(None, exit),
        FailBehaviour::Restart(codes) => restarts_on(Some(codes), exit),
    };
    if restarts { Decision::Restart } else { Decision::Remove }
}

/// What to do about a unikernel that ended, and nobody knows how: one that restarts on anything does so.
pub const fn decide_unknown(fail_behaviour: &FailBehaviour) -> Decision {
    match fail_behaviour {
        FailBehaviour::Quit => Decision::Remove,
        FailBehaviour::Restart(_) => Decision::Restart,
    }
}

/// Whether a unikernel that restarts on `codes`, or on all codes where there is no such set, does so
/// after this end. Codes 1 and 60 to 64, a signal and a stop never restart.
#[must_use]
pub fn restarts_on(codes: Option<&BTreeSet<Int>>, exit: Exit) -> bool {
    let Exit::Exited(code) = exit else { return false };
    let lasting = code.get() == TENDER_ERROR || ARGUMENT_ERRORS.contains(&code.get());
    !lasting && codes.is_none_or(|codes| codes.contains(&code))
}

fn exit_code(exit: Exit) -> Option<i64> {
    match exit {
        Exit::Exited(code) => Some(code.get()),
        Exit::Signalled(_) | Exit::Stopped(_) => None,
    }
}

/// How long to wait before the next start of one unikernel.
///
/// The delay doubles with every end from [`Backoff::FIRST_DELAY`] up to [`Backoff::MAX_DELAY`], and is
/// forgotten after a run of [`Backoff::QUIET_PERIOD`]. A start that fails is an end without a run.
///
/// ```
/// use albatross_core::restart::Backoff;
/// use std::time::Duration;
///
/// let mut backoff = Backoff::default();
/// backoff.started(Duration::from_secs(10));
/// assert_eq!(backoff.ended(Duration::from_secs(11)), Backoff::FIRST_DELAY);
/// assert_eq!(backoff.ended(Duration::from_secs(12)), 2 * Backoff::FIRST_DELAY);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    ends: u32,
    started: Option<Duration>,
}

impl Backoff {
    /// The delay before the first restart: short enough not to be noticed by those who wait for a
    /// service, long enough that a unikernel that ends at once takes little of a cpu.
    pub const FIRST_DELAY: Duration = Duration::from_millis(250);
    /// The longest delay: whatever was missing and is back is found within a minute.
    pub const MAX_DELAY: Duration = Duration::from_secs(60);
    /// A run of this length was no failure of the start: longer than [`Backoff::MAX_DELAY`], so that
    /// a unikernel that ends again and again runs the more often the longer it runs.
    pub const QUIET_PERIOD: Duration = Duration::from_secs(120);

    /// The unikernel runs since `now`.
    pub const fn started(&mut self, now: Duration) {
        self.started = Some(now);
    }

    /// The unikernel ended, or its start failed, at `now`: how long to wait before the next start.
    #[must_use]
    pub fn ended(&mut self, now: Duration) -> Duration {
        let quiet = self.started.take().is_some_and(|start| now.saturating_sub(start) >= Self::QUIET_PERIOD);
        self.ends = if quiet { 1 } else { self.ends.saturating_add(1) };
        self.delay()
    }

    /// How often it ended since it was last quiet.
    #[must_use]
    pub const fn ends(&self) -> u32 {
        self.ends
    }

    /// The delay after the last end; zero if there was none.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let Some(doublings) = self.ends.checked_sub(1) else { return Duration::ZERO };
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        Self::FIRST_DELAY.saturating_mul(factor).min(Self::MAX_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> Exit {
        Exit::Exited(Int::from(code))
    }

    fn restart(codes: &[i32]) -> FailBehaviour {
        FailBehaviour::Restart(codes.iter().map(|code| Int::from(*code)).collect())
    }

    #[test]
    fn the_empty_set_is_every_code_that_may_restart() {
        for code in -1..=255 {
            let never = code == 1 || (60..=64).contains(&code);
            let expected = if never { Decision::Remove } else { Decision::Restart };
            assert_eq!(decide(&restart(&[]), exited(code), false), expected, "{code}");
        }
    }

    #[test]
    fn only_listed_codes_restart_and_some_not_even_then() {
        let behaviour = restart(&[0, 1, 61, 7]);
        assert_eq!(decide(&behaviour, exited(7), true), Decision::Restart);
        for code in [1, 61, 8] {
            assert_eq!(decide(&behaviour, exited(code), true), Decision::Remove);
        }
    }

    #[test]
    fn quit_signal_and_stop_never_restart() {
        assert_eq!(decide(&FailBehaviour::Quit, exited(0), true), Decision::Remove);
        let signal = Int::from(11);
        for exit in [Exit::Signalled(signal), Exit::Stopped(signal)] {
            assert_eq!(decide(&restart(&[]), exit, true), Decision::Remove);
        }
        assert_eq!(
            decide(&restart(&[]), Exit::Signalled(Int::from(64)), true),
            Decision::Remove,
            "the number of a signal is no exit code"
        );
    }

    #[test]
    fn an_unknown_argument_is_tried_without_the_name_whatever_was_asked_for() {
        for behaviour in [FailBehaviour::Quit, restart(&[]), restart(&[3])] {
            assert_eq!(decide(&behaviour, exited(64), true), Decision::RestartWithoutName);
            assert_eq!(decide(&behaviour, exited(64), false), Decision::Remove);
        }
    }

    #[test]
    fn the_delay_doubles_up_to_the_cap_and_is_forgotten_after_a_quiet_run() {
        let mut backoff = Backoff::default();
        let mut now = Duration::ZERO;
        assert_eq!(backoff.delay(), Duration::ZERO);
        let mut expected = Backoff::FIRST_DELAY;
        for ends in 1..=100 {
            backoff.started(now);
            now += Duration::from_secs(1);
            assert_eq!((backoff.ended(now), backoff.ends()), (expected, ends));
            expected = (2 * expected).min(Backoff::MAX_DELAY);
        }
        assert_eq!(expected, Backoff::MAX_DELAY);
        backoff.started(now);
        assert_eq!(backoff.ended(now + Backoff::QUIET_PERIOD), Backoff::FIRST_DELAY);
        assert_eq!(backoff.ends(), 1);
    }

    #[test]
    fn a_quiet_run_counts_once_and_a_failed_start_is_no_run() {
        let mut backoff = Backoff::default();
        backoff.started(Duration::ZERO);
        assert_eq!(backoff.ended(Backoff::QUIET_PERIOD), Backoff::FIRST_DELAY);
        assert_eq!(backoff.ended(4 * Backoff::QUIET_PERIOD), 2 * Backoff::FIRST_DELAY);
        backoff.started(5 * Backoff::QUIET_PERIOD);
        assert_eq!(backoff.ended(Duration::ZERO), 4 * Backoff::FIRST_DELAY, "a clock that went back");
    }

    #[test]
    fn counting_ends_does_not_overflow() {
        let mut backoff = Backoff { ends: u32::MAX - 1, started: None };
        assert_eq!(backoff.ended(Duration::ZERO), Backoff::MAX_DELAY);
        assert_eq!(backoff.ended(Duration::ZERO), Backoff::MAX_DELAY);
    }
}
