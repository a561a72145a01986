//! The text: OpenMetrics 1.0, one family after the other, in each all unikernels.

use std::fmt::{self, Display, Write};

use albatross_proto::Name;
use albatross_proto::stats::{IfData, KinfoMem, Rusage, Statistics, TimeVal};

/// Octets of the text for each unikernel with a network device, about.
const OCTETS: usize = 4096;

/// What a family is.
#[derive(Clone, Copy)]
enum Kind {
    /// Grows, as long as the process is the same.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Figures of one kind and what they tell.
struct Family {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
}

const fn family(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Family {
    Family { name, kind, unit, help }
}

const KIBIBYTE: i64 = 1024;

/// A figure of a process: its label, if the family has several, and how it is found.
type OfProcess = (&'static str, fn(&Rusage) -> Figure);
type OfMemory = fn(&KinfoMem) -> Figure;
type OfInterface = (&'static str, fn(&IfData) -> Figure);

/// A figure.
#[derive(Clone, Copy)]
enum Figure {
    Whole(i64),
    /// Microseconds, shown in seconds.
    Micros(i128),
}

fn seconds(time: TimeVal) -> Figure {
    Figure::Micros(i128::from(time.seconds) * 1_000_000 + i128::from(time.microseconds.get()))
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Micros(all) => {
                let (sign, all) = (if *all < 0 { "-" } else { "" }, all.unsigned_abs());
                write!(f, "{sign}{}.{:06}", all / 1_000_000, all % 1_000_000)
            }
        }
    }
}

use Figure::Whole;
use Kind::{Counter, Gauge};

const PROCESS: &[(Family, &[OfProcess])] = &[
    (
        family("albatross_cpu_seconds", Counter, "seconds", "Time that the process computed."),
        &[("mode=\"user\"", |it| seconds(it.utime)), ("mode=\"system\"", |it| seconds(it.stime))],
    ),
    (
        family("albatross_resident_max_bytes", Gauge, "bytes", "Most memory that was resident."),
        &[("", |it| Whole(it.maxrss.saturating_mul(KIBIBYTE)))],
    ),
    (
        family(
            "albatross_memory_integral",
            Counter,
            "",
            "Memory over time in KiB ticks, where it is gathered.",
        ),
        &[
            ("part=\"shared\"", |it| Whole(it.ixrss)),
            ("part=\"data\"", |it| Whole(it.idrss)),
            ("part=\"stack\"", |it| Whole(it.isrss)),
        ],
    ),
    (
        family("albatross_page_faults", Counter, "", "Page faults; the major ones waited for a disk."),
        &[("kind=\"minor\"", |it| Whole(it.minflt)), ("kind=\"major\"", |it| Whole(it.majflt))],
    ),
    (family("albatross_swaps", Counter, "", "Times that it was swapped out."), &[("", |it| Whole(it.nswap))]),
    (
        family(
            "albatross_block_operations",
            Counter,
            "",
            "Operations on block devices, where they are gathered.",
        ),
        &[("direction=\"in\"", |it| Whole(it.inblock)), ("direction=\"out\"", |it| Whole(it.outblock))],
    ),
    (
        family("albatross_messages", Counter, "", "Messages, where they are gathered."),
        &[("direction=\"out\"", |it| Whole(it.msgsnd)), ("direction=\"in\"", |it| Whole(it.msgrcv))],
    ),
    (
        family("albatross_signals", Counter, "", "Signals, where they are gathered."),
        &[("", |it| Whole(it.nsignals))],
    ),
    (
        family("albatross_context_switches", Counter, "", "Context switches."),
        &[("kind=\"voluntary\"", |it| Whole(it.nvcsw)), ("kind=\"involuntary\"", |it| Whole(it.nivcsw))],
    ),
];

const MEMORY: &[(Family, OfMemory)] = &[
    (family("albatross_virtual_bytes", Gauge, "bytes", "Virtual memory."), |it| Whole(it.vsize)),
    (family("albatross_resident_bytes", Gauge, "bytes", "Resident memory."), |it| Whole(it.rss)),
    (family("albatross_text_pages", Gauge, "pages", "Program text."), |it| Whole(it.tsize)),
    (family("albatross_data_pages", Gauge, "pages", "Data."), |it| Whole(it.dsize)),
    (family("albatross_stack_pages", Gauge, "pages", "Stack."), |it| Whole(it.ssize)),
    (family("albatross_runtime_seconds", Counter, "seconds", "Time on a processor."), |it| {
        Figure::Micros(it.runtime.into())
    }),
    (family("albatross_copy_on_write_faults", Counter, "", "Copy-on-write faults."), |it| {
        Whole(it.cow.get())
    }),
    (family("albatross_start_time_seconds", Gauge, "seconds", "When the process began, since 1970."), |it| {
        seconds(it.start)
    }),
];

const FROM: &str = "direction=\"vm_to_host\"";
const TO: &str = "direction=\"host_to_vm\"";

const INTERFACE: &[(Family, &[OfInterface])] = &[
    (
        family("albatross_interface_packets", Counter, "", "Packets."),
        &[(FROM, |it| Whole(it.input_packets)), (TO, |it| Whole(it.output_packets))],
    ),
    (
        family("albatross_interface_bytes", Counter, "bytes", "Octets."),
        &[(FROM, |it| Whole(it.input_bytes)), (TO, |it| Whole(it.output_bytes))],
    ),
    (
        family("albatross_interface_errors", Counter, "", "Packets with errors."),
        &[(FROM, |it| Whole(it.input_errors)), (TO, |it| Whole(it.output_errors))],
    ),
    (
        family("albatross_interface_dropped_packets", Counter, "", "Packets that were dropped."),
        &[(FROM, |it| Whole(it.input_dropped)), (TO, |it| Whole(it.output_dropped))],
    ),
    (
        family("albatross_interface_multicast_packets", Counter, "", "Packets to many."),
        &[(FROM, |it| Whole(it.input_mcast)), (TO, |it| Whole(it.output_mcast))],
    ),
    (
        family("albatross_interface_collisions", Counter, "", "Collisions."),
        &[("", |it| Whole(it.collisions))],
    ),
    (
        family("albatross_interface_mtu_bytes", Gauge, "bytes", "The largest packet."),
        &[("", |it| Whole(it.mtu.into()))],
    ),
    (
        family("albatross_interface_baudrate", Gauge, "", "Speed of the line, where it is known."),
        &[("", |it| Whole(it.baudrate))],
    ),
    (
        family("albatross_interface_send_queue_packets", Gauge, "packets", "Packets that wait to be sent."),
        &[("", |it| Whole(it.send_length.into()))],
    ),
    (
        family("albatross_interface_send_queue_max_packets", Gauge, "packets", "Most that may wait."),
        &[("", |it| Whole(it.max_send_length.into()))],
    ),
    (
        family("albatross_interface_send_queue_drops", Counter, "", "Packets that could not wait."),
        &[("", |it| Whole(it.send_drops.into()))],
    ),
];

/// The text about these unikernels, in the order of their names.
pub(super) fn render<'a>(
    version: &str,
    subscribed: bool,
    unikernels: impl Iterator<Item = (&'a Name, &'a Statistics)>,
) -> String {
    // As label values: names are made of characters that need no escape.
    let all: Vec<(String, &Statistics)> = unikernels.map(|(name, it)| (name.to_string(), it)).collect();
    let mut out = Text(String::with_capacity(OCTETS * (all.len() + 1)));
    out.head("albatross_build", "info", "", "The program that shows this.");
    out.sample(
        "albatross_build",
        "_info",
        &[&format_args!("version={}", Quoted(version.as_bytes()))],
        Whole(1),
    );
    out.head("albatross_statistics_up", "gauge", "", "Whether albatross-stats sends statistics.");
    out.sample("albatross_statistics_up", "", &[], Whole(subscribed.into()));
    out.head("albatross_unikernels", "gauge", "", "Unikernels of which there are figures.");
    out.sample("albatross_unikernels", "", &[], Whole(i64::try_from(all.len()).unwrap_or(i64::MAX)));
    for (family, figures) in PROCESS {
        let suffix = out.family(family);
        for (name, statistics) in &all {
            for (label, figure) in *figures {
                let unikernel = format_args!("unikernel=\"{name}\"");
                out.sample(family.name, suffix, &[&unikernel, label], figure(&statistics.rusage));
            }
        }
    }
    for (family, figure) in MEMORY {
        let suffix = out.family(family);
        for (name, memory) in all.iter().filter_map(|(name, it)| Some((name, it.kinfo_mem.as_ref()?))) {
            let unikernel = format_args!("unikernel=\"{name}\"");
            out.sample(family.name, suffix, &[&unikernel], figure(memory));
        }
    }
    for (family, figures) in INTERFACE {
        let suffix = out.family(family);
        for (name, statistics) in &all {
            for interface in once_each(&statistics.interfaces, |it| it.bridge.as_bytes()) {
                for (label, figure) in *figures {
                    let unikernel = format_args!("unikernel=\"{name}\"");
                    let bridge = format_args!("bridge={}", Quoted(interface.bridge.as_bytes()));
                    out.sample(family.name, suffix, &[&unikernel, &bridge, label], figure(interface));
                }
            }
        }
    }
    out.head("albatross_vmm", "unknown", "", "Counters of a virtual machine monitor, where there are any.");
    for (name, statistics) in &all {
        for (key, value) in once_each(statistics.vmm.as_deref().unwrap_or_default(), |it| it.0.as_bytes()) {
            let unikernel = format_args!("unikernel=\"{name}\"");
            let counter = format_args!("counter={}", Quoted(key.as_bytes()));
            out.sample("albatross_vmm", "", &[&unikernel, &counter], Whole(*value));
        }
    }
    out.0.push_str("# EOF\n");
    out.0
}

/// The first of those that are called the same: two with the same labels are none.
fn once_each<T>(all: &[T], name: impl Fn(&T) -> &[u8]) -> impl Iterator<Item = &T> {
    let is_first = move |index: usize, it: &T| !all.iter().take(index).any(|before| name(before) == name(it));
    all.iter().enumerate().filter(move |(index, it)| is_first(*index, it)).map(|(_, it)| it)
}

/// The text as it grows. Writing to a String never fails.
struct Text(String);

impl Text {
    /// What stands before the samples of a family; what their names end with.
    fn family(&mut self, family: &Family) -> &'static str {
        let (kind, suffix) = match family.kind {
            Counter => ("counter", "_total"),
            Gauge => ("gauge", ""),
        };
        self.head(family.name, kind, family.unit, family.help);
        suffix
    }

    fn head(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        _ = writeln!(self.0, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[&dyn Display], figure: Figure) {
        _ = write!(self.0, "{name}{suffix}");
        let mut before = '{';
        for label in labels {
            let start = self.0.len();
            self.0.push(before);
            _ = write!(self.0, "{label}");
            if self.0.len() == start + 1 {
                self.0.truncate(start);
            } else {
                before = ',';
            }
        }
        let end = if before == ',' { "} " } else { " " };
        _ = writeln!(self.0, "{end}{figure}");
    }
}

/// The value of a label, in quotes.
struct Quoted<'a>(&'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in String::from_utf8_lossy(self.0).chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                character => f.write_char(character)?,
            }
        }
        f.write_char('"')
    }
}
