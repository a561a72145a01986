//! What is kept: the record of unikernels and policies, and the images that it needs.

use albatross_proto::state::{Record, RecordedUnikernel};
use albatross_proto::{Config as UnikernelConfig, Name, Path, Policy, Typ};

use super::unikernel::{AfterStop, State, Unikernel};
use super::{Output, Phase, Task, TaskId, Timer, Vmmd, Waiting};
use crate::machine::{Level, Now};
use crate::resources::Siblings;
use crate::restart::Backoff;

impl Vmmd {
    /// The daemon begins with what is on record: policies first, then unikernels by their priority.
    pub(super) fn begin(&mut self, now: Now, host: Policy, record: Record) {
        self.phase = Phase::Serving;
        if let Err(refusal) = self.resources.adopt_policy(&Path::root(), host) {
            self.log(Level::Error, format!("the host's own limits are not in force: {refusal}"));
        }
        for (path, policy) in record.policies {
            if path.is_root() {
                continue;
            }
            if let Err(refusal) = self.resources.insert_policy(&path, policy) {
                self.log(Level::Error, format!("policy {path} on record is not in force: {refusal}"));
            }
        }
        for (name, recorded) in record.unikernels {
            self.restore(now, name, recorded);
        }
        self.output(Output::ConnectConsole);
    }

    fn restore(&mut self, now: Now, name: Name, recorded: RecordedUnikernel) {
        let unikernel = Unikernel {
            arguments: recorded.config.arguments,
            digest: recorded.digest,
            image: None,
            admitted: false,
            state: State::Waiting { until: now.monotonic, until_wall: now.wall, why: None },
            since: now.wall,
            restarts: 0,
            last_exit: None,
            backoff: Backoff::default(),
        };
        self.timers.insert((now.monotonic, Timer::Start(name.clone())));
        self.unikernels.insert(name, unikernel);
    }

    /// The task that makes the present state durable.
    pub(super) fn persist_task(&mut self) -> Task {
        let unikernels = self.unikernels.iter().map(|(name, unikernel)| {
            let config = UnikernelConfig {
                typ: Typ::Solo5,
                compressed: false,
                image: Vec::new().into(),
                arguments: unikernel.arguments.clone(),
            };
            (name.clone(), RecordedUnikernel { config, digest: unikernel.digest })
        });
        let policies = self.resources.policies(&Path::root(), Siblings::Ascending);
        let policies = policies.into_iter().filter(|(path, _)| !path.is_root());
        let record = Record {
            unikernels: unikernels.collect(),
            policies: policies.map(|(path, policy)| (path, policy.clone())).collect(),
        };
        // A record has no images; it reaches the limit of an encoding with some 100 000 unikernels.
        let encoded = record.encode().unwrap_or_default();
        Task::Persist { path: self.config.record(), record: encoded }
    }

    /// Makes a change durable for which nobody waits.
    pub(super) fn persist(&mut self) {
        let record = self.persist_task();
        self.task(record, Waiting::Persisted);
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
        self.unneeded.push((self.next_task, unikernel.digest));
    }

    /// A record was persisted, or was not: images that it does not need any more go.
    pub(super) fn persisted(&mut self, id: TaskId, durable: bool) {
        if !durable {
            return;
        }
        let (now, later) =
            std::mem::take(&mut self.unneeded).into_iter().partition(|(task, _)| *task <= id.0);
        self.unneeded = later;
        let now: Vec<(u64, [u8; 32])> = now;
        for (_, digest) in now {
            self.drop_unused_image(&digest);
        }
    }

    /// Removes a stored image that no unikernel has: none on record, none that is being created, and none
    /// on the record that is on disk.
    pub(super) fn drop_unused_image(&mut self, digest: &[u8; 32]) {
        let recorded = self
            .unikernels
            .values()
            .any(|unikernel| &unikernel.digest == digest || replaced_by(unikernel, digest));
        let on_disk = self.unneeded.iter().any(|(_, other)| other == digest);
        let coming = self.tasks.values().any(|waiting| match waiting {
            Waiting::Stored(prepared) => &prepared.digest == digest,
            _ => false,
        });
        if !recorded && !on_disk && !coming {
            let path = self.config.stored_image(digest);
            self.output(Output::RemoveFile(path));
        }
    }
}

/// Whether a unikernel with this image waits for this one to end.
fn replaced_by(unikernel: &Unikernel, digest: &[u8; 32]) -> bool {
    match unikernel.running().map(|running| &running.stop) {
        Some(Some(AfterStop::Replace(prepared))) => &prepared.digest == digest,
        _ => false,
    }
}
