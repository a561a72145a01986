//! An image that the client streams, put together in memory.

use std::borrow::Cow;
use std::fmt;

use albatross_proto::{
    Command, Typ, UnikernelCommand,
    command::ByDigest,
    frame::{FrameError, FrameReader},
};
use ring::digest;

use super::{
    limits::{MAX_CHUNK, MAX_STREAMED_IMAGE},
    report::Failure,
};

/// The image as far as it has come.
pub(super) struct Gathering {
    reader: FrameReader,
    image: Vec<u8>,
    limit: usize,
    /// With the digest that it must have.
    signed: Option<(digest::Context, [u8; 32])>,
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("octets", &self.image.len()).field("limit", &self.limit).finish()
    }
}

impl Gathering {
    /// What has to be gathered for `command`, `None` if nothing. A bhyve guest has no image.
    pub(super) fn for_command(command: &Command<'_>) -> Option<Self> {
        let Command::Unikernel(command) = command else { return None };
        match command {
            UnikernelCommand::Create(config) | UnikernelCommand::ForceCreate(config) => {
                let streamed = config.image.is_empty() && config.typ == Typ::Solo5;
                streamed.then(|| Self::new(MAX_STREAMED_IMAGE, None))
            }
            UnikernelCommand::CreateByDigest(signed) | UnikernelCommand::ForceCreateByDigest(signed) => {
                let size = usize::try_from(signed.size.get()).unwrap_or(0);
                let context = digest::Context::new(&digest::SHA256);
                Some(Self::new(size.min(MAX_STREAMED_IMAGE), Some((context, signed.sha256))))
            }
            _ => None,
        }
    }

    const fn new(limit: usize, signed: Option<(digest::Context, [u8; 32])>) -> Self {
        Self { reader: FrameReader::new(MAX_CHUNK), image: Vec::new(), limit, signed }
    }

    /// Takes octets from the front of `input`. True when the last chunk has come; what is left of `input`
    /// then is not part of the image.
    pub(super) fn add(&mut self, input: &mut &[u8]) -> Result<bool, Failure> {
        while !input.is_empty() {
            let Some(chunk) = self.reader.read(input).map_err(|error: FrameError| Failure::Chunk(error))?
            else {
                continue;
            };
            if chunk.is_empty() {
                return Ok(true);
            }
            if self.image.len() + chunk.len() > self.limit {
                return Err(Failure::ImageTooLong { limit: self.limit });
            }
            if let Some((context, _)) = &mut self.signed {
                context.update(&chunk);
            }
            self.image.extend_from_slice(&chunk);
        }
        Ok(false)
    }

    /// The command with the image in it, once all has come and where it is what was signed.
    pub(super) fn complete(self, command: Command<'static>) -> Result<Command<'static>, Failure> {
        if self.image.is_empty() {
            return Err(Failure::ImageEmpty);
        }
        if let Some((context, wanted)) = self.signed
            && context.finish().as_ref() != wanted
        {
            return Err(Failure::WrongDigest);
        }
        let Command::Unikernel(command) = command else { return Ok(command) };
        let image = Cow::Owned(self.image);
        Ok(Command::Unikernel(match command {
            UnikernelCommand::Create(config) => UnikernelCommand::Create(with_image(config, image)),
            UnikernelCommand::ForceCreate(config) => UnikernelCommand::ForceCreate(with_image(config, image)),
            // Checked: a plain create is what every albatrossd understands.
            UnikernelCommand::CreateByDigest(ByDigest { config, .. }) => {
                UnikernelCommand::Create(with_image(config, image))
            }
            UnikernelCommand::ForceCreateByDigest(ByDigest { config, .. }) => {
                UnikernelCommand::ForceCreate(with_image(config, image))
            }
            other => other,
        }))
    }
}

fn with_image(
    config: albatross_proto::Config<'static>,
    image: Cow<'static, [u8]>,
) -> albatross_proto::Config<'static> {
    albatross_proto::Config { image, ..config }
}
