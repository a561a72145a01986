//! What the albatross programs share: the loop around mio, framed sockets, signals, logging, command lines.
//!
//! Nothing in here decides anything that the protocol prescribes; that is `albatross-core`. This crate
//! turns readiness into things that happened and buffers into system calls, for Linux. It links no TLS:
//! the daemon that runs as root uses it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`server`] | the loop of a daemon: accepts, reads frames, writes replies, keeps deadlines and limits |
//! | [`connection`] | one framed stream: bounded reading, a bounded queue for writing |
//! | [`listener`] | the socket `<tmpdir>/util/NAME.sock`, or the one that systemd passes |
//! | [`signals`] | SIGTERM and others as readiness |
//! | [`upstream`] | the connection to another daemon |
//! | [`lines`] | a connection that lines are written to |
//! | [`clock`] | the time of day, and the clock of a machine |
//! | [`timer`] | deadlines, and how long to wait: for ever where there is none |
//! | [`notify`] | systemd is told when a daemon serves |
//! | [`logging`] | levels, `PROG: [WARNING] text`, syslog |
//! | [`escape`] | text from elsewhere, made harmless for terminals and logs |
//! | [`words`] | events of the log in words |
//! | [`options`] | command lines on argh: every usual form, exit code 124 for mistakes |
//! | [`memory`] | memory of the start is given back |
//! | [`sys`] | the system calls that need unsafe code; it stands nowhere else but in [`memory`] |
//!
//! # A daemon in short
//! ```no_run
//! use albatross_driver::{argh, listener, options::Program, server::{Event, Server}, signals::Signals};
//!
//! albatross_driver::daemon_options! {
//!     /// Answers with what it was sent.
//!     struct Options {}
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     let options: Options = Program::new("echo", "1.0").parse();
//!     let log = options.common().logger("echo");
//!     let mut server = Server::new(Signals::termination()?)?;
//!     server.listen(listener::open(&options.common(), "echo", &log)?, 65536)?;
//!     let mut events = Vec::new();
//!     loop {
//!         server.poll(None, &mut events)?;
//!         for event in events.drain(..) {
//!             match event {
//!                 Event::Frame(client, payload) => server.send(client, &payload),
//!                 Event::Signal(_) => return Ok(()),
//!                 _ => {}
//!             }
//!         }
//!     }
//! }
//! ```
#![deny(unsafe_code)]

pub use argh;

pub mod clock;
pub mod connection;
pub mod escape;
pub mod lines;
pub mod listener;
pub mod logging;
pub mod memory;
pub mod notify;
pub mod options;
pub mod server;
pub mod signals;
pub mod sys;
pub mod timer;
pub mod upstream;
pub mod words;
