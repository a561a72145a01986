//! What albatrossd keeps on disk: the peer's state file, read in every version, and our own record.

use alloc::vec::Vec;
use core::cmp::Ordering;

mod change;
mod export;
mod running;

pub use change::{Change, Changing};
pub use export::{Part, state_file};
pub use running::{Process, Running, Tender};

use crate::{
    Config, DecodeError, DecodeErrorKind, EncodeError, Label, Name, Path, Policy,
    codec::{self, Decoder, Encoder},
    reply::{read_named, write_named},
    unikernel::old,
};

/// The unikernels and policies of a host, as the peer's state file holds them.
///
/// ```asn1
/// State ::= CHOICE { [0] Trie(Config v1), [1] Trie(Config v0), [2] Trie(Config v2), [3] Trie(Config v3),
///                    [4] SEQUENCE { Trie(Config v3), Trie(Policy) }, [5] SEQUENCE { Trie(Config v4), Trie(Policy) },
///                    [6] SEQUENCE { Trie(Config v5), Trie(Policy) } }       -- [6] is what is written today
/// Trie(x) ::= SEQUENCE OF SEQUENCE { name UTF8String, value x }
/// ```
/// Entries stand a node before what is below it, siblings in ascending order of label. `foo` and `foo:`
/// are one node to the peer, so a file that has both is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State<'a> {
    /// Unikernels by name, in the order of the file.
    pub unikernels: Vec<(Name, Config<'a>)>,
    /// Policies by path, in the order of the file.
    pub policies: Vec<(Path, Policy)>,
}

/// Our own record of the same (NEW): images stand elsewhere, under their digest.
///
/// ```asn1
/// Record ::= [30] SEQUENCE { unikernels SEQUENCE OF SEQUENCE { name, SEQUENCE { config Config (v5), digest OCTET STRING (32) } },
///                            policies SEQUENCE OF SEQUENCE { name, Policy } }
/// ```
/// The image of each config is empty; `digest` is the SHA-256 of the uncompressed image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Unikernels by name.
    pub unikernels: Vec<(Name, RecordedUnikernel)>,
    /// Policies by path.
    pub policies: Vec<(Path, Policy)>,
}

/// A unikernel of a [`Record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedUnikernel {
    /// The configuration, with an empty image.
    pub config: Config<'static>,
    /// SHA-256 of the uncompressed image.
    pub digest: [u8; 32],
}

impl State<'_> {
    /// The file as it is written today.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] beyond [`crate::frame::MAX_ENCODED`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut unikernels: Vec<&(Name, Config<'_>)> = self.unikernels.iter().collect();
        unikernels.sort_by(|(a, _), (b, _)| trie_order(a, b));
        let mut policies: Vec<&(Path, Policy)> = self.policies.iter().collect();
        policies.sort_by(|(a, _), (b, _)| a.cmp(b));
        codec::encode(|out| {
            out.explicit(6, |out| {
                out.sequence(|out| {
                    out.sequence(|out| {
                        unikernels.iter().for_each(|(name, config)| {
                            write_entry(out, |out| write_key(out, name), |out| config.write(out));
                        });
                    });
                    out.sequence(|out| {
                        policies.iter().for_each(|(path, policy)| {
                            write_entry(out, |out| path_key(path).write(out), |out| policy.write(out));
                        });
                    });
                });
            });
        })
    }
}

impl<'a> State<'a> {
    /// The state that a file of any version holds. Images are borrowed from `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and position; a name that stands twice is one.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut outer = Decoder::new(bytes);
        let (number, mut content) = outer.choice("state")?;
        outer.finish("state")?;
        let state = match number {
            0 => Self { unikernels: read_trie(&mut content, old::config_v1)?, policies: Vec::new() },
            1 => Self { unikernels: read_trie(&mut content, old::config_v0)?, policies: Vec::new() },
            2 => Self { unikernels: read_trie(&mut content, old::config_v2)?, policies: Vec::new() },
            3 => Self { unikernels: read_trie(&mut content, old::config_v3)?, policies: Vec::new() },
            4 => Self::read_both(&mut content, old::config_v3)?,
            5 => Self::read_both(&mut content, old::config_v4)?,
            6 => Self::read_both(&mut content, Config::read)?,
            _ => return content.unknown("state", number),
        };
        content.finish("state")?;
        Ok(state)
    }

    fn read_both(
        from: &mut Decoder<'a>,
        read_config: impl FnMut(&mut Decoder<'a>) -> Result<Config<'a>, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("state")?;
        let unikernels = read_trie(&mut fields, read_config)?;
        let policies = read_trie(&mut fields, Policy::read)?;
        fields.finish("state")?;
        Ok(Self {
            unikernels,
            policies: policies.into_iter().map(|(name, policy)| (node(&name), policy)).collect(),
        })
    }
}

/// The entries of a trie: in trie order, whatever the order of the file was.
fn read_trie<'a, T>(
    from: &mut Decoder<'a>,
    mut read: impl FnMut(&mut Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<(Name, T)>, DecodeError> {
    let mut entries = from.sequence("state.trie")?.list(|item| {
        let at = item.error("state.trie.name", DecodeErrorKind::DuplicateName);
        let mut fields = item.sequence("state.trie")?;
        let name = Name::read(&mut fields, "state.trie.name")?;
        let value = read(&mut fields)?;
        fields.finish("state.trie")?;
        Ok((at.position, name, value))
    })?;
    entries.sort_unstable_by(|(at, name, _), (other_at, other, _)| {
        trie_order(name, other).then(at.cmp(other_at))
    });
    let twice =
        |pair: &&[(usize, Name, T)]| matches!(pair, [(_, a, _), (_, b, _)] if trie_order(a, b).is_eq());
    if let Some(position) = entries.windows(2).filter(twice).filter_map(|pair| Some(pair.last()?.0)).min() {
        let (field, kind) = ("state.trie.name", DecodeErrorKind::DuplicateName);
        return Err(DecodeError { position, field, kind });
    }
    Ok(entries.into_iter().map(|(_, name, value)| (name, value)).collect())
}

/// The node of the peer's tree that a name is: its label counts as one more label of the path.
fn node(name: &Name) -> Path {
    name.label().map_or_else(|| name.path().clone(), |label| name.path().join(label))
}

/// The order of the nodes, without making them.
fn trie_order(a: &Name, b: &Name) -> Ordering {
    labels(a).cmp(labels(b))
}

fn labels(name: &Name) -> impl Iterator<Item = &str> {
    name.path().labels().chain(name.label().map(Label::as_str))
}

fn write_entry(out: &mut Encoder<'_>, key: impl Fn(&mut Encoder<'_>), value: impl Fn(&mut Encoder<'_>)) {
    out.sequence(|out| {
        key(out);
        value(out);
    });
}

fn write_key(out: &mut Encoder<'_>, name: &Name) {
    name.write(out);
}

/// How a policy's path is written as a key.
fn path_key(path: &Path) -> Name {
    path.to_name()
}

impl Record {
    /// The record as DER.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] beyond [`crate::frame::MAX_ENCODED`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let policies: Vec<(Name, &Policy)> =
            self.policies.iter().map(|(path, policy)| (path.to_name(), policy)).collect();
        codec::encode(|out| {
            out.explicit(30, |out| {
                out.sequence(|out| {
                    write_named(out, &self.unikernels, |out, unikernel| unikernel.write(out));
                    write_named(out, &policies, |out, policy| policy.write(out));
                });
            });
        })
    }

    /// The record that `bytes` are.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and position.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut outer = Decoder::new(bytes);
        let (number, mut content) = outer.choice("record")?;
        outer.finish("record")?;
        if number != 30 {
            return content.unknown("record", number);
        }
        let mut fields = content.sequence("record")?;
        content.finish("record")?;
        let unikernels = read_named(&mut fields, "record.unikernels", RecordedUnikernel::read)?;
        let policies = read_named(&mut fields, "record.policies", Policy::read)?;
        fields.finish("record")?;
        Ok(Self {
            unikernels,
            policies: policies.into_iter().map(|(name, policy)| (node(&name), policy)).collect(),
        })
    }
}
