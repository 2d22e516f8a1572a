//! Messages that a group never wrote before.
//!
//! What comes in: first lines of templates, and the ends of windows. What goes out: how surprising a new template is. By
//! how often the group brings new ones (Good and Turing: what has been new lately will be again), by level, and by how
//! many of its words nobody has written before: variants of known lines are quiet. Weights from measurements on two
//! systems; below level warn nothing is told.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::held;
use super::{Check, Gate, Level};
use crate::labels::{FNV_OFFSET, fnv1a};

/// Windows of a group before what is new there says anything.
const ENOUGH: f32 = 30.0;
/// Windows after which half is forgotten.
const MOST: f32 = 20_000.0;
/// Words that are known; when there are more, no word is new.
const MAX_WORDS: usize = 60_000;
/// Weight of the share of new words, and the share of an ordinary variant.
const WORDS: f64 = 8.0;
const VARIANT: f64 = 0.33;

/// What a word that only other groups of the watch have written counts, beside one that nobody has.
const ELSEWHERE: f64 = 0.6;

/// What is new in the groups of a watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Novelty {
    words: FxHashSet<u64>,
    groups: Vec<Rate>,
}

/// How often a group brings something new of level warn or worse.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Rate {
    windows: f32,
    with_new: f32,
}

impl Novelty {
    /// The share of the words of a line that nobody has written before; they are known from now on. Words that others write
    /// and this group never did count in part (`ELSEWHERE`).
    pub fn unknown_words(&mut self, group: u32, line: &str) -> f64 {
        let (mut all, mut unknown, mut here) = (0u32, 0u32, 0u32);
        let words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1);
        for word in words.filter(|word| !word.bytes().any(|byte| byte.is_ascii_digit())).take(64) {
            all += 1;
            let hash = hash(word);
            if self.words.len() < MAX_WORDS && self.words.insert(hash) {
                unknown += 1;
            }
            if self.words.len() < MAX_WORDS && self.words.insert(of(group, hash)) {
                here += 1;
            }
        }
        let share = |words: u32| f64::from(words) / f64::from(all.max(1));
        share(unknown).max(ELSEWHERE * share(here))
    }

    /// How surprising it is that a group writes a new line, in nats; 0 when nothing is told of it.
    #[must_use]
    pub fn surprise(&self, group: u32, level: Level, unknown: f64) -> f64 {
        let weight = match level {
            Level::Error | Level::Critical => 3.0,
            Level::Warn => 1.0,
            _ => return 0.0,
        };
        let rate = self.groups.get(group as usize).copied().unwrap_or_default();
        if rate.windows < ENOUGH {
            return 0.0;
        }
        let often = f64::from(rate.with_new + 0.5) / f64::from(rate.windows + 1.0);
        (-often.ln() + weight + WORDS * (unknown - VARIANT)).max(0.0)
    }

    /// What has to be known of a group before new lines are told.
    #[must_use]
    pub fn history(&self, group: u32) -> Gate {
        let windows = self.groups.get(group as usize).map_or(0.0, |rate| rate.windows);
        Gate::least(Check::Windows, windows.into(), ENOUGH.into())
    }

    /// Forgets a group, whose number another may get.
    pub fn forget(&mut self, group: u32) {
        if let Some(rate) = self.groups.get_mut(group as usize) {
            *rate = Rate::default();
        }
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        held::map::<u64, ()>(self.words.len()) + held::list::<Rate>(self.groups.len())
    }

    /// Ends a window of a group: whether it brought something new of level warn or worse.
    pub fn close(&mut self, group: u32, new: bool) {
        if self.groups.len() <= group as usize {
            self.groups.resize(group as usize + 1, Rate::default());
        }
        let Some(rate) = self.groups.get_mut(group as usize) else { return };
        rate.windows += 1.0;
        rate.with_new += f32::from(u8::from(new));
        if rate.windows > MOST {
            rate.windows /= 2.0;
            rate.with_new /= 2.0;
        }
    }
}

/// A word of one group.
fn of(group: u32, word: u64) -> u64 {
    (word ^ u64::from(group).wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// FNV-1a: the same on every machine.
fn hash(word: &str) -> u64 {
    fnv1a(FNV_OFFSET, word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calmer_the_group_and_the_stranger_the_line_the_more_it_says() {
        let mut novelty = Novelty::default();
        novelty.unknown_words(0, "connection to database refused");
        for n in 0..1_000 {
            novelty.close(0, false);
            novelty.close(1, n % 5 == 0);
        }
        let variant = novelty.unknown_words(0, "connection to cache refused 17");
        let strange = novelty.unknown_words(0, "OutOfMemoryError: heap space exhausted");
        assert!(variant < 0.3 && strange > 0.7, "{variant} {strange}");
        let calm = |level, unknown| novelty.surprise(0, level, unknown);
        assert!(calm(Level::Error, strange) > calm(Level::Error, variant) + 4.0);
        assert!(calm(Level::Error, strange) > calm(Level::Warn, strange));
        assert_eq!(calm(Level::Info, strange), 0.0);
        assert!(calm(Level::Error, strange) > novelty.surprise(1, Level::Error, strange) + 4.0);
        assert_eq!(novelty.surprise(7, Level::Error, 1.0), 0.0, "a group that is new has nothing but new lines");
    }
}
