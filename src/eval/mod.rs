//! The examiner: labelled files judged by the product's own engine, and the judgements compared with the labels.
//!
//! ```text
//! rows (a labelled file) ─ time, stream, line ─▶ drive (engine) ─ verdicts, notes ─▶ report ◀─ label, group ─ truth
//! ```
//!
//! What comes in: files of `ts_ns, label, group, stream, line`, or of sessions of event ids. What goes out: a
//! [`report::Report`]. What never happens here: a label or a group reaching the engine; printing; reading a clock. The
//! engine has no examination mode: which time is learnt and which is judged is all that a [`Protocol`] decides.

pub mod attribute;
pub mod drive;
pub mod feed;
pub mod judge;
pub mod md5;
pub mod metric;
pub mod report;
pub mod rows;
pub mod session;
pub mod truth;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use crate::detect::config::{DetectConfig, WindowSpec};
use crate::incident::config::IncidentConfig;
use crate::time::Span;

/// What is judged, and so what a label is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A length of the whole file's time. It alarms when any stream alarms in it; its score is the greatest.
    Time(Span),
    /// So many lines of the whole file.
    Lines(u32),
    /// All lines of a session.
    Session,
}

impl FromStr for Unit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "session" || text == "sessions" {
            return Ok(Self::Session);
        }
        let wrong = || {
            format!("`{text}` is no window; write a length of time (`10s`), a number of lines (`20lines`) or `session`")
        };
        match text.strip_suffix("lines").or_else(|| text.strip_suffix("line")) {
            Some(count) => {
                count.trim().parse().ok().filter(|n| (1..=10_000).contains(n)).map(Self::Lines).ok_or_else(wrong)
            }
            None => {
                let span: Span = text.parse().map_err(|_| wrong())?;
                if span < Span::seconds(1) { Err(wrong()) } else { Ok(Self::Time(span)) }
            }
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(span) => span.fmt(f),
            Self::Lines(count) => write!(f, "{count}lines"),
            Self::Session => f.write_str("session"),
        }
    }
}

/// Which part of a file is learnt, and which is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// From the start, in order; judged as it comes, after a warm-up that is only learnt.
    #[default]
    Online,
    /// The first half of the units is learnt, the second judged.
    Split,
    /// Everything is learnt; then everything is judged by a second engine that starts with what the first has learnt.
    All,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "online" => Ok(Self::Online),
            "split" => Ok(Self::Split),
            "all" => Ok(Self::All),
            _ => Err(format!("`{text}` is no protocol; write online, split or all")),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "online",
            Self::Split => "split",
            Self::All => "all",
        })
    }
}

/// How a file is examined.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What is judged.
    pub unit: Unit,
    /// What is learnt.
    pub protocol: Protocol,
    /// What may be false. Of time windows: false alarms a day, else the settings decide. Of windows of lines and of
    /// sessions, which have no clock: a share of the units, else [`SHARE`].
    pub budget: Option<f64>,
    /// What is only learnt at the start, `online`; else [`WARM_UP`]. Where there is no clock it is a tenth of the units.
    pub warm_up: Span,
    /// How windows are judged.
    pub detect: DetectConfig,
    /// When incidents end.
    pub incident: IncidentConfig,
}

/// 30 windows of 10 s: the warm-up of the baselines and of the attributing scorer.
pub const WARM_UP: Span = Span::minutes(5);

/// Of sets without a clock, one unit in a hundred may be false.
pub const SHARE: f64 = 0.01;

impl Setup {
    /// The engine's settings for these units: one budget in false alarms a day, whatever the clock.
    #[must_use]
    pub fn detect(&self) -> DetectConfig {
        let mut detect = self.detect.clone();
        detect.window = self.window();
        match self.unit {
            Unit::Time(_) => {
                if let Some(budget) = self.budget {
                    detect.false_alerts_per_day = budget;
                }
            }
            Unit::Lines(_) | Unit::Session => {
                detect.false_alerts_per_day = self.budget.unwrap_or(SHARE) * self.units_a_day();
            }
        }
        detect
    }

    /// How the engine cuts lines into windows.
    #[must_use]
    pub fn window(&self) -> WindowSpec {
        match self.unit {
            Unit::Time(span) => WindowSpec::Time(span),
            Unit::Lines(size) => WindowSpec::Lines { size, step: size },
            Unit::Session => self.detect.window,
        }
    }

    /// Where there is no clock, a line takes a second.
    fn units_a_day(&self) -> f64 {
        match self.unit {
            Unit::Lines(size) => 86_400.0 / f64::from(size),
            Unit::Time(_) | Unit::Session => 86_400.0,
        }
    }
}

/// Why a file could not be examined.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// It could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be read to its end.
    #[error("reading {name} failed after line {line}: {source}")]
    Read {
        /// The file.
        name: String,
        /// Lines that were read.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("{name}, line {line}: {found}; expected {expected}")]
    Row {
        /// The file.
        name: String,
        /// Counted from 1.
        line: u64,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// The file has nothing to judge.
    #[error(
        "{name} has {units} whole windows of {unit}, of which none is left to judge with protocol {protocol}; a smaller --window makes more of them"
    )]
    TooShort {
        /// The file.
        name: String,
        /// How many there are.
        units: usize,
        /// Of what size.
        unit: Unit,
        /// What was asked for.
        protocol: Protocol,
    },
    /// A file of sessions was given with another window, or the other way round.
    #[error("{name} {found}; {advice}")]
    Layout {
        /// The file.
        name: String,
        /// What it is.
        found: &'static str,
        /// What to do.
        advice: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_read_and_write_alike() {
        for text in ["10s", "1m", "20lines", "session"] {
            assert_eq!(text.parse::<Unit>().unwrap().to_string(), text);
        }
        assert_eq!("20 lines".parse(), Ok(Unit::Lines(20)));
        for text in ["", "0lines", "500ms", "lines", "20rows", "20 lines step 5"] {
            assert!(text.parse::<Unit>().unwrap_err().contains("is no window"), "{text}");
        }
    }

    #[test]
    fn without_a_clock_the_budget_is_a_share_of_the_units() {
        let setup = |unit, budget| Setup {
            unit,
            protocol: Protocol::Online,
            budget,
            warm_up: WARM_UP,
            detect: DetectConfig::default(),
            incident: IncidentConfig::default(),
        };
        let day = |unit, budget| setup(unit, budget).detect().false_alerts_per_day;
        assert_eq!(day(Unit::Time(Span::seconds(10)), None), 1.0);
        assert_eq!(day(Unit::Time(Span::seconds(10)), Some(3.0)), 3.0);
        assert_eq!(day(Unit::Lines(20), None), 43.2);
        assert_eq!(day(Unit::Lines(100), Some(0.1)), 86.4);
    }
}
