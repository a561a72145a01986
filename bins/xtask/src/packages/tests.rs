//! What packages are made of is there and is known to the scripts; systemd reads its part as it is meant. No package is
//! built here.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use super::*;

/// What `cargo xtask packages --test` finds exposed, in tenths, as docs/operations.md says.
const EXPOSURE: [(&str, u32); 7] = [
    ("albatrossd", 52),
    ("albatross-console", 3),
    ("albatross-log", 3),
    ("albatross-stats", 11),
    ("albatross-influx", 12),
    ("albatross-metrics", 12),
    ("albatross-tls-endpoint", 5),
];

/// How much more may be found here: of a unit that does not run less is known, and each version of systemd looks at other
/// things.
const MORE: u32 = 4;

/// What albatross-confine calls, in a unit that allows nothing else of the kind.
const CONFINES_ITSELF: &str =
    "SystemCallFilter=capset seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self\n";

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = systemd::entries(&workspace().join(folder)).unwrap();
    entries.iter().map(|it| it.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// `[package.metadata.deb]` of a crate, as cargo reads it.
fn metadata(name: &str) -> serde_json::Value {
    let output =
        cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).output().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = all["packages"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap();
    package["metadata"]["deb"].clone()
}

/// What it lists, with where it goes.
fn assets(name: &str) -> Vec<(String, String)> {
    let all = metadata(name)["assets"].as_array().unwrap().clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    all.iter().map(|it| (text(&it[0]), text(&it[1]))).collect()
}

/// Whether it is there, or somewhere it can have been made.
fn is_there(asset: &str) -> bool {
    let path = Path::new("bins/albatrossd").join(asset);
    match asset.rsplit_once('*') {
        Some((folder, ending)) => {
            let folder = folder.strip_suffix('/').unwrap_or(folder);
            let folder = format!("bins/albatrossd/{folder}");
            names(&folder).iter().any(|name| name.ends_with(ending))
        }
        None => workspace().join(path).is_file(),
    }
}

#[test]
fn what_packages_list_is_in_the_repository_or_is_a_program() {
    let programs = names("bins");
    let mut sources = names("bins/albatross-client/src/bin");
    sources.extend(names("bins/albatross-tls-endpoint/src/bin"));
    for name in CRATES {
        for (asset, _) in assets(name) {
            let known = match asset.strip_prefix("target/release/") {
                Some(made) if made.starts_with("share/") => true,
                Some(program) => programs.contains(program) || sources.contains(&format!("{program}.rs")),
                None => is_there(&asset),
            };
            assert!(known, "{name} lists {asset}");
        }
    }
}

#[test]
fn every_file_of_settings_is_kept_by_dpkg_and_is_that_of_a_unit() {
    let listed = metadata("albatrossd")["conf-files"].as_array().unwrap().clone();
    let listed: BTreeSet<&str> = listed.iter().map(|it| it.as_str().unwrap()).collect();
    let settings = names("packaging/etc");
    let places = settings.iter().map(|name| format!("/etc/albatross/{name}"));
    let all: BTreeSet<String> = places.chain(["/etc/logrotate.d/albatross".to_owned()]).collect();
    assert_eq!(listed, all.iter().map(String::as_str).collect());
    for name in settings {
        let unit = read(&format!("packaging/systemd/{}.service", name.strip_suffix(".env").unwrap()));
        assert!(unit.contains(&format!("EnvironmentFile=-/etc/albatross/{name}\n")), "{name}");
        // Nothing is set before the administrator does so.
        assert!(read(&format!("packaging/etc/{name}")).lines().all(|line| line.starts_with('#')), "{name}");
    }
}

#[test]
fn the_scripts_of_the_package_name_every_unit() {
    let scripts =
        ["postinst", "prerm", "postrm"].map(|name| read(&format!("packaging/debian/albatross/{name}")));
    for unit in names("packaging/systemd") {
        for script in &scripts {
            assert!(script.split([' ', '"', '\n']).any(|word| word == unit), "{unit} in {script}");
        }
    }
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let path = workspace().join("packaging/debian/albatross").join(script);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0o111, "{script}");
        let checked = Command::new("sh").arg("-n").arg(&path).status().unwrap();
        assert!(checked.success(), "{script}");
    }
}

/// A system with the units and with programs of their names.
fn system() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    let programs = DAEMONS.map(|(name, _)| format!("usr/bin/{name}"));
    for program in programs.iter().map(String::as_str).chain(["bin/sh"]) {
        let path = root.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for unit in names("packaging/systemd") {
        fs::copy(workspace().join("packaging/systemd").join(&unit), units.join(&unit)).unwrap();
    }
    for target in ["sysinit", "basic", "sockets", "shutdown", "multi-user", "network"] {
        fs::write(units.join(format!("{target}.target")), "[Unit]\nDescription=Target\n").unwrap();
    }
    root
}

fn run_tool(program: &str, arguments: &[&str], root: &Path) -> Option<Output> {
    let output = Command::new(program).args(arguments).arg("--root").arg(root).output();
    if output.is_err() {
        eprintln!("skipped: {program} is not installed");
    }
    output.ok()
}

#[test]
fn systemd_reads_every_unit_without_a_complaint() {
    let root = system();
    for unit in names("packaging/systemd") {
        let path = root.path().join("usr/lib/systemd/system").join(&unit);
        let arguments = ["verify", "--man=no", path.to_str().unwrap()];
        let Some(output) = run_tool("systemd-analyze", &arguments, root.path()) else { return };
        let said = String::from_utf8(output.stderr).unwrap();
        // What systemd before 254 does not know.
        let said: Vec<&str> = said.lines().filter(|line| !line.contains("'DelegateSubgroup'")).collect();
        assert!(output.status.success() && said.is_empty(), "{unit}: {said:?}");
    }
}

#[test]
fn every_unit_lets_its_daemon_confine_itself() {
    let mut confined = 0;
    for (name, _) in DAEMONS {
        let manifest = workspace().join("bins").join(name).join("Cargo.toml");
        if fs::read_to_string(manifest).is_ok_and(|it| it.contains("albatross-confine")) {
            confined += 1;
            let unit = read(&format!("packaging/systemd/{name}.service"));
            let (_, after) = unit.split_once("SystemCallFilter=~@privileged @resources\n").unwrap();
            assert!(after.starts_with(CONFINES_ITSELF), "{name}");
        }
    }
    assert_eq!(confined, 6, "all but albatrossd do so");
}

#[test]
fn no_unit_is_more_exposed_than_the_manual_says() {
    let root = system();
    let manual = read("docs/operations.md");
    for (name, most) in EXPOSURE {
        let unit = format!("{name}.service");
        let arguments = ["security", "--offline=true", "--no-pager", &unit];
        let Some(output) = run_tool("systemd-analyze", &arguments, root.path()) else { return };
        let said = String::from_utf8(output.stdout).unwrap();
        let found = said
            .lines()
            .last()
            .and_then(|line| line.split_once(&format!("{unit}: ")))
            .unwrap_or_else(|| panic!("{unit}: {said} {}", String::from_utf8_lossy(&output.stderr)));
        let tenths: String =
            found.1.split(' ').next().unwrap().chars().filter(char::is_ascii_digit).collect();
        assert!(tenths.parse::<u32>().unwrap() <= most + MORE, "{unit}: {said}");
        let row = format!("| `{unit}` | {}.{} |", most / 10, most % 10);
        assert!(manual.contains(&row), "{row}");
    }
}

#[test]
fn users_and_directories_are_made_as_systemd_reads_them() {
    let root = tempfile::tempdir().unwrap();
    for (tool, kind) in [("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")] {
        let folder = root.path().join("usr/lib").join(kind);
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::copy(
            workspace().join("packaging").join(kind).join("albatross.conf"),
            folder.join("albatross.conf"),
        )
        .unwrap();
        let arguments: &[&str] = if kind == "tmpfiles.d" { &["--create"] } else { &[] };
        let Some(output) = run_tool(tool, arguments, root.path()) else { return };
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let made = |file: &str| fs::read_to_string(root.path().join("etc").join(file)).unwrap();
    let (users, groups) = (made("passwd"), made("group"));
    let group =
        groups.lines().find_map(|line| line.strip_prefix("albatross:x:")).unwrap().trim_end_matches(':');
    for unit in names("packaging/systemd").iter().filter(|it| it.ends_with(".service")) {
        let text = read(&format!("packaging/systemd/{unit}"));
        if let Some(user) = text.lines().find_map(|line| line.strip_prefix("User=")) {
            let line = users.lines().find(|line| line.starts_with(&format!("{user}:"))).unwrap();
            assert_eq!(line.split(':').nth(3), Some(group), "{user} of {unit}");
        }
    }
}
