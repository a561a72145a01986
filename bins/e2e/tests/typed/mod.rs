//! A shell that is typed into, on a system of its own: what papers tell to type is typed as it stands.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use albatross_e2e::eventually;
use nix::mount::{MsFlags, mount};

use super::namespace;

/// The beginnings of lines that are not about the command that was typed: what the daemons log.
const LOGS: [&str; 7] = [
    "albatrossd: ",
    "albatross-console: ",
    "albatross-tls-endpoint: ",
    "albatross-log: ",
    "albatross-stats: ",
    "albatross-influx: ",
    "albatross-metrics: ",
];

/// A shell that is typed into.
pub(crate) struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::io::PipeReader>,
}

impl Shell {
    pub(crate) fn start(directory: &Path, programs: &Path) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("bash")
            .args(["--norc", "--noprofile"])
            .current_dir(directory)
            .env("PATH", path)
            .env("TMPDIR", directory)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut shell = Self { child, input, output: BufReader::new(reader) };
        // As somebody has it who types: jobs with names.
        shell.type_in("set -m; top=$PWD");
        shell
    }

    /// What comes of a command, and its status.
    pub(crate) fn type_in(&mut self, command: &str) -> (Vec<String>, String) {
        const END: &str = "<status of what was typed> ";
        writeln!(self.input, "{command}\nprintf '\\n%s%s\\n' '{END}' \"$?\"").unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the shell has ended: {lines:?}");
            let line = line.trim_end_matches('\n');
            if let Some(status) = line.strip_prefix(END) {
                // The one before the status is the line break of printf.
                while lines.last().is_some_and(String::is_empty) {
                    lines.pop();
                }
                return (lines, status.to_owned());
            }
            if !LOGS.iter().any(|log| line.starts_with(log)) {
                lines.push(line.to_owned());
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Who waits for the daemons to come up does not wait for the unikernels to end.
        _ = writeln!(self.input, "kill -KILL $(jobs -p); exit");
        _ = self.child.wait();
    }
}

/// Waits until a daemon that was started serves, as somebody does who reads on first.
pub(crate) fn wait_for(daemon: &str) {
    let socket = |name: &str| UnixStream::connect(format!("/run/albatross/util/{name}.sock")).is_ok();
    let program = daemon.split(' ').next().unwrap();
    eventually(daemon, || {
        let is_there = match program {
            "albatross-console" => socket("console"),
            "albatross-log" => socket("log"),
            "albatross-stats" => socket("stat"),
            "albatrossd" => socket("vmmd"),
            "albatross-tls-endpoint" => TcpStream::connect("127.0.0.1:1025").is_ok(),
            "albatross-metrics" => TcpStream::connect("127.0.0.1:9025").is_ok(),
            // It serves nobody.
            "albatross-influx" => true,
            other => panic!("{other} is no daemon"),
        };
        is_there.then_some(())
    })
    .unwrap();
}

/// The usual directories of the daemons, empty, and a host of the name that is in the document.
pub(crate) fn new_system(directory: &Path) {
    let none: Option<&Path> = None;
    for path in ["/run", "/var/lib", "/var/log"] {
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    }
    for path in ["/run/albatross/util", "/run/albatross/fifo", "/var/lib/albatross", "/var/log/albatross"] {
        fs::create_dir_all(path).unwrap();
    }
    let hosts = directory.join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost host.example\n").unwrap();
    mount(Some(&hosts), "/etc/hosts", none, MsFlags::MS_BIND, none).unwrap();
    namespace::ip("link set lo up");
}
