//! What holds of every value: it is read as it was written, and written as it was read; and of any octets:
//! no decoder panics on them.
//!
//! `PROPTEST_CASES` says how many values are tried for each property, `PROPTEST_RNG_SEED` from which seed;
//! without it the seed is always the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod strategies;

use albatross_proto::frame::{FrameError, FrameReader, frame};
use albatross_proto::state::{Record, State};
use albatross_proto::{
    Arguments, Command, Config, Label, MacAddress, Name, Path, Payload, Success, Text, Time,
    UnikernelCommand, Wire, extension,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use strategies as any_of;

fn settings() -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = if default.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { default.rng_seed };
    ProptestConfig { failure_persistence: None, rng_seed, ..default }
}

/// What is left of a value once it has travelled.
fn travelled<'a>(wire: &Wire<'a>) -> Wire<'a> {
    let mut wire = wire.clone();
    if let Payload::Success(Success::InfoV4(list) | Success::InfoV5(list)) = &mut wire.payload {
        for (_, info) in list {
            info.cpuids = [info.cpuids.first().copied().unwrap_or_default()].into();
            info.cpus = albatross_proto::Int::ONE;
            info.linux_boot_partition = None;
        }
    }
    if let Payload::Success(Success::InfoV4(list)) = &mut wire.payload {
        list.iter_mut().for_each(|(_, info)| info.startup = None);
    }
    wire
}

/// Devices in an order of their own, so that values can be compared whatever order they were written in.
fn sort_devices(wire: &mut Wire<'_>) {
    match &mut wire.payload {
        Payload::Command(command) => sort_devices_of(command),
        Payload::Success(Success::Info(list) | Success::InfoV4(list) | Success::InfoV5(list)) => {
            for (_, info) in list {
                info.block_devices.sort_by_key(|device| format!("{device:?}"));
                info.net_devices.sort_by_key(|device| format!("{device:?}"));
            }
        }
        _ => {}
    }
}

fn sort_devices_of(command: &mut Command<'_>) {
    let Command::Unikernel(command) = command else { return };
    match command {
        UnikernelCommand::Create(config) | UnikernelCommand::ForceCreate(config) => sort_config(config),
        UnikernelCommand::Restart(Some(arguments)) => sort_arguments(arguments),
        UnikernelCommand::CreateByDigest(create) | UnikernelCommand::ForceCreateByDigest(create) => {
            sort_config(&mut create.config);
        }
        _ => {}
    }
}

fn sort_config(config: &mut Config<'_>) {
    sort_arguments(&mut config.arguments);
}

fn sort_arguments(arguments: &mut Arguments) {
    arguments.block_devices.sort_by_key(|device| format!("{device:?}"));
    arguments.net_devices.sort_by_key(|device| format!("{device:?}"));
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_message_is_read_as_it_was_written(wire in any_of::wire()) {
        let bytes = wire.encode().unwrap();
        let mut read = Wire::decode(&bytes).unwrap();
        prop_assert_eq!(read.encode().unwrap(), bytes.clone());
        let mut expected = travelled(&wire);
        sort_devices(&mut expected);
        sort_devices(&mut read);
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_command_is_read_from_a_certificate_as_it_was_written(command in any_of::command()) {
        let bytes = extension::encode(&command).unwrap();
        let mut read = extension::decode(&bytes).unwrap();
        prop_assert_eq!(extension::encode(&read).unwrap(), bytes.clone());
        prop_assert_eq!(read.clone().into_owned().daemon(), command.daemon());
        let mut expected = command;
        sort_devices_of(&mut expected);
        sort_devices_of(&mut read);
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_state_is_read_as_it_was_written(state in any_of::state()) {
        let bytes = state.encode().unwrap();
        let mut read = State::decode(&bytes).unwrap();
        prop_assert_eq!(read.encode().unwrap(), bytes.clone());
        let mut expected = state;
        for state in [&mut read, &mut expected] {
            state.unikernels.iter_mut().for_each(|(_, config)| sort_config(config));
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_record_is_read_as_it_was_written(record in any_of::record()) {
        let bytes = record.encode().unwrap();
        let mut read = Record::decode(&bytes).unwrap();
        prop_assert_eq!(read.encode().unwrap(), bytes);
        let mut expected = record;
        for record in [&mut read, &mut expected] {
            record.unikernels.iter_mut().for_each(|(_, unikernel)| sort_config(&mut unikernel.config));
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_octets_make_a_decoder_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Wire::decode(&octets), extension::decode(&octets));
        let _ = (State::decode(&octets), Record::decode(&octets));
        let text = String::from_utf8_lossy(&octets);
        let _ = (text.parse::<Name>(), text.parse::<Path>(), text.parse::<Label>());
        let _ = (text.parse::<Time>(), text.parse::<MacAddress>());
    }

    #[test]
    fn names_are_printed_as_they_are_read(name in any_of::name(), label in any_of::label()) {
        prop_assert_eq!(name.to_string().parse(), Ok(name.clone()));
        if !name.path().is_root() {
            prop_assert_eq!(format!(":{name}").parse(), Ok(name.clone()));
        }
        let path = name.path();
        prop_assert_eq!(path.to_string().parse(), Ok(path.clone()));
        prop_assert_eq!(path.to_name().to_string().parse(), Ok(path.to_name()));
        let below = path.join(&label);
        prop_assert_eq!(below.parent(), Some(path.clone()));
        prop_assert!(*path < below && below.is_within(path));
        prop_assert_eq!(below.below(path).map(|rest| rest.to_string()), Some(label.to_string()));
    }

    #[test]
    fn text_that_is_a_name_says_so_by_the_rules(text in "[:aB0._ -]{0,8}") {
        let labels = text.strip_prefix(':').unwrap_or(&text).split(':').collect::<Vec<_>>();
        let good = |label: &&str| {
            !label.is_empty() && !label.starts_with('-') && !label.contains(['_', ' '])
        };
        let (last, path) = labels.split_last().unwrap();
        let is_name = !text.is_empty() && path.iter().all(good) && (last.is_empty() || good(last));
        prop_assert_eq!(text.parse::<Name>().is_ok(), is_name);
        let is_path = text.is_empty() || labels.iter().all(good);
        prop_assert_eq!(text.parse::<Path>().is_ok(), is_path);
    }

    #[test]
    fn times_are_printed_as_they_are_read(time in any_of::time(), offset in -1439_i64..=1439) {
        prop_assert_eq!(time.to_string().parse(), Ok(time));
        prop_assert_eq!(Time::from_unix_millis(time.unix_millis()), Ok(time));
        // The same moment as a clock elsewhere shows it.
        if let Ok(there) = Time::from_unix_millis(time.unix_millis() + offset * 60_000) {
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
            let text = there.to_string().replace("-00:00", &format!("{sign}{hours:02}:{minutes:02}"));
            prop_assert_eq!(text.parse(), Ok(time));
        }
    }

    #[test]
    fn text_keeps_its_octets(octets in prop::collection::vec(any::<u8>(), 0..40)) {
        let text = Text::from(octets.as_slice());
        prop_assert_eq!(text.as_bytes(), octets.as_slice());
        prop_assert_eq!(text.as_str(), std::str::from_utf8(&octets).ok());
        prop_assert_eq!(text.is_empty(), octets.is_empty());
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        pieces in prop::collection::vec(1_usize..30, 1..40),
        limit in 20_usize..40,
    ) {
        let stream: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
        let too_long = payloads.iter().position(|payload| payload.len() > limit);
        let mut reader = FrameReader::new(limit);
        let mut read = Vec::new();
        let mut failed = None;
        let mut rest = stream.as_slice();
        'stream: for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (mut chunk, later) = rest.split_at((*piece).min(rest.len()));
            rest = later;
            while !chunk.is_empty() {
                match reader.read(&mut chunk) {
                    Ok(frame) => read.extend(frame),
                    Err(error) => {
                        failed = Some(error);
                        break 'stream;
                    }
                }
            }
        }
        prop_assert_eq!(&read[..], &payloads[..too_long.unwrap_or(payloads.len())]);
        let expected = too_long.map(|at| FrameError::TooLong {
            length: u32::try_from(payloads[at].len()).unwrap(),
            limit,
        });
        prop_assert_eq!(failed, expected);
        prop_assert!(failed.is_some() || !reader.is_partial());
    }
}
