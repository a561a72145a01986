//! The statistics daemon: a client that asks once and is told from then on what runs and what ended.

use std::collections::BTreeMap;

use albatross_core::machine::ClientId;
use albatross_core::vmmd::Input;
use albatross_proto::{Command, Header, Name, Payload, StatisticsCommand, Success, Wire};

use crate::Sabotage;
use crate::host::Host;

/// Its connections are numbered from here.
const PEERS: usize = 2_000_000;

struct Peer {
    /// The number of the last message that it was sent.
    sequence: i64,
    answered: bool,
    /// What runs by what it was told, each as which process.
    known: BTreeMap<Name, u32>,
}

#[derive(Default)]
pub(crate) struct Statistics {
    next: usize,
    peers: BTreeMap<ClientId, Peer>,
    /// What runs by what the machine was told.
    pub(crate) running: BTreeMap<u32, Name>,
}

impl Statistics {
    pub(crate) fn has(&self, client: ClientId) -> bool {
        self.peers.contains_key(&client)
    }

    /// albatrossd is gone.
    pub(crate) fn forget(&mut self) {
        self.peers.clear();
        self.running.clear();
    }
}

impl Host {
    /// It comes, or another one in its place.
    pub(crate) fn statistics_come(&mut self, sequence: i32) {
        self.counts.command("statistics-initial");
        // It is another one that comes: they would take turns otherwise.
        self.gathering_down();
        self.statistics.next += 1;
        let client = ClientId(PEERS + self.statistics.next);
        let sequence = i64::from(sequence);
        let peer = Peer { sequence, answered: false, known: BTreeMap::new() };
        self.statistics.peers.insert(client, peer);
        self.give(Input::Connected(client));
        let initial = Payload::Command(Command::Statistics(StatisticsCommand::Initial));
        let message = Wire::new(Header::new(sequence, Name::root()), initial).encode().unwrap();
        self.give(Input::Frame(client, message));
        let waits = self.statistics.peers.get(&client).is_some_and(|peer| !peer.answered);
        if !self.stopped() && (waits || self.statistics.peers.len() > 1) {
            self.broke("a statistics daemon is not answered, or one before it is kept");
        }
    }

    /// It goes.
    pub(crate) fn statistics_leave(&mut self, gone: bool) {
        let Some(client) = self.statistics.peers.keys().next_back().copied() else { return };
        if gone {
            self.statistics.peers.remove(&client);
            self.give(Input::Closed(client));
        } else {
            self.give(Input::Ended(client));
            if self.statistics.has(client) && !self.stopped() {
                self.broke("a statistics daemon that sends no more is kept");
            }
        }
    }

    /// It answers something, or sends nonsense.
    pub(crate) fn statistics_answer(&mut self, kind: usize) {
        let Some((client, peer)) = self.statistics.peers.iter().next_back() else { return };
        let (client, header) = (*client, Header::new(peer.sequence, Name::root()));
        let wire = |payload| Wire::new(header, payload).encode().unwrap();
        let (message, is_answer) = match kind {
            0 => (wire(Payload::Success(Success::Text("added".into()))), true),
            1 => (wire(Payload::Failure("no".into())), true),
            2 => (wire(Payload::Command(Command::Statistics(StatisticsCommand::Initial))), false),
            _ => (b"garbage".to_vec(), false),
        };
        self.give(Input::Frame(client, message));
        if !self.stopped() && self.statistics.has(client) != is_answer {
            self.broke(format!("a statistics daemon that sends {kind} is kept or closed"));
        }
    }

    pub(crate) fn statistics_closed(&mut self, client: ClientId) {
        self.statistics.peers.remove(&client);
    }

    /// It is told something.
    pub(crate) fn statistics_told(&mut self, client: ClientId, message: &[u8]) {
        let lost = self.spoils(Sabotage::LoseStatistics);
        let Some(peer) = self.statistics.peers.get_mut(&client) else { return };
        let Ok(Wire { header, payload }) = Wire::decode(message) else {
            return self.broke("the statistics daemon is told what nobody can read");
        };
        let expected = if peer.answered { peer.sequence + 1 } else { peer.sequence };
        let wrong = match payload {
            _ if header.sequence != expected => format!("number {} and not {expected}", header.sequence),
            // It comes too late: albatrossd ends.
            Payload::Failure(_) if !peer.answered => return peer.answered = true,
            Payload::Success(Success::Empty) if !peer.answered => return peer.answered = true,
            Payload::Command(Command::Statistics(command)) if peer.answered => {
                peer.sequence = header.sequence;
                if lost {
                    return;
                }
                match told(peer, header.name, &command, &self.statistics.running) {
                    None => return,
                    Some(wrong) => wrong,
                }
            }
            other => format!("{other:?}"),
        };
        self.broke(format!("the statistics daemon is told {wrong}"));
    }

    /// After every step: it knows what the machine knows.
    pub(crate) fn check_statistics(&mut self) {
        let running = || self.statistics.running.iter().map(|(pid, name)| (name.clone(), *pid));
        let peers = self.statistics.peers.values();
        let wrong = peers.filter(|peer| peer.known != running().collect()).map(|peer| &peer.known).next();
        if let Some(known) = wrong {
            let text =
                format!("the statistics daemon knows {known:?}, there run {:?}", self.statistics.running);
            self.broke(text);
        }
    }
}

/// What is wrong with what it is told?
fn told(
    peer: &mut Peer,
    name: Name,
    command: &StatisticsCommand,
    running: &BTreeMap<u32, Name>,
) -> Option<String> {
    match command {
        StatisticsCommand::Add { pid, .. } => {
            let pid = u32::try_from(pid.get()).unwrap();
            if running.get(&pid) != Some(&name) {
                return Some(format!("that {name} runs as {pid}, which does not"));
            }
            let before = peer.known.insert(name.clone(), pid);
            before.map(|before| format!("that {name} runs, and not that {before} ended"))
        }
        StatisticsCommand::Remove if peer.known.remove(&name).is_some() => None,
        other => Some(format!("{other:?} of {name}, of which it knows nothing")),
    }
}
