//! Numbers in lines that are far from all that stood there before: a negative quantity, an amount a thousand times too big.
//!
//! What comes in: the numbers of each line with the unit that it belongs to, and the ends of windows. What goes out:
//! [`Odd`]s. A slot knows between which values it lay; beyond them, the logarithm of a value is taken to have an
//! exponential tail whose scale follows from how far the extremes of so many values lie from their middle. One odd value
//! may be a slip, three of one slot are told. What never happens here: an allocation per line in the steady state, or
//! learning a value that is far off before it has been there for hours.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::held;
use super::past::Past;
use super::template::{Name, Number};
use super::trace::tally::Unit;
use super::{Check, Gate};

/// Units whose numbers are looked at, and numbers of each.
const MAX_UNITS: usize = 20_000;
const MAX_SLOTS: usize = 8;
/// Values, and windows, before a slot is judged.
const ENOUGH: u32 = 200;
const WARM: u64 = 60;
/// How far off a value has to be, in factors of e: a thousand times beyond, or a hundred times on the other side of zero.
const FAR: f64 = 6.9;
const FLIPPED: f64 = 4.6;
/// What is not so many times the widest is not far off, without a logarithm.
const NEAR: f64 = 400.0;
/// No surprise beyond this is believed.
const MOST: f64 = 60.0;
/// No tail is taken to be thinner: values that vary by a half are ordinary.
const THIN: f64 = 0.35;
/// Windows that odd values are added up over, and how many are told.
const RECENT: usize = 36;
const LEAST: u32 = 3;
/// Windows after which an odd value that still comes is a habit.
const HABIT: u64 = 360;
/// Odd slots of a window that are remembered.
const MAX_ODD: usize = 200;

/// A slot whose values are far off.
#[derive(Clone, Debug, PartialEq)]
pub struct Odd {
    /// The lines that have it.
    pub unit: Unit,
    /// What stands before it.
    pub name: String,
    /// The value that is furthest off.
    pub value: f64,
    /// All values before lay between these.
    pub usual: (f64, f64),
    /// Lines with such a value, over so many windows.
    pub seen: u32,
    /// See `seen`.
    pub windows: usize,
    /// How surprising, in nats, by its own past.
    pub surprise: f64,
}

impl Odd {
    /// What it had to pass before its surprise was looked at.
    #[must_use]
    pub fn gate(&self) -> Gate {
        Gate::least(Check::Lines, self.seen.into(), LEAST.into())
    }
}

/// The numbers of a watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Values {
    /// By unit.
    slots: Vec<Vec<Slot>>,
    now: BTreeMap<(Unit, u8), Far>,
    recent: VecDeque<Vec<((Unit, u8), Far)>>,
    past: Past,
    windows: u64,
}

/// What is known of one number of a unit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Slot {
    name: Name,
    count: u32,
    low: f64,
    high: f64,
    /// The middle on the logarithmic scale.
    middle: f32,
    born: u64,
    /// The first window with values that are far off, and still are.
    odd_since: Option<u64>,
}

/// Values that are far off: how many, the furthest, how surprising.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Far {
    count: u32,
    value: f64,
    surprise: f64,
}

impl Values {
    /// Takes the numbers of a line in.
    #[inline]
    pub fn add(&mut self, unit: Unit, numbers: &[Number]) {
        if numbers.is_empty() || unit as usize >= MAX_UNITS {
            return;
        }
        if self.slots.len() <= unit as usize {
            self.slots.resize(unit as usize + 1, Vec::new());
        }
        let Some(slots) = self.slots.get_mut(unit as usize) else { return };
        for number in numbers {
            let at = match slots.iter().position(|slot| slot.name == number.name) {
                Some(at) => at,
                None if slots.len() < MAX_SLOTS => {
                    slots.push(Slot::new(number, self.windows));
                    continue;
                }
                None => continue,
            };
            let far = slots.get_mut(at).and_then(|slot| slot.add(number.value, self.windows));
            let Some(surprise) = far else { continue };
            let key = (unit, at as u8);
            if self.now.len() < MAX_ODD || self.now.contains_key(&key) {
                let far = self.now.entry(key).or_default();
                far.count += 1;
                if surprise > far.surprise {
                    (far.value, far.surprise) = (number.value, surprise);
                }
            }
        }
    }

    /// Ends a window: the slots that were odd in it and often enough of late.
    pub fn close(&mut self) -> Vec<Odd> {
        let now: Vec<((Unit, u8), Far)> = std::mem::take(&mut self.now).into_iter().collect();
        let peak = now.iter().map(|(_, far)| far.surprise).fold(0.0, f64::max);
        self.recent.push_back(now);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.windows += 1;
        let now = self.recent.back().map(Vec::as_slice).unwrap_or_default();
        let odd: Vec<Odd> = now.iter().filter_map(|(key, far)| self.odd(*key, *far)).collect();
        if odd.is_empty() {
            self.past.add(peak);
        }
        odd
    }

    fn odd(&self, key: (Unit, u8), far: Far) -> Option<Odd> {
        let (mut seen, mut windows) = (0, 0);
        for (at, window) in self.recent.iter().rev().enumerate() {
            let found = window.binary_search_by_key(&key, |(key, _)| *key).ok().and_then(|at| window.get(at));
            if let Some((_, far)) = found {
                (seen, windows) = (seen + far.count, at + 1);
            }
        }
        let slot = self.slots.get(key.0 as usize)?.get(usize::from(key.1))?;
        let odd = Odd {
            unit: key.0,
            name: slot.name.text(),
            value: far.value,
            usual: (slot.low, slot.high),
            seen,
            windows,
            surprise: far.surprise,
        };
        if seen >= LEAST { Some(odd) } else { None }
    }

    /// What is left of a surprise, by how surprising ordinary windows were.
    #[must_use]
    pub fn surprise(&self, odd: &Odd) -> f64 {
        self.past.surprise(odd.surprise)
    }

    /// Forgets units.
    pub fn forget(&mut self, gone: &FxHashSet<Unit>) {
        for (slots, _) in self.slots.iter_mut().zip(0..).filter(|(_, unit)| gone.contains(unit)) {
            *slots = Vec::new();
        }
        self.now.retain(|(unit, _), _| !gone.contains(unit));
        self.recent.iter_mut().for_each(|window| window.retain(|((unit, _), _)| !gone.contains(unit)));
    }

    /// Bytes that they hold.
    #[must_use]
    pub fn held(&self) -> usize {
        let slots: usize = self.slots.iter().map(|slots| held::list::<Slot>(slots.len())).sum();
        let recent: usize = self.recent.iter().map(|window| window.len() * size_of::<((Unit, u8), Far)>()).sum();
        held::list::<Vec<Slot>>(self.slots.len()) + slots + recent
    }

    /// Forgets the open window: it was not seen whole.
    pub fn jump(&mut self) {
        self.now.clear();
    }
}

impl Slot {
    fn new(number: &Number, window: u64) -> Self {
        let (name, value) = (number.name, number.value);
        Self { name, count: 1, low: value, high: value, middle: scaled(value) as f32, born: window, odd_since: None }
    }

    /// Learns a value, or says how surprising it is when it is far off.
    #[inline]
    fn add(&mut self, value: f64, window: u64) -> Option<f64> {
        if (self.low..=self.high).contains(&value) {
            self.count = self.count.saturating_add(1);
            if self.count < ENOUGH || self.count & 15 == 0 {
                self.middle += (scaled(value) as f32 - self.middle) / self.count.min(1_000) as f32;
            }
            return None;
        }
        let surprise = self.far(value, window);
        if surprise.is_some() && window - *self.odd_since.get_or_insert(window) < HABIT {
            return surprise;
        }
        self.odd_since = None;
        (self.low, self.high) = (self.low.min(value), self.high.max(value));
        self.count = self.count.saturating_add(1);
        None
    }

    #[inline]
    fn far(&self, value: f64, window: u64) -> Option<f64> {
        let widest = self.low.abs().max(self.high.abs());
        let flipped = value < 0.0 && self.low >= 0.0;
        // Towards zero there is no end to a logarithm: a value that became small is no finding.
        if self.count < ENOUGH || window < self.born + WARM || (value.abs() < NEAR * widest && !flipped) {
            return None;
        }
        let end = scaled(if value > self.high { self.high } else { self.low });
        let off = (scaled(value) - end).abs();
        // The furthest of n values of an exponential tail lies ln n scales from its middle.
        let known = f64::from(self.count).ln();
        let scale = ((end - f64::from(self.middle)).abs() / known).max(THIN);
        let far = off >= if flipped { FLIPPED } else { FAR };
        if far { Some((known + off / scale).min(MOST)) } else { None }
    }
}

/// Sign and logarithm.
fn scaled(value: f64) -> f64 {
    value.abs().ln_1p().copysign(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of these values, then one of the others, line by line.
    fn found(usual: impl Fn(u32) -> f64, odd: &[f64]) -> Vec<Odd> {
        let mut values = Values::default();
        let name = Name::new(b"quantity", 0);
        for window in 0..300 {
            for line in 0..10 {
                values.add(3, &[Number { name, value: usual(window * 10 + line) }]);
            }
            assert_eq!(values.close(), []);
        }
        for value in odd {
            values.add(3, &[Number { name, value: *value }]);
        }
        values.close()
    }

    #[test]
    fn values_far_off_are_told_from_the_third_on() {
        let few = |n| f64::from(n % 5 + 1);
        let wild = |n: u32| 10f64.powi((n.wrapping_mul(2_654_435_761) >> 16) as i32 % 6);
        for (usual, odd, told) in [
            (&few as &dyn Fn(u32) -> f64, &[-2_147_483_648.0; 3][..], true),
            (&few, &[-2_147_483_648.0; 2], false),
            (&few, &[99_999_999.0; 4], true),
            (&few, &[-1.0; 9], false),
            (&few, &[300.0; 9], false),
            (&few, &[0.0; 9], false),
            (&wild, &[900_000.0; 9], false),
            (&wild, &[-99_999_999.0; 9], true),
        ] {
            let found = found(usual, odd);
            assert_eq!(found.len(), usize::from(told), "{odd:?} {found:?}");
            assert!(found.iter().all(|one| one.surprise > 14.0 && one.name == "quantity"), "{odd:?} {found:?}");
        }
    }

    #[test]
    fn what_still_comes_after_hours_is_a_habit() {
        let mut values = Values::default();
        let name = Name::new(b"size", 0);
        let mut told = Vec::new();
        for window in 0..2_000u32 {
            for line in 0..10 {
                values.add(0, &[Number { name, value: f64::from(line) }]);
            }
            if window > 500 {
                values.add(0, &[Number { name, value: 1e9 }]);
            }
            if !values.close().is_empty() {
                told.push(window);
            }
        }
        assert_eq!((told.first(), told.last()), (Some(&503), Some(&860)));
    }
}
