//! Results on standard output, for people: `host [unikernel: NAME]: RESULT`.
//!
//! What a guest or a server wrote is escaped. Arguments of unikernels, which may be secrets, are shown at
//! level debug only; with `--json` too.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::path::Path;

use albatross_driver::escape;
use albatross_driver::event::Words;
use albatross_driver::logging::Level;
use albatross_proto::reply::{Info, InfoBlock, InfoNet, State, Status};
use albatross_proto::stats::{Rusage, Statistics, TimeVal};
use albatross_proto::{
    BlockDevice, BlockDeviceInfo, Config, Data, FailBehaviour, Int, Name, NetDevice, Policy, Success, Text,
    Typ,
};

use crate::error::Error;
use crate::info::status_of;
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
            Data::Log(entry) => {
                self.raw(&format!("log {} {name}: {}\n", entry.timestamp, Words(&entry.event)))
            }
            Data::Block(_) => Ok(()),
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

    /// Unikernels that run, and what is on record beside them.
    pub(crate) fn unikernels(
        &self,
        name: &Name,
        running: &Success<'_>,
        statuses: &[(Name, Status)],
    ) -> Result<(), Error> {
        let mut out = String::new();
        if self.json {
            for object in json::unikernels(name, running, statuses, self.arguments) {
                _ = writeln!(out, "{object}");
            }
            return self.raw(&out);
        }
        let none = Vec::new();
        let list = match running {
            Success::Info(list) | Success::InfoV5(list) | Success::InfoV4(list) => list,
            _ => &none,
        };
        for (at, info) in list {
            let status = status_of(statuses, at).map(|status| format!(" {}", Shown(status)));
            _ = writeln!(out, "{}{at} {}{}", Host(name), self.info(info), status.unwrap_or_default());
        }
        for (at, status) in statuses {
            if !list.iter().any(|(running, _)| running == at) {
                _ = writeln!(out, "{}{at} {}", Host(name), Shown(status));
            }
        }
        if out.is_empty() {
            _ = writeln!(out, "{}no unikernels", Host(name));
        }
        self.raw(&out)
    }

    /// Something to be said about a unikernel.
    pub(crate) fn note(&self, name: &Name, text: &str) -> Result<(), Error> {
        if self.json {
            return self.raw(&format!("{}\n", json::note(name, text)));
        }
        self.raw(&format!("{}{text}\n", Host(name)))
    }

    /// A certificate that was revoked.
    pub(crate) fn revoked(&self, serial: &str, name: Option<&str>) -> Result<(), Error> {
        if self.json {
            return self.raw(&format!("{}\n", json::revoked(serial, name)));
        }
        self.raw(&format!("revoked {serial} {}\n", name.unwrap_or_default()))
    }

    /// A unikernel in a file of the daemon's.
    pub(crate) fn recorded(
        &self,
        name: &Name,
        config: &Config<'_>,
        elsewhere: Option<&[u8; 32]>,
    ) -> Result<(), Error> {
        if self.json {
            return self.raw(&format!("{}\n", json::recorded(name, config, elsewhere, self.arguments)));
        }
        self.raw(&format!("unikernel {name}: {}\n", self.config(config, elsewhere, self.arguments)))
    }

    /// The same of one whose image was written to a file: with its arguments.
    pub(crate) fn extracted(
        &self,
        name: &Name,
        config: &Config<'_>,
        elsewhere: Option<&[u8; 32]>,
    ) -> Result<(), Error> {
        if self.json {
            return self.raw(&format!("{}\n", json::recorded(name, config, elsewhere, true)));
        }
        self.raw(&format!("unikernel {name}: {}\n", self.config(config, elsewhere, true)))
    }

    /// A policy in a file of the daemon's.
    pub(crate) fn recorded_policy(&self, name: &Name, policy: &Policy) -> Result<(), Error> {
        if self.json {
            return self.raw(&format!("{}\n", json::recorded_policy(name, policy)));
        }
        self.raw(&format!("{name} {}\n", Shown(policy)))
    }

    fn config(&self, config: &Config<'_>, elsewhere: Option<&[u8; 32]>, arguments: bool) -> String {
        let mut text = Shown(config).to_string();
        match elsewhere {
            Some(sha256) => _ = write!(text, " digest {}", hex(sha256)),
            None => {
                let form = if config.compressed { " compressed" } else { "" };
                _ = write!(text, " image of {} octets{form}", config.image.len());
            }
        }
        if arguments {
            let argv = config.arguments.argv.iter().flatten().map(shown).collect::<Vec<_>>();
            _ = write!(text, " arguments [{}]", argv.join(" "));
        }
        text
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
            Success::Status(list) => named(list, "no unikernels", |status| Shown(status).to_string()),
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

/// Octets in lower-case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
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
        write!(f, " digest {}", hex(info.digest.as_bytes()))
    }
}

impl Display for Shown<&Config<'_>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { typ, arguments: it, .. } = self.0;
        let typ = match typ {
            Typ::Solo5 => "solo5",
            Typ::Bhyve => "bhyve",
        };
        write!(f, "{typ} memory {} MB cpus ", it.memory)?;
        list(f, it.cpuids.iter())?;
        if it.cpus != Int::ONE {
            write!(f, " virtual cpus {}", it.cpus)?;
        }
        write!(f, " on failure {}", Shown(&it.fail_behaviour))?;
        if let Some(startup) = it.startup {
            write!(f, " startup {startup}")?;
        }
        f.write_str(" block ")?;
        list(f, it.block_devices.iter().map(Shown))?;
        f.write_str(" net ")?;
        list(f, it.net_devices.iter().map(Shown))?;
        if let Some(partition) = &it.linux_boot_partition {
            write!(f, " linux-boot {}", shown(partition))?;
        }
        Ok(())
    }
}

impl Display for Shown<&BlockDevice> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0.name))?;
        if let Some(device) = &self.0.device {
            write!(f, ":{}", shown(device))?;
        }
        self.0.sector_size.map_or(Ok(()), |size| write!(f, "@{size}"))
    }
}

impl Display for Shown<&NetDevice> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0.name))?;
        if let Some(bridge) = &self.0.bridge {
            write!(f, ":{}", shown(bridge))?;
        }
        self.0.mac.map_or(Ok(()), |mac| write!(f, "@{mac}"))
    }
}

impl Display for Shown<&Status> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        match &status.state {
            State::Running => f.write_str("running")?,
            State::Starting => f.write_str("starting")?,
            State::Waiting(until) => write!(f, "waiting to be started again at {until}")?,
            State::Failed(why) => write!(f, "not started: {}", shown(why))?,
        }
        write!(f, " since {}", status.since)?;
        if let Some(pid) = status.pid {
            write!(f, " pid {pid}")?;
        }
        write!(f, " restarts {}", status.restarts)?;
        status.last_exit.map_or(Ok(()), |exit| write!(f, " last ended by {}", Words(exit)))
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
