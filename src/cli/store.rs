//! `sigyn store check`: is what is stored whole?

use anyhow::ensure;
use serde::Serialize;

use super::incident::sheet;
use super::text::Look;
use super::{Common, Exit, Format, Output, lines, show};
use crate::app::place;
use crate::store::{Health, Store};

/// Arguments of `sigyn store`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Look whether everything that is stored can be read
    Check(Check),
}

#[derive(Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    output: Output,
}

/// Carries it out.
///
/// # Errors
/// When the store cannot be read, or something in it is damaged.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let Command::Check(args) = &args.command;
    let mut loaded = common.loader().load()?;
    args.output.apply(&mut loaded.settings);
    let store = Store::open_read_only(place(&loaded.settings, false)?).await?;
    let health = store.check().await?;
    match args.output.output {
        Format::Text => show(&page(store.place(), &health))?,
        Format::Json => show(&json(store.place(), &health))?,
    };
    let count = health.faults.len();
    ensure!(count == 0, "{count} faults; stop sigyn and bring back a backup with `sigyn restore`");
    Ok(Exit::Done)
}

fn page(place: &str, health: &Health) -> String {
    let mut table = sheet(Look::of_stdout(), &["table", "rows"]);
    for (name, count) in &health.tables {
        table.add_row([name.clone(), count.to_string()]);
    }
    let verdict = if health.faults.is_empty() { "everything can be read" } else { "DAMAGED" };
    let mut out = format!("{place}, shape {}: {verdict}\n\n{}\n", health.version, table.trim_fmt());
    for fault in &health.faults {
        out += &format!("\n{}", lines(fault));
    }
    if health.faults.is_empty() { out } else { out + "\n" }
}

fn json(place: &str, health: &Health) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        place: &'a str,
        #[serde(flatten)]
        health: &'a Health,
    }
    serde_json::to_string(&Line { r#type: "store", place, health }).unwrap_or_default() + "\n"
}
