//! Content of block devices to and from albatrossd, in turns with `dd` on the same file system.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command as Process;
use std::time::Instant;

use albatross_core::image::Deflating;
use albatross_e2e::{Failure, Host, Programs, processes};
use albatross_proto::frame::frame;
use albatross_proto::{BlockCommand, Command, Int};

use super::ask::{ask, connect, noise, once, pid};
use super::create::MEMORY;
use super::table::{Table, Target, median, mib};

/// MiB of the device. Half of it does not compress.
const SIZE: u32 = 64;
/// Octets of a chunk.
const CHUNK: usize = 64 * 1024;

/// What the OCaml daemon did on the machine where it was measured, in MiB/s: set and dump, plain and compressed.
const OCAML: [(&str, f64, f64); 4] = [
    ("set, plain", 651.0, 2.0),
    ("dump, plain", 176.0, 4.0),
    ("set, zlib level 1", 133.0, 2.0),
    ("dump, zlib level 1", 20.4, 3.0),
];

pub(super) fn run(programs: &Programs, table: &mut Table, rounds: usize) -> Result<(), Failure> {
    table.section(&format!(
        "a block device of {SIZE} MiB over the socket, in turns with dd bs=1M conv=fsync to the same file system"
    ));
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    host.start_albatrossd(&[])?;
    once(&host, ":data", Command::Block(BlockCommand::Add(Int::from(SIZE))))?;
    let content = content(SIZE as usize * 1024 * 1024);
    let source = host.work().join("content");
    fs::write(&source, &content).map_err(|error| Failure::io("write", &source, error))?;
    let plain = chunks(&content);
    let compressed = chunks(&deflated(&content));
    let (mut dd_rates, mut disk_rates, mut rates) = (Vec::new(), Vec::new(), <[Vec<f64>; 4]>::default());
    let mut peaks = [0.0; 4];
    for _ in 0..rounds {
        dd_rates.push(dd(&host, &source, &["bs=1M", "conv=fsync"])?);
        disk_rates.push(dd(&host, &source, &["bs=4M", "conv=fsync", "oflag=direct"])?);
        for (way, rates) in rates.iter_mut().enumerate() {
            forget_peak(pid(&mut host));
            rates.push(match way {
                0 => set(&host, false, &plain)?,
                1 => dump(&host, 0, content.len())?,
                2 => set(&host, true, &compressed)?,
                _ => dump(&host, 1, content.len() / 2)?,
            });
            if let Some(peak) = peaks.get_mut(way) {
                *peak = mib(processes::status(pid(&mut host), "VmHWM").unwrap_or(0)).max(*peak);
            }
        }
        let file = host.dbdir().join("block").join(":data");
        if fs::read(&file).map_err(|error| Failure::io("read", &file, error))? != content {
            return Err(Failure::Unexpected {
                command: "block set".to_owned(),
                what: "other octets".to_owned(),
            });
        }
    }
    table.figure("dd", median(dd_rates.clone()), "MiB/s", Target::None);
    let disk = "what the disk takes: dd bs=4M oflag=direct conv=fsync";
    table.figure(disk, median(disk_rates), "MiB/s", Target::None);
    for (((what, ocaml, times), rates), peak) in OCAML.into_iter().zip(rates).zip(peaks) {
        if what.ends_with("plain") {
            let ratios = rates.iter().zip(&dd_rates).map(|(rate, dd)| rate / dd).collect();
            table.figure(&format!("{what}: of dd"), median(ratios), "", Target::Least(0.8));
        }
        // That of OCaml does not wait for the disk, and ours does: where the disk takes less than this, it is missed.
        let what_least = format!("{what}: {times} times OCaml's {ocaml}");
        table.figure(&what_least, median(rates), "MiB/s", Target::Least(ocaml * times));
        table.figure(&format!("{what}: albatrossd held at most"), peak, "MiB", Target::Most(MEMORY));
    }
    Ok(())
}

/// So many octets, half of which do not compress.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(length);
    let mut words = noise(1);
    while content.len() < length {
        content.extend(words.by_ref().take(512).flatten());
        content.resize((content.len() + 4096).min(length), b'a');
    }
    content
}

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut deflating = Deflating::new(1);
    let mut keep = |octets: &[u8]| {
        all.extend_from_slice(octets);
        io::Result::Ok(())
    };
    // Nothing fails that goes to memory.
    _ = deflating.feed(content, &mut keep);
    _ = deflating.finish(keep);
    all
}

/// A stream as clients send it.
fn chunks(content: &[u8]) -> Vec<u8> {
    content.chunks(CHUNK).chain([&[][..]]).flat_map(frame).collect()
}

fn dd(host: &Host, source: &Path, how: &[&str]) -> Result<f64, Failure> {
    let target = host.dbdir().join("dd");
    let mut command = Process::new("dd");
    let operand = |name: &str, path: &Path| format!("{name}={}", path.display());
    command.args([operand("if", source), operand("of", &target)]).args(how).arg("status=none");
    let start = Instant::now();
    let failed = |error| Failure::io("run", Path::new("dd"), error);
    let status = command.status().map_err(failed)?;
    let rate = f64::from(SIZE) / start.elapsed().as_secs_f64();
    fs::remove_file(&target).map_err(failed)?;
    if status.success() { Ok(rate) } else { Err(Failure::Build { status }) }
}

/// MiB/s of content.
fn set(host: &Host, compressed: bool, stream: &[u8]) -> Result<f64, Failure> {
    let failed = |error| Failure::io("send to", &host.socket("vmmd"), error);
    let start = Instant::now();
    let mut raw = connect(host)?;
    raw.command(":data", Command::Block(BlockCommand::Set { compressed })).map_err(failed)?;
    raw.send(stream).map_err(failed)?;
    raw.frame().map_err(failed)?;
    Ok(f64::from(SIZE) / start.elapsed().as_secs_f64())
}

/// MiB/s of content. What is read is counted, not looked at: it must not be the client that is slow.
fn dump(host: &Host, level: i32, least: usize) -> Result<f64, Failure> {
    let failed = |error| Failure::io("receive from", &host.socket("vmmd"), error);
    let start = Instant::now();
    let mut raw = connect(host)?;
    ask(&mut raw, ":data", Command::Block(BlockCommand::Dump(Int::from(level))))?;
    let (mut piece, mut total) = (vec![0; 4 * CHUNK], 0);
    loop {
        match raw.stream().read(&mut piece).map_err(failed)? {
            0 => break,
            count => total += count,
        }
    }
    let rate = f64::from(SIZE) / start.elapsed().as_secs_f64();
    if total < least {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(rate)
}

/// Has the kernel count the most memory of a process anew.
fn forget_peak(pid: i32) {
    let reset = fs::File::options().write(true).open(format!("/proc/{pid}/clear_refs"));
    // Where that is not allowed, the peak is that of all before.
    _ = reset.and_then(|mut file| file.write_all(b"5"));
}
