//! A message on the wire.

use alloc::vec::Vec;

use crate::{
    Command, Data, DecodeError, DecodeErrorKind, EncodeError, Int, Name, Success, Text,
    codec::{self, Decoder, Encoder},
};

/// The version of the protocol that this crate speaks.
pub const WIRE_VERSION: i64 = 5;

/// A message.
///
/// ```asn1
/// Wire ::= SEQUENCE { header SEQUENCE { version INTEGER (5), sequence int64, name Name }, payload Payload }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire<'a> {
    /// Which conversation and whom it concerns.
    pub header: Header,
    /// What is said.
    pub payload: Payload<'a>,
}

/// What stands before each payload; the version is always [`WIRE_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Numbers the commands of a connection; a reply repeats its command's.
    pub sequence: i64,
    /// The unikernel, block device or path that is meant.
    pub name: Name,
}

/// ```asn1
/// Payload ::= CHOICE { command [0] Command, success [1] Success, failure [2] UTF8String, data [3] Data }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "messages are handled one at a time; a box would cost each command an allocation"
)]
pub enum Payload<'a> {
    /// Asks for something.
    Command(Command<'a>),
    /// It was done.
    Success(Success<'a>),
    /// It was not done, and why.
    Failure(Text),
    /// Something a subscriber waits for.
    Data(Data<'a>),
}

impl Header {
    /// The header of a message of the current version.
    #[must_use]
    pub const fn new(sequence: i64, name: Name) -> Self {
        Self { sequence, name }
    }
}

impl Wire<'_> {
    /// The message as DER, without a frame.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] beyond [`crate::frame::MAX_ENCODED`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        codec::encode(|out| {
            out.sequence(|out| {
                self.header.write(out);
                self.payload.write(out);
            });
        })
    }
}

impl<'a> Wire<'a> {
    /// A message of these two parts.
    #[must_use]
    pub const fn new(header: Header, payload: Payload<'a>) -> Self {
        Self { header, payload }
    }

    /// The message that `bytes` are, all of them. Large content is borrowed from them.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and position.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut outer = Decoder::new(bytes);
        let mut fields = outer.sequence("message")?;
        outer.finish("message")?;
        let header = Header::read(&mut fields)?;
        let payload = Payload::read(&mut fields)?;
        fields.finish("message")?;
        Ok(Self { header, payload })
    }
}

impl Header {
    /// The header as DER.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A header is never near the limit of what is encoded.
        codec::encode(|out| self.write(out)).unwrap_or_default()
    }

    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            write_version(out);
            out.int64(self.sequence);
            self.name.write(out);
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("header")?;
        read_version(&mut fields, "header.version")?;
        let header = Self {
            sequence: fields.int64("header.sequence")?,
            name: Name::read(&mut fields, "header.name")?,
        };
        fields.finish("header")?;
        Ok(header)
    }
}

pub(crate) fn write_version(out: &mut Encoder<'_>) {
    const { assert!(WIRE_VERSION == 5) };
    out.int(Int::from(5));
}

pub(crate) fn read_version(fields: &mut Decoder<'_>, field: &'static str) -> Result<(), DecodeError> {
    let at = fields.error(field, DecodeErrorKind::TrailingData);
    match fields.int(field)?.get() {
        WIRE_VERSION => Ok(()),
        found => Err(DecodeError { kind: DecodeErrorKind::WrongVersion { found }, ..at }),
    }
}

impl Payload<'_> {
    fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Command(command) => out.explicit(0, |out| command.write(out)),
            Self::Success(success) => out.explicit(1, |out| success.write(out)),
            Self::Failure(text) => out.explicit(2, |out| out.text(text)),
            Self::Data(data) => out.explicit(3, |out| data.write(out)),
        }
    }
}

impl<'a> Payload<'a> {
    fn read(from: &mut Decoder<'a>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("payload")?;
        let payload = match number {
            0 => Self::Command(Command::read(&mut content)?),
            1 => Self::Success(Success::read(&mut content)?),
            2 => Self::Failure(content.text("payload.failure")?),
            3 => Self::Data(Data::read(&mut content)?),
            _ => return content.unknown("payload", number),
        };
        content.finish("payload")?;
        Ok(payload)
    }
}
