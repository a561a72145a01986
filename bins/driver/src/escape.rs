//! Text from elsewhere, made harmless for terminals and logs.
//!
//! What a guest or a peer wrote never reaches a terminal, a log or syslog as it is: control characters
//! (and what turns the direction of text around) are shown as escapes. A backslash is doubled, so that
//! the original can be read back from what is shown.

use std::fmt::{self, Display, Write};

/// `bytes` for showing: UTF-8 where it is, `\xNN` where it is not or where it is a control character.
#[must_use]
pub const fn bytes(bytes: &[u8]) -> Bytes<'_> {
    Bytes(bytes)
}

/// What [`bytes`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            Escaper { to: f, double_backslash: true }.write_str(chunk.valid())?;
            for octet in chunk.invalid() {
                write!(f, "\\x{octet:02x}")?;
            }
        }
        Ok(())
    }
}

/// `value`'s text for a log line: control characters escaped, backslashes left as they are, since log
/// texts are our own for the most part and may contain what [`bytes`] has escaped.
#[must_use]
pub const fn line<T: Display>(value: T) -> Line<T> {
    Line(value)
}

/// What [`line()`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Line<T>(T);

impl<T: Display> Display for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper { to: f, double_backslash: false }, "{}", self.0)
    }
}

struct Escaper<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    double_backslash: bool,
}

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = text;
        while let Some((at, c)) = plain.char_indices().find(|(_, c)| self.is_special(*c)) {
            let (before, rest) = plain.split_at_checked(at).unwrap_or((plain, ""));
            self.to.write_str(before)?;
            match c {
                '\\' => self.to.write_str("\\\\")?,
                '\n' => self.to.write_str("\\n")?,
                '\r' => self.to.write_str("\\r")?,
                '\t' => self.to.write_str("\\t")?,
                c if c.is_ascii() => write!(self.to, "\\x{:02x}", u32::from(c))?,
                c => write!(self.to, "\\u{{{:x}}}", u32::from(c))?,
            }
            plain = rest.get(c.len_utf8()..).unwrap_or("");
        }
        self.to.write_str(plain)
    }
}

impl Escaper<'_, '_> {
    fn is_special(&self, c: char) -> bool {
        // Line and paragraph separators and the marks, embeddings and isolates of bidirectional text.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns || (c == '\\' && self.double_backslash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(bytes(b"a\x1b[2Jb\r\n\t\x7f").to_string(), "a\\x1b[2Jb\\r\\n\\t\\x7f");
        assert_eq!(
            bytes("gr\u{fc}n \u{9b}x \u{202e}".as_bytes()).to_string(),
            "gr\u{fc}n \\u{9b}x \\u{202e}"
        );
        assert_eq!(bytes(b"\xff\\").to_string(), "\\xff\\\\");
    }

    #[test]
    fn a_log_line_stays_one_line() {
        assert_eq!(line(format_args!("{} says {}", 1, "x\ny\\")).to_string(), "1 says x\\ny\\");
    }
}
