//! What the machine wants, done.

use std::io;

use albatross_core::machine::ClientId;
use albatross_core::vmmd::{Input, Outcome, Output, Spawn, Task, TaskFailure, TaskId};
use albatross_driver::server::Detached;
use albatross_proto::Name;
use albatross_proto::frame::{self, MAX_ENCODED};

use super::Daemon;
use crate::blocks::{self, Wanted};
use crate::process::{self, Begun};
use crate::{files, host, net};

/// Tenders that are started in one turn of the loop: enough for all processors of a small machine to have something to
/// do. Each takes up to a millisecond or two, and a thousand at once would let clients wait for seconds.
const STARTS: usize = 4;

impl Daemon<'_> {
    pub(super) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(client, message) => self.server.send(client.into(), &message),
            Output::Close(client) => {
                // What it has begun to send is of no use to anybody.
                self.incoming.forget(client, &mut self.images);
                self.server.close(client.into());
            }
            Output::OpenSpool(spool) => self.images.open(spool),
            Output::FillSpool(spool, octets) => self.images.fill(spool, &octets),
            Output::DropSpool(spool) => self.images.drop_spool(spool),
            Output::EndStream(client) => self.blocks.end_stream(client),
            Output::ConnectConsole => {
                let connected = self.console.connect(&mut self.server);
                let there = self.is_there("console", connected);
                self.inputs.push_back(if there { Input::ConsoleConnected } else { Input::ConsoleClosed });
            }
            Output::ConnectLog => {
                let connected = self.event_log.connect(&mut self.server);
                let there = self.is_there("log", connected);
                self.inputs.push_front(if there { Input::LogConnected } else { Input::LogClosed });
            }
            Output::SendLog(message) => self.event_log.send(&mut self.server, &message),
            Output::CloseLog => self.event_log.close(&mut self.server),
            Output::SendConsole(message) => self.console.send(&mut self.server, &message),
            Output::Task(id, task) => {
                if let Some(result) = self.task(id, task) {
                    self.inputs.push_back(Input::Done(id, result));
                }
            }
            Output::Kill(pid, signal) => {
                if let Err(error) = self.processes.kill(pid, signal) {
                    self.log.error(format_args!("cannot end process {pid}: {error}"));
                }
            }
            Output::LimitGroup(group) => {
                let limited = self.confinement.groups.limit(&group);
                self.report_group("limit", &group.name, limited);
            }
            Output::KillGroup(name) => self.report_group("kill", &name, self.confinement.groups.kill(&name)),
            Output::RemoveGroup(name) => {
                self.report_group("remove", &name, self.confinement.groups.remove(&name));
            }
            Output::Note(pid, note) => {
                if let Err(error) = self.processes.note(pid, &note) {
                    self.log.error(format_args!("cannot write {}: {error}", note.path.display()));
                }
            }
            Output::RemoveFile(path) => self.report(files::remove(&path)),
            Output::RemoveTap(tap) => self.report(net::remove_tap(&tap)),
            Output::TakeBackBlocks(files) => self.report(process::take_back_blocks(&files)),
            Output::Log(level, text) => self.log.log(level.into(), text),
            Output::StopListening => self.server.stop_listening(),
            Output::Exit => self.over = true,
            other => self.log.error(format_args!("the machine wants what this daemon cannot do: {other:?}")),
        }
    }

    /// Starts the first of the tenders that are to be started. While one is on its way, which is mostly waiting for
    /// the kernel, the next is begun.
    pub(super) fn start_some(&mut self) {
        let some = self.spawns.len().min(STARTS);
        let spawns: Vec<_> = self.spawns.drain(..some).collect();
        let begun: Vec<_> = spawns.iter().map(|(_, spawn)| self.begin(spawn)).collect();
        for ((id, spawn), begun) in spawns.iter().zip(begun) {
            let registry = self.server.registry();
            let became =
                begun.and_then(|begun| self.processes.became(begun, &self.confinement, spawn, registry));
            self.inputs.push_back(Input::Done(*id, became.map(Outcome::Process)));
        }
        self.handle_inputs();
    }

    fn begin(&mut self, spawn: &Spawn) -> Result<Begun, TaskFailure> {
        let (token, needs) = (self.server.token(), self.tenders.needs(&spawn.tender));
        self.processes.begin(&self.confinement, spawn, needs, self.server.registry(), token)
    }

    /// Takes the connection of a client out of the loop, with the octets of frames that came already.
    fn take_out(&mut self, client: ClientId) -> Option<(Detached, Vec<u8>)> {
        let connection = match self.server.detach(client.into()) {
            Ok(connection) => connection?,
            Err(error) => {
                self.log.warning(format_args!("client {}: {error}", client.0));
                return None;
            }
        };
        // The beginning of a frame that is no chunk; its length is with the connection.
        self.incoming.forget(client, &mut self.images);
        let mut came = Vec::new();
        let images = &mut self.images;
        self.inputs.retain(|input| match input {
            Input::Frame(from, octets) if *from == client => {
                came.extend(frame::frame(octets));
                false
            }
            Input::LargeFrame(from, _, spool) if *from == client => {
                images.drop_spool(*spool);
                // Longer than any chunk.
                came.extend([u8::MAX; frame::HEADER_LENGTH]);
                false
            }
            _ => true,
        });
        Some((connection, came))
    }

    /// A task about a block device is over.
    pub(super) fn take_back(&mut self, blocks::Answer { task, result, back, last }: blocks::Answer) {
        if let Some((client, stream)) = back {
            match self.server.reattach(client.into(), stream, MAX_ENCODED) {
                // What its client asks for when it has this is heard when the task is known to be done.
                Ok(()) => self.server.send_frames(client.into(), &last),
                Err(error) => self.log.warning(format_args!("client {}: {error}", client.0)),
            }
        }
        self.inputs.push_back(Input::Done(task, result));
    }

    fn report_group(&self, what: &str, name: &Name, result: io::Result<()>) {
        if let Err(error) = result {
            self.log.error(format_args!("{name}: cannot {what} the control group of its tender: {error}"));
        }
    }

    fn report(&self, result: Result<(), TaskFailure>) {
        if let Err(TaskFailure(why)) = result {
            self.log.error(why);
        }
    }

    /// Whether another daemon was connected to.
    fn is_there(&self, daemon: &str, connected: Result<(), String>) -> bool {
        connected.inspect_err(|why| self.log.debug(format_args!("{daemon} daemon at {why}"))).is_ok()
    }

    /// Carries out a task; `None` where the answer comes later.
    fn task(&mut self, id: TaskId, task: Task) -> Option<Result<Outcome, TaskFailure>> {
        let done = |result: Result<(), TaskFailure>| Some(result.map(|()| Outcome::Done));
        match task {
            Task::StoreImage { source, compressed, limit, expected } => {
                self.images.store(id, source, compressed, limit, expected);
                None
            }
            Task::InspectImage { path, digest } => {
                self.images.inspect(id, path, digest);
                None
            }
            Task::SendImage { client, header, path, level } => {
                self.sending.announce(id, client.into(), header, level > 0);
                self.images.prepare(id, path, level);
                None
            }
            Task::MakeBlock { file, content } => {
                self.blocks.make(id, file, content);
                None
            }
            Task::FillBlock { file, content } => {
                self.blocks.fill(id, file, content);
                None
            }
            Task::RemoveBlock { path } => {
                self.blocks.remove(id, path);
                None
            }
            Task::ReceiveBlock { client, begun, file, compressed } => {
                let Some((connection, came)) = self.take_out(client) else { return Some(client_is_gone()) };
                self.blocks.receive(id, client, connection, [begun, came].concat(), file, compressed);
                None
            }
            Task::SendBlock { client, header, file: place, level, form } => {
                let Some((connection, _)) = self.take_out(client) else { return Some(client_is_gone()) };
                self.blocks.send(id, client, connection, Wanted { header, place, level, form });
                None
            }
            Task::LookAtHost => {
                let looked = host::policy(&self.dbdir).map(Outcome::Host);
                let result = looked.map_err(|error| TaskFailure(error.to_string()));
                // Before whatever came from a client behind the command that waits for it.
                self.inputs.push_front(Input::Done(id, result));
                None
            }
            Task::FindTender { target, abi_version } => self.tenders.find(id, target, abi_version),
            Task::PlaceImage { from, to } => done(files::place(&from, &to)),
            Task::MakeFifo { path } => done(files::make_fifo(&path)),
            Task::MakeTap { bridge, owner } => Some(self.taps.make(&bridge, owner).map(Outcome::Tap)),
            Task::Spawn(spawn) => {
                self.spawns.push_back((id, spawn));
                None
            }
            Task::Persist { path, record } => done(self.record.replace(&path, &record)),
            Task::Append { path, entry } => done(self.record.append(&path, &entry)),
            _ => Some(Err(TaskFailure("this daemon cannot do that".to_owned()))),
        }
    }
}

fn client_is_gone() -> Result<Outcome, TaskFailure> {
    Err(TaskFailure("the client is gone".to_owned()))
}
