//! Any text as a settings file: it is read, or each mistake says what is wrong; what was read can be printed and read again.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use sigyn::config::{Loader, env::Env};

fuzz_target!(|text: &str| {
    let loader = Loader::new(None, Env::new());
    match loader.load_text(Some(PathBuf::from("sigyn.yaml")), text) {
        Ok(loaded) => {
            let again = serde_json::to_string(&loaded.settings).map(|text| loader.load_text(None, &text));
            if let Ok(Ok(again)) = again {
                assert_eq!(again.settings.detect, loaded.settings.detect);
                assert_eq!(again.settings.watches, loaded.settings.watches);
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty() && mistakes.0.iter().all(|mistake| !mistake.text.is_empty()));
            assert!(!mistakes.to_string().is_empty());
        }
    }
});
