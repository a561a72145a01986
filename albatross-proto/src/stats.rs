//! What albatross-stats gathers.

use alloc::vec::Vec;

use crate::{
    DecodeError, Int, Text,
    codec::{Decoder, Encoder, context},
};

/// The statistics of one unikernel.
///
/// ```asn1
/// SEQUENCE { Rusage, SEQUENCE OF IfData, vmm [0] SEQUENCE OF SEQUENCE { key UTF8String, value int64 } OPTIONAL,
///            kinfo-mem [1] IMPLICIT KinfoMem OPTIONAL }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// What its process has used.
    pub rusage: Rusage,
    /// Its network devices.
    pub interfaces: Vec<IfData>,
    /// Counters of the vmm device; FreeBSD only.
    pub vmm: Option<Vec<(Text, i64)>>,
    /// Its memory.
    pub kinfo_mem: Option<KinfoMem>,
}

/// `timeval ::= SEQUENCE { seconds int64, microseconds INTEGER }`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeVal {
    /// Seconds.
    pub seconds: i64,
    /// Microseconds of the second.
    pub microseconds: Int,
}

/// What getrusage(2) tells; `maxrss` in KiB.
///
/// ```asn1
/// Rusage ::= SEQUENCE { utime timeval, stime timeval, maxrss, ixrss, idrss, isrss, minflt, majflt, nswap, inblock,
///                       outblock, msgsnd, msgrcv, nsignals, nvcsw, nivcsw : all int64 }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of getrusage(2)")]
pub struct Rusage {
    pub utime: TimeVal,
    pub stime: TimeVal,
    pub maxrss: i64,
    pub ixrss: i64,
    pub idrss: i64,
    pub isrss: i64,
    pub minflt: i64,
    pub majflt: i64,
    pub nswap: i64,
    pub inblock: i64,
    pub outblock: i64,
    pub msgsnd: i64,
    pub msgrcv: i64,
    pub nsignals: i64,
    pub nvcsw: i64,
    pub nivcsw: i64,
}

/// The memory of a process.
///
/// ```asn1
/// KinfoMem ::= SEQUENCE { vsize int64, rss int64, tsize int64, dsize int64, ssize int64, runtime int64 (us), cow INTEGER,
///                         start timeval }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KinfoMem {
    /// Virtual memory in bytes.
    pub vsize: i64,
    /// Resident memory in bytes.
    pub rss: i64,
    /// Program text in pages.
    pub tsize: i64,
    /// Data in pages.
    pub dsize: i64,
    /// Stack in pages.
    pub ssize: i64,
    /// Cpu time in microseconds.
    pub runtime: i64,
    /// Copy-on-write faults.
    pub cow: Int,
    /// When it was started.
    pub start: TimeVal,
}

/// The counters of a network device; input is what the guest sent.
///
/// ```asn1
/// IfData ::= SEQUENCE { bridge UTF8String, flags, send-length, max-send-length, send-drops, mtu : int32 (INTEGER),
///            baudrate, input-packets, input-errors, output-packets, output-errors, collisions, input-bytes, output-bytes,
///            input-mcast, output-mcast, input-dropped, output-dropped : int64 }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the grammar above")]
pub struct IfData {
    /// The unikernel's device name.
    pub bridge: Text,
    pub flags: i32,
    pub send_length: i32,
    pub max_send_length: i32,
    pub send_drops: i32,
    pub mtu: i32,
    pub baudrate: i64,
    pub input_packets: i64,
    pub input_errors: i64,
    pub output_packets: i64,
    pub output_errors: i64,
    pub collisions: i64,
    pub input_bytes: i64,
    pub output_bytes: i64,
    pub input_mcast: i64,
    pub output_mcast: i64,
    pub input_dropped: i64,
    pub output_dropped: i64,
}

impl Statistics {
    pub(crate) fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.rusage.write(out);
            out.sequence(|out| self.interfaces.iter().for_each(|interface| interface.write(out)));
            out.optional(0, self.vmm.as_ref(), |out, vmm| {
                out.sequence(|out| vmm.iter().for_each(|counter| write_counter(out, counter)));
            });
            if let Some(kinfo_mem) = &self.kinfo_mem {
                out.constructed(context(1), |out| kinfo_mem.write_fields(out));
            }
        });
    }

    pub(crate) fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("statistics")?;
        let statistics = Self {
            rusage: Rusage::read(&mut fields)?,
            interfaces: fields.sequence("statistics.interfaces")?.list(IfData::read)?,
            vmm: fields.optional_explicit(0, "statistics.vmm", |item| {
                item.sequence("statistics.vmm")?.list(read_counter)
            })?,
            kinfo_mem: fields.optional(context(1), |fields| {
                KinfoMem::read_fields(fields.constructed(context(1), "statistics.kinfo-mem")?)
            })?,
        };
        fields.finish("statistics")?;
        Ok(statistics)
    }
}

fn write_counter(out: &mut Encoder<'_>, (key, value): &(Text, i64)) {
    out.sequence(|out| {
        out.text(key);
        out.int64(*value);
    });
}

fn read_counter(item: &mut Decoder<'_>) -> Result<(Text, i64), DecodeError> {
    let mut fields = item.sequence("statistics.vmm")?;
    let counter = (fields.text("statistics.vmm.key")?, fields.int64("statistics.vmm.value")?);
    fields.finish("statistics.vmm")?;
    Ok(counter)
}

impl TimeVal {
    fn write(self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.int64(self.seconds);
            out.int(self.microseconds);
        });
    }

    fn read(from: &mut Decoder<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let mut fields = from.sequence(field)?;
        let value = Self { seconds: fields.int64(field)?, microseconds: fields.int(field)? };
        fields.finish(field)?;
        Ok(value)
    }
}

impl Rusage {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            self.utime.write(out);
            self.stime.write(out);
            let counters = [
                self.maxrss,
                self.ixrss,
                self.idrss,
                self.isrss,
                self.minflt,
                self.majflt,
                self.nswap,
                self.inblock,
                self.outblock,
                self.msgsnd,
                self.msgrcv,
                self.nsignals,
                self.nvcsw,
                self.nivcsw,
            ];
            counters.into_iter().for_each(|counter| out.int64(counter));
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("rusage")?;
        let rusage = Self {
            utime: TimeVal::read(&mut fields, "rusage.utime")?,
            stime: TimeVal::read(&mut fields, "rusage.stime")?,
            maxrss: fields.int64("rusage.maxrss")?,
            ixrss: fields.int64("rusage.ixrss")?,
            idrss: fields.int64("rusage.idrss")?,
            isrss: fields.int64("rusage.isrss")?,
            minflt: fields.int64("rusage.minflt")?,
            majflt: fields.int64("rusage.majflt")?,
            nswap: fields.int64("rusage.nswap")?,
            inblock: fields.int64("rusage.inblock")?,
            outblock: fields.int64("rusage.outblock")?,
            msgsnd: fields.int64("rusage.msgsnd")?,
            msgrcv: fields.int64("rusage.msgrcv")?,
            nsignals: fields.int64("rusage.nsignals")?,
            nvcsw: fields.int64("rusage.nvcsw")?,
            nivcsw: fields.int64("rusage.nivcsw")?,
        };
        fields.finish("rusage")?;
        Ok(rusage)
    }
}

impl KinfoMem {
    fn write_fields(&self, out: &mut Encoder<'_>) {
        [self.vsize, self.rss, self.tsize, self.dsize, self.ssize, self.runtime]
            .into_iter()
            .for_each(|n| out.int64(n));
        out.int(self.cow);
        self.start.write(out);
    }

    fn read_fields(mut fields: Decoder<'_>) -> Result<Self, DecodeError> {
        let kinfo = Self {
            vsize: fields.int64("kinfo-mem.vsize")?,
            rss: fields.int64("kinfo-mem.rss")?,
            tsize: fields.int64("kinfo-mem.tsize")?,
            dsize: fields.int64("kinfo-mem.dsize")?,
            ssize: fields.int64("kinfo-mem.ssize")?,
            runtime: fields.int64("kinfo-mem.runtime")?,
            cow: fields.int("kinfo-mem.cow")?,
            start: TimeVal::read(&mut fields, "kinfo-mem.start")?,
        };
        fields.finish("kinfo-mem")?;
        Ok(kinfo)
    }
}

impl IfData {
    fn write(&self, out: &mut Encoder<'_>) {
        out.sequence(|out| {
            out.text(&self.bridge);
            [self.flags, self.send_length, self.max_send_length, self.send_drops, self.mtu]
                .into_iter()
                .for_each(|n| out.int(n.into()));
            let counters = [
                self.baudrate,
                self.input_packets,
                self.input_errors,
                self.output_packets,
                self.output_errors,
                self.collisions,
                self.input_bytes,
                self.output_bytes,
                self.input_mcast,
                self.output_mcast,
                self.input_dropped,
                self.output_dropped,
            ];
            counters.into_iter().for_each(|counter| out.int64(counter));
        });
    }

    fn read(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = from.sequence("ifdata")?;
        let data = Self {
            bridge: fields.text("ifdata.bridge")?,
            flags: int32(&mut fields, "ifdata.flags")?,
            send_length: int32(&mut fields, "ifdata.send-length")?,
            max_send_length: int32(&mut fields, "ifdata.max-send-length")?,
            send_drops: int32(&mut fields, "ifdata.send-drops")?,
            mtu: int32(&mut fields, "ifdata.mtu")?,
            baudrate: fields.int64("ifdata.baudrate")?,
            input_packets: fields.int64("ifdata.input-packets")?,
            input_errors: fields.int64("ifdata.input-errors")?,
            output_packets: fields.int64("ifdata.output-packets")?,
            output_errors: fields.int64("ifdata.output-errors")?,
            collisions: fields.int64("ifdata.collisions")?,
            input_bytes: fields.int64("ifdata.input-bytes")?,
            output_bytes: fields.int64("ifdata.output-bytes")?,
            input_mcast: fields.int64("ifdata.input-mcast")?,
            output_mcast: fields.int64("ifdata.output-mcast")?,
            input_dropped: fields.int64("ifdata.input-dropped")?,
            output_dropped: fields.int64("ifdata.output-dropped")?,
        };
        fields.finish("ifdata")?;
        Ok(data)
    }
}

/// An INTEGER of which the low 32 bits count, as the peer has it.
fn int32(from: &mut Decoder<'_>, field: &'static str) -> Result<i32, DecodeError> {
    let [.., a, b, c, d] = from.int(field)?.get().to_be_bytes();
    Ok(i32::from_be_bytes([a, b, c, d]))
}
