//! Puts the words of a command line into the order and form that argh reads.
//!
//! The result is, for each level of commands, its options as `--long value`, then the name of the next
//! level; last `--` and the positionals, so that nothing in them is taken for an option or for `help`.

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind};

use super::{Aliases, similar};

/// What a command line is about.
#[derive(Debug)]
pub(super) enum Normal {
    /// These words, for argh.
    Words(Vec<String>),
    /// `--version`.
    Version,
}

/// What is wrong with a command line.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The subcommands before it.
    pub(super) commands: Vec<String>,
    pub(super) text: String,
}

pub(super) fn normalise(
    info: &CommandInfoWithArgs,
    aliases: Aliases,
    words: Vec<String>,
) -> Result<Normal, Mistake> {
    let mut reader = Reader {
        top: Level { info, options: Vec::new() },
        inner: Vec::new(),
        aliases,
        positionals: Vec::new(),
        special: None,
    };
    reader.read(words).map_err(|text| Mistake { commands: reader.commands().collect(), text })?;
    Ok(reader.finish())
}

/// A command and the options given to it.
struct Level<'a> {
    info: &'a CommandInfoWithArgs,
    options: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    Help,
    Version,
}

/// How an option is to be understood.
enum Found<'a> {
    /// An option of the level with this index (0 is the program).
    Flag {
        level: usize,
        long: &'a str,
        takes_value: bool,
    },
    Special(Special),
}

struct Reader<'a> {
    top: Level<'a>,
    inner: Vec<Level<'a>>,
    aliases: Aliases,
    positionals: Vec<String>,
    special: Option<Special>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, words: Vec<String>) -> Result<(), String> {
        let mut words = words.into_iter();
        let mut options_ended = false;
        while let Some(word) = words.next() {
            if options_ended || word == "-" || !word.starts_with('-') {
                self.positional(word)?;
            } else if word == "--" {
                options_ended = true;
            } else if word.starts_with("--") {
                self.long(&word, &mut words)?;
            } else {
                self.short(&word, &mut words)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Normal {
        if self.special == Some(Special::Version) {
            return Normal::Version;
        }
        let help = self.special == Some(Special::Help);
        let mut out = if help { Vec::new() } else { self.top.options };
        for level in self.inner {
            out.push(level.info.name.to_owned());
            if !help {
                out.extend(level.options);
            }
        }
        if help {
            out.push("--help".to_owned());
        } else if !self.positionals.is_empty() {
            out.push("--".to_owned());
            out.extend(self.positionals);
        }
        Normal::Words(out)
    }

    fn commands(&self) -> impl Iterator<Item = String> {
        self.inner.iter().map(|level| level.info.name.to_owned())
    }

    fn current(&self) -> &'a CommandInfoWithArgs {
        self.inner.last().map_or(self.top.info, |level| level.info)
    }

    /// The name of a subcommand, or a positional where the command has none.
    fn positional(&mut self, word: String) -> Result<(), String> {
        let current = self.current();
        if current.commands.is_empty() {
            self.positionals.push(word);
            return Ok(());
        }
        let name = word.replace('_', "-");
        if let Some(command) = current.commands.iter().find(|command| command.name == name) {
            self.inner.push(Level { info: &command.command, options: Vec::new() });
        } else if word == "help" {
            self.special = Some(Special::Help);
        } else {
            let known: Vec<&str> = current.commands.iter().map(|command| command.name).collect();
            return Err(match similar::closest(&name, known.iter().copied()) {
                Some(meant) => format!("there is no command '{word}', did you mean '{meant}'?"),
                None => format!("there is no command '{word}', there are {}", known.join(", ")),
            });
        }
        Ok(())
    }

    /// `--name`, `--name value`, `--name=value`.
    fn long(&mut self, word: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
        match self.find_long(name).ok_or_else(|| self.unknown_long(name))? {
            Found::Special(special) => self.special = self.special.or(Some(special)),
            Found::Flag { level, long, takes_value: true } => {
                let value = value.or_else(|| rest.next()).ok_or_else(|| needs_value(name))?;
                self.give(level, long, Some(value));
            }
            Found::Flag { level, long, takes_value: false } => match value {
                Some(_) => return Err(format!("option '{name}' takes no value")),
                None => self.give(level, long, None),
            },
        }
        Ok(())
    }

    /// `-n value`, `-nvalue`, `-v`, `-vv`, `-vn value`.
    fn short(&mut self, word: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let mut letters = word.chars();
        letters.next();
        while let Some(letter) = letters.next() {
            let name = format!("-{letter}");
            match self.find_short(letter).ok_or_else(|| unknown(&name))? {
                Found::Special(special) => self.special = self.special.or(Some(special)),
                Found::Flag { level, long, takes_value: false } => self.give(level, long, None),
                Found::Flag { level, long, takes_value: true } => {
                    let attached = letters.as_str();
                    let attached = (!attached.is_empty()).then(|| attached.to_owned());
                    let value = attached.or_else(|| rest.next()).ok_or_else(|| needs_value(&name))?;
                    self.give(level, long, Some(value));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn give(&mut self, level: usize, long: &str, value: Option<String>) {
        let level = match level.checked_sub(1) {
            None => Some(&mut self.top),
            Some(inner) => self.inner.get_mut(inner),
        };
        if let Some(level) = level {
            level.options.push(long.to_owned());
            level.options.extend(value);
        }
    }

    fn find_long(&self, name: &str) -> Option<Found<'a>> {
        let aliased = || self.aliases.iter().filter(|(alias, _)| *alias == name);
        self.find(|flag| flag.long == name)
            .or_else(|| aliased().find_map(|(_, target)| self.find(|flag| flag.long == *target)))
            .or(match name {
                "--help" => Some(Found::Special(Special::Help)),
                "--version" => Some(Found::Special(Special::Version)),
                _ => None,
            })
    }

    /// What is said of an option that is not there, with the one that may have been meant.
    fn unknown_long(&self, name: &str) -> String {
        let levels = std::iter::once(self.top.info).chain(self.inner.iter().map(|level| level.info));
        let long = levels.flat_map(|info| info.flags.iter().map(|flag| flag.long));
        let aliased =
            self.aliases.iter().filter(|(_, target)| self.find(|flag| flag.long == *target).is_some());
        let known = long.chain(aliased.map(|(alias, _)| *alias)).chain(["--version"]);
        match similar::closest(name, known) {
            Some(meant) => format!("{}, did you mean '{meant}'?", unknown(name)),
            None => unknown(name),
        }
    }

    fn find_short(&self, letter: char) -> Option<Found<'a>> {
        self.find(|flag| flag.short == Some(letter))
            .or_else(|| (letter == 'h').then_some(Found::Special(Special::Help)))
    }

    /// The option of the innermost command that has it.
    fn find(&self, is_it: impl Fn(&FlagInfo<'_>) -> bool) -> Option<Found<'a>> {
        let levels = std::iter::once(self.top.info).chain(self.inner.iter().map(|level| level.info));
        let mut found = None;
        for (level, info) in levels.enumerate() {
            // argh lists a --help of its own for every command.
            let own = |flag: &&FlagInfo<'_>| flag.long != "--help" && is_it(flag);
            if let Some(flag) = info.flags.iter().find(own) {
                let takes_value = matches!(flag.kind, FlagInfoKind::Option { .. });
                found = Some(Found::Flag { level, long: flag.long, takes_value });
            }
        }
        found
    }
}

fn unknown(name: &str) -> String {
    format!("unknown option '{name}'")
}

fn needs_value(name: &str) -> String {
    format!("option '{name}' needs a value")
}
