//! What a verified path may do: name, policies and command, from the path and nothing else.
//!
//! Every intermediate with the Albatross extension delegates: it adds a label to the path and a policy
//! that holds there. The leaf names what the command is about and carries the command. Rules:
//! `docs/protocol.md`, "From a chain to an authority".
//!
//! An [`Authority`] is made of a [`VerifiedPath`] only, so it cannot come from a certificate that was
//! merely presented. Whether the policies and the command fit what runs is not decided here, but by
//! albatrossd: see [`resources`].

use std::fmt;

use albatross_proto::{
    BlockCommand, Command, ConsoleCommand, DecodeError, Label, Name, NameError, Path, Policy, PolicyCommand,
    StatisticsCommand,
};

use crate::{
    certificate::{Certificate, VerifiedPath},
    resources::{self, Exceeded},
};

/// What a client may do and what it asks for. Made by [`Authority::of`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authority<'a> {
    /// What the command is about: the path of the intermediates and the label of the leaf.
    pub name: Name,
    /// The policies of the intermediates, the outermost first, each inside the one before it.
    pub policies: Vec<(Path, Policy)>,
    /// The command of the leaf. An image is borrowed from the certificate.
    pub command: Command<'a>,
}

/// Why a path that was verified has no authority.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The Albatross extension of a certificate cannot be read.
    Extension {
        /// The subject of the certificate.
        subject: String,
        /// Why.
        error: DecodeError,
    },
    /// An intermediate carries something other than a policy.
    NotAPolicy {
        /// The subject of the intermediate.
        subject: String,
    },
    /// An intermediate with a policy, or a leaf whose command needs one, has no CommonName.
    NoCommonName {
        /// The subject of the certificate.
        subject: String,
    },
    /// A CommonName that is no label.
    Label {
        /// The subject of the certificate.
        subject: String,
        /// Why.
        error: NameError,
    },
    /// The leaf has no Albatross extension.
    NoCommand {
        /// Its subject.
        subject: String,
    },
    /// A command that is accepted from local clients only.
    NotAccepted {
        /// The subject of the leaf.
        subject: String,
    },
    /// The policy of an intermediate is not inside the one above it.
    NotInside {
        /// The path of the policy.
        path: Path,
        /// The path of the policy above it.
        above: Path,
        /// What that does not allow.
        exceeded: Exceeded,
    },
}

impl<'a> Authority<'a> {
    /// What this path may do.
    ///
    /// # Errors
    /// [`AuthorityError`] says which certificate is at fault.
    pub fn of(path: &VerifiedPath<'a>) -> Result<Self, AuthorityError> {
        let mut at = Path::root();
        let mut policies: Vec<(Path, Policy)> = Vec::new();
        for intermediate in path.intermediates().iter().rev() {
            let Some(policy) = delegated(intermediate)? else { continue };
            at = at.join(&label_of_intermediate(intermediate)?);
            check_inside(&at, &policy, policies.last())?;
            policies.push((at.clone(), policy));
        }
        let leaf = path.leaf();
        let command = command_of(leaf)?
            .ok_or_else(|| AuthorityError::NoCommand { subject: leaf.subject().to_string() })?;
        if !is_accepted(&command) {
            return Err(AuthorityError::NotAccepted { subject: leaf.subject().to_string() });
        }
        let label = label_of_leaf(leaf, &command)?;
        Ok(Self { name: Name::new(at, label), policies, command })
    }
}

/// Whether a command is accepted through certificates at all.
#[must_use]
pub const fn is_accepted(command: &Command<'_>) -> bool {
    match command {
        Command::Console(command) => {
            matches!(command, ConsoleCommand::Subscribe(_) | ConsoleCommand::ListInactive)
        }
        Command::Statistics(command) => matches!(command, StatisticsCommand::Subscribe),
        Command::Policy(command) => matches!(command, PolicyCommand::Info),
        Command::Unikernel(_) | Command::Block(_) | Command::Log(_) | Command::Revocation(_) => true,
    }
}

fn command_of<'c>(certificate: &'c Certificate<'_>) -> Result<Option<Command<'c>>, AuthorityError> {
    certificate
        .command()
        .map_err(|error| AuthorityError::Extension { subject: certificate.subject().to_string(), error })
}

/// The policy of an intermediate; one without the extension delegates nothing.
fn delegated(intermediate: &Certificate<'_>) -> Result<Option<Policy>, AuthorityError> {
    match command_of(intermediate)? {
        None => Ok(None),
        Some(Command::Policy(PolicyCommand::Add(policy))) => Ok(Some(policy)),
        Some(_) => Err(AuthorityError::NotAPolicy { subject: intermediate.subject().to_string() }),
    }
}

fn label_of_intermediate(intermediate: &Certificate<'_>) -> Result<Label, AuthorityError> {
    let subject = || intermediate.subject().to_string();
    let text =
        intermediate.common_name().ok_or_else(|| AuthorityError::NoCommonName { subject: subject() })?;
    text.parse().map_err(|error| AuthorityError::Label { subject: subject(), error })
}

/// `None` is the path itself.
fn label_of_leaf(leaf: &Certificate<'_>, command: &Command<'_>) -> Result<Option<Label>, AuthorityError> {
    let subject = || leaf.subject().to_string();
    match leaf.common_name() {
        None if needs_common_name(command) => Err(AuthorityError::NoCommonName { subject: subject() }),
        None | Some("." | ":") => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|error| AuthorityError::Label { subject: subject(), error })
        }
    }
}

/// The other commands that are accepted go to their daemon without a label, which decides.
const fn needs_common_name(command: &Command<'_>) -> bool {
    match command {
        Command::Block(command) => !matches!(command, BlockCommand::Info),
        Command::Console(_)
        | Command::Statistics(_)
        | Command::Policy(_)
        | Command::Unikernel(_)
        | Command::Log(_)
        | Command::Revocation(_) => false,
    }
}

fn check_inside(path: &Path, policy: &Policy, above: Option<&(Path, Policy)>) -> Result<(), AuthorityError> {
    let Some((above, sup)) = above else { return Ok(()) };
    resources::inside(policy, sup).map_err(|exceeded| AuthorityError::NotInside {
        path: path.clone(),
        above: above.clone(),
        exceeded,
    })
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extension { subject, error } => {
                write!(f, "the Albatross extension of {subject} cannot be read: {error}")
            }
            Self::NotAPolicy { subject } => {
                write!(f, "{subject} is an intermediate CA and carries something other than a policy")
            }
            Self::NoCommonName { subject } => write!(f, "the subject {subject} has no CommonName"),
            Self::Label { subject, error } => {
                write!(f, "the CommonName of {subject} is no label: {error}")
            }
            Self::NoCommand { subject } => write!(f, "{subject} carries no command"),
            Self::NotAccepted { subject } => {
                write!(f, "the command of {subject} is accepted from local clients only")
            }
            Self::NotInside { path, above, exceeded } => {
                write!(f, "the policy of {path} is not inside the one above: {above} {exceeded}")
            }
        }
    }
}

impl std::error::Error for AuthorityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Extension { error, .. } => Some(error),
            Self::Label { error, .. } => Some(error),
            Self::NotInside { exceeded, .. } => Some(exceeded),
            _ => None,
        }
    }
}
