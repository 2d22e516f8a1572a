//! One watch: cuts its entries into groups and windows, in the order of time, and keeps that order over batches.
//!
//! Everything happens at borders of time that do not depend on how the entries were cut into batches: before an entry at
//! or after a border is taken, the border is passed for all groups, in the order of their labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::carry::Carry;
use super::group::{About, GroupState, REMEMBER, With, name};
use super::{Budget, Learning, Restore, Snapshot, Step, WatchOptions};
use crate::collect::{Batch, Coverage, Known, Purpose, Stream};
use crate::detect::Window;
use crate::detect::calibrate::GROUPS;
use crate::detect::config::{DetectConfig, WindowSpec};
use crate::detect::level::level_of;
use crate::detect::pattern::{Patterns, Place};
use crate::detect::window::OpenWindow;
use crate::incident::config::IncidentConfig;
use crate::labels::Labels;
use crate::time::{HOUR, MINUTE, Nanos, SECOND, TimeRange, ceil, floor};

/// Each time that this much of the log's time has passed, some models are stored: each once an hour, for they are long, and a
/// restart folds the windows since in. No later: it finds the windows of an hour, and no more where there is no model yet.
const SNAPSHOT_EVERY: Nanos = 10 * MINUTE;

/// Streams whose group is remembered; past it the memory starts afresh.
const MAX_STREAMS: usize = 100_000;

/// Labels that name a service, in the order of preference, for watches without `group_by`.
const NAMES: [&str; 3] = ["service_name", "job", "app"];

/// Labels whose values are names of pods, or may be.
const PODS: [&str; 3] = ["pod", "pod_name", "stream"];

/// The workload of a pod of a replica set, `cart` of `cart-66dcaa0e8-k8vqf`: a pod of a new release is the same service.
/// Other names stay as they are.
fn workload(pod: &str) -> &str {
    let lower = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let mut parts = pod.rsplitn(3, '-');
    let (Some(pod_part), Some(set), Some(name)) = (parts.next(), parts.next(), parts.next()) else { return pod };
    let random = pod_part.len() == 5 && lower(pod_part);
    let hash = (6..=10).contains(&set.len()) && lower(set) && set.bytes().any(|b| b.is_ascii_digit());
    if random && hash && !name.is_empty() { name } else { pod }
}

/// What all watches share. Of the budget, each has its own part.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) tenant: String,
    pub(super) detect: DetectConfig,
    pub(super) incident: IncidentConfig,
}

/// What a step collects while it goes.
pub(super) type Out = Step;

/// The state of one watch.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) options: WatchOptions,
    pub(super) shared: Arc<Shared>,
    /// What it may spend; `None`: all of what is set.
    budget: Option<Budget>,
    pub(super) groups: Vec<GroupState>,
    pub(super) by_labels: BTreeMap<Labels, usize>,
    pub(super) by_stream: FxHashMap<u64, usize>,
    pub(super) patterns: Patterns,
    /// Bytes that it held when it was last weighed.
    pub(super) held: u64,
    /// The last border of the batch that is read: what is known there is stored.
    last_border: Nanos,
    purpose: Purpose,
    /// All before it is closed; entries before it have been counted.
    done_until: Nanos,
    /// End of what has been read.
    upto: Nanos,
    /// Windows that start before it were not seen from their start.
    seen_from: Nanos,
    /// The worst that is known of the open window.
    coverage: Coverage,
    snapshot_at: Nanos,
}

impl Watch {
    pub(super) fn new(options: WatchOptions, shared: Arc<Shared>) -> Self {
        Self {
            patterns: Patterns::new(&shared.detect, options.window),
            last_border: Nanos::MAX,
            options,
            shared,
            budget: None,
            groups: Vec::new(),
            by_labels: BTreeMap::new(),
            by_stream: FxHashMap::default(),
            held: 0,
            purpose: Purpose::Judge,
            done_until: Nanos::MIN,
            upto: Nanos::MIN,
            seen_from: Nanos::MIN,
            coverage: UNSEEN,
            snapshot_at: Nanos::MIN,
        }
    }

    pub(super) fn leave_unstored(&mut self) {
        self.snapshot_at = Nanos::MAX;
    }

    pub(super) fn explain(&mut self) {
        self.patterns.explain();
    }

    pub(super) fn reset(&mut self) {
        let budget = self.budget;
        *self = Self::new(self.options.clone(), Arc::clone(&self.shared));
        budget.into_iter().for_each(|budget| self.spend(budget));
    }

    pub(super) fn spend(&mut self, budget: Budget) {
        let group = budget.group * GROUPS;
        self.budget = Some(budget);
        Arc::make_mut(&mut self.shared).detect.false_alerts_per_day = group;
        self.patterns.spend(budget.watch, group);
        self.groups.iter_mut().for_each(|state| state.spend(group));
    }

    pub(super) fn restore(&mut self, stored: Restore) {
        self.done_until = stored.done_until;
        self.upto = stored.done_until;
        self.seen_from = stored.done_until;
        if let Some(patterns) = &stored.patterns {
            self.patterns.restore(patterns);
        }
        let carry = stored.carry.as_deref().and_then(Carry::read);
        // Who is not in the carry was forgotten; without one, all who left windows are there.
        let all = carry.is_none();
        let carry = carry.unwrap_or_default();
        for group in carry.groups {
            let index = self.group(group.labels.clone());
            if let Some(state) = self.groups.get_mut(index) {
                state.uncarry(group);
            }
        }
        for snapshot in &stored.snapshots {
            if let Some(state) = self.groups.iter_mut().find(|state| state.group.fingerprint == snapshot.group) {
                state.restore_model(snapshot, &self.shared);
            }
        }
        for row in &stored.windows {
            if !all && !self.by_labels.contains_key(&row.group.labels) {
                continue;
            }
            let new = !self.by_labels.contains_key(&row.group.labels);
            let index = self.group(row.group.labels.clone());
            if let Some(state) = self.groups.get_mut(index) {
                state.born = if new { Nanos::MIN } else { state.born };
                state.refold(row);
            }
        }
        // Not before: all of them had their place.
        self.held = carry.held;
    }

    pub(super) fn step(&mut self, batch: &Batch) -> Step {
        let mut out = Step { watch: Some(Arc::clone(&batch.watch)), gaps: batch.gaps.clone(), ..Step::default() };
        match batch.purpose {
            Purpose::Learn | Purpose::Judge => self.read(batch, &mut out),
            Purpose::Amend => self.amend(batch, &mut out),
            Purpose::Confirm => {}
        }
        if matches!(batch.purpose, Purpose::Amend | Purpose::Confirm) {
            for index in self.by_labels.values() {
                if let Some(state) = self.groups.get_mut(*index) {
                    state.confirm(batch.range, &self.options, &self.shared, &mut out);
                }
            }
        }
        self.finish(batch.purpose, &mut out);
        out
    }

    pub(super) fn patterns(&self) -> Vec<u8> {
        self.patterns.snapshot()
    }

    fn is_stored(&self) -> bool {
        self.snapshot_at != Nanos::MAX
    }

    /// The models whose turn it is, and those that missed theirs.
    fn due(&mut self, border: Nanos) -> Vec<Snapshot> {
        let turns = (HOUR / SNAPSHOT_EVERY).cast_unsigned();
        let turn = (border / SNAPSHOT_EVERY).cast_unsigned() % turns;
        let mut due = Vec::new();
        for index in self.by_labels.values() {
            let Some(state) = self.groups.get_mut(*index) else { continue };
            if state.group.fingerprint.0 % turns == turn || border - state.stored_at >= HOUR {
                state.stored_at = border;
                due.push(state.snapshot());
            }
        }
        due
    }

    pub(super) fn snapshots(&self) -> Vec<Snapshot> {
        self.by_labels.values().filter_map(|index| self.groups.get(*index)).map(GroupState::snapshot).collect()
    }

    /// Length of the aligned windows, or of the ticks where windows are cut by lines.
    pub(super) fn tick(&self) -> Nanos {
        match self.options.window {
            WindowSpec::Time(span) => span.nanos(),
            WindowSpec::Lines { .. } => MINUTE,
        }
    }

    fn by_lines(&self) -> bool {
        matches!(self.options.window, WindowSpec::Lines { .. })
    }

    fn read(&mut self, batch: &Batch, out: &mut Out) {
        if batch.purpose == Purpose::Judge && self.purpose == Purpose::Learn {
            out.snapshots = self.snapshots();
            self.start_at(batch);
            out.patterns = self.is_stored().then(|| self.patterns.snapshot());
        } else if batch.range.start > self.upto {
            self.start_at(batch);
        }
        self.purpose = batch.purpose;
        self.last_border = floor(batch.range.end, self.tick());
        let known = batch.coverage.known;
        if known <= Known::Partial && batch.is_empty() && batch.range.len() > 2 * self.tick() {
            self.skip(batch, out);
            return;
        }
        // A group begins with its first line: before it there was nothing that could have been silent.
        let mut groups: Vec<Option<(usize, Place)>> = vec![None; batch.streams.len()];
        let mut border = self.next_border();
        let by_lines = self.by_lines();
        for entry in batch.entries() {
            if entry.ts < self.done_until {
                continue;
            }
            if entry.ts >= border {
                if self.pass_until(entry.ts, known, out) {
                    groups.fill(None);
                }
                border = self.next_border();
            }
            let (Some(slot), Some(stream)) = (groups.get_mut(entry.stream), batch.streams.get(entry.stream)) else {
                continue;
            };
            let (index, place) = *slot.get_or_insert_with(|| self.place_of(stream));
            let Some(state) = self.groups.get_mut(index) else { continue };
            out.lines += u64::from(by_lines);
            let level = level_of(entry.line, entry.detected_level);
            let (template, level) = self.patterns.add(place, &entry, level);
            if let Some(window) = state.add(&entry, level, template.0.into(), known) {
                let seconds = window.range.len() as f64 / SECOND as f64;
                let lines = self.patterns.resolved(&state.messages());
                let rarest = self.patterns.rarest(state.number, &lines, window.range.start);
                let about = About { rarest, ..About::default() };
                let with = With { options: &self.options, shared: &self.shared, patterns: &self.patterns };
                match self.purpose {
                    Purpose::Learn => state.study(&window, &About::default()),
                    _ => state.judge(window, &about, with, out),
                }
                self.patterns.learn_window(state.number, &lines, seconds);
            }
        }
        self.pass_until(batch.range.end, known, out);
        self.note(known, batch);
        self.upto = self.upto.max(batch.range.end);
        if self.by_lines() {
            self.done_until = self.done_until.max(batch.range.end);
            out.patterns = (self.is_stored() && self.purpose == Purpose::Judge).then(|| self.patterns.snapshot());
        }
    }

    /// Starts afresh at the batch: what came before it was not read, or was history.
    fn start_at(&mut self, batch: &Batch) {
        // A file is whole from its first line on; of Loki, the first window may have begun before the first request.
        let whole = batch.coverage.known == Known::Audited && self.upto == Nanos::MIN;
        self.jump(if whole { floor(batch.range.start, self.tick()) } else { batch.range.start });
    }

    /// Passes over a long range that was left out: nothing is judged in it, and nobody takes it for quiet.
    fn skip(&mut self, batch: &Batch, out: &mut Out) {
        for index in self.by_labels.values() {
            if let Some(state) = self.groups.get_mut(*index) {
                state.tick(batch.range, batch.coverage.known, &self.options, &self.shared, out);
            }
        }
        self.jump(batch.range.end);
    }

    fn jump(&mut self, start: Nanos) {
        self.seen_from = start;
        self.done_until = self.done_until.max(floor(start, self.tick()));
        self.upto = start;
        self.coverage = UNSEEN;
        self.patterns.jump(start);
        for state in &mut self.groups {
            state.discard();
        }
    }

    fn next_border(&self) -> Nanos {
        let from = if self.by_lines() { self.upto.max(self.done_until) } else { self.done_until };
        floor(from, self.tick()).saturating_add(self.tick())
    }

    /// Passes all borders up to and including `until`. True when groups were forgotten on the way: their indexes moved.
    fn pass_until(&mut self, until: Nanos, known: Known, out: &mut Out) -> bool {
        let mut moved = false;
        loop {
            let border = self.next_border();
            if border > until {
                return moved;
            }
            if self.groups.is_empty() {
                self.done_until = floor(until, self.tick());
                self.upto = self.upto.max(self.done_until);
                return moved;
            }
            self.worsen(Coverage { known, ..Coverage::default() });
            self.pass(border, out);
            moved |= self.forget(border);
            moved |= self.make_room(border, out);
            if border == self.last_border && self.purpose == Purpose::Judge && !self.by_lines() && self.is_stored() {
                out.patterns = Some(self.patterns.snapshot());
            }
            moved |= self.patterns.forget_places();
            self.coverage = UNSEEN;
        }
    }

    fn pass(&mut self, border: Nanos, out: &mut Out) {
        let range = TimeRange::new(border - self.tick(), border);
        let seen = range.start >= self.seen_from;
        let coverage = self.coverage;
        let found = self.patterns.close(border, seen && coverage.is_whole());
        let mut about = About { found, ..About::default() };
        for index in self.by_labels.values() {
            let Some(state) = self.groups.get_mut(*index) else { continue };
            if matches!(self.options.window, WindowSpec::Lines { .. }) {
                if self.purpose == Purpose::Judge {
                    state.tick(range, coverage.known, &self.options, &self.shared, out);
                }
                continue;
            }
            if !seen {
                state.discard();
                continue;
            }
            let window = state.close(range, coverage);
            about.in_sessions = self.patterns.is_in_sessions(state.number);
            out.lines += window.lines;
            match self.purpose {
                Purpose::Learn => state.study(&window, &about),
                _ => {
                    let with = With { options: &self.options, shared: &self.shared, patterns: &self.patterns };
                    state.judge(window, &about, with, out);
                }
            }
        }
        self.done_until = border;
        self.upto = self.upto.max(border);
        if self.purpose == Purpose::Judge && border >= self.snapshot_at {
            if self.snapshot_at != Nanos::MIN {
                out.snapshots = self.due(border);
            }
            self.snapshot_at = floor(border, SNAPSHOT_EVERY) + SNAPSHOT_EVERY;
        }
    }

    /// What the batch says of the window that is still open.
    fn note(&mut self, known: Known, batch: &Batch) {
        let border = self.next_border() - self.tick();
        if batch.range.end > border {
            let gaps = batch.gaps.iter().filter(|gap| gap.range.end > border);
            let missing = gaps.filter_map(|gap| gap.lines).sum();
            self.worsen(Coverage { known, seen: 0, missing });
        }
    }

    fn worsen(&mut self, by: Coverage) {
        self.coverage.known = self.coverage.known.min(by.known);
        self.coverage.missing += by.missing;
    }

    /// Drops groups that have been without a line for `forget_after` and have no open incident.
    fn forget(&mut self, now: Nanos) -> bool {
        let limit = now.saturating_sub(self.shared.detect.forget_after.nanos());
        let old = |state: &GroupState| state.last_line < limit && state.idle();
        if !self.groups.iter().any(old) {
            return false;
        }
        self.groups.retain(|state| !old(state));
        self.index();
        true
    }

    fn places_of(&mut self, batch: &Batch) -> Vec<(usize, Place)> {
        batch.streams.iter().map(|stream| self.place_of(stream)).collect()
    }

    fn place_of(&mut self, stream: &Arc<Stream>) -> (usize, Place) {
        let index = self.group_of(stream);
        let group = self.groups.get(index).map_or(0, |state| state.group.fingerprint.0);
        (index, self.patterns.place(group, stream))
    }

    fn group_of(&mut self, stream: &Arc<Stream>) -> usize {
        if let Some(index) = self.by_stream.get(&stream.hash) {
            return *index;
        }
        let labels = self.group_labels(&stream.labels);
        let index = self.group(labels);
        if self.by_stream.len() >= MAX_STREAMS {
            self.by_stream.clear();
        }
        self.by_stream.insert(stream.hash, index);
        index
    }

    fn group_labels(&self, stream: &Labels) -> Labels {
        let named = |name: &&str| stream.get(name).is_some_and(|v| !v.is_empty() && v != "unknown_service");
        if self.options.group_by.is_empty() {
            let name = NAMES.iter().find(|name| named(name));
            return name.iter().filter_map(|name| Some((**name, stream.get(name)?))).collect();
        }
        let value = |name: &str| {
            let value = stream.get(name)?;
            Some(if PODS.contains(&name) { workload(value) } else { value })
        };
        self.options.group_by.iter().filter_map(|name| Some((name.as_str(), value(name)?))).collect()
    }

    fn group(&mut self, labels: Labels) -> usize {
        if let Some(index) = self.by_labels.get(&labels) {
            return *index;
        }
        let other: Labels = [("group", "other")].into_iter().collect();
        if (self.groups.len() >= self.shared.detect.max_groups as usize || self.is_crowded()) && labels != other {
            return self.group(other);
        }
        self.groups.push(GroupState::new(labels.clone(), &self.options, &self.shared));
        // A new group is not forgotten before it had a chance to speak.
        if let Some(state) = self.groups.last_mut() {
            (state.last_line, state.born, state.stored_at) = (self.done_until, self.done_until, self.done_until);
            state.number = self.patterns.group(state.group.fingerprint.0);
            self.patterns.call(state.number, name(&labels));
        }
        self.by_labels.insert(labels, self.groups.len() - 1);
        self.groups.len() - 1
    }

    /// Builds the closed windows of the range anew from its whole content, and judges again those that grew.
    fn amend(&mut self, batch: &Batch, out: &mut Out) {
        if self.by_lines() {
            return;
        }
        let size = self.tick();
        let from = ceil(batch.range.start, size).max(self.upto.saturating_sub(REMEMBER));
        let until = floor(batch.range.end, size).min(self.done_until);
        let places = self.places_of(batch);
        let mut open: BTreeMap<(Nanos, usize), OpenWindow> = BTreeMap::new();
        for entry in batch.entries().filter(|entry| from <= entry.ts && entry.ts < until) {
            if let Some((index, place)) = places.get(entry.stream) {
                let level = level_of(entry.line, entry.detected_level);
                let template = self.patterns.template(*place, &entry, level);
                open.entry((floor(entry.ts, size), *index)).or_default().add(&entry, level, template.0.into());
            }
        }
        let mut windows: Vec<((Nanos, usize), OpenWindow)> = open.into_iter().collect();
        let label = |index: usize| self.groups.get(index).map(|state| state.group.labels.clone());
        windows.sort_by_cached_key(|((start, index), _)| (*start, label(*index)));
        for ((start, index), window) in windows {
            let range = TimeRange::new(start, start + size);
            let coverage = Coverage { known: Known::Audited, seen: window.lines(), missing: 0 };
            let window = Window { samples: window.kept().samples(), ..window.close(range, coverage, true) };
            if let Some(state) = self.groups.get_mut(index) {
                let with = With { options: &self.options, shared: &self.shared, patterns: &self.patterns };
                state.rejudge(window, with, out);
            }
        }
    }

    fn finish(&mut self, purpose: Purpose, out: &mut Out) {
        (out.done_until, out.held) = (self.done_until, self.held);
        let ready = self.groups.iter().filter(|state| state.ready()).count();
        out.learning = Learning {
            groups: u32::try_from(self.groups.len()).unwrap_or(u32::MAX),
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            coarse: self.patterns.poor(),
        };
        if purpose == Purpose::Learn {
            return;
        }
        out.audits = self.by_labels.values().filter_map(|index| self.groups.get(*index)?.wish()).collect();
        out.audits.sort_unstable();
        out.audits.dedup();
        let changed = self.by_lines() || !out.windows.is_empty() || !out.incidents.is_empty();
        if self.is_stored() && (changed || !out.snapshots.is_empty() || !out.transitions.is_empty()) {
            let groups = self.by_labels.values().filter_map(|index| self.groups.get(*index));
            out.carry = Carry::new(groups.map(GroupState::carry).collect(), self.held).write();
        }
    }
}

/// Coverage of a window of which nothing bad is known yet.
const UNSEEN: Coverage = Coverage { known: Known::Audited, seen: 0, missing: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_a_workload_are_one_group() {
        for (pod, name) in [
            ("ts-order-service-5b67c48447-mv5hb", "ts-order-service"),
            ("cart-66dcaa0e8-aa08f", "cart"),
            ("postgres-0", "postgres-0"),
            ("R02-M1-N0-C:J12-U11", "R02-M1-N0-C:J12-U11"),
            ("dfs.DataNode$PacketResponder", "dfs.DataNode$PacketResponder"),
            ("node-exporter-x7k2p", "node-exporter-x7k2p"),
            ("", ""),
        ] {
            assert_eq!(workload(pod), name);
        }
    }
}
