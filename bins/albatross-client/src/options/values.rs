//! The values of options: what they may be, and what is said where they are something else.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use albatross_core::revocation::Reason;
use albatross_proto::{Int, Label, MacAddress, Name, Path, Time, Typ};

/// Memory of a policy without `--mem`, in MB.
pub(crate) const DEFAULT_POLICY_MEMORY: Int = int(512);
/// Lines of a console's past without `--count` and `--since`.
pub(crate) const DEFAULT_COUNT: Int = int(20);
/// The build server that is asked without `--http-host`.
pub(crate) const DEFAULT_HTTP_HOST: &str = "https://builds.robur.coop";
/// Where albatrossd keeps its files.
pub(crate) const DEFAULT_DBDIR: &str = "/var/lib/albatross";
/// The state file of the OCaml implementation, in that directory.
pub(crate) const STATE_FILE: &str = "state";
/// The longest validity, in days: a hundred years. Times of certificates end with the year 9999.
const MAX_DAYS: u32 = 36525;
/// The smallest sector, in octets.
const MIN_SECTOR: i64 = 512;

/// A number that is known to fit.
const fn int(value: i64) -> Int {
    match Int::new(value) {
        Ok(int) => int,
        Err(_) => Int::ZERO,
    }
}

/// Level of compression: 0 (none) to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompressionLevel(u8);

/// `NAME[:DEVICE][@SECTOR]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockOption {
    pub(crate) name: String,
    pub(crate) device: Option<String>,
    pub(crate) sector_size: Option<Int>,
}

/// `[NAME:]BRIDGE[@MAC]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetOption {
    pub(crate) name: String,
    pub(crate) bridge: Option<String>,
    pub(crate) mac: Option<MacAddress>,
}

impl CompressionLevel {
    /// No compression.
    pub(crate) const NONE: Self = Self(0);
    /// The most.
    pub(crate) const BEST: Self = Self(9);

    pub(crate) const fn get(self) -> u8 {
        self.0
    }
}

/// Cpu 0 where none is given.
pub(crate) fn cpu_set(ids: &[Int]) -> BTreeSet<Int> {
    if ids.is_empty() { BTreeSet::from([Int::ZERO]) } else { ids.iter().copied().collect() }
}

impl FromStr for CompressionLevel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(level @ 0..=9) => Ok(Self(level)),
            _ => Err("the levels are 0 to 9"),
        }
    }
}

impl FromStr for BlockOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (names, sector_size) = match text.split_once('@') {
            Some((names, size)) => (names, Some(sector(size)?)),
            None => (text, None),
        };
        let (name, device) = two_names(names)?;
        // A block device of the host is named by a label below the unikernel's path.
        let host = device.as_ref().unwrap_or(&name);
        host.parse::<Label>().map_err(|error| format!("'{host}' is no name of a block device: {error}"))?;
        Ok(Self { name, device, sector_size })
    }
}

impl FromStr for NetOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (names, mac) = match text.split_once('@') {
            Some((names, mac)) => {
                let mac = mac
                    .parse()
                    .map_err(|error: albatross_proto::unikernel::MacAddressError| error.to_string())?;
                (names, Some(mac))
            }
            None => (text, None),
        };
        let (name, bridge) = two_names(names)?;
        Ok(Self { name, bridge, mac })
    }
}

/// `FIRST[:SECOND]`, neither empty.
fn two_names(text: &str) -> Result<(String, Option<String>), String> {
    let (first, second) = match text.split_once(':') {
        Some((first, second)) => (first, Some(second)),
        None => (text, None),
    };
    if first.is_empty() || second.is_some_and(|second| second.is_empty() || second.contains(':')) {
        return Err("one name is needed, or two with ':' between them".to_owned());
    }
    Ok((first.to_owned(), second.map(str::to_owned)))
}

fn sector(text: &str) -> Result<Int, String> {
    natural(text)
        .ok()
        .filter(|size| size.get() >= MIN_SECTOR && size.get().count_ones() == 1)
        .ok_or_else(|| format!("a sector size is a power of two from {MIN_SECTOR} on"))
}

fn shown<E: fmt::Display>(error: E) -> String {
    error.to_string()
}

pub(crate) fn path(text: &str) -> Result<Path, String> {
    text.parse().map_err(shown)
}

pub(crate) fn name(text: &str) -> Result<Name, String> {
    text.parse().map_err(shown)
}

pub(crate) fn typ(text: &str) -> Result<Typ, String> {
    match text {
        "solo5" => Ok(Typ::Solo5),
        "bhyve" => Ok(Typ::Bhyve),
        _ => Err("the kinds are solo5, bhyve".to_owned()),
    }
}

pub(crate) fn time(text: &str) -> Result<Time, String> {
    text.parse().map_err(|_| "a time is written as 2026-01-31T12:00:00Z, or as 2026-01-31".to_owned())
}

/// A number, maybe negative.
pub(crate) fn integer(text: &str) -> Result<Int, String> {
    let number: i64 = text.parse().map_err(|_| "a whole number is needed".to_owned())?;
    Int::new(number).map_err(shown)
}

/// A number from 0 on.
pub(crate) fn natural(text: &str) -> Result<Int, String> {
    integer(text)
        .ok()
        .filter(|number| *number >= Int::ZERO)
        .ok_or_else(|| "a whole number from 0 on is needed".to_owned())
}

pub(crate) fn days(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(days @ 1..=MAX_DAYS) => Ok(days),
        _ => Err(format!("a number of days from 1 to {MAX_DAYS} is needed")),
    }
}

/// The number of a revocation list.
pub(crate) fn list_number(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("a whole number from 1 on is needed".to_owned()),
    }
}

/// Why a certificate is revoked (RFC 5280 section 5.3.1, in the words that are used on command lines).
pub(crate) fn reason(text: &str) -> Result<Reason, String> {
    Ok(match text {
        "unspecified" => Reason::Unspecified,
        "key-compromise" => Reason::KeyCompromise,
        "ca-compromise" => Reason::CaCompromise,
        "affiliation-changed" => Reason::AffiliationChanged,
        "superseded" => Reason::Superseded,
        "cessation" => Reason::CessationOfOperation,
        "privilege-withdrawn" => Reason::PrivilegeWithdrawn,
        _ => {
            return Err("the reasons are unspecified, key-compromise, ca-compromise, affiliation-changed, \
                        superseded, cessation, privilege-withdrawn"
                .to_owned());
        }
    })
}

/// The name of a bridge in a policy.
pub(crate) fn bridge(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a bridge has a name".to_owned()) } else { Ok(text.to_owned()) }
}

pub(crate) fn bridge_and_tap(text: &str) -> Result<(String, String), String> {
    match two_names(text) {
        Ok((bridge, Some(tap))) => Ok((bridge, tap)),
        _ => Err("two names are needed with ':' between them".to_owned()),
    }
}

/// A name that files are named after.
pub(crate) fn file_stem(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('/') || text.contains('\0') || text.starts_with('.') {
        return Err("files are named after it: it has no '/' and begins with no '.'".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_devices() {
        let block = |text: &str| text.parse::<BlockOption>();
        let plain = block("data").unwrap();
        assert_eq!((plain.name.as_str(), plain.device, plain.sector_size), ("data", None, None));
        let full = block("data:disk@4096").unwrap();
        assert_eq!((full.device.as_deref(), full.sector_size), (Some("disk"), Some(int(4096))));
        for wrong in [
            "",
            ":",
            "a:",
            ":a",
            "a:b:c",
            "a@",
            "a@511",
            "a@256",
            "a@513",
            "a@0",
            "a@-512",
            "a@512@512",
            "a:b/c",
            "a_b",
        ] {
            block(wrong).unwrap_err();
        }
    }

    #[test]
    fn network_devices() {
        let net = |text: &str| text.parse::<NetOption>();
        let plain = net("service").unwrap();
        assert_eq!((plain.name.as_str(), plain.bridge, plain.mac), ("service", None, None));
        let full = net("eth0:br_1@02:00:00:00:00:01").unwrap();
        assert_eq!((full.name.as_str(), full.bridge.as_deref()), ("eth0", Some("br_1")));
        assert_eq!(full.mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
        for wrong in ["", ":", "a:", ":a", "a:b:c", "a@", "a@02:00", "@02:00:00:00:00:01"] {
            net(wrong).unwrap_err();
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(natural("0"), Ok(Int::ZERO));
        for wrong in ["", "-1", "1.5", "0x10", "4611686018427387904", "99999999999999999999"] {
            natural(wrong).unwrap_err();
        }
        assert_eq!(integer("-3"), Ok(int(-3)));
        assert_eq!((days("1"), days("36525")), (Ok(1), Ok(36525)));
        days("0").unwrap_err();
        days("36526").unwrap_err();
        "10".parse::<CompressionLevel>().unwrap_err();
        assert_eq!("9".parse::<CompressionLevel>().unwrap().get(), 9);
    }

    #[test]
    fn names_for_files() {
        for wrong in ["", ".", "..", ".hidden", "a/b", "/etc/passwd"] {
            file_stem(wrong).unwrap_err();
        }
        file_stem("my server").unwrap();
    }
}
