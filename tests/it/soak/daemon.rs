//! sigyn in a process of its own: all that `sigyn run` is, with a clock that follows a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sigyn::app::daemon::Daemon;
use sigyn::config::Loader;
use sigyn::detect::personal;
use sigyn::telemetry::{Metrics, start_log};

use super::time;

/// Names the file with the clock's course, for the process that is to be sigyn.
pub(crate) const CLOCK: &str = "SOAK_CLOCK";

/// Is sigyn until it is told to stop; returns at once in a process that is not meant to be.
pub(crate) fn run() {
    let Some(file) = std::env::var_os(CLOCK) else { return };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let loader = Loader::new(std::env::var_os("SIGYN_CONFIG").map(PathBuf::from), std::env::vars().collect());
    let loaded = loader.load().unwrap();
    personal::install(&loaded.settings.mask);
    start_log(&loaded.settings.telemetry, "warn,sigyn::app::daemon=info").unwrap();
    let daemon = Daemon {
        loader,
        adjust: Arc::new(|_| {}),
        metrics: Metrics::install().unwrap(),
        dry: None,
        clock: time::follow(PathBuf::from(file)),
    };
    // Who watches it may have been killed: then nobody would ever stop it.
    let parent = std::os::unix::process::parent_id();
    std::thread::spawn(move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(Duration::from_millis(500));
        }
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(daemon.run(loaded)).unwrap();
}
