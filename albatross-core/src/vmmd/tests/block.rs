//! Block devices against the modelled host.

use std::borrow::Cow;

use albatross_proto::frame::frame;
use albatross_proto::{BlockCommand, BlockDevice, Data};

use super::*;
use crate::block::{Content, Intake, MB};

impl Host {
    pub(super) fn block_task(&mut self, task: Task) -> Result<Outcome, TaskFailure> {
        let failed = |error: crate::block::IntakeError| TaskFailure(error.to_string());
        let mut kept = Vec::new();
        let mut keep = |octets: &[u8]| {
            kept.extend_from_slice(octets);
            Ok::<_, TaskFailure>(())
        };
        match task {
            Task::MakeBlock { file, content } => {
                if let Some(BlockContent { octets, compressed }) = content {
                    let mut content = Content::new(compressed, file.length);
                    content.feed(&octets, &mut keep)?.map_err(failed)?;
                    content.finish().map_err(failed)?;
                }
                kept.resize(usize::try_from(file.length).unwrap(), 0);
                if self.blocks.contains_key(&file.path) {
                    return Err(TaskFailure("something stands there".to_owned()));
                }
                self.blocks.insert(file.path, kept);
            }
            Task::FillBlock { file, content: BlockContent { octets, compressed } } => {
                let mut content = Content::new(compressed, file.length);
                content.feed(&octets, &mut keep)?.map_err(failed)?;
                content.finish().map_err(failed)?;
                self.replace(file, kept);
            }
            Task::ReceiveBlock { client, begun, file, compressed } => {
                let stream = [begun, self.streams.remove(&client).unwrap_or_default()].concat();
                let mut intake = Intake::new(compressed, file.length);
                intake.feed(&stream, &mut keep)?.map_err(failed)?;
                intake.finish().map_err(failed)?;
                self.replace(file, kept);
            }
            Task::SendBlock { client, file, level, form, .. } => {
                let content = self.blocks.get(&file.path).ok_or_else(|| TaskFailure("gone".to_owned()))?;
                let compressed = level > 0;
                let image = if compressed { crate::image::deflate(content, level) } else { content.clone() };
                let replies = self.replies.entry(client).or_default();
                match form {
                    DumpForm::Whole => {
                        let image = image.into();
                        replies.push(Payload::Success(Success::BlockDeviceImageOld { compressed, image }));
                    }
                    DumpForm::Chunks => {
                        replies.push(Payload::Success(Success::BlockDeviceImage { compressed }));
                        replies.push(Payload::Data(Data::Block(Some(image.into()))));
                        replies.push(Payload::Data(Data::Block(None)));
                    }
                }
            }
            Task::RemoveBlock { path } => {
                self.blocks.remove(&path);
            }
            other => panic!("not about a block device: {other:?}"),
        }
        Ok(Outcome::Done)
    }

    fn replace(&mut self, file: BlockPlace, mut content: Vec<u8>) {
        content.resize(usize::try_from(file.length).unwrap(), 0);
        assert!(self.blocks.insert(file.path, content).is_some(), "replaces what is there");
    }

    fn set(&mut self, name: &str, compressed: bool, stream: Vec<u8>) -> Payload<'static> {
        self.streams.insert(ClientId(self.next_client), stream);
        self.ask(name, Command::Block(BlockCommand::Set { compressed }))
    }

    fn block(&self, name: &str) -> Option<&Vec<u8>> {
        self.blocks.get(std::path::Path::new(&format!("/var/lib/albatross/block/{name}")))
    }

    pub(super) fn shown(&mut self, name: &str) -> Vec<String> {
        let Payload::Success(Success::BlockDevices(list)) =
            self.ask(name, Command::Block(BlockCommand::Info))
        else {
            panic!()
        };
        list.iter().map(|(name, info)| format!("{name} {} {}", info.size, info.active)).collect()
    }

    /// Answers the tasks that were held back.
    fn let_go(&mut self) {
        self.holding = None;
        for (id, task) in std::mem::take(&mut self.held_tasks) {
            let result = self.task(task);
            self.input(Input::Done(id, result));
        }
    }
}

fn add(size: i32) -> Command<'static> {
    Command::Block(BlockCommand::Add(Int::from(size)))
}

const REMOVE: Command<'static> = Command::Block(BlockCommand::Remove);
const DUMP: Command<'static> = Command::Block(BlockCommand::Dump(Int::ZERO));
const SET: Command<'static> = Command::Block(BlockCommand::Set { compressed: false });

fn stream(content: &[u8]) -> Vec<u8> {
    let mut stream: Vec<u8> = content.chunks(4096).flat_map(frame).collect();
    stream.extend(frame(b""));
    stream
}

pub(super) fn with_block(device: Option<&str>, sector_size: Option<i32>) -> UnikernelConfig<'static> {
    let device = BlockDevice {
        name: Text::from("storage"),
        device: device.map(Text::from),
        sector_size: sector_size.map(Int::from),
    };
    let image = include_bytes!("../../../../testdata/images/spt-block-storage.elf");
    UnikernelConfig {
        image: image.as_slice().into(),
        ..config(Arguments { block_devices: vec![device], ..arguments() })
    }
}

fn create(config: UnikernelConfig<'static>) -> Command<'static> {
    Command::Unikernel(UnikernelCommand::Create(config))
}

#[test]
fn a_device_is_added_set_dumped_shown_and_removed() {
    let mut host = Host::new();
    assert_eq!(host.ask("foo:data", add(2)), said("added block device"));
    assert_eq!(host.block("foo:data").unwrap().len(), 2 << 20);
    assert!(refused(&host.ask("foo:data", add(1))).contains("exists"));
    assert_eq!(host.set("foo:data", false, stream(b"content")), said("set block device"));
    let mut content = b"content".to_vec();
    content.resize(2 << 20, 0);
    assert_eq!(host.block("foo:data"), Some(&content));
    let zlib = crate::image::deflate(b"other", 9);
    assert_eq!(host.set("foo:data", true, stream(&zlib)), said("set block device"));
    assert!(host.block("foo:data").unwrap().starts_with(b"other\0"));
    let client = host.send("foo:data", DUMP);
    let replies = host.replies.remove(&client).unwrap();
    assert_eq!(replies[0], Payload::Success(Success::BlockDeviceImage { compressed: false }));
    assert_eq!(replies.len(), 3);
    assert!(host.closed.contains(&client));
    assert_eq!(host.shown("foo:data"), ["foo:data 2 false"]);
    assert_eq!(host.ask("foo:data", REMOVE), said("removed block"));
    assert!(host.blocks.is_empty() && host.shown(":").is_empty());
    for command in [REMOVE, DUMP, SET] {
        assert!(refused(&host.ask("foo:data", command)).contains("does not exist"));
    }
}

#[test]
fn the_old_forms_are_answered_in_their_form() {
    let mut host = Host::new();
    let zlib: Cow<'static, [u8]> = crate::image::deflate(b"content", 6).into();
    let add_old =
        |compressed, data| Command::Block(BlockCommand::AddOld { size: Int::from(1), compressed, data });
    assert_eq!(host.ask(":plain", add_old(false, None)), said("added block device"));
    assert_eq!(host.ask(":data", add_old(true, Some(zlib.clone()))), said("added block device"));
    assert!(host.block(":data").unwrap().starts_with(b"content\0"));
    let set_old = BlockCommand::SetOld { compressed: false, data: b"other".as_slice().into() };
    assert_eq!(host.ask(":plain", Command::Block(set_old)), said("set block device"));
    assert!(host.block(":plain").unwrap().starts_with(b"other\0"));
    let dump_old = |level| Command::Block(BlockCommand::DumpOld(Int::from(level)));
    let Payload::Success(Success::BlockDeviceImageOld { compressed: true, image }) =
        host.ask(":data", dump_old(40))
    else {
        panic!()
    };
    assert_eq!(crate::image::inflate(&image, 1 << 20).as_ref(), Ok(host.block(":data").unwrap()));
    // What fails leaves nothing, and the old content whole.
    for bad in [zlib.clone(), crate::image::deflate(&vec![1; (1 << 20) + 1], 9).into()] {
        let mut bad = bad.into_owned();
        bad.pop();
        refused(&host.ask(":bad", add_old(true, Some(bad.clone().into()))));
        let set_old = BlockCommand::SetOld { compressed: true, data: bad.into() };
        refused(&host.ask(":data", Command::Block(set_old)));
    }
    assert!(host.block(":bad").is_none() && host.block(":data").unwrap().starts_with(b"content\0"));
    assert_eq!(host.shown(":"), [":plain 1 false", ":data 1 false"]);
}

#[test]
fn sizes_and_names_that_cannot_be_are_refused() {
    let mut host = Host::new();
    for size in [0, -1, i32::MIN] {
        assert!(refused(&host.ask(":a", add(size))).contains("at least 1"));
    }
    assert!(refused(&host.ask(":a", add(1001))).contains("1000"), "the root's policy");
    host.ask("alice:", super::add(Policy { block: None, ..policy(1, 1) }));
    refused(&host.ask("alice:a", add(1)));
    host.ask("alice:", super::add(Policy { block: Some(Int::from(10)), ..policy(1, 1) }));
    host.ask("alice:bob:", super::add(Policy { block: Some(Int::from(8)), ..policy(1, 1) }));
    assert_eq!(host.ask("alice:bob:a", add(8)), said("added block device"));
    assert!(refused(&host.ask("alice:b", add(3))).contains("alice"));
    assert!(refused(&host.ask("alice:", add(1))).contains("path"));
    let deep = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(":");
    assert!(refused(&host.ask(&deep, add(1))).contains("too long"));
    assert_eq!(host.blocks.len(), 1);
    assert_eq!(host.vmmd.resources.usage(&"alice".parse().unwrap()).block, Int::from(8));
}

#[test]
fn what_fails_leaves_all_as_it_was() {
    let mut host = Host::new();
    host.failing = Some("MakeBlock");
    assert!(refused(&host.ask(":a", add(1000))).contains("fire"));
    host.failing = None;
    assert!(host.shown(":").is_empty());
    assert_eq!(host.vmmd.resources.usage(&Path::root()).block, Int::ZERO);
    assert_eq!(host.ask(":a", add(1)), said("added block device"));
    for (failing, command) in [("RemoveBlock", REMOVE), ("SendBlock", DUMP), ("ReceiveBlock", SET)] {
        host.failing = Some(failing);
        assert!(refused(&host.ask(":a", command)).contains("fire"));
        assert_eq!(host.shown(":"), [":a 1 false"], "{failing}");
    }
}

#[test]
fn a_stream_that_is_cut_or_too_long_changes_nothing() {
    let mut host = Host::new();
    host.ask(":a", add(1));
    host.set(":a", false, stream(b"old"));
    let whole = stream(b"new");
    assert!(refused(&host.set(":a", false, whole[..whole.len() - 4].to_vec())).contains("cut off"));
    let long = stream(&vec![1; (1 << 20) + 1]);
    assert!(refused(&host.set(":a", false, long)).contains("longer than the 1 MB"));
    refused(&host.set(":a", true, stream(b"new")));
    assert!(host.block(":a").unwrap().starts_with(b"old\0"));
    assert_eq!(host.shown(":a"), [":a 1 false"]);
    let full = stream(&vec![1; 1 << 20]);
    assert_eq!(host.set(":a", false, full), said("set block device"));
}

#[test]
fn a_stream_that_came_before_its_time_is_not_lost() {
    let mut host = Host::new();
    host.ask("alice:a", Command::Block(BlockCommand::Add(Int::ONE)));
    host.holding = Some("Persist");
    let client = host.send("alice:", super::add(policy(2, 512)));
    host.send_on(client, "alice:a", SET);
    for chunk in [b"some ".as_slice(), b"content", b""] {
        host.input(Input::Frame(client, chunk.to_vec()));
    }
    host.let_go();
    assert_eq!(host.replies[&client], [said("added policy"), said("set block device")]);
    assert!(host.block("alice:a").unwrap().starts_with(b"some content\0"));
}

#[test]
fn a_device_in_use_is_left_alone_until_it_is_free() {
    let mut host = Host::new();
    host.ask("foo:storage", add(1));
    for part in ["ReceiveBlock", "SendBlock", "FillBlock", "RemoveBlock"] {
        host.ask("foo:other", add(1));
        host.holding = Some(part);
        let client = host.send(
            "foo:other",
            match part {
                "ReceiveBlock" => SET,
                "SendBlock" => DUMP,
                "RemoveBlock" => REMOVE,
                _ => Command::Block(BlockCommand::SetOld { compressed: false, data: b"x".as_slice().into() }),
            },
        );
        for command in [SET, DUMP, REMOVE, create(with_block(Some("other"), None))] {
            assert!(refused(&host.ask("foo:other", command)).contains("in use"), "{part}");
        }
        assert_eq!(host.shown("foo:"), [":storage 1 false", ":other 1 true"], "{part}");
        host.streams.insert(client, stream(b""));
        host.let_go();
        assert!(host.closed.contains(&client), "{part}");
    }
    assert_eq!(host.shown("foo:"), [":storage 1 false"]);
    assert_eq!(host.ask("foo:it", create(with_block(None, None))), said("created unikernel"));
    for command in [SET, DUMP, REMOVE] {
        assert!(refused(&host.ask("foo:storage", command)).contains("in use"));
    }
    assert!(refused(&host.ask("foo:second", create(with_block(None, None)))).contains("in use"));
    assert_eq!(host.shown("foo:"), [":storage 1 true"]);
    assert_eq!(host.ask("foo:it", DESTROY), said("destroyed unikernel"));
    assert_eq!(host.ask("foo:storage", REMOVE), said("removed block"));
}

#[test]
fn a_tender_is_given_the_file_and_info_shows_the_size() {
    let mut host = Host::new();
    assert!(refused(&host.ask("foo:it", create(with_block(None, None)))).contains("does not exist"));
    host.ask("foo:disk", add(3));
    let reply = host.ask("foo:it", create(with_block(Some("disk"), Some(4096))));
    assert_eq!(reply, said("created unikernel"));
    let line = host.command_line().to_vec();
    let file = "--block:storage=/var/lib/albatross/block/foo:disk";
    assert_eq!(line[..4], ["--mem=32", file, "--block-sector-size:storage=4096", "--"]);
    let Payload::Success(Success::Info(list)) = host.ask("foo:", INFO) else { panic!() };
    let block = &list[0].1.block_devices[0];
    assert_eq!((block.size, block.sector_size), (Int::from(3), Int::from(4096)));
    assert_eq!(block.host_device, Text::from("disk"));
    host.ask("foo:it", RESTART);
    assert_eq!(host.command_line(), line);
}

#[test]
fn a_start_that_fails_frees_its_device() {
    for step in ["StoreImage", "FindTender", "MakeFifo", "Spawn"] {
        let mut host = Host::new();
        host.ask(":storage", add(1));
        host.failing = Some(step);
        refused(&host.ask(":it", create(with_block(None, None))));
        assert_eq!(host.shown(":"), [":storage 1 false"], "{step}");
        host.failing = None;
        assert_eq!(host.ask(":storage", REMOVE), said("removed block"), "{step}");
    }
}

#[test]
fn a_device_stays_in_use_while_its_unikernel_waits_to_be_started_again() {
    let mut host = Host::new();
    host.ask(":storage", add(1));
    let mut config = with_block(None, None);
    config.arguments.fail_behaviour = restarting().fail_behaviour;
    host.ask(":it", create(config));
    host.exit(7);
    assert!(refused(&host.ask(":storage", REMOVE)).contains("in use"));
    host.ask(":it", DESTROY);
    assert_eq!(host.ask(":storage", REMOVE), said("removed block"));
}

#[test]
fn files_with_valid_names_and_sizes_are_devices_at_the_start() {
    let mut host = Host::new();
    host.ask(":storage", add(1));
    let mut config = with_block(None, None);
    config.arguments.fail_behaviour = restarting().fail_behaviour;
    host.ask(":it", create(config));
    host.input(Input::Terminate);
    let (record, files) = (host.record.clone(), host.files.clone());

    let mut host = Host::unborn(files);
    let file = |name: &str, length| BlockFile { name: name.into(), length, owner: 0 };
    let valid = [file(":storage", Some(MB)), file("a.b:..", Some(7 * MB))];
    let left = ["storage", "x:", "", "a b:c", "A:b", ":new#new#new"].map(|name| file(name, Some(MB)));
    let sizes = [None, Some(0), Some(1), Some(MB - 1)].map(|length| file("foo:x", length));
    let unfinished = [file(":storage#new", Some(17)), file("foo:y#new", Some(MB))];
    for BlockFile { name, .. } in &unfinished {
        host.blocks.insert(std::path::Path::new("/var/lib/albatross/block").join(name), Vec::new());
    }
    let all = [&valid[..], &left, &sizes, &unfinished].concat();
    host.input(Input::BlockFiles(all));
    assert!(host.blocks.is_empty(), "what was never finished is removed");
    host.input(begin(record, Left::default()));
    assert_eq!(host.processes.len(), 1, "what uses one is started");
    assert_eq!(host.shown(":"), [":storage 1 true", "a.b:.. 7 false"]);
}

#[test]
fn the_end_of_the_daemon_cuts_streams_short() {
    for (held, command, end) in [
        ("ReceiveBlock", SET, Input::Terminate),
        ("ReceiveBlock", SET, Input::HandOver),
        ("SendBlock", DUMP, Input::HandOver),
    ] {
        let mut host = Host::new();
        host.ask(":a", add(1));
        host.holding = Some(held);
        let client = host.send(":a", command);
        let how = format!("{held}, {end:?}");
        host.input(end);
        assert!(host.streams.contains_key(&client), "{how}: it is cut");
        assert!(!host.exited, "{how}: it waits for the task");
        host.let_go();
        if held == "ReceiveBlock" {
            assert!(refused(&host.reply(client)).contains("ending"), "{how}");
        }
        assert!(host.exited, "{how}");
    }
}

#[test]
fn there_are_only_so_many_streams_at_once() {
    let mut host = Host::new();
    for number in 0..=MAX_STREAMS {
        host.ask(&format!(":a{number}"), add(1));
    }
    host.holding = Some("SendBlock");
    for number in 0..MAX_STREAMS {
        host.send(&format!(":a{number}"), DUMP);
    }
    assert!(refused(&host.ask(&format!(":a{MAX_STREAMS}"), SET)).contains("no more at once"));
    assert!(refused(&host.ask(&format!(":a{MAX_STREAMS}"), DUMP)).contains("no more at once"));
    host.let_go();
    host.streams.insert(ClientId(host.next_client), stream(b""));
    assert_eq!(host.ask(&format!(":a{MAX_STREAMS}"), SET), said("set block device"));
}

#[test]
fn what_is_no_stream_counts_as_none_and_is_not_cut() {
    let mut host = Host::new();
    host.ask(":a", add(1));
    host.holding = Some("MakeBlock");
    let clients: Vec<ClientId> =
        (0..MAX_STREAMS).map(|number| host.send(&format!(":b{number}"), add(1))).collect();
    assert_eq!(host.set(":a", false, stream(b"x")), said("set block device"));
    host.input(Input::Terminate);
    assert!(host.streams.is_empty() && !host.exited);
    host.let_go();
    for client in clients {
        assert_eq!(host.reply(client), said("added block device"));
    }
    assert!(host.exited);
}

#[test]
fn a_name_may_be_as_long_as_that_of_its_unfinished_file_may_be() {
    let mut host = Host::new();
    let path = ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join(":");
    let label =
        |rest: usize| format!("{path}:{}", "d".repeat(MAX_FILE_NAME - path.len() - 1 - "#new".len() + rest));
    assert_eq!(host.ask(&label(0), add(1)), said("added block device"));
    assert!(refused(&host.ask(&label(1), add(1))).contains("too long"));
}

#[test]
fn nothing_is_added_on_the_word_of_a_policy_that_is_not_durable() {
    let with_block = |block| super::add(Policy { block: Some(Int::from(block)), ..policy(1, 64) });
    let mut host = Host::new();
    host.ask("alice:", with_block(1));
    host.ask("alice:bob:", with_block(1));
    // On its way to the disk.
    host.holding = Some("Append");
    let client = host.send("alice:", with_block(4));
    assert!(refused(&host.ask("alice:a", add(4))).contains("is being changed"));
    assert!(refused(&host.ask("alice:bob:a", add(1))).contains("policy alice"));
    assert_eq!(host.ask("carol:a", add(1)), said("added block device"));
    host.let_go();
    assert_eq!(host.reply(client), said("added policy"));
    assert_eq!(host.ask("alice:a", add(3)), said("added block device"));
    // Refused, and perhaps on the disk all the same.
    host.failing = Some("Append");
    refused(&host.ask("dave:", with_block(1)));
    assert!(refused(&host.ask("dave:a", add(2))).contains("the record could not be written"));
    host.failing = None;
    host.tick(RECORD_RETRY.as_secs());
    assert_eq!(host.ask("dave:a", add(2)), said("added block device"));
}

#[test]
fn a_policy_whose_removal_is_refused_stays_whatever_came_meanwhile() {
    let mut host = Host::new();
    host.ask("alice:bob:", super::add(policy(4, 64)));
    host.holding = Some("Append");
    let removal = host.send("alice:bob:", Command::Policy(PolicyCommand::Remove));
    let addition = host.send("alice:", super::add(policy(1, 64)));
    host.failing = Some("Append");
    host.let_go();
    for client in [removal, addition] {
        assert!(refused(&host.reply(client)).contains("not written"));
    }
    let there = |path: &str| host.vmmd.resources.policy(&path.parse().unwrap()).is_some();
    assert!(there("alice:bob") && !there("alice"));
}
