//! The commands of `README.md` and `docs/operations.md`, typed as they are written, but for their comments.
//!
//! Everything is real: the daemons at their usual places, in a network and a view of the file system of the test's own,
//! where `host.example` is this host. Needs root and /dev/net/tun; without them a test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::path::Path;

use albatross_e2e::programs::workspace;
use albatross_e2e::{Programs, eventually, processes};
use nix::sys::signal::Signal;

#[allow(dead_code, reason = "taps are of no concern here")]
mod namespace;
mod typed;

use typed::{Shell, new_system, wait_for};

/// Commands that are not typed here, and where they are run.
const ELSEWHERE: [(&str, &str); 10] = [
    // On a terminal.
    ("albatross-client top", "bins/e2e/tests/top.rs"),
    // With a build server.
    ("albatross-client update", "bins/albatross-client/tests/update.rs"),
    // On a system of its own, which has systemd, the packages, and their users.
    ("dpkg -i", "bins/xtask/packages/test"),
    ("adduser ", "bins/xtask/packages/test"),
    ("systemctl enable", "bins/xtask/packages/test"),
    ("install -m", "bins/xtask/packages/test"),
    ("install -d", "bins/xtask/packages/test"),
    ("1025 stream tcp", "bins/albatross-tls-endpoint/tests/inetd.rs"),
    ("cargo xtask quickstart", ".ci/run"),
    ("cargo xtask test", ".ci/run"),
];
/// Titles under which blocks are no commands, and where what they have is seen: a screen, and a module.
const NO_COMMANDS: [(&str, &str); 2] =
    [("Watching", "bins/e2e/tests/top.rs"), ("NixOS", "bins/xtask/src/packages/nixos.rs")];
/// Commands that go on until they are interrupted: their first line is waited for.
const FOLLOWING: [&str; 3] = ["albatross-client console", "albatross-client log", "albatross-client stats"];
const DAEMONS: [&str; 7] = [
    "albatross-console",
    "albatross-log --logfile",
    "albatrossd",
    "albatross-tls-endpoint",
    "albatross-stats",
    "albatross-influx",
    "albatross-metrics",
];

/// Commands, and the title that they are under.
type Block = (String, Vec<String>);

/// The blocks of commands of a paper.
fn blocks(paper: &str) -> Vec<Block> {
    let text = fs::read_to_string(workspace().join(paper)).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let (mut title, mut fenced, mut inside) = (String::new(), false, false);
    for line in text.lines() {
        if let Some(new) = line.strip_prefix("## ") {
            title = new.to_owned();
        }
        if line.starts_with("```") {
            fenced = !fenced;
            inside = false;
            continue;
        }
        let Some(command) = (if fenced { Some(line) } else { line.strip_prefix("    ") }) else {
            inside = false;
            continue;
        };
        if !inside {
            blocks.push((title.clone(), Vec::new()));
            inside = true;
        }
        blocks.last_mut().unwrap().1.push(command.split(" #").next().unwrap().trim_end().to_owned());
    }
    blocks
}

fn elsewhere(command: &str) -> bool {
    let place = ELSEWHERE.iter().find(|(beginning, _)| command.starts_with(beginning));
    if let Some((_, place)) = place {
        assert!(workspace().join(place).exists(), "{command} is run by {place}, which is not there");
    }
    place.is_some()
}

/// Types it; what goes on is let go after its first line.
fn type_in(shell: &mut Shell, command: &str) -> Vec<String> {
    if elsewhere(command) {
        return Vec::new();
    }
    println!("$ {command}");
    let is_daemon = DAEMONS.iter().any(|daemon| command.starts_with(daemon))
        && !["--read-only", "--verify"].iter().any(|option| command.contains(option));
    let follows = FOLLOWING.iter().any(|following| command.starts_with(following));
    let typed = match (is_daemon, follows) {
        (true, _) => format!("{command} &"),
        (_, true) => format!("head -n 1 <({command}); kill $!"),
        _ => command.to_owned(),
    };
    let (lines, status) = shell.type_in(&typed);
    assert_eq!(status, "0", "{command}: {lines:#?}");
    if is_daemon {
        wait_for(command);
    }
    assert!(!follows || !lines.is_empty(), "{command} says nothing");
    lines
}

/// Types all that is under a title.
fn all(blocks: &mut Vec<Block>, title: &str, shell: &mut Shell) {
    let (now, later): (Vec<Block>, Vec<Block>) =
        std::mem::take(blocks).into_iter().partition(|(of, _)| of == title);
    *blocks = later;
    assert!(!now.is_empty(), "there is nothing to type under {title}");
    for command in now.into_iter().flat_map(|(_, commands)| commands) {
        type_in(shell, &command);
    }
}

/// What logrotate does.
fn rotate(shell: &mut Shell, from: &str, to: &str) {
    fs::rename(from, to).unwrap();
    let (pids, _) = shell.type_in("jobs -p %albatross-log");
    let pid = pids[0].parse().unwrap();
    processes::signal(pid, Signal::SIGHUP);
    eventually("the event log goes on in a new file", || Path::new(from).exists().then_some(())).unwrap();
}

/// A backup is made, all that albatrossd has is lost, and what the paper says to do then brings it back.
fn backup_and_disaster(shell: &mut Shell, operations: &mut Vec<Block>, work: &Path) {
    fs::write(work.join("content"), "what must not be lost").unwrap();
    for command in [
        "albatross-client add-policy foo 4 --mem 256 --block 16",
        "albatross-client create-block foo:data 1 --data content",
        "albatross-client create foo:keeper hello.spt --mem 16 --restart-on-fail",
    ] {
        type_in(shell, command);
    }
    all(operations, "Backup", shell);
    for (pid, _) in processes::mentioning("/run/albatross/") {
        processes::signal(pid, Signal::SIGKILL);
    }
    shell.type_in("kill -KILL %albatrossd; wait %albatrossd");
    for directory in ["/var/lib/albatross", "/run/albatross/running"] {
        fs::remove_dir_all(directory).unwrap();
    }
    fs::create_dir("/var/lib/albatross").unwrap();
    let key = fs::read(work.join("host.example.key")).unwrap();
    all(operations, "Disaster", shell);
    let (unikernels, _) = shell.type_in("albatross-client info");
    assert!(unikernels.iter().any(|line| line.contains("foo:keeper")), "{unikernels:#?}");
    let device = fs::read("/var/lib/albatross/block/foo:data").unwrap();
    assert!(device.starts_with(b"what must not be lost"), "{} octets", device.len());
    // The new certificate has the key that was there, and what was signed before stays valid.
    assert_eq!(fs::read(work.join("host.example.key")).unwrap(), key);
    shell.type_in("kill -KILL %albatross-tls-endpoint; wait %albatross-tls-endpoint");
    type_in(shell, "albatross-tls-endpoint --crl-dir crls cacert.pem host.example.pem host.example.key");
    type_in(shell, "albatross-client info --destination host.example --ca alice.pem --ca-key alice.key");
}

#[test]
fn commands_of_readme_and_operations_are_as_they_are_written() {
    namespace::in_new_network(|| {
        let programs = Programs::for_tests().unwrap();
        let directory = tempfile::tempdir().unwrap();
        new_system(directory.path());
        let work = directory.path().join("work");
        fs::create_dir(&work).unwrap();
        fs::copy(programs.guest("pong"), work.join("web.spt")).unwrap();
        fs::copy(programs.guest("tick"), work.join("hello.spt")).unwrap();
        let mut shell = Shell::start(&work, programs.directory());
        let mut readme = blocks("README.md");
        let mut operations = blocks("docs/operations.md");
        // Of the README: what is typed on the host, from elsewhere, to make certificates, to take them back.
        let mut daily: Vec<Vec<String>> = Vec::new();
        readme.retain(|(title, commands)| {
            let is_daily = title == "Daily commands";
            if is_daily {
                daily.push(commands.clone());
            }
            !is_daily
        });
        let [host, remote, certificates, revoke] = daily.as_slice() else {
            panic!("the README has other blocks: {daily:#?}")
        };
        type_in(&mut shell, &certificates[0]);
        all(&mut operations, "Start", &mut shell);
        host.iter().for_each(|command| drop(type_in(&mut shell, command)));
        certificates[1..].iter().for_each(|command| drop(type_in(&mut shell, command)));
        for command in remote.iter().chain(revoke) {
            type_in(&mut shell, command);
        }
        fs::copy("/var/lib/albatross/record", work.join("record")).unwrap();
        all(&mut operations, "Daily commands", &mut shell);
        all(&mut operations, "Statistics", &mut shell);
        let log = "/var/log/albatross/events";
        for number in ["2", "1"] {
            rotate(&mut shell, log, &format!("{log}.{number}"));
        }
        let position = operations.iter().position(|(title, _)| title == "Event log").unwrap();
        let mut link = String::new();
        for command in operations.remove(position).1 {
            let lines = type_in(&mut shell, &command.replace("LINK", &link));
            let last = lines.last().and_then(|line| line.rsplit(' ').next());
            link = last.unwrap_or_default().to_owned();
        }
        backup_and_disaster(&mut shell, &mut operations, &work);
        // What is left is no command, or run elsewhere.
        assert!(NO_COMMANDS.iter().all(|(_, place)| workspace().join(place).exists()));
        for (title, commands) in readme.into_iter().chain(operations) {
            for command in commands {
                let is_typed = !NO_COMMANDS.iter().any(|(under, _)| title == *under);
                assert!(!is_typed || elsewhere(&command), "{title}: nobody runs {command}");
            }
        }
        drop(shell);
        for (pid, _) in processes::mentioning("/run/albatross/") {
            processes::signal(pid, Signal::SIGKILL);
        }
    });
}
