//! Starting a unikernel: one task after the other, and everything undone when one fails.
//!
//! The order: the image is looked at (where that was not done before), a tender is found, the image is
//! placed, the fifo is made, the console daemon opens it, a tap is made for each network device, the
//! record is persisted, the tender is started. What is held is noted in [`Start`], so that whatever
//! fails leaves nothing behind.

use std::rc::Rc;
use std::time::Duration;

use albatross_proto::command::ConsoleCommand;
use albatross_proto::log::Event;
use albatross_proto::state::Stage;
use albatross_proto::{Command, Header, Int, Name, Payload, Time, Wire};

use super::command::not_found;
use super::create::check_runnable;
use super::store::Changed;
use super::unikernel::{Cancelled, Cause, Running, Start, State, Step, Unikernel};
use super::users::NoneFree;
use super::{
    CONSOLE_PATIENCE, CONSOLE_RETRY, FIFO_RETRY, MAX_RESTARTING, MAX_UNANSWERED, Outcome, Output, Phase,
    Task, TaskFailure, Timer, Undo, Vmmd, Waiting,
};
use crate::image::{self, Image};
use crate::machine::{Level, Now};
use crate::resources::Refused;

impl Vmmd {
    /// Begins to start what is on record and does not run.
    pub(super) fn begin_start(&mut self, now: Now, name: &Name, cause: Cause) {
        let Some(unikernel) = self.unikernels.get_mut(name) else { return };
        unikernel.since = now.wall;
        if matches!(cause, Cause::Again) {
            self.restarting.insert(name.clone());
        }
        unikernel.state = State::Starting(Box::new(Start::new(Step::InspectImage, cause)));
        if let Err(why) = check_runnable(name, unikernel.typ) {
            return self.abort(now, name, &why);
        }
        let looks = self
            .starting(name)
            .is_some_and(|(unikernel, _)| !unikernel.admitted && self.has_new_bridge(&unikernel.arguments));
        self.go_on(now, name, if looks { Step::LookAtHost } else { Step::InspectImage });
    }

    /// Accounts what a unikernel takes, where that is not done.
    fn admit(&mut self, name: &Name) -> Result<(), Refused> {
        match self.unikernels.get_mut(name).filter(|unikernel| !unikernel.admitted) {
            None => Ok(()),
            Some(unikernel) => {
                self.resources.insert_unikernel(name, &unikernel.arguments)?;
                unikernel.admitted = true;
                Ok(())
            }
        }
    }

    /// Starts what has waited long enough, when it is its turn. From now on its room is its own.
    pub(super) fn start_if_due(&mut self, now: Now, name: &Name) {
        let Some(State::Waiting { until, .. }) = self.unikernels.get(name).map(|unikernel| &unikernel.state)
        else {
            return;
        };
        let due = *until <= now.monotonic;
        if !due || self.phase != Phase::Serving {
            return;
        }
        // All that wait are looked at again when the console daemon is reached.
        if !self.console.connected {
            return;
        }
        if self.admit(name).is_err() {
            // It says why.
            return self.begin_start(now, name, Cause::Again);
        }
        let startup = self.unikernels.get(name).map(Unikernel::startup);
        self.due.extend(startup.map(|startup| (startup, name.clone())));
    }

    /// Starts as many of those whose turn it is as may be started at one time.
    pub(super) fn start_due(&mut self, now: Now) {
        while self.restarting.len() < MAX_RESTARTING
            && let Some((_, name)) = self.due.pop_first()
        {
            let unikernel = self.unikernels.get(&name);
            let is_due = unikernel
                .is_some_and(|it| matches!(it.state, State::Waiting { until, .. } if until <= now.monotonic));
            if is_due && self.phase == Phase::Serving && self.console.connected {
                self.begin_start(now, &name, Cause::Again);
            }
        }
    }

    /// Issues the task of the step that the start has come to.
    pub(super) fn next_step(&mut self, now: Now, name: &Name) {
        if let Err(NoneFree) = self.take_user(name) {
            return self.abort(now, name, "every user id for tenders is in use, give a larger --uid-count");
        }
        let admits = self.starting(name).is_some_and(|(_, start)| start.step == Step::InspectImage);
        if let Err(refused) = if admits { self.admit(name) } else { Ok(()) } {
            return self.abort(now, name, &refused.to_string());
        }
        let Some((unikernel, start)) = self.starting(name) else { return };
        let step = start.step;
        let task = match step {
            Step::LookAtHost => Task::LookAtHost,
            Step::InspectImage if unikernel.image.is_some() => {
                return self.go_on(now, name, Step::FindTender);
            }
            Step::InspectImage => {
                let digest = unikernel.digest;
                Task::InspectImage { path: self.config.stored_image(&digest), digest }
            }
            Step::FindTender => {
                let Some(image) = &unikernel.image else {
                    return self.abort(now, name, "its image is not known");
                };
                Task::FindTender { target: image.target, abi_version: image.abi_version }
            }
            Step::PlaceImage => {
                let from = self.config.stored_image(&unikernel.digest);
                Task::PlaceImage { from, to: self.config.image(name) }
            }
            Step::MakeFifo => Task::MakeFifo { path: self.config.fifo(name) },
            Step::Console => return self.console_add_for_start(now, name),
            Step::Tap(index) => match unikernel.arguments.net_devices.get(index) {
                None => return self.go_on(now, name, Step::Persist),
                Some(net) => match net.host_bridge().as_str() {
                    None => return self.abort(now, name, "the name of a bridge is not UTF-8"),
                    Some(bridge) => Task::MakeTap { bridge: bridge.to_owned(), owner: start.user },
                },
            },
            Step::Persist if matches!(start.cause, Cause::Again) => {
                return self.go_on(now, name, Step::Spawn);
            }
            Step::Persist => self.persist_task(&Changed::Unikernel(name.clone())),
            Step::Spawn => match unikernel.spawn(&self.config, name, start, self.group(name), now.wall) {
                None => return self.abort(now, name, "no tender, or a cpu that is no number of one"),
                Some(spawn) => Task::Spawn(spawn),
            },
        };
        if let Some(start) = self.starting_mut(name).filter(|_| step == Step::Spawn) {
            start.noted = Some(now.wall);
        }
        self.task(task, Waiting::Start(name.clone()));
    }

    /// Gives a start that has come to its devices the user id that will own them.
    fn take_user(&mut self, name: &Name) -> Result<(), NoneFree> {
        let waits = |start: &Start| start.user.is_none() && matches!(start.step, Step::Tap(_));
        if self.starting(name).is_some_and(|(_, start)| waits(start)) {
            let user = self.users.take()?;
            if let Some(start) = self.starting_mut(name) {
                start.user = user;
            }
        }
        Ok(())
    }

    fn starting(&self, name: &Name) -> Option<(&Unikernel, &Start)> {
        let unikernel = self.unikernels.get(name)?;
        if let State::Starting(start) = &unikernel.state { Some((unikernel, start)) } else { None }
    }

    /// Whether the step of its start that is waited for writes the record.
    pub(super) fn is_persisting(&self, name: &Name) -> bool {
        self.starting(name).is_some_and(|(_, start)| start.step == Step::Persist)
    }

    fn starting_mut(&mut self, name: &Name) -> Option<&mut Start> {
        match &mut self.unikernels.get_mut(name)?.state {
            State::Starting(start) => Some(start),
            _ => None,
        }
    }

    fn go_on(&mut self, now: Now, name: &Name, step: Step) {
        if let Some(start) = self.starting_mut(name) {
            start.step = step;
            self.next_step(now, name);
        }
    }

    /// The task of a step was carried out, or was not.
    pub(super) fn step_done(&mut self, now: Now, name: &Name, result: Result<Outcome, TaskFailure>) {
        let is_of_host = self.starting(name).is_some_and(|(_, start)| start.step == Step::LookAtHost);
        let result = if is_of_host {
            self.adopt_host(result);
            Ok(Outcome::Done)
        } else {
            result
        };
        let Some(start) = self.starting_mut(name) else {
            return self.log(
                Level::Error,
                format!("{name}: a step of a start was answered, and it is not starting"),
            );
        };
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(TaskFailure(why)) => return self.abort(now, name, &why),
        };
        let next = match (start.step, outcome) {
            (Step::LookAtHost, _) => Step::InspectImage,
            (Step::InspectImage, Outcome::Inspected(image)) => match self.look_at_inspected(name, image) {
                Ok(()) => Step::FindTender,
                Err(why) => return self.abort(now, name, &why),
            },
            (Step::FindTender, Outcome::Tender(tender)) => {
                start.tender = Some(tender);
                Step::PlaceImage
            }
            (Step::PlaceImage, Outcome::Done) => {
                start.placed = true;
                Step::MakeFifo
            }
            (Step::MakeFifo, Outcome::Done) => {
                start.fifo = true;
                Step::Console
            }
            (Step::Console, Outcome::Done) => {
                if let Some(deadline) = start.console_deadline.take() {
                    self.timers.remove(&(deadline, Timer::ConsolePatience(name.clone())));
                }
                Step::Tap(0)
            }
            (Step::Tap(index), Outcome::Tap(tap)) => {
                start.taps.push(tap);
                Step::Tap(index + 1)
            }
            (Step::Persist, Outcome::Done) => {
                self.unikernels.entry(name.clone()).and_modify(|unikernel| unikernel.recorded = None);
                Step::Spawn
            }
            (Step::Spawn, Outcome::Process(pid)) => return self.spawned(now, name, pid),
            (step, _) => {
                return self.abort(now, name, &format!("the driver answered {step:?} with something else"));
            }
        };
        match self.starting(name) {
            Some((_, start)) if start.cancelled.is_some() => {
                self.abort(now, name, "destroyed while it was started")
            }
            _ => self.go_on(now, name, next),
        }
    }

    /// An image from the store is what it was; whether its devices are configured is not known yet.
    fn look_at_inspected(&mut self, name: &Name, image: Image) -> Result<(), String> {
        let unikernel = self.unikernels.get_mut(name).ok_or_else(|| not_found(name))?;
        image::devices_match(&image, &unikernel.arguments).map_err(|e| e.to_string())?;
        unikernel.image = Some(Rc::new(image));
        Ok(())
    }

    /// The tender runs.
    fn spawned(&mut self, now: Now, name: &Name, pid: u32) {
        self.processes.insert(pid, name.clone());
        self.restarting.remove(name);
        let Some(unikernel) = self.unikernels.get_mut(name) else { return };
        unikernel.backoff.started(now.monotonic);
        let blocks = unikernel.blocks(name).map(|(_, block)| block).collect();
        let (taps, held) = (Vec::new(), Vec::new());
        let running =
            State::Running(Running { pid, taps, blocks, user: None, held, stop: None, kill_at: None });
        let State::Starting(start) = std::mem::replace(&mut unikernel.state, running) else { return };
        let Start { cause, taps, user, cancelled, noted, .. } = *start;
        unikernel.since = noted.unwrap_or(now.wall);
        if let State::Running(running) = &mut unikernel.state {
            running.taps = taps;
            running.user = user;
            running.stop = cancelled.map(Cancelled::after_stop);
        }
        self.note(name, Stage::Running);
        self.log(Level::Info, format!("{name}: started as process {pid}"));
        self.event(name.clone(), Event::UnikernelStarted(Int::from(pid)));
        self.statistics_add(name);
        match cause {
            Cause::Create(requester) | Cause::Restart(requester) => {
                self.succeed(&requester, "created unikernel")
            }
            Cause::Again => {}
        }
        if self
            .unikernels
            .get(name)
            .and_then(Unikernel::running)
            .is_some_and(|running| running.stop.is_some())
        {
            self.ask_to_end(now, name);
        }
    }

    /// A start that failed or was cancelled: everything it holds is freed.
    pub(super) fn abort(&mut self, now: Now, name: &Name, why: &str) {
        self.restarting.remove(name);
        let Some(unikernel) = self.unikernels.get_mut(name) else { return };
        let waiting =
            State::Waiting { until: now.monotonic, until_wall: now.wall, why: Some(why.to_owned()) };
        let State::Starting(start) = std::mem::replace(&mut unikernel.state, waiting) else { return };
        let Start { cause, taps, placed, fifo, user, cancelled, .. } = *start;
        self.free(name, taps, placed, fifo);
        self.users.give_back(user);
        let is_new = matches!(cause, Cause::Create(_));
        match cause {
            Cause::Create(requester) | Cause::Restart(requester) => {
                self.log(Level::Warning, format!("{name}: not started: {why}"));
                self.fail(&requester, why);
            }
            Cause::Again => self.log(Level::Warning, format!("{name}: not started: {why}")),
        }
        match cancelled {
            Some(Cancelled::Destroyed(requesters)) => self.destroyed(name, requesters),
            Some(Cancelled::Shutdown) => {}
            None if is_new => {
                // Also where it never was on the record: that may still have the one it was to replace.
                self.remove_unikernel(name);
                self.persist(&Changed::Unikernel(name.clone()));
            }
            None => {
                self.go_back(now, name);
                self.wait_to_start(now, name, Some(why.to_owned()));
            }
        }
    }

    /// Gives a unikernel the arguments on record again, where others did not come there.
    fn go_back(&mut self, now: Now, name: &Name) {
        let Some(unikernel) = self.unikernels.get_mut(name) else { return };
        let Some(recorded) = unikernel.recorded.take() else { return };
        unikernel.arguments = *recorded;
        if unikernel.admitted {
            self.resources.remove_unikernel(name).ok();
        }
        // At once, before others take the room. Where it is gone already, the start says so.
        unikernel.admitted = self.resources.insert_unikernel(name, &unikernel.arguments).is_ok();
        // The others may have been written in part, or as part of another change.
        self.persist_later_if_unknown(now);
    }

    /// Frees what a unikernel holds while it runs or is started.
    pub(super) fn free(&mut self, name: &Name, taps: Vec<String>, placed: bool, fifo: bool) {
        self.console.pending.values_mut().for_each(|waiting| {
            waiting.take_if(|pending| pending == name);
        });
        for tap in taps {
            self.output(Output::RemoveTap(tap));
        }
        if fifo {
            let path = self.config.fifo(name);
            self.output(Output::RemoveFile(path));
        }
        if placed {
            let path = self.config.image(name);
            self.output(Output::RemoveFile(path));
        }
    }

    /// It is destroyed: taken off the record, which is answered when that is durable.
    pub(super) fn destroyed(&mut self, name: &Name, requesters: Vec<super::Requester>) {
        self.remove_unikernel(name);
        for requester in requesters {
            let record = self.persist_task(&Changed::Unikernel(name.clone()));
            self.task(record, Waiting::Acknowledge(requester, "destroyed unikernel".into(), Undo::Nothing));
        }
    }

    /// It is started again later, each time a little later.
    pub(super) fn wait_to_start(&mut self, now: Now, name: &Name, why: Option<String>) {
        let Some(unikernel) = self.unikernels.get_mut(name) else { return };
        let delay = unikernel.backoff.ended(now.monotonic);
        let until = now.monotonic.saturating_add(delay);
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let until_wall =
            Time::from_unix_millis(now.wall.unix_millis().saturating_add(millis)).unwrap_or(Time::MAX);
        unikernel.since = now.wall;
        unikernel.state = State::Waiting { until, until_wall, why };
        self.timers.insert((until, Timer::Start(name.clone())));
        self.log(Level::Info, format!("{name}: is started again in {} ms", delay.as_millis()));
    }
}

/// The conversation with the console daemon.
impl Vmmd {
    fn console_add_for_start(&mut self, now: Now, name: &Name) {
        let unanswered = self.console.pending.len();
        if unanswered >= self.processes.len() + MAX_UNANSWERED {
            let why = format!("the console daemon has left {unanswered} commands unanswered, start it anew");
            return self.abort(now, name, &why);
        }
        let deadline = now.monotonic + CONSOLE_PATIENCE;
        self.timers.insert((deadline, Timer::ConsolePatience(name.clone())));
        if let Some(start) = self.starting_mut(name) {
            start.console_deadline = Some(deadline);
        }
        if self.console.connected {
            self.console_add(name, Some(name.clone()));
        } else {
            // It may have been started in the meantime: the answer goes on with this start, or ends it.
            self.connect_console();
        }
    }

    /// Has the console daemon be reached, if that is not being done.
    pub(super) fn connect_console(&mut self) {
        if !std::mem::replace(&mut self.console.connecting, true) {
            self.output(Output::ConnectConsole);
        }
    }

    fn console_add(&mut self, name: &Name, waiting: Option<Name>) {
        self.console.sequence += 1;
        let sequence = self.console.sequence;
        let consoles = if name.path().is_root() {
            Int::MAX
        } else {
            self.resources.policy(name.path()).map_or(Int::ZERO, |policy| policy.unikernels)
        };
        let command = Command::Console(ConsoleCommand::Add(consoles));
        match Wire::new(Header::new(sequence, name.clone()), Payload::Command(command)).encode() {
            Ok(message) => {
                self.console.pending.insert(sequence, waiting);
                self.output(Output::SendConsole(message));
            }
            Err(error) => {
                self.log(Level::Error, format!("{name}: the console daemon cannot be told: {error}"))
            }
        }
    }

    /// The console daemon was reached: it is told what runs, and what waits for it is started, by priority.
    pub(super) fn console_connected(&mut self, now: Now) {
        self.console.connected = true;
        self.console.connecting = false;
        self.console.pending.clear();
        let all: Vec<(Name, bool)> = self
            .unikernels
            .iter()
            .filter(|(_, unikernel)| unikernel.has_fifo())
            .map(|(name, unikernel)| (name.clone(), unikernel.waits_for_console()))
            .collect();
        for (name, waits) in all {
            self.console_add(&name, waits.then(|| name.clone()));
        }
        let mut waiting: Vec<(Int, Name)> = self
            .unikernels
            .iter()
            .filter(|(_, unikernel)| matches!(unikernel.state, State::Waiting { .. }))
            .map(|(name, unikernel)| (unikernel.startup(), name.clone()))
            .collect();
        waiting.sort();
        for (_, name) in waiting {
            self.start_if_due(now, &name);
        }
    }

    pub(super) fn console_closed(&mut self, now: Now) {
        let why = if self.console.connected {
            self.log(Level::Warning, "the console daemon is gone, it is tried again");
            "the console daemon went away"
        } else {
            "the console daemon is not running, start albatross-console"
        };
        self.console.connected = false;
        self.console.connecting = false;
        self.console.pending.clear();
        let waiting = self.unikernels.iter().filter(|(_, unikernel)| unikernel.waits_for_console());
        let waiting: Vec<Name> = waiting.map(|(name, _)| name.clone()).collect();
        for name in waiting {
            self.abort(now, &name, why);
        }
        if self.phase == Phase::Serving {
            let retry = (now.monotonic + CONSOLE_RETRY, Timer::ReconnectConsole);
            self.timers.retain(|(_, timer)| *timer != Timer::ReconnectConsole);
            self.timers.insert(retry);
        }
    }

    pub(super) fn console_frame(&mut self, now: Now, frame: &[u8]) {
        let Wire { header, payload } = match Wire::decode(frame) {
            Ok(wire) => wire,
            Err(error) => {
                return self
                    .log(Level::Error, format!("the console daemon sent what is no message: {error}"));
            }
        };
        let Some(waiting) = self.console.pending.remove(&header.sequence) else {
            return self.log(
                Level::Warning,
                format!("{}: the console daemon answered what was not asked", header.name),
            );
        };
        let result = match payload {
            Payload::Success(_) => Ok(Outcome::Done),
            Payload::Failure(why) => Err(TaskFailure(format!("the console daemon refused: {why}"))),
            _ => Err(TaskFailure("the console daemon did not answer the question".to_owned())),
        };
        match (waiting, result) {
            (Some(name), result) => self.step_done(now, &name, result),
            (None, Ok(_)) => {}
            (None, Err(TaskFailure(why))) => {
                self.log(Level::Warning, format!("{}: {why}; it is asked again", header.name));
                self.timers.insert((now.monotonic + FIFO_RETRY, Timer::OpenFifo(header.name)));
            }
        }
    }

    /// Has the console daemon open the fifo of what runs, which it could not open before.
    pub(super) fn announce_again(&mut self, name: &Name) {
        if self.console.connected && self.unikernels.get(name).is_some_and(Unikernel::has_fifo) {
            self.console_add(name, None);
        }
    }

    pub(super) fn console_patience_ended(&mut self, now: Now, name: &Name) {
        let deadline = self.starting(name).and_then(|(_, start)| start.console_deadline);
        // The timer of an earlier start says nothing about this one.
        if deadline.is_some_and(|deadline| deadline <= now.monotonic) {
            let seconds = Duration::as_secs(&CONSOLE_PATIENCE);
            self.abort(now, name, &format!("the console daemon did not answer within {seconds} s"));
        }
    }
}
