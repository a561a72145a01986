//! The event log (NEW: no other implementation has it): what is asked of it and what it records.

use alloc::vec::Vec;

use crate::{
    DecodeError, EncodeError, Int, Name, Text, Time,
    codec::{self, Decoder, Encoder},
    command::History,
    reply::{Exit, skip_later_fields},
};

/// ```asn1
/// Log ::= CHOICE { since [0] time, count [1] INTEGER }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCommand(
    /// How much of the past comes before what happens from now on.
    pub History,
);

/// Something that happened to the name in the header.
///
/// ```asn1
/// LogEntry ::= SEQUENCE { timestamp time, event Event, .. }
/// Event    ::= CHOICE { daemon-started [0] NULL, login [1] Session, logout [2] Session,
///              command [3] SEQUENCE { command UTF8String, failure UTF8String OPTIONAL },
///              unikernel-started [4] INTEGER (pid), unikernel-stopped [5] SEQUENCE { pid INTEGER, Exit OPTIONAL } }
/// Session  ::= SEQUENCE { address UTF8String, serial OCTET STRING }
/// ```
/// Fields under context tags after the event are for later versions and are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When.
    pub timestamp: Time,
    /// What.
    pub event: Event,
}

/// A record of the log's file: an entry, and what it is about.
///
/// ```asn1
/// LogRecord ::= SEQUENCE { name, entry LogEntry }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// What it is about; the root for albatrossd itself.
    pub name: Name,
    /// What happened, and when.
    pub entry: LogEntry,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// albatrossd was started.
    DaemonStarted,
    /// A client was let in by the endpoint.
    Login(Session),
    /// That client is gone.
    Logout(Session),
    /// A command was answered.
    Command {
        /// The command in words.
        command: Text,
        /// Why it failed, if it did.
        failure: Option<Text>,
    },
    /// A unikernel was started, with this process id.
    UnikernelStarted(Int),
    /// A unikernel ended.
    UnikernelStopped {
        /// Its process id.
        pid: Int,
        /// How it ended; `None` where that cannot be known of one that was taken over.
        exit: Option<Exit>,
    },
}

/// Who came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The client's address.
    pub address: Text,
    /// The octets of the leaf certificate's serial number.
    pub serial: Text,
}

impl LogCommand {
    pub(crate) fn write(self, out: &mut Encoder<'_>) {
        self.0.write(out);
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        History::read(from).map(Self)
    }
}

impl LogRecord {
    /// The record as DER.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] beyond [`crate::frame::MAX_ENCODED`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        codec::encode(|out| {
            out.sequence(|out| {
                self.name.write(out);
                self.entry.write(out);
            });
        })
    }

    /// The record that `bytes` are.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and position.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut outer = Decoder::new(bytes);
        let mut fields = outer.sequence("log-record")?;
        outer.finish("log-record")?;
        let name = Name::read(&mut fields, "log-record.name")?;
        let entry = LogEntry::read(&mut fields)?;
        fields.finish("log-record")?;
        Ok(Self { name, entry })
    }
}

impl LogEntry {
    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.timestamp.write(out);
            self.event.write(out);
        });
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("log-entry")?;
        let timestamp = Time::read(&mut fields, "log-entry.timestamp")?;
        let event = Event::read(&mut fields)?;
        skip_later_fields(fields, "log-entry", 0)?;
        Ok(Self { timestamp, event })
    }
}

impl Event {
    fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::DaemonStarted => out.explicit_null(0),
            Self::Login(session) => out.explicit(1, |out| session.write(out)),
            Self::Logout(session) => out.explicit(2, |out| session.write(out)),
            Self::Command { command, failure } => out.explicit(3, |out| {
                out.sequence(|out| {
                    out.text(command);
                    if let Some(failure) = failure {
                        out.text(failure);
                    }
                });
            }),
            Self::UnikernelStarted(pid) => out.explicit(4, |out| out.int(*pid)),
            Self::UnikernelStopped { pid, exit } => out.explicit(5, |out| {
                out.sequence(|out| {
                    out.int(*pid);
                    if let Some(exit) = exit {
                        exit.write(out);
                    }
                });
            }),
        }
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("log-entry.event")?;
        let event = match number {
            0 => content.null("log-entry.event").map(|()| Self::DaemonStarted)?,
            1 => Self::Login(Session::read(&mut content)?),
            2 => Self::Logout(Session::read(&mut content)?),
            3 => {
                let mut fields = content.sequence("log-entry.command")?;
                let command = fields.text("log-entry.command")?;
                let failure = fields
                    .optional(der::Tag::Utf8String, |fields| fields.text("log-entry.command.failure"))?;
                fields.finish("log-entry.command")?;
                Self::Command { command, failure }
            }
            4 => Self::UnikernelStarted(content.int("log-entry.unikernel-started")?),
            5 => {
                let mut fields = content.sequence("log-entry.unikernel-stopped")?;
                let pid = fields.int("log-entry.unikernel-stopped.pid")?;
                let exit = if fields.is_finished() { None } else { Some(Exit::read(&mut fields)?) };
                fields.finish("log-entry.unikernel-stopped")?;
                Self::UnikernelStopped { pid, exit }
            }
            _ => return content.unknown("log-entry.event", number),
        };
        content.finish("log-entry.event")?;
        Ok(event)
    }
}

impl Session {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.text(&self.address);
            out.octets(self.serial.as_bytes());
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("log-entry.session")?;
        let address = fields.text("log-entry.session.address")?;
        let serial = Text::from(fields.octets("log-entry.session.serial")?);
        fields.finish("log-entry.session")?;
        Ok(Self { address, serial })
    }
}
