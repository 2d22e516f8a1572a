//! The templates, and where a line's hash leads.
//!
//! What comes in: sequences and their hashes. What goes out: ids that are never reused, and the merge map that readers
//! resolve them through. What never happens here: growth beyond the limits, or a decision about what belongs together.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::atoms::{Span, V, View, sequence_hash};
use super::byte::{mix, word_hash};
use super::snapshot::{Bytes, Stored, stored, stored_enum};
use super::table::Table;
use super::{Level, TemplateId};
use crate::detect::held;
use crate::time::Nanos;

/// Entries of the cache from hash to template, at most and for each template that there may be; a power of two.
const CACHE: usize = 1 << 16;
const EACH: usize = 8;
/// Merges that are remembered. Whoever keeps ids hears of each merge in time.
const MERGES: usize = 1 << 16;
/// Hashes of forgotten templates, so that one that comes back is not new.
const TOMBSTONES: usize = 1 << 16;
/// Words are kept up to this length in a template's text, and shorter ones when the text is long already.
const WORD: usize = 64;
const TEXT: usize = 1024;

/// What is kept of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: u32,
    /// Hash of its sequence, with the code place.
    pub(super) key: u64,
    /// Code place of the header, as a hash; 0 for none.
    pub(super) place: u64,
    pub(super) seq: Seq,
    /// A line as it came: secrets masked, cut.
    pub(super) example: Box<str>,
    pub(super) count: u64,
    pub(super) first: Nanos,
    pub(super) last: Nanos,
    pub(super) levels: [u64; 7],
    /// The stream that it was first seen in, as the miner counts streams.
    pub(super) stream: u32,
    pub(super) kind: RowKind,
    /// Of a trace: the template of the event that it belongs to.
    pub(super) head: u32,
}

/// How a template came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RowKind {
    /// From a message.
    #[default]
    Message,
    /// From a stack trace.
    Trace,
    /// For all messages with this beginning, since there are too many templates.
    Coarse,
}

/// A sequence with its own text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seq {
    pub(super) atoms: Box<[u64]>,
    pub(super) spans: Box<[Span]>,
    pub(super) text: Box<str>,
}

impl Seq {
    pub(super) fn view(&self) -> View<'_> {
        View { atoms: &self.atoms, spans: &self.spans, text: self.text.as_bytes() }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.atoms.len() * 8 + self.spans.len() * size_of::<Span>() + self.text.len()
    }

    /// The sequence with variables where `wild` says so, and its text.
    pub(super) fn of(view: View<'_>, wild: impl Fn(usize) -> bool) -> Self {
        let n = view.atoms.len();
        let (mut atoms, mut spans, mut text) = (Vec::with_capacity(n), Vec::with_capacity(n), String::new());
        for (i, atom) in view.atoms.iter().enumerate() {
            if i > 0 && view.is_spaced(i) {
                text.push(' ');
            }
            let start = text.len() as u32;
            if *atom == V || wild(i) {
                atoms.push(V);
                text.push_str("<*>");
            } else {
                atoms.push(*atom);
                push_word(&mut text, view.word(i));
            }
            spans.push((start, text.len() as u32));
        }
        Self { atoms: atoms.into(), spans: spans.into(), text: text.into() }
    }
}

fn push_word(text: &mut String, word: &[u8]) {
    let most = if text.len() > TEXT { 4 } else { WORD };
    let word = String::from_utf8_lossy(word.get(..most).unwrap_or(word));
    text.push_str(word.trim_end_matches('\u{fffd}'));
}

#[derive(Clone, Copy, Debug, Default)]
struct Cached {
    hash: u64,
    slot: u32,
    id: u32,
}

stored!(Seq { atoms, spans, text });
stored!(Row { id, key, place, seq, example, count, first, last, levels, stream, kind, head });
stored_enum!(RowKind[Message, Trace, Coarse]);

/// What a template is made from, besides its sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) ts: Nanos,
    pub(super) stream: u32,
    pub(super) line: &'a str,
}

/// All templates of one miner.
#[derive(Clone, Debug)]
pub(super) struct Store {
    rows: Vec<Option<Row>>,
    free: Vec<u32>,
    /// From the hash of a living template's sequence to its slot.
    keys: FxHashMap<u64, u32>,
    slots: FxHashMap<u32, u32>,
    cache: Box<[Cached]>,
    next: u32,
    parents: FxHashMap<u32, u32>,
    merged: VecDeque<u32>,
    pending: VecDeque<(u32, u32)>,
    tombs: Table<u32>,
    hand: usize,
    traces: usize,
    /// Templates from which on there is no room for traces.
    most: usize,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            keys: FxHashMap::default(),
            slots: FxHashMap::default(),
            cache: vec![Cached::default(); CACHE].into(),
            next: 1,
            parents: FxHashMap::default(),
            merged: VecDeque::new(),
            pending: VecDeque::new(),
            tombs: Table::new(TOMBSTONES),
            hand: 0,
            traces: 0,
            most: 0,
        }
    }

    /// From now on there are at most so many templates. Also to be called after a restart.
    pub(super) fn limit(&mut self, templates: usize) {
        self.most = templates;
        let size = (EACH * templates).next_power_of_two().clamp(1 << 10, CACHE);
        if size != self.cache.len() {
            let known = std::mem::replace(&mut self.cache, vec![Cached::default(); size].into());
            for entry in known.iter().filter(|entry| entry.id != 0) {
                cached(&mut self.cache, entry.hash).into_iter().for_each(|place| *place = *entry);
            }
        }
    }

    /// Templates that live.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Ids that were ever given.
    pub(super) fn given(&self) -> u32 {
        self.next - 1
    }

    pub(super) fn row(&self, slot: u32) -> Option<&Row> {
        self.rows.get(slot as usize)?.as_ref()
    }

    pub(super) fn row_mut(&mut self, slot: u32) -> Option<&mut Row> {
        self.rows.get_mut(slot as usize)?.as_mut()
    }

    /// Living templates in no order that says anything.
    pub(super) fn living(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().flatten()
    }

    /// Living templates by rising id.
    pub(super) fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.rows.iter().flatten().map(|row| row.id).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn slot(&self, id: u32) -> Option<u32> {
        self.slots.get(&self.resolve(id)).copied()
    }

    pub(super) fn by_id(&self, id: u32) -> Option<&Row> {
        self.row(self.slot(id)?)
    }

    /// What an id has become by merging.
    pub(super) fn resolve(&self, id: u32) -> u32 {
        let mut id = id;
        while let Some(parent) = self.parents.get(&id) {
            id = *parent;
        }
        id
    }

    /// As [`Store::resolve`], but ends in a ring too, at the id itself.
    fn resolve_from(&self, id: u32) -> u32 {
        let mut at = id;
        while let Some(parent) = self.parents.get(&at) {
            at = *parent;
            if at == id {
                break;
            }
        }
        at
    }

    /// The template of a hash, without taking note of it.
    pub(super) fn peek(&self, hash: u64) -> Option<&Row> {
        let entry = self.cache.get(hash as usize & (self.cache.len() - 1)).filter(|entry| entry.hash == hash);
        let slot = self.keys.get(&hash).copied().or_else(|| self.slot(entry?.id))?;
        self.row(slot)
    }

    /// The template that a line with this hash belongs to. One look in the cache; the second place is for what the cache
    /// has overwritten.
    #[inline]
    pub(super) fn find(&mut self, hash: u64) -> Option<u32> {
        let entry = self.cache[hash as usize & (self.cache.len() - 1)];
        if entry.hash == hash && self.row(entry.slot).is_some_and(|row| row.id == entry.id) {
            return Some(entry.slot);
        }
        self.find_slowly(hash, entry)
    }

    fn find_slowly(&mut self, hash: u64, entry: Cached) -> Option<u32> {
        let known = self.keys.get(&hash).copied();
        let slot = known.or_else(|| if entry.hash == hash { self.slot(entry.id) } else { None })?;
        self.remember(hash, slot);
        Some(slot)
    }

    /// From now on lines with this hash belong to the template.
    pub(super) fn remember(&mut self, hash: u64, slot: u32) {
        if let Some(id) = self.row(slot).map(|row| row.id)
            && let Some(entry) = cached(&mut self.cache, hash)
        {
            *entry = Cached { hash, slot, id };
        }
    }

    /// A template that was not there before; its id is new unless it lived once and was forgotten.
    pub(super) fn add(&mut self, seq: Seq, place: u64, kind: RowKind, origin: Origin<'_>) -> u32 {
        let key = sequence_hash(&seq.atoms, place);
        let id = match self.tombs.get(key) {
            Some(id) if *id != 0 && !self.slots.contains_key(id) => std::mem::take(id),
            _ => {
                self.next += 1;
                self.next - 1
            }
        };
        let example = example(origin.line);
        let (first, last, stream) = (origin.ts, origin.ts, origin.stream);
        let row = Row { id, key, place, seq, example, count: 0, first, last, levels: [0; 7], stream, kind, head: 0 };
        self.insert(row)
    }

    fn insert(&mut self, row: Row) -> u32 {
        let (id, key) = (row.id, row.key);
        let slot = self.free.pop().unwrap_or(self.rows.len() as u32);
        match self.rows.get_mut(slot as usize) {
            Some(place) => *place = Some(row),
            None => self.rows.push(Some(row)),
        }
        self.keys.insert(key, slot);
        self.slots.insert(id, slot);
        self.remember(key, slot);
        slot
    }

    /// Gives a template another sequence. Its id stays; what had its old hash still leads to it.
    pub(super) fn rekey(&mut self, slot: u32, seq: Seq, place: u64) {
        let key = sequence_hash(&seq.atoms, place);
        let Some(row) = self.row_mut(slot) else { return };
        let old = std::mem::replace(&mut row.key, key);
        (row.seq, row.place) = (seq, place);
        if self.keys.get(&old) == Some(&slot) {
            self.keys.remove(&old);
        }
        self.keys.insert(key, slot);
        self.remember(old, slot);
        self.remember(key, slot);
    }

    /// `child` becomes part of `into`: its id resolves to that from now on.
    pub(super) fn merge(&mut self, child: u32, into: u32) {
        if child == into || self.row(into).is_none() {
            return;
        }
        let Some(gone) = self.rows.get_mut(child as usize).and_then(Option::take) else { return };
        self.free.push(child);
        self.slots.remove(&gone.id);
        if self.keys.get(&gone.key) == Some(&child) {
            self.keys.remove(&gone.key);
        }
        let Some(row) = self.row_mut(into) else { return };
        row.count += gone.count;
        row.first = row.first.min(gone.first);
        row.last = row.last.max(gone.last);
        for (sum, more) in row.levels.iter_mut().zip(gone.levels) {
            *sum += more;
        }
        let id = row.id;
        self.remember(gone.key, into);
        self.parents.insert(gone.id, id);
        self.merged.push_back(gone.id);
        self.pending.push_back((gone.id, id));
        if self.merged.len() > MERGES
            && let Some(oldest) = self.merged.pop_front()
        {
            self.parents.remove(&oldest);
        }
        if self.pending.len() > MERGES {
            self.pending.pop_front();
        }
        self.traces -= usize::from(gone.kind == RowKind::Trace).min(self.traces);
        if self.traces > 0 && gone.kind != RowKind::Trace {
            self.follow(gone.id, id);
        }
    }

    /// The template of a trace below an event: what was thrown and the top frames. `None` when there is no room for it.
    pub(super) fn trace(&mut self, head: u32, seq: Seq, origin: Origin<'_>) -> Option<u32> {
        let place = trace_place(head);
        if let Some(slot) = self.find(sequence_hash(&seq.atoms, place)) {
            return Some(slot);
        }
        if self.len() >= self.most {
            return None;
        }
        let slot = self.add(seq, place, RowKind::Trace, origin);
        self.traces += 1;
        if let Some(row) = self.row_mut(slot) {
            row.head = head;
        }
        Some(slot)
    }

    /// The texts of traces begin with that of their event, which may have changed.
    pub(super) fn refresh_traces(&mut self) {
        for slot in 0..self.rows.len() {
            let trace = |row: &&Row| row.kind == RowKind::Trace;
            let Some(row) = self.row(slot as u32).filter(trace) else { continue };
            let Some(head) = self.by_id(row.head) else { continue };
            let names = (0..row.seq.atoms.len()).map(|i| String::from_utf8_lossy(row.seq.view().word(i)).into_owned());
            let seq = trace_seq(&head.seq.text, names);
            if let Some(row) = self.row_mut(slot as u32) {
                row.seq = seq;
            }
        }
    }

    /// Traces below an event that was merged belong to what it is part of now.
    fn follow(&mut self, child: u32, into: u32) {
        let place = trace_place(into);
        let below = |row: &Row| row.kind == RowKind::Trace && row.head == child;
        let slots: Vec<usize> = (0..self.rows.len())
            .filter(|slot| self.rows.get(*slot).and_then(Option::as_ref).is_some_and(below))
            .collect();
        for slot in slots {
            let slot = slot as u32;
            let Some(row) = self.row_mut(slot) else { continue };
            row.head = into;
            let seq = row.seq.clone();
            match self.find(sequence_hash(&seq.atoms, place)) {
                Some(other) => self.merge(slot, other),
                None => self.rekey(slot, seq, place),
            }
        }
    }

    /// The merges since the last call.
    pub(super) fn take_merges(&mut self) -> impl Iterator<Item = (u32, u32)> {
        self.pending.drain(..)
    }

    /// Looks at the next few templates and forgets those not seen since `before`.
    pub(super) fn forget_old(&mut self, before: Nanos) {
        for _ in 0..4.min(self.rows.len()) {
            self.hand = (self.hand + 1) % self.rows.len();
            let old = self.rows.get(self.hand).and_then(Option::as_ref).is_some_and(|row| row.last < before);
            if old {
                self.forget(self.hand);
            }
        }
    }

    /// Forgets the quarter of the templates that was seen longest ago; of equals those with fewest lines.
    pub(super) fn shed(&mut self) -> usize {
        let mut all: Vec<(Nanos, u64, u32, usize)> = (self.rows.iter().enumerate())
            .filter_map(|(slot, row)| row.as_ref().map(|row| (row.last, row.count, row.id, slot)))
            .collect();
        all.sort_unstable();
        all.truncate(all.len().div_ceil(4));
        for (.., slot) in &all {
            self.forget(*slot);
        }
        self.keys.shrink_to_fit();
        self.slots.shrink_to_fit();
        all.len()
    }

    /// Bytes that all of it holds.
    pub(super) fn held(&self) -> usize {
        let text = |row: &Row| row.seq.held() + row.example.len();
        held::list::<Option<Row>>(self.rows.len())
            + self.rows.iter().flatten().map(text).sum::<usize>()
            + held::map::<u64, u32>(self.keys.len())
            + held::map::<u32, u32>(self.slots.len())
            + self.cache.len() * size_of::<Cached>()
            + held::map::<u32, u32>(self.parents.len())
            + held::list::<u32>(self.merged.len() + self.free.len())
            + self.tombs.held(|_| 0)
    }

    fn forget(&mut self, slot: usize) {
        let Some(row) = self.rows.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot as u32);
        self.slots.remove(&row.id);
        if self.keys.get(&row.key) == Some(&(slot as u32)) {
            self.keys.remove(&row.key);
        }
        self.traces -= usize::from(row.kind == RowKind::Trace).min(self.traces);
        *self.tombs.entry(row.key).0 = row.id;
        if let Some(entry) = cached(&mut self.cache, row.key)
            && entry.hash == row.key
        {
            *entry = Cached::default();
        }
    }

    /// Counts a line.
    #[inline]
    pub(super) fn count(&mut self, slot: u32, ts: Nanos, level: Level) -> TemplateId {
        let Some(row) = self.row_mut(slot) else { return TemplateId(0) };
        row.count += 1;
        row.first = row.first.min(ts);
        row.last = row.last.max(ts);
        if let Some(count) = row.levels.get_mut(level as usize) {
            *count += 1;
        }
        TemplateId(row.id)
    }
}

/// The place of a hash in the cache.
fn cached(cache: &mut [Cached], hash: u64) -> Option<&mut Cached> {
    let at = hash as usize & cache.len().wrapping_sub(1);
    cache.get_mut(at)
}

/// The sequence of a trace: what was thrown, and frames. The text of its event is shown before.
pub(super) fn trace_seq(head: &str, names: impl Iterator<Item = String>) -> Seq {
    let (mut atoms, mut spans, mut text) = (Vec::new(), Vec::new(), head.to_owned());
    for (i, name) in names.enumerate() {
        text.push_str(if i == 0 { " | " } else { " at " });
        let start = text.len() as u32;
        text.push_str(&name);
        atoms.push(word_hash(name.as_bytes()));
        spans.push((start, text.len() as u32));
    }
    Seq { atoms: atoms.into(), spans: spans.into(), text: text.into() }
}

/// What stands in for the code place in the hash of a trace's sequence.
fn trace_place(head: u32) -> u64 {
    mix(u64::from(head), 1 << 20)
}

impl Stored for Store {
    fn put(&self, out: &mut Vec<u8>) {
        self.rows.put(out);
        self.free.put(out);
        // What the keys say need not be stored.
        let known = |entry: &&Cached| entry.id != 0 && !self.keys.contains_key(&entry.hash);
        let cache: Vec<(u64, u32)> = self.cache.iter().filter(known).map(|entry| (entry.hash, entry.id)).collect();
        cache.put(out);
        self.next.put(out);
        let merged = self.merged.iter().filter_map(|child| Some((*child, *self.parents.get(child)?)));
        merged.collect::<Vec<_>>().put(out);
        self.pending.iter().copied().collect::<Vec<_>>().put(out);
        self.tombs.put(out);
        self.hand.put(out);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let mut store = Self { rows: Vec::take(from)?, free: Vec::take(from)?, ..Self::new() };
        let whole = |seq: &Seq| {
            let inside = |(start, end): &Span| store_slice(&seq.text, *start, *end);
            seq.atoms.len() == seq.spans.len() && seq.spans.iter().all(inside)
        };
        if !store.rows.iter().flatten().all(|row| whole(&row.seq)) {
            return None;
        }
        for (slot, row) in store.rows.iter().enumerate() {
            if let Some(row) = row {
                store.keys.insert(row.key, slot as u32);
                store.slots.insert(row.id, slot as u32);
                store.traces += usize::from(row.kind == RowKind::Trace);
            }
        }
        let empty = |slot: &u32| store.rows.get(*slot as usize).is_some_and(Option::is_none);
        if !store.free.iter().all(empty) {
            return None;
        }
        for (hash, id) in Vec::<(u64, u32)>::take(from)? {
            let slot = store.slots.get(&id).copied().unwrap_or(u32::MAX);
            *cached(&mut store.cache, hash)? = Cached { hash, slot, id };
        }
        store.next = u32::take(from)?.max(1);
        for (child, parent) in Vec::<(u32, u32)>::take(from)? {
            // A child is merged once, and into what lives at the time: no rings.
            if child == parent || store.parents.insert(child, parent).is_some() || store.resolve_from(child) == child {
                return None;
            }
            store.merged.push_back(child);
        }
        store.pending = Vec::take(from)?.into();
        store.tombs = Table::take(from)?;
        store.hand = usize::take(from)?;
        Some(store)
    }
}

fn store_slice(text: &str, start: u32, end: u32) -> bool {
    text.as_bytes().get(start as usize..end as usize).is_some()
}

/// Evidence of what the template is made from.
fn example(line: &str) -> Box<str> {
    crate::detect::mask::sample(0, Level::Unknown, line).line.into()
}
