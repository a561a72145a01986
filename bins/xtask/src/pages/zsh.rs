//! For zsh.

use super::model::{Command, Flag, Kind, Model};

/// The script.
pub(super) fn script(model: &Model) -> String {
    let commands = model.commands.iter();
    let list: String =
        commands.clone().map(|it| format!("    '{}:{}'\n", it.name, quoted(&it.description))).collect();
    let cases: String = commands.map(case).collect();
    let global: String = model.options.iter().map(|flag| format!("    {}\n", argument(flag))).collect();
    format!(
        "#compdef {programs}\n\
         # generated, see `cargo xtask pages`\n\
         local curcontext=\"$curcontext\" state line\n\
         typeset -A opt_args\n\
         local -a commands global\n\
         commands=(\n{list})\n\
         global=(\n{global}    '(- *)--help[say what there is]'\n    '(- *)--version[say which version this is]'\n)\n\
         _arguments -C $global '1:command:->command' '*::argument:->arguments'\n\
         case $state in\n\
         command) _describe command commands ;;\n\
         arguments)\n  case ${{words[1]//_/-}} in\n{cases}  esac ;;\n\
         esac\n",
        programs = model.programs().join(" "),
    )
}

fn case(command: &Command) -> String {
    let options = command.options.iter().map(|flag| format!(" \\\n      {}", argument(flag)));
    let positionals = command.positionals.iter().map(|it| {
        let many = if it.repeats { "*" } else { "" };
        let optional = if it.optional && !it.repeats { ":" } else { "" };
        format!(" \\\n      '{many}:{optional}{}:{}'", quoted(&it.name), how(&it.value.kind))
    });
    let all: String = options.chain(positionals).collect();
    format!("  {}) _arguments $global{all} ;;\n", command.name)
}

/// `{-p,--path}'[description]:PATH:'`
fn argument(flag: &Flag) -> String {
    let star = if flag.repeats { "\\*" } else { "" };
    let names: Vec<String> = flag
        .names()
        .into_iter()
        .map(|name| {
            let equals = if flag.value.is_none() {
                ""
            } else if name.starts_with("--") {
                "="
            } else {
                "+"
            };
            format!("{star}{name}{equals}")
        })
        .collect();
    let names = match names.as_slice() {
        [one] => one.clone(),
        several => format!("{{{}}}", several.join(",")),
    };
    let value = flag.value.as_ref().map(|value| format!(":{}:{}", quoted(&value.name), how(&value.kind)));
    format!("{names}'[{}]{}'", quoted(&flag.description), value.unwrap_or_default())
}

/// What would end a word or a description is escaped.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''").replace(':', "\\:").replace('[', "\\[").replace(']', "\\]")
}

fn how(kind: &Kind) -> String {
    match kind {
        Kind::File => "_files".to_owned(),
        Kind::Directory => "_files -/".to_owned(),
        Kind::Choice(list) => format!("({})", list.join(" ")),
        Kind::Text => " ".to_owned(),
    }
}
