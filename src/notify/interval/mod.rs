//! Named intervals of time that come again: office hours, nights, the maintenance on Sundays.
//!
//! What comes in: the settings `notify.time_intervals`, in Alertmanager's form or with a cron pattern, and an instant.
//! What goes out: whether it lies in one. Pure; right over changes of clocks.

mod cron;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

pub use cron::{Cron, CronWindow};

use super::zone::Zone;
use crate::time::{Nanos, Span};

/// `notify.time_intervals[]`: several parts under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeInterval {
    /// What routes call it.
    pub name: String,
    /// An instant that lies in one of them lies in it.
    pub time_intervals: Vec<Part>,
}

/// One part of it; all that it says must hold. What it does not say may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Part {
    /// Of a day, by the clock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<Times>,
    /// `monday`, or `monday:friday`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<Range<Weekday>>,
    /// `1:5`; `-3:-1` are the last three.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days_of_month: Vec<Range<Day>>,
    /// `january:march`, or `1:3`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub months: Vec<Range<Month>>,
    /// `2026:2028`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub years: Vec<Range<Year>>,
    /// A window begins at these times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<Cron>,
    /// And lasts so long.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub length: Option<Span>,
    /// By whose clocks and calendar; UTC when it is not set.
    #[serde(alias = "time_zone", skip_serializing_if = "Option::is_none")]
    pub location: Option<Zone>,
}

/// From one time of the day to another, without it; `24:00` is the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Its first minute.
    pub start_time: Clock,
    /// The minute after its last.
    pub end_time: Clock,
}

/// A time of the day, in minutes from midnight: `08:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Clock(pub u16);

/// From one to another, with both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "T: Member")]
pub struct Range<T> {
    begin: T,
    end: T,
}

/// What ranges are made of.
pub trait Member: Copy + PartialOrd + fmt::Display {
    /// From text.
    ///
    /// # Errors
    /// What it must be.
    fn read(text: &str) -> Result<Self, String>;
    /// What is wrong with a range of them.
    ///
    /// # Errors
    /// What must be.
    fn in_order(begin: Self, end: Self) -> Result<(), String> {
        if begin > end { Err(format!("`{begin}:{end}` ends before it begins")) } else { Ok(()) }
    }
}

/// A day of the week, Sunday 0 to Saturday 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Weekday(pub i8);
/// A day of the month, 1 to 31, or -1 (the last) to -31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Day(pub i8);
/// A month, 1 to 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Month(pub i8);
/// A year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Year(pub i16);

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

impl TimeInterval {
    /// Whether `at` lies in one of its parts.
    #[must_use]
    pub fn contains(&self, at: Nanos) -> bool {
        self.time_intervals.iter().any(|part| part.contains(at))
    }
}

impl Part {
    /// Whether all that it says holds at `at`.
    #[must_use]
    pub fn contains(&self, at: Nanos) -> bool {
        let zone = self.location.clone().unwrap_or_default();
        self.shows(zone.civil(at)) && self.window().is_none_or(|window| window.contains(at))
    }

    /// The window by its cron pattern.
    #[must_use]
    pub fn window(&self) -> Option<CronWindow> {
        let time_zone = self.location.clone().unwrap_or_default();
        let cron = self.cron.clone()?;
        Some(CronWindow { cron, length: self.length.unwrap_or(Span::hours(1)), time_zone })
    }

    /// What is wrong with it that its types cannot say: the key, and what must be.
    pub(super) fn mistake(&self) -> Option<(&'static str, String)> {
        if *self == (Self { location: self.location.clone(), length: self.length, ..Self::default() }) {
            return Some(("", "says nothing; set times, weekdays, days_of_month, months, years or cron".to_owned()));
        }
        if self.length.is_some() && self.cron.is_none() {
            return Some(("for", "needs cron, which says when the window begins".to_owned()));
        }
        if self.cron.is_some() && self.length.is_none() {
            return Some(("cron", "needs `for`, which says how long the window lasts".to_owned()));
        }
        self.window().and_then(|window| window.check().err()).map(|text| ("for", text))
    }

    fn shows(&self, civil: DateTime) -> bool {
        let minute = i32::from(civil.hour()) * 60 + i32::from(civil.minute());
        let weekday = Weekday(civil.weekday().to_sunday_zero_offset());
        let (day, days) = (civil.day(), civil.days_in_month());
        any(&self.times, |times| i32::from(times.start_time.0) <= minute && minute < i32::from(times.end_time.0))
            && any(&self.weekdays, |range| range.begin <= weekday && weekday <= range.end)
            && any(&self.days_of_month, |range| range.begin.of(days) <= day && day <= range.end.of(days))
            && any(&self.months, |range| range.begin.0 <= civil.month() && civil.month() <= range.end.0)
            && any(&self.years, |range| range.begin.0 <= civil.year() && civil.year() <= range.end.0)
    }
}

/// Whether one of them holds, or there are none.
fn any<T>(ranges: &[T], holds: impl Fn(&T) -> bool) -> bool {
    ranges.is_empty() || ranges.iter().any(holds)
}

impl Day {
    /// The day in a month of so many days.
    fn of(self, days: i8) -> i8 {
        if self.0 < 0 { days + self.0 + 1 } else { self.0 }
    }
}

impl Member for Weekday {
    fn read(text: &str) -> Result<Self, String> {
        let found = WEEKDAYS.iter().position(|name| name.eq_ignore_ascii_case(text));
        let found = found.and_then(|index| i8::try_from(index).ok()).map(Self);
        found.ok_or_else(|| format!("`{text}` is no day of the week; write monday to sunday"))
    }

    fn in_order(begin: Self, end: Self) -> Result<(), String> {
        let text = format!("`{begin}:{end}` ends before it begins: the week begins with sunday; make it two ranges");
        if begin > end { Err(text) } else { Ok(()) }
    }
}

impl Member for Day {
    fn read(text: &str) -> Result<Self, String> {
        let day = text.parse::<i8>().ok().filter(|day| *day != 0 && (-31..=31).contains(day));
        day.map(Self).ok_or_else(|| format!("`{text}` is no day of a month; write 1 to 31, or -1 (the last) to -31"))
    }

    fn in_order(begin: Self, end: Self) -> Result<(), String> {
        if begin.0 < 0 && end.0 > 0 {
            return Err(format!("`{begin}:{end}`: when it begins with a negative day it must end with one"));
        }
        // In the shortest month: there it ends first.
        let never = if (begin.0 < 0) == (end.0 < 0) { begin.0 > end.0 } else { begin.0 > end.of(31) };
        if never { Err(format!("`{begin}:{end}` ends before it begins")) } else { Ok(()) }
    }
}

impl Member for Month {
    fn read(text: &str) -> Result<Self, String> {
        let named = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(text)).map(|index| index + 1);
        let found = named.or_else(|| text.parse().ok().filter(|month| (1..=12).contains(month)));
        let found = found.and_then(|month| i8::try_from(month).ok()).map(Self);
        found.ok_or_else(|| format!("`{text}` is no month; write january to december, or 1 to 12"))
    }
}

impl Member for Year {
    fn read(text: &str) -> Result<Self, String> {
        let year = text.parse().ok().filter(|year| (1..=9999).contains(year));
        year.map(Self).ok_or_else(|| format!("`{text}` is no year"))
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WEEKDAYS[usize::try_from(self.0.rem_euclid(7)).unwrap_or(0)])
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MONTHS[usize::try_from((self.0 - 1).rem_euclid(12)).unwrap_or(0)])
    }
}

impl fmt::Display for Year {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<T: Member> TryFrom<String> for Range<T> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (begin, end) = text.split_once(':').unwrap_or((&text, &text));
        let (begin, end) = (T::read(begin.trim())?, T::read(end.trim())?);
        T::in_order(begin, end).map(|()| Self { begin, end })
    }
}

impl<T: Member> From<Range<T>> for String {
    fn from(range: Range<T>) -> Self {
        let (begin, end) = (range.begin, range.end);
        if begin == end { begin.to_string() } else { format!("{begin}:{end}") }
    }
}

impl TryFrom<String> for Clock {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
        let read = text.split_once(':').and_then(|(hour, minute)| Some(number(hour)? * 60 + number(minute)?));
        let is_time = text.get(3..).is_some_and(|minute| minute < "60");
        let wrong = || format!("`{text}` is no time of the day; write it like 08:30, 00:00 to 24:00");
        read.filter(|minutes| *minutes <= 24 * 60 && is_time).map(Self).ok_or_else(wrong)
    }
}

impl From<Clock> for String {
    fn from(clock: Clock) -> Self {
        clock.to_string()
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}
