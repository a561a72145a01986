//! Names: where a policy, a unikernel or a block device belongs.
//!
//! A label is 1 to 63 characters of `A-Z a-z 0-9 - .`, not starting with `-`, lower-cased when read. A
//! path is a list of labels, a name a path and an optional last label. `.` and `..` are labels, so a
//! name is never a safe file name by itself.

use alloc::{borrow::ToOwned, boxed::Box, string::String};
use core::{cmp::Ordering, fmt, str::FromStr};

use der::Tag;

use crate::{
    DecodeError, DecodeErrorKind,
    codec::{Decoder, Encoder},
};

/// What stands between labels.
const SEPARATOR: char = ':';

/// One part of a path, or the name of a unikernel or block device below it. Always lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

/// A list of labels; the empty list is the root.
///
/// Ordered label by label, so that a path stands before what is below it, and `a:b` before `a-x:y`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(
    /// Invariant: valid lower-case labels joined by `:`; empty for the root.
    Box<str>,
);

/// A path and an optional last label: a unikernel or block device, or the path itself.
///
/// Its text is the labels of the path joined by `:`, then `:`, then the label if any; the root itself
/// is `:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    path: Path,
    label: Option<Label>,
}

/// Text that is no label, path or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// No text at all.
    Empty,
    /// Two separators with nothing between them, or one at the end of a path.
    EmptyLabel,
    /// More than [`Label::MAX_LENGTH`] characters in one label.
    LabelTooLong,
    /// A label that begins with a hyphen.
    LeadingHyphen,
    /// A character that no label may have.
    InvalidCharacter,
}

impl Label {
    /// The most characters in a label, as in a host name (RFC 1035 section 2.3.4).
    pub const MAX_LENGTH: usize = 63;

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(text: &str) -> Result<(), NameError> {
        if text.is_empty() {
            Err(NameError::EmptyLabel)
        } else if text.starts_with('-') {
            Err(NameError::LeadingHyphen)
        } else if !text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.') {
            Err(NameError::InvalidCharacter)
        } else if text.len() > Self::MAX_LENGTH {
            Err(NameError::LabelTooLong)
        } else {
            Ok(())
        }
    }
}

impl FromStr for Label {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::check(text)?;
        Ok(Self(text.to_ascii_lowercase().into_boxed_str()))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Path {
    /// The root: no label.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels joined by `:`, empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from the root downwards.
    pub fn labels(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split(SEPARATOR).filter(|label| !label.is_empty())
    }

    /// How many labels there are.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.labels().count()
    }

    /// The path one label above, `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(self.0.rsplit_once(SEPARATOR).map_or_else(Self::root, |(above, _)| Self(above.into())))
    }

    /// This path, then each one above it, the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        core::iter::successors(Some(self.clone()), Self::parent)
    }

    /// The path one label below.
    #[must_use]
    pub fn join(&self, label: &Label) -> Self {
        if self.is_root() {
            return Self(label.0.clone());
        }
        let mut text = String::with_capacity(self.0.len() + 1 + label.0.len());
        text.push_str(&self.0);
        text.push(SEPARATOR);
        text.push_str(&label.0);
        Self(text.into_boxed_str())
    }

    /// What is left of this path when `above` is taken off its front; `None` if it does not lie there.
    #[must_use]
    pub fn below(&self, above: &Self) -> Option<Self> {
        if above.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(above.as_str())?;
        if rest.is_empty() {
            Some(Self::root())
        } else {
            rest.strip_prefix(SEPARATOR).map(|rest| Self(rest.into()))
        }
    }

    /// Whether this path is `above` or lies below it.
    #[must_use]
    pub fn is_within(&self, above: &Self) -> bool {
        above.is_root()
            || self
                .0
                .strip_prefix(above.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR))
    }

    /// The path itself as a name: no last label.
    #[must_use]
    pub fn to_name(&self) -> Name {
        Name { path: self.clone(), label: None }
    }

    fn from_labels(text: &str) -> Result<Self, NameError> {
        text.split(SEPARATOR).try_for_each(Label::check)?;
        Ok(Self(text.to_ascii_lowercase().into_boxed_str()))
    }
}

impl FromStr for Path {
    type Err = NameError;

    /// Labels joined by `:`; one leading `:` is dropped, a trailing one is an error, as is `:` itself; the
    /// empty text is the root.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        Self::from_labels(text.strip_prefix(SEPARATOR).unwrap_or(text))
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        self.labels().cmp(other.labels())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Name {
    /// The name of `label` at `path`, or of the path itself.
    #[must_use]
    pub const fn new(path: Path, label: Option<Label>) -> Self {
        Self { path, label }
    }

    /// The root itself, `:`.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The path.
    #[must_use]
    pub const fn path(&self) -> &Path {
        &self.path
    }

    /// The last label, `None` if this names the path itself.
    #[must_use]
    pub const fn label(&self) -> Option<&Label> {
        self.label.as_ref()
    }

    /// This name as it reads from `above`, `None` if it does not lie there.
    #[must_use]
    pub fn relative_to(&self, above: &Path) -> Option<Self> {
        Some(Self { path: self.path.below(above)?, label: self.label.clone() })
    }

    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        let label = self.label.as_ref().map_or("", Label::as_str);
        out.parts(Tag::Utf8String, [self.path.as_str().as_bytes(), b":", label.as_bytes()]);
    }

    pub(crate) fn read(from: &mut Decoder<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let position = from.error(field, DecodeErrorKind::DuplicateName);
        let octets = from.utf8(field)?;
        let failed = |error| DecodeError { kind: DecodeErrorKind::Name(error), ..position };
        core::str::from_utf8(octets).map_err(|_| failed(NameError::InvalidCharacter))?.parse().map_err(failed)
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// One leading `:` is dropped; a trailing `:` means "no label"; an empty label is an error.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let text = text.strip_prefix(SEPARATOR).unwrap_or(text);
        let (path, label) = match text.rsplit_once(SEPARATOR) {
            Some((path, label)) => (Path::from_labels(path)?, label),
            None => (Path::root(), text),
        };
        let label = if label.is_empty() { None } else { Some(label.parse()?) };
        Ok(Self { path, label })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.path.0, self.label.as_ref().map_or("", Label::as_str))
    }
}

impl From<&Label> for Name {
    /// The label at the root.
    fn from(label: &Label) -> Self {
        Self { path: Path::root(), label: Some(label.to_owned()) }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the empty text is no name",
            Self::EmptyLabel => "a label is empty",
            Self::LabelTooLong => "a label has more than 63 characters",
            Self::LeadingHyphen => "a label begins with '-'",
            Self::InvalidCharacter => "a label has a character other than letters, digits, '-' and '.'",
        })
    }
}

impl core::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{string::ToString, vec::Vec};

    #[test]
    fn names_print_as_they_are_read() {
        for (read, printed) in
            [(":", ":"), (":hello", ":hello"), ("hello", ":hello"), (":foo:Bar", "foo:bar")]
        {
            assert_eq!(read.parse::<Name>().unwrap().to_string(), printed);
        }
        assert_eq!("foo:bar:".parse::<Name>().unwrap().label(), None);
    }

    #[test]
    fn paths_are_ordered_label_by_label() {
        let mut paths: Vec<Path> =
            ["a-x:y", "a:b", "a", "", "a:b:c"].iter().map(|p| p.parse().unwrap()).collect();
        paths.sort();
        let texts: Vec<&str> = paths.iter().map(Path::as_str).collect();
        assert_eq!(texts, ["", "a", "a:b", "a:b:c", "a-x:y"]);
    }

    #[test]
    fn below_takes_whole_labels_only() {
        let path = |text: &str| text.parse::<Path>().unwrap();
        assert_eq!(path("foo:bar").below(&path("foo")), Some(path("bar")));
        assert_eq!(path("foobar").below(&path("foo")), None);
        assert_eq!(path("foo").below(&path("foo")), Some(Path::root()));
        assert!(path("foo:bar").is_within(&path("foo")) && !path("foobar").is_within(&path("foo")));
    }
}
