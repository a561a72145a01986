//! An image that travels beside its command, which carries its SHA-256: what is signed stays small, and
//! covers the image all the same.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use albatross_core::image::digest;
use albatross_driver::logging::Logger;
use albatross_proto::command::ByDigest;
use albatross_proto::{Command, Config, Int, UnikernelCommand};

use crate::command::{Request, image_and_arguments};
use crate::error::Error;
use crate::files;
use crate::image::MAX_IMAGE;
use crate::options::{Create, Destination};
use crate::print::hex;
use crate::upload::Upload;

/// A file that is not the image that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtherImage {
    path: PathBuf,
    signed: [u8; 32],
    found: [u8; 32],
}

impl fmt::Display for OtherImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, signed, found } = self;
        let (path, signed, found) = (path.display(), hex(signed), hex(found));
        write!(f, "{path} is not the image that was signed: its SHA-256 is {found}, not {signed}")
    }
}

impl std::error::Error for OtherImage {}

/// The command that `create --by-digest` sends, and the image.
///
/// # Errors
/// Those of `create`.
pub(crate) fn request(it: &Create, log: &Logger) -> Result<(Request, Upload), Error> {
    let (image, arguments) = image_and_arguments(it, log)?;
    let (sha256, size) = (digest(&image), Int::from(u32::try_from(image.len()).unwrap_or(u32::MAX)));
    let config = Config { typ: it.typ, compressed: false, image: Cow::Borrowed(&[][..]), arguments };
    let signed = ByDigest { config, sha256, size };
    let command = Command::Unikernel(match it.force {
        true => UnikernelCommand::ForceCreateByDigest(signed),
        false => UnikernelCommand::CreateByDigest(signed),
    });
    Ok((Request { name: it.name.clone(), command }, Upload::Image(image)))
}

/// The image in `path`, which must be the one that was signed.
///
/// # Errors
/// [`OtherImage`], and those of reading.
pub(crate) fn read(path: &Path, signed: &ByDigest) -> Result<Vec<u8>, Error> {
    let image = files::read(path, MAX_IMAGE)?;
    let found = digest(&image);
    if found != signed.sha256 {
        return Err(Error::OtherImage(OtherImage { path: path.to_owned(), signed: signed.sha256, found }));
    }
    Ok(image)
}

/// Whether the image goes along: to a file or onto the screen goes the command alone.
pub(crate) fn goes_along(to: &Destination, log: &Logger) -> bool {
    let goes = matches!(to, Destination::Local | Destination::Socket(_) | Destination::Remote(_));
    if !goes {
        log.warning("the image is not in the command: certificate --data takes it to whom that goes");
    }
    goes
}
