//! Windows of time that come again by a cron pattern: `0 2 * * SUN` for 2 h, by the clocks of a time zone.
//!
//! A window begins whenever clocks show a time of the pattern: twice where an hour comes twice, and where clocks skip the
//! time, when they would have shown it by the rules before the change. It lasts for its length as time passes.

use std::str::FromStr;
use std::sync::LazyLock;

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::super::zone::Zone;
use crate::time::{HOUR, Nanos, Span};

/// Longest window: a year, and a day more for those that leap.
const MAX_FOR: Span = Span::hours(366 * 24);
/// A window that nobody gave a length.
const USUAL: Span = Span::hours(1);

/// A cron pattern of five fields: minute, hour, day of the month, month, weekday (croner's dialect, which has `L`, `W`, `#`
/// and names); days of the month and weekdays are alternatives when both are given, as crontab has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    pattern: croner::Cron,
}

/// Windows of time that come again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CronWindow {
    /// When they begin.
    pub cron: Cron,
    /// How long each lasts.
    #[serde(rename = "for", default = "usual")]
    pub length: Span,
    /// By whose clocks.
    #[serde(default)]
    pub time_zone: Zone,
}

fn usual() -> Span {
    USUAL
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        static PARSER: LazyLock<CronParser> =
            LazyLock::new(|| CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build());
        let wrong = |why: &str| {
            format!("`{text}` is no cron pattern: {why}; write minute, hour, day, month, weekday, like `0 2 * * SUN`")
        };
        if text.len() > 256 {
            return Err("a cron pattern has at most 256 characters".to_owned());
        }
        let pattern = PARSER.parse(text).map_err(|error| {
            let error = error.to_string();
            // Before the colon stands which part of the parser it was.
            wrong(error.split_once(": ").map_or(error.as_str(), |(_, why)| why).trim_end_matches('.'))
        })?;
        let cron = Self { text: text.trim().to_owned(), pattern };
        // 2000 to 2028 have all pairs of date and weekday.
        const SOME: Nanos = 951_782_400 * crate::time::SECOND;
        match cron.next(SOME) {
            Some(_) => Ok(cron),
            None => Err(wrong("such a day never comes")),
        }
    }
}

impl Cron {
    /// The last time of the pattern at `civil` or before; both are what clocks show, as if it were UTC.
    fn last(&self, civil: Nanos) -> Option<Nanos> {
        let from = Timestamp::from_nanosecond(i128::from(civil)).ok()?.to_zoned(TimeZone::UTC);
        let found = self.pattern.find_previous_occurrence(&from, true).ok()?;
        Nanos::try_from(found.timestamp().as_nanosecond()).ok()
    }

    /// The first time of the pattern after `civil`.
    fn next(&self, civil: Nanos) -> Option<Nanos> {
        let from = Timestamp::from_nanosecond(i128::from(civil)).ok()?.to_zoned(TimeZone::UTC);
        let found = self.pattern.find_next_occurrence(&from, false).ok()?;
        Nanos::try_from(found.timestamp().as_nanosecond()).ok()
    }
}

impl CronWindow {
    /// Whether `at` lies in one of them.
    #[must_use]
    pub fn contains(&self, at: Nanos) -> bool {
        let after = at.saturating_sub(self.length.nanos());
        // A stretch of time in which clocks are not changed, the newest first. What is skipped at its end belongs to it.
        let (mut inside, mut last) = (at, at);
        loop {
            let offset = self.time_zone.offset(inside);
            let start = self.time_zone.changed(inside).unwrap_or(Nanos::MIN);
            let shown = self.cron.last(last.saturating_add(offset));
            let began = shown.map_or(Nanos::MIN, |shown| shown.saturating_sub(offset));
            if began > after && began >= start {
                return true;
            }
            let before = start.saturating_sub(1);
            let skipped = (offset - self.time_zone.offset(before)).max(0);
            let end = start.saturating_add(skipped);
            if end <= after || before == inside || start == Nanos::MIN {
                return false;
            }
            (inside, last) = (before, at.min(end - 1));
        }
    }

    /// What is wrong with it, apart from the pattern.
    ///
    /// # Errors
    /// What must be.
    pub fn check(&self) -> Result<(), String> {
        match self.length {
            length if length.0.is_zero() => Err("`for` must be longer than 0".to_owned()),
            length if length > MAX_FOR => Err(format!("`for` must be at most {MAX_FOR}")),
            _ => Ok(()),
        }
    }

    /// The start of the first window that begins after `at`, as clocks of the zone go; `None` when none is found. For
    /// people: near a change of clocks, [`CronWindow::contains`] is what counts.
    #[must_use]
    pub fn next(&self, at: Nanos) -> Option<Nanos> {
        let mut civil = at.saturating_add(self.time_zone.offset(at)).saturating_sub(26 * HOUR);
        // At most one time a minute.
        for _ in 0..3 * 26 * 60 {
            civil = self.cron.next(civil)?;
            let shown = Timestamp::from_nanosecond(i128::from(civil)).ok()?.to_zoned(TimeZone::UTC).datetime();
            let first = self.time_zone.first(shown);
            if first > at {
                return Some(first);
            }
        }
        None
    }
}

impl TryFrom<String> for Cron {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.text
    }
}

/// Its parts as croner has them would fill pages.
impl std::fmt::Debug for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cron({})", self.text)
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
