//! The options that every daemon has.

use std::path::PathBuf;

use crate::logging::{Color, Level, Logger};

/// Where sockets, fifos and the images of running unikernels are.
pub const DEFAULT_TMPDIR: &str = "/run/albatross";

/// What the common options of a daemon say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Where sockets, fifos and the images of running unikernels are.
    pub tmpdir: PathBuf,
    /// Serve the socket that systemd passes instead of making one.
    pub systemd_socket_activation: bool,
    /// How much is logged.
    pub level: Level,
    /// When log lines are coloured.
    pub color: Color,
    /// Log to syslog instead of standard output.
    pub syslog: bool,
}

impl Common {
    /// The logger that these options ask for.
    #[must_use]
    pub fn logger(&self, program: &str) -> Logger {
        let logger = Logger::new(program, self.level, self.color);
        if self.syslog { logger.with_syslog() } else { logger }
    }
}

/// Declares the struct of a daemon's options: its own fields, written as for argh, and the common ones.
/// The struct gets a method `common()` that returns [`Common`].
///
/// The crate that uses it has `argh` in scope (`use albatross_driver::argh;`).
#[macro_export]
macro_rules! daemon_options {
    (
        $(#[$($meta:tt)*])*
        $visibility:vis struct $name:ident {
            $($(#[$($field_meta:tt)*])* $field_visibility:vis $field:ident : $type:ident $(<$parameter:ident>)?),* $(,)?
        }
    ) => {
        $(#[$($meta)*])*
        #[derive(Debug, argh::FromArgs, argh::ArgsInfo)]
        $visibility struct $name {
            $($(#[$($field_meta)*])* $field_visibility $field: $type $(<$parameter>)?,)*
            /// directory of sockets, fifos and running images (/run/albatross)
            #[argh(option, arg_name = "DIR")]
            tmpdir: Option<std::path::PathBuf>,
            /// serve the socket that systemd passes
            #[argh(switch)]
            systemd_socket_activation: bool,
            /// log more: once what happens, twice in detail
            #[argh(switch, short = 'v')]
            verbose: u8,
            /// log nothing
            #[argh(switch, short = 'q')]
            quiet: bool,
            /// what is logged: quiet, error, warning, info, debug (warning)
            #[argh(option, arg_name = "LEVEL")]
            verbosity: Option<$crate::logging::Level>,
            /// colour in log lines: auto, always, never (auto)
            #[argh(option, arg_name = "WHEN", default = "Default::default()")]
            color: $crate::logging::Color,
            /// log to syslog
            #[argh(switch)]
            syslog: bool,
        }

        impl $name {
            /// What the options common to all daemons say.
            fn common(&self) -> $crate::options::Common {
                let default = || $crate::options::DEFAULT_TMPDIR.into();
                $crate::options::Common {
                    tmpdir: self.tmpdir.clone().unwrap_or_else(default),
                    systemd_socket_activation: self.systemd_socket_activation,
                    level: $crate::logging::Level::from_options(self.quiet, self.verbosity, self.verbose),
                    color: self.color,
                    syslog: self.syslog,
                }
            }
        }
    };
}
