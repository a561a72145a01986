//! `decode`: what is in a file, for people and as JSON, and from the JSON back to the octets.
//!
//! * [`recognise`] finds out by its content what a file is.
//! * [`Document::write`] shows it; the keys are those of [`schema`](crate::schema), and for what is signed:
//!
//! | value | keys |
//! |---|---|
//! | certificate | `subject` `common_name` `issuer` `serial_hex` `not_before` `not_after` `key_type` `der_bytes` `extensions` (`extension` `critical`) `albatross_extension` (`critical` `value_hex` and `command` or `parse_error`) `der_hex` |
//! | request | `profile` `subject` `common_name` `key_type` `der_bytes` `albatross_extension` (`command`) `der_hex` |
//! | revocation list | `issuer` `number` `this_update` `next_update` `revoked` (`serial_hex` `date` `reason`) `der_bytes` `der_hex` |
//!
//! * [`encode()`] writes the octets of such JSON. What is signed comes from `der_hex`, and the other keys must
//!   agree with it.
//!
//! Any octets may be given: what is read is limited, and what is kept is a small multiple of it. Private keys
//! are named and never shown.

mod document;
mod encode;
mod frames;
mod kind;
mod name;
mod signed;

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;

pub use document::{Document, MAX_INPUT, recognise};
pub use encode::{EncodeJsonError, encode};
pub use frames::Frames;
pub use kind::{Kind, NotRecognised, Refusal, UnknownKind};

use crate::error::Error;
use crate::exit::Exit;
use crate::files::{self, FileError};
use crate::options;
use crate::schema::{MAX_JSON, Style, Writer};

/// Stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Why nothing is shown.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum DecodeFailure {
    /// The file is nothing that is known here.
    NotRecognised { file: String, error: NotRecognised },
    /// Not the JSON of anything.
    Json { file: String, error: EncodeJsonError },
    /// Octets would go to a terminal.
    Terminal,
}

impl fmt::Display for DecodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRecognised { file, error } => write!(f, "{file}: {error}"),
            Self::Json { file, error } => write!(f, "{file}: {error}"),
            Self::Terminal => f.write_str("octets do no good to a terminal: redirect standard output"),
        }
    }
}

impl std::error::Error for DecodeFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotRecognised { error, .. } => Some(error),
            Self::Json { error, .. } => Some(error),
            Self::Terminal => None,
        }
    }
}

/// Does what `decode` is asked for.
///
/// # Errors
/// [`Error`]: no such file, one that is not known, standard output closed.
pub(crate) fn run(it: &options::Decode, json: bool) -> Result<Exit, Error> {
    if it.encode {
        if io::stdout().is_terminal() {
            return Err(DecodeFailure::Terminal.into());
        }
        let text = read(&it.file, MAX_JSON)?;
        let octets = encode(&text).map_err(|error| DecodeFailure::Json { file: it.file.clone(), error })?;
        let mut out = io::stdout().lock();
        out.write_all(&octets).and_then(|()| out.flush()).map_err(Error::Output)?;
        return Ok(Exit::Success);
    }
    let octets = read(&it.file, MAX_INPUT)?;
    let documents = recognise(&octets, it.kind)
        .map_err(|error| DecodeFailure::NotRecognised { file: it.file.clone(), error })?;
    let style = if json { Style::Json } else { Style::Plain };
    show(&documents, style).map_err(Error::Output)?;
    Ok(Exit::Success)
}

fn show(documents: &[Document<'_>], style: Style) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for (index, document) in documents.iter().enumerate() {
        if index > 0 && style == Style::Plain {
            out.write_all(b"\n")?;
        }
        document.write(&mut Writer::new(&mut out, style))?;
    }
    out.flush()
}

/// The content of a file or of standard input, of at most `limit` octets.
fn read(file: &str, limit: usize) -> Result<Vec<u8>, FileError> {
    let path = Path::new(file);
    if file != STANDARD_INPUT {
        return files::read(path, limit);
    }
    let mut content = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    io::stdin().lock().take(most).read_to_end(&mut content).map_err(|source| FileError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    if content.len() > limit { Err(FileError::TooLong { path: path.to_owned(), limit }) } else { Ok(content) }
}
