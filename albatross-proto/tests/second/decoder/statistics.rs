//! Statistics.

use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};
use asn1_rs::Any;

use super::{
    Result,
    parts::{implicit, sequence},
    scalars::{int, int64, text},
};

pub(super) fn statistics(any: &Any<'_>) -> Result<Statistics> {
    let mut fields = sequence(any)?;
    let rusage = rusage(&fields.take()?)?;
    let interfaces = sequence(&fields.take()?)?.all(interface)?;
    let vmm = fields.optional(0, |any| {
        sequence(any)?.all(|any| {
            let mut fields = sequence(any)?;
            let counter = (text(&fields.take()?)?, int64(&fields.take()?)?);
            fields.end()?;
            Ok(counter)
        })
    })?;
    let kinfo_mem = fields.take_if_context(1).map(|any| kinfo_mem(&any)).transpose()?;
    fields.end()?;
    Ok(Statistics { rusage, interfaces, vmm, kinfo_mem })
}

fn timeval(any: &Any<'_>) -> Result<TimeVal> {
    let mut fields = sequence(any)?;
    let value = TimeVal { seconds: int64(&fields.take()?)?, microseconds: int(&fields.take()?)? };
    fields.end()?;
    Ok(value)
}

fn rusage(any: &Any<'_>) -> Result<Rusage> {
    let mut fields = sequence(any)?;
    let utime = timeval(&fields.take()?)?;
    let stime = timeval(&fields.take()?)?;
    let mut next = || int64(&fields.take()?);
    let rusage = Rusage {
        utime,
        stime,
        maxrss: next()?,
        ixrss: next()?,
        idrss: next()?,
        isrss: next()?,
        minflt: next()?,
        majflt: next()?,
        nswap: next()?,
        inblock: next()?,
        outblock: next()?,
        msgsnd: next()?,
        msgrcv: next()?,
        nsignals: next()?,
        nvcsw: next()?,
        nivcsw: next()?,
    };
    fields.end()?;
    Ok(rusage)
}

fn kinfo_mem(any: &Any<'_>) -> Result<KinfoMem> {
    let mut fields = implicit(any)?;
    let mut next = || int64(&fields.take()?);
    let [vsize, rss, tsize, dsize, ssize, runtime] = [next()?, next()?, next()?, next()?, next()?, next()?];
    let cow = int(&fields.take()?)?;
    let start = timeval(&fields.take()?)?;
    fields.end()?;
    Ok(KinfoMem { vsize, rss, tsize, dsize, ssize, runtime, cow, start })
}

fn interface(any: &Any<'_>) -> Result<IfData> {
    let mut fields = sequence(any)?;
    let bridge = text(&fields.take()?)?;
    // The peer keeps the low 32 bits of a larger number.
    let mut int32 = || {
        let low = int(&fields.take()?)?.get() & 0xffff_ffff;
        Ok(i32::try_from(low).or_else(|_| i32::try_from(low - (1 << 32))).expect("32 bits"))
    };
    let [flags, send_length, max_send_length, send_drops, mtu] =
        [int32()?, int32()?, int32()?, int32()?, int32()?];
    let mut next = || int64(&fields.take()?);
    let data = IfData {
        bridge,
        flags,
        send_length,
        max_send_length,
        send_drops,
        mtu,
        baudrate: next()?,
        input_packets: next()?,
        input_errors: next()?,
        output_packets: next()?,
        output_errors: next()?,
        collisions: next()?,
        input_bytes: next()?,
        output_bytes: next()?,
        input_mcast: next()?,
        output_mcast: next()?,
        input_dropped: next()?,
        output_dropped: next()?,
    };
    fields.end()?;
    Ok(data)
}
