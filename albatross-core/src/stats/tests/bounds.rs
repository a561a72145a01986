//! How many there may be of each, and how much of all together.

use super::*;

#[test]
fn a_thousand_unikernels_are_watched() {
    let mut host = told();
    for pid in 1..=1000 {
        host.processes.insert(pid, 1);
        host.add(VMMD, &format!("a:u{pid}"), pid);
    }
    assert_eq!(host.watched.len(), 1000);
}

#[test]
fn subscribers_are_bounded_by_name_and_altogether() {
    let mut host = told();
    let first: Vec<ClientId> = (0..=MAX_SUBSCRIBERS_OF_NAME).map(|_| host.subscribe("a:")).collect();
    assert!(host.closed.contains(&first[0]) && !host.closed.contains(&first[1]));
    for number in MAX_SUBSCRIBERS_OF_NAME..MAX_SUBSCRIBERS {
        host.subscribe(&format!("b:n{number}"));
    }
    let more = host.subscribe("c:");
    assert!(host.closed.contains(&more));
    assert!(host.seen(more)[0].contains("no more are taken"));
    // A name that has all that it may have still takes the place of its own.
    let newest = host.subscribe("a:");
    assert!(host.closed.contains(&first[1]) && !host.closed.contains(&newest));
}

#[test]
fn what_an_interval_brings_is_bounded_and_no_message_is_longer_than_counted() {
    let mut host = told();
    host.processes.insert(10, 1);
    let network: Vec<(Text, Text)> = (0..200)
        .map(|number| ("x".repeat(200).as_str().into(), format!("t{number}").as_str().into()))
        .collect();
    let path = ["x".repeat(63), "y".repeat(63), "z".repeat(15)].join(":");
    let mut added = 0;
    loop {
        let command =
            StatisticsCommand::Add { vmmdev: "".into(), pid: Int::from(10_u32), network: network.clone() };
        host.command(CLIENT, &format!("{path}:n{added}"), command);
        if host.seen(CLIENT)[0].contains("no: ") {
            break;
        }
        added += 1;
    }
    let each = MESSAGE_OCTETS + path.len() + ":n00".len() + 200 * (INTERFACE_OCTETS + 200);
    assert_eq!(added, MAX_TICK_OCTETS / each, "as many as fit, and no more");
    // As much as there is room for fits, and an octet more does not.
    let left = MAX_TICK_OCTETS - host.stats.octets - MESSAGE_OCTETS - ":n".len();
    let mut bridges = vec![200; left / (INTERFACE_OCTETS + 200)];
    bridges[0] += left % (INTERFACE_OCTETS + 200);
    for more in [1, 0] {
        bridges[1] = 200 + more;
        let network =
            bridges.iter().map(|length| ("x".repeat(*length).as_str().into(), "t".into())).collect();
        let command = StatisticsCommand::Add { vmmdev: "".into(), pid: Int::from(10_u32), network };
        host.command(CLIENT, ":n", command);
        assert_eq!(host.seen(CLIENT)[0] == "7 :n added", more == 0);
    }
    assert_eq!(host.stats.octets, MAX_TICK_OCTETS);
    host.command(CLIENT, ":n", StatisticsCommand::Remove);
    host.seen(CLIENT);
    // One in place of another fits, and where some have gone there is room for as many again.
    host.add(CLIENT, &format!("{path}:n0"), 10);
    assert_eq!(host.seen(CLIENT), [format!("7 {path}:n0 added")]);
    for number in 1..added {
        host.command(CLIENT, &format!("{path}:n{number}"), StatisticsCommand::Remove);
    }
    host.seen(CLIENT);
    for number in 1..added {
        let command =
            StatisticsCommand::Add { vmmdev: "".into(), pid: Int::from(10_u32), network: network.clone() };
        host.command(CLIENT, &format!("b:n{number}"), command);
        assert_eq!(host.seen(CLIENT), [format!("7 b:n{number} added")]);
    }
    let least = i64::MIN;
    let data = IfData {
        bridge: "x".repeat(200).as_str().into(),
        flags: i32::MIN,
        send_length: i32::MIN,
        max_send_length: i32::MIN,
        send_drops: i32::MIN,
        mtu: i32::MIN,
        baudrate: least,
        ..IfData::default()
    };
    let time = TimeVal { seconds: least, microseconds: Int::MIN };
    let rusage = Rusage { utime: time, stime: time, ..Rusage::default() };
    let memory = KinfoMem { cow: Int::MIN, start: time, ..KinfoMem::default() };
    for count in [0_usize, 1, 200] {
        let statistics =
            Statistics { rusage, interfaces: vec![data.clone(); count], vmm: None, kinfo_mem: Some(memory) };
        let name: Name = "a:name".parse().unwrap();
        let figures = (&name, Some(Box::new(statistics)));
        let frames = messages_for(&Name::root(), &mut [figures], MAX_TICK_OCTETS);
        let counted = MESSAGE_OCTETS + "a:name".len() + count * (INTERFACE_OCTETS + 200);
        assert!(frames.len() <= counted, "{} {counted}", frames.len());
        assert!(frames.len() + 100 + count * 8 > counted, "{} {counted}", frames.len());
    }
}
