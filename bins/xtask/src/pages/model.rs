//! What the command line of the client has, in the form that completions and manual need.

use albatross_client::{command_line, exit_codes, older_programs};
use albatross_driver::argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};
use albatross_driver::options::Aliases;

/// The program that has no commands, only positionals.
const WITHOUT_COMMANDS: &str = "albatross-client-remote-tls";

pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) description: String,
    /// Options that stand for the whole program, before or after the command.
    pub(super) options: Vec<Flag>,
    pub(super) commands: Vec<Command>,
    pub(super) exit_codes: Vec<(u8, &'static str)>,
    pub(super) older: Vec<(&'static str, &'static str)>,
}

pub(super) struct Command {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) options: Vec<Flag>,
    pub(super) positionals: Vec<Positional>,
}

pub(super) struct Flag {
    /// With its dashes.
    pub(super) long: String,
    pub(super) short: Option<char>,
    /// Other names of it, with dashes.
    pub(super) aliases: Vec<&'static str>,
    pub(super) description: String,
    /// What it takes.
    pub(super) value: Option<Value>,
    pub(super) repeats: bool,
}

pub(super) struct Positional {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) optional: bool,
    pub(super) repeats: bool,
    pub(super) value: Value,
}

/// What a value is called, and what it may be.
pub(super) struct Value {
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// One of these.
    Choice(Vec<String>),
    /// Anything else.
    Text,
}

impl Model {
    pub(super) fn of_client() -> Self {
        let (info, aliases) = command_line();
        let commands = info.commands.iter();
        Self {
            name: "albatross-client",
            description: info.description.to_owned(),
            options: flags(&info, aliases),
            commands: commands.map(|command| Command::of(command.name, &command.command, aliases)).collect(),
            exit_codes: exit_codes().collect(),
            older: older_programs().collect(),
        }
    }

    /// Whether the program of this older name has commands.
    pub(super) fn completes(&self, name: &str) -> bool {
        name != WITHOUT_COMMANDS
    }

    /// The names of all programs with commands.
    pub(super) fn programs(&self) -> Vec<&'static str> {
        let older = self.older.iter().map(|(name, _)| *name).filter(|name| self.completes(name));
        std::iter::once(self.name).chain(older).collect()
    }
}

impl Command {
    fn of(name: &str, info: &CommandInfoWithArgs, aliases: Aliases) -> Self {
        let positionals = info.positionals.iter().map(|it| Positional {
            name: it.name.to_owned(),
            description: it.description.to_owned(),
            optional: !matches!(it.optionality, Optionality::Required),
            repeats: matches!(it.optionality, Optionality::Repeating | Optionality::Greedy),
            value: Value::of(it.name, it.description),
        });
        Self {
            name: name.to_owned(),
            description: info.description.to_owned(),
            options: flags(info, aliases),
            positionals: positionals.collect(),
        }
    }

    /// `NAME [IMAGE]`
    pub(super) fn arguments(&self) -> String {
        let shown = |it: &Positional| match (it.optional, it.repeats) {
            (_, true) => format!("[{}]..", it.name),
            (true, false) => format!("[{}]", it.name),
            (false, false) => it.name.clone(),
        };
        self.positionals.iter().map(shown).collect::<Vec<_>>().join(" ")
    }
}

impl Flag {
    fn of(flag: &FlagInfo, aliases: Aliases) -> Self {
        let others = aliases.iter().filter(|(_, target)| *target == flag.long);
        Self {
            long: flag.long.to_owned(),
            short: flag.short,
            aliases: others.map(|(alias, _)| *alias).collect(),
            description: flag.description.to_owned(),
            value: match flag.kind {
                FlagInfoKind::Option { arg_name } => Some(Value::of(arg_name, flag.description)),
                FlagInfoKind::Switch => None,
            },
            repeats: matches!(flag.optionality, Optionality::Repeating | Optionality::Greedy),
        }
    }

    /// All its names, the short one first.
    pub(super) fn names(&self) -> Vec<String> {
        let short = self.short.map(|short| format!("-{short}"));
        let others = self.aliases.iter().map(|alias| (*alias).to_owned());
        short.into_iter().chain([self.long.clone()]).chain(others).collect()
    }
}

impl Value {
    fn of(name: &str, description: &str) -> Self {
        let kind = match name {
            "DIR" => Kind::Directory,
            "FILE" | "CERT" | "KEY" | "CACERT" | "CAKEY" | "DB" | "CSR" | "CA" | "CHAIN" | "IMAGE"
            | "PATH-OF-FILE" => Kind::File,
            "KIND" | "LEVEL" | "WHEN" | "REASON" => choices(description).map_or(Kind::Text, Kind::Choice),
            _ => Kind::Text,
        };
        Self { name: name.to_owned(), kind }
    }
}

/// What `..: one, two, three (one)` lists.
fn choices(description: &str) -> Option<Vec<String>> {
    let (_, list) = description.rsplit_once(": ")?;
    let list = list.split_once(" (").map_or(list, |(list, _)| list);
    Some(list.split(", ").map(str::to_owned).collect())
}

fn flags(info: &CommandInfoWithArgs, aliases: Aliases) -> Vec<Flag> {
    let shown = info.flags.iter().filter(|flag| !flag.hidden && flag.long != "--help");
    shown.map(|flag| Flag::of(flag, aliases)).collect()
}
