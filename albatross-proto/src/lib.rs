//! What travels between albatross programs and what they store: types and their DER.
//!
//! This crate is the wire protocol of [albatross] version 5 as version 2.7.2 of the OCaml
//! implementation speaks it, byte for byte, with the additions marked NEW in `docs/protocol.md`. It
//! performs no I/O, reads no clock, needs no standard library (only `alloc`), and contains no unsafe
//! code.
//!
//! * A message is a [`Wire`]: a [`Header`] and a [`Payload`], which is a [`Command`], a [`Success`], a
//!   failure text, or [`Data`]. [`Wire::decode`] borrows large content (images, block data, console
//!   lines) from its input; nothing of 16 MiB is copied to look at a header.
//! * On a socket a message stands in a [`frame`].
//! * In a certificate a command stands in an [`extension`].
//! * On disk, unikernels and policies stand in a [`state`] file.
//!
//! Every decoder returns a [`DecodeError`] that names the field and the byte position. Decoders never
//! panic, hold no more memory than a small multiple of their input, and recurse only as deep as the
//! grammar. Older encodings are read by the submodules named `old` and turn into the current types; the
//! rest of a program never sees them.
//!
//! | ASN.1 here | Rust type |
//! |---|---|
//! | `INTEGER`, -2^62 .. 2^62-1 | [`Int`] |
//! | `int64`, OCTET STRING of 8 octets | `i64` |
//! | `UTF8String`, any octets accepted | [`Text`] |
//! | `name` | [`Name`] |
//! | `time`, GeneralizedTime | [`Time`] |
//!
//! ```
//! use albatross_proto::{Command, Header, Name, Payload, UnikernelCommand, Wire};
//!
//! let name: Name = "foo:hello".parse().unwrap();
//! let wire = Wire::new(Header::new(0, name), Payload::Command(Command::Unikernel(UnikernelCommand::Info)));
//! let bytes = wire.encode().unwrap();
//! assert_eq!(Wire::decode(&bytes).unwrap(), wire);
//! ```
//!
//! [albatross]: https://github.com/robur-coop/albatross
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod codec;
pub mod command;
mod error;
pub mod extension;
pub mod frame;
mod int;
pub mod large;
pub mod log;
pub mod name;
pub mod policy;
pub mod reply;
pub mod state;
pub mod stats;
mod text;
mod time;
pub mod unikernel;
mod wire;

pub use command::{
    BlockCommand, Command, ConsoleCommand, PolicyCommand, StatisticsCommand, UnikernelCommand,
};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use int::{Int, IntRangeError};
pub use name::{Label, Name, NameError, Path};
pub use policy::Policy;
pub use reply::{BlockDeviceInfo, Data, Success};
pub use text::Text;
pub use time::{Time, TimeError};
pub use unikernel::{Arguments, BlockDevice, Config, FailBehaviour, MacAddress, NetDevice, Typ};
pub use wire::{Header, Payload, WIRE_VERSION, Wire};
