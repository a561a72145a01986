//! Results on standard output, for people: `host [unikernel: NAME]: RESULT`.
//!
//! What a guest or a server wrote is escaped. Arguments of unikernels, which may be secrets, are shown at
//! level debug only; with `--json` too.

mod values;

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};
use std::path::Path;

use albatross_driver::escape;
use albatross_driver::logging::Level;
use albatross_driver::words::Words;
use albatross_proto::reply::{Info, Status};
use albatross_proto::{Config, Data, Name, Policy, Success, Text};
use serde_json::Value;

use crate::error::Error;
use crate::json;
use values::{Shown, shown};

pub(crate) use values::hex;

/// Prints results.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    arguments: bool,
}

impl Printer {
    /// A printer of text, or of JSON, one object a line.
    pub(crate) fn new(json: bool, level: Level) -> Self {
        Self { json, arguments: level >= Level::Debug }
    }

    /// The reply to a command that was carried out.
    pub(crate) fn success(&self, name: &Name, success: &Success<'_>) -> Result<(), Error> {
        let mut out = String::new();
        if self.json {
            for object in json::success(name, success, self.arguments) {
                // Writing to a String does not fail, here and below.
                _ = writeln!(out, "{object}");
            }
        } else {
            for line in self.lines(success) {
                _ = writeln!(out, "{}{line}", Host(name));
            }
        }
        self.raw(&out)
    }

    /// The reply to a command that was not carried out.
    pub(crate) fn failure(&self, name: &Name, text: &Text) -> Result<(), Error> {
        self.line(|| json::failure(name, text), || format!("{}command failed {}", Host(name), shown(text)))
    }

    /// What a subscriber receives.
    pub(crate) fn data(&self, name: &Name, data: &Data<'_>) -> Result<(), Error> {
        if self.json {
            return json::data(name, data).map_or(Ok(()), |object| self.raw(&format!("{object}\n")));
        }
        match data {
            Data::Console { timestamp, line } => {
                self.raw(&format!("console {timestamp}: {}\n", escape::bytes(line)))
            }
            Data::Statistics(statistics) => self.raw(&format!("{}{}\n", Host(name), Shown(&**statistics))),
            Data::Log(entry) => {
                self.raw(&format!("log {} {name}: {}\n", entry.timestamp, Words(&entry.event)))
            }
            Data::Block(_) => Ok(()),
        }
    }

    /// A file that was written with what came from the server.
    pub(crate) fn written(&self, name: &Name, path: &Path) -> Result<(), Error> {
        self.line(
            || json::written(Some(name), path),
            || format!("{}written to {}", Host(name), escape::line(path.display())),
        )
    }

    /// A file that was written.
    pub(crate) fn file(&self, path: &Path) -> Result<(), Error> {
        self.line(|| json::written(None, path), || format!("written {}", escape::line(path.display())))
    }

    /// One line, or one object.
    fn line(&self, object: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Error> {
        let mut out = if self.json { object().to_string() } else { text() };
        out.push('\n');
        self.raw(&out)
    }

    /// Text of our own that is complete with its line ends.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// Unikernels that run, and what is on record beside them.
    pub(crate) fn unikernels(
        &self,
        name: &Name,
        running: &Success<'_>,
        statuses: &[(Name, Status)],
    ) -> Result<(), Error> {
        let mut out = String::new();
        if self.json {
            for object in json::unikernels(name, running, statuses, self.arguments) {
                _ = writeln!(out, "{object}");
            }
            return self.raw(&out);
        }
        let none = Vec::new();
        let list = match running {
            Success::Info(list) | Success::InfoV5(list) | Success::InfoV4(list) => list,
            _ => &none,
        };
        for (at, info) in list {
            let status = status_of(statuses, at).map(|status| format!(" {}", Shown(status)));
            _ = writeln!(out, "{}{at} {}{}", Host(name), self.info(info), status.unwrap_or_default());
        }
        for (at, status) in statuses {
            if !list.iter().any(|(running, _)| running == at) {
                _ = writeln!(out, "{}{at} {}", Host(name), Shown(status));
            }
        }
        if out.is_empty() {
            _ = writeln!(out, "{}no unikernels", Host(name));
        }
        self.raw(&out)
    }

    /// Something to be said about a unikernel.
    pub(crate) fn note(&self, name: &Name, text: &str) -> Result<(), Error> {
        self.line(|| json::note(name, text), || format!("{}{text}", Host(name)))
    }

    /// A certificate that was revoked.
    pub(crate) fn revoked(&self, serial: &str, name: Option<&str>) -> Result<(), Error> {
        self.line(|| json::revoked(serial, name), || format!("revoked {serial} {}", name.unwrap_or_default()))
    }

    /// A unikernel in a file of the daemon's.
    pub(crate) fn recorded(
        &self,
        name: &Name,
        config: &Config<'_>,
        elsewhere: Option<&[u8; 32]>,
    ) -> Result<(), Error> {
        self.entry(name, config, elsewhere, self.arguments)
    }

    /// The same of one whose image was written to a file: with its arguments.
    pub(crate) fn extracted(
        &self,
        name: &Name,
        config: &Config<'_>,
        elsewhere: Option<&[u8; 32]>,
    ) -> Result<(), Error> {
        self.entry(name, config, elsewhere, true)
    }

    fn entry(
        &self,
        name: &Name,
        config: &Config<'_>,
        elsewhere: Option<&[u8; 32]>,
        arguments: bool,
    ) -> Result<(), Error> {
        self.line(
            || json::recorded(name, config, elsewhere, arguments),
            || format!("unikernel {name}: {}", recorded(config, elsewhere, arguments)),
        )
    }

    /// A policy in a file of the daemon's.
    pub(crate) fn recorded_policy(&self, name: &Name, policy: &Policy) -> Result<(), Error> {
        self.line(|| json::recorded_policy(name, policy), || format!("{name} {}", Shown(policy)))
    }

    fn lines(&self, success: &Success<'_>) -> Vec<String> {
        match success {
            Success::Empty => vec!["done".to_owned()],
            Success::Text(text) => vec![shown(text)],
            Success::Policies(list) => named(list, "no policies", |policy| Shown(policy).to_string()),
            Success::BlockDevices(list) => named(list, "no block devices", |info| Shown(info).to_string()),
            Success::InfoV4(list) | Success::InfoV5(list) | Success::Info(list) => {
                named(list, "no unikernels", |info| self.info(info))
            }
            Success::Consoles(names) if names.is_empty() => vec!["no inactive consoles".to_owned()],
            Success::Consoles(names) => names.iter().map(|name| format!("console {name}")).collect(),
            Success::UnikernelImage { image, .. } | Success::BlockDeviceImageOld { image, .. } => {
                vec![format!("image of {} octets", image.len())]
            }
            Success::BlockDeviceImage { .. } => vec!["block device".to_owned()],
            Success::Status(list) => named(list, "no unikernels", |status| Shown(status).to_string()),
        }
    }

    fn info(&self, info: &Info) -> String {
        let mut text = Shown(info).to_string();
        if self.arguments {
            push_arguments(&mut text, info.argv.as_deref());
        }
        text
    }
}

/// A unikernel in a file; its image may be elsewhere, by this digest.
fn recorded(config: &Config<'_>, elsewhere: Option<&[u8; 32]>, arguments: bool) -> String {
    let mut text = Shown(config).to_string();
    match elsewhere {
        Some(sha256) => _ = write!(text, " digest {}", hex(sha256)),
        None => {
            let form = if config.compressed { " compressed" } else { "" };
            _ = write!(text, " image of {} octets{form}", config.image.len());
        }
    }
    if arguments {
        push_arguments(&mut text, config.arguments.argv.as_deref());
    }
    text
}

fn push_arguments(text: &mut String, argv: Option<&[Text]>) {
    let arguments = argv.unwrap_or_default().iter().map(shown).collect::<Vec<_>>();
    _ = write!(text, " arguments [{}]", arguments.join(" "));
}

/// The status of `name`.
fn status_of<'a>(statuses: &'a [(Name, Status)], name: &Name) -> Option<&'a Status> {
    statuses.iter().find(|(other, _)| other == name).map(|(_, status)| status)
}

fn named<T>(list: &[(Name, T)], none: &str, show: impl Fn(&T) -> String) -> Vec<String> {
    if list.is_empty() {
        return vec![none.to_owned()];
    }
    list.iter().map(|(name, value)| format!("{name} {}", show(value))).collect()
}

/// What goes before each result.
struct Host<'a>(&'a Name);

impl Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host [unikernel: {}]: ", self.0)
    }
}
