//! The module for NixOS: what it makes of configurations has every unit, user and directory of `packaging`. Needs
//! nix-instantiate; and, for all but its grammar, nixpkgs or its lib where `NIX_PATH` says (`nixpkgs=FOLDER`).

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use albatross_e2e::programs::workspace;
use serde_json::Value;

/// The units that start at each boot, as the packages for Debian have it.
const BEGIN: [&str; 4] = ["albatrossd", "albatross-console", "albatross-log", "albatross-stats"];
const SOCKETS: [&str; 3] = ["albatross-console", "albatross-log", "albatross-stats"];

/// What nix-instantiate prints with these arguments; an error is what it complains about, `None` that it is not there.
fn nix(arguments: &[&str]) -> Option<Result<String, String>> {
    let mut command = Command::new("nix-instantiate");
    command
        .args(["--store", "dummy://"])
        .args(arguments)
        .current_dir(workspace().join("bins/xtask/packages"));
    let Ok(output) = command.output() else {
        eprintln!("skipped: nix-instantiate is not installed");
        return None;
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Some(if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) })
}

/// What the module makes of a configuration, `None` where that cannot be found out here.
fn evaluate(configuration: &str) -> Option<Result<Value, String>> {
    evaluate_services(&format!("{{ enable = true; {configuration} }}"))
}

/// The same, of all of `services.albatross`; `package` makes what stands for a package.
fn evaluate_services(services: &str) -> Option<Result<Value, String>> {
    if nix(&["--eval", "--expr", "import <nixpkgs/lib> != { }"])?.is_err() {
        eprintln!("skipped: NIX_PATH names no nixpkgs");
        return None;
    }
    let configuration = format!("{{ package }}: {services}");
    let arguments = ["--eval", "--strict", "--json", "nixos.nix", "--arg", "configuration", &configuration];
    Some(nix(&arguments)?.map(|json| serde_json::from_str(&json).unwrap()))
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Units with their texts, as they are in `packaging/systemd`.
fn units() -> Vec<(String, String)> {
    let entries = fs::read_dir(workspace().join("packaging/systemd")).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&format!("packaging/systemd/{name}")))).collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The units of a kind that something wants, each with what wants it.
fn wanted(made: &Value, kind: &str) -> BTreeSet<String> {
    let all = made[kind].as_object().unwrap().iter();
    let wanted = all.filter(|(_, unit)| unit["wantedBy"] != Value::Array(Vec::new()));
    wanted.map(|(name, unit)| format!("{name} by {}", unit["wantedBy"][0].as_str().unwrap())).collect()
}

fn by(target: &str, names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("{name} by {target}")).collect()
}

/// The texts of units, as the module makes them.
fn texts(made: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let unit = |it: &Value| (text(&it["path"]).replace("lib/systemd/system/", ""), text(&it["text"]));
    made["packages"].as_array().unwrap().iter().map(unit).collect()
}

#[test]
fn the_module_is_an_expression() {
    for file in ["../../../packaging/nixos/module.nix", "nixos.nix"] {
        let Some(parsed) = nix(&["--parse", file]) else { return };
        parsed.unwrap();
    }
}

#[test]
fn every_unit_is_there_as_it_is_elsewhere_but_for_where_programs_are() {
    let Some(made) = evaluate("") else { return };
    let made = made.unwrap();
    let moved = |text: String| text.replace("=/usr/bin/", "=/nix/store/albatross/bin/");
    let moved = |text: String| moved(text).replace("=-/usr/bin/", "=-/nix/store/albatross/bin/");
    let all: Vec<_> = units().into_iter().map(|(name, text)| (name, moved(text))).collect();
    assert!(all.iter().all(|(_, text)| !text.contains("/usr/")), "a program is where NixOS has none");
    assert_eq!(texts(&made), all);
    assert_eq!(wanted(&made, "services"), by("multi-user.target", &BEGIN));
    assert_eq!(wanted(&made, "sockets"), by("sockets.target", &SOCKETS));
    assert_eq!(made["programs"], serde_json::json!(["/nix/store/albatross"]));
    assert_eq!((&made["etc"], &made["ports"]), (&serde_json::json!({}), &serde_json::json!([])));
}

#[test]
fn users_and_directories_are_those_of_the_packages() {
    let Some(made) = evaluate("") else { return };
    let made = made.unwrap();
    let users = read("packaging/sysusers.d/albatross.conf");
    let users = users.lines().filter_map(|line| line.strip_prefix("u ")?.split(' ').next());
    assert_eq!(keys(&made["users"]), users.collect());
    for (name, user) in made["users"].as_object().unwrap() {
        assert_eq!(user, &serde_json::json!({ "isSystemUser": true, "group": "albatross" }), "{name}");
    }
    assert_eq!(keys(&made["groups"]), BTreeSet::from(["albatross"]));
    for (unit, text) in units() {
        if let Some(user) = text.lines().find_map(|line| line.strip_prefix("User=")) {
            assert!(keys(&made["users"]).contains(user), "{user} of {unit}");
        }
    }
    let rules = read("packaging/tmpfiles.d/albatross.conf");
    let rules: Vec<&str> = rules.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(made["rules"], serde_json::json!(rules));
}

#[test]
fn what_is_asked_for_begins_with_its_settings() {
    let asked = r#"influx.enable = true; metrics.enable = true; tenders = [ (package "solo5") ];
        arguments = { albatrossd = [ "-v" "--overcommit-memory" "1.5" ]; albatross-influx = [ "--influx" "192.0.2.1" ]; };
        endpoint = { enable = true; port = 1026; openFirewall = true; key = "/run/keys/server.key"; };"#;
    let Some(made) = evaluate(asked) else { return };
    let made = made.unwrap();
    let services = [&BEGIN[..], &["albatross-influx", "albatross-metrics"]].concat();
    assert_eq!(wanted(&made, "services"), by("multi-user.target", &services));
    assert_eq!(
        wanted(&made, "sockets"),
        by("sockets.target", &[&SOCKETS[..], &["albatross-tls-endpoint"]].concat())
    );
    let texts = texts(&made);
    let text = |name: &str| &texts.iter().find(|(unit, _)| unit == name).unwrap().1;
    assert!(text("albatross-tls-endpoint.socket").contains("\nListenStream=1026\n"));
    for unit in ["albatross-tls-endpoint.socket", "albatross-tls-endpoint.service"] {
        assert!(text(unit).contains("\nConditionPathExists=/run/keys/server.key\n"), "{unit}");
    }
    let credential = "\nLoadCredential=server.key:/run/keys/server.key\n";
    assert!(text("albatross-tls-endpoint.service").contains(credential));
    assert_eq!(made["ports"], serde_json::json!([1026]));
    assert_eq!(made["services"]["albatrossd"]["path"], serde_json::json!(["/nix/store/solo5"]));
    // The file of settings is that which the unit reads, and the daemon is restarted where it changes.
    let files = [
        ("albatrossd", "OPTIONS=-v --overcommit-memory 1.5\n"),
        ("albatross-influx", "OPTIONS=--influx 192.0.2.1\n"),
    ];
    assert_eq!(made["etc"].as_object().unwrap().len(), files.len());
    for (name, settings) in files {
        assert_eq!(made["etc"][format!("albatross/{name}.env")]["text"], settings);
        assert!(
            text(&format!("{name}.service"))
                .contains(&format!("EnvironmentFile=-/etc/albatross/{name}.env\n"))
        );
        assert_eq!(made["services"][name]["restartTriggers"], serde_json::json!([settings]));
    }
}

#[test]
fn the_configuration_in_the_manual_is_one() {
    let manual = read("docs/operations.md");
    let (_, example) = manual.split_once("```\nimports = ").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let services =
        format!("let albatross = package \"of-the-manual\"; in {{ imports = {example} }}.services.albatross");
    let Some(made) = evaluate_services(&services) else { return };
    let made = made.unwrap();
    assert_eq!(made["programs"], serde_json::json!(["/nix/store/of-the-manual"]));
    assert_eq!(made["ports"], serde_json::json!([1025]));
    assert!(wanted(&made, "sockets").contains("albatross-tls-endpoint by sockets.target"));
}

#[test]
fn mistakes_in_a_configuration_are_errors() {
    for (mistake, said) in [
        (r#"arguments.albatross-statistics = [ "-v" ];"#, "albatross-statistics"),
        (r#"arguments.albatrossd = [ "-v --influx" ];"#, "arguments.albatrossd"),
        ("endpoint = { enable = true; key = ./server.key; };", "endpoint.key"),
        ("endpoint.port = 70000;", "endpoint.port"),
    ] {
        let Some(made) = evaluate(mistake) else { return };
        let error = made.unwrap_err();
        assert!(error.contains(said), "{mistake}: {error}");
    }
}
