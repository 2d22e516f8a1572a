//! Queries over the store: a page of lines in global time order, or counts per window. The store and a parsed query
//! come in, entries or samples go out; nothing here knows HTTP or JSON.

use super::logql::{Count, Log, Matcher, Metric, Stage};
use super::store::{Entry, Pairs, Store, Stream, text, value};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

/// Which end of the range a page starts at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// A half-open range of time and how much of it is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) limit: usize,
    pub(crate) direction: Direction,
}

/// A stream that fits the selector, with its labels as this query shows them.
pub(crate) struct Source<'a> {
    pub(crate) labels: Arc<Pairs>,
    text: Arc<str>,
    pub(crate) stream: &'a Stream,
}

/// The entries under one set of labels, as one answer shows them.
pub(crate) struct Group<'a> {
    pub(crate) labels: Pairs,
    text: String,
    pub(crate) entries: Vec<&'a Entry>,
}

/// One series: per evaluated time its value, or none.
pub(crate) type Series = BTreeMap<Pairs, Vec<Option<f64>>>;

/// The streams of these tenants that fit, in label order. Several tenants: each stream says whose it is.
pub(crate) fn sources<'a>(store: &'a Store, tenants: &[String], matchers: &[Matcher]) -> Vec<Source<'a>> {
    let mut found = Vec::new();
    for tenant in tenants {
        for (key, stream) in store.tenant(tenant).into_iter().flatten() {
            let (labels, text) = if tenants.len() > 1 {
                let mut labels = stream.labels.to_vec();
                labels.push(("__tenant_id__".to_owned(), tenant.clone()));
                labels.sort();
                let text = text(&labels).into();
                (Arc::new(labels), text)
            } else {
                (Arc::clone(&stream.labels), Arc::clone(key))
            };
            if matchers.iter().all(|m| m.fits(|name| value(&labels, name))) {
                found.push(Source { labels, text, stream });
            }
        }
    }
    found.sort_by(|a, b| a.text.cmp(&b.text));
    found
}

/// The oldest (or newest) entries of the window that pass the stages, over all sources in global time order; at one
/// nanosecond in label order, then in order of arrival (backward: reversed).
pub(crate) fn page<'a>(sources: &[Source<'a>], stages: &[Stage], window: Window) -> Vec<(usize, &'a Entry)> {
    let mut spans: Vec<(usize, usize)> = sources.iter().map(|s| s.stream.range(window.start, window.end)).collect();
    let forward = window.direction == Direction::Forward;
    // The key of the next entry: the heap gives the largest, so forward turns the time round.
    let key = |i: usize, spans: &[(usize, usize)]| {
        let &(low, high) = spans.get(i)?;
        let at = if forward { low } else { high.checked_sub(1)? };
        let ts = if low < high { sources.get(i)?.stream.entries.get(at)?.ts } else { return None };
        Some((if forward { !ts } else { ts }, Reverse(i)))
    };
    let mut next: BinaryHeap<_> = (0..sources.len()).filter_map(|i| key(i, &spans)).collect();
    let mut hits = Vec::new();
    while hits.len() < window.limit {
        let Some((_, Reverse(i))) = next.pop() else { break };
        let (Some(source), Some(span)) = (sources.get(i), spans.get_mut(i)) else { break };
        let at = if forward { span.0 } else { span.1 - 1 };
        if forward {
            span.0 += 1;
        } else {
            span.1 -= 1;
        }
        if let Some(entry) = source.stream.entries.get(at)
            && passes(stages, &source.labels, (&entry.line, &entry.meta))
        {
            hits.push((i, entry));
        }
        next.extend(key(i, &spans));
    }
    hits
}

/// The hits as result streams in label order. Categorised: one per stream. Else the metadata is merged into the labels,
/// and one stream becomes one result stream per set of metadata.
pub(crate) fn groups<'a>(
    sources: &[Source<'a>],
    hits: &[(usize, &'a Entry)],
    stages: &[Stage],
    categorized: bool,
) -> Vec<Group<'a>> {
    let dropped = dropped(stages);
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut by_text: HashMap<String, usize> = HashMap::new();
    let mut by_meta: HashMap<(usize, usize), usize> = HashMap::new();
    for &(i, entry) in hits {
        let meta = if categorized { 0 } else { Arc::as_ptr(&entry.meta) as usize };
        let at = *by_meta.entry((i, meta)).or_insert_with(|| {
            let own: &Pairs = sources.get(i).map_or(&entry.meta, |s| &s.labels);
            let mut labels = if categorized { own.clone() } else { merged(own, &entry.meta) };
            labels.retain(|(name, _)| !dropped.contains(&name.as_str()));
            let text = text(&labels);
            *by_text.entry(text.clone()).or_insert_with(|| {
                groups.push(Group { labels, text, entries: Vec::new() });
                groups.len() - 1
            })
        });
        if let Some(group) = groups.get_mut(at) {
            group.entries.push(entry);
        }
    }
    groups.sort_by(|a, b| a.text.cmp(&b.text));
    groups
}

/// Counts in the windows `(t - range, t]` of every `t`.
///
/// # Errors
/// The number of series allowed, when there are more.
pub(crate) fn series(
    sources: &[Source<'_>],
    metric: &Metric,
    times: &[i64],
    max_series: usize,
) -> Result<Series, usize> {
    let mut out = Series::new();
    for source in sources {
        let whole = whole_key(source, metric);
        for (slot, &t) in times.iter().enumerate() {
            let from = t.saturating_sub(metric.range).saturating_add(1);
            let (low, high) = source.stream.range(from, t.saturating_add(1));
            if low == high {
                continue;
            }
            if let Some(key) = &whole {
                add(&mut out, key, (slot, times.len()), (high - low) as f64);
            } else {
                entry_by_entry(&mut out, source, metric, (low, high), (slot, times.len()));
            }
            if out.len() > max_series {
                return Err(max_series);
            }
        }
    }
    if metric.count == Count::LinesPerSecond {
        let seconds = metric.range as f64 / 1e9;
        out.values_mut().flatten().flatten().for_each(|v| *v /= seconds);
    }
    if let Some(filler) = metric.or_vector {
        let values = out.entry(Pairs::new()).or_insert_with(|| vec![None; times.len()]);
        values.iter_mut().for_each(|v| *v = v.or(Some(filler)));
    }
    Ok(out)
}

/// The names that `| drop` takes out of the answer.
pub(crate) fn dropped(stages: &[Stage]) -> Vec<&str> {
    stages
        .iter()
        .filter_map(|s| if let Stage::Drop(names) = s { Some(names) } else { None })
        .flatten()
        .map(String::as_str)
        .collect()
}

/// Whether the entry comes through all stages.
pub(crate) fn passes(stages: &[Stage], labels: &Pairs, (line, meta): (&str, &Pairs)) -> bool {
    let mut gone: Vec<&str> = Vec::new();
    stages.iter().all(|stage| match stage {
        Stage::Holds { keep, texts } => texts.iter().any(|t| line.contains(t.as_str())) == *keep,
        Stage::Fits { keep, patterns } => patterns.iter().any(|p| p.is_match(line)) == *keep,
        Stage::Labels(any) => {
            let find = |name: &str| {
                let hidden = gone.contains(&name);
                value(labels, name).or_else(|| value(meta, name)).filter(|_| !hidden)
            };
            any.iter().any(|all| all.iter().all(|m| m.fits(find)))
        }
        Stage::Drop(names) => {
            gone.extend(names.iter().map(String::as_str));
            true
        }
    })
}

/// Labels with the metadata among them; a name that is taken gets Loki's suffix.
fn merged(labels: &Pairs, meta: &Pairs) -> Pairs {
    let mut all = labels.clone();
    for (name, text) in meta {
        let taken = value(labels, name).is_some();
        all.push((if taken { format!("{name}_extracted") } else { name.clone() }, text.clone()));
    }
    all.sort();
    all
}

/// The one key of all entries of the source, where counting needs no look at the entries.
fn whole_key(source: &Source<'_>, metric: &Metric) -> Option<Pairs> {
    if !metric.log.stages.is_empty() || metric.count == Count::Bytes {
        return None;
    }
    let names = metric.sum_by.as_ref()?;
    names
        .iter()
        .map(|name| Some((name.clone(), value(&source.labels, name)?.to_owned())))
        .collect::<Option<Pairs>>()
        .map(|mut key| {
            key.sort();
            key
        })
}

fn entry_by_entry(
    out: &mut Series,
    source: &Source<'_>,
    metric: &Metric,
    (low, high): (usize, usize),
    slot: (usize, usize),
) {
    let Log { stages, .. } = &metric.log;
    let dropped = dropped(stages);
    let mut sums: HashMap<usize, usize> = HashMap::new();
    let mut totals: Vec<(&Arc<Pairs>, f64)> = Vec::new();
    for entry in source.stream.entries.range(low..high) {
        if !passes(stages, &source.labels, (&entry.line, &entry.meta)) {
            continue;
        }
        let worth = if metric.count == Count::Bytes { entry.line.len() as f64 } else { 1.0 };
        let at = *sums.entry(Arc::as_ptr(&entry.meta) as usize).or_insert_with(|| {
            totals.push((&entry.meta, 0.0));
            totals.len() - 1
        });
        if let Some(total) = totals.get_mut(at) {
            total.1 += worth;
        }
    }
    for (meta, total) in totals {
        let mut key = merged(&source.labels, meta);
        key.retain(|(name, _)| !dropped.contains(&name.as_str()));
        if let Some(names) = &metric.sum_by {
            key.retain(|(name, _)| names.contains(name));
        }
        add(out, &key, slot, total);
    }
}

fn add(out: &mut Series, key: &Pairs, (slot, slots): (usize, usize), worth: f64) {
    if !out.contains_key(key) {
        out.insert(key.clone(), vec![None; slots]);
    }
    if let Some(value) = out.get_mut(key).and_then(|values| values.get_mut(slot)) {
        *value = Some(value.unwrap_or_default() + worth);
    }
}
