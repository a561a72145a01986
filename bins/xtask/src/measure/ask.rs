//! One command and its reply, as a client gives it; what is read of a process.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use albatross_e2e::raw::Raw;
use albatross_e2e::{Failure, Host};
use albatross_proto::{Arguments, Command, Config, Int, Payload, Success, Text, Typ, UnikernelCommand, Wire};

/// A connection to albatrossd.
pub(super) fn connect(host: &Host) -> Result<Raw<UnixStream>, Failure> {
    Raw::unix(&host.socket("vmmd"))
}

/// Sends a command on a connection and waits for the reply, which has to be a success.
pub(super) fn ask(raw: &mut Raw<UnixStream>, name: &str, command: Command<'_>) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::io("ask", Path::new("vmmd.sock"), error);
    raw.command(name, command).map_err(failed)?;
    let frame = raw.frame().map_err(failed)?.unwrap_or_default();
    let what = match Wire::decode(&frame) {
        Ok(Wire { payload: Payload::Success(_), .. }) => return Ok(frame),
        Ok(Wire { payload: Payload::Failure(why), .. }) => format!("refused: {why}"),
        Ok(_) => "answered with something else".to_owned(),
        Err(error) => format!("no message: {error}"),
    };
    Err(Failure::Unexpected { command: format!("a command on {name}"), what })
}

/// The same on a connection of its own.
pub(super) fn once(host: &Host, name: &str, command: Command<'_>) -> Result<Vec<u8>, Failure> {
    ask(&mut connect(host)?, name, command)
}

/// A create with this image and so many MB.
pub(crate) fn create<'a>(image: &'a [u8], memory: u32, argv: &[&str]) -> Command<'a> {
    let argv = Some(argv.iter().map(|word| Text::from(*word)).collect());
    let arguments = Arguments { memory: Int::from(memory), argv, ..Arguments::new() };
    let config = Config { typ: Typ::Solo5, compressed: false, image: image.into(), arguments };
    Command::Unikernel(UnikernelCommand::Create(config))
}

/// How many unikernels run.
pub(super) fn running(host: &Host) -> Result<usize, Failure> {
    let reply = once(host, ":", Command::Unikernel(UnikernelCommand::Info))?;
    match Wire::decode(&reply).map(|wire| wire.payload) {
        Ok(Payload::Success(Success::Info(all))) => Ok(all.len()),
        _ => Ok(0),
    }
}

/// The image of a guest.
pub(super) fn image(host: &Host, guest: &str) -> Result<Vec<u8>, Failure> {
    let path = host.programs().guest(guest);
    fs::read(&path).map_err(|error| Failure::io("read", &path, error))
}

/// An image of so many octets that no other one of this seed is equal to.
pub(crate) fn padded(image: &[u8], length: usize, seed: u64) -> Vec<u8> {
    let mut padded = image.to_vec();
    padded.resize(image.len().div_ceil(8) * 8, 0);
    padded.extend(noise(seed).take(length.saturating_sub(padded.len()) / 8).flatten());
    padded
}

/// Words that do not compress.
pub(super) fn noise(seed: u64) -> impl Iterator<Item = [u8; 8]> {
    // splitmix64
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()
    })
}

/// The process id of albatrossd; 0 where it does not run.
pub(super) fn pid(host: &mut Host) -> i32 {
    host.albatrossd().map_or(0, |daemon| daemon.pid())
}
