//! Log lines: `PROG: [WARNING] text` on standard output, or syslog.
//!
//! Results and log lines share standard output, as users of albatross are used to; usage errors go to
//! standard error. Daemons log to standard output too, which systemd passes to the journal, or with
//! `--syslog` to /dev/log only. Control characters in a text are escaped, so that one message is one
//! line whatever a peer put into a name.
//!
//! A log line is worth less than the service: what cannot be written is dropped, and syslog is never
//! waited for.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{self, ExitCode};
use std::str::FromStr;

use albatross_core::machine;

use crate::escape;
use crate::options::EXIT_INTERNAL;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As a limit: nothing is logged. No message has this level.
    Quiet,
    /// Something that was asked for could not be done.
    Error,
    /// Something is not as it should be.
    Warning,
    /// What happens.
    Info,
    /// What happens, in detail.
    Debug,
}

impl From<machine::Level> for Level {
    fn from(level: machine::Level) -> Self {
        match level {
            machine::Level::Error => Self::Error,
            machine::Level::Warning => Self::Warning,
            machine::Level::Info => Self::Info,
            machine::Level::Debug => Self::Debug,
        }
    }
}

impl Level {
    /// What the options ask for: `--quiet` wins over `--verbosity`, that over `--verbose`, of which the
    /// first is [`Level::Info`] and the second [`Level::Debug`]; [`Level::Warning`] without any.
    #[must_use]
    pub fn from_options(quiet: bool, verbosity: Option<Self>, verbose: u8) -> Self {
        match (quiet, verbosity, verbose) {
            (true, _, _) => Self::Quiet,
            (false, Some(level), _) => level,
            (false, None, 0) => Self::Warning,
            (false, None, 1) => Self::Info,
            (false, None, _) => Self::Debug,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Quiet => "QUIET",
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }

    /// The colour on a terminal, as the number of the SGR sequence.
    const fn colour(self) -> u8 {
        match self {
            Self::Quiet | Self::Error => 31,
            Self::Warning => 33,
            Self::Info => 34,
            Self::Debug => 32,
        }
    }

    /// RFC 3164 section 4.1.1: facility daemon (3) times 8 and the severity.
    const fn syslog_priority(self) -> u8 {
        let severity = match self {
            Self::Quiet | Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        };
        3 * 8 + severity
    }
}

impl FromStr for Level {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "quiet" => Ok(Self::Quiet),
            "error" => Ok(Self::Error),
            "warning" => Ok(Self::Warning),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err("the levels are quiet, error, warning, info, debug"),
        }
    }
}

/// When log lines are coloured (`--color`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// Where standard output is a terminal that can.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl FromStr for Color {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("the choices are auto, always, never"),
        }
    }
}

/// Writes log lines.
#[derive(Debug)]
pub struct Logger {
    program: String,
    limit: Level,
    color: bool,
    // None: standard output.
    syslog: Option<RefCell<Syslog>>,
}

impl Logger {
    /// A logger to standard output of what is at least as important as `limit`.
    #[must_use]
    pub fn new(program: &str, limit: Level, color: Color) -> Self {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
            }
        };
        Self { program: program.to_owned(), limit, color, syslog: None }
    }

    /// The same, to syslog.
    #[must_use]
    pub fn with_syslog(self) -> Self {
        Self { syslog: Some(RefCell::new(Syslog { socket: None })), ..self }
    }

    /// Whether messages of `level` are written; for those whose text is costly to make.
    #[must_use]
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.limit
    }

    /// Something that was asked for could not be done.
    pub fn error(&self, text: impl Display) {
        self.log(Level::Error, text);
    }

    /// Something is not as it should be.
    pub fn warning(&self, text: impl Display) {
        self.log(Level::Warning, text);
    }

    /// What happens.
    pub fn info(&self, text: impl Display) {
        self.log(Level::Info, text);
    }

    /// What happens, in detail.
    pub fn debug(&self, text: impl Display) {
        self.log(Level::Debug, text);
    }

    /// The exit code of a daemon that came to its end in this way; an error is logged.
    #[must_use]
    pub fn end(&self, result: Result<(), impl Display>) -> ExitCode {
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                self.error(error);
                ExitCode::from(u8::try_from(EXIT_INTERNAL).unwrap_or(1))
            }
        }
    }

    /// A message of any level.
    pub fn log(&self, level: Level, text: impl Display) {
        if !self.enabled(level) {
            return;
        }
        match &self.syslog {
            Some(syslog) => syslog.borrow_mut().send(&self.syslog_line(level, text)),
            // One write for one line, so that lines of several processes do not mix.
            None => _ = std::io::stdout().write_all(self.line(level, text).as_bytes()),
        }
    }

    fn line(&self, level: Level, text: impl Display) -> String {
        let (program, label, text) = (&self.program, level.label(), escape::line(text));
        if self.color {
            format!("{program}: [\x1b[{}m{label}\x1b[0m] {text}\n", level.colour())
        } else {
            format!("{program}: [{label}] {text}\n")
        }
    }

    /// Without a time: the receiver sets it.
    fn syslog_line(&self, level: Level, text: impl Display) -> String {
        let (program, priority, process) = (&self.program, level.syslog_priority(), process::id());
        format!("<{priority}>{program}[{process}]: [{}] {}", level.label(), escape::line(text))
    }
}

#[derive(Debug)]
struct Syslog {
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// Sends `line`; where syslog was restarted, over a new socket.
    fn send(&mut self, line: &str) {
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = Self::connect().ok();
            }
            let Some(socket) = &self.socket else { return };
            match socket.send(line.as_bytes()) {
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => self.socket = None,
                _ => return,
            }
        }
    }

    fn connect() -> std::io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect("/dev/log")?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_choose_the_level() {
        assert_eq!(Level::from_options(false, None, 0), Level::Warning);
        assert_eq!(Level::from_options(false, None, 1), Level::Info);
        assert_eq!(Level::from_options(false, None, 7), Level::Debug);
        assert_eq!(Level::from_options(false, Some(Level::Error), 2), Level::Error);
        assert_eq!(Level::from_options(true, Some(Level::Debug), 2), Level::Quiet);
        assert_eq!("info".parse(), Ok(Level::Info));
        assert!("loud".parse::<Level>().is_err());
    }

    #[test]
    fn lines_name_the_program_and_hold_no_control_characters() {
        let plain = Logger::new("prog", Level::Info, Color::Never);
        assert!(plain.enabled(Level::Info) && !plain.enabled(Level::Debug));
        assert_eq!(plain.line(Level::Warning, "a\nb"), "prog: [WARNING] a\\nb\n");
        let colored = Logger::new("prog", Level::Quiet, Color::Always);
        assert!(!colored.enabled(Level::Error));
        assert_eq!(colored.line(Level::Error, "x"), "prog: [\x1b[31mERROR\x1b[0m] x\n");
        let line = plain.syslog_line(Level::Error, "\x1b");
        assert_eq!(line, format!("<27>prog[{}]: [ERROR] \\x1b", process::id()));
    }
}
