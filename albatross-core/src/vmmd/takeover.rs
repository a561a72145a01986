//! Tenders that outlive the daemon: what is noted of each, what the next daemon makes of what its
//! predecessor left, and the end that leaves them running.
//!
//! A note is a file of its own for each tender, made before the tender is let run. It goes with the
//! tender, except where the end takes the unikernel off the record: then it stays until that is durable.
//! So whenever the daemon is killed, a tender that runs has a note; and one that ended by itself is known
//! to have run. One that may not have come to run, or that the daemon asks to end, is noted as such: its
//! end is no reason to take it off the record.

use std::collections::BTreeSet;
use std::path::PathBuf;

use albatross_proto::reply::Exit;
use albatross_proto::state::{Stage, Tender};
use albatross_proto::{Int, Name, Text, Time};

use super::stop::{decide, describe};
use super::store::Changed;
use super::unikernel::{AfterStop, Cancelled, Running, State, Step, Unikernel};
use super::{Config, Note, Output, Phase, Signal, Timer, Vmmd};
use crate::machine::{Level, Now};
use crate::restart::Decision;

/// What a predecessor left behind: all of it is of the daemon's own making.
#[derive(Debug, Default)]
pub struct Left {
    /// What was noted of its tenders.
    pub tenders: Vec<LeftTender>,
    /// The taps that it made and that are there.
    pub taps: Vec<String>,
    /// The unikernels whose image is placed.
    pub images: Vec<Name>,
    /// The unikernels whose fifo is there.
    pub fifos: Vec<Name>,
}

/// A tender of which a predecessor left a note.
#[derive(Debug)]
pub struct LeftTender {
    /// Its process id.
    pub pid: u32,
    /// What was noted.
    pub tender: Tender,
    /// What has become of it.
    pub fate: Fate,
}

/// What has become of a tender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs, and its end is watched: [`Input::Exited`](super::Input::Exited) will tell.
    Runs,
    /// It ended, and how if that can be known.
    Ended(Option<Exit>),
}

/// A tender that runs and is on no record.
#[derive(Debug)]
pub(super) struct Stray {
    tender: Tender,
    /// Those of its block devices that are held for it.
    held: Vec<Name>,
}

impl Stray {
    pub(super) const fn name(&self) -> &Name {
        &self.tender.name
    }
}

impl Config {
    /// Where the notes of tenders that run are kept.
    #[must_use]
    pub fn notes(&self) -> PathBuf {
        self.tmpdir.join("running")
    }

    /// The note of the tender of this unikernel.
    #[must_use]
    pub fn note(&self, name: &Name) -> PathBuf {
        self.notes().join(name.to_string())
    }
}

impl Unikernel {
    /// What is noted of its tender, which has these taps, block devices and user id.
    pub(super) fn note(
        &self,
        config: &Config,
        name: &Name,
        (taps, blocks, user): (&[String], &[Name], Option<u32>),
        since: Time,
        stage: Stage,
    ) -> Note {
        let tender = Tender {
            name: name.clone(),
            taps: taps.iter().map(|tap| Text::from(tap.as_str())).collect(),
            user: user.map(Int::from),
            since,
            restarts: Int::from(self.restarts),
            stage,
            blocks: blocks.to_vec(),
        };
        Note { path: config.note(name), tender }
    }
}

impl Vmmd {
    /// Takes over what runs, deals with what ended meanwhile, and frees what nobody has any more.
    pub(super) fn take_over(&mut self, now: Now, left: Left) {
        let Left { tenders, taps, images, fifos } = left;
        // What is on record comes before what is not, and has the block devices that both name.
        let is_recorded = |left: &LeftTender| self.unikernels.contains_key(&left.tender.name);
        let (recorded, others): (Vec<_>, Vec<_>) = tenders.into_iter().partition(is_recorded);
        for tender in recorded.into_iter().chain(others) {
            self.take_over_tender(now, tender);
        }
        self.take_back_lent();
        self.admit_waiting();
        let held = self.held_taps();
        for tap in taps.into_iter().filter(|tap| !held.contains(tap)) {
            self.log(Level::Info, format!("{tap}: a tap that nobody has any more is removed"));
            self.output(Output::RemoveTap(tap));
        }
        let images = images.into_iter().map(|name| (self.config.image(&name), name));
        let fifos = fifos.into_iter().map(|name| (self.config.fifo(&name), name));
        let stale: Vec<PathBuf> =
            images.chain(fifos).filter(|(_, name)| !self.has_tender(name)).map(|(path, _)| path).collect();
        for path in stale {
            self.output(Output::RemoveFile(path));
        }
        self.remove_unused_groups();
    }

    /// What is on record and does not run yet keeps its place, in the order of starts, whatever is asked for
    /// before it is started. One that does not fit any more is tried again when it is.
    fn admit_waiting(&mut self) {
        // What runs was taken over, or will not be admitted now either.
        let waits = |(name, unikernel): (&Name, &Unikernel)| {
            (!unikernel.admitted).then(|| (unikernel.startup(), name.clone()))
        };
        let mut waiting: Vec<(Int, Name)> = self.unikernels.iter().filter_map(waits).collect();
        waiting.sort();
        for (_, name) in waiting {
            if let Some(unikernel) = self.unikernels.get_mut(&name) {
                unikernel.admitted = self.resources.insert_unikernel(&name, &unikernel.arguments).is_ok();
            }
        }
    }

    fn take_over_tender(&mut self, now: Now, LeftTender { pid, tender, fate }: LeftTender) {
        let is_recorded = self.unikernels.contains_key(&tender.name);
        match fate {
            Fate::Runs if is_recorded => self.adopt(now, pid, tender),
            Fate::Runs => {
                self.log(
                    Level::Warning,
                    format!("{}: process {pid} is not on record, it is killed", tender.name),
                );
                self.output(Output::Kill(pid, Signal::Kill));
                user_of(&tender).inspect(|user| self.users.adopt(*user));
                let held = self.hold_free_blocks(tender.blocks.clone());
                self.strays.insert(pid, Stray { tender, held });
            }
            Fate::Ended(exit) if is_recorded => self.ended_meanwhile(now, pid, tender, exit),
            Fate::Ended(_) => self.remove_note(&tender.name),
        }
    }

    /// It runs on under this daemon.
    fn adopt(&mut self, now: Now, pid: u32, tender: Tender) {
        let user = user_of(&tender);
        let Tender { name, taps, since, restarts, stage, blocks, .. } = tender;
        let Some(unikernel) = self.unikernels.get_mut(&name) else { return };
        let refusal = self.resources.check_unikernel(&name, &unikernel.arguments).err();
        let adopted = self.resources.adopt_unikernel(&name, &unikernel.arguments);
        unikernel.admitted = adopted.is_ok();
        unikernel.since = since;
        unikernel.restarts = count(restarts);
        unikernel.backoff.started(now.monotonic);
        let taps = taps.iter().map(ToString::to_string).collect();
        unikernel.state = State::Running(Running {
            pid,
            taps,
            blocks: blocks.clone(),
            user,
            held: Vec::new(),
            stop: (stage == Stage::Stopping).then_some(AfterStop::Again),
            kill_at: None,
        });
        let held = self.hold_free_blocks(blocks);
        if let Some(State::Running(running)) = self.unikernels.get_mut(&name).map(|it| &mut it.state) {
            running.held = held;
        }
        user.inspect(|user| self.users.adopt(*user));
        self.processes.insert(pid, name.clone());
        self.log(Level::Info, format!("{name}: taken over as process {pid}"));
        self.limit_group(&name);
        if let Some(refusal) = refusal.or_else(|| adopted.err()) {
            self.log(Level::Warning, format!("{name}: runs on, though it would not be admitted: {refusal}"));
        }
        match stage {
            Stage::Starting => self.note(&name, Stage::Running),
            Stage::Running => {}
            Stage::Stopping => self.ask_to_end(now, &name),
        }
    }

    /// Files of block devices that belong to the user of a tender which nobody has any more: it ended while there was
    /// no daemon, or was never let run.
    fn take_back_lent(&mut self) {
        let running = self.unikernels.values().filter_map(Unikernel::running);
        let strays = self.strays.values().flat_map(|stray| &stray.tender.blocks);
        let held: BTreeSet<&Name> = running.flat_map(|running| &running.blocks).chain(strays).collect();
        let mut lent = std::mem::take(&mut self.lent);
        lent.retain(|name| !held.contains(name));
        if !lent.is_empty() {
            let files = lent.iter().map(|name| self.config.block(name)).collect();
            self.output(Output::TakeBackBlocks(files));
        }
    }

    /// It ended while there was no daemon.
    fn ended_meanwhile(&mut self, now: Now, pid: u32, tender: Tender, exit: Option<Exit>) {
        let Tender { name, restarts, stage, .. } = tender;
        let how = describe(exit);
        self.ended_event(&name, pid, exit);
        self.log(Level::Info, format!("{name}: process {pid} {how}, while no albatrossd was there"));
        let Some(unikernel) = self.unikernels.get_mut(&name) else { return };
        unikernel.last_exit = exit;
        unikernel.restarts = count(restarts);
        if stage != Stage::Running {
            // It waits to be started at once, like all that is on record and does not run.
            return self.remove_note(&name);
        }
        match decide(&unikernel.arguments, exit) {
            Decision::Remove => return self.remove_ended(&name),
            Decision::Restart => {
                unikernel.restarts = unikernel.restarts.saturating_add(1);
                self.wait_to_start(now, &name, None);
            }
            Decision::RestartWithoutName => {
                unikernel.arguments.add_name = false;
                self.persist(&Changed::Unikernel(name.clone()));
            }
        }
        self.remove_note(&name);
    }

    /// A unikernel that ended by itself is taken off the record. What was noted of its tender goes when
    /// that is durable: without a note and still on record, it would be started again.
    pub(super) fn remove_ended(&mut self, name: &Name) {
        self.remove_unikernel(name);
        if let Some(unneeded) = self.unneeded.last_mut().filter(|unneeded| unneeded.is_of(name)) {
            unneeded.noted = true;
        }
        self.persist(&Changed::Unikernel(name.clone()));
    }

    /// One of this name is new: what was noted of a tender before says nothing about it.
    pub(super) fn forget_ended(&mut self, name: &Name) {
        let noted = self.unneeded.iter_mut().filter(|unneeded| unneeded.noted && unneeded.is_of(name));
        if noted.map(|unneeded| unneeded.noted = false).count() > 0 {
            self.remove_note(name);
        }
    }

    /// The note of a tender goes; that there is none is no error.
    pub(super) fn remove_note(&mut self, name: &Name) {
        let path = self.config.note(name);
        self.output(Output::RemoveFile(path));
    }

    /// Notes how far a tender has come.
    pub(super) fn note(&mut self, name: &Name, stage: Stage) {
        let Some(unikernel) = self.unikernels.get(name) else { return };
        let Some(running) = unikernel.running() else { return };
        let has = (running.taps.as_slice(), running.blocks.as_slice(), running.user);
        let note = unikernel.note(&self.config, name, has, unikernel.since, stage);
        let pid = running.pid;
        self.output(Output::Note(pid, note));
    }

    /// A tender that was not on record is gone.
    pub(super) fn stray_ended(&mut self, Stray { tender, held }: &Stray) {
        let taps = tender.taps.iter().map(ToString::to_string).collect();
        self.free(&tender.name, taps, true, true);
        self.take_back_blocks(&tender.blocks, user_of(tender));
        self.release_blocks(held);
        self.users.give_back(user_of(tender));
        self.remove_group(&tender.name);
        self.remove_note(&tender.name);
    }

    /// Whether a tender of this unikernel runs that is on no record.
    pub(super) fn is_stray(&self, name: &Name) -> bool {
        self.strays.values().any(|stray| stray.tender.name == *name)
    }

    pub(super) fn has_tender(&self, name: &Name) -> bool {
        self.is_stray(name) || self.unikernels.get(name).is_some_and(|it| it.running().is_some())
    }

    fn held_taps(&self) -> BTreeSet<String> {
        let running = self.unikernels.values().filter_map(Unikernel::running);
        let strays = self.strays.values().flat_map(|stray| stray.tender.taps.iter().map(ToString::to_string));
        running.flat_map(|running| running.taps.iter().cloned()).chain(strays).collect()
    }

    /// The daemon ends, and what runs is left to the next one. What is being started or stopped comes to
    /// its end first; what is streamed does not, as that may take as long as a client likes.
    pub(super) fn hand_over(&mut self, now: Now) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::HandingOver;
        self.output(Output::StopListening);
        self.end_streams();
        let names: Vec<Name> = self.unikernels.keys().cloned().collect();
        for name in names {
            match self.unikernels.get_mut(&name).map(|unikernel| &mut unikernel.state) {
                // It runs at once.
                Some(State::Starting(start)) if start.step == Step::Spawn => {}
                Some(State::Starting(start)) => {
                    start.cancelled.get_or_insert(Cancelled::Shutdown);
                }
                Some(State::Running(running)) if running.stop.is_some() => self.shut_down(now, &name),
                _ => {}
            }
        }
    }

    /// Arms the timer of what is on record and is to be started at once.
    pub(super) fn start_soon(&mut self, now: Now, name: Name) {
        self.timers.insert((now.monotonic, Timer::Start(name)));
    }
}

fn user_of(tender: &Tender) -> Option<u32> {
    u32::try_from(tender.user?.get()).ok()
}

fn count(restarts: Int) -> u32 {
    u32::try_from(restarts.get()).unwrap_or(u32::MAX)
}
