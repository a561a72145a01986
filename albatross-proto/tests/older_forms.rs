//! Replies in the forms that older clients expect.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;

use albatross_proto::reply::Info;
use albatross_proto::{FailBehaviour, Header, Int, Payload, Success, Time, Typ, Wire};

fn info(cpuids: &[i32]) -> Info {
    Info {
        typ: Typ::Solo5,
        startup: Some(Int::from(7)),
        fail_behaviour: FailBehaviour::Quit,
        cpuids: cpuids.iter().copied().map(Int::from).collect(),
        memory: Int::from(32),
        digest: [7_u8; 32].as_slice().into(),
        block_devices: Vec::new(),
        net_devices: Vec::new(),
        argv: None,
        started: Time::from_unix_millis(1_700_000_000_000).unwrap(),
        cpus: Int::from(2),
        linux_boot_partition: Some("1".into()),
    }
}

/// What comes back in a form when it is written in it.
fn through(form: fn(Vec<(albatross_proto::Name, Info)>) -> Success<'static>, cpuids: &[i32]) -> Info {
    let name = || ":a".parse().unwrap();
    let wire = Wire::new(Header::new(0, name()), Payload::Success(form(vec![(name(), info(cpuids))])));
    let bytes = wire.encode().unwrap();
    match Wire::decode(&bytes).unwrap().payload {
        Payload::Success(Success::Info(list) | Success::InfoV5(list) | Success::InfoV4(list)) => {
            list.into_iter().next().unwrap().1
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_older_forms_cannot_say_is_left_out() {
    assert_eq!(through(Success::Info, &[3, 1]), info(&[1, 3]));
    for (cpuids, shown) in [(&[3, 1][..], 1), (&[2], 2), (&[], 0)] {
        let v5 = through(Success::InfoV5, cpuids);
        assert_eq!(v5.cpuids, BTreeSet::from([Int::from(shown)]));
        assert_eq!((v5.startup, v5.linux_boot_partition), (Some(Int::from(7)), None));
        let v4 = through(Success::InfoV4, cpuids);
        assert_eq!((v4.cpuids, v4.startup), (BTreeSet::from([Int::from(shown)]), None));
    }
}
