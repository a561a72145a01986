//! albatross-tls-endpoint and albatross-tls-inetd: let clients with certificates command albatross over TLS.
//!
//! The rules of a conversation are in [`albatross_core::endpoint`], TLS and the verification of chains in
//! `albatross-tls`; these programs turn readiness into what happened and carry out what is to be done. They
//! read three files and the revocation lists, give up whatever else they could do (`confine`), and then serve:
//! a TCP socket, or the one connection that inetd passes as standard input.
#![deny(unsafe_code)]

mod arguments;
mod confine;
mod endpoint;
mod events;
mod files;
mod inherited;
mod link;
mod listener;
mod lists;
mod memory;
mod pipe;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use albatross_core::endpoint::Judge;
use albatross_driver::logging::Logger;
use albatross_driver::{notify::Notifier, signals::Signals, sys};
use mio::net::TcpListener;

use arguments::{Door, Plan};
use confine::Confinement;
use endpoint::{Endpoint, Serves};
use files::Files;
use lists::Lists;

/// The program `albatross-tls-endpoint`.
#[must_use]
pub fn endpoint() -> ExitCode {
    inherited::keep_texts_off_the_connection();
    begin(arguments::endpoint())
}

/// The program `albatross-tls-inetd`.
#[must_use]
pub fn inetd() -> ExitCode {
    inherited::keep_texts_off_the_connection();
    begin(arguments::inetd())
}

fn begin(plan: Plan) -> ExitCode {
    let log = plan.common.logger(plan.program);
    log.end(run(plan, &log))
}

fn run(plan: Plan, log: &Logger) -> Result<(), Box<dyn Display>> {
    let Plan { files, door, crl_dir, user, common, .. } = plan;
    memory::keep_nothing_large();
    let signals = Signals::termination().map_err(boxed)?;
    sys::raise_descriptor_limit(log);
    let Files { root, chain, key } = files::read(&files, log).map_err(boxed)?;
    let mut judge = Judge::new(root);
    let lists = crl_dir.map(|path| Lists::open(path, &mut judge, log)).transpose().map_err(boxed)?;
    let acceptor = files::acceptor(judge, &chain, key, &files.key).map_err(boxed)?;
    let serves = open(&door, log).map_err(boxed)?;
    albatross_driver::memory::forget_the_start();
    let notifier = Notifier::connect(log);
    // Everything is open that is needed, but the daemons' sockets.
    Confinement { user, lists: lists.as_ref().map(Lists::directory) }.begin(log).map_err(boxed)?;
    if let Serves::All(listener) = &serves {
        said(listener, log);
    }
    let endpoint = Endpoint::new(serves, signals, acceptor, lists, common.tmpdir, log).map_err(boxed)?;
    notifier.ready(log);
    endpoint.run().map_err(boxed)
}

fn open(door: &Door, log: &Logger) -> std::io::Result<Serves> {
    let listener = match door {
        Door::StandardInput => return inherited::connection().map(Serves::One),
        Door::Systemd => listener::inherited()?,
        Door::Address { ip, port } => listener::bind(*ip, *port, log)?,
    };
    listener::prepare(&listener)?;
    Ok(Serves::All(listener))
}

fn said(listener: &TcpListener, log: &Logger) {
    match listener.local_addr() {
        Ok(address) => log.info(format_args!("listening on {address}")),
        Err(error) => log.warning(format_args!("the address of the socket is not known: {error}")),
    }
}

fn boxed<E: Display + 'static>(error: E) -> Box<dyn Display> {
    Box::new(error)
}

/// The files that a program is given.
#[derive(Debug)]
struct Paths {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}
