//! What the machine of albatrossd wants, carried out on the modelled host.

use std::path::Path;
use std::time::Duration;

use albatross_core::machine::ClientId;
use albatross_core::vmmd::{Input, Note, Outcome, Output, Signal, SpoolId, Task, TaskId};
use albatross_proto::reply::Exit;
use albatross_proto::{Int, Name};

use crate::Sabotage;
use crate::blocks::file_of;
use crate::clients::MOST_ANNOUNCED;
use crate::effects::{Done, failed};
use crate::host::{Host, Job, Process};
use crate::script::{End, Kind};

/// Something that waits to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Job(usize),
    Connect,
    /// The connection to the console daemon is gone.
    LostLink,
    ToConsole,
    FromConsole,
    Exit(usize),
    /// Something can be read from the fifo of this reader.
    Read(albatross_core::console::FifoId),
    /// A subscriber has taken what was sent.
    Taken(ClientId),
    ToStatistics,
    FromStatistics,
    /// A subscriber of statistics takes what was sent.
    Figures(ClientId),
}

impl Host {
    /// Every output has its place here.
    pub(crate) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(client, message) => self.reply(client, &message),
            Output::Close(client) => self.close(client),
            Output::ConnectConsole => self.connects += 1,
            Output::SendConsole(message) => self.send_console(message),
            Output::ConnectLog => self.log.wanted = true,
            Output::SendLog(message) => self.send_log(message),
            Output::Task(id, task) => {
                let record = matches!(task, Task::Persist { .. } | Task::Append { .. });
                let block = file_of(&task).map(Path::to_owned);
                self.check_single(&task);
                self.detach(&task);
                let hangs = matches!(task, Task::FindTender { .. }) && self.mute > 0;
                let mut begin = self.now;
                if hangs {
                    self.mute -= 1;
                    begin += VERSION_PATIENCE;
                }
                if matches!(task, Task::FindTender { .. }) && self.spoils(Sabotage::ForgetTask) {
                    return;
                }
                let client = client_of(&task);
                self.jobs.push(Job {
                    id,
                    record,
                    block,
                    client,
                    task: Some(task),
                    answer: None,
                    hangs,
                    begin,
                });
            }
            Output::EndStream(client) => self.end_stream(client),
            Output::OpenSpool(spool) => self.open_spool(spool),
            Output::FillSpool(spool, octets) => self.fill_spool(spool, &octets),
            Output::DropSpool(spool) => self.drop_spool(spool),
            Output::Kill(pid, signal) => self.kill(pid, signal),
            Output::RemoveFile(path) => self.remove_file(&path),
            Output::RemoveTap(tap) => self.remove_tap(&tap),
            Output::TakeBackBlocks(files) => self.take_back(&files),
            Output::LimitGroup(group) => self.limit_group(&group.name),
            Output::KillGroup(_) => {}
            Output::RemoveGroup(name) => self.remove_group(&name),
            Output::Note(pid, Note { path, tender }) => {
                if !self.processes.contains_key(&pid) && !self.ended.contains_key(&pid) {
                    self.broke(format!("process {pid} is noted and is nobody's"));
                }
                self.notes.insert(path, (pid, tender));
            }
            Output::Log(..) | Output::StopListening => {}
            Output::Exit => self.over = true,
            other => self.broke(format!("an output that is not modelled: {other:?}")),
        }
    }

    /// Whether this promise is to be broken now: not the first time, so that some runs go well.
    pub(crate) fn spoils(&mut self, sabotage: Sabotage) -> bool {
        if self.sabotage != Some(sabotage) {
            return false;
        }
        self.sabotaged += 1;
        self.sabotaged.is_multiple_of(2)
    }

    pub(crate) fn pending(&self) -> Vec<Pending> {
        let mut all = Vec::new();
        // The record's are carried out and answered in order.
        let first = |done: bool| self.jobs.iter().position(|job| job.record && job.task.is_none() == done);
        let may = |(index, job): &(usize, &Job)| {
            let in_turn = !job.record || first(job.task.is_none()) == Some(*index);
            in_turn && job.begin <= self.now && job.task.as_ref().is_none_or(|task| self.may_stream(task))
        };
        all.extend(self.jobs.iter().enumerate().filter(may).map(|(index, _)| Pending::Job(index)));
        all.extend((self.connects > 0).then_some(Pending::Connect));
        all.extend(self.exits.iter().enumerate().map(|(index, _)| Pending::Exit(index)));
        self.console.pending(&self.pipes, &mut all);
        self.gathering.pending(&mut all);
        all
    }

    pub(crate) fn work_some(&mut self, choice: usize, times: usize) {
        let mut choice = choice;
        for _ in 0..times {
            let pending = self.pending();
            if pending.is_empty() || self.stopped() {
                return;
            }
            self.work(pending[choice % pending.len()], choice.is_multiple_of(7));
            choice = choice / 3 + 7;
        }
    }

    pub(crate) fn drain(&mut self) {
        for _ in 0..100_000 {
            let pending = self.pending();
            if pending.is_empty() || self.stopped() {
                return;
            }
            self.work(pending[0], false);
        }
        self.broke("there is no end of work");
    }

    /// Carries out one thing; where `later`, the answer to a task comes another time.
    fn work(&mut self, pending: Pending, later: bool) {
        match pending {
            Pending::Job(index) => self.job(index, later),
            Pending::Connect => self.connect_console(),
            Pending::LostLink => {
                self.console.lost = false;
                self.give(Input::ConsoleClosed);
            }
            Pending::ToConsole => self.deliver_to_console(),
            Pending::FromConsole => self.deliver_from_console(),
            Pending::Exit(index) => {
                if let Some((pid, exit)) = self.exits.remove(index) {
                    self.statistics.running.remove(&pid);
                    self.give(Input::Exited { pid, exit: Some(exit) });
                }
            }
            Pending::Read(fifo) => self.read_fifo(fifo),
            Pending::Taken(client) => self.taken(client),
            Pending::ToStatistics => self.deliver_to_gathering(),
            Pending::FromStatistics => self.deliver_from_gathering(),
            Pending::Figures(client) => self.take_figures(client),
        }
    }

    fn job(&mut self, index: usize, later: bool) {
        let id = self.jobs[index].id;
        let Some(task) = self.jobs[index].task.take() else {
            if let Some(answer) = self.jobs.remove(index).answer {
                self.answer(id, answer);
            }
            return;
        };
        if self.jobs[index].client.is_some() {
            return self.stream_job(index, task, later);
        }
        let waits = |job: &Job| job.record && job.answer.is_some();
        let later = match task {
            // The driver tells of a process before it can tell of its end.
            Task::Spawn(_) => false,
            Task::Persist { .. } | Task::Append { .. } => later || self.jobs.iter().any(waits),
            _ => later,
        };
        let answer = if self.jobs[index].hangs {
            self.counts.faults += 1;
            failed("the tender does not answer --version")
        } else {
            self.effect(task)
        };
        self.atom();
        if self.stopped() {
            return;
        }
        if later {
            self.jobs[index].answer = Some(answer);
        } else {
            self.jobs.remove(index);
            if let Ok(Outcome::Process(pid)) = &answer
                && let Some(process) = self.processes.get(pid)
            {
                self.statistics.running.insert(*pid, process.name.clone());
            }
            self.answer(id, answer);
        }
    }

    fn stream_job(&mut self, index: usize, task: Task, later: bool) {
        let id = self.jobs[index].id;
        let Some(answer) = self.stream_task(&task) else {
            return self.jobs[index].task = Some(task);
        };
        self.atom();
        if self.stopped() {
            return;
        }
        // The connection comes back with the answer.
        if later {
            self.jobs[index].answer = Some(answer);
        } else {
            self.jobs.remove(index);
            self.answer(id, answer);
        }
    }

    fn answer(&mut self, id: TaskId, answer: Done) {
        // Those of streams whose task is over.
        let streams = |client: &ClientId| self.jobs.iter().any(|job| job.client == Some(*client));
        let over: Vec<ClientId> = self.threads.keys().filter(|client| !streams(client)).copied().collect();
        over.iter().for_each(|client| _ = self.threads.remove(client));
        self.give(Input::Done(id, answer));
    }

    fn open_spool(&mut self, id: SpoolId) {
        self.next_spool += 1;
        self.counts.spooled += 1;
        self.spooled += 1;
        let path = self.config.images().join(format!("{}.new", self.next_spool));
        // What cannot be made is told when the image is stored.
        let there = self.spools.len() < MAX_SPOOLS && !self.fails(Kind::OpenSpool);
        if there {
            self.disk.create(&path, b"");
        }
        if self.spools.insert(id, there.then_some(path)).is_some() {
            self.broke(format!("{id:?} was opened twice"));
        }
    }

    pub(crate) fn fill_spool(&mut self, id: SpoolId, octets: &[u8]) {
        self.spooled += 1;
        let too_much = matches!(id, SpoolId::Stream(_)) && self.sabotage == Some(Sabotage::FillTooMuch);
        let times = if too_much { 1 + MOST_ANNOUNCED } else { 1 };
        let Some(spool) = self.spools.get(&id) else {
            return self.broke(format!("{id:?} is filled and not open"));
        };
        let Some(path) = spool else { return };
        for _ in 0..times {
            self.disk.append(path, octets);
        }
        let length = self.disk.read(path).map_or(0, <[u8]>::len);
        if length > MOST_ANNOUNCED && matches!(id, SpoolId::Stream(_)) {
            self.broke(format!("{id:?} has {length} octets, more than any client announced"));
        }
    }

    /// A long frame came: its image is in a file.
    pub(crate) fn spool_frame(&mut self, octets: &[u8]) -> SpoolId {
        let id = SpoolId::Frame(self.next_spool);
        self.open_spool(id);
        self.fill_spool(id, octets);
        id
    }

    fn drop_spool(&mut self, id: SpoolId) {
        if self.spoils(Sabotage::KeepSpool) {
            return;
        }
        match self.spools.remove(&id) {
            Some(path) => path.iter().for_each(|path| _ = self.disk.remove(path)),
            None => self.broke(format!("{id:?} is dropped and not open")),
        }
    }

    fn kill(&mut self, pid: u32, signal: Signal) {
        let Some(process) = self.processes.get_mut(&pid) else {
            if !self.exits.iter().any(|(other, _)| *other == pid) {
                self.broke(format!("process {pid} is killed and is nobody's"));
            }
            return;
        };
        process.killed = true;
        if signal == Signal::Kill || !process.deaf {
            let number = if signal == Signal::Kill { 9 } else { 15 };
            self.end_process(pid, Exit::Signalled(Int::from(number)));
        }
    }

    fn end_process(&mut self, pid: u32, exit: Exit) {
        if let Some(process) = self.processes.remove(&pid) {
            self.pipes[process.pipe].writer = None;
            self.ended.insert(pid, exit);
            self.exits.push_back((pid, exit));
        }
    }

    fn remove_file(&mut self, path: &Path) {
        if path.starts_with(self.config.blocks()) {
            return self.remove_unfinished(path);
        }
        if path.starts_with(self.config.notes()) {
            if self.notes.get(path).is_some_and(|(pid, _)| self.processes.contains_key(pid)) {
                self.broke(format!("{} is removed while it runs", path.display()));
            }
            self.notes.remove(path);
            return;
        }
        if let Some(process) = self.processes.values().find(|one| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|file| file == one.name.to_string() || file == format!("{}.img", one.name))
        }) {
            let name = process.name.clone();
            return self.broke(format!("{} is removed while {name} runs", path.display()));
        }
        if path.starts_with(self.config.images()) {
            if self.spoils(Sabotage::LeaveImage) {
                return;
            }
            // Two that had it may be taken off the record at once: it goes twice.
            self.disk.remove(path);
            return self.check_record();
        }
        if let Some(pipe) = self.fifos.remove(path) {
            self.pipes[pipe].linked = false;
        } else if self.placed.remove(path).is_none() {
            self.broke(format!("{} is removed and is not there", path.display()));
        }
    }

    fn remove_tap(&mut self, tap: &str) {
        if self.spoils(Sabotage::ForgetTap) {
            return;
        }
        if !self.taps.remove(tap) {
            self.broke(format!("{tap} is removed and is not there"));
        }
        if self.processes.values().any(|process| process.taps.iter().any(|other| other == tap)) {
            self.broke(format!("{tap} is removed and in use"));
        }
    }

    fn limit_group(&mut self, name: &Name) {
        if !self.groups.contains(name) {
            self.broke(format!("{name} is taken over and has no group"));
        }
    }

    fn remove_group(&mut self, name: &Name) {
        if self.spoils(Sabotage::ForgetGroup) {
            return;
        }
        if !self.groups.remove(name) {
            self.broke(format!("the group of {name} is removed and is not there"));
        }
        if self.processes.values().any(|process| process.name == *name) {
            self.broke(format!("the group of {name} is removed and in use"));
        }
    }

    /// One of the tenders that run.
    fn tender(&self, choice: usize) -> Option<u32> {
        let all: Vec<u32> = self.processes.keys().copied().collect();
        (!all.is_empty()).then(|| all[choice % all.len()])
    }

    pub(crate) fn deafen(&mut self, choice: usize) {
        if let Some(process) = self.tender(choice).and_then(|pid| self.processes.get_mut(&pid)) {
            process.deaf = true;
        }
    }

    pub(crate) fn die(&mut self, choice: usize, end: End) {
        let Some(pid) = self.tender(choice) else { return };
        let Process { name, killed, .. } = &self.processes[&pid];
        let (name, killed) = (name.clone(), *killed);
        let exit = match end {
            End::Exit(code) => Exit::Exited(Int::from(code)),
            End::Signal(number) => Exit::Signalled(Int::from(number)),
        };
        if !killed {
            self.ledger.ended(&name, exit);
        }
        self.end_process(pid, exit);
    }

    /// A whole line, several times, as far as the fifo takes it.
    pub(crate) fn print(&mut self, choice: usize, lines: usize, long: bool) {
        let Some(pid) = self.tender(choice) else { return };
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let pipe = &mut self.pipes[process.pipe];
        let (times, width) = if long { (130, 470) } else { (lines, 0) };
        for _ in 0..times {
            let line = format!("{} {pid} {:width$}\n", process.name, process.lines);
            if pipe.octets.len() + line.len() <= PIPE {
                pipe.octets.extend(line.as_bytes());
                process.lines += 1;
            }
        }
    }
}

/// The client whose connection is with a task.
const fn client_of(task: &Task) -> Option<ClientId> {
    match task {
        Task::ReceiveBlock { client, .. } | Task::SendBlock { client, .. } => Some(*client),
        _ => None,
    }
}

/// Images that may be on their way at once: few, so that there are more now and then.
const MAX_SPOOLS: usize = 3;
/// How long a tender may take to tell its version: that of the driver.
const VERSION_PATIENCE: Duration = Duration::from_secs(5);
/// What a fifo holds on Linux.
const PIPE: usize = 64 * 1024;
