//! What one more policy costs beyond making it durable.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::time::Instant;

use albatross_e2e::{Failure, Host, Programs};
use albatross_proto::{Command, Int, Policy, PolicyCommand};

use super::ask::{ask, connect};
use super::table::{Table, Target, median, milliseconds};

/// How many policies there are in the end.
const POLICIES: usize = 2_000;
/// How many are added one by one while the time is taken.
const TIMED: usize = 100;

pub(super) fn run(programs: &Programs, table: &mut Table, _rounds: usize) -> Result<(), Failure> {
    table.section("one more policy, in turns with an append of as many octets and its fdatasync");
    let mut host = Host::new(programs)?;
    host.start_console(&[])?;
    host.start_albatrossd(&[])?;
    let mut connection = connect(&host)?;
    let mut add = |number: usize| {
        let policy = Policy {
            cpuids: BTreeSet::from([Int::ZERO]),
            unikernels: Int::ONE,
            memory: Int::ONE,
            block: None,
            bridges: BTreeSet::new(),
        };
        let path = format!("tenant{}:team{}:", number / 50, number % 50);
        ask(&mut connection, &path, Command::Policy(PolicyCommand::Add(policy))).map(drop)
    };
    let mut beyond = Vec::new();
    let mut done = 0;
    for begin in [0, POLICIES] {
        for number in done..begin {
            add(number)?;
        }
        let record = host.dbdir().join("record");
        let bare = host.dbdir().join("bare");
        let failed = |error| Failure::io("append to", &bare, error);
        let mut file = OpenOptions::new().create(true).append(true).open(&bare).map_err(failed)?;
        let (mut ours, mut plain) = (Vec::new(), Vec::new());
        for number in begin..begin + TIMED {
            let before = length(&record);
            let start = Instant::now();
            add(number)?;
            ours.push(milliseconds(start.elapsed()));
            // One that was written anew does not count: it is one of hundreds.
            let entry = length(&record).checked_sub(before).filter(|octets| *octets < 4096).unwrap_or(100);
            let start = Instant::now();
            append(&mut file, entry).map_err(failed)?;
            plain.push(milliseconds(start.elapsed()));
        }
        done = begin + TIMED;
        let (ours, plain) = (median(ours), median(plain));
        table.figure(&format!("beside {begin}: policy add"), ours, "ms", Target::None);
        table.figure(&format!("beside {begin}: append and fdatasync alone"), plain, "ms", Target::None);
        let more = format!("beside {begin}: policy add beyond that");
        table.figure(&more, ours - plain, "ms", Target::Most(0.1));
        beyond.push(ours - plain);
    }
    if let [few, many] = beyond[..] {
        table.figure("what 2000 others add to it", many - few, "ms", Target::Most(0.05));
    }
    Ok(())
}

fn length(path: &std::path::Path) -> usize {
    fs::metadata(path).map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(0))
}

fn append(file: &mut File, octets: usize) -> io::Result<()> {
    file.write_all(&vec![7; octets])?;
    file.sync_data()
}
