//! The settings of stage 2.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::voice::Detectors;
use crate::time::Span;

/// How the lines of a group are cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum WindowSpec {
    /// Aligned windows of this length of time.
    Time(Span),
    /// Windows of `size` lines, a new one every `step` lines (`step < size`: sliding). They never reopen.
    Lines {
        /// Lines in a window.
        size: u32,
        /// Lines from the start of one window to the start of the next, 1 to `size`.
        step: u32,
    },
}

impl FromStr for WindowSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let count = |word: &str| word.parse::<u32>().ok().filter(|n| (1..=10_000).contains(n));
        let spec = match words.as_slice() {
            [size, "lines" | "line"] => count(size).map(|size| Self::Lines { size, step: size }),
            [size, "lines" | "line", "step", step] => count(size)
                .zip(count(step))
                .filter(|(size, step)| step <= size)
                .map(|(size, step)| Self::Lines { size, step }),
            [span] => span.parse::<Span>().ok().filter(|span| span.nanos() >= 1_000_000_000).map(Self::Time),
            _ => None,
        };
        spec.ok_or_else(|| {
            format!(
                "`{text}` is no window; write a length of time from 1s (`1m`) or lines from 1 to 10000 (`20 lines`, `20 lines step 5`)"
            )
        })
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(span) => span.fmt(f),
            Self::Lines { size, step } if size == step => write!(f, "{size} lines"),
            Self::Lines { size, step } => write!(f, "{size} lines step {step}"),
        }
    }
}

impl From<WindowSpec> for String {
    fn from(spec: WindowSpec) -> Self {
        spec.to_string()
    }
}

impl TryFrom<String> for WindowSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// An amount of memory, written as `256MB`; units are those of 1,024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Size(pub u64);

impl Size {
    /// So many megabytes.
    #[must_use]
    pub const fn megabytes(count: u64) -> Self {
        Self(count << 20)
    }
}

const SIZES: [(&str, u64); 3] = [("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no amount of memory; write it like 256MB or 1GB");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        let unit = unit.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
        let (_, size) = SIZES.iter().find(|(name, _)| name.get(..1) == Some(unit)).ok_or_else(wrong)?;
        let count: u64 = count.parse().map_err(|_| wrong())?;
        count.checked_mul(*size).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SIZES.iter().find(|(_, size)| self.0.is_multiple_of(*size) && self.0 > 0);
        let (unit, size) = whole.copied().unwrap_or(("kB", 1 << 10));
        write!(f, "{}{unit}", self.0.div_ceil(size))
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Which detector scores the windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `forest` with the preset `classic`, `none` with `standard`: there it found no more on labelled streams (26 of 50
    /// incidents without, 27 with; windows of 10 s: 17 and 15) and took a third of the time.
    #[default]
    Auto,
    /// Only what lies outside its expected range counts.
    None,
    /// Our own seeded isolation forest: repeatable bit for bit, with exact shares.
    Forest,
    /// The crate extended-isolation-forest: oblique cuts; not repeatable, no exact shares.
    Extended,
}

/// Which features count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// All five features.
    #[default]
    Standard,
    /// The simple detector that teams write themselves: the four features without the rate, for windows of lines.
    Classic,
}

/// `detect:` how windows are made and judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectConfig {
    /// Window of watches that name none.
    pub window: WindowSpec,
    /// Which features count.
    pub preset: Preset,
    /// Which detector scores.
    pub kind: Kind,
    /// Which detectors are heard.
    pub detectors: Detectors,
    /// Windows of a group to learn before it is judged.
    pub warm_up: u32,
    /// Windows of a group that are remembered; older ones are forgotten.
    pub history: u32,
    /// The forest is fitted anew after this many further windows.
    pub refit_every: u32,
    /// Expected false alarms a day that the threshold aims at, over all watches together: the store says how they share it.
    pub false_alerts_per_day: f64,
    /// What comes at this time of the day or of the week, as on two days or in two weeks before, is shown and not told.
    pub habits: bool,
    /// Seed of the forest.
    pub seed: u64,
    /// Groups with no line for this long are forgotten.
    pub forget_after: Span,
    /// At most this many groups a watch; lines of further ones are counted together as the group `other`.
    pub max_groups: u32,
    /// What all watches together may hold of models, templates and sessions, in equal shares; what was seen longest ago is
    /// dropped first. The engine hands each watch its share.
    pub memory_limit: Size,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self {
            window: WindowSpec::Time(Span::minutes(1)),
            preset: Preset::Standard,
            kind: Kind::Auto,
            detectors: Detectors::ALL,
            warm_up: 60,
            history: 2880,
            refit_every: 60,
            false_alerts_per_day: 1.0,
            habits: true,
            seed: 1,
            forget_after: Span::hours(24),
            max_groups: 500,
            memory_limit: Size::megabytes(256),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_write_alike() {
        for (text, bytes) in [("256MB", 256 << 20), ("1GB", 1 << 30), ("1500kB", 1_536_000), ("0kB", 0)] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, text));
        }
        assert_eq!("64 MiB".parse::<Size>(), Ok(Size::megabytes(64)));
        for text in ["", "256", "MB", "-1MB", "1.5GB", "256TB", "99999999999999999999MB", "99999999999GB", "1 M M"] {
            assert!(text.parse::<Size>().unwrap_err().contains("is no amount of memory"), "{text}");
        }
    }

    #[test]
    fn windows_read_and_write_alike() {
        for text in ["1m", "10s", "20 lines", "20 lines step 5"] {
            assert_eq!(text.parse::<WindowSpec>().unwrap().to_string(), text);
        }
        for text in ["", "0", "1ms", "lines", "0 lines", "5 lines step 6", "20000 lines", "20 rows"] {
            assert!(text.parse::<WindowSpec>().unwrap_err().contains("is no window"), "{text}");
        }
    }
}
