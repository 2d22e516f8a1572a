//! Tests of the whole miner.

mod accuracy;
mod property;
