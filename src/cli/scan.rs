//! `sigyn scan`: any log file, judged by the same engine.

use std::path::PathBuf;

use crate::detect::config::WindowSpec;

use super::{Common, Exit, Output};

/// Arguments of `sigyn scan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Log file, gzip too; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How the lines are laid out
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Layout,
    /// Window: a length of time (`1m`) or of lines (`"20 lines"`); else `detect.window`
    #[arg(long, value_name = "WINDOW")]
    pub window: Option<WindowSpec>,
    /// End with code 3 when something was found
    #[arg(long)]
    pub exit_code: bool,
    /// Where results go.
    #[command(flatten)]
    pub output: Output,
}

/// How the lines of a file are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// Look at the first lines.
    #[default]
    Auto,
    /// Five tab-separated columns, of which only the line is shown to the engine.
    Tsv5,
    /// Each line as it stands.
    Plain,
}

/// Carries it out.
///
/// # Errors
/// When it could not be done.
pub async fn run(_args: &Args, _common: &Common) -> anyhow::Result<Exit> {
    anyhow::bail!("not built yet")
}
