//! Every form of a command line, through argh.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::{Early, Program};
use crate::logging::{Color, Level};

/// A client with subcommands.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
struct Client {
    /// where to
    #[argh(option, short = 'd')]
    destination: Option<String>,
    /// more
    #[argh(switch, short = 'v')]
    verbose: u8,
    #[argh(subcommand)]
    command: Command,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    Create(Create),
    AddPolicy(AddPolicy),
    Console(Console),
}

/// Creates.
#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "create")]
struct Create {
    /// name
    #[argh(positional)]
    name: String,
    /// image
    #[argh(positional)]
    image: String,
    /// force
    #[argh(switch, short = 'f')]
    force: bool,
    /// arguments
    #[argh(option)]
    arg: Vec<String>,
    /// memory
    #[argh(option, default = "32")]
    mem: u32,
    /// block devices
    #[argh(option)]
    block: Vec<String>,
    /// restart
    #[argh(switch)]
    restart_on_fail: bool,
}

/// Adds a policy.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "add-policy")]
struct AddPolicy {
    /// path
    #[argh(positional)]
    path: String,
    /// unikernels
    #[argh(positional)]
    unikernels: u32,
    /// block
    #[argh(option)]
    block: Option<u32>,
}

/// Console.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "console")]
struct Console {
    /// name
    #[argh(option, short = 'n')]
    name: Option<String>,
    /// not the verbosity
    #[argh(option, short = 'd')]
    days: Option<i64>,
}

const PROGRAM: Program = Program::new("client", "1.2.3")
    .with_aliases(&[("--size", "--block"), ("--restart", "--restart-on-fail")]);

fn parse(words: &[&str]) -> Result<Client, Early> {
    PROGRAM.try_parse(words.iter().map(OsString::from))
}

fn create(words: &[&str]) -> Create {
    match parse(words) {
        Ok(Client { command: Command::Create(create), .. }) => create,
        other => panic!("{words:?} gave {other:?}"),
    }
}

fn mistake(words: &[&str]) -> String {
    match parse(words) {
        Err(Early::Usage(text)) => text,
        other => panic!("{words:?} gave {other:?}"),
    }
}

fn basic() -> Create {
    Create { name: "n".into(), image: "i".into(), mem: 32, ..Create::default() }
}

#[test]
fn values_may_be_attached_or_follow() {
    let wanted = Create { mem: 64, ..basic() };
    for words in [
        &["create", "n", "i", "--mem", "64"][..],
        &["create", "n", "i", "--mem=64"],
        &["create", "--mem=64", "n", "i"],
        &["create", "n", "--mem", "64", "i"],
        &["create", "--mem", "64", "--", "n", "i"],
    ] {
        assert_eq!(create(words), wanted, "{words:?}");
    }
}

#[test]
fn short_options_in_all_forms() {
    for words in [&["console", "-n", "foo"][..], &["console", "-nfoo"], &["console", "--name=foo"]] {
        let name = Some("foo".to_owned());
        let command = Command::Console(Console { name, days: None });
        assert_eq!(parse(words).unwrap().command, command, "{words:?}");
    }
    assert_eq!(parse(&["-vv", "console"]).unwrap().verbose, 2);
    assert_eq!(parse(&["-v", "console", "-v"]).unwrap().verbose, 2);
    let client = parse(&["console", "-vvn", "foo"]).unwrap();
    assert_eq!(client.verbose, 2);
    assert!(create(&["create", "-f", "n", "i"]).force);
}

#[test]
fn a_value_may_look_like_an_option() {
    let wanted = Create { arg: vec!["--ipv4=x".into()], ..basic() };
    assert_eq!(create(&["create", "n", "i", "--arg", "--ipv4=x"]), wanted);
    assert_eq!(create(&["create", "n", "i", "--arg=--ipv4=x"]), wanted);
    let arguments = ["-l", "--", "", "a b", "--mem", "x=y", "--help"];
    let mut words = vec!["create", "n", "i"];
    for argument in arguments {
        words.extend(["--arg", argument]);
    }
    assert_eq!(create(&words).arg, arguments);
    assert_eq!(create(&["create", "n", "i", "--arg="]).arg, [""]);
    assert_eq!(create(&["create", "n", "i", "--arg==a"]).arg, ["=a"]);
    let Command::Console(console) = parse(&["console", "--days", "-5"]).unwrap().command else { panic!() };
    assert_eq!(console.days, Some(-5));
}

#[test]
fn after_two_dashes_nothing_is_an_option() {
    let wanted = Create { name: "--mem".into(), image: "--".into(), ..basic() };
    assert_eq!(create(&["create", "--", "--mem", "--"]), wanted);
    // argh would show help for a positional `help`.
    assert_eq!(
        create(&["create", "help", "-"]),
        Create { name: "help".into(), image: "-".into(), ..basic() }
    );
}

#[test]
fn options_of_the_program_may_follow_the_subcommand() {
    for words in [
        &["-d", "host", "create", "n", "i"][..],
        &["create", "n", "i", "-d", "host"],
        &["create", "-dhost", "n", "i"],
        &["create", "n", "--destination=host", "i"],
    ] {
        assert_eq!(parse(words).unwrap().destination.as_deref(), Some("host"), "{words:?}");
    }
    // The innermost command that has an option gets it.
    let client = parse(&["-d", "host", "console", "-d", "3"]).unwrap();
    assert_eq!(client.destination.as_deref(), Some("host"));
    assert_eq!(client.command, Command::Console(Console { name: None, days: Some(3) }));
}

#[test]
fn second_names() {
    let wanted = Command::AddPolicy(AddPolicy { path: "foo".into(), unikernels: 3, block: Some(10) });
    for words in [
        &["add-policy", "foo", "3", "--block", "10"][..],
        &["add_policy", "foo", "3", "--size", "10"],
        &["add_policy", "foo", "3", "--size=10"],
    ] {
        assert_eq!(parse(words).unwrap().command, wanted, "{words:?}");
    }
    assert!(create(&["create", "n", "i", "--restart"]).restart_on_fail);
    assert!(create(&["create", "n", "i", "--restart-on-fail"]).restart_on_fail);
}

#[test]
fn repeats_keep_their_order() {
    assert_eq!(
        create(&["create", "--block=a", "n", "--block", "b", "i", "--block=c"]).block,
        ["a", "b", "c"]
    );
    assert!(mistake(&["create", "n", "i", "--mem=1", "--mem=2"]).contains("duplicate"));
}

#[test]
fn mistakes_are_named() {
    for (words, text) in [
        (&["create", "n", "i", "--me=1"][..], "unknown option '--me'"),
        (&["create", "n", "i", "-x"], "unknown option '-x'"),
        (&["create", "n", "i", "-fx"], "unknown option '-x'"),
        (&["create", "n", "i", "--force=1"], "option '--force' takes no value"),
        (&["create", "n", "i", "--mem"], "option '--mem' needs a value"),
        (&["create", "n", "i", "--mem=x"], "--mem"),
        (&["create", "n"], "image"),
        (&["create", "n", "i", "more"], "more"),
        (&["crea", "n", "i"], "there is no command 'crea'"),
        (&["console", "-n"], "option '-n' needs a value"),
        (&[], "subcommands"),
    ] {
        let found = mistake(words);
        assert!(found.starts_with("client: ") && found.contains(text), "{words:?} gave {found}");
        assert!(found.contains("--help"), "{found}");
    }
    assert!(mistake(&["create", "--nope"]).contains("Try 'client create --help'"));
    assert!(!mistake(&["create", "--\x1b[2J"]).contains('\x1b'));
    let odd = PROGRAM.try_parse::<Client>([OsString::from_vec(vec![0xff])]);
    assert!(matches!(odd, Err(Early::Usage(text)) if text.contains("UTF-8")));
}

#[test]
fn help_and_version() {
    for words in [
        &["create", "--help"][..],
        &["create", "n", "--mem", "2", "--help", "i"],
        &["--help", "create"],
        &["help", "create"],
        &["create", "-h"],
    ] {
        let Err(Early::Print(text)) = parse(words) else { panic!("{words:?}") };
        assert!(text.contains("client create") && text.contains("--mem"), "{text}");
    }
    let Err(Early::Print(text)) = parse(&["--help"]) else { panic!() };
    assert!(text.contains("add-policy"), "{text}");
    for words in [&["--version"][..], &["create", "--version"]] {
        assert_eq!(parse(words), Err(Early::Print("client 1.2.3".to_owned())));
    }
}

crate::daemon_options! {
    /// A daemon.
    struct Daemon {
        /// how many
        #[argh(option, default = "5")]
        max_subscribers: u32,
    }
}

#[test]
fn daemons_have_options_in_common() {
    let parse = |words: &[&str]| -> Daemon {
        Program::new("daemon", "1").try_parse(words.iter().map(OsString::from)).unwrap()
    };
    let options = parse(&[]);
    assert_eq!(options.max_subscribers, 5);
    let common = options.common();
    assert_eq!(common.tmpdir, PathBuf::from("/run/albatross"));
    assert_eq!((common.level, common.color), (Level::Warning, Color::Auto));
    assert!(!common.syslog && !common.systemd_socket_activation);
    let options = parse(&["--tmpdir=/x", "-vv", "--color=never", "--syslog", "--max-subscribers", "9"]);
    assert_eq!(options.max_subscribers, 9);
    let common = options.common();
    assert_eq!(common.tmpdir, PathBuf::from("/x"));
    assert_eq!((common.level, common.color, common.syslog), (Level::Debug, Color::Never, true));
    assert_eq!(parse(&["-q", "--verbosity", "info"]).common().level, Level::Quiet);
    assert_eq!(parse(&["--verbosity", "info"]).common().level, Level::Info);
}
