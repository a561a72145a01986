//! `albatross-spt`, a Solo5 spt tender: it loads a unikernel into its own process, gives it its devices, takes away every
//! system call but a few, and jumps into it. From then on the process is the unikernel; nothing of the tender is left.
//! docs/solo5.md describes the options and the interface.
//!
//! The tender refuses, with one line on standard error and status 1, whatever it cannot run.
//!
//! It is delivered as a program that brings no C library and no start but its own (build.rs): what a loader and a
//! library do before `main` takes longer than all the rest.

#![cfg_attr(freestanding, no_std)]
#![no_main]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("the spt tender is for Linux on x86-64");
#[cfg(all(freestanding, panic = "unwind"))]
compile_error!("a release build of the tender needs `panic = \"abort\"` in its profile");

extern crate alloc;

mod attach;
mod error;
mod heap;
mod inherited;
mod kernel;
mod leave;
mod memory;
mod process;
#[cfg(freestanding)]
mod routines;
mod sandbox;
mod start;
mod sys;
mod tap;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;

use albatross_spt::bootinfo::{self, BOOT_INFO_ADDRESS, BootInfo};
use albatross_spt::devices::{self, Device};
use albatross_spt::filter;
use albatross_spt::notes::ABI_VERSIONS;
use albatross_spt::options::{Options, Request, USAGE};

use crate::attach::{Attached, Events};
use crate::error::TenderError;
use crate::heap::Heap;
use crate::kernel::Kernel;
use crate::memory::GuestMemory;
use crate::process::Process;

const PROGRAM: &str = "albatross-spt";
/// The list of the last instructions begins at such a multiple behind the boot information.
const LIST_ALIGN: u64 = 16;

#[global_allocator]
static HEAP: Heap = Heap::new();

/// Everything the program does.
fn run_process(process: Process) -> ! {
    let mut arguments = process.arguments();
    let program = arguments.next().unwrap_or_default();
    match Request::parse(arguments) {
        Ok(Request::Help) => finish(USAGE, 1),
        Ok(Request::Version) => finish(&version(program), 0),
        Ok(Request::Run(options)) => {
            let Err(error) = run(process, &options);
            fail(&error)
        }
        Err(error) => fail(&error.into()),
    }
}

fn run<'a>(process: Process, options: &Options<'a>) -> Result<Infallible, TenderError<'a>> {
    sandbox::check_personality()?;
    sandbox::check_filter()?;
    sandbox::fill_standard_descriptors()?;
    inherited::check_inherited(options)?;
    let command_line = bootinfo::command_line(&options.arguments)?;
    let kernel = Kernel::open(options.kernel)?;
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
    let encoded = info.encode();
    memory.write(BOOT_INFO_ADDRESS, &encoded)?;
    let filter = filter::program(info.epoll, info.timer, &devices);
    sandbox::confine()?;
    sandbox::close_others(&kept(&events, &attached))?;
    let end = BOOT_INFO_ADDRESS.saturating_add(encoded.len().try_into().unwrap_or(u64::MAX));
    Ok(leave::leave(process, &mut memory, end.next_multiple_of(LIST_ALIGN), filter, plan.entry)?)
}

/// The descriptors the guest keeps besides the standard ones.
fn kept(events: &Events, attached: &[Attached]) -> Vec<i32> {
    let devices = attached.iter().map(|attached| attached.device.descriptor);
    devices.chain([events.epoll(), events.timer()]).collect()
}

fn version(program: &[u8]) -> String {
    let name = program.rsplit(|byte| *byte == b'/').next().filter(|name| !name.is_empty());
    let name = name.map_or_else(|| PROGRAM.into(), String::from_utf8_lossy);
    let (version, abi_version) = (env!("CARGO_PKG_VERSION"), ABI_VERSIONS.end());
    format!("{name} tender, version v{version}\nABI version {abi_version}\n")
}

fn fail(error: &TenderError<'_>) -> ! {
    finish(&format!("{PROGRAM}: {error}\n"), 1)
}

fn finish(text: &str, status: i32) -> ! {
    say(text);
    sys::exit(status)
}

fn say(text: &str) {
    sys::write_error(text.as_bytes());
}
