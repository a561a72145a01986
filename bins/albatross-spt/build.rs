//! For delivery (`--release`) the tender is linked without the C library and Rust's standard library: it starts at its
//! own first instruction (src/start.rs), needs no loader, and brings nothing into the process that it did not write. With
//! a profile that unwinds, as `dev` does, Rust cannot build such a program, so that there it is an ordinary one.

use std::env;

/// No start and no libraries but our own, position-independent without a loader, every relocation one that src/start.rs
/// knows.
const ARGUMENTS: [&str; 4] =
    ["-nostartfiles", "-nostdlib", "-static-pie", "-Wl,-z,text,-z,norelro,-z,noexecstack,--build-id=none"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(freestanding)");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rustc-cfg=freestanding");
        for argument in ARGUMENTS {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
