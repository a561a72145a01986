//! Memory of the start, which is not needed any more.

#![allow(unsafe_code, reason = "the system call takes an address")]

use std::fs;
use std::ops::Range;

use crate::sys::give_memory_back;

/// Gives the pages of code back that were run so far: command lines, files and keys are read once. What is run
/// again comes back from where it was read, page by page. Where it cannot be done nothing is lost but memory.
pub fn forget_the_start() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for code in maps.lines().filter_map(code_of_file) {
        // SAFETY: a mapping of this process that is of a file, read and executed, and never written: nothing is in
        // it that is not in the file, from which it is read again when it is touched.
        unsafe { give_back(code) };
    }
    // Constants.
    for constants in unchanged_constants(&fs::read_to_string("/proc/self/smaps").unwrap_or_default()) {
        // SAFETY: as above: a mapping of a file that cannot be written and of which no page differs from the file.
        unsafe { give_back(constants) };
    }
    give_memory_back();
}

/// The kernel forgets these pages.
///
/// # Safety
/// They are of a file, and nothing is in them that is not in the file.
unsafe fn give_back(pages: Range<usize>) {
    let start = std::ptr::with_exposed_provenance_mut(pages.start);
    // SAFETY: by the caller's promise each page is read again when it is touched. Where it fails nothing is lost.
    unsafe { libc::madvise(start, pages.len(), libc::MADV_DONTNEED) };
}

/// The addresses of what is mapped from files to be read only, and has no page of its own (`Anonymous:`), as those have
/// that were written while the program was linked.
fn unchanged_constants(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        match line.split_once(char::is_whitespace) {
            Some(("Anonymous:", kib)) if kib.trim() == "0 kB" => found.extend(current.take()),
            Some((name, _)) if name.ends_with(':') => {}
            _ => current = mapping_of_file(line, "r--p"),
        }
    }
    found
}

fn code_of_file(line: &str) -> Option<Range<usize>> {
    mapping_of_file(line, "r-xp")
}

/// The addresses, where this line is about a file that is mapped so: `START-END r-xp OFFSET DEVICE INODE PATH`.
fn mapping_of_file(line: &str, how: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_so = fields.next()? == how;
    let is_file = fields.nth(3)?.starts_with('/');
    let address = |text| usize::from_str_radix(text, 16).ok();
    (is_so && is_file).then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_given_back() {
        let line = "55d0c8a00000-55d0c8c00000 r-xp 00092000 fe:00 1311 /usr/libexec/albatross/albatross-tls-endpoint";
        assert_eq!(code_of_file(line), Some(0x55d0_c8a0_0000..0x55d0_c8c0_0000));
        for other in [
            "",
            "7f0000000000-7f0000001000 r--p 00000000 fe:00 1311 /usr/lib/libc.so.6",
            "7f0000000000-7f0000001000 rw-p 00000000 fe:00 1311 /usr/lib/libc.so.6",
            "7f0000000000-7f0000001000 rwxp 00000000 fe:00 1311 /usr/lib/libc.so.6",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0 [vdso]",
            "7f0000000000-7f0000001000 r-xp 00000000 00:00 0",
            "what-ever r-xp 0 0 0 /usr/lib/libc.so.6",
        ] {
            assert_eq!(code_of_file(other), None, "{other}");
        }
    }

    #[test]
    fn only_constants_without_a_change_are_given_back() {
        let smaps = "1000-2000 r--p 00000000 fe:00 1311 /usr/lib/libcrypto.so.3\nSize: 4 kB\nAnonymous:      0 kB\n\
                     2000-3000 r--p 00000000 fe:00 1311 /usr/lib/libcrypto.so.3\nAnonymous:      4 kB\nLocked: 0 kB\n\
                     3000-4000 rw-p 00000000 fe:00 1311 /usr/lib/libcrypto.so.3\nAnonymous:      0 kB\n\
                     4000-5000 r--p 00000000 00:00 0\nAnonymous:      0 kB\n\
                     5000-6000 r--p 00000000 fe:00 1311 /usr/lib/libssl.so.3\nAnonymous: 0 kB\nVmFlags: rd mr mw me\n";
        assert_eq!(unchanged_constants(smaps), [0x1000..0x2000, 0x5000..0x6000]);
    }

    /// It runs on.
    #[test]
    fn what_was_given_back_comes_back() {
        forget_the_start();
        assert!(!fs::read_to_string("/proc/self/maps").unwrap().is_empty());
    }
}
