//! Seeded, labelled traffic of a small shop of services, with planted faults, and a small stand-in for Loki ([`loki`]).
//!
//! A [`Plan`] says how much, how long and what goes wrong; its [`Truth`] says what is planted where and when; a
//! [`Generator`] gives the lines in time order. The same plan gives the same bytes on every machine.
//!
//! ```
//! use log_generator::{Generator, Plan};
//! use std::time::Duration;
//!
//! let plan = Plan { seed: 7, duration: Duration::from_secs(60), ..Plan::default() };
//! let mut generator = Generator::new(&plan);
//! let mut lines = 0;
//! while let Some(record) = generator.next() {
//!     assert!(record.ts < plan.end() && !record.line.is_empty());
//!     lines += 1;
//! }
//! assert!(lines > 1000);
//! ```

// What to plant and when.
mod fault;
mod plan;
mod rng;
mod schedule;

// What the shop writes.
mod flow;
mod service;
mod shop;
mod stamp;
mod template;
mod word;

// How it becomes lines in time order.
mod board;
mod effect;
mod generator;
mod surprise;
mod traffic;

// Where the lines go.
pub mod cli;
pub mod output;
pub mod push;

// A stand-in for Loki.
pub mod loki;

pub use fault::{Benign, BenignKind, Fault, FaultKind, Truth};
pub use generator::{Generator, Owned, OwnedRecord, Record, Stream};
pub use plan::{Burst, Plan};
pub use service::Level;
pub use stamp::parse as parse_time;
