//! Replies and data.

use std::borrow::Cow;

use albatross_proto::log::{Event, LogEntry, LogRecord, Session};
use albatross_proto::reply::{Exit, Info, InfoBlock, InfoNet, State, Status};
use albatross_proto::{BlockDeviceInfo, Data, Int, MacAddress, Name, Success, Text, Time};
use asn1_rs::{Any, Tag};

use super::{
    Refused, Result,
    config::{argv, fail_behaviour, policy, typ},
    parts::{Parts, explicit, only, sequence, set},
    scalars::{boolean, fixed, int, name, null, octets, set_of, text, time, utf8},
    statistics::statistics,
};

pub(super) fn success<'a>(any: &Any<'a>) -> Result<Success<'a>> {
    let (number, content) = explicit(any)?;
    match number {
        0 => null(&content).map(|()| Success::Empty),
        1 => text(&content).map(Success::Text),
        2 => named(&content, |fields| policy(&fields.take()?)).map(Success::Policies),
        4 => named(&content, |fields| {
            Ok(BlockDeviceInfo { size: int(&fields.take()?)?, active: boolean(&fields.take()?)? })
        })
        .map(Success::BlockDevices),
        6 => image(&content).map(|(compressed, image)| Success::UnikernelImage { compressed, image }),
        7 => image(&content).map(|(compressed, image)| Success::BlockDeviceImageOld { compressed, image }),
        9 => named(&content, |fields| info(&fields.take()?, Form::V4)).map(Success::InfoV4),
        10 => boolean(&content).map(|compressed| Success::BlockDeviceImage { compressed }),
        11 => named(&content, |fields| info(&fields.take()?, Form::V5)).map(Success::InfoV5),
        12 => sequence(&content)?.all(name).map(Success::Consoles),
        13 => named(&content, |fields| info(&fields.take()?, Form::Current)).map(Success::Info),
        30 => named(&content, |fields| status(&fields.take()?)).map(Success::Status),
        _ => Err(Refused),
    }
}

/// A list of sequences that begin with a name.
pub(super) fn named<'a, T>(
    any: &Any<'a>,
    mut read: impl FnMut(&mut Parts<'a>) -> Result<T>,
) -> Result<Vec<(Name, T)>> {
    sequence(any)?.all(|any| {
        let mut fields = sequence(any)?;
        let pair = (name(&fields.take()?)?, read(&mut fields)?);
        fields.end()?;
        Ok(pair)
    })
}

fn image<'a>(any: &Any<'a>) -> Result<(bool, Cow<'a, [u8]>)> {
    let mut fields = sequence(any)?;
    let pair = (boolean(&fields.take()?)?, Cow::Borrowed(octets(&fields.take()?)?));
    fields.end()?;
    Ok(pair)
}

/// The forms of an info.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    V4,
    V5,
    Current,
}

fn info(any: &Any<'_>, form: Form) -> Result<Info> {
    let mut fields = sequence(any)?;
    let typ = typ(&fields.take()?)?;
    let startup = match form {
        Form::V4 => None,
        _ => fields.take_if(Tag::Integer).map(|any| int(&any)).transpose()?,
    };
    let fail_behaviour = fail_behaviour(&fields.take()?)?;
    let cpus = fields.take()?;
    let cpuids = match form {
        Form::Current => set(&cpus)?.all(int)?,
        _ => vec![int(&cpus)?],
    };
    let memory = int(&fields.take()?)?;
    let digest = Text::from(octets(&fields.take()?)?);
    let block_devices = fields.optional(0, |any| set(any)?.all(info_block))?.unwrap_or_default();
    let net_devices = fields.optional(1, |any| set(any)?.all(info_net))?.unwrap_or_default();
    let argv = fields.optional(2, argv)?;
    let epoch = Time::from_unix(0, 0).map_err(|_| Refused)?;
    let started = fields.optional(3, time)?.unwrap_or(epoch);
    let (cpus, linux_boot_partition) = match form {
        Form::Current => (fields.optional(4, int)?, fields.optional(5, text)?),
        _ => (None, None),
    };
    fields.end()?;
    Ok(Info {
        typ,
        startup,
        fail_behaviour,
        cpuids: set_of(cpuids),
        memory,
        digest,
        block_devices,
        net_devices,
        argv,
        started,
        cpus: cpus.unwrap_or(Int::ONE),
        linux_boot_partition,
    })
}

fn info_block(any: &Any<'_>) -> Result<InfoBlock> {
    let mut fields = sequence(any)?;
    let device = InfoBlock {
        unikernel_device: text(&fields.take()?)?,
        host_device: text(&fields.take()?)?,
        sector_size: int(&fields.take()?)?,
        size: int(&fields.take()?)?,
    };
    fields.end()?;
    Ok(device)
}

fn info_net(any: &Any<'_>) -> Result<InfoNet> {
    let mut fields = sequence(any)?;
    let device = InfoNet {
        unikernel_device: text(&fields.take()?)?,
        host_device: text(&fields.take()?)?,
        mac: MacAddress(fixed(&fields.take()?)?),
    };
    fields.end()?;
    Ok(device)
}

fn status(any: &Any<'_>) -> Result<Status> {
    let mut fields = sequence(any)?;
    let state = match explicit(&fields.take()?)? {
        (0, nothing) => null(&nothing).map(|()| State::Running)?,
        (1, nothing) => null(&nothing).map(|()| State::Starting)?,
        (2, until) => State::Waiting(time(&until)?),
        (3, why) => State::Failed(text(&why)?),
        _ => return Err(Refused),
    };
    let since = time(&fields.take()?)?;
    let restarts = int(&fields.take()?)?;
    let pid = fields.optional(0, int)?;
    let last_exit = fields.optional(1, exit)?;
    fields.end_or_later(2)?;
    Ok(Status { state, since, restarts, pid, last_exit })
}

fn exit(any: &Any<'_>) -> Result<Exit> {
    let (number, content) = explicit(any)?;
    let value = int(&content)?;
    match number {
        0 => Ok(Exit::Exited(value)),
        1 => Ok(Exit::Signalled(value)),
        2 => Ok(Exit::Stopped(value)),
        _ => Err(Refused),
    }
}

pub(super) fn data<'a>(any: &Any<'a>) -> Result<Data<'a>> {
    let (number, content) = explicit(any)?;
    match number {
        1 => statistics(&content).map(|statistics| Data::Statistics(Box::new(statistics))),
        3 => {
            let mut fields = sequence(&content)?;
            let timestamp = time(&fields.take()?)?;
            let line = Cow::Borrowed(utf8(&fields.take()?)?);
            fields.end()?;
            Ok(Data::Console { timestamp, line })
        }
        4 => match explicit(&content)? {
            (0, some) => Ok(Data::Block(Some(Cow::Borrowed(octets(&some)?)))),
            (1, none) => null(&none).map(|()| Data::Block(None)),
            _ => Err(Refused),
        },
        30 => log_entry(&content).map(Data::Log),
        _ => Err(Refused),
    }
}

/// The record of the event log that `bytes` are.
pub(crate) fn log_record(bytes: &[u8]) -> Result<LogRecord> {
    let mut fields = sequence(&only(bytes)?)?;
    let name = name(&fields.take()?)?;
    let entry = log_entry(&fields.take()?)?;
    fields.end()?;
    Ok(LogRecord { name, entry })
}

fn log_entry(any: &Any<'_>) -> Result<LogEntry> {
    let mut fields = sequence(any)?;
    let timestamp = time(&fields.take()?)?;
    let event = event(&fields.take()?)?;
    fields.end_or_later(0)?;
    Ok(LogEntry { timestamp, event })
}

fn event(any: &Any<'_>) -> Result<Event> {
    let (number, content) = explicit(any)?;
    match number {
        0 => null(&content).map(|()| Event::DaemonStarted),
        1 => session(&content).map(Event::Login),
        2 => session(&content).map(Event::Logout),
        3 => {
            let mut fields = sequence(&content)?;
            let command = text(&fields.take()?)?;
            let failure = fields.take_if(Tag::Utf8String).map(|any| text(&any)).transpose()?;
            fields.end()?;
            Ok(Event::Command { command, failure })
        }
        4 => int(&content).map(Event::UnikernelStarted),
        5 => {
            let mut fields = sequence(&content)?;
            let pid = int(&fields.take()?)?;
            let exit = fields.take().ok().map(|any| exit(&any)).transpose()?;
            fields.end()?;
            Ok(Event::UnikernelStopped { pid, exit })
        }
        _ => Err(Refused),
    }
}

fn session(any: &Any<'_>) -> Result<Session> {
    let mut fields = sequence(any)?;
    let address = text(&fields.take()?)?;
    let serial = Text::from(octets(&fields.take()?)?);
    fields.end()?;
    Ok(Session { address, serial })
}
