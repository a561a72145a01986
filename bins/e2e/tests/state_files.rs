//! The state file of the OCaml implementation: every version of it is taken over, and it can be written again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use albatross_e2e::run::run;
use albatross_e2e::{Host, Programs, eventually, programs};
use albatross_proto::Arguments;
use albatross_proto::state::State;

/// The files that the OCaml implementation wrote, and some that it reads.
fn vectors() -> Vec<PathBuf> {
    let vectors = programs::workspace().join("testdata/vectors");
    let entries = fs::read_dir(vectors.join("state")).unwrap();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|it| it == "der"));
    all.sort();
    assert!(all.len() > 6, "every version: {all:?}");
    all
}

/// Devices are sets, of which the oldest versions do not have the order.
fn sorted(arguments: &Arguments) -> Arguments {
    let mut arguments = arguments.clone();
    arguments.net_devices.sort_by_key(|device| format!("{device:?}"));
    arguments.block_devices.sort_by_key(|device| format!("{device:?}"));
    arguments
}

fn export(host: &Host, to: &Path) {
    let mut command = Command::new(host.programs().path("albatrossd"));
    command.arg("--tmpdir").arg(host.tmpdir()).arg("--dbdir").arg(host.dbdir()).arg("--export-state").arg(to);
    run(&mut command).unwrap().assert(0, "");
}

#[test]
fn every_version_is_taken_over_kept_and_written_again() {
    for vector in vectors() {
        let octets = fs::read(&vector).unwrap();
        let state = State::decode(&octets).unwrap();
        // What the host has takes the place of what is said of the root.
        let below: Vec<_> = state.policies.iter().filter(|(path, _)| !path.is_root()).collect();
        let names: BTreeSet<String> = state.unikernels.iter().map(|(name, _)| name.to_string()).collect();
        let mut host = Host::new(Programs::for_tests().unwrap()).unwrap();
        let file = host.dbdir().join("state");
        fs::write(&file, &octets).unwrap();
        let on_record = |host: &Host| host.statuses().unwrap().into_keys().collect::<BTreeSet<String>>();
        let policies = |host: &Host| {
            let shown = host.client(&["--json", "policy"]).unwrap().assert(0, "").stdout;
            // And the one of the root.
            shown.lines().count() - 1
        };
        host.start_console(&[]).unwrap();
        host.start_albatrossd(&[]).unwrap();
        assert_eq!((on_record(&host), policies(&host)), (names.clone(), below.len()), "{vector:?}");
        // None of these can run here, all say why.
        for name in &names {
            let why = eventually("why it does not run", || {
                matches!(host.statuses().unwrap()[name].state, albatross_proto::reply::State::Failed(_))
                    .then_some(())
            });
            why.unwrap_or_else(|late| panic!("{vector:?}: {name}: {late}"));
        }
        // The original stays, and is not looked at again.
        assert_eq!(fs::read(&file).unwrap(), octets);
        host.take_albatrossd().unwrap().kill();
        let newer = "is newer than";
        assert!(!host.log("albatrossd").contains(newer), "{}", host.log("albatrossd"));
        fs::write(&file, b"garbage").unwrap();
        host.start_albatrossd(&[]).unwrap();
        assert!(host.log("albatrossd").contains(newer), "{}", host.log("albatrossd"));
        assert_eq!((on_record(&host), policies(&host)), (names, below.len()), "{vector:?}");
        host.take_albatrossd().unwrap().terminate().unwrap();
        let exported = host.work().join("state");
        export(&host, &exported);
        let exported = fs::read(exported).unwrap();
        let again = State::decode(&exported).unwrap();
        let policies: Vec<_> = again.policies.iter().filter(|(path, _)| !path.is_root()).collect();
        assert_eq!(policies, below, "{vector:?}");
        assert_eq!(again.unikernels.len(), state.unikernels.len());
        for ((name, config), (other, before)) in again.unikernels.iter().zip(&state.unikernels) {
            assert_eq!((name, sorted(&config.arguments)), (other, sorted(&before.arguments)), "{vector:?}");
            assert!(before.compressed || config.image == before.image, "{vector:?}: {name}");
        }
    }
}

#[test]
fn one_that_cannot_be_read_is_named_and_stays() {
    let host = Host::new(Programs::for_tests().unwrap()).unwrap();
    let file = host.dbdir().join("state");
    for octets in [&b"garbage"[..], &[0xa6, 0x06, 0x30, 0x04, 0x30, 0x00, 0x30], &[]] {
        fs::write(&file, octets).unwrap();
        let mut command = Command::new(host.programs().path("albatrossd"));
        command.arg("--tmpdir").arg(host.tmpdir()).arg("--dbdir").arg(host.dbdir());
        run(&mut command).unwrap().assert(1, "db/state: ");
        assert_eq!(fs::read(&file).unwrap(), octets);
        assert!(!host.dbdir().join("record").exists(), "the next start tries it again");
    }
}
