//! Probes and metrics on their own listener.

pub mod config;
