//! The number of a list.

use std::fmt;

/// The most octets of a number (RFC 5280 section 5.2.3).
const MAX_OCTETS: usize = 20;

/// The number of a list: it only grows from one list of an issuer to the next (RFC 5280 section 5.2.3).
///
/// ```asn1
/// CRLNumber ::= INTEGER (0..MAX), of at most 20 octets
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListNumber(
    /// Big-endian. Invariant: the first bit is 0, as the INTEGER is not negative.
    [u8; MAX_OCTETS],
);

impl ListNumber {
    /// The number of an issuer's first list here.
    pub const FIRST: Self = {
        let mut octets = [0; MAX_OCTETS];
        let [.., last] = &mut octets;
        *last = 1;
        Self(octets)
    };

    /// The number after this one; none after the largest.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        let mut octets = self.0;
        for octet in octets.iter_mut().rev() {
            let (sum, carried) = octet.overflowing_add(1);
            *octet = sum;
            if !carried {
                break;
            }
        }
        let [first, ..] = octets;
        if first & 0x80 == 0 { Some(Self(octets)) } else { None }
    }

    /// Of the content octets of an INTEGER in its shortest form.
    pub(crate) fn from_content(content: &[u8]) -> Option<Self> {
        let padded = matches!(content, [0, second, ..] if second & 0x80 == 0);
        let negative = content.first().is_none_or(|first| first & 0x80 != 0);
        let start = MAX_OCTETS.checked_sub(content.len())?;
        if padded || negative {
            return None;
        }
        let mut octets = [0; MAX_OCTETS];
        octets.get_mut(start..)?.copy_from_slice(content);
        Some(Self(octets))
    }

    /// The content octets of the INTEGER.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let zeros = self.0.iter().take_while(|octet| **octet == 0).count().min(MAX_OCTETS - 1);
        let needs_zero = self.0.get(zeros).is_some_and(|first| first & 0x80 != 0);
        self.0.get(zeros - usize::from(needs_zero)..).unwrap_or_default()
    }
}

impl From<u64> for ListNumber {
    fn from(number: u64) -> Self {
        let mut octets = [0; MAX_OCTETS];
        octets.iter_mut().rev().zip(number.to_be_bytes().iter().rev()).for_each(|(to, from)| *to = *from);
        Self(octets)
    }
}

impl fmt::Display for ListNumber {
    /// Decimal up to 128 bits, `0x` and hex digits above.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [0, 0, 0, 0, low @ ..] = self.0 {
            return write!(f, "{}", u128::from_be_bytes(low));
        }
        f.write_str("0x")?;
        self.as_bytes().iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_across_every_octet_and_end() {
        let mut number = ListNumber::from(254);
        for expected in 255..600_u64 {
            number = number.next().unwrap();
            assert_eq!(number, ListNumber::from(expected));
            assert_eq!(number.to_string(), expected.to_string());
            assert_eq!(ListNumber::from_content(number.as_bytes()), Some(number));
        }
        let mut largest = [0xff; MAX_OCTETS];
        largest[0] = 0x7f;
        let largest = ListNumber::from_content(&largest).unwrap();
        assert_eq!(largest.next(), None);
        assert!(largest > ListNumber::from(u64::MAX));
        assert_eq!(ListNumber::from(u64::MAX).next().unwrap().as_bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(largest.to_string(), format!("0x7f{}", "ff".repeat(19)));
        let decimal = ListNumber::from_content(&[&[0], &[0xff; 16][..]].concat()).unwrap();
        assert_eq!(decimal.to_string(), u128::MAX.to_string());
        assert_eq!(decimal.next().unwrap().to_string(), format!("0x01{}", "00".repeat(16)));
    }

    #[test]
    fn integers_of_another_form_are_no_numbers() {
        assert_eq!(ListNumber::from_content(&[0]), Some(ListNumber::from(0)));
        assert_eq!(ListNumber::from(0).as_bytes(), [0]);
        assert_eq!(ListNumber::from(128).as_bytes(), [0, 128]);
        for content in [&[][..], &[0, 1], &[0x80], &[0xff, 0xff], &[1; 21], &[0, 0x80]] {
            let expected = (content == [0, 0x80]).then_some(ListNumber::from(128));
            assert_eq!(ListNumber::from_content(content), expected, "{content:?}");
        }
        assert_eq!(ListNumber::FIRST, ListNumber::from(1));
    }
}
