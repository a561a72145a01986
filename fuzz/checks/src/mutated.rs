//! Images that are spoilt in one place each, with what has to be said of them: by albatrossd's inspector before an image is
//! taken, and by the tender before it is run. One for each field of the ELF header, the program headers and the two
//! notes, and for each rule about segments.
//!
//! `cargo run -p albatross-fuzz-checks --bin mutated -- FOLDER` writes them as files, for other tenders.

/// Memory in which the good image fits.
pub const MEMORY: u64 = 2 << 20;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const ENTRY: usize = 104;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const BASE: u64 = 0x10_0000;
const PAGE: usize = 4096;

/// Indices of the program headers of the good image.
const TEXT: usize = 0;
const DATA: usize = 1;
const FOREIGN: usize = 2;
const ABI: usize = 3;
const MANIFEST: usize = 4;
/// Offsets in a program header.
const KIND: usize = 0;
const FLAGS: usize = 4;
const OFFSET: usize = 8;
const ADDRESS: usize = 16;
const FILE_SIZE: usize = 32;
const MEMORY_SIZE: usize = 40;
const ALIGN: usize = 48;

/// A part of the message with which something is refused; `None` where it is accepted.
pub type Verdict = Option<&'static str>;

/// An image and what has to be said of it.
#[derive(Clone, Debug)]
pub struct Mutated {
    /// What is changed.
    pub name: String,
    /// The image.
    pub image: Vec<u8>,
    /// By the inspector.
    pub inspector: Verdict,
    /// By the tender, in [`MEMORY`].
    pub tender: Verdict,
}

/// The image that all others are made from: two segments, one note that is not Solo5's, the two that are, devices
/// `storage` and `service`. What it would run is nothing.
#[must_use]
pub fn good() -> Vec<u8> {
    Parts::default().build()
}

/// The good image and all others.
#[must_use]
pub fn all() -> Vec<Mutated> {
    let mut cases = Cases(Vec::new());
    cases.add("good", None, None, |_| {});
    elf_header(&mut cases);
    segments(&mut cases);
    note_headers(&mut cases);
    abi(&mut cases);
    manifest(&mut cases);
    entries(&mut cases);
    cases.0
}

struct Cases(Vec<Mutated>);

impl Cases {
    fn add(&mut self, name: &str, inspector: Verdict, tender: Verdict, change: impl FnOnce(&mut Vec<u8>)) {
        let mut image = good();
        change(&mut image);
        self.whole(name, inspector, tender, image);
    }

    /// Both refuse it.
    fn both(
        &mut self,
        name: &str,
        inspector: &'static str,
        tender: &'static str,
        change: impl FnOnce(&mut Vec<u8>),
    ) {
        self.add(name, Some(inspector), Some(tender), change);
    }

    /// A field is set to some bytes.
    fn set(
        &mut self,
        name: &str,
        inspector: &'static str,
        tender: &'static str,
        at: usize,
        bytes: impl AsRef<[u8]>,
    ) {
        self.both(name, inspector, tender, |image| put(image, at, bytes.as_ref()));
    }

    fn whole(&mut self, name: &str, inspector: Verdict, tender: Verdict, image: Vec<u8>) {
        self.0.push(Mutated { name: name.to_owned(), image, inspector, tender });
    }
}

fn elf_header(cases: &mut Cases) {
    cases.both("empty", "shorter than an ELF header", "too short for an ELF header", Vec::clear);
    cases.both("header-cut", "shorter than an ELF header", "too short for an ELF header", |image| {
        image.truncate(HEADER - 1);
    });
    for at in 0..4 {
        cases.set(&format!("magic-{at}"), "not an ELF file", "not an ELF file", at, [0]);
    }
    let (format, static_elf) =
        ("not a 64-bit little-endian ELF file", "not a static ELF executable for x86-64");
    cases.set("class-32", format, static_elf, 4, [1]);
    cases.set("data-big-endian", format, static_elf, 5, [2]);
    cases.set("type-relocatable", "not an executable", static_elf, 16, [1, 0]);
    cases.set("type-shared", "not an executable", static_elf, 16, [3, 0]);
    cases.set("machine-arm", "for machine 183", static_elf, 18, [183, 0]);
    cases.set("version-0", format, static_elf, 20, [0]);
    cases.set("version-2", format, static_elf, 20, [2]);
    cases.set("header-size-63", format, static_elf, 52, [63, 0]);
    cases.set("header-size-65", format, static_elf, 52, [65, 0]);
    cases.set("program-header-size-55", format, static_elf, 54, [55, 0]);
    cases.set("program-header-size-32", format, static_elf, 54, [32, 0]);
    cases.set("program-headers-0", "program headers", "program header count is 0", 56, [0, 0]);
    cases.set("program-headers-129", "program headers", "program header count is 129", 56, [129, 0]);
    cases.set("program-headers-65535", "program headers", "program header count", 56, [255, 255]);
    let outside = ("program headers are not wholly in the file", "program headers are not in the file");
    cases.set("table-beyond-the-end", outside.0, outside.1, 32, (1_u64 << 20).to_le_bytes());
    cases.set("table-wraps", outside.0, outside.1, 32, [0xff; 8]);
    cases.set("table-wraps-in-it", outside.0, outside.1, 32, (u64::MAX - 55).to_le_bytes());
    cases.both("table-cut", outside.0, outside.1, |image| image.truncate(HEADER + 5 * PROGRAM_HEADER - 1));
    let outside = "entry point";
    for (name, entry) in [("0", 0), ("low", BASE - 1), ("end", MEMORY), ("high", u64::MAX)] {
        let inspector = (entry < BASE).then_some("entry point");
        cases.add(&format!("entry-{name}"), inspector, Some(outside), |image| {
            put(image, 24, &entry.to_le_bytes());
        });
    }
    // Nobody looks at these.
    for at in (6..16).chain(40..52).chain(58..64) {
        cases.add(&format!("unused-{at}"), None, None, |image| put(image, at, &[0x7f]));
    }
}

fn segments(cases: &mut Cases) {
    let mut set =
        |name: &str, header: usize, field: usize, value: u64, inspector: Verdict, tender: Verdict| {
            let at = HEADER + header * PROGRAM_HEADER + field;
            cases.add(&format!("segment-{name}"), inspector, tender, |image| {
                put(image, at, &value.to_le_bytes());
            });
        };
    let both = |reason| (Some(reason), Some(reason));
    let (file, file_) = both("takes bytes from beyond the end of the file");
    set("offset-beyond-the-end", TEXT, OFFSET, 1 << 20, file, file_);
    set("offset-wraps", TEXT, OFFSET, u64::MAX - 1, file, file_);
    set("file-size-beyond-the-end", DATA, FILE_SIZE, 1 << 20, file, file_);
    set("file-size-wraps", DATA, FILE_SIZE, u64::MAX, file, file_);
    let (sizes, sizes_) = both("more bytes in the file than in memory");
    set("memory-size-less", DATA, MEMORY_SIZE, 15, sizes, sizes_);
    set("memory-size-0", TEXT, MEMORY_SIZE, 0, sizes, sizes_);
    let (align, align_) = both("an alignment that is no power of two");
    set("align-0", TEXT, ALIGN, 0, align, align_);
    set("align-3", TEXT, ALIGN, 3, align, align_);
    set("align-4097", TEXT, ALIGN, 4097, align, align_);
    set("align-max", TEXT, ALIGN, u64::MAX, align, align_);
    let (low, low_) = both("begins below 0x100000");
    set("address-0", TEXT, ADDRESS, 0, low, low_);
    set("address-low", TEXT, ADDRESS, BASE - 4096, low, low_);
    set("address-aligned-low", TEXT, ALIGN, 1 << 21, low, low_);
    set("address-aligned-to-0", TEXT, ALIGN, 1 << 63, low, low_);
    let (overlap, overlap_) = both("overlaps the segment before it or is out of order");
    set("address-the-same", DATA, ADDRESS, BASE, overlap, overlap_);
    set("address-out-of-order", TEXT, ADDRESS, BASE + 0x1_0000, overlap, overlap_);
    set("memory-size-over-the-next", TEXT, MEMORY_SIZE, 4097, overlap, overlap_);
    let high = Some("reaches beyond guest memory");
    set("address-high", DATA, ADDRESS, MEMORY, None, high);
    set("memory-size-high", DATA, MEMORY_SIZE, MEMORY, None, high);
    let (_, wraps) = both("reaches beyond");
    set("address-wraps", DATA, ADDRESS, u64::MAX - 4095, wraps, wraps);
    set("memory-size-wraps", DATA, MEMORY_SIZE, u64::MAX, wraps, wraps);
    let (page, page_) = both("begins or ends within a page");
    set("end-within-a-page", DATA, ALIGN, 1, page, page_);
    set("end-within-a-page-by-16", DATA, ALIGN, 16, page, page_);
    set("align-of-less-than-a-page", TEXT, ALIGN, 1, None, None);
    let at = HEADER + DATA * PROGRAM_HEADER;
    let both_flags = Some("write and execute permission");
    cases.add("segment-write-and-execute", both_flags, both_flags, |image| {
        put(image, at + FLAGS, &7_u32.to_le_bytes());
    });
    // Flags that mean nothing to a loader, a segment of no bytes wherever it is, and kinds that nobody knows.
    cases
        .add("segment-other-flags", None, None, |image| put(image, at + FLAGS, &0xf0_0006_u32.to_le_bytes()));
    cases.add("segment-empty", None, None, |image| {
        put(image, at + FILE_SIZE, &0_u64.to_le_bytes());
        put(image, at + ADDRESS, &0_u64.to_le_bytes());
        put(image, at + ALIGN, &0_u64.to_le_bytes());
    });
    cases.add("segment-of-another-kind", None, None, |image| {
        put(image, at + KIND, &0x6474_e551_u32.to_le_bytes());
        put(image, at + ADDRESS, &0_u64.to_le_bytes());
    });
}

fn note_headers(cases: &mut Cases) {
    let cut = ("it is cut off", "a note ends before its description does");
    let at = |header: usize| HEADER + header * PROGRAM_HEADER;
    for (name, header, missing) in [
        ("abi", ABI, ("no Solo5 ABI note", "no Solo5 ABI note")),
        ("manifest", MANIFEST, ("no Solo5 manifest", "no Solo5 manifest note")),
    ] {
        let note = Parts::default().offset(header);
        let mut set = |what: &str, reasons: (&'static str, &'static str), at: usize, bytes: &[u8]| {
            cases.set(&format!("{name}-{what}"), reasons.0, reasons.1, at, bytes);
        };
        set("segment-of-another-kind", missing, at(header) + KIND, &6_u32.to_le_bytes());
        for size in [0_u64, 1, 11] {
            set(&format!("segment-of-{size}"), cut, at(header) + FILE_SIZE, &size.to_le_bytes());
        }
        for size in [12_u64, 19] {
            set(&format!("segment-of-{size}"), missing, at(header) + FILE_SIZE, &size.to_le_bytes());
        }
        set("segment-of-20", cut, at(header) + FILE_SIZE, &20_u64.to_le_bytes());
        set("segment-offset-wraps", cut, at(header) + OFFSET, &u64::MAX.to_le_bytes());
        set("segment-beyond-the-end", cut, at(header) + OFFSET, &(1_u64 << 20).to_le_bytes());
        for size in [0_u32, 5, 7, u32::MAX] {
            set(&format!("name-size-{size}"), missing, note, &size.to_le_bytes());
        }
        set("description-size-max", cut, note + 4, &u32::MAX.to_le_bytes());
        set("kind-0", missing, note + 8, &0_u32.to_le_bytes());
        for index in 0..6 {
            set(&format!("name-{index}"), missing, note + 12 + index, b"x");
        }
        let mut parts = Parts::default();
        parts.notes.push(parts.notes[header - FOREIGN].clone());
        cases.whole(
            &format!("{name}-twice"),
            Some("it is a second Solo5"),
            Some("a Solo5 note is there twice"),
            parts.build(),
        );
        let mut parts = Parts::default();
        parts.notes[header - FOREIGN].extend([0; 64]);
        cases.whole(&format!("{name}-followed-by-more"), None, None, parts.build());
    }
    cases.add("notes-in-other-order", None, None, |image| {
        let (abi, manifest) = (at(ABI), at(MANIFEST));
        let first: Vec<u8> = image[abi..abi + PROGRAM_HEADER].to_vec();
        image.copy_within(manifest..manifest + PROGRAM_HEADER, abi);
        put(image, manifest, &first);
    });
    cases.add("foreign-note-missing", None, None, |image| {
        put(image, at(FOREIGN) + KIND, &6_u32.to_le_bytes())
    });
    cases.both("foreign-note-too-short", cut.0, cut.1, |image| {
        put(image, at(FOREIGN) + FILE_SIZE, &11_u64.to_le_bytes());
    });
}

fn abi(cases: &mut Cases) {
    let at = Parts::default().offset(ABI);
    for size in [0_u32, 4, 8, 15] {
        let (inspector, tender) = ("of the wrong length", "bytes, not 16");
        cases.set(&format!("abi-description-size-{size}"), inspector, tender, at + 4, size.to_le_bytes());
    }
    cases.set(
        "abi-description-size-17",
        "it is cut off",
        "a note ends before its description does",
        at + 4,
        [17],
    );
    let mut longer = Parts::default();
    longer.notes[1] = note(b"ABI1", &[2_u32, 2, 0, 0, 0].map(u32::to_le_bytes).concat());
    cases.whole("abi-of-20-bytes", Some("of the wrong length"), Some("has 20 bytes, not 16"), longer.build());
    for target in [0_u32, 7, u32::MAX] {
        let (inspector, tender) = ("is unknown", "is for an unknown target");
        cases.set(&format!("abi-target-{target}"), inspector, tender, at + 20, target.to_le_bytes());
    }
    for (target, name) in [(1, "hvt"), (3, "virtio"), (4, "muen"), (5, "genode"), (6, "xen")] {
        cases.add(&format!("abi-target-{name}"), None, Some("not for spt"), |image| {
            put(image, at + 20, &[target])
        });
    }
    for version in [0_u32, 3, u32::MAX] {
        cases.add(&format!("abi-version-{version}"), None, Some("needs spt ABI version"), |image| {
            put(image, at + 24, &version.to_le_bytes());
        });
    }
    cases.add("abi-version-1", None, None, |image| put(image, at + 24, &[1]));
    for byte in 28..36 {
        let (inspector, tender) =
            ("the reserved words are not zero", "a reserved field of the ABI note is not zero");
        cases.set(&format!("abi-reserved-{byte}"), inspector, tender, at + byte, [0x80]);
    }
}

fn manifest(cases: &mut Cases) {
    let at = Parts::default().offset(MANIFEST);
    let (entries, cannot) = ("entries: must be 1 to 64", "cannot have");
    for version in [0_u32, 2, 0x100, u32::MAX] {
        cases.set(
            &format!("manifest-version-{version}"),
            "manifest version",
            "the manifest has version",
            at + 24,
            version.to_le_bytes(),
        );
    }
    for count in [0_u32, 1, 2, 4, 64, 65, u32::MAX] {
        cases.set(&format!("manifest-entries-{count}"), entries, cannot, at + 28, count.to_le_bytes());
    }
    for size in [12_u32, 115, 116, 220, 323] {
        cases.set(&format!("manifest-description-size-{size}"), entries, cannot, at + 4, size.to_le_bytes());
    }
    for size in [0_u32, 3, 4, 11] {
        cases.set(
            &format!("manifest-description-size-{size}"),
            "of the wrong length",
            "a note ends before its description does",
            at + 4,
            size.to_le_bytes(),
        );
    }
    cases.set(
        "manifest-description-size-325",
        "it is cut off",
        "a note ends before its description does",
        at + 4,
        325_u32.to_le_bytes(),
    );
    for byte in 20..24 {
        cases.add(&format!("manifest-padding-{byte}"), None, None, |image| put(image, at + byte, &[0xff]));
    }
    for count in [0, 1, 63] {
        let devices: Vec<(String, u32)> = (0..count).map(|index| (format!("d{index}"), 2)).collect();
        cases.whole(&format!("manifest-of-{count}"), None, None, Parts::with_devices(&devices).build());
    }
    let devices: Vec<(String, u32)> = (0..64).map(|index| (format!("d{index}"), 2)).collect();
    cases.whole("manifest-of-64", Some(entries), Some(cannot), Parts::with_devices(&devices).build());
}

fn entries(cases: &mut Cases) {
    let first = Parts::default().offset(MANIFEST) + 32;
    let device = first + ENTRY;
    let (not_first, reserved) =
        ("the first entry is not the reserved one", "is not the reserved first entry");
    for byte in [0, 1, 67] {
        cases.set(&format!("first-entry-name-{byte}"), not_first, reserved, first + byte, b"x");
    }
    for kind in [0_u32, 1, 2, 0x4000_0001] {
        cases.set(
            &format!("first-entry-kind-{kind:#x}"),
            not_first,
            reserved,
            first + 68,
            kind.to_le_bytes(),
        );
    }
    for byte in 72..97 {
        let blank = "has values in fields that the tender fills in";
        cases.set(&format!("first-entry-field-{byte}"), blank, reserved, first + byte, [1]);
        let fields = "has values in fields that belong to the tender";
        cases.set(&format!("entry-field-{byte}"), blank, fields, device + byte, [1]);
    }
    for byte in 97..ENTRY {
        cases.add(&format!("entry-padding-{byte}"), None, None, |image| put(image, device + byte, &[1]));
    }
    let (no_name, letters) = ("has no name", "has a name that is not 1 to 67 letters and digits");
    for (what, name) in [
        ("empty", &b"\0torage\0"[..]),
        ("space", b"stor ge\0"),
        ("quote", b"stor\"ge\0"),
        ("newline", b"stor\nge\0"),
        ("slash", b"stor/ge\0"),
        ("dot", b"..\0"),
        ("dash", b"stor-ge\0"),
        ("not-ascii", b"stor\xc3\xa9\0"),
        ("unended", &[b'x'; 68]),
        ("last-byte", &{
            let mut name = [0; 68];
            (name[0], name[67]) = (b'x', b'x');
            name
        }),
    ] {
        cases.set(&format!("entry-name-{what}"), no_name, letters, device, name);
    }
    cases.add("entry-name-of-67", None, None, |image| put(image, device, &[b'x'; 67]));
    cases.add("entry-name-followed-by-anything", None, None, |image| put(image, device + 10, &[b'"'; 50]));
    cases.set(
        "entry-name-of-another",
        "two devices have the name",
        "has the name of another device",
        device,
        b"service\0",
    );
    for kind in [0_u32, 3, 0x4000_0000, u32::MAX] {
        let (inspector, tender) = ("is of unknown kind", "is of an unknown type");
        cases.set(&format!("entry-kind-{kind:#x}"), inspector, tender, device + 68, kind.to_le_bytes());
    }
    cases.add("entry-kind-other", None, None, |image| put(image, device + 68, &2_u32.to_le_bytes()));
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// An image taken apart: two segments of a page and of 16 bytes, and the notes, each with a program header of its own.
struct Parts {
    notes: Vec<Vec<u8>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self::with_devices(&[("storage".to_owned(), 1), ("service".to_owned(), 2)])
    }
}

impl Parts {
    fn with_devices(devices: &[(String, u32)]) -> Self {
        let foreign = [&[8, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0][..], b"OpenBSD\0", &[0; 4]].concat();
        let abi = note(b"ABI1", &[2_u32, 2, 0, 0].map(u32::to_le_bytes).concat());
        let count = u32::try_from(devices.len() + 1).unwrap();
        let mut description = [[0; 4], 1_u32.to_le_bytes(), count.to_le_bytes()].concat();
        description.extend(entry("", 0x4000_0000));
        devices.iter().for_each(|(name, kind)| description.extend(entry(name, *kind)));
        Self { notes: vec![foreign, abi, note(b"MFT1", &description)] }
    }

    fn start_of_notes(&self) -> usize {
        HEADER + (2 + self.notes.len()) * PROGRAM_HEADER
    }

    /// Where the note of this program header begins in the file.
    fn offset(&self, header: usize) -> usize {
        self.start_of_notes() + self.notes[..header - FOREIGN].iter().map(Vec::len).sum::<usize>()
    }

    fn build(&self) -> Vec<u8> {
        let wide = |number: usize| u64::try_from(number).unwrap();
        let mut image = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        image.extend([BASE, wide(HEADER), 0].map(u64::to_le_bytes).concat());
        let count = u16::try_from(2 + self.notes.len()).unwrap();
        image
            .extend([[0; 2], [0; 2], [64, 0], [56, 0], count.to_le_bytes(), [0; 2], [0; 2], [0; 2]].concat());
        let end = self.offset(FOREIGN + self.notes.len());
        let (text, data) = (end.next_multiple_of(16), end.next_multiple_of(16) + PAGE);
        let header = |kind, flags, offset, address: u64, size, align: u64| {
            let words = [wide(offset), address, address, wide(size), wide(size), align];
            [[kind, flags].map(u32::to_le_bytes).concat(), words.map(u64::to_le_bytes).concat()].concat()
        };
        image.extend(header(PT_LOAD, 5, text, BASE, PAGE, 4096));
        image.extend(header(PT_LOAD, 6, data, BASE + wide(PAGE), 16, 4096));
        for (index, note) in self.notes.iter().enumerate() {
            image.extend(header(PT_NOTE, 4, self.offset(FOREIGN + index), 0, note.len(), 4));
        }
        self.notes.iter().for_each(|note| image.extend(note));
        image.resize(text, 0);
        // An instruction that faults, over and over: whoever runs it gets no further.
        image.resize(data, 0xf4);
        image.extend(0x0123_4567_89ab_cdef_u128.to_le_bytes());
        image
    }
}

fn note(kind: &[u8; 4], description: &[u8]) -> Vec<u8> {
    let size = u32::try_from(description.len()).unwrap();
    [&6_u32.to_le_bytes()[..], &size.to_le_bytes(), kind, b"Solo5\0\0\0", description].concat()
}

fn entry(name: &str, kind: u32) -> Vec<u8> {
    let mut entry = vec![0; ENTRY];
    entry[..name.len()].copy_from_slice(name.as_bytes());
    entry[68..72].copy_from_slice(&kind.to_le_bytes());
    entry
}
