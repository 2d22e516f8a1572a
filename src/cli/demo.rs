//! `sigyn demo`: the whole of sigyn against a stand-in for Loki.

use crate::time::Span;

use super::{Common, Exit, Output};

/// Arguments of `sigyn demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long it runs
    #[arg(long = "for", value_name = "DURATION", default_value = "60s")]
    pub length: Span,
    /// Seed of the traffic and its faults
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Simulated seconds in a real one
    #[arg(long, value_name = "FACTOR")]
    pub speed: Option<f64>,
    /// Where results go.
    #[command(flatten)]
    pub output: Output,
}

/// Carries it out.
///
/// # Errors
/// When it could not be done.
pub async fn run(_args: &Args, _common: &Common) -> anyhow::Result<Exit> {
    anyhow::bail!("not built yet")
}
