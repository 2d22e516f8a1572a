//! What a watch may hold: its share of `memory_limit`, and what goes when that is used up.
//!
//! What comes in: ends of windows. What goes out: what was dropped. First go groups that have been quiet for an hour, whole, the
//! longest quiet first; then templates and their lines, those seen longest ago; then the groups that know least. A group with an
//! open incident stays. What never happens here: a decision that depends on more than what a restart finds again, or on what
//! other watches hold: a replay drops the same.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::watch::{Out, Watch};
use crate::detect::pattern::GroupNumber;
use crate::time::{HOUR, MINUTE, Nanos, floor};

/// It is weighed each time that this much of the log's time has passed.
const WEIGHED_EVERY: Nanos = 10 * MINUTE;
/// From this share of its room on, in hundredths, groups that are new are counted together with others.
const CROWDED: u64 = 90;
/// When it is over, it is brought down to this.
const AFTERWARDS: u64 = 80;
/// Times that templates are given up at once, a quarter each.
const ROUNDS: usize = 8;

/// What was dropped for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Groups with all that was known of them.
    pub groups: u32,
    /// Templates.
    pub templates: u32,
    /// Kinds of lines of single groups.
    pub lines: u32,
    /// Bytes that the watch held before.
    pub held: u64,
    /// Bytes that it may hold.
    pub share: u64,
}

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { groups, templates, lines, held, share } = self;
        let megabytes = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "it held {:.1} MB and may hold {:.1} MB, so it has forgotten {groups} groups that were quiet longest, and {templates} \
             templates and {lines} kinds of lines that were seen longest ago. What comes back is learnt anew: until then \
             nothing is told of such a group, and less is noticed in such lines. Raise detect.memory_limit (each watch has \
             an equal share of it), watch less, or group by fewer labels.",
            megabytes(held),
            megabytes(share),
        )
    }
}

impl Watch {
    fn share(&self) -> u64 {
        self.shared.detect.memory_limit.0
    }

    /// Whether there is no room for further groups.
    pub(super) fn is_crowded(&self) -> bool {
        self.held > self.share() / 100 * CROWDED
    }

    /// Bytes that it holds.
    pub(super) fn weigh(&self) -> u64 {
        let groups: usize = self.groups.iter().map(super::group::GroupState::held).sum();
        (groups + self.patterns.held()) as u64
    }

    /// Ends a window: drops what there is no room for. True when indexes of groups, or where streams belong, changed.
    pub(super) fn make_room(&mut self, now: Nanos, out: &mut Out) -> bool {
        let alive: FxHashSet<GroupNumber> = self.groups.iter().map(|state| state.number).collect();
        let moved = self.patterns.bound(&alive, self.shared.detect.max_groups as usize);
        let every = WEIGHED_EVERY.max(self.tick());
        if floor(now, every) == floor(now - self.tick(), every) {
            return moved;
        }
        let was_crowded = self.is_crowded();
        self.held = self.weigh();
        if self.held <= self.share() {
            if was_crowded != self.is_crowded() {
                self.by_stream.clear();
                return true;
            }
            return moved;
        }
        let target = self.share() / 100 * AFTERWARDS;
        let mut dropped = Dropped { held: self.held, share: self.share(), ..Dropped::default() };
        dropped.groups += self.drop_groups(target, Some(now.saturating_sub(HOUR)));
        for _ in 0..ROUNDS {
            if self.held <= target {
                break;
            }
            let (templates, lines) = self.patterns.shed();
            dropped.templates += u32::try_from(templates).unwrap_or(u32::MAX);
            dropped.lines += u32::try_from(lines).unwrap_or(u32::MAX);
            let before = self.held;
            self.held = self.weigh();
            if self.held >= before {
                break;
            }
        }
        dropped.groups += self.drop_groups(target, None);
        self.by_stream.clear();
        let sum = out.dropped.get_or_insert(Dropped { held: dropped.held, share: dropped.share, ..Dropped::default() });
        sum.groups += dropped.groups;
        sum.templates += dropped.templates;
        sum.lines += dropped.lines;
        true
    }

    /// Drops groups that were quiet since then, or any, until no more is held than `target`.
    fn drop_groups(&mut self, target: u64, quiet_since: Option<Nanos>) -> u32 {
        if self.held <= target {
            return 0;
        }
        let idle = |at: &usize| self.groups.get(*at).filter(|state| state.idle());
        let old = |last: Nanos| quiet_since.is_none_or(|since| last < since);
        let mut order: Vec<(Nanos, u32, usize)> = (self.by_labels.values())
            .filter_map(|at| idle(at).map(|state| (state.last_line, state.learnt(), *at)))
            .filter(|(last, ..)| old(*last))
            .map(|(last, learnt, at)| (if quiet_since.is_some() { last } else { floor(last, HOUR) }, learnt, at))
            .collect();
        // Of equals the first by their labels: they come in that order.
        order.sort_by_key(|(last, learnt, _)| (*last, *learnt));
        let numbers: Vec<GroupNumber> = self.groups.iter().map(|state| state.number).collect();
        let lines = self.patterns.held_by(&numbers);
        let (mut gone, mut held) = (FxHashSet::default(), self.held);
        for (.., at) in order {
            if held <= target {
                break;
            }
            let own = self.groups.get(at).map_or(0, super::group::GroupState::held);
            held = held.saturating_sub((own + lines.get(at).copied().unwrap_or_default()) as u64);
            gone.insert(at);
        }
        let retired: Vec<GroupNumber> =
            numbers.iter().enumerate().filter(|(at, _)| gone.contains(at)).map(|(_, number)| *number).collect();
        self.patterns.retire(&retired);
        let mut at = 0;
        self.groups.retain(|_| {
            at += 1;
            !gone.contains(&(at - 1))
        });
        self.index();
        self.held = self.weigh();
        u32::try_from(gone.len()).unwrap_or(u32::MAX)
    }

    /// Makes anew what follows from the groups.
    pub(super) fn index(&mut self) {
        let groups = self.groups.iter().enumerate();
        self.by_labels = groups.map(|(index, state)| (state.group.labels.clone(), index)).collect();
        self.by_stream.clear();
    }
}
