//! What is kept of a tender that runs, for the daemon that takes it over.

use alloc::vec::Vec;

use crate::{
    DecodeError, EncodeError, Int, Name, Text, Time,
    codec::{self, Decoder, Encoder},
    reply::skip_later_fields,
};

/// A tender that runs (NEW): one file for each, made before the tender is let run and removed after its end.
///
/// ```asn1
/// Running ::= [31] SEQUENCE { process SEQUENCE { boot UTF8String, pid INTEGER, started INTEGER }, tender Tender }
/// Tender  ::= SEQUENCE { name, taps SEQUENCE OF UTF8String, user [0] INTEGER OPTIONAL, since time, restarts INTEGER,
///                        stopping BOOLEAN, .. }
/// ```
/// Fields that a later version adds at the end of `Tender` have tags from `[1]` on and are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which process it is.
    pub process: Process,
    /// What it is and holds.
    pub tender: Tender,
}

/// What tells a process from every other that ever had or will have its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The random id that the kernel gave itself when the machine was started.
    pub boot: Text,
    /// The process id.
    pub pid: Int,
    /// When it was started, in clock ticks since the machine was.
    pub started: Int,
}

/// A tender without its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tender {
    /// The unikernel that it runs.
    pub name: Name,
    /// Its taps, in the order of the unikernel's network devices.
    pub taps: Vec<Text>,
    /// The user id that it runs under; `None`: that of the daemon.
    pub user: Option<Int>,
    /// When it was started.
    pub since: Time,
    /// Starts since the unikernel was created, without the first.
    pub restarts: Int,
    /// It was asked to end by the daemon: that it ends says nothing about the unikernel, which is to run as
    /// long as it is on record.
    pub stopping: bool,
}

impl Running {
    /// The file as DER.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] beyond [`crate::frame::MAX_ENCODED`].
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        codec::encode(|out| {
            out.explicit(31, |out| {
                out.sequence(|out| {
                    self.process.write(out);
                    self.tender.write(out);
                });
            });
        })
    }

    /// What the file `bytes` says.
    ///
    /// # Errors
    /// [`DecodeError`] with the field and position.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut outer = Decoder::new(bytes);
        let (number, mut content) = outer.choice("running")?;
        outer.finish("running")?;
        if number != 31 {
            return content.unknown("running", number);
        }
        let mut fields = content.sequence("running")?;
        content.finish("running")?;
        let running = Self { process: Process::read(&mut fields)?, tender: Tender::read(&mut fields)? };
        fields.finish("running")?;
        Ok(running)
    }
}

impl Process {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.text(&self.boot);
            out.int(self.pid);
            out.int(self.started);
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("running.process")?;
        let process = Self {
            boot: fields.text("running.process.boot")?,
            pid: fields.int("running.process.pid")?,
            started: fields.int("running.process.started")?,
        };
        fields.finish("running.process")?;
        Ok(process)
    }
}

impl Tender {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.name.write(out);
            out.sequence(|out| self.taps.iter().for_each(|tap| out.text(tap)));
            out.optional(0, self.user, |out, user| out.int(*user));
            self.since.write(out);
            out.int(self.restarts);
            out.boolean(self.stopping);
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("running.tender")?;
        let tender = Self {
            name: Name::read(&mut fields, "running.tender.name")?,
            taps: fields.sequence("running.tender.taps")?.list(|item| item.text("running.tender.taps"))?,
            user: fields
                .optional_explicit(0, "running.tender.user", |item| item.int("running.tender.user"))?,
            since: Time::read(&mut fields, "running.tender.since")?,
            restarts: fields.int("running.tender.restarts")?,
            stopping: fields.boolean("running.tender.stopping")?,
        };
        skip_later_fields(fields, "running.tender", 1)?;
        Ok(tender)
    }
}
