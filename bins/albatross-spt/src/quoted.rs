//! Arguments and paths in messages: in quotes, and on one line whatever is in them.

use core::fmt;

/// Bytes as Rust writes a string: control characters and what is no text are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            write!(f, "{}", chunk.valid().escape_debug())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02X}")?;
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_other_bytes() {
        assert_eq!(Quoted(b"/a b").to_string(), "\"/a b\"");
        assert_eq!(Quoted("\u{e9}\"\n\x1b".as_bytes()).to_string(), "\"\u{e9}\\\"\\n\\u{1b}\"");
        assert_eq!(Quoted(b"a\xff\xc3b").to_string(), "\"a\\xFF\\xC3b\"");
    }
}
