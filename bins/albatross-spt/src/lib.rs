//! The parts of the spt tender that decide: command line, image rules, devices, boot information, system call filter.
//!
//! Nothing here performs I/O or touches guest memory; the program `albatross-spt` carries out what these modules plan.
//! The interface between tender and guest is described in docs/solo5.md.
//!
//! * [`elf`] reads the ELF header and the program headers;
//! * [`loader`] turns them into a [`loader::LoadPlan`] or refuses them;
//! * [`notes`] reads the Solo5 notes;
//! * [`image`] goes through an image with these three, from a file or from any bytes;
//! * [`options`] reads the command line, and [`devices`] matches it with the manifest;
//! * [`bootinfo`] lays out what the guest finds at its start;
//! * [`filter`] is the list of system calls a guest may make, and [`departure`] what the tender does last;
//! * [`linux`] has the numbers by which the kernel knows things, and [`errno`] its errors.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bootinfo;
pub mod departure;
pub mod devices;
pub mod elf;
pub mod errno;
pub mod filter;
pub mod image;
pub mod linux;
pub mod loader;
pub mod notes;
pub mod options;

mod field;
mod quoted;

pub use quoted::Quoted;
