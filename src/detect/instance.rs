//! Errors and warnings of one instance of a group (a pod, a node) against its own past, and against the others of its group:
//! what is lost in the sum of all.
//!
//! What comes in: how many lines, warnings and errors each instance had in a window. What goes out: [`Odd`] instances, with how
//! surprising that is. What never happens here: a word about what all instances of a group have more of at once, which is
//! the group's, or about one that is new, which has no past.
//!
//! Counts follow a negative binomial law around the instance's own mean, or more, when it has more lines than usual, or when the
//! others of its group have more of the same.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::held;
use super::past::Past;
use super::tail::upper_tail;
use super::{Check, Gate};

/// Windows that an instance must be known for.
const ENOUGH: u64 = 240;
/// Windows that counts are summed over, and the youngest, not learnt yet.
const SPANS: [usize; 3] = [1, 3, 6];
const RECENT: usize = 6;
/// So many, and so many times what is expected, before anybody cares; of warnings more.
const LEAST: [f64; 2] = [10.0, 5.0];
const TIMES: f64 = 3.0;
/// It has so much of what its group has.
const SHARE: f64 = 0.5;
/// Of lines it has had its usual ones looked at once in so many windows: what changes with each is written with each.
const SAMPLED: u64 = 16;
const SMOOTH: f32 = 0.1;
/// An instance that was not seen for so long is gone: a day of minutes.
const GONE: u64 = 1440;
/// Windows that were told and not learnt, after which they are usual.
const STAYS: u32 = 1440;
/// Windows after which half is forgotten.
const MOST: f64 = 20_000.0;
/// Instances that are known; then those that were seen longest ago make room.
const MAX_KNOWN: usize = 5_000;

/// A group and an instance of it, as hashes.
pub(super) type Key = (u64, u64);

/// Which lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Of level warn.
    Warnings,
    /// Of level error or worse.
    Errors,
}

/// An instance with more than it should have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Odd {
    /// Which.
    pub key: Key,
    /// Of what.
    pub class: Class,
    /// How many.
    pub seen: f64,
    /// How many the whole group had.
    pub of: f64,
    /// How many were expected of the instance.
    pub expected: f64,
    /// Windows in a row.
    pub windows: usize,
    /// Windows that it is known for.
    pub known: f64,
    /// Variance over mean.
    pub fano: f64,
    /// How surprising, in nats.
    pub surprise: f64,
}

/// Lines, warnings and errors.
type Counts = [u32; 3];

/// The instances of a watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Instances {
    /// By key.
    known: Vec<(Key, Known)>,
    /// Of the last windows, the oldest first: instances with problems, by key.
    recent: VecDeque<Vec<(Key, Counts)>>,
    window: u64,
    past: Past,
}

/// What is known of one. It changes only when the instance has problems, and now and then.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Known {
    /// Windows before it, and the last in which it was looked at and had lines.
    born: u64,
    seen: u64,
    /// Lines in a window.
    lines: f32,
    /// Warnings and errors: their sum, and sum of squares.
    sums: [f64; 2],
    squares: [f64; 2],
    /// The last window that was told, and windows that were not learnt for that.
    told: u64,
    refused: u32,
}

impl Known {
    /// Warnings or errors in a window, and their variance over mean.
    fn usual(&self, class: usize, now: u64) -> (f64, f64) {
        let windows = (now.saturating_sub(self.born)) as f64;
        let (sum, squares) = (self.sums[class] + 0.5, self.squares[class] + 1.0);
        let mean = sum / (windows + 1.0);
        (mean, (squares / sum - mean).max(1.5))
    }
}

impl Instances {
    /// Ends a window in which these instances had lines; levels of one instance may come apart.
    pub(super) fn close(&mut self, counts: impl Iterator<Item = (Key, Counts)>) -> Vec<Odd> {
        self.window += 1;
        let mut all: Vec<(Key, Counts)> = counts.filter(|(_, [lines, ..])| *lines > 0).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.dedup_by(|(key, more), (first, counts)| {
            let same = key == first;
            if same {
                counts.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
            }
            same
        });
        self.meet(&all);
        let ill = |(key, counts): &&(Key, Counts)| counts[1].max(counts[2]) > 0 && self.of(*key).is_some();
        self.recent.push_back(all.iter().filter(ill).copied().collect());
        let now = self.recent.back().map(Vec::as_slice).unwrap_or_default();
        let found = now.iter().flat_map(|(key, counts)| {
            [Class::Warnings, Class::Errors].into_iter().filter_map(|class| self.judge(*key, *counts, class))
        });
        let found = found.collect();
        if self.recent.len() > RECENT {
            self.learn();
        }
        found
    }

    /// What is left of a surprise, by how surprising ordinary windows were.
    #[must_use]
    pub(super) fn surprise(&self, odd: &Odd) -> f64 {
        self.past.surprise(odd.surprise)
    }

    /// What it had to pass before its surprise was looked at.
    #[must_use]
    pub(super) fn gates(odd: &Odd) -> [Gate; 3] {
        [
            Gate::least(Check::Windows, odd.known, ENOUGH as f64),
            Gate::least(Check::Lines, odd.seen, LEAST[odd.class as usize]),
            Gate::least(Check::Excess, odd.seen / odd.expected.max(1e-9), TIMES),
        ]
    }

    /// Takes in what was found in a window and whether it was told: what was told is not learnt, for a day.
    pub(super) fn told(&mut self, found: &[(Odd, bool)]) {
        let now = self.window;
        for (odd, _) in found.iter().filter(|(_, told)| *told) {
            if let Some(known) = self.known_mut(odd.key) {
                known.told = now;
            }
        }
        if found.iter().all(|(_, told)| !told) {
            self.past.add(found.iter().map(|(odd, _)| odd.surprise).fold(0.0, f64::max));
        }
    }

    /// Forgets the last windows: what comes was not seen whole.
    pub(super) fn jump(&mut self) {
        self.recent.clear();
    }

    /// Bytes that they hold.
    #[must_use]
    pub(super) fn held(&self) -> usize {
        let recent: usize = self.recent.iter().map(|window| window.len() * size_of::<(Key, Counts)>()).sum();
        held::list::<(Key, Known)>(self.known.len()) + recent + self.past.held()
    }

    fn known_mut(&mut self, key: Key) -> Option<&mut Known> {
        let at = self.known.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.known.get_mut(at).map(|(_, known)| known)
    }

    fn of(&self, key: Key) -> Option<&Known> {
        let at = self.known.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.known.get(at).map(|(_, known)| known)
    }

    /// Notes who is there, at first sight and now and then.
    fn meet(&mut self, all: &[(Key, Counts)]) {
        let now = self.window;
        let fresh: Vec<&(Key, Counts)> = all.iter().filter(|(key, _)| self.of(*key).is_none()).collect();
        if self.known.len() + fresh.len() > MAX_KNOWN {
            self.make_room(fresh.len().min(MAX_KNOWN / 4));
        }
        let room = MAX_KNOWN.saturating_sub(self.known.len());
        let fresh: Vec<(Key, Known)> = fresh
            .into_iter()
            .take(room)
            .map(|(key, [lines, ..])| {
                (*key, Known { born: now - 1, seen: now, lines: *lines as f32, ..Known::default() })
            })
            .collect();
        if !fresh.is_empty() {
            self.known.extend(fresh);
            self.known.sort_unstable_by_key(|(key, _)| *key);
        }
        if !now.is_multiple_of(SAMPLED) {
            return;
        }
        for (key, [lines, ..]) in all {
            if let Some(known) = self.known_mut(*key) {
                known.lines += SMOOTH * (*lines as f32 - known.lines);
                known.seen = now;
            }
        }
        self.known.retain(|(_, known)| now.saturating_sub(known.seen) < GONE);
    }

    fn make_room(&mut self, wanted: usize) {
        let mut seen: Vec<u64> = self.known.iter().map(|(_, known)| known.seen).collect();
        seen.sort_unstable();
        let limit = seen.get(wanted.max(1).min(seen.len()).saturating_sub(1)).copied().unwrap_or_default();
        let mut left = wanted;
        self.known.retain(|(_, known)| {
            let goes = known.seen <= limit && left > 0;
            left -= usize::from(goes);
            !goes
        });
    }

    /// The span over which an instance has most.
    fn judge(&self, key: Key, now: Counts, class: Class) -> Option<Odd> {
        let at = class as usize;
        let current = f64::from(now[at + 1]);
        let known = self.of(key).filter(|_| current > 0.0)?;
        let age = self.window.saturating_sub(1 + known.born);
        if age < ENOUGH {
            return None;
        }
        let (mean, fano) = known.usual(at, self.window);
        let busy = (f64::from(now[0]) / f64::from(known.lines).max(1.0)).max(1.0);
        let own = |window: &Vec<(Key, Counts)>| {
            let found = window.binary_search_by_key(&key, |(key, _)| *key).ok().and_then(|at| window.get(at));
            found.map_or(0.0, |(_, counts)| f64::from(counts[at + 1]))
        };
        let mut others = None;
        let (mut seen, mut best) = (0.0, None::<Odd>);
        for (before, window) in self.recent.iter().rev().enumerate() {
            seen += own(window);
            let (windows, span) = (before + 1, (before + 1) as f64);
            let enough = seen >= LEAST[at] && seen >= TIMES * mean * span * busy && current * span >= 0.3 * seen;
            if !enough || !SPANS.contains(&windows) {
                continue;
            }
            let usual = *match &mut others {
                Some(known) => known,
                none => none.insert(self.others(key, at)?),
            };
            let of = self.recent.iter().rev().take(windows).flatten().filter(|(one, _)| one.0 == key.0);
            let of: f64 = of.map(|(_, counts)| f64::from(counts[at + 1])).sum();
            // What all have more of is the group's.
            let all = (of - seen + 1.0) / (usual * span + 1.0);
            let expected = mean * span * busy.max(all);
            if seen < TIMES * expected || seen < SHARE * of {
                continue;
            }
            let surprise = -upper_tail(seen, expected, fano);
            if best.as_ref().is_none_or(|best| surprise > best.surprise) {
                best = Some(Odd { key, class, seen, of, expected, windows, known: age as f64, fano, surprise });
            }
        }
        best
    }

    /// How much the others of its group have in a window; `None` where it is alone, or most of the group's lines are its own as a
    /// rule: then it is the group.
    fn others(&self, key: Key, class: usize) -> Option<f64> {
        let from = self.known.partition_point(|((group, _), _)| *group < key.0);
        let group = self.known.get(from..)?.iter().take_while(|((group, _), _)| *group == key.0);
        let alive = |known: &Known| self.window.saturating_sub(known.seen) < 2 * SAMPLED;
        let (mut usual, mut lines) = (0.0, 0.0);
        for (_, known) in group.filter(|(one, known)| *one != key && alive(known)) {
            usual += known.usual(class, self.window).0;
            lines += f64::from(known.lines);
        }
        let own = f64::from(self.of(key)?.lines);
        (own <= 2.0 * lines).then_some(usual)
    }

    fn learn(&mut self) {
        let Some(oldest) = self.recent.pop_front() else { return };
        let (now, then) = (self.window, self.window.saturating_sub(RECENT as u64));
        for (key, counts) in oldest {
            let Some(known) = self.known_mut(key) else { continue };
            if known.told < then || known.told == 0 {
                known.refused = 0;
            } else if known.refused < STAYS {
                known.refused += 1;
                continue;
            }
            let both = known.sums.iter_mut().zip(&mut known.squares).zip([counts[1], counts[2]]);
            for ((sum, squares), count) in both {
                *sum += f64::from(count);
                *squares += f64::from(count).powi(2);
            }
            if now.saturating_sub(known.born) as f64 > MOST {
                known.born = now - (MOST / 2.0) as u64;
                known.sums = known.sums.map(|sum| sum / 2.0);
                known.squares = known.squares.map(|squares| squares / 2.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::detector::Dice;

    const GROUP: u64 = 7;
    const NEEDED: f64 = 12.0;

    struct World {
        instances: Instances,
        dice: Dice,
        told: Vec<(u64, Odd)>,
    }

    impl World {
        fn new() -> Self {
            Self { instances: Instances::default(), dice: Dice(3), told: Vec::new() }
        }

        /// So many windows of instances with these means of lines and errors.
        fn live(&mut self, windows: u64, means: &[(f64, f64)]) {
            for _ in 0..windows {
                let mut draw = |mean: f64| (0..64).filter(|_| self.dice.unit() < mean / 64.0).count() as u32;
                let counts: Vec<(Key, Counts)> = (0..)
                    .zip(means)
                    .map(|(at, (lines, errors))| {
                        let errors = draw(*errors);
                        ((GROUP, at), [draw(*lines).max(errors).max(1), 0, errors])
                    })
                    .collect();
                // The levels of an instance come apart.
                let apart = counts.iter().flat_map(|(key, [lines, _, errors])| {
                    [(*key, [lines - errors, 0, 0]), (*key, [*errors, 0, *errors])]
                });
                let found = self.instances.close(apart);
                let judged: Vec<(Odd, bool)> = found
                    .into_iter()
                    .map(|odd| (self.instances.surprise(&odd) >= NEEDED, odd))
                    .map(|(told, odd)| (odd, told))
                    .collect();
                self.told.extend(
                    judged.iter().filter(|(_, told)| *told).map(|(odd, _)| (self.instances.window, odd.clone())),
                );
                self.instances.told(&judged);
            }
        }
    }

    /// Eight instances; in the sum of their errors those of one are lost.
    const USUAL: [(f64, f64); 8] = [(40.0, 3.0); 8];

    #[test]
    fn one_of_eight_that_has_more_errors_is_told_though_the_sum_is_hardly_more() {
        let mut world = World::new();
        world.live(1_000, &USUAL);
        assert_eq!(world.told, []);
        let mut ill = [(40.0, 0.2); 8];
        ill[5] = (40.0, 20.0);
        world.live(6, &ill);
        assert!(world.told.iter().all(|(_, odd)| odd.key == (GROUP, 5) && odd.class == Class::Errors));
        let (window, odd) = world.told.first().unwrap();
        assert!(*window <= 1_002 && odd.expected < 4.0 * odd.windows as f64, "{odd:?}");
        assert!(Instances::gates(odd).iter().all(|gate| gate.passed));
    }

    #[test]
    fn what_all_have_more_of_or_one_with_more_lines_or_a_new_one_is_not_told() {
        let mut world = World::new();
        world.live(1_000, &USUAL);
        world.live(20, &[(40.0, 30.0); 8]);
        assert_eq!(world.told, [], "all at once");
        let mut world = World::new();
        world.live(1_000, &[(4.0, 1.0); 8]);
        let mut busy = [(2.0, 0.5); 8];
        busy[2] = (60.0, 12.0);
        world.live(5, &busy);
        assert_eq!(world.told, [], "one with the traffic of the others");
        let mut more = USUAL.to_vec();
        more.push((40.0, 30.0));
        let mut world = World::new();
        world.live(1_000, &USUAL);
        world.live(100, &more);
        assert_eq!(world.told, [], "one that is new");
        let mut world = World::new();
        world.live(1_000, &[(40.0, 1.0)]);
        world.live(20, &[(40.0, 30.0)]);
        assert_eq!(world.told, [], "one that is alone");
    }

    #[test]
    fn what_stays_is_usual_after_a_day_and_a_restart_changes_nothing() {
        let mut world = World::new();
        world.live(1_000, &USUAL);
        let mut ill = USUAL;
        ill[5].1 = 40.0;
        world.live(700, &ill);
        let text = serde_json::to_string(&world.instances).unwrap();
        world.instances = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&world.instances).unwrap(), text);
        world.live(7_000, &ill);
        let last = world.told.last().unwrap().0;
        assert!((2_000..7_000).contains(&last), "told until {last}");
    }

    #[test]
    fn instances_are_bounded_and_the_gone_are_forgotten() {
        let mut instances = Instances::default();
        for n in 0..MAX_KNOWN as u64 + 100 {
            instances.close([((GROUP, n), [1, 0, 1])].into_iter());
        }
        assert!(instances.known.len() <= GONE as usize + SAMPLED as usize, "{}", instances.known.len());
        let crowd = |from: u64| (from..from + 4_000).map(|n| ((GROUP, n), [1, 0, 0]));
        instances.close(crowd(100_000));
        instances.close(crowd(200_000));
        assert!(instances.known.len() <= MAX_KNOWN, "{}", instances.known.len());
        assert!(instances.held() < 2_000_000);
        instances.jump();
        assert!(instances.recent.is_empty());
    }
}
