//! What a group does at its hours: jobs of the night, jobs of the week, and what else comes at this time of the day or of
//! the week.
//!
//! What comes in: what was found in anomalous windows. What goes out: whether the same came at this time on enough days or
//! in enough weeks before. What never happens here: judging a window, or taking for a habit what comes at all hours: the
//! days on which it came at this time must be more than chance would have.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::gate::{Check, Gate};
use super::{Feature, FeatureEvidence, PatternEvidence, PatternKind, held};
use crate::labels::{FNV_OFFSET, fnv1a};
use crate::time::{MINUTE, Nanos, TimeRange};

const DAY: i64 = 24 * 60;
const WEEK: i64 = 7 * DAY;
/// Days and weeks that are looked back.
const DAYS: i64 = 7;
const WEEKS: i64 = 4;
/// Minutes that it may come earlier, or last longer: a job waits for another one, and what it does takes longer today.
const SLACK: i64 = 10;
/// Days or weeks on which it came, at least: once is no habit.
const LEAST: u32 = 2;
/// Coincidences that are put up with: what comes at any time comes at this one on so many days by so small a chance.
const CHANCE: f64 = 0.01;
/// It may be so many times as much as it ever was at this time, and what chance adds.
const GROWS: f64 = 1.5;
/// Episodes that are remembered of a group; the oldest go.
const MAX_EPISODES: usize = 256;

/// What was found in a window, as habits tell it apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sign {
    /// Feature or kind of pattern, its direction and its lines.
    what: u64,
    /// How much of it there is in a window.
    size: f64,
    /// Whether the size is a number of lines, which chance varies.
    counted: bool,
}

/// What a group does at its hours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Habits {
    /// By their ends.
    episodes: VecDeque<Episode>,
}

/// Something went on from one minute to another, counted since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Episode(u64, i64, i64, f32);

/// A habit: it came at this time before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habit {
    /// Of the week, not of the day.
    pub weekly: bool,
    /// Days or weeks on which it came.
    pub came: u32,
    /// Of the last so many.
    pub of: u32,
}

impl Habit {
    /// The condition that there is no such habit, which is not met from the third time on.
    #[must_use]
    pub fn gate(self) -> Gate {
        let check = if self.weekly { Check::Weekly } else { Check::Daily };
        Gate { check, reached: self.came.into(), needed: self.of.into(), passed: self.came < LEAST }
    }
}

impl Sign {
    /// A feature that is not as expected; `None` where it is.
    #[must_use]
    pub fn of_feature(one: &FeatureEvidence) -> Option<Self> {
        let up = one.seen > one.expected.1;
        if !up && one.seen >= one.expected.0 {
            return None;
        }
        // Rates and lengths are means already.
        let counted = !matches!(one.feature, Feature::Rate | Feature::LineLength);
        let seen = if counted { one.seen / f64::from(one.windows.max(1)) } else { one.seen };
        // Of too few, how many times fewer; none at all is ten times.
        let low = one.expected.0;
        let size = if up { seen } else { low / (one.seen + 0.1 * low) };
        let what = fnv1a(fnv1a(FNV_OFFSET, &[one.feature as u8, u8::from(up), u8::from(one.presence)]), b"feature");
        Some(Self { what, size, counted: counted && up })
    }

    /// What is wrong with lines.
    #[must_use]
    pub fn of_pattern(one: &PatternEvidence) -> Self {
        let mut what = fnv1a(fnv1a(FNV_OFFSET, &[one.kind as u8]), b"pattern");
        // Of an instance, which one it is.
        let about = if one.kind == PatternKind::Instance { [&one.key, &None] } else { [&one.line, &one.after] };
        for text in about.into_iter().flatten() {
            what = fnv1a(fnv1a(what, &[0xff]), text.as_bytes());
        }
        let lack = one.expected > one.seen;
        let windows = f64::from(one.windows.max(1));
        let off = if lack { one.expected - one.seen } else { one.seen } / windows;
        let (size, counted) = match (&one.value, one.seconds) {
            (Some(value), _) => (value.seen.abs(), false),
            (None, Some(seconds)) => (off.max(seconds), true),
            (None, None) => (off, true),
        };
        Self { what: fnv1a(what, &[u8::from(lack)]), size, counted }
    }
}

impl Habits {
    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// Remembers what was found in a window.
    pub fn note(&mut self, range: TimeRange, signs: impl Iterator<Item = Sign>) {
        let (from, to) = minutes(range);
        for sign in signs {
            let known = self.episodes.iter().rposition(|one| one.0 == sign.what && from <= one.2 + SLACK);
            let known = known.and_then(|at| self.episodes.remove(at));
            let Episode(what, from, _, size) = known.unwrap_or(Episode(sign.what, from, to, 0.0));
            self.episodes.push_back(Episode(what, from, to, size.max(sign.size as f32)));
        }
        let old = |one: &Episode| one.2 < to - WEEKS * WEEK - DAY;
        while self.episodes.len() > MAX_EPISODES || self.episodes.front().is_some_and(old) {
            self.episodes.pop_front();
        }
    }

    /// Whether this comes at this time of the day, or of the week.
    #[must_use]
    pub fn usual(&self, range: TimeRange, sign: &Sign) -> Option<Habit> {
        let (from, _) = minutes(range);
        let daily = self.every(DAY, DAYS, from, sign).map(|(came, of)| Habit { weekly: false, came, of });
        daily.or_else(|| self.every(WEEK, WEEKS, from, sign).map(|(came, of)| Habit { weekly: true, came, of }))
    }

    /// Whether this came at this time the day before, or the week before: once more, and it is a habit.
    #[must_use]
    pub fn begins(&self, range: TimeRange, sign: &Sign) -> Option<Habit> {
        let (from, _) = minutes(range);
        let came = |period: i64| self.episodes.iter().any(|one| one.covers(from - period, sign));
        let weekly = [(DAY, false), (WEEK, true)].into_iter().find(|(period, _)| came(*period));
        weekly.map(|(_, weekly)| Habit { weekly, came: 1, of: 1 })
    }

    /// On how many of how many days or weeks it came at this minute; the fewest that say that it is a habit.
    fn every(&self, period: i64, most: i64, now: i64, sign: &Sign) -> Option<(u32, u32)> {
        let past = || self.episodes.iter().filter(|one| one.0 == sign.what && one.2 < now - period / 2);
        // The share of all times that is taken, since it came first: the chance that this one is.
        let in_reach = past().filter(|one| one.1 >= now - (most * period + SLACK));
        let (first, taken) = in_reach.fold((now - period, 0), |(first, taken), one| {
            (first.min(one.1), taken + (one.2 - one.1 + 2 * SLACK).min(period))
        });
        let chance = (taken as f64 / (now - first) as f64).min(1.0);
        let mut came = 0;
        for of in 1..=most {
            let then = now - of * period;
            came += u32::from(past().any(|one| one.covers(then, sign)));
            let of = u32::try_from(of).unwrap_or(u32::MAX);
            if came >= LEAST && at_least(came, of, chance) <= CHANCE {
                return Some((came, of));
            }
        }
        None
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        held::list::<Episode>(self.episodes.len())
    }
}

impl Episode {
    /// Whether it went on at this minute, and there was as much of it.
    fn covers(&self, minute: i64, sign: &Sign) -> bool {
        self.0 == sign.what && self.1 - SLACK <= minute && minute <= self.2 + SLACK && sign.is_like(self)
    }
}

impl Sign {
    /// Whether it is no more than it was then.
    fn is_like(&self, then: &Episode) -> bool {
        let was = f64::from(then.3);
        let more = if self.counted { 2.0 * was.sqrt() } else { 0.0 };
        self.size <= GROWS * was + more
    }
}

fn minutes(range: TimeRange) -> (i64, i64) {
    let minute = |at: Nanos| at.div_euclid(MINUTE);
    (minute(range.start), minute(range.end))
}

/// The chance of so many hits or more in so many looks (binomial).
fn at_least(hits: u32, of: u32, chance: f64) -> f64 {
    let mut tail = 0.0;
    let mut one = (1.0 - chance).powi(of.cast_signed());
    for k in 0..=of {
        if k >= hits {
            tail += one;
        }
        one *= f64::from(of - k) / f64::from(k + 1) * chance / (1.0 - chance).max(1e-12);
    }
    if chance >= 1.0 { 1.0 } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::PatternKind;
    use crate::detect::detector::Dice;

    fn errors(seen: f64) -> Sign {
        let line = Some("locked".to_owned());
        Sign::of_pattern(&PatternEvidence { line, seen, ..PatternEvidence::of(PatternKind::Burst) })
    }

    fn at(minute: i64) -> TimeRange {
        TimeRange::new(minute * MINUTE, (minute + 1) * MINUTE)
    }

    /// What came at these minutes for so long, and what is said of it at another minute.
    #[track_caller]
    fn check(came: &[(i64, i64)], (now, seen): (i64, f64), expected: Option<(bool, u32, u32)>) {
        let mut habits = Habits::default();
        let mut came = came.to_vec();
        came.sort_unstable();
        for (from, long) in came {
            (from..from + long).for_each(|minute| habits.note(at(minute), [errors(40.0)].into_iter()));
        }
        let habit = habits.usual(at(now), &errors(seen));
        assert_eq!(habit.map(|habit| (habit.weekly, habit.came, habit.of)), expected);
        let text = serde_json::to_string(&habits).unwrap();
        assert_eq!(serde_json::from_str::<Habits>(&text).unwrap(), habits);
    }

    const TWO: i64 = 100 * WEEK + 120;

    #[test]
    fn a_nightly_job_is_a_habit_from_the_third_night_on() {
        check(&[(TWO, 6)], (TWO + DAY, 40.0), None);
        check(&[(TWO, 6), (TWO + DAY, 6)], (TWO + 2 * DAY, 40.0), Some((false, 2, 2)));
        check(&[(TWO, 6), (TWO + DAY, 6)], (TWO + 2 * DAY + 9, 30.0), Some((false, 2, 2)));
    }

    #[test]
    fn more_than_usual_or_at_another_hour_is_none() {
        let nights = [(TWO, 6), (TWO + DAY, 6)];
        check(&nights, (TWO + 2 * DAY, 100.0), None);
        check(&nights, (TWO + 2 * DAY + 30, 40.0), None);
        check(&nights, (TWO + 2 * DAY - 30, 40.0), None);
    }

    #[test]
    fn a_job_of_working_days_is_known_on_monday() {
        let week: Vec<(i64, i64)> = (0..5).map(|day| (TWO + day * DAY, 6)).collect();
        check(&week, (TWO + 7 * DAY, 40.0), Some((false, 2, 4)));
    }

    #[test]
    fn a_job_of_the_week_is_a_habit_from_the_third_week_on() {
        check(&[(TWO, 10), (TWO + WEEK, 10)], (TWO + 2 * WEEK, 40.0), Some((true, 2, 2)));
        check(&[(TWO, 10)], (TWO + WEEK, 40.0), None);
    }

    #[test]
    fn what_comes_at_all_hours_is_no_habit() {
        let (mut habits, mut dice) = (Habits::default(), Dice(3));
        for _ in 0..7 * 10 {
            let begins = TWO + dice.below(7 * DAY as usize) as i64;
            (begins..begins + 6).for_each(|minute| habits.note(at(minute), [errors(40.0)].into_iter()));
        }
        let minutes = TWO + 7 * DAY..TWO + 8 * DAY;
        let taken = minutes.filter(|minute| habits.usual(at(*minute), &errors(40.0)).is_some()).count();
        assert!(taken < 72, "{taken} minutes of a day");
    }

    #[test]
    fn a_longer_job_takes_more_nights() {
        let nights: Vec<(i64, i64)> = (0..3).map(|day| (TWO + day * DAY, 180)).collect();
        check(&nights[..2], (TWO + 2 * DAY, 40.0), None);
        check(&nights, (TWO + 3 * DAY, 40.0), Some((false, 3, 3)));
        let long: Vec<(i64, i64)> = (0..7).map(|day| (TWO + day * DAY, 600)).collect();
        check(&long[..5], (TWO + 5 * DAY, 40.0), None);
        check(&long, (TWO + 7 * DAY, 40.0), Some((false, 6, 6)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut habits = Habits::default();
        for minute in 0..20 * WEEK / 7 {
            if minute % 30 == 0 {
                habits.note(at(minute), [errors(1.0)].into_iter());
            }
        }
        assert!(habits.episodes.len() <= MAX_EPISODES);
        habits.note(at(60 * WEEK), [errors(1.0)].into_iter());
        assert_eq!(habits.episodes.len(), 1);
    }

    #[test]
    fn fewer_lines_are_told_apart_from_more() {
        let feature = |seen: f64| FeatureEvidence {
            feature: Feature::Rate,
            seen,
            expected: (1.0, 2.0),
            share: 1.0,
            forest: 0.0,
            frequent: None,
            windows: 1,
            presence: false,
            seasonal: false,
        };
        let (low, high) = (Sign::of_feature(&feature(0.5)).unwrap(), Sign::of_feature(&feature(4.0)).unwrap());
        assert_ne!(low.what, high.what);
        assert_eq!(Sign::of_feature(&feature(1.5)), None);
        // Silence is more than few lines.
        assert!(Sign::of_feature(&feature(0.0)).unwrap().size > low.size);
    }

    #[test]
    fn chances_are_binomial() {
        assert!((at_least(2, 2, 0.1) - 0.01).abs() < 1e-12);
        assert!((at_least(0, 5, 0.3) - 1.0).abs() < 1e-12);
        assert!((at_least(1, 3, 0.5) - 0.875).abs() < 1e-12);
        assert_eq!(at_least(2, 3, 1.0), 1.0);
    }
}
