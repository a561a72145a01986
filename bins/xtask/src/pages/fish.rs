//! For fish.

use super::model::{Flag, Kind, Model};

/// The script.
pub(super) fn script(model: &Model) -> String {
    let name = model.name;
    let mut out = String::from("# generated, see `cargo xtask pages`\n");
    let mut line = |text: String| out.push_str(&format!("complete -c {name} {text}\n"));
    line("-f".to_owned());
    for command in &model.commands {
        let description = quoted(&command.description);
        line(format!("-n __fish_use_subcommand -a {} -d {description}", command.name));
        let inside = format!("-n '__fish_seen_subcommand_from {}'", command.name);
        for flag in &command.options {
            line(format!("{inside} {}", option(flag)));
        }
        if command.positionals.iter().any(|it| it.value.kind == Kind::File) {
            line(format!("{inside} -F"));
        }
    }
    for flag in &model.options {
        line(option(flag));
    }
    for older in model.programs().into_iter().skip(1) {
        out.push_str(&format!("complete -c {older} -w {name}\n"));
    }
    out
}

fn option(flag: &Flag) -> String {
    let long = [flag.long.as_str()].into_iter().chain(flag.aliases.iter().copied());
    let names = long.map(|name| format!("-l {}", name.trim_start_matches('-'))).collect::<Vec<_>>().join(" ");
    let short = flag.short.map(|short| format!(" -s {short}")).unwrap_or_default();
    let value = match flag.value.as_ref().map(|value| &value.kind) {
        None => String::new(),
        Some(Kind::File) => " -r -F".to_owned(),
        Some(Kind::Directory) => " -x -a '(__fish_complete_directories)'".to_owned(),
        Some(Kind::Choice(list)) => format!(" -x -a '{}'", list.join(" ")),
        Some(Kind::Text) => " -x".to_owned(),
    };
    format!("{names}{short}{value} -d {}", quoted(&flag.description))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
