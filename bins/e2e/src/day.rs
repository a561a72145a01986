//! A day of a console daemon at speed: as many lines as guests write in one, with subscribers that come, follow, ask for
//! what was, do not read, and go; and with guests that end and begin again. What it holds must not grow.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::frames::Frames;
use crate::guest::{Guest, subscribe};
use crate::{Failure, Host, processes};

/// What happens in it.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// Guests that write.
    pub guests: usize,
    /// Lines of each of them in an hour: more than are kept, so that rings are full after the first.
    pub lines: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Lived {
    /// Lines that were written.
    pub lines: usize,
    /// Lines that reached subscribers.
    pub followed: usize,
    /// Subscribers that came.
    pub subscribers: usize,
    /// How long it took.
    pub took: Duration,
    /// KiB that the daemon held at the end of each hour, with nobody subscribed.
    pub resident: Vec<u64>,
    /// KiB that it held at most.
    pub peak: u64,
}

/// Hours of a day.
pub const HOURS: usize = 24;

/// Octets of lines, without their numbers: some short, one longer than is kept of a line.
const LENGTHS: [usize; 8] = [8, 20, 60, 60, 60, 90, 200, 700];

/// Lines of one write.
const BATCH: usize = 40;

/// The guests before this one end and begin again each hour.
const RESTARTED: usize = 2;

/// Lines that may be written and not have reached a follower: they are fewer octets than the daemon lets wait, so that
/// whoever is not scheduled for a while is not taken for one that does not read.
const AHEAD: usize = 2000;

/// Subscribers in each hour that never read.
pub const SLEEPERS: usize = 3;

/// Subscribers in each hour that ask for all that is kept, and go without having read it.
const IMPATIENT: usize = 20;

impl Day {
    /// Lives through it with the console daemon of `host`.
    ///
    /// # Errors
    /// Where a subscriber misses a line, or the daemon does not answer as it has to.
    pub fn live(&self, host: &mut Host) -> Result<Lived, Failure> {
        let socket = host.socket("console");
        let pid = host.console().map_or(0, |daemon| daemon.pid());
        let mut guests = Vec::new();
        for number in 0..self.guests {
            guests.push(Guest::begin(host, &format!("foo:u{number}"))?);
        }
        let (start, mut lived) = (Instant::now(), Lived::default());
        for hour in 0..HOURS {
            let restarted = guests.iter_mut().take(RESTARTED).try_for_each(Guest::restart);
            let lived_hour = restarted.and_then(|()| self.hour(&socket, &guests, hour, &mut lived));
            lived_hour.map_err(|error| Failure::io("live through an hour at", &socket, error))?;
            lived.resident.push(processes::status(pid, "VmRSS").unwrap_or(0));
        }
        lived.took = start.elapsed();
        lived.peak = processes::status(pid, "VmHWM").unwrap_or(0);
        Ok(lived)
    }

    /// Lines of a guest in an hour, as they are written.
    const fn whole(&self) -> usize {
        self.lines / BATCH * BATCH
    }

    fn hour(&self, socket: &Path, guests: &[Guest], hour: usize, lived: &mut Lived) -> io::Result<()> {
        let (Some(first), Some(last)) = (guests.first(), guests.last()) else { return Ok(()) };
        let sleepers = (0..SLEEPERS).map(|_| first.subscribe(1024)).collect::<io::Result<Vec<_>>>()?;
        // Of one that was restarted, and of one that was not.
        let followed = [first, last];
        let readers = followed.iter().map(|guest| guest.subscribe(0)).collect::<io::Result<Vec<_>>>()?;
        let waiting = subscribe(socket, &format!("foo:later{hour}"), 1)?;
        let progress = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let seen = thread::scope(|scope| {
            let begin = |(reader, seen)| scope.spawn(move || self.follow(reader, seen, hour));
            let threads: Vec<_> = readers.into_iter().zip(&progress).map(begin).collect();
            let visitors = scope.spawn(|| visit(guests));
            self.write(guests, &progress, hour)?;
            let joined = threads.into_iter().map(|thread| thread.join());
            let ended = || io::Error::other("a reader ended");
            let seen = joined.map(|seen| seen.unwrap_or_else(|_| Err(ended()))).sum::<io::Result<usize>>()?;
            visitors.join().unwrap_or_else(|_| Err(ended())).map(|()| seen)
        })?;
        lived.followed += seen;
        lived.lines += self.whole() * guests.len();
        lived.subscribers += SLEEPERS + followed.len() + 1 + IMPATIENT;
        drop((sleepers, waiting));
        // All is read, and who went is forgotten.
        guests.iter().try_for_each(|guest| guest.wait_for_last(&end(hour)))
    }

    /// All guests write in turns; the last line of each is known.
    fn write(&self, guests: &[Guest], progress: &[AtomicUsize], hour: usize) -> io::Result<()> {
        for batch in 0..self.whole() / BATCH {
            let is_ahead =
                |seen: &AtomicUsize| batch * BATCH > seen.load(Ordering::Relaxed).saturating_add(AHEAD);
            while progress.iter().any(is_ahead) {
                thread::yield_now();
            }
            let lines: Vec<u8> = (0..BATCH)
                .flat_map(|line| {
                    let number = batch * BATCH + line;
                    if number + 1 == self.whole() {
                        [&end(hour)[..], b"\n"].concat()
                    } else {
                        let length = LENGTHS.get((number * 31 + hour) % LENGTHS.len()).copied().unwrap_or(1);
                        format!("{number:08} {:.<length$}\n", hour).into_bytes()
                    }
                })
                .collect();
            guests.iter().try_for_each(|guest| guest.write(&lines))?;
        }
        Ok(())
    }

    /// Reads an hour of a guest to its end, and checks that no line is missing; how many there were.
    fn follow(&self, mut reader: Frames, progress: &AtomicUsize, hour: usize) -> io::Result<usize> {
        let mut seen = 0;
        let lines = self.whole();
        let result = loop {
            let wanted = if seen + 1 == lines { end(hour) } else { format!("{seen:08} ").into_bytes() };
            match reader.read() {
                Ok(frame) if frame.windows(wanted.len()).any(|part| part == wanted) => {}
                Ok(_) => break Err(io::Error::other(format!("line {seen} of hour {hour} is missing"))),
                Err(error) => break Err(error),
            }
            seen += 1;
            if seen == lines {
                break Ok(seen);
            }
            progress.store(seen, Ordering::Relaxed);
        };
        // Nobody waits for it any more.
        progress.store(usize::MAX, Ordering::Relaxed);
        result
    }
}

/// Subscribers that ask for what was, of one guest after the other, and go.
fn visit(guests: &[Guest]) -> io::Result<()> {
    guests.iter().cycle().take(IMPATIENT).try_for_each(|guest| guest.subscribe(1024).map(drop))
}

/// The last line of an hour.
fn end(hour: usize) -> Vec<u8> {
    format!("the end of hour {hour}").into_bytes()
}
