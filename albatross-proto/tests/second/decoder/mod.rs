//! A second decoder of everything in `albatross_proto`, built on the crate `asn1-rs`, for tests and
//! fuzzing only. It shares no code with the first: tags, lengths, integers and times are those of
//! `asn1-rs` (and of `time`, through it); names and sets are its own. It makes the types of
//! `albatross_proto`, so that the two can be compared value by value.
//!
//! It works another way round, too: a constructed value is cut into its parts at once, and each part is
//! looked at as a whole. Its errors say nothing but no.
//!
//! `asn1-rs` is laxer than DER in places; each is narrowed where it is used, with a comment.

mod command;
mod config;
mod parts;
mod reply;
mod scalars;
mod state;
mod statistics;

use albatross_proto::{Command, Header, Payload, Wire};
use asn1_rs::Any;

use parts::{explicit, only, sequence};

pub(crate) use reply::log_record;
pub(crate) use state::{change, record, running, state};

/// Not what the grammar asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

type Result<T> = core::result::Result<T, Refused>;

/// The message that `bytes` are.
pub(crate) fn wire(bytes: &[u8]) -> Result<Wire<'_>> {
    let mut fields = sequence(&only(bytes)?)?;
    let header = header(&fields.take()?)?;
    let payload = payload(&fields.take()?)?;
    fields.end()?;
    Ok(Wire { header, payload })
}

/// The command that the value of the certificate extension carries.
pub(crate) fn extension(bytes: &[u8]) -> Result<Command<'_>> {
    let mut fields = sequence(&only(bytes)?)?;
    version(&fields.take()?)?;
    let command = command::command(&fields.take()?)?;
    fields.end()?;
    Ok(command)
}

fn version(any: &Any<'_>) -> Result<()> {
    if scalars::int(any)?.get() == 5 { Ok(()) } else { Err(Refused) }
}

fn header(any: &Any<'_>) -> Result<Header> {
    let mut fields = sequence(any)?;
    version(&fields.take()?)?;
    let sequence = scalars::int64(&fields.take()?)?;
    let name = scalars::name(&fields.take()?)?;
    fields.end()?;
    Ok(Header { sequence, name })
}

fn payload<'a>(any: &Any<'a>) -> Result<Payload<'a>> {
    let (number, content) = explicit(any)?;
    match number {
        0 => command::command(&content).map(Payload::Command),
        1 => reply::success(&content).map(Payload::Success),
        2 => scalars::text(&content).map(Payload::Failure),
        3 => reply::data(&content).map(Payload::Data),
        _ => Err(Refused),
    }
}
