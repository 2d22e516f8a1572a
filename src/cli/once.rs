//! `sigyn once`: what is new since last time, judged once.

use crate::time::Span;

use super::{Common, Exit, Output};

/// Arguments of `sigyn once`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End with code 3 when something was found
    #[arg(long)]
    pub exit_code: bool,
    /// Do everything but send messages and remediate
    #[arg(long)]
    pub dry_run: bool,
    /// How far back to read where nothing is stored yet, such as 6h; else `collect.learn_lookback`
    #[arg(long, value_name = "DURATION")]
    pub lookback: Option<Span>,
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
