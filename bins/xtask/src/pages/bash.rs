//! For bash, with or without bash-completion.

use super::model::{Command, Flag, Kind, Model};

/// The script.
pub(super) fn script(model: &Model) -> String {
    let names = |flags: &[Flag]| flags.iter().flat_map(Flag::names).collect::<Vec<_>>().join(" ");
    let commands = model.commands.iter();
    let words: Vec<&str> = commands.clone().map(|command| command.name.as_str()).collect();
    let options: String = commands
        .clone()
        .map(|command| format!("    {}) options=\"{}\" ;;\n", command.name, names(&command.options)))
        .collect();
    let own = commands
        .clone()
        .flat_map(|command| command.options.iter().filter_map(move |flag| arm(Some(command), flag)));
    let values: String = own.chain(model.options.iter().filter_map(|flag| arm(None, flag))).collect();
    let places: String = commands.flat_map(positionals).collect();
    let programs = model.programs().join(" ");
    format!(
        r#"# bash completion for albatross-client; generated, see `cargo xtask pages`
# How a value is completed: after the option $2 of the command $1.
_albatross_client_value() {{
  case "$1 $2" in
{values}    *) return 1 ;;
  esac
}}

# How the positional number $2 of the command $1 is completed.
_albatross_client_place() {{
  case "$1 $2" in
{places}    *) echo none ;;
  esac
}}

_albatross_client() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} command="" options="" option="" value i place=0 word
  local global="{global} --help --version"
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${{COMP_WORDS[i]}}
    if [[ $word == = ]]; then
      continue
    elif [[ -n $option ]]; then
      # The value of the option before it.
      option=""
    elif [[ $word == -* ]]; then
      _albatross_client_value "$command" "$word" >/dev/null && option=$word
    elif [[ -z $command ]]; then
      command=${{word//_/-}}
    else
      place=$((place + 1))
    fi
  done
  [[ $cur == = ]] && cur=""
  if [[ -n $option ]]; then
    value=$(_albatross_client_value "$command" "$option")
  elif [[ $cur == -* ]]; then
    case "$command" in
{options}    esac
    value="$options $global"
  elif [[ -z $command ]]; then
    value="{words}"
  else
    value=$(_albatross_client_place "$command" "$place")
  fi
  case "$value" in
    none) ;;
    files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$value" -- "$cur") ;;
  esac
}}

complete -F _albatross_client {programs}
"#,
        global = names(&model.options),
        words = words.join(" "),
    )
}

/// The case of an option that takes a value, of a command or of all.
fn arm(command: Option<&Command>, flag: &Flag) -> Option<String> {
    let value = flag.value.as_ref()?;
    let command = command.map_or("*", |command| command.name.as_str());
    let patterns =
        flag.names().into_iter().map(|name| format!("\"{command} {name}\"").replace("\"* ", "*\" "));
    let patterns = patterns.collect::<Vec<_>>().join("|");
    Some(format!("    {patterns}) echo {} ;;\n", how(&value.kind)))
}

fn positionals(command: &Command) -> Vec<String> {
    let arm = |(index, it): (usize, &super::model::Positional)| {
        let index = if it.repeats { "*".to_owned() } else { index.to_string() };
        format!("    \"{} \"{index}) echo {} ;;\n", command.name, how(&it.value.kind))
    };
    command.positionals.iter().enumerate().map(arm).collect()
}

fn how(kind: &Kind) -> String {
    match kind {
        Kind::File => "files".to_owned(),
        Kind::Directory => "directories".to_owned(),
        Kind::Choice(list) => format!("\"{}\"", list.join(" ")),
        Kind::Text => "none".to_owned(),
    }
}
