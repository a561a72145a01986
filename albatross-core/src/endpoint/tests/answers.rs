//! Answers of a daemon that are not as they should be, and what is logged.

use super::*;
use crate::machine::Level;

const NONSENSE: &str = "albatrossd answered with what is no message";

#[test]
fn what_follows_an_answer_is_not_passed_on() {
    let reply = message(ok("destroyed unikernel"));
    let mut rig = Rig::asks(destroy(), 0);
    rig.connects();
    rig.happens(Input::DaemonData(&[&reply[..], &message(no("another"))].concat()));
    assert_eq!(rig.client, reply);
    assert_eq!(rig.report(), "alice:bob:hello, destroy: done");
    // After a policy there is nothing to come before the command is sent.
    let mut rig = Rig::asks(destroy(), 1);
    rig.connects();
    rig.happens(Input::DaemonData(&[&message(ok("added policy"))[..], &reply].concat()));
    assert_eq!(rig.failure(), NONSENSE);
}

/// A text of any length that one may think of is read; the client is told its begin.
#[test]
fn a_long_refusal_of_a_policy_is_cut() {
    let mut rig = Rig::asks(destroy(), 1);
    rig.connects();
    rig.daemon_says(no(&"\u{e9}".repeat(30_000)));
    let begin = "\u{e9}".repeat(512);
    assert_eq!(rig.failure(), format!("policy of alice was not accepted: {begin}"));
    let mut rig = Rig::asks(destroy(), 1);
    rig.connects();
    rig.daemon_says(no(&"x".repeat(MAX_POLICY_REPLY)));
    assert_eq!(rig.failure(), NONSENSE);
}

#[test]
fn a_dump_begins_with_a_success_and_has_one() {
    let piece = || Payload::Data(Data::Block(Some(Cow::Borrowed(b"content"))));
    let begin = || Payload::Success(Success::BlockDeviceImage { compressed: false });
    let wrong: [&[Payload<'_>]; 3] = [&[Payload::Data(Data::Block(None))], &[piece()], &[begin(), begin()]];
    for payloads in wrong {
        let mut rig = Rig::asks(Command::Block(BlockCommand::Dump(Int::ZERO)), 0);
        rig.connects();
        payloads.iter().for_each(|payload| rig.daemon_says(payload.clone()));
        assert!(rig.closing, "{payloads:?}");
        assert_eq!(rig.report(), format!("alice:bob:hello, block dump: failed: {NONSENSE}"));
    }
}

#[test]
fn what_follows_the_end_of_a_stream_counts_as_unexpected() {
    let mut rig = upload();
    rig.happens(Input::ClientData(&[&chunks(&[b"one", b""])[..], &[0; 10]].concat()));
    rig.happens(Input::ClientData(&[0; MAX_UNEXPECTED - 10]));
    assert!(!rig.closing);
    rig.happens(Input::ClientData(&[0]));
    assert_eq!(rig.failure(), "more than 65536 octets were sent where none are expected");
}

#[test]
fn what_goes_as_it_should_is_no_warning() {
    let level = |outcome| Report { name: None, command: None, outcome }.level();
    for outcome in [Outcome::Done, Outcome::Left, Outcome::Shutdown] {
        assert_eq!(level(outcome), Level::Info);
    }
    for outcome in [Outcome::Gone, Outcome::Refused(None), Outcome::Failed(Failure::WrongDigest)] {
        assert_eq!(level(outcome), Level::Warning);
    }
}

#[test]
fn a_session_is_shown_without_the_image() {
    let mut rig = Rig::asks(create(), 0);
    rig.happens(Input::ClientData(&chunks(&[b"abc"])));
    let shown = format!("{:?}", rig.session);
    assert!(shown.contains("octets: 3") && !shown.contains("97, 98, 99"), "{shown}");
}
