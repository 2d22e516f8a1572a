//! `sigyn run`: the daemon.

use std::sync::Arc;

use super::{Common, Exit, Output};
use crate::app::clock::Clock;
use crate::app::daemon::Daemon;
use crate::notify::receiver::{Printed, Show};
use crate::telemetry::{Metrics, start_log};

/// Arguments of `sigyn run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do everything but send messages and remediate; what would be sent goes to standard output
    #[arg(long)]
    pub dry_run: bool,
    /// Where results go.
    #[command(flatten)]
    pub output: Output,
}

/// Carries it out.
///
/// # Errors
/// When it could not start.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let loaded = common.settings()?;
    start_log(&loaded.settings.telemetry, "info")?;
    let metrics = Metrics::install()?;
    let output = args.output.clone();
    let daemon = Daemon {
        loader: common.loader(),
        adjust: Arc::new(move |settings| output.apply(settings)),
        metrics,
        dry: args.dry_run.then(printed),
        clock: Clock::real(),
    };
    daemon.run(loaded).await?;
    Ok(Exit::Done)
}

/// Shows on standard output what would be sent.
pub(super) fn printed() -> Show {
    Arc::new(|printed: &Printed| {
        let title = printed.title.as_ref().map(|title| format!("# {title}\n")).unwrap_or_default();
        // Who reads it may be gone: then there is nobody to tell.
        let _ = super::show(&format!(
            "--- would send to {}\n{title}{}\n",
            super::lines(&printed.receiver),
            super::lines(&printed.text)
        ));
    })
}
