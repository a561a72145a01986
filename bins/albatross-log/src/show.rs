//! What is in files of the log, and whether it is all and unchanged: without a daemon, and without changing anything.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use albatross_core::eventlog::{End, LINK, Reader};
use albatross_core::log::Hex;
use albatross_driver::words::Words;

use crate::files::{named, read_on};

/// How often, and how far apart, the end of a file is looked at again that is not whole: the daemon may be writing.
const LOOKS: usize = 20;
const INTERVAL: Duration = Duration::from_millis(50);

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// The events.
    Events,
    /// Whether the chain holds, and has this link somewhere.
    Check(Option<[u8; LINK]>),
}

/// A link as it is printed.
pub(crate) fn link(text: &str) -> Result<[u8; LINK], &'static str> {
    const MISTAKE: &str = "the link of '--link' is not one of 64 hexadecimal digits";
    let mut link = [0; LINK];
    if text.len() != 2 * LINK || !text.is_ascii() {
        return Err(MISTAKE);
    }
    for (octet, digits) in link.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| MISTAKE)?;
        *octet = u8::from_str_radix(digits, 16).map_err(|_| MISTAKE)?;
    }
    Ok(link)
}

/// Shows the files, the oldest first, and says whether all is well with them.
///
/// # Errors
/// Where one cannot be read; of what can be read, everything is shown.
pub(crate) fn show(wanted: &Wanted, files: &[PathBuf]) -> io::Result<bool> {
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = match wanted {
        Wanted::Events => files.iter().try_for_each(|path| events(path, &mut out)).map(|()| true),
        Wanted::Check(link) => check(files, *link, &mut out),
    };
    match out.flush().and(shown) {
        // Who closes the output has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        other => other,
    }
}

fn events(path: &Path, out: &mut impl Write) -> io::Result<()> {
    let file = File::open(path).map_err(|error| named(path, &error))?;
    let (mut reader, mut written) = (Reader::new(), Ok(()));
    let read = read_on(&file, &mut reader, |(record, _)| {
        if written.is_ok() {
            let event = Words(&record.entry.event);
            written = writeln!(out, "log {} {}: {event}", record.entry.timestamp, record.name);
        }
    });
    written?;
    let end = read.and_then(|()| reader.finish().map_err(io::Error::other));
    let end = end.map_err(|error| named(path, &error))?;
    if end.torn > 0 {
        return Err(named(path, &io::Error::other(torn(&end))));
    }
    Ok(())
}

/// Checks each file, and that they go on from each other.
fn check(files: &[PathBuf], wanted: Option<[u8; LINK]>, out: &mut impl Write) -> io::Result<bool> {
    let (mut holds, mut found) = (true, false);
    let mut before: Option<(&PathBuf, [u8; LINK])> = None;
    for path in files {
        let text = match check_file(path, wanted, &mut found) {
            Ok(end) => {
                let gap = before.filter(|(_, link)| *link != end.previous);
                before = Some((path, end.mark.link));
                let shown = format!("{} records, last link {}", end.records, Hex(&end.mark.link));
                match gap {
                    _ if end.torn > 0 => Err(torn(&end)),
                    Some((other, _)) => Err(format!(
                        "it does not go on from {}: the end of that is missing, or a file between them",
                        other.display()
                    )),
                    None => Ok(shown),
                }
            }
            Err(error) => {
                before = None;
                Err(error.to_string())
            }
        };
        holds &= text.is_ok();
        match text {
            Ok(text) => writeln!(out, "{}: {text}", path.display())?,
            Err(text) => writeln!(out, "{}: DOES NOT HOLD: {text}", path.display())?,
        }
    }
    if let Some(wanted) = wanted.filter(|_| !found) {
        holds = false;
        writeln!(
            out,
            "DOES NOT HOLD: no record has the link {}: the end of the log is missing",
            Hex(&wanted)
        )?;
    }
    Ok(holds)
}

fn check_file(path: &Path, wanted: Option<[u8; LINK]>, found: &mut bool) -> io::Result<End> {
    let file = File::open(path)?;
    let mut reader = Reader::new();
    for look in 0..LOOKS {
        if look > 0 {
            thread::sleep(INTERVAL);
        }
        read_on(&file, &mut reader, |(_, mark)| *found |= Some(mark.link) == wanted)?;
        match reader.finish() {
            Ok(end) if end.torn > 0 && look + 1 < LOOKS => {}
            result => {
                let end = result.map_err(io::Error::other)?;
                *found |= Some(end.mark.link) == wanted;
                return Ok(end);
            }
        }
    }
    reader.finish().map_err(io::Error::other)
}

fn torn(end: &End) -> String {
    format!(
        "the last {} octets are of a record that is not whole: it was cut off, or not written when the power or the \
         daemon failed, which the daemon repairs at its start",
        end.torn
    )
}
