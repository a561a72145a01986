//! `albatross-spt`, a Solo5 spt tender: it loads a unikernel into its own process, gives it its devices, takes away every
//! system call but a few, and jumps into it. From then on the process is the unikernel; nothing of the tender runs
//! again. docs/solo5.md describes the options and the interface.
//!
//! The tender refuses, with one line on standard error and status 1, whatever it cannot run.

#![cfg_attr(not(test), no_main)]

mod attach;
mod enter;
mod error;
mod kernel;
mod memory;
mod sandbox;
mod tap;

use std::convert::Infallible;
use std::ffi::{OsString, c_char, c_int};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use albatross_spt::bootinfo::{self, BOOT_INFO_ADDRESS, BootInfo};
use albatross_spt::devices::{self, Device};
use albatross_spt::filter;
use albatross_spt::options::{Options, Request, USAGE};

use crate::attach::{Attached, Events};
use crate::error::{TenderError, When as _};
use crate::kernel::Kernel;
use crate::memory::GuestMemory;

const PROGRAM: &str = "albatross-spt";
/// Version of the interface between tender and guest.
const ABI_VERSION: u32 = 2;

/// The start of the program. Rust's own start is left out because it ignores SIGPIPE and catches SIGSEGV, and the guest
/// would inherit both.
// SAFETY: the symbol is the one the C library calls, with the signature it calls it by.
#[cfg_attr(not(test), unsafe(export_name = "main"))]
#[cfg_attr(test, unsafe(export_name = "tender_main"))]
extern "C" fn start(_: c_int, _: *const *const c_char) -> c_int {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    match Request::parse(arguments) {
        Ok(Request::Help) => {
            say(USAGE);
            1
        }
        Ok(Request::Version) => {
            say(&version(&program));
            0
        }
        Ok(Request::Run(options)) => {
            let Err(error) = run(&options);
            fail(&error)
        }
        Err(error) => fail(&error.into()),
    }
}

fn run(options: &Options) -> Result<Infallible, TenderError> {
    sandbox::check_personality()?;
    sandbox::fill_standard_descriptors()?;
    attach::check_inherited(&options.devices)?;
    let command_line = bootinfo::command_line(&options.arguments)?;
    let kernel = Kernel::open(&options.kernel)?;
    let manifest = kernel.manifest()?;
    let plan = kernel.plan(options.memory_size)?;
    let attached = devices::plan(&manifest, &options.devices)?
        .into_iter()
        .map(attach::attach)
        .collect::<Result<Vec<_>, _>>()?;
    let mut memory = GuestMemory::map(options.memory_size, options.exec_heap)?;
    if options.exec_heap {
        say(&format!("{PROGRAM}: warning: the guest may execute its heap and stack (--x-exec-heap)\n"));
    }
    kernel.load(&plan, &mut memory)?;
    drop(kernel);

    let events = Events::new(&attached)?;
    let devices: Vec<Device> = attached.iter().map(|attached| attached.device).collect();
    let mut manifest = manifest.bytes().to_vec();
    devices.iter().for_each(|device| device.describe(&mut manifest));
    let info = BootInfo {
        memory_size: options.memory_size,
        kernel_end: plan.kernel_end,
        epoll: events.epoll(),
        timer: events.timer(),
        manifest: &manifest,
        command_line: &command_line,
    };
    memory.write(BOOT_INFO_ADDRESS, &info.encode())?;
    let program = filter::program(info.epoll, info.timer, &devices).when("making the system call filter")?;
    sandbox::close_others(&kept(&events, &attached))?;
    sandbox::confine(&program)?;
    enter::enter(&memory, plan.entry)
}

/// The descriptors the guest keeps besides the standard ones.
fn kept(events: &Events, attached: &[Attached]) -> Vec<RawFd> {
    let devices = attached.iter().map(|attached| attached.descriptor.as_raw_fd());
    devices.chain([events.epoll(), events.timer()]).collect()
}

fn version(program: &OsString) -> String {
    let name = Path::new(program).file_name().map_or_else(|| PROGRAM.into(), |name| name.to_string_lossy());
    format!("{name} tender, version v{}\nABI version {ABI_VERSION}\n", env!("CARGO_PKG_VERSION"))
}

fn fail(error: &TenderError) -> c_int {
    say(&format!("{PROGRAM}: {error}\n"));
    1
}

/// Writes to standard error; where that is closed there is nobody to tell.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
