//! `info` as older clients expect it: one cpu, and nothing after `started`.

use alloc::collections::BTreeSet;

use super::Info;
use crate::{
    DecodeError, FailBehaviour, Int, Typ,
    codec::{Decoder, Encoder},
};

/// ```asn1
/// InfoV5 ::= Info with one cpuid INTEGER in place of cpuids and ending at started
/// ```
pub(super) fn write_v5(out: &mut Encoder<'_>, info: &Info) {
    write(out, info, true);
}

/// ```asn1
/// InfoV4 ::= InfoV5 without startup
/// ```
pub(super) fn write_v4(out: &mut Encoder<'_>, info: &Info) {
    write(out, info, false);
}

fn write(out: &mut Encoder<'_>, info: &Info, with_startup: bool) {
    out.sequence(|out| {
        info.typ.write(out);
        if with_startup {
            info.write_startup(out);
        }
        info.fail_behaviour.write(out);
        out.int(info.cpuids.first().copied().unwrap_or(Int::ZERO));
        info.write_since_memory(out);
    });
}

pub(super) fn read_v5(from: &mut Decoder<'_>) -> Result<Info, DecodeError> {
    read(from, true)
}

pub(super) fn read_v4(from: &mut Decoder<'_>) -> Result<Info, DecodeError> {
    read(from, false)
}

fn read(from: &mut Decoder<'_>, with_startup: bool) -> Result<Info, DecodeError> {
    let mut fields = from.sequence("info")?;
    let typ = Typ::read(&mut fields)?;
    let startup = if with_startup { Info::read_startup(&mut fields)? } else { None };
    let fail_behaviour = FailBehaviour::read(&mut fields)?;
    let cpuids = BTreeSet::from([fields.int("info.cpuid")?]);
    let info = Info::read_since_memory(&mut fields, typ, startup, fail_behaviour, cpuids)?;
    fields.finish("info")?;
    Ok(info)
}
