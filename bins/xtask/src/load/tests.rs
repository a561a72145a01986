//! The short form: the same with few guests, and with a number of commands in place of a time.

use super::*;

#[test]
fn nothing_is_lost_under_load_when_daemons_are_killed() {
    if !can_run() {
        println!("skipped: needs root and /dev/net/tun");
        return;
    }
    let plan = Plan {
        guests: 12,
        clients: 3,
        work: Work::Commands(250),
        seed: 1,
        tick: Duration::from_millis(250),
        sample: Duration::from_millis(100),
    };
    run_plan(&plan, Programs::for_tests().unwrap()).unwrap_or_else(|failure| panic!("{failure}"));
}
