//! When a session is given up: what a driver arms its timers with.

use super::*;

const MOMENT: Duration = Duration::from_millis(1);

impl Rig {
    /// Nothing is given up before then.
    fn is_due_in(&self, time: Duration) {
        assert_eq!(self.session.deadline(), Some(self.now + time));
    }
}

#[test]
fn a_client_that_takes_its_answer_late_has_its_time_to_close_from_then_on() {
    let mut rig = Rig::asks(info(), 0);
    rig.connects();
    rig.daemon_says(ok("x"));
    rig.is_due_in(WRITE_PATIENCE);
    rig.waits(WRITE_PATIENCE - MOMENT);
    let waiting = rig.client.len();
    rig.happens(Input::ClientTook(waiting));
    rig.is_due_in(LINGER);
    rig.waits(LINGER - MOMENT);
    assert!(rig.closing && !rig.dropped && !rig.session.is_over());
    rig.waits(MOMENT);
    assert!(rig.dropped && rig.session.is_over());
}

#[test]
fn a_subscriber_that_leaves_has_its_time_to_close() {
    let mut rig = Rig::asks(subscribe(), 0);
    rig.connects();
    rig.daemon_says(ok("subscribed"));
    let waiting = rig.client.len();
    rig.happens(Input::ClientTook(waiting));
    rig.waits(DAEMON_PATIENCE);
    rig.happens(Input::ClientEnded);
    rig.is_due_in(LINGER);
}

#[test]
fn a_busy_daemon_is_tried_again_only_where_there_is_time() {
    let busy = || Input::ConnectFailed(io::ErrorKind::WouldBlock.into());
    let mut rig = Rig::asks(info(), 1);
    rig.is_due_in(CONNECT_PATIENCE);
    rig.now += CONNECT_PATIENCE - CONNECT_PAUSE - MOMENT;
    rig.happens(busy());
    rig.is_due_in(CONNECT_PAUSE);
    rig.waits(CONNECT_PAUSE - MOMENT);
    assert_eq!(rig.connects.len(), 1);
    rig.waits(MOMENT);
    assert_eq!(rig.connects.len(), 2);
    rig.is_due_in(MOMENT);
    let mut rig = Rig::asks(info(), 1);
    rig.now += CONNECT_PATIENCE - CONNECT_PAUSE;
    rig.happens(busy());
    assert_eq!(rig.failure(), "albatrossd is not reachable");
}

#[test]
fn a_daemon_that_neither_connects_nor_answers_a_policy_is_given_up() {
    let mut rig = Rig::asks(destroy(), 1);
    rig.waits(CONNECT_PATIENCE - MOMENT);
    assert!(!rig.closing);
    rig.waits(MOMENT);
    assert_eq!((rig.failure().as_str(), rig.connects.len()), ("albatrossd does not answer", 1));
    let mut rig = Rig::asks(destroy(), 1);
    rig.connects();
    rig.is_due_in(DAEMON_PATIENCE);
    rig.waits(DAEMON_PATIENCE);
    assert_eq!((rig.failure().as_str(), rig.connects.len()), ("albatrossd does not answer", 1));
}

#[test]
fn the_clock_of_a_stream_starts_again_when_the_daemon_has_taken_what_came() {
    let mut rig = upload();
    rig.is_due_in(STREAM_PATIENCE);
    rig.waits(STREAM_PATIENCE - MOMENT);
    rig.happens(Input::ClientData(&frame(b"one")));
    // Now it is the daemon's turn.
    rig.waits(STREAM_PATIENCE);
    assert!(!rig.closing);
    let waiting = rig.daemon.len();
    rig.happens(Input::DaemonTook(waiting));
    rig.is_due_in(STREAM_PATIENCE);
    rig.waits(STREAM_PATIENCE);
    assert_eq!(rig.failure(), "the stream came too slowly");
}

/// What an earlier connection did not take is waited for no more.
#[test]
fn a_new_connection_begins_with_nothing_waiting() {
    let set = Command::Block(BlockCommand::Set { compressed: false });
    let mut rig = Rig::asks(set, 2);
    rig.connects();
    rig.daemon_says(no("too large"));
    rig.daemon.clear();
    rig.connects();
    rig.daemon_says(ok("added policy"));
    rig.daemon_says(ok("added policy"));
    rig.commands();
    rig.is_due_in(STREAM_PATIENCE);
}
