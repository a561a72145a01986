//! `docs/swap-in.md`: from the programs of OCaml's albatross to ours one at a time, and back.
//!
//! Those are not part of this repository: `ALBATROSS_OCAML` names the directory of their programs. Without it a test
//! says so and passes, as it does without root and /dev/net/tun.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use albatross_e2e::run::{kill, run};
use albatross_e2e::{Daemon, Finished, Pki, Programs, eventually, processes};
use nix::sys::signal::Signal;

#[allow(dead_code, reason = "taps are of no concern here")]
mod namespace;

/// Names the directory of the programs of OCaml's albatross.
const VARIABLE: &str = "ALBATROSS_OCAML";
/// Where the endpoint listens: the network is the test's own.
const PORT: u16 = 1025;

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ocaml,
    Ours,
}

/// A host on which daemons of both run.
struct Site {
    ocaml: PathBuf,
    programs: Programs,
    directory: tempfile::TempDir,
    pki: Pki,
    running: BTreeMap<&'static str, Daemon>,
    /// Unikernels that were created, so that each gets a name of its own.
    created: usize,
}

impl Site {
    fn new(ocaml: PathBuf, programs: Programs) -> Self {
        let directory = tempfile::Builder::new().prefix("albatross-").tempdir().unwrap();
        for name in ["run/util", "run/fifo", "db/block", "log"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        fs::copy(programs.path("albatross-spt"), directory.path().join("db/solo5-spt")).unwrap();
        let pki = Pki::generate(&programs, &directory.path().join("pki")).unwrap();
        pki.intermediate("ca", "alice", 8, &["--mem", "256", "--cpu", "0", "--block", "100"]).unwrap();
        Self { ocaml, programs, directory, pki, running: BTreeMap::new(), created: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, whose: Whose, name: &str) -> PathBuf {
        match whose {
            Whose::Ocaml => self.ocaml.join(name),
            Whose::Ours => self.programs.path(name),
        }
    }

    /// Ends the program with this name, if it runs, and starts this one in its place.
    fn swap(&mut self, name: &'static str, whose: Whose) {
        self.stop(name);
        println!("{name}: {whose:?}");
        let mut command = Command::new(self.program(whose, name));
        command.arg("--tmpdir").arg(self.path("run")).stdin(Stdio::null());
        match name {
            "albatrossd" => drop(command.arg("-v").arg("--dbdir").arg(self.path("db"))),
            "albatross-stats" => drop(command.args(["--interval", "1"])),
            "albatross-tls-endpoint" => drop(command.args(self.pki.server())),
            _ => {}
        }
        let log = self.path("log").join(format!("{name}-{whose:?}"));
        let mut daemon = Daemon::start(name, command, &log).unwrap();
        let socket = |name: &str| UnixStream::connect(self.path("run/util").join(name)).ok().map(drop);
        let ready = || match name {
            "albatross-console" => socket("console.sock"),
            "albatrossd" => socket("vmmd.sock"),
            "albatross-stats" => socket("stat.sock"),
            _ => TcpStream::connect(("127.0.0.1", PORT)).ok().map(drop),
        };
        daemon.ready("its socket", ready).unwrap();
        self.running.insert(name, daemon);
    }

    fn stop(&mut self, name: &str) {
        if let Some(daemon) = self.running.remove(name) {
            daemon.terminate().unwrap();
        }
    }

    /// A client on the host.
    fn local(&self, whose: Whose, arguments: &[&str]) -> Finished {
        let mut command = Command::new(self.program(whose, "albatross-client"));
        command.args(arguments).arg("--tmpdir").arg(self.path("run")).current_dir(self.path("pki"));
        run(&mut command).unwrap()
    }

    /// A client elsewhere, with the key of alice.
    fn remote(&self, whose: Whose, arguments: &[&str]) -> Finished {
        let mut command = Command::new(self.program(whose, "albatross-client"));
        let destination = format!("127.0.0.1:{PORT}");
        command.args(arguments).args(["-d", &destination, "--ca", "alice.pem", "--ca-key", "alice.key"]);
        command.current_dir(self.path("pki")).env("TMPDIR", self.path("pki"));
        run(&mut command).unwrap()
    }

    fn create(&mut self, whose: Whose) -> String {
        self.created += 1;
        let name = format!("alice:new{}", self.created);
        let image = self.programs.guest("tick");
        let created = self.local(whose, &["create", &name, image.to_str().unwrap(), "--mem", "16"]);
        created.assert(0, "created");
        name
    }

    /// The first line of `kind` that a client which goes on prints.
    fn follows(&self, whose: Whose, arguments: &[&str], line: &str) {
        let mut command = Command::new(self.program(whose, "albatross-client"));
        command.args(arguments).arg("--tmpdir").arg(self.path("run"));
        let out = self.path("log/follows");
        let file = fs::File::create(&out).unwrap();
        let mut child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        let seen = eventually(&format!("{line} of {arguments:?}"), || {
            fs::read_to_string(&out).ok().filter(|text| text.contains(line)).map(drop)
        });
        kill(&mut child);
        seen.unwrap_or_else(|error| panic!("{error}: {}", fs::read_to_string(&out).unwrap()));
    }

    /// All that a user of this host has is there, whoever asks. `creates`: what the next one creates is, too.
    fn everything_is_there(&mut self, creates: bool) {
        for whose in [Whose::Ocaml, Whose::Ours] {
            // Where albatrossd has just begun, it is being started.
            let runs = || self.local(whose, &["info"]).text().contains("alice:tick").then_some(());
            eventually("alice:tick to run", runs).unwrap();
            self.local(whose, &["policy"]).assert(0, "256 MB");
            self.local(whose, &["block"]).assert(0, "alice:disk");
            self.remote(whose, &["info"]).assert(0, "tick");
            self.follows(whose, &["console", "alice:tick"], "tick ");
            // OCaml's client names no unikernel here.
            let of_tick = if whose == Whose::Ocaml { "maxrss" } else { "alice:tick" };
            self.follows(whose, &["stats"], of_tick);
            if creates {
                let name = self.create(whose);
                self.follows(whose, &["console", &name], "tick ");
                self.local(whose, &["destroy", &name]).assert(0, "destroyed");
            }
        }
    }

    /// The process of the tender of this unikernel.
    fn tender(&self) -> i32 {
        let run = self.path("run");
        eventually("the tender", || {
            let found = processes::mentioning(run.to_str().unwrap());
            let of_tick = |line: &str| line.contains("solo5-spt") && line.contains("tick");
            found.iter().find(|(_, line)| of_tick(line)).map(|(pid, _)| *pid)
        })
        .unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(self.path("log")).unwrap() {
                let path = entry.unwrap().path();
                println!("{}:\n{}", path.display(), fs::read_to_string(&path).unwrap_or_default());
            }
        }
        self.running.clear();
        for (pid, _) in processes::mentioning(self.directory.path().to_str().unwrap()) {
            processes::signal(pid, Signal::SIGKILL);
        }
    }
}

#[test]
fn each_program_is_swapped_alone_and_back() {
    let Some(ocaml) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        println!("skipped: needs {VARIABLE}, the directory of the programs of OCaml's albatross");
        return;
    };
    namespace::in_new_network(move || {
        namespace::ip("link set lo up");
        let programs = Programs::for_tests().unwrap().clone();
        let mut site = Site::new(ocaml, programs);
        use Whose::{Ocaml, Ours};
        for name in ["albatross-console", "albatrossd", "albatross-stats", "albatross-tls-endpoint"] {
            site.swap(name, Ocaml);
        }
        site.local(Ocaml, &["add-policy", "alice", "8", "--mem", "256", "--cpu", "0", "--block", "100"])
            .assert(0, "added");
        site.local(Ocaml, &["create-block", "alice:disk", "2"]).assert(0, "added");
        let image = site.programs.guest("tick").display().to_string();
        site.local(Ocaml, &["create", "alice:tick", &image, "--mem", "16"]).assert(0, "created");
        site.everything_is_there(true);

        // There.
        let (before, state) = (site.tender(), site.path("db/state"));
        site.swap("albatrossd", Ours);
        assert!(site.running["albatrossd"].log().contains("took over 1 unikernels"));
        let octets = fs::read(&state).unwrap();
        site.everything_is_there(true);
        let tender = site.tender();
        assert_ne!(tender, before, "OCaml's albatrossd stops what runs");
        for name in ["albatross-console", "albatross-stats", "albatross-tls-endpoint"] {
            site.swap(name, Ours);
            site.everything_is_there(true);
            assert_eq!(site.tender(), tender, "{name} was swapped, and the unikernel ended");
        }
        assert_eq!(fs::read(&state).unwrap(), octets, "nothing changes OCaml's state");
        let kept = site.create(Ours);

        // Back.
        for name in ["albatross-tls-endpoint", "albatross-stats", "albatross-console"] {
            site.swap(name, Ocaml);
            site.everything_is_there(true);
            assert_eq!(site.tender(), tender, "{name} was swapped, and the unikernel ended");
        }
        export(&site, &site.path("db/state.new"));
        site.stop("albatrossd");
        fs::rename(site.path("db/state.new"), &state).unwrap();
        site.swap("albatrossd", Ocaml);
        site.everything_is_there(true);
        site.local(Ocaml, &["info"]).assert(0, &kept);
    });
}

fn export(site: &Site, to: &Path) {
    let mut command = Command::new(site.program(Whose::Ours, "albatrossd"));
    command.arg("--tmpdir").arg(site.path("run")).arg("--dbdir").arg(site.path("db"));
    run(command.arg("--export-state").arg(to)).unwrap().assert(0, "");
}
