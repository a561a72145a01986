//! Questions that change nothing.

use std::cmp::Ordering;

use albatross_proto::reply::Info;
use albatross_proto::{BlockDeviceInfo, Int, Name, Path, Payload, Policy, Success, Text};

use super::command::not_found;
use super::unikernel::Unikernel;
use super::{Outcome, Requester, Task, TaskFailure, Vmmd, Waiting};
use crate::machine::Level;
use crate::resources::{Block, Siblings};

impl Vmmd {
    /// What runs: the one that is named, or all at the path and below.
    pub(super) fn info(&mut self, requester: &Requester, form: fn(Vec<(Name, Info)>) -> Success<'static>) {
        let running = self.asked_for(&requester.header.name, |name, unikernel| {
            unikernel.running().map(|_| {
                let mut info = unikernel.info(name);
                for block in &mut info.block_devices {
                    block.size = self.block_size(name.path(), &block.host_device).unwrap_or(Int::ZERO);
                }
                info
            })
        });
        self.reply(requester, Payload::Success(form(running)));
    }

    /// What is on record, running or not.
    pub(super) fn status(&mut self, requester: &Requester) {
        let all = self.asked_for(&requester.header.name, |_, unikernel| Some(unikernel.status()));
        self.reply(requester, Payload::Success(Success::Status(all)));
    }

    /// The policies at the path and below; a label is ignored.
    pub(super) fn policies(&mut self, requester: &Requester) {
        let path = requester.header.name.path();
        let policies = self.resources.policies(path, Siblings::Descending);
        let relative = |(at, policy): (Path, &Policy)| Some((at.below(path)?.to_name(), policy.clone()));
        let policies = policies.into_iter().filter_map(relative).collect();
        self.reply(requester, Payload::Success(Success::Policies(policies)));
    }

    /// With a label: that one under its full name. Else all at the path and below, relative to it.
    fn asked_for<T>(&self, asked: &Name, show: impl Fn(&Name, &Unikernel) -> Option<T>) -> Vec<(Name, T)> {
        if asked.label().is_some() {
            let found = self.unikernels.get(asked).and_then(|unikernel| show(asked, unikernel));
            return found.map(|shown| (asked.clone(), shown)).into_iter().collect();
        }
        let mut all: Vec<_> = self
            .unikernels
            .iter()
            .filter_map(|(name, unikernel)| Some((name.relative_to(asked.path())?, show(name, unikernel)?)))
            .collect();
        all.sort_by(|(a, _), (b, _)| reply_order(a, b));
        all
    }

    /// The block devices: the one that is named, or all at the path and below.
    pub(super) fn blocks(&mut self, requester: &Requester) {
        let asked = &requester.header.name;
        let shown = |block: &Block| BlockDeviceInfo { size: block.size(), active: block.user().is_some() };
        let list = if asked.label().is_some() {
            self.resources.block(asked).map(|block| (asked.clone(), shown(block))).into_iter().collect()
        } else {
            let all = self.resources.blocks(asked.path(), Siblings::Descending).into_iter();
            all.filter_map(|(name, block)| Some((name.relative_to(asked.path())?, shown(block)))).collect()
        };
        self.reply(requester, Payload::Success(Success::BlockDevices(list)));
    }

    fn block_size(&self, path: &Path, device: &Text) -> Option<Int> {
        let name = Name::new(path.clone(), Some(device.as_str()?.parse().ok()?));
        self.resources.block(&name).map(Block::size)
    }

    pub(super) fn get(&mut self, requester: Requester, level: Int) {
        let Some(unikernel) = self.unikernels.get(&requester.header.name) else {
            let why = not_found(&requester.header.name);
            return self.fail(&requester, why);
        };
        let path = self.config.stored_image(&unikernel.digest);
        let Requester { client, header, .. } = requester.clone();
        let task = Task::SendImage { client, header, path, level: compression_level(level) };
        self.task(task, Waiting::Sent(requester));
    }

    /// The image went out as the reply, or nothing did.
    pub(super) fn image_sent(&mut self, requester: &Requester, result: Result<Outcome, TaskFailure>) {
        match result {
            Ok(_) => {
                self.log(Level::Info, format!("{}: sent its image", requester.header.name));
                if self.clients.contains_key(&requester.client) {
                    self.close(requester.client);
                }
            }
            Err(TaskFailure(why)) => self.fail(requester, why),
        }
    }
}

/// zlib knows the levels 0 to 9.
pub(super) fn compression_level(level: Int) -> u32 {
    u32::try_from(level.get().clamp(0, 9)).unwrap_or(9)
}

/// A node before what is below it, siblings in descending order.
fn reply_order(a: &Name, b: &Name) -> Ordering {
    let mut left = labels(a);
    let mut right = labels(b);
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => match y.cmp(x) {
                Ordering::Equal => {}
                other => return other,
            },
        }
    }
}

fn labels(name: &Name) -> impl Iterator<Item = &str> {
    name.path().labels().chain(name.label().map(albatross_proto::Label::as_str))
}
