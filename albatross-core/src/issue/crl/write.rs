//! Writing DER: values one after the other, of any size.

use der::asn1::ObjectIdentifier;

/// Values as they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Values that are DER already.
    pub(super) fn raw(&mut self, der: &[u8]) {
        self.0.extend_from_slice(der);
    }

    /// The content of an INTEGER in its shortest form.
    pub(super) fn integer(&mut self, content: &[u8]) {
        self.value(0x02, content);
    }

    pub(super) fn enumerated(&mut self, number: u8) {
        self.value(0x0a, &[number]);
    }

    /// A BIT STRING of whole octets.
    pub(super) fn bit_string(&mut self, octets: &[u8]) {
        self.header(0x03, octets.len() + 1);
        self.0.push(0);
        self.raw(octets);
    }

    pub(super) fn sequence(&mut self, content: &Self) {
        self.value(0x30, &content.0);
    }

    pub(super) fn explicit_0(&mut self, content: &Self) {
        self.value(0xa0, &content.0);
    }

    /// An extension that is not critical.
    pub(super) fn extension(&mut self, oid: &ObjectIdentifier, value: &[u8]) {
        let mut fields = Self::default();
        fields.value(0x06, oid.as_bytes());
        fields.value(0x04, value);
        self.sequence(&fields);
    }

    fn value(&mut self, tag: u8, content: &[u8]) {
        self.header(tag, content.len());
        self.raw(content);
    }

    fn header(&mut self, tag: u8, length: usize) {
        self.0.push(tag);
        match u8::try_from(length) {
            Ok(short @ 0..0x80) => self.0.push(short),
            _ => {
                let octets = length.to_be_bytes();
                let significant = octets.iter().skip_while(|octet| **octet == 0);
                let count = significant.clone().count();
                // An usize has 8 octets at most.
                self.0.push(0x80 + u8::try_from(count).unwrap_or(8));
                self.0.extend(significant);
            }
        }
    }
}
