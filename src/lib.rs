//! sigyn sits beside Grafana Loki, learns what each service's logs normally look like, finds what is not normal, and
//! turns it into few, well-explained incidents.
//!
//! ```text
//! poller (one per watch) ─Batch─▶ engine (own thread, pure) ─Step─▶ store.commit(step) ─▶ outbox ─▶ notify, remediate
//! ```
//!
//! The stages are modules, in the order of the flow; each imports earlier ones only (a test holds that).

// Words that every stage shares.
pub mod labels;
pub mod secret;
pub mod time;

// The stages, in the order of the flow.
pub mod collect;
pub mod detect;
pub mod incident;
pub mod notify;
pub mod remediate;

// What holds them together.
pub mod app;
pub mod cli;
pub mod config;
pub mod engine;
pub mod eval;
pub mod http;
pub mod store;
pub mod telemetry;
