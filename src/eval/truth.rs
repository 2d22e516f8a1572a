//! What is right: the labels of a file as units, and the incidents that it holds.
//!
//! What comes in: a labelled file, and `incidents.tsv` and `benign.tsv` beside it. What goes out: a [`Truth`]. What never
//! happens here: judging.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use super::attribute::{Benign, Planted};
use super::rows::{Layout, Row, Rows};
use super::{EvalError, Unit, md5};
use crate::time::{Nanos, SECOND, floor};

/// What is compared with one judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueUnit {
    /// By what the driver calls it: start of the window in the engine's time; of sessions, their place.
    pub key: Nanos,
    /// In the file's time.
    pub start: Nanos,
    /// In the file's time, exclusive.
    pub end: Nanos,
    /// Whether any of its lines is labelled.
    pub label: bool,
}

/// All that is known to be right of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Lines, or events of sessions.
    pub lines: u64,
    /// Time of the first and the last line.
    pub span: (Nanos, Nanos),
    /// Whole units with a line in them, in order. A window that the end of the file cuts short is not one.
    pub units: Vec<TrueUnit>,
    /// Names of sessions to their units.
    pub sessions: HashMap<String, usize>,
    /// What went wrong.
    pub planted: Vec<Planted>,
    /// Whether labels mark intervals, so that the rest is normal time; labels of sessions that overlap do not.
    pub intervals: bool,
    /// Whether that stands in `incidents.tsv`, so that it has names.
    pub attributed: bool,
    /// What should wake nobody.
    pub benign: Vec<Benign>,
}

impl Truth {
    /// Reads all labels of a file.
    ///
    /// # Errors
    /// When it cannot be read, a row is not what it should be, or it does not go with the unit.
    pub fn read(path: &Path, unit: Unit) -> Result<Self, EvalError> {
        let mut rows = Rows::open(path)?;
        let mut truth = match (rows.layout(), unit) {
            (Layout::Sessions, Unit::Session) => of_session_rows(&mut rows)?,
            (Layout::Sessions, _) => {
                return Err(EvalError::Layout {
                    name: rows.name().to_owned(),
                    found: "holds one session a row, without time",
                    advice: "examine it with `--window session`",
                });
            }
            (Layout::Lines, unit) => of_lines(&mut rows, unit)?,
        };
        if unit != Unit::Session {
            let tables = Tables::beside(path)?;
            truth.attributed = tables.planted.is_some();
            truth.intervals |= truth.attributed;
            truth.planted = tables.planted.unwrap_or(truth.planted);
            truth.benign = tables.benign;
        }
        Ok(truth)
    }
}

fn of_lines(rows: &mut Rows, unit: Unit) -> Result<Truth, EvalError> {
    let mut truth = Truth::default();
    let mut guess = Guess::default();
    while let Some(row) = rows.line()? {
        if truth.lines == 0 {
            truth.span.0 = row.ts;
        }
        truth.span.1 = row.ts;
        match unit {
            Unit::Time(size) => {
                let start = floor(row.ts, size.nanos());
                truth.add(start, start, start + size.nanos(), row.label);
            }
            Unit::Lines(size) => {
                let first = truth.lines / u64::from(size) * u64::from(size);
                truth.add(line_time(first), row.ts, row.ts + 1, row.label);
            }
            Unit::Session if row.group != "-" => truth.add_to_session(&row),
            Unit::Session => {}
        }
        guess.add(&row);
        truth.lines += 1;
    }
    let cut_short = match unit {
        Unit::Time(_) => true,
        Unit::Lines(size) => !truth.lines.is_multiple_of(u64::from(size)),
        Unit::Session => false,
    };
    if cut_short {
        truth.units.pop();
    }
    truth.intervals = !guess.sessions;
    truth.planted = if guess.sessions { Vec::new() } else { guess.planted };
    Ok(truth)
}

/// The engine's time of the n-th line, from 0, where there is no clock: a line takes a second.
#[must_use]
pub fn line_time(number: u64) -> Nanos {
    Nanos::try_from(number).unwrap_or(Nanos::MAX / SECOND).saturating_mul(SECOND)
}

fn of_session_rows(rows: &mut Rows) -> Result<Truth, EvalError> {
    let mut truth = Truth::default();
    let mut all: Vec<([u8; 16], String, bool)> = Vec::new();
    while let Some(row) = rows.session()? {
        truth.lines += row.events.split_whitespace().count() as u64;
        all.push((md5::md5(row.key.as_bytes()), row.key.to_owned(), row.label));
    }
    all.sort();
    for (place, (_, key, label)) in all.into_iter().enumerate() {
        let at = Nanos::try_from(place).unwrap_or_default();
        truth.units.push(TrueUnit { key: at, start: at, end: at + 1, label });
        truth.sessions.insert(key, place);
    }
    Ok(truth)
}

impl Truth {
    fn add(&mut self, key: Nanos, start: Nanos, end: Nanos, label: bool) {
        match self.units.last_mut().filter(|unit| unit.key == key) {
            Some(unit) => {
                unit.end = unit.end.max(end);
                unit.label |= label;
            }
            None => self.units.push(TrueUnit { key, start, end, label }),
        }
    }

    fn add_to_session(&mut self, row: &Row<'_>) {
        let place = match self.sessions.get(row.group) {
            Some(place) => *place,
            None => {
                let key = Nanos::try_from(self.units.len()).unwrap_or_default();
                self.sessions.insert(row.group.to_owned(), self.units.len());
                self.units.push(TrueUnit { key, start: row.ts, end: row.ts, label: false });
                self.units.len() - 1
            }
        };
        if let Some(unit) = self.units.get_mut(place) {
            unit.end = row.ts + 1;
            unit.label |= row.label;
        }
    }
}

/// Incidents as the labels show them, where no table names them: lines of one group `kind@where@start second`; else
/// labelled lines with no more than two minutes between. Groups of normal lines are sessions: no incidents then.
#[derive(Default)]
struct Guess {
    planted: Vec<Planted>,
    groups: FxHashMap<String, usize>,
    /// Lines that are normal have groups too.
    sessions: bool,
}

const APART: Nanos = 120 * SECOND;

impl Guess {
    fn add(&mut self, row: &Row<'_>) {
        if !row.label {
            self.sessions |= row.group != "-";
            return;
        }
        let named = row.group.contains('@').then(|| row.group.to_owned());
        let known = match &named {
            Some(name) => self.groups.get(name).copied(),
            None => self.planted.len().checked_sub(1).filter(|last| row.ts - self.planted[*last].end <= APART),
        };
        if let Some(known) = known.and_then(|known| self.planted.get_mut(known)) {
            known.end = known.end.max(row.ts);
            return;
        }
        let seconds = named.as_deref().and_then(|name| name.rsplit('@').next()?.parse::<Nanos>().ok());
        let onset = seconds.map_or(row.ts, |seconds| seconds.saturating_mul(SECOND));
        let kind = named.as_deref().and_then(|name| name.split('@').next()).unwrap_or("alert").to_owned();
        if let Some(name) = named {
            self.groups.insert(name, self.planted.len());
        }
        let (services, templates) = (Vec::new(), Vec::new());
        self.planted.push(Planted { kind, start: onset.min(row.ts), onset, end: row.ts, services, templates });
    }
}

/// `incidents.tsv` and `benign.tsv`.
#[derive(Default)]
struct Tables {
    planted: Option<Vec<Planted>>,
    benign: Vec<Benign>,
}

impl Tables {
    fn beside(path: &Path) -> Result<Self, EvalError> {
        let mut tables = Self::default();
        if let Some(rows) = table(&path.with_file_name("incidents.tsv"))? {
            let visible = rows.iter().filter(|row| row.get("visible").is_none_or(|visible| visible == "yes"));
            tables.planted = Some(visible.map(TableRow::planted).collect::<Result<_, _>>()?);
        }
        if let Some(rows) = table(&path.with_file_name("benign.tsv"))? {
            let event = |row: &TableRow| {
                let (start, end) = (row.time("start_ns")?, row.time("end_ns")?);
                Ok(Benign { kind: row.get("kind").unwrap_or_default().to_owned(), start, end })
            };
            tables.benign = rows.iter().map(event).collect::<Result<_, EvalError>>()?;
        }
        Ok(tables)
    }
}

struct TableRow {
    path: PathBuf,
    line: u64,
    cells: HashMap<String, String>,
}

/// The rows of a table with a header; `None` when there is no such file.
fn table(path: &Path) -> Result<Option<Vec<TableRow>>, EvalError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|source| EvalError::Open { path: path.to_owned(), source })?;
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap_or_default();
    let rows = lines.zip(2..).map(|(cells, line)| TableRow {
        path: path.to_owned(),
        line,
        cells: header.iter().cloned().zip(cells).collect(),
    });
    Ok(Some(rows.collect()))
}

impl TableRow {
    /// What stands in a column; `None` for `-`, nothing, or no such column.
    fn get(&self, column: &str) -> Option<&str> {
        self.cells.get(column).map(String::as_str).filter(|cell| !cell.is_empty() && *cell != "-")
    }

    fn time(&self, column: &'static str) -> Result<Nanos, EvalError> {
        self.get(column).and_then(|cell| cell.parse().ok()).ok_or_else(|| EvalError::Row {
            name: self.path.display().to_string(),
            line: self.line,
            found: format!("column {column} holds `{}`", self.get(column).unwrap_or_default()),
            expected: "nanoseconds since the Unix epoch as a whole number",
        })
    }

    fn planted(&self) -> Result<Planted, EvalError> {
        let onset = if self.get("onset_ns").is_some() { "onset_ns" } else { "start_ns" };
        let onset = self.time(onset)?;
        let start = if self.get("start_ns").is_some() { self.time("start_ns")? } else { onset };
        let services = ["service", "also"].into_iter().filter_map(|column| self.get(column));
        // The table of half-real sets calls a service by its whole name, the others as it is called for short.
        let whole = self.cells.contains_key("what");
        let short = |name: &str| match name.strip_prefix("ts-").and_then(|name| name.strip_suffix("-service")) {
            Some(short) if whole => short.to_owned(),
            _ => name.to_owned(),
        };
        let services = services.map(short);
        // An empty template falls back to the places that the evidence names, `-` does not.
        let written = self.cells.get("template").or(self.cells.get("what")).filter(|cell| !cell.is_empty());
        let templates: Vec<String> = match written {
            Some(text) => text.split(';').map(str::to_owned).collect(),
            None => places(self.get("evidence").unwrap_or_default()),
        };
        // Of everybody's framework: it names nobody.
        let telling = |text: &String| !["", "-", "dispatcherServlet"].contains(&text.as_str());
        Ok(Planted {
            kind: self.get("kind").unwrap_or("incident").to_owned(),
            start,
            onset,
            end: self.time("end_ns")?,
            services: services.collect(),
            templates: templates.into_iter().filter(telling).collect(),
        })
    }
}

/// Words like `RouteController#53`.
fn places(text: &str) -> Vec<String> {
    let place = regex::Regex::new(r"\w+#\d+");
    place.map(|place| place.find_iter(text).map(|found| found.as_str().to_owned()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn read(files: &[(&str, &str)], unit: &str) -> Result<Truth, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Truth::read(&folder.path().join(files[0].0), unit.parse().unwrap())
    }

    fn rows(rows: &[(i64, u8, &str)]) -> String {
        rows.iter().map(|(second, label, group)| format!("{second}000000000\t{label}\t{group}\tpod\tx\n")).collect()
    }

    fn labels(truth: &Truth) -> Vec<(i64, bool)> {
        truth.units.iter().map(|unit| (unit.key / SECOND, unit.label)).collect()
    }

    #[test]
    fn windows_are_anomalous_with_one_labelled_line_and_whole_or_left_out() {
        let text = rows(&[(101, 0, "-"), (109, 1, "-"), (125, 0, "-"), (131, 0, "-"), (141, 1, "-")]);
        let truth = read(&[("x.tsv", &text)], "10s").unwrap();
        assert_eq!(labels(&truth), [(100, true), (120, false), (130, false)]);
        assert_eq!((truth.lines, truth.span), (5, (101 * SECOND, 141 * SECOND)));
        let truth = read(&[("x.tsv", &text)], "2lines").unwrap();
        assert_eq!(labels(&truth), [(0, true), (2, false)]);
        assert_eq!((truth.units[1].start, truth.units[1].end), (125 * SECOND, 131 * SECOND + 1));
        assert_eq!(read(&[("x.tsv", &text)], "session").unwrap().units, []);
    }

    #[test]
    fn sessions_stand_in_the_order_of_their_first_line_or_of_their_digest() {
        let text = rows(&[(1, 0, "b"), (2, 0, "-"), (3, 1, "a"), (4, 1, "b")]);
        let truth = read(&[("x.tsv", &text)], "session").unwrap();
        assert_eq!(labels(&truth).iter().map(|(_, label)| *label).collect::<Vec<_>>(), [true, true]);
        assert_eq!((truth.sessions["b"], truth.sessions["a"], truth.units[0].end), (0, 1, 4 * SECOND + 1));
        // md5: b is 92eb..., a is 0cc1...
        let truth = read(&[("x.tsv", "b\t0\t1 2 2\na\t1\t3\n")], "session").unwrap();
        assert_eq!((truth.lines, truth.sessions["a"], truth.units[0].label), (4, 0, true));
        let error = read(&[("x.tsv", "b\t0\t1 2 2\n")], "10s").unwrap_err().to_string();
        assert!(
            error.ends_with("holds one session a row, without time; examine it with `--window session`"),
            "{error}"
        );
    }

    #[test]
    fn incidents_come_from_the_table_beside_else_from_the_labels() {
        let text = rows(&[(10, 1, "slow@cart@8"), (20, 1, "spike@order@20"), (30, 1, "slow@cart@8"), (900, 0, "-")]);
        let truth = read(&[("stream.tsv", &text)], "10s").unwrap();
        let seen: Vec<_> = truth.planted.iter().map(|p| (p.kind.as_str(), p.onset / SECOND, p.end / SECOND)).collect();
        assert_eq!((seen, truth.attributed), (vec![("slow", 8, 30), ("spike", 20, 20)], false));
        let alerts = rows(&[(10, 1, "KERN"), (100, 1, "APP"), (300, 1, "APP"), (900, 0, "-")]);
        let truth = read(&[("stream.tsv", &alerts)], "10s").unwrap();
        assert_eq!(truth.planted.iter().map(|p| p.end / SECOND).collect::<Vec<_>>(), [100, 300]);
        let sessions = rows(&[(10, 1, "blk_1"), (11, 0, "blk_2"), (900, 0, "-")]);
        let truth = read(&[("stream.tsv", &sessions)], "10s").unwrap();
        assert_eq!((truth.planted.len(), truth.intervals), (0, false));
        let table = "kind\tservice\tstart_ns\tend_ns\tonset_ns\talso\ttemplate\n\
                     error\tcart\t5\t9\t7\torder\tA#1;dispatcherServlet\nslow\tseat\t5\t9\t5\t-\t-\n";
        let benign = "kind\tservice\tstart_ns\tend_ns\ndeploy\tcart\t1\t2\n";
        let truth = read(&[("stream.tsv", &text), ("incidents.tsv", table), ("benign.tsv", benign)], "10s").unwrap();
        let one = &truth.planted[0];
        assert_eq!((one.start, one.onset, one.end), (5, 7, 9));
        assert_eq!(
            (&one.services[..], &one.templates[..]),
            (&["cart".to_owned(), "order".to_owned()][..], &["A#1".to_owned()][..])
        );
        assert_eq!((truth.planted[1].services.len(), truth.planted[1].templates.len()), (1, 0));
        assert_eq!((truth.attributed, truth.benign.len()), (true, 1));
        let table = "service\tonset_ns\tend_ns\tvisible\tevidence\ncart\t5\t9\tyes\tERROR Impl#37 instead of #34\nx\t1\t2\tno\t-\n";
        let truth = read(&[("stream.tsv", &text), ("incidents.tsv", table)], "10s").unwrap();
        assert_eq!((truth.planted.len(), &truth.planted[0].templates[..]), (1, &["Impl#37".to_owned()][..]));
        let table = "service\tonset_ns\tend_ns\ncart\t5\tnine\n";
        let error = read(&[("stream.tsv", &text), ("incidents.tsv", table)], "10s").unwrap_err().to_string();
        assert!(error.ends_with("incidents.tsv, line 2: column end_ns holds `nine`; expected nanoseconds since the Unix epoch as a whole number"), "{error}");
    }

    #[test]
    fn spans_are_not_zero() {
        assert_eq!("10s".parse(), Ok(Unit::Time(Span::seconds(10))));
        assert_eq!(line_time(20), 20 * SECOND);
    }
}
