//! The `revocation` command.

use albatross_proto::{Payload, Success, Text, Time, command::RevocationCommand};

use super::{Installed, Issuers, RevocationError, RevocationStore};
use crate::certificate::VerifiedPath;

/// Carries out a `revocation` command that came with this path: the list must be signed by a CA of the path,
/// the root included, and be newer than the one on file.
///
/// The list proves itself, so it does not matter which leaf brings it.
///
/// # Errors
/// [`RevocationError`], which is what the client is told; what was on file stays.
pub fn accept(
    command: &RevocationCommand<'_>,
    path: &VerifiedPath<'_>,
    store: &mut RevocationStore,
    now: Time,
) -> Result<Installed, RevocationError> {
    let RevocationCommand::Install(list) = command;
    store.install(list, Issuers::of_path(path), now)
}

/// What the client is answered: success without more, also where the list was on file already, or why not.
#[must_use]
pub fn answer(result: Result<Installed, RevocationError>) -> Payload<'static> {
    match result {
        Ok(Installed::First | Installed::Newer | Installed::Unchanged) => Payload::Success(Success::Empty),
        Err(why) => Payload::Failure(Text::from(why.to_string())),
    }
}
