//! Any bytes as lines of a log: the miner must not panic, must stay within its limits, and must survive a restart.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sigyn::detect::Level;
use sigyn::detect::template::{Limits, Miner, duration, ids};

const LIMITS: Limits = Limits { templates: 50, streams: 2, families: 100, buckets: 10, forget_after: 100 };

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut miner = Miner::new(LIMITS);
    for (ts, line) in (0..).zip(text.split('\u{1}').flat_map(str::lines)) {
        let slot = miner.stream(line.len() as u64 % 3);
        let mined = miner.mine(slot, ts, Level::Unknown, line);
        let _ = (miner.get(mined.template), miner.variables(slot, line), duration(line), ids(line).count());
    }
    let bytes = miner.snapshot();
    let again = Miner::restore(LIMITS, &bytes).expect("what was stored can be read");
    assert_eq!(again.snapshot(), bytes);
    assert!(miner.size().templates <= 2 * LIMITS.templates + 2);
    // And as a snapshot.
    let _ = Miner::restore(LIMITS, data);
});
