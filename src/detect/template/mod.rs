//! Templates of raw lines, with no configuration: what is the same in lines that differ in their variable parts.
//!
//! What comes in: lines of streams, as Loki has them. What goes out: for each line the id of its template. The header of a
//! stream is learnt from its lines; the message is masked in one pass; equal sequences are one template, and a word becomes
//! variable when its slot has shown enough different words. What never happens here: I/O, a clock, a list of known systems, a
//! regex on the path of each line, or growth beyond [`Limits`].
//!
//! Ids are never reused. Templates merge when more is seen; readers keep the ids they got and resolve them
//! ([`Miner::resolve`], [`Miner::merges`]). A merge is nothing new: its parts were known.

mod atoms;
mod byte;
mod column;
mod fields;
mod group;
mod header;
mod json;
mod number;
mod place;
mod quality;
mod reader;
mod room;
mod slot;
mod snapshot;
mod spot;
mod store;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod trace;
mod value;
mod wrapper;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Level;
use crate::time::{HOUR, Nanos};
use group::{Groups, Unseen};
use header::Headers;
pub use number::{Name, Number};
pub use quality::Quality;
use reader::Reader;
use snapshot::{Bytes, Stored, VERSION};
use store::{Origin, Row, RowKind, Seq, Store};
use stream::{LEVELS, Stream};
use trace::{Part, Signature};
pub use value::{IdKind, IdToken, ValueKind, Variable, duration, ids, kind_of};

/// A template. Never reused; [`Miner::resolve`] says what it has become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct TemplateId(pub u32);

/// How much a [`Miner`] may hold. With the defaults all of it together stays below some 100 MB on the worst input.
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
    /// A template that was not seen for so long may be forgotten when half of the room is used; its id comes back with it.
    pub forget_after: Nanos,
}

impl Default for Limits {
    fn default() -> Self {
        Self { templates: 8_192, streams: 4_096, families: 65_536, buckets: 8_192, forget_after: 60 * 24 * HOUR }
    }
}

/// A stream of a miner; good until [`Limits::streams`] others were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct StreamSlot(u32);

/// What a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mined {
    /// Its template, as known now; of a line that continues, that of its event.
    pub template: TemplateId,
    /// The level that its header or its fields name.
    pub level: Option<Level>,
    /// It goes on with the stack trace of the event before, and was not counted.
    pub continues: bool,
    /// A stack trace is known now, and was counted under this template: what was thrown, and the top frames. Once for each
    /// trace: with a line that continues for the event that it continues, else for the event before.
    pub trace: Option<TemplateId>,
}

/// What is known of a template.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Template<'a> {
    /// The id that others resolve to.
    pub id: TemplateId,
    /// Words and `<*>`.
    pub text: &'a str,
    /// A line as it came: secrets masked, cut.
    pub example: &'a str,
    /// Lines so far.
    pub count: u64,
    /// Time of the first line.
    pub first_seen: Nanos,
    /// Time of the last line.
    pub last_seen: Nanos,
    /// Lines by level, in the order of [`Level`].
    pub levels: [u64; 7],
    /// It is a stack trace.
    pub trace: bool,
    /// It stands for all messages with this beginning, for there are too many templates.
    pub coarse: bool,
}

impl Template<'_> {
    /// The level of most lines; of equals the worst.
    #[must_use]
    pub fn level(&self) -> Level {
        LEVELS.into_iter().zip(self.levels).max_by_key(|(_, count)| *count).map_or(Level::Unknown, |(level, _)| level)
    }
}

/// How much a miner holds, and what it had to give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Templates that live.
    pub templates: usize,
    /// Ids that were given.
    pub given: u32,
    /// Streams whose header is known.
    pub streams: usize,
    /// Sequences that differ in one slot.
    pub families: usize,
    /// Shapes of sequences.
    pub buckets: usize,
    /// Lines that had to take a coarse template when they were first seen.
    pub coarse: u64,
    /// Families and buckets that were forgotten for others.
    pub evicted: u64,
}

/// The templates of one watch. They are shared by its streams; headers are learnt for each stream.
pub struct Miner {
    limits: Limits,
    store: Store,
    groups: Groups,
    reader: Reader,
    streams: Vec<Stream>,
    index: FxHashMap<u64, u32>,
    hand: usize,
    serials: u32,
    /// What streams have in common that are too young, or too quiet, for a header of their own.
    common: Stream,
    /// The headers learnt last; a new stream begins with the one that fits its first line.
    recent: Vec<Headers>,
}

/// A stream without a header is looked at more closely for so many lines.
const YOUNG: u64 = 100;

/// Headers that a new stream may begin with.
const RECENT: usize = 8;

impl Miner {
    /// A miner that knows nothing.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let mut store = Store::new();
        store.limit(limits.templates);
        Self {
            limits,
            store,
            groups: Groups::new(&limits),
            reader: Reader::default(),
            streams: Vec::new(),
            index: FxHashMap::default(),
            hand: 0,
            serials: 0,
            common: Stream { own: true, ..Stream::new(0, 0) },
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
        while self.streams.get_mut(self.hand).is_some_and(|stream| std::mem::take(&mut stream.used)) {
            self.hand = (self.hand + 1) % self.streams.len();
        }
        let slot = self.hand as u32;
        if let Some(gone) = self.streams.get_mut(self.hand) {
            self.index.remove(&gone.key);
            *gone = stream;
            self.index.insert(key, slot);
        }
        StreamSlot(slot)
    }

    /// The template of a line. `level`: what is believed of it; it is counted with the template.
    pub fn mine(&mut self, slot: StreamSlot, ts: Nanos, level: Level, line: &str) -> Mined {
        let Self { limits, store, groups, reader, streams, common, recent, .. } = self;
        let at = slot.0 as usize;
        let Some(stream) = streams.get_mut(at) else { return Mined::default() };
        let origin = Origin { ts, stream: stream.serial, line };
        let line = wrapper::strip(line.as_bytes(), &mut reader.wrap);
        if stream.lines == 0 {
            begin(stream, line, recent, &common.headers);
        }
        let mut cut = stream.in_force(&common.headers).cut(line);
        let headed = stream.in_force(&common.headers).columns() > 0;
        let (part, trace) = follow(store, stream, line, (&cut, headed), origin);
        if part == Part::Continues {
            let template = trace.unwrap_or_else(|| TemplateId(store.resolve(stream.event)));
            return Mined { template, level: None, continues: true, trace };
        }
        // What begins a stack trace has no header.
        let typical = stream.trace.is_idle();
        let learnt = stream.learn(line, typical);
        let changed = if stream.own { None } else { common.learn(line, typical) };
        let change = learnt.is_some() || changed.is_some();
        if change {
            let mut known = Known { store, groups, recent };
            known.change_common(common, streams, changed);
            known.change_own(streams.get_mut(at), &common.headers, learnt);
        }
        let Some(stream) = streams.get_mut(at) else { return Mined::default() };
        if change {
            cut = stream.in_force(&common.headers).cut(line);
        }
        stream.fitted(cut.fits);
        if !stream.own {
            common.fitted(cut.fits);
        }
        let mut message = reader.body.read(line, &cut);
        if groups.places.idle {
            message.place = 0;
        }
        let hash = message.hash();
        let mut slot = match store.find(hash) {
            Some(slot) => slot,
            None => {
                let given = store.given();
                let unseen = Unseen { seq: message.view(), hash, place: message.place, origin };
                let slot = groups.learn(store, &unseen, limits);
                stream.fresh += u64::from(store.given() != given);
                slot
            }
        };
        if let Some(signature) = &message.trace {
            slot = whole_trace(store, slot, signature, origin);
        }
        stream.level = if level == Level::Unknown { message.level.unwrap_or_default() } else { level };
        let template = store.count(slot, ts, stream.level);
        stream.event = template.0;
        stream.saw(template.0);
        Mined { template, level: message.level, continues: false, trace }
    }

    /// The numbers of the line that was mined last, unless it continued another.
    #[must_use]
    pub fn numbers(&self) -> &[Number] {
        &self.reader.body.numbers
    }

    /// Nothing more comes from this stream for now: a stack trace that was still open is complete. As [`Mined::trace`].
    pub fn close(&mut self, slot: StreamSlot, ts: Nanos) -> Option<TemplateId> {
        let stream = self.streams.get_mut(slot.0 as usize)?;
        let origin = Origin { ts, stream: stream.serial, line: "" };
        let signature = stream.trace.signature(true)?;
        tell(&mut self.store, stream.event, stream.level, signature, origin)
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

    /// What is known of a template; `None` when it was forgotten, or never was.
    #[must_use]
    pub fn get(&self, id: TemplateId) -> Option<Template<'_>> {
        self.store.by_id(id.0).map(show)
    }

    /// All templates, by rising id.
    pub fn templates(&self) -> impl Iterator<Item = Template<'_>> {
        self.store.ids().into_iter().filter_map(|id| self.get(TemplateId(id)))
    }

    /// What templates are worth for these streams.
    #[must_use]
    pub fn quality(&self, streams: &[StreamSlot]) -> Quality {
        let streams = streams.iter().filter_map(|slot| self.streams.get(slot.0 as usize));
        quality::quality(streams, &self.store, self.store.len() > self.limits.templates)
    }

    /// How much it holds.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            templates: self.store.len(),
            given: self.store.given(),
            streams: self.streams.len(),
            families: self.groups.families.len(),
            buckets: self.groups.buckets.len(),
            coarse: self.groups.coarse,
            evicted: self.groups.families.evicted() + self.groups.buckets.evicted(),
        }
    }

    /// All of it as bytes, for [`Miner::restore`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    /// The same, behind what is there.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.store.put(out);
        self.groups.put(out);
        self.streams.put(out);
        (self.hand, self.serials).put(out);
        self.recent.put(out);
        self.common.put(out);
    }

    /// The miner that a snapshot was made of: the same lines get the same ids from it. `None` when the bytes are of another
    /// version, or damaged; then templates must be learnt anew, and ids of before mean nothing.
    #[must_use]
    pub fn restore(limits: Limits, bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut from = Bytes(rest);
        let (mut store, groups) = (Store::take(&mut from)?, Groups::take(&mut from)?);
        store.limit(limits.templates);
        let streams: Vec<Stream> = Vec::take(&mut from)?;
        let (hand, serials): (usize, u32) = Stored::take(&mut from)?;
        let (recent, common) = Stored::take(&mut from)?;
        let index = streams.iter().zip(0..).map(|(stream, slot)| (stream.key, slot)).collect();
        let hand = if hand < streams.len() { hand } else { 0 };
        Some(Self { limits, store, groups, reader: Reader::default(), streams, index, hand, serials, common, recent })
    }
}

fn show(row: &Row) -> Template<'_> {
    Template {
        id: TemplateId(row.id),
        text: &row.seq.text,
        example: &row.example,
        count: row.count,
        first_seen: row.first,
        last_seen: row.last,
        levels: row.levels,
        trace: row.kind == RowKind::Trace,
        coarse: row.kind == RowKind::Coarse,
    }
}

/// A new stream begins with the header that fits its first line, of those that other streams have.
#[cold]
fn begin(stream: &mut Stream, line: &[u8], recent: &[Headers], common: &Headers) {
    if common.columns() > 0 && common.cut(line).fits {
        return;
    }
    let fitting = recent.iter().filter(|headers| headers.columns() > 0 && headers.cut(line).fits);
    if let Some(headers) = fitting.max_by_key(|headers| headers.columns()) {
        (stream.headers, stream.own) = (headers.clone(), true);
    }
}

/// Whether a line goes on with a stack trace, and the template of a trace that is known now.
#[inline]
fn follow(
    store: &mut Store,
    stream: &mut Stream,
    line: &[u8],
    (cut, headed): (&header::Cut<'_>, bool),
    origin: Origin<'_>,
) -> (Part, Option<TemplateId>) {
    let before = if stream.trace.is_due() { Some(stream.trace.clone()) } else { None };
    let (mut header, mut headed) = (cut.message > 0, headed);
    if !headed && stream.lines < YOUNG {
        // Before a header is learnt, a line that begins with a time or a level has one, and then the others have.
        let level = line.first().is_some_and(|b| !b.is_ascii_lowercase());
        let begins = match column::Columns::new(line).form()[0] {
            b'T' => true,
            b'L' => level,
            _ => false,
        };
        stream.timed |= begins;
        (header, headed) = (begins, stream.timed);
    }
    let text = if cut.message > 0 { line.get(cut.message + 1..).unwrap_or_default() } else { line };
    let part = stream.trace.part(text, header, headed);
    let ended = before.filter(|_| part == Part::Event);
    if ended.is_none() && stream.trace.is_idle() {
        return (part, None);
    }
    let mut ended = ended;
    let over = ended.as_mut().and_then(|trace| trace.signature(true));
    let now = if part == Part::Continues { stream.trace.signature(false) } else { None };
    let told = over.or(now);
    (part, told.and_then(|signature| tell(store, stream.event, stream.level, signature, origin)))
}

/// Counts a trace below an event.
fn tell(store: &mut Store, event: u32, level: Level, signature: &Signature, origin: Origin<'_>) -> Option<TemplateId> {
    let head = store.resolve(event);
    let slot = trace_slot(store, head, signature, origin)?;
    Some(store.count(slot, origin.ts, level))
}

/// The slot of the trace that one entry holds.
#[cold]
fn whole_trace(store: &mut Store, slot: u32, signature: &Signature, origin: Origin<'_>) -> u32 {
    let head = store.row(slot).map_or(0, |row| row.id);
    trace_slot(store, head, signature, origin).unwrap_or(slot)
}

fn trace_slot(store: &mut Store, head: u32, signature: &Signature, origin: Origin<'_>) -> Option<u32> {
    let (text, example) = match store.by_id(head) {
        Some(row) => (row.seq.text.to_string(), row.example.to_string()),
        None => (String::new(), String::new()),
    };
    let seq = store::trace_seq(&text, std::iter::once(&signature.thrown).chain(&signature.frames).cloned());
    let line = if origin.line.contains('\n') { origin.line } else { &example };
    store.trace(head, seq, Origin { line, ..origin })
}

/// What a change of headers touches.
struct Known<'a> {
    store: &'a mut Store,
    groups: &'a mut Groups,
    recent: &'a mut Vec<Headers>,
}

impl Known<'_> {
    /// Puts new headers in force for the streams that have none of their own.
    #[cold]
    fn change_common(&mut self, common: &mut Stream, streams: &[Stream], headers: Option<Headers>) {
        let Some(headers) = headers else { return };
        let old = std::mem::replace(&mut common.headers, headers.clone());
        let own: FxHashSet<u32> = streams.iter().filter(|stream| stream.own).map(|stream| stream.serial).collect();
        self.relearn(|serial| !own.contains(&serial), &old, headers);
    }

    /// Puts new headers in force for one stream.
    #[cold]
    fn change_own(&mut self, stream: Option<&mut Stream>, common: &Headers, headers: Option<Headers>) {
        let (Some(stream), Some(headers)) = (stream, headers) else { return };
        if stream.keeps(common, &headers) {
            return;
        }
        let old = stream.in_force(common).clone();
        (stream.headers, stream.own) = (headers.clone(), true);
        self.relearn(|serial| serial == stream.serial, &old, headers);
    }

    /// What was mined with the old headers keeps its ids: the example lines of these streams' templates are cut with the new
    /// ones, and what is equal then merges.
    fn relearn(&mut self, of: impl Fn(u32) -> bool, old: &Headers, headers: Headers) {
        let Self { store, groups, recent } = self;
        let mut reader = Box::<Reader>::default();
        for id in store.ids() {
            let Some(slot) = store.slot(id) else { continue };
            let own = |row: &&Row| row.id == id && of(row.stream) && row.kind == RowKind::Message;
            let Some(row) = store.row(slot).filter(own) else { continue };
            let Some((seq, place)) = moved(&mut reader, row, old, &headers) else { continue };
            let place = if groups.places.idle { 0 } else { place };
            let key = atoms::sequence_hash(&seq.atoms, place);
            let origin = Origin { ts: row.last, stream: row.stream, line: "" };
            let unseen = Unseen { seq: seq.view(), hash: key, place, origin };
            let known = store.find(key).or_else(|| groups.known(store, &unseen));
            match known {
                Some(into) => store.merge(slot, into),
                None => {
                    store.rekey(slot, seq.clone(), place);
                    groups.adopt(store, seq.view(), place, slot);
                }
            }
        }
        store.refresh_traces();
        recent.retain(|known| *known != headers);
        recent.push(headers);
        if recent.len() > RECENT {
            recent.remove(0);
        }
    }
}

/// The sequence that a template has under other headers, by its example line; `None` when it is the same, or cannot be told.
fn moved(reader: &mut Reader, row: &Row, old: &Headers, new: &Headers) -> Option<(Seq, u64)> {
    let line = row.example.as_bytes();
    let before: Vec<u64> = reader.whole(line, old).atoms.atoms().to_vec();
    let known = row.seq.view();
    let message = reader.whole(line, new);
    let view = message.view();
    if *view.atoms == *before && row.place == message.place {
        return None;
    }
    let same = known.atoms.len() == before.len()
        && known.atoms.iter().zip(&before).all(|(known, atom)| known == atom || *known == atoms::V);
    let shift = before.len() as isize - view.atoms.len() as isize;
    if !same {
        if !(row.example.contains("[masked]") || row.example.ends_with('…')) {
            return None;
        }
        // The example lost a secret. What the longer header takes is the beginning, whatever the rest was.
        let shift = usize::try_from(shift).ok().filter(|shift| before.get(*shift..) == Some(view.atoms))?;
        let (atoms, spans) = (known.atoms.get(shift..)?, known.spans.get(shift..)?);
        return Some((Seq::of(atoms::View { atoms, spans, text: known.text }, |_| false), message.place));
    }
    // The end of the message is the same under both; slots that had become variables are so still.
    let wild = |i: usize| {
        let at = usize::try_from(i as isize + shift).ok();
        at.is_some_and(|at| before.get(at) == view.atoms.get(i) && known.atoms.get(at) == Some(&atoms::V))
    };
    Some((Seq::of(view, wild), message.place))
}
