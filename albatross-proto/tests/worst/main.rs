//! The worst input of 16 MiB for each decoder: memory is bounded by a small multiple of the input, nothing is
//! copied again and again, and nesting is bounded by the grammar.
//!
//! What is counted is what the allocator is asked for, not time: the bounds hold on any machine. A decoder
//! whose time is quadratic would not get through five million values here at all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod bounds;
mod counting;

use albatross_proto::frame::{FrameReader, HEADER_LENGTH};
use albatross_proto::state::{Record, Running, State};
use albatross_proto::{Wire, extension};

use bounds::{SIZE, check, many, tlv};
use counting::{Counting, measure};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn header(name: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&[0x02, 1, 5][..], &[0x04, 8, 0, 0, 0, 0, 0, 0, 0, 0], &tlv(0x0c, name)].concat())
}

fn wire(payload: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&header(b":a"), payload].concat())
}

/// A reply with the list of this alternative.
fn success(number: u8, entry: &[u8]) -> Vec<u8> {
    wire(&tlv(0xa1, &tlv(0xa0 + number, &tlv(0x30, &many(|_| entry.to_vec())))))
}

/// A named entry of such a list.
fn named(value: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &[&[0x0c, 1, b':'][..], &value.concat()].concat())
}

const TYP: &[u8] = &[0xa0, 2, 0x05, 0];
const QUIT: &[u8] = &[0xa0, 2, 0x05, 0];
const INT: &[u8] = &[0x02, 1, 0];
const EMPTY: &[u8] = &[0x04, 0];
const TRUE: &[u8] = &[0x01, 1, 0xff];
const NO_CPUIDS: &[u8] = &[0x31, 0];

/// The shortest configuration with these parts after its memory.
fn config(cpuids: &[u8], rest: &[u8]) -> Vec<u8> {
    tlv(0x30, &[TYP, TRUE, EMPTY, TRUE, QUIT, cpuids, INT, rest].concat())
}

fn create(config: &[u8]) -> Vec<u8> {
    wire(&tlv(0xa0, &create_command(config)))
}

fn create_command(config: &[u8]) -> Vec<u8> {
    tlv(0xa3, &tlv(0xb4, config))
}

fn check_wire(what: &str, input: &[u8], is_read: bool) {
    check(what, input, Wire::decode, is_read);
}

#[test]
fn lists_of_the_shortest_values() {
    check_wire(
        "argv of empty texts",
        &create(&config(NO_CPUIDS, &tlv(0xa2, &tlv(0x30, &many(|_| vec![0x0c, 0]))))),
        true,
    );
    check_wire(
        "argv of short texts",
        &create(&config(NO_CPUIDS, &tlv(0xa2, &tlv(0x30, &many(|_| vec![0x0c, 1, b'a']))))),
        true,
    );
    check_wire(
        "block devices",
        &create(&config(NO_CPUIDS, &tlv(0xa0, &tlv(0x31, &many(|_| vec![0x30, 2, 0x0c, 0]))))),
        true,
    );
    check_wire(
        "network devices",
        &create(&config(NO_CPUIDS, &tlv(0xa1, &tlv(0x31, &many(|_| vec![0x30, 2, 0x0c, 0]))))),
        true,
    );
    let pair = [0x30, 4, 0x0c, 0, 0x0c, 0];
    let add = tlv(0x30, &[&[0x0c, 0][..], INT, &tlv(0x30, &many(|_| pair.to_vec()))].concat());
    check_wire("pairs of devices", &wire(&tlv(0xa0, &tlv(0xa1, &tlv(0xa0, &add)))), true);
}

#[test]
fn sets_of_numbers() {
    let numbers = |value: &dyn Fn(u32) -> Vec<u8>| create(&config(&tlv(0x31, &many(value)), &[]));
    check_wire("one number again and again", &numbers(&|_| INT.to_vec()), true);
    let three = |number: u32| {
        let [_, a, b, c] = (0x40_0000 + number % 0x30_0000).to_be_bytes();
        vec![0x02, 3, a, b, c]
    };
    check_wire("different numbers", &numbers(&three), true);
    check_wire("different numbers, falling", &numbers(&|number| three(0x2f_ffff - number % 0x30_0000)), true);
}

#[test]
fn replies() {
    let info_v4 = tlv(0x30, &[TYP, QUIT, INT, INT, EMPTY].concat());
    check_wire("infos of the fourth form", &success(9, &named(&[&info_v4])), true);
    let restart = tlv(0xa1, &tlv(0x31, INT));
    let info = tlv(0x30, &[TYP, &restart, &tlv(0x31, INT), INT, EMPTY].concat());
    check_wire("infos", &success(13, &named(&[&info])), true);
    let policy = tlv(0x30, &[&[0x30, 0][..], INT, INT, &[0x30, 0]].concat());
    check_wire("policies", &success(2, &named(&[&policy])), true);
    let policy = tlv(0x30, &[&tlv(0x30, INT), INT, INT, &tlv(0x30, &[0x0c, 0])].concat());
    check_wire("policies with a cpu and a bridge", &success(2, &named(&[&policy])), true);
    check_wire("block devices", &success(4, &named(&[INT, TRUE])), true);
    check_wire("consoles at the root", &success(12, &[0x0c, 1, b':']), true);
    check_wire("consoles", &success(12, &[0x0c, 3, b'a', b':', b'b']), true);
    let time = tlv(0x18, b"1970010100");
    let status = tlv(0x30, &[TYP, &time, INT].concat());
    check_wire("statuses", &success(30, &named(&[&status])), true);
}

#[test]
fn one_long_value() {
    let named = |name: &[u8]| tlv(0x30, &[&header(name)[..], &tlv(0xa2, &[0x0c, 0])].concat());
    check_wire("a name of many labels", &named(&many(|_| b"a:".to_vec())), true);
    check_wire("a name of one label", &named(&many(|_| b"a".to_vec())), false);
    check_wire("a name of separators", &named(&many(|_| b":".to_vec())), false);
    check_wire("a failure", &wire(&tlv(0xa2, &tlv(0x0c, &many(|_| vec![0xff])))), true);
    let since = |content: &[u8]| wire(&tlv(0xa0, &tlv(0xbd, &tlv(0xa0, &tlv(0x18, content)))));
    let mut digits = b"20260131120000.".to_vec();
    digits.extend(many(|_| b"9".to_vec()));
    check_wire("a time of many digits", &since(&digits), true);
    let count = |content: &[u8]| wire(&tlv(0xa0, &tlv(0xbd, &tlv(0xa1, &tlv(0x02, content)))));
    check_wire("a number of many octets", &count(&many(|_| vec![1])), false);
    let image = tlv(0x30, &[TYP, TRUE, &tlv(0x04, &many(|_| vec![7])), TRUE, QUIT, NO_CPUIDS, INT].concat());
    check_wire("an image", &create(&image), true);
    let digest = tlv(0x30, &[&image[..], &tlv(0x04, &[0; 32]), INT].concat());
    check_wire("an image where none may be", &wire(&tlv(0xa0, &tlv(0xa3, &tlv(0xbd, &digest)))), false);
}

/// Sequences within sequences, as deep as 16 MiB allow, in the place of each thing that may be read.
#[test]
fn nesting() {
    let mut deep: Vec<u8> = Vec::new();
    // From the innermost outwards, each piece turned round at the end.
    let mut length = 0_usize;
    while length < SIZE {
        let mut head = tlv(0x30, &[]);
        if length > 0 {
            let octets = u32::try_from(length).unwrap().to_be_bytes();
            head = vec![0x30, 0x84];
            head.extend(octets);
            let significant = octets.iter().position(|octet| *octet != 0).unwrap();
            if length < 0x80 {
                head = vec![0x30, octets[3]];
            } else {
                head = vec![0x30, 0x80 | u8::try_from(4 - significant).unwrap()];
                head.extend(&octets[significant..]);
            }
        }
        length += head.len();
        deep.extend(head.iter().rev());
    }
    deep.reverse();
    check_wire("nested sequences", &deep, false);
    check("nested sequences as a state", &deep, State::decode, false);
    check("nested sequences as a record", &deep, Record::decode, false);
    check("nested sequences as a note", &deep, Running::decode, false);
    check("nested sequences as an extension", &deep, extension::decode, false);
    let time = tlv(0x18, b"1970010100");
    let later = tlv(0x30, &[&time, TYP, &tlv(0xa0, &deep)].concat());
    check_wire("nested sequences in a later field", &wire(&tlv(0xa3, &tlv(0xbe, &later))), true);
    let fields = many(|number| {
        let number = number + 0x4000;
        let septet = |shift: u32| u8::try_from(number >> shift & 0x7f).unwrap();
        vec![0xbf, 0x80 | septet(14), 0x80 | septet(7), septet(0), 0]
    });
    // Fewer than 2^21 numbers have three septets: the rest is refused, as it begins anew.
    let later = tlv(0x30, &[&time[..], TYP, &fields].concat());
    check_wire("later fields", &wire(&tlv(0xa3, &tlv(0xbe, &later))), false);
}

#[test]
fn an_extension() {
    let argv = tlv(0xa2, &tlv(0x30, &many(|_| vec![0x0c, 0])));
    let command = create_command(&config(NO_CPUIDS, &argv));
    let value = tlv(0x30, &[&[0x02, 1, 5][..], &command].concat());
    check("an extension with many arguments", &value, extension::decode, true);
}

/// Entries of a trie with names that differ.
fn trie(value: &[u8]) -> Vec<u8> {
    tlv(
        0x30,
        &many(|number| {
            let name = format!("{number:x}:");
            tlv(0x30, &[&tlv(0x0c, name.as_bytes())[..], value].concat())
        }),
    )
}

#[test]
fn states() {
    let v5 = config(NO_CPUIDS, &[]);
    let both = |unikernels: &[u8], policies: &[u8]| tlv(0xa6, &tlv(0x30, &[unikernels, policies].concat()));
    check("a state of unikernels", &both(&trie(&v5), &[0x30, 0]), State::decode, true);
    let v1 = tlv(0x30, &[TYP, TRUE, EMPTY, QUIT, INT, INT].concat());
    check("a state of old unikernels", &tlv(0xa0, &trie(&v1)), State::decode, true);
    let v0 = tlv(0x30, &[INT, INT, &tlv(0xa0, EMPTY)].concat());
    check("a state of the oldest unikernels", &tlv(0xa1, &trie(&v0)), State::decode, true);
    let policy = tlv(0x30, &[&[0x30, 0][..], INT, INT, &[0x30, 0]].concat());
    check("a state of policies", &both(&[0x30, 0], &trie(&policy)), State::decode, true);
    let twice = tlv(0x30, &many(|_| tlv(0x30, &[&[0x0c, 1, b':'][..], &v5].concat())));
    check("a state with one name again and again", &both(&twice, &[0x30, 0]), State::decode, false);
}

#[test]
fn records() {
    let entry = named(&[&tlv(0x30, &[&config(NO_CPUIDS, &[])[..], &tlv(0x04, &[0; 32])].concat())]);
    let unikernels = tlv(0x30, &many(|_| entry.clone()));
    let record = tlv(0xbe, &tlv(0x30, &[&unikernels[..], &[0x30, 0]].concat()));
    check("a record of unikernels", &record, Record::decode, true);
    let policy = tlv(0x30, &[&[0x30, 0][..], INT, INT, &[0x30, 0]].concat());
    let policies = tlv(0x30, &many(|_| named(&[&policy])));
    let record = tlv(0xbe, &tlv(0x30, &[&[0x30, 0][..], &policies].concat()));
    check("a record of policies", &record, Record::decode, true);
}

/// What has arrived is held, not what was announced, in whatever pieces it arrives.
#[test]
fn frames() {
    let announced = u32::try_from(SIZE).unwrap().to_be_bytes();
    for piece in [1, 1000, SIZE] {
        let mut stream = announced.to_vec();
        stream.resize(HEADER_LENGTH + SIZE, 7);
        let (frames, cost) = measure(|| {
            let mut reader = FrameReader::new(SIZE);
            let mut frames = 0;
            for mut chunk in stream.chunks(piece) {
                frames += usize::from(reader.read(&mut chunk).unwrap().is_some());
                while !chunk.is_empty() {
                    frames += usize::from(reader.read(&mut chunk).unwrap().is_some());
                }
            }
            frames
        });
        println!("a frame in pieces of {piece}: {cost:?}");
        assert_eq!(frames, 1);
        assert!(cost.most <= 3 * SIZE && cost.asked <= 4 * SIZE && cost.calls < 100, "{piece}: {cost:?}");
    }
    let (reader, cost) = measure(|| {
        let mut reader = FrameReader::new(SIZE);
        let _ = reader.read(&mut [&announced[..], &[1, 2]].concat().as_slice());
        reader
    });
    assert!(reader.is_partial() && cost.most < 100, "{cost:?}");
}

#[test]
fn notes() {
    let time = tlv(0x18, b"1970010100");
    let process = tlv(0x30, &[INT, INT].concat());
    let note = |name: &[u8], taps: &[u8], end: &[u8]| {
        let tender = [&tlv(0x0c, name), taps, &time, INT, TYP, end].concat();
        let tender = [&process[..], &tlv(0x30, &tender)].concat();
        // The tag of `[31]` has two octets.
        [&[0xbf][..], &tlv(0x1f, &tlv(0x30, &tender))].concat()
    };
    let no_taps: &[u8] = &[0x30, 0];
    let taps = tlv(0x30, &many(|_| vec![0x0c, 0]));
    check("a note of many taps", &note(b":a", &taps, &[]), Running::decode, true);
    let blocks = |name: &'static [u8]| tlv(0xa1, &tlv(0x30, &many(|_| tlv(0x0c, name))));
    check("a note of block devices at the root", &note(b":a", no_taps, &blocks(b":")), Running::decode, true);
    check("a note of block devices", &note(b":a", no_taps, &blocks(b"a:b")), Running::decode, true);
    check("a note of a long name", &note(&many(|_| b"a:".to_vec()), no_taps, &[]), Running::decode, true);
    let later = tlv(0xa2, &many(|_| vec![0x05, 0]));
    check("a note with a later field", &note(b":a", no_taps, &later), Running::decode, true);
}
