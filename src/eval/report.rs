//! From verdicts and truth to the figures of one file.
//!
//! What comes in: a path and a [`Setup`]. What goes out: a [`Report`] and the notes. What never happens here: printing,
//! or measuring time and memory; the caller does that around [`Exam::drive`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::attribute::{Kind, Note, Tally, busy};
use super::drive::{Driven, Verdict, drive};
use super::judge::SessionJudge;
use super::metric::{self, Hits, Scored};
use super::session::{self, Judge};
use super::truth::{TrueUnit, Truth};
use super::{EvalError, Protocol, Setup, Unit};
use crate::detect::session::{Limits, Sessions};
use crate::detect::voice::Detectors;
use crate::time::{Nanos, SECOND, TimeRange, ceil};

/// The figures of one file. `None` (in JSON null) where one does not apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The file, by its own or its folder's name.
    pub set: String,
    /// What was judged: `10s`, `20lines`, `session`.
    pub window: String,
    /// `online`, `split` or `all`.
    pub protocol: String,
    /// Which detectors were heard: `combined`, or those that were.
    pub detector: String,
    /// The detectors that were left out, where an ablation leaves some out.
    pub without: Option<String>,
    /// Units that were scored.
    pub units: usize,
    /// Those of them that the labels call anomalous.
    pub units_anomalous: usize,
    /// Those of them that the engine had learnt enough to judge.
    pub units_judged: usize,
    /// At the engine's own threshold.
    pub precision: Option<f64>,
    /// At the engine's own threshold.
    pub recall: Option<f64>,
    /// At the engine's own threshold.
    pub f1: Option<f64>,
    /// Over all thresholds.
    pub best_f1: Option<f64>,
    /// Chance that an anomalous unit scores above a normal one.
    pub roc_auc: Option<f64>,
    /// Average precision.
    pub pr_auc: Option<f64>,
    /// Lower end of its 95 % bootstrap interval.
    pub pr_auc_low: Option<f64>,
    /// Upper end.
    pub pr_auc_high: Option<f64>,
    /// Incidents found: by a name where `incidents.tsv` gives names, else by any note.
    pub incidents_found: Option<usize>,
    /// Incidents in all.
    pub incidents_total: Option<usize>,
    /// Incidents with any note, chance hits included.
    pub incidents_any: Option<usize>,
    /// Whether finding needs naming.
    pub attributed: bool,
    /// Incidents by kind.
    pub kinds: BTreeMap<String, Kind>,
    /// Benign events that were notified.
    pub benign_notified: Option<usize>,
    /// Benign events in all.
    pub benign_total: Option<usize>,
    /// Of the found, from onset to the note.
    pub median_delay_seconds: Option<f64>,
    /// All of these delays, so that several files can be taken together.
    pub delays_seconds: Vec<f64>,
    /// Notes that opened something.
    pub notifications: usize,
    /// Those of them outside of all incidents and benign events.
    pub false_notifications: Option<usize>,
    /// Judged hours outside of them.
    pub normal_hours: Option<f64>,
    /// False notifications by normal hours.
    pub false_notifications_per_hour: Option<f64>,
    /// Alarmed windows outside of them by normal hours.
    pub alarm_windows_per_normal_hour: Option<f64>,
    /// Alarmed units by all units.
    pub alarm_share: Option<f64>,
    /// Lines of the file.
    pub lines: u64,
    /// Lines through the engine in a second of the wall clock.
    pub lines_per_second: Option<f64>,
    /// Lines through the engine in a second of CPU time, reading and unpacking included.
    pub lines_per_cpu_second: Option<f64>,
    /// By the wall clock.
    pub seconds: Option<f64>,
    /// CPU time.
    pub cpu_seconds: Option<f64>,
    /// The most memory while the file was judged.
    pub peak_rss_bytes: Option<u64>,
    /// `combined`, and each detector that is named by the evidence of an alarm.
    pub detectors: Vec<Detector>,
}

/// The figures of one detector.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Detector {
    /// Its name; `combined` for the whole.
    pub detector: String,
    /// Units that it alarmed.
    pub alarms: usize,
    /// At its own threshold.
    pub precision: Option<f64>,
    /// At its own threshold.
    pub recall: Option<f64>,
    /// At its own threshold.
    pub f1: Option<f64>,
}

/// One file to be examined: what is right, and where judging begins.
#[derive(Clone, Debug)]
pub struct Exam {
    path: PathBuf,
    setup: Setup,
    truth: Truth,
    /// Engine's time from which on it judges.
    border: Nanos,
    /// The first unit that is scored.
    first: usize,
}

impl Exam {
    /// Reads what is right.
    ///
    /// # Errors
    /// When the file cannot be read, or has too little to judge.
    pub fn open(path: &Path, setup: &Setup) -> Result<Self, EvalError> {
        let truth = Truth::read(path, setup.unit)?;
        let units = truth.units.len();
        let (first, border) = border(&truth, setup);
        if setup.unit != Unit::Session && first >= units {
            let (unit, protocol) = (setup.unit, setup.protocol);
            return Err(EvalError::TooShort { name: path.display().to_string(), units, unit, protocol });
        }
        Ok(Self { path: path.to_owned(), setup: setup.clone(), truth, border, first })
    }

    /// Lets the engine judge.
    ///
    /// # Errors
    /// When the file cannot be read, or the engine cannot judge such units.
    pub fn drive(&self) -> Result<Driven, EvalError> {
        if self.setup.unit == Unit::Session {
            let mut judge = SessionJudge::new(Sessions::new(Limits::default()).hear(self.setup.detect.detectors));
            return self.drive_sessions(&mut |purpose, entry| judge.take(purpose, entry));
        }
        drive(&self.path, &self.setup, self.border)
    }

    /// Lets a judge of sessions judge.
    ///
    /// # Errors
    /// When the file cannot be read, or an event has no template.
    pub fn drive_sessions(&self, judge: &mut Judge<'_>) -> Result<Driven, EvalError> {
        let sessions = session::drive(&self.path, self.setup.protocol, self.border, judge)?;
        Ok(Driven { sessions, lines: self.truth.lines, ..Driven::default() })
    }

    /// What would have been sent, in the file's own time.
    #[must_use]
    pub fn notes(&self, driven: &Driven) -> Vec<Note> {
        let mut notes: Vec<Note> =
            driven.notes.iter().map(|note| Note { at: self.own_time(note.at), ..note.clone() }).collect();
        notes.sort_by_key(|note| note.at);
        notes
    }

    /// Compares what was judged with what is right.
    #[must_use]
    pub fn report(&self, driven: &Driven) -> Report {
        let scored = self.scored();
        let verdicts = self.verdicts(driven);
        let pairs: Vec<Scored> = scored.iter().zip(&verdicts).map(|(unit, verdict)| pair(unit, verdict)).collect();
        let mut report = Report {
            set: set_name(&self.path),
            window: self.setup.unit.to_string(),
            protocol: self.setup.protocol.to_string(),
            detector: heard(self.setup.detect.detectors),
            units: pairs.len(),
            units_anomalous: pairs.iter().filter(|pair| pair.label).count(),
            units_judged: verdicts.iter().filter(|verdict| verdict.judged).count(),
            alarm_share: share(pairs.iter().filter(|pair| pair.alarm).count(), pairs.len()),
            lines: self.truth.lines,
            attributed: self.truth.attributed,
            detectors: detectors(scored, &verdicts),
            ..Report::default()
        };
        // Sessions do not hang together as neighbouring windows do.
        let block = if self.setup.unit == Unit::Session { 1 } else { metric::block(pairs.len()) };
        report.match_labels(&pairs, block);
        self.match_incidents(&mut report, driven, &pairs);
        report
    }

    fn scored(&self) -> &[TrueUnit] {
        self.truth.units.get(self.first..).unwrap_or_default()
    }

    /// What was found about each scored unit; one that was not answered has score 0.
    fn verdicts(&self, driven: &Driven) -> Vec<Verdict> {
        let by_name = driven.sessions.iter().filter_map(|found| {
            let detectors = found.detector.into_iter().collect();
            let verdict = Verdict { score: found.score, judged: true, alarm: found.alarm, detectors };
            Some((*self.truth.sessions.get(&found.key)?, found.line, verdict))
        });
        // A session that went on after it was judged is judged again, and the last word counts; but of several sessions in
        // one unit the worst.
        let mut last: BTreeMap<(usize, u64), Verdict> = BTreeMap::new();
        for (unit, line, verdict) in by_name {
            last.insert((unit, line), verdict);
        }
        let mut sessions: HashMap<usize, Verdict> = HashMap::new();
        for ((unit, _), verdict) in last {
            let worst = sessions.entry(unit).or_default();
            worst.judged = true;
            worst.score = worst.score.max(verdict.score);
            worst.alarm |= verdict.alarm;
            worst.detectors.extend(verdict.detectors);
        }
        let of = |(place, unit): (usize, &TrueUnit)| {
            let found =
                if self.setup.unit == Unit::Session { sessions.get(&place) } else { driven.verdicts.get(&unit.key) };
            found.cloned().unwrap_or_default()
        };
        self.truth.units.iter().enumerate().skip(self.first).map(of).collect()
    }

    fn match_incidents(&self, report: &mut Report, driven: &Driven, pairs: &[Scored]) {
        let notes = self.notes(driven);
        let span = TimeRange::new(self.judged_from(), self.truth.span.1);
        // What began before the judged half was learnt; `online` counts all, as the scorer does.
        let from = if self.setup.protocol == Protocol::Split { span.start } else { Nanos::MIN };
        let planted: Vec<_> = self.truth.planted.iter().filter(|one| one.onset >= from).cloned().collect();
        let benign: Vec<_> = self.truth.benign.iter().filter(|one| one.start >= from).cloned().collect();
        let tally = Tally::new(&planted, &benign, &notes, span);
        report.notifications = tally.notifications;
        let timed = matches!(self.setup.unit, Unit::Time(_));
        if !self.truth.intervals || (!timed && !self.truth.attributed) {
            return;
        }
        report.incidents_found = Some(tally.found());
        report.incidents_total = Some(tally.total());
        report.incidents_any = Some(tally.any);
        report.benign_notified = (!benign.is_empty()).then(|| tally.benign_notified());
        report.benign_total = (!benign.is_empty()).then_some(benign.len());
        report.median_delay_seconds = tally.median_delay();
        report.delays_seconds.clone_from(&tally.delays);
        report.kinds = tally.kinds;
        if !timed {
            return;
        }
        report.false_notifications = Some(tally.false_notifications);
        report.normal_hours = Some(tally.normal_hours);
        if tally.normal_hours > 0.0 {
            let busy = busy(&planted, &benign);
            let normal = |unit: &TrueUnit| !busy.iter().any(|(from, until)| unit.start <= *until && *from < unit.end);
            let alarms = self.scored().iter().zip(pairs).filter(|(unit, pair)| pair.alarm && normal(unit)).count();
            report.false_notifications_per_hour = Some(tally.false_notifications as f64 / tally.normal_hours);
            report.alarm_windows_per_normal_hour = Some(alarms as f64 / tally.normal_hours);
        }
    }

    /// From when on in the file's time.
    fn judged_from(&self) -> Nanos {
        match (self.setup.protocol, self.setup.unit) {
            (Protocol::Online, Unit::Time(_)) => self.truth.span.0.saturating_add(self.setup.warm_up.nanos()),
            (Protocol::All, _) => self.truth.span.0,
            _ => self.truth.units.get(self.first).map_or(self.truth.span.0, |unit| unit.start),
        }
    }

    fn own_time(&self, at: Nanos) -> Nanos {
        let Unit::Lines(size) = self.setup.unit else { return at };
        let place = (at - 1).max(0) / SECOND / Nanos::from(size);
        let unit = self.truth.units.get(usize::try_from(place).unwrap_or(usize::MAX)).or(self.truth.units.last());
        unit.map_or(at, |unit| unit.end)
    }
}

impl Report {
    fn match_labels(&mut self, pairs: &[Scored], block: usize) {
        if let Some(Hits { precision, recall, f1 }) = metric::hits(pairs) {
            (self.precision, self.recall, self.f1) = (Some(precision), Some(recall), Some(f1));
        }
        if let Some(ranking) = metric::ranking(pairs, block) {
            self.best_f1 = Some(ranking.best_f1);
            self.roc_auc = Some(ranking.roc_auc);
            self.pr_auc = Some(ranking.pr_auc);
            (self.pr_auc_low, self.pr_auc_high) = (Some(ranking.pr_auc_range.0), Some(ranking.pr_auc_range.1));
        }
    }
}

/// The first unit that is scored, and the engine's time from which on it judges.
fn border(truth: &Truth, setup: &Setup) -> (usize, Nanos) {
    let count = truth.units.len();
    // Sessions are called by their places, but begin with their first line.
    let start = |unit: &TrueUnit| if setup.unit == Unit::Session { unit.start } else { unit.key };
    let at = |first: usize| (first, truth.units.get(first).map_or(Nanos::MAX, start));
    match (setup.protocol, setup.unit) {
        (Protocol::All, _) => (0, Nanos::MIN),
        (Protocol::Split, _) => at(count / 2),
        (Protocol::Online, Unit::Time(size)) => {
            let border = ceil(truth.span.0.saturating_add(setup.warm_up.nanos()), size.nanos());
            (truth.units.partition_point(|unit| unit.key < border), border)
        }
        (Protocol::Online, Unit::Lines(_) | Unit::Session) => at(count.div_ceil(10)),
    }
}

fn pair(unit: &TrueUnit, verdict: &Verdict) -> Scored {
    Scored { score: verdict.score, alarm: verdict.alarm, label: unit.label }
}

fn detectors(units: &[TrueUnit], verdicts: &[Verdict]) -> Vec<Detector> {
    let mut names: Vec<&str> = verdicts.iter().flat_map(|v| v.detectors.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let figures = |name: &str, alarm: &dyn Fn(&Verdict) -> bool| {
        let pairs: Vec<Scored> = units
            .iter()
            .zip(verdicts)
            .map(|(unit, verdict)| Scored { alarm: alarm(verdict), ..pair(unit, verdict) })
            .collect();
        let hits = metric::hits(&pairs);
        Detector {
            detector: name.to_owned(),
            alarms: pairs.iter().filter(|pair| pair.alarm).count(),
            precision: hits.map(|hits| hits.precision),
            recall: hits.map(|hits| hits.recall),
            f1: hits.map(|hits| hits.f1),
        }
    };
    let mut all = vec![figures("combined", &|verdict| verdict.alarm)];
    all.extend(names.iter().map(|name| figures(name, &|verdict| verdict.detectors.iter().any(|one| one == name))));
    all
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// How a report calls the detectors that were heard.
fn heard(detectors: Detectors) -> String {
    if detectors == Detectors::ALL { "combined".to_owned() } else { detectors.to_string() }
}

/// `bgl_2k` of `bgl_2k.tsv.gz`; of files that are called `stream`, the folder's name.
fn set_name(path: &Path) -> String {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let file = name(Some(path));
    let stem = file.trim_end_matches(".gz").trim_end_matches(".tsv").to_owned();
    let folder = name(path.parent());
    if stem == "stream" && !folder.is_empty() { folder } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_called_by_their_file_or_folder() {
        for (path, name) in [
            ("data/bgl/bgl_2k.tsv.gz", "bgl_2k"),
            ("data/f1/stream.tsv.gz", "f1"),
            ("stream.tsv", "stream"),
            ("x", "x"),
        ] {
            assert_eq!(set_name(Path::new(path)), name);
        }
    }

    #[test]
    fn borders_follow_the_protocol() {
        let unit = |n: i64| TrueUnit { key: 100 + n * 10, start: 100 + n * 10, end: 110 + n * 10, label: false };
        let seconds = |unit: TrueUnit| TrueUnit { key: unit.key * SECOND, ..unit };
        let truth = Truth {
            span: (103 * SECOND, 300 * SECOND),
            units: [0, 1, 3, 4, 5].map(|n| seconds(unit(n))).to_vec(),
            ..Truth::default()
        };
        let setup = |protocol, unit: &str| Setup {
            unit: unit.parse().unwrap(),
            protocol,
            budget: None,
            warm_up: crate::time::Span::seconds(20),
            detect: crate::detect::config::DetectConfig::default(),
            incident: crate::incident::config::IncidentConfig::default(),
        };
        for (protocol, unit, first, second) in [
            (Protocol::Online, "10s", 2, 130),
            (Protocol::Split, "10s", 2, 130),
            (Protocol::Split, "20lines", 2, 130),
            (Protocol::Online, "20lines", 1, 110),
        ] {
            assert_eq!(border(&truth, &setup(protocol, unit)), (first, second * SECOND), "{protocol} {unit}");
        }
        assert_eq!(border(&truth, &setup(Protocol::All, "10s")).0, 0);
    }
}
