//! Results on standard output, for people: `host [unikernel: NAME]: RESULT`.
//!
//! What a guest or a server wrote is escaped. Arguments of unikernels, which may be secrets, are shown at
//! level debug only; with `--json` too.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::path::Path;

use albatross_driver::escape;
use albatross_driver::logging::Level;
use albatross_proto::reply::{Info, InfoBlock, InfoNet};
use albatross_proto::stats::{Rusage, Statistics, TimeVal};
use albatross_proto::{BlockDeviceInfo, Data, FailBehaviour, Int, Name, Policy, Success, Text, Typ};

use crate::error::Error;
use crate::json;

/// Prints results.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    arguments: bool,
}

impl Printer {
    /// A printer of text, or of JSON, one object a line.
    pub(crate) fn new(json: bool, level: Level) -> Self {
        Self { json, arguments: level >= Level::Debug }
    }

    /// The reply to a command that was carried out.
    pub(crate) fn success(&self, name: &Name, success: &Success<'_>) -> Result<(), Error> {
        let mut out = String::new();
        if self.json {
            for object in json::success(name, success, self.arguments) {
                // Writing to a String does not fail, here and below.
                _ = writeln!(out, "{object}");
            }
        } else {
            for line in self.lines(success) {
                _ = writeln!(out, "{}{line}", Host(name));
            }
        }
        self.raw(&out)
    }

    /// The reply to a command that was not carried out.
    pub(crate) fn failure(&self, name: &Name, text: &Text) -> Result<(), Error> {
        if self.json {
            return self.raw(&format!("{}\n", json::failure(name, text)));
        }
        self.raw(&format!("{}command failed {}\n", Host(name), shown(text)))
    }

    /// What a subscriber receives.
    pub(crate) fn data(&self, name: &Name, data: &Data<'_>) -> Result<(), Error> {
        if self.json {
            return json::data(name, data).map_or(Ok(()), |object| self.raw(&format!("{object}\n")));
        }
        match data {
            Data::Console { timestamp, line } => {
                self.raw(&format!("console {timestamp}: {}\n", escape::bytes(line)))
            }
            Data::Statistics(statistics) => self.raw(&format!("{}{}\n", Host(name), Shown(&**statistics))),
            Data::Block(_) | Data::Log(_) => Ok(()),
        }
    }

    /// A file that was written with what came from the server.
    pub(crate) fn written(&self, name: &Name, path: &Path) -> Result<(), Error> {
        if self.json {
            return self.raw(&format!("{}\n", json::written(Some(name), path)));
        }
        self.raw(&format!("{}written to {}\n", Host(name), escape::line(path.display())))
    }

    /// A file that was written.
    pub(crate) fn file(&self, path: &Path) -> Result<(), Error> {
        if self.json {
            return self.raw(&format!("{}\n", json::written(None, path)));
        }
        self.raw(&format!("written {}\n", escape::line(path.display())))
    }

    /// Text of our own that is complete with its line ends.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
    }

    fn lines(&self, success: &Success<'_>) -> Vec<String> {
        match success {
            Success::Empty => vec!["done".to_owned()],
            Success::Text(text) => vec![shown(text)],
            Success::Policies(list) => named(list, "no policies", |policy| Shown(policy).to_string()),
            Success::BlockDevices(list) => named(list, "no block devices", |info| Shown(info).to_string()),
            Success::InfoV4(list) | Success::InfoV5(list) | Success::Info(list) => {
                named(list, "no unikernels", |info| self.info(info))
            }
            Success::Consoles(names) if names.is_empty() => vec!["no inactive consoles".to_owned()],
            Success::Consoles(names) => names.iter().map(|name| format!("console {name}")).collect(),
            Success::UnikernelImage { image, .. } | Success::BlockDeviceImageOld { image, .. } => {
                vec![format!("image of {} octets", image.len())]
            }
            Success::BlockDeviceImage { .. } => vec!["block device".to_owned()],
            Success::Status(list) => named(list, "no unikernels", |_| "on record".to_owned()),
        }
    }

    fn info(&self, info: &Info) -> String {
        let mut text = Shown(info).to_string();
        if self.arguments {
            let arguments = info.argv.iter().flatten().map(shown).collect::<Vec<_>>();
            _ = write!(text, " arguments [{}]", arguments.join(" "));
        }
        text
    }
}

fn named<T>(list: &[(Name, T)], none: &str, show: impl Fn(&T) -> String) -> Vec<String> {
    if list.is_empty() {
        return vec![none.to_owned()];
    }
    list.iter().map(|(name, value)| format!("{name} {}", show(value))).collect()
}

/// Text from elsewhere, harmless.
fn shown(text: &Text) -> String {
    escape::bytes(text.as_bytes()).to_string()
}

/// What goes before each result.
struct Host<'a>(&'a Name);

impl Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host [unikernel: {}]: ", self.0)
    }
}

/// A value of the protocol on one line.
struct Shown<T>(T);

impl Display for Shown<&Policy> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.0;
        write!(f, "policy: {} unikernels, {} MB memory, cpus ", policy.unikernels, policy.memory)?;
        list(f, policy.cpuids.iter())?;
        match policy.block {
            Some(size) => write!(f, ", {size} MB block devices")?,
            None => f.write_str(", no block devices")?,
        }
        f.write_str(", bridges ")?;
        list(f, policy.bridges.iter().map(shown))
    }
}

impl Display for Shown<&BlockDeviceInfo> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MB, {}", self.0.size, if self.0.active { "in use" } else { "not in use" })
    }
}

impl Display for Shown<&Info> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.0;
        let typ = match info.typ {
            Typ::Solo5 => "solo5",
            Typ::Bhyve => "bhyve",
        };
        write!(f, "{typ} started {} memory {} MB cpus ", info.started, info.memory)?;
        list(f, info.cpuids.iter())?;
        if info.cpus != Int::ONE {
            write!(f, " virtual cpus {}", info.cpus)?;
        }
        write!(f, " on failure {}", Shown(&info.fail_behaviour))?;
        if let Some(startup) = info.startup {
            write!(f, " startup {startup}")?;
        }
        f.write_str(" block ")?;
        list(f, info.block_devices.iter().map(Shown))?;
        f.write_str(" net ")?;
        list(f, info.net_devices.iter().map(Shown))?;
        if let Some(partition) = &info.linux_boot_partition {
            write!(f, " linux-boot {}", shown(partition))?;
        }
        f.write_str(" digest ")?;
        info.digest.as_bytes().iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Display for Shown<&FailBehaviour> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FailBehaviour::Quit => f.write_str("quit"),
            FailBehaviour::Restart(codes) if codes.is_empty() => f.write_str("restart"),
            FailBehaviour::Restart(codes) => {
                f.write_str("restart on ")?;
                list(f, codes.iter())
            }
        }
    }
}

impl Display for Shown<&InfoBlock> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let block = self.0;
        let (name, device) = (shown(&block.unikernel_device), shown(&block.host_device));
        write!(f, "{name}:{device}@{} ({} MB)", block.sector_size, block.size)
    }
}

impl Display for Shown<&InfoNet> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}@{}", shown(&self.0.unikernel_device), shown(&self.0.host_device), self.0.mac)
    }
}

impl Display for Shown<&Statistics> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Shown(&self.0.rusage))?;
        if let Some(memory) = &self.0.kinfo_mem {
            write!(f, " rss {} virtual size {}", memory.rss, memory.vsize)?;
        }
        for interface in &self.0.interfaces {
            write!(
                f,
                " {}: in {} packets {} octets {} dropped, out {} packets {} octets {} dropped",
                shown(&interface.bridge),
                interface.input_packets,
                interface.input_bytes,
                interface.input_dropped,
                interface.output_packets,
                interface.output_bytes,
                interface.output_dropped
            )?;
        }
        for (key, value) in self.0.vmm.iter().flatten() {
            write!(f, " {} {value}", shown(key))?;
        }
        Ok(())
    }
}

impl Display for Shown<&Rusage> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = self.0;
        write!(
            f,
            "user {} system {} max rss {} faults {}+{} switches {}+{}",
            Shown(&usage.utime),
            Shown(&usage.stime),
            usage.maxrss,
            usage.minflt,
            usage.majflt,
            usage.nvcsw,
            usage.nivcsw
        )
    }
}

impl Display for Shown<&TimeVal> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.seconds, self.0.microseconds.get())
    }
}

/// `[a, b]`
fn list<T: Display>(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = T>) -> fmt::Result {
    f.write_char('[')?;
    for (index, item) in items.enumerate() {
        let separator = if index > 0 { ", " } else { "" };
        write!(f, "{separator}{item}")?;
    }
    f.write_char(']')
}
