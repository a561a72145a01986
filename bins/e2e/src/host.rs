//! A host: directories of its own, the daemons on them, a client.

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::run::run;
use crate::{Daemon, Failure, Finished, Programs, eventually, processes};

/// A host. When it is dropped its daemons are ended, whatever they left running is killed, and its
/// directories are removed.
#[derive(Debug)]
pub struct Host {
    endpoint: Option<(Daemon, u16)>,
    albatrossd: Option<Daemon>,
    console: Option<Daemon>,
    events: Option<Daemon>,
    programs: Programs,
    /// Daemons get a process group of their own, so that Ctrl-C does not reach them.
    detached: bool,
    /// Everything is left as it is when this is dropped.
    left: bool,
    directory: TempDir,
}

impl Host {
    /// The directories of a host; nothing runs yet.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn new(programs: &Programs) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("albatross-").tempdir();
        let directory = directory.map_err(|error| Failure::io("make", &std::env::temp_dir(), error))?;
        for name in ["run/util", "run/fifo", "db/block", "log", "work", "events"] {
            let path = directory.path().join(name);
            fs::create_dir_all(&path).map_err(|error| Failure::io("make", &path, error))?;
        }
        Ok(Self {
            endpoint: None,
            albatrossd: None,
            console: None,
            events: None,
            programs: programs.clone(),
            detached: false,
            left: false,
            directory,
        })
    }

    /// The same, with daemons that are to outlive this process: see [`Self::leave`].
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// A host for a test, on which albatross-console and albatrossd serve.
    ///
    /// # Errors
    /// Where the programs do not build or do not start.
    pub fn for_test() -> Result<Self, Failure> {
        let mut host = Self::new(Programs::for_tests()?)?;
        host.start_console(&[])?;
        host.start_albatrossd(&[])?;
        Ok(host)
    }

    /// Starts albatross-console and waits until it serves.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start_console(&mut self, options: &[&str]) -> Result<(), Failure> {
        let mut command = self.daemon_command("albatross-console");
        command.args(options);
        let mut daemon = self.start("albatross-console", command)?;
        wait_for_socket(&mut daemon, &self.socket("console"))?;
        self.console = Some(daemon);
        Ok(())
    }

    /// Starts albatross-log and waits until it serves.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start_log(&mut self, options: &[&str]) -> Result<(), Failure> {
        let mut command = self.daemon_command("albatross-log");
        command.arg("--logfile").arg(self.event_log()).args(options);
        let mut daemon = self.start("albatross-log", command)?;
        wait_for_socket(&mut daemon, &self.socket("log"))?;
        self.events = Some(daemon);
        Ok(())
    }

    /// The file of the event log.
    #[must_use]
    pub fn event_log(&self) -> PathBuf {
        self.directory.path().join("events/log")
    }

    /// albatross-log, where it runs.
    pub const fn events(&mut self) -> Option<&mut Daemon> {
        self.events.as_mut()
    }

    /// Takes albatross-log out of the host, to end it.
    pub const fn take_events(&mut self) -> Option<Daemon> {
        self.events.take()
    }

    /// Starts albatrossd and waits until it serves.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start_albatrossd(&mut self, options: &[&str]) -> Result<(), Failure> {
        self.start_albatrossd_at(&self.programs.path("albatrossd"), options)
    }

    /// The same, from this file.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start_albatrossd_at(&mut self, program: &Path, options: &[&str]) -> Result<(), Failure> {
        let mut command = self.daemon_command_at(program);
        command.arg("--dbdir").arg(self.dbdir()).args(options);
        let mut daemon = self.start("albatrossd", command)?;
        wait_for_socket(&mut daemon, &self.socket("vmmd"))?;
        self.albatrossd = Some(daemon);
        Ok(())
    }

    /// Starts albatross-tls-endpoint on a port that the kernel chose, and waits until it serves.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start_endpoint(&mut self, ca: &Path, cert: &Path, key: &Path) -> Result<u16, Failure> {
        let mut command = self.daemon_command("albatross-tls-endpoint");
        command.args([ca, cert, key]).args(["--ip", "127.0.0.1", "--port", "0"]);
        let mut daemon = self.start("albatross-tls-endpoint", command)?;
        let port = daemon.ready("its port", || port_in(&self.log("albatross-tls-endpoint")))?;
        self.endpoint = Some((daemon, port));
        Ok(port)
    }

    /// Starts another daemon beside these, which ends when what is returned is dropped; where it has a socket, waits
    /// until it answers there.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start_beside(
        &self,
        name: &str,
        socket: Option<&str>,
        options: &[&str],
    ) -> Result<Daemon, Failure> {
        let mut command = self.daemon_command(name);
        command.args(options);
        let mut daemon = self.start(name, command)?;
        if let Some(socket) = socket {
            wait_for_socket(&mut daemon, &self.socket(socket))?;
        }
        Ok(daemon)
    }

    /// A client on this host with these arguments.
    #[must_use]
    pub fn client_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.path("albatross-client"));
        command.arg("--tmpdir").arg(self.tmpdir()).args(arguments);
        command.current_dir(self.work()).env("TMPDIR", self.work());
        command
    }

    /// Runs a client on this host.
    ///
    /// # Errors
    /// Where it does not start or does not end.
    pub fn client(&self, arguments: &[&str]) -> Result<Finished, Failure> {
        run(&mut self.client_command(arguments))
    }

    /// `create NAME` with a guest from `bins/guests` and these options; in 2 MB unless they say otherwise.
    ///
    /// # Errors
    /// Where the client does not start or does not end.
    pub fn create(&self, name: &str, guest: &str, options: &[&str]) -> Result<Finished, Failure> {
        let image = self.programs.guest(guest);
        let mut command = self.client_command(&["create", name]);
        command.arg(image).args(options);
        if !options.iter().any(|option| option.starts_with("--mem")) {
            command.args(["--mem", "2"]);
        }
        run(&mut command)
    }

    /// What `console NAME` shows first: lines recorded so far, without their times.
    ///
    /// # Errors
    /// Where the console daemon does not answer.
    pub fn console_lines(&self, name: &str, count: usize) -> Result<Vec<String>, Failure> {
        crate::console::lines(&self.socket("console"), name, count)
    }

    /// Waits until the last lines of a console are these.
    ///
    /// # Errors
    /// Where they do not come; the error has those that did.
    pub fn console_ends_with(&self, name: &str, lines: &[&str]) -> Result<(), Failure> {
        let mut seen = Vec::new();
        let found = eventually("lines on the console", || {
            seen = self.console_lines(name, lines.len()).ok()?;
            (seen == lines).then_some(())
        });
        found.map_err(|failure| match failure {
            Failure::Late { patience, .. } => {
                Failure::Late { what: format!("{lines:?} on the console of {name}, saw {seen:?}"), patience }
            }
            other => other,
        })
    }

    /// What the daemon of this program logged, since the host is there.
    #[must_use]
    pub fn log(&self, program: &str) -> String {
        let octets = fs::read(self.directory.path().join("log").join(program)).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// albatrossd, where it runs.
    pub const fn albatrossd(&mut self) -> Option<&mut Daemon> {
        self.albatrossd.as_mut()
    }

    /// albatross-console, where it runs.
    pub const fn console(&mut self) -> Option<&mut Daemon> {
        self.console.as_mut()
    }

    /// albatross-tls-endpoint, where it runs.
    pub fn endpoint(&mut self) -> Option<&mut Daemon> {
        self.endpoint.as_mut().map(|(daemon, _)| daemon)
    }

    /// Takes albatrossd out of the host, to end it.
    pub const fn take_albatrossd(&mut self) -> Option<Daemon> {
        self.albatrossd.take()
    }

    /// Takes albatross-console out of the host, to end it.
    pub const fn take_console(&mut self) -> Option<Daemon> {
        self.console.take()
    }

    /// The port of the endpoint; 0 where it does not run.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.endpoint.as_ref().map_or(0, |(_, port)| *port)
    }

    /// The tenders that run for this host, with their command lines.
    #[must_use]
    pub fn tenders(&self) -> Vec<(i32, String)> {
        let all = processes::mentioning(&self.text(&self.tmpdir()));
        all.into_iter().filter(|(_, line)| line.contains(" --mem=")).collect()
    }

    /// Sockets, fifos, images and notes of tenders that are there.
    #[must_use]
    pub fn left_behind(&self) -> Vec<String> {
        let run = self.tmpdir();
        let mut names = processes::names_in(&run);
        names.retain(|name| !["util", "fifo", "running"].contains(&name.as_str()));
        for directory in ["fifo", "running"] {
            let inside = processes::names_in(&run.join(directory)).into_iter();
            names.extend(
                inside
                    .filter(|name| ![".boot", ".lock"].contains(&name.as_str()))
                    .map(|name| format!("{directory}/{name}")),
            );
        }
        names
    }

    /// The socket of the daemon `vmmd`, `console`, ..
    #[must_use]
    pub fn socket(&self, daemon: &str) -> PathBuf {
        self.tmpdir().join("util").join(format!("{daemon}.sock"))
    }

    /// Where sockets, fifos and images are.
    #[must_use]
    pub fn tmpdir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Where the record and the block devices are.
    #[must_use]
    pub fn dbdir(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    /// Where clients run and write their files.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// The programs that run here.
    #[must_use]
    pub const fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The daemons that run, the endpoint first.
    pub fn daemons(&self) -> impl Iterator<Item = &Daemon> {
        let endpoint = self.endpoint.as_ref().map(|(daemon, _)| daemon);
        let others = [self.albatrossd.as_ref(), self.console.as_ref(), self.events.as_ref()];
        endpoint.into_iter().chain(others.into_iter().flatten())
    }

    /// Ends the daemons by SIGTERM.
    ///
    /// # Errors
    /// Where one does not end, or not with success.
    pub fn end(&mut self) -> Result<(), Failure> {
        let endpoint = self.endpoint.take().map(|(daemon, _)| daemon);
        let others = [self.albatrossd.take(), self.console.take(), self.events.take()];
        for daemon in endpoint.into_iter().chain(others.into_iter().flatten()) {
            let (program, log) = (daemon.command().to_owned(), daemon.log());
            let status = daemon.terminate()?;
            if !status.success() {
                return Err(Failure::Ended { program, status, log });
            }
        }
        Ok(())
    }

    /// Leaves everything running, and returns the directory that somebody else removes.
    #[must_use]
    pub fn leave(mut self) -> PathBuf {
        let endpoint = self.endpoint.take().map(|(daemon, _)| daemon);
        for daemon in [endpoint, self.albatrossd.take(), self.console.take(), self.events.take()] {
            std::mem::forget(daemon);
        }
        self.left = true;
        self.directory.disable_cleanup(true);
        self.directory.path().to_owned()
    }

    fn start(&self, name: &str, command: Command) -> Result<Daemon, Failure> {
        Daemon::start(name, command, &self.directory.path().join("log").join(name))
    }

    fn daemon_command(&self, name: &str) -> Command {
        self.daemon_command_at(&self.programs.path(name))
    }

    fn daemon_command_at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--tmpdir").arg(self.tmpdir()).arg("-v");
        if self.detached {
            command.process_group(0);
        }
        command
    }

    fn text(&self, path: &Path) -> String {
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.endpoint = None;
        self.albatrossd = None;
        self.console = None;
        self.events = None;
        for (pid, _) in self.tenders() {
            processes::signal(pid, Signal::SIGKILL);
        }
    }
}

fn wait_for_socket(daemon: &mut Daemon, path: &Path) -> Result<(), Failure> {
    daemon.ready(&format!("an answer on {}", path.display()), || UnixStream::connect(path).ok()).map(drop)
}

/// The port that the endpoint says it listens on; the last one that it said.
fn port_in(log: &str) -> Option<u16> {
    let (_, address) = log.rsplit_once("listening on ")?;
    address.lines().next().filter(|_| address.contains('\n'))?.rsplit(':').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_a_whole_line() {
        assert_eq!(
            port_in("x: [INFO] listening on 127.0.0.1:80\nx: [INFO] listening on [::]:4711\n"),
            Some(4711)
        );
        assert_eq!(port_in("x: [INFO] listening on 127.0.0.1:47"), None);
        assert_eq!(port_in(""), None);
    }
}
