//! Commands: what each asks for, whether it may be done, and what is done first.

use std::borrow::Cow;
use std::rc::Rc;

use albatross_proto::{
    Arguments, Command, Config as UnikernelConfig, Header, Int, Name, Payload, Policy, PolicyCommand,
    Success, Typ, UnikernelCommand, Wire,
};

use super::unikernel::{AfterStop, Cancelled, Cause, Start, State, Step, Unikernel};
use super::{
    ADDED_POLICY, Config, MAX_PIPELINED, Outcome, Phase, Requester, Task, TaskFailure, UNMODIFIED_POLICY,
    Undo, Vmmd, Waiting,
};
use crate::image::{self, Image};
use crate::machine::{ClientId, Level, Now};
use crate::restart::Backoff;

/// The refusal of what comes too late.
pub(super) const ENDING: &str = "albatrossd is ending";

/// Octets in a MB, as memory is counted.
const MB: usize = 1024 * 1024;

/// A create whose image was looked at, on its way to be stored.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) requester: Requester,
    pub(super) force: bool,
    pub(super) arguments: Arguments,
    pub(super) digest: [u8; 32],
    pub(super) image: Rc<Image>,
}

impl Vmmd {
    /// A frame of a client: carried out now, or after the commands before it.
    pub(super) fn frame(&mut self, now: Now, client: ClientId, frame: Vec<u8>) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        if !state.busy {
            state.busy = true;
            return self.message(now, client, &frame);
        }
        if state.pipelined.len() < MAX_PIPELINED {
            return state.pipelined.push_back(frame);
        }
        self.log(Level::Warning, format!("client {}: sends commands without waiting for replies", client.0));
        self.close(client);
    }

    /// Takes up the next of the commands that came before the reply.
    pub(super) fn next_pipelined(&mut self, now: Now) {
        while let Some((client, frame)) = self.clients.iter_mut().find_map(|(client, state)| {
            if state.busy { None } else { Some((*client, state.pipelined.pop_front()?)) }
        }) {
            self.frame(now, client, frame);
        }
    }

    fn message(&mut self, now: Now, client: ClientId, frame: &[u8]) {
        match Wire::decode(frame) {
            Ok(Wire { header, payload: Payload::Command(command) }) => {
                self.command(now, client, header, command)
            }
            Ok(Wire { header, .. }) => {
                self.log(Level::Warning, format!("client {}: {}: not a command", client.0, header.name));
                self.close(client);
            }
            Err(error) => {
                self.log(Level::Warning, format!("client {}: message refused: {error}", client.0));
                self.close(client);
            }
        }
    }

    fn command(&mut self, now: Now, client: ClientId, header: Header, command: Command<'_>) {
        let requester = Requester { client, header };
        if self.phase != Phase::Serving {
            return self.fail(&requester, ENDING);
        }
        match command {
            Command::Unikernel(command) => self.unikernel_command(now, requester, command),
            Command::Policy(command) => self.policy_command(requester, command),
            Command::Block(_) => self.fail(&requester, "block devices are not managed by this version"),
            _ => self.fail(&requester, "unknown command"),
        }
    }

    fn unikernel_command(&mut self, now: Now, requester: Requester, command: UnikernelCommand<'_>) {
        match command {
            UnikernelCommand::Info => self.info(&requester, Success::Info),
            UnikernelCommand::InfoV5 => self.info(&requester, Success::InfoV5),
            UnikernelCommand::InfoV4 => self.info(&requester, Success::InfoV4),
            UnikernelCommand::Status => self.status(&requester),
            UnikernelCommand::Get(level) => self.get(requester, level),
            UnikernelCommand::Create(config) => self.create(requester, config, false),
            UnikernelCommand::ForceCreate(config) => self.create(requester, config, true),
            UnikernelCommand::Restart(arguments) => self.restart(now, requester, arguments),
            UnikernelCommand::Destroy => self.destroy(now, requester),
            UnikernelCommand::CreateByDigest(_) | UnikernelCommand::ForceCreateByDigest(_) => {
                self.fail(&requester, "creating by digest is not offered by this version");
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
        if before.as_ref() == Some(&policy) {
            return self.succeed(&requester, UNMODIFIED_POLICY);
        }
        match self.resources.insert_policy(&path, policy) {
            Err(refusal) => self.fail(&requester, refusal.to_string()),
            Ok(()) => {
                let record = self.persist_task();
                self.task(
                    record,
                    Waiting::Acknowledge(requester, ADDED_POLICY.into(), Undo::Policy(path, before)),
                );
            }
        }
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
                let record = self.persist_task();
                let done =
                    Waiting::Acknowledge(requester, "removed policy".into(), Undo::Policy(path, before));
                self.task(record, done);
            }
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        let result = match undo {
            Undo::Nothing => return,
            Undo::Policy(path, Some(policy)) => {
                self.resources.insert_policy(&path, policy).map_err(|e| e.to_string())
            }
            Undo::Policy(path, None) => {
                self.resources.remove_policy(&path).map(|_| ()).map_err(|e| e.to_string())
            }
        };
        if let Err(why) = result {
            self.log(Level::Error, format!("a change that was not written could not be undone: {why}"));
        }
    }

    fn create(&mut self, requester: Requester, config: UnikernelConfig<'_>, force: bool) {
        let (prepared, image) = match prepare(requester, config, force) {
            Ok(ready) => ready,
            Err((requester, why)) => return self.fail(&requester, why),
        };
        if let Err(why) = self.admits(&prepared) {
            return self.fail(&prepared.requester, why);
        }
        let path = self.config.stored_image(&prepared.digest);
        self.task(Task::StoreImage { path, image }, Waiting::Stored(Box::new(prepared)));
    }

    /// Whether a create may be done now.
    fn admits(&self, prepared: &Prepared) -> Result<(), String> {
        let Prepared { requester, force, arguments, .. } = prepared;
        let name = &requester.header.name;
        let Some(existing) = self.unikernels.get(name) else {
            return self.resources.check_unikernel(name, arguments).map_err(|e| e.to_string());
        };
        if !force {
            return Err(format!("unikernel {name} exists already"));
        }
        check_idle(existing)?;
        let check = if existing.admitted {
            self.resources.check_replacement(name, arguments)
        } else {
            self.resources.check_unikernel(name, arguments)
        };
        check.map_err(|e| e.to_string())
    }

    pub(super) fn image_stored(
        &mut self,
        now: Now,
        prepared: Prepared,
        result: Result<Outcome, TaskFailure>,
    ) {
        if let Err(TaskFailure(why)) = result {
            return self.fail(&prepared.requester, format!("the image was not stored: {why}"));
        }
        let checked = match self.phase {
            Phase::Serving => self.admits(&prepared),
            _ => Err(ENDING.to_owned()),
        };
        if let Err(why) = checked {
            self.drop_unused_image(&prepared.digest);
            return self.fail(&prepared.requester, why);
        }
        let name = prepared.requester.header.name.clone();
        match self.unikernels.get_mut(&name).map(|unikernel| &mut unikernel.state) {
            Some(State::Running(running)) => {
                running.stop = Some(AfterStop::Replace(Box::new(prepared)));
                self.ask_to_end(now, &name);
            }
            Some(_) => {
                self.remove_unikernel(&name);
                self.start_new(now, prepared);
            }
            None => self.start_new(now, prepared),
        }
    }

    /// Puts a unikernel on record and begins to start it.
    pub(super) fn start_new(&mut self, now: Now, prepared: Prepared) {
        let Prepared { requester, arguments, digest, image, .. } = prepared;
        let name = requester.header.name.clone();
        if let Err(refusal) = self.resources.insert_unikernel(&name, &arguments) {
            self.drop_unused_image(&digest);
            return self.fail(&requester, refusal.to_string());
        }
        let unikernel = Unikernel {
            arguments,
            digest,
            image: Some(image),
            admitted: true,
            state: State::Starting(Box::new(Start::new(Step::LoadImage, Cause::Create(requester)))),
            since: now.wall,
            restarts: 0,
            last_exit: None,
            backoff: Backoff::default(),
        };
        self.unikernels.insert(name.clone(), unikernel);
        self.next_step(now, &name);
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
        if let Some(image) = &unikernel.image {
            image::devices_match(image, arguments).map_err(|e| e.to_string())?;
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
            unikernel.arguments = *arguments;
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
                let record = self.persist_task();
                let text = "destroyed: removed from restarting".into();
                self.task(record, Waiting::Acknowledge(requester, text, Undo::Nothing));
            }
        }
    }
}

/// A unikernel of which nothing else is being done.
fn check_idle(unikernel: &Unikernel) -> Result<(), String> {
    match &unikernel.state {
        State::Starting(_) => Err("it is being started, try again".to_owned()),
        State::Running(running) if running.stop.is_some() => Err("it is being stopped, try again".to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn not_found(name: &Name) -> String {
    format!("unikernel {name} is not running")
}

fn being_stopped(name: &Name) -> String {
    format!("unikernel {name} is being stopped, try again")
}

/// What of a configuration can be checked by itself.
fn check_arguments(arguments: &Arguments) -> Result<(), String> {
    let has_nul = |text: &albatross_proto::Text| text.as_bytes().contains(&0);
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

/// Looks at a new unikernel and its image: what can be refused without knowing what else runs.
fn prepare(
    requester: Requester,
    config: UnikernelConfig<'_>,
    force: bool,
) -> Result<(Prepared, Vec<u8>), (Requester, String)> {
    match look_at(&requester.header.name, &config) {
        Ok((image, inspected)) => {
            let digest = image::digest(&image);
            let arguments = config.arguments;
            Ok((Prepared { requester, force, arguments, digest, image: Rc::new(inspected) }, image))
        }
        Err(why) => Err((requester, why)),
    }
}

fn look_at(name: &Name, config: &UnikernelConfig<'_>) -> Result<(Vec<u8>, Image), String> {
    if name.label().is_none() {
        return Err(format!("path used instead of name: {name} has no label"));
    }
    if !Config::has_room_for(name) {
        return Err(format!("the name {name} is too long for a file name"));
    }
    if config.typ != Typ::Solo5 {
        return Err("bhyve unikernels need FreeBSD".to_owned());
    }
    check_arguments(&config.arguments)?;
    let image = uncompressed(config)?;
    let inspected = image::inspect(&image).map_err(|e| e.to_string())?;
    image::devices_match(&inspected, &config.arguments).map_err(|e| e.to_string())?;
    Ok((image, inspected))
}

/// The image, which must fit into the memory of the unikernel.
fn uncompressed(config: &UnikernelConfig<'_>) -> Result<Vec<u8>, String> {
    let memory = usize::try_from(config.arguments.memory.get()).unwrap_or(0).saturating_mul(MB);
    let limit = memory.min(albatross_proto::frame::MAX_ENCODED);
    match (&config.image, config.compressed) {
        (compressed, true) => image::inflate(compressed, limit).map_err(|e| e.to_string()),
        (image, false) if image.len() > limit => Err(format!(
            "an image of {} bytes does not fit into {} MB of memory",
            image.len(),
            config.arguments.memory
        )),
        (Cow::Borrowed(image), false) => Ok(image.to_vec()),
        (Cow::Owned(image), false) => Ok(image.clone()),
    }
}
