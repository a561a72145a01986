//! Writes a tree of keys and values as it goes along: as JSON, or indented for people.

use std::fmt::Display;
use std::io::{self, Write};

use albatross_driver::escape;
use albatross_proto::{Int, Time};
use ring::digest;

/// The most octets that people are shown in hexadecimal; of more they see the digest.
const MAX_SHOWN: usize = 64;
/// Octets that become hexadecimal digits at a time.
const HEX_CHUNK: usize = 4096;

/// How the tree is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// JSON on one line.
    Json,
    /// One key on each line, indented; what is absent is left out, text is escaped, and of long octets the
    /// length and the SHA-256 are shown.
    Plain,
}

/// Writes one value after the other.
pub struct Writer<'w> {
    out: &'w mut dyn Write,
    style: Style,
    indent: usize,
    /// Whether the next line is the first one of an item of a list.
    dash: bool,
}

/// A place for exactly one value.
#[must_use = "a place must get a value"]
pub struct Slot<'s, 'w> {
    writer: &'s mut Writer<'w>,
    key: Option<&'static str>,
}

/// The fields of an object.
pub struct Fields<'f, 'w> {
    writer: &'f mut Writer<'w>,
    is_first: bool,
}

impl<'w> Writer<'w> {
    /// A writer onto `out`, which should have a buffer.
    pub fn new(out: &'w mut dyn Write, style: Style) -> Self {
        Self { out, style, indent: 0, dash: false }
    }

    /// The place for a whole value.
    pub fn slot(&mut self) -> Slot<'_, 'w> {
        Slot { writer: self, key: None }
    }

    /// A heading between values, for people only.
    ///
    /// # Errors
    /// As the output has them.
    pub fn heading(&mut self, text: &dyn Display) -> io::Result<()> {
        if self.style == Style::Plain { writeln!(self.out, "{text}") } else { Ok(()) }
    }

    /// Ends a whole value.
    ///
    /// # Errors
    /// As the output has them.
    pub fn end(&mut self) -> io::Result<()> {
        if self.style == Style::Json { self.out.write_all(b"\n") } else { Ok(()) }
    }

    fn is_json(&self) -> bool {
        self.style == Style::Json
    }

    /// Begins a line for people.
    fn line(&mut self) -> io::Result<()> {
        let steps = self.indent.saturating_sub(usize::from(self.dash));
        for _ in 0..steps {
            self.out.write_all(b"  ")?;
        }
        if std::mem::take(&mut self.dash) { self.out.write_all(b"- ") } else { Ok(()) }
    }

    fn string(&mut self, text: &str) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, text).map_err(io::Error::from)
    }

    fn digits(&mut self, octets: &[u8]) -> io::Result<()> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
        let mut buffer = Vec::with_capacity(2 * octets.len().min(HEX_CHUNK));
        for chunk in octets.chunks(HEX_CHUNK) {
            buffer.clear();
            buffer.extend(chunk.iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 0x0f)]));
            self.out.write_all(&buffer)?;
        }
        Ok(())
    }

    fn text(&mut self, octets: &[u8]) -> io::Result<()> {
        match (self.is_json(), std::str::from_utf8(octets)) {
            (false, _) => write!(self.out, "{}", escape::bytes(octets)),
            (true, Ok(text)) => self.string(text),
            (true, Err(_)) => {
                self.out.write_all(b"{\"hex\":\"")?;
                self.digits(octets)?;
                self.out.write_all(b"\"}")
            }
        }
    }

    /// The beginning of `key: `, for people.
    fn labelled(&mut self, key: Option<&str>) -> io::Result<()> {
        self.line()?;
        match key {
            Some(key) => write!(self.out, "{}: ", key.strip_suffix("_hex").unwrap_or(key)),
            None => Ok(()),
        }
    }
}

impl<'s, 'w> Slot<'s, 'w> {
    /// A value on one line, written in one way for programs and in the other for people.
    fn scalar(
        self,
        json: impl FnOnce(&mut Writer<'w>) -> io::Result<()>,
        plain: impl FnOnce(&mut Writer<'w>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { writer, key } = self;
        if writer.is_json() {
            return json(writer);
        }
        writer.labelled(key)?;
        plain(writer)?;
        writer.out.write_all(b"\n")
    }

    /// The same in both ways.
    fn same(self, value: impl Display) -> io::Result<()> {
        self.scalar(|writer| write!(writer.out, "{value}"), |writer| write!(writer.out, "{value}"))
    }

    /// Nothing.
    ///
    /// # Errors
    /// As the output has them, here and below.
    pub fn null(self) -> io::Result<()> {
        if self.writer.is_json() { self.writer.out.write_all(b"null") } else { Ok(()) }
    }

    /// A truth value.
    ///
    /// # Errors
    /// As the output has them.
    pub fn boolean(self, value: bool) -> io::Result<()> {
        self.same(value)
    }

    /// An INTEGER: a number.
    ///
    /// # Errors
    /// As the output has them.
    pub fn int(self, value: Int) -> io::Result<()> {
        self.same(value)
    }

    /// A small number.
    ///
    /// # Errors
    /// As the output has them.
    pub fn number(self, value: usize) -> io::Result<()> {
        self.same(value)
    }

    /// A 64-bit counter: a decimal string.
    ///
    /// # Errors
    /// As the output has them.
    pub fn counter(self, value: i64) -> io::Result<()> {
        self.scalar(|writer| write!(writer.out, "\"{value}\""), |writer| write!(writer.out, "{value}"))
    }

    /// A word or a text of our own.
    ///
    /// # Errors
    /// As the output has them.
    pub fn string(self, value: &str) -> io::Result<()> {
        self.text(value.as_bytes())
    }

    /// Text from elsewhere.
    ///
    /// # Errors
    /// As the output has them.
    pub fn text(self, value: &[u8]) -> io::Result<()> {
        self.scalar(|writer| writer.text(value), |writer| writer.text(value))
    }

    /// Octets.
    ///
    /// # Errors
    /// As the output has them.
    pub fn hex(self, value: &[u8]) -> io::Result<()> {
        self.scalar(
            |writer| {
                writer.out.write_all(b"\"")?;
                writer.digits(value)?;
                writer.out.write_all(b"\"")
            },
            |writer| match value.len() {
                0 => writer.out.write_all(b"(empty)"),
                length if length <= MAX_SHOWN => writer.digits(value),
                length => {
                    write!(writer.out, "{length} octets, SHA-256 ")?;
                    writer.digits(digest::digest(&digest::SHA256, value).as_ref())
                }
            },
        )
    }

    /// A time.
    ///
    /// # Errors
    /// As the output has them.
    pub fn time(self, time: Time) -> io::Result<()> {
        self.scalar(
            |writer| {
                // The first 19 characters are the time to the second.
                let text = time.to_string();
                let (seconds, picos) = (time.unix_seconds(), time.subsec_picos());
                let date = text.get(..19).unwrap_or_default();
                write!(
                    writer.out,
                    "{{\"rfc3339\":\"{date}.{picos:012}Z\",\"unix_seconds\":{seconds},\"frac_ps\":{picos}}}"
                )
            },
            |writer| write!(writer.out, "{time}"),
        )
    }

    /// What is there, or nothing.
    ///
    /// # Errors
    /// As the output has them.
    pub fn optional<T>(
        self,
        value: Option<T>,
        write: impl FnOnce(Self, T) -> io::Result<()>,
    ) -> io::Result<()> {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    /// An object.
    ///
    /// # Errors
    /// As the output has them.
    pub fn object(self, fields: impl FnOnce(&mut Fields<'_, 'w>) -> io::Result<()>) -> io::Result<()> {
        let Self { writer, key } = self;
        if writer.is_json() {
            writer.out.write_all(b"{")?;
            fields(&mut Fields { writer, is_first: true })?;
            return writer.out.write_all(b"}");
        }
        let Some(key) = key else { return fields(&mut Fields { writer, is_first: true }) };
        writer.line()?;
        writeln!(writer.out, "{key}:")?;
        writer.indent += 1;
        fields(&mut Fields { writer, is_first: true })?;
        writer.indent -= 1;
        Ok(())
    }

    /// A list of objects.
    ///
    /// # Errors
    /// As the output has them.
    pub fn list<T>(
        self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(Slot<'_, 'w>, T) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { writer, key } = self;
        if writer.is_json() {
            writer.out.write_all(b"[")?;
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    writer.out.write_all(b",")?;
                }
                write(Slot { writer, key: None }, item)?;
            }
            return writer.out.write_all(b"]");
        }
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            // That there is none is worth a line where a list is what it is all about.
            return match key {
                Some(key) if writer.indent == 0 => writeln!(writer.out, "{key}: none"),
                _ => Ok(()),
            };
        }
        writer.line()?;
        writeln!(writer.out, "{}:", key.unwrap_or_default())?;
        writer.indent += 2;
        for item in items {
            writer.dash = true;
            write(Slot { writer, key: None }, item)?;
        }
        // An item that had nothing to show leaves nothing behind.
        writer.dash = false;
        writer.indent -= 2;
        Ok(())
    }

    /// A list of INTEGERs.
    ///
    /// # Errors
    /// As the output has them.
    pub fn ints<'i>(self, items: impl IntoIterator<Item = &'i Int>) -> io::Result<()> {
        self.row(items, |writer, item| write!(writer.out, "{item}"))
    }

    /// A list of texts.
    ///
    /// # Errors
    /// As the output has them.
    pub fn texts<'i>(self, items: impl IntoIterator<Item = &'i [u8]>) -> io::Result<()> {
        self.row(items, Writer::text)
    }

    fn row<T>(
        self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Writer<'w>, T) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { writer, key } = self;
        if !writer.is_json() {
            writer.labelled(key)?;
        }
        let comma: &[u8] = if writer.is_json() { b"," } else { b", " };
        writer.out.write_all(b"[")?;
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                writer.out.write_all(comma)?;
            }
            write(writer, item)?;
        }
        writer.out.write_all(if writer.is_json() { b"]" } else { b"]\n" })
    }
}

impl<'w> Fields<'_, 'w> {
    /// The place for the value of the next field.
    ///
    /// # Errors
    /// As the output has them.
    pub fn put(&mut self, key: &'static str) -> io::Result<Slot<'_, 'w>> {
        if self.writer.is_json() {
            let comma = if std::mem::take(&mut self.is_first) { "" } else { "," };
            write!(self.writer.out, "{comma}\"{key}\":")?;
        }
        Ok(Slot { writer: &mut *self.writer, key: Some(key) })
    }

    /// Whether programs read it, who want what follows from other fields too.
    pub(crate) fn is_json(&self) -> bool {
        self.writer.is_json()
    }
}
