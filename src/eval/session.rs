//! Sessions: the reading, the protocol and the seam behind which the engine will judge them.
//!
//! What comes in: five-column files, of which a session is found by the judge itself; or files of event ids, whose
//! template text and session key are handed over (the one exception). What goes out: a verdict by session. What never
//! happens here: a label reaching the judge; of five-column files neither does the group.

use std::collections::HashMap;
use std::path::Path;

use super::md5::md5;
use super::rows::{Layout, Rows};
use super::truth::line_time;
use super::{EvalError, Protocol};
use crate::collect::Purpose;
use crate::time::Nanos;

/// One line on its way to the judge of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEntry<'a> {
    /// The session, where the file names it; else the judge finds it in the line.
    pub key: Option<&'a str>,
    /// Time stamp; of files without time, the n-th event is n seconds after 1970.
    pub ts: Nanos,
    /// What a stream label would carry.
    pub stream: &'a str,
    /// The log line, or the text of the event's template.
    pub line: &'a str,
}

/// What was found about a session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionVerdict {
    /// The session. Empty where the judge found it itself: then it is called by the group of its first line.
    pub key: String,
    /// Number of its first line, from 0 over all that was handed over.
    pub line: u64,
    /// The greater, the more anomalous.
    pub score: f64,
    /// Whether it is anomalous.
    pub alarm: bool,
    /// Name of the detector that says so.
    pub detector: Option<&'static str>,
}

/// The seam. Takes the next line, to learn from or to judge, in the order of time, and `None` when all was handed over;
/// answers with the sessions that ended by it. A session is answered when it was judged to its end, once.
pub type Judge<'a> = dyn FnMut(Purpose, Option<SessionEntry<'_>>) -> Vec<SessionVerdict> + 'a;

/// Hands a file to the judge: what lies before `border` is learnt, the rest judged; with [`Protocol::All`] everything is
/// learnt, then everything judged. Of files without time the border counts sessions.
///
/// # Errors
/// When the file cannot be read, or an event has no template.
pub fn drive(
    path: &Path,
    protocol: Protocol,
    border: Nanos,
    judge: &mut Judge<'_>,
) -> Result<Vec<SessionVerdict>, EvalError> {
    let mut before = 0;
    if protocol == Protocol::All {
        before = pass(path, Nanos::MAX, judge)?.1;
    }
    let (mut found, _) = pass(path, if protocol == Protocol::All { Nanos::MIN } else { border }, judge)?;
    // Only now that all is judged.
    name(path, before, &mut found)?;
    Ok(found)
}

/// Calls sessions that have no name by the group of their first line. Several may be of one group.
fn name(path: &Path, before: u64, found: &mut [SessionVerdict]) -> Result<(), EvalError> {
    let mut nameless: Vec<&mut SessionVerdict> = found.iter_mut().filter(|one| one.key.is_empty()).collect();
    nameless.sort_by_key(|one| one.line);
    let mut rows = Rows::open(path)?;
    let mut line = before;
    let mut next = nameless.into_iter().peekable();
    while let Some(row) = if next.peek().is_some() { rows.line()? } else { None } {
        while let Some(one) = next.next_if(|one| one.line <= line) {
            row.group.clone_into(&mut one.key);
        }
        line += 1;
    }
    Ok(())
}

/// One pass: what was found, and how many lines were handed over.
fn pass(path: &Path, border: Nanos, judge: &mut Judge<'_>) -> Result<(Vec<SessionVerdict>, u64), EvalError> {
    let mut rows = Rows::open(path)?;
    let purpose = |at: Nanos| if at < border { Purpose::Learn } else { Purpose::Judge };
    let mut found = Vec::new();
    let mut lines = 0;
    match rows.layout() {
        Layout::Lines => {
            while let Some(row) = rows.line()? {
                let entry = SessionEntry { key: None, ts: row.ts, stream: row.stream, line: row.line };
                found.extend(judge(purpose(row.ts), Some(entry)));
                lines += 1;
            }
        }
        Layout::Sessions => {
            let templates = templates(path)?;
            for (place, session) in (0..).zip(read(&mut rows, &templates)?) {
                for id in session.events.split_whitespace() {
                    let line = templates.get(id).map(String::as_str).unwrap_or_default();
                    let entry = SessionEntry { key: Some(&session.key), ts: line_time(lines), stream: "-", line };
                    found.extend(judge(purpose(place), Some(entry)));
                    lines += 1;
                }
            }
        }
    }
    found.extend(judge(purpose(Nanos::MAX - 1), None));
    Ok((found, lines))
}

struct Session {
    key: String,
    events: String,
}

/// All sessions, in the order of the digest of their keys.
fn read(rows: &mut Rows, templates: &HashMap<String, String>) -> Result<Vec<Session>, EvalError> {
    let mut all = Vec::new();
    loop {
        let (name, line) = (rows.name().to_owned(), rows.number() + 1);
        let Some(row) = rows.session()? else { break };
        if let Some(id) = row.events.split_whitespace().find(|id| !templates.contains_key(*id)) {
            let found = format!("event `{id}` has no template");
            return Err(EvalError::Row {
                name,
                line,
                found,
                expected: "ids that stand in templates.tsv beside the file",
            });
        }
        all.push(Session { key: row.key.to_owned(), events: row.events.to_owned() });
    }
    all.sort_by_cached_key(|session| md5(session.key.as_bytes()));
    Ok(all)
}

/// `templates.tsv` beside the file: id, tab, text.
fn templates(path: &Path) -> Result<HashMap<String, String>, EvalError> {
    let path = path.with_file_name("templates.tsv");
    let text = std::fs::read_to_string(&path).map_err(|source| EvalError::Open { path: path.clone(), source })?;
    let rows = text.lines().zip(1..).map(|(row, line)| {
        row.split_once('\t').map(|(id, text)| (id.to_owned(), text.to_owned())).ok_or_else(|| EvalError::Row {
            name: path.display().to_string(),
            line,
            found: "it has no tab".to_owned(),
            expected: "two columns with a tab between: event id, template",
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::report::Exam;
    use crate::eval::truth::Truth;
    use crate::eval::{Setup, Unit, WARM_UP};

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// Finds sessions with an event that was never learnt.
    #[derive(Default)]
    struct Novel {
        known: std::collections::HashSet<String>,
        open: std::collections::BTreeMap<String, f64>,
        passes: usize,
    }

    impl Novel {
        fn judge(&mut self) -> impl FnMut(Purpose, Option<SessionEntry<'_>>) -> Vec<SessionVerdict> {
            |purpose, entry| self.take(purpose, entry)
        }

        fn take(&mut self, purpose: Purpose, entry: Option<SessionEntry<'_>>) -> Vec<SessionVerdict> {
            let Some(entry) = entry else {
                self.passes += 1;
                let open = std::mem::take(&mut self.open).into_iter();
                return open
                    .map(|(key, score)| SessionVerdict { key, line: 0, score, alarm: score > 0.0, detector: None })
                    .collect();
            };
            let key = entry.key.or(entry.line.split(' ').nth(1)).unwrap_or_default().to_owned();
            let word = entry.line.split(' ').next().unwrap_or_default().to_owned();
            if purpose == Purpose::Learn {
                self.known.insert(word);
            } else {
                *self.open.entry(key).or_default() += f64::from(u8::from(!self.known.contains(&word)));
            }
            Vec::new()
        }
    }

    #[test]
    fn event_ids_become_their_templates_and_are_scored_by_session() {
        // Digests: a 0cc1..., d 8277..., b 92eb..., c 4a8a...: the order is a, c, d, b.
        let rows = "a\t0\t0 1\nb\t1\t0 2\nc\t0\t1 0\nd\t0\t1\n";
        let folder = folder(&[("x.tsv", rows), ("templates.tsv", "0\topen <*>\n1\tclose <*>\n2\tfail <*>\n")]);
        let path = folder.path().join("x.tsv");
        let truth = Truth::read(&path, Unit::Session).unwrap();
        let verdicts = drive(&path, Protocol::Split, 2, &mut Novel::judge(&mut Novel::default())).unwrap();
        let keys: Vec<&str> = verdicts.iter().map(|verdict| verdict.key.as_str()).collect();
        assert_eq!(keys, ["b", "d"]);
        assert_eq!(verdicts.iter().map(|verdict| verdict.alarm).collect::<Vec<_>>(), [true, false]);
        assert_eq!(truth.units.iter().map(|unit| unit.label).collect::<Vec<_>>(), [false, false, false, true]);
        let mut judge = Novel::default();
        assert_eq!(drive(&path, Protocol::All, 0, &mut judge.judge()).unwrap().len(), 4);
        assert_eq!(judge.passes, 2);
    }

    #[test]
    fn lines_are_handed_over_without_their_group() {
        let rows = "1\t0\tx\tpod\topen x\n2\t0\ty\tpod\topen y\n3\t1\ty\tpod\tfail y\n";
        let folder = folder(&[("x.tsv", rows)]);
        let path = folder.path().join("x.tsv");
        let mut seen = Vec::new();
        let mut judge = |purpose, entry: Option<SessionEntry<'_>>| {
            seen.extend(entry.map(|entry| (purpose, entry.key.map(str::to_owned), entry.line.to_owned())));
            Vec::new()
        };
        drive(&path, Protocol::Online, 2, &mut judge).unwrap();
        assert_eq!(seen[0], (Purpose::Learn, None, "open x".to_owned()));
        assert_eq!(seen[2], (Purpose::Judge, None, "fail y".to_owned()));
        let verdicts = drive(&path, Protocol::Split, 2, &mut Novel::judge(&mut Novel::default())).unwrap();
        let keys: Vec<&str> = verdicts.iter().map(|verdict| verdict.key.as_str()).collect();
        assert_eq!((keys, verdicts[0].alarm), (vec!["y"], true));
    }

    #[test]
    fn a_report_of_sessions() {
        let rows: String = (0..40)
            .map(|n| format!("s{n}\t{}\t0 {}\n", u8::from(n % 8 == 3), if n % 8 == 3 { 1 } else { 0 }))
            .collect();
        let folder = folder(&[("x.tsv", &rows), ("templates.tsv", "0\tfine\n1\todd\n")]);
        let setup = Setup {
            unit: Unit::Session,
            protocol: Protocol::All,
            budget: None,
            warm_up: WARM_UP,
            detect: crate::detect::config::DetectConfig::default(),
            incident: crate::incident::config::IncidentConfig::default(),
        };
        let exam = Exam::open(&folder.path().join("x.tsv"), &setup).unwrap();
        let mut judge = |_: Purpose, entry: Option<SessionEntry<'_>>| {
            let entry = entry.filter(|entry| entry.line == "odd");
            let verdict = |key: &str| SessionVerdict {
                key: key.to_owned(),
                line: 0,
                score: 1.0,
                alarm: true,
                detector: Some("present"),
            };
            entry.and_then(|entry| entry.key).map(verdict).into_iter().collect()
        };
        let report = exam.report(&exam.drive_sessions(&mut judge).unwrap());
        assert_eq!((report.units, report.units_anomalous, report.lines), (40, 5, 80));
        assert_eq!((report.f1, report.pr_auc, report.incidents_found), (Some(1.0), Some(1.0), None));
        assert_eq!((report.detectors.len(), report.detectors[1].alarms), (2, 5));
    }

    #[test]
    fn mistakes_are_told() {
        let error = |files: &[(&str, &str)]| {
            let folder = folder(files);
            let path = folder.path().join("x.tsv");
            let error =
                drive(&path, Protocol::Online, 0, &mut Novel::judge(&mut Novel::default())).unwrap_err().to_string();
            error.replace(&folder.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(error(&[("x.tsv", "a\t0\t1\n")]), @"cannot open DIR/templates.tsv: No such file or directory (os error 2)");
        insta::assert_snapshot!(error(&[("x.tsv", "a\t0\t1\nb\t0\t1 7\n"), ("templates.tsv", "1\tx\n")]), @"DIR/x.tsv, line 2: event `7` has no template; expected ids that stand in templates.tsv beside the file");
        insta::assert_snapshot!(error(&[("x.tsv", "a\t0\t1\n"), ("templates.tsv", "1 x\n")]), @"DIR/templates.tsv, line 1: it has no tab; expected two columns with a tab between: event id, template");
    }
}
