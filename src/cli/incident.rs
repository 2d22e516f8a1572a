//! `sigyn incident list|show`: what the store knows of incidents.

use super::{Common, Exit, Output};

/// Arguments of `sigyn incident`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The newest incidents.
    List(List),
    /// All about one incident.
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Id of the incident, or its first characters
    id: String,
    #[command(flatten)]
    output: Output,
}

/// Carries it out.
///
/// # Errors
/// When it could not be done.
pub async fn run(_args: &Args, _common: &Common) -> anyhow::Result<Exit> {
    anyhow::bail!("not built yet")
}
