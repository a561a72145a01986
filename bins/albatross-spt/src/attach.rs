//! Opening what devices are attached to, and the epoll set in which the guest waits for them.

use albatross_spt::devices::{Device, DevicePlan, Properties, Source};
use albatross_spt::errno::Errno;
use albatross_spt::linux::{O_NOCTTY, O_NONBLOCK, O_RDWR};
use albatross_spt::options::Host;

use crate::error::{AttachError, TenderError, When as _};
use crate::inherited::inherited;
use crate::sys::{self, Descriptor};
use crate::tap;

/// The mark of the timer in the epoll set; devices have their manifest index.
const TIMER_MARK: u64 = 0xffff_fffe;

/// A device with its open descriptor.
pub(crate) struct Attached {
    pub(crate) device: Device,
    /// Open until the guest has it.
    _descriptor: Descriptor,
}

/// Opens a device.
pub(crate) fn attach(plan: DevicePlan<'_>) -> Result<Attached, TenderError<'_>> {
    let DevicePlan { index, name, source } = plan;
    let opened = match source {
        Source::Net { interface, mac } => tap::open(interface, mac),
        Source::Block { file, sector_size } => open_block(file, sector_size),
    };
    let (descriptor, properties) = opened.map_err(|source| TenderError::Attach { name, source })?;
    let device = Device { index, descriptor: descriptor.number(), properties };
    Ok(Attached { device, _descriptor: descriptor })
}

fn open_block(file: Host<&[u8]>, sector_size: u16) -> Result<(Descriptor, Properties), AttachError> {
    let failed = |doing| move |source| AttachError::System { doing, source };
    let file = match file {
        // Not to wait for the other end, should this be a fifo.
        Host::Named(path) => sys::open(path, O_RDWR | O_NONBLOCK | O_NOCTTY).map_err(failed("opening it"))?,
        Host::Open(number) => inherited(number)?,
    };
    let status = sys::status(&file).map_err(failed("looking at it"))?;
    if !status.is_file() && !status.is_block_device() {
        return Err(AttachError::NotFile);
    }
    let capacity = sys::end(&file).map_err(failed("finding its size"))?;
    if capacity < sector_size.into() || !capacity.is_multiple_of(sector_size.into()) {
        return Err(AttachError::Size { capacity, sector_size });
    }
    Ok((file, Properties::Block { capacity, sector_size }))
}

/// The epoll set with the timer and the network devices.
pub(crate) struct Events {
    epoll: Descriptor,
    timer: Descriptor,
}

impl Events {
    /// Makes the set.
    pub(crate) fn new(attached: &[Attached]) -> Result<Self, TenderError<'static>> {
        let epoll = sys::epoll().when("making the epoll set")?;
        let timer = sys::timer().when("making the timer")?;
        sys::epoll_add(&epoll, timer.number(), TIMER_MARK).when("adding the timer to the epoll set")?;
        for Attached { device, .. } in attached {
            if let Some(mark) = device.event_mark() {
                let added: Result<(), Errno> = sys::epoll_add(&epoll, device.descriptor, mark);
                added.when("adding a device to the epoll set")?;
            }
        }
        Ok(Self { epoll, timer })
    }

    /// The descriptor of the set.
    pub(crate) fn epoll(&self) -> i32 {
        self.epoll.number()
    }

    /// The descriptor of the timer.
    pub(crate) fn timer(&self) -> i32 {
        self.timer.number()
    }
}
