//! What is kept: the record of unikernels and policies, and the images that it needs.

use albatross_proto::state::{Change, Record, RecordedUnikernel};
use albatross_proto::{Config as UnikernelConfig, Name, Path, Policy};

use super::unikernel::{AfterStop, State, Unikernel};
use super::{Output, Phase, RECORD_RETRY, Task, TaskId, Timer, Vmmd, Waiting};
use crate::digest::sha256;
use crate::journal;
use crate::machine::{Level, Now};
use crate::resources::Siblings;
use crate::restart::Backoff;

/// So many changes are appended before the file is written anew, however little is on record.
const LEAST_APPENDED: usize = 256;

/// What of the record is to be made durable.
#[derive(Clone, Debug)]
pub(super) enum Changed {
    /// This unikernel is on it, is on it differently, or is not any more.
    Unikernel(Name),
    /// The same of the policy of this path.
    Policy(Path),
}

/// The image of a unikernel that was taken off the record in memory, and perhaps not on the disk.
#[derive(Debug)]
pub(super) struct Unneeded {
    name: Name,
    digest: [u8; 32],
    /// The task that makes that durable, once there is one.
    task: Option<u64>,
    /// There is a note of its tender that goes then, too.
    pub(super) noted: bool,
}

impl Unneeded {
    pub(super) fn is_of(&self, name: &Name) -> bool {
        self.name == *name
    }
}

/// What is known of the file of the record.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// What the salts of files are made of.
    seed: [u8; 32],
    /// How many files were begun.
    files: u64,
    /// Makes the entries of the file; none before the first was begun.
    writer: Option<journal::Writer>,
    /// It is known what is in the file: not at the begin, nor after a change that was not written.
    known: bool,
    /// A change was not written, and nothing since: the file may have it all the same.
    doubtful: bool,
    /// The daemon ends, and has tried once more to write what was not written.
    tried_last: bool,
    /// Entries since it was written anew.
    appended: usize,
    /// Entries of the record when it was.
    entries: usize,
}

impl Journal {
    /// Of a daemon that begins; `seed` is random.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(super) const fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether the daemon that ends has to try once more: else the next one could find what was refused.
    pub(super) const fn take_last_try(&mut self) -> bool {
        self.doubtful && !std::mem::replace(&mut self.tried_last, true)
    }

    /// Begins a file with this record.
    fn begin(&mut self, record: &[u8]) -> Vec<u8> {
        self.files += 1;
        let salt = sha256(&[&self.seed, &self.files.to_be_bytes()]);
        self.writer.insert(journal::Writer::new(salt)).begin(record)
    }

    /// A further entry. Without a file there is none, which the task refuses.
    fn entry(&self, change: &[u8]) -> Vec<u8> {
        self.writer.as_ref().map(|writer| writer.entry(change)).unwrap_or_default()
    }
}

impl Vmmd {
    /// The daemon begins with what is on record: policies first, then unikernels by their priority.
    pub(super) fn begin(&mut self, now: Now, host: Policy, record: Record, seed: [u8; 32]) {
        self.phase = Phase::Serving;
        self.journal = Journal::new(seed);
        if let Err(refusal) = self.resources.adopt_policy(&Path::root(), host) {
            self.log(Level::Error, format!("the host's own limits are not in force: {refusal}"));
        }
        for (path, policy) in record.policies {
            if path.is_root() {
                continue;
            }
            // It was accepted before, and what it admits is asked of every policy above it, too.
            if let Err(refusal) = self.resources.adopt_policy(&path, policy) {
                self.log(Level::Error, format!("policy {path} on record is not in force: {refusal}"));
            }
        }
        for (name, recorded) in record.unikernels {
            self.restore(now, name, recorded);
        }
    }

    fn restore(&mut self, now: Now, name: Name, recorded: RecordedUnikernel) {
        let unikernel = Unikernel {
            typ: recorded.config.typ,
            arguments: recorded.config.arguments,
            recorded: None,
            digest: recorded.digest,
            image: None,
            admitted: false,
            state: State::Waiting { until: now.monotonic, until_wall: now.wall, why: None },
            since: now.wall,
            restarts: 0,
            last_exit: None,
            backoff: Backoff::default(),
        };
        // It is started, like all that waits, when the console daemon is reached.
        self.unikernels.insert(name, unikernel);
    }

    /// The task that makes a change durable: an entry more, or now and then all that is on record.
    pub(super) fn persist_task(&mut self, changed: &Changed) -> Task {
        let path = self.config.record();
        let is_whole = self.is_whole_due();
        // The task that is returned gets this number.
        let number = self.next_task;
        for unneeded in &mut self.unneeded {
            if is_whole || matches!(changed, Changed::Unikernel(name) if *name == unneeded.name) {
                unneeded.task = Some(number);
            }
        }
        if is_whole {
            let record = self.record();
            self.journal.known = true;
            self.journal.appended = 0;
            self.journal.entries = record.unikernels.len() + record.policies.len();
            // What cannot be encoded is written as nothing, which the task refuses: it is beyond every limit.
            let record = record.encode().map(|record| self.journal.begin(&record)).unwrap_or_default();
            return Task::Persist { path, record };
        }
        self.journal.appended += 1;
        let entry = self.change(changed).encode().map(|change| self.journal.entry(&change));
        Task::Append { path, entry: entry.unwrap_or_default() }
    }

    fn is_whole_due(&self) -> bool {
        !self.journal.known || self.journal.appended >= LEAST_APPENDED.max(self.journal.entries)
    }

    fn record(&self) -> Record {
        let unikernels = self.unikernels.iter().map(|(name, unikernel)| (name.clone(), recorded(unikernel)));
        let policies = self.resources.policies(&Path::root(), Siblings::Ascending);
        let policies = policies.into_iter().filter(|(path, _)| !path.is_root());
        Record {
            unikernels: unikernels.collect(),
            policies: policies.map(|(path, policy)| (path, policy.clone())).collect(),
        }
    }

    fn change(&self, changed: &Changed) -> Change {
        match changed {
            Changed::Unikernel(name) => match self.unikernels.get(name) {
                Some(unikernel) => Change::Unikernel(name.clone(), recorded(unikernel)),
                None => Change::NoUnikernel(name.clone()),
            },
            Changed::Policy(path) => match self.resources.policy(path) {
                Some(policy) => Change::Policy(path.clone(), policy.clone()),
                None => Change::NoPolicy(path.clone()),
            },
        }
    }

    /// Makes a change durable for which nobody waits.
    pub(super) fn persist(&mut self, changed: &Changed) {
        let record = self.persist_task(changed);
        self.task(record, Waiting::Persisted);
    }

    /// What is in memory is not on the disk: that is tried again.
    pub(super) fn persist_later(&mut self, now: Now) {
        self.timers.retain(|(_, timer)| *timer != Timer::Persist);
        self.timers.insert((now.monotonic + RECORD_RETRY, Timer::Persist));
    }

    /// The same, where it is not known what is on the disk.
    pub(super) fn persist_later_if_unknown(&mut self, now: Now) {
        if !self.journal.known {
            self.persist_later(now);
        }
    }

    pub(super) fn persist_again(&mut self) {
        if !self.journal.known && self.phase != Phase::Ended {
            self.persist(&Changed::Policy(Path::root()));
        }
    }

    /// Takes a unikernel off the record, with what it takes and, if it was the last with it, its image.
    pub(super) fn remove_unikernel(&mut self, name: &Name) {
        let Some(unikernel) = self.unikernels.remove(name) else { return };
        if unikernel.admitted
            && let Err(refusal) = self.resources.remove_unikernel(name)
        {
            self.log(Level::Error, format!("{name}: {refusal}"));
        }
        // The record on disk still names the image: it goes when a record without it is durable.
        self.unneeded.push(Unneeded {
            name: name.clone(),
            digest: unikernel.digest,
            task: None,
            noted: false,
        });
    }

    /// A record was persisted, or was not: images that it does not need any more go.
    pub(super) fn persisted(&mut self, id: TaskId, durable: bool) {
        self.journal.doubtful = !durable;
        if !durable {
            // It is not known what the file holds now.
            self.journal.known = false;
            return;
        }
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unneeded).into_iter().partition(|unneeded| unneeded.task == Some(id.0));
        self.unneeded = later;
        for Unneeded { name, digest, noted, .. } in now {
            if noted {
                self.remove_note(&name);
            }
            self.drop_unused_image(&digest);
        }
    }

    /// Removes a stored image that no unikernel has: none on record, none that is being created, and none
    /// on the record that is on disk.
    pub(super) fn drop_unused_image(&mut self, digest: &[u8; 32]) {
        if self.tasks.values().any(|waiting| matches!(waiting, Waiting::Stored(_))) {
            return self.doubtful.push(*digest);
        }
        let recorded = self
            .unikernels
            .values()
            .any(|unikernel| &unikernel.digest == digest || replaced_by(unikernel, digest));
        let on_disk = self.unneeded.iter().any(|unneeded| &unneeded.digest == digest);
        if !recorded && !on_disk {
            let path = self.config.stored_image(digest);
            self.output(Output::RemoveFile(path));
        }
    }
}

fn recorded(unikernel: &Unikernel) -> RecordedUnikernel {
    let config = UnikernelConfig {
        typ: unikernel.typ,
        compressed: false,
        image: Vec::new().into(),
        arguments: unikernel.to_record().clone(),
    };
    RecordedUnikernel { config, digest: unikernel.digest }
}

/// Whether a unikernel with this image waits for this one to end.
fn replaced_by(unikernel: &Unikernel, digest: &[u8; 32]) -> bool {
    match unikernel.running().map(|running| &running.stop) {
        Some(Some(AfterStop::Replace(prepared))) => &prepared.digest == digest,
        _ => false,
    }
}
