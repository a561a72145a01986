//! Commands to an endpoint, over TLS: the command travels in the client's certificate.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use albatross_core::certificate::{Certificate, NothingRevoked, pem, verify};
use albatross_core::issue::{DIRECT_LEAF_SECONDS, IssueError, Issuer, KeyPair, SigningKey, Terms, Validity};
use albatross_driver::clock::wall_clock_second;
use albatross_driver::logging::Logger;
use albatross_proto::{BlockCommand, Command, Config, Label, Typ, UnikernelCommand};
use ring::rand::SystemRandom;

use crate::block::BlockData;
use crate::by_digest;
use crate::command::{self, PATH_ITSELF, Request};
use crate::conversation::{Conversation, Manner};
use crate::error::Error;
use crate::exit::Exit;
use crate::image;
use crate::options::values::CompressionLevel;
use crate::options::{self, Conflict, Options};
use crate::pki::{self, PkiError};
use crate::print::Printer;
use crate::reply::{self, Asked, Expected};
use crate::upload::Upload;

mod host;
mod stream;

pub(crate) use host::{Host, HostError};
use stream::TlsStream;

/// What a connection is made with.
struct Identity {
    /// The own certificate first.
    chain: Vec<Certificate<'static>>,
    key: KeyPair,
}

/// What goes over the connection.
struct Plan {
    /// What is sent after the handshake, as a stream.
    upload: Option<Upload>,
    expected: Expected,
}

/// Who makes the certificate of a command.
pub(crate) struct Signer {
    /// File of its certificate, first, and of those above it.
    pub(crate) certificates: PathBuf,
    /// File of its private key.
    pub(crate) key: PathBuf,
}

impl Signer {
    /// The one of `--ca` and `--ca-key`.
    pub(crate) fn of(options: &Options) -> Self {
        Self { certificates: options.ca(), key: options.ca_key() }
    }
}

/// Asks the endpoint at `host`, with a certificate made on the spot.
///
/// # Errors
/// [`Error`], with the exit code for each step.
pub(crate) fn open(
    options: &Options,
    signer: &Signer,
    host: &str,
    request: Request,
    upload: Option<Upload>,
    manner: Manner,
) -> Result<Asked, Error> {
    let host: Host = host.parse().map_err(Error::Host)?;
    let (identity, mut plan) = prepare(options, signer, request)?;
    if upload.is_some() {
        plan.upload = upload;
    }
    converse(&host, options, identity, plan, manner)
}

/// Prints the certificates that would be sent.
///
/// # Errors
/// [`Error`].
pub(crate) fn show(
    options: &Options,
    signer: &Signer,
    request: Request,
    printer: &Printer,
) -> Result<Exit, Error> {
    let (identity, _plan) = prepare(options, signer, request)?;
    printer.raw(&pem::encode_certificates(&identity.chain))?;
    Ok(Exit::Communication)
}

/// Has carried out what the leaf in a file commands.
///
/// # Errors
/// [`Error`].
pub(crate) fn certificate(
    options: &Options,
    it: &options::Certificate,
    printer: &Printer,
    log: &Logger,
) -> Result<Exit, Error> {
    let chain = pki::certificates(&it.cert)?;
    let key = pki::key(&it.key)?;
    let Some(leaf) = chain.first() else { return Err(Error::NoCommand) };
    if !pki::belongs(leaf, &key) {
        let (certificate, key) = (it.cert.clone(), it.key.clone());
        return Err(PkiError::KeyMismatch { certificate, key }.into());
    }
    pki::warn_of_size("the certificate", leaf.der(), log);
    let command = leaf.command().map_err(|error| PkiError::Command { path: it.cert.clone(), error })?;
    let plan = plan_for(command.as_ref(), it.data.as_deref())?;
    let identity = Identity { key, chain };
    match options.destination.as_deref() {
        Some("-") => {
            printer.raw(&pem::encode_certificates(&identity.chain))?;
            Ok(Exit::Communication)
        }
        host => {
            let host: Host = host.unwrap_or_default().parse().map_err(Error::Host)?;
            let manner = Manner::shown(options.level());
            reply::follow(converse(&host, options, identity, plan, manner)?, printer)
        }
    }
}

/// Makes the certificate. The image of a create is not in it: it is streamed.
fn prepare(options: &Options, signer: &Signer, request: Request) -> Result<(Identity, Plan), Error> {
    let common_name = request.common_name()?;
    let label: Option<Label> = match common_name.as_str() {
        PATH_ITSELF => None,
        text => {
            Some(text.parse().map_err(|_| command::CommandError::PathInCertificate(request.name.clone()))?)
        }
    };
    let expected = Expected::of(&request.command);
    let (command, upload) = without_image(request.command);
    let issuers = pki::certificates(&signer.certificates)?;
    let issuer_key = pki::key(&signer.key)?;
    let issuer = Issuer::new(&issuers, &issuer_key).map_err(|error| match error {
        IssueError::KeyMismatch { .. } => {
            PkiError::KeyMismatch { certificate: signer.certificates.clone(), key: signer.key.clone() }
        }
        error => PkiError::Issue(error),
    })?;
    let key = pki::new_key(options.key_kind())?;
    let random = SystemRandom::new();
    let validity = Validity::seconds(wall_clock_second(), DIRECT_LEAF_SECONDS).map_err(PkiError::Issue)?;
    let terms = Terms::new(validity, &random).map_err(PkiError::Issue)?;
    let leaf = issuer.leaf(label.as_ref(), key.public_key(), &command, &terms).map_err(PkiError::Issue)?;
    let mut chain = vec![leaf];
    chain.extend(issuers);
    Ok((Identity { chain, key }, Plan { upload: upload.map(Upload::Image), expected }))
}

/// Takes the image out of a command that creates something.
fn without_image(command: Command<'static>) -> (Command<'static>, Option<Vec<u8>>) {
    let take = |config: Config<'static>| {
        let Config { typ, compressed, image, arguments } = config;
        (Config { typ, compressed, image: Cow::Borrowed(&[][..]), arguments }, Some(image.into_owned()))
    };
    match command {
        Command::Unikernel(UnikernelCommand::Create(config)) => {
            let (config, image) = take(config);
            (Command::Unikernel(UnikernelCommand::Create(config)), image)
        }
        Command::Unikernel(UnikernelCommand::ForceCreate(config)) => {
            let (config, image) = take(config);
            (Command::Unikernel(UnikernelCommand::ForceCreate(config)), image)
        }
        command => (command, None),
    }
}

/// What the command of a certificate wants. Without a command the endpoint says what is wrong.
fn plan_for(command: Option<&Command<'_>>, data: Option<&Path>) -> Result<Plan, Error> {
    let expected = command.map_or(Expected::Done, Expected::of);
    if let Some(command) = command
        && expected == Expected::Other
    {
        return Err(PkiError::NotFollowed { word: command::word(command) }.into());
    }
    let upload = match (command, data) {
        (
            Some(Command::Unikernel(
                UnikernelCommand::Create(config) | UnikernelCommand::ForceCreate(config),
            )),
            data,
        ) if config.image.is_empty() => Some(Upload::Image(upload_for(config, data)?)),
        (
            Some(Command::Unikernel(
                UnikernelCommand::CreateByDigest(signed) | UnikernelCommand::ForceCreateByDigest(signed),
            )),
            data,
        ) => {
            let path = data.ok_or(PkiError::Data(Conflict::Needs("--data (the image)")))?;
            Some(Upload::Image(by_digest::read(path, signed)?))
        }
        (Some(Command::Block(BlockCommand::Set { compressed })), Some(path)) => {
            let level = if *compressed { CompressionLevel::BEST } else { CompressionLevel::NONE };
            Some(Upload::Block(BlockData::open(path, level)?))
        }
        (Some(Command::Block(BlockCommand::Set { .. })), None) => {
            return Err(PkiError::Data(Conflict::Needs("--data (the content)")).into());
        }
        (_, Some(_)) => return Err(PkiError::Data(Conflict::NotForThisCommand("--data")).into()),
        (_, None) => None,
    };
    Ok(Plan { upload, expected })
}

/// The image that goes with a certificate without one.
fn upload_for(config: &Config<'_>, data: Option<&Path>) -> Result<Vec<u8>, Error> {
    match (config.typ, data) {
        (Typ::Bhyve, None) => Ok(Vec::new()),
        (Typ::Bhyve, Some(_)) => Err(PkiError::Data(Conflict::NotForThisCommand("--data")).into()),
        (Typ::Solo5, None) => Err(PkiError::Data(Conflict::Needs("--data (the image)")).into()),
        (Typ::Solo5, Some(path)) => {
            let image = image::read(path, &config.arguments)?;
            let level = if config.compressed { CompressionLevel::BEST } else { CompressionLevel::NONE };
            Ok(image::compress(image, level))
        }
    }
}

fn converse(
    host: &Host,
    options: &Options,
    identity: Identity,
    plan: Plan,
    manner: Manner,
) -> Result<Asked, Error> {
    let root = pki::root(&options.server_ca())?;
    verify(&identity.chain, &root, wall_clock_second(), &NothingRevoked).map_err(PkiError::OwnChain)?;
    let name = options.server_name.clone();
    let session =
        albatross_tls::client::connect(root, name, &identity.chain, identity.key).map_err(Error::Tls)?;
    let stream = TlsStream::connect(host, session)?;
    let mut conversation = Conversation::new(Box::new(stream), plan.expected.limit(), manner)?;
    if let Some(upload) = plan.upload {
        upload.send(&mut conversation)?;
    }
    // An endpoint answers under the full name, which only the chain knows.
    Ok(Asked { conversation, expected: plan.expected, header: None })
}
