//! From lines to events of sessions.
//!
//! What comes in: lines. What goes out: events with their session and template. While nobody knows where in a line the
//! session key stands, lines wait, a bounded number of them; then all are handed on in their order. Where lines have no
//! key, a stream is a session.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashSet;

use super::Line;
use super::open::Event;
use super::vector::Unit;
use crate::collect::{Level, Purpose};
use crate::detect::level::level_of;
use crate::detect::template::{Limits, Miner, TemplateId};
use crate::detect::trace::key::KeyFinder;

/// Bytes of lines that may wait; past it, what is known by then has to do.
const MAX_WAITING: usize = 32 << 20;
/// Templates of errors that are remembered.
const MAX_ERRORS: usize = 1 << 14;

/// A line that waits.
struct Waiting {
    event: Event,
    line: Box<str>,
}

pub(super) struct Reader {
    miner: Miner,
    keys: KeyFinder,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    errors: FxHashSet<Unit>,
    lines: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            miner: Miner::new(Limits::default()),
            keys: KeyFinder::default(),
            waiting: VecDeque::new(),
            bytes: 0,
            errors: FxHashSet::default(),
            lines: 0,
        }
    }
}

impl Reader {
    /// Reads a line, and hands on what is known by it.
    pub(super) fn read(&mut self, purpose: Purpose, line: &Line<'_>, mut found: impl FnMut(Event)) {
        let level = level_of(line.line, None);
        let slot = self.miner.stream(line.stream);
        let unit = self.miner.mine(slot, line.ts, level, line.line).template.0;
        if level >= Level::Error && self.errors.len() < MAX_ERRORS {
            self.errors.insert(unit);
        }
        let learn = purpose == Purpose::Learn;
        let event = Event { key: line.stream, ts: line.ts, unit, line: self.lines, learn };
        self.lines += 1;
        if let Some(key) = line.key {
            return found(Event { key, ..event });
        }
        if !self.keys.is_searching() {
            return self.tell(event, line.line, &mut found);
        }
        self.keys.key(line.line, unit.into());
        self.bytes += line.line.len();
        self.waiting.push_back(Waiting { event, line: line.line.into() });
        if self.bytes > MAX_WAITING {
            self.keys.settle();
        }
        if !self.keys.is_searching() {
            self.release(found);
        }
    }

    /// No more lines: what is known by now has to do.
    pub(super) fn finish(&mut self, found: impl FnMut(Event)) {
        if !self.waiting.is_empty() {
            self.keys.settle();
            self.release(found);
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.keys.name()
    }

    /// What a template has become.
    pub(super) fn resolve(&self, unit: Unit) -> Unit {
        self.miner.resolve(TemplateId(unit)).0
    }

    /// Whether a line of the template was of level error or worse.
    pub(super) fn is_error(&self, unit: Unit) -> bool {
        self.errors.contains(&unit)
    }

    /// Carries over to templates what was known of those that became a part of them.
    pub(super) fn settle_errors(&mut self) {
        let resolved: BTreeSet<Unit> = self.errors.iter().map(|unit| self.resolve(*unit)).collect();
        self.errors = resolved.into_iter().collect();
    }

    fn release(&mut self, mut found: impl FnMut(Event)) {
        for one in std::mem::take(&mut self.waiting) {
            self.tell(one.event, &one.line, &mut found);
        }
        self.bytes = 0;
    }

    /// Where there are keys, a line without one belongs to no session.
    fn tell(&self, event: Event, line: &str, found: &mut impl FnMut(Event)) {
        if self.keys.name().is_none() {
            found(event);
        } else if let Some(key) = self.keys.find(line) {
            found(Event { key, ..event });
        }
    }
}
