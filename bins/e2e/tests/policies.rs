//! Policies: added, shown, removed, and held by every one above.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use albatross_e2e::Host;
use serde_json::Value;

fn policies(host: &Host, arguments: &[&str]) -> Vec<Value> {
    let finished = host.client(&[&["--json", "policy"], arguments].concat()).unwrap().assert(0, "");
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn add(host: &Host, path: &str, unikernels: &str, options: &[&str]) {
    let command = [&["add-policy", path, unikernels], options].concat();
    host.client(&command).unwrap().assert(0, "added policy");
}

#[test]
fn policies_are_added_shown_replaced_and_removed() {
    let host = Host::for_test().unwrap();
    // The root's is what the host has.
    let root = policies(&host, &[]);
    assert_eq!(root.len(), 1);
    assert_eq!(root[0]["name"], ":");
    add(&host, "alice", "3", &["--mem", "64", "--cpu", "0"]);
    add(&host, "alice:bob", "2", &["--mem", "32"]);
    host.client(&["add-policy", "alice", "3", "--mem=64"]).unwrap().assert(0, "no modification of policy");
    let below = policies(&host, &["--path", "alice"]);
    assert_eq!(below.iter().map(|entry| entry["name"].as_str().unwrap()).collect::<Vec<_>>(), [":", "bob:"]);
    assert_eq!((&below[0]["unikernels"], &below[0]["memory"]), (&3.into(), &64.into()));
    host.client(&["replace-policy", "alice", "4", "--mem=64"]).unwrap().assert(0, "added policy");
    assert_eq!(policies(&host, &["-p", "alice"])[0]["unikernels"], 4);
    // One that does not hold what is below it, one that is not held by what is above.
    host.client(&["add-policy", "alice", "1", "--mem=64"]).unwrap().assert(117, "alice:bob");
    host.client(&["add-policy", "alice:bob", "2", "--mem=65"]).unwrap().assert(117, "alice");
    host.client(&["remove-policy", "-p", "alice:bob"]).unwrap().assert(0, "removed policy");
    host.client(&["remove-policy", "-p", "alice:bob"]).unwrap().assert(117, "no policy");
    assert_eq!(policies(&host, &["-p", "alice"]).len(), 1);
    // Of no use, and refused before it is sent.
    host.client(&["add-policy", "carol", "0"]).unwrap().assert(124, "");
    host.client(&["add-policy", "carol", "1", "--mem=16"]).unwrap().assert(124, "");
}

#[test]
fn a_create_must_fit_into_the_policy_of_its_path() {
    let host = Host::for_test().unwrap();
    add(&host, "alice", "2", &["--mem", "20"]);
    let create = |name: &str, options: &[&str]| host.create(name, "tick", options).unwrap();
    create("alice:one", &["--mem=21"]).assert(117, "alice");
    create("alice:one", &["--cpu=1"]).assert(117, "cpu");
    create("alice:one", &["--mem=10"]).assert(0, "created unikernel");
    create("alice:two", &["--mem=11"]).assert(117, "memory");
    create("alice:two", &["--mem=10"]).assert(0, "created unikernel");
    create("alice:three", &["--mem=1"]).assert(117, "alice");
    host.client(&["destroy", "alice:one"]).unwrap().assert(0, "destroyed");
    create("alice:three", &["--mem=10"]).assert(0, "created unikernel");
    assert_eq!(host.tenders().len(), 2);
}

/// Alice may run two and lets Bob and Charlie run two each: together they still run two.
#[test]
fn a_create_must_fit_into_every_policy_above() {
    let host = Host::for_test().unwrap();
    add(&host, "alice", "2", &["--mem", "64"]);
    add(&host, "alice:bob", "2", &["--mem", "64"]);
    add(&host, "alice:charlie", "2", &["--mem", "64"]);
    let create = |name: &str| host.create(name, "tick", &[]).unwrap();
    create("alice:bob:one").assert(0, "created unikernel");
    create("alice:charlie:one").assert(0, "created unikernel");
    for name in ["alice:bob:two", "alice:charlie:two", "alice:one", "alice:dora:one"] {
        create(name).assert(117, "alice:");
    }
    assert_eq!(host.tenders().len(), 2);
    host.client(&["destroy", "alice:bob:one"]).unwrap().assert(0, "destroyed");
    create("alice:charlie:two").assert(0, "created unikernel");
    create("alice:charlie:three").assert(117, "alice:charlie");
}

/// The root's policy is what the host has, and no policy below makes more of it.
#[test]
fn a_create_must_fit_into_the_host() {
    let host = Host::for_test().unwrap();
    let root = &policies(&host, &[])[0];
    let memory = root["memory"].as_i64().unwrap();
    let more = (memory + 1).to_string();
    host.create("free:one", "tick", &["--mem", &more]).unwrap().assert(117, "policy : ");
    // A policy may promise more than there is: what counts is the smaller of the two.
    add(&host, "rich", "1", &["--mem", &(memory * 2).to_string()]);
    host.create("rich:one", "tick", &["--mem", &more]).unwrap().assert(117, "policy : ");
    assert_eq!(host.tenders(), []);
}

#[test]
fn policies_survive_the_daemon() {
    let mut host = Host::for_test().unwrap();
    add(&host, "alice", "1", &["--mem", "20"]);
    assert!(host.take_albatrossd().unwrap().terminate().unwrap().success());
    host.start_albatrossd(&[]).unwrap();
    assert_eq!(policies(&host, &["-p", "alice"])[0]["memory"], 20);
    host.create("alice:one", "tick", &["--mem=21"]).unwrap().assert(117, "alice");
}
