//! Any text wherever strangers' text can stand in an incident: no renderer may panic, pass its receiver's limits, or let
//! markup of the text live. The same body runs under proptest in `notify/receiver/harm.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sigyn::notify::receiver::harm;

fuzz_target!(|text: &str| harm::try_all(text));
