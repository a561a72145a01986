//! What albatrossd answers to commands that the client does not have.

use std::collections::BTreeMap;
use std::io;

use albatross_proto::reply::Status;
use albatross_proto::{Command, Payload, Success, UnikernelCommand, Wire};

use crate::raw::Raw;
use crate::{Failure, Host};

impl Host {
    /// What is on record, with what each is doing.
    ///
    /// # Errors
    /// Where albatrossd does not answer as it has to.
    pub fn statuses(&self) -> Result<BTreeMap<String, Status>, Failure> {
        let socket = self.socket("vmmd");
        let mut raw = Raw::unix(&socket)?;
        let mut ask = || {
            raw.command(":", Command::Unikernel(UnikernelCommand::Status))?;
            let frame = raw.frame()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            match Wire::decode(&frame).map_err(io::Error::other)?.payload {
                Payload::Success(Success::Status(all)) => Ok(all),
                other => Err(io::Error::other(format!("{other:?}"))),
            }
        };
        let all = ask().map_err(|error| Failure::io("ask", &socket, error))?;
        Ok(all.into_iter().map(|(name, status)| (name.to_string(), status)).collect())
    }
}
