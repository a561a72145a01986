//! Octets for people, in the layout that `xxd` prints and `xxd -r` reads back.

use std::fmt::Write;

/// Octets on one line.
const PER_LINE: usize = 16;

/// `bytes` in lines of 16: where they stand, in hexadecimal, and the printable ones as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(PER_LINE) * 68);
    for (index, line) in bytes.chunks(PER_LINE).enumerate() {
        let mut columns = String::with_capacity(40);
        for pair in line.chunks(2) {
            for octet in pair {
                // Writing to a String does not fail.
                _ = write!(columns, "{octet:02x}");
            }
            columns.push(' ');
        }
        let text: String = line.iter().map(|octet| printable(*octet)).collect();
        _ = writeln!(out, "{:08x}: {columns:<40} {text}", index * PER_LINE);
    }
    out
}

fn printable(octet: u8) -> char {
    if octet == b' ' || octet.is_ascii_graphic() { char::from(octet) } else { '.' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        assert_eq!(hex(b""), "");
        assert_eq!(
            hex(b"0123456789abcdef\x1b~"),
            "00000000: 3031 3233 3435 3637 3839 6162 6364 6566  0123456789abcdef\n\
             00000010: 1b7e                                     .~\n"
        );
    }
}
