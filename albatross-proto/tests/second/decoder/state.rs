//! What is kept on disk.

use albatross_proto::state::{Change, Process, Record, RecordedUnikernel, Running, Stage, State, Tender};
use albatross_proto::{Config, Name, Path};
use asn1_rs::Any;

use super::{
    Refused, Result,
    config::{Version, config, config_v0, policy},
    parts::{explicit, only, sequence},
    reply::named,
    scalars::{fixed, int, name, null, text, time},
};

/// The state that a file of any version holds.
pub(crate) fn state(bytes: &[u8]) -> Result<State<'_>> {
    let (number, content) = explicit(&only(bytes)?)?;
    match number {
        0 => unikernels(&content, |any| config(any, Version::V1)),
        1 => unikernels(&content, config_v0),
        2 => unikernels(&content, |any| config(any, Version::V2)),
        3 => unikernels(&content, |any| config(any, Version::V3)),
        4 => both(&content, Version::V3),
        5 => both(&content, Version::V4),
        6 => both(&content, Version::V5),
        _ => Err(Refused),
    }
}

fn unikernels<'a>(any: &Any<'a>, read: impl FnMut(&Any<'a>) -> Result<Config<'a>>) -> Result<State<'a>> {
    Ok(State { unikernels: trie(any, read)?, policies: Vec::new() })
}

fn both<'a>(any: &Any<'a>, version: Version) -> Result<State<'a>> {
    let mut fields = sequence(any)?;
    let unikernels = trie(&fields.take()?, |any| config(any, version))?;
    let policies = trie(&fields.take()?, policy)?;
    fields.end()?;
    let policies = policies.into_iter().map(|(name, policy)| (path(&name), policy)).collect();
    Ok(State { unikernels, policies })
}

/// All the labels of a name: what the peer takes for the same is the same.
fn labels(name: &Name) -> Vec<String> {
    name.path().labels().chain(name.label().map(|label| label.as_str())).map(str::to_owned).collect()
}

fn path(name: &Name) -> Path {
    labels(name).join(":").parse().expect("a path of labels")
}

fn trie<'a, T>(any: &Any<'a>, mut read: impl FnMut(&Any<'a>) -> Result<T>) -> Result<Vec<(Name, T)>> {
    let mut entries = named(any, |fields| read(&fields.take()?))?;
    entries.sort_by_cached_key(|(name, _)| labels(name));
    let twice = entries.windows(2).any(|pair| labels(&pair[0].0) == labels(&pair[1].0));
    if twice { Err(Refused) } else { Ok(entries) }
}

fn recorded(any: &Any<'_>) -> Result<RecordedUnikernel> {
    let mut fields = sequence(any)?;
    let config = config(&fields.take()?, Version::V5)?.into_owned();
    let digest = fixed(&fields.take()?)?;
    fields.end()?;
    Ok(RecordedUnikernel { config, digest })
}

/// The change of a record that `bytes` are.
pub(crate) fn change(bytes: &[u8]) -> Result<Change> {
    let (number, content) = explicit(&only(bytes)?)?;
    match number {
        0 => {
            let mut fields = sequence(&content)?;
            let name = name(&fields.take()?)?;
            let unikernel = recorded(&fields.take()?)?;
            fields.end()?;
            Ok(Change::Unikernel(name, unikernel))
        }
        1 => name(&content).map(Change::NoUnikernel),
        2 => {
            let mut fields = sequence(&content)?;
            let at = path(&name(&fields.take()?)?);
            let policy = policy(&fields.take()?)?;
            fields.end()?;
            Ok(Change::Policy(at, policy))
        }
        3 => name(&content).map(|at| Change::NoPolicy(path(&at))),
        _ => Err(Refused),
    }
}

/// The record that `bytes` are.
pub(crate) fn record(bytes: &[u8]) -> Result<Record> {
    let (30, content) = explicit(&only(bytes)?)? else { return Err(Refused) };
    let mut fields = sequence(&content)?;
    let unikernels = named(&fields.take()?, |fields| recorded(&fields.take()?))?;
    let policies = named(&fields.take()?, |fields| policy(&fields.take()?))?;
    fields.end()?;
    let policies = policies.into_iter().map(|(name, policy)| (path(&name), policy)).collect();
    Ok(Record { unikernels, policies })
}

/// The note of a tender that runs.
pub(crate) fn running(bytes: &[u8]) -> Result<Running> {
    let (31, content) = explicit(&only(bytes)?)? else { return Err(Refused) };
    let mut fields = sequence(&content)?;
    let mut which = sequence(&fields.take()?)?;
    let process = Process { pid: int(&which.take()?)?, started: int(&which.take()?)? };
    which.end()?;
    let tender = tender(&fields.take()?)?;
    fields.end()?;
    Ok(Running { process, tender })
}

fn tender(any: &Any<'_>) -> Result<Tender> {
    let mut fields = sequence(any)?;
    let unikernel = name(&fields.take()?)?;
    let taps = sequence(&fields.take()?)?.all(text)?;
    let user = fields.optional(0, int)?;
    let since = time(&fields.take()?)?;
    let restarts = int(&fields.take()?)?;
    let (number, nothing) = explicit(&fields.take()?)?;
    null(&nothing)?;
    let stage = match number {
        0 => Stage::Starting,
        1 => Stage::Running,
        2 => Stage::Stopping,
        _ => return Err(Refused),
    };
    let blocks = fields.optional(1, |list| sequence(list)?.all(name))?.unwrap_or_default();
    fields.end_or_later(2)?;
    Ok(Tender { name: unikernel, taps, user, since, restarts, stage, blocks })
}
