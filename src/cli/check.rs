//! `sigyn check`: all mistakes in the settings at once.

use crate::config::Settings;

use super::{Common, Exit, show};

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
/// The mistakes, or why a service did not accept us.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let loaded = common.settings()?;
    let watches = match loaded.settings.watches.len() {
        0 => "no watches, so all streams are watched".to_owned(),
        n => format!("watches: {n}"),
    };
    show(&format!("settings are good; {watches}\n"))?;
    if args.online { online(&loaded.settings).await } else { Ok(Exit::Done) }
}

/// Asks the services whether they would accept us, and prints what the watches would cost Loki.
///
/// TO BE FILLED IN with `collect::client` and `notify::receiver::github::probe`; all answers are shown before it fails.
async fn online(_settings: &Settings) -> anyhow::Result<Exit> {
    anyhow::bail!("--online is not built yet")
}
