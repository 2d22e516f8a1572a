//! Tests of the whole miner.

mod accuracy;
mod forms;
mod property;
