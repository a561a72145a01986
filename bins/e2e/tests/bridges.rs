//! Bridges that vanish and come back while unikernels are on them, in a network namespace of the test's own.
//!
//! Needs root and /dev/net/tun; without them it says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use albatross_e2e::{Host, eventually, processes};
use albatross_proto::reply::State;
use nix::sys::signal::Signal;

mod namespace;
use namespace::{in_new_network, ip, taps};

/// Why a unikernel is not running, if it failed to start.
fn failure(host: &Host, name: &str) -> Option<String> {
    match &host.statuses().unwrap().get(name)?.state {
        State::Failed(why) => Some(why.to_string()),
        _ => None,
    }
}

fn runs(host: &Host, name: &str) -> Option<()> {
    (host.statuses().unwrap().get(name)?.state == State::Running).then_some(())
}

fn pong(host: &Host, name: &str, net: &str) {
    host.create(name, "pong", &["--net", net]).unwrap().assert(0, "created unikernel");
}

#[test]
fn a_unikernel_whose_bridge_vanishes_waits_until_it_is_back() {
    in_new_network(|| {
        let mut host = Host::for_test().unwrap();
        pong(&host, "a:it", "service:other");
        pong(&host, "a:stays", "service");
        let stays = host.tenders();
        ip("link del other");
        // It runs on, on no bridge.
        assert_eq!((host.tenders(), taps().len()), (stays, 2));
        host.client(&["restart", "a:it"]).unwrap().assert(117, "bridge other");
        let why = eventually("a start that fails", || failure(&host, "a:it")).unwrap();
        assert!(why.contains("bridge other: "), "{why}");
        assert_eq!((host.tenders().len(), taps().len()), (1, 1));
        assert_eq!(host.left_behind(), ["a:stays.img", "fifo/a:stays", "running/a:stays"]);
        // Nor does the next daemon lose it, which finds no such bridge on this host.
        assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
        assert_eq!(taps(), Vec::<String>::new());
        host.start_albatrossd(&[]).unwrap();
        eventually("the other", || runs(&host, "a:stays")).unwrap();
        let why = eventually("a start that fails", || failure(&host, "a:it")).unwrap();
        assert!(why.contains("bridge other"), "{why}");
        ip("link add other type bridge");
        ip("link set other up");
        eventually("a start", || runs(&host, "a:it")).unwrap();
        assert_eq!((host.tenders().len(), taps().len()), (2, 2));
        assert!(ip("-o link show master other").contains("vmmtap"));
    });
}

#[test]
fn a_bridge_that_is_made_later_is_used() {
    in_new_network(|| {
        let host = Host::for_test().unwrap();
        ip("link add later type bridge");
        pong(&host, "a:it", "service:later");
        assert!(ip("-o link show master later").contains("vmmtap0"));
        assert!(host.client(&["policy"]).unwrap().assert(0, "").text().contains("later"));
        host.client(&["destroy", "a:it"]).unwrap().assert(0, "destroyed");
        ip("link del later");
        host.create("a:it", "pong", &["--net", "service:later"]).unwrap().assert(117, "later");
        assert_eq!((host.tenders(), taps(), host.left_behind()), (Vec::new(), Vec::new(), Vec::new()));
    });
}

#[test]
fn taps_and_processes_come_and_go_together() {
    in_new_network(|| {
        let host = Host::for_test().unwrap();
        let count = || (taps().len(), host.tenders().len());
        assert_eq!(count(), (0, 0));
        pong(&host, "a:one", "service");
        pong(&host, "b:two", "service");
        assert_eq!(count(), (2, 2));
        assert_eq!(ip("-o link show master service").lines().count(), 2);
        // One that ends by itself, or is ended by somebody else.
        let (pid, _) = host.tenders().into_iter().find(|(_, line)| line.contains("a:one")).unwrap();
        processes::signal(pid, Signal::SIGKILL);
        eventually("its tap to go", || (count() == (1, 1)).then_some(())).unwrap();
        host.client(&["destroy", "b:two"]).unwrap().assert(0, "destroyed");
        assert_eq!(count(), (0, 0));
        // One that ends at once and is started again and again has one tap at most.
        host.create("a:loops", "pong", &["--net", "service", "--mem", "2", "--restart", "--arg=--ipv4=none"])
            .unwrap()
            .assert(0, "created");
        host.client(&["destroy", "a:loops"]).unwrap().assert(0, "destroyed");
        assert_eq!(count(), (0, 0));
    });
}

/// The address that is configured, or the one that follows from the names.
#[test]
fn a_guest_has_the_address_that_info_shows() {
    in_new_network(|| {
        let host = Host::for_test().unwrap();
        let shown = |name: &str| {
            let info = host.client(&["--json", "info", "-n", name]).unwrap().assert(0, "").stdout;
            let info: serde_json::Value = serde_json::from_str(info.lines().next().unwrap()).unwrap();
            info["bridges"][0]["mac"]
                .as_str()
                .or_else(|| info["net_devices"][0]["mac"].as_str())
                .unwrap()
                .to_owned()
        };
        pong(&host, "a:derived", "service");
        pong(&host, "a:given", "service:other@02:00:00:00:00:07");
        assert_eq!(shown("a:given"), "02:00:00:00:00:07");
        assert!(shown("a:derived").starts_with("00:80:41:"));
        for name in ["a:derived", "a:given"] {
            host.console_ends_with(name, &[&format!("{} mtu 1500", shown(name))]).unwrap();
        }
    });
}
