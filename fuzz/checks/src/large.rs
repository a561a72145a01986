//! A create whose image goes to a file as it comes.

use std::borrow::Cow;

use albatross_proto::large::{Found, MAX_BEFORE_IMAGE, find_image};
use albatross_proto::{Command, Config, Payload, UnikernelCommand, Wire};

/// A message of which so much has come as the first octet says: where an image is found, the message
/// without it is read if and only if the whole is, as the same create but for its image.
pub fn large(bytes: &[u8]) -> bool {
    let [come, message @ ..] = bytes else { return false };
    let come = message.len() * usize::from(*come) / 255;
    let at = match find_image(&message[..come], message.len()) {
        Found::Nothing => return false,
        Found::TooShort => {
            assert!(come < MAX_BEFORE_IMAGE.min(message.len()));
            return false;
        }
        Found::Image(at) => at,
    };
    let image = at.octets().clone();
    assert!(image.start <= image.end && image.end <= message.len() && image.start <= MAX_BEFORE_IMAGE);
    let cut = at.cut_out(&message[..image.start], &message[image.end..]);
    match (Wire::decode(message), Wire::decode(&cut)) {
        (Err(_), Err(_)) => false,
        (Ok(mut whole), Ok(cut)) => {
            let taken = take_image(&mut whole).expect("an image was found in what is no create");
            assert!(taken == message[image], "another image");
            assert_eq!(whole, cut);
            true
        }
        (whole, cut) => panic!("one is read and the other is not: {whole:?}, {cut:?}"),
    }
}

fn take_image(wire: &mut Wire<'_>) -> Option<Vec<u8>> {
    let Payload::Command(Command::Unikernel(
        UnikernelCommand::Create(Config { image, .. }) | UnikernelCommand::ForceCreate(Config { image, .. }),
    )) = &mut wire.payload
    else {
        return None;
    };
    Some(std::mem::replace(image, Cow::Borrowed(&[])).into_owned())
}
