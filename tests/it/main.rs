//! The integration tests, one binary.

// clippy.toml allows it in `#[test]` functions; here it is for what those call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod architecture;
mod docs;
mod static_binary;
