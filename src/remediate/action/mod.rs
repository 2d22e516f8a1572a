//! What can be done: one file each.

pub mod log;
