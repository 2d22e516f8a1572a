//! `sigyn templates`: what the lines of a log file have in common.
//!
//! The file is read once, in order, by the same reader as `scan`. The miner is shown the line and the name of its stream.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use super::incident::sheet;
use super::output::{Meter, Used, clean};
use super::scan::{Layout, broken_pipe, remarks};
use super::text::Look;
use super::{Exit, Format};
use crate::collect::Batch;
use crate::collect::file::{File, FileConfig, Timing};
use crate::detect::Level;
use crate::detect::level::level_of;
use crate::detect::template::{Limits, Mined, Miner, Quality, Size, StreamSlot, Template, TemplateId, ValueKind};
use crate::notify::render::{count, number};
use crate::time::{Nanos, SECOND, rfc3339};

/// Arguments of `sigyn templates`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Log file, gzip too; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How the lines are laid out
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Layout,
    /// Write the id of each line's template to this file, one a line, in order: as known at the end, when templates that
    /// turned out to be one have one id, and all lines of a stack trace that of the whole
    #[arg(long, value_name = "FILE")]
    pub assign: Option<PathBuf>,
    /// The same with the ids as they were given at the moment of the line
    #[arg(long, value_name = "FILE")]
    pub assign_online: Option<PathBuf>,
    /// How results look on standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Carries it out.
///
/// # Errors
/// When the file cannot be read to its end, or results cannot be written.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let meter = Meter::start();
    let config = FileConfig { watch: "templates".to_owned(), path: args.file.clone(), format: args.format.into() };
    let file = File::open(&config)?.in_file_order();
    let mut mining = Mining::new(args)?;
    let file = mining.read(file)?;
    let report = mining.finish(&file, &meter)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = match args.output {
        Format::Text => report.text(&mut out, Look::of_stdout()),
        Format::Json => report.json(&mut out),
    };
    match shown.and_then(|()| out.flush()).context("cannot write to standard output") {
        // Whoever reads it, such as `head`, has seen enough.
        Err(error) if broken_pipe(&error) => Ok(Exit::Done),
        result => result.map(|()| Exit::Done),
    }
}

/// Ids of all lines, four bytes each, in pieces so that they are never copied.
#[derive(Default)]
struct Ids {
    pieces: Vec<Vec<TemplateId>>,
    length: usize,
}

impl Ids {
    const PIECE: usize = 1 << 16;

    fn push(&mut self, id: TemplateId) {
        if self.length.is_multiple_of(Self::PIECE) {
            self.pieces.push(Vec::with_capacity(Self::PIECE));
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.push(id);
        }
        self.length += 1;
    }

    fn set(&mut self, at: usize, id: TemplateId) {
        if let Some(place) = self.pieces.get_mut(at / Self::PIECE).and_then(|piece| piece.get_mut(at % Self::PIECE)) {
            *place = id;
        }
    }

    fn iter(&self) -> impl Iterator<Item = TemplateId> {
        self.pieces.iter().flatten().copied()
    }
}

/// The event that a stream is at: its lines, and what its stack trace turned out to be.
#[derive(Default)]
struct Event {
    lines: Vec<usize>,
    trace: Option<TemplateId>,
}

struct Mining {
    miner: Miner,
    ids: Option<Ids>,
    assign: Option<PathBuf>,
    online: Option<(PathBuf, BufWriter<fs::File>)>,
    slots: Vec<StreamSlot>,
    events: rustc_hash::FxHashMap<StreamSlot, Event>,
    lines: usize,
    continued: u64,
    last: Nanos,
}

impl Mining {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let create = |path: &PathBuf| {
            let file = fs::File::create(path).with_context(|| cannot_write(path))?;
            anyhow::Ok((path.clone(), BufWriter::new(file)))
        };
        Ok(Self {
            miner: Miner::new(Limits::default()),
            ids: args.assign.is_some().then(Ids::default),
            assign: args.assign.clone(),
            online: args.assign_online.as_ref().map(create).transpose()?,
            slots: Vec::new(),
            events: rustc_hash::FxHashMap::default(),
            lines: 0,
            continued: 0,
            last: 0,
        })
    }

    fn read(&mut self, mut file: File) -> anyhow::Result<File> {
        while let Some(batch) = file.read()? {
            self.feed(&batch)?;
        }
        Ok(file)
    }

    fn feed(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let slots: Vec<StreamSlot> = batch.streams.iter().map(|stream| self.miner.stream(stream.hash)).collect();
        for entry in batch.entries() {
            let Some(slot) = slots.get(entry.stream).copied() else { continue };
            let mined = self.miner.mine(slot, entry.ts, level_of(entry.line, None), entry.line);
            self.continued += u64::from(mined.continues);
            self.last = entry.ts;
            if let Some((path, out)) = &mut self.online {
                writeln!(out, "{}", mined.template.0).with_context(|| cannot_write(path))?;
            }
            self.note(slot, mined);
            self.lines += 1;
        }
        for slot in slots {
            if !self.slots.contains(&slot) && self.slots.len() < Limits::default().streams {
                self.slots.push(slot);
            }
        }
        Ok(())
    }

    /// Keeps the id of a line. All lines of a stack trace get that of the whole, which is known late.
    fn note(&mut self, slot: StreamSlot, mined: Mined) {
        let Some(ids) = &mut self.ids else { return };
        let event = self.events.entry(slot).or_default();
        ids.push(mined.template);
        if let (false, Some(trace)) = (mined.continues, mined.trace) {
            event.lines.iter().for_each(|line| ids.set(*line, trace));
        }
        if !mined.continues {
            event.lines.clear();
            event.trace = None;
        }
        event.lines.push(self.lines);
        if mined.continues {
            event.trace = mined.trace.or(event.trace);
            if let Some(trace) = event.trace {
                event.lines.drain(..).for_each(|line| ids.set(line, trace));
            }
        }
    }

    fn finish(mut self, file: &File, meter: &Meter) -> anyhow::Result<Report> {
        for slot in self.slots.clone() {
            let trace = self.miner.close(slot, self.last);
            if let (Some(trace), Some(ids), Some(event)) = (trace, &mut self.ids, self.events.get(&slot)) {
                event.lines.iter().for_each(|line| ids.set(*line, trace));
            }
        }
        if let (Some(path), Some(ids)) = (&self.assign, &self.ids) {
            let write = || {
                let mut out = BufWriter::new(fs::File::create(path)?);
                ids.iter().try_for_each(|id| writeln!(out, "{}", self.miner.resolve(id).0))?;
                out.flush()
            };
            write().with_context(|| cannot_write(path))?;
        }
        if let Some((path, mut out)) = self.online.take() {
            out.flush().with_context(|| cannot_write(&path))?;
        }
        let counts = file.counts();
        Ok(Report {
            lines: self.lines,
            continued: self.continued,
            counted: file.timing() == Timing::Counted,
            notes: remarks(&counts),
            quality: self.miner.quality(&self.slots),
            size: self.miner.size(),
            used: meter.read(),
            miner: self.miner,
        })
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// What is shown.
struct Report {
    miner: Miner,
    lines: usize,
    continued: u64,
    /// Times are numbers of lines.
    counted: bool,
    notes: Vec<String>,
    quality: Quality,
    size: Size,
    used: Used,
}

#[derive(Serialize)]
struct Row<'a> {
    r#type: &'static str,
    id: u32,
    template: &'a str,
    count: u64,
    level: Level,
    levels: serde_json::Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    /// Numbers of lines, where there are no times.
    #[serde(skip_serializing_if = "Option::is_none")]
    between: Option<(Nanos, Nanos)>,
    sample: &'a str,
    variables: Vec<ValueKind>,
    trace: bool,
    coarse: bool,
}

impl Report {
    /// By falling count, then by id.
    fn templates(&self) -> Vec<Template<'_>> {
        let mut templates: Vec<Template<'_>> = self.miner.templates().filter(|template| template.count > 0).collect();
        templates.sort_by_key(|template| (std::cmp::Reverse(template.count), template.id));
        templates
    }

    fn text<W: Write>(&self, out: &mut W, look: Look) -> io::Result<()> {
        let templates = self.templates();
        let mut table = sheet(look, &["COUNT", "LEVEL", "FIRST SEEN", "LAST SEEN", "ID", "TEMPLATE"]);
        for template in &templates {
            let text = named(template.text, &self.miner.kinds(template.id));
            let sample = template.example.lines().next().unwrap_or("");
            table.add_row([
                number(template.count as f64),
                word(template.level()).to_owned(),
                self.moment(template.first_seen),
                self.moment(template.last_seen),
                template.id.0.to_string(),
                format!("{}\n  {}", clean(&text), clean(sample)),
            ]);
        }
        if !templates.is_empty() {
            writeln!(out, "{table}")?;
        }
        for note in &self.notes {
            writeln!(out, "{}", clean(note))?;
        }
        let quality = match self.quality {
            Quality::Unknown | Quality::Good => "",
            Quality::OneTemplate => "; all lines are alike, so templates say no more than their number",
            Quality::Wordless => "; all lines have one template without a word, so templates say nothing",
            Quality::Singletons => "; most lines are like no other, so templates say little",
            Quality::Dead => "; most templates have not come again",
            Quality::Unsettled => {
                "; most templates have not come again, and new ones keep coming, so templates say little"
            }
        };
        let lines = count(self.lines as u64, "line");
        writeln!(out, "{lines} in {}{quality}", count(templates.len() as u64, "template"))?;
        let Used { seconds, peak_rss_bytes, .. } = self.used;
        let peak = peak_rss_bytes.map(|bytes| format!(", peak memory {} MB", number(bytes as f64 / 1e6)));
        writeln!(out, "{} s, {} lines/s{}", number(seconds), number(self.speed(seconds)), peak.unwrap_or_default())
    }

    fn json<W: Write>(&self, out: &mut W) -> io::Result<()> {
        for note in &self.notes {
            eprintln!("{}", clean(note));
        }
        let templates = self.templates();
        for template in &templates {
            let time = |at| (!self.counted).then(|| rfc3339(at));
            let levels = LEVELS.iter().zip(template.levels).filter(|(_, count)| *count > 0);
            let row = Row {
                r#type: "template",
                id: template.id.0,
                template: template.text,
                count: template.count,
                level: template.level(),
                levels: levels.map(|(level, count)| (word(*level).to_owned(), count.into())).collect(),
                first_seen: time(template.first_seen),
                last_seen: time(template.last_seen),
                between: self.counted.then_some((template.first_seen / SECOND, template.last_seen / SECOND)),
                sample: template.example,
                variables: self.miner.kinds(template.id),
                trace: template.trace,
                coarse: template.coarse,
            };
            serde_json::to_writer(&mut *out, &row)?;
            out.write_all(b"\n")?;
        }
        let Used { seconds, cpu_seconds, peak_rss_bytes } = self.used;
        let fields = json!({
            "lines": self.lines,
            "continued_lines": self.continued,
            "templates": templates.len(),
            "ids_given": self.size.given,
            "streams": self.size.streams,
            "coarse_lines": self.size.coarse,
            "quality": self.quality,
            "seconds": seconds,
            "lines_per_second": self.speed(seconds),
            "cpu_seconds": cpu_seconds,
            "lines_per_cpu_second": cpu_seconds.map(|seconds| self.speed(seconds)),
            "peak_rss_bytes": peak_rss_bytes,
        });
        // `"type"` first.
        let fields = fields.to_string();
        writeln!(out, "{{\"type\":\"summary\",{}", fields.trim_start_matches('{'))
    }

    fn speed(&self, seconds: f64) -> f64 {
        if seconds > 0.0 { (self.lines as f64 / seconds).round() } else { 0.0 }
    }

    fn moment(&self, at: Nanos) -> String {
        if self.counted {
            return format!("line {}", at / SECOND);
        }
        rfc3339(at - at.rem_euclid(SECOND)).replacen('T', " ", 1).trim_end_matches('Z').to_owned()
    }
}

const LEVELS: [Level; 7] =
    [Level::Unknown, Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];

fn word(level: Level) -> &'static str {
    match level {
        Level::Unknown => "unknown",
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
        Level::Critical => "critical",
    }
}

/// The template with the kinds of its variable parts in their places, where each has one.
fn named(text: &str, kinds: &[ValueKind]) -> String {
    if text.matches("<*>").count() != kinds.len() {
        return text.to_owned();
    }
    let mut parts = text.split("<*>");
    let mut out = parts.next().unwrap_or("").to_owned();
    for (part, kind) in parts.zip(kinds) {
        let kind = format!("{kind:?}").to_lowercase();
        out.push_str(&format!("<{kind}>{part}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine(bytes: &str, format: Layout) -> (String, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("app.log"), bytes).unwrap();
        let args = Args {
            file: path("app.log"),
            format,
            assign: Some(path("end")),
            assign_online: Some(path("online")),
            output: Format::Text,
        };
        let config = FileConfig { watch: "templates".to_owned(), path: args.file.clone(), format: format.into() };
        let mut mining = Mining::new(&args).unwrap();
        let file = mining.read(File::open(&config).unwrap().in_file_order()).unwrap();
        let report = mining.finish(&file, &Meter::start()).unwrap();
        let mut out = Vec::new();
        report.text(&mut out, Look::Plain).unwrap();
        let mut text = String::from_utf8(out).unwrap();
        text.truncate(text.trim_end().rfind('\n').unwrap());
        let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let ids = |name| fs::read_to_string(path(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        (text, ids("end"), ids("online"))
    }

    #[test]
    fn a_table_for_people() {
        let text: String = (0..6)
            .map(|n| {
                format!(
                    "2026-11-20T22:00:{n}1Z INFO user {} took {n} ms\n2026-11-20T22:00:{n}2Z ERROR failed\n\
             java.io.IOException: no\n\tat a.B.c(B.java:{n})\n2026-11-20T22:00:{n}4Z INFO up\n",
                    ["bob", "eve"][n % 2]
                )
            })
            .collect();
        let (text, end, online) = mine(&text, Layout::Auto);
        insta::assert_snapshot!(text, @r#"
         COUNT  LEVEL  FIRST SEEN           LAST SEEN            ID  TEMPLATE
         6      info   2026-11-20 22:00:01  2026-11-20 22:00:51  1   user <word> took <duration>
                                                                       2026-11-20T22:00:01Z INFO user bob took 0 ms
         6      error  2026-11-20 22:00:02  2026-11-20 22:00:52  2   failed
                                                                       2026-11-20T22:00:02Z ERROR failed
         6      error  2026-11-20 22:00:04  2026-11-20 22:00:54  3   failed | java.io.IOException at a.B.c
                                                                       2026-11-20T22:00:02Z ERROR failed
         6      info   2026-11-20 22:00:04  2026-11-20 22:00:54  4   up
                                                                       2026-11-20T22:00:04Z INFO up
        30 lines in 4 templates
        "#);
        insta::assert_snapshot!(end.split(' ').rev().take(6).collect::<Vec<_>>().join(" "), @"4 3 3 3 1 4");
        insta::assert_snapshot!(online.split(' ').rev().take(6).collect::<Vec<_>>().join(" "), @"4 2 2 2 1 4");
    }

    #[test]
    fn ids_are_in_the_order_of_the_file() {
        // One instant, two streams: the engine's order would be by stream.
        let line = |n: usize| format!("1795212000000000000\t0\t-\ts{}\t{}\n", n * 7 % 3, ["up", "down", "left"][n % 3]);
        let (_, end, online) = mine(&(0..9).map(line).collect::<String>(), Layout::Tsv5);
        assert_eq!(end, "1 2 3 1 2 3 1 2 3");
        assert_eq!(end, online);
    }

    #[test]
    fn an_empty_file_is_told() {
        let (text, end, _) = mine("", Layout::Auto);
        assert_eq!((text.as_str(), end.as_str()), ("the input is empty\n0 lines in 0 templates", ""));
    }
}
