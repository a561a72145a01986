//! Why JSON is not a value of the schema.

use std::fmt;

use albatross_proto::NameError;

/// A value that is not what it should be, and where it stands.
#[derive(Debug)]
pub struct JsonError {
    /// The innermost first.
    steps: Vec<Step>,
    problem: Problem,
}

/// What is wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// Longer than what is read.
    TooLong {
        /// Octets that are.
        limit: usize,
    },
    /// More values than are read.
    TooManyValues {
        /// How many are.
        limit: usize,
    },
    /// Not JSON, or too deep.
    NotJson(serde_json::Error),
    /// The key is not there.
    Missing,
    /// Another type of value is needed; this says which.
    Expected(&'static str),
    /// A word that means nothing here.
    UnknownWord,
    /// Hexadecimal digits of another number of octets.
    WrongLength {
        /// Octets that are needed.
        expected: usize,
        /// Octets that are there.
        found: usize,
    },
    /// Not a name.
    Name(NameError),
    /// A name with a label where a path belongs (`foo:`).
    NotAPath,
    /// Another version of the protocol.
    Version,
    /// It does not follow from the other values, as it must.
    Differs,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Key(&'static str),
    Item(usize),
}

impl JsonError {
    /// What is wrong.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }

    pub(super) fn under(mut self, key: &'static str) -> Self {
        self.steps.push(Step::Key(key));
        self
    }

    pub(super) fn at(mut self, index: usize) -> Self {
        self.steps.push(Step::Item(index));
        self
    }
}

impl From<Problem> for JsonError {
    fn from(problem: Problem) -> Self {
        Self { steps: Vec::new(), problem }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().rev().enumerate() {
            match step {
                Step::Key(key) if index == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        if !self.steps.is_empty() {
            f.write_str(": ")?;
        }
        self.problem.fmt(f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "longer than the {limit} octets that are read"),
            Self::TooManyValues { limit } => write!(f, "more than the {limit} values that are read"),
            Self::NotJson(error) => write!(f, "not JSON: {error}"),
            Self::Missing => f.write_str("this key is missing (null stands for what is absent)"),
            Self::Expected(what) => write!(f, "{what} is needed"),
            Self::UnknownWord => f.write_str("this word is not known"),
            Self::WrongLength { expected, found } => {
                write!(f, "{found} octets where {expected} are needed")
            }
            Self::Name(error) => write!(f, "not a name: {error}"),
            Self::NotAPath => f.write_str("a path is needed, which ends with ':'"),
            Self::Version => f.write_str("this program speaks version 5"),
            Self::Differs => f.write_str("does not follow from the other values: correct it or leave it out"),
        }
    }
}

impl std::error::Error for JsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::NotJson(error) => Some(error),
            Problem::Name(error) => Some(error),
            _ => None,
        }
    }
}
