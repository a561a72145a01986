//! Block devices of tenders that outlive the daemon: they stay in use, and their files that tender's, until it ends.

use albatross_proto::BlockCommand;

use super::block::with_block;
use super::*;

/// The id of the first tender, and one that is nobody's here.
const TENDER: u32 = 100_001;
const STRANGER: u32 = 1000;

const REMOVE: Command<'static> = Command::Block(BlockCommand::Remove);
const SET: Command<'static> = Command::Block(BlockCommand::Set { compressed: false });
const DUMP: Command<'static> = Command::Block(BlockCommand::Dump(Int::ZERO));
const DESTROY: Command<'static> = Command::Unikernel(UnikernelCommand::Destroy);
const ADD: Command<'static> = Command::Block(BlockCommand::Add(Int::ONE));

impl Host {
    /// A host where tenders have ids of their own, with the device `:storage` that the unikernel `:it` uses.
    fn with_storage(fail_behaviour: FailBehaviour) -> Self {
        let mut host = Self::new();
        host.begin_with_users();
        host.ask(":storage", ADD);
        let mut config = with_block(None, None);
        config.arguments.fail_behaviour = fail_behaviour;
        host.ask(":it", Command::Unikernel(UnikernelCommand::Create(config)));
        assert_eq!((host.shown(":"), host.lent.len()), (vec![":storage 1 true".to_owned()], 1));
        host
    }

    /// The daemon begins with what it finds.
    fn begin_with_users(&mut self) {
        let left = self.left(Some(Exit::Exited(Int::ZERO)));
        let range = UserRange::new(100_000, 10).unwrap();
        self.vmmd = Vmmd::new(self.vmmd.config.clone()).with_users(range);
        let file = |(path, content): (&PathBuf, &Vec<u8>)| BlockFile {
            name: path.file_name().unwrap().to_owned(),
            length: Some(content.len().try_into().unwrap()),
            owner: if self.lent.contains(path) { TENDER } else { STRANGER },
        };
        let files = self.blocks.iter().map(file).collect();
        self.tell_blocks(files);
        self.input(begin(self.record.clone(), left));
    }

    fn tell_blocks(&mut self, files: Vec<BlockFile>) {
        let now = Now { monotonic: self.now, wall: Time::from_unix(1_700_000_000, 0).unwrap() };
        assert_eq!(self.vmmd.handle(now, Input::BlockFiles(files)), []);
    }

    fn assert_in_use(&mut self) {
        assert_eq!((self.shown(":"), self.lent.len()), (vec![":storage 1 true".to_owned()], 1));
        for command in [REMOVE, SET, DUMP] {
            assert!(refused(&self.ask(":storage", command)).contains("in use"));
        }
        let other = Command::Unikernel(UnikernelCommand::Create(with_block(Some("storage"), None)));
        assert!(refused(&self.ask(":other", other)).contains("in use"));
    }

    fn assert_free(&mut self) {
        assert_eq!((self.shown(":"), self.lent.len()), (vec![":storage 1 false".to_owned()], 0));
        assert_eq!(self.ask(":storage", REMOVE), said("removed block"));
        assert!(self.blocks.is_empty());
    }
}

#[test]
fn devices_of_what_was_taken_over_are_in_use_until_it_ends() {
    let mut host = Host::with_storage(FailBehaviour::Quit);
    for _ in 0..3 {
        host.begin_with_users();
        host.assert_in_use();
    }
    assert_eq!(host.ask(":it", DESTROY), said("destroyed unikernel"));
    host.assert_free();

    let mut host = Host::with_storage(FailBehaviour::Quit);
    host.begin_with_users();
    host.exit(0);
    host.assert_free();
}

#[test]
fn devices_of_what_was_taken_over_are_used_on_when_it_is_started_again() {
    let mut host = Host::with_storage(FailBehaviour::Restart(BTreeSet::new()));
    host.begin_with_users();
    host.exit(3);
    assert!(host.lent.is_empty() && host.processes.is_empty());
    host.tick(60);
    host.assert_in_use();
    assert_eq!(
        host.ask(":it", Command::Unikernel(UnikernelCommand::Restart(None))),
        said("created unikernel")
    );
    host.assert_in_use();
}

#[test]
fn devices_of_what_ended_without_a_daemon_are_given_back_at_the_start() {
    let mut host = Host::with_storage(FailBehaviour::Quit);
    host.processes.clear();
    host.begin_with_users();
    host.assert_free();

    // One that is started again uses it at once, under an id of its own.
    let mut host = Host::with_storage(FailBehaviour::Restart(BTreeSet::new()));
    host.processes.clear();
    host.begin_with_users();
    assert!(host.lent.is_empty() && host.processes.is_empty());
    host.tick(60);
    host.assert_in_use();
}

/// The daemon was killed between making the file the tender's and noting the tender.
#[test]
fn a_device_of_what_was_never_let_run_is_given_back_at_the_start() {
    let mut host = Host::with_storage(FailBehaviour::Quit);
    host.processes.clear();
    host.notes.clear();
    host.record = Record::default();
    host.begin_with_users();
    host.assert_free();
}

#[test]
fn devices_of_what_is_not_on_record_are_in_use_until_it_is_gone() {
    let mut host = Host::with_storage(FailBehaviour::Quit);
    let pid = *host.processes.keys().next().unwrap();
    host.record = Record::default();
    // Its end takes a while.
    let left = host.left(None);
    host.vmmd = Vmmd::new(host.vmmd.config.clone()).with_users(UserRange::new(100_000, 10).unwrap());
    let file = BlockFile { name: ":storage".into(), length: Some(crate::block::MB), owner: TENDER };
    host.tell_blocks(vec![file]);
    let now = Now { monotonic: host.now, wall: Time::from_unix(1_700_000_000, 0).unwrap() };
    let outputs = host.vmmd.handle(now, begin(Record::default(), left));
    assert!(outputs.contains(&Output::Kill(pid, Signal::Kill)), "{outputs:?}");
    host.input(Input::LogClosed);
    let is_back = |output: &Output| matches!(output, Output::TakeBackBlocks(_));
    assert!(!outputs.iter().any(is_back), "{outputs:?}");
    host.input(Input::ConsoleConnected);
    host.assert_in_use();
    host.processes.remove(&pid);
    host.input(Input::Exited { pid, exit: Some(Exit::Signalled(Int::from(9))) });
    host.assert_free();
}

/// Somebody has put an older record back.
#[test]
fn a_device_that_only_the_tender_names_is_in_use_until_it_ends() {
    let mut host = Host::with_storage(FailBehaviour::Quit);
    host.record.unikernels[0].1.config.arguments.block_devices.clear();
    host.begin_with_users();
    host.assert_in_use();
    assert_eq!(host.ask(":it", DESTROY), said("destroyed unikernel"));
    host.assert_free();
}

/// Its owner is no tender: the file is left as it is.
#[test]
fn a_device_of_somebody_else_is_not_made_the_daemons() {
    let mut host = Host::new();
    host.ask(":storage", ADD);
    // The modelled host does not know of it as lent, and would say so.
    host.begin_with_users();
    assert_eq!(host.shown(":"), [":storage 1 false"]);
}
