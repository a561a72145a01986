//! What clients put on block devices.

use albatross_core::image;
use albatross_core::machine::ClientId;
use albatross_proto::command::BlockCommand;
use albatross_proto::{Command, Int, Name};

use crate::blocks::MB;
use crate::devices::BlockChange;
use crate::host::Host;
use crate::ledger::Change;
use crate::script::{Chunk, Content};

/// A stream into a block device.
pub(crate) struct Filling {
    pub(crate) name: Name,
    pub(crate) sequence: i64,
    pub(crate) compressed: bool,
    /// What was sent.
    pub(crate) sent: Vec<u8>,
}

impl Host {
    /// Octets that nobody else sends, on so many MB.
    fn content(&self, Content { length, compressed, damaged }: Content) -> (Vec<u8>, Option<Vec<u8>>) {
        let number = u8::try_from(self.next_sequence % 250).unwrap();
        let octets: Vec<u8> = (0..length).map(|at| if at % 5 == 4 { 0 } else { number + 1 }).collect();
        let mut sent = if compressed { image::deflate(&octets, 6) } else { octets.clone() };
        if damaged {
            sent.pop();
        }
        let whole = if !damaged {
            Some(octets)
        } else if compressed {
            None
        } else {
            Some(sent.clone())
        };
        (sent, whole)
    }

    pub(crate) fn ask_add_block(
        &mut self,
        client: ClientId,
        name: Name,
        size: i32,
        content: Option<Content>,
    ) {
        let length = usize::try_from(size).unwrap_or(0) * MB;
        let (command, octets) = match content {
            None => (BlockCommand::Add(Int::from(size)), Some(Vec::new())),
            Some(content) => {
                let (sent, whole) = self.content(content);
                let compressed = content.compressed;
                let data = Some(sent.into());
                (BlockCommand::AddOld { size: Int::from(size), compressed, data }, whole)
            }
        };
        let change = Change::Block(name.clone(), BlockChange::Add(length, octets));
        self.send(client, "block-add", name, Command::Block(command), change);
    }

    pub(crate) fn ask_set_block(&mut self, client: ClientId, name: Name, content: Content, old: bool) {
        let (sent, whole) = self.content(content);
        let compressed = content.compressed;
        if old {
            let change = Change::Block(name.clone(), BlockChange::Set(whole));
            let command = BlockCommand::SetOld { compressed, data: sent.into() };
            return self.send(client, "block-set-old", name, Command::Block(command), change);
        }
        let sequence = self.next_sequence;
        let change = Change::Block(name.clone(), BlockChange::Set(None));
        let Some(state) = self.clients.get_mut(&client).filter(|client| client.is_open()) else { return };
        state.left = Some(sent);
        state.filling = Some(Filling { name: name.clone(), sequence, compressed, sent: Vec::new() });
        self.send(client, "block-set", name, Command::Block(BlockCommand::Set { compressed }), change);
    }

    /// Notes what a client streams into a block device; where it ends the stream, what that makes of the device.
    pub(crate) fn note_filling(&mut self, client: ClientId, left: &[u8], chunk: Chunk) {
        let Some(state) = self.clients.get_mut(&client) else { return };
        let Some(filling) = &mut state.filling else { return };
        let sent = match chunk {
            Chunk::Some(octets) => &left[..octets.min(left.len())],
            Chunk::Rest => left,
            Chunk::End | Chunk::TooMuch => &[],
        };
        filling.sent.extend_from_slice(sent);
        let ends = match chunk {
            Chunk::Some(octets) => octets >= left.len(),
            Chunk::Rest | Chunk::End => true,
            Chunk::TooMuch => false,
        };
        if let Some(Filling { name, sequence, compressed, sent }) = state.filling.take_if(|_| ends) {
            let whole = if compressed { image::inflate(&sent, 1 << 20).ok() } else { Some(sent) };
            self.ledger.devices.streamed(&name, sequence, whole);
        }
    }
}
