//! The albatross programs as separate processes: built, started on directories of their own, asked, watched
//! and ended.
//!
//! The end-to-end tests (`tests/`), the tests of single daemons and `cargo xtask quickstart` and `measure` stand on it.
//! Nothing waits a fixed time: [`eventually`] looks again until a deadline. Nothing is shared between two [`Host`]s, so
//! that any number of tests may run at once.
//!
//! | module | what it is for |
//! |---|---|
//! | [`programs`] | builds the programs and the guests, once per process, and says where they are |
//! | [`host`] | a host: directories, the daemons on them, a client |
//! | [`pki`] | a directory with certificates, made by the client as a user would |
//! | [`console`] | what a console has recorded |
//! | [`run`] | one program from start to end, with a deadline |
//! | [`daemon`] | one daemon: its log, its memory, its end |
//! | [`raw`] | octets on a daemon's socket, for what no client sends |
//! | [`played`] | a statistics daemon that a test plays |
//! | [`frames`], [`guest`] | a subscriber and a guest that are faster than real ones |
//! | [`day`] | a day of a console daemon at speed |
//! | [`processes`] | what runs, read from /proc |
//! | [`attempt`] | what a process tries that has given things up |

mod ask;
pub mod attempt;
pub mod console;
pub mod daemon;
pub mod day;
mod failure;
pub mod frames;
pub mod guest;
pub mod host;
pub mod pki;
pub mod played;
pub mod processes;
pub mod programs;
pub mod raw;
pub mod run;

pub use daemon::Daemon;
pub use failure::Failure;
pub use host::Host;
pub use pki::Pki;
pub use programs::{Profile, Programs};
pub use run::{Finished, PATIENCE, eventually};
