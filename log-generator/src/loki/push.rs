//! Pushes: a body comes in (JSON, gzipped JSON, protobuf in snappy's block format), lines go out, checked against the
//! limits as Loki checks them. A request with one bad stream is refused with 400, and its good lines are stored.

use super::clock::{go_time, rfc3339};
use super::logql::parse_labels;
use super::store::{Line, Pairs, Store, text, value};
use super::{Limits, clock};
use prost::Message;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

/// The largest body after unpacking.
const MAX_UNPACKED: usize = 256 << 20;

/// A push that is answered with an error; Loki ends these texts with a line break.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// The lines of one pushed stream.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Batch {
    pub(crate) labels: Pairs,
    pub(crate) lines: Vec<Line>,
}

impl Refused {
    fn bad(text: impl Into<String>) -> Self {
        Self { status: 400, text: text.into() }
    }
}

/// Unpacks a body by its two headers.
pub(crate) fn decode(content_type: &str, encoding: &str, body: &[u8]) -> Result<Vec<Batch>, Refused> {
    let json = content_type.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"));
    let batches = if json { from_json(encoding, body)? } else { from_protobuf(encoding, body)? };
    if batches.is_empty() {
        return Err(Refused {
            status: 422,
            text: "error at least one valid stream is required for ingestion".to_owned(),
        });
    }
    Ok(batches)
}

fn from_json(encoding: &str, body: &[u8]) -> Result<Vec<Batch>, Refused> {
    let unpacked;
    let body = match encoding {
        "" => body,
        "gzip" => {
            let mut out = Vec::new();
            let mut unzip = flate2::read::MultiGzDecoder::new(body).take(MAX_UNPACKED as u64);
            unzip.read_to_end(&mut out).map_err(|_| Refused::bad("gzip: invalid header"))?;
            unpacked = out;
            &unpacked
        }
        other => return Err(Refused::bad(format!("Content-Encoding {other:?} not supported"))),
    };
    if body.is_empty() {
        return Err(Refused::bad("EOF"));
    }
    // The words after the prefix are those of Loki's parser; they are not the same here.
    let push: JsonPush =
        serde_json::from_slice(body).map_err(|e| Refused::bad(format!("loghttp.PushRequest.Streams: {e}")))?;
    push.streams.into_iter().map(JsonStream::batch).collect()
}

fn from_protobuf(encoding: &str, body: &[u8]) -> Result<Vec<Batch>, Refused> {
    if !matches!(encoding, "" | "snappy") {
        return Err(Refused::bad(format!("Content-Encoding {encoding:?} not supported")));
    }
    let corrupt = || Refused::bad("snappy: corrupt input");
    if snap::raw::decompress_len(body).map_err(|_| corrupt())? > MAX_UNPACKED {
        return Err(corrupt());
    }
    let unpacked = snap::raw::Decoder::new().decompress_vec(body).map_err(|_| corrupt())?;
    let push = PushRequest::decode(unpacked.as_slice()).map_err(|e| Refused::bad(format!("proto: {e}")))?;
    push.streams.into_iter().map(ProtoStream::batch).collect()
}

/// What became of a push.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) accepted: Vec<(Arc<Pairs>, Vec<Line>)>,
    pub(crate) refused: Option<Refused>,
}

/// Checks each line against the limits; the good ones go on, the first kind of error of each stream is told.
pub(crate) fn check(store: &Store, tenant: &str, batches: Vec<Batch>, limits: &Limits, now: i64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut errors: Vec<String> = Vec::new();
    let mut status = 400;
    let streams = store.tenant(tenant);
    let mut known = streams.map_or(0, BTreeMap::len);
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    for batch in batches {
        let given = batch.labels.len() - usize::from(value(&batch.labels, "service_name").is_some());
        let labels = store.normal(batch.labels);
        let name = text(&labels);
        if given > limits.max_labels {
            errors.push(format!("entry for stream '{name}' has {given} label names; limit {}", limits.max_labels));
            continue;
        }
        let stream = streams.and_then(|s| s.get(name.as_str()));
        if stream.is_none() && !newest.contains_key(&name) {
            if known >= limits.max_streams {
                status = 429;
                errors.push(format!(
                    "maximum active stream limit exceeded when trying to create stream {name}, reduce the number of \
                     active streams (reduce labels or reduce label values), or contact your Loki administrator to see \
                     if the limit can be increased, user: '{tenant}'"
                ));
                continue;
            }
            known += 1;
        }
        let newest = newest.entry(name.clone()).or_insert_with(|| stream.map_or(i64::MIN, |s| s.newest));
        let (good, wrong) = check_lines(batch.lines, &name, limits, (now, newest), tenant);
        errors.extend(wrong);
        if !good.is_empty() {
            outcome.accepted.push((Arc::new(labels), good));
        }
    }
    errors.dedup();
    if !errors.is_empty() {
        outcome.refused = Some(Refused { status, text: errors.join("\n") });
    }
    outcome
}

fn check_lines(
    lines: Vec<Line>,
    stream: &str,
    limits: &Limits,
    (now, newest): (i64, &mut i64),
    tenant: &str,
) -> (Vec<Line>, Vec<String>) {
    let (mut good, mut errors, mut behind) = (Vec::with_capacity(lines.len()), Vec::new(), Vec::new());
    let total = lines.len();
    for line in lines {
        let ns = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        let oldest = limits.reject_older.map(|d| now.saturating_sub(ns(d)));
        if oldest.is_some_and(|oldest| line.ts < oldest) {
            errors.push(format!(
                "entry for stream '{stream}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
                rfc3339(line.ts),
                rfc3339(oldest.unwrap_or_default())
            ));
        } else if limits.reject_newer.is_some_and(|d| line.ts > now.saturating_add(ns(d))) {
            errors.push(format!("entry for stream '{stream}' has timestamp too new: {}", rfc3339(line.ts)));
        } else if line.text.len() > limits.max_line_bytes {
            errors.push(format!(
                "max entry size '{}' bytes exceeded for stream '{stream}' while adding an entry with length '{}' bytes",
                limits.max_line_bytes,
                line.text.len()
            ));
        } else if let Some(window) = limits.out_of_order
            && line.ts < newest.saturating_sub(ns(window))
        {
            behind.push((line.ts, newest.saturating_sub(ns(window))));
        } else {
            *newest = line.ts.max(*newest);
            good.push(line);
        }
    }
    if !behind.is_empty() {
        let shown: Vec<String> = behind.iter().take(10).map(|&(ts, oldest)| too_far_behind(ts, oldest)).collect();
        errors.push(format!(
            "{},\nuser '{tenant}', total ignored: {} out of {total} for stream: {stream}",
            shown.join(",\n"),
            behind.len()
        ));
    }
    (good, errors)
}

fn too_far_behind(ts: i64, oldest: i64) -> String {
    format!(
        "entry with timestamp {} ignored, reason: 'entry too far behind, entry timestamp is: {}, oldest acceptable \
         timestamp is: {}'",
        go_time(ts),
        rfc3339(ts),
        rfc3339(oldest)
    )
}

#[derive(serde::Deserialize)]
struct JsonPush<'a> {
    #[serde(borrow, default)]
    streams: Vec<JsonStream<'a>>,
}

#[derive(serde::Deserialize)]
struct JsonStream<'a> {
    #[serde(default)]
    stream: BTreeMap<String, String>,
    #[serde(borrow, default)]
    values: Vec<Row<'a>>,
}

/// `["<ns>", "<line>", {metadata}]`, the third part optional.
struct Row<'a> {
    ts: i64,
    line: Cow<'a, str>,
    meta: BTreeMap<String, String>,
}

impl JsonStream<'_> {
    fn batch(self) -> Result<Batch, Refused> {
        let labels: Pairs = self.stream.into_iter().collect();
        check_names(&labels)?;
        let line =
            |row: Row<'_>| Line { ts: row.ts, text: row.line.into_owned(), meta: row.meta.into_iter().collect() };
        Ok(Batch { labels, lines: self.values.into_iter().map(line).collect() })
    }
}

/// Loki prints the labels and parses the print, so a bad name is told with its place there.
fn check_names(labels: &Pairs) -> Result<(), Refused> {
    let good = |name: &str| {
        name.bytes().enumerate().all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || (i > 0 && b.is_ascii_digit()))
            && !name.is_empty()
    };
    if labels.iter().all(|(name, _)| good(name)) {
        return Ok(());
    }
    let why = parse_labels(&text(labels)).err().unwrap_or_default();
    Err(Refused::bad(format!("couldn't parse labels: {why}")))
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Row<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of time stamp, line and perhaps metadata")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Row<'de>, A::Error> {
                let missing = |n| serde::de::Error::invalid_length(n, &self);
                let ts: Text<'de> = parts.next_element()?.ok_or_else(|| missing(0))?;
                let ts = ts.0.parse().map_err(serde::de::Error::custom)?;
                let line: Text<'de> = parts.next_element()?.ok_or_else(|| missing(1))?;
                let meta = parts.next_element()?.unwrap_or_default();
                while parts.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Row { ts, line: line.0, meta })
            }
        }
        json.deserialize_seq(Parts)
    }
}

/// A text that is borrowed from the body when it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// `logproto.PushRequest`: the fields that shippers send.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) streams: Vec<ProtoStream>,
}

/// `logproto.StreamAdapter`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtoStream {
    #[prost(string, tag = "1")]
    pub(crate) labels: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) entries: Vec<ProtoEntry>,
}

/// `logproto.EntryAdapter`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtoEntry {
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<ProtoTime>,
    #[prost(string, tag = "2")]
    pub(crate) line: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<ProtoPair>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtoTime {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

/// `logproto.LabelPairAdapter`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProtoPair {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

impl ProtoStream {
    fn batch(self) -> Result<Batch, Refused> {
        let labels = parse_labels(&self.labels).map_err(|why| Refused::bad(format!("couldn't parse labels: {why}")))?;
        let line = |entry: ProtoEntry| {
            let time = entry.timestamp.unwrap_or_default();
            Line {
                ts: time.seconds.saturating_mul(clock::SECOND).saturating_add(i64::from(time.nanos)),
                text: entry.line,
                meta: entry.metadata.into_iter().map(|p| (p.name, p.value)).collect(),
            }
        };
        Ok(Batch { labels, lines: self.entries.into_iter().map(line).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn protobuf_and_json_say_the_same() {
        let metadata = vec![ProtoPair { name: "pod".into(), value: "p".into() }];
        let time = Some(ProtoTime { seconds: 12, nanos: 34 });
        let entries = vec![ProtoEntry { timestamp: time, line: "a \"line\"".into(), metadata }];
        let push = PushRequest { streams: vec![ProtoStream { labels: r#"{b="x", a="y"}"#.into(), entries }] };
        let packed = snap::raw::Encoder::new().compress_vec(&push.encode_to_vec()).unwrap();
        let wanted = Batch {
            labels: vec![pair("a", "y"), pair("b", "x")],
            lines: vec![Line { ts: 12_000_000_034, text: "a \"line\"".into(), meta: vec![pair("pod", "p")] }],
        };
        assert_eq!(decode("application/x-protobuf", "", &packed), Ok(vec![wanted]));
        let json = r#"{"streams":[{"stream":{"b":"x","a":"y"},"values":[["12000000034","a \"line\"",{"pod":"p"}]]}]}"#;
        assert_eq!(
            decode("application/json; charset=utf-8", "", json.as_bytes()),
            decode("application/x-protobuf", "snappy", &packed)
        );
    }

    #[test]
    fn broken_bodies_are_refused() {
        for (kind, encoding, body) in [
            ("application/json", "", "{"),
            ("application/json", "gzip", "no gzip"),
            ("application/json", "deflate", "{}"),
            ("application/json", "", r#"{"streams":[{"stream":{},"values":[["1"]]}]}"#),
            ("application/x-protobuf", "", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("application/x-protobuf", "gzip", ""),
            ("", "", "{}"),
        ] {
            assert_eq!(decode(kind, encoding, body.as_bytes()).unwrap_err().status, 400, "{kind} {encoding} {body}");
        }
    }
}
