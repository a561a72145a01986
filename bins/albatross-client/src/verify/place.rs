//! Which certificate of a path is the one without authority.

use albatross_core::authority::AuthorityError;
use albatross_core::certificate::{Certificate, VerifiedPath};
use albatross_proto::{Command, Label, PolicyCommand};

/// The certificate that an error is about, with its place in the path, from 0, the leaf.
pub(super) fn of<'p>(
    error: &AuthorityError,
    path: &VerifiedPath<'p>,
) -> Option<(usize, &'p Certificate<'p>)> {
    let intermediates = path.intermediates();
    // As the authority is put together: from the root's side down, then the leaf.
    let mut downwards =
        intermediates.iter().enumerate().rev().map(|(index, ca)| (index + 1, ca)).chain([(0, path.leaf())]);
    if let AuthorityError::NotInside { path, .. } = error {
        let mut delegating = downwards.filter(|(_, certificate)| certificate.command_extension().is_some());
        return delegating.nth(path.depth().checked_sub(1)?);
    }
    let about = subject(error)?;
    downwards.find(|(index, certificate)| {
        certificate.subject().to_string() == about && is_at_fault(error, certificate, *index == 0)
    })
}

/// The subject that an error is about.
fn subject(error: &AuthorityError) -> Option<&str> {
    match error {
        AuthorityError::Extension { subject, .. }
        | AuthorityError::NotAPolicy { subject }
        | AuthorityError::NoCommonName { subject }
        | AuthorityError::Label { subject, .. }
        | AuthorityError::NoCommand { subject }
        | AuthorityError::NotAccepted { subject } => Some(subject),
        _ => None,
    }
}

/// Several certificates of a path may have the same subject, and not all of them this fault.
fn is_at_fault(error: &AuthorityError, certificate: &Certificate<'_>, is_leaf: bool) -> bool {
    let command = certificate.command();
    match error {
        AuthorityError::Extension { .. } => command.is_err(),
        AuthorityError::NotAPolicy { .. } => {
            !is_leaf && !matches!(command, Ok(None | Some(Command::Policy(PolicyCommand::Add(_)))))
        }
        AuthorityError::NoCommonName { .. } => certificate.common_name().is_none(),
        AuthorityError::Label { .. } => {
            certificate.common_name().is_some_and(|text| text.parse::<Label>().is_err())
        }
        AuthorityError::NoCommand { .. } | AuthorityError::NotAccepted { .. } => is_leaf,
        _ => true,
    }
}
