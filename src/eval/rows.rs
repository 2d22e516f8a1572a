//! Labelled files, row by row: five columns (`ts_ns, label, group, stream, line`) or three (`session_id, label, event
//! ids`), plain or gzip.
//!
//! What comes in: a path. What goes out: rows, checked: a row that is not what it should be is an error with its number.
//! What never happens here: a row's label deciding anything.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::EvalError;
use crate::time::Nanos;

/// A longer line is no log line.
const MAX_LINE: u64 = 16 << 20;

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One log line each.
    Lines,
    /// One session each, as blank-separated ids of events.
    Sessions,
}

/// One row of five columns.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Time stamp.
    pub ts: Nanos,
    /// Whether it is anomalous. For scoring only.
    pub label: bool,
    /// Session or incident, `-` if none. For scoring only.
    pub group: &'a str,
    /// What a stream label would carry.
    pub stream: &'a str,
    /// The log line.
    pub line: &'a str,
}

/// One row of three columns.
#[derive(Clone, Copy, Debug)]
pub struct SessionRow<'a> {
    /// The session.
    pub key: &'a str,
    /// Whether it is anomalous. For scoring only.
    pub label: bool,
    /// Ids of events, blanks between.
    pub events: &'a str,
}

/// A labelled file that is being read.
pub struct Rows {
    name: String,
    reader: Box<dyn BufRead + Send>,
    layout: Layout,
    /// The next row is in `text` already.
    peeked: bool,
    number: u64,
    bytes: Vec<u8>,
    last: Nanos,
}

const FIVE: &str = "five columns with tabs between: ts_ns, label (0 or 1), group, stream, line";
const THREE: &str = "three columns with tabs between: session_id, label (0 or 1), event ids with blanks between";

impl Rows {
    /// Opens a file and looks at its first row.
    ///
    /// # Errors
    /// When it cannot be read, is empty, or its first row has neither layout.
    pub fn open(path: &Path) -> Result<Self, EvalError> {
        let name = path.display().to_string();
        let mut rows = Self {
            reader: reader(path)?,
            name,
            layout: Layout::Lines,
            peeked: false,
            number: 0,
            bytes: Vec::new(),
            last: Nanos::MIN,
        };
        if !rows.fill()? {
            return Err(rows.wrong("the file is empty".to_owned(), FIVE));
        }
        rows.layout = match rows.bytes.iter().filter(|byte| **byte == b'\t').count() {
            2 => Layout::Sessions,
            4.. => Layout::Lines,
            n => return Err(rows.wrong(format!("it has {}", columns(n + 1)), FIVE)),
        };
        rows.peeked = true;
        Ok(rows)
    }

    /// The file, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its rows are.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of the row that was read last, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next row of five columns; `None` at the end.
    ///
    /// # Errors
    /// When reading failed, or the row is not what it should be.
    pub fn line(&mut self) -> Result<Option<Row<'_>>, EvalError> {
        if !self.turn()? {
            return Ok(None);
        }
        let (number, name) = (self.number, &self.name);
        let wrong = |found: String, expected| EvalError::Row { name: name.clone(), line: number, found, expected };
        let text = str::from_utf8(&self.bytes).map_err(|_| wrong("it is not UTF-8".to_owned(), FIVE))?;
        let mut parts = text.splitn(5, '\t');
        let mut next = || parts.next();
        let (Some(ts), Some(label), Some(group), Some(stream), Some(line)) = (next(), next(), next(), next(), next())
        else {
            return Err(wrong(format!("it has {}", columns(text.matches('\t').count() + 1)), FIVE));
        };
        let time: Nanos = ts.parse().ok().filter(|ts| *ts >= 0).ok_or_else(|| {
            wrong(format!("its time is `{}`", short(ts)), "nanoseconds since the Unix epoch as a whole number")
        })?;
        if time < self.last {
            let found = format!("its time {time} is before that of the line before, {}", self.last);
            return Err(wrong(found, "lines in the order of time (`sort -s -n -k1,1` makes it)"));
        }
        self.last = time;
        let label = truth(label).ok_or_else(|| wrong(format!("its label is `{}`", short(label)), "0 or 1"))?;
        Ok(Some(Row { ts: time, label, group, stream, line }))
    }

    /// The next row of three columns; `None` at the end.
    ///
    /// # Errors
    /// When reading failed, or the row is not what it should be.
    pub fn session(&mut self) -> Result<Option<SessionRow<'_>>, EvalError> {
        if !self.turn()? {
            return Ok(None);
        }
        let (number, name) = (self.number, &self.name);
        let wrong = |found: String, expected| EvalError::Row { name: name.clone(), line: number, found, expected };
        let text = str::from_utf8(&self.bytes).map_err(|_| wrong("it is not UTF-8".to_owned(), THREE))?;
        let parts: Vec<&str> = text.split('\t').collect();
        let [key, label, events] = parts[..] else {
            return Err(wrong(format!("it has {}", columns(parts.len())), THREE));
        };
        let label = truth(label).ok_or_else(|| wrong(format!("its label is `{}`", short(label)), "0 or 1"))?;
        Ok(Some(SessionRow { key, label, events }))
    }

    fn turn(&mut self) -> Result<bool, EvalError> {
        if std::mem::take(&mut self.peeked) { Ok(true) } else { self.fill() }
    }

    fn fill(&mut self) -> Result<bool, EvalError> {
        self.bytes.clear();
        let mut part = (&mut self.reader).take(MAX_LINE);
        let read = part.read_until(b'\n', &mut self.bytes);
        let read = read.map_err(|source| EvalError::Read { name: self.name.clone(), line: self.number, source })?;
        self.number += u64::from(read > 0);
        if read as u64 >= MAX_LINE {
            return Err(self.wrong("it is longer than 16 MiB".to_owned(), FIVE));
        }
        if self.bytes.last() == Some(&b'\n') {
            self.bytes.pop();
        }
        Ok(read > 0)
    }

    fn wrong(&self, found: String, expected: &'static str) -> EvalError {
        EvalError::Row { name: self.name.clone(), line: self.number.max(1), found, expected }
    }
}

/// A file's text, unpacked when it is gzip.
fn reader(path: &Path) -> Result<Box<dyn BufRead + Send>, EvalError> {
    let failed = |source| EvalError::Open { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
    let packed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    Ok(if packed { Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file))) } else { Box::new(file) })
}

fn truth(label: &str) -> Option<bool> {
    match label {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn columns(count: usize) -> String {
    if count == 1 { "no tab".to_owned() } else { format!("{count} columns") }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(text: &[u8]) -> Result<Rows, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tsv");
        std::fs::write(&path, text).unwrap();
        Rows::open(&path)
    }

    fn error(text: &str) -> String {
        let read = |rows: &mut Rows| loop {
            let more = match rows.layout() {
                Layout::Lines => rows.line().map(|row| row.is_some()),
                Layout::Sessions => rows.session().map(|row| row.is_some()),
            };
            match more {
                Ok(true) => {}
                Ok(false) => return "no error".to_owned(),
                Err(error) => return error.to_string(),
            }
        };
        let text = open(text.as_bytes()).map_or_else(|error| error.to_string(), |mut rows| read(&mut rows));
        text.split_once("x.tsv, ").map_or(text.clone(), |(_, text)| text.to_owned())
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, told) in [
            ("1\t0\t-\ta\tx\n2\t1\tg\ta\tx\ty\n", "no error"),
            ("s1\t0\t1 2 3\n", "no error"),
            ("", "line 1: the file is empty; expected five columns"),
            ("plain text\n", "line 1: it has no tab; expected five columns"),
            ("1\t0\t-\ta\tx\n2\t0\t-\n", "line 2: it has 3 columns; expected five columns"),
            ("1\t0\t-\ta\tx\nx\t0\t-\ta\tx\n", "line 2: its time is `x`; expected nanoseconds"),
            ("-1\t0\t-\ta\tx\n", "line 1: its time is `-1`; expected nanoseconds"),
            ("1\tyes\t-\ta\tx\n", "line 1: its label is `yes`; expected 0 or 1"),
            (
                "2\t0\t-\ta\tx\n1\t0\t-\ta\tx\n",
                "line 2: its time 1 is before that of the line before, 2; expected lines in",
            ),
            ("s1\t0\t1\ns2\t2\t1\n", "line 2: its label is `2`; expected 0 or 1"),
            ("s1\t0\t1\ns2\t0\n", "line 2: it has 2 columns; expected three columns"),
        ] {
            assert!(error(text).starts_with(told), "{text:?}: {}", error(text));
        }
        assert!(
            open(b"1\t0\t-\ta\t\xff\n").unwrap().line().unwrap_err().to_string().contains("line 1: it is not UTF-8")
        );
        let missing = Rows::open(Path::new("no/such.tsv")).err().unwrap().to_string();
        assert_eq!(missing, "cannot open no/such.tsv: No such file or directory (os error 2)");
    }

    #[test]
    fn packed_and_damaged_files() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        for n in 0..20_000 {
            packed.write_all(format!("{n}\t0\t-\ta\t{}\n", n * 7919 % 10_007).as_bytes()).unwrap();
        }
        let packed = packed.finish().unwrap();
        let mut rows = open(&packed).unwrap();
        while rows.line().unwrap().is_some() {}
        assert_eq!(rows.number(), 20_000);
        let mut rows = open(&packed[..packed.len() / 2]).unwrap();
        let error = loop {
            match rows.line() {
                Ok(row) => assert!(row.is_some(), "the damage was not seen"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("failed after line "), "{error}");
    }
}
