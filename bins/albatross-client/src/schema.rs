//! The values of the protocol as JSON, and back: the schema in which test vectors of albatross are
//! recorded, and which `decode --json` prints.
//!
//! Octets stand under keys that end in `_hex`. 64-bit counters and sequence numbers are decimal strings,
//! an INTEGER is a number. Text is a JSON string, or `{"hex": ".."}` where it is not UTF-8. A time is
//! `{"rfc3339", "unix_seconds", "frac_ps"}`; the latter two count. What is optional and absent is `null`.
//!
//! | value | keys |
//! |---|---|
//! | message | `header`: `version` `sequence` `name` `name_path` `name_label`; `payload`: `kind`, and under its name a `command`, `success`, `message` or `data` |
//! | value of the certificate extension | `version` `command` |
//! | state file | `unikernels`, `policies`: lists of `name` and `config` or `policy` |
//! | command | `class` `op` and what belongs to it |
//!
//! NEW, in the same style, for what is ours alone:
//!
//! | value | keys |
//! |---|---|
//! | several frames | `frames`: a list of messages and of `chunk_hex`, which is a frame that is no message |
//! | our record | `record`: `unikernels` with `name` `config` `digest_hex`, and `policies` |
//! | the file that it is in | `salt_hex` `record`, and `changes`: `op`: `unikernel` with what belongs to it, `no-unikernel` with `name`, `policy` with `name` `policy`, `no-policy` with `name`; `torn_octets`, which are not written back |
//! | file of the event log | `previous_link_hex`, and `log`: records with `name` and what belongs to data `log`; `link_hex` `torn_octets`, which are not written back |
//! | command `unikernel` | `op`: `status`, or `create-by-digest`, `force-create-by-digest` with `config` `sha256_hex` `size` |
//! | command `log` | `op` `subscribe` with `since` or `count` |
//! | command `revocation` | `op` `install` with `crl_hex` |
//! | success `status` | `unikernels`: `name` and `status`: `state` (`kind`: `running`, `starting`, `waiting` with `until`, `failed` with `reason`) `since` `restarts` `pid` `last_exit` (`kind`: `exited`, `signalled`, `stopped`; `code`) |
//! | data `log` | `timestamp` `event`: `kind`: `daemon-started`, `login` and `logout` with `address` `serial_hex`, `command` with `command` `failure`, `unikernel-started` with `pid`, `unikernel-stopped` with `pid` `exit` |
//!
//! Nothing here grows beyond a small multiple of what is read: writing goes straight to the output,
//! reading is limited in octets, in values and in depth.

mod read;
mod write;
mod writer;

pub use read::{
    JsonError, MAX_JSON, MAX_JSON_VALUES, Problem, command, journal, log, parse, record, state, wire,
};
pub(crate) use read::{Object, bytes};
pub use write::{
    write_extension, write_header, write_journal, write_log, write_payload, write_policy, write_record,
    write_state, write_wire,
};
pub use writer::{Fields, Slot, Style, Writer};

pub(crate) use write::{name_fields, write_command};
