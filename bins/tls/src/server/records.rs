//! What can be seen of a handshake from outside, before the client's certificates are read: the headers of its records
//! (RFC 8446 section 5.1) and the messages that are not encrypted yet.
//!
//! OpenSSL makes room for a message as soon as its length is announced. So what is announced in the clear is looked at
//! here first, and the client's certificates, which are encrypted, are judged by their first record: a chain of more
//! octets than a record holds begins with a full one.

/// The most octets of a ClientHello: one with every extension that is in use has less than 2 KiB.
pub(super) const MAX_HELLO: usize = 16 * 1024;

/// The length of a record's header.
const HEADER: usize = 5;

/// Content type of a handshake message.
const HANDSHAKE: u8 = 22;

/// Content type of what is encrypted.
const ENCRYPTED: u8 = 23;

/// A record of as many octets or more is a full one: its content may go on in the next.
const FULL: usize = 16 * 1024;

/// Follows the client's records up to the first encrypted one.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: Vec<u8>,
    /// Octets of the record that are to come.
    left: usize,
    is_handshake: bool,
    /// The beginning of a message: its type and length.
    message: Vec<u8>,
    message_left: usize,
}

/// What was found in some octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All of them are in the clear.
    Clear,
    /// What follows the first `at` octets is the content of an encrypted record, which is a full one or not.
    Encrypted { at: usize, full: bool },
}

/// A message in the clear of more than [`MAX_HELLO`] octets was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Records {
    /// Looks at the next octets. Not to be asked again after an encrypted record was found.
    pub(super) fn look(&mut self, octets: &[u8]) -> Result<Found, TooLong> {
        let mut rest = octets;
        while let Some((first, after)) = rest.split_first() {
            if self.left > 0 {
                let (content, after) = rest.split_at(self.left.min(rest.len()));
                if self.is_handshake {
                    self.look_at_messages(content)?;
                }
                self.left -= content.len();
                rest = after;
                continue;
            }
            self.header.push(*first);
            rest = after;
            if let [kind, _, _, high, low] = self.header[..] {
                self.header.clear();
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.is_handshake = kind == HANDSHAKE;
                if kind == ENCRYPTED {
                    return Ok(Found::Encrypted { at: octets.len() - rest.len(), full: self.left >= FULL });
                }
            }
        }
        debug_assert!(self.header.len() < HEADER);
        Ok(Found::Clear)
    }

    fn look_at_messages(&mut self, mut content: &[u8]) -> Result<(), TooLong> {
        while let Some((first, after)) = content.split_first() {
            if self.message_left > 0 {
                let count = self.message_left.min(content.len());
                self.message_left -= count;
                content = content.get(count..).unwrap_or_default();
                continue;
            }
            self.message.push(*first);
            content = after;
            if let [_, high, middle, low] = self.message[..] {
                self.message.clear();
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.message_left = usize::try_from(length).unwrap_or(usize::MAX);
                if self.message_left > MAX_HELLO {
                    return Err(TooLong);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3], &length[..], content].concat()
    }

    fn message(length: usize) -> Vec<u8> {
        let announced = u32::try_from(length).unwrap().to_be_bytes();
        [&[1, announced[1], announced[2], announced[3]], &vec![0; length][..]].concat()
    }

    /// What is found when the octets come in steps of this many: the place among all of them.
    fn look(octets: &[u8], step: usize) -> Result<Found, TooLong> {
        let mut records = Records::default();
        for (index, part) in octets.chunks(step).enumerate() {
            match records.look(part)? {
                Found::Clear => {}
                Found::Encrypted { at, full } => {
                    return Ok(Found::Encrypted { at: index * step + at, full });
                }
            }
        }
        Ok(Found::Clear)
    }

    #[test]
    fn the_first_encrypted_record_is_found_however_the_octets_come() {
        let before = [record(22, &message(500)), record(20, &[1])].concat();
        for (length, full) in [(100, false), (FULL - 1, false), (FULL, true), (FULL + 17, true)] {
            let octets = [before.clone(), record(23, &vec![7; length])].concat();
            for step in [1, 2, 3, 4, 5, 7, 64, 1000, octets.len()] {
                let found = look(&octets, step);
                assert_eq!(found, Ok(Found::Encrypted { at: before.len() + 5, full }), "{length} by {step}");
            }
        }
    }

    #[test]
    fn a_second_hello_is_looked_at_as_the_first() {
        let hello = record(22, &message(300));
        let long = message(MAX_HELLO + 1);
        for step in [1, 3, 1000] {
            assert_eq!(look(&[hello.clone(), hello.clone()].concat(), step), Ok(Found::Clear));
            assert_eq!(look(&[hello.clone(), record(22, &long[..4])].concat(), step), Err(TooLong));
            // The length in a record of its own.
            let split = [hello.clone(), record(22, &long[..2]), record(22, &long[2..4])].concat();
            assert_eq!(look(&split, step), Err(TooLong));
        }
    }
}
