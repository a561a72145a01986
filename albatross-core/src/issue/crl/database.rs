//! The database of a CA: which serial number it gave to whom.

use std::fmt;

use crate::issue::{IssueError, Serial};

/// The lines that a CA wrote about what it signed: `SERIAL-HEX NAME`, one for each certificate.
///
/// ```
/// use albatross_core::issue::Database;
///
/// let database = Database::parse("00a1b2 hello\n1f hello\n2a5c other\n").unwrap();
/// let selected = database.select("hello").unwrap();
/// assert_eq!(selected.len(), 2);
/// assert_eq!(selected[1].serial.as_bytes(), [0x1f]);
/// assert!(database.select("nobody").is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Database<'a> {
    lines: Vec<(Serial, &'a str)>,
}

/// A certificate of the database, or a serial number that is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selected<'a> {
    /// Its serial number.
    pub serial: Serial,
    /// Its CommonName. `None`: the database does not know this serial number, which is worth a warning.
    pub name: Option<&'a str>,
}

/// A database that cannot be read, or something that it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseError {
    /// A line that does not begin with a serial number and a space.
    Line {
        /// Which, from 1.
        line: usize,
    },
    /// No name or serial number of the database, and no text of a serial number.
    NotFound {
        /// What was looked for.
        text: String,
    },
    /// The name of one certificate and the serial number of another.
    Ambiguous {
        /// What was looked for.
        text: String,
    },
}

/// Reads a serial number: an even number of hex digits, capital or not, perhaps with colons between the
/// octets, as openssl prints them.
///
/// # Errors
/// [`IssueError::Serial`]: not hex, zero, longer than 20 octets.
pub fn parse_serial(text: &str) -> Result<Serial, IssueError> {
    let digits: Option<Vec<u8>> = if text.contains(':') {
        text.split(':').map(|octet| octet_of(octet.as_bytes())).collect()
    } else {
        text.as_bytes().chunks(2).map(octet_of).collect()
    };
    Serial::new(&digits.ok_or(IssueError::Serial)?)
}

fn octet_of(digits: &[u8]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match digits {
        [high, low] => Some(16 * digit(*high)? + digit(*low)?),
        _ => None,
    }
}

impl<'a> Database<'a> {
    /// Reads the text of a database. Lines without anything are passed over.
    ///
    /// # Errors
    /// [`DatabaseError::Line`].
    pub fn parse(text: &'a str) -> Result<Self, DatabaseError> {
        let mut lines = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            if line.is_empty() {
                continue;
            }
            let fields = line.split_once(' ');
            let read = fields.and_then(|(serial, name)| Some((parse_serial(serial).ok()?, name)));
            lines.push(read.ok_or(DatabaseError::Line { line: number })?);
        }
        Ok(Self { lines })
    }

    /// The certificates that `text` names: the one with this serial number, or *all* with this CommonName,
    /// as what was issued under a name goes together.
    ///
    /// A serial number that the database does not know is selected too: not all that is signed is written
    /// into it.
    ///
    /// # Errors
    /// [`DatabaseError::NotFound`], [`DatabaseError::Ambiguous`].
    pub fn select(&self, text: &str) -> Result<Vec<Selected<'a>>, DatabaseError> {
        let serial = parse_serial(text).ok();
        let pick = |wanted: &dyn Fn(&Serial, &str) -> bool| -> Vec<Selected<'a>> {
            let found = self.lines.iter().filter(|(serial, name)| wanted(serial, name));
            found.map(|(serial, name)| Selected { serial: serial.clone(), name: Some(name) }).collect()
        };
        let by_serial = pick(&|found, _| serial.as_ref() == Some(found));
        let by_name = pick(&|_, name| name == text);
        match (by_serial.is_empty(), by_name.is_empty(), serial) {
            (false, true, _) => Ok(by_serial),
            (true, false, _) => Ok(by_name),
            (false, false, _) if by_serial == by_name => Ok(by_name),
            (false, false, _) => Err(DatabaseError::Ambiguous { text: text.to_owned() }),
            (true, true, Some(serial)) => Ok(vec![Selected { serial, name: None }]),
            (true, true, None) => Err(DatabaseError::NotFound { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line } => {
                write!(f, "line {line} of the database is not a serial number in hex, a space and a name")
            }
            Self::NotFound { text } => {
                write!(f, "{text:?} is no name in the database and no serial number in hex")
            }
            Self::Ambiguous { text } => write!(
                f,
                "{text:?} is the name of one certificate and the serial number of another: put 00 before the \
                 serial number, or give that of the first"
            ),
        }
    }
}

impl std::error::Error for DatabaseError {}
