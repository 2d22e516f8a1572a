//! `sigyn scan`: any log file, judged by the same engine.
//!
//! The file is read once, in order: the first windows of each group are learnt, the others judged as they come.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use serde_json::{Map, Value};

use super::output::{Meter, Printer};
use super::{Common, Exit, Output};
use crate::collect::file::{Counts, File, FileConfig, Format, Timing};
use crate::collect::{Batch, Known, Purpose, Source, SourceError};
use crate::config::Settings;
use crate::detect::Anomaly;
use crate::detect::config::WindowSpec;
use crate::engine::{Dropped, Engine, Input, Learning, Options, Step, WatchOptions};
use crate::labels::Labels;
use crate::telemetry::start_log;
use crate::time::{Nanos, TimeRange, ceil};

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
    /// Explain each anomaly, and show at the end what came nearest to being one and what held it back
    #[arg(long)]
    pub explain: bool,
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
/// When the settings are wrong, the file cannot be read to its end, or the results cannot be written.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let meter = Meter::start();
    let settings = common.settings()?.settings;
    start_log(&settings.telemetry, "warn")?;
    let file =
        File::open(&FileConfig { watch: WATCH.to_owned(), path: args.file.clone(), format: args.format.into() })?;
    let mut printer = Printer::stdout(args.output.output);
    if file.timing() == Timing::Counted {
        printer.count_lines();
    }
    let mut scan = Scan::new(file, args.window, &settings);
    if args.explain {
        printer.explain();
        scan.engine = scan.engine.explaining();
    }
    match scan.run(&mut printer, &meter).await {
        // Whoever reads the results, such as `head`, has seen enough.
        Err(error) if broken_pipe(&error) => Ok(Exit::Done),
        Err(error) => Err(error),
        Ok(()) if args.exit_code && printer.tally().anomalies > 0 => Ok(Exit::Found),
        Ok(()) => Ok(Exit::Done),
    }
}

impl From<Layout> for Format {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Auto => Self::Auto,
            Layout::Tsv5 => Self::Tsv5,
            Layout::Plain => Self::Plain,
        }
    }
}

/// The name of the one watch.
const WATCH: &str = "scan";

/// Windows of lines without time: of the size that simple detectors take.
const COUNTED: WindowSpec = WindowSpec::Lines { size: 20, step: 20 };

struct Scan {
    file: File,
    engine: Engine,
    window: WindowSpec,
    warm_up: u32,
    learning: Learning,
    /// What was dropped first for want of memory.
    dropped: Option<Dropped>,
    /// End of the last batch.
    until: Option<Nanos>,
}

impl Scan {
    fn new(file: File, window: Option<WindowSpec>, settings: &Settings) -> Self {
        let usual = if file.timing() == Timing::Counted { COUNTED } else { settings.detect.window };
        let window = window.unwrap_or(usual);
        let group_by = if file.timing() == Timing::Column { "stream" } else { "filename" };
        let engine = Engine::new(&Options {
            tenant: "default".to_owned(),
            detect: settings.detect.clone(),
            incident: settings.incident.clone(),
            external_labels: Labels::new(),
            watches: vec![WatchOptions {
                name: WATCH.into(),
                query: "{}".to_owned(),
                window,
                group_by: vec![group_by.to_owned()],
                labels: Labels::new(),
                owner: None,
                runbook_url: None,
            }],
        })
        .unstored();
        let warm_up = settings.detect.warm_up;
        Self { file, engine, window, warm_up, learning: Learning::default(), dropped: None, until: None }
    }

    async fn run<W: io::Write>(mut self, printer: &mut Printer<W>, meter: &Meter) -> anyhow::Result<()> {
        let (timing, window) = (self.file.timing_in_words(), self.window);
        printer.note(format!("{timing}; windows of {window}, the first {} of each group are learnt", self.warm_up))?;
        let bar = printer.progress(self.file.progress().total);
        let failure = loop {
            match self.file.read() {
                Ok(Some(batch)) => self.feed(batch, printer).await?,
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
            bar.set_position(self.file.progress().read.load(Ordering::Relaxed));
        };
        self.close(printer)?;
        self.summarize(printer, meter)?;
        failure.map_or(Ok(()), |error: SourceError| Err(error.into()))
    }

    async fn feed<W: io::Write>(&mut self, batch: Batch, printer: &mut Printer<W>) -> anyhow::Result<()> {
        self.until = Some(batch.range.end);
        let mut step = self.engine.step(Input::Batch(batch));
        self.learning = step.learning;
        self.dropped = self.dropped.or(step.dropped);
        printer.step(&step)?;
        // A file is confirmed by construction, so that wishes are rare; each is granted.
        while let Some(range) = step.audits.first().copied() {
            let answer = self.file.audit(range).await?;
            let next = self.engine.step(Input::Batch(answer));
            printer.step(&next)?;
            if next.audits.first() == Some(&range) {
                break;
            }
            step = next;
        }
        Ok(())
    }

    /// Closes the last window of time. The file ends in the middle of it: less than usual in it says nothing.
    fn close<W: io::Write>(&mut self, printer: &mut Printer<W>) -> anyhow::Result<()> {
        let (WindowSpec::Time(size), Some(until)) = (self.window, self.until) else { return Ok(()) };
        let range = TimeRange::new(until, ceil(until, size.nanos()));
        if range.is_empty() {
            return Ok(());
        }
        let mut tick = Batch::new(Arc::from(WATCH), range, Purpose::Judge);
        tick.coverage.known = Known::Audited;
        let mut step = self.engine.step(Input::Batch(tick));
        drop_cut_short(&mut step);
        self.learning = step.learning;
        printer.step(&step)?;
        Ok(())
    }

    fn summarize<W: io::Write>(&self, printer: &mut Printer<W>, meter: &Meter) -> anyhow::Result<()> {
        let counts = self.file.counts();
        for remark in remarks(&counts) {
            printer.note(remark)?;
        }
        let Learning { groups, ready, coarse } = self.learning;
        if coarse > 0 {
            printer.note(format!(
                "templates say nothing about {coarse} of {groups} groups (nearly each line has its own, all have one without \
                 a word, or new ones keep coming and go for good): levels, rates and lengths are judged there"
            ))?;
        }
        if let Some(dropped) = self.dropped {
            printer.note(format!("at first, and perhaps again: {dropped}"))?;
        }
        if groups > ready {
            printer.note(format!(
                "not judged: {} of {groups} groups, for want of {} windows to learn from; a smaller --window makes more of them",
                groups - ready,
                self.warm_up
            ))?;
        }
        let extra = [
            ("window", Value::from(self.window.to_string())),
            ("groups", groups.into()),
            ("judged_groups", ready.into()),
            ("cut_lines", counts.cut.into()),
            ("replaced_lines", counts.replaced.into()),
            ("late_lines", counts.late.into()),
            ("malformed_lines", counts.malformed.into()),
        ];
        let extra: Map<String, Value> = extra.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        printer.summary(counts.lines, meter, extra).context("cannot write the summary")
    }
}

/// What a person should know of how the file was read.
pub(super) fn remarks(counts: &Counts) -> Vec<String> {
    let Counts { lines, cut, replaced, late, restarts, malformed } = *counts;
    let remark = |count: u64, text: &str| (count > 0).then(|| format!("{text}: {count}"));
    [
        (lines == 0).then(|| "the input is empty".to_owned()),
        remark(cut, "lines over 256 KB, cut there"),
        remark(replaced, "lines with bytes that are not UTF-8, replaced"),
        remark(late, "lines with an earlier time than the line before, whose time they took"),
        remark(restarts, "the time went far back and stayed there, so the lines after are taken as going on; times"),
        remark(malformed, "lines without the five columns, taken whole"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Leaves out what only says that the last window is not full.
fn drop_cut_short(step: &mut Step) {
    let less = |anomaly: &Anomaly| {
        let mut telling = anomaly.evidence.features.iter().filter(|evidence| evidence.share >= 0.05);
        anomaly.evidence.patterns.is_empty() && telling.all(|evidence| evidence.seen < evidence.expected.0)
    };
    let dropped: Vec<_> = step.anomalies.iter().filter(|anomaly| less(anomaly)).cloned().collect();
    let is_dropped = |place| dropped.iter().any(|anomaly| anomaly.group.fingerprint == place);
    step.transitions.retain(|transition| !is_dropped(transition.incident.group.fingerprint));
    step.anomalies.retain(|anomaly| !less(anomaly));
}

pub(super) fn broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What scanning these bytes shows, with the error it ends with; times and speeds masked.
    fn scan(bytes: &[u8], format: Format, window: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        std::fs::write(&path, bytes).unwrap();
        show(&path, format, window).replace(&folder.path().display().to_string(), "DIR")
    }

    fn show(path: &Path, format: Format, window: &str) -> String {
        let config = FileConfig { watch: WATCH.to_owned(), path: path.to_owned(), format };
        let file = match File::open(&config) {
            Ok(file) => file,
            Err(error) => return format!("error: {error}"),
        };
        let mut printer = Printer::new(Vec::new(), crate::cli::Format::Text, false);
        if file.timing() == Timing::Counted {
            printer.count_lines();
        }
        let scan = Scan::new(file, window.parse().ok(), &Settings::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let end = runtime.block_on(scan.run(&mut printer, &Meter::start()));
        let mut text = String::from_utf8(printer.into_inner()).unwrap();
        let speed = text.trim_end().rfind('\n').unwrap();
        text.truncate(speed);
        match end {
            Ok(()) => text,
            Err(error) => format!("{text}\nerror: {error}"),
        }
    }

    #[test]
    fn edges_are_told_in_words() {
        insta::assert_snapshot!(scan(b"", Format::Auto, ""), @"
        no time stamps found: the lines are counted instead; windows of 20 lines, the first 60 of each group are learnt
        the input is empty
        0 lines in 0 windows: 0 anomalies, 0 incidents
        ");
        insta::assert_snapshot!(scan(b"\x7fELF\x02\x01\x01\0\0\0", Format::Auto, ""), @"error: DIR/app.log is no text: it has a NUL byte at offset 7; expected a log file, plain or gzip");
        insta::assert_snapshot!(scan(&b"x".repeat(10_000_000), Format::Auto, ""), @"
        no time stamps found: the lines are counted instead; windows of 20 lines, the first 60 of each group are learnt
        lines over 256 KB, cut there: 1
        not judged: 1 of 1 groups, for want of 60 windows to learn from; a smaller --window makes more of them
        1 line in 0 windows: 0 anomalies, 0 incidents
        ");
        insta::assert_snapshot!(scan(b"caf\xe9\ntea\n", Format::Auto, ""), @"
        no time stamps found: the lines are counted instead; windows of 20 lines, the first 60 of each group are learnt
        lines with bytes that are not UTF-8, replaced: 1
        not judged: 1 of 1 groups, for want of 60 windows to learn from; a smaller --window makes more of them
        2 lines in 0 windows: 0 anomalies, 0 incidents
        ");
        insta::assert_snapshot!(scan(b"2026-11-20T22:00:01Z up\n", Format::Tsv5, ""), @"error: DIR/app.log is not in the format tsv5: its first line has no tab; expected five columns with tabs between: ts_ns, label, group, stream, line. Leave `--format` out to read it as a plain log");
        insta::assert_snapshot!(scan(b"Nov 20 22:00:01 host app: up\n", Format::Auto, ""), @"
        time stamps: syslog (Mmm dd hh:mm:ss); they name no year, so it is that of the file's last change; windows of 1m, the first 60 of each group are learnt
        not judged: 1 of 1 groups, for want of 60 windows to learn from; a smaller --window makes more of them
        1 line in 1 window: 0 anomalies, 0 incidents
        ");
        insta::assert_snapshot!(show(Path::new("no/such.log"), Format::Auto, ""), @"error: cannot read no/such.log: No such file or directory (os error 2)");
    }

    /// Two hours of steady lines; the second-last minute has errors when `fault` says so.
    fn steady(fault: bool) -> Vec<u8> {
        let mut text = String::new();
        for minute in 0..150 {
            for n in 0..20 + minute % 3 {
                text +=
                    &format!("2026-11-20T{:02}:{:02}:{:02}Z INFO request {n} done\n", minute / 60, minute % 60, 2 * n);
            }
            if fault && minute == 148 {
                text += &"2026-11-20T02:28:59Z ERROR database refused\n".repeat(60);
            }
        }
        text.into_bytes()
    }

    #[test]
    fn a_burst_of_errors_is_found_and_the_end_of_the_file_is_no_silence() {
        let calm = scan(&steady(false)[..], Format::Auto, "1m");
        assert!(calm.contains("0 anomalies, 0 incidents"), "{calm}");
        let found = scan(&steady(true), Format::Auto, "1m");
        assert!(found.contains("1 incident (1 still open at the end)"), "{found}");
        assert!(found.contains("│ 2026-11-20T02:28:59Z ERROR database refused"), "{found}");
    }

    #[test]
    fn labels_and_groups_of_five_columns_change_nothing() {
        let text = String::from_utf8(steady(true)).unwrap();
        let make = |label: &str| {
            let lines = (0i64..).zip(text.lines()).map(|(n, line)| {
                let stamp = 1_795_212_000 + n * 60 / 21;
                format!("{stamp}000000000\t{label}\t{label}\tcart\t{line}\n")
            });
            scan(lines.collect::<String>().as_bytes(), Format::Tsv5, "1m")
        };
        assert!(make("0").contains("cart: "), "{}", make("0"));
        assert_eq!(make("0"), make("1"));
    }
}
