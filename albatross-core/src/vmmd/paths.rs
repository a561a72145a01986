//! A name is not a path: whatever name a client makes up, every file that the machine speaks of lies
//! directly below its directory, and nothing of a command line can be taken for something else.

use albatross_proto::{
    Arguments, BlockCommand, Command, Config as UnikernelConfig, Int, NetDevice, Success, Time, Typ,
    UnikernelCommand,
};
use proptest::prelude::*;

use albatross_proto::reply::Exit;
use albatross_proto::state::Record;

use super::*;

const IMAGE: &[u8] = include_bytes!("../../../testdata/images/spt-net-service.elf");
const TMPDIR: &str = "/run/albatross";
const DBDIR: &str = "/var/lib/albatross";
const READERS: u32 = 100_000;

/// Text of every kind that might be a name: what the parser takes, and what it has to refuse.
fn texts() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        "[a-z0-9.][a-z0-9.-]{0,8}",
        Just(".".to_owned()),
        Just("..".to_owned()),
        "[.]{1,63}",
        "[A-Z]{60,63}",
        "[a-z0-9./\\\\%$\0\n:= -]{0,10}",
    ];
    let names = (proptest::collection::vec(label, 0..8), any::<bool>());
    names.prop_map(|(labels, rooted)| format!("{}{}", if rooted { ":" } else { "" }, labels.join(":")))
}

/// Asserts that `path` is a file directly below one of the machine's directories.
fn check_path(path: &Path) {
    let run = Path::new(TMPDIR);
    let db = Path::new(DBDIR);
    let directories = [
        run.to_owned(),
        run.join("fifo"),
        run.join("running"),
        db.to_owned(),
        db.join("images"),
        db.join("block"),
    ];
    // As text: the components of a path have `.` left out already.
    let text = path.to_str().expect("text");
    let (directory, file) = text.rsplit_once('/').expect("absolute");
    assert!(directories.iter().any(|allowed| allowed == Path::new(directory)), "{path:?}");
    assert!(!["", ".", ".."].contains(&file) && file.len() <= MAX_FILE_NAME, "{path:?}");
    assert!(!text.contains('\0') && !text.contains("/../") && !text.contains("/./"), "{path:?}");
}

/// Asserts that what a tender is given means what it says: options, `--`, the image, what is the guest's.
fn check_spawn(spawn: &Spawn, name: &Name) {
    let Reach { image, blocks, .. } = &spawn.reach;
    [image, &spawn.fifo, &spawn.note.path].into_iter().chain(blocks).for_each(|path| check_path(path));
    let line: Vec<String> =
        spawn.arguments.iter().map(|word| String::from_utf8(word.by_name()).expect("text")).collect();
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let end = line.iter().position(|word| *word == "--").expect("an end of the options");
    assert!(
        line[..end].iter().all(|word| word.starts_with("--mem=") || word.starts_with("--net")),
        "{line:?}"
    );
    assert_eq!(Path::new(line[end + 1]), image);
    assert_eq!(
        line[end + 2].strip_prefix("--name=").map(str::to_owned),
        name.label().map(ToString::to_string)
    );
    assert_eq!(line[end + 3..], ["--", "/etc/passwd"], "the guest's own, behind the image");
    assert!(line.iter().all(|word| !word.contains('\0')), "{line:?}");
    assert!(spawn.user.is_some_and(|user| user > READERS));
    let group = spawn.group.as_ref().expect("a group");
    assert_eq!(&group.name, name);
    check_group(name);
}

/// The directory of a control group is one component, and no file of the kernel's.
fn check_group(name: &Name) {
    let directory = Group::directory(name);
    assert!(
        directory.starts_with("vmm-") && !directory.contains('/') && directory.len() <= 255,
        "{directory:?}"
    );
    assert_eq!(Group::unikernel(&directory).as_ref(), Some(name));
}

/// Carries out what the machine wants, and looks at every path of it. Exhaustive, so that whoever adds a
/// task has to say here which paths it carries.
fn carry_out(output: &Output, name: &Name) -> Option<Input> {
    let (id, task) = match output {
        Output::Task(id, task) => (*id, task),
        Output::ConnectConsole => return Some(Input::ConsoleConnected),
        Output::SendConsole(message) => {
            let header = Wire::decode(message).expect("a message").header;
            let answer = Wire::new(header, Payload::Success(Success::Empty)).encode();
            return Some(Input::ConsoleFrame(answer.expect("encodes")));
        }
        Output::ConnectLog => return Some(Input::LogClosed),
        Output::SendLog(_) | Output::CloseLog => return None,
        Output::Kill(pid, _) => {
            return Some(Input::Exited { pid: *pid, exit: Some(Exit::Exited(Int::ZERO)) });
        }
        Output::RemoveFile(path) => {
            check_path(path);
            return None;
        }
        Output::RemoveTap(tap) => {
            assert_eq!(tap, "vmmtap0");
            return None;
        }
        Output::TakeBackBlocks(files) => {
            files.iter().for_each(|file| check_path(file));
            return None;
        }
        Output::Note(_, note) => {
            check_path(&note.path);
            return None;
        }
        Output::RemoveGroup(group)
        | Output::KillGroup(group)
        | Output::LimitGroup(Group { name: group, .. }) => {
            check_group(group);
            return None;
        }
        Output::OpenSpool(_) | Output::FillSpool(..) | Output::DropSpool(_) => return None,
        Output::EndStream(_) => return None,
        Output::Send(..) | Output::Close(_) | Output::Log(..) | Output::StopListening | Output::Exit => {
            return None;
        }
    };
    let mut outcome = Outcome::Done;
    match task {
        Task::MakeFifo { path } | Task::Persist { path, .. } | Task::Append { path, .. } => check_path(path),
        Task::SendImage { path, .. } => check_path(path),
        Task::LookAtHost => return Some(Input::Done(id, Err(TaskFailure("not looked at".to_owned())))),
        Task::StoreImage { .. } => {
            let image = crate::image::inspect(IMAGE).expect("an image");
            outcome = Outcome::Stored { digest: crate::image::digest(IMAGE), image };
        }
        Task::InspectImage { path, .. } => {
            check_path(path);
            outcome = Outcome::Inspected(crate::image::inspect(IMAGE).expect("an image"));
        }
        Task::MakeBlock { file, .. }
        | Task::FillBlock { file, .. }
        | Task::ReceiveBlock { file, .. }
        | Task::SendBlock { file, .. } => {
            check_path(&file.path);
            check_path(&file.unfinished);
            assert_ne!(file.path, file.unfinished);
        }
        Task::RemoveBlock { path } => check_path(path),
        Task::PlaceImage { from, to } => [from, to].into_iter().for_each(|path| check_path(path)),
        Task::FindTender { .. } => outcome = Outcome::Tender(PathBuf::from("/usr/bin/solo5-spt")),
        Task::MakeTap { bridge, owner } => {
            assert_eq!(bridge, "service");
            assert!(owner.is_some_and(|user| user > READERS));
            outcome = Outcome::Tap("vmmtap0".to_owned());
        }
        Task::Spawn(spawn) => {
            check_spawn(spawn, name);
            outcome = Outcome::Process(1);
        }
    }
    Some(Input::Done(id, Ok(outcome)))
}

struct Walk {
    vmmd: Vmmd,
    spawned: usize,
    refused: usize,
}

impl Walk {
    fn new() -> Self {
        let config = Config {
            tmpdir: TMPDIR.into(),
            dbdir: DBDIR.into(),
            drop_path: true,
            overcommit: Overcommit::default(),
        };
        let range = UserRange::new(READERS, 10).expect("a range");
        let mut walk = Self { vmmd: Vmmd::new(config).with_users(range), spawned: 0, refused: 0 };
        let host = Policy {
            cpuids: [Int::ZERO].into(),
            unikernels: Int::from(9),
            memory: Int::from(999),
            block: Some(Int::from(999)),
            bridges: [Text::from("service")].into(),
        };
        let begin = Input::Begin { host, record: Record::default(), seed: [3; 32], left: Left::default() };
        walk.input(&Name::default(), Input::Groups(Vec::new()));
        walk.input(&Name::default(), begin);
        walk
    }

    fn input(&mut self, name: &Name, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = Now {
                monotonic: Duration::from_secs(1),
                wall: Time::from_unix(1_700_000_000, 0).expect("time"),
            };
            for output in self.vmmd.handle(now, input) {
                self.spawned += usize::from(matches!(output, Output::Task(_, Task::Spawn(_))));
                self.refused += usize::from(matches!(&output, Output::Send(_, message)
                    if matches!(Wire::decode(message).expect("a message").payload, Payload::Failure(_))));
                inputs.extend(carry_out(&output, name));
            }
        }
    }

    fn ask(&mut self, name: &Name, command: Command<'_>) {
        let message = Wire::new(Header::new(0, name.clone()), Payload::Command(command)).encode();
        self.input(name, Input::Connected(ClientId(1)));
        self.input(name, Input::Frame(ClientId(1), message.expect("encodes")));
        self.input(name, Input::Closed(ClientId(1)));
    }
}

fn unikernel() -> UnikernelConfig<'static> {
    let arguments = Arguments {
        net_devices: vec![NetDevice { name: Text::from("service"), bridge: None, mac: None }],
        argv: Some(vec![Text::from("--"), Text::from("/etc/passwd")]),
        ..Arguments::new()
    };
    UnikernelConfig { typ: Typ::Solo5, compressed: false, image: IMAGE.into(), arguments }
}

proptest! {
    #[test]
    fn whatever_name_the_parser_takes_every_file_stays_below_its_directory(text in texts()) {
        let Ok(name) = text.parse::<Name>() else { return Ok(()) };
        let mut walk = Walk::new();
        walk.ask(&name, Command::Unikernel(UnikernelCommand::Create(unikernel())));
        prop_assert_eq!(walk.spawned + walk.refused, 1, "started or refused");
        if walk.spawned == 1 {
            walk.ask(&name, Command::Unikernel(UnikernelCommand::Restart(None)));
            prop_assert_eq!(walk.spawned, 2);
        }
        walk.ask(&name, Command::Unikernel(UnikernelCommand::Destroy));
    }

    #[test]
    fn whatever_the_name_of_a_block_device_its_files_stay_in_their_directory(text in texts()) {
        let Ok(name) = text.parse::<Name>() else { return Ok(()) };
        let mut walk = Walk::new();
        let data = || std::borrow::Cow::Borrowed(&b"x"[..]);
        for command in [
            BlockCommand::Add(Int::ONE),
            BlockCommand::Set { compressed: false },
            BlockCommand::SetOld { compressed: false, data: data() },
            BlockCommand::Dump(Int::ZERO),
            BlockCommand::DumpOld(Int::ONE),
            BlockCommand::Remove,
            BlockCommand::AddOld { size: Int::ONE, compressed: true, data: Some(data()) },
        ] {
            walk.ask(&name, Command::Block(command));
        }
        let is_refused = name.label().is_none() || name.to_string().len() > MAX_FILE_NAME - 4;
        prop_assert_eq!(walk.refused, if is_refused { 7 } else { 0 });
    }
}

#[test]
fn dots_and_long_names_start_or_are_refused_before_anything_is_made() {
    let long = format!("{}:x", vec!["a".repeat(63); 4].join(":"));
    for (text, spawned) in [(".", 1), ("..", 1), ("..:..", 1), (".:..", 1), (long.as_str(), 0)] {
        let name: Name = text.parse().expect("a name");
        let mut walk = Walk::new();
        walk.ask(&name, Command::Unikernel(UnikernelCommand::Create(unikernel())));
        assert_eq!((walk.spawned, walk.refused), (spawned, 1 - spawned), "{text}");
    }
    for text in ["a/b", "../x", "a\0", "a b", "", "-a", "a:-b", "%n", "a=b", "é"] {
        assert!(text.parse::<Name>().is_err(), "{text:?}");
    }
}
