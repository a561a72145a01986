//! How much may be used below a path.

use alloc::collections::BTreeSet;

use crate::{
    DecodeError, Int, Text,
    codec::{Decoder, Encoder},
};

/// What the unikernels and block devices at a path and below may use together.
///
/// ```asn1
/// Policy ::= SEQUENCE { cpuids SEQUENCE OF INTEGER, unikernels INTEGER, memory INTEGER (MB),
///                       block INTEGER OPTIONAL (MB), bridges SEQUENCE OF UTF8String }
/// ```
/// `cpuids` and `bridges` are sets, written in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The cpus that may be pinned to.
    pub cpuids: BTreeSet<Int>,
    /// How many unikernels may run.
    pub unikernels: Int,
    /// Memory of all unikernels together, in MB.
    pub memory: Int,
    /// Storage of all block devices together, in MB. Without it there may be none.
    pub block: Option<Int>,
    /// The bridges that may be used.
    pub bridges: BTreeSet<Text>,
}

impl Policy {
    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.sequence(|out| self.cpuids.iter().for_each(|id| out.int(*id)));
            out.int(self.unikernels);
            out.int(self.memory);
            if let Some(block) = self.block {
                out.int(block);
            }
            out.sequence(|out| self.bridges.iter().for_each(|bridge| out.text(bridge)));
        });
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("policy")?;
        let policy = Self {
            cpuids: fields
                .sequence("policy.cpuids")?
                .list(|item| item.int("policy.cpuids"))?
                .into_iter()
                .collect(),
            unikernels: fields.int("policy.unikernels")?,
            memory: fields.int("policy.memory")?,
            block: fields.optional(der::Tag::Integer, |fields| fields.int("policy.block"))?,
            bridges: fields
                .sequence("policy.bridges")?
                .list(|item| item.text("policy.bridges"))?
                .into_iter()
                .collect(),
        };
        fields.finish("policy")?;
        Ok(policy)
    }
}
