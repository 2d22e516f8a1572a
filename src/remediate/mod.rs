//! Stage 5: from transitions to remediations: what is done about an incident, and the record of it.

pub mod config;
