//! Values of the protocol on one line, for people.

use std::fmt::{self, Display, Write as _};

use albatross_driver::escape;
use albatross_driver::words::Words;
use albatross_proto::reply::{Info, InfoBlock, InfoNet, State, Status};
use albatross_proto::stats::{Rusage, Statistics, TimeVal};
use albatross_proto::{
    BlockDevice, BlockDeviceInfo, Config, FailBehaviour, Int, NetDevice, Policy, Text, Typ,
};

/// Octets in lower-case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Text from elsewhere, harmless.
pub(super) fn shown(text: &Text) -> String {
    escape::bytes(text.as_bytes()).to_string()
}

/// A value of the protocol on one line.
pub(super) struct Shown<T>(pub(super) T);

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

/// Writes how a unikernel is started: what [`Info`] and `Arguments` have alike.
macro_rules! write_start {
    ($f:ident, $it:expr) => {{
        let it = $it;
        write!($f, "memory {} MB cpus ", it.memory)?;
        list($f, it.cpuids.iter())?;
        if it.cpus != Int::ONE {
            write!($f, " virtual cpus {}", it.cpus)?;
        }
        write!($f, " on failure {}", Shown(&it.fail_behaviour))?;
        if let Some(startup) = it.startup {
            write!($f, " startup {startup}")?;
        }
        $f.write_str(" block ")?;
        list($f, it.block_devices.iter().map(Shown))?;
        $f.write_str(" net ")?;
        list($f, it.net_devices.iter().map(Shown))?;
        match &it.linux_boot_partition {
            Some(partition) => write!($f, " linux-boot {}", shown(partition)),
            None => Ok(()),
        }
    }};
}

impl Display for Shown<&Info> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.0;
        write!(f, "{} started {} ", Shown(info.typ), info.started)?;
        write_start!(f, info)?;
        write!(f, " digest {}", hex(info.digest.as_bytes()))
    }
}

impl Display for Shown<&Config<'_>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", Shown(self.0.typ))?;
        write_start!(f, &self.0.arguments)
    }
}

impl Display for Shown<Typ> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Typ::Solo5 => "solo5",
            Typ::Bhyve => "bhyve",
        })
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
