//! `sigyn run`: the daemon.

use super::{Common, Exit, Output};

/// Arguments of `sigyn run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do everything but send messages and remediate
    #[arg(long)]
    pub dry_run: bool,
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
