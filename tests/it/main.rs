//! The integration tests, one binary.

// clippy.toml allows it in `#[test]` functions; here it is for what those call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod bytes;
mod child;
mod cli;
mod crash;
mod demo;
mod docs;
mod drain;
mod e2e;
mod eval;
mod kill;
mod lasting;
mod late;
mod leak;
mod memory;
mod old_loki;
mod outcome;
mod proxy;
mod quality;
mod routing;
mod scan;
#[path = "../../src/store/tests/server.rs"]
mod server;
mod several;
mod shop;
mod soak;
mod static_binary;
mod tls;
mod transport;
mod withdrawn;
