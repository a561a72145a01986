//! Images on their way out: read from the disk as the client takes them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use albatross_core::vmmd::{Outcome, TaskFailure, TaskId};
use albatross_driver::server::{ConnectionId, Server};
use albatross_proto::{Header, frame, reply};

/// Octets that wait to be written at most: more is read when the client has taken of them.
const MAX_PENDING: usize = 256 * 1024;
/// Octets that are read at a time.
const PIECE: usize = 64 * 1024;

/// The images that are being sent.
#[derive(Default)]
pub(crate) struct Sending {
    /// Those that are made ready.
    coming: HashMap<TaskId, (ConnectionId, Header, bool)>,
    active: HashMap<ConnectionId, Active>,
}

struct Active {
    task: TaskId,
    file: File,
    left: u64,
}

/// How a task ended, if it did.
type Ended = Option<(TaskId, Result<Outcome, TaskFailure>)>;

impl Sending {
    /// An image is made ready for this client.
    pub(crate) fn announce(&mut self, task: TaskId, to: ConnectionId, header: Header, compressed: bool) {
        self.coming.insert(task, (to, header, compressed));
    }

    /// It is ready, or is not.
    pub(crate) fn ready(
        &mut self,
        task: TaskId,
        file: Result<File, TaskFailure>,
        server: &mut Server,
    ) -> Ended {
        let (to, header, compressed) = self.coming.remove(&task)?;
        let begun = file.and_then(|file| {
            let length = file.metadata().map_err(|error| TaskFailure(format!("the image: {error}")))?.len();
            let size = usize::try_from(length).unwrap_or(usize::MAX);
            let head = reply::image_head(&header, compressed, size);
            let whole = frame::header(head.len().saturating_add(size))
                .ok_or_else(|| TaskFailure("the image is too long for a frame".to_owned()))?;
            server.send_frames(to, &[&whole, head.as_slice()].concat());
            Ok(Active { task, file, left: length })
        });
        match begun {
            Ok(active) => {
                self.active.insert(to, active);
                self.go_on(to, server)
            }
            Err(why) => Some((task, Err(why))),
        }
    }

    /// A client may have taken something: reads more for it.
    pub(crate) fn go_on(&mut self, to: ConnectionId, server: &mut Server) -> Ended {
        let active = self.active.get_mut(&to)?;
        let mut piece = vec![0; PIECE];
        while active.left > 0 {
            if server.pending(to) > MAX_PENDING {
                return None;
            }
            let most = usize::try_from(active.left).unwrap_or(PIECE).min(PIECE);
            match active.file.read(piece.get_mut(..most).unwrap_or_default()) {
                Ok(count) if count > 0 => {
                    server.send_frames(to, piece.get(..count).unwrap_or_default());
                    active.left -= u64::try_from(count).unwrap_or(active.left);
                }
                _ => {
                    // Part of the reply is gone already: the client sees that it is cut off.
                    server.abort(to);
                    let task = self.active.remove(&to)?.task;
                    return Some((task, Err(TaskFailure("the stored image cannot be read".to_owned()))));
                }
            }
        }
        Some((self.active.remove(&to)?.task, Ok(Outcome::Done)))
    }

    /// A client is gone.
    pub(crate) fn forget(&mut self, to: ConnectionId) -> Ended {
        let Active { task, .. } = self.active.remove(&to)?;
        Some((task, Err(TaskFailure("the client is gone".to_owned()))))
    }
}
