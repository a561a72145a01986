//! Ending unikernels, what follows when one ends, and the end of the daemon.

use albatross_proto::reply::Exit;
use albatross_proto::state::Stage;
use albatross_proto::{Arguments, Name, Path};

use super::command::ENDING;
use super::store::Changed;
use super::unikernel::{AfterStop, Cancelled, Cause, Running, State, Unikernel};
use super::{GRACE, Output, Phase, Requester, Signal, Timer, Vmmd};
use crate::machine::{Level, Now};
use crate::restart::{self, Decision};

impl Cancelled {
    pub(super) fn after_stop(self) -> AfterStop {
        match self {
            Self::Destroyed(requesters) => AfterStop::Destroy(requesters),
            Self::Shutdown => AfterStop::Shutdown,
        }
    }
}

impl Vmmd {
    /// Sends SIGTERM to what runs, and SIGKILL after [`GRACE`].
    pub(super) fn ask_to_end(&mut self, now: Now, name: &Name) {
        self.note(name, Stage::Stopping);
        if let Some(pid) = self.kill_later(now, name) {
            self.output(Output::Kill(pid, Signal::Terminate));
        }
    }

    pub(super) fn kill_if_due(&mut self, now: Now, name: &Name) {
        let running = self.unikernels.get(name).and_then(Unikernel::running);
        // The timer of an earlier run says nothing about this one.
        if running.and_then(|running| running.kill_at).is_none_or(|at| at > now.monotonic) {
            return;
        }
        if let Some(pid) = self.kill_later(now, name) {
            self.log(Level::Warning, format!("{name}: process {pid} does not end, it is killed"));
            self.output(Output::Kill(pid, Signal::Kill));
            self.kill_group(name);
        }
    }

    /// Arms the timer after which it is killed, and returns its process id.
    fn kill_later(&mut self, now: Now, name: &Name) -> Option<u32> {
        let State::Running(running) = &mut self.unikernels.get_mut(name)?.state else { return None };
        let at = now.monotonic + GRACE;
        running.kill_at = Some(at);
        let pid = running.pid;
        self.timers.insert((at, Timer::Kill(name.clone())));
        Some(pid)
    }

    /// A tender ended: what it held is freed, and what was to happen then happens.
    pub(super) fn exited(&mut self, now: Now, pid: u32, exit: Option<Exit>) {
        if let Some(stray) = self.strays.remove(&pid) {
            self.ended_event(stray.name(), pid, exit);
            return self.stray_ended(&stray);
        }
        let Some(name) = self.processes.remove(&pid) else {
            return self.log(Level::Warning, format!("process {pid} ended, which is no tender of ours"));
        };
        let Some(unikernel) = self.unikernels.get_mut(&name) else { return };
        let waiting = State::Waiting { until: now.monotonic, until_wall: now.wall, why: None };
        let State::Running(Running { taps, blocks, user, held, stop, .. }) =
            std::mem::replace(&mut unikernel.state, waiting)
        else {
            return;
        };
        unikernel.last_exit = exit;
        unikernel.since = now.wall;
        self.statistics_remove(&name);
        self.free(&name, taps, true, true);
        self.take_back_blocks(&blocks, user);
        self.release_blocks(&held);
        self.users.give_back(user);
        self.remove_group(&name);
        self.log(Level::Info, format!("{name}: process {pid} {}", describe(exit)));
        self.ended_event(&name, pid, exit);
        if stop.is_none() && matches!(self.phase, Phase::Serving | Phase::HandingOver) {
            return self.after_exit(now, &name, exit);
        }
        self.remove_note(&name);
        match stop {
            Some(AfterStop::Destroy(requesters)) => self.destroyed(&name, requesters),
            Some(AfterStop::Restart(requester, arguments)) => {
                match arguments.as_deref().map(|arguments| self.admits(&name, true, arguments)) {
                    Some(Err(why)) => self.go_on_as_before(now, &name, &requester, why),
                    _ => self.start_with(now, &name, arguments, requester),
                }
            }
            Some(AfterStop::Replace(prepared)) => match self.admits(&name, true, &prepared.arguments) {
                Err(why) => {
                    self.drop_unused_image(&prepared.digest);
                    self.go_on_as_before(now, &name, &prepared.requester, why);
                }
                Ok(()) => {
                    self.remove_unikernel(&name);
                    self.start_new(now, *prepared);
                }
            },
            Some(AfterStop::Again) => self.start_soon(now, name),
            Some(AfterStop::Shutdown) | None => {}
        }
    }

    /// The room for what was to come was taken by others while it was being stopped: it is started as it was.
    fn go_on_as_before(&mut self, now: Now, name: &Name, requester: &Requester, why: String) {
        self.fail(requester, why);
        self.begin_start(now, name, Cause::Again);
    }

    /// It ended by itself.
    fn after_exit(&mut self, now: Now, name: &Name, exit: Option<Exit>) {
        let Some(unikernel) = self.unikernels.get_mut(name) else { return };
        match decide(&unikernel.arguments, exit) {
            Decision::Remove => self.remove_ended(name),
            Decision::Restart => {
                unikernel.restarts = unikernel.restarts.saturating_add(1);
                self.remove_note(name);
                self.wait_to_start(now, name, None);
            }
            Decision::RestartWithoutName => {
                unikernel.arguments.add_name = false;
                self.remove_note(name);
                self.log(Level::Info, format!("{name}: does not know --name, it is started without"));
                self.persist(&Changed::Unikernel(name.clone()));
                self.begin_start(now, name, Cause::Again);
            }
        }
    }

    /// The daemon ends: unikernels are ended, the record stays as it is.
    pub(super) fn terminate(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Serving | Phase::HandingOver) {
            self.phase = Phase::Ended;
            return self.output(Output::Exit);
        }
        if self.phase == Phase::Serving {
            self.output(Output::StopListening);
        }
        self.phase = Phase::Ending;
        self.end_streams();
        let names: Vec<Name> = self.unikernels.keys().cloned().collect();
        for name in names {
            self.shut_down(now, &name);
        }
    }

    pub(super) fn shut_down(&mut self, now: Now, name: &Name) {
        let Some(unikernel) = self.unikernels.get_mut(name) else { return };
        match &mut unikernel.state {
            State::Waiting { .. } => {}
            // One that was to be destroyed stays so.
            State::Starting(start) => {
                start.cancelled.get_or_insert(Cancelled::Shutdown);
            }
            State::Running(running) => match &running.stop {
                Some(AfterStop::Destroy(_)) => {}
                Some(_) => self.give_up_waiting(name),
                None => {
                    running.stop = Some(AfterStop::Shutdown);
                    self.ask_to_end(now, name);
                }
            },
        }
    }

    /// It is being stopped to be started again: now it only stops.
    fn give_up_waiting(&mut self, name: &Name) {
        let Some(State::Running(running)) =
            self.unikernels.get_mut(name).map(|unikernel| &mut unikernel.state)
        else {
            return;
        };
        match running.stop.replace(AfterStop::Shutdown) {
            Some(AfterStop::Restart(requester, _)) => self.fail(&requester, ENDING),
            Some(AfterStop::Replace(prepared)) => {
                self.drop_unused_image(&prepared.digest);
                self.fail(&prepared.requester, ENDING);
            }
            _ => {}
        }
    }

    /// The daemon is over when nothing runs, but for what is left to the next one, and nothing is waited for.
    pub(super) fn end_if_free(&mut self) {
        let leaves = match self.phase {
            Phase::Ending => false,
            Phase::HandingOver => true,
            Phase::Idle | Phase::Serving | Phase::Ended => return,
        };
        let is_free = |unikernel: &Unikernel| match &unikernel.state {
            State::Waiting { .. } => true,
            State::Starting(_) => false,
            State::Running(running) => leaves && running.stop.is_none(),
        };
        let is_told = self.events.is_told();
        if self.tasks.is_empty() && self.strays.is_empty() && self.unikernels.values().all(is_free) && is_told
        {
            if self.journal.take_last_try() {
                return self.persist(&Changed::Policy(Path::root()));
            }
            self.leave_log();
            self.phase = Phase::Ended;
            self.output(Output::Exit);
        }
    }
}

/// What to do about a unikernel that ended by itself, which is not always known how.
pub(super) fn decide(arguments: &Arguments, exit: Option<Exit>) -> Decision {
    match exit {
        Some(exit) => restart::decide(&arguments.fail_behaviour, exit, arguments.add_name),
        None => restart::decide_unknown(&arguments.fail_behaviour),
    }
}

pub(super) fn describe(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Exited(code)) => format!("exited with code {code}"),
        Some(Exit::Signalled(signal)) => format!("was ended by signal {signal}"),
        Some(Exit::Stopped(signal)) => format!("was stopped by signal {signal}"),
        None => "ended, how is not known".to_owned(),
    }
}
