//! Commands: what each asks for, whether it may be done, and what is done first.

use std::collections::BTreeSet;

use albatross_proto::{
    Arguments, Command, DecodeError, Int, Name, Path, Payload, Policy, PolicyCommand, StatisticsCommand,
    Success, Text, UnikernelCommand, Wire, command::ByDigest,
};

use super::events;
use super::store::Changed;
use super::unikernel::{AfterStop, Cancelled, Cause, State, Unikernel};
use super::{
    ADDED_POLICY, Client, MAX_PIPELINED, Message, Outcome, Output, Phase, Requester, SpoolId, Task,
    TaskFailure, TaskId, UNMODIFIED_POLICY, Undo, Vmmd, Waiting,
};
use crate::image;
use crate::machine::{ClientId, Level, Now};
use crate::resources::Refused;
use crate::restart::Backoff;

/// The refusal of what comes too late.
pub(super) const ENDING: &str = "albatrossd is ending";

impl Vmmd {
    /// A frame of a client: part of a stream, or a command that is carried out now, or after those before it.
    pub(super) fn frame(&mut self, now: Now, client: ClientId, message: Message) {
        let Some(state) = self.clients.get_mut(&client) else {
            return self.drop_spool(message.image);
        };
        if state.receiving.is_some() {
            return self.chunk(client, message);
        }
        if self.is_statistics(client) {
            self.drop_spool(message.image);
            return self.statistics_frame(client, &message.octets);
        }
        let Some(state) = self.clients.get_mut(&client) else { return };
        if !state.busy {
            state.busy = true;
            return self.message(now, client, message);
        }
        if state.pipelined.len() < MAX_PIPELINED {
            return state.pipelined.push_back(message);
        }
        self.drop_spool(message.image);
        self.log(Level::Warning, format!("client {}: sends commands without waiting for replies", client.0));
        self.close(client);
    }

    /// Takes up the next of the commands that came before the reply, and the image that came with one.
    pub(super) fn next_pipelined(&mut self, now: Now) {
        while let Some((client, message)) = self.clients.iter_mut().find_map(|(client, state)| {
            let waits = state.busy && state.receiving.is_none();
            if waits { None } else { Some((*client, state.pipelined.pop_front()?)) }
        }) {
            self.frame(now, client, message);
        }
        // What came of their images came before the end, and is taken up.
        let cut = |(_, state): &(&ClientId, &Client)| state.ended && state.receiving.is_some();
        let cut: Vec<ClientId> = self.clients.iter().filter(cut).map(|(client, _)| *client).collect();
        cut.into_iter().for_each(|client| self.stream_cut(client));
    }

    pub(super) fn drop_spool(&mut self, spool: Option<SpoolId>) {
        if let Some(spool) = spool {
            self.output(Output::DropSpool(spool));
        }
    }

    fn message(&mut self, now: Now, client: ClientId, message: Message) {
        match Wire::decode(&message.octets) {
            Ok(Wire { payload: Payload::Command(command), .. }) if self.wants_new_bridge(&command) => {
                self.task(Task::LookAtHost, Waiting::Host(client, message));
            }
            decoded => self.decoded(now, client, decoded, message.image),
        }
    }

    /// The machine was looked at for the sake of a message.
    pub(super) fn host_looked_at(
        &mut self,
        now: Now,
        client: ClientId,
        message: Message,
        result: Result<Outcome, TaskFailure>,
    ) {
        self.adopt_host(result);
        if self.clients.contains_key(&client) {
            self.decoded(now, client, Wire::decode(&message.octets), message.image);
        } else {
            self.drop_spool(message.image);
        }
    }

    fn decoded(
        &mut self,
        now: Now,
        client: ClientId,
        decoded: Result<Wire<'_>, DecodeError>,
        image: Option<SpoolId>,
    ) {
        match decoded {
            Ok(Wire { header, payload: Payload::Command(command) }) => {
                let words =
                    if self.is_there(&header.name, &command) { None } else { events::words(&command) };
                self.command(now, Requester { client, header, command: words }, command, image)
            }
            Ok(Wire { header, .. }) => {
                self.drop_spool(image);
                self.log(Level::Warning, format!("client {}: {}: not a command", client.0, header.name));
                self.close(client);
            }
            Err(error) => {
                self.drop_spool(image);
                self.log(Level::Warning, format!("client {}: message refused: {error}", client.0));
                self.close(client);
            }
        }
    }

    /// Whether a command adds a policy that is there already, as almost every one of a chain does.
    fn is_there(&self, name: &Name, command: &Command<'_>) -> bool {
        let Command::Policy(PolicyCommand::Add(policy)) = command else { return false };
        self.resources.policy(name.path()) == Some(policy)
    }

    /// Whether a command is about bridges that were not there when the machine was looked at last.
    fn wants_new_bridge(&self, command: &Command<'_>) -> bool {
        let Command::Unikernel(command) = command else { return false };
        self.phase == Phase::Serving
            && match command {
                UnikernelCommand::Create(config) | UnikernelCommand::ForceCreate(config) => {
                    self.has_new_bridge(&config.arguments)
                }
                UnikernelCommand::CreateByDigest(ByDigest { config, .. })
                | UnikernelCommand::ForceCreateByDigest(ByDigest { config, .. }) => {
                    self.has_new_bridge(&config.arguments)
                }
                UnikernelCommand::Restart(Some(arguments)) => self.has_new_bridge(arguments),
                _ => false,
            }
    }

    /// Whether the machine has to be looked at again before these arguments are admitted.
    pub(super) fn has_new_bridge(&self, arguments: &Arguments) -> bool {
        let known = self.resources.policy(&Path::root()).map(|policy| &policy.bridges);
        arguments.net_devices.iter().any(|net| known.is_some_and(|known| !known.contains(net.host_bridge())))
    }

    /// What the machine offers now; where that is not known, it is what it was.
    pub(super) fn adopt_host(&mut self, looked: Result<Outcome, TaskFailure>) {
        let why = match looked {
            Ok(Outcome::Host(policy)) => match self.resources.adopt_policy(&Path::root(), policy) {
                Ok(()) => return,
                Err(refusal) => refusal.to_string(),
            },
            Ok(_) => "it was not looked at".to_owned(),
            Err(TaskFailure(why)) => why,
        };
        self.log(Level::Error, format!("what this host has is not known: {why}"));
    }

    fn command(&mut self, now: Now, requester: Requester, command: Command<'_>, image: Option<SpoolId>) {
        let is_create = matches!(
            &command,
            Command::Unikernel(UnikernelCommand::Create(_) | UnikernelCommand::ForceCreate(_))
        );
        if self.phase != Phase::Serving || !is_create {
            self.drop_spool(image);
        }
        if self.phase != Phase::Serving {
            return self.fail(&requester, ENDING);
        }
        match command {
            Command::Unikernel(command) => self.unikernel_command(now, requester, command, image),
            Command::Policy(command) => self.policy_command(requester, command),
            Command::Block(command) => self.block_command(requester, command),
            Command::Statistics(StatisticsCommand::Initial) => self.statistics_begin(&requester),
            _ => self.fail(&requester, "unknown command"),
        }
    }

    fn unikernel_command(
        &mut self,
        now: Now,
        requester: Requester,
        command: UnikernelCommand<'_>,
        image: Option<SpoolId>,
    ) {
        match command {
            UnikernelCommand::Info => self.info(&requester, Success::Info),
            UnikernelCommand::InfoV5 => self.info(&requester, Success::InfoV5),
            UnikernelCommand::InfoV4 => self.info(&requester, Success::InfoV4),
            UnikernelCommand::Status => self.status(&requester),
            UnikernelCommand::Get(level) => self.get(requester, level),
            UnikernelCommand::Create(config) => self.create(requester, config, image, false),
            UnikernelCommand::ForceCreate(config) => self.create(requester, config, image, true),
            UnikernelCommand::Restart(arguments) => self.restart(now, requester, arguments),
            UnikernelCommand::Destroy => self.destroy(now, requester),
            UnikernelCommand::CreateByDigest(by_digest) => self.create_by_digest(requester, by_digest, false),
            UnikernelCommand::ForceCreateByDigest(by_digest) => {
                self.create_by_digest(requester, by_digest, true);
            }
        }
    }

    fn policy_command(&mut self, requester: Requester, command: PolicyCommand) {
        match command {
            PolicyCommand::Info => self.policies(&requester),
            PolicyCommand::Add(policy) => self.add_policy(requester, policy),
            PolicyCommand::Remove => self.remove_policy(requester),
        }
    }

    fn add_policy(&mut self, requester: Requester, policy: Policy) {
        let path = requester.header.name.path().clone();
        let before = self.resources.policy(&path).cloned();
        if path.is_root() && before.as_ref() != Some(&policy) {
            return self
                .fail(&requester, "the policy of the root is what this host has, it cannot be replaced");
        }
        let is_same = before.as_ref() == Some(&policy);
        // One that is on its way to the disk may not come there.
        if is_same && !self.changing_policies().any(|(_, changing)| *changing == path) {
            return self.succeed(&requester, UNMODIFIED_POLICY);
        }
        match self.resources.insert_policy(&path, policy.clone()) {
            Err(refusal) => self.fail(&requester, refusal.to_string()),
            Ok(()) => {
                let record = self.persist_task(&Changed::Policy(path.clone()));
                let text = if is_same { UNMODIFIED_POLICY } else { ADDED_POLICY };
                let undo = Undo::Policy { path, made: Some(policy), before };
                self.task(record, Waiting::Acknowledge(requester, text.into(), undo));
            }
        }
    }

    /// Paths of which a change of the policy is being written.
    pub(super) fn changing_policies(&self) -> impl Iterator<Item = (TaskId, &Path)> {
        self.tasks.iter().filter_map(|(id, waiting)| match waiting {
            Waiting::Acknowledge(_, _, Undo::Policy { path, .. }) => Some((*id, path)),
            _ => None,
        })
    }

    fn remove_policy(&mut self, requester: Requester) {
        let path = requester.header.name.path().clone();
        if path.is_root() {
            return self
                .fail(&requester, "the policy of the root is what this host has, it cannot be removed");
        }
        let before = self.resources.policy(&path).cloned();
        match self.resources.remove_policy(&path) {
            Err(refusal) => self.fail(&requester, refusal.to_string()),
            Ok(_) => {
                let record = self.persist_task(&Changed::Policy(path.clone()));
                let undo = Undo::Policy { path, made: None, before };
                let done = Waiting::Acknowledge(requester, "removed policy".into(), undo);
                self.task(record, done);
            }
        }
    }

    /// It was accepted before: others that came meanwhile and contradict it do not count, only what is in use.
    fn go_back_to_policy(&mut self, path: &Path, policy: Policy) -> Result<(), Refused> {
        match self.resources.check_policy(path, &policy) {
            Err(Refused::Policy { .. } | Refused::PolicyBelow { .. }) | Ok(()) => {
                self.resources.adopt_policy(path, policy)
            }
            refused => refused,
        }
    }

    /// Undoes what the task `id` did not write.
    pub(super) fn undo(&mut self, id: TaskId, undo: Undo) {
        let Undo::Policy { path, made, before } = undo else { return };
        // If that is not written either, it goes back to before both.
        let next = self.changing_policies().find(|(other, changing)| *other > id && **changing == path);
        if let Some((next, _)) = next {
            if let Some(Waiting::Acknowledge(_, _, Undo::Policy { before: next, .. })) =
                self.tasks.get_mut(&next)
            {
                *next = before;
            }
            return;
        }
        if self.resources.policy(&path) != made.as_ref() {
            return;
        }
        let result = match before {
            Some(policy) => self.go_back_to_policy(&path, policy).map_err(|e| e.to_string()),
            None => self.resources.remove_policy(&path).map(|_| ()).map_err(|e| e.to_string()),
        };
        if let Err(why) = result {
            self.log(Level::Error, format!("a change that was not written could not be undone: {why}"));
        }
    }

    fn restart(&mut self, now: Now, requester: Requester, arguments: Option<Arguments>) {
        let name = requester.header.name.clone();
        let checked = self.check_restart(&name, arguments.as_ref());
        if let Err(why) = checked {
            return self.fail(&requester, why);
        }
        let Some(unikernel) = self.unikernels.get_mut(&name) else { return };
        let arguments = arguments.map(Box::new);
        match &mut unikernel.state {
            State::Running(running) => {
                running.stop = Some(AfterStop::Restart(requester, arguments));
                self.ask_to_end(now, &name);
            }
            _ => self.start_with(now, &name, arguments, requester),
        }
    }

    fn check_restart(&self, name: &Name, arguments: Option<&Arguments>) -> Result<(), String> {
        let unikernel = self.unikernels.get(name).ok_or_else(|| not_found(name))?;
        check_idle(unikernel)?;
        let Some(arguments) = arguments else { return Ok(()) };
        match &unikernel.image {
            Some(image) => image::devices_match(image, arguments).map_err(|e| e.to_string())?,
            None if unikernel.running().is_some() => check_same_devices(&unikernel.arguments, arguments)?,
            None => {}
        }
        check_arguments(arguments)?;
        let check = if unikernel.admitted {
            self.resources.check_replacement(name, arguments)
        } else {
            self.resources.check_unikernel(name, arguments)
        };
        check.map_err(|e| e.to_string())
    }

    /// Starts what does not run, with other arguments if given.
    pub(super) fn start_with(
        &mut self,
        now: Now,
        name: &Name,
        arguments: Option<Box<Arguments>>,
        requester: Requester,
    ) {
        let Some(unikernel) = self.unikernels.get_mut(name) else {
            return self.fail(&requester, not_found(name));
        };
        if let Some(arguments) = arguments {
            if unikernel.admitted {
                self.resources.remove_unikernel(name).ok();
            }
            unikernel.admitted = false;
            let before = std::mem::replace(&mut unikernel.arguments, *arguments);
            unikernel.recorded.get_or_insert_with(|| Box::new(before));
        }
        unikernel.backoff = Backoff::default();
        self.begin_start(now, name, Cause::Restart(requester));
    }

    fn destroy(&mut self, now: Now, requester: Requester) {
        let name = requester.header.name.clone();
        let Some(unikernel) = self.unikernels.get_mut(&name) else {
            return self.fail(&requester, not_found(&name));
        };
        match &mut unikernel.state {
            State::Starting(start) => match &mut start.cancelled {
                Some(Cancelled::Destroyed(requesters)) => requesters.push(requester),
                Some(Cancelled::Shutdown) => self.fail(&requester, ENDING),
                none => *none = Some(Cancelled::Destroyed(vec![requester])),
            },
            State::Running(running) => match &mut running.stop {
                Some(AfterStop::Destroy(requesters)) => requesters.push(requester),
                Some(_) => self.fail(&requester, being_stopped(&name)),
                none => {
                    *none = Some(AfterStop::Destroy(vec![requester]));
                    self.ask_to_end(now, &name);
                }
            },
            State::Waiting { .. } => {
                self.remove_unikernel(&name);
                let record = self.persist_task(&Changed::Unikernel(name));
                let text = "destroyed: removed from restarting".into();
                self.task(record, Waiting::Acknowledge(requester, text, Undo::Nothing));
            }
        }
    }
}

/// A unikernel of which nothing else is being done.
pub(super) fn check_idle(unikernel: &Unikernel) -> Result<(), String> {
    match &unikernel.state {
        State::Starting(_) => Err("it is being started, try again".to_owned()),
        State::Running(running) if running.stop.is_some() => Err("it is being stopped, try again".to_owned()),
        _ => Ok(()),
    }
}

/// The image of a tender that was taken over was not looked at: its devices are those that it runs with.
fn check_same_devices(running: &Arguments, new: &Arguments) -> Result<(), String> {
    let blocks = |it: &Arguments| it.block_devices.iter().map(|block| block.name.clone()).collect();
    let nets = |it: &Arguments| it.net_devices.iter().map(|net| net.name.clone()).collect();
    let both = |it: &Arguments| -> [BTreeSet<Text>; 2] { [blocks(it), nets(it)] };
    if both(running) == both(new) {
        return Ok(());
    }
    let shown = |names: BTreeSet<Text>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let [blocks, nets] = both(running).map(shown);
    Err(format!(
        "the devices do not match the image, which has block devices [{blocks}] and networks [{nets}]"
    ))
}

pub(super) fn not_found(name: &Name) -> String {
    format!("unikernel {name} is not running")
}

fn being_stopped(name: &Name) -> String {
    format!("unikernel {name} is being stopped, try again")
}

/// What of a configuration can be checked by itself.
pub(super) fn check_arguments(arguments: &Arguments) -> Result<(), String> {
    let has_nul = |text: &Text| text.as_bytes().contains(&0);
    if arguments.argv.iter().flatten().any(has_nul) {
        return Err("an argument contains a NUL character".to_owned());
    }
    if arguments.cpuids.is_empty() {
        return Err("no cpu is given to run on".to_owned());
    }
    if arguments.memory <= Int::ZERO {
        return Err(format!("memory of {} MB, at least 1 is needed", arguments.memory));
    }
    Ok(())
}
