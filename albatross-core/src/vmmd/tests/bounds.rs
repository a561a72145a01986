//! What waits for somebody who does not answer is bounded.

use super::*;

/// What was sent to one that had stopped reading waited in memory, without an end.
#[test]
fn a_console_daemon_that_does_not_answer_is_not_asked_without_end() {
    let mut host = Host::new();
    assert_eq!(host.create(":runs", arguments()), said("created unikernel"));
    host.console_silent = true;
    let refusals = (0..2 * MAX_UNANSWERED).map(|_| {
        let client = host.send(":a", create(arguments()));
        if !host.replies.contains_key(&client) {
            host.tick(CONSOLE_PATIENCE.as_secs());
        }
        refused(&host.reply(client))
    });
    let refusals: Vec<String> = refusals.collect();
    assert!(refusals.first().unwrap().contains("did not answer within 10 s"));
    assert!(refusals.last().unwrap().contains("unanswered"), "{refusals:?}");
    assert!(host.held.len() <= MAX_UNANSWERED + 1, "asked {} times", host.held.len());
    // When it answers, it is asked again.
    host.console_silent = false;
    for message in std::mem::take(&mut host.held) {
        host.input(Input::ConsoleFrame(console_answer(&message)));
    }
    assert_eq!(host.create(":a", arguments()), said("created unikernel"));
}
