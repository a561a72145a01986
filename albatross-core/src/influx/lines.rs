//! What is written of one unikernel.

use std::fmt::{self, Display, Write};

use albatross_proto::Time;
use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};

/// Microseconds of a second.
const MICROS: i64 = 1_000_000;

/// The lines of one message, each with its LF, without a time: it counts when it arrives. `vm` is what the unikernel is
/// called.
#[must_use]
pub fn lines(vm: &str, statistics: &Statistics, now: Time) -> String {
    let mut out = String::new();
    rusage(&mut out, vm, &statistics.rusage);
    if let Some(memory) = &statistics.kinfo_mem {
        kinfo_mem(&mut out, vm, memory, now);
    }
    let counters = statistics.vmm.as_deref().unwrap_or_default();
    if !counters.is_empty() {
        let mut line = Line::new(&mut out, "vmm", &[("vm", vm.as_bytes())]);
        counters.iter().for_each(|(key, value)| line.counter(key.as_bytes(), *value));
        line.end();
    }
    for interface in &statistics.interfaces {
        interface_line(&mut out, vm, interface);
    }
    out
}

pub(super) fn rusage(out: &mut String, vm: &str, usage: &Rusage) {
    let mut line = Line::new(out, "resource_usage", &[("vm", vm.as_bytes())]);
    line.field(b"utime", Seconds(micros(usage.utime)));
    line.field(b"stime", Seconds(micros(usage.stime)));
    for (key, value) in [
        ("maxrss", usage.maxrss),
        ("ixrss", usage.ixrss),
        ("idrss", usage.idrss),
        ("isrss", usage.isrss),
        ("minflt", usage.minflt),
        ("maxflt", usage.majflt),
        ("nswap", usage.nswap),
        ("inblock", usage.inblock),
        ("outblock", usage.outblock),
        ("msgsnd", usage.msgsnd),
        ("msgrcv", usage.msgrcv),
        ("nsignals", usage.nsignals),
        ("nvcsw", usage.nvcsw),
        ("nivcsw", usage.nivcsw),
    ] {
        line.counter(key.as_bytes(), value);
    }
    line.end();
}

pub(super) fn kinfo_mem(out: &mut String, vm: &str, memory: &KinfoMem, now: Time) {
    let mut line = Line::new(out, "kinfo_mem", &[("vm", vm.as_bytes())]);
    for (key, value) in [
        ("vsize", memory.vsize),
        ("rss", memory.rss),
        ("tsize", memory.tsize),
        ("dsize", memory.dsize),
        ("ssize", memory.ssize),
        ("cow_faults", memory.cow.get()),
        ("runtime", memory.runtime),
    ] {
        line.counter(key.as_bytes(), value);
    }
    let now = i128::from(now.unix_millis()) * 1000;
    line.field(b"uptime", Seconds(now - micros(memory.start)));
    line.end();
}

fn interface_line(out: &mut String, vm: &str, data: &IfData) {
    let tags = [("vm", vm.as_bytes()), ("bridge", data.bridge.as_bytes())];
    let mut line = Line::new(out, "interface", &tags);
    for (key, value) in [
        ("send_queue_length", data.send_length),
        ("max_send_queue_length", data.max_send_length),
        ("send_queue_drops", data.send_drops),
        ("mtu", data.mtu),
    ] {
        line.field(key.as_bytes(), format_args!("{}i", value.cast_unsigned()));
    }
    for (key, value) in [
        ("baudrate", data.baudrate),
        ("vm_to_host_packets", data.input_packets),
        ("vm_to_host_errors", data.input_errors),
        ("vm_to_host_bytes", data.input_bytes),
        ("vm_to_host_mcast", data.input_mcast),
        ("vm_to_host_dropped", data.input_dropped),
        ("collisions", data.collisions),
        ("host_to_vm_packets", data.output_packets),
        ("host_to_vm_errors", data.output_errors),
        ("host_to_vm_bytes", data.output_bytes),
        ("host_to_vm_mcast", data.output_mcast),
        ("host_to_vm_dropped", data.output_dropped),
    ] {
        line.counter(key.as_bytes(), value);
    }
    line.end();
}

/// A line that is being written: measurement, tags, fields.
pub(crate) struct Line<'a> {
    out: &'a mut String,
    /// What stands before the next field.
    before: char,
}

impl<'a> Line<'a> {
    pub(crate) fn new(out: &'a mut String, measurement: &str, tags: &[(&str, &[u8])]) -> Self {
        out.push_str(measurement);
        for (key, value) in tags {
            out.push(',');
            out.push_str(key);
            out.push('=');
            escape(out, value);
        }
        Self { out, before: ' ' }
    }

    /// A whole number.
    pub(crate) fn counter(&mut self, key: &[u8], value: i64) {
        self.field(key, format_args!("{}i", value.cast_unsigned()));
    }

    pub(crate) fn field(&mut self, key: &[u8], value: impl Display) {
        self.out.push(std::mem::replace(&mut self.before, ','));
        escape(self.out, key);
        // Writing to a String never fails.
        _ = write!(self.out, "={value}");
    }

    pub(crate) fn end(self) {
        self.out.push('\n');
    }
}

/// A key or a tag's value. What the protocol cannot carry in one (a control character, a backslash, nothing at all)
/// becomes `_`.
fn escape(out: &mut String, text: &[u8]) {
    if text.is_empty() {
        out.push('_');
    }
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            ',' | ' ' | '=' => out.extend(['\\', character]),
            '\\' => out.push('_'),
            character if character.is_control() => out.push('_'),
            character => out.push(character),
        }
    }
}

fn micros(time: TimeVal) -> i128 {
    i128::from(time.seconds) * i128::from(MICROS) + i128::from(time.microseconds.get())
}

/// Microseconds, shown as seconds with six decimals.
struct Seconds(i128);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let all = self.0.unsigned_abs();
        let second = u128::from(MICROS.unsigned_abs());
        write!(f, "{sign}{}.{:06}", all / second, all % second)
    }
}
