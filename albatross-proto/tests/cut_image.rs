//! A create without its image is the same create, for every message that the OCaml implementation wrote.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and reads files"
)]

use std::borrow::Cow;
use std::path::Path;

use albatross_proto::large::{Found, MAX_BEFORE_IMAGE, find_image};
use albatross_proto::reply::{block_head, image_head, old_block_head};
use albatross_proto::{Command, Data, Header, Payload, Success, UnikernelCommand, Wire};

fn messages() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for folder in ["wire", "wire-old"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/vectors").join(folder);
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "der") {
                all.push((path.display().to_string(), std::fs::read(path).unwrap()));
            }
        }
    }
    assert!(all.len() > 50);
    all
}

/// The message with an empty image, if it is a create.
fn without_image(message: &[u8]) -> Option<(Vec<u8>, Wire<'static>)> {
    let Wire { header, payload } = Wire::decode(message).ok()?;
    let Payload::Command(Command::Unikernel(command)) = payload else { return None };
    let (image, command) = match command {
        UnikernelCommand::Create(mut config) => {
            let image = std::mem::replace(&mut config.image, Cow::Borrowed(&[]));
            (image.into_owned(), UnikernelCommand::Create(config.into_owned()))
        }
        UnikernelCommand::ForceCreate(mut config) => {
            let image = std::mem::replace(&mut config.image, Cow::Borrowed(&[]));
            (image.into_owned(), UnikernelCommand::ForceCreate(config.into_owned()))
        }
        _ => return None,
    };
    Some((image, Wire { header, payload: Payload::Command(Command::Unikernel(command)) }))
}

#[test]
fn the_image_is_found_and_the_rest_is_the_same_create() {
    let mut creates = 0;
    for (name, message) in messages() {
        let found = find_image(&message, message.len());
        let Some((image, rest)) = without_image(&message) else {
            assert_eq!(found, Found::Nothing, "{name}");
            continue;
        };
        creates += 1;
        let Found::Image(at) = found else { panic!("{name}: no image found") };
        assert_eq!(&message[at.octets().clone()], image, "{name}");
        let cut = at.cut_out(&message[..at.octets().start], &message[at.octets().end..]);
        assert_eq!(Wire::decode(&cut).unwrap(), rest, "{name}");
        for end in 0..message.len() {
            let begin = &message[..end];
            let expected = if end < at.octets().start { Found::TooShort } else { Found::Image(at.clone()) };
            assert_eq!(find_image(begin, message.len()), expected, "{name}, first {end}");
        }
    }
    assert!(creates > 10, "{creates} creates seen");
}

#[test]
fn whatever_is_unusual_is_left_to_the_decoder() {
    for (name, message) in messages() {
        let Some(_) = without_image(&message) else { continue };
        let Found::Image(at) = find_image(&message, message.len()) else { panic!() };
        assert_eq!(find_image(&message, message.len() + 1), Found::Nothing, "{name}: not the whole message");
        assert_eq!(find_image(&message, message.len() - 1), Found::Nothing, "{name}: more than the message");
        for position in 0..at.octets().start {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut broken = message.clone();
                broken[position] ^= flip;
                if let Found::Image(at) = find_image(&broken, broken.len()) {
                    let cut = at.cut_out(&broken[..at.octets().start], &broken[at.octets().end..]);
                    let whole = without_image(&broken).map(|(_, rest)| rest);
                    assert_eq!(Wire::decode(&cut).ok(), whole, "{name}, octet {position}");
                }
            }
        }
    }
    assert_eq!(find_image(&[0x30; MAX_BEFORE_IMAGE], usize::MAX), Found::Nothing);
    assert_eq!(find_image(&[], 0), Found::Nothing);
}

#[test]
fn a_head_and_what_it_is_the_head_of_are_the_message() {
    for length in [0, 1, 100, 127, 128, 300, 65536, 1 << 24] {
        for compressed in [false, true] {
            let header = Header::new(7, "foo:hello".parse().unwrap());
            let image: Cow<'_, [u8]> = vec![5; length].into();
            let mut message = image_head(&header, compressed, length);
            message.extend_from_slice(&image);
            let success = Success::UnikernelImage { compressed, image: image.clone() };
            assert_eq!(message, Wire::new(header.clone(), Payload::Success(success)).encode().unwrap());
            let mut message = old_block_head(&header, compressed, length);
            message.extend_from_slice(&image);
            let success = Success::BlockDeviceImageOld { compressed, image: image.clone() };
            assert_eq!(message, Wire::new(header.clone(), Payload::Success(success)).encode().unwrap());
            let mut message = block_head(&header, length);
            message.extend_from_slice(&image);
            let data = Data::Block(Some(image));
            assert_eq!(message, Wire::new(header, Payload::Data(data)).encode().unwrap());
        }
    }
}
