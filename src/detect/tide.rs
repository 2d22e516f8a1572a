//! How many lines a group has at each hour of the week.
//!
//! What comes in: learnt windows with their times. What goes out: lines that are too few or too many for this hour, though
//! the group has as few or as many at others: a noon that falls to the level of the night. What never happens here: a
//! judgement before each hour of a week is known, or one of a day that is quieter from its morning on: too few are only
//! those that were as many as ever half an hour before.
//!
//! An hour's levels are the envelope of its weeks. What is expected lies between the lowest and the highest of this hour and
//! its neighbours (a change to or from summer time moves it by one) and the last half hour.

use serde::{Deserialize, Serialize};

use super::expect::{Finding, SPANS};
use super::history::Row;
use super::past::Past;
use super::season::{AGES, FADES, HALF, HOURS, RECENT, SKIP, WANDERS, hour_of};
use super::tail::{Upper, lower_tail, ordinary};
use super::{Feature, held};
use crate::time::{HOUR, TimeRange};

/// So far beyond what is expected anybody cares: as for all hours together. What falls, falls from the last half hour's level,
/// of which so much at least goes on.
const FEWER: f64 = 0.5;
const GOES_ON: f64 = 0.8;
/// And is so much of the lowest that this hour ever had, at the most.
const CLEAR: f64 = 0.8;
const LEAST: f64 = 5.0;
const MORE: (f64, f64) = (3.0, 20.0);

/// The hours of a group's week.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tide {
    /// Lines a second, at the least and at the most, by hour of the week, Thursday 0:00 UTC first; negative where it is not
    /// known.
    hours: Vec<[f32; 2]>,
    /// The hour that goes on, counted since 1970: its lines, and seconds learnt.
    now: i64,
    sum: f64,
    seconds: f64,
    /// Squared distances from what was expected, and what that was: variance over mean.
    spread: (f64, f64),
    past: Past,
}

impl Tide {
    /// What is too much or too little for this hour, with what it is worth beside ordinary windows; and the greatest surprise
    /// of all, which [`Tide::learn`] takes. `trail` holds the rows before, the newest first, `recent` those that were learnt.
    pub(super) fn finding<'a>(
        &self,
        range: TimeRange,
        row: &Row,
        trail: impl Iterator<Item = &'a Row>,
        recent: impl Iterator<Item = &'a Row>,
    ) -> (Option<Finding>, f64) {
        let Some((low, high)) = self.usual(hour_of(range.start)) else { return (None, 0.0) };
        let length = row.seconds().max(1.0);
        let (skip, take) = ((SKIP / length).ceil() as usize, (RECENT / length).ceil().max(3.0) as usize);
        let (windows, sum) =
            recent.skip(skip).take(take).fold((0.0, 0.0), |(n, sum), row| (n + 1.0, sum + f64::from(row.lines())));
        let before = sum / f64::max(windows, 1.0);
        let now = f64::from(row.lines());
        let (low, high) = (low * row.seconds() / WANDERS, (high * row.seconds()).max(before) * WANDERS);
        // A quiet day is low before, and not what falls.
        let falls = before >= low;
        let fano = self.fano();
        let (mut sum, mut seen, mut peak) = (0.0, 0, 0.0);
        let mut best: Option<(f64, usize, f64)> = None;
        let mut values = std::iter::once(now).chain(trail.map(|row| f64::from(row.lines())));
        // What is usual at this hour says nothing of windows of others.
        let fits = |span: &usize| *span == 1 || *span as f64 * length <= 3600.0;
        for span in SPANS.into_iter().filter(fits) {
            let more = values.by_ref().take(span - seen).fold((0, 0.0), |(n, sum), lines| (n + 1, sum + lines));
            (seen, sum) = (seen + more.0, sum + more.1);
            if seen < span {
                break;
            }
            let (least, most) = (low * span as f64, high * span as f64 + 0.5);
            let level = GOES_ON * before * span as f64;
            let surprise = match sum {
                few if few < least.min(level) && falls => -lower_tail(few, level, fano),
                many if many > most => -Upper::new(most, fano).tail(many),
                _ => 0.0,
            };
            peak = surprise.max(peak);
            // What is over was told when it was there.
            let fewer =
                sum <= (CLEAR * least).min(FEWER * level) && level >= LEAST && now <= low.min(FEWER * GOES_ON * before);
            let surplus = sum >= MORE.0 * most + MORE.1 && now >= MORE.0 * high;
            if (fewer || surplus) && surprise > best.map_or(0.0, |(known, ..)| known) {
                best = Some((surprise, span, sum));
            }
        }
        let found = best.filter(|_| self.past.is_known()).and_then(|(surprise, span, sum)| {
            let surprise = self.past.surprise(surprise);
            let seconds = span as f64 * length;
            let expected = (low * span as f64 / seconds, ordinary(high * span as f64, fano) / seconds);
            let finding = Finding {
                feature: Feature::Rate,
                seen: sum / seconds,
                expected,
                surprise,
                span,
                presence: false,
                seasonal: true,
            };
            Some(finding).filter(|finding| finding.surprise > 0.0)
        });
        (found, peak)
    }

    /// Learns a window, and what was the greatest surprise in it.
    pub(super) fn learn(&mut self, range: TimeRange, row: &Row, peak: f64) {
        let now = range.start.div_euclid(HOUR);
        if now != self.now {
            self.turn(now);
        }
        let lines = f64::from(row.lines());
        (self.seconds, self.sum) = (self.seconds + row.seconds(), self.sum + lines);
        if let Some((low, high)) = self.usual(hour_of(range.start)) {
            let near = lines.max(low * row.seconds()).min(high * row.seconds());
            let (squares, means) = self.spread;
            self.spread = (squares * AGES + (lines - near).powi(2), means * AGES + near.max(0.01));
            self.past.add(peak);
        }
    }

    /// The hour is over.
    fn turn(&mut self, now: i64) {
        if self.seconds >= HALF * 3600.0 {
            self.hours.resize(HOURS, [-1.0; 2]);
            if let Some([low, high]) = self.hours.get_mut(self.now.rem_euclid(HOURS as i64) as usize) {
                let last = (self.sum / self.seconds) as f32;
                if *low < 0.0 {
                    (*low, *high) = (last, last);
                } else {
                    let faded = |level: f32| FADES * level + (1.0 - FADES) * last;
                    (*low, *high) = (last.min(faded(*low)), last.max(faded(*high)));
                }
            }
        }
        (self.now, self.sum, self.seconds) = (now, 0.0, 0.0);
    }

    /// Lines a second at this hour and its neighbours, at the least and at the most; `None` where one is not known.
    fn usual(&self, hour: usize) -> Option<(f64, f64)> {
        let near = [HOURS - 1, 0, 1].map(|off| self.hours.get((hour + off) % HOURS));
        let (low, high) = near.into_iter().try_fold((f32::MAX, 0f32), |(low, high), hour| {
            let [least, most] = hour.filter(|hour| hour[0] >= 0.0)?;
            Some((low.min(*least), high.max(*most)))
        })?;
        Some((low.into(), high.into()))
    }

    /// Variance over mean of what lies outside of its hour.
    fn fano(&self) -> f64 {
        let (squares, means) = self.spread;
        // Two stands for what has never been seen.
        ((squares + 2.0) / (means + 1.0)).max(1.2)
    }

    /// Bytes that it holds besides itself.
    pub(super) fn held(&self) -> usize {
        held::list::<[f32; 2]>(self.hours.len()) + self.past.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::config::DetectConfig;
    use crate::detect::detector::Dice;
    use crate::detect::detector::tests::window;
    use crate::detect::history::History;

    const DAY: i64 = 24 * 60;

    fn row(at: i64, lines: f64) -> (TimeRange, Row) {
        let window = window(at, lines as u64, [140.0, 0.0, 0.0, 30.0]);
        (window.range, History::new(&DetectConfig::default(), 1).row(&window))
    }

    /// Many lines by day, few by night, and less on a Sunday.
    fn usual(at: i64) -> f64 {
        let hour = (at % DAY) as f64 / 60.0;
        let day = 120.0 * (1.0 + 0.8 * ((hour - 9.0) / 24.0 * std::f64::consts::TAU).sin());
        if at / DAY % 7 == 3 { 0.5 * day } else { day }
    }

    struct Life {
        tide: Tide,
        rows: Vec<Row>,
        dice: Dice,
        told: Vec<(i64, bool, bool)>,
    }

    impl Life {
        /// Minutes with so many times the usual lines; what is told is not learnt.
        fn live(&mut self, minutes: std::ops::Range<i64>, times: f64) {
            for at in minutes {
                let mean = usual(at) * times;
                let noise: f64 = (0..12).map(|_| self.dice.unit()).sum::<f64>() - 6.0;
                let (range, row) = row(at, (mean + noise * mean.sqrt()).max(0.0).round());
                let past = self.rows.iter().rev().take(60);
                let (found, peak) = self.tide.finding(range, &row, past.clone(), past);
                let told = found.filter(|found| found.surprise > 12.0);
                if let Some(found) = &told {
                    self.told.push((at, found.seen < found.expected.0, found.seen > found.expected.1));
                } else {
                    self.tide.learn(range, &row, peak);
                    self.rows.push(row);
                }
            }
        }
    }

    fn lived(days: i64) -> Life {
        let mut life = Life { tide: Tide::default(), rows: Vec::new(), dice: Dice(1), told: Vec::new() };
        life.live(0..days * DAY, 1.0);
        life
    }

    #[test]
    fn a_noon_that_falls_to_the_level_of_the_night_is_told() {
        let mut life = lived(9);
        assert_eq!(life.told, [], "ordinary days");
        let noon = 9 * DAY + 14 * 60;
        life.live(9 * DAY..noon, 1.0);
        assert_eq!(life.told, []);
        life.live(noon..noon + 10, 0.3);
        assert!(life.told.first().is_some_and(|(at, few, _)| at - noon < 3 && *few), "{:?}", life.told);
        assert!(life.tide.held() < 8_000);
        let text = serde_json::to_string(&life.tide).unwrap();
        let back: Tide = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }

    #[test]
    fn a_night_as_busy_as_a_day_is_told_and_a_busy_day_is_not() {
        let mut life = lived(9);
        let night = 9 * DAY + 3 * 60;
        life.live(9 * DAY..night, 1.0);
        life.live(night..night + 10, 6.0);
        assert!(life.told.first().is_some_and(|(at, _, many)| at - night < 3 && *many), "{:?}", life.told);
        let mut life = lived(9);
        life.live(9 * DAY..10 * DAY, 1.5);
        assert_eq!(life.told, []);
    }

    #[test]
    fn a_holiday_is_quiet_from_its_morning_on() {
        let mut life = lived(9);
        // It begins in the night before, hour by hour.
        for hour in 0..6 {
            life.live(9 * DAY + hour * 60..9 * DAY + (hour + 1) * 60, 1.0 - 0.65 * (hour + 1) as f64 / 6.0);
        }
        life.live(9 * DAY + 360..10 * DAY, 0.35);
        assert_eq!(life.told, []);
    }

    #[test]
    fn nothing_is_said_before_each_hour_is_known() {
        let mut life = lived(6);
        life.live(6 * DAY..6 * DAY + 30, 0.1);
        assert_eq!(life.told, []);
    }
}
