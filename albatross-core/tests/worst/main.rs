//! The worst input of 16 MiB for each decoder here: memory is bounded by a small multiple of the input,
//! nothing is copied or looked at again and again, and nesting is bounded. What is counted is what the
//! allocator is asked for; a decoder whose time is quadratic would not get through at all.
#![cfg(feature = "certificates")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "../../../albatross-proto/tests/worst/bounds.rs"]
mod bounds;
#[path = "../../../albatross-proto/tests/worst/counting.rs"]
mod counting;
mod signed;

use albatross_core::certificate::pem;
use albatross_core::eventlog::{Chain, LINK, Log};
use albatross_core::image::{deflate, inflate, inspect};
use albatross_core::issue::Database;
use albatross_core::journal::{self, SALT, Writer};
use albatross_proto::log::{Event, LogEntry, LogRecord};
use albatross_proto::state::{Change, Record};
use albatross_proto::{Path, Time};

use bounds::{SIZE, check, many};
use counting::{Counting, measure};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A record with as many changes as go into 16 MiB, the same torn off, and garbage in which every octet may
/// begin an entry.
#[test]
fn records_on_disk() {
    let writer = Writer::new([7; SALT]);
    let begin = writer.begin(&Record::default().encode().unwrap());
    let change = |number: u32| {
        let path: Path = format!("p{}", number % 1000).parse().unwrap();
        writer.entry(&Change::NoPolicy(path).encode().unwrap())
    };
    let whole = [&begin[..], &many(change)].concat();
    check("a record of small changes", &whole, journal::read, true);
    check("the same, the last entry torn", &whole[..whole.len() - 1], journal::read, true);
    let lengths = [&begin[..], &many(|_| vec![0, 0x7f, 0, 0])].concat();
    let contents = journal::read(&lengths).unwrap();
    assert_eq!(contents.torn, lengths.len() - begin.len());
    check("a record followed by lengths", &lengths, journal::read, true);
    // Whoever writes the file knows its salt.
    let header = writer.entry(&[0; 1 << 16])[..32].to_vec();
    let headers = [&begin[..], &[0; 16], &many(|_| header.clone())].concat();
    check("a record followed by headers", &headers, journal::read, false);
}

#[test]
fn event_logs() {
    let (mut chain, begin) = Chain::begin([0; LINK]);
    let mut record = |number: u32| {
        let timestamp = Time::from_unix_millis(i64::from(number)).unwrap();
        let entry = LogEntry { timestamp, event: Event::DaemonStarted };
        chain.append(&LogRecord { name: ":".parse().unwrap(), entry }).unwrap()
    };
    let mut whole = begin.clone();
    let mut number = 0;
    while whole.len() < SIZE {
        whole.extend(record(number));
        number += 1;
    }
    check("a log of small records", &whole, Log::read, true);
    check("a log of zeros", &[&begin[..], &vec![0; SIZE]].concat(), Log::read, true);
    check("a log of ones", &[&begin[..], &vec![1; SIZE]].concat(), Log::read, false);
}

/// Program headers that all name the same large note, and notes of the largest manifest.
#[test]
fn images() {
    let sample = include_bytes!("../../../testdata/images/spt-no-devices.elf");
    let mut image = sample.to_vec();
    image.resize(SIZE, 4);
    check("an image with much behind it", &image, inspect, true);
    let headers = u16::MAX;
    let table = 64_usize;
    image[32..40].copy_from_slice(&u64::try_from(table).unwrap().to_le_bytes());
    image[56..58].copy_from_slice(&headers.to_le_bytes());
    for number in 0..usize::from(headers) {
        let at = table + number * 56;
        image[at..at + 56].fill(0);
        image[at..at + 4].copy_from_slice(&4_u32.to_le_bytes());
        image[at + 8..at + 16].copy_from_slice(&u64::try_from(table).unwrap().to_le_bytes());
        image[at + 32..at + 40].copy_from_slice(&u64::try_from(SIZE - table).unwrap().to_le_bytes());
    }
    check("an image of notes", &image, inspect, false);
}

#[test]
fn compressed_images() {
    let bomb = deflate(&vec![0; 1 << 27], 9);
    let (result, cost) = measure(|| inflate(&bomb, SIZE).map(drop));
    println!("a bomb of {} octets: {result:?}, {cost:?}", bomb.len());
    assert!(result.is_err() && cost.most <= 2 * SIZE + 256 * 1024, "{cost:?}");
    // Stored blocks, of which most are empty.
    let empty = [&[0x78, 0x01][..], &many(|_| vec![0, 0, 0, 0xff, 0xff])].concat();
    check("a zlib stream of empty blocks", &empty, |bytes| inflate(bytes, SIZE), false);
}

#[test]
fn texts() {
    let block = b"-----BEGIN X-----\nAAAA\n-----END X-----\n";
    check("a PEM text of blocks", &many(|_| block.to_vec()), pem::blocks, true);
    check("a PEM text of beginnings", &many(|_| block[..18].to_vec()), pem::blocks, false);
    check("a PEM text of lines", &many(|_| b"\n".to_vec()), |text| pem::certificates(text, SIZE), false);
    let database = many(|number| format!("{:08x} n{}\n", number + 1, number % 100).into_bytes());
    let text = String::from_utf8(database).unwrap();
    check("a database of lines", text.as_bytes(), |_| Database::parse(&text), true);
}
