//! Creating a unikernel: what can be refused at once, its image on the way in, and what follows when that
//! is stored.

use std::borrow::Cow;
use std::rc::Rc;

use albatross_proto::frame::{MAX_CHUNK, MAX_ENCODED};
use albatross_proto::unikernel::Config as UnikernelConfig;
use albatross_proto::{Arguments, Name, Typ, command::ByDigest};

use super::command::{ENDING, check_arguments, check_idle};
use super::unikernel::{AfterStop, Cause, Start, State, Step, Unikernel};
use super::{
    Config, ImageSource, Message, Outcome, Output, Phase, Requester, SpoolId, Task, TaskFailure, Vmmd,
    Waiting,
};
use crate::image::{self, Image};
use crate::machine::{ClientId, Now};
use crate::restart::Backoff;

/// Octets in a MB, as memory is counted.
const MB: usize = 1024 * 1024;

/// A create whose image is not known yet.
#[derive(Debug)]
pub(super) struct Creation {
    requester: Requester,
    force: bool,
    arguments: Arguments,
}

/// A create whose image is stored and was looked at.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) requester: Requester,
    pub(super) arguments: Arguments,
    pub(super) digest: [u8; 32],
    pub(super) image: Rc<Image>,
}

/// A create whose image is being streamed.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) spool: SpoolId,
    creation: Creation,
    compressed: bool,
    sha256: [u8; 32],
    /// How many octets may still come.
    left: usize,
}

impl Vmmd {
    pub(super) fn create(
        &mut self,
        requester: Requester,
        config: UnikernelConfig<'_>,
        spool: Option<SpoolId>,
        force: bool,
    ) {
        let UnikernelConfig { typ, compressed, image, arguments } = config;
        let creation = Creation { requester, force, arguments };
        if let Err(why) = self.check_creation(&creation, typ) {
            self.drop_spool(spool);
            return self.fail(&creation.requester, why);
        }
        let source = match (spool, image) {
            (Some(spool), _) => ImageSource::Spool(spool),
            (None, Cow::Borrowed(image)) => ImageSource::Octets(image.to_vec()),
            (None, Cow::Owned(image)) => ImageSource::Octets(image),
        };
        self.store_image(creation, source, compressed, None);
    }

    /// The image follows as a stream.
    pub(super) fn create_by_digest(&mut self, requester: Requester, by_digest: ByDigest, force: bool) {
        let ByDigest { config, sha256, size } = by_digest;
        // What has an image in it, too, is no such command.
        let UnikernelConfig { typ, compressed, arguments, .. } = config;
        let creation = Creation { requester, force, arguments };
        let left = usize::try_from(size.get()).unwrap_or(0).min(MAX_ENCODED);
        let checked = match self.check_creation(&creation, typ) {
            Ok(()) if left == 0 => Err(format!("an image of {size} octets cannot be streamed")),
            checked => checked,
        };
        if let Err(why) = checked {
            return self.fail(&creation.requester, why);
        }
        let Some(client) = self.clients.get_mut(&creation.requester.client) else { return };
        if client.ended && client.pipelined.is_empty() {
            return self.fail(&creation.requester, "no image follows the command");
        }
        let spool = SpoolId::Stream(self.next_spool);
        self.next_spool += 1;
        client.receiving = Some(Box::new(Receiving { spool, creation, compressed, sha256, left }));
        self.output(Output::OpenSpool(spool));
    }

    /// The next octets of a stream, or its end.
    pub(super) fn chunk(&mut self, client: ClientId, Message { octets, image }: Message) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        let Some(receiving) = &mut state.receiving else { return };
        let left = receiving.left.checked_sub(octets.len());
        if let Some(left) =
            left.filter(|_| image.is_none() && octets.len() <= MAX_CHUNK && !octets.is_empty())
        {
            receiving.left = left;
            let spool = receiving.spool;
            return self.output(Output::FillSpool(spool, octets));
        }
        let Some(receiving) = state.receiving.take() else { return };
        let Receiving { spool, creation, compressed, sha256, .. } = *receiving;
        if octets.is_empty() {
            return self.store_image(creation, ImageSource::Spool(spool), compressed, Some(sha256));
        }
        self.drop_spool(image);
        self.output(Output::DropSpool(spool));
        let why = if left.is_none() {
            "the image is longer than was announced"
        } else {
            "a part of the image is longer than a frame of a stream may be"
        };
        self.fail(&creation.requester, why);
    }

    /// A client sends no more, and its stream has not ended.
    pub(super) fn stream_cut(&mut self, client: ClientId) {
        let receiving = self.clients.get_mut(&client).and_then(|state| state.receiving.take());
        if let Some(Receiving { spool, creation, .. }) = receiving.map(|receiving| *receiving) {
            self.output(Output::DropSpool(spool));
            self.fail(&creation.requester, "the image was cut off: no empty frame ended the stream");
        }
    }

    fn store_image(
        &mut self,
        creation: Creation,
        source: ImageSource,
        compressed: bool,
        expected: Option<[u8; 32]>,
    ) {
        let memory = usize::try_from(creation.arguments.memory.get()).unwrap_or(0).saturating_mul(MB);
        let limit = memory.min(MAX_ENCODED);
        let task = Task::StoreImage { source, compressed, limit, expected };
        self.task(task, Waiting::Stored(Box::new(creation)));
    }

    /// What can be refused of a new unikernel without its image.
    fn check_creation(&self, creation: &Creation, typ: Typ) -> Result<(), String> {
        let Creation { requester, force, arguments } = creation;
        let name = &requester.header.name;
        if name.label().is_none() {
            return Err(format!("path used instead of name: {name} has no label"));
        }
        check_runnable(name, typ)?;
        check_arguments(arguments)?;
        self.admits(name, *force, arguments)
    }

    /// Whether a create may be done now.
    pub(super) fn admits(&self, name: &Name, force: bool, arguments: &Arguments) -> Result<(), String> {
        if self.is_stray(name) {
            return Err(format!("a tender of {name} that is not on record is being killed, try again"));
        }
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
        creation: Creation,
        result: Result<Outcome, TaskFailure>,
    ) {
        let Creation { requester, force, arguments } = creation;
        match result {
            Ok(Outcome::Stored { digest, image }) => {
                let checked = match self.phase {
                    Phase::Serving => image::devices_match(&image, &arguments)
                        .map_err(|e| e.to_string())
                        .and_then(|()| self.admits(&requester.header.name, force, &arguments)),
                    _ => Err(ENDING.to_owned()),
                };
                match checked {
                    Ok(()) => {
                        let image = Rc::new(image);
                        self.replace_or_start(now, Prepared { requester, arguments, digest, image });
                    }
                    Err(why) => {
                        self.drop_unused_image(&digest);
                        self.fail(&requester, why);
                    }
                }
            }
            Ok(_) => self.fail(&requester, "the image was not stored"),
            Err(TaskFailure(why)) => self.fail(&requester, why),
        }
        // What could have been this image can be told now.
        for digest in std::mem::take(&mut self.doubtful) {
            self.drop_unused_image(&digest);
        }
    }

    fn replace_or_start(&mut self, now: Now, prepared: Prepared) {
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
        let Prepared { requester, arguments, digest, image } = prepared;
        let name = requester.header.name.clone();
        self.forget_ended(&name);
        if let Err(refusal) = self.resources.insert_unikernel(&name, &arguments) {
            self.drop_unused_image(&digest);
            return self.fail(&requester, refusal.to_string());
        }
        let unikernel = Unikernel {
            typ: Typ::Solo5,
            arguments,
            recorded: None,
            digest,
            image: Some(image),
            admitted: true,
            state: State::Starting(Box::new(Start::new(Step::InspectImage, Cause::Create(requester)))),
            since: now.wall,
            restarts: 0,
            last_exit: None,
            backoff: Backoff::default(),
        };
        self.unikernels.insert(name.clone(), unikernel);
        self.next_step(now, &name);
    }
}

/// Whether a unikernel of this name and kind can be run here at all.
pub(super) fn check_runnable(name: &Name, typ: Typ) -> Result<(), String> {
    if !Config::has_room_for(name) {
        return Err(format!("the name {name} is too long for a file name"));
    }
    if typ != Typ::Solo5 {
        return Err("bhyve unikernels need FreeBSD".to_owned());
    }
    Ok(())
}
