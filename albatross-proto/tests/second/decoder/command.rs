//! Commands.

use std::borrow::Cow;

use albatross_proto::command::{ByDigest, History, RevocationCommand};
use albatross_proto::log::LogCommand;
use albatross_proto::{
    Arguments, BlockCommand, Command, ConsoleCommand, PolicyCommand, StatisticsCommand, Text,
    UnikernelCommand,
};
use asn1_rs::{Any, Tag};

use super::{
    Refused, Result,
    config::{Version, arguments, config, policy},
    parts::{explicit, sequence},
    scalars::{boolean, fixed, int, null, octets, text, time},
};

pub(super) fn command<'a>(any: &Any<'a>) -> Result<Command<'a>> {
    let (number, content) = explicit(any)?;
    match number {
        0 => console(&content).map(Command::Console),
        1 => statistics(&content).map(Command::Statistics),
        3 => unikernel(&content).map(Command::Unikernel),
        4 => policies(&content).map(Command::Policy),
        5 => block(&content).map(Command::Block),
        29 => history(&content).map(|history| Command::Log(LogCommand(history))),
        30 => match explicit(&content)? {
            (0, list) => {
                let list = Cow::Borrowed(octets(&list)?);
                Ok(Command::Revocation(RevocationCommand::Install(list)))
            }
            _ => Err(Refused),
        },
        _ => Err(Refused),
    }
}

fn history(any: &Any<'_>) -> Result<History> {
    match explicit(any)? {
        (0, since) => time(&since).map(History::Since),
        (1, count) => int(&count).map(History::Count),
        _ => Err(Refused),
    }
}

fn console(any: &Any<'_>) -> Result<ConsoleCommand> {
    match explicit(any)? {
        (0, consoles) => int(&consoles).map(ConsoleCommand::Add),
        (2, from) => history(&from).map(ConsoleCommand::Subscribe),
        (3, nothing) => null(&nothing).map(|()| ConsoleCommand::ListInactive),
        _ => Err(Refused),
    }
}

fn statistics(any: &Any<'_>) -> Result<StatisticsCommand> {
    let (number, content) = explicit(any)?;
    match number {
        0 => {
            let mut fields = sequence(&content)?;
            let vmmdev = text(&fields.take()?)?;
            let pid = int(&fields.take()?)?;
            let network = sequence(&fields.take()?)?.all(pair)?;
            fields.end()?;
            Ok(StatisticsCommand::Add { vmmdev, pid, network })
        }
        1 => null(&content).map(|()| StatisticsCommand::Remove),
        2 => null(&content).map(|()| StatisticsCommand::Subscribe),
        3 => null(&content).map(|()| StatisticsCommand::Initial),
        _ => Err(Refused),
    }
}

fn pair(any: &Any<'_>) -> Result<(Text, Text)> {
    let mut fields = sequence(any)?;
    let pair = (text(&fields.take()?)?, text(&fields.take()?)?);
    fields.end()?;
    Ok(pair)
}

fn unikernel<'a>(any: &Any<'a>) -> Result<UnikernelCommand<'a>> {
    let (number, content) = explicit(any)?;
    let nothing = |command| null(&content).map(|()| command);
    match number {
        3 => nothing(UnikernelCommand::Destroy),
        9 => config(&content, Version::V3).map(UnikernelCommand::Create),
        10 => config(&content, Version::V3).map(UnikernelCommand::ForceCreate),
        11 => int(&content).map(UnikernelCommand::Get),
        14 => restart(&content).map(UnikernelCommand::Restart),
        15 => nothing(UnikernelCommand::InfoV4),
        16 => config(&content, Version::V4).map(UnikernelCommand::Create),
        17 => config(&content, Version::V4).map(UnikernelCommand::ForceCreate),
        18 => nothing(UnikernelCommand::InfoV5),
        19 => nothing(UnikernelCommand::Info),
        20 => config(&content, Version::V5).map(UnikernelCommand::Create),
        21 => config(&content, Version::V5).map(UnikernelCommand::ForceCreate),
        28 => nothing(UnikernelCommand::Status),
        29 => by_digest(&content).map(UnikernelCommand::CreateByDigest),
        30 => by_digest(&content).map(UnikernelCommand::ForceCreateByDigest),
        _ => Err(Refused),
    }
}

fn restart(any: &Any<'_>) -> Result<Option<Arguments>> {
    match explicit(any)? {
        (0, nothing) => null(&nothing).map(|()| None),
        (1, old) => arguments(&old, Version::V3).map(Some),
        (2, old) => arguments(&old, Version::V4).map(Some),
        (3, new) => arguments(&new, Version::V5).map(Some),
        _ => Err(Refused),
    }
}

fn by_digest(any: &Any<'_>) -> Result<ByDigest> {
    let mut fields = sequence(any)?;
    let config = config(&fields.take()?, Version::V5)?.into_owned();
    let sha256 = fixed(&fields.take()?)?;
    let size = int(&fields.take()?)?;
    fields.end()?;
    if config.image.is_empty() { Ok(ByDigest { config, sha256, size }) } else { Err(Refused) }
}

fn policies(any: &Any<'_>) -> Result<PolicyCommand> {
    match explicit(any)? {
        (0, nothing) => null(&nothing).map(|()| PolicyCommand::Info),
        (1, new) => policy(&new).map(PolicyCommand::Add),
        (2, nothing) => null(&nothing).map(|()| PolicyCommand::Remove),
        _ => Err(Refused),
    }
}

fn block<'a>(any: &Any<'a>) -> Result<BlockCommand<'a>> {
    let (number, content) = explicit(any)?;
    match number {
        0 => null(&content).map(|()| BlockCommand::Info),
        1 => int(&content).map(BlockCommand::Add),
        2 => null(&content).map(|()| BlockCommand::Remove),
        3 => {
            let mut fields = sequence(&content)?;
            let size = int(&fields.take()?)?;
            let compressed = boolean(&fields.take()?)?;
            let data = fields.take_if(Tag::OctetString).map(|any| octets(&any)).transpose()?;
            fields.end()?;
            Ok(BlockCommand::AddOld { size, compressed, data: data.map(Cow::Borrowed) })
        }
        4 => {
            let mut fields = sequence(&content)?;
            let compressed = boolean(&fields.take()?)?;
            let data = Cow::Borrowed(octets(&fields.take()?)?);
            fields.end()?;
            Ok(BlockCommand::SetOld { compressed, data })
        }
        5 => int(&content).map(BlockCommand::DumpOld),
        6 => int(&content).map(BlockCommand::Dump),
        7 => boolean(&content).map(|compressed| BlockCommand::Set { compressed }),
        _ => Err(Refused),
    }
}
