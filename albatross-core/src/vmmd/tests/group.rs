//! Control groups: made with a tender, taken over with it, removed with it.

use super::*;

/// A host on which tenders get control groups, where those of `found` are there.
fn with_groups(found: &[&str]) -> Host {
    let mut host = Host::unborn(BTreeMap::new());
    host.begin_with_groups(found, Record::default(), Left::default());
    host
}

impl Host {
    fn begin_with_groups(&mut self, found: &[&str], record: Record, left: Left) {
        for name in found {
            let name: Name = name.parse().unwrap();
            self.groups.entry(name.clone()).or_insert(Group { name, memory: 0, swap: 0, tasks: 0 });
        }
        let now = Now { monotonic: self.now, wall: Time::MAX };
        assert_eq!(self.vmmd.handle(now, Input::Groups(self.groups.keys().cloned().collect())), []);
        self.input(begin(record, left));
    }

    fn grouped(&self) -> Vec<String> {
        self.groups.keys().map(ToString::to_string).collect()
    }
}

#[test]
fn a_tender_has_a_group_as_long_as_it_runs() {
    let mut host = with_groups(&[]);
    host.create("a:b", arguments());
    host.create("a:c", restarting());
    assert_eq!(host.grouped(), ["a:b", "a:c"]);
    assert_eq!(host.ask("a:b", DESTROY), said("destroyed unikernel"));
    assert_eq!(host.grouped(), ["a:c"]);
    assert_eq!(host.ask("a:c", RESTART), said("created unikernel"));
    host.exit(3);
    host.tick(1);
    assert_eq!(host.grouped(), ["a:c"]);
    host.input(Input::Terminate);
    assert!(host.exited && host.groups.is_empty() && host.killed_groups.is_empty());
}

#[test]
fn there_are_none_where_the_system_gives_none() {
    let mut host = Host::new();
    host.create("a:b", arguments());
    host.ask("a:b", DESTROY);
    assert!(host.groups.is_empty());
}

#[test]
fn one_that_hangs_is_killed_with_its_group() {
    let mut host = with_groups(&[]);
    host.create("a:b", arguments());
    host.deaf = true;
    host.send("a:b", DESTROY);
    assert_eq!(host.killed_groups, []);
    host.tick(GRACE.as_secs());
    assert_eq!(host.killed_groups, ["a:b".parse().unwrap()]);
    assert!(host.groups.is_empty());
}

/// What runs keeps its group and gets the limits of this daemon; what nobody has goes.
#[test]
fn groups_are_taken_over_with_their_tenders() {
    let mut host = with_groups(&[]);
    host.create("a:stays", arguments());
    let before = host.groups.clone();
    for group in host.groups.values_mut() {
        (group.memory, group.swap, group.tasks) = (1, 2, 3);
    }
    let left = host.left(None);
    host.vmmd = Vmmd::new(host.vmmd.config.clone());
    host.begin_with_groups(&["a:stays", "a:stale", ":other"], host.record.clone(), left);
    assert_eq!((host.grouped(), host.groups == before), (vec!["a:stays".to_owned()], true));
    host.ask("a:stays", DESTROY);
    assert!(host.groups.is_empty());
}

#[test]
fn a_stray_is_killed_and_its_group_goes_when_it_has_ended() {
    let mut host = with_groups(&[]);
    host.create("a:stray", arguments());
    let left = host.left(None);
    host.vmmd = Vmmd::new(host.vmmd.config.clone());
    host.begin_with_groups(&["a:stray"], Record::default(), left);
    assert!(host.groups.is_empty() && host.processes.is_empty());
}

#[test]
fn what_used_too_much_memory_is_named() {
    let mut host = with_groups(&[]);
    host.create("a:b", arguments());
    let pid = host.pids()[0];
    let now = Now { monotonic: host.now, wall: Time::MAX };
    let outputs = host.vmmd.handle(now, Input::OutOfMemory { pid });
    let [Output::Log(Level::Warning, text)] = &outputs[..] else { panic!("{outputs:?}") };
    let most = 32 + 32;
    assert_eq!(
        *text,
        format!("a:b: process {pid} used more than {most} MB of memory, so the kernel killed it")
    );
    assert!(host.vmmd.handle(now, Input::OutOfMemory { pid: 1 }).is_empty());
}
