//! Completions are typed into their shells, where these are installed; the page goes through what shows it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("skipped: {program} is not installed");
    }
    found.is_ok()
}

fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path()).unwrap();
    folder
}

/// What bash offers after `line`.
fn offered(folder: &Path, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let script = format!(
        "source bash-completion/completions/albatross-client\n\
         COMP_WORDS=({}); COMP_CWORD={}; _albatross_client; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).current_dir(folder).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = written();
    let offered = |line: &str| offered(folder.path(), line);
    assert_eq!(offered("albatross-client cre"), ["create", "create-block"]);
    assert_eq!(offered("albatross-client --json -d host inf"), ["info"]);
    assert_eq!(offered("albatross-client create --by"), ["--by-digest"]);
    assert_eq!(offered("albatross-client add_policy a 1 --net"), ["--network"]);
    assert_eq!(offered("albatross-client add-policy a 1 --bri"), ["--bridge"]);
    assert_eq!(offered("albatross-client info --dest"), ["--destination"]);
    assert_eq!(offered("albatross-client info --block"), Vec::<String>::new());
    assert_eq!(offered("albatross-client generate --key-type p"), ["p256", "p384", "p521"]);
    assert_eq!(offered("albatross-client generate --key-type = ed"), ["ed25519"]);
    assert_eq!(offered("albatross-client --verbosity w"), ["warning"]);
    assert_eq!(offered("albatross-client revoke a b c d --reason key"), ["key-compromise"]);
    // Files where a file is meant, and only there.
    fs::create_dir(folder.path().join("manual")).unwrap();
    assert_eq!(offered("albatross-client sign man"), ["man", "manual"]);
    assert_eq!(offered("albatross-client create name man"), ["man", "manual"]);
    assert_eq!(offered("albatross-client create man"), Vec::<String>::new());
    assert_eq!(offered("albatross-client --ca man"), ["man", "manual"]);
    // Every command, and none that is not there.
    let commands: Vec<String> = Model::of_client().commands.into_iter().map(|it| it.name).collect();
    assert_eq!(offered("albatross-client "), commands);
}

#[test]
fn the_scripts_are_read_by_their_shells() {
    let folder = written();
    for (shell, file) in [
        ("bash", "bash-completion/completions/albatross-client"),
        ("zsh", "zsh/site-functions/_albatross-client"),
        ("fish", "fish/vendor_completions.d/albatross-client.fish"),
    ] {
        if is_there(shell) {
            let output = Command::new(shell).arg("-n").arg(folder.path().join(file)).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        }
    }
    if is_there("fish") {
        let script = "source fish/vendor_completions.d/albatross-client.fish; \
                      complete -C 'albatross-client cre'; complete -C 'albatross-client create --by'; \
                      complete -C 'albatross-client generate --key-type p5'";
        let output = Command::new("fish")
            .args(["--no-config", "-c", script])
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        for word in ["create\t", "create-block\t", "--by-digest\t", "p521"] {
            assert!(text.contains(word), "{word}: {text} {output:?}");
        }
    }
}

#[test]
fn the_manual_says_everything_and_is_well_formed() {
    let folder = written();
    let page = folder.path().join("man/man1/albatross-client.1");
    let text = fs::read_to_string(&page).unwrap();
    let model = Model::of_client();
    for command in &model.commands {
        assert!(text.contains(&format!(".SS {}", command.name.replace('-', "\\-"))), "{}", command.name);
    }
    if is_there("mandoc") {
        let output =
            Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    if is_there("man") {
        let output = Command::new("man")
            .args(["--warnings=w", "-l"])
            .arg(&page)
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let shown = String::from_utf8_lossy(&output.stdout);
        for word in ["--compression-level", "inspect-dump", "117", "albatross-provision-ca"] {
            assert!(shown.contains(word), "{word}");
        }
    }
}
