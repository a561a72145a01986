//! What is signed: certificates, requests, revocation lists.

use std::io;

use albatross_core::certificate::{Certificate, PublicKey, PublicKeyAlgorithm};
use albatross_core::issue::{Profile, Request};
use albatross_core::revocation::RevocationList;
use albatross_proto::extension;

use super::name;
use crate::schema::{Fields, Slot, write_command};

/// Writes what a certificate says.
pub(super) fn write_certificate(slot: Slot<'_, '_>, certificate: &Certificate<'_>) -> io::Result<()> {
    let extensions = name::extensions(certificate);
    slot.object(|fields| {
        fields.put("subject")?.string(&name::subject(&certificate.subject()))?;
        fields.put("common_name")?.optional(certificate.common_name(), Slot::string)?;
        fields.put("issuer")?.string(&name::subject(&certificate.issuer()))?;
        fields.put("serial_hex")?.hex(certificate.serial())?;
        fields.put("not_before")?.string(&certificate.not_before().to_string())?;
        fields.put("not_after")?.string(&certificate.not_after().to_string())?;
        key_type(fields, certificate.public_key())?;
        fields.put("der_bytes")?.number(certificate.der().len())?;
        if fields.is_json() {
            fields.put("extensions")?.list(&extensions, |slot, extension| {
                slot.object(|fields| {
                    fields.put("extension")?.string(&extension.name)?;
                    fields.put("critical")?.boolean(extension.is_critical)
                })
            })?;
        } else {
            let shown: Vec<String> = extensions
                .iter()
                .map(|it| format!("{}{}", it.name, if it.is_critical { " (critical)" } else { "" }))
                .collect();
            fields.put("extensions")?.texts(shown.iter().map(String::as_bytes))?;
        }
        let oid = extension::OID.to_string();
        let is_critical = extensions.iter().any(|extension| extension.name == oid && extension.is_critical);
        fields.put("albatross_extension")?.optional(certificate.command_extension(), |slot, value| {
            slot.object(|fields| {
                fields.put("critical")?.boolean(is_critical)?;
                fields.put("value_hex")?.hex(value)?;
                match extension::decode(value) {
                    Ok(command) => write_command(fields.put("command")?, &command),
                    Err(error) => fields.put("parse_error")?.string(&error.to_string()),
                }
            })
        })?;
        der(fields, certificate.der())
    })
}

/// Writes what a request asks for.
pub(super) fn write_request(slot: Slot<'_, '_>, request: &Request<'_>) -> io::Result<()> {
    slot.object(|fields| {
        fields.put("profile")?.string(match request.profile() {
            Profile::Server => "server",
            Profile::Intermediate => "intermediate",
            Profile::Leaf => "leaf",
            _ => "other",
        })?;
        fields.put("subject")?.string(&name::subject(&request.subject()))?;
        fields.put("common_name")?.optional(request.common_name(), Slot::string)?;
        key_type(fields, request.public_key())?;
        fields.put("der_bytes")?.number(request.der().len())?;
        // It was read before, so there is no error here.
        let command = request.command().ok().flatten();
        fields.put("albatross_extension")?.optional(command, |slot, command| {
            slot.object(|fields| write_command(fields.put("command")?, &command))
        })?;
        der(fields, request.der())
    })
}

/// Writes what a revocation list says.
pub(super) fn write_list(slot: Slot<'_, '_>, list: &RevocationList<'_>) -> io::Result<()> {
    slot.object(|fields| {
        fields.put("issuer")?.string(&name::subject(&list.issuer()))?;
        fields.put("number")?.string(&list.number().to_string())?;
        fields.put("this_update")?.string(&list.this_update().to_string())?;
        fields.put("next_update")?.string(&list.next_update().to_string())?;
        fields.put("revoked")?.list(list.entries(), |slot, entry| {
            slot.object(|fields| {
                fields.put("serial_hex")?.hex(entry.serial)?;
                fields.put("date")?.string(&entry.date.to_string())?;
                fields.put("reason")?.optional(entry.reason, |slot, reason| slot.string(&reason.to_string()))
            })
        })?;
        fields.put("der_bytes")?.number(list.der().len())?;
        der(fields, list.der())
    })
}

fn key_type(fields: &mut Fields<'_, '_>, key: &PublicKey) -> io::Result<()> {
    let name = key.algorithm().map(|algorithm| match algorithm {
        PublicKeyAlgorithm::Ed25519 => "ed25519",
        PublicKeyAlgorithm::Rsa => "rsa",
        PublicKeyAlgorithm::P256 => "p256",
        PublicKeyAlgorithm::P384 => "p384",
        PublicKeyAlgorithm::P521 => "p521",
        _ => "other",
    });
    fields.put("key_type")?.optional(name, Slot::string)
}

/// The whole of it, for programs: from it `--encode` writes the file again.
fn der(fields: &mut Fields<'_, '_>, der: &[u8]) -> io::Result<()> {
    if fields.is_json() { fields.put("der_hex")?.hex(der) } else { Ok(()) }
}
