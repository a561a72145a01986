//! The command line: `albatross-spt [OPTIONS] [--] KERNEL [ARGS...]`.
//!
//! An option and its value are one argument, joined by `=`. Everything after KERNEL is for the guest. Unlike Solo5's
//! tender this one refuses junk after a number, an option given twice, and values out of range; a path may contain
//! anything. The options are described in docs/solo5.md.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::notes::is_device_name;
use crate::quoted::Quoted;

/// Guest memory when `--mem` is not given, in MiB.
pub const DEFAULT_MEMORY_MIB: u64 = 512;
/// Longest name of a network interface: IFNAMSIZ of Linux without the NUL.
pub const MAX_INTERFACE_BYTES: usize = 15;
/// Sector size when `--block-sector-size` is not given, and the smallest there is, in bytes.
pub const MIN_SECTOR_BYTES: u16 = 512;
/// Descriptors below this one are standard input, output and error: none of them can be a device.
const FIRST_DEVICE_DESCRIPTOR: i32 = 3;
const BYTES_PER_MIB: u64 = 1024 * 1024;

/// Printed for `--help`.
pub const USAGE: &str = "\
usage: albatross-spt [OPTIONS] [--] KERNEL [ARGS...]
Runs the Solo5 unikernel KERNEL, a file or @ and the descriptor of one, with ARGS as its command line.
  --mem=N                     guest memory in MiB (512)
  --net:NAME=INTERFACE        attach the tap INTERFACE as network device NAME; it has to exist and be up
  --net:NAME=@FD              the same with an open tap, by its descriptor
  --net-mac:NAME=MAC          MAC address of network device NAME, as aa:bb:cc:dd:ee:ff (random)
  --block:NAME=PATH           attach the file or block device PATH as block device NAME
  --block:NAME=@FD            the same with an open file, by its descriptor
  --block-sector-size:NAME=N  sector size of block device NAME: a power of two from 512 to 32768 bytes (512)
  --x-exec-heap               let the guest execute its heap (not advised)
  --version                   print the versions of the tender and of its interface
  --help                      print this text
";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Print the usage.
    Help,
    /// Print the versions.
    Version,
    /// Run a guest.
    Run(Options<'a>),
}

/// How to run a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// Size of guest memory in bytes; a multiple of 1 MiB, not 0.
    pub memory_size: u64,
    /// Whether the heap and the stack may be executed.
    pub exec_heap: bool,
    /// What was said about devices, in order.
    pub devices: Vec<DeviceOption<'a>>,
    /// The image, by its path or open for reading.
    pub kernel: Host<&'a [u8]>,
    /// The guest's arguments.
    pub arguments: Vec<&'a [u8]>,
}

/// One option about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOption<'a> {
    /// Name of the device: letters and digits.
    pub name: &'a str,
    /// What was said about it.
    pub setting: Setting<'a>,
}

/// What an option says about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting<'a> {
    /// `--net:`: the tap, by the name of its interface, 1 to 15 bytes.
    Net(Host<&'a [u8]>),
    /// `--net-mac:`.
    Mac([u8; 6]),
    /// `--block:`: the file, by its path.
    Block(Host<&'a [u8]>),
    /// `--block-sector-size:`: a power of two of at least 512, in bytes.
    SectorSize(u16),
}

/// How the host's side of a device is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<T> {
    /// By name.
    Named(T),
    /// By an open descriptor, 3 or above.
    Open(i32),
}

impl<'a> Request<'a> {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    ///
    /// Names the first option that is not understood, or what is missing.
    pub fn parse(arguments: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, OptionError<'a>> {
        let mut arguments = arguments.into_iter();
        let mut options = Collected::default();
        let kernel = loop {
            let Some(argument) = arguments.next() else { return Err(OptionError::NoKernel) };
            match argument {
                b"--" => break arguments.next().ok_or(OptionError::NoKernel)?,
                b"--help" => return Ok(Self::Help),
                b"--version" => return Ok(Self::Version),
                [b'-', ..] => options.add(argument)?,
                _ => break argument,
            }
        };
        let kernel = path(kernel).ok_or(OptionError::Kernel { argument: kernel })?;
        if let Host::Open(descriptor) = kernel
            && options.devices.iter().any(|device| device.setting.descriptor() == Some(descriptor))
        {
            return Err(OptionError::KernelIsDevice { descriptor });
        }
        Ok(Self::Run(Options {
            memory_size: options.memory_size.unwrap_or(DEFAULT_MEMORY_MIB * BYTES_PER_MIB),
            exec_heap: options.exec_heap,
            devices: options.devices,
            kernel,
            arguments: arguments.collect(),
        }))
    }
}

#[derive(Default)]
struct Collected<'a> {
    memory_size: Option<u64>,
    exec_heap: bool,
    devices: Vec<DeviceOption<'a>>,
}

impl<'a> Collected<'a> {
    fn add(&mut self, argument: &'a [u8]) -> Result<(), OptionError<'a>> {
        let refuse = |problem| OptionError::Option { argument, problem };
        if argument == b"--x-exec-heap" {
            self.exec_heap = true;
            return Ok(());
        }
        let (option, value) = split(argument, b'=').ok_or_else(|| refuse(Problem::Unknown))?;
        if option == b"--mem" {
            let size = memory_size(value).ok_or_else(|| refuse(Problem::Memory))?;
            return match self.memory_size.replace(size) {
                None => Ok(()),
                Some(_) => Err(refuse(Problem::Twice)),
            };
        }
        let (option, name) = split(option, b':').ok_or_else(|| refuse(Problem::Unknown))?;
        let setting = Setting::parse(option, value).map_err(refuse)?;
        let name = text(name).filter(|name| is_device_name(name)).ok_or_else(|| refuse(Problem::Name))?;
        if self.devices.iter().any(|other| other.name == name && other.setting.is_like(&setting)) {
            return Err(refuse(Problem::Twice));
        }
        let descriptor = setting.descriptor();
        if descriptor.is_some() && self.devices.iter().any(|other| other.setting.descriptor() == descriptor) {
            return Err(refuse(Problem::Descriptor));
        }
        self.devices.push(DeviceOption { name, setting });
        Ok(())
    }
}

impl<'a> Setting<'a> {
    fn parse(option: &[u8], value: &'a [u8]) -> Result<Self, Problem> {
        match option {
            b"--net" => interface(value).map(Self::Net).ok_or(Problem::Interface),
            b"--net-mac" => mac(value).map(Self::Mac).ok_or(Problem::Mac),
            b"--block" => path(value).map(Self::Block).ok_or(Problem::Path),
            b"--block-sector-size" => sector_size(value).map(Self::SectorSize).ok_or(Problem::SectorSize),
            _ => Err(Problem::Unknown),
        }
    }

    /// The open descriptor that a device is attached to, when it was given so.
    #[must_use]
    pub fn descriptor(&self) -> Option<i32> {
        match self {
            Self::Net(Host::Open(descriptor)) | Self::Block(Host::Open(descriptor)) => Some(*descriptor),
            _ => None,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        core::mem::discriminant(self) == core::mem::discriminant(other)
    }
}

fn memory_size(value: &[u8]) -> Option<u64> {
    let mebibytes: u64 = number(value)?;
    mebibytes.checked_mul(BYTES_PER_MIB).filter(|size| *size > 0)
}

fn interface(value: &[u8]) -> Option<Host<&[u8]>> {
    if let Some(descriptor) = value.strip_prefix(b"@") {
        return descriptor_number(descriptor).map(Host::Open);
    }
    let fits = (1..=MAX_INTERFACE_BYTES).contains(&value.len());
    let clean = value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/' && *byte != b'%');
    (fits && clean && value != b"." && value != b"..").then_some(Host::Named(value))
}

fn path(value: &[u8]) -> Option<Host<&[u8]>> {
    if let Some(descriptor) = value.strip_prefix(b"@") {
        return descriptor_number(descriptor).map(Host::Open);
    }
    (!value.is_empty()).then_some(Host::Named(value))
}

fn descriptor_number(value: &[u8]) -> Option<i32> {
    number(value).filter(|number| *number >= FIRST_DEVICE_DESCRIPTOR)
}

fn sector_size(value: &[u8]) -> Option<u16> {
    number(value).filter(|size: &u16| size.is_power_of_two() && *size >= MIN_SECTOR_BYTES)
}

/// Six groups of one or two hexadecimal digits; not the address of a group of stations.
fn mac(value: &[u8]) -> Option<[u8; 6]> {
    let mut address = [0; 6];
    let mut groups = text(value)?.split(':');
    for byte in &mut address {
        let group = groups.next()?;
        let digits = (1..=2).contains(&group.len()) && group.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(group, 16).ok().filter(|_| digits)?;
    }
    let [first, ..] = address;
    (groups.next().is_none() && first & 1 == 0).then_some(address)
}

/// Decimal digits only: no sign, no space.
fn number<T: core::str::FromStr>(value: &[u8]) -> Option<T> {
    text(value).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn text(value: &[u8]) -> Option<&str> {
    core::str::from_utf8(value).ok()
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|byte| *byte == at)?;
    let (before, after) = bytes.split_at_checked(place)?;
    Some((before, after.get(1..)?))
}

/// Why the command line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionError<'a> {
    /// No image is named.
    NoKernel,
    /// The image's path is empty, or its descriptor malformed.
    Kernel {
        /// What was given.
        argument: &'a [u8],
    },
    /// The image's descriptor is given to a device, too.
    KernelIsDevice {
        /// Which.
        descriptor: i32,
    },
    /// An option is wrong.
    Option {
        /// The whole argument.
        argument: &'a [u8],
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// There is no such option, or its `=` is missing.
    Unknown,
    /// It was given before.
    Twice,
    /// Another device has the same descriptor.
    Descriptor,
    /// The memory is no number of MiB above 0 that fits.
    Memory,
    /// The device's name is malformed.
    Name,
    /// The interface's name is malformed, or the descriptor.
    Interface,
    /// The MAC address is malformed.
    Mac,
    /// The path is empty, or the descriptor malformed.
    Path,
    /// The sector size is out of range.
    SectorSize,
}

impl fmt::Display for OptionError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernel => f.write_str("no KERNEL given, see --help"),
            Self::Kernel { argument } => {
                write!(
                    f,
                    "KERNEL {}: a path cannot be empty; @ needs a descriptor from 3 up",
                    Quoted(argument)
                )
            }
            Self::KernelIsDevice { descriptor } => {
                write!(f, "KERNEL @{descriptor}: the descriptor is given to a device")
            }
            Self::Option { argument, problem } => write!(f, "option {}: {problem}", Quoted(argument)),
        }
    }
}

impl Error for OptionError<'_> {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown, or without `=`, see --help",
            Self::Twice => "given twice",
            Self::Descriptor => "the descriptor is given to another device",
            Self::Memory => "the size has to be a number of MiB above 0 that fits 64 bits of bytes",
            Self::Name => "a device name has 1 to 67 letters and digits",
            Self::Interface => "an interface has a name of 1 to 15 bytes, or is @ and a descriptor from 3 up",
            Self::Mac => "a MAC address is aa:bb:cc:dd:ee:ff, not that of a group",
            Self::Path => "a path cannot be empty; @ needs a descriptor from 3 up",
            // In the words of Solo5's tender, which its tests and others look for; the last are what it means.
            Self::SectorSize => {
                "Block size must be a multiple of 2 greater than or equal 512, that is a power of two up to 32768"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(arguments: &[&'a str]) -> Result<Request<'a>, OptionError<'a>> {
        Request::parse(arguments.iter().map(|argument| argument.as_bytes()))
    }

    fn options<'a>(arguments: &[&'a str]) -> Options<'a> {
        match parse(arguments).unwrap() {
            Request::Run(options) => options,
            other => panic!("{other:?}"),
        }
    }

    fn problem(argument: &str) -> Problem {
        match parse(&[argument, "kernel"]) {
            Err(OptionError::Option { problem, .. }) => problem,
            other => panic!("{argument}: {other:?}"),
        }
    }

    #[test]
    fn defaults() {
        let options = options(&["kernel", "--mem=2", "b c"]);
        assert_eq!(options.memory_size, 512 << 20);
        assert_eq!(options.kernel, Host::Named(b"kernel".as_slice()));
        assert_eq!(options.arguments, [b"--mem=2".as_slice(), b"b c"]);
    }

    #[test]
    fn everything_after_two_dashes_is_kernel_and_arguments() {
        let options = options(&["--mem=3", "--", "--help", "--version"]);
        assert_eq!(options.memory_size, 3 << 20);
        assert_eq!(options.kernel, Host::Named(b"--help".as_slice()));
        assert_eq!(options.arguments, [b"--version"]);
    }

    #[test]
    fn help_and_version_act_at_once() {
        assert_eq!(parse(&["--mem=3", "--help", "--junk"]), Ok(Request::Help));
        assert_eq!(parse(&["--version"]), Ok(Request::Version));
        assert!(matches!(parse(&["kernel", "--version"]), Ok(Request::Run(_))));
    }

    #[test]
    fn no_kernel() {
        for arguments in [&[][..], &["--mem=3"], &["--"]] {
            assert_eq!(parse(arguments), Err(OptionError::NoKernel));
        }
    }

    #[test]
    fn the_kernel_by_a_descriptor() {
        assert_eq!(options(&["@5", "@6"]).kernel, Host::Open(5));
        assert_eq!(options(&["--block:a=@6", "--", "@5"]).kernel, Host::Open(5));
        assert_eq!(options(&["./@5"]).kernel, Host::Named(b"./@5".as_slice()));
        for argument in ["", "@", "@2", "@-1", "@5x"] {
            let argument = argument.as_bytes();
            let parsed = Request::parse([b"--".as_slice(), argument]);
            assert_eq!(parsed, Err(OptionError::Kernel { argument }));
        }
        assert_eq!(parse(&["--block:a=@5", "@5"]), Err(OptionError::KernelIsDevice { descriptor: 5 }));
    }

    #[test]
    fn memory_is_strict() {
        for value in
            ["", "0", "-1", "+1", " 1", "1 ", "2abc", "0x10", "1.5", "17592186044416", "99999999999999999999"]
        {
            assert_eq!(problem(&format!("--mem={value}")), Problem::Memory, "{value}");
        }
        assert_eq!(options(&["--mem=17592186044415", "k"]).memory_size, 17_592_186_044_415 << 20);
        assert!(matches!(
            parse(&["--mem=1", "--mem=1", "k"]),
            Err(OptionError::Option { problem: Problem::Twice, .. })
        ));
    }

    #[test]
    fn an_option_without_equals_sign_is_refused() {
        for argument in ["--mem", "--net:a", "--x-exec-heapish", "--gdb", "-h", "-"] {
            assert_eq!(problem(argument), Problem::Unknown, "{argument}");
        }
    }

    #[test]
    fn devices() {
        let options = options(&[
            "--net:service=tap0",
            "--net-mac:service=2:0:0:ab:CD:ef",
            "--block:disk=/a b\n",
            "--block-sector-size:disk=4096",
            "--net:other=@7",
            "k",
        ]);
        let settings: Vec<_> = options.devices.iter().map(|option| (option.name, option.setting)).collect();
        assert_eq!(
            settings,
            [
                ("service", Setting::Net(Host::Named(b"tap0"))),
                ("service", Setting::Mac([2, 0, 0, 0xab, 0xcd, 0xef])),
                ("disk", Setting::Block(Host::Named(b"/a b\n"))),
                ("disk", Setting::SectorSize(4096)),
                ("other", Setting::Net(Host::Open(7))),
            ]
        );
    }

    #[test]
    fn device_options_are_strict() {
        for (argument, expected) in [
            ("--net:=tap0", Problem::Name),
            ("--net:a-b=tap0", Problem::Name),
            ("--net:a=", Problem::Interface),
            ("--net:a=sixteencharacter", Problem::Interface),
            ("--net:a=tap 0", Problem::Interface),
            ("--net:a=@", Problem::Interface),
            ("--net:a=@2", Problem::Interface),
            ("--net:a=@-1", Problem::Interface),
            ("--net:a=@4x", Problem::Interface),
            ("--net-mac:a=02:00:00:00:00", Problem::Mac),
            ("--net-mac:a=02:00:00:00:00:00:00", Problem::Mac),
            ("--net-mac:a=02:00:00:00:00:0g", Problem::Mac),
            ("--net-mac:a=02:00:00:00:00:+0", Problem::Mac),
            ("--net-mac:a=03:00:00:00:00:00", Problem::Mac),
            ("--block:a=", Problem::Path),
            ("--block:a=@1", Problem::Path),
            ("--block-sector-size:a=256", Problem::SectorSize),
            ("--block-sector-size:a=1000", Problem::SectorSize),
            ("--block-sector-size:a=65536", Problem::SectorSize),
            ("--disk:a=b", Problem::Unknown),
        ] {
            assert_eq!(problem(argument), expected, "{argument}");
        }
    }

    #[test]
    fn a_descriptor_has_one_owner() {
        let error = parse(&["--net:a=@5", "--block:b=@5", "k"]).unwrap_err();
        assert!(matches!(error, OptionError::Option { problem: Problem::Descriptor, .. }));
    }

    #[test]
    fn errors_stay_on_one_line() {
        let error = parse(&["--bad\noption", "k"]).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 1);
    }
}
