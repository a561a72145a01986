//! `albatross-client top` on a terminal, which is tmux's: what it shows of real daemons and guests, what keys and
//! signals do, and that the terminal is as before when it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use albatross_e2e::pki::ROOT;
use albatross_e2e::run::run;
use albatross_e2e::{Daemon, Host, PATIENCE, Pki, eventually, processes};
use nix::sys::signal::Signal;

/// A terminal of 80 columns and 24 lines, with a shell in it.
struct Terminal {
    directory: PathBuf,
}

impl Terminal {
    /// `None` without tmux.
    fn new(directory: &Path) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            println!("skipped: tmux is not installed");
            return None;
        }
        let terminal = Self { directory: directory.to_owned() };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "bash --norc"]);
        terminal.wait("a prompt", |lines| lines.iter().any(|line| !line.is_empty()));
        Some(terminal)
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.directory.join("tmux")).args(words).current_dir(&self.directory);
        command.env("TMPDIR", &self.directory).env("PS1", "> ").env_remove("TMUX");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn type_in(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn lines(&self) -> Vec<String> {
        self.tmux(&["capture-pane", "-p"]).lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits until the screen is as it should be, and returns its lines.
    fn wait(&self, what: &str, is_right: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begin = Instant::now();
        loop {
            let lines = self.lines();
            if is_right(&lines) {
                return lines;
            }
            assert!(begin.elapsed() < PATIENCE, "no {what}:\n{}", lines.join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Settings of the terminal, written by the shell in it.
    fn settings(&self, file: &str) -> String {
        self.type_in(&format!("stty -a > {file}.new && mv {file}.new {file}"));
        eventually("settings of the terminal", || fs::read_to_string(self.directory.join(file)).ok()).unwrap()
    }

    /// Whether another screen is shown, and whether there is a cursor.
    fn modes(&self) -> String {
        self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = Command::new("tmux").arg("-S").arg(self.directory.join("tmux")).arg("kill-server").status();
    }
}

fn start_statistics(host: &Host) -> Daemon {
    host.start_beside("albatross-stats", Some("stat"), &["--interval=1"]).unwrap()
}

/// How a shell starts it, and tells how it ended.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    format!("{}; echo ended with $?", words.join(" "))
}

/// The words of the line that shows this unikernel.
fn row(lines: &[String], name: &str) -> Option<Vec<String>> {
    let line = lines.iter().find(|line| line.split_whitespace().next() == Some(name))?;
    Some(line.split_whitespace().map(str::to_owned).collect())
}

/// What a column of numbers says.
fn number(row: &[String], column: usize) -> Option<f64> {
    row.get(column)?.parse().ok()
}

#[test]
fn it_shows_what_runs_and_leaves_the_terminal_as_it_was() {
    let mut host = Host::for_test().unwrap();
    let Some(terminal) = Terminal::new(&host.work()) else { return };
    let statistics = start_statistics(&host);
    host.client(&["add-policy", "a", "2", "--mem=64"]).unwrap().assert(0, "");
    host.client(&["add-policy", "b", "4", "--mem=128"]).unwrap().assert(0, "");
    host.create("a:burn", "burn", &["--mem=32"]).unwrap().assert(0, "created");
    host.create("a:tick", "tick", &["--mem=32", "--arg=--ms=50"]).unwrap().assert(0, "created");
    host.create("b:flood", "flood", &["--mem=32"]).unwrap().assert(0, "created");
    let before = terminal.settings("before");
    let start = command_line(&host.client_command(&["top"]));
    terminal.type_in("echo what was here");
    terminal.type_in(&start);

    // What runs, with what it uses: one computes, one does not.
    let lines = terminal.wait("figures of all", |lines| {
        let cpu = |name| row(lines, name).and_then(|row| number(&row, 2));
        cpu("a:burn").zip(cpu("a:tick")).is_some_and(|(burn, tick)| burn > 2.0 && burn > tick)
    });
    println!("{}", lines.join("\n"));
    assert!(lines[0].contains("3 unikernels, 3 running"), "{lines:#?}");
    let tick = row(&lines, "a:tick").unwrap();
    assert_eq!((tick[1].as_str(), tick[4].as_str()), ("running", "0"));
    assert!(tick[3].ends_with("M/32M"), "{tick:?}");
    // Policies, and how much of them is used.
    let policy = |path: &str| lines.iter().find(|line| line.starts_with(path)).cloned().unwrap_or_default();
    assert!(policy("a: ").contains("[######] 2/2") && policy("a: ").contains("[######] 64/64"), "{lines:#?}");
    assert!(
        policy("b: ").contains("[#.....] 1/4") && policy("b: ").contains("[#.....] 32/128"),
        "{lines:#?}"
    );
    // The console of the selected one: the next one's, then one that never stops.
    assert!(lines.iter().any(|line| line == "CONSOLE of a:burn"), "{lines:#?}");
    terminal.press("Down");
    terminal.wait("lines of tick", |lines| {
        let at = lines.iter().position(|line| line == "CONSOLE of a:tick");
        at.and_then(|at| lines.get(at + 1)).is_some_and(|line| line.contains(" tick "))
    });
    // Nothing else than what is typed, and another size.
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.wait("a larger screen", |lines| {
        let is_wide = lines[0].len() == 100 && lines[0].as_bytes()[97] == b':';
        is_wide && lines.len() == 30 && lines[29].starts_with("q quit")
    });
    terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]);
    terminal.wait("a smaller screen", |lines| lines.len() == 12 && lines[11].starts_with("q quit"));
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.press("End");
    terminal.wait("a flood", |lines| {
        let at = lines.iter().position(|line| line == "CONSOLE of b:flood");
        at.and_then(|at| lines.get(at + 5)).is_some_and(|line| line.contains(" flood "))
    });
    terminal.press("PageUp");
    terminal.wait("older lines", |lines| {
        lines
            .iter()
            .any(|line| line.starts_with("CONSOLE of b:flood, ") && line.ends_with(" newer lines below"))
    });
    terminal.press("s");
    terminal.wait("another order", |lines| lines[23].contains("s sort (cpu)"));
    terminal.press("p");
    terminal.wait("no policies", |lines| !lines.iter().any(|line| line.starts_with("POLICY")));

    // Who is not there is said, and asked again.
    drop(statistics);
    terminal.wait("a lack of statistics", |lines| lines[22].starts_with("statistics: "));
    let _statistics = start_statistics(&host);
    terminal.wait("statistics again", |lines| !lines[22].contains("statistics: "));
    host.take_albatrossd().unwrap().hand_over().unwrap();
    terminal.wait("a lack of albatrossd", |lines| lines[22].starts_with("cannot connect to "));
    host.start_albatrossd(&[]).unwrap();
    host.client(&["destroy", "b:flood"]).unwrap().assert(0, "destroyed");
    terminal.wait("what runs now", |lines| {
        lines[0].contains("2 unikernels, 2 running") && !lines[22].contains("cannot connect")
    });

    // However it ends, nothing of it is left.
    for end in ["q", "C-c", "SIGTERM"] {
        match end {
            "SIGTERM" => {
                let all = processes::mentioning(&host.tmpdir().to_string_lossy());
                let [(pid, _)] =
                    all.iter().filter(|(_, line)| line.ends_with(" top")).collect::<Vec<_>>()[..]
                else {
                    panic!("one client: {all:?}")
                };
                processes::signal(*pid, Signal::SIGTERM);
            }
            key => terminal.press(key),
        }
        terminal.wait("its end", |lines| lines.iter().any(|line| line == "ended with 0"));
        let lines = terminal.lines();
        assert!(lines.iter().any(|line| line == "what was here"), "{end}: {lines:#?}");
        assert!(!lines.iter().any(|line| line.starts_with("CONSOLE of")), "{end}: {lines:#?}");
        assert_eq!(terminal.modes(), "0 1", "{end}");
        assert_eq!(terminal.settings(&format!("after-{end}")), before, "{end}");
        if end != "SIGTERM" {
            terminal.type_in("clear; echo what was here");
            terminal.wait("an empty screen", |lines| !lines.iter().any(|line| line == "ended with 0"));
            terminal.type_in(&start);
            terminal.wait("the view", |lines| lines.iter().any(|line| line.starts_with("CONSOLE of a:")));
        }
    }
}

#[test]
fn it_shows_what_runs_elsewhere() {
    let mut host = Host::for_test().unwrap();
    let Some(terminal) = Terminal::new(&host.work()) else { return };
    let _statistics = start_statistics(&host);
    let pki = Pki::generate(host.programs(), &host.work()).unwrap();
    pki.intermediate(ROOT, "alice", 3, &["--mem=96"]).unwrap();
    let [ca, cert, key] = pki.server();
    let port = host.start_endpoint(&ca, &cert, &key).unwrap();
    let image = host.programs().guest("tick").to_string_lossy().into_owned();
    let create = |name: &str| {
        pki.remote(port, "alice", &["create", name, &image, "--mem=32", "--arg=--ms=50"]).unwrap()
    };
    create("tick").assert(0, "created");
    host.create("b:other", "tick", &[]).unwrap().assert(0, "created");
    host.create("alice:deep:tick", "tick", &["--mem=32"]).unwrap().assert(0, "created");

    terminal.type_in(&command_line(&pki.remote_command(port, "alice", &["top"])));
    let lines = terminal.wait("figures and lines", |lines| {
        let has_figures = row(lines, "tick").and_then(|row| number(&row, 2)).is_some();
        has_figures && lines.iter().any(|line| line.contains(" tick 1"))
    });
    assert!(lines[0].contains("alice:  2 unikernels, 2 running"), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "CONSOLE of tick"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("[####..] 2/3") && line.contains("64/96")), "{lines:#?}");
    assert_eq!(row(&lines, "b:other"), None);
    // One that a certificate of alice cannot name.
    terminal.press("End");
    terminal.wait("why there is no console", |lines| {
        lines.iter().any(|line| line.starts_with("console: a certificate below --ca names one label"))
    });
    terminal.press("q");
    terminal.wait("its end", |lines| lines.iter().any(|line| line == "ended with 0"));
    // Where nothing can come of it, there is no screen.
    terminal.type_in(&command_line(&pki.remote_command(port, "nobody", &["top"])));
    terminal.wait("an error", |lines| lines.iter().any(|line| line == "ended with 124"));
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let host = Host::for_test().unwrap();
    host.client(&["top"]).unwrap().assert(124, "needs a terminal");
    host.client(&["top", "--json"]).unwrap().assert(124, "does not take --json");
    host.client(&["top", "--csr"]).unwrap().assert(124, "top asks several daemons");
    host.client(&["top", "--socket=x"]).unwrap().assert(124, "top asks several daemons");
    let mut other = Command::new(host.programs().path("albatross-top"));
    run(other.arg("info")).unwrap().assert(124, "this program does top only");
}
