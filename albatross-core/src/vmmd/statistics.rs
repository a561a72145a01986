//! The conversation with the statistics daemon: it is told what runs, and whenever that changes.
//!
//! It connects, sends `initial`, and is answered. From then on commands go the other way on its connection,
//! `stats add` and `stats remove`, numbered on from its own; what it answers is looked at for failures only.
//! It may go and come back at any time: a new connection takes the place of an older one. One that does not answer
//! is let go ([`MAX_UNANSWERED`]); when it comes back it is told what runs then.

use albatross_proto::{Command, Header, Int, Name, Payload, StatisticsCommand, Success, Text, Wire};

use super::unikernel::Unikernel;
use super::{MAX_UNANSWERED, Output, Requester, Vmmd};
use crate::machine::{ClientId, Level};

/// The connection of the statistics daemon.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    client: Option<ClientId>,
    /// The number of the last command that was sent to it.
    sequence: i64,
    /// Commands that it has not answered.
    unanswered: usize,
}

impl Vmmd {
    /// A statistics daemon wants to know what runs.
    pub(super) fn statistics_begin(&mut self, requester: &Requester) {
        let Requester { client, header, .. } = requester;
        if let Some(older) = self.statistics.client.replace(*client) {
            self.close(older);
        }
        self.statistics.sequence = header.sequence;
        self.statistics.unanswered = 0;
        self.send(*client, &Wire::new(header.clone(), Payload::Success(Success::Empty)));
        if let Some(state) = self.clients.get_mut(client) {
            state.busy = false;
        }
        let running: Vec<Name> = self
            .unikernels
            .iter()
            .filter(|(_, unikernel)| unikernel.running().is_some())
            .map(|(name, _)| name.clone())
            .collect();
        running.iter().for_each(|name| self.statistics_add(name));
    }

    /// Whether this is the connection of the statistics daemon.
    pub(super) fn is_statistics(&self, client: ClientId) -> bool {
        self.statistics.client == Some(client)
    }

    /// A client is gone: perhaps the statistics daemon.
    pub(super) fn statistics_forget(&mut self, client: ClientId) {
        self.statistics.client.take_if(|statistics| *statistics == client);
    }

    /// This unikernel runs from now on.
    pub(super) fn statistics_add(&mut self, name: &Name) {
        let Some((pid, network)) = self.unikernels.get(name).and_then(devices) else { return };
        // The device of a virtual machine monitor: Linux has none.
        let vmmdev = Text::from("");
        self.statistics_tell(name, StatisticsCommand::Add { vmmdev, pid: Int::from(pid), network });
    }

    /// This unikernel does not run any more.
    pub(super) fn statistics_remove(&mut self, name: &Name) {
        self.statistics_tell(name, StatisticsCommand::Remove);
    }

    fn statistics_tell(&mut self, name: &Name, command: StatisticsCommand) {
        let Some(client) = self.statistics.client else { return };
        if self.statistics.unanswered >= self.processes.len() + MAX_UNANSWERED {
            let unanswered = self.statistics.unanswered;
            let text =
                format!("the statistics daemon has left {unanswered} commands unanswered, it is let go");
            self.log(Level::Warning, text);
            return self.close(client);
        }
        self.statistics.unanswered += 1;
        self.statistics.sequence = self.statistics.sequence.wrapping_add(1);
        let header = Header::new(self.statistics.sequence, name.clone());
        self.send(client, &Wire::new(header, Payload::Command(Command::Statistics(command))));
    }

    /// What the statistics daemon answers.
    pub(super) fn statistics_frame(&mut self, client: ClientId, octets: &[u8]) {
        self.statistics.unanswered = self.statistics.unanswered.saturating_sub(1);
        match Wire::decode(octets) {
            Ok(Wire { payload: Payload::Success(_), .. }) => {}
            Ok(Wire { header, payload: Payload::Failure(why) }) => {
                self.log(Level::Warning, format!("{}: the statistics daemon refused: {why}", header.name));
            }
            Ok(Wire { header, .. }) => {
                self.log(Level::Warning, format!("{}: the statistics daemon sent no answer", header.name));
                self.close(client);
            }
            Err(error) => {
                self.log(Level::Warning, format!("the statistics daemon sent what is no message: {error}"));
                self.close(client);
            }
        }
    }

    fn send(&mut self, client: ClientId, wire: &Wire<'_>) {
        match wire.encode() {
            Ok(message) => self.output(Output::Send(client, message)),
            Err(error) => {
                self.log(Level::Error, format!("{}: cannot be told: {error}", wire.header.name));
            }
        }
    }
}

/// The process of a unikernel that runs, and its taps, each with the device that it is for.
fn devices(unikernel: &Unikernel) -> Option<(u32, Vec<(Text, Text)>)> {
    let running = unikernel.running()?;
    let devices = unikernel.arguments.net_devices.iter().map(|net| net.name.clone());
    let taps = running.taps.iter().map(|tap| Text::from(tap.as_str()));
    Some((running.pid, devices.zip(taps).collect()))
}
