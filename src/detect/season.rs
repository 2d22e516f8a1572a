//! How many errors and warnings a group has at each hour of the week.
//!
//! What comes in: learnt windows with their times. What goes out: errors and warnings that are too many for this hour,
//! though the group has as many at others. What never happens here: a judgement before each hour of a week is known, or
//! one of fewer of anything.
//!
//! An hour's level is the upper envelope of its weeks. What is expected lies between nothing and the highest of this hour,
//! its neighbours (a change to or from summer time moves it by one) and the last half hour; counts follow a negative
//! binomial law around it, and how surprising ordinary windows were under this law is the scale of what is found.

use serde::{Deserialize, Serialize};

use super::expect::{Finding, SPANS};
use super::history::Row;
use super::past::Past;
use super::tail::Upper;
use super::{Feature, held};
use crate::time::{HOUR, Nanos, TimeRange};

/// Hours of a week.
pub(super) const HOURS: usize = 168;
/// What is looked at, and how it must stand out for anybody to care: times the expected, and so many more.
const FEATURES: [(Feature, f64, f64); 2] = [(Feature::ErrorCount, 1.5, 3.0), (Feature::WarnCount, 2.0, 5.0)];
/// What an hour without so much is left with after a week.
pub(super) const FADES: f32 = 0.7;
/// Of an hour's windows, so many must have been learnt for its level to be believed.
pub(super) const HALF: f64 = 0.5;
/// The level may be higher by so much, as weeks differ.
pub(super) const WANDERS: f64 = 1.25;
/// Windows after which a dispersion is half forgotten, about.
pub(super) const AGES: f64 = 0.9995;
/// The newest learnt windows may be the onset of what is to be found; the level is that of those before them. In seconds.
pub(super) const SKIP: f64 = 600.0;
pub(super) const RECENT: f64 = 1800.0;

/// The hours of a group's week.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Season {
    /// By hour of the week, Thursday 0:00 UTC first; negative where it is not known.
    hours: Vec<[f32; 2]>,
    /// The hour that goes on, counted since 1970: its sums, and seconds learnt.
    now: i64,
    sums: [f64; 2],
    seconds: f64,
    /// Squared deviations, and what was expected: variance over mean.
    spread: [(f64, f64); 2],
    past: Past,
}

impl Season {
    /// What is too much for this hour, with what it is worth beside ordinary windows; and the greatest surprise of all,
    /// which [`Season::learn`] takes. `trail` holds the rows before, the newest first, `recent` those that were learnt.
    pub(super) fn findings<'a>(
        &self,
        range: TimeRange,
        row: &Row,
        trail: impl Iterator<Item = &'a Row> + Clone,
        recent: impl Iterator<Item = &'a Row>,
    ) -> (Vec<Finding>, f64) {
        let (mut found, mut peak) = (Vec::new(), 0.0);
        let bad = |row: &Row| FEATURES.map(|(feature, ..)| row.get(feature).unwrap_or_default());
        if bad(row) == [0.0; 2] {
            return (found, peak);
        }
        let Some(usual) = self.usual(hour_of(range.start)) else { return (found, peak) };
        let length = row.seconds().max(1.0);
        let (skip, take) = ((SKIP / length).ceil() as usize, (RECENT / length).ceil().max(3.0) as usize);
        let (windows, sums) = recent.skip(skip).take(take).fold((0.0, [0.0; 2]), |(windows, sums), row| {
            let [errors, warns] = bad(row);
            (windows + 1.0, [sums[0] + errors, sums[1] + warns])
        });
        for (at, (feature, times, more)) in FEATURES.into_iter().enumerate() {
            let of = |row: &Row| row.get(feature).unwrap_or_default();
            let level = (f64::from(usual[at]) * row.seconds()).max(sums[at] / f64::max(windows, 1.0)) * WANDERS;
            let fano = self.fano(at);
            let (mut sum, mut seen) = (0.0, 0);
            let mut best: Option<(f64, usize, f64, f64)> = None;
            // A burst that is over counts no more than what still goes on.
            let now = of(row);
            let mut values = std::iter::once(now).chain(trail.clone().map(|row| of(row).min(2.0 * now)));
            // What is usual at this hour says nothing of windows of others.
            let fits = |span: &usize| *span == 1 || *span as f64 * length <= 3600.0;
            for span in SPANS.into_iter().filter(fits) {
                let before = values.by_ref().take(span - seen).fold((0, 0.0), |(n, sum), x| (n + 1, sum + x));
                (seen, sum) = (seen + before.0, sum + before.1);
                if seen < span {
                    break;
                }
                let high = level * span as f64 + 0.5;
                let surprise = if sum > high { -Upper::new(high, fano).tail(sum) } else { 0.0 };
                peak = surprise.max(peak);
                let goes_on = now > level && now * span as f64 >= 0.3 * sum;
                if goes_on && sum >= times * high + more && surprise > best.map_or(0.0, |(known, ..)| known) {
                    best = Some((surprise, span, sum, high));
                }
            }
            let Some((surprise, span, seen, high)) = best else { continue };
            let surprise = self.past.surprise(surprise);
            if surprise > 0.0 && self.past.is_known() {
                let expected = (0.0, super::tail::ordinary(high, fano));
                let finding = Finding { feature, seen, expected, surprise, span, presence: false, seasonal: true };
                found.push(finding);
            }
        }
        (found, peak)
    }

    /// Learns a window, and what was the greatest surprise in it.
    pub(super) fn learn(&mut self, range: TimeRange, row: &Row, peak: f64) {
        let now = range.start.div_euclid(HOUR);
        if now != self.now {
            self.turn(now);
        }
        self.seconds += row.seconds();
        let known = self.usual(hour_of(range.start)).is_some();
        let usual = self.hours.get(hour_of(range.start)).copied().filter(|_| known);
        for (at, (feature, ..)) in FEATURES.into_iter().enumerate() {
            let count = row.get(feature).unwrap_or_default();
            if let (Some(sum), Some(spread)) = (self.sums.get_mut(at), self.spread.get_mut(at)) {
                *sum += count;
                if let Some(level) = usual.and_then(|usual| usual.get(at).copied()) {
                    let mean = (f64::from(level) * row.seconds()).max(0.01);
                    *spread = (spread.0 * AGES + (count - mean).powi(2), spread.1 * AGES + mean);
                }
            }
        }
        if known {
            self.past.add(peak);
        }
    }

    /// The hour is over.
    fn turn(&mut self, now: i64) {
        if self.seconds >= HALF * 3600.0 {
            self.hours.resize(HOURS, [-1.0; 2]);
            if let Some(hour) = self.hours.get_mut(self.now.rem_euclid(HOURS as i64) as usize) {
                for (level, sum) in hour.iter_mut().zip(self.sums) {
                    let last = (sum / self.seconds) as f32;
                    *level = if *level < 0.0 { last } else { last.max(FADES * *level + (1.0 - FADES) * last) };
                }
            }
        }
        (self.now, self.sums, self.seconds) = (now, [0.0; 2], 0.0);
    }

    /// Errors and warnings a second at this hour and its neighbours, at the most; `None` where one is not known.
    fn usual(&self, hour: usize) -> Option<[f32; 2]> {
        let near = [HOURS - 1, 0, 1].map(|off| self.hours.get((hour + off) % HOURS));
        near.into_iter().try_fold([0f32; 2], |most, hour| {
            let hour = hour.filter(|hour| hour[0] >= 0.0)?;
            Some([most[0].max(hour[0]), most[1].max(hour[1])])
        })
    }

    /// Variance over mean of an hour's windows.
    fn fano(&self, at: usize) -> f64 {
        let (squares, means) = self.spread.get(at).copied().unwrap_or_default();
        // Two stands for what has never been seen.
        ((squares + 2.0) / (means + 1.0)).max(1.2)
    }

    /// Bytes that it holds besides itself.
    pub(super) fn held(&self) -> usize {
        held::list::<[f32; 2]>(self.hours.len()) + self.past.held()
    }
}

pub(super) fn hour_of(at: Nanos) -> usize {
    at.div_euclid(HOUR).rem_euclid(HOURS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::config::DetectConfig;
    use crate::detect::detector::Dice;
    use crate::detect::detector::tests::window;
    use crate::detect::history::History;
    use crate::time::MINUTE;

    const DAY: i64 = 24 * 60;

    fn row(at: i64, errors: f64) -> (TimeRange, Row) {
        let window = window(at, 200, [140.0, errors, 0.0, 30.0]);
        (window.range, History::new(&DetectConfig::default(), 1).row(&window))
    }

    /// So many minutes, and the most surprising finding in them.
    fn lived(minutes: i64, errors: impl Fn(&mut Dice, i64) -> f64) -> (Season, Vec<Row>, f64) {
        let (mut season, mut dice, mut rows, mut worst) = (Season::default(), Dice(1), Vec::new(), 0f64);
        for at in 0..minutes {
            let (range, row) = row(at, errors(&mut dice, at));
            let past = rows.iter().rev().take(60);
            let (found, peak) = season.findings(range, &row, past.clone(), past);
            worst = found.iter().map(|one| one.surprise).fold(worst, f64::max);
            season.learn(range, &row, peak);
            rows.push(row);
        }
        (season, rows, worst)
    }

    fn by_day(dice: &mut Dice, at: i64) -> f64 {
        let mean = if at % DAY < 480 { 0.2 } else { 8.0 };
        (0..16).filter(|_| dice.unit() < mean / 16.0).count() as f64
    }

    #[track_caller]
    fn check(season: &Season, rows: &[Row], (at, errors): (i64, f64), expected: Option<(usize, bool)>) {
        let (range, row) = row(at, errors);
        let past = rows.iter().rev();
        let (found, _) = season.findings(range, &row, past.clone(), past);
        assert_eq!(found.first().map(|one| (one.span, one.surprise > 10.0)), expected, "{found:?}");
    }

    #[test]
    fn an_hour_is_judged_by_its_own_past() {
        let (season, rows, worst) = lived(10 * DAY + 120, by_day);
        assert!(worst < 12.0, "ordinary minutes come up to {worst}");
        check(&season, &rows, (10 * DAY + 120, 12.0), Some((1, true)));
        check(&season, &rows, (10 * DAY + 120, 2.0), None);
        let text = serde_json::to_string(&season).unwrap();
        let back: Season = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        assert!(text.len() < 8_000 && season.held() < 8_000, "{} bytes", text.len());
    }

    #[test]
    fn nothing_is_said_before_each_hour_is_known() {
        let (season, rows, worst) = lived(7 * DAY, by_day);
        assert_eq!(worst, 0.0);
        check(&season, &rows, (7 * DAY - 1_300, 200.0), None);
    }

    #[test]
    fn a_change_to_summer_time_moves_nothing() {
        let (season, rows, _) = lived(10 * DAY + 430, by_day);
        check(&season, &rows, (10 * DAY + 430, 12.0), None);
    }

    #[test]
    fn an_hour_that_was_hardly_seen_is_not_known() {
        let mut season = Season::default();
        for at in (0..8 * DAY).filter(|at| at % 60 < 20) {
            let (range, row) = row(at, 1.0);
            season.learn(range, &row, 0.0);
        }
        assert!(season.hours.is_empty());
        assert_eq!(hour_of(8 * DAY * MINUTE), 24);
    }
}
