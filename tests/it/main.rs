//! The integration tests, one binary.

mod architecture;
mod docs;
mod static_binary;
