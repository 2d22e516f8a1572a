//! What a group's model remembers of its windows: one small row each, in whole numbers, so that a row read back from
//! text is the same bit for bit.
//!
//! What comes in: learnt windows. What goes out: rows, the oldest first. The oldest are forgotten.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::config::{DetectConfig, WindowSpec};
use super::{Feature, Features, Window};

/// The features of one window in whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Mean length of a line in tenths of a byte; -1 when there was no line.
    length: i32,
    errors: u32,
    warns: u32,
    unique: u32,
    lines: u32,
    /// Milliseconds that the window took.
    millis: u32,
}

impl Row {
    fn new(window: &Window) -> Self {
        let Features([_, errors, warns, unique, _]) = window.features;
        let whole = |value: Option<f64>| value.unwrap_or(0.0).round().clamp(0.0, f64::from(u32::MAX)) as u32;
        Self {
            length: window
                .features
                .get(Feature::LineLength)
                .map_or(-1, |length| (length * 10.0).round().clamp(0.0, 2e9) as i32),
            errors: whole(errors),
            warns: whole(warns),
            unique: whole(unique),
            lines: u32::try_from(window.lines).unwrap_or(u32::MAX),
            millis: u32::try_from(window.range.len() / 1_000_000).unwrap_or(u32::MAX).max(1),
        }
    }

    /// The value of a feature.
    #[must_use]
    pub fn get(&self, feature: Feature) -> Option<f64> {
        match feature {
            Feature::LineLength => {
                if self.length < 0 {
                    None
                } else {
                    Some(f64::from(self.length) / 10.0)
                }
            }
            Feature::ErrorCount => Some(self.errors.into()),
            Feature::WarnCount => Some(self.warns.into()),
            Feature::UniqueMessages => Some(self.unique.into()),
            Feature::Rate => Some(f64::from(self.lines) / self.seconds()),
        }
    }

    /// Lines of the window.
    #[must_use]
    pub fn lines(&self) -> u32 {
        self.lines
    }

    /// Seconds that the window took.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        f64::from(self.millis) / 1000.0
    }
}

/// The learnt windows of a group, up to a number.
#[derive(Clone, Debug)]
pub struct History {
    rows: VecDeque<Row>,
    capacity: usize,
    learnt: u64,
    /// Length of windows of time in milliseconds; 0 for windows of lines. Left out of the text.
    usual_millis: u32,
}

impl History {
    /// A history of at most `capacity` windows.
    #[must_use]
    pub fn new(config: &DetectConfig, capacity: usize) -> Self {
        let usual_millis = match config.window {
            WindowSpec::Time(span) => u32::try_from(span.0.as_millis()).unwrap_or(u32::MAX),
            WindowSpec::Lines { .. } => 0,
        };
        Self { rows: VecDeque::new(), capacity, learnt: 0, usual_millis }
    }

    /// A window as a row.
    #[must_use]
    pub fn row(&self, window: &Window) -> Row {
        Row::new(window)
    }

    /// Takes a window in; the oldest makes room.
    pub fn push(&mut self, window: &Window) {
        self.rows.push_back(Row::new(window));
        self.learnt += 1;
        while self.rows.len() > self.capacity {
            self.rows.pop_front();
        }
    }

    /// Bytes that it holds besides itself.
    #[must_use]
    pub fn held(&self) -> usize {
        super::held::list::<Row>(self.rows.len())
    }

    /// Windows learnt, ever.
    #[must_use]
    pub fn learnt(&self) -> u64 {
        self.learnt
    }

    /// How many windows it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Up to `count` rows that had been learnt when `learnt` was `at`, the oldest first.
    pub fn until(&self, at: u64, count: usize) -> impl DoubleEndedIterator<Item = &Row> + Clone {
        let end = self.rows.len().saturating_sub(usize::try_from(self.learnt.saturating_sub(at)).unwrap_or(usize::MAX));
        self.rows.range(end.saturating_sub(count)..end)
    }

    /// The newest `count` rows, the newest first.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = &Row> + Clone {
        self.rows.iter().rev().take(count)
    }

    /// All rows as flat numbers, for a snapshot.
    #[must_use]
    pub fn to_numbers(&self) -> (u64, Vec<i64>) {
        let numbers = self.rows.iter().flat_map(|row| {
            let millis = if row.millis == self.usual_millis { 0 } else { row.millis };
            [
                i64::from(row.length),
                row.errors.into(),
                row.warns.into(),
                row.unique.into(),
                row.lines.into(),
                millis.into(),
            ]
        });
        (self.learnt, numbers.collect())
    }

    /// The history of a snapshot; `None` when the numbers are no rows.
    #[must_use]
    pub fn from_numbers(config: &DetectConfig, capacity: usize, learnt: u64, numbers: &[i64]) -> Option<Self> {
        let mut history = Self::new(config, capacity);
        let (rows, rest) = numbers.as_chunks::<6>();
        for [length, errors, warns, unique, lines, millis] in rows {
            let count = |number: &i64| u32::try_from(*number).ok();
            history.rows.push_back(Row {
                length: i32::try_from(*length).ok()?,
                errors: count(errors)?,
                warns: count(warns)?,
                unique: count(unique)?,
                lines: count(lines)?,
                millis: if *millis == 0 { history.usual_millis } else { count(millis)? },
            });
        }
        history.learnt = learnt;
        let fits = rest.is_empty() && history.rows.len() <= capacity && history.rows.len() as u64 <= learnt;
        if fits { Some(history) } else { None }
    }
}
