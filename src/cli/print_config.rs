//! `sigyn print-config`: the settings in force.

use super::{Common, Exit};

/// Arguments of `sigyn print-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the built-in settings file with its comments
    #[arg(long)]
    pub defaults: bool,
}

/// Carries it out.
///
/// # Errors
/// When it could not be done.
pub async fn run(_args: &Args, _common: &Common) -> anyhow::Result<Exit> {
    anyhow::bail!("not built yet")
}
