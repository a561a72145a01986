//! Every form of every command line, and the message that comes of it.

use std::ffi::OsString;
use std::path::PathBuf;

use albatross_core::issue::KeyKind;
use albatross_driver::logging::{Color, Level, Logger};
use albatross_driver::options::Early;
use albatross_proto::MacAddress;

use super::*;
use crate::options::{Conflict, Options, PROGRAM_NAME, Role, program};

const PROGRAM: albatross_driver::options::Program = program(PROGRAM_NAME);

/// The words of a command line; `%` stands for a blank within a word, `~` for an empty word.
fn words(line: &str) -> impl Iterator<Item = OsString> {
    line.split_whitespace().map(|word| OsString::from(word.replace('%', " ").replace('~', "")))
}

fn parse(line: &str) -> Options {
    let options: Options = PROGRAM.try_parse(words(line)).unwrap_or_else(|early| panic!("{line}: {early}"));
    options.check().unwrap_or_else(|conflict| panic!("{line}: {conflict}"));
    options
}

fn mistake(line: &str) -> String {
    match PROGRAM.try_parse::<Options>(words(line)) {
        Ok(options) => match options.check() {
            Ok(()) => panic!("{line}: accepted"),
            Err(conflict) => conflict.to_string(),
        },
        Err(Early::Usage(text)) => text,
        Err(early) => panic!("{line}: {early}"),
    }
}

fn conflict(line: &str) -> Conflict {
    let options: Options = PROGRAM.try_parse(words(line)).unwrap_or_else(|early| panic!("{line}: {early}"));
    options.check().unwrap_err()
}

fn try_request(line: &str) -> Result<Request, Error> {
    let options = parse(line);
    request(&options.action, &options.destination(), &Logger::new("test", Level::Quiet, Color::Never))
}

fn sent(line: &str) -> (String, Command<'static>) {
    let request = try_request(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    (request.name.to_string(), request.command)
}

fn int(value: i64) -> Int {
    Int::new(value).unwrap()
}

#[test]
fn policies() {
    let info = Command::Policy(PolicyCommand::Info);
    assert_eq!(sent("policy"), (":".to_owned(), info.clone()));
    for line in ["policy -p foo:bar", "policy -pfoo:bar", "policy --path foo:bar", "policy --path=:foo:BAR"] {
        assert_eq!(sent(line), ("foo:bar:".to_owned(), info.clone()), "{line}");
    }
    assert_eq!(sent("remove-policy -p foo"), ("foo:".to_owned(), Command::Policy(PolicyCommand::Remove)));
    assert_eq!(sent("remove_policy --path=foo").0, "foo:");
    let plain = Policy {
        cpuids: [Int::ZERO].into(),
        unikernels: int(3),
        memory: int(512),
        block: None,
        bridges: [].into(),
    };
    let add = |policy: &Policy| Command::Policy(PolicyCommand::Add(policy.clone()));
    assert_eq!(sent("add-policy foo 3"), ("foo:".to_owned(), add(&plain)));
    assert_eq!(sent("replace-policy foo 3"), ("foo:".to_owned(), add(&plain)));
    assert_eq!(sent("add-policy ~ 3").0, ":");
    let full = Policy {
        cpuids: [int(1), int(2)].into(),
        unikernels: int(3),
        memory: int(1024),
        block: Some(int(100)),
        bridges: ["br0".into(), "service".into()].into(),
    };
    for line in [
        "add-policy foo 3 --mem 1024 --cpu 2 --cpu 1 --size 100 --network service --network br0",
        "add-policy --mem=1024 --cpu=2 foo --cpu=1 --block=100 --bridge=service 3 --bridge=br0",
        "replace-policy --mem=1024 --cpu=2 foo --cpu=1 --block 100 --network=service 3 --bridge br0",
    ] {
        assert_eq!(sent(line), ("foo:".to_owned(), add(&full)), "{line}");
    }
}

#[test]
fn policies_that_are_of_no_use_are_not_sent() {
    for line in ["add-policy foo 0", "add-policy foo 1 --mem 16", "replace-policy foo 1 --mem 0"] {
        assert!(matches!(try_request(line), Err(Error::Command(CommandError::Unusable(_)))), "{line}");
    }
    for line in [
        "add-policy foo",
        "add-policy foo -1",
        "add-policy foo x",
        "add-policy foo 1 2",
        "add-policy foo: 1",
        "add-policy : 1",
        "add-policy foo 1 --mem -5",
        "add-policy foo 1 --cpu",
        "add-policy foo 1 --network=",
    ] {
        mistake(line);
    }
}

#[test]
fn questions_about_unikernels() {
    let unikernel = Command::Unikernel;
    assert_eq!(sent("info"), (":".to_owned(), unikernel(UnikernelCommand::Info)));
    for line in ["info -n foo:hello", "info -nfoo:hello", "info --name foo:hello", "info --name=foo:hello"] {
        assert_eq!(sent(line), ("foo:hello".to_owned(), unikernel(UnikernelCommand::Info)), "{line}");
    }
    assert_eq!(sent("info -n foo:").0, "foo:");
    assert_eq!(sent("get foo:hello"), ("foo:hello".to_owned(), unikernel(UnikernelCommand::Get(Int::ZERO))));
    assert_eq!(sent("get hello --compression-level=3").1, unikernel(UnikernelCommand::Get(int(3))));
    assert_eq!(sent("get hello -d host").1, unikernel(UnikernelCommand::Get(int(9))));
    assert_eq!(sent("get hello --csr --compression-level 0").1, unikernel(UnikernelCommand::Get(Int::ZERO)));
    assert_eq!(sent("destroy hello"), (":hello".to_owned(), unikernel(UnikernelCommand::Destroy)));
    assert_eq!(sent("restart hello").1, unikernel(UnikernelCommand::Restart(None)));
    for line in ["get", "get hello --compression-level 10", "get _", "destroy", "destroy a b", "info hello"] {
        mistake(line);
    }
    for line in [
        "get foo:",
        "destroy :",
        "restart foo:",
        "console foo:",
        "create foo: image",
        "destroy-block :",
        "create-block a: 1",
        "set-block : file",
        "dump-block a:",
    ] {
        assert!(matches!(try_request(line), Err(Error::Command(CommandError::LabelNeeded(_)))), "{line}");
    }
}

#[test]
fn consoles_statistics_and_block_devices() {
    let subscribe = |history| Command::Console(ConsoleCommand::Subscribe(history));
    assert_eq!(sent("console foo:hello"), ("foo:hello".to_owned(), subscribe(History::Count(int(20)))));
    assert_eq!(sent("console hello --count=0").1, subscribe(History::Count(Int::ZERO)));
    let time = "2026-01-31T00:00:00Z".parse().unwrap();
    for since in ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T01:00:00+01:00"] {
        assert_eq!(sent(&format!("console hello --since {since}")).1, subscribe(History::Since(time)));
        assert_eq!(
            sent(&format!("console --count 3 --since={since} hello")).1,
            subscribe(History::Since(time))
        );
    }
    mistake("console hello --since yesterday");
    let inactive = Command::Console(ConsoleCommand::ListInactive);
    assert_eq!(sent("inactive-consoles"), (":".to_owned(), inactive.clone()));
    assert_eq!(sent("inactive-consoles --path=foo"), ("foo:".to_owned(), inactive));
    let statistics = Command::Statistics;
    assert_eq!(sent("stats -n foo:"), ("foo:".to_owned(), statistics(StatisticsCommand::Subscribe)));
    assert_eq!(sent("stats-remove -n a"), (":a".to_owned(), statistics(StatisticsCommand::Remove)));
    let add = StatisticsCommand::Add {
        vmmdev: "dev".into(),
        pid: int(7),
        network: vec![("service".into(), "tap0".into()), ("b".into(), "t".into())],
    };
    let line = "stats-add 7 --vmmdev=dev --bridge service:tap0 --bridge=b:t --name a:b";
    assert_eq!(sent(line), ("a:b".to_owned(), statistics(add)));
    mistake("stats-add 7 --bridge service");
    assert_eq!(sent("block"), (":".to_owned(), Command::Block(BlockCommand::Info)));
    assert_eq!(sent("block --name=foo:").0, "foo:");
    assert_eq!(sent("destroy-block a:b"), ("a:b".to_owned(), Command::Block(BlockCommand::Remove)));
    let block = |command| ("a:b".to_owned(), Command::Block(command));
    assert_eq!(sent("create-block a:b 3"), block(BlockCommand::Add(int(3))));
    assert_eq!(
        sent("create-block --data=file a:b --compression-level=9 3"),
        block(BlockCommand::Add(int(3)))
    );
    assert_eq!(sent("set-block a:b file"), block(BlockCommand::Set { compressed: false }));
    let compressed = "set-block a:b --compression-level 1 file";
    assert_eq!(sent(compressed), block(BlockCommand::Set { compressed: true }));
    assert_eq!(sent("dump-block a:b"), block(BlockCommand::Dump(Int::ZERO)));
    assert_eq!(sent("dump-block --compression-level=4 a:b"), block(BlockCommand::Dump(int(4))));
    for line in [
        "create-block a",
        "create-block a -1",
        "create-block a x",
        "set-block a",
        "dump-block",
        "dump-block a b",
    ] {
        mistake(line);
    }
}

#[test]
fn how_a_unikernel_is_started() {
    let arguments = |line: &str| match sent(line).1 {
        Command::Unikernel(UnikernelCommand::Restart(Some(arguments))) => arguments,
        other => panic!("{other:?}"),
    };
    assert_eq!(arguments("restart a --replace-arguments"), Arguments::new());
    let full = Arguments {
        fail_behaviour: FailBehaviour::Restart([int(2), int(3)].into()),
        startup: Some(int(5)),
        add_name: false,
        cpuids: [int(1), int(4)].into(),
        memory: int(64),
        block_devices: vec![
            BlockDevice { name: "data".into(), device: None, sector_size: None },
            BlockDevice { name: "b".into(), device: Some("disk".into()), sector_size: Some(int(4096)) },
        ],
        net_devices: vec![
            NetDevice { name: "service".into(), bridge: None, mac: None },
            NetDevice {
                name: "eth".into(),
                bridge: Some("br0".into()),
                mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
            },
        ],
        argv: Some(vec!["--ipv4=10.0.0.2/24".into(), "two words".into(), "-l".into()]),
        cpus: int(2),
        linux_boot_partition: Some("hd0".into()),
    };
    for line in [
        "restart a --replace-arguments --restart --exit-code 3 --exit-code 2 --startup 5 --no-add-name \
         --cpu 4 --cpu 1 --mem 64 --block data --block b:disk@4096 --net service \
         --net eth:br0@02:00:00:00:00:01 --arg --ipv4=10.0.0.2/24 --arg two%words --arg -l --cpus 2 \
         --linux-boot hd0",
        "restart --replace-arguments --restart-on-fail --exit-code=3 --exit-code=2 --startup=5 --no-add-name \
         --cpu=4 --cpu=1 --mem=64 --block=data --block=b:disk@4096 --net=service \
         --net=eth:br0@02:00:00:00:00:01 --arg=--ipv4=10.0.0.2/24 --arg=two%words --arg=-l --cpus=2 \
         --linux-boot=hd0 a",
    ] {
        assert_eq!(arguments(line), full);
    }
    // Exit codes are of use with --restart only, the other options with --replace-arguments only.
    assert_eq!(arguments("restart a --replace-arguments --exit-code 3"), Arguments::new());
    assert_eq!(sent("restart a --mem 64").1, Command::Unikernel(UnikernelCommand::Restart(None)));
    assert_eq!(
        arguments("restart a --replace-arguments --restart").fail_behaviour,
        FailBehaviour::Restart([].into())
    );
    for twice in ["--net a --net a", "--block a --block a:b", "--block a --net a"] {
        let line = format!("restart a --replace-arguments {twice}");
        assert!(
            matches!(try_request(&line), Err(Error::Command(CommandError::Image(ImageError::Twice(_))))),
            "{line}"
        );
    }
    for line in [
        "restart a --mem x",
        "restart a --block a@100",
        "restart a --net a:b:c",
        "restart a --net a@1",
        "restart a --startup=-1",
        "restart a --force",
        "restart a --typ solo5",
        "restart a --compression-level 1",
        "restart a --size b",
        "restart a --network b",
        "restart a --no-add-name=yes",
    ] {
        mistake(line);
    }
}

#[test]
fn a_bhyve_guest_is_created_without_an_image() {
    let config = |force: bool| {
        let config = Config {
            typ: Typ::Bhyve,
            compressed: false,
            image: Cow::Borrowed(&[]),
            arguments: Arguments::new(),
        };
        Command::Unikernel(match force {
            true => UnikernelCommand::ForceCreate(config),
            false => UnikernelCommand::Create(config),
        })
    };
    assert_eq!(sent("create a --typ bhyve").1, config(false));
    assert_eq!(sent("create a image --typ=bhyve -f").1, config(true));
    assert_eq!(sent("create --force a -d host --typ=bhyve").1, config(true));
    mistake("create a --typ xen");
    assert!(matches!(try_request("create a"), Err(Error::Command(CommandError::ImageNeeded))));
    assert!(matches!(try_request("create a /nonexistent/image"), Err(Error::File(_))));
    assert!(matches!(
        try_request("create a Cargo.toml"),
        Err(Error::Command(CommandError::Image(ImageError::NotAnImage { .. })))
    ));
}

#[test]
fn destinations() {
    assert_eq!(parse("info").destination(), Destination::Local);
    assert_eq!(parse("info --socket /a/b").destination(), Destination::Socket("/a/b".into()));
    assert_eq!(parse("info --socket=-").destination(), Destination::SocketDump);
    assert_eq!(parse("--socket - info").destination(), Destination::SocketDump);
    for line in ["info -d host:1", "info -dhost:1", "-d host:1 info", "info --destination=host:1"] {
        assert_eq!(parse(line).destination(), Destination::Remote("host:1".to_owned()), "{line}");
    }
    assert_eq!(parse("info -d -").destination(), Destination::RemoteDump);
    assert_eq!(parse("info --csr").destination(), Destination::Request);
    for line in ["info --csr -d host", "info --csr --socket a", "info --socket a -d host"] {
        assert_eq!(conflict(line), Conflict::TwoDestinations, "{line}");
    }
    for line in [
        "add-policy foo 1 -d host",
        "replace-policy foo 1 -d host",
        "remove-policy -d host",
        "stats-add 1 -d host",
        "stats-remove -d -",
    ] {
        assert_eq!(conflict(line), Conflict::NotRemote, "{line}");
    }
    parse("add-policy foo 1 --csr");
    assert_eq!(conflict("info --ca a.pem"), Conflict::OnlyWith { option: "--ca", with: "--destination" });
    let expected = Conflict::OnlyWith { option: "--server-ca", with: "--destination" };
    assert_eq!(conflict("info --csr --server-ca a"), expected);
    mistake("info --key-type p256");
    for line in
        ["sign a b c d --csr", "sign a b c d --key-type p256", "generate a b -d host", "generate a b --ca c"]
    {
        assert!(matches!(conflict(line), Conflict::NotForThisCommand(_)), "{line}");
    }
    assert_eq!(conflict("certificate a b"), Conflict::Needs("--destination"));
    assert_eq!(conflict("certificate a b -d host --ca c"), Conflict::NotForThisCommand("--ca"));
}

#[test]
fn certificate_files_and_keys() {
    let options = parse("info -d host");
    assert_eq!((options.ca(), options.ca_key()), (PathBuf::from("ca.pem"), PathBuf::from("ca.key")));
    assert_eq!((options.server_ca(), options.key_kind()), (PathBuf::from("cacert.pem"), KeyKind::Ed25519));
    let options = parse("info -d host --ca=a --ca-key b --server-ca=c --key-type=p521");
    assert_eq!((options.ca(), options.ca_key()), (PathBuf::from("a"), PathBuf::from("b")));
    assert_eq!((options.server_ca(), options.key_kind()), (PathBuf::from("c"), KeyKind::P521));
    for (kind, expected) in [
        ("rsa2048", KeyKind::Rsa2048),
        ("rsa4096", KeyKind::Rsa4096),
        ("ed25519", KeyKind::Ed25519),
        ("p256", KeyKind::P256),
        ("p384", KeyKind::P384),
    ] {
        assert_eq!(parse(&format!("generate a b --key-type {kind}")).key_kind(), expected);
    }
    mistake("generate a b --key-type dsa");
}

#[test]
fn authorities() {
    let Action::Generate(it) = parse("generate root db").action else { panic!() };
    assert_eq!((it.name.as_str(), it.db, it.days), ("root", PathBuf::from("db"), 3650));
    assert_eq!((it.server.as_str(), it.server_days), ("server", 365));
    let line = "generate --days=1 --server-days 2 --server=www.example.org root db";
    let Action::Generate(it) = parse(line).action else { panic!() };
    assert_eq!((it.days, it.server_days, it.server.as_str()), (1, 2, "www.example.org"));
    let Action::Sign(it) = parse("sign cacert.pem db ca.key a.req").action else { panic!() };
    assert_eq!((it.cacert, it.db), (PathBuf::from("cacert.pem"), PathBuf::from("db")));
    assert_eq!((it.cakey, it.csr, it.days), (PathBuf::from("ca.key"), PathBuf::from("a.req"), None));
    let Action::Sign(it) = parse("sign a b c d --days=5").action else { panic!() };
    assert_eq!(it.days, Some(5));
    let Action::Certificate(it) = parse("certificate a.pem a.key -d host --data image").action else {
        panic!()
    };
    assert_eq!((it.cert, it.key), (PathBuf::from("a.pem"), PathBuf::from("a.key")));
    assert_eq!(it.data, Some(PathBuf::from("image")));
    for line in
        ["generate a", "generate a/b db", "generate a b --server ../x", "sign a b c", "sign a b c d --days 0"]
    {
        mistake(line);
    }
}

#[test]
fn names_in_certificates() {
    let common_name = |line: &str| try_request(line).unwrap().common_name();
    assert_eq!(common_name("info -d h").as_deref(), Ok("."));
    assert_eq!(common_name("info -d h -n hello").as_deref(), Ok("hello"));
    assert_eq!(common_name("info -d h -n :hello").as_deref(), Ok("hello"));
    assert_eq!(common_name("policy -d h").as_deref(), Ok("."));
    assert_eq!(common_name("policy -d h -p foo:bar").as_deref(), Ok("foo:bar"));
    assert_eq!(common_name("add-policy foo 1 --csr").as_deref(), Ok("foo"));
    assert_eq!(common_name("add-policy ~ 1 --csr"), Err(CommandError::RootInCertificate));
    for line in [
        "info -d h -n foo:hello",
        "info -d h -n foo:",
        "destroy foo:hello --csr",
        "inactive-consoles -p foo -d h",
    ] {
        assert!(matches!(common_name(line), Err(CommandError::PathInCertificate(_))), "{line}");
    }
}

#[test]
fn what_is_not_there_is_refused() {
    for line in [
        "",
        "inf",
        "infos",
        "update",
        "update hello --csr",
        "update hello -d -",
        "update hello --socket -",
        "verify a",
        "decode",
        "revoke a b",
        "revoke a b c d --csr",
        "revoke a b c d --ca x",
        "revoke a b c d --server-ca x",
        "revoke a b c d --number 0",
        "revoke a b c d --reason whim",
        "inspect-dump -d host",
        "extract-dump",
        "log --csr -d host",
        "info --nam foo",
        "info --unknown",
        "info -x",
        "info -n",
        "info --json=yes",
        "info --verbosity loud",
        "create a b --by-digest --compression-level 9",
        "info --server-name host",
        "info --tmpdir",
    ] {
        mistake(line);
    }
}

#[test]
fn logging() {
    assert_eq!(parse("info").level(), Level::Warning);
    assert_eq!(parse("info -v").level(), Level::Info);
    assert_eq!(parse("info -vv").level(), Level::Debug);
    assert_eq!(parse("-v info --verbose").level(), Level::Debug);
    assert_eq!(parse("info -q").level(), Level::Quiet);
    assert_eq!(parse("info --verbosity=error --color=never").level(), Level::Error);
}

#[test]
fn the_log() {
    let log = |history| Command::Log(LogCommand(history));
    assert_eq!(sent("log"), (":".to_owned(), log(History::Count(int(20)))));
    assert_eq!(sent("log -n foo: --count=-1"), ("foo:".to_owned(), log(History::Count(int(-1)))));
    let since = History::Since("2026-01-31T00:00:00Z".parse().unwrap());
    assert_eq!(sent("log --count 5 --since 2026-01-31"), (":".to_owned(), log(since)));
}

#[test]
fn what_an_update_asks_first() {
    for line in ["update foo:hello", "update --dry-run foo:hello", "update foo:hello --dryrun"] {
        let expected = ("foo:hello".to_owned(), Command::Unikernel(UnikernelCommand::Info));
        assert_eq!(sent(line), expected, "{line}");
    }
    let error = try_request("update foo:").unwrap_err();
    assert!(matches!(error, Error::Command(CommandError::LabelNeeded(_))), "{error}");
}

#[test]
fn what_may_have_been_meant() {
    for (line, meant) in [
        ("craete a b", "did you mean 'create'?"),
        ("create_blok a 1", "did you mean 'create-block'?"),
        ("info --destinaton host", "did you mean '--destination'?"),
        ("create a b --exit-cod 3", "did you mean '--exit-code'?"),
        ("add-policy a 1 --netwrok x", "did you mean '--network'?"),
        ("add-policy a 1 --brigde x", "did you mean '--bridge'?"),
    ] {
        let text = mistake(line);
        assert!(text.contains(meant), "{line}: {text}");
    }
    assert!(!mistake("frobnicate").contains("did you mean"));
}

/// The options of a program of another name.
fn in_role(role: Role, line: &str) -> Result<Options, Conflict> {
    let parsed = program(role.name()).try_parse(words(line));
    let mut options: Options = parsed.unwrap_or_else(|early| panic!("{line}: {early}"));
    role.fix(&mut options).and_then(|()| options.check()).map(|()| options)
}

#[test]
fn the_older_programs_have_their_destination_fixed() {
    for (program, role) in [
        ("albatross-client", Role::Client),
        ("/usr/bin/albatross-client-local", Role::Local),
        ("albatross_client_remote_tls", Role::RemoteTls),
        ("./albatross-client-bistro", Role::Bistro),
        ("albatross-provision_request", Role::Request),
        ("albatross-provision-ca", Role::Authority),
        ("something", Role::Client),
    ] {
        assert_eq!(Role::of(program.as_ref()), role);
    }
    let to = |role, line| in_role(role, line).map(|options| options.destination());
    let remote = |host: &str| Ok(Destination::Remote(host.to_owned()));
    assert_eq!(to(Role::Local, "add_policy alice 1"), Ok(Destination::Local));
    assert_eq!(to(Role::Bistro, "info"), remote("localhost:1025"));
    assert_eq!(to(Role::Bistro, "create_block data 1 -d host"), remote("host"));
    assert_eq!(to(Role::Request, "add_policy alice 1"), Ok(Destination::Request));
    for line in ["generate ca db", "sign a b c d", "revoke a b c d"] {
        assert_eq!(to(Role::Authority, line), Ok(Destination::Local), "{line}");
        for role in [Role::Local, Role::Bistro, Role::Request] {
            assert_eq!(to(role, line), Err(Conflict::NotForThisProgram("this command")), "{line}");
        }
    }
    assert_eq!(to(Role::Authority, "revoke a b c d --destination host"), remote("host"));
    for (role, line) in [
        (Role::Local, "info -d host"),
        (Role::Local, "info --csr"),
        (Role::Bistro, "info --csr"),
        (Role::Bistro, "info --socket x"),
        (Role::Request, "info -d host"),
        (Role::Authority, "info"),
        (Role::Authority, "sign a b c d -d host"),
    ] {
        assert!(matches!(to(role, line), Err(Conflict::NotForThisProgram(_))), "{line}");
    }
}
