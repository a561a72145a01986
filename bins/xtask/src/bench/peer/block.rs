//! A whole block device written and read, over the Unix socket and over TLS.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use albatross_core::image::{deflate, inflate};
use albatross_e2e::Failure;
use albatross_e2e::raw::Raw;
use albatross_proto::frame::frame;
use albatross_proto::{BlockCommand, Command, Data, Int, Payload, Policy, PolicyCommand, Success, Wire};

use super::super::record::Side;
use super::super::stack::{ENDPOINT, Stack, VMMD};
use super::{Context, once, success, unexpected};
use crate::measure::content;
use crate::measure::table::{mib, number};

const NAME: &str = "alice:data";
/// Octets of a chunk.
const CHUNK: usize = 64 * 1024;

/// One way to move the content.
type Way<'a> = &'a dyn Fn(&Stack) -> Result<Option<Vec<u8>>, Failure>;

pub(super) fn run(context: &Context, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
    let size = context.pick(64, 4);
    let content = content(size * 1024 * 1024);
    let (plain, compressed) = (chunks(&content), chunks(&deflate(&content, 1)));
    let vmmd = stack.socket(VMMD);
    once(&vmmd, "alice:", Command::Policy(PolicyCommand::Add(policy())))?;
    let megabytes = Int::from(u32::try_from(size).unwrap_or(u32::MAX));
    // It is there already after the first round.
    if !stack.block(NAME).exists() {
        once(&vmmd, NAME, Command::Block(BlockCommand::Add(megabytes)))?;
    }
    let set = |stream: &[u8], compressed| {
        let mut raw = Raw::unix(&vmmd)?;
        raw.command(NAME, Command::Block(BlockCommand::Set { compressed })).map_err(failed)?;
        send(&mut raw, stream)
    };
    let dump = |level: i32| {
        let mut raw = Raw::unix(&vmmd)?;
        raw.command(NAME, Command::Block(BlockCommand::Dump(Int::from(level)))).map_err(failed)?;
        receive(&mut raw, content.len()).map(Some)
    };
    let ways: [(&str, &str, Way<'_>); 6] = [
        ("set", VMMD, &|_| set(&plain, false)),
        ("set, zlib level 1", VMMD, &|_| set(&compressed, true)),
        ("dump", VMMD, &|_| dump(0)),
        ("dump, zlib level 1", VMMD, &|_| dump(1)),
        ("set over TLS", ENDPOINT, &|stack| send(&mut Raw::over(context.sets.connect(stack.port)?), &plain)),
        ("dump over TLS", ENDPOINT, &|stack| {
            receive(&mut Raw::over(context.dumps.connect(stack.port)?), content.len()).map(Some)
        }),
    ];
    for (what, daemon, way) in ways {
        let (before, begin) = (stack.processor_time(daemon), Instant::now());
        let got = way(stack)?;
        let rate = number(size as u64) / begin.elapsed().as_secs_f64();
        side.add("a block device", what, "MiB/s", rate);
        let time = stack.processor_time(daemon) - before;
        side.add("a block device", &format!("{what}: processor time of {daemon}"), "s", time);
        // What came back, or what is on the disk now.
        let got = match got {
            Some(got) if what.contains("zlib") => {
                inflate(&got, content.len()).map_err(|error| unexpected(error.to_string()))?
            }
            Some(got) => got,
            None => fs::read(stack.block(NAME)).map_err(failed)?,
        };
        if got != content {
            side.remark("a block device", what, "WRONG CONTENT");
        }
    }
    for daemon in [VMMD, ENDPOINT] {
        let peak = mib(stack.memory(daemon, "VmHWM"));
        side.add("a block device", &format!("{daemon} held at most"), "MiB", peak);
    }
    Ok(())
}

/// That of the intermediate certificate.
fn policy() -> Policy {
    Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: Int::from(100),
        memory: Int::from(1024),
        block: Some(Int::from(1000)),
        bridges: [].into(),
    }
}

fn chunks(content: &[u8]) -> Vec<u8> {
    content.chunks(CHUNK).chain([&[][..]]).flat_map(frame).collect()
}

fn send<S: Read + Write>(raw: &mut Raw<S>, stream: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    // A refusal may come before all is written.
    let sent = raw.send(stream);
    let reply = raw.frame().map_err(failed)?;
    sent.map_err(failed)?;
    success(&reply.unwrap_or_default())?;
    Ok(None)
}

fn receive<S: Read + Write>(raw: &mut Raw<S>, length: usize) -> Result<Vec<u8>, Failure> {
    let first = raw.frame().map_err(failed)?.unwrap_or_default();
    let Success::BlockDeviceImage { .. } = success(&first)? else {
        return Err(unexpected("it does not send chunks".to_owned()));
    };
    let mut all = Vec::with_capacity(length);
    loop {
        let frame = raw.frame().map_err(failed)?.unwrap_or_default();
        match Wire::decode(&frame).map(|wire| wire.payload) {
            Ok(Payload::Data(Data::Block(Some(chunk)))) => all.extend_from_slice(&chunk),
            Ok(Payload::Data(Data::Block(None))) => return Ok(all),
            _ => return Err(unexpected("it sent something else than a chunk".to_owned())),
        }
    }
}

fn failed(error: std::io::Error) -> Failure {
    Failure::io("move the content of", Path::new(NAME), error)
}
