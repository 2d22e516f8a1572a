//! The integration tests, one binary.

mod architecture;
mod static_binary;
