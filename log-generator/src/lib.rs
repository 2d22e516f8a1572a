//! Placeholder.

pub mod loki;
