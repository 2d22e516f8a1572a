//! What the generator promises to those who use it: the same bytes, the right shares, faults that show, pushes that
//! arrive.

#![expect(clippy::unwrap_used, reason = "tests")]

mod faults;
mod push;
mod traffic;

use std::time::Duration;

use log_generator::{Generator, OwnedRecord, Plan};

/// All records of `plan`.
fn records(plan: &Plan) -> Vec<OwnedRecord> {
    Generator::new(plan).into_iter().collect()
}

/// `minutes` of quiet traffic.
fn quiet(minutes: u64, rate: f64) -> Plan {
    Plan { duration: Duration::from_secs(minutes * 60), rate, faults: Vec::new(), benign: false, ..Plan::default() }
}
