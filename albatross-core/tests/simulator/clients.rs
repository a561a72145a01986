//! The clients of albatrossd: what each sent, what it waits for, and what it got.

use std::collections::{BTreeSet, VecDeque};

use albatross_core::image;
use albatross_core::machine::ClientId;
use albatross_core::vmmd::{Input, MAX_PIPELINED};
use albatross_proto::command::{BlockCommand, ByDigest};
use albatross_proto::{
    Arguments, BlockDevice, Command, Config, FailBehaviour, Header, Int, Name, NetDevice, Payload, Policy,
    PolicyCommand, Success, Text, Typ, UnikernelCommand, Wire,
};

use crate::Sabotage;
use crate::devices::BlockChange;
use crate::filling::Filling;
use crate::host::{BRIDGE, Host};
use crate::ledger::{Change, Version};
use crate::script::{Args, Ask, BLOCKS, Chunk, How, NAMES, PATHS};

/// More than any client here announces of a stream.
pub(crate) const MOST_ANNOUNCED: usize = 1000;

/// More changes than are appended to the record's file before it is written anew.
const CHURN: i32 = 300;

#[derive(Default)]
pub(crate) struct Client {
    /// Commands that were not answered, the oldest first.
    pub(crate) waiting: VecDeque<Waiting>,
    /// What is to be streamed after the command that was sent last.
    pub(crate) left: Option<Vec<u8>>,
    /// What it streams into a block device.
    pub(crate) filling: Option<Filling>,
    /// Frames that it sent while it waits for a reply, and the machine has to keep.
    ahead: usize,
    /// It sends no more.
    pub(crate) ended: bool,
    /// The machine closed the connection.
    closed: bool,
    /// It is gone.
    pub(crate) gone: bool,
    /// The machine does not know that it is gone: its connection was with a thread.
    pub(crate) unseen: bool,
    /// What came of a dump, which may be a zlib stream.
    pub(crate) dump: Option<(bool, Vec<u8>)>,
}

pub(crate) struct Waiting {
    pub(crate) header: Header,
    change: Change,
}

impl Client {
    pub(crate) const fn is_open(&self) -> bool {
        !self.closed && !self.gone
    }

    /// Whether it has a connection for all that the machine knows.
    const fn is_known(&self) -> bool {
        !self.closed && (!self.gone || self.unseen)
    }
}

impl Host {
    pub(crate) fn connect(&mut self) -> ClientId {
        let client = ClientId(self.next_client);
        self.next_client += 1;
        self.clients.insert(client, Client::default());
        self.give(Input::Connected(client));
        client
    }

    pub(crate) fn is_open(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(Client::is_open)
    }

    /// One of the clients that may send, often the newest.
    fn client(&self, choice: usize) -> Option<ClientId> {
        let may = |client: &Client| client.is_open() && !client.ended;
        let all: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| may(client)).map(|(id, _)| *id).collect();
        let newest = choice.is_multiple_of(2).then(|| all.last().copied()).flatten();
        newest.or_else(|| (!all.is_empty()).then(|| all[choice % all.len()]))
    }

    fn frame(&mut self, client: ClientId, octets: Vec<u8>) {
        if !self.is_open(client) || self.stopped() || self.send_to_thread(client, &octets) {
            return;
        }
        if let Some(state) = self.clients.get_mut(&client) {
            state.ahead += 1;
        }
        let spooled = self.spooled;
        self.give(Input::Frame(client, octets));
        let taken = self.spooled > spooled || self.threads.contains_key(&client);
        let Some(state) = self.clients.get_mut(&client).filter(|state| state.is_open()) else { return };
        if taken {
            state.ahead = 0;
        }
        let (held, ahead) = (state.waiting.len(), state.ahead);
        if (held > MAX_PIPELINED + 1 || ahead > MAX_PIPELINED + 1) && !self.stopped() {
            self.broke(format!(
                "{held} commands and {ahead} frames of one client are kept, more than may be"
            ));
        }
    }

    pub(crate) fn pipeline(&mut self, choice: usize, ask: Ask) {
        let Some(client) = self.client(choice) else { return };
        if self.clients[&client].left.is_none() {
            self.ask(client, ask);
        }
    }

    pub(crate) fn ask(&mut self, client: ClientId, ask: Ask) {
        let name = |index: usize| NAMES[index].parse::<Name>().unwrap();
        let path = |index: usize| PATHS[index].parse::<Name>().unwrap();
        let block = |index: usize| BLOCKS[index].parse::<Name>().unwrap();
        let at = |index: usize| if index < NAMES.len() { name(index) } else { path(index - NAMES.len()) };
        let unikernel = Command::Unikernel;
        let (kind, to, command, change) = match ask {
            Ask::Create { name: index, how, args, force } => {
                return self.ask_create(client, name(index), how, args, force);
            }
            Ask::Restart { name: index, args } => {
                let arguments = args.map(|args| self.arguments(args));
                let change = Change::Restart(name(index), arguments.clone());
                ("restart", name(index), unikernel(UnikernelCommand::Restart(arguments)), change)
            }
            Ask::Destroy { name: index } => {
                let change = Change::Destroy(name(index));
                ("destroy", name(index), unikernel(UnikernelCommand::Destroy), change)
            }
            Ask::Get { name: index, level } => {
                let get = UnikernelCommand::Get(Int::from(level));
                ("get", name(index), unikernel(get), Change::Nothing)
            }
            Ask::Info { form, at: index } => {
                let forms = [UnikernelCommand::Info, UnikernelCommand::InfoV5, UnikernelCommand::InfoV4];
                ("info", at(index), unikernel(forms[form].clone()), Change::Nothing)
            }
            Ask::Status { at: index } => {
                ("status", at(index), unikernel(UnikernelCommand::Status), Change::Nothing)
            }
            Ask::AddPolicy { path: index, unikernels, memory, bridge, cpus, block } => {
                let policy = Policy {
                    cpuids: (0..cpus).map(Int::from).collect(),
                    unikernels: Int::from(unikernels),
                    memory: Int::from(memory),
                    block: block.map(Int::from),
                    bridges: bridge.then(|| Text::from(BRIDGE)).into_iter().collect(),
                };
                let change = Change::Policy(path(index).path().clone(), Some(policy.clone()));
                // The root's is the host's own: it is not on record, and not for clients.
                let change = if path(index).path().is_root() { Change::Nothing } else { change };
                ("policy-add", path(index), Command::Policy(PolicyCommand::Add(policy)), change)
            }
            Ask::RemovePolicy { path: index } => {
                let change = Change::Policy(path(index).path().clone(), None);
                let change = if path(index).path().is_root() { Change::Nothing } else { change };
                ("policy-remove", path(index), Command::Policy(PolicyCommand::Remove), change)
            }
            Ask::Policies { path: index } => {
                ("policies", path(index), Command::Policy(PolicyCommand::Info), Change::Nothing)
            }
            Ask::Blocks { at } => {
                let to = if at < BLOCKS.len() { block(at) } else { path(at - BLOCKS.len()) };
                ("block-info", to, Command::Block(BlockCommand::Info), Change::Nothing)
            }
            Ask::AddBlock { block: index, size, content } => {
                return self.ask_add_block(client, block(index), size, content);
            }
            Ask::SetBlock { block: index, content, old } => {
                return self.ask_set_block(client, block(index), content, old);
            }
            Ask::DumpBlock { block: index, level, old } => {
                let dump = if old { BlockCommand::DumpOld } else { BlockCommand::Dump };
                let command = Command::Block(dump(Int::from(level)));
                ("block-dump", block(index), command, Change::Nothing)
            }
            Ask::RemoveBlock { block: index } => {
                let change = Change::Block(block(index), BlockChange::Remove);
                ("block-remove", block(index), Command::Block(BlockCommand::Remove), change)
            }
        };
        self.send(client, kind, to, command, change);
    }

    /// Sends a command in a frame.
    pub(crate) fn send(
        &mut self,
        client: ClientId,
        kind: &'static str,
        name: Name,
        command: Command<'_>,
        change: Change,
    ) {
        if let Some(message) = self.announce(client, kind, name, command, change) {
            self.frame(client, message);
        }
    }

    /// Notes a command as sent, and gives its message.
    fn announce(
        &mut self,
        client: ClientId,
        kind: &'static str,
        name: Name,
        command: Command<'_>,
        change: Change,
    ) -> Option<Vec<u8>> {
        if self.stopped() || !self.is_open(client) {
            return None;
        }
        self.counts.command(kind);
        let header = Header::new(self.next_sequence, name);
        self.next_sequence += 1;
        self.ledger.sent(header.sequence, &change);
        let message = Wire::new(header.clone(), Payload::Command(command)).encode().unwrap();
        self.clients.get_mut(&client)?.waiting.push_back(Waiting { header, change });
        Some(message)
    }

    pub(crate) fn flood(&mut self, choice: usize) {
        let Some(client) = self.client(choice).filter(|client| self.clients[client].left.is_none()) else {
            return;
        };
        for _ in 0..2 * MAX_PIPELINED {
            self.ask(client, Ask::Status { at: 0 });
        }
    }

    pub(crate) fn churn(&mut self) {
        for turn in 0..CHURN {
            if self.stopped() {
                return;
            }
            let client = self.connect();
            let add = |unikernels| Ask::AddPolicy {
                path: 2,
                unikernels,
                memory: 200,
                bridge: true,
                cpus: 2,
                block: Some(8),
            };
            self.ask(client, if turn % 3 == 0 { Ask::RemovePolicy { path: 2 } } else { add(4 + turn % 2) });
            self.drain();
            if self.is_open(client) {
                self.hang_up_client(client, true);
            }
        }
    }

    fn arguments(&self, args: Args) -> Arguments {
        let net = NetDevice { name: Text::from("service"), bridge: None, mac: None };
        let disk = Text::from(["d", "e"][args.disk]);
        let block = BlockDevice { name: Text::from("storage"), device: Some(disk), sector_size: None };
        let codes = |all: bool| if all { BTreeSet::new() } else { [0, 7].map(Int::from).into() };
        Arguments {
            fail_behaviour: args
                .restart
                .map_or(FailBehaviour::Quit, |all| FailBehaviour::Restart(codes(all))),
            memory: Int::from(args.memory),
            cpuids: [Int::from(args.cpu)].into(),
            add_name: args.add_name,
            net_devices: if self.images.0[args.image].net { vec![net] } else { Vec::new() },
            block_devices: if self.images.0[args.image].block { vec![block] } else { Vec::new() },
            argv: (args.argument > 0).then(|| vec![Text::from(args.argument.to_string())]),
            startup: (args.argument > 1).then(|| Int::from(args.cpu)),
            ..Arguments::new()
        }
    }

    fn ask_create(&mut self, client: ClientId, name: Name, how: How, args: Args, force: bool) {
        let image = &self.images.0[args.image];
        let arguments = self.arguments(args);
        let version = Version { digest: image.digest, arguments: arguments.clone() };
        let change =
            if force { Change::Force(name.clone(), version) } else { Change::Create(name.clone(), version) };
        let (compressed, octets) = match how {
            How::Frame { compressed } | How::Large { compressed } | How::Digest { compressed, .. } => {
                (compressed, if compressed { &image.compressed } else { &image.octets })
            }
            How::Nonsense => (false, &NONSENSE),
        };
        let config = |image: &[u8]| Config {
            typ: Typ::Solo5,
            compressed,
            image: image.to_vec().into(),
            arguments: arguments.clone(),
        };
        let create = |config| {
            let make = if force { UnikernelCommand::ForceCreate } else { UnikernelCommand::Create };
            Command::Unikernel(make(config))
        };
        match how {
            How::Frame { .. } | How::Nonsense => {
                let kind = if force { "force-create" } else { "create" };
                self.send(client, kind, name, create(config(octets)), change);
            }
            How::Large { .. } => {
                let command = create(config(b""));
                let Some(message) = self.announce(client, "create-large", name, command, change) else {
                    return;
                };
                let spool = self.spool_frame(octets);
                self.give(Input::LargeFrame(client, message, spool));
            }
            How::Digest { lie, whole, .. } => {
                let sha256 = if lie { [7; 32] } else { image::digest(octets) };
                let size = Int::try_from(octets.len()).unwrap();
                let by_digest = ByDigest { config: config(b""), sha256, size };
                let make = if force {
                    UnikernelCommand::ForceCreateByDigest
                } else {
                    UnikernelCommand::CreateByDigest
                };
                let command = Command::Unikernel(make(by_digest));
                self.send(client, "create-by-digest", name, command, change);
                if let Some(state) = self.clients.get_mut(&client).filter(|client| client.is_open()) {
                    state.left = Some(octets.clone());
                }
                if whole {
                    self.stream_to(client, Chunk::Rest);
                }
            }
        }
    }

    pub(crate) fn stream(&mut self, choice: usize, chunk: Chunk) {
        let streams = |client: &Client| client.is_open() && !client.ended && client.left.is_some();
        let all: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| streams(client)).map(|(id, _)| *id).collect();
        if !all.is_empty() {
            self.stream_to(all[choice % all.len()], chunk);
        }
    }

    fn stream_to(&mut self, client: ClientId, chunk: Chunk) {
        let taken = self.clients.get_mut(&client).and_then(|state| state.left.take());
        let Some(mut left) = taken else { return };
        self.note_filling(client, &left, chunk);
        match chunk {
            Chunk::Some(octets) if octets < left.len() => {
                let later = left.split_off(octets);
                if let Some(state) = self.clients.get_mut(&client) {
                    state.left = Some(later);
                }
                self.frame(client, left);
            }
            Chunk::Some(_) | Chunk::Rest => {
                let half = left.split_off(left.len() / 2);
                for octets in [left, half].into_iter().filter(|octets| !octets.is_empty()) {
                    self.frame(client, octets);
                }
                self.frame(client, Vec::new());
            }
            Chunk::End => self.frame(client, Vec::new()),
            Chunk::TooMuch => self.frame(client, vec![0; MOST_ANNOUNCED]),
        }
    }

    pub(crate) fn garbage(&mut self, choice: usize) {
        self.counts.command("garbage");
        let client = self.client(choice).unwrap_or_else(|| self.connect());
        let garbage = b"\x30\x03garbage";
        // Where it streams, it is content.
        let filling = self.clients.get_mut(&client).and_then(|state| state.filling.as_mut());
        if let Some(filling) = filling {
            filling.sent.extend_from_slice(garbage);
        }
        self.frame(client, garbage.to_vec());
    }

    pub(crate) fn hang_up(&mut self, choice: usize, gone: bool) {
        if let Some(client) = self.client(choice) {
            self.hang_up_client(client, gone);
        }
    }

    fn hang_up_client(&mut self, client: ClientId, gone: bool) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        state.gone |= gone;
        state.ended = true;
        if let Some(thread) = self.threads.get_mut(&client) {
            // Whoever has the connection sees it.
            state.unseen = gone;
            thread.ended = true;
            thread.gone = gone;
            return;
        }
        self.give(if gone { Input::Closed(client) } else { Input::Ended(client) });
    }

    /// A message for a client.
    pub(crate) fn reply(&mut self, client: ClientId, message: &[u8]) {
        let Ok(wire) = Wire::decode(message) else {
            return self.broke("a message is sent that nobody can read");
        };
        if self.statistics.has(client) {
            return self.statistics_told(client, message);
        }
        if self.gathering.has(client) {
            return self.gathering_told(message);
        }
        let Some(state) = self.clients.get_mut(&client).filter(|state| state.is_known()) else {
            return self.broke(format!("client {} is sent something and has no connection", client.0));
        };
        state.ahead = 0;
        state.dump = None;
        let Some(Waiting { header, change }) = state.waiting.pop_front() else {
            return self.broke(format!("client {} is answered twice", client.0));
        };
        if wire.header != header {
            return self.broke(format!("client {} is answered {:?}, not {header:?}", client.0, wire.header));
        }
        let unmodified = matches!(&wire.payload, Payload::Success(Success::Text(text))
            if text.as_bytes() == b"no modification of policy");
        let success = match wire.payload {
            Payload::Success(_) => true,
            Payload::Failure(_) => false,
            other => return self.broke(format!("{other:?} is no reply")),
        };
        if success {
            self.counts.done += 1;
        } else {
            self.counts.refused += 1;
        }
        if matches!(change, Change::Destroy(_)) && self.spoils(Sabotage::AnswerTwice) {
            self.reply(client, message);
        }
        // One that fails may be of a policy that is there already.
        let is_policy = matches!(change, Change::Policy(..));
        if !matches!(change, Change::Nothing) && !unmodified && (success || !is_policy) {
            self.answered_command(&header.name, !success);
        }
        self.ledger.answered(header.sequence, &change, success);
        if let Change::Block(name, _) = change {
            match self.ledger.devices.answered(&name, header.sequence, success) {
                Some(wrong) => self.broke(wrong),
                None if success => self.check_acknowledged(&name),
                None => {}
            }
        }
    }

    pub(crate) fn close(&mut self, client: ClientId) {
        if self.statistics.has(client) {
            return self.statistics_closed(client);
        }
        if self.gathering.has(client) {
            return self.close_gathering();
        }
        match self.clients.get_mut(&client) {
            Some(state) if state.is_known() => state.closed = true,
            _ => self.broke(format!("client {} is closed and has no connection", client.0)),
        }
    }

    /// Nobody sends anything more.
    pub(crate) fn end_clients(&mut self) {
        while let Some(client) = self.client(0) {
            if self.stopped() {
                return;
            }
            self.hang_up_client(client, false);
        }
    }

    /// Who waits for a reply, or, at the end, has a connection at all: of those who have `sent` everything.
    pub(crate) fn unanswered(&self, sent: bool) -> Option<String> {
        let waits = |client: &Client| {
            if sent { !client.waiting.is_empty() && client.left.is_none() } else { true }
        };
        let found = self.clients.iter().find(|(_, client)| client.is_open() && waits(client));
        found.map(|(id, client)| {
            let headers: Vec<_> = client.waiting.iter().map(|one| &one.header).collect();
            format!("client {} has an open connection and waits for {headers:?}", id.0)
        })
    }
}

static NONSENSE: Vec<u8> = Vec::new();
