//! Answers as Loki writes them: JSON put together by hand into one buffer, because pages of thousands of lines are the
//! stand-in's daily work. Result streams or series come in, bytes go out.

use super::query::{Group, Series};
use super::store::Pairs;
use std::io::Write as _;

/// What a page holds: the body, the lines in it, and the size Loki would have had to send inside (its gRPC limit counts
/// that, not the JSON).
pub(crate) struct Body {
    pub(crate) json: Vec<u8>,
    pub(crate) lines: usize,
    pub(crate) encoded: usize,
}

/// `resultType: streams`.
pub(crate) fn streams(groups: &[Group<'_>], categorized: bool, dropped: &[&str]) -> Body {
    let lines = groups.iter().map(|g| g.entries.len()).sum();
    let text: usize = groups.iter().flat_map(|g| &g.entries).map(|e| e.line.len()).sum();
    let mut out = Vec::with_capacity(text + lines * if categorized { 100 } else { 32 } + groups.len() * 200 + 1024);
    let mut encoded = 0;
    out.extend_from_slice(br#"{"status":"success","data":{"resultType":"streams","#);
    if categorized {
        out.extend_from_slice(br#""encodingFlags":["categorize-labels"],"#);
    }
    out.extend_from_slice(br#""result":["#);
    for (i, group) in groups.iter().enumerate() {
        out.extend_from_slice(if i == 0 { br#"{"stream":"# } else { br#",{"stream":"# });
        let before = out.len();
        object(&mut out, &group.labels, &[]);
        encoded += out.len() - before;
        out.extend_from_slice(br#","values":["#);
        for (i, entry) in group.entries.iter().enumerate() {
            out.extend_from_slice(if i == 0 { br#"[""# } else { br#",[""# });
            number(&mut out, entry.ts);
            out.extend_from_slice(br#"",""#);
            if entry.plain {
                out.extend_from_slice(entry.line.as_bytes());
            } else {
                escaped(&mut out, &entry.line);
            }
            out.push(b'"');
            if categorized {
                out.push(b',');
                metadata(&mut out, &entry.meta, dropped);
            }
            out.push(b']');
            // Protobuf: tags and lengths, the time stamp, per label two tags and lengths.
            encoded += entry.line.len() + 20 + entry.meta.iter().map(|(k, v)| k.len() + v.len() + 6).sum::<usize>();
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    stats(&mut out, lines, text);
    // Loki ends streams with a line break, samples without.
    out.push(b'\n');
    Body { json: out, lines, encoded }
}

/// `resultType: matrix`; `times` in ns.
pub(crate) fn matrix(series: &Series, times: &[i64]) -> Vec<u8> {
    let mut out = br#"{"status":"success","data":{"resultType":"matrix","result":["#.to_vec();
    let mut first = true;
    for (labels, values) in series {
        if values.iter().all(Option::is_none) {
            continue;
        }
        out.extend_from_slice(if first { br#"{"metric":"# } else { br#",{"metric":"# });
        first = false;
        object(&mut out, labels, &[]);
        out.extend_from_slice(br#","values":["#);
        let shown = times.iter().zip(values).filter_map(|(t, v)| Some((*t, (*v)?)));
        for (i, (t, v)) in shown.enumerate() {
            if i > 0 {
                out.push(b',');
            }
            sample(&mut out, t, v);
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    stats(&mut out, 0, 0);
    out
}

/// `resultType: vector` at one time (ns).
pub(crate) fn vector(series: &Series, time: i64) -> Vec<u8> {
    let mut out = br#"{"status":"success","data":{"resultType":"vector","result":["#.to_vec();
    let shown = series.iter().filter_map(|(labels, values)| Some((labels, (*values.first()?)?)));
    for (i, (labels, v)) in shown.enumerate() {
        out.extend_from_slice(if i == 0 { br#"{"metric":"# } else { br#",{"metric":"# });
        object(&mut out, labels, &[]);
        out.extend_from_slice(br#","value":"#);
        sample(&mut out, time, v);
        out.push(b'}');
    }
    out.push(b']');
    stats(&mut out, 0, 0);
    out
}

/// A list of names or values; with nothing to show Loki leaves `data` out.
pub(crate) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = br#"{"status":"success""#.to_vec();
    let mut any = false;
    for item in items {
        out.extend_from_slice(if any { b",\"" } else { b",\"data\":[\"" });
        any = true;
        escaped(&mut out, item);
        out.push(b'"');
    }
    out.extend_from_slice(if any { b"]}\n" } else { b"}\n" });
    out
}

/// The label sets of `/series`.
pub(crate) fn sets<'a>(sets: impl IntoIterator<Item = &'a Pairs>) -> Vec<u8> {
    let mut out = br#"{"status":"success","data":["#.to_vec();
    for (i, labels) in sets.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        object(&mut out, labels, &[]);
    }
    out.extend_from_slice(b"]}\n");
    out
}

/// A short `stats` object of Loki's shape; its numbers are of no use to a client.
fn stats(out: &mut Vec<u8>, lines: usize, bytes: usize) {
    let _ = write!(
        out,
        r#","stats":{{"summary":{{"bytesProcessedPerSecond":0,"linesProcessedPerSecond":0,"totalBytesProcessed":{bytes},"totalLinesProcessed":{lines},"execTime":0.001,"queueTime":0,"subqueries":0,"totalEntriesReturned":{lines},"splits":0,"shards":0,"totalPostFilterLines":{lines},"totalStructuredMetadataBytesProcessed":0}},"querier":{{"store":{{}}}},"ingester":{{"totalReached":1,"store":{{}}}},"cache":{{}},"index":{{}}}}}}}}"#
    );
}

fn metadata(out: &mut Vec<u8>, meta: &Pairs, dropped: &[&str]) {
    if meta.iter().all(|(name, _)| dropped.contains(&name.as_str())) {
        out.extend_from_slice(b"{}");
        return;
    }
    out.extend_from_slice(br#"{"structuredMetadata":"#);
    object(out, meta, dropped);
    out.push(b'}');
}

fn object(out: &mut Vec<u8>, pairs: &Pairs, dropped: &[&str]) {
    out.push(b'{');
    let mut first = true;
    for (name, value) in pairs.iter().filter(|(name, _)| !dropped.contains(&name.as_str())) {
        out.extend_from_slice(if first { b"\"" } else { b",\"" });
        first = false;
        escaped(out, name);
        out.extend_from_slice(br#"":""#);
        escaped(out, value);
        out.push(b'"');
    }
    out.push(b'}');
}

/// `[1795215419.999,"3"]`: unix seconds with at most milliseconds, the value as text.
fn sample(out: &mut Vec<u8>, time: i64, value: f64) {
    let seconds = time.div_euclid(1_000_000) as f64 / 1000.0;
    let _ = write!(out, "[{seconds},\"{value}\"]");
}

fn number(out: &mut Vec<u8>, n: i64) {
    let _ = write!(out, "{n}");
}

/// Text inside JSON quotes, escaped for HTML too, as Loki does; runs without escapes are copied whole.
fn escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &b) in bytes.iter().enumerate() {
        let short: &[u8] = match b {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | b'<' | b'>' | b'&' => b"",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        from = at + 1;
        if short.is_empty() {
            let _ = write!(out, "\\u{b:04x}");
        } else {
            out.extend_from_slice(short);
        }
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}
