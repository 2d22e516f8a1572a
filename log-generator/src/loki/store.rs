//! The lines in memory: per tenant the streams in the order of their label text, per stream the entries in time order
//! and, at one nanosecond, in the order of arrival. Equal (stream, time, text) is kept once, as Loki keeps it. Bounded
//! by `max_bytes`: over it the oldest lines of all tenants go. No clock, no I/O here.

use super::level;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Names and values, sorted by name.
pub(crate) type Pairs = Vec<(String, String)>;

/// What a stream weighs beside its label text, which is held about three times.
const STREAM_BYTES: usize = 512;

/// What an entry weighs beside its text: the struct, its allocation, its share of the ring's spare room.
const ENTRY_BYTES: usize = 72;

/// `discover_service_name` of Loki's default settings, in its order.
const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// One stored line.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) ts: i64,
    pub(crate) line: Box<str>,
    /// Structured metadata with `detected_level`. Equal sets of a level alone share one allocation.
    pub(crate) meta: Arc<Pairs>,
    hash: u32,
    /// Nothing in the line needs an escape in JSON.
    pub(crate) plain: bool,
}

/// One line on its way in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) ts: i64,
    pub(crate) text: String,
    pub(crate) meta: Pairs,
}

/// The lines under one set of labels.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) labels: Arc<Pairs>,
    pub(crate) entries: VecDeque<Entry>,
    /// The newest time stamp it ever had: out-of-order limits count from it.
    pub(crate) newest: i64,
}

/// The streams of one tenant under their label text.
pub(crate) type Tenant = BTreeMap<Arc<str>, Stream>;

/// All tenants.
#[derive(Debug)]
pub(crate) struct Store {
    tenants: BTreeMap<String, Tenant>,
    /// Shared metadata sets that hold nothing but a level.
    levels: HashMap<String, Arc<Pairs>>,
    nothing: Arc<Pairs>,
    discover_levels: bool,
    name_services: bool,
    max_bytes: usize,
    bytes: usize,
    lines: usize,
    evicted: u64,
}

impl Stream {
    /// The positions of the entries with `from <= ts < to`.
    pub(crate) fn range(&self, from: i64, to: i64) -> (usize, usize) {
        let low = self.entries.partition_point(|e| e.ts < from);
        let high = self.entries.partition_point(|e| e.ts < to);
        (low, high.max(low))
    }

    /// Whether it has an entry with `from <= ts < to`.
    pub(crate) fn within(&self, from: i64, to: i64) -> bool {
        let (low, high) = self.range(from, to);
        low < high
    }

    /// Puts the entry behind all of its own time; false when the same text is there already.
    fn insert(&mut self, entry: Entry) -> bool {
        self.newest = self.newest.max(entry.ts);
        let at = match self.entries.back() {
            Some(last) if last.ts > entry.ts => self.entries.partition_point(|e| e.ts <= entry.ts),
            _ => self.entries.len(),
        };
        let twin = |e: &Entry| e.hash == entry.hash && e.line == entry.line;
        if self.entries.range(..at).rev().take_while(|e| e.ts == entry.ts).any(twin) {
            return false;
        }
        if at == self.entries.len() {
            self.entries.push_back(entry);
        } else {
            self.entries.insert(at, entry);
        }
        true
    }
}

impl Store {
    pub(crate) fn new(max_bytes: usize, discover_levels: bool, name_services: bool) -> Self {
        Self {
            tenants: BTreeMap::new(),
            levels: HashMap::new(),
            nothing: Arc::default(),
            discover_levels,
            name_services,
            max_bytes,
            bytes: 0,
            lines: 0,
            evicted: 0,
        }
    }

    pub(crate) fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.get(name)
    }

    /// Lines held, of all tenants.
    pub(crate) fn len(&self) -> usize {
        self.lines
    }

    /// Lines dropped because of `max_bytes`.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Takes lines in, without any check. Returns how many were new.
    pub(crate) fn push(&mut self, tenant: &str, labels: &Arc<Pairs>, mut lines: Vec<Line>) -> usize {
        // Sorted first, so that lines in reverse order do not each move all that came before.
        lines.sort_by_key(|line| line.ts);
        let entries: Vec<Entry> = lines.into_iter().map(|line| self.entry(labels, line)).collect();
        let streams = match self.tenants.get_mut(tenant) {
            Some(streams) => streams,
            None => self.tenants.entry(tenant.to_owned()).or_default(),
        };
        let key: Arc<str> = text(labels).into();
        let bytes = &mut self.bytes;
        let stream = streams.entry(key).or_insert_with_key(|key| {
            *bytes += stream_weight(key);
            Stream { labels: Arc::clone(labels), entries: VecDeque::new(), newest: i64::MIN }
        });
        let mut added = 0;
        for entry in entries {
            let weight = weight(&entry);
            if stream.insert(entry) {
                added += 1;
                self.bytes += weight;
            }
        }
        self.lines += added;
        if self.bytes > self.max_bytes {
            self.evict();
        }
        added
    }

    fn entry(&mut self, labels: &Pairs, line: Line) -> Entry {
        let mut hasher = DefaultHasher::new();
        line.text.hash(&mut hasher);
        let plain = line.text.bytes().all(|b| b >= 0x20 && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&'));
        Entry {
            ts: line.ts,
            meta: self.metadata(labels, line.meta, &line.text),
            line: line.text.into_boxed_str(),
            hash: hasher.finish() as u32,
            plain,
        }
    }

    /// The labels as Loki stores them: sorted, without empty values, with `service_name`.
    pub(crate) fn normal(&self, mut labels: Pairs) -> Pairs {
        labels.retain(|(_, value)| !value.is_empty());
        if self.name_services && !labels.iter().any(|(name, _)| name == "service_name") {
            let found = SERVICE_LABELS.iter().find_map(|s| labels.iter().find(|(name, _)| name == s));
            let name = found.map_or_else(|| "unknown_service".to_owned(), |(_, value)| value.clone());
            labels.push(("service_name".to_owned(), name));
        }
        labels.sort();
        labels.dedup_by(|a, b| a.0 == b.0);
        labels
    }

    fn metadata(&mut self, labels: &Pairs, mut meta: Pairs, line: &str) -> Arc<Pairs> {
        const NAME: &str = "detected_level";
        if !self.discover_levels {
            meta.sort();
            return if meta.is_empty() { Arc::clone(&self.nothing) } else { Arc::new(meta) };
        }
        match meta.iter_mut().find(|(name, _)| name == NAME) {
            Some((_, value)) => {
                if let Some(level) = level::known(value) {
                    level.clone_into(value);
                }
            }
            None => {
                let level = level::detect(labels, &meta, line);
                if meta.is_empty() && (self.levels.len() < 64 || self.levels.contains_key(&level)) {
                    let shared = |l: &String| Arc::new(vec![(NAME.to_owned(), l.clone())]);
                    if let Some(set) = self.levels.get(&level) {
                        return Arc::clone(set);
                    }
                    let set = shared(&level);
                    self.levels.insert(level, Arc::clone(&set));
                    return set;
                }
                meta.push((NAME.to_owned(), level));
            }
        }
        meta.sort();
        Arc::new(meta)
    }

    /// Drops the oldest lines until a sixteenth of the room is free, so that it happens seldom.
    fn evict(&mut self) {
        let goal = self.max_bytes - self.max_bytes / 16;
        let mut streams: Vec<&mut Stream> = self.tenants.values_mut().flat_map(BTreeMap::values_mut).collect();
        let mut oldest: BinaryHeap<_> =
            streams.iter().enumerate().filter_map(|(i, s)| Some(Reverse((s.entries.front()?.ts, i)))).collect();
        while self.bytes > goal {
            let Some(Reverse((_, i))) = oldest.pop() else { break };
            let Some(stream) = streams.get_mut(i) else { break };
            if let Some(entry) = stream.entries.pop_front() {
                self.bytes = self.bytes.saturating_sub(weight(&entry));
                self.lines -= 1;
                self.evicted += 1;
            }
            if let Some(next) = stream.entries.front() {
                oldest.push(Reverse((next.ts, i)));
            }
        }
        let bytes = &mut self.bytes;
        for tenant in self.tenants.values_mut() {
            tenant.retain(|key, stream| {
                let keep = !stream.entries.is_empty();
                *bytes -= if keep { 0 } else { stream_weight(key) };
                keep
            });
        }
        self.tenants.retain(|_, tenant| !tenant.is_empty());
    }
}

fn stream_weight(key: &str) -> usize {
    3 * key.len() + STREAM_BYTES
}

fn weight(entry: &Entry) -> usize {
    let meta = if entry.meta.len() < 2 { 0 } else { entry.meta.iter().map(|(k, v)| k.len() + v.len() + 64).sum() };
    entry.line.len() + ENTRY_BYTES + meta
}

/// `{a="b", c="d"}`: the label text that error texts show and streams are ordered by.
pub(crate) fn text(labels: &[(String, String)]) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let _ = write!(out, "{comma}{name}={value:?}");
    }
    out.push('}');
    out
}

/// The value of one label.
pub(crate) fn value<'a>(labels: &'a [(String, String)], name: &str) -> Option<&'a str> {
    labels.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Arc<Pairs> {
        Arc::new(
            Store::new(0, true, true).normal(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()),
        )
    }

    fn line(ts: i64, text: &str) -> Line {
        Line { ts, text: text.to_owned(), meta: Pairs::new() }
    }

    fn held(store: &Store) -> String {
        let streams = store.tenant("t").into_iter().flat_map(BTreeMap::values);
        let entries = streams.flat_map(|s| &s.entries);
        entries.map(|e| format!("{}{}", e.ts, e.line)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn time_order_then_arrival_and_each_once() {
        let mut store = Store::new(1 << 20, true, true);
        let labels = labels(&[("app", "a")]);
        assert_eq!(store.push("t", &labels, vec![line(5, "a"), line(3, "b"), line(5, "c"), line(5, "a")]), 3);
        assert_eq!(store.push("t", &labels, vec![line(5, "b"), line(4, "a"), line(3, "b"), line(5, "c")]), 2);
        assert_eq!(held(&store), "3b 4a 5a 5c 5b");
        assert_eq!(store.len(), 5);
        let stream = store.tenant("t").unwrap().values().next().unwrap();
        assert_eq!(
            (stream.newest, stream.range(4, 5), stream.range(5, 9), stream.range(9, 1)),
            (5, (1, 2), (2, 5), (5, 5))
        );
    }

    #[test]
    fn every_stream_has_a_service_name() {
        for (given, wanted) in [
            (&[][..], "{service_name=\"unknown_service\"}"),
            (&[("job", "j"), ("app", "a")][..], "{app=\"a\", job=\"j\", service_name=\"a\"}"),
            (&[("service_name", "s"), ("app", "a")][..], "{app=\"a\", service_name=\"s\"}"),
            (&[("pod", "p"), ("app", "")][..], "{pod=\"p\", service_name=\"unknown_service\"}"),
        ] {
            assert_eq!(text(&labels(given)), wanted);
        }
    }

    #[test]
    fn eviction_frees_streams_too() {
        let mut store = Store::new(20_000, true, true);
        for i in 0..1000 {
            let app = format!("app-{i}");
            store.push("t", &labels(&[("app", app.as_str())]), vec![line(i, "x")]);
        }
        let streams = store.tenant("t").unwrap().len();
        assert_eq!(streams, store.len());
        assert!(store.bytes <= 20_000 && streams > 5 && streams < 100, "{streams} streams, {} bytes", store.bytes);
        assert_eq!(store.evicted(), 1000 - streams as u64);
    }
}
