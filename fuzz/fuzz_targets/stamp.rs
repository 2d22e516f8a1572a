//! Any bytes as lines with time stamps: finding their form and reading them must not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sigyn::collect::stamp::Stamper;

fuzz_target!(|data: &[u8]| {
    let lines = || data.split(|byte| *byte == b'\n');
    if let Some(mut stamper) = Stamper::find(lines(), None) {
        for line in lines() {
            let _ = stamper.read(line);
        }
    }
});
