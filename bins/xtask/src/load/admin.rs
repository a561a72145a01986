//! Somebody on the host who changes policies and block devices all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use albatross_e2e::PATIENCE;
use albatross_e2e::raw::Raw;
use albatross_proto::{BlockCommand, Command, Int, Payload, Policy, PolicyCommand, Success, Wire};

use super::ledger::{Kind, Ledger, lock};

/// Where all of it is.
pub(super) const PATH: &str = "adm";
/// How many policies and how many block devices there are: so many that some seconds pass before one is changed again, and
/// one that was lost is missed.
const POLICIES: u32 = 128;
const BLOCKS: u32 = 32;
/// Memory of the first policy, in MB: the least that one may have.
const MEMORY: u32 = 17;
/// From one command to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It was answered by a failure.
    Refused(String),
    /// It was not answered.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Broken(why) => write!(f, "not answered: {why}"),
        }
    }
}

/// Asks albatrossd on its socket, and returns the answer in words, where it is in words.
pub(super) fn local(socket: &Path, name: &str, command: Command<'_>) -> Result<String, Trouble> {
    let broken = |error: std::io::Error| Trouble::Broken(error.to_string());
    let mut raw = Raw::unix(socket).map_err(|error| Trouble::Broken(error.to_string()))?;
    raw.command(name, command).map_err(broken)?;
    let frame = raw.frame().map_err(broken)?.ok_or_else(|| Trouble::Broken("closed".to_owned()))?;
    match Wire::decode(&frame).map_err(|error| Trouble::Broken(error.to_string()))?.payload {
        Payload::Success(Success::Text(text)) => Ok(text.to_string()),
        Payload::Success(_) => Ok(String::new()),
        Payload::Failure(why) => Err(Trouble::Refused(why.to_string())),
        _ => Err(Trouble::Broken("something else was answered".to_owned())),
    }
}

/// What was acknowledged so far.
#[derive(Default)]
struct State {
    /// The memory of each policy.
    policies: BTreeMap<String, u32>,
    blocks: BTreeSet<String>,
}

/// Changes one after the other, and remembers what was acknowledged.
pub(super) struct Admin {
    socket: PathBuf,
    /// Held while something is changed or compared.
    turn: Mutex<()>,
    state: Mutex<State>,
}

impl Admin {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, turn: Mutex::default(), state: Mutex::default() }
    }

    /// Works until there is to be no more work.
    pub(super) fn work(&self, ledger: &Ledger) {
        let mut number = 0;
        while !ledger.is_work_over() {
            number += 1;
            if number % 4 == 0 {
                self.change_block(number / 4 % BLOCKS, ledger);
            } else {
                self.change_policy(&format!("{PATH}:p{}:", number % POLICIES), MEMORY + number, ledger);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Gives a path another policy; returns what the event log says of it.
    pub(super) fn change_policy(&self, name: &str, memory: u32, ledger: &Ledger) -> String {
        let _turn = lock(&self.turn);
        let policy = Policy {
            cpuids: [Int::ZERO].into(),
            unikernels: Int::ONE,
            memory: Int::from(memory),
            block: None,
            bridges: BTreeSet::new(),
        };
        let words =
            format!("policy add: 1 unikernels, {memory} MB, cpus 0, block storage none, bridges none");
        // One that was not answered may be done or not: it is asked for again.
        self.until_answered(name, &words, &|| Command::Policy(PolicyCommand::Add(policy.clone())), ledger);
        lock(&self.state).policies.insert(name.to_owned(), memory);
        words
    }

    fn change_block(&self, number: u32, ledger: &Ledger) {
        let _turn = lock(&self.turn);
        let name = format!("{PATH}:b{number}");
        let is_there = lock(&self.state).blocks.contains(&name);
        if is_there {
            let remove = || Command::Block(BlockCommand::Remove);
            self.until_answered(&name, "block remove", &remove, ledger);
            lock(&self.state).blocks.remove(&name);
        } else {
            let add = || Command::Block(BlockCommand::Add(Int::ONE));
            self.until_answered(&name, "block add 1 MB", &add, ledger);
            lock(&self.state).blocks.insert(name);
        }
    }

    /// Asks until there is an answer. Once one was lost, a refusal says that it was done.
    fn until_answered(
        &self,
        name: &str,
        words: &str,
        command: &dyn Fn() -> Command<'static>,
        ledger: &Ledger,
    ) {
        let (begun, mut is_repeated) = (Instant::now(), false);
        loop {
            let began = Instant::now();
            let answer = local(&self.socket, name, command());
            if is_repeated && matches!(answer, Err(Trouble::Refused(_))) {
                return;
            }
            let answer =
                ledger.note(Kind::Admin, began, answer.map_err(|trouble| format!("{name}: {trouble}")));
            match answer {
                Some(text) => {
                    // What was there already is no event.
                    if !text.starts_with("no modification") {
                        ledger.acknowledge(name.to_owned(), words);
                    }
                    return;
                }
                None if begun.elapsed() > PATIENCE => return,
                None => is_repeated = true,
            }
            thread::sleep(PAUSE);
        }
    }

    /// What albatrossd has is what was acknowledged.
    pub(super) fn check(&self, ledger: &Ledger) -> Result<(), albatross_e2e::Failure> {
        let _turn = lock(&self.turn);
        let state = lock(&self.state);
        let failed = |error| albatross_e2e::Failure::io("ask", &self.socket, error);
        let ask = |command: Command<'_>| {
            let mut raw = Raw::unix(&self.socket)?;
            raw.command(&format!("{PATH}:"), command).map_err(failed)?;
            raw.frame().map_err(failed).map(Option::unwrap_or_default)
        };
        let frame = ask(Command::Policy(PolicyCommand::Info))?;
        let Ok(Wire { payload: Payload::Success(Success::Policies(policies)), .. }) = Wire::decode(&frame)
        else {
            ledger.fault("albatrossd does not say which policies there are".to_owned());
            return Ok(());
        };
        let policies: BTreeMap<String, u32> = policies
            .iter()
            .map(|(name, policy)| (absolute(name), u32::try_from(policy.memory.get()).unwrap_or(0)))
            .collect();
        let all: BTreeSet<&String> = policies.keys().chain(state.policies.keys()).collect();
        for name in all {
            let (now, acknowledged) = (policies.get(name), state.policies.get(name));
            if now != acknowledged {
                ledger
                    .fault(format!("{name}: the policy has {now:?} MB, acknowledged were {acknowledged:?}"));
            }
        }
        let frame = ask(Command::Block(BlockCommand::Info))?;
        let Ok(Wire { payload: Payload::Success(Success::BlockDevices(blocks)), .. }) = Wire::decode(&frame)
        else {
            ledger.fault("albatrossd does not say which block devices there are".to_owned());
            return Ok(());
        };
        let blocks: BTreeSet<String> = blocks.iter().map(|(name, _)| absolute(name)).collect();
        for name in blocks.symmetric_difference(&state.blocks) {
            let is = if blocks.contains(name) { "is" } else { "is not" };
            ledger.fault(format!("{name}: this block device {is} there, otherwise was acknowledged"));
        }
        Ok(())
    }

    /// Removes the block devices.
    pub(super) fn remove(&self) -> Result<(), Trouble> {
        let blocks = std::mem::take(&mut lock(&self.state).blocks);
        blocks
            .iter()
            .try_for_each(|name| local(&self.socket, name, Command::Block(BlockCommand::Remove)).map(drop))
    }
}

/// A name that was told relative to the path.
fn absolute(name: &albatross_proto::Name) -> String {
    let relative = name.to_string();
    format!("{PATH}:{}", relative.strip_prefix(':').unwrap_or(&relative))
}
