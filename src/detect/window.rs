//! Windows: lines of a group, measured.
//!
//! What comes in: entries in the order (time, stream, arrival). What goes out: closed [`Window`]s. What never happens
//! here: judging; or giving away a line that was not masked. Memory is bounded: at most [`MAX_UNIQUE`] hashes and a few
//! samples a window, whatever is fed.

use std::collections::VecDeque;
use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::held::{list, map};
use super::mask::{sample, searched};
use super::{Features, Level, Sample, Window};
use crate::collect::{Coverage, Entry, Known};
use crate::time::{Nanos, SECOND, TimeRange};

/// Distinct messages of a window are counted up to here.
pub const MAX_UNIQUE: usize = 10_000;
/// Samples of a closed window.
pub const MAX_SAMPLES: usize = 5;
/// Samples kept for the windows of lines that are open.
const MAX_OPEN_SAMPLES: usize = 16;
/// Hashes, and bytes of text, that a window leaves room for in the next: text of five ordinary lines, so that it need not grow anew.
const MAX_KEPT: usize = 1024;
const MAX_TEXT: usize = 4096;
/// A window of lines takes at least this long in its rate, so that equal stamps do not make it infinite.
const MIN_SPAN: Nanos = 1_000_000;

/// One open window of time of one group.
#[derive(Clone, Debug, Default)]
pub struct OpenWindow {
    sums: Sums,
    unique: FxHashSet<u64>,
    kept: Kept,
}

/// The lines that would be a window's samples, as they came: most windows are ordinary and nobody asks for theirs. Not
/// to be shown, stored or printed but through [`Kept::samples`].
#[derive(Clone, Default)]
pub struct Kept {
    text: String,
    /// With where the line ends and begins in the text, the worst first, then the earliest.
    lines: Vec<(Nanos, Level, Range<usize>)>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.samples()).finish()
    }
}

impl Kept {
    fn add(&mut self, entry: &Entry<'_>, level: Level) {
        let weakest = self.lines.last().map(|line| line.1);
        if self.lines.len() < MAX_SAMPLES || weakest.is_some_and(|weakest| level > weakest) {
            let at = self.lines.partition_point(|line| line.1 >= level);
            let start = self.text.len();
            self.text.push_str(searched(entry.line));
            self.lines.insert(at, (entry.ts, level, start..self.text.len()));
            self.lines.truncate(MAX_SAMPLES);
        }
    }

    /// The lines, masked.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let one = |(ts, level, range): &(Nanos, Level, Range<usize>)| {
            sample(*ts, *level, self.text.get(range.clone()).unwrap_or_default())
        };
        self.lines.iter().map(one).collect()
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.text.clear();
        self.text.shrink_to(MAX_TEXT);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    lines: u64,
    bytes: u64,
    errors: u64,
    warns: u64,
}

impl Sums {
    fn add(&mut self, len: u64, level: Level) {
        self.lines += 1;
        self.bytes += len;
        self.errors += u64::from(level >= Level::Error);
        self.warns += u64::from(level == Level::Warn);
    }

    fn remove(&mut self, len: u64, level: Level) {
        self.lines -= 1;
        self.bytes -= len;
        self.errors -= u64::from(level >= Level::Error);
        self.warns -= u64::from(level == Level::Warn);
    }

    fn features(&self, unique: usize, span: Nanos) -> Features {
        let length = if self.lines == 0 { None } else { Some(self.bytes as f64 / self.lines as f64) };
        let rate = self.lines as f64 / (span.max(MIN_SPAN) as f64 / SECOND as f64);
        Features([length, Some(self.errors as f64), Some(self.warns as f64), Some(unique as f64), Some(rate)])
    }
}

impl OpenWindow {
    /// A window without lines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts an entry: its level, and the number of its message, its template.
    pub fn add(&mut self, entry: &Entry<'_>, level: Level, message: u64) {
        self.sums.add(entry.line.len() as u64, level);
        if self.unique.len() < MAX_UNIQUE {
            self.unique.insert(message);
        }
        self.kept.add(entry, level);
    }

    /// Entries so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.sums.lines
    }

    /// The measured window, without samples; also for one without lines.
    #[must_use]
    pub fn close(&self, range: TimeRange, coverage: Coverage, late: bool) -> Window {
        let features = self.sums.features(self.unique.len(), range.len());
        Window { range, lines: self.sums.lines, features, coverage, late, samples: Vec::new() }
    }

    /// The lines that tell best what is in it.
    #[must_use]
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Begins anew, without giving back the memory that the next window will need.
    pub fn clear(&mut self) {
        self.sums = Sums::default();
        self.unique.clear();
        self.unique.shrink_to(MAX_KEPT);
        self.kept.clear();
    }
}

/// The open windows of lines of one group: the last `size` lines, and how far it is to the next window. Survives a
/// restart through serde; holds no unmasked text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct LineWindows {
    size: u32,
    step: u32,
    /// Lines seen, ever.
    seen: u64,
    items: VecDeque<Item>,
    /// With the number of the line, in its order.
    samples: VecDeque<(u64, Sample)>,
    sums: Sums,
    counts: FxHashMap<u64, u32>,
}

/// Time, length, level, message hash and coverage of one line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Item(Nanos, u32, Level, u64, Known);

#[derive(Serialize, Deserialize)]
struct Stored {
    size: u32,
    step: u32,
    seen: u64,
    items: VecDeque<Item>,
    samples: VecDeque<(u64, Sample)>,
}

impl From<LineWindows> for Stored {
    fn from(open: LineWindows) -> Self {
        Self { size: open.size, step: open.step, seen: open.seen, items: open.items, samples: open.samples }
    }
}

impl From<Stored> for LineWindows {
    fn from(stored: Stored) -> Self {
        let mut open = Self::new(stored.size, stored.step);
        open.seen = stored.seen;
        open.samples = stored.samples;
        for item in stored.items {
            open.push(item);
        }
        open
    }
}

impl LineWindows {
    /// Windows of `size` lines, a new one every `step` lines.
    #[must_use]
    pub fn new(size: u32, step: u32) -> Self {
        let size = size.clamp(1, 10_000);
        Self {
            size,
            step: step.clamp(1, size),
            seen: 0,
            items: VecDeque::new(),
            samples: VecDeque::new(),
            sums: Sums::default(),
            counts: FxHashMap::default(),
        }
    }

    /// Counts an entry; gives the window that it fills. A window never reopens.
    pub fn add(&mut self, entry: &Entry<'_>, level: Level, message: u64, known: Known) -> Option<Window> {
        let length = u32::try_from(entry.line.len()).unwrap_or(u32::MAX);
        if self.items.len() >= self.size as usize {
            self.pop();
        }
        self.keep_sample(entry, level);
        self.push(Item(entry.ts, length, level, message, known));
        self.seen += 1;
        let size = u64::from(self.size);
        let due = self.seen >= size && (self.seen - size).is_multiple_of(u64::from(self.step));
        if due { self.window() } else { None }
    }

    fn push(&mut self, item: Item) {
        self.sums.add(u64::from(item.1), item.2);
        *self.counts.entry(item.3).or_insert(0) += 1;
        self.items.push_back(item);
    }

    fn pop(&mut self) {
        let Some(item) = self.items.pop_front() else { return };
        self.sums.remove(u64::from(item.1), item.2);
        if let Some(count) = self.counts.get_mut(&item.3) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&item.3);
            }
        }
    }

    /// Keeps one line of each fifth of a window, and those that are worse than the ones before them in their fifth:
    /// enough for every window that the line may be in, and masking costs little.
    fn keep_sample(&mut self, entry: &Entry<'_>, level: Level) {
        let oldest = self.seen.saturating_sub(self.items.len() as u64);
        while self.samples.front().is_some_and(|(number, _)| *number < oldest) {
            self.samples.pop_front();
        }
        let fifth = u64::from(self.size).div_ceil(MAX_SAMPLES as u64);
        let place = self.seen / fifth;
        let known = self.samples.iter().rev().take_while(|(number, _)| number / fifth == place);
        if known.map(|(_, kept)| kept.level).max() >= Some(level) {
            return;
        }
        self.samples.push_back((self.seen, sample(entry.ts, level, entry.line)));
        if self.samples.len() > MAX_OPEN_SAMPLES {
            let weakest = self.samples.iter().enumerate().min_by_key(|(_, (_, kept))| kept.level).map(|(at, _)| at);
            weakest.map(|at| self.samples.remove(at));
        }
    }

    /// Bytes that they hold when they are full.
    #[must_use]
    pub fn held(&self) -> usize {
        let size = self.size as usize;
        list::<Item>(size) + map::<u64, u32>(size) + MAX_OPEN_SAMPLES * (size_of::<(u64, Sample)>() + 256)
    }

    /// The messages of the last `size` lines with their levels, each line.
    #[must_use]
    pub fn messages(&self) -> Vec<(u64, Level)> {
        self.items.iter().map(|item| (item.3, item.2)).collect()
    }

    fn window(&self) -> Option<Window> {
        let (first, last) = (self.items.front()?, self.items.back()?);
        let range = TimeRange::new(first.0, last.0.saturating_add(1));
        let known = self.items.iter().map(|item| item.4).min().unwrap_or_default();
        let mut samples: Vec<Sample> = self.samples.iter().map(|(_, sample)| sample.clone()).collect();
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.level));
        samples.truncate(MAX_SAMPLES);
        Some(Window {
            range,
            lines: self.sums.lines,
            features: self.sums.features(self.counts.len(), last.0 - first.0),
            coverage: Coverage { known, seen: self.sums.lines, missing: 0 },
            late: false,
            samples,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Feature;
    use crate::detect::level::level_of;
    use crate::detect::mask::message_hash;

    fn entry(ts: Nanos, line: &str) -> Entry<'_> {
        Entry { ts, stream: 0, detected_level: None, line }
    }

    fn put(open: &mut OpenWindow, ts: Nanos, line: &str) {
        open.add(&entry(ts, line), level_of(line, None), message_hash(line));
    }

    fn line_of(open: &mut LineWindows, entry: &Entry<'_>) -> Option<Window> {
        open.add(entry, level_of(entry.line, entry.detected_level), message_hash(entry.line), Known::Paged)
    }

    #[test]
    fn a_window_of_time_is_measured() {
        let mut open = OpenWindow::new();
        for (ts, line) in ["INFO a 1", "INFO a 22", "ERROR b", "WARN c", "FATAL d"].into_iter().enumerate() {
            put(&mut open, ts as Nanos, line);
        }
        let window = open.close(TimeRange::new(0, 10 * SECOND), Coverage::default(), false);
        assert_eq!(window.lines, 5);
        assert_eq!(window.features.0, [Some(7.4), Some(2.0), Some(1.0), Some(4.0), Some(0.5)]);
        let levels: Vec<Level> = open.kept().samples().iter().map(|sample| sample.level).collect();
        assert_eq!(levels, [Level::Critical, Level::Error, Level::Warn, Level::Info, Level::Info]);
    }

    #[test]
    fn an_empty_window_has_no_line_length() {
        let window = OpenWindow::new().close(TimeRange::new(0, SECOND), Coverage::default(), false);
        assert_eq!(window.features.0, [None, Some(0.0), Some(0.0), Some(0.0), Some(0.0)]);
    }

    #[test]
    fn bad_lines_push_out_harmless_samples() {
        let mut open = OpenWindow::new();
        let lines: Vec<String> = (0..20).map(|n| format!("{} {n}", if n > 10 { "ERROR" } else { "INFO" })).collect();
        lines.iter().for_each(|line| put(&mut open, 0, line));
        let samples = open.kept().samples();
        assert_eq!(samples.len(), 5);
        assert_eq!(samples[0].line, "ERROR 11");
        assert_eq!(samples[4].line, "ERROR 15");
        open.clear();
        assert_eq!((open.lines(), open.kept().samples()), (0, Vec::new()));
    }

    #[test]
    fn what_is_kept_is_never_seen_unmasked() {
        let mut open = OpenWindow::new();
        put(&mut open, 0, "INFO login password=hunter2 ok");
        assert_eq!(open.kept().samples()[0].line, "INFO login password=[masked] ok");
        assert!(!format!("{open:?}").contains("hunter2"));
    }

    #[test]
    fn windows_of_lines_slide() {
        let mut open = LineWindows::new(4, 2);
        let lines = ["INFO a", "INFO b", "ERROR c", "INFO d", "INFO d", "INFO d", "INFO d"];
        let windows: Vec<Window> =
            (0i64..).zip(lines).filter_map(|(at, line)| line_of(&mut open, &entry(at * SECOND, line))).collect();
        let seen: Vec<_> = windows
            .iter()
            .map(|w| {
                (
                    w.range.start / SECOND,
                    w.range.end,
                    w.features.get(Feature::ErrorCount),
                    w.features.get(Feature::UniqueMessages),
                )
            })
            .collect();
        assert_eq!(seen, [(0, 3 * SECOND + 1, Some(1.0), Some(4.0)), (2, 5 * SECOND + 1, Some(1.0), Some(2.0))]);
        assert_eq!(windows[0].samples[0].line, "ERROR c");
        assert_eq!(windows[0].features.get(Feature::Rate), Some(4.0 / 3.0));
    }

    proptest::proptest! {
        #[test]
        fn windows_of_lines_survive_a_restart(
            lines in proptest::collection::vec("(INFO|WARN|ERROR) [a-c]{1,2}", 1..60), cut in 0usize..60,
            size in 1u32..12, step in 1u32..12,
        ) {
            let mut live = LineWindows::new(size, step);
            let mut restarted = live.clone();
            for (at, line) in lines.iter().enumerate() {
                if at == cut {
                    restarted = serde_json::from_str(&serde_json::to_string(&restarted).unwrap()).unwrap();
                }
                let entry = entry(at as Nanos * 1_000_000, line);
                let (one, two) = (line_of(&mut live, &entry), line_of(&mut restarted, &entry));
                proptest::prop_assert_eq!(&one, &two);
                if let Some(window) = one {
                    let part = &lines[at + 1 - size as usize..=at];
                    let errors = part.iter().filter(|line| line.starts_with("ERROR")).count();
                    proptest::prop_assert_eq!(window.features.get(Feature::ErrorCount), Some(errors as f64));
                    let unique: std::collections::BTreeSet<_> = part.iter().collect();
                    proptest::prop_assert_eq!(window.features.get(Feature::UniqueMessages), Some(unique.len() as f64));
                }
            }
        }
    }
}
