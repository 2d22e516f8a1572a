//! Templates of raw lines, with no configuration: what is the same in lines that differ in their variable parts.
//!
//! What comes in: lines of streams, as Loki has them. What goes out: for each line the id of its template. The header of a
//! stream is learnt from its lines; the message is masked in one pass; equal sequences are one template, and a word becomes
//! variable when its slot has shown enough different words. What never happens here: I/O, a clock, a list of known systems, a
//! regex on the path of each line, or growth beyond [`Limits`].
//!
//! Ids are never reused. Templates merge when more is seen; readers keep the ids they got and resolve them
//! ([`Miner::resolve`], [`Miner::merges`]). A merge is nothing new: its parts were known.

#[cfg(test)]
mod accuracy;
mod atoms;
mod byte;
mod column;
mod group;
mod header;
mod reader;
mod slot;
mod store;
mod stream;
mod table;

use super::Level;
use crate::time::{HOUR, Nanos};
use group::{Groups, Unseen};
use header::Headers;
use reader::Reader;
use store::{Origin, Store};
use stream::Stream;

/// A template. Never reused; [`Miner::resolve`] says what it has become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct TemplateId(pub u32);

/// How much a [`Miner`] may hold. All of it together stays below some 60 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Templates; beyond, messages with the same first three words are one, and beyond twice that, all.
    pub templates: usize,
    /// Streams whose header is known.
    pub streams: usize,
    /// Sequences that differ in one slot, and shapes of sequences: what templates to come are found by.
    pub families: usize,
    /// See `families`.
    pub buckets: usize,
    /// A template that was not seen for so long is forgotten.
    pub forget_after: Nanos,
}

impl Default for Limits {
    fn default() -> Self {
        Self { templates: 8_192, streams: 4_096, families: 65_536, buckets: 8_192, forget_after: 60 * 24 * HOUR }
    }
}

/// A stream of a miner; good until [`Limits::streams`] others were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamSlot(u32);

/// What a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mined {
    /// Its template, as known now.
    pub template: TemplateId,
    /// The level that its header names, if it has one.
    pub level: Option<Level>,
    /// It goes on with the stack trace of the event before; `template` is that event's.
    pub continues: bool,
}

/// The templates of one watch. They are shared by its streams; headers are learnt for each stream.
pub struct Miner {
    limits: Limits,
    store: Store,
    groups: Groups,
    reader: Reader,
    streams: Vec<Stream>,
    index: rustc_hash::FxHashMap<u64, u32>,
    hand: usize,
    serials: u32,
    /// The headers learnt last; a new stream begins with the one that fits its first line.
    recent: Vec<Headers>,
}

/// Headers that a new stream may begin with.
const RECENT: usize = 8;

impl Miner {
    /// A miner that knows nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            store: Store::new(),
            groups: Groups::new(&limits),
            reader: Reader::default(),
            streams: Vec::new(),
            index: rustc_hash::FxHashMap::default(),
            hand: 0,
            serials: 0,
            recent: Vec::new(),
        }
    }

    /// The stream with this key, such as the hash of its labels. The least used is forgotten when there are too many.
    pub fn stream(&mut self, key: u64) -> StreamSlot {
        if let Some(slot) = self.index.get(&key) {
            if let Some(stream) = self.streams.get_mut(*slot as usize) {
                stream.used = true;
            }
            return StreamSlot(*slot);
        }
        self.serials += 1;
        let stream = Stream::new(key, self.serials);
        if self.streams.len() < self.limits.streams.max(1) {
            self.streams.push(stream);
            self.index.insert(key, self.streams.len() as u32 - 1);
            return StreamSlot(self.streams.len() as u32 - 1);
        }
        while std::mem::take(&mut self.streams[self.hand].used) {
            self.hand = (self.hand + 1) % self.streams.len();
        }
        self.index.remove(&self.streams[self.hand].key);
        self.streams[self.hand] = stream;
        self.index.insert(key, self.hand as u32);
        StreamSlot(self.hand as u32)
    }

    /// The template of a line. `level`: what is believed of it; it is counted with the template.
    pub fn mine(&mut self, slot: StreamSlot, ts: Nanos, level: Level, line: &str) -> Mined {
        let at = (slot.0 as usize).min(self.streams.len().saturating_sub(1));
        self.learn(at, line.as_bytes());
        let Some(stream) = self.streams.get_mut(at) else { return Mined::default() };
        let (message, atoms) = self.reader.read(line.as_bytes(), &stream.headers);
        stream.fitted(message.fits);
        let hash = message.hash(atoms);
        let found = self.store.find(hash);
        let slot = found.unwrap_or_else(|| {
            let origin = Origin { ts, stream: stream.serial, line };
            let unseen = Unseen { seq: message.view(atoms), hash, place: message.place, origin };
            let given = self.store.given();
            let slot = self.groups.learn(&mut self.store, &unseen, &self.limits);
            stream.fresh += u64::from(self.store.given() != given);
            slot
        });
        let level = if level == Level::Unknown { message.level.unwrap_or_default() } else { level };
        let template = self.store.count(slot, ts, level);
        stream.saw(template.0);
        Mined { template, level: message.level, continues: false }
    }

    /// What an id has become by merging; itself when it has not.
    #[must_use]
    pub fn resolve(&self, id: TemplateId) -> TemplateId {
        TemplateId(self.store.resolve(id.0))
    }

    /// The merges since the last call: an id, and what it became a part of (by now that may be part of another).
    pub fn merges(&mut self) -> impl Iterator<Item = (TemplateId, TemplateId)> {
        self.store.take_merges().map(|(child, into)| (TemplateId(child), TemplateId(into)))
    }

    /// Lets a stream learn from a line; a header that changed is put in force.
    #[inline]
    fn learn(&mut self, at: usize, line: &[u8]) {
        let Some(stream) = self.streams.get_mut(at) else { return };
        if stream.lines == 0 && !self.recent.is_empty() {
            let fitting = self.recent.iter().filter(|headers| headers.columns() > 0 && headers.cut(line).fits);
            if let Some(headers) = fitting.max_by_key(|headers| headers.columns()) {
                stream.headers = headers.clone();
            }
        }
        if let Some(headers) = stream.learn(line) {
            self.relearn(at, headers);
        }
    }

    /// Puts new headers in force. What was mined with the old ones keeps its ids: the example lines of the stream's templates
    /// are cut with the new ones, and what is equal then merges.
    #[cold]
    fn relearn(&mut self, at: usize, headers: Headers) {
        let Some(stream) = self.streams.get_mut(at) else { return };
        let old = std::mem::replace(&mut stream.headers, headers.clone());
        for id in self.store.ids() {
            let Some(slot) = self.store.slot(id) else { continue };
            let Some(row) = self.store.row(slot).filter(|row| row.stream == stream.serial) else { continue };
            let example = row.example.clone();
            let Some((seq, place)) = moved(&mut self.reader, row, &old, &headers) else { continue };
            let key = atoms::sequence_hash(&seq.atoms, place);
            let origin = Origin { ts: row.last, stream: row.stream, line: &example };
            let unseen = Unseen { seq: seq.view(), hash: key, place, origin };
            let known = self.store.find(key).or_else(|| self.groups.known(&mut self.store, &unseen));
            match known {
                Some(into) => self.store.merge(slot, into),
                None => {
                    self.store.rekey(slot, seq.clone(), place);
                    self.groups.link(&mut self.store, seq.view(), place, slot);
                }
            }
        }
        self.recent.retain(|known| *known != headers);
        self.recent.push(headers);
        if self.recent.len() > RECENT {
            self.recent.remove(0);
        }
    }
}

/// The sequence that a template has under other headers, by its example line; `None` when it is the same, or cannot be told.
fn moved(reader: &mut Reader, row: &store::Row, old: &Headers, new: &Headers) -> Option<(store::Seq, u64)> {
    let line = row.example.as_bytes();
    let (_, atoms) = reader.read(line, old);
    let before: Vec<u64> = atoms.atoms().to_vec();
    let same = row.seq.atoms.len() == before.len()
        && row.seq.atoms.iter().zip(&before).all(|(known, atom)| known == atom || *known == atoms::V);
    if !same {
        return None;
    }
    let (message, atoms) = reader.read(line, new);
    let view = message.view(atoms);
    if *view.atoms == *before && row.place == message.place {
        return None;
    }
    // The end of the message is the same under both; slots that had become variables are so still.
    let shift = before.len() as isize - view.atoms.len() as isize;
    let wild = |i: usize| {
        let at = usize::try_from(i as isize + shift).ok();
        at.is_some_and(|at| before.get(at) == view.atoms.get(i) && row.seq.atoms.get(at) == Some(&atoms::V))
    };
    Some((store::Seq::of(view, wild), message.place))
}
