//! Any text as matchers: reading it must not panic, and what is shown must read back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sigyn::labels::{Labels, matcher};

fuzz_target!(|text: &str| {
    if let Ok(matchers) = matcher::parse(text) {
        assert_eq!(matcher::parse(&matchers.to_string()).as_ref(), Ok(&matchers));
        let labels: Labels = matchers.iter().map(|matcher| (matcher.name(), matcher.value())).collect();
        let _ = matchers.matches(&labels);
    }
});
