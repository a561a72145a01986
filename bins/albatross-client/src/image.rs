//! Images: read, compared with the devices that are given, made smaller for the transfer.

use std::fmt;
use std::path::{Path, PathBuf};

use albatross_core::image::{self, DevicesError, deflate, devices_match, inspect};
use albatross_proto::Arguments;

use crate::error::Error;
use crate::files;
use crate::options::values::{BlockOption, CompressionLevel, NetOption};

/// The largest image, in octets: what fits into a message.
pub(crate) const MAX_IMAGE: usize = 64 * 1024 * 1024;

/// Why an image is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum ImageError {
    /// The file is no Solo5 image.
    NotAnImage { path: PathBuf, error: image::ImageError },
    /// It has other devices than are given.
    Devices { path: PathBuf, error: DevicesError },
    /// A device is given twice.
    Twice(String),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Devices { path, error } => write!(f, "{}: {error} (--block, --net)", path.display()),
            Self::Twice(name) => write!(f, "device '{name}' is given twice"),
        }
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotAnImage { error, .. } => Some(error),
            Self::Devices { error, .. } => Some(error),
            Self::Twice(_) => None,
        }
    }
}

/// The image in a file, which has exactly the devices that `arguments` configure.
pub(crate) fn read(path: &Path, arguments: &Arguments) -> Result<Vec<u8>, Error> {
    let image = files::read(path, MAX_IMAGE)?;
    check(path, &image, arguments)?;
    Ok(image)
}

/// Checks that this, which is from `path`, is an image that has exactly the devices of `arguments`.
pub(crate) fn check(path: &Path, image: &[u8], arguments: &Arguments) -> Result<(), ImageError> {
    let found = inspect(image).map_err(|error| ImageError::NotAnImage { path: path.to_owned(), error })?;
    devices_match(&found, arguments).map_err(|error| ImageError::Devices { path: path.to_owned(), error })
}

/// The image as it is sent: a zlib stream, or itself at level 0.
pub(crate) fn compress(image: Vec<u8>, level: CompressionLevel) -> Vec<u8> {
    if level == CompressionLevel::NONE { image } else { deflate(&image, level.get().into()) }
}

/// Whether each device is given once.
pub(crate) fn check_unique(blocks: &[BlockOption], nets: &[NetOption]) -> Result<(), ImageError> {
    let blocks = blocks.iter().map(|block| &block.name);
    let nets = nets.iter().map(|net| &net.name);
    let mut seen = std::collections::BTreeSet::new();
    match blocks.chain(nets).find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(ImageError::Twice(name.clone())),
        None => Ok(()),
    }
}
