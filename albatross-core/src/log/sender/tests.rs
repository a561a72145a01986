//! The sender against a log daemon that answers, does not, or answers something else.

use super::*;
use albatross_proto::{Int, Success, Time};

fn at(millis: u64) -> Now {
    Now { monotonic: Duration::from_millis(millis), wall: Time::default() }
}

fn event(sender: &mut Sender, now: Now) -> i64 {
    sender.event(now, "a:b".parse().unwrap(), Event::UnikernelStarted(Int::ONE))
}

fn answer(sender: &mut Sender, now: Now, number: i64, payload: Payload<'_>) {
    let wire = Wire::new(Header::new(number, "a:b".parse().unwrap()), payload);
    sender.frame(now, &wire.encode().unwrap());
}

/// What is sent, by number, and what else is to be done.
fn outputs(sender: &mut Sender) -> (Vec<i64>, Vec<SenderOutput>) {
    let (mut sent, mut others) = (Vec::new(), Vec::new());
    for output in sender.outputs() {
        match output {
            SenderOutput::Send(message) => sent.push(Wire::decode(&message).unwrap().header.sequence),
            SenderOutput::Warn(_) => {}
            other => others.push(other),
        }
    }
    (sent, others)
}

fn connected(now: Now) -> Sender {
    let mut sender = Sender::new();
    event(&mut sender, now);
    sender.connected(now);
    answer(&mut sender, now, 1, Payload::Success(Success::Empty));
    let written = SenderOutput::Answer(Answer::Written(1));
    assert_eq!(outputs(&mut sender), (vec![1], vec![SenderOutput::Connect, written]));
    sender
}

#[test]
fn what_is_sent_is_answered_in_order() {
    let mut sender = connected(at(0));
    for number in 2..5 {
        assert_eq!(event(&mut sender, at(0)), number);
    }
    assert!(sender.is_prompt() && sender.is_waiting());
    assert_eq!(outputs(&mut sender).0, [2, 3, 4]);
    for number in 2..5 {
        answer(&mut sender, at(0), number, Payload::Success(Success::Empty));
        let written = SenderOutput::Answer(Answer::Written(number));
        assert_eq!(outputs(&mut sender).1, [written]);
    }
    assert_eq!((sender.unwritten(), sender.next_deadline()), (0, None));
}

#[test]
fn what_was_not_answered_is_sent_again_after_a_loss() {
    let mut sender = connected(at(0));
    event(&mut sender, at(0));
    assert_eq!(outputs(&mut sender).0, [2]);
    sender.closed(at(10));
    assert_eq!(outputs(&mut sender).1, [SenderOutput::Answer(Answer::Later)]);
    event(&mut sender, at(20));
    assert!(!sender.is_prompt(), "it was tried a moment ago");
    assert_eq!(outputs(&mut sender), (vec![], vec![]));
    // Nobody is there, for longer and longer.
    let mut now = 10;
    for delay in [1, 4, 16] {
        now += delay * 1000;
        assert_eq!(sender.next_deadline(), Some(Duration::from_millis(now)));
        sender.tick(at(now));
        assert_eq!(outputs(&mut sender).1, [SenderOutput::Connect]);
        sender.closed(at(now));
        outputs(&mut sender);
    }
    assert_eq!(sender.next_deadline(), None);
    // Something that happens is a reason to look at once, and to wait for that.
    event(&mut sender, at(now + 1000));
    assert!(sender.is_prompt());
    assert_eq!(outputs(&mut sender).1, [SenderOutput::Connect]);
    sender.connected(at(now + 1000));
    assert_eq!(outputs(&mut sender).0, [2, 3, 4]);
}

#[test]
fn nobody_waits_for_one_that_does_not_answer() {
    let mut sender = connected(at(0));
    event(&mut sender, at(100));
    let late = Duration::from_millis(100) + LATE;
    assert_eq!(sender.next_deadline(), Some(late));
    sender.tick(Now { monotonic: late, ..at(0) });
    assert_eq!(outputs(&mut sender).1, [SenderOutput::Answer(Answer::Later)]);
    event(&mut sender, at(5000));
    assert!(!sender.is_prompt() && !sender.is_waiting());
    answer(&mut sender, at(6000), 2, Payload::Success(Success::Empty));
    assert!(!sender.is_prompt(), "the second is late, too");
    answer(&mut sender, at(6000), 3, Payload::Success(Success::Empty));
    event(&mut sender, at(6000));
    assert!(sender.is_prompt(), "it has caught up");
}

#[test]
fn what_could_not_be_written_is_sent_again_later() {
    let mut sender = connected(at(0));
    for _ in 2..5 {
        event(&mut sender, at(0));
    }
    outputs(&mut sender);
    answer(&mut sender, at(0), 2, Payload::Failure("no space".into()));
    assert_eq!(outputs(&mut sender).1, [SenderOutput::Answer(Answer::Later)]);
    answer(&mut sender, at(0), 3, Payload::Success(Success::Empty));
    answer(&mut sender, at(0), 4, Payload::Failure("no space".into()));
    event(&mut sender, at(0));
    assert!(!sender.is_prompt());
    assert_eq!(outputs(&mut sender), (vec![], vec![]));
    assert_eq!(sender.next_deadline(), Some(REFUSED_RETRY));
    let retry = Now { monotonic: REFUSED_RETRY, ..at(0) };
    sender.tick(retry);
    assert_eq!(outputs(&mut sender).0, [2, 4, 5]);
    // What it said of the first time says nothing about the second.
    answer(&mut sender, retry, 4, Payload::Failure("no space".into()));
    assert_eq!(outputs(&mut sender), (vec![], vec![]));
    assert!(sender.is_prompt() && sender.unwritten() == 3);
}

#[test]
fn what_waits_is_bounded_and_what_is_lost_is_said() {
    let mut sender = Sender::new();
    for _ in 0..MAX_WAITING + 5 {
        event(&mut sender, at(0));
    }
    assert_eq!(sender.unwritten(), MAX_WAITING);
    sender.connected(at(0));
    let told = sender.outputs();
    assert!(told.iter().any(|it| matches!(it, SenderOutput::Warn(text) if text.starts_with("5 events"))));
    let sent = told.iter().filter(|it| matches!(it, SenderOutput::Send(_))).count();
    assert_eq!(sent, MAX_UNANSWERED);
}

#[test]
fn an_answer_that_is_none_ends_the_connection() {
    for wrong in [
        &b"garbage"[..],
        &Wire::new(Header::new(9, Name::root()), Payload::Success(Success::Empty)).encode().unwrap(),
        &Wire::new(Header::new(9, Name::root()), Payload::Failure("no".into())).encode().unwrap(),
    ] {
        let mut sender = connected(at(0));
        event(&mut sender, at(0));
        outputs(&mut sender);
        sender.frame(at(0), wrong);
        assert_eq!(outputs(&mut sender).1, [SenderOutput::Close, SenderOutput::Answer(Answer::Later)]);
        assert_eq!(sender.unwritten(), 1);
    }
    // Nor is one awaited where nothing was sent, of an event that there never was.
    let mut sender = connected(at(0));
    answer(&mut sender, at(0), 2, Payload::Success(Success::Empty));
    assert_eq!(outputs(&mut sender).1, [SenderOutput::Close, SenderOutput::Answer(Answer::Later)]);
}

#[test]
fn long_texts_are_cut() {
    let mut sender = connected(at(0));
    let long = Text::from("x".repeat(10 * MAX_TEXT).as_str());
    sender.event(at(0), Name::root(), Event::Command { command: "create".into(), failure: Some(long) });
    let outputs = sender.outputs();
    let [SenderOutput::Send(message)] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert!(message.len() < MAX_TEXT + 200);
}
