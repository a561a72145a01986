//! Events of the log in words, as the client and the log daemon print them.

use std::fmt::{self, Display};

use albatross_proto::log::{Event, Session};
use albatross_proto::reply::Exit;

use crate::escape;

/// An event in words, without control characters.
#[derive(Clone, Copy, Debug)]
pub struct Words<T>(pub T);

impl Display for Words<&Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::DaemonStarted => f.write_str("albatrossd started"),
            Event::Login(session) => write!(f, "login {}", Words(session)),
            Event::Logout(session) => write!(f, "logout {}", Words(session)),
            Event::Command { command, failure: None } => {
                write!(f, "{} done", escape::bytes(command.as_bytes()))
            }
            Event::Command { command, failure: Some(why) } => {
                let [command, why] = [command, why].map(|text| escape::bytes(text.as_bytes()));
                write!(f, "{command} failed: {why}")
            }
            Event::UnikernelStarted(pid) => write!(f, "started, pid {pid}"),
            Event::UnikernelStopped { pid, exit: Some(exit) } => {
                write!(f, "pid {pid} ended by {}", Words(*exit))
            }
            Event::UnikernelStopped { pid, exit: None } => write!(f, "pid {pid} ended, how is not known"),
        }
    }
}

impl Display for Words<&Session> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} serial ", escape::bytes(self.0.address.as_bytes()))?;
        self.0.serial.as_bytes().iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Display for Words<Exit> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Exited(code) => write!(f, "exit {code}"),
            Exit::Signalled(signal) => write!(f, "signal {signal}"),
            Exit::Stopped(signal) => write!(f, "stop by signal {signal}"),
        }
    }
}
