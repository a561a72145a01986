//! What follows a command as a stream.

use crate::block::BlockData;
use crate::conversation::Conversation;
use crate::error::Error;

/// What is streamed after a command.
pub(crate) enum Upload {
    /// An image.
    Image(Vec<u8>),
    /// The content of a block device.
    Block(BlockData),
}

impl Upload {
    /// Streams it, until the server answers or goes away.
    ///
    /// # Errors
    /// Those of the file and of the conversation.
    pub(crate) fn send(self, conversation: &mut Conversation) -> Result<(), Error> {
        match self {
            Self::Image(image) => {
                conversation.progress.send(u64::try_from(image.len()).ok());
                conversation.send_stream(&image)?;
            }
            Self::Block(data) => {
                conversation.progress.send(data.length());
                data.send(conversation)?;
            }
        }
        conversation.progress.finish();
        Ok(())
    }
}
