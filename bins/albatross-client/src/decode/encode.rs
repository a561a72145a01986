//! From JSON back to octets.

use std::fmt;

use albatross_core::certificate::pem;
use albatross_core::eventlog::LogError;
use albatross_core::revocation::PEM_LABEL;
use albatross_proto::{EncodeError, extension, frame};
use serde_json::Value;

use super::document::{Document, recognise};
use super::kind::Kind;
use crate::schema::{self, JsonError, Object, Problem, Style, Writer, bytes};

/// Why JSON does not become octets.
#[derive(Debug)]
#[non_exhaustive]
pub enum EncodeJsonError {
    /// Not JSON, or a value is not what it should be.
    Json(JsonError),
    /// None of the keys by which it would be known what it is.
    UnknownObject,
    /// The value is too long for the protocol.
    Encode(EncodeError),
    /// A record of the event log that is too long.
    Log(LogError),
    /// `der_hex` is nothing that is signed.
    NotSigned,
    /// The other keys do not agree with `der_hex`, whose signature goes with what it says.
    SignedDiffers {
        /// The first one that does not.
        key: String,
    },
    /// Several values that do not go into one file: only what is signed does, as PEM.
    Several,
    /// There is no value.
    Empty,
}

/// The label of PEM and the DER.
type Signed = (&'static str, Vec<u8>);

enum Encoded {
    Octets(Vec<u8>),
    Signed(Signed),
}

/// The octets of what this JSON is: of one value, or of several that are signed, as PEM.
///
/// The JSON may also be the whole of a file of the vectors.
///
/// # Errors
/// [`EncodeJsonError`] says which value is not what it should be.
pub fn encode(json: &[u8]) -> Result<Vec<u8>, EncodeJsonError> {
    let values = schema::parse(json).map_err(EncodeJsonError::Json)?;
    match values.as_slice() {
        [] => Err(EncodeJsonError::Empty),
        [only] => match encode_value(only)? {
            Encoded::Octets(octets) | Encoded::Signed((_, octets)) => Ok(octets),
        },
        several => {
            let mut text = String::new();
            for value in several {
                let Encoded::Signed((label, der)) = encode_value(value)? else {
                    return Err(EncodeJsonError::Several);
                };
                text.push_str(&pem::encode(label, &der));
            }
            Ok(text.into_bytes())
        }
    }
}

fn encode_value(value: &Value) -> Result<Encoded, EncodeJsonError> {
    let fields = Object::of(value)?;
    if fields.has("der_hex") {
        return signed(value).map(Encoded::Signed);
    }
    // A file of the vectors has the value under another key.
    let inside = ["value", "decoded"].into_iter().find_map(|key| value.get(key).filter(|it| it.is_object()));
    let octets = match encode_plain(value)? {
        Some(octets) => octets,
        None => inside.map(encode_plain).transpose()?.flatten().ok_or(EncodeJsonError::UnknownObject)?,
    };
    Ok(Encoded::Octets(octets))
}

/// What has no signature, `None` where the keys are those of nothing that is known.
fn encode_plain(value: &Value) -> Result<Option<Vec<u8>>, EncodeJsonError> {
    let fields = Object::of(value)?;
    Ok(Some(if fields.has("header") {
        schema::wire(value)?.encode()?
    } else if fields.has("frames") {
        frames(value)?
    } else if fields.has("salt_hex") {
        schema::journal(value)?.write()?
    } else if fields.has("log") {
        schema::log(value)?.write().map_err(EncodeJsonError::Log)?
    } else if fields.has("record") {
        schema::record(value)?.encode()?
    } else if fields.has("unikernels") {
        schema::state(value)?.encode()?
    } else if fields.has("version") && fields.has("command") {
        extension::encode(&schema::command(value)?)?
    } else {
        return Ok(None);
    }))
}

fn frames(value: &Value) -> Result<Vec<u8>, EncodeJsonError> {
    let items = value.get("frames").and_then(Value::as_array);
    let mut out = Vec::new();
    for item in items.ok_or_else(|| JsonError::from(Problem::Expected("a list of frames")))? {
        let fields = Object::of(item)?;
        let payload = if fields.has("chunk_hex") {
            fields.get("chunk_hex", bytes)?
        } else {
            schema::wire(item)?.encode()?
        };
        out.extend_from_slice(&frame::frame(&payload));
    }
    Ok(out)
}

/// The DER of what is signed, when all else that the JSON says about it is so.
fn signed(value: &Value) -> Result<Signed, EncodeJsonError> {
    let der = Object::of(value)?.get("der_hex", bytes)?;
    let kinds = [
        (Kind::Certificate, pem::CERTIFICATE),
        (Kind::Request, pem::REQUEST),
        (Kind::RevocationList, PEM_LABEL),
    ];
    let found = kinds.into_iter().find_map(|(kind, label)| Some((label, shown(&der, kind)?)));
    let (label, shown) = found.ok_or(EncodeJsonError::NotSigned)?;
    for (key, actual) in shown.as_object().into_iter().flatten() {
        if value.get(key).is_some_and(|given| given != actual && key != "der_hex") {
            return Err(EncodeJsonError::SignedDiffers { key: key.clone() });
        }
    }
    Ok((label, der))
}

/// What `decode --json` prints of it.
fn shown(der: &[u8], kind: Kind) -> Option<Value> {
    let documents = recognise(der, Some(kind)).ok()?;
    let [document @ (Document::Certificate(_) | Document::Request(_) | Document::RevocationList(_))] =
        documents.as_slice()
    else {
        return None;
    };
    let mut json = Vec::new();
    document.write(&mut Writer::new(&mut json, Style::Json)).ok()?;
    serde_json::from_slice(&json).ok()
}

impl From<JsonError> for EncodeJsonError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl From<EncodeError> for EncodeJsonError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl fmt::Display for EncodeJsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => error.fmt(f),
            Self::UnknownObject => f.write_str(
                "no object that is known: it has header, frames, unikernels, record, log, version and command, or \
                 der_hex",
            ),
            Self::Encode(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
            Self::NotSigned => f.write_str("der_hex is no certificate, request or revocation list"),
            Self::SignedDiffers { key } => write!(
                f,
                "{key} is not what der_hex says, which is signed and cannot be changed: make a new one"
            ),
            Self::Several => f.write_str(
                "several values: only certificates, requests and revocation lists go into one file",
            ),
            Self::Empty => f.write_str("there is no JSON in it"),
        }
    }
}

impl std::error::Error for EncodeJsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Encode(error) => Some(error),
            Self::Log(error) => Some(error),
            _ => None,
        }
    }
}
