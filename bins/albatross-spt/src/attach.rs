//! Opening what devices are attached to, and the epoll set in which the guest waits for them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

use albatross_spt::devices::{Device, DevicePlan, Properties, Source};
use albatross_spt::options::{DeviceOption, Host};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use crate::error::{AttachError, TenderError, When as _};
use crate::tap;

/// The mark of the timer in the epoll set; devices have their manifest index.
const TIMER_MARK: u64 = 0xffff_fffe;

/// A device with its open descriptor.
pub(crate) struct Attached {
    pub(crate) device: Device,
    pub(crate) descriptor: OwnedFd,
}

/// Opens a device.
pub(crate) fn attach(plan: DevicePlan) -> Result<Attached, TenderError> {
    let DevicePlan { index, name, source } = plan;
    let opened = match source {
        Source::Net { interface, mac } => tap::open(interface, mac),
        Source::Block { file, sector_size } => open_block(file, sector_size),
    };
    let (descriptor, properties) = opened.map_err(|source| TenderError::Attach { name, source })?;
    let device = Device { index, descriptor: descriptor.as_raw_fd(), properties };
    Ok(Attached { device, descriptor })
}

fn open_block(file: Host<PathBuf>, sector_size: u16) -> Result<(OwnedFd, Properties), AttachError> {
    let failed = |doing| move |source| AttachError::System { doing, source };
    let mut file = match file {
        // Not to wait for the other end, should this be a fifo.
        Host::Named(path) => {
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            File::options()
                .read(true)
                .write(true)
                .custom_flags(flags)
                .open(path)
                .map_err(failed("opening it"))?
        }
        Host::Open(number) => File::from(inherited(number)?),
    };
    let kind = file.metadata().map_err(failed("looking at it"))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(AttachError::NotFile);
    }
    let capacity = file.seek(SeekFrom::End(0)).map_err(failed("finding its size"))?;
    if capacity < sector_size.into() || !capacity.is_multiple_of(sector_size.into()) {
        return Err(AttachError::Size { capacity, sector_size });
    }
    Ok((file.into(), Properties::Block { capacity, sector_size }))
}

/// Makes sure, before the tender opens anything itself, that the descriptors on the command line were handed over.
pub(crate) fn check_inherited(options: &[DeviceOption]) -> Result<(), TenderError> {
    for option in options {
        if let Some(number) = option.setting.descriptor() {
            check_usable(number)
                .map_err(|source| TenderError::Attach { name: option.name.clone(), source })?;
        }
    }
    Ok(())
}

/// Takes over a descriptor that [`check_inherited`] found good.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd, AttachError> {
    check_usable(number)?;
    // SAFETY: the descriptor is open since before the tender opened any, is none of the standard ones, and the command
    // line gives it to this device and no other.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn check_usable(number: RawFd) -> Result<(), AttachError> {
    let failed = |source| AttachError::System { doing: "using the descriptor", source };
    // SAFETY: only asked whether it is open and how.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl(borrowed, FcntlArg::F_GETFL).map_err(|errno| failed(errno.into()))?;
    if OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE == OFlag::O_RDWR {
        return Ok(());
    }
    Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, "not open for reading and writing")))
}

/// The epoll set with the timer and the network devices.
pub(crate) struct Events {
    epoll: Epoll,
    timer: TimerFd,
}

impl Events {
    /// Makes the set.
    pub(crate) fn new(attached: &[Attached]) -> Result<Self, TenderError> {
        let epoll = Epoll::new(EpollCreateFlags::empty()).when("making the epoll set")?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK).when("making the timer")?;
        let add = |descriptor, mark| epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, mark));
        add(timer.as_fd(), TIMER_MARK).when("adding the timer to the epoll set")?;
        for attached in attached {
            if let Some(mark) = attached.device.event_mark() {
                add(attached.descriptor.as_fd(), mark).when("adding a device to the epoll set")?;
            }
        }
        Ok(Self { epoll, timer })
    }

    /// The descriptor of the set.
    pub(crate) fn epoll(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }

    /// The descriptor of the timer.
    pub(crate) fn timer(&self) -> RawFd {
        self.timer.as_fd().as_raw_fd()
    }
}
