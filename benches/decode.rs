//! What it costs to read a page of Loki's JSON into a batch.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use log_generator::{Generator, Plan};
use sigyn::collect::client::{Streams, decode};
use sigyn::collect::{Batch, Purpose};
use sigyn::time::TimeRange;

fn main() {
    divan::main();
}

/// A page as Loki answers it, of so many lines of the generator; by stream, with structured metadata when it is asked for.
fn page(lines: usize, metadata: bool) -> String {
    let mut generator = Generator::new(&Plan::default());
    let mut streams: Vec<(String, String)> = Vec::new();
    for _ in 0..lines {
        let Some(record) = generator.next() else { break };
        let labels: BTreeMap<&str, &str> = record.stream.labels().into_iter().collect();
        let labels = serde_json::to_string(&labels).unwrap_or_default();
        let at = streams.iter().position(|(known, _)| *known == labels).unwrap_or_else(|| {
            streams.push((labels, String::new()));
            streams.len() - 1
        });
        let line = serde_json::to_string(record.line).unwrap_or_default();
        let more = if metadata { ",{\"structuredMetadata\":{\"detected_level\":\"info\"}}" } else { "" };
        if let Some((_, values)) = streams.get_mut(at) {
            let comma = if values.is_empty() { "" } else { "," };
            _ = write!(values, "{comma}[\"{}\",{line}{more}]", record.ts);
        }
    }
    let streams: Vec<String> =
        streams.iter().map(|(labels, values)| format!("{{\"stream\":{labels},\"values\":[{values}]}}")).collect();
    let flags = if metadata { "\"encodingFlags\":[\"categorize-labels\"]," } else { "" };
    format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"streams\",{flags}\"result\":[{}],\"stats\":{{\"summary\":{{\"execTime\":0.01}}}}}}}}",
        streams.join(",")
    )
}

/// A page of 5,000 lines, with structured metadata or without.
#[divan::bench(args = [false, true], sample_count = 50, sample_size = 1)]
fn decode_page(bencher: Bencher<'_, '_>, metadata: bool) {
    let text = page(5_000, metadata);
    let mut streams = Streams::default();
    let mut read = || {
        let mut batch = Batch::new(Arc::from("bench"), TimeRange::new(0, 1), Purpose::Judge);
        let done = decode(&text, &mut streams, &mut batch);
        assert!(done.is_ok() && batch.len() == 5_000, "{done:?}: {} lines", batch.len());
        batch
    };
    read();
    bencher.counter(BytesCount::new(text.len())).counter(ItemsCount::new(5_000usize)).bench_local(read);
}
