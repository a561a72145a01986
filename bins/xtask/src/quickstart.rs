//! A unikernel deployed by certificate, shown step by step with real processes over TLS on this machine.
//!
//! Everything lies in a directory of its own under the system's temporary directory. It runs as root or as
//! any other user, and needs nothing but what was built.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use albatross_e2e::daemon::Daemon;
use albatross_e2e::run::{kill, run as run_command, shown};
use albatross_e2e::{Failure, Finished, Host, Profile, Programs, eventually, processes};

/// Console lines to wait for.
const LINES: usize = 3;

/// Builds, shows, and cleans up or not.
pub(crate) fn run(keep: bool, release: bool) -> Result<(), Failure> {
    title("Building the programs and the guests");
    let begin = Instant::now();
    let profile = if release { Profile::Release } else { Profile::Dev };
    let programs = Programs::build(profile, false)?;
    say(&format!("built in {} s", begin.elapsed().as_secs()));
    let begin = Instant::now();
    let mut host = Host::new(&programs)?;
    if keep {
        host = host.detached();
    }
    let story = Story { directory: host.work() };
    story.show(&mut host, &programs)?;
    if keep {
        leave(host);
    } else {
        end(host)?;
    }
    title(&format!("Done, {:.1} s after the build", begin.elapsed().as_secs_f32()));
    Ok(())
}

struct Story {
    directory: std::path::PathBuf,
}

impl Story {
    fn show(&self, host: &mut Host, programs: &Programs) -> Result<(), Failure> {
        let guest = self.directory.join("clock.spt");
        fs::copy(programs.guest("tick"), &guest).map_err(|error| Failure::io("write", &guest, error))?;
        say(&format!("the programs are in {}", programs.directory().display()));
        say(&format!("what follows happens in {}", self.directory.display()));
        self.certificates(host)?;
        let port = self.daemons(host)?;
        self.deploy(host, port)?;
        self.refused(host, port)
    }

    fn certificates(&self, host: &Host) -> Result<(), Failure> {
        title("A certificate authority, and a certificate for the server");
        self.client(host, &["generate", "ca", "ca.db"])?;
        title("Alice asks for a policy: one unikernel, 32 MB, cpu 0; the authority signs it");
        self.client(host, &["add-policy", "alice", "1", "--mem", "32", "--cpu", "0", "--csr"])?;
        self.client(host, &["sign", "cacert.pem", "ca.db", "ca.key", "alice.req"])?;
        title("A request that carries a command, create with its image; Alice signs it");
        self.client(host, &["create", "clock", "clock.spt", "--mem", "16", "--arg=--ms=200", "--csr"])?;
        self.client(host, &["sign", "alice.pem", "alice.db", "alice.key", "clock.req"])?;
        Ok(())
    }

    fn daemons(&self, host: &mut Host) -> Result<u16, Failure> {
        title("The server: the console daemon, the daemon that starts unikernels, the TLS endpoint");
        host.start_console(&[])?;
        host.start_albatrossd(&[])?;
        let [ca, certificate, key] =
            ["cacert.pem", "server.pem", "server.key"].map(|it| self.directory.join(it));
        let port = host.start_endpoint(&ca, &certificate, &key)?;
        let mut started: Vec<&Daemon> = host.daemons().collect();
        started.reverse();
        for daemon in started {
            typed(&format!("{} &", daemon.command()));
        }
        say(&format!("the endpoint listens on port {port}"));
        Ok(port)
    }

    fn deploy(&self, host: &Host, port: u16) -> Result<(), Failure> {
        let destination = format!("127.0.0.1:{port}");
        title("The certificate goes to the server, which does what it says");
        self.client(host, &["certificate", "clock.pem", "clock.key", "--destination", &destination])?
            .expect(0, "created unikernel")?;
        title("It runs in a sandbox: no new privileges, and a filter of system calls (2)");
        let (pid, line) = host.tenders().pop().ok_or_else(|| missing("a tender"))?;
        say(&format!("process {pid}: {line}"));
        for field in ["NoNewPrivs", "Seccomp"] {
            let value = processes::status(pid, field).ok_or_else(|| missing("the status of the tender"))?;
            say(&format!("{field}: {value}"));
        }
        title("Its console, with a certificate that Alice's key makes on the spot");
        self.follow(self.as_alice(host, &destination, &["console", "clock"]))
    }

    fn refused(&self, host: &Host, port: u16) -> Result<(), Failure> {
        let destination = format!("127.0.0.1:{port}");
        title("A second one, which Alice's policy does not hold, is refused");
        let second = ["create", "second", "clock.spt", "--mem", "16"];
        self.show_command(&mut self.as_alice(host, &destination, &second))?.expect(117, "command failed")?;
        title("The first one still runs");
        self.show_command(&mut self.as_alice(host, &destination, &["info"]))?.expect(0, "clock")?;
        Ok(())
    }

    fn as_alice(&self, host: &Host, destination: &str, command: &[&str]) -> Command {
        let options = ["--destination", destination, "--ca", "alice.pem", "--ca-key", "alice.key"];
        self.client_command(host, &[command, &options].concat())
    }

    /// A client that must succeed.
    fn client(&self, host: &Host, arguments: &[&str]) -> Result<Finished, Failure> {
        self.show_command(&mut self.client_command(host, arguments))?.expect(0, "")
    }

    fn client_command(&self, host: &Host, arguments: &[&str]) -> Command {
        let mut command = Command::new(host.programs().path("albatross-client"));
        command.args(arguments).current_dir(&self.directory);
        command
    }

    fn show_command(&self, command: &mut Command) -> Result<Finished, Failure> {
        typed(&shown(command));
        let finished = run_command(command)?;
        finished.text().lines().for_each(say);
        Ok(finished)
    }

    /// Shows what a follower prints, until there were enough lines of the console.
    fn follow(&self, mut command: Command) -> Result<(), Failure> {
        typed(&shown(&command));
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| Failure::io("run", &self.directory, error))?;
        let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            say(&line);
            seen += usize::from(line.contains("tick"));
            if seen >= LINES {
                break;
            }
        }
        kill(&mut child);
        if seen < LINES { Err(missing("lines on the console")) } else { Ok(()) }
    }
}

fn leave(host: Host) {
    title("It is left running");
    let (port, work) = (host.port(), host.work());
    let pids: Vec<String> = host.daemons().map(|daemon| daemon.pid().to_string()).collect();
    let directory = host.programs().directory().display().to_string();
    let tmpdir = host.tmpdir();
    let kept = host.leave();
    typed(&format!("cd {}; PATH={directory}:$PATH", work.display()));
    say("on this host:");
    typed(&format!("albatross-client --tmpdir {} info", tmpdir.display()));
    say("by certificate:");
    let alice = format!("--destination 127.0.0.1:{port} --ca alice.pem --ca-key alice.key");
    typed(&format!("albatross-client console clock {alice}"));
    typed(&format!("albatross-client destroy clock {alice}"));
    say("to end it:");
    typed(&format!("kill {}; rm -r {}", pids.join(" "), kept.display()));
}

fn end(mut host: Host) -> Result<(), Failure> {
    title("The server is ended, and nothing is left");
    host.end()?;
    eventually("the end of the unikernel", || host.tenders().is_empty().then_some(()))?;
    match host.left_behind() {
        left if left.is_empty() => {
            say("no process, no fifo, no image");
            Ok(())
        }
        left => {
            Err(Failure::Unexpected { command: "the end of the daemons".to_owned(), what: left.join(", ") })
        }
    }
}

fn missing(what: &str) -> Failure {
    Failure::Unexpected { command: "quickstart".to_owned(), what: format!("there is not {what}") }
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn title(text: &str) {
    println!("\n== {text}");
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn typed(command: &str) {
    println!("$ {command}");
}

#[expect(clippy::print_stdout, reason = "it talks to a person")]
fn say(text: &str) {
    println!("  {text}");
}
