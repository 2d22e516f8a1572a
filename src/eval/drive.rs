//! The engine, driven over a file as a protocol says.
//!
//! What comes in: a file's path, and borders in time. What goes out: a verdict for every window, and what would have been
//! sent. What never happens here: seeing a label; it reads the file through [`Feed`] alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::attribute::Note;
use super::feed::{Clock, Feed, STREAM, WATCH};
use super::rows::Rows;
use super::session::SessionVerdict;
use super::{EvalError, Protocol, Setup, Unit};
use crate::collect::{Batch, Coverage, Known, Purpose};
use crate::detect::voice::Voice;
use crate::detect::window::OpenWindow;
use crate::detect::{Grade, Group, Judgement};
use crate::engine::{Engine, Input, JudgedWindow, Options, Restore, Step, WatchOptions};
use crate::incident::TransitionKind;
use crate::labels::{Fingerprint, Labels};
use crate::notify::render::message;
use crate::notify::{Links, Notification};
use crate::time::{Nanos, TimeRange};

/// What was found about one unit, over all groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The greatest score; 0 while every group is warming up.
    pub score: f64,
    /// Whether any group was scored.
    pub judged: bool,
    /// Whether any group was anomalous.
    pub alarm: bool,
    /// Names of the detectors whose evidence says so.
    pub detectors: Vec<&'static str>,
}

/// What came of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Driven {
    /// By start of the window in the engine's time.
    pub verdicts: BTreeMap<Nanos, Verdict>,
    /// Of sessions instead, by their own names.
    pub sessions: Vec<SessionVerdict>,
    /// What would have been sent, in order; times are the engine's.
    pub notes: Vec<Note>,
    /// Lines that went through the engine; with `all` each twice.
    pub lines: u64,
}

/// Drives the engine over a file: what lies before `border` (in the engine's time) is learnt, the rest judged. With
/// [`Protocol::All`] there is no border, and the file is read twice.
///
/// # Errors
/// When the file cannot be read, or the engine cannot judge such units.
pub fn drive(path: &Path, setup: &Setup, border: Nanos) -> Result<Driven, EvalError> {
    let clock = match setup.unit {
        Unit::Time(size) => Clock::Own(size.nanos()),
        // Sessions are not driven here; the seam of `session` is theirs.
        Unit::Lines(_) | Unit::Session => Clock::Counted,
    };
    let options = options(setup);
    let mut driven = Driven::default();
    let mut engine = Engine::new(&options).unstored();
    if setup.protocol == Protocol::All {
        let mut learner = Engine::new(&options).unstored();
        let mut feed = Feed::new(Rows::open(path)?, clock);
        let start = driven.run(&mut learner, &mut feed, Nanos::MAX)?;
        hand_over(&learner, &mut engine, &feed, start);
    }
    let border = if setup.protocol == Protocol::All { Nanos::MIN } else { border };
    driven.run(&mut engine, &mut Feed::new(Rows::open(path)?, clock), border)?;
    Ok(driven)
}

fn options(setup: &Setup) -> Options {
    let group_by = match setup.unit {
        Unit::Time(_) => STREAM,
        // No stream has this label: the whole file is one group.
        Unit::Lines(_) | Unit::Session => "file",
    };
    Options {
        tenant: TENANT.to_owned(),
        detect: setup.detect(),
        incident: setup.incident.clone(),
        external_labels: Labels::new(),
        watches: vec![WatchOptions {
            name: WATCH.into(),
            query: "{}".to_owned(),
            window: setup.window(),
            group_by: vec![group_by.to_owned()],
            labels: Labels::new(),
            owner: None,
            runbook_url: None,
        }],
    }
}

const TENANT: &str = "default";

impl Driven {
    /// One pass over the file. Says where it began.
    fn run(&mut self, engine: &mut Engine, feed: &mut Feed, border: Nanos) -> Result<Nanos, EvalError> {
        let mut start = None;
        while let Some(batch) = feed.batch(border)? {
            start.get_or_insert(batch.range.start);
            self.lines += batch.len() as u64;
            let mut step = engine.step(Input::Batch(batch));
            // A file is confirmed by construction, so that wishes are rare; each is granted.
            while let Some(range) = step.audits.first().copied() {
                self.take(step);
                let mut answer = Batch::new(Arc::from(WATCH), range, Purpose::Confirm);
                answer.coverage.known = Known::Audited;
                step = engine.step(Input::Batch(answer));
                if step.audits.first() == Some(&range) {
                    break;
                }
            }
            self.take(step);
        }
        Ok(start.unwrap_or_default())
    }

    fn take(&mut self, step: Step) {
        for row in &step.windows {
            let verdict = self.verdicts.entry(row.window.range.start).or_default();
            verdict.judged |= row.judgement.score.is_some();
            verdict.score = verdict.score.max(row.judgement.score.unwrap_or_default());
            for name in speakers(&row.judgement) {
                if !verdict.detectors.contains(&name) {
                    verdict.detectors.push(name);
                }
            }
        }
        // What is shown and not told is no alarm.
        for anomaly in step.anomalies.iter().filter(|anomaly| anomaly.grade == Grade::Alert) {
            self.verdicts.entry(anomaly.range.start).or_default().alarm = true;
        }
        for transition in step.transitions {
            let update = match transition.kind {
                TransitionKind::Opened | TransitionKind::Reopened => false,
                TransitionKind::Continued | TransitionKind::Escalated => true,
                TransitionKind::Acknowledged | TransitionKind::Resolved => continue,
            };
            let at = transition.at;
            let text = text(&Notification { key: String::new(), transition, links: Links::default() });
            self.notes.push(Note { at, update, text });
        }
    }
}

/// The detectors that say that a window is anomalous: of the features the strongest, of the patterns all.
fn speakers(judgement: &Judgement) -> impl Iterator<Item = &'static str> {
    let feature = judgement.anomalous.iter().flatten().next().filter(|one| one.share > 0.0);
    let feature = feature.map(|one| Voice::from(one.feature).name());
    feature.into_iter().chain(judgement.patterns.iter().map(|one| Voice::from(one.kind).name()))
}

/// What the reader is told: title, place and reasons. The sample lines are left out: they name services by chance.
fn text(notification: &Notification) -> String {
    let message = message(notification);
    let reasons: Vec<String> = message.told().iter().map(|reason| reason.words()).collect();
    let text = format!("{} {}: {}", message.title, message.place, reasons.join("; "));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Gives an engine what another has learnt. Groups come before their models: an engine takes models of groups that it
/// knows only.
fn hand_over(from: &Engine, to: &mut Engine, feed: &Feed, start: Nanos) {
    let by_lines = feed.streams().iter().map(|stream| {
        let named = stream.labels.get(STREAM).map(|name| (STREAM, name.to_owned()));
        named.into_iter().collect::<Labels>()
    });
    let known = |labels: &Labels| Fingerprint::of(TENANT, WATCH, labels);
    let (snapshots, patterns) = (from.snapshots(WATCH), from.patterns(WATCH));
    let mut groups: Vec<Labels> = by_lines.collect();
    groups.extend([Labels::new(), [("group", "other")].into_iter().collect()]);
    groups.retain(|labels| snapshots.iter().any(|snapshot| snapshot.group == known(labels)));
    let windows = groups.into_iter().map(|labels| seed(Group { fingerprint: known(&labels), labels })).collect();
    to.restore(WATCH, Restore { done_until: start, windows, ..Restore::default() });
    to.restore(WATCH, Restore { done_until: start, snapshots, patterns, ..Restore::default() });
}

/// A stored window without any content: only its group matters.
fn seed(group: Group) -> JudgedWindow {
    let window = OpenWindow::new().close(TimeRange::new(0, 0), Coverage::default(), true);
    JudgedWindow { group, window, judgement: Judgement::default(), learnt: false, revision: 0 }
}
