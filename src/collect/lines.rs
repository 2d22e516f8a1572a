//! Bytes cut into lines, in one buffer that never grows.
//!
//! What comes in: a reader that gives any number of bytes at a time. What goes out: the place of each line in the
//! buffer, without its line break. However the reader cuts the bytes, the lines are the same. What never happens here:
//! an allocation per line.

use std::io::{self, Read};
use std::ops::Range;

/// Longer lines are cut to this, at Loki's own default `max_line_size`.
pub(super) const MAX_LINE: usize = 256 * 1024;

/// Room for a longest line and a read behind it; also the most that [`Lines::head`] shows.
const BUFFER: usize = 1024 * 1024;

/// Bytes asked of the reader at once: enough to make calls rare, little enough to stay in the processor's cache.
const READ: usize = 128 * 1024;

/// A reader cut into lines.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    ended: bool,
    failed: Option<io::Error>,
    /// In the middle of a line that was cut: the rest up to its line break is dropped.
    skipping: bool,
    /// Lines that were cut.
    pub(super) cut: u64,
}

/// Where a line lies in the buffer until the next one is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) range: Range<usize>,
    pub(super) cut: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { reader, buffer, start: 0, end: 0, ended: false, failed: None, skipping: false, cut: 0 }
    }

    /// The first lines, at most `count`, without taking them; fewer when the buffer or the input ends before. A last
    /// line that is not whole is shown when nothing else is.
    pub(super) fn head(&mut self, count: usize) -> &[u8] {
        loop {
            let seen = self.bytes(self.start..self.end);
            let last = memchr::memchr_iter(b'\n', seen).nth(count.saturating_sub(1));
            if let Some(last) = last {
                return self.bytes(self.start..self.start + last + 1);
            }
            if self.ended || self.end == self.buffer.len() {
                return self.bytes(self.start..self.end);
            }
            self.fill();
        }
    }

    /// Drops `count` bytes that [`Self::head`] has shown.
    pub(super) fn skip(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// The next line; `None` at the end. A reader's failure is returned after all lines before it.
    #[inline]
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let rest = self.bytes(self.start..self.end);
            if let Some(length) = memchr::memchr(b'\n', rest) {
                let start = self.start;
                self.start += length + 1;
                if self.skipping {
                    self.skipping = false;
                    continue;
                }
                return Ok(Some(self.line(start, length)));
            }
            if let Some(line) = self.unbroken() {
                return Ok(Some(line));
            }
            if self.ended && self.start == self.end {
                return self.failed.take().map_or(Ok(None), Err);
            }
            self.fill();
        }
    }

    /// Puts a failure back, to be told at the next call.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failed = Some(error);
    }

    /// The bytes of a line that [`Self::next`] has given last.
    #[inline]
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or(&[])
    }

    /// A line without a line break in sight: too long, or the last.
    fn unbroken(&mut self) -> Option<Line> {
        let (start, length) = (self.start, self.end - self.start);
        if self.skipping {
            self.start = self.end;
            return None;
        }
        if length > MAX_LINE {
            self.skipping = !self.ended;
        } else if !self.ended || length == 0 {
            return None;
        }
        self.start = self.end;
        Some(self.line(start, length))
    }

    #[inline]
    fn line(&mut self, start: usize, length: usize) -> Line {
        if length > MAX_LINE {
            self.cut += 1;
            return Line { range: start..start + MAX_LINE, cut: true };
        }
        let carriage = length > 0 && self.buffer.get(start + length - 1) == Some(&b'\r');
        Line { range: start..start + length - usize::from(carriage), cut: false }
    }

    /// Reads once more behind the bytes that are not used up. A failure ends the input; it is told when all is used up.
    fn fill(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let room = self.buffer.len().min(self.end + READ);
        let room = self.buffer.get_mut(self.end..room).unwrap_or(&mut []);
        match self.reader.read(room) {
            Ok(0) => self.ended = true,
            Ok(count) => self.end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => (self.ended, self.failed) = (true, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives the bytes in pieces of these sizes, again and again.
    struct Pieces<'a>(&'a [u8], Vec<usize>, usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let size = self.1[self.2 % self.1.len()].min(room.len());
            self.2 += 1;
            if size == 0 && !self.0.is_empty() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.0.read(&mut room[..size])
        }
    }

    fn lines(bytes: &[u8], pieces: Vec<usize>) -> (Vec<Vec<u8>>, u64) {
        let mut lines = Lines::new(Pieces(bytes, pieces, 0));
        lines.head(3);
        let mut out = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            out.push(lines.bytes(line.range).to_vec());
        }
        (out, lines.cut)
    }

    #[test]
    fn lines_end_with_either_break_or_the_end() {
        for (text, expected) in [
            ("", vec![]),
            ("\n", vec![""]),
            ("a", vec!["a"]),
            ("a\nb\r\n\nc", vec!["a", "b", "", "c"]),
            ("a\r\nb\n", vec!["a", "b"]),
        ] {
            let found = lines(text.as_bytes(), vec![1]).0;
            assert_eq!(found, expected.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>(), "{text:?}");
        }
    }

    #[test]
    fn long_lines_are_cut_and_the_rest_dropped() {
        for length in [MAX_LINE, MAX_LINE + 1, 2 * BUFFER, 10 * BUFFER] {
            let mut text = b"before\n".to_vec();
            text.extend(vec![b'x'; length]);
            let last = lines(&text, vec![READ]);
            text.extend(b"\nafter\n");
            let (found, cut) = lines(&text, vec![READ]);
            let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
            assert_eq!((lengths, cut), (vec![6, MAX_LINE, 5], u64::from(length > MAX_LINE)), "{length}");
            assert_eq!((last.0.len(), last.1), (2, cut), "{length}");
        }
    }

    proptest! {
        #[test]
        fn however_the_reader_cuts_the_lines_are_the_same(
            text in "([a-z]{0,5}(\r?\n)?){0,30}",
            pieces in proptest::collection::vec(0usize..7, 1..10),
        ) {
            prop_assume!(pieces.iter().any(|size| *size > 0));
            prop_assert_eq!(lines(text.as_bytes(), pieces), lines(text.as_bytes(), vec![READ]));
        }

        #[test]
        fn however_the_reader_cuts_long_lines_are_the_same(
            lengths in proptest::collection::vec(prop_oneof![0usize..3, MAX_LINE - 2..MAX_LINE + 3, BUFFER..BUFFER + 2], 1..4),
            piece in 30_000usize..200_000,
        ) {
            let text = lengths.iter().map(|length| "y".repeat(*length)).collect::<Vec<_>>().join("\n");
            prop_assert!(lines(text.as_bytes(), vec![piece]) == lines(text.as_bytes(), vec![READ]));
        }
    }
}
