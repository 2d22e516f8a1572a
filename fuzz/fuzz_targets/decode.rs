//! Any text as Loki's answer: reading it must not panic, and what is no answer must be refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sigyn::collect::client::{Streams, decode};
use sigyn::collect::{Batch, Purpose};
use sigyn::time::TimeRange;

fuzz_target!(|text: &str| {
    let mut batch = Batch::new("fuzz".into(), TimeRange::new(0, i64::MAX), Purpose::Judge);
    if decode(text, &mut Streams::default(), &mut batch).is_ok() {
        assert!(batch.bytes() <= text.len(), "entries are made of the text");
    }
});
