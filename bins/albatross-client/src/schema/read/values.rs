//! Objects and single values.

use albatross_proto::{Int, MacAddress, Name, Text, Time};
use serde_json::{Map, Value};

use super::{JsonError, Problem};

/// An object, for reading its fields.
pub(crate) struct Object<'v>(&'v Map<String, Value>);

impl<'v> Object<'v> {
    pub(crate) fn of(value: &'v Value) -> Result<Self, JsonError> {
        value.as_object().map(Self).ok_or_else(|| expected("an object"))
    }

    /// A field that must be there.
    pub(crate) fn get<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
        let value = self.0.get(key).ok_or_else(|| JsonError::from(Problem::Missing).under(key))?;
        read(value).map_err(|error| error.under(key))
    }

    /// A field that must be there and may be `null`.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, JsonError>,
    ) -> Result<Option<T>, JsonError> {
        self.get(key, |value| if value.is_null() { Ok(None) } else { read(value).map(Some) })
    }

    /// A field that need not be there.
    pub(crate) fn if_present<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'v Value) -> Result<T, JsonError>,
    ) -> Result<Option<T>, JsonError> {
        if self.0.get(key).is_none_or(Value::is_null) { Ok(None) } else { self.get(key, read).map(Some) }
    }

    /// Whether a field is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// A field that, if it is there, can only have this value.
    pub(crate) fn agrees(&self, key: &'static str, only: &Value) -> Result<(), JsonError> {
        match self.0.get(key) {
            Some(value) if value != only => Err(JsonError::from(Problem::Differs).under(key)),
            _ => Ok(()),
        }
    }

    /// A field with a word.
    pub(crate) fn word(&self, key: &'static str) -> Result<&'v str, JsonError> {
        self.get(key, word)
    }

    /// The word in this field is not known.
    #[allow(clippy::unused_self, reason = "it reads as what it is about")]
    pub(crate) fn unknown<T>(&self, key: &'static str) -> Result<T, JsonError> {
        Err(JsonError::from(Problem::UnknownWord).under(key))
    }

    /// The list under this key, or the only list in the object where it is called otherwise.
    pub(crate) fn only_list<T>(
        &self,
        key: &'static str,
        read: impl Fn(&'v Value) -> Result<T, JsonError>,
    ) -> Result<Vec<T>, JsonError> {
        let mut lists = self.0.values().filter(|value| value.is_array());
        match (self.has(key), lists.next(), lists.next()) {
            (false, Some(only), None) => list(read)(only).map_err(|error| error.under(key)),
            _ => self.get(key, list(read)),
        }
    }
}

fn expected(what: &'static str) -> JsonError {
    Problem::Expected(what).into()
}

pub(super) fn word(value: &Value) -> Result<&str, JsonError> {
    value.as_str().ok_or_else(|| expected("a string"))
}

pub(super) fn boolean(value: &Value) -> Result<bool, JsonError> {
    value.as_bool().ok_or_else(|| expected("true or false"))
}

pub(super) fn int(value: &Value) -> Result<Int, JsonError> {
    let number = value.as_i64().and_then(|number| Int::new(number).ok());
    number.ok_or_else(|| expected("a whole number from -2^62 to 2^62-1"))
}

pub(super) fn int32(value: &Value) -> Result<i32, JsonError> {
    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| expected("a whole number of 32 bits"))
}

pub(super) fn int64(value: &Value) -> Result<i64, JsonError> {
    let number = value.as_str().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| expected("a string with a whole number of 64 bits"))
}

pub(super) fn text(value: &Value) -> Result<Text, JsonError> {
    match value {
        Value::String(text) => Ok(Text::from(text.as_str())),
        Value::Object(_) => Object::of(value)?.get("hex", bytes).map(|octets| Text::from(octets.as_slice())),
        _ => Err(expected("a string, or an object with hex,")),
    }
}

pub(super) fn name(value: &Value) -> Result<Name, JsonError> {
    word(value)?.parse().map_err(|error| Problem::Name(error).into())
}

pub(super) fn mac(value: &Value) -> Result<MacAddress, JsonError> {
    word(value)?.parse().map_err(|_| expected("an address like 02:00:00:00:00:01"))
}

pub(super) fn time(value: &Value) -> Result<Time, JsonError> {
    let fields = Object::of(value)?;
    let whole = |value: &Value| value.as_i64().ok_or_else(|| expected("a whole number"));
    let seconds = fields.get("unix_seconds", whole)?;
    let picos = fields.get("frac_ps", whole)?;
    let time = u64::try_from(picos).ok().and_then(|picos| Time::from_unix_picos(seconds, picos).ok());
    time.ok_or_else(|| expected("a time in the years 0 to 9999 with less than 10^12 picoseconds"))
}

pub(crate) fn bytes(value: &Value) -> Result<Vec<u8>, JsonError> {
    let wrong = || expected("a string of pairs of hexadecimal digits");
    let digits = value.as_str().ok_or_else(wrong)?.as_bytes();
    let octet = |pair: &[u8]| match pair {
        [high, low] => Some((nibble(*high)? << 4) | nibble(*low)?),
        _ => None,
    };
    digits.chunks(2).map(octet).collect::<Option<_>>().ok_or_else(wrong)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Exactly so many octets.
pub(super) fn fixed<const N: usize>(value: &Value) -> Result<[u8; N], JsonError> {
    let octets = bytes(value)?;
    let found = octets.len();
    octets.try_into().map_err(|_| Problem::WrongLength { expected: N, found }.into())
}

pub(super) fn list<'v, T>(
    read: impl Fn(&'v Value) -> Result<T, JsonError>,
) -> impl Fn(&'v Value) -> Result<Vec<T>, JsonError> {
    collection(read)
}

pub(super) fn set<'v, T: Ord>(
    read: impl Fn(&'v Value) -> Result<T, JsonError>,
) -> impl Fn(&'v Value) -> Result<std::collections::BTreeSet<T>, JsonError> {
    collection(read)
}

fn collection<'v, T, C: FromIterator<T>>(
    read: impl Fn(&'v Value) -> Result<T, JsonError>,
) -> impl Fn(&'v Value) -> Result<C, JsonError> {
    move |value| {
        let items = value.as_array().ok_or_else(|| expected("a list"))?;
        let item = |(index, item)| read(item).map_err(|error| error.at(index));
        items.iter().enumerate().map(item).collect()
    }
}
