//! `sigyn check`: all mistakes in the settings at once.

use super::{Common, Exit};

/// Arguments of `sigyn check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also ask Loki and GitHub whether they would accept us, and what the watches would cost Loki
    #[arg(long)]
    pub online: bool,
}

/// Carries it out.
///
/// # Errors
/// When it could not be done.
pub async fn run(_args: &Args, _common: &Common) -> anyhow::Result<Exit> {
    anyhow::bail!("not built yet")
}
