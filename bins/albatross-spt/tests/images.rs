//! Images that have to be refused: a good one, spoilt in one place each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::fs;
use std::ops::Range;

use common::{Finished, guest, tender};

/// Offsets in a program header.
const FLAGS: usize = 4;
const OFFSET: usize = 8;
const ADDRESS: usize = 16;
const FILE_SIZE: usize = 32;
const MEMORY_SIZE: usize = 40;
const ALIGN: usize = 48;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// The image of `tick`, to be spoilt.
struct Image(Vec<u8>);

impl Image {
    fn good() -> Self {
        Self(fs::read(guest("tick")).unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    fn set(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Where the program headers of a type are.
    fn headers(&self, kind: u32) -> Vec<usize> {
        let count = u16::from_le_bytes(self.0[56..58].try_into().unwrap());
        let table = usize::try_from(self.u64(32)).unwrap();
        (0..count).map(|index| table + 56 * usize::from(index)).filter(|at| self.u32(*at) == kind).collect()
    }

    /// Changes a field of the n-th PT_LOAD.
    fn load(self, index: usize, field: usize, value: impl AsRef<[u8]>) -> Self {
        let at = self.headers(PT_LOAD)[index] + field;
        self.set(at, value)
    }

    /// Where the bytes of the n-th note are.
    fn note(&self, index: usize) -> Range<usize> {
        let header = self.headers(PT_NOTE)[index];
        let start = usize::try_from(self.u64(header + OFFSET)).unwrap();
        start..start + usize::try_from(self.u64(header + FILE_SIZE)).unwrap()
    }

    fn abi(self, at: usize, value: impl AsRef<[u8]>) -> Self {
        let start = self.note(0).start;
        self.set(start + at, value)
    }

    fn manifest(self, at: usize, value: impl AsRef<[u8]>) -> Self {
        let start = self.note(1).start;
        self.set(start + at, value)
    }

    #[track_caller]
    fn assert_refused(self, cause: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), self.0).unwrap();
        Finished::of(tender().arg("--mem=2").arg(file.path())).assert_refused(cause);
    }
}

#[test]
fn the_good_image_is_accepted_in_each_version() {
    let image = Image::good();
    assert_eq!((image.headers(PT_LOAD).len() >= 2, image.headers(PT_NOTE).len()), (true, 2));
    for image in [image, Image::good().abi(24, [1])] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), image.0).unwrap();
        Finished::of(tender().arg("--mem=2").arg(file.path()).arg("--count=0")).assert_exit(0, "");
    }
}

#[test]
fn header() {
    let field = |name: &str| format!("not a static ELF executable for x86-64: {name}");
    Image(Vec::new()).assert_refused("too short for an ELF header (0 of 64 bytes)");
    Image(Image::good().0[..63].to_vec()).assert_refused("too short for an ELF header (63 of 64 bytes)");
    Image::good().set(0, [0]).assert_refused("not an ELF file");
    Image::good().set(4, [1]).assert_refused(&field("class is 1"));
    Image::good().set(5, [2]).assert_refused(&field("byte order is 2"));
    Image::good().set(16, [3]).assert_refused(&field("type is 3"));
    Image::good().set(18, 183_u16.to_le_bytes()).assert_refused(&field("machine is 183"));
    Image::good().set(20, [0]).assert_refused(&field("version is 0"));
    Image::good().set(52, [63]).assert_refused(&field("header size is 63"));
    Image::good().set(54, [55]).assert_refused(&field("program header size is 55"));
    Image::good().set(56, [0, 0]).assert_refused(&field("program header count is 0"));
    Image::good().set(56, [255, 255]).assert_refused(&field("program header count is 65535"));
    Image::good().set(32, [255; 8]).assert_refused("the program headers are not in the file");
    Image(Image::good().0[..100].to_vec()).assert_refused("the program headers are not in the file");
}

#[test]
fn entry() {
    for entry in [0_u64, 0xf_ffff, 0x20_0000, u64::MAX] {
        Image::good()
            .set(24, entry.to_le_bytes())
            .assert_refused(&format!("entry point {entry:#x} is not in"));
    }
}

#[test]
fn segments() {
    let good = Image::good;
    let max = u64::MAX.to_le_bytes();
    good().load(0, OFFSET, max).assert_refused("takes bytes from beyond the end of the file");
    good().load(0, OFFSET, 0x100_0000_u64.to_le_bytes()).assert_refused("takes bytes from beyond the end");
    good().load(0, FILE_SIZE, max).assert_refused("takes bytes from beyond the end of the file");
    good().load(0, MEMORY_SIZE, 1_u64.to_le_bytes()).assert_refused("more bytes in the file than in memory");
    good().load(0, ALIGN, 0_u64.to_le_bytes()).assert_refused("an alignment that is no power of two");
    good().load(0, ALIGN, 0x1001_u64.to_le_bytes()).assert_refused("an alignment that is no power of two");
    good().load(0, ALIGN, (1_u64 << 63).to_le_bytes()).assert_refused("begins below 0x100000");
    good().load(0, ADDRESS, 0xf_f000_u64.to_le_bytes()).assert_refused("begins below 0x100000");
    good().load(0, ADDRESS, 0_u64.to_le_bytes()).assert_refused("begins below 0x100000");
    good().load(0, MEMORY_SIZE, max).assert_refused("reaches beyond guest memory");
    good().load(0, MEMORY_SIZE, 0x10_0001_u64.to_le_bytes()).assert_refused("reaches beyond guest memory");
    good().load(0, ADDRESS, 0x20_0000_u64.to_le_bytes()).assert_refused("reaches beyond guest memory");
    good().load(0, ADDRESS, (!0xfff_u64).to_le_bytes()).assert_refused("reaches beyond guest memory");
    good().load(0, MEMORY_SIZE, 0x1001_u64.to_le_bytes()).assert_refused("overlaps the segment before it");
    good().load(1, ADDRESS, 0x10_0000_u64.to_le_bytes()).assert_refused("overlaps the segment before it");
    good().load(0, ADDRESS, 0x18_0000_u64.to_le_bytes()).assert_refused("overlaps the segment before it");
    good().load(0, ALIGN, 16_u64.to_le_bytes()).assert_refused("begins or ends within a page");
    good().load(1, FLAGS, 7_u32.to_le_bytes()).assert_refused("write and execute permission together");
    good().load(1, FLAGS, 3_u32.to_le_bytes()).assert_refused("write and execute permission together");
}

#[test]
fn abi_note() {
    let good = Image::good;
    let header = |image: &Image| image.headers(PT_NOTE)[0];
    good().abi(0, [5]).assert_refused("no Solo5 ABI note");
    good().abi(12, "solo5").assert_refused("no Solo5 ABI note");
    good().abi(8, [0]).assert_refused("no Solo5 ABI note");
    for size in [0_u32, 15, 17] {
        let cause = if size == 17 { "a note ends before" } else { "bytes, not 16" };
        good().abi(4, size.to_le_bytes()).assert_refused(cause);
    }
    good().abi(4, u32::MAX.to_le_bytes()).assert_refused("a note ends before its description does");
    good().abi(20, [1]).assert_refused("the image is for hvt, not for spt");
    good().abi(20, [99]).assert_refused("the image is for an unknown target, not for spt");
    for version in [0_u32, 3, u32::MAX] {
        let cause = format!("the image needs spt ABI version {version}, this tender has versions 1 to 2");
        good().abi(24, version.to_le_bytes()).assert_refused(&cause);
    }
    good().abi(28, [1]).assert_refused("a reserved field of the ABI note is not zero");
    good().abi(35, [1]).assert_refused("a reserved field of the ABI note is not zero");
    for size in [0_u64, 11] {
        let at = header(&good()) + FILE_SIZE;
        good().set(at, size.to_le_bytes()).assert_refused("a note ends before its description does");
    }
    let at = header(&good());
    good().set(at + FILE_SIZE, 17_u64.to_le_bytes()).assert_refused("no Solo5 ABI note");
    good().set(at + FILE_SIZE, 19_u64.to_le_bytes()).assert_refused("no Solo5 ABI note");
    good()
        .set(at + FILE_SIZE, 20_u64.to_le_bytes())
        .assert_refused("a note ends before its description does");
    good()
        .set(at + FILE_SIZE, 35_u64.to_le_bytes())
        .assert_refused("a note ends before its description does");
    good().set(at + OFFSET, [255; 8]).assert_refused("a note ends before its description does");
    good().set(at, [0]).assert_refused("no Solo5 ABI note");
    let second = good().headers(PT_NOTE)[1];
    let abi = good().0[at..at + 56].to_vec();
    good().set(second, abi).assert_refused("a Solo5 note is there twice");
}

#[test]
fn manifest_note() {
    let good = Image::good;
    let at = good().headers(PT_NOTE)[1];
    good().set(at, [0]).assert_refused("no Solo5 manifest note");
    good().manifest(4, 115_u32.to_le_bytes()).assert_refused("cannot have 1 entries");
    good().manifest(4, [3]).assert_refused("a note ends before its description does");
    good().manifest(24, [2]).assert_refused("the manifest has version 2, not 1");
    for entries in [0_u32, 2, 65, u32::MAX] {
        good().manifest(28, entries.to_le_bytes()).assert_refused(&format!("cannot have {entries} entries"));
    }
    for at in [32, 99, 100, 104, 128] {
        good().manifest(at, [1]).assert_refused("manifest entry 0 is not the reserved first entry");
    }
}

#[test]
fn an_image_by_its_descriptor() {
    let good = fs::File::open(guest("hello")).unwrap();
    let run = |file: &fs::File| {
        nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        Finished::of(
            tender().arg("--mem=2").arg(format!("@{}", std::os::fd::AsRawFd::as_raw_fd(file))).arg("a"),
        )
    };
    run(&good).assert_exit(0, "Hello from spt\na\n");
    run(&fs::File::open("/dev/null").unwrap()).assert_refused("not a regular file");
    let file = tempfile::NamedTempFile::new().unwrap();
    run(file.as_file()).assert_refused("too short for an ELF header");
    run(&fs::File::options().write(true).open(file.path()).unwrap()).assert_refused("not open for reading");
    Finished::of(tender().arg("@999")).assert_refused("KERNEL @999: Bad file descriptor");
    Finished::of(tender().arg("@0")).assert_refused("@ needs a descriptor from 3 up");
}

#[test]
fn not_files() {
    Finished::of(tender().arg("/nonexistent\nfile")).assert_refused("No such file or directory");
    Finished::of(tender().arg("/")).assert_refused("not a regular file");
    Finished::of(tender().arg("/dev/null")).assert_refused("not a regular file");
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    Finished::of(tender().arg(fifo)).assert_refused("not a regular file");
}

/// Whatever single byte of the headers and notes is changed: never a crash of the tender. A changed image may still be a
/// good one, but runs no further than its own fault.
#[test]
fn every_byte_of_header_and_notes() {
    let good = Image::good();
    let table_end = 64 + 56 * good.headers(PT_LOAD).len().max(7);
    let places = (0..table_end).chain(good.note(0)).chain(good.note(1));
    let file = tempfile::NamedTempFile::new().unwrap();
    for at in places {
        let mut image = Image::good();
        image.0[at] ^= 0x81;
        fs::write(file.path(), image.0).unwrap();
        let finished = Finished::of(tender().arg("--mem=2").arg(file.path()).arg("--count=0"));
        let refused = finished.code == Some(1) && finished.stderr.lines().count() == 1;
        let ran = finished.stderr.is_empty() && (finished.code == Some(0) || finished.signal.is_some());
        assert!(refused || ran, "byte {at}: {finished:?}");
        assert_ne!(finished.signal, Some(6), "byte {at}: {finished:?}");
    }
}
