//! Writes the seeds of the fuzz targets into a folder, `NAME/FILE`: the recorded vectors and images, and
//! requests, lists and keys that are made on the spot. Run it, then let libFuzzer keep what adds coverage:
//!
//! ```text
//! cargo run -p albatross-fuzz-checks --bin seeds -- /tmp/seeds
//! cargo fuzz run wire -s none -- -merge=1 fuzz/corpus/wire /tmp/seeds/wire
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a tool for whoever works on albatross: it stops at the first surprise"
)]

use std::path::{Path, PathBuf};

use albatross_core::certificate::pem;
use albatross_core::issue::{
    KeyKind, KeyPair, ListIssuer, ListTerms, Request, Revoked, Serial, Terms, Validity, root,
};
use albatross_proto::frame::frame;
use albatross_proto::state::Record;
use albatross_proto::{Command, Time, UnikernelCommand};
use ring::rand::SystemRandom;

#[path = "../../../../albatross-proto/tests/shared/samples.rs"]
mod samples;

/// Seeds longer than this are left out: they would slow the fuzzer down, and show it nothing new.
const LONGEST: usize = 8192;

struct Seeds(PathBuf);

impl Seeds {
    fn write(&self, target: &str, name: &str, bytes: &[u8]) {
        if bytes.len() <= LONGEST {
            let folder = self.0.join(target);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

fn main() {
    let folder = std::env::args_os().nth(1).expect("usage: seeds FOLDER");
    let seeds = Seeds(folder.into());
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    messages(&seeds, &data.join("vectors"));
    chains(&seeds, &data.join("vectors/chain"));
    for (name, bytes) in files(&data.join("vectors/compress")) {
        if !name.ends_with(".json") && !name.ends_with(".raw") {
            seeds.write("inflate", &name, &bytes);
        }
    }
    for (name, bytes) in files(&data.join("images")) {
        // Only the front counts: headers and notes.
        seeds.write("image", &name, &bytes[..bytes.len().min(LONGEST)]);
        seeds.write("spt_loader", &name, &bytes[..bytes.len().min(LONGEST)]);
    }
    for image in albatross_fuzz_checks::mutated::all() {
        seeds.write("image", &format!("mutated-{}", image.name), &image.image);
        seeds.write("spt_loader", &format!("mutated-{}", image.name), &image.image);
    }
    made_here(&seeds);
    for (index, text) in
        [":", "a:b:c", "foo:", "2026-01-31T12:00:00.5+01:00", "02:00:00:00:00:01", "-", "2026-01-31"]
            .iter()
            .enumerate()
    {
        seeds.write("names", &index.to_string(), text.as_bytes());
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let name = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|file| (name(file), std::fs::read(file).unwrap())).collect()
}

fn messages(seeds: &Seeds, vectors: &Path) {
    let folders = [
        ("wire", "wire"),
        ("wire-old", "wire"),
        ("certext", "extension"),
        ("certext-old", "extension"),
        ("state", "state"),
        ("accept-odd", ""),
        ("reject", ""),
    ];
    let mut stream = vec![255, 7];
    for (folder, target) in folders {
        for (name, bytes) in files(&vectors.join(folder)) {
            let Some(name) = name.strip_suffix(".der") else { continue };
            let target = match (target, name.split('-').next()) {
                ("", Some("certext")) => "extension",
                ("", Some("state")) => "state",
                ("", _) => "wire",
                (target, _) => target,
            };
            seeds.write(target, &format!("{folder}-{name}"), &bytes);
            if stream.len() < 2048 {
                stream.extend(frame(&bytes));
            }
        }
    }
    seeds.write("frame", "messages", &stream);
    seeds.write("frame", "empty", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (name, bytes) in files(&vectors.join("wire")).into_iter().chain(files(&vectors.join("wire-old"))) {
        if name.ends_with(".der") && name.contains("create") {
            seeds.write("large", &name, &[&[255], &bytes[..]].concat());
        }
        if name.ends_with(".der") && name.starts_with("data-stats") {
            // The message, whose length is told in fours, then a request.
            let fours = u8::try_from(bytes.len() / 4).unwrap_or(u8::MAX);
            if bytes.len() % 4 == 0 {
                let request = b"GET /metrics HTTP/1.1\r\n\r\n";
                seeds.write("shown", &name, &[&[fours], &bytes[..], request].concat());
            }
        }
    }
    let encoded = |record: &Record| record.encode().unwrap();
    let changes = samples::samples("change");
    for (index, record) in samples::records().iter().map(encoded).enumerate() {
        seeds.write(
            "journal",
            &format!("record-{index}"),
            &in_pieces(std::iter::once(&record).chain(&changes)),
        );
    }
    seeds.write("log", "records", &in_pieces(samples::samples("log_record").iter()));
    for target in ["wire", "extension", "record", "change", "running", "log_record"] {
        for (index, bytes) in samples::samples(target).into_iter().enumerate() {
            seeds.write(target, &format!("sample-{index}"), &bytes);
        }
    }
}

/// What is written as entries of a file: each after its length in two octets. The file is whole.
fn in_pieces<'a>(pieces: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let mut bytes = vec![255, 128];
    for piece in pieces {
        bytes.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        bytes.extend(piece);
    }
    bytes
}

fn chains(seeds: &Seeds, folder: &Path) {
    for case in std::fs::read_dir(folder).unwrap() {
        let case = case.unwrap();
        for (file, text) in files(&case.path()) {
            let name = format!("{}-{file}", case.file_name().to_str().unwrap());
            if file.ends_with(".pem") {
                let ders: Vec<u8> =
                    pem::blocks(&text).unwrap().iter().flat_map(|block| block.der.to_vec()).collect();
                seeds.write("chain", &name, &ders);
            }
            if file.ends_with(".key") {
                seeds.write("key", &name, &pem::blocks(&text).unwrap()[0].der);
            }
            seeds.write("pem", &name, &text);
        }
    }
}

fn made_here(seeds: &Seeds) {
    let random = SystemRandom::new();
    let now: Time = "2026-06-01T00:00:00Z".parse().unwrap();
    let commands = [None, Some(Command::Unikernel(UnikernelCommand::Info))];
    let kinds = [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Rsa2048];
    for kind in kinds {
        let key = KeyPair::generate(kind, &random).unwrap();
        for (index, command) in commands.iter().enumerate() {
            let request = Request::create("hello", command.as_ref(), &key, &random).unwrap();
            seeds.write("request", &format!("{kind:?}-{index}"), request.der());
            seeds.write("pem", &format!("request-{kind:?}-{index}"), request.to_pem().as_bytes());
        }
        let ca = root("ca", &key, &Terms::new(Validity::days(now, 10).unwrap(), &random).unwrap()).unwrap();
        let issuer = ListIssuer::new(&ca, &key).unwrap();
        let revoked: Vec<Revoked> = [&[1_u8][..], &[0x80, 2], &[7; 20]]
            .iter()
            .map(|serial| Revoked { serial: Serial::new(serial).unwrap(), date: now, reason: None })
            .collect();
        for count in 0..=revoked.len() {
            let terms = ListTerms::new(Validity::days(now, 30).unwrap(), &random);
            let list = issuer.issue(None, &revoked[..count], &terms).unwrap();
            seeds.write("crl", &format!("{kind:?}-{count}"), list.der());
            seeds.write("pem", &format!("crl-{kind:?}-{count}"), list.to_pem().as_bytes());
        }
    }
}
