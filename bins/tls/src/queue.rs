//! What waits to be written: blocks of octets, passed on without copying them together.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

/// Blocks handed to the system in one call.
const BLOCKS_PER_CALL: usize = 64;

/// Octets in the order in which they are to be written.
#[derive(Debug, Default)]
pub struct Queue {
    blocks: VecDeque<Vec<u8>>,
    /// Octets of the first block that are written. Invariant: less than its length.
    written: usize,
    /// Octets that wait. Invariant: the sum of the blocks' lengths less `written`.
    length: usize,
}

impl Queue {
    /// Adds a block at the end.
    pub fn push(&mut self, block: Vec<u8>) {
        if !block.is_empty() {
            self.length += block.len();
            self.blocks.push_back(block);
        }
    }

    /// Octets that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets everything and returns how many octets that was.
    pub fn clear(&mut self) -> usize {
        let length = self.length;
        *self = Self::default();
        length
    }

    /// The octets that come next, as far as they stand in one block; empty where nothing waits.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.blocks.front().and_then(|block| block.get(self.written..)).unwrap_or_default()
    }

    /// The first `count` octets are written.
    pub fn advance(&mut self, count: usize) {
        self.length = self.length.saturating_sub(count);
        self.written += count;
        while let Some(first) = self.blocks.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.blocks.pop_front();
        }
        if self.blocks.is_empty() {
            // Gives the memory of a burst back.
            self.blocks = VecDeque::new();
            self.written = 0;
        }
    }

    /// Writes once, as much as `stream` takes, and returns the number of octets.
    ///
    /// # Errors
    /// Those of the stream, `WouldBlock` included.
    pub fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        let rest = self.blocks.iter().skip(1).map(|block| IoSlice::new(block));
        let first = std::iter::once(IoSlice::new(self.front()));
        let slices: Vec<IoSlice<'_>> = first.chain(rest).take(BLOCKS_PER_CALL).collect();
        let count = stream.write_vectored(&slices)?;
        self.advance(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_leave_in_order_however_many_are_taken() {
        for step in 1..12 {
            let mut queue = Queue::default();
            for block in [&b"one"[..], b"", b"two", b"three"] {
                queue.push(block.to_vec());
            }
            assert_eq!(queue.len(), 11);
            let mut seen = Vec::new();
            while !queue.is_empty() {
                let front = queue.front();
                let count = front.len().min(step);
                seen.extend_from_slice(&front[..count]);
                queue.advance(count);
            }
            assert_eq!(seen, b"onetwothree");
            assert!(queue.front().is_empty());
        }
        let mut queue = Queue::default();
        queue.push(b"one".to_vec());
        queue.push(b"two".to_vec());
        queue.advance(1);
        let mut seen = Vec::new();
        assert_eq!(queue.write_to(&mut seen).unwrap(), 5);
        assert_eq!(seen, b"netwo");
        queue.push(b"x".to_vec());
        assert_eq!(queue.clear(), 1);
    }
}
