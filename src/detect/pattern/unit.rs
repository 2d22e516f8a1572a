//! Units: the lines of a group with one template, under one number for as long as they are known.
//!
//! What comes in: templates and merges. What goes out: numbers. A template of a group that only begins otherwise than a
//! known one (the stream's header was learnt anew, or is longer) has the number of that one. Bounded.

use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};

use super::super::Level;
use super::super::mask::{head, masked};
use super::super::template::TemplateId;
use super::super::trace::tally::Unit;
use super::{Patterns, SHOWN, State};
use crate::labels::{FNV_OFFSET, fnv1a};

/// Two texts end alike when so many words do; and are the same but for their beginning when one is at least so many
/// tenths of the other.
const ENDING: usize = 4;
const ALIKE: usize = 6;
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct UnitInfo {
    pub(super) group: u32,
    pub(super) template: TemplateId,
    pub(super) level: Level,
    /// How its text ended when it was first seen, as a hash.
    #[serde(default)]
    pub(super) ending: u64,
}

impl Patterns {
    pub(super) fn unit(&mut self, group: u32, template: TemplateId, level: Level) -> Unit {
        if let Some(unit) = self.state.unit_of.get(&(group, template.0)) {
            return *unit;
        }
        if self.state.alive() >= self.most {
            let other = TemplateId(u32::MAX);
            return match self.state.unit_of.get(&(group, other.0)) {
                Some(unit) => *unit,
                None => self.state.push(UnitInfo { group, template: other, level: Level::Unknown, ending: 0 }),
            };
        }
        let text = self.miner.get(template).map_or("", |template| template.text);
        let unknown = self.state.novelty.unknown_words(group, text);
        let ending = ending(text);
        if let Some(known) = self.known_as((group, ending), level, text) {
            self.state.again.push((group, template, known));
            self.state.unit_of.insert((group, template.0), known);
            return known;
        }
        let unit = self.state.push(UnitInfo { group, template, level, ending });
        if !self.state.is_back(group, template) {
            self.fresh.push((unit, unknown));
        }
        unit
    }

    /// The unit of the group that this text is of, but for its beginning.
    pub(super) fn known_as(&self, ending: (u32, u64), level: Level, text: &str) -> Option<Unit> {
        let unit = *self.state.endings.get(&ending).filter(|_| ending.1 != 0 && self.state.again.len() < self.most)?;
        let info = self.state.info(unit).filter(|info| info.level == level)?;
        let known = self.miner.get(self.miner.resolve(info.template))?.text;
        let (one, two): (Vec<&str>, Vec<&str>) = (words(text).collect(), words(known).collect());
        let (short, long) = if one.len() < two.len() { (one, two) } else { (two, one) };
        let same = 10 * short.len() >= ALIKE * long.len() && long.ends_with(&short);
        if same { Some(unit) } else { None }
    }

    pub(super) fn follow_merges(&mut self) {
        let merges: Vec<(TemplateId, TemplateId)> = self.miner.merges().collect();
        for (from, into) in merges {
            let into = self.miner.resolve(into);
            self.state.rarity.merge(from, into);
            for group in self.state.numbers() {
                let Some(unit) = self.state.unit_of.remove(&(group, from.0)) else { continue };
                if self.state.info(unit).is_some_and(|info| info.template != from) {
                    // Counted as another already, which it stays.
                    if let Entry::Vacant(place) = self.state.unit_of.entry((group, into.0)) {
                        place.insert(unit);
                        let known = self.state.again.iter_mut().find(|(of, was, _)| (*of, *was) == (group, from));
                        known.into_iter().for_each(|(_, template, _)| *template = into);
                    }
                    continue;
                }
                match self.state.unit_of.get(&(group, into.0)) {
                    Some(known) if *known != unit => {
                        self.state.trace.rename(unit, *known);
                        self.state.bursts.merge(unit, *known);
                        self.state.ratios.merge(unit, *known);
                        self.state.silence.merge(unit, *known);
                        self.state.seen.merge(unit, *known);
                    }
                    Some(_) => {}
                    None => {
                        self.state.unit_of.insert((group, into.0), unit);
                        if let Some(info) = self.state.units.get_mut(unit as usize).and_then(Option::as_mut) {
                            info.template = into;
                        }
                    }
                }
            }
        }
    }

    /// The text of a unit's template as it is now, masked, cut.
    pub(super) fn text(&self, unit: Unit) -> Option<String> {
        let template = self.state.info(unit)?.template;
        let text = self.miner.get(self.miner.resolve(template)).map_or("other lines", |template| template.text);
        Some(head(&masked(text), SHOWN).to_owned())
    }

    pub(super) fn group_of(&self, unit: Unit) -> u32 {
        self.state.info(unit).map_or(0, |info| info.group)
    }
}

impl State {
    pub(super) fn info(&self, unit: Unit) -> Option<&UnitInfo> {
        self.units.get(unit as usize)?.as_ref()
    }

    /// Gives the least free number.
    pub(super) fn push(&mut self, info: UnitInfo) -> Unit {
        let unit = self.free.units.pop().unwrap_or(self.units.len() as Unit);
        self.unit_of.insert((info.group, info.template.0), unit);
        let ending = self.endings.entry((info.group, info.ending)).or_insert(unit);
        *ending = unit.min(*ending);
        match self.units.get_mut(unit as usize) {
            Some(place) => *place = Some(info),
            None => self.units.push(Some(info)),
        }
        unit
    }
}

/// The words of a template that do not vary.
fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1);
    words.filter(|word| !word.bytes().any(|byte| byte.is_ascii_digit()))
}

/// The last words of a template as a hash; 0 when there are too few to tell.
pub(super) fn ending(text: &str) -> u64 {
    let last = words(text).rev().take(ENDING);
    let (count, hash) = last.fold((0, FNV_OFFSET), |(count, hash), word| {
        let hash = fnv1a(hash, word.as_bytes());
        (count + 1, hash.rotate_left(1))
    });
    if count < ENDING { 0 } else { hash }
}
