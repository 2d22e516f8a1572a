//! Which messages are one event.
//!
//! What comes in: a sequence that was never seen. What goes out: the template that it belongs to, a new one if need be. The
//! rule: words are constants until a slot has shown enough different values. Hash lookups only. What never happens here: a
//! similarity, a scan over all templates, growth beyond the limits.

use super::Limits;
use super::atoms::{V, View, is_word, sequence_hash, wild_hash};
use super::byte::word_hash;
use super::place::Places;
use super::slot::{MOST, is_capitals, shape, threshold};
use super::snapshot::stored;
use super::store::{Origin, Row, RowKind, Seq, Store};
use super::table::Table;
use crate::detect::held;

/// Members of a family that are remembered for its merging.
const MEMBERS: usize = 64;
/// Sequences of one shape that are kept, and in all buckets together.
const BURST: usize = 128;
const SEQUENCES: usize = 1 << 16;
/// Sequences of one shape from which on it is looked for slots that are free.
const BURST_FROM: usize = 32;
/// Lines from which on a template takes in what only looks like it.
const WELL_KNOWN: u64 = 20;
/// Sets of free slots that are known of a shape.
const FREE_SETS: usize = 4;

/// Sequences that differ in one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Family {
    /// Different words in the slot with their thresholds.
    pub(super) values: Vec<(u64, u8)>,
    /// A variable was seen in the slot too.
    pub(super) wild: bool,
    /// The slot is a variable.
    pub(super) variable: bool,
    /// Ids of the templates that differ in the slot only.
    pub(super) members: Vec<u32>,
}

impl Family {
    fn add(&mut self, value: u64, threshold: u8) {
        if self.values.len() < MOST && self.values.iter().all(|(known, _)| *known != value) {
            self.values.push((value, threshold));
        }
    }

    fn join(&mut self, id: u32) {
        if self.members.len() < MEMBERS {
            self.members.push(id);
        }
    }

    fn size(&self) -> usize {
        self.values.len() + usize::from(self.wild)
    }

    /// Whether the slot has shown enough different values. Kinds of words mix, so the median of their thresholds counts.
    fn is_ripe(&self) -> bool {
        let mut thresholds: Vec<u8> = self.values.iter().map(|(_, threshold)| *threshold).collect();
        thresholds.sort_unstable();
        match thresholds.get(thresholds.len() / 2) {
            Some(_) if self.wild => self.size() >= 2,
            Some(median) => self.size() >= usize::from(*median),
            None => false,
        }
    }
}

/// Sequences of one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) sequences: Vec<Member>,
    /// Sets of slots that are known to vary together.
    pub(super) free: Vec<Vec<u8>>,
}

/// One sequence of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: u32,
    pub(super) atoms: Box<[u64]>,
    /// The atoms that are words in capitals, as bits.
    pub(super) capitals: u128,
}

/// What is known of sequences that are no templates yet.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    pub(super) families: Table<Family>,
    pub(super) buckets: Table<Bucket>,
    pub(super) sequences: usize,
    pub(super) coarse: u64,
    pub(super) places: Places,
}

/// A sequence that was never seen, with its hash.
#[derive(Clone, Copy)]
pub(super) struct Unseen<'a> {
    pub(super) seq: View<'a>,
    pub(super) hash: u64,
    pub(super) place: u64,
    pub(super) origin: Origin<'a>,
}

stored!(Family { values, wild, variable, members });
stored!(Bucket { sequences, free });
stored!(Member { id, atoms, capitals });
stored!(Groups { families, buckets, sequences, coarse, places });

impl Groups {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            families: Table::new(limits.families),
            buckets: Table::new(limits.buckets),
            sequences: 0,
            coarse: 0,
            places: Places::default(),
        }
    }

    /// Bytes that all of it holds.
    pub(super) fn held(&self) -> usize {
        let family = |one: &Family| held::list::<(u64, u8)>(one.values.len()) + held::list::<u32>(one.members.len());
        let member = |one: &Member| one.atoms.len() * 8;
        let bucket = |one: &Bucket| {
            held::list::<Member>(one.sequences.len())
                + one.sequences.iter().map(member).sum::<usize>()
                + held::list::<Vec<u8>>(one.free.len())
        };
        self.families.held(family) + self.buckets.held(bucket)
    }

    /// Gives up what was not used of late.
    pub(super) fn shed(&mut self) {
        self.families.shed();
        self.buckets.shed();
        self.sequences = self.buckets.values().map(|bucket| bucket.sequences.len()).sum();
    }

    /// The slot of the template that an unseen sequence belongs to.
    pub(super) fn learn(&mut self, store: &mut Store, unseen: &Unseen<'_>, limits: &Limits) -> u32 {
        if let Some(slot) = self.known(store, unseen) {
            store.remember(unseen.hash, slot);
            return slot;
        }
        if 2 * store.len() >= limits.templates {
            store.forget_old(unseen.origin.ts.saturating_sub(limits.forget_after));
        }
        if store.len() >= limits.templates {
            let slot = self.beginning(store, unseen, limits);
            store.remember(unseen.hash, slot);
            return slot;
        }
        let slot = store.add(Seq::of(unseen.seq, |_| false), unseen.place, RowKind::Message, unseen.origin);
        let Some(id) = store.row(slot).map(|row| row.id) else { return slot };
        self.adopt(store, unseen.seq, unseen.place, slot);
        if self.places.saw(unseen.place, shape(unseen.seq, 0)) {
            self.drop_places(store);
        }
        let slot = store.slot(id).unwrap_or(slot);
        store.remember(unseen.hash, slot);
        slot
    }

    /// Takes a template with a new sequence among those that may merge.
    pub(super) fn adopt(&mut self, store: &mut Store, seq: View<'_>, place: u64, slot: u32) {
        let Some(id) = store.row(slot).map(|row| row.id) else { return };
        self.link(store, seq, place, slot);
        self.burst(store, seq, place, id);
    }

    /// Whether it is a template that is known, with something else in a slot that is a variable.
    pub(super) fn known(&mut self, store: &mut Store, unseen: &Unseen<'_>) -> Option<u32> {
        let Unseen { seq, hash, place, .. } = *unseen;
        if let Some(bucket) = self.buckets.get(shape(seq, place)) {
            for set in &bucket.free {
                let wild = set.iter().fold(hash, |hash, i| {
                    let i = usize::from(*i);
                    seq.atoms.get(i).map_or(hash, |atom| wild_hash(hash, *atom, i))
                });
                if let Some(slot) = store.find(wild) {
                    return Some(slot);
                }
            }
        }
        for (i, atom) in seq.atoms.iter().enumerate().filter(|(_, atom)| is_word(**atom)) {
            let wild = wild_hash(hash, *atom, i);
            if self.families.get(wild).is_some_and(|family| family.variable)
                && threshold(seq, i) > 0
                && let Some(slot) = store.find(wild)
            {
                return Some(slot);
            }
        }
        called(store, seq, place)
    }

    /// Places say nothing: what differs in them only is one.
    #[cold]
    fn drop_places(&mut self, store: &mut Store) {
        for id in store.ids() {
            let Some(slot) = store.slot(id) else { continue };
            let own = |row: &&Row| row.id == id && row.place != 0 && row.kind == RowKind::Message;
            let Some(seq) = store.row(slot).filter(own).map(|row| row.seq.clone()) else { continue };
            let hash = sequence_hash(&seq.atoms, 0);
            let origin = Origin { ts: 0, stream: 0, line: "" };
            let unseen = Unseen { seq: seq.view(), hash, place: 0, origin };
            match store.find(hash).or_else(|| self.known(store, &unseen)) {
                Some(into) => store.merge(slot, into),
                None => {
                    store.rekey(slot, seq.clone(), 0);
                    self.adopt(store, seq.view(), 0, slot);
                }
            }
        }
    }

    /// Too many templates: one for all messages with the same three words first, and in the end one for all.
    fn beginning(&mut self, store: &mut Store, unseen: &Unseen<'_>, limits: &Limits) -> u32 {
        self.coarse += 1;
        let rest = word_hash(b"...");
        let text = "...";
        let view = unseen.seq;
        let words: Vec<usize> =
            (0..view.atoms.len()).filter(|i| view.atoms.get(*i).is_some_and(|atom| *atom != V)).take(3).collect();
        let mut seq = Seq::default();
        let (mut atoms, mut spans, mut shown) = (Vec::new(), Vec::new(), String::new());
        let mut push = |atom: u64, word: &[u8]| {
            let start = shown.len();
            shown.push_str(&String::from_utf8_lossy(word.get(..32).unwrap_or(word)));
            atoms.push(atom);
            spans.push((start as u32, shown.len() as u32));
            shown.push(' ');
        };
        for i in words {
            push(view.atoms.get(i).copied().unwrap_or(V), view.word(i));
        }
        push(rest, text.as_bytes());
        (seq.atoms, seq.spans, seq.text) = (atoms.into(), spans.into(), shown.trim_end().into());
        if let Some(slot) = store.find(sequence_hash(&seq.atoms, unseen.place)) {
            return slot;
        }
        if store.len() < 2 * limits.templates {
            return store.add(seq, unseen.place, RowKind::Coarse, unseen.origin);
        }
        let all = Seq { atoms: [rest].into(), spans: [(0, 3)].into(), text: text.into() };
        let found = store.find(sequence_hash(&all.atoms, 0));
        found.unwrap_or_else(|| store.add(all, 0, RowKind::Coarse, unseen.origin))
    }

    /// Tells the families of a new template of it. The slot that has shown most values, if any has shown enough, becomes a
    /// variable, and the templates that differ in it become one; then again for that one.
    fn link(&mut self, store: &mut Store, seq: View<'_>, place: u64, slot: u32) {
        let (mut slot, mut wild) = (slot, Vec::new());
        // Each round makes one more slot a variable.
        for _ in 0..=seq.atoms.len() {
            let own = Seq::of(seq, |i| wild.contains(&i));
            let Some(ripe) = self.join(store, own.view(), place, slot) else { return };
            wild.push(ripe);
            let merged = Seq::of(seq, |i| wild.contains(&i));
            let key = sequence_hash(&merged.atoms, place);
            let members = match self.families.get(key) {
                Some(family) => {
                    family.variable = true;
                    std::mem::take(&mut family.members)
                }
                None => return,
            };
            let known = store.find(key);
            let into = known.or_else(|| biggest(store, &members)).unwrap_or(slot);
            if known.is_none() {
                store.rekey(into, merged, place);
            }
            for id in members {
                if let Some(member) = store.slot(id) {
                    store.merge(member, into);
                }
            }
            if known.is_some() {
                return;
            }
            slot = into;
        }
    }

    /// Adds a template to its families. Returns the slot that is ripe to be a variable.
    fn join(&mut self, store: &Store, seq: View<'_>, place: u64, slot: u32) -> Option<usize> {
        let id = store.row(slot)?.id;
        let hash = sequence_hash(seq.atoms, place);
        let mut best: Option<(usize, usize)> = None;
        for (i, atom) in seq.atoms.iter().enumerate() {
            let needed = threshold(seq, i);
            if *atom != V && needed == 0 {
                continue;
            }
            let (family, _) = self.families.entry(wild_hash(hash, *atom, i));
            family.join(id);
            if *atom == V {
                family.wild = true;
            } else {
                family.add(*atom, needed);
            }
            if family.is_ripe() && best.is_none_or(|(_, size)| family.size() > size) {
                best = Some((i, family.size()));
            }
        }
        best.map(|(i, _)| i)
    }

    /// Many sequences of one shape, in which no two share all but one slot: the slots with many values become variables all
    /// at once, if enough others stay the same.
    fn burst(&mut self, store: &mut Store, seq: View<'_>, place: u64, id: u32) {
        if self.sequences >= SEQUENCES {
            let gone = self.buckets.forget_one().map_or(0, |bucket| bucket.sequences.len());
            self.sequences -= gone.min(self.sequences);
        }
        let (bucket, gone) = self.buckets.entry(shape(seq, place));
        self.sequences -= gone.map_or(0, |bucket| bucket.sequences.len()).min(self.sequences);
        if bucket.sequences.len() >= BURST {
            return;
        }
        let capitals = (0..seq.atoms.len()).fold(0, |bits, i| bits | u128::from(is_capitals(seq.word(i))) << i);
        bucket.sequences.push(Member { id, atoms: seq.atoms.into(), capitals });
        self.sequences += 1;
        let n = bucket.sequences.len();
        if n < BURST_FROM || !n.is_power_of_two() || bucket.free.len() >= FREE_SETS {
            return;
        }
        let Some(free) = free_slots(seq, &bucket.sequences) else { return };
        bucket.free.push(free.iter().map(|i| *i as u8).collect());
        let members = std::mem::take(&mut bucket.sequences);
        self.sequences -= members.len().min(self.sequences);
        for member in members {
            self.rewrite(store, &member, &free, place);
        }
    }

    /// Puts variables into the free slots of a template, and merges it with what is equal then.
    fn rewrite(&mut self, store: &mut Store, member: &Member, free: &[usize], place: u64) {
        let Some(slot) = store.slot(member.id) else { return };
        let Some(row) = store.row(slot).filter(|row| row.seq.atoms.len() == member.atoms.len()) else { return };
        let seq = Seq::of(row.seq.view(), |i| free.contains(&i));
        let key = sequence_hash(&seq.atoms, place);
        match store.find(key) {
            Some(into) => store.merge(slot, into),
            None => {
                let view = seq.clone();
                store.rekey(slot, seq, place);
                self.link(store, view.view(), place, slot);
            }
        }
    }
}

/// The well-known template that has a variable where the sequence has a name with a variable in brackets: `synchronized to
/// LOCAL(0)` beside `synchronized to <*>`.
fn called(store: &mut Store, seq: View<'_>, place: u64) -> Option<u32> {
    let call = |i: usize| {
        let [name, open, V, close] = *seq.atoms.get(i..i + 4)?.first_chunk::<4>()? else { return None };
        let brackets = (open, close) == (u64::from(b'('), u64::from(b')'));
        let beside = |at: Option<usize>| at.and_then(|at| seq.atoms.get(at)) == Some(&V);
        let apart = beside(i.checked_sub(1)) || beside(Some(i + 4)) || seq.is_spaced(i + 1);
        (is_word(name) && brackets && !apart).then_some(())
    };
    let at = (1..seq.atoms.len()).find(|i| call(*i).is_some())?;
    let (before, rest) = seq.atoms.split_at_checked(at)?;
    let atoms: Vec<u64> = before.iter().chain([&V]).chain(rest.get(4..)?).copied().collect();
    let slot = store.find(sequence_hash(&atoms, place))?;
    store.row(slot).filter(|row| row.count >= WELL_KNOWN).map(|_| slot)
}

/// The member with most lines; the oldest of equals.
fn biggest(store: &Store, members: &[u32]) -> Option<u32> {
    let rows = members.iter().filter_map(|id| store.slot(*id).and_then(|slot| Some((slot, store.row(slot)?))));
    rows.max_by_key(|(_, row)| (row.count, std::cmp::Reverse(row.id))).map(|(slot, _)| slot)
}

/// The slots of a shape that vary, if at least as many words, and at least two, stay the same.
fn free_slots(seq: View<'_>, members: &[Member]) -> Option<Vec<usize>> {
    let n = members.len();
    let (mut free, mut constant) = (Vec::new(), 0);
    for i in 0..seq.atoms.len() {
        if threshold(seq, i) == 0 {
            continue;
        }
        let mut values: Vec<(u64, bool)> =
            members.iter().filter_map(|member| Some((*member.atoms.get(i)?, member.capitals >> i & 1 == 1))).collect();
        values.sort_unstable();
        values.dedup_by_key(|(value, _)| *value);
        let capitals = values.iter().filter(|(_, capitals)| *capitals).count();
        if 4 * values.len() >= n && 2 * capitals < values.len() {
            free.push(i);
        } else if 16 * values.len() <= n {
            constant += 1;
        }
    }
    if free.is_empty() || constant < free.len().max(2) { None } else { Some(free) }
}
