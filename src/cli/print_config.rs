//! `sigyn print-config`: the settings in force.

use crate::config::{DEFAULTS, print};

use super::{Common, Exit, show};

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
/// The mistakes in the settings.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    if args.defaults {
        return show(DEFAULTS);
    }
    show(&print::effective(&common.loader().load()?))
}
