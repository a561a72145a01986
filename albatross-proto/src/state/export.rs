//! The peer's state file, written without holding its images.

use alloc::vec::Vec;

use super::{Record, trie_order};
use crate::large::header;
use crate::{EncodeError, codec};

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
/// `[6]`: the version of the file that is written today.
const VERSION: u8 = 0xa6;

/// A part of a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These octets.
    Octets(Vec<u8>),
    /// The uncompressed image of this digest.
    Image([u8; 32]),
}

/// The state file (see [`super::State`]) that a peer reads the same unikernels and policies from, in parts.
///
/// `length` tells how many octets the image of a digest has, not compressed.
///
/// # Errors
/// [`EncodeError::TooLong`] where one configuration, or all policies, are beyond
/// [`crate::frame::MAX_ENCODED`] even without an image; what `length` returns.
pub fn state_file<E: From<EncodeError>>(
    record: &Record,
    mut length: impl FnMut(&[u8; 32]) -> Result<usize, E>,
) -> Result<Vec<Part>, E> {
    let mut unikernels: Vec<_> = record.unikernels.iter().collect();
    unikernels.sort_by(|(a, _), (b, _)| trie_order(a, b));
    let mut entries = Vec::new();
    let mut octets = 0;
    for (name, unikernel) in unikernels {
        let image = length(&unikernel.digest)?;
        let name = codec::encode(|out| name.write(out))?;
        let typ = codec::encode(|out| unikernel.config.typ.write(out))?;
        let rest = codec::encode(|out| unikernel.config.write_after_image(out))?;
        // The image is exported as it is kept: not compressed.
        let before = [typ, codec::encode(|out| out.boolean(false))?, header(OCTETS, image)].concat();
        let config = header(SEQUENCE, before.len() + image + rest.len());
        let inside = name.len() + config.len() + before.len() + image + rest.len();
        let entry = [header(SEQUENCE, inside), name, config, before].concat();
        octets += entry.len() + image + rest.len();
        entries.extend([Part::Octets(entry), Part::Image(unikernel.digest), Part::Octets(rest)]);
    }
    let mut policies: Vec<_> = record.policies.iter().collect();
    policies.sort_by(|(a, _), (b, _)| a.cmp(b));
    let policies = codec::encode(|out| {
        out.sequence(|out| {
            policies.iter().for_each(|(path, policy)| {
                super::write_entry(out, |out| super::path_key(path).write(out), |out| policy.write(out));
            });
        });
    })?;
    let trie = header(SEQUENCE, octets);
    let both = header(SEQUENCE, trie.len() + octets + policies.len());
    let version = header(VERSION, both.len() + trie.len() + octets + policies.len());
    let mut parts = [Part::Octets([version, both, trie].concat())].to_vec();
    parts.append(&mut entries);
    parts.push(Part::Octets(policies));
    Ok(parts)
}
