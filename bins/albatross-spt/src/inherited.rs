//! Descriptors that were handed over with the command line.

use albatross_spt::image::{ImageError, ReadError};
use albatross_spt::linux::{F_GETFL, O_ACCMODE, O_RDWR, O_WRONLY};
use albatross_spt::options::{Host, Options};

use crate::error::{AttachError, TenderError};
use crate::sys::{self, Descriptor};

/// Makes sure, before the tender opens anything itself, that the descriptors on the command line were handed over.
pub(crate) fn check_inherited<'a>(options: &Options<'a>) -> Result<(), TenderError<'a>> {
    if let Host::Open(number) = options.kernel {
        let flags = sys::control(number, F_GETFL, 0).map_err(ReadError::System).and_then(|flags| {
            if flags & O_ACCMODE == O_WRONLY { Err(ReadError::NotReadable) } else { Ok(()) }
        });
        let failed = |error| TenderError::Image { image: options.kernel, source: ImageError::Read(error) };
        flags.map_err(failed)?;
    }
    for option in &options.devices {
        if let Some(number) = option.setting.descriptor() {
            check_usable(number)
                .map_err(|source| TenderError::Attach { name: option.name.into(), source })?;
        }
    }
    Ok(())
}

/// Takes over a descriptor that [`check_inherited`] found good: it is open since before the tender opened any, is none of
/// the standard ones, and the command line gives it to this device and no other.
pub(crate) fn inherited(number: i32) -> Result<Descriptor, AttachError> {
    check_usable(number)?;
    Ok(Descriptor::owning(number))
}

fn check_usable(number: i32) -> Result<(), AttachError> {
    let failed = |source| AttachError::System { doing: "using the descriptor", source };
    let flags = sys::control(number, F_GETFL, 0).map_err(failed)?;
    if flags & O_ACCMODE == O_RDWR { Ok(()) } else { Err(AttachError::OneWay) }
}
