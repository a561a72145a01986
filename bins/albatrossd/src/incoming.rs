//! Long frames on their way in: the image of a create goes to a file as it comes.

use std::collections::HashMap;

use albatross_core::machine::ClientId;
use albatross_core::vmmd::{Input, SpoolId};
use albatross_driver::server::Part;
use albatross_proto::frame::MAX_MESSAGE;
use albatross_proto::large::{Found, ImageAt, find_image};

use crate::images::Images;

/// Longer frames come in parts. Chunks of streams are never longer, and what is shorter is little memory.
pub(crate) const WHOLE: usize = albatross_proto::frame::MAX_CHUNK;

/// The most octets of a create that follow its image: its arguments, of which Linux passes 2 MB.
const MAX_AFTER_IMAGE: usize = MAX_MESSAGE;

/// The frames of which the end has not come.
#[derive(Default)]
pub(crate) struct Incoming {
    frames: HashMap<ClientId, Frame>,
    next_spool: u64,
}

enum Frame {
    /// Not enough has come to tell what it is.
    Begin(Vec<u8>),
    /// A create.
    Create(Box<Create>),
    /// Anything else.
    Other(Vec<u8>),
}

struct Create {
    at: ImageAt,
    spool: SpoolId,
    before: Vec<u8>,
    /// Octets that came, of all of the frame.
    position: usize,
    after: Vec<u8>,
}

impl Incoming {
    /// The next part of a client's frame: its message when all has come. An error is text for the log; the
    /// client is of no more use.
    pub(crate) fn part(
        &mut self,
        client: ClientId,
        part: Part,
        images: &mut Images,
    ) -> Result<Option<Input>, &'static str> {
        let Part { length, octets, last } = part;
        let mut frame = match self.frames.remove(&client).unwrap_or(Frame::Begin(Vec::new())) {
            Frame::Begin(begin) => self.begin([begin, octets].concat(), length, images),
            Frame::Create(mut create) => {
                create.take(&octets, images);
                Frame::Create(create)
            }
            Frame::Other(mut whole) => {
                whole.extend(octets);
                Frame::Other(whole)
            }
        };
        if let Frame::Create(create) = &mut frame
            && create.after.len() > MAX_AFTER_IMAGE
        {
            images.drop_spool(create.spool);
            return Err("a create with too much after its image");
        }
        if !last {
            self.frames.insert(client, frame);
            return Ok(None);
        }
        Ok(Some(match frame {
            Frame::Begin(whole) | Frame::Other(whole) => Input::Frame(client, whole),
            Frame::Create(create) => {
                Input::LargeFrame(client, create.at.cut_out(&create.before, &create.after), create.spool)
            }
        }))
    }

    fn begin(&mut self, begin: Vec<u8>, length: usize, images: &mut Images) -> Frame {
        match find_image(&begin, length) {
            Found::TooShort => Frame::Begin(begin),
            Found::Nothing => Frame::Other(begin),
            Found::Image(at) => {
                let spool = SpoolId::Frame(self.next_spool);
                self.next_spool += 1;
                images.open(spool);
                let (before, rest) = begin.split_at_checked(at.octets().start).unwrap_or((&begin, &[]));
                let position = at.octets().start;
                let mut create = Create { at, spool, before: before.to_vec(), position, after: Vec::new() };
                create.take(rest, images);
                Frame::Create(Box::new(create))
            }
        }
    }

    /// A client is gone, with what it had begun.
    pub(crate) fn forget(&mut self, client: ClientId, images: &mut Images) {
        if let Some(Frame::Create(create)) = self.frames.remove(&client) {
            images.drop_spool(create.spool);
        }
    }
}

impl Create {
    fn take(&mut self, octets: &[u8], images: &mut Images) {
        let of_image = self.at.octets().end.saturating_sub(self.position).min(octets.len());
        let (image, after) = octets.split_at_checked(of_image).unwrap_or((octets, &[]));
        images.fill(self.spool, image);
        self.after.extend_from_slice(after);
        self.position += octets.len();
    }
}
