//! `sigyn backup FILE`, `sigyn restore FILE`: the whole state as one file, from and into either database.

use std::path::PathBuf;

use super::{Common, Exit, Output, show};
use crate::app::clock::Clock;
use crate::app::place;
use crate::notify::render;
use crate::store::{Copied, Store, restore};
use crate::time::rfc3339;

/// Arguments of both.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Writes a backup, also while sigyn runs.
///
/// # Errors
/// When the store cannot be read, or the file cannot be written or is there already.
pub async fn backup(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let mut loaded = common.loader().load()?;
    args.output.apply(&mut loaded.settings);
    let store = Store::open_read_only(place(&loaded.settings, false)?).await?;
    let copied = store.backup(&args.file, Clock::real().now()).await?;
    show(&format!("{} of {} are in {}\n", rows(&copied), store.place(), args.file.display()))
}

/// Fills an empty place from a backup.
///
/// # Errors
/// When the file is no whole backup or of a newer sigyn, or when the place is in use.
pub async fn bring_back(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let mut loaded = common.loader().load()?;
    args.output.apply(&mut loaded.settings);
    let place = place(&loaded.settings, false)?;
    let shown = place.to_string();
    let copied = restore(&args.file, place).await?;
    let made = rfc3339(copied.made_at - copied.made_at.rem_euclid(1_000_000_000));
    show(&format!("{} of {made} are in {shown}\n", rows(&copied)))
}

fn rows(copied: &Copied) -> String {
    render::count(copied.tables.iter().map(|(_, count)| count).sum(), "row")
}
