//! What commands show of their findings, as text for people or as JSON lines.
//!
//! What comes in: the engine's steps. What goes out: standard output, at once. What never happens here: a control
//! character of a log line reaching a terminal; anything but results on standard output in the JSON form, where each
//! line is one object, `"type"` first: `anomaly` and `incident` as they happen, `near_miss` at the end where explanations
//! are asked for, one last `summary`.

mod json;

use std::borrow::Cow;
use std::fmt::Display;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::{OwoColorize, Style};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Format;
use crate::collect::Level;
use crate::detect::explain;
use crate::detect::gate::Nearest;
use crate::detect::{Anomaly, Evidence, Grade, NearMiss, Sample};
use crate::engine::Step;
use crate::incident::{Incident, Severity, Transition, TransitionKind};
use crate::labels::Labels;
use crate::notify::render::{Reason, count, duration, explained, number, score, seen, sparkline, strongest};
use crate::time::{Nanos, SECOND, rfc3339};
use json::{AnomalyLine, IncidentLine, NearMissLine};

/// Log lines that are shown of a near miss.
const NEAR_SAMPLES: usize = 2;
/// Bytes that most lines of JSON have room in.
const LINE: usize = 4096;

/// Shows findings.
pub struct Printer<W: Write> {
    out: W,
    format: Format,
    colour: bool,
    counted: bool,
    nearest: Option<Nearest>,
    bar: Option<ProgressBar>,
    tally: Tally,
}

/// What was shown so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Closed windows, whether judged or learnt; each once, also when it grew.
    pub windows: u64,
    /// Windows that are not normal, and told.
    pub anomalies: u64,
    /// Windows that are not normal, and only shown.
    pub notices: u64,
    /// Incidents that were opened.
    pub incidents: u64,
    /// Incidents that were resolved.
    pub resolved: u64,
}

impl Printer<io::Stdout> {
    /// Shows on standard output: in colours only when that is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn stdout(format: Format) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = format == Format::Text && io::stdout().is_terminal() && !plain;
        Self::new(io::stdout(), format, colour)
    }
}

impl<W: Write> Printer<W> {
    /// Shows on `out`; for tests and for streams of one's own.
    pub fn new(out: W, format: Format, colour: bool) -> Self {
        Self { out, format, colour, counted: false, nearest: None, bar: None, tally: Tally::default() }
    }

    /// From now on times are numbers of lines: the n-th line lies n seconds after 1970.
    pub fn count_lines(&mut self) {
        self.counted = true;
    }

    /// From now on each anomaly is explained, and what came nearest is shown at the end.
    pub fn explain(&mut self) {
        self.nearest = Some(Nearest::default());
    }

    /// Draws a progress bar on standard error, when that is a terminal, and keeps it out of the results' way.
    /// `total`: bytes; `None` draws a spinner.
    pub fn progress(&mut self, total: Option<u64>) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5));
        let template = match total {
            Some(_) => "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bar = Some(bar.clone());
        bar
    }

    /// What was shown so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The stream that was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// All that a step found, in the order of time. For people, the window that opens an incident is not told twice.
    ///
    /// # Errors
    /// When the output could not be written.
    pub fn step(&mut self, step: &Step) -> io::Result<()> {
        self.tally.windows += step.windows.iter().filter(|row| row.revision == 0).count() as u64;
        if let Some(nearest) = &mut self.nearest {
            step.near_misses.iter().for_each(|miss| nearest.add(miss.clone()));
        }
        let anomalies = step.anomalies.iter().map(|anomaly| (anomaly.range.end, Finding::Window(anomaly)));
        let changes = step.transitions.iter().map(|transition| (transition.at, Finding::Incident(transition)));
        let mut findings: Vec<(Nanos, Finding<'_>)> = anomalies.chain(changes).collect();
        findings.sort_by_key(|(at, _)| *at);
        for (_, finding) in findings {
            match finding {
                Finding::Window(anomaly) if self.format == Format::Text && opens(step, anomaly) => {
                    self.tally.anomalies += 1;
                }
                Finding::Window(anomaly) => self.anomaly(anomaly)?,
                Finding::Incident(transition) => self.transition(transition)?,
            }
        }
        Ok(())
    }

    /// A window that is not normal.
    ///
    /// # Errors
    /// When the output could not be written.
    pub fn anomaly(&mut self, anomaly: &Anomaly) -> io::Result<()> {
        match anomaly.grade {
            Grade::Alert => self.tally.anomalies += 1,
            Grade::Notice | Grade::Learning => self.tally.notices += 1,
        }
        match self.format {
            Format::Json => self.json(&AnomalyLine::new(anomaly, self.counted)),
            Format::Text => {
                let word = if anomaly.grade == Grade::Alert { "anomaly" } else { anomaly.grade.as_str() };
                let habit = explain::habit(&anomaly.evidence).map(|habit| format!("; {habit}")).unwrap_or_default();
                let mut text = format!(
                    "{}  {:<9} {}  {}",
                    self.moment(anomaly.range.start),
                    word,
                    clean(&place(&anomaly.group.labels)),
                    self.paint(clean(&(why(&anomaly.evidence) + &habit)), Style::new().dimmed()),
                );
                if self.nearest.is_some() {
                    text += &self.reasons(&anomaly.evidence, usize::MAX);
                    text += &self.details(anomaly);
                    text += &self.samples(&anomaly.evidence);
                }
                self.put(&text)
            }
        }
    }

    /// What came nearest to being told.
    fn show_nearest(&mut self) -> io::Result<()> {
        let Some(nearest) = self.nearest.take() else { return Ok(()) };
        if self.format == Format::Text {
            let text = match nearest.all() {
                [] => "nothing else came near to being told".to_owned(),
                [_] => "nearest to being told, and not told:".to_owned(),
                all => format!("nearest to being told, and not told, the same thing once ({}):", all.len()),
            };
            self.note(text)?;
        }
        nearest.all().iter().try_for_each(|miss| match self.format {
            Format::Json => self.json(&NearMissLine::new(miss, self.counted)),
            Format::Text => self.put(&self.near_miss(miss)),
        })
    }

    fn near_miss(&self, miss: &NearMiss) -> String {
        let evidence = &miss.evidence;
        let mut text = format!(
            "{}  near miss {}  {}",
            self.moment(miss.range.start),
            clean(&place(&miss.group.labels)),
            clean(&self.whole_reason(evidence))
        );
        let held = miss.held().map(explain::gate).unwrap_or_default();
        let passed: Vec<String> = evidence.gates.iter().filter(|gate| gate.passed).map(explain::gate).collect();
        text += &self.under(&format!("held back: {held}"));
        text += &self.under(&format!("passed: {}", passed.join(" · ")));
        if miss.windows > 1 {
            text += &self.under(&format!("the same came near in {}", count(miss.windows, "window")));
        }
        text += &evidence.common.iter().map(|one| self.under(&explain::common(one))).collect::<String>();
        let few = evidence.samples.iter().take(NEAR_SAMPLES);
        few.fold(text, |text, sample| text + &self.under_sample(sample))
    }

    /// An incident that opened, goes on, or is over.
    ///
    /// # Errors
    /// When the output could not be written.
    pub fn transition(&mut self, transition: &Transition) -> io::Result<()> {
        match transition.kind {
            TransitionKind::Opened => self.tally.incidents += 1,
            TransitionKind::Resolved => self.tally.resolved += 1,
            _ => {}
        }
        match self.format {
            Format::Json => self.json(&IncidentLine::new(transition)),
            Format::Text => {
                let text = self.block(transition);
                self.put(&text)
            }
        }
    }

    /// A remark: what was learnt, which mode this is. In the JSON form it goes to standard error.
    ///
    /// # Errors
    /// When the output could not be written.
    pub fn note(&mut self, text: impl Display) -> io::Result<()> {
        let text = clean(&text.to_string()).into_owned();
        if self.format == Format::Json {
            let say = || eprintln!("{text}");
            self.bar.as_ref().map_or_else(say, |bar| bar.suspend(say));
            return Ok(());
        }
        let text = self.paint(text, Style::new().cyan());
        self.put(&text)
    }

    /// The last line: how much was read and found, how fast. `extra` comes after the fields that all commands have.
    ///
    /// # Errors
    /// When the output could not be written.
    pub fn summary(&mut self, lines: u64, meter: &Meter, extra: Map<String, Value>) -> io::Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.show_nearest()?;
        let Tally { windows, anomalies, notices, incidents, .. } = self.tally;
        let used = meter.read();
        let summary = SummaryLine {
            r#type: "summary",
            lines,
            windows,
            anomalies,
            incidents,
            notices,
            seconds: used.seconds,
            lines_per_second: per(lines, used.seconds),
            cpu_seconds: used.cpu_seconds,
            lines_per_cpu_second: used.cpu_seconds.map(|seconds| per(lines, seconds)),
            peak_rss_bytes: used.peak_rss_bytes,
            extra,
        };
        match self.format {
            Format::Json => self.json(&summary),
            Format::Text => self.put(&summary.words(self.tally.incidents.saturating_sub(self.tally.resolved))),
        }
    }

    fn block(&self, transition: &Transition) -> String {
        let Transition { kind, incident, at, .. } = transition;
        let (sign, word, style) = match (kind, incident.severity) {
            (TransitionKind::Resolved, _) => ('○', "over", Style::new().green()),
            (TransitionKind::Acknowledged, _) => ('◐', "taken", Style::new().blue()),
            (TransitionKind::Escalated, _) => ('●', "worse", Style::new().red().bold()),
            (TransitionKind::Opened | TransitionKind::Reopened, Severity::Critical) => {
                ('●', "critical", Style::new().red().bold())
            }
            (TransitionKind::Opened | TransitionKind::Reopened, Severity::Warning) => {
                ('●', "warning", Style::new().yellow().bold())
            }
            (TransitionKind::Opened | TransitionKind::Reopened, Severity::Info) => {
                ('●', "info", Style::new().blue().bold())
            }
            (TransitionKind::Continued, _) => ('◐', "goes on", Style::new().yellow()),
        };
        let from = if *kind == TransitionKind::Opened { incident.started_at } else { *at };
        let bars = sparkline(&incident.rates).map(|bars| format!("  {bars}")).unwrap_or_default();
        let mut text = format!(
            "{}  {}  {}{bars}",
            self.moment(from),
            self.paint(format!("{sign} {word:<8}"), style),
            self.paint(clean(&incident.title), Style::new().bold()),
        );
        if *kind == TransitionKind::Resolved {
            let size = format!("{} in {}", count(incident.lines, "line"), count(incident.windows, "unusual window"));
            text.push_str(&format!("\n{INDENT}{}, {size}", self.length(incident)));
            if let Some(detail) = &incident.detail {
                text.push_str(&format!("\n{INDENT}{}", clean(detail)));
            }
            return text;
        }
        if let Some(detail) = &incident.detail {
            text.push_str(&format!("\n{INDENT}{}", clean(detail)));
        }
        if let Some(worst) = &incident.worst {
            text += &self.reasons(&worst.evidence, 3);
            if *kind == TransitionKind::Opened {
                text += &self.details(worst);
            }
            text += &self.samples(&worst.evidence);
        }
        text
    }

    /// The strongest reason with what was before.
    fn whole_reason(&self, evidence: &Evidence) -> String {
        let said = explained(evidence, |at| self.moment(at).trim_end().to_owned());
        said.why.first().map(Reason::all_words).unwrap_or_default()
    }

    /// So many reasons, each on its line; without the little ones where there are few.
    fn reasons(&self, evidence: &Evidence, most: usize) -> String {
        let all = explained(evidence, |at| self.moment(at).trim_end().to_owned()).why;
        let told = all.iter().filter(|reason| most == usize::MAX || reason.weighs()).take(most);
        told.map(|reason| self.under(&format!("{} ({})", reason.all_words(), reason.share))).collect()
    }

    /// What else speaks for it: labels in common, what was passed, how sure it is, the query.
    fn details(&self, anomaly: &Anomaly) -> String {
        let said = explained(&anomaly.evidence, rfc3339);
        let mut text: String = said.common.iter().map(|common| self.under(common)).collect();
        if !said.gates.is_empty() {
            text += &self.under(&format!("passed: {}", said.gates.join(" · ")));
        }
        let sure = [Some(score(anomaly)), said.detectors, Some(seen(anomaly))];
        text += &self.under(&sure.into_iter().flatten().collect::<Vec<_>>().join(" · "));
        text + &self.under(&anomaly.evidence.query)
    }

    fn samples(&self, evidence: &Evidence) -> String {
        evidence.samples.iter().map(|sample| self.under_sample(sample)).collect()
    }

    fn under_sample(&self, sample: &Sample) -> String {
        format!("\n{INDENT}{}", self.sample(sample))
    }

    /// A line of its own under the words.
    fn under(&self, text: &str) -> String {
        format!("\n{INDENT}{}", clean(text))
    }

    fn sample(&self, sample: &Sample) -> String {
        let style = match sample.level {
            Level::Error | Level::Critical => Style::new().red(),
            Level::Warn => Style::new().yellow(),
            _ => Style::new().dimmed(),
        };
        format!("│ {}", self.paint(clean(&explain::marked(sample)), style))
    }

    /// From the first sign to the last, in time or in lines.
    fn length(&self, incident: &Incident) -> String {
        let length = incident.last_seen - incident.started_at;
        if self.counted { count(u64::try_from(length / SECOND + 1).unwrap_or(0), "line") } else { duration(length) }
    }

    /// `2026-11-20 22:00:01` in UTC, or `line 17`.
    fn moment(&self, at: Nanos) -> String {
        if self.counted {
            return format!("line {:<14}", at / SECOND);
        }
        rfc3339(at - at.rem_euclid(SECOND)).replacen('T', " ", 1).trim_end_matches('Z').to_owned()
    }

    fn paint(&self, text: impl Display, style: Style) -> String {
        if self.colour { text.style(style).to_string() } else { text.to_string() }
    }

    fn json(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = Vec::with_capacity(LINE);
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        self.write(&text)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// One write a finding, so that it is seen at once and never torn.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let out = &mut self.out;
        let mut write = || {
            out.write_all(text)?;
            out.flush()
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

enum Finding<'a> {
    Window(&'a Anomaly),
    Incident(&'a Transition),
}

/// Whether an incident opens with this window.
fn opens(step: &Step, anomaly: &Anomaly) -> bool {
    step.transitions.iter().any(|transition| {
        let incident = &transition.incident;
        transition.kind == TransitionKind::Opened
            && incident.group.fingerprint == anomaly.group.fingerprint
            && incident.started_at == anomaly.range.start
    })
}

/// Under the words, behind the time.
const INDENT: &str = "                     ";

/// The values of a group's labels.
fn place(labels: &Labels) -> String {
    let values: Vec<&str> = labels.iter().map(|(_, value)| value).collect();
    if values.is_empty() { "all".to_owned() } else { values.join("/") }
}

/// The strongest reason in words.
fn why(evidence: &Evidence) -> String {
    strongest(evidence).map_or_else(|| "not like the windows before".to_owned(), |reason| reason.words())
}

fn per(lines: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (lines as f64 / seconds).round() } else { 0.0 }
}

/// Text from strangers, made harmless for a terminal: control characters (escape sequences begin with one) and those
/// that turn the direction of writing are shown as their code.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let bad = |c: char| {
        (c.is_control() && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if bad(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[derive(Serialize)]
struct SummaryLine {
    r#type: &'static str,
    lines: u64,
    windows: u64,
    anomalies: u64,
    incidents: u64,
    notices: u64,
    seconds: f64,
    lines_per_second: f64,
    cpu_seconds: Option<f64>,
    lines_per_cpu_second: Option<f64>,
    peak_rss_bytes: Option<u64>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl SummaryLine {
    fn words(&self, open: u64) -> String {
        let open = if open > 0 { format!(" ({open} still open at the end)") } else { String::new() };
        let anomalies = if self.anomalies == 1 {
            "1 anomaly".to_owned()
        } else {
            format!("{} anomalies", number(self.anomalies as f64))
        };
        let notices = if self.notices > 0 { format!("{}, ", count(self.notices, "notice")) } else { String::new() };
        let found = format!(
            "{} in {}: {anomalies}, {notices}{}{open}",
            count(self.lines, "line"),
            count(self.windows, "window"),
            count(self.incidents, "incident"),
        );
        let peak = self.peak_rss_bytes.map(|bytes| format!(", peak memory {} MB", number(bytes as f64 / 1e6)));
        format!(
            "{found}\n{} s, {} lines/s{}",
            number(self.seconds),
            number(self.lines_per_second),
            peak.unwrap_or_default(),
        )
    }
}

/// Measures what a command uses.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    started: Instant,
}

/// What a command has used so far; `None` where the system does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Used {
    /// By the wall clock.
    pub seconds: f64,
    /// Of all processors together, in this process.
    pub cpu_seconds: Option<f64>,
    /// The most memory it ever had.
    pub peak_rss_bytes: Option<u64>,
}

impl Meter {
    /// Starts the clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "measures how long the command took; no result depends on it")]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// What was used since.
    #[must_use]
    pub fn read(&self) -> Used {
        Used { seconds: self.started.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds(), peak_rss_bytes: peak_rss() }
    }
}

/// `VmHWM` of proc(5).
fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    kilobytes.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|size| size * 1024)
}

/// CPU time of the process: to 10 ms from `/proc/self/stat` (a tick is 1/100 s on every Linux that is seen), finer from
/// the threads' own clocks, which leave out threads that have ended.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let coarse = (ticks()? + ticks()?) / 100.0;
    let tasks = fs::read_dir("/proc/self/task").ok()?.flatten();
    let fine: f64 = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum();
    let fine = fine / 1e9;
    Some(if (coarse - fine).abs() < 0.05 { fine } else { coarse })
}

#[cfg(test)]
mod tests;
