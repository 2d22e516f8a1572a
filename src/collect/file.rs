//! A log file as a source: plain or gzip, by name or standard input, any log or the labelled five columns.
//!
//! What comes in: a file. What goes out: batches that tile its time without a hole. A file is whole by construction, so
//! its coverage is audited. What never happens here: a clock, memory that grows with the file, an allocation per line.
//!
//! A batch ends where the time moves on, so that lines of one instant stay together; only when one instant holds more
//! than `HARD` batches' worth of lines is it split, by one nanosecond.

use std::fs;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use flate2::bufread::MultiGzDecoder;
use rustc_hash::FxHashMap;

use super::lines::{Line, Lines};
use super::stamp::{Form, Order, Stamper};
use super::{Batch, Known, Next, Purpose, Source, SourceError, Stream};
use crate::labels::Labels;
use crate::time::{MINUTE, Nanos, SECOND, TimeRange};

/// What a file's lines look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Five columns when all of the first lines have them, else a log.
    #[default]
    Auto,
    /// A log: the whole line is the entry.
    Plain,
    /// Five columns with tabs between: nanoseconds, label, group, stream, line. Label and group are not looked at.
    Tsv5,
}

/// What is read, and how.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// Name of the watch that the batches bear.
    pub watch: String,
    /// The file; `-` is standard input.
    pub path: PathBuf,
    /// What its lines look like.
    pub format: Format,
}

/// How a file's lines get their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// From stamps of this form in the lines.
    Stamped(Form),
    /// From a column of nanoseconds.
    Column,
    /// No form fits. The n-th line lies n seconds after 1970: time counts lines.
    Counted,
}

/// What was met while reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines read.
    pub lines: u64,
    /// Lines longer than 256 KiB, cut there.
    pub cut: u64,
    /// Lines with bytes that are not UTF-8, replaced by U+FFFD.
    pub replaced: u64,
    /// Lines whose stamp lay before that of the line before, whose time they took.
    pub late: u64,
    /// How often the time went far back and stayed there; from then on it is shifted.
    pub restarts: u64,
    /// Lines without the five columns, taken whole with the time of the line before.
    pub malformed: u64,
}

/// How much of the file was read, in its own (compressed) bytes. Cheap to share with a progress bar.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Bytes so far.
    pub read: Arc<AtomicU64>,
    /// Bytes in all; `None` for standard input and pipes.
    pub total: Option<u64>,
}

/// A log file.
pub struct File {
    watch: Arc<str>,
    name: String,
    lines: Lines<Box<dyn Read + Send>>,
    parser: Parser,
    size: Size,
    /// Size of the last batch: the next will be much like it.
    expected: Size,
    /// Read, but of the next batch.
    held: Option<(Line, Parsed)>,
    /// Start of the next batch; `None` before the first line.
    position: Option<Nanos>,
    progress: Progress,
    year_guessed_from_now: bool,
    ended: bool,
    as_they_stand: bool,
}

/// Lines and bytes after which a batch ends at the next instant.
#[derive(Clone, Copy, Debug)]
struct Size {
    lines: usize,
    bytes: usize,
}

impl Size {
    /// Whether a batch has `times` the size. One line is never too many.
    #[inline]
    fn is_reached(self, batch: &Batch, times: usize) -> bool {
        !batch.is_empty() && (batch.len() >= times * self.lines || batch.bytes() >= times * self.bytes)
    }
}

/// What fits a processor's cache; larger batches are not faster.
const BATCH: Size = Size { lines: 4096, bytes: 512 * 1024 };

/// Standard input may be somebody's live log: findings should not wait for thousands of lines.
const LIVE: Size = Size { lines: 256, bytes: 64 * 1024 };

/// So many times its size a batch grows before an instant is split.
const HARD: usize = 4;

/// The longest range of a batch: what follows from a step is bounded by its time too. A longer silence is told in ticks.
const SPAN: Nanos = 10 * MINUTE;

/// Lines by which the form of the stamps is found.
const HEAD: usize = 1000;

/// Of these bytes at the beginning it is told whether they are text.
const SNIFF: usize = 64 * 1024;

impl File {
    /// Opens the file and looks at its first lines.
    ///
    /// # Errors
    /// When it cannot be read, is a folder, is not text, or has not the format that was named.
    pub fn open(config: &FileConfig) -> Result<Self, SourceError> {
        let live = config.path == Path::new("-");
        let name = if live { "standard input".to_owned() } else { config.path.display().to_string() };
        let (raw, total, modified): (Box<dyn Read + Send>, _, _) =
            if live { (Box::new(io::stdin()), None, None) } else { open_path(&config.path, &name)? };
        let progress = Progress { read: Arc::default(), total };
        let counted = Counted { reader: raw, read: Arc::clone(&progress.read) };
        let reader = unpack(counted, &name)?;
        let mut file = Self::new(config, name, reader, modified)?;
        file.progress = progress;
        if live {
            file.size = LIVE;
        }
        Ok(file)
    }

    fn new(
        config: &FileConfig,
        name: String,
        reader: Box<dyn Read + Send>,
        modified: Option<Nanos>,
    ) -> Result<Self, SourceError> {
        let mut lines = Lines::new(reader);
        if lines.head(1).starts_with(b"\xef\xbb\xbf") {
            lines.skip(3);
        }
        let head = lines.head(HEAD);
        let sniffed = head.get(..SNIFF).unwrap_or(head);
        if let Some(what) = not_text(sniffed) {
            return Err(failure("not_text", format!("{name} is no text: it {what}")));
        }
        let parser = Parser::new(config, head, modified, &name)?;
        Ok(Self {
            watch: config.watch.as_str().into(),
            name,
            lines,
            parser,
            size: BATCH,
            expected: Size { lines: 0, bytes: 0 },
            held: None,
            position: None,
            progress: Progress { read: Arc::default(), total: None },
            year_guessed_from_now: modified.is_some(),
            ended: false,
            as_they_stand: false,
        })
    }

    /// Gives the lines in the order of the file also where streams have lines of one instant. For readers that number lines;
    /// the engine wants its own order.
    #[must_use]
    pub fn in_file_order(mut self) -> Self {
        self.as_they_stand = true;
        self
    }

    /// The next lines in order; `None` at the end. After a failure, that is the end too.
    ///
    /// # Errors
    /// When reading failed, or the compressed data is damaged; all lines before that were given.
    pub fn read(&mut self) -> Result<Option<Batch>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let mut batch = Batch::new(Arc::clone(&self.watch), TimeRange::new(0, 0), Purpose::Judge);
        batch.reserve(self.expected.lines, self.expected.bytes);
        batch.coverage.known = Known::Audited;
        self.parser.names.batch += 1;
        let end = self.collect(&mut batch)?;
        let Some(start) = self.position.or_else(|| batch.entries().next().map(|entry| entry.ts)) else {
            return Ok(None);
        };
        batch.range = TimeRange::new(start, end);
        self.position = Some(end);
        self.expected = Size { lines: batch.len() + batch.len() / 8, bytes: batch.bytes() + batch.bytes() / 8 };
        if self.parser.timing == Timing::Column && !self.as_they_stand {
            batch.sort();
        }
        Ok(if batch.is_empty() && self.ended { None } else { Some(batch) })
    }

    /// How the lines get their time.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.parser.timing
    }

    /// How the lines get their time, in words for people.
    #[must_use]
    pub fn timing_in_words(&self) -> String {
        match self.parser.timing {
            Timing::Stamped(form) if form.lacks_year() && self.year_guessed_from_now => {
                format!("time stamps: {form}; they name no year, so it is that of the file's last change")
            }
            Timing::Stamped(form) if form.lacks_year() => {
                format!(
                    "time stamps: {form}; they name no year and the input has no time of change, so they start in 1970"
                )
            }
            Timing::Stamped(form) => format!("time stamps: {form}"),
            Timing::Column => "time stamps: first column, nanoseconds".to_owned(),
            Timing::Counted => "no time stamps found: the lines are counted instead".to_owned(),
        }
    }

    /// What was met so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let order = &self.parser.order;
        Counts { cut: self.lines.cut, late: order.late, restarts: order.restarts, ..self.parser.counts }
    }

    /// How much was read so far.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Fills the batch and returns where its range ends.
    fn collect(&mut self, batch: &mut Batch) -> Result<Nanos, SourceError> {
        let mut limit = self.position.map(|start| start.saturating_add(SPAN));
        if let Some((line, parsed)) = self.held.take() {
            if let Some(limit) = limit.filter(|limit| *limit <= parsed.ts) {
                self.held = Some((line, parsed));
                return Ok(limit);
            }
            self.parser.push(batch, self.lines.bytes(line.range.clone()), &line, &parsed);
        }
        let mut last = None;
        loop {
            let line = match self.lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.ended = true;
                    return Ok(self.parser.order.nudge());
                }
                // What was read before the failure is given first.
                Err(error) if batch.is_empty() => return Err(self.broken(&error)),
                Err(error) => {
                    self.lines.fail(error);
                    return Ok(self.parser.order.nudge());
                }
            };
            let bytes = self.lines.bytes(line.range.clone());
            let mut parsed = self.parser.parse(bytes);
            let limit = *limit.get_or_insert(parsed.ts.saturating_add(SPAN));
            let full = self.size.is_reached(batch, 1);
            if full && last == Some(parsed.ts) && self.size.is_reached(batch, HARD) {
                parsed.ts = self.parser.order.nudge();
            }
            if parsed.ts >= limit || (full && last != Some(parsed.ts)) {
                let end = parsed.ts.min(limit);
                self.held = Some((line, parsed));
                return Ok(end);
            }
            last = Some(parsed.ts);
            self.parser.push(batch, bytes, &line, &parsed);
        }
    }

    fn broken(&mut self, error: &io::Error) -> SourceError {
        self.ended = true;
        let after = self.parser.counts.lines;
        failure("unreadable", format!("reading {} failed after {after} lines: {error}", self.name))
    }
}

/// A file cannot grow: what was read of a range is all there is.
impl Source for File {
    async fn next(&mut self) -> Result<Next, SourceError> {
        Ok(self.read()?.map_or(Next::End, Next::Batch))
    }

    async fn audit(&mut self, range: TimeRange) -> Result<Batch, SourceError> {
        let mut batch = Batch::new(Arc::clone(&self.watch), range, Purpose::Confirm);
        batch.coverage.known = Known::Audited;
        Ok(batch)
    }

    fn state(&self) -> Option<String> {
        None
    }
}

/// A line with its time and stream; `from` is where its text begins.
#[derive(Clone, Copy, Debug)]
struct Parsed {
    ts: Nanos,
    stream: usize,
    from: usize,
}

/// From the bytes of a line to an entry.
struct Parser {
    timing: Timing,
    stamper: Option<Stamper>,
    order: Order,
    names: Names,
    counts: Counts,
}

impl Parser {
    fn new(config: &FileConfig, head: &[u8], modified: Option<Nanos>, name: &str) -> Result<Self, SourceError> {
        let lines = || head.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut stamper = None;
        let format = match config.format {
            Format::Auto if lines().next().is_some() && lines().all(looks_like_columns) => Format::Tsv5,
            Format::Auto => Format::Plain,
            named => named,
        };
        let (timing, first) = match format {
            Format::Tsv5 => (Timing::Column, first_column(lines().next(), name)?),
            Format::Auto | Format::Plain => {
                stamper = Stamper::find(lines(), modified);
                let first = stamper.clone().and_then(|mut stamper| lines().find_map(|line| stamper.read(line)));
                let timing = stamper.as_ref().map_or(Timing::Counted, |stamper| Timing::Stamped(stamper.form()));
                (timing, first.unwrap_or(0))
            }
        };
        let names = match format {
            Format::Tsv5 => Names::new("stream"),
            // As Promtail labels a file's stream.
            Format::Auto | Format::Plain if config.path == Path::new("-") => Names::only("filename", "stdin"),
            Format::Auto | Format::Plain => Names::only("filename", &config.path.display().to_string()),
        };
        Ok(Self { timing, stamper, order: Order::new(first), names, counts: Counts::default() })
    }

    #[inline]
    fn parse(&mut self, line: &[u8]) -> Parsed {
        match self.timing {
            Timing::Stamped(_) => {
                let stamp = self.stamper.as_mut().and_then(|stamper| stamper.read(line));
                Parsed { ts: stamp.map_or(self.order.now(), |stamp| self.order.place(stamp)), stream: 0, from: 0 }
            }
            Timing::Counted => {
                let number = Nanos::try_from(self.counts.lines + 1).unwrap_or(0);
                Parsed { ts: self.order.place(number.saturating_mul(SECOND)), stream: 0, from: 0 }
            }
            Timing::Column => match columns(line) {
                Some((stamp, stream, from)) => {
                    Parsed { ts: self.order.place(stamp), stream: self.names.index(stream), from }
                }
                None => {
                    self.counts.malformed += 1;
                    Parsed { ts: self.order.now(), stream: self.names.index(b"-"), from: 0 }
                }
            },
        }
    }

    #[inline]
    fn push(&mut self, batch: &mut Batch, bytes: &[u8], line: &Line, parsed: &Parsed) {
        let text = bytes.get(parsed.from..).unwrap_or(&[]);
        let stream = self.names.place(batch, parsed.stream);
        self.counts.lines += 1;
        match str::from_utf8(text) {
            Ok(text) => _ = batch.push(parsed.ts, stream, text, None),
            // A cut in the middle of a character is no fault of the line.
            Err(error) if line.cut && error.error_len().is_none() => {
                let whole = text.get(..error.valid_up_to()).unwrap_or(&[]);
                batch.push(parsed.ts, stream, &String::from_utf8_lossy(whole), None);
            }
            Err(_) => {
                self.counts.replaced += 1;
                batch.push(parsed.ts, stream, &String::from_utf8_lossy(text), None);
            }
        }
    }
}

/// Time stamp, stream and the place of the line, of five columns. The two columns between are passed over unseen.
#[inline]
fn columns(line: &[u8]) -> Option<(Nanos, &[u8], usize)> {
    let mut tabs = memchr::memchr_iter(b'\t', line);
    let [ts, _label, group, stream] = [tabs.next()?, tabs.next()?, tabs.next()?, tabs.next()?];
    let mut stamp: Nanos = 0;
    let digits = line.get(..ts)?;
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        stamp = stamp.checked_mul(10)?.checked_add(i64::from(value))?;
    }
    Some((stamp, line.get(group + 1..stream)?, stream + 1))
}

/// Whether a line is most likely one of five columns: nanoseconds have 19 digits from 2001 on.
fn looks_like_columns(line: &[u8]) -> bool {
    columns(line).is_some() && line.get(19) == Some(&b'\t')
}

fn first_column(line: Option<&[u8]>, name: &str) -> Result<Nanos, SourceError> {
    let Some(line) = line else { return Ok(0) };
    columns(line).map(|(stamp, ..)| stamp).ok_or_else(|| {
        let count = memchr::memchr_iter(b'\t', line).count() + 1;
        let found = match count {
            1 => "no tab".to_owned(),
            5 => "a first column that is no number".to_owned(),
            count => format!("{count} columns"),
        };
        failure(
            "bad_format",
            format!(
                "{name} is not in the format tsv5: its first line has {found}; expected five columns with tabs between: \
                 ts_ns, label, group, stream, line. Leave `--format` out to read it as a plain log"
            ),
        )
    })
}

/// The streams that were met, each under one label; and which of them the present batch has.
struct Names {
    label: &'static str,
    known: FxHashMap<Box<[u8]>, usize>,
    streams: Vec<Arc<Stream>>,
    /// For each stream: the batch that has it last, and its index there.
    slots: Vec<(u64, usize)>,
    batch: u64,
}

/// Further streams are taken as one, `other`.
const MAX_STREAMS: usize = 10_000;

impl Names {
    fn new(label: &'static str) -> Self {
        Self { label, known: FxHashMap::default(), streams: Vec::new(), slots: Vec::new(), batch: 0 }
    }

    fn only(label: &'static str, name: &str) -> Self {
        let mut names = Self::new(label);
        names.add(name.as_bytes());
        names
    }

    /// The number of the stream with this name.
    #[inline]
    fn index(&mut self, name: &[u8]) -> usize {
        match self.known.get(name) {
            Some(index) => *index,
            None if self.known.len() < MAX_STREAMS => self.add(name),
            None => self.known.get(b"other".as_slice()).copied().unwrap_or_else(|| self.add(b"other")),
        }
    }

    fn add(&mut self, name: &[u8]) -> usize {
        let labels: Labels = [(self.label, String::from_utf8_lossy(name))].into_iter().collect();
        self.streams.push(Stream::new(labels));
        self.slots.push((0, 0));
        self.known.insert(name.into(), self.streams.len() - 1);
        self.streams.len() - 1
    }

    /// The stream's index in this batch; the batch learns it when it has not got it.
    #[inline]
    fn place(&mut self, batch: &mut Batch, stream: usize) -> usize {
        let (Some(slot), Some(known)) = (self.slots.get_mut(stream), self.streams.get(stream)) else { return 0 };
        if slot.0 != self.batch {
            batch.streams.push(Arc::clone(known));
            *slot = (self.batch, batch.streams.len() - 1);
        }
        slot.1
    }
}

/// Counts the bytes that pass.
struct Counted {
    reader: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(room)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

type Opened = (Box<dyn Read + Send>, Option<u64>, Option<Nanos>);

fn open_path(path: &Path, name: &str) -> Result<Opened, SourceError> {
    let unreadable = |error: io::Error| failure("unreadable", format!("cannot read {name}: {error}"));
    let file = fs::File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_dir() {
        return Err(failure("unreadable", format!("cannot read {name}: it is a folder; name a log file in it")));
    }
    let modified = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified = modified.and_then(|since| Nanos::try_from(since.as_nanos()).ok());
    Ok((Box::new(file), meta.is_file().then_some(meta.len()), modified))
}

/// Unpacks gzip, told by its first bytes and not by the name; refuses what is packed in another way.
fn unpack(mut raw: Counted, name: &str) -> Result<Box<dyn Read + Send>, SourceError> {
    let mut first = Vec::with_capacity(6);
    (&mut raw)
        .take(6)
        .read_to_end(&mut first)
        .map_err(|error| failure("unreadable", format!("cannot read {name}: {error}")))?;
    let other = OTHER_PACKERS.iter().find(|(magic, ..)| first.starts_with(magic));
    if let Some((_, kind, tool)) = other {
        return Err(failure(
            "not_text",
            format!(
                "{name} is packed with {kind}; expected text or gzip: unpack it first, as in `{tool} FILE | sigyn scan -`"
            ),
        ));
    }
    let packed = first.starts_with(b"\x1f\x8b");
    let whole = Cursor::new(first).chain(raw);
    if packed {
        Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 * 1024, whole))))
    } else {
        Ok(Box::new(whole))
    }
}

const OTHER_PACKERS: [(&[u8], &str, &str); 4] = [
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
    (b"\xfd7zXZ\0", "xz", "xzcat"),
    (b"BZh", "bzip2", "bzcat"),
    (b"PK\x03\x04", "zip", "unzip -p"),
];

/// Why these bytes are no text; `None` when they are. A NUL, or one byte in ten a control character, is no log.
fn not_text(bytes: &[u8]) -> Option<String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Some("is written in UTF-16; expected UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`".to_owned());
    }
    let nul = memchr::memchr(0, bytes).map(|at| format!("has a NUL byte at offset {at}"));
    let control = |byte: &&u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x08 | 0x0c | 0x1b);
    let odd = || {
        let count = bytes.iter().filter(control).count();
        (count * 10 > bytes.len()).then(|| format!("has {count} control characters in its first {} bytes", bytes.len()))
    };
    nul.or_else(odd).map(|what| format!("{what}; expected a log file, plain or gzip"))
}

/// A failure that asking again does not mend.
fn failure(reason: &'static str, message: String) -> SourceError {
    SourceError { message, reason, pause: Duration::ZERO }
}

#[cfg(test)]
mod tests;
