//! Sessions that begin where their like never begin.
//!
//! What comes in: what the sessions of the last windows began with. What goes out: one line that begins sessions which hardly ever
//! did (a caller whose own lines are missing, a new way in), or that many different ones do: no service does that, it is the lines
//! before them that are lost or late. What lacks lines says nothing about services, so nothing else is told of sessions then.

use rustc_hash::FxHashMap;

use super::super::tail::upper_tail;
use super::broken::{by_rank, usual};
use super::limit::present;
use super::tally::Unit;
use super::{Deviation, ENOUGH, Kind, LATELY, SCALES, TWICE, Trace};

/// So many different lines begin sessions in their midst before it is lines that are lost, besides those that would begin them if
/// one service said nothing any more.
const LEAST_STARTS: usize = 3;
/// Groups that write them: one that begins something of its own does so with its own lines.
const LEAST_GROUPS: usize = 2;

impl Trace {
    pub(super) fn start_over(&self, root: Unit, (sessions, seen): (f64, f64), windows: usize) -> Deviation {
        let size = self.model.types.get(&root).map_or(0.0, |one| f64::from(one.sessions)) + 0.5;
        self.starts_over(Kind::Start(root), size, (sessions, seen), windows)
    }

    fn starts_over(&self, kind: Kind, size: f64, (sessions, seen): (f64, f64), windows: usize) -> Deviation {
        let past = self.model.sessions();
        let expected = sessions * size / (past + 1.0);
        let fano = 1.0 + sessions / (past + 1.0);
        let surprise = if seen >= TWICE * expected { -upper_tail(seen, expected, fano) } else { 0.0 };
        let past = (past, size - 0.5);
        Deviation { kind, seen, sessions, expected, surprise, windows, limit: None, took: None, past, fano }
    }

    /// Whether sessions often have a line, but hardly ever begin with it.
    pub(super) fn is_no_start(&self, root: Unit) -> bool {
        let begins = self.model.types.get(&root).map_or(0.0, |one| one.sessions);
        let has: f64 = self.model.types.iter().filter(|(of, _)| **of != root).map(|(_, one)| present(one, root)).sum();
        begins < ENOUGH && has >= 2.0 * f64::from(ENOUGH)
    }

    /// Sessions that begin in their midst, whatever with, over the windows that say most; `None` when there are none now.
    pub(super) fn lost(&self, bad: impl Fn(Unit) -> bool, group: impl Fn(Unit) -> u32) -> Option<Deviation> {
        let mut known: FxHashMap<Unit, bool> = FxHashMap::default();
        let mut starts: Vec<Unit> = Vec::new();
        let mut alone: FxHashMap<Unit, Option<u32>> = FxHashMap::default();
        let (mut sessions, mut seen) = (0.0, 0.0);
        let mut best: Option<Deviation> = None;
        // Whatever begins a session now and then counts: which of it is in the midst of others is costly to know.
        let rare = self.model.types.values().map(|one| one.sessions).filter(|sessions| *sessions < ENOUGH);
        let past: f64 = rare.map(f64::from).sum();
        for (at, tally) in self.recent.iter().rev().enumerate().take(LATELY) {
            sessions += tally.sessions();
            for (root, one) in &tally.types {
                // Problems begin sessions of their own.
                if *known.entry(*root).or_insert_with(|| !bad(*root) && self.is_no_start(*root)) {
                    seen += f64::from(one.sessions);
                    starts.push(*root);
                }
            }
            if at == 0 && seen == 0.0 {
                return None;
            }
            starts.sort_unstable();
            starts.dedup();
            if !SCALES.contains(&(at + 1)) || starts.len() < LEAST_STARTS {
                continue;
            }
            let mut silent: Vec<u32> = (starts.iter())
                .filter_map(|root| *alone.entry(*root).or_insert_with(|| self.behind_one(*root, &group)))
                .collect();
            silent.sort_unstable();
            let most = silent.chunk_by(|one, two| one == two).map(<[u32]>::len).max().unwrap_or_default();
            let mut groups: Vec<u32> = starts.iter().map(|root| group(*root)).collect();
            groups.sort_unstable();
            groups.dedup();
            if starts.len() - most >= LEAST_STARTS && groups.len() >= LEAST_GROUPS {
                let one = self.starts_over(Kind::Lost, past + 0.5, (sessions, seen), at + 1);
                best = best.filter(|best| best.surprise >= one.surprise).or(Some(one));
            }
        }
        best
    }

    /// The one other group whose lines come before this one, in the sessions that have it most often; `None` where there are
    /// several, or lines of its own.
    fn behind_one(&self, root: Unit, group: &impl Fn(Unit) -> u32) -> Option<u32> {
        let with = self.model.types.iter().map(|(of, model)| (present(model, root), *of, model));
        let (_, _, model) = with.max_by(|one, two| one.0.total_cmp(&two.0).then(two.1.cmp(&one.1)))?;
        let before = usual(model).into_iter().filter(|unit| by_rank(model, *unit, root).is_lt());
        let mut groups: Vec<u32> = before.map(group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups.first().copied().filter(|one| groups.len() == 1 && *one != group(root))
    }

    /// What sessions began with in their midst in the last windows, the most frequent first.
    #[must_use]
    pub fn middles(&self, windows: usize) -> Vec<Unit> {
        let mut counts: FxHashMap<Unit, f32> = FxHashMap::default();
        for tally in self.recent.iter().rev().take(windows) {
            tally.types.iter().for_each(|(root, one)| *counts.entry(*root).or_default() += one.sessions);
        }
        let mut starts: Vec<(Unit, f32)> = counts.into_iter().filter(|(root, _)| self.is_no_start(*root)).collect();
        starts.sort_by(|one, two| two.1.total_cmp(&one.1).then(one.0.cmp(&two.0)));
        starts.into_iter().map(|(root, _)| root).collect()
    }

    /// Whether lines were lost lately: then sessions say nothing else.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        let lately = |(kind, _, last): &(Kind, u64, u64)| *kind == Kind::Lost && last + LATELY as u64 >= self.windows;
        self.wrong.iter().any(lately)
    }

    /// Whether the window of this number lacks lines.
    pub(super) fn lacked(&self, window: u64) -> bool {
        let about = |(kind, first, last): &(Kind, u64, u64)| {
            *kind == Kind::Lost
                && first.saturating_sub(LATELY as u64) <= window
                && window <= *last
                && last - first < self.day
        };
        self.wrong.iter().any(about)
    }
}
