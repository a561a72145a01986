//! Issuers, and what they refuse to sign.

use albatross_proto::{Command, Label, Policy, PolicyCommand, UnikernelCommand};

use super::{
    IssueError, Profile, Request, SigningKey, Terms,
    encode::{self, By, Subject},
};
use crate::{
    certificate::{Certificate, MAX_CHAIN, PublicKey, pem},
    resources,
};

/// How a leaf names the path itself.
const PATH_ITSELF: &str = ".";

/// A CA: its certificate, those above it, and its key.
#[derive(Clone, Copy)]
pub struct Issuer<'a> {
    /// Invariant: has an own certificate, which is a CA with the key `key`.
    own: &'a Certificate<'a>,
    /// Without the root.
    chain: &'a [Certificate<'a>],
    key: &'a dyn SigningKey,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The new certificate.
    pub certificate: Certificate<'static>,
    /// What it is for. A request without a command has become a [`Profile::Server`], which is worth a
    /// warning.
    pub profile: Profile,
}

/// Makes a self-signed root.
///
/// # Errors
/// [`IssueError`]: the key did not sign.
pub fn root(
    common_name: &str,
    key: &dyn SigningKey,
    terms: &Terms<'_>,
) -> Result<Certificate<'static>, IssueError> {
    let public = key.public_key();
    let subject = Subject { profile: Profile::Root, common_name, key: public, command: None, hosts: &[] };
    encode::certificate(subject, By { certificate: None, key }, terms)
}

impl<'a> Issuer<'a> {
    /// An issuer with the certificates of its file, its own first, and its key. The self-signed root may
    /// be the last, or be left out.
    ///
    /// # Errors
    /// [`IssueError`]: the first is no CA or not of this key, or the others are not a chain above it.
    pub fn new(certificates: &'a [Certificate<'a>], key: &'a dyn SigningKey) -> Result<Self, IssueError> {
        let own = certificates.first().ok_or(IssueError::NoIssuer)?;
        let subject = || own.subject().to_string();
        if !own.may_issue() {
            return Err(IssueError::NotACa { subject: subject() });
        }
        if own.public_key() != key.public_key() {
            return Err(IssueError::KeyMismatch { subject: subject() });
        }
        for (index, pair) in certificates.windows(2).enumerate() {
            if let [below, above] = pair
                && !below.is_issued_by(above)
            {
                return Err(IssueError::NotInOrder { index });
            }
        }
        let chain = match certificates.split_last() {
            Some((last, below)) if last.is_self_issued() => below,
            _ => certificates,
        };
        // The new certificate comes before them.
        if chain.len() >= MAX_CHAIN {
            return Err(IssueError::ChainTooLong { limit: MAX_CHAIN });
        }
        Ok(Self { own, chain, key })
    }

    /// Makes a server's certificate. `hosts` are the names and addresses that it answers to; none is what
    /// the peer writes.
    ///
    /// # Errors
    /// [`IssueError`]: a host name that is none, the key did not sign.
    pub fn server(
        &self,
        common_name: &str,
        key: &PublicKey,
        hosts: &[&str],
        terms: &Terms<'_>,
    ) -> Result<Certificate<'static>, IssueError> {
        let subject = Subject { profile: Profile::Server, common_name, key, command: None, hosts };
        self.issue(subject, terms)
    }

    /// Makes an intermediate that may delegate what `policy` says, below `label`.
    ///
    /// The policy must be usable and inside that of this issuer.
    ///
    /// # Errors
    /// [`IssueError`] says what this issuer does not allow.
    pub fn intermediate(
        &self,
        label: &Label,
        key: &PublicKey,
        policy: &Policy,
        terms: &Terms<'_>,
    ) -> Result<Certificate<'static>, IssueError> {
        self.issue_with(label.as_str(), key, &Command::Policy(PolicyCommand::Add(policy.clone())), terms)
    }

    /// Makes a leaf for the command about `label`, or about the path itself. It may be used once or more,
    /// until it expires.
    ///
    /// A unikernel to be created must be allowed by the policy of this issuer.
    ///
    /// # Errors
    /// [`IssueError`] says what this issuer does not allow.
    pub fn leaf(
        &self,
        label: Option<&Label>,
        key: &PublicKey,
        command: &Command<'_>,
        terms: &Terms<'_>,
    ) -> Result<Certificate<'static>, IssueError> {
        self.issue_with(label.map_or(PATH_ITSELF, Label::as_str), key, command, terms)
    }

    /// Signs a request. Profile and extensions come from its command; CommonName and key from it.
    ///
    /// # Errors
    /// [`IssueError`] says what this issuer does not allow, or what the request lacks.
    pub fn sign(&self, request: &Request<'_>, terms: &Terms<'_>) -> Result<Signed, IssueError> {
        let common_name = request.common_name().ok_or(IssueError::NoCommonName)?;
        let certificate = match request.command()? {
            None => self.server(common_name, request.public_key(), &[], terms)?,
            Some(command) => {
                check_label(common_name, &command)?;
                self.issue_with(common_name, request.public_key(), &command, terms)?
            }
        };
        Ok(Signed { certificate, profile: request.profile() })
    }

    /// The file of a certificate that this issuer made: it, and those above it without the self-signed
    /// root.
    #[must_use]
    pub fn chain_pem(&self, certificate: &Certificate<'_>) -> String {
        pem::encode(pem::CERTIFICATE, certificate.der()) + &pem::encode_certificates(self.chain)
    }

    /// The certificates above a certificate that this issuer made, without the self-signed root.
    #[must_use]
    pub const fn chain(&self) -> &'a [Certificate<'a>] {
        self.chain
    }

    /// The policy that holds for what this issuer makes: its own, or the nearest above.
    ///
    /// # Errors
    /// [`IssueError`]: a CA of the chain carries something else, or something that cannot be read.
    pub fn policy(&self) -> Result<Option<Policy>, IssueError> {
        for ca in self.chain {
            match ca.command().map_err(IssueError::Extension)? {
                None => {}
                Some(Command::Policy(PolicyCommand::Add(policy))) => return Ok(Some(policy)),
                Some(_) => return Err(IssueError::IssuerNotAPolicy { subject: ca.subject().to_string() }),
            }
        }
        Ok(None)
    }

    fn issue_with(
        &self,
        common_name: &str,
        key: &PublicKey,
        command: &Command<'_>,
        terms: &Terms<'_>,
    ) -> Result<Certificate<'static>, IssueError> {
        self.check_command(command)?;
        let profile = match command {
            Command::Policy(PolicyCommand::Add(_)) => Profile::Intermediate,
            _ => Profile::Leaf,
        };
        let command = Some(encode::command(command)?);
        self.issue(Subject { profile, common_name, key, command, hosts: &[] }, terms)
    }

    fn check_command(&self, command: &Command<'_>) -> Result<(), IssueError> {
        match command {
            Command::Policy(PolicyCommand::Add(policy)) => {
                resources::usable(policy).map_err(IssueError::PolicyUnusable)?;
                match self.policy()? {
                    Some(own) => resources::inside(policy, &own).map_err(IssueError::PolicyNotInside),
                    None => Ok(()),
                }
            }
            Command::Unikernel(command) => match (created(command), self.policy()?) {
                (Some(arguments), Some(own)) => {
                    resources::allows(&own, arguments).map_err(IssueError::CreateNotAllowed)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn issue(&self, subject: Subject<'_>, terms: &Terms<'_>) -> Result<Certificate<'static>, IssueError> {
        // It becomes a line of the CA's database.
        if subject.common_name.chars().any(char::is_control) {
            return Err(IssueError::ControlCharacter);
        }
        if subject.profile == Profile::Intermediate {
            if self.own.path_length() == Some(0) {
                return Err(IssueError::PathLength { subject: self.own.subject().to_string() });
            }
            // It must be able to issue a leaf.
            if self.chain.len() + 1 >= MAX_CHAIN {
                return Err(IssueError::ChainTooLong { limit: MAX_CHAIN });
            }
        }
        encode::certificate(subject, By { certificate: Some(self.own), key: self.key }, terms)
    }
}

/// What a command would start.
const fn created<'c>(command: &'c UnikernelCommand<'_>) -> Option<&'c albatross_proto::Arguments> {
    match command {
        UnikernelCommand::Create(config) | UnikernelCommand::ForceCreate(config) => Some(&config.arguments),
        UnikernelCommand::CreateByDigest(by_digest) | UnikernelCommand::ForceCreateByDigest(by_digest) => {
            Some(&by_digest.config.arguments)
        }
        _ => None,
    }
}

/// An intermediate has one label; a leaf may name the path itself.
fn check_label(common_name: &str, command: &Command<'_>) -> Result<(), IssueError> {
    let intermediate = matches!(command, Command::Policy(PolicyCommand::Add(_)));
    if !intermediate && matches!(common_name, PATH_ITSELF | ":") {
        return Ok(());
    }
    common_name.parse::<Label>().map(|_| ()).map_err(IssueError::Label)
}
