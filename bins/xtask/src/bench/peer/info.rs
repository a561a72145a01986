//! The cheapest command, over the Unix socket and over TLS, each on a connection of its own.

use std::io::Write;

use albatross_e2e::Failure;
use albatross_e2e::raw::Raw;
use albatross_proto::{Command, UnikernelCommand};

use super::super::record::Side;
use super::super::stack::{ENDPOINT, Stack, VMMD};
use super::{Context, load, once, success, unexpected};
use crate::measure::table::number;

/// Operations before the first that counts.
const WARM: usize = 20;

/// By one client and by eight, with the processor time of these daemons.
fn both(
    stack: &Stack,
    side: &mut Side<'_>,
    name: &str,
    count: usize,
    daemons: &[&str],
    operation: impl Fn(usize) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    load::run(1, WARM, &operation)?;
    for (clients, count) in [(1, count), (8, count * 2)] {
        let section = format!("{name}, {clients} at a time");
        let before: Vec<f64> = daemons.iter().map(|daemon| stack.processor_time(daemon)).collect();
        let load = load::run(clients, count, &operation)?;
        side.add(&section, "rate", "1/s", load.rate);
        side.add(&section, "half of them take", "ms", load.median);
        side.add(&section, "99 of 100 take", "ms", load.ninety_ninth);
        for (daemon, before) in daemons.iter().zip(before) {
            let time = (stack.processor_time(daemon) - before) * 1e6 / number(count as u64);
            side.add(&section, &format!("{daemon}: processor time of each"), "us", time);
        }
    }
    Ok(())
}

pub(super) fn local(context: &Context, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
    let socket = stack.socket(VMMD);
    both(stack, side, "info over the socket", context.pick(10_000, 200), &[VMMD], |_| {
        once(&socket, ":", Command::Unikernel(UnikernelCommand::Info)).map(drop)
    })
}

pub(super) fn tls(context: &Context, stack: &mut Stack, side: &mut Side<'_>) -> Result<(), Failure> {
    let port = stack.port;
    both(stack, side, "info over TLS", context.pick(1_000, 20), &[ENDPOINT, VMMD], |index| {
        let failed = |error| Failure::io("ask", std::path::Path::new("over TLS"), error);
        let leaf = context.asks.get(index % context.asks.len().max(1));
        let client = leaf.ok_or_else(|| unexpected("there is no leaf".to_owned()))?;
        let mut tls = Raw::over(client.connect(port)?);
        let reply = tls.frame().map_err(failed)?.unwrap_or_default();
        success(&reply)?;
        tls.stream().conn.send_close_notify();
        // The other side may have closed already.
        _ = tls.stream().flush();
        Ok(())
    })
}
