//! `sigyn demo`: the whole of sigyn against a stand-in for Loki.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value, json};

use super::output::{Meter, Printer, clean};
use super::{Common, Exit, Format, Output, lines};
use crate::app::demo::{Demo, Outcome};
use crate::notify::render::duration;
use crate::time::{Nanos, SECOND, Span, rfc3339};

/// Simulated seconds in a real one, unless told otherwise: two hours and a half in a minute.
const SPEED: f64 = 150.0;

/// Arguments of `sigyn demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long it runs
    #[arg(long = "for", value_name = "DURATION", default_value = "60s")]
    pub length: Span,
    /// Seed of the traffic and its faults
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Simulated seconds in a real one
    #[arg(long, value_name = "FACTOR")]
    pub speed: Option<f64>,
    /// Where results go.
    #[command(flatten)]
    pub output: Output,
}

type Shared = Arc<Mutex<Printer<std::io::Stdout>>>;

/// Carries it out.
///
/// # Errors
/// When a part could not be started.
pub async fn run(args: &Args, _common: &Common) -> anyhow::Result<Exit> {
    let speed = args.speed.unwrap_or(SPEED);
    anyhow::ensure!((1.0..=10_000.0).contains(&speed), "--speed must be a number from 1 to 10000, not {speed}");
    let seconds = args.length.0.as_secs();
    anyhow::ensure!((5..=86_400).contains(&seconds), "--for must be from 5s to 24h, not {}", args.length);
    let meter = Meter::start();
    let folder = Folder::new(args.output.data_dir.clone())?;
    let printer: Shared = Arc::new(Mutex::new(Printer::stdout(args.output.output)));
    let shown = Arc::clone(&printer);
    let demo = Demo {
        length: args.length.0,
        seed: args.seed,
        speed,
        data: folder.path.clone(),
        observer: Arc::new(move |step| {
            // Who reads it may be gone: the demo ends by itself.
            let _ = shown.lock().unwrap_or_else(PoisonError::into_inner).step(step);
        }),
    };
    intro(args, speed, &demo, &printer)?;
    let outcome = demo.run().await?;
    let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
    if args.output.output == Format::Text {
        super::show(&messages(&outcome))?;
        super::show(&table(&outcome))?;
    }
    printer.summary(outcome.lines, &meter, numbers(&outcome))?;
    Ok(Exit::Done)
}

fn intro(args: &Args, speed: f64, demo: &Demo, printer: &Shared) -> anyhow::Result<()> {
    let (from, until) = demo.judged();
    let planted = demo.truth().faults.len();
    let (from, until, span) = (rfc3339(from), rfc3339(until), duration(until - from));
    let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
    for line in [
        format!(
            "A small shop writes logs into a stand-in for Loki, {speed} times as fast as life. sigyn learns from its past,"
        ),
        format!("then watches {span} of the shop's time, {from} to {until}, in {}.", args.length),
        format!("{planted} faults are planted (seed {}). Nothing leaves this machine.", args.seed),
    ] {
        printer.note(line)?;
    }
    Ok(())
}

fn numbers(outcome: &Outcome) -> Map<String, Value> {
    let score = &outcome.score;
    let pairs = [
        ("planted", json!(score.planted.len())),
        ("found", json!(score.found())),
        ("false_alarms", json!(score.false_alarms.len())),
        ("messages", json!(outcome.posted.messages.len())),
        ("issues", json!(outcome.posted.issues.len())),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// One message and one issue in full, as they were posted, and the titles of the rest.
fn messages(outcome: &Outcome) -> String {
    let posted = &outcome.posted;
    let mut text = String::new();
    if let Some(message) = posted.messages.first() {
        let body = message["text"].as_str().unwrap_or_default();
        text += &format!("\n── the first of {} Slack messages ──\n{}\n", posted.messages.len(), lines(body));
    }
    if let Some(issue) = posted.issues.first() {
        let (title, body) = (issue["title"].as_str().unwrap_or_default(), issue["body"].as_str().unwrap_or_default());
        let (count, comments) = (posted.issues.len(), posted.comments.len());
        text += &format!(
            "\n── the first of {count} GitHub issues ({comments} comments) ──\n# {}\n{}\n",
            clean(title),
            lines(body)
        );
    }
    for issue in &posted.issues {
        let state = issue["state"].as_str().unwrap_or_default();
        text += &format!("#{:<3} {state:<7} {}\n", issue["number"], clean(issue["title"].as_str().unwrap_or_default()));
    }
    text
}

/// Planted against found.
fn table(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["planted", "service", "from", "found after", "told as"]);
    for planted in &outcome.score.planted {
        let fault = &planted.fault;
        let (after, told) = match &planted.found {
            Some((at, incident)) => (delay(*at - fault.start), incident.title.clone()),
            None => ("missed".to_owned(), String::new()),
        };
        table.add_row([fault.kind.name().to_owned(), fault.service.to_owned(), clock(fault.start), after, told]);
    }
    let alarms = &outcome.score.false_alarms;
    let mut text = format!("\n{table}\nfound {} of {}", outcome.score.found(), outcome.score.planted.len());
    text += &format!(", false alarms: {}\n", alarms.len());
    for alarm in alarms {
        text += &format!("  {} {}\n", clock(alarm.started_at), clean(&alarm.title));
    }
    text + "\n"
}

/// A gradual fault counts from the moment its effect passes twice the ordinary: it may be told before.
fn delay(after: Nanos) -> String {
    if after < 0 { format!("{} early", duration(-after)) } else { duration(after) }
}

fn clock(at: Nanos) -> String {
    rfc3339(at - at.rem_euclid(SECOND)).get(11..19).unwrap_or_default().to_owned()
}

/// A folder for the state: the named one, or one that is removed afterwards.
struct Folder {
    path: PathBuf,
    remove: bool,
}

impl Folder {
    fn new(named: Option<PathBuf>) -> anyhow::Result<Self> {
        let remove = named.is_none();
        let path = named.unwrap_or_else(|| std::env::temp_dir().join(format!("sigyn-demo-{}", std::process::id())));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path, remove })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.remove {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
