//! One change of a record, and a record to which changes are made.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Record, RecordedUnikernel, node};
use crate::{
    Config, DecodeError, EncodeError, Name, Path, Policy,
    codec::{self, Decoder, Encoder},
};

/// What became different in a record (NEW).
///
/// ```asn1
/// Change ::= CHOICE { unikernel [0] SEQUENCE { name, SEQUENCE { config Config (v5), digest OCTET STRING (32) } },
///                     no-unikernel [1] name, policy [2] SEQUENCE { name, Policy }, no-policy [3] name }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "changes are handled one at a time")]
pub enum Change {
    /// This unikernel is on record from now on, or is there with this configuration.
    Unikernel(Name, RecordedUnikernel),
    /// This unikernel is not on record any more.
    NoUnikernel(Name),
    /// This is the policy of the path from now on.
    Policy(Path, Policy),
    /// The path has no policy any more.
    NoPolicy(Path),
}

impl Change {
    /// The change as DER.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] beyond [`crate::frame::MAX_ENCODED`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        codec::encode(|out| match self {
            Self::Unikernel(name, unikernel) => out.explicit(0, |out| {
                out.sequence(|out| {
                    name.write(out);
                    unikernel.write(out);
                });
            }),
            Self::NoUnikernel(name) => out.explicit(1, |out| name.write(out)),
            Self::Policy(path, policy) => out.explicit(2, |out| {
                out.sequence(|out| {
                    path.to_name().write(out);
                    policy.write(out);
                });
            }),
            Self::NoPolicy(path) => out.explicit(3, |out| path.to_name().write(out)),
        })
    }

    /// The change that `bytes` are.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and position.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut outer = Decoder::new(bytes);
        let (number, mut content) = outer.choice("change")?;
        outer.finish("change")?;
        let change = match number {
            0 => {
                let mut fields = content.sequence("change.unikernel")?;
                let name = Name::read(&mut fields, "change.unikernel.name")?;
                let unikernel = RecordedUnikernel::read(&mut fields)?;
                fields.finish("change.unikernel")?;
                Self::Unikernel(name, unikernel)
            }
            1 => Self::NoUnikernel(Name::read(&mut content, "change.no-unikernel")?),
            2 => {
                let mut fields = content.sequence("change.policy")?;
                let name = Name::read(&mut fields, "change.policy.name")?;
                let policy = Policy::read(&mut fields)?;
                fields.finish("change.policy")?;
                Self::Policy(node(&name), policy)
            }
            3 => Self::NoPolicy(node(&Name::read(&mut content, "change.no-policy")?)),
            _ => return content.unknown("change", number),
        };
        content.finish("change")?;
        Ok(change)
    }
}

impl RecordedUnikernel {
    pub(super) fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.config.write(out);
            out.octets(&self.digest);
        });
    }

    pub(super) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("record.unikernels")?;
        let config = Config::read(&mut fields)?.into_owned();
        let digest = fields.fixed("record.unikernels.digest")?;
        fields.finish("record.unikernels")?;
        Ok(Self { config, digest })
    }
}

/// A record to which one change after the other is made.
#[derive(Clone, Debug, Default)]
pub struct Changing {
    unikernels: BTreeMap<Name, RecordedUnikernel>,
    policies: BTreeMap<Path, Policy>,
}

impl Changing {
    /// Makes a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Unikernel(name, unikernel) => {
                self.unikernels.insert(name, unikernel);
            }
            Change::NoUnikernel(name) => {
                self.unikernels.remove(&name);
            }
            Change::Policy(path, policy) => {
                self.policies.insert(path, policy);
            }
            Change::NoPolicy(path) => {
                self.policies.remove(&path);
            }
        }
    }
}

impl From<Record> for Changing {
    fn from(record: Record) -> Self {
        Self {
            unikernels: record.unikernels.into_iter().collect(),
            policies: record.policies.into_iter().collect(),
        }
    }
}

impl From<Changing> for Record {
    fn from(changing: Changing) -> Self {
        Self {
            unikernels: changing.unikernels.into_iter().collect(),
            policies: changing.policies.into_iter().collect(),
        }
    }
}
