//! Large messages: nothing of an image is copied to look at a message, and what is announced is not
//! allocated.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise"
)]

use std::borrow::Cow;

use albatross_proto::{
    Arguments, Command, Config, Header, Payload, Typ, UnikernelCommand, Wire, extension, frame::MAX_ENCODED,
};

const IMAGE: usize = 16 * 1024 * 1024;

fn create(image: Vec<u8>) -> Command<'static> {
    let config =
        Config { typ: Typ::Solo5, compressed: false, image: image.into(), arguments: Arguments::new() };
    Command::Unikernel(UnikernelCommand::Create(config))
}

fn image<'a>(command: &'a Command<'a>) -> &'a [u8] {
    match command {
        Command::Unikernel(UnikernelCommand::Create(Config { image: Cow::Borrowed(image), .. })) => image,
        other => panic!("the image is not borrowed: {:.60}", format!("{other:?}")),
    }
}

#[test]
fn an_image_of_16_mib_stays_where_it_is() {
    let wire =
        Wire::new(Header::new(0, "foo:hello".parse().unwrap()), Payload::Command(create(vec![7; IMAGE])));
    let bytes = wire.encode().unwrap();
    let decoded = Wire::decode(&bytes).unwrap();
    let Payload::Command(command) = &decoded.payload else { panic!("a command") };
    let image = image(command);
    assert_eq!(image.len(), IMAGE);
    assert!(bytes.as_ptr_range().contains(&image.as_ptr()));
    let value = extension::encode(&create(vec![7; IMAGE])).unwrap();
    let command = extension::decode(&value).unwrap();
    assert!(value.as_ptr_range().contains(&self::image(&command).as_ptr()));
}

#[test]
fn what_is_too_long_is_not_written() {
    let wire =
        Wire::new(Header::new(0, ":a".parse().unwrap()), Payload::Command(create(vec![0; MAX_ENCODED])));
    assert!(wire.encode().unwrap_err().to_string().contains("the limit is"));
}

#[test]
fn lengths_that_are_announced_and_not_there_are_errors() {
    for length in [
        &[0x84, 0x7f, 0xff, 0xff, 0xff][..],
        &[0x84, 0xff, 0xff, 0xff, 0xff],
        &[0x88, 1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        let bytes = [&[0x30], length].concat();
        let error = Wire::decode(&bytes).unwrap_err();
        assert!(error.to_string().contains("message at byte"), "{error}");
    }
}
