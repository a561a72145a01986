//! Which options go together.

use std::fmt;

use super::{Action, Destination, Options};

/// Options that do not go together, or that a command does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Conflict {
    /// Two of `--socket`, `--destination` and `--csr`.
    TwoDestinations,
    /// An option that this command does not take.
    NotForThisCommand(&'static str),
    /// An option that means something only together with another.
    OnlyWith { option: &'static str, with: &'static str },
    /// The command cannot do without this option.
    Needs(&'static str),
    /// Endpoints refuse this command.
    NotRemote,
    /// A block device with its content is not made by one command.
    TwoCommands,
    /// An update is a question and a command.
    NotShown,
    /// A view of many questions, to daemons of their own.
    ManyQuestions,
    /// What is covered by a digest is sent as it is.
    CompressedByDigest,
    /// The program of this name has a fixed destination, or a few commands only.
    NotForThisProgram(&'static str),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoDestinations => {
                f.write_str("only one of --socket, --destination and --csr can be given")
            }
            Self::NotForThisCommand(option) => write!(f, "this command does not take {option}"),
            Self::OnlyWith { option, with } => write!(f, "{option} is of use only with {with}"),
            Self::Needs(option) => write!(f, "this command needs {option}"),
            Self::TwoCommands => f.write_str(
                "create-block with --data is two commands, which cannot be shown or requested together: use \
                 create-block and set-block",
            ),
            Self::NotShown => f.write_str(
                "update is several commands, of which the first is answered before the others are known: it \
                 cannot be shown or requested; use update --dry-run, then create --force",
            ),
            Self::ManyQuestions => f.write_str(
                "top asks several daemons again and again: use --tmpdir or --destination, and neither --csr, --socket nor \
                 -d -",
            ),
            Self::NotForThisProgram(what) => {
                write!(f, "this program does not take {what}, albatross-client does")
            }
            Self::CompressedByDigest => f.write_str(
                "with --by-digest the image is sent as it is, so that everybody can compare its digest: leave \
                 out --compression-level",
            ),
            Self::NotRemote => f.write_str(
                "endpoints refuse this command: a policy travels in an intermediate certificate \
                 (add-policy --csr, then sign), statistics are added on the host",
            ),
        }
    }
}

impl Options {
    /// Whether the options go together.
    ///
    /// # Errors
    /// The first [`Conflict`].
    pub(crate) fn check(&self) -> Result<(), Conflict> {
        const LOCAL: [&str; 4] = ["--socket", "--csr", "--tmpdir", "--destination"];
        const REMOTE: [&str; 4] = ["--ca", "--ca-key", "--server-ca", "--server-name"];
        match &self.action {
            Action::Generate(_) => self.refuse(&LOCAL).and_then(|()| self.refuse(&REMOTE)),
            Action::Sign(_)
            | Action::Verify(_)
            | Action::Decode(_)
            | Action::InspectDump(_)
            | Action::ExtractDump(_) => {
                self.refuse(&LOCAL)?;
                self.refuse(&REMOTE)?;
                self.refuse(&["--key-type"])
            }
            Action::Certificate(_) => self.check_certificate(),
            Action::Revoke(_) => self.check_revoke(),
            _ => self.check_destination(),
        }
    }

    /// The list is installed with a certificate that CACERT signs.
    fn check_revoke(&self) -> Result<(), Conflict> {
        self.refuse(&["--socket", "--csr", "--tmpdir", "--ca", "--ca-key"])?;
        if self.destination.is_some() { Ok(()) } else { self.needs_destination() }
    }

    /// Refuses what is of use only with a destination.
    fn needs_destination(&self) -> Result<(), Conflict> {
        for option in ["--ca", "--ca-key", "--server-ca", "--server-name", "--key-type"] {
            if self.is_given(option) {
                let with = if option == "--key-type" { "--destination or --csr" } else { "--destination" };
                return Err(Conflict::OnlyWith { option, with });
            }
        }
        Ok(())
    }

    fn check_certificate(&self) -> Result<(), Conflict> {
        self.refuse(&["--socket", "--csr", "--tmpdir", "--ca", "--ca-key", "--key-type"])?;
        if self.destination.is_none() { Err(Conflict::Needs("--destination")) } else { Ok(()) }
    }

    fn check_destination(&self) -> Result<(), Conflict> {
        let destinations = [self.socket.is_some(), self.destination.is_some(), self.csr];
        if destinations.iter().filter(|given| **given).count() > 1 {
            return Err(Conflict::TwoDestinations);
        }
        let to = self.destination();
        let is_kept = matches!(to, Destination::SocketDump | Destination::RemoteDump | Destination::Request);
        if is_kept && matches!(&self.action, Action::CreateBlock(it) if it.data.is_some()) {
            return Err(Conflict::TwoCommands);
        }
        if is_kept && matches!(&self.action, Action::Update(_)) {
            return Err(Conflict::NotShown);
        }
        if matches!(&self.action, Action::Top(_)) {
            if is_kept || self.socket.is_some() {
                return Err(Conflict::ManyQuestions);
            }
            if self.json {
                return Err(Conflict::NotForThisCommand("--json"));
            }
        }
        if matches!(&self.action, Action::Create(it) if it.by_digest && it.compression_level.is_some()) {
            return Err(Conflict::CompressedByDigest);
        }
        if self.destination.is_none() {
            return match self.needs_destination() {
                Err(Conflict::OnlyWith { option: "--key-type", .. }) if self.csr => Ok(()),
                other => other,
            };
        }
        match self.action {
            Action::AddPolicy(_)
            | Action::ReplacePolicy(_)
            | Action::RemovePolicy(_)
            | Action::StatsAdd(_)
            | Action::StatsRemove(_) => Err(Conflict::NotRemote),
            _ => Ok(()),
        }
    }

    fn refuse(&self, options: &[&'static str]) -> Result<(), Conflict> {
        match options.iter().find(|option| self.is_given(option)) {
            Some(option) => Err(Conflict::NotForThisCommand(option)),
            None => Ok(()),
        }
    }

    pub(super) fn is_given(&self, option: &str) -> bool {
        match option {
            "--socket" => self.socket.is_some(),
            "--destination" => self.destination.is_some(),
            "--csr" => self.csr,
            "--tmpdir" => self.tmpdir.is_some(),
            "--ca" => self.ca.is_some(),
            "--ca-key" => self.ca_key.is_some(),
            "--server-ca" => self.server_ca.is_some(),
            "--server-name" => self.server_name.is_some(),
            "--key-type" => self.key_type.is_some(),
            _ => false,
        }
    }
}
