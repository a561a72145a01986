//! Cuts what a guest writes into lines, the same way however it is written.

/// Octets kept of a line. What follows is dropped, and [`TRUNCATED`] stands in its place.
pub const LINE_LENGTH: usize = 512;

/// What stands at the end of a line that was longer than [`LINE_LENGTH`].
pub const TRUNCATED: &[u8] = b" [truncated]";

/// The end of a line. CR is a part of it like any other octet.
const LF: u8 = b'\n';

/// The line that has begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Invariant: at most [`LINE_LENGTH`] octets, no LF.
    begun: Vec<u8>,
    /// Whether the line had more octets than are in `begun`.
    longer: bool,
}

impl Lines {
    /// Takes in what was read, and hands each line that ends in it to `line`, without its LF. Empty lines
    /// are left out.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|octet| *octet == LF) {
            let (now, later) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            bytes = later.get(1..).unwrap_or_default();
            if self.begun.is_empty() && now.len() <= LINE_LENGTH {
                if !now.is_empty() {
                    line(now);
                }
            } else {
                self.append(now);
                self.finish(&mut line);
            }
        }
        self.append(bytes);
    }

    /// Hands out the line that has begun, as its end will not come, and begins anew.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if self.longer {
            self.begun.extend_from_slice(TRUNCATED);
        }
        if !self.begun.is_empty() {
            line(&self.begun);
        }
        self.begun.clear();
        self.longer = false;
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE_LENGTH.saturating_sub(self.begun.len());
        self.begun.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.longer |= bytes.len() > room;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| seen.push(line.to_vec()));
        }
        lines.finish(|line| seen.push(line.to_vec()));
        seen
    }

    #[test]
    fn lines_are_the_same_however_they_are_written() {
        let long = [b'x'; 600];
        let text =
            [&b"one\n\n\ntwo\r\n\xff\x00\n"[..], &long, b"\n", &long[..512], b"\n", &long[..513], b"\nend"];
        let text = text.concat();
        let marked = [&long[..512], b" [truncated]"].concat();
        let wanted: [&[u8]; 7] = [b"one", b"two\r", b"\xff\x00", &marked, &long[..512], &marked, b"end"];
        for piece in [1, 2, 3, 7, 100, 511, 512, 513, 514, 10_000] {
            assert_eq!(cut(&text.chunks(piece).collect::<Vec<_>>()), wanted, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_limit() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.push(&[b'x'; 4096], |_| panic!("no line has ended"));
            assert!(lines.begun.len() <= LINE_LENGTH);
        }
        let mut seen = Vec::new();
        lines.push(b"y\nz\n", |line| seen.push(line.len()));
        assert_eq!(seen, [524, 1]);
    }
}
