//! `sigyn eval`: how well the engine does on labelled files.

mod ablation;
mod print;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ablation::Variant;
use anyhow::{Context, ensure};

use super::output::Meter;
use super::{Common, Exit, show};
use crate::detect::voice::Detectors;
use crate::eval::attribute::Note;
use crate::eval::report::{Exam, Report};
use crate::eval::{Protocol, Setup, Unit, WARM_UP};
use crate::time::Span;

/// Arguments of `sigyn eval`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Labelled files: five columns (ts_ns, label, group, stream, line) or sessions of event ids, gzip too
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What is judged: a length of time (`10s`), a number of lines (`20lines`), or `session`
    #[arg(long, value_name = "WINDOW", default_value = "10s")]
    pub window: Unit,
    /// What is learnt: online (judge what comes), split (learn the first half), all (learn all, then judge all)
    #[arg(long, value_name = "PROTOCOL", default_value_t)]
    pub protocol: Protocol,
    /// False alarms a day that are accepted; with windows of lines and sessions, which have no clock, a share of them
    #[arg(long, value_name = "N")]
    pub budget: Option<f64>,
    /// What is only learnt at the start, online; without a clock it is a tenth
    #[arg(long, value_name = "SPAN", default_value_t = WARM_UP)]
    pub warm_up: Span,
    /// Which detectors are heard, with commas between; else `detect.detectors`
    #[arg(long, value_name = "LIST")]
    pub detectors: Option<Detectors>,
    /// Judge again with each detector alone, and with all but it
    #[arg(long, conflicts_with = "notifications")]
    pub ablation: bool,
    /// How results look on standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Look,
    /// Write what would have been sent: ts_ns, `new` or `update`, text
    #[arg(long, value_name = "FILE")]
    pub notifications: Option<PathBuf>,
}

/// How results look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Look {
    /// For people.
    #[default]
    Table,
    /// One JSON object a file.
    Json,
    /// A row a file, for documents.
    Markdown,
}

/// Carries it out.
///
/// # Errors
/// When the settings are wrong, a file cannot be read, or the results cannot be written.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    if let Some(budget) = args.budget {
        let most = if matches!(args.window, Unit::Time(_)) { 1e6 } else { 1.0 };
        ensure!(budget > 0.0 && budget <= most, "--budget must be above 0 and at most {most} here, not {budget}");
    }
    let one = args.files.len() == 1 || args.notifications.is_none();
    ensure!(one, "--notifications takes what one file gives; name one FILE, not {}", args.files.len());
    // What the settings say of Loki and receivers does not matter here, so their notes are not shown.
    let loaded = common.loader().load()?;
    eprintln!("sigyn: {}", loaded.origin());
    let mut settings = loaded.settings;
    if let Some(detectors) = args.detectors {
        settings.detect.detectors = detectors;
    }
    let setup = Setup {
        unit: args.window,
        protocol: args.protocol,
        budget: args.budget,
        warm_up: args.warm_up,
        detect: settings.detect,
        incident: settings.incident,
    };
    let mut reports = Vec::new();
    for path in &args.files {
        for variant in variants(args, &setup) {
            let (mut report, notes) = examine(path, &variant.setup(&setup))?;
            variant.name(&mut report);
            if let Some(file) = &args.notifications {
                write(file, &notes)?;
            }
            // A file may take long: each is told when it is done, but a table needs all its rows.
            if args.output == Look::Json && show(&print::json(&report)?)? != Exit::Done {
                return Ok(Exit::Done);
            }
            reports.push(report);
        }
    }
    match args.output {
        Look::Json => Ok(Exit::Done),
        _ if args.ablation => show(&ablation::table(&reports, args.output == Look::Markdown)),
        Look::Markdown => show(&print::markdown(&reports)),
        Look::Table => show(&print::table(&reports)),
    }
}

/// What a file is judged by, one after the other.
fn variants(args: &Args, setup: &Setup) -> Vec<Variant> {
    let heard = setup.detect.detectors;
    if args.ablation { ablation::variants(setup.unit, heard) } else { vec![Variant::Combined(heard)] }
}

/// Examines one file, with time and memory.
fn examine(path: &Path, setup: &Setup) -> anyhow::Result<(Report, Vec<Note>)> {
    let exam = Exam::open(path, setup)?;
    forget_peak();
    let meter = Meter::start();
    let before = meter.read();
    let driven = exam.drive()?;
    let used = meter.read();
    let mut report = exam.report(&driven);
    let per = |seconds: f64| (seconds > 0.0).then(|| driven.lines as f64 / seconds);
    let cpu = used.cpu_seconds.zip(before.cpu_seconds).map(|(after, before)| after - before);
    report.seconds = Some(used.seconds);
    report.cpu_seconds = cpu;
    report.lines_per_second = per(used.seconds);
    report.lines_per_cpu_second = cpu.and_then(per);
    report.peak_rss_bytes = used.peak_rss_bytes;
    Ok((report, exam.notes(&driven)))
}

/// Lets the system measure the peak of memory anew (proc(5), `clear_refs`); where it cannot, the peak is the process's.
fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn write(path: &Path, notes: &[Note]) -> anyhow::Result<()> {
    let mut text = Vec::new();
    for note in notes {
        let kind = if note.update { "update" } else { "new" };
        writeln!(text, "{}\t{kind}\t{}", note.at, note.text)?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
