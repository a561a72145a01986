//! Changes of a record, and the export to the peer's state file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and reads files"
)]

use std::collections::BTreeMap;
use std::path::Path;

use albatross_proto::state::{
    Change, Changing, Part, Process, Record, RecordedUnikernel, Running, Stage, State, Tender, state_file,
};
use albatross_proto::{EncodeError, Int, Time};

/// A stand-in for a digest that tells one image of a vector from another.
fn digest(image: &[u8], index: usize) -> [u8; 32] {
    let mut digest = [u8::try_from(image.len() % 251).unwrap(); 32];
    digest[0] = u8::try_from(index).unwrap();
    digest
}

fn states() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/vectors/state");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "der"));
    files.map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect()
}

/// The record of a state, with its images by digest.
fn taken_over(state: State<'_>) -> (Record, BTreeMap<[u8; 32], Vec<u8>>) {
    let mut images = BTreeMap::new();
    let mut unikernels = Vec::new();
    for (index, (name, mut config)) in state.unikernels.into_iter().enumerate() {
        let image = std::mem::take(&mut config.image).into_owned();
        let digest = digest(&image, index);
        images.insert(digest, image);
        config.compressed = false;
        unikernels.push((name, RecordedUnikernel { config: config.into_owned(), digest }));
    }
    (Record { unikernels, policies: state.policies }, images)
}

#[test]
fn what_is_exported_is_what_the_peer_writes() {
    let states = states();
    assert!(states.len() > 10);
    for (name, bytes) in states {
        let mut expected = State::decode(&bytes).unwrap();
        expected.unikernels.iter_mut().for_each(|(_, config)| config.compressed = false);
        let (record, images) = taken_over(expected.clone());
        let parts = state_file(&record, |digest| Ok::<_, EncodeError>(images[digest].len())).unwrap();
        let mut written = Vec::new();
        for part in parts {
            match part {
                Part::Octets(octets) => written.extend(octets),
                Part::Image(digest) => written.extend(&images[&digest]),
            }
        }
        assert_eq!(written, expected.encode().unwrap(), "{name}");
        assert!(State::decode(&written).is_ok(), "{name}");
    }
}

#[test]
fn changes_make_any_record_from_any_other() {
    let records: Vec<Record> =
        states().iter().map(|(_, bytes)| taken_over(State::decode(bytes).unwrap()).0).collect();
    let again = |change: Change| {
        let bytes = change.encode().unwrap();
        let decoded = Change::decode(&bytes).unwrap();
        // Devices are a set: their order is not kept, but their encoding is.
        assert_eq!(decoded.encode().unwrap(), bytes);
        assert!(Change::decode(&bytes[..bytes.len() - 1]).is_err());
        decoded
    };
    let sorted = |record: &Record| Record::from(Changing::from(record.clone()));
    for from in &records {
        for to in &records {
            let mut changing = Changing::from(from.clone());
            let gone = from.unikernels.iter().map(|(name, _)| Change::NoUnikernel(name.clone()));
            gone.for_each(|change| changing.apply(again(change)));
            let gone = from.policies.iter().map(|(path, _)| Change::NoPolicy(path.clone()));
            gone.for_each(|change| changing.apply(again(change)));
            for (name, unikernel) in to.unikernels.iter().cloned() {
                changing.apply(again(Change::Unikernel(name, unikernel)));
            }
            for (path, policy) in to.policies.iter().cloned() {
                changing.apply(again(Change::Policy(path, policy)));
            }
            let made = Record::from(changing);
            assert_eq!(made.encode().unwrap(), sorted(to).encode().unwrap());
            assert_eq!(Record::decode(&made.encode().unwrap()).unwrap(), made);
        }
    }
}

#[test]
fn a_tender_that_runs_is_read_as_it_was_written() {
    let process = Process { pid: Int::from(4711), started: Int::MAX };
    let since = Time::from_unix_millis(1_700_000_000_005).unwrap();
    let plain = Tender {
        name: ":a".parse().unwrap(),
        taps: Vec::new(),
        user: None,
        since,
        restarts: Int::ZERO,
        stage: Stage::Starting,
        blocks: Vec::new(),
    };
    let full = Tender {
        name: "a:b:c".parse().unwrap(),
        taps: vec!["vmmtap0".into(), "vmmtap7".into()],
        user: Some(Int::from(100_001)),
        restarts: Int::from(3),
        stage: Stage::Stopping,
        blocks: vec!["a:b:data".parse().unwrap(), ":x".parse().unwrap()],
        ..plain.clone()
    };
    let running = Tender { stage: Stage::Running, ..full.clone() };
    for tender in [plain, running, full] {
        let running = Running { process: process.clone(), tender };
        let bytes = running.encode().unwrap();
        assert_eq!(Running::decode(&bytes).unwrap(), running);
        for end in 0..bytes.len() {
            assert!(Running::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(Running::decode(&[&bytes[..], b"x"].concat()).is_err());
    }
    let record = Record::default().encode().unwrap();
    assert!(Running::decode(&record).unwrap_err().to_string().starts_with("running at byte"));
}
