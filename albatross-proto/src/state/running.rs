//! What is kept of a tender that runs, for the daemon that takes it over.

use alloc::vec::Vec;

use crate::{
    DecodeError, EncodeError, Int, Name, Text, Time,
    codec::{self, Decoder, Encoder},
    reply::skip_later_fields,
};

/// A tender that runs (NEW): one file for each, made before the tender is let run and removed after its end. It
/// means nothing once the machine was started again.
///
/// ```asn1
/// Running ::= [31] SEQUENCE { process SEQUENCE { pid INTEGER, started INTEGER }, tender Tender }
/// Tender  ::= SEQUENCE { name, taps SEQUENCE OF UTF8String, user [0] INTEGER OPTIONAL, since time, restarts INTEGER,
///                        stage CHOICE { starting [0] NULL, running [1] NULL, stopping [2] NULL },
///                        blocks [1] SEQUENCE OF name OPTIONAL, .. }
/// ```
/// Fields that a later version adds at the end of `Tender` have tags from `[2]` on and are skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Which process it is.
    pub process: Process,
    /// What it is and holds.
    pub tender: Tender,
}

/// What tells a process from every other that had or will have its id while this machine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
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
    /// How far it has come.
    pub stage: Stage,
    /// Its block devices, in the order of the unikernel's; not written where there is none.
    pub blocks: Vec<Name>,
}

/// How far a tender has come. The end of one that is not [`Running`](Self::Running) says nothing about the
/// unikernel, which is to run as long as it is on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits to be let run, or was let run a moment ago.
    Starting,
    /// It runs.
    Running,
    /// It was asked to end by the daemon.
    Stopping,
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
            out.int(self.pid);
            out.int(self.started);
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("running.process")?;
        let process =
            Self { pid: fields.int("running.process.pid")?, started: fields.int("running.process.started")? };
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
            out.explicit_null(match self.stage {
                Stage::Starting => 0,
                Stage::Running => 1,
                Stage::Stopping => 2,
            });
            let blocks = Some(&self.blocks).filter(|blocks| !blocks.is_empty());
            out.optional(1, blocks, |out, blocks| {
                out.sequence(|out| blocks.iter().for_each(|block| block.write(out)));
            });
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
            stage: Stage::read(&mut fields)?,
            blocks: fields
                .optional_explicit(1, "running.tender.blocks", |item| {
                    let blocks = item.sequence("running.tender.blocks")?;
                    blocks.list(|item| Name::read(item, "running.tender.blocks"))
                })?
                .unwrap_or_default(),
        };
        skip_later_fields(fields, "running.tender", 2)?;
        Ok(tender)
    }
}

impl Stage {
    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, mut content) = from.choice("running.tender.stage")?;
        let stage = match number {
            0 => Self::Starting,
            1 => Self::Running,
            2 => Self::Stopping,
            _ => return content.unknown("running.tender.stage", number),
        };
        content.null("running.tender.stage")?;
        content.finish("running.tender.stage")?;
        Ok(stage)
    }
}
