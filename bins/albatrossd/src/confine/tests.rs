//! What is confined, asked of a shell that is started in place of a tender. Needs root; without it a test
//! says so and passes.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Uid, chown, pipe2};

use super::*;

/// An id that nobody has, not even another test.
const USER: u32 = 1_300_000;
const SHELL: &str = "/bin/sh";

struct Place {
    directory: tempfile::TempDir,
    confinement: Confinement,
}

impl Place {
    /// `None` without root.
    fn new() -> Option<Self> {
        if !geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let stage = directory.path().join("stage");
        make(&stage).unwrap();
        let confinement = Confinement { users: None, stage, groups: Groups::NONE };
        Some(Self { directory, confinement })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn view() -> View {
        let shell = Path::new(SHELL);
        needs(shell).unwrap().iter().fold(View::default().read(shell), |view, path| view.read(path))
    }

    /// What the shell printed, and whether it ended well; or why it was not started.
    fn run(&self, view: View, limits: Limits, script: &str) -> Result<(String, bool), String> {
        let null = File::open("/dev/null").unwrap();
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let started = launch(
            &self.confinement,
            &Launch {
                program: Path::new(SHELL),
                arguments: &[b"-c".to_vec(), script.as_bytes().to_vec()],
                streams: [null.as_fd(), writer.as_fd(), writer.as_fd()],
                descriptors: &[],
                cpus: None,
                own: Some((view, USER)),
                uses: Uses::default(),
                group: None,
                limits,
            },
        );
        let pid = started.map_err(|error| error.to_string())?;
        drop(writer);
        let mut printed = String::new();
        File::from(reader).read_to_string(&mut printed).unwrap();
        Ok((printed, matches!(waitpid(pid, None).unwrap(), WaitStatus::Exited(_, 0))))
    }
}

#[test]
fn a_tender_writes_to_its_block_device_and_neither_beyond_it_nor_to_its_image() {
    let Some(place) = Place::new() else { return };
    let (block, other, image) = (place.path("block"), place.path("other"), place.path("image"));
    for (path, content) in [(&block, "content!"), (&other, "secret"), (&image, "image")] {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(&image, fs::Permissions::from_mode(0o444)).unwrap();
    chown(&block, Some(Uid::from_raw(USER)), None).unwrap();
    let view = || Place::view().read(&image).write(&block);
    let limits = Limits { file_size: Some(8), ..Limits::default() };
    let run = |script: String| place.run(view(), limits, &script).unwrap();
    let (block, other, image) = (block.display(), other.display(), image.display());
    assert_eq!(run(format!("read x < {image}; echo $x; printf new 1<> {block}")), ("image\n".into(), true));
    assert_eq!(fs::read(place.path("block")).unwrap(), b"newtent!");
    for refused in [
        format!("read x < {other}"),
        format!(": >> {image}"),
        format!("printf 123456789 > {block}; true"),
        format!("{block}"),
        ": > /planted".to_owned(),
        format!(": > {}", place.path("planted").display()),
    ] {
        let (printed, well) = run(format!("{refused} || exit 1"));
        assert!(!well, "{refused}: {printed}");
    }
    assert_eq!(fs::metadata(place.path("block")).unwrap().len(), 8);
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 4, "nothing was planted");
    assert_eq!(fs::read_dir(place.path("stage")).unwrap().count(), 0, "the view shows nowhere");
}

#[test]
fn devices_are_there_for_who_needs_them() {
    let Some(place) = Place::new() else { return };
    let opens =
        |view: View, device: &str| place.run(view, Limits::default(), &format!(": <> {device}")).unwrap().1;
    for (device, view) in [
        ("/dev/net/tun", View::taps as fn(View, bool) -> View),
        ("/dev/kvm", View::virtual_machines as fn(View, bool) -> View),
    ] {
        assert!(!opens(view(Place::view(), false), device));
        if File::options().read(true).write(true).open(device).is_err() {
            println!("skipped: needs {device}");
            continue;
        }
        assert!(opens(view(Place::view(), true), device), "{device}");
    }
}

#[test]
fn what_cannot_be_put_into_a_view_is_named() {
    let Some(place) = Place::new() else { return };
    let missing = place.path("missing");
    let why = place.run(Place::view().read(&missing), Limits::default(), "true").unwrap_err();
    assert_eq!(
        why,
        format!("putting into its view {}: No such file or directory (os error 2)", missing.display())
    );
    let without = View::default().read(Path::new(SHELL));
    let why = place.run(without, Limits::default(), "true").unwrap_err();
    assert_eq!(why, "running the program: No such file or directory (os error 2)");
}

#[test]
fn a_held_process_is_not_the_program_yet_and_ends_with_who_holds_it() {
    let Some(place) = Place::new() else { return };
    let null = File::open("/dev/null").unwrap();
    let shell = Launch {
        program: Path::new(SHELL),
        arguments: &[b"-c".to_vec(), b"kill -STOP $$".to_vec()],
        streams: [null.as_fd(), null.as_fd(), null.as_fd()],
        descriptors: &[],
        cpus: None,
        own: Some((Place::view(), USER)),
        uses: Uses::default(),
        group: None,
        limits: Limits::default(),
    };
    let program = |pid: nix::unistd::Pid| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let held = hold(&place.confinement, &shell).unwrap();
    let pid = held.pid();
    assert_eq!(program(pid), std::env::current_exe().unwrap());
    drop(held);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let pid = launch(&place.confinement, &shell).unwrap();
    assert_eq!(program(pid), Path::new(SHELL));
    let session = (nix::unistd::getsid(Some(pid)), nix::unistd::getpgid(Some(pid)));
    assert_eq!(session, (Ok(pid), Ok(pid)), "no signal to a group or terminal reaches it");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    waitpid(pid, None).unwrap();
}

/// A control group of version 2, where one can be made.
fn control_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    let path = Path::new(mount.split(' ').nth(1)?).join(format!("albatross-launch-{}", std::process::id()));
    fs::create_dir(&path).ok().map(|()| path)
}

#[test]
fn a_process_is_in_its_control_group_from_the_start() {
    let Some(place) = Place::new() else { return };
    let Some(group) = control_group() else {
        return println!("skipped: needs control groups of version 2 that it may make");
    };
    let (null, opened) = (File::open("/dev/null").unwrap(), File::open(&group).unwrap());
    let shell = Launch {
        program: Path::new(SHELL),
        arguments: &[b"-c".to_vec(), b"kill -STOP $$".to_vec()],
        streams: [null.as_fd(), null.as_fd(), null.as_fd()],
        descriptors: &[],
        cpus: None,
        own: Some((Place::view(), USER)),
        uses: Uses::default(),
        group: Some(opened.as_fd()),
        limits: Limits::default(),
    };
    let held = hold(&place.confinement, &shell).unwrap();
    let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    assert_eq!((held.is_in_group(), inside), (true, format!("{}\n", held.pid())));
    drop(held);
    // What is no group is none to start in: it has to be moved.
    let held = hold(&place.confinement, &Launch { group: Some(null.as_fd()), ..shell }).unwrap();
    assert!(!held.is_in_group());
    drop(held);
    fs::remove_dir(&group).unwrap();
}
