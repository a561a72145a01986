//! Command lines, on argh.
//!
//! argh alone knows `--opt value`, repeats and subcommands. [`Program`] puts every usual form into the one
//! that argh reads, led by what argh itself knows about the command (`ArgsInfo`):
//! `--opt=value`, `-n foo`, `-nfoo`, `-vv`, options before and after positionals, options of the program
//! after the subcommand, `--`, second names of options, subcommands written with `_` for `-`. The argument
//! after an option that takes a value is its value, whatever it looks like. There are no abbreviations.
//!
//! `--help` goes to standard output with exit code 0, `--version` as well; a mistake goes to standard
//! error with exit code 124 ([`EXIT_USAGE`]).

mod daemon;
mod normal;
mod similar;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io::Write;

use argh::{ArgsInfo, FromArgs};

pub use daemon::{Common, DEFAULT_TMPDIR};
use normal::Normal;

/// The exit code for a mistake on the command line.
pub const EXIT_USAGE: i32 = 124;

/// The exit code for a mistake in the program or of the system.
pub const EXIT_INTERNAL: i32 = 125;

/// Second names of options: `("--size", "--block")` lets `--size` stand for `--block` in commands that
/// have `--block` and no `--size` of their own.
pub type Aliases = &'static [(&'static str, &'static str)];

/// A program, for reading its command line.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    name: &'static str,
    version: &'static str,
    aliases: Aliases,
}

/// What to do in place of the program's work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Early {
    /// Print this help, or the version, and end with exit code 0.
    Print(String),
    /// The command line cannot be understood; this says why and how to get help.
    Usage(String),
}

impl fmt::Display for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Print(text) | Self::Usage(text) => f.write_str(text),
        }
    }
}

impl Early {
    /// Prints it to where it belongs and ends the process.
    pub fn exit(self) -> ! {
        // Who closes the output has read enough.
        match self {
            Self::Print(text) => {
                _ = writeln!(std::io::stdout(), "{}", text.trim_end());
                std::process::exit(0)
            }
            Self::Usage(text) => {
                _ = writeln!(std::io::stderr(), "{}", text.trim_end());
                std::process::exit(EXIT_USAGE)
            }
        }
    }
}

impl Program {
    /// The program `name`.
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, aliases: &[] }
    }

    /// The same with second names for options.
    #[must_use]
    pub const fn with_aliases(self, aliases: Aliases) -> Self {
        Self { aliases, ..self }
    }

    /// The options from this process's command line. Where they cannot be had (or help is wanted), it
    /// says so and ends the process.
    #[must_use]
    pub fn parse<T: FromArgs + ArgsInfo>(&self) -> T {
        self.try_parse(std::env::args_os().skip(1)).unwrap_or_else(|early| early.exit())
    }

    /// The options from `arguments`, which do not contain the program's name.
    ///
    /// # Errors
    /// [`Early`], where help or the version is wanted or the command line cannot be understood.
    pub fn try_parse<T: FromArgs + ArgsInfo>(
        &self,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<T, Early> {
        let mut words = Vec::new();
        for argument in arguments {
            let word = argument.into_string().map_err(|argument| {
                self.usage(&[], &format!("argument '{}' is not UTF-8", argument.to_string_lossy()))
            })?;
            words.push(word);
        }
        let info = T::get_args_info();
        let words = match normal::normalise(&info, self.aliases, words) {
            Ok(Normal::Words(words)) => words,
            Ok(Normal::Version) => return Err(Early::Print(format!("{} {}", self.name, self.version))),
            Err(mistake) => return Err(self.usage(&mistake.commands, &mistake.text)),
        };
        let borrowed: Vec<&str> = words.iter().map(String::as_str).collect();
        T::from_args(&[self.name], &borrowed).map_err(|exit| match exit.status {
            Ok(()) => Early::Print(exit.output),
            Err(()) => self.usage(&[], &exit.output),
        })
    }

    /// A mistake that shows only after parsing, for example two options that exclude each other.
    #[must_use]
    pub fn mistake(&self, text: &str) -> Early {
        self.usage(&[], text)
    }

    fn usage(&self, commands: &[String], text: &str) -> Early {
        let program = self.name;
        let words: String = commands.iter().flat_map(|command| [" ", command]).collect();
        Early::Usage(format!(
            "{program}: {}\nTry '{program}{words} --help'.",
            crate::escape::line(Lines(text.trim_end()))
        ))
    }
}

/// Several lines as one, for argh's lists of what is missing.
struct Lines<'a>(&'a str);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.lines().map(str::trim).filter(|part| !part.is_empty()).enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}
