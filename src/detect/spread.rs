//! Where the lines of a window come from: labels that odd lines have in common and the others of their group have not.
//!
//! What comes in: for each line of the open window its stream and level, and for problems their unit. What goes out: of
//! the closed window, [`Common`] labels. What never happens here: a look at the text of a line. A line costs one addition;
//! labels are looked at for anomalies only. Streams, units and labels are bounded; what is beyond is not counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::Level;
use super::mask::{head, masked};
use super::trace::tally::Unit;
use crate::collect::Stream;
use crate::labels::Labels;

/// Streams that are told apart; past it all are forgotten at the end of the window.
const MAX_STREAMS: usize = 10_000;
/// Units of streams that are counted in a window.
const MAX_UNITS: usize = 20_000;
/// Labels with their values that are compared.
const MAX_PAIRS: usize = 10_000;
/// Labels that are told.
const MAX_TOLD: usize = 3;
/// Bytes of a value that is told.
const VALUE: usize = 120;
/// Most of the odd lines have it, and so many times fewer of the others.
const MOST: f64 = 0.5;
const TIMES: f64 = 1.5;
/// How surprising it has to be if odd lines came from everywhere, in nats: one in a thousand.
const SURPRISE: f64 = 6.9;
/// Labels that say the level: of errors, it is no news that they are errors.
const LEVELS: [&str; 4] = ["level", "detected_level", "severity", "lvl"];

/// Which lines of a window are the odd ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Odd {
    /// Those of level error or worse.
    Errors,
    /// Those of level warn.
    Warnings,
    /// Those of the strongest pattern that has lines.
    Pattern,
}

/// A label that odd lines have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Common {
    /// Its name.
    pub label: String,
    /// Its value.
    pub value: String,
    /// Which lines.
    pub odd: Odd,
    /// So many of them have it.
    pub seen: u64,
    /// Of so many.
    pub of: u64,
    /// The share of the group's other lines in the window that have it, 0 to 1.
    pub others: f64,
}

/// A stream as it is numbered here; good until [`Spread::forget`] says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(u32);

/// Lines of a window.
#[derive(Debug, Default)]
struct Counts {
    /// By stream: all, of level warn, of level error or worse.
    lines: Vec<[u32; 3]>,
    units: FxHashMap<(Unit, u32), u32>,
}

/// The streams of a watch with their lines in the open window, and in the one before.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// With the group of each, and a hash of its labels without levels.
    streams: Vec<(u32, Arc<Stream>, u64)>,
    index: FxHashMap<u64, u32>,
    open: Counts,
    closed: Counts,
}

impl Spread {
    /// The number of a stream of a group.
    pub(super) fn origin(&mut self, group: u32, stream: &Arc<Stream>) -> Origin {
        if let Some(known) = self.index.get(&stream.hash) {
            return Origin(*known);
        }
        if self.streams.len() >= MAX_STREAMS {
            return Origin(u32::MAX);
        }
        let number = self.streams.len() as u32;
        self.streams.push((group, Arc::clone(stream), stream.labels.stable_hash_without(&LEVELS)));
        self.index.insert(stream.hash, number);
        Origin(number)
    }

    /// Counts a line with the level that it is counted with elsewhere.
    pub(super) fn add(&mut self, origin: Origin, level: Level) {
        let at = origin.0 as usize;
        if at >= self.open.lines.len() {
            if at >= self.streams.len() {
                return;
            }
            self.open.lines.resize(self.streams.len(), [0; 3]);
        }
        if let Some([all, warns, errors]) = self.open.lines.get_mut(at) {
            *all += 1;
            *warns += u32::from(level == Level::Warn);
            *errors += u32::from(level >= Level::Error);
        }
    }

    /// Counts a problem besides.
    pub(super) fn add_problem(&mut self, origin: Origin, unit: Unit) {
        let key = (unit, origin.0);
        if self.open.units.len() < MAX_UNITS || self.open.units.contains_key(&key) {
            *self.open.units.entry(key).or_default() += 1;
        }
    }

    /// Ends a window: from now on it is the one that is asked about.
    pub(super) fn close(&mut self) {
        std::mem::swap(&mut self.open, &mut self.closed);
        self.open.lines.iter_mut().for_each(|lines| *lines = [0; 3]);
        self.open.units.clear();
    }

    /// Forgets what has been counted in the open window.
    pub(super) fn discard(&mut self) {
        self.close();
        self.closed.lines.clear();
    }

    /// Forgets all streams when there are too many. True when it did: their numbers mean nothing any more.
    pub(super) fn forget(&mut self) -> bool {
        let full = self.streams.len() >= MAX_STREAMS;
        if full {
            *self = Self::default();
        }
        full
    }

    /// What the problems of a unit have in common.
    pub(super) fn of_unit(&self, group: u32, unit: Unit) -> Vec<Common> {
        let count = |at: u32, _: &[u32; 3]| self.closed.units.get(&(unit, at)).copied().unwrap_or_default();
        self.common(group, Odd::Pattern, count)
    }

    /// What the errors or the warnings of a group have in common.
    pub(super) fn of_level(&self, group: u32, odd: Odd) -> Vec<Common> {
        match odd {
            Odd::Errors => self.common(group, odd, |_, lines| lines[2]),
            Odd::Warnings => self.common(group, odd, |_, lines| lines[1]),
            Odd::Pattern => Vec::new(),
        }
    }

    /// The unit with most problems of those that are asked for, and its share of them.
    pub(super) fn most_frequent(&self, is_odd: impl Fn(Unit) -> bool) -> Option<(Unit, f64)> {
        let mut counts: BTreeMap<Unit, u32> = BTreeMap::new();
        let units = self.closed.units.iter().filter(|((unit, _), _)| is_odd(*unit));
        units.for_each(|((unit, _), count)| *counts.entry(*unit).or_default() += count);
        let all: u32 = counts.values().sum();
        // Of equals the first that was known.
        let (unit, most) = counts.into_iter().rev().max_by_key(|(_, count)| *count)?;
        Some((unit, f64::from(most) / f64::from(all.max(1))))
    }

    /// By group and instance: all lines of the window, those of level warn, those of level error or worse. Streams that differ
    /// in their level alone are one instance, and come apart.
    pub(super) fn instances(&self) -> impl Iterator<Item = (u32, u64, [u32; 3])> {
        let streams = self.streams.iter().zip(&self.closed.lines);
        streams.map(|((group, _, instance), lines)| (*group, *instance, *lines))
    }

    /// The unit with most problems of an instance, of those that are asked for.
    pub(super) fn most_frequent_of(
        &self,
        (group, instance): (u32, u64),
        is_odd: impl Fn(Unit) -> bool,
    ) -> Option<Unit> {
        let of = |at: u32| self.streams.get(at as usize).is_some_and(|one| (one.0, one.2) == (group, instance));
        let units = self.closed.units.iter().filter(|((unit, at), _)| of(*at) && is_odd(*unit));
        // Of equals the first that was known.
        units.max_by_key(|((unit, _), count)| (**count, std::cmp::Reverse(*unit))).map(|((unit, _), _)| *unit)
    }

    /// The labels by which an instance differs from the others of its group that have lines in the window, such as
    /// `pod="cart-1"`; all of them where it is alone there. Not more than a few.
    pub(super) fn instance(&self, (group, instance): (u32, u64)) -> Option<String> {
        let there =
            self.streams.iter().zip(&self.closed.lines).filter(|((owner, ..), lines)| *owner == group && lines[0] > 0);
        let others: Vec<&Labels> = there.map(|((_, stream, _), _)| &stream.labels).collect();
        let (_, own, _) = self.streams.iter().find(|one| (one.0, one.2) == (group, instance))?;
        let of_it = || own.labels.iter().filter(|(label, _)| !LEVELS.contains(label));
        let differs = |(label, value): &(&str, &str)| others.iter().any(|other| other.get(label) != Some(value));
        let mut told: Vec<(&str, &str)> = of_it().filter(differs).take(MAX_TOLD).collect();
        if told.is_empty() {
            told = of_it().take(MAX_TOLD).collect();
        }
        let told: Vec<String> =
            told.into_iter().map(|(label, value)| format!("{label}={:?}", head(&masked(value), VALUE))).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    fn common(&self, group: u32, odd: Odd, count: impl Fn(u32, &[u32; 3]) -> u32) -> Vec<Common> {
        let (mut of, mut others) = (0, 0);
        let mut pairs: BTreeMap<(&str, &str), (u32, u32)> = BTreeMap::new();
        for (at, ((owner, stream, _), lines)) in (0..).zip(self.streams.iter().zip(&self.closed.lines)) {
            if *owner != group || lines[0] == 0 {
                continue;
            }
            let here = count(at, lines).min(lines[0]);
            of += here;
            others += lines[0] - here;
            for pair in stream.labels.iter() {
                if pairs.len() < MAX_PAIRS || pairs.contains_key(&pair) {
                    let sums = pairs.entry(pair).or_default();
                    *sums = (sums.0 + here, sums.1 + lines[0] - here);
                }
            }
        }
        let looks = (pairs.len().max(1) as f64).ln();
        let mut told: Vec<(f64, Common)> = Vec::new();
        for ((label, value), (seen, rest)) in pairs {
            if others == 0 || (odd != Odd::Pattern && LEVELS.contains(&label)) {
                continue;
            }
            let surprise = surprise((seen, of), (rest, others)) - looks;
            if surprise >= SURPRISE {
                let value = head(&masked(value), VALUE).to_owned();
                let share = f64::from(rest) / f64::from(others);
                let common =
                    Common { label: label.to_owned(), value, odd, seen: seen.into(), of: of.into(), others: share };
                told.push((surprise, common));
            }
        }
        told.sort_by(|one, two| two.0.total_cmp(&one.0));
        told.into_iter().take(MAX_TOLD).map(|(_, common)| common).collect()
    }
}

/// How surprising it is that `seen` of `of` have a label when `rest` of `others` have it, in nats (Chernoff's bound of
/// the binomial law); 0 where it is not much more.
fn surprise((seen, of): (u32, u32), (rest, others): (u32, u32)) -> f64 {
    let share = f64::from(seen) / f64::from(of.max(1));
    let usual = (f64::from(rest) + 1.0) / (f64::from(others) + 2.0);
    if share < MOST || share < TIMES * usual {
        return 0.0;
    }
    let part = |share: f64, usual: f64| if share > 0.0 { share * (share / usual).ln() } else { 0.0 };
    f64::from(of) * (part(share, usual) + part(1.0 - share, 1.0 - usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pod: &str, node: &str) -> Arc<Stream> {
        Stream::new([("service_name", "cart"), ("pod", pod), ("node", node)].into_iter().collect())
    }

    /// Lines and errors of four pods on two nodes.
    fn told(pods: [(u32, u32); 4]) -> String {
        let mut spread = Spread::default();
        for (at, (lines, errors)) in (0..).zip(pods) {
            let origin = spread.origin(3, &stream(&format!("api-{at}"), &format!("n{}", at / 2)));
            (0..lines).for_each(|_| spread.add(origin, Level::Info));
            for _ in 0..errors {
                spread.add(origin, Level::Error);
                spread.add_problem(origin, 7);
            }
        }
        // Another group, which must not count.
        let other = spread.origin(4, &stream("api-9", "n0"));
        (0..500).for_each(|_| spread.add(other, Level::Error));
        spread.close();
        let words = |all: Vec<Common>| {
            let one = |one: &Common| format!("{}={} {}/{} {:.2}", one.label, one.value, one.seen, one.of, one.others);
            all.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        assert!(spread.of_level(3, Odd::Warnings).is_empty());
        let errors = words(spread.of_level(3, Odd::Errors));
        assert_eq!(words(spread.of_unit(3, 7)), errors);
        errors
    }

    #[test]
    fn what_most_odd_lines_have_and_few_others_is_told() {
        for (pods, text) in [
            ([(100, 0), (100, 0), (100, 0), (40, 40)], "pod=api-3 40/40 0.12, node=n1 40/40 0.41"),
            ([(100, 2), (100, 0), (100, 0), (100, 38)], "pod=api-3 38/40 0.25, node=n1 38/40 0.50"),
            ([(100, 20), (100, 20), (100, 0), (100, 0)], "node=n0 40/40 0.50"),
            ([(100, 10), (100, 10), (100, 10), (100, 10)], ""),
            ([(100, 0), (100, 0), (100, 0), (100, 2)], ""),
            ([(0, 0), (0, 0), (0, 0), (0, 40)], ""),
        ] {
            assert_eq!(told(pods), text, "{pods:?}");
        }
    }

    #[test]
    fn an_instance_is_named_by_what_differs_in_the_window() {
        let mut spread = Spread::default();
        let origins: Vec<Origin> = (0..3).map(|at| spread.origin(3, &stream(&format!("api-{at}"), "n0"))).collect();
        spread.origin(4, &stream("api-9", "n1"));
        let named = |spread: &Spread| {
            let (group, instance, _) = spread.instances().find(|(.., lines)| lines[0] > 0)?;
            spread.instance((group, instance))
        };
        origins.iter().for_each(|origin| spread.add(*origin, Level::Error));
        spread.close();
        assert_eq!(named(&spread).as_deref(), Some("pod=\"api-0\""));
        spread.add(origins[1], Level::Error);
        spread.close();
        assert_eq!(named(&spread).as_deref(), Some("node=\"n0\", pod=\"api-1\", service_name=\"cart\""), "alone");
    }

    #[test]
    fn streams_and_problems_are_bounded() {
        let mut spread = Spread::default();
        for n in 0..MAX_STREAMS + 10 {
            let origin = spread.origin(0, &stream(&n.to_string(), "n"));
            spread.add(origin, Level::Error);
            (0..3).for_each(|unit| spread.add_problem(origin, unit));
        }
        assert_eq!((spread.streams.len(), spread.open.units.len()), (MAX_STREAMS, MAX_UNITS));
        assert!(spread.forget() && !spread.forget());
        assert!(spread.streams.is_empty());
    }
}
