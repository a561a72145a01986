//! The certificate extension that carries a command.
//!
//! ```asn1
//! SEQUENCE { version INTEGER (5), command Command }
//! ```
//! Its OID is 1.3.6.1.4.1.49836.42; it is never critical.

use alloc::vec::Vec;

use der::asn1::ObjectIdentifier;

use crate::{
    Command, DecodeError, EncodeError,
    codec::{self, Decoder},
    wire,
};

/// The extension's object identifier.
pub const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.49836.42");

/// The value of the extension that carries `command`.
///
/// # Errors
/// [`EncodeError`] if it would be too long.
pub fn encode(command: &Command<'_>) -> Result<Vec<u8>, EncodeError> {
    codec::encode(|out| {
        out.sequence(|out| {
            wire::write_version(out);
            command.write(out);
        });
    })
}

/// The command that the value of the extension carries. Large content is borrowed from `value`.
///
/// # Errors
/// [`DecodeError`] with the field and position.
pub fn decode(value: &[u8]) -> Result<Command<'_>, DecodeError> {
    let mut outer = Decoder::new(value);
    let mut fields = outer.sequence("extension")?;
    outer.finish("extension")?;
    wire::read_version(&mut fields, "extension.version")?;
    let command = Command::read(&mut fields)?;
    fields.finish("extension")?;
    Ok(command)
}
