//! The beginning of a handshake: all that the two sides say before the client encrypts.
//!
//! It is kept until the client's first encrypted record, by whose length it is decided whether the chain is a large
//! one: a chain of more octets than a record holds begins with a full one (RFC 8446 section 5.1).

/// The most octets that a client says before it encrypts: a ClientHello with every extension that is in use has less
/// than 2 KiB, and there are two at the most.
pub(super) const MAX_CLEAR: usize = 16 * 1024;

/// The length of a record's header.
pub(super) const HEADER: usize = 5;

/// Content types of records.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const ENCRYPTED: u8 = 23;

/// A record of as many octets or more is a full one: its content may go on in the next.
const FULL: usize = 16 * 1024;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// By the client.
    heard: Vec<u8>,
    /// By the server.
    pub(super) said: Vec<u8>,
    /// How much of what was heard was passed on. Invariant: at most its length.
    passed: usize,
    /// Where the next record of the client begins, beyond what was heard where the last one has not all come.
    next: usize,
}

/// What was found in some octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The client has not encrypted anything yet.
    Clear,
    /// It has, or speaks something else than TLS; its chain is not a large one.
    Small,
    /// It has, and begins with a full record.
    Large,
}

/// The client said more than [`MAX_CLEAR`] octets in the clear, or has announced them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Beginning {
    /// Takes octets of the client. Not to be called again once it encrypts.
    pub(super) fn add(&mut self, octets: &[u8]) -> Result<Found, TooLong> {
        self.heard.extend_from_slice(octets);
        while let Some([kind, _, _, high, low]) =
            self.heard.get(self.next..).and_then(|rest| rest.first_chunk::<HEADER>())
        {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            match *kind {
                ENCRYPTED if length >= FULL => return Ok(Found::Large),
                CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE => self.next += HEADER + length,
                _ => return Ok(Found::Small),
            }
        }
        if self.next > MAX_CLEAR { Err(TooLong) } else { Ok(Found::Clear) }
    }

    /// What was heard in the clear and not passed on. Of a record that begins, not before its header is there.
    pub(super) fn take_clear(&mut self) -> &[u8] {
        let end = self.next.min(self.heard.len());
        let new = self.heard.get(self.passed..end).unwrap_or_default();
        self.passed = end;
        new
    }

    /// All that was not passed on.
    pub(super) fn rest(&self) -> &[u8] {
        self.heard.get(self.passed..).unwrap_or_default()
    }

    /// What the client said in the clear.
    pub(super) fn clear(&self) -> &[u8] {
        self.heard.get(..self.next).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let announced = u16::try_from(length).unwrap().to_be_bytes();
        [&[kind, 3, 3], &announced[..], &vec![7; length]].concat()
    }

    /// What is found when the octets come in steps of this many, and what is passed on until then.
    fn hear(octets: &[u8], step: usize) -> (Result<Found, TooLong>, Beginning, Vec<u8>) {
        let (mut beginning, mut passed) = (Beginning::default(), Vec::new());
        for part in octets.chunks(step) {
            let found = beginning.add(part);
            passed.extend_from_slice(beginning.take_clear());
            if found != Ok(Found::Clear) {
                return (found, beginning, passed);
            }
        }
        (Ok(Found::Clear), beginning, passed)
    }

    #[test]
    fn the_first_encrypted_record_is_found_however_the_octets_come() {
        let clear = [record(HANDSHAKE, 500), record(CHANGE_CIPHER_SPEC, 1)].concat();
        for (length, verdict) in
            [(100, Found::Small), (FULL - 1, Found::Small), (FULL, Found::Large), (FULL + 17, Found::Large)]
        {
            let octets = [clear.clone(), record(ENCRYPTED, length)].concat();
            for step in [1, 2, 3, 4, 5, 7, 64, 1000, octets.len()] {
                let (found, beginning, passed) = hear(&octets, step);
                assert_eq!(found, Ok(verdict), "{length} by {step}");
                assert_eq!((&passed, beginning.clear()), (&clear, &clear[..]), "{length} by {step}");
                assert!(octets[clear.len()..].starts_with(beginning.rest()));
                assert!(beginning.rest().len() >= HEADER);
            }
        }
    }

    #[test]
    fn what_is_announced_counts() {
        for octets in [
            record(HANDSHAKE, MAX_CLEAR),
            [record(HANDSHAKE, 300), record(HANDSHAKE, MAX_CLEAR - 300)].concat(),
            record(CHANGE_CIPHER_SPEC, 1).repeat(MAX_CLEAR),
        ] {
            for step in [1, 3, 1000] {
                let (found, beginning, _) = hear(&octets, step);
                assert_eq!(found, Err(TooLong));
                assert!(beginning.heard.len() <= MAX_CLEAR + HEADER + step);
            }
        }
        assert_eq!(hear(&record(HANDSHAKE, MAX_CLEAR)[..HEADER], 1).0, Err(TooLong));
    }

    #[test]
    fn what_is_not_tls_is_passed_on() {
        let (found, beginning, _) = hear(b"GET / HTTP/1.1\r\n", 3);
        assert_eq!((found, beginning.rest()), (Ok(Found::Small), &b"GET / "[..]));
    }
}
