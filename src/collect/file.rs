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
        })
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
        if self.parser.timing == Timing::Column {
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
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::super::lines::MAX_LINE;
    use super::*;

    fn config(format: Format) -> FileConfig {
        FileConfig { watch: "scan".to_owned(), path: "app.log".into(), format }
    }

    fn of(bytes: &[u8], format: Format) -> Result<File, SourceError> {
        let reader = Box::new(Cursor::new(bytes.to_vec()));
        File::new(&config(format), "app.log".to_owned(), reader, None)
    }

    /// Time, stream and text of every line; the batches must tile time.
    fn entries(file: &mut File) -> Vec<(Nanos, String, String)> {
        let (mut out, mut end) = (Vec::new(), None);
        while let Some(batch) = file.read().unwrap() {
            assert!(end.is_none_or(|end| end == batch.range.start), "{:?} follows {end:?}", batch.range);
            assert_eq!(batch.coverage.known, Known::Audited);
            assert_eq!(batch.coverage.seen, batch.len() as u64);
            for entry in batch.entries() {
                assert!(batch.range.contains(entry.ts), "{} in {:?}", entry.ts, batch.range);
                let stream = batch.streams[entry.stream].labels.to_string();
                out.push((entry.ts, stream, entry.line.to_owned()));
            }
            end = Some(batch.range.end);
        }
        assert!(file.read().unwrap().is_none());
        out
    }

    fn texts(entries: &[(Nanos, String, String)]) -> Vec<(Nanos, &str)> {
        entries.iter().map(|(ts, _, text)| (*ts, text.as_str())).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn a_line_without_a_stamp_takes_the_one_before() {
        let text = "from the middle of a trace\n1795212001 a\n\tat b\n1795212000 late\n1795212003 c";
        let mut file = of(text.as_bytes(), Format::Plain).unwrap();
        let found = entries(&mut file);
        let seconds: Vec<Nanos> = found.iter().map(|(ts, ..)| ts / SECOND - 1_795_212_000).collect();
        assert_eq!(seconds, [1, 1, 1, 1, 3]);
        assert_eq!(file.counts(), Counts { lines: 5, late: 1, ..Counts::default() });
        assert_eq!(found[0].1, r#"{filename="app.log"}"#);
        assert_eq!(file.timing(), Timing::Stamped(Form::Epoch));
    }

    #[test]
    fn without_stamps_time_counts_lines() {
        let mut file = of(b"a\nb\n", Format::Plain).unwrap();
        assert_eq!(file.timing(), Timing::Counted);
        assert_eq!(texts(&entries(&mut file)), [(SECOND, "a"), (2 * SECOND, "b")]);
    }

    #[test]
    fn nothing_is_the_end() {
        for (bytes, lines) in [("", 0), ("\u{feff}", 0), ("\n", 1)] {
            let mut file = of(bytes.as_bytes(), Format::Plain).unwrap();
            assert_eq!(entries(&mut file).len(), lines, "{bytes:?}");
        }
        assert!(entries(&mut of(b"", Format::Tsv5).unwrap()).is_empty());
    }

    #[test]
    fn five_columns_give_time_stream_and_line() {
        let text = "5\t1\tx\tcart\tfull of\ttabs\n4\t0\t-\tauth\tlate\nno columns\n7\t0\t-\tcart\t";
        let mut file = of(text.as_bytes(), Format::Tsv5).unwrap();
        let mut found = entries(&mut file);
        found.sort();
        let expected = [
            (5, r#"{stream="-"}"#, "no columns"),
            (5, r#"{stream="auth"}"#, "late"),
            (5, r#"{stream="cart"}"#, "full of\ttabs"),
            (7, r#"{stream="cart"}"#, ""),
        ];
        assert_eq!(found, expected.map(|(ts, stream, text)| (ts, stream.to_owned(), text.to_owned())));
        assert_eq!(file.counts(), Counts { lines: 4, late: 1, malformed: 1, ..Counts::default() });
    }

    #[test]
    fn five_columns_are_found_unasked() {
        let timing = |text: &str| of(text.as_bytes(), Format::Auto).unwrap().timing();
        assert_eq!(timing("1795212001000000000\t0\t-\tcart\tx\n"), Timing::Column);
        assert_eq!(timing("1795212001000000000\t0\t-\tcart\tx\ny\n"), Timing::Stamped(Form::Epoch));
        assert_eq!(timing("17\t0\t-\tcart\tx\n"), Timing::Counted);
        assert_eq!(timing(""), Timing::Counted);
    }

    #[test]
    fn labels_and_groups_change_nothing() {
        let make = |label: &str, group: &str| {
            let text: String = (0..500).map(|n| format!("{n}\t{label}\t{group}\tpod-{}\tline {n}\n", n % 7)).collect();
            entries(&mut of(text.as_bytes(), Format::Tsv5).unwrap())
        };
        assert_eq!(make("0", "-"), make("1", "cpu@cart@1674981729"));
        assert_eq!(make("0", "-"), make("", "anything \u{e9} at all"));
    }

    #[test]
    fn gzip_of_many_members_is_read_whole() {
        let packed = [gzip(b"1 a\n2 "), gzip(b"b\n"), gzip(b""), gzip(b"3 c")].concat();
        let counted = Counted { reader: Box::new(Cursor::new(packed)), read: Arc::default() };
        let reader = unpack(counted, "app.log").unwrap();
        let mut file = File::new(&config(Format::Plain), "app.log".to_owned(), reader, None).unwrap();
        assert_eq!(texts(&entries(&mut file)), [(SECOND, "1 a"), (2 * SECOND, "2 b"), (3 * SECOND, "3 c")]);
    }

    #[test]
    fn damaged_gzip_gives_what_could_be_read_and_then_says_so() {
        let text: String = (0..9000).map(|n| format!("line {n} {}\n", n * n)).collect();
        let mut packed = gzip(text.as_bytes());
        packed.truncate(packed.len() / 2);
        let counted = Counted { reader: Box::new(Cursor::new(packed)), read: Arc::default() };
        let reader = unpack(counted, "app.log.gz").unwrap();
        let mut file = File::new(&config(Format::Plain), "app.log.gz".to_owned(), reader, None).unwrap();
        let mut lines = 0;
        let error = loop {
            match file.read() {
                Ok(batch) => lines += batch.expect("an error before the end").len(),
                Err(error) => break error,
            }
        };
        assert!(lines > 1000);
        assert!(error.message.starts_with(&format!("reading app.log.gz failed after {lines} lines: ")), "{error}");
        assert!(file.read().unwrap().is_none());
    }

    #[test]
    fn what_is_no_text_is_refused_with_what_was_expected() {
        let refused = |bytes: &[u8]| {
            let counted = Counted { reader: Box::new(Cursor::new(bytes.to_vec())), read: Arc::default() };
            let opened = unpack(counted, "x");
            let error = opened.and_then(|reader| File::new(&config(Format::Plain), "x".to_owned(), reader, None)).err();
            error.map_or_else(|| "read".to_owned(), |error| error.message)
        };
        insta::assert_snapshot!(refused(b"\x7fELF\x02\x01\x01\0\0\0"), @"x is no text: it has a NUL byte at offset 7; expected a log file, plain or gzip");
        insta::assert_snapshot!(refused(b"\x01\x02\x03\x04\x05"), @"x is no text: it has 5 control characters in its first 5 bytes; expected a log file, plain or gzip");
        insta::assert_snapshot!(refused(b"\x28\xb5\x2f\xfd\0\0\0\0"), @"x is packed with zstd; expected text or gzip: unpack it first, as in `zstdcat FILE | sigyn scan -`");
        insta::assert_snapshot!(refused(b"\xff\xfea\0b\0"), @"x is no text: it is written in UTF-16; expected UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`");
        insta::assert_snapshot!(refused("\u{1b}[31mred\u{1b}[0m \u{e9}\n".as_bytes()), @"read");
        let error = of(b"a\tb\n", Format::Tsv5).err().map(|error| error.message);
        insta::assert_snapshot!(error.unwrap_or_default(), @"app.log is not in the format tsv5: its first line has 2 columns; expected five columns with tabs between: ts_ns, label, group, stream, line. Leave `--format` out to read it as a plain log");
        let error = of(b"a\tb\tc\td\te\n", Format::Tsv5).err().map(|error| error.message);
        insta::assert_snapshot!(error.unwrap_or_default(), @"app.log is not in the format tsv5: its first line has a first column that is no number; expected five columns with tabs between: ts_ns, label, group, stream, line. Leave `--format` out to read it as a plain log");
    }

    #[test]
    fn bad_bytes_are_replaced_and_long_lines_cut_between_characters() {
        let mut bytes = b"caf\xe9\n".to_vec();
        bytes.extend("x".bytes());
        bytes.extend("\u{e9}".repeat(MAX_LINE).bytes());
        bytes.extend(b"\nend");
        let mut file = of(&bytes, Format::Plain).unwrap();
        let found = entries(&mut file);
        let lengths: Vec<usize> = found.iter().map(|(.., text)| text.len()).collect();
        assert_eq!((found[0].2.as_str(), lengths), ("caf\u{fffd}", vec![6, MAX_LINE - 1, 3]));
        assert_eq!(file.counts(), Counts { lines: 3, cut: 1, replaced: 1, ..Counts::default() });
    }

    #[test]
    fn an_instant_stays_in_one_batch_until_it_is_far_too_large() {
        let line = |second: u64| format!("{} x\n", 1_795_212_000 + second);
        let few: String = (0..BATCH.lines as u64 + 100).map(|n| line(n / 1000)).collect();
        let mut file = of(few.as_bytes(), Format::Plain).unwrap();
        let batch = file.read().unwrap().unwrap();
        assert_eq!((batch.len(), batch.range.end % SECOND), (BATCH.lines + 100, 1), "the end is the end of the file");
        let many = line(0).repeat(10 * BATCH.lines);
        let mut file = of(many.as_bytes(), Format::Plain).unwrap();
        let found = entries(&mut file);
        assert_eq!((found.len(), file.counts().late), (10 * BATCH.lines, 0));
        assert_eq!(found.last().unwrap().0 - found[0].0, 2);
    }

    #[test]
    fn a_long_silence_is_told_in_ticks() {
        let hours = |n: i64| format!("{} x\n", 1_795_212_000 + n * 3600);
        let mut file = of(format!("{}{}", hours(0), hours(2)).as_bytes(), Format::Plain).unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = file.read().unwrap() {
            assert!(batch.range.len() <= SPAN);
            batches.push(batch.len());
        }
        assert_eq!((batches.len(), batches.iter().sum::<usize>(), batches[12]), (13, 2, 1));
    }

    #[test]
    fn names_of_streams_are_bounded() {
        let text: String = (0..MAX_STREAMS + 50).map(|n| format!("{n}\t0\t-\tpod{n}\tx\n")).collect();
        let mut file = of(text.as_bytes(), Format::Tsv5).unwrap();
        let other = entries(&mut file).iter().filter(|(_, stream, _)| stream == r#"{stream="other"}"#).count();
        assert_eq!((other, file.parser.names.streams.len()), (50, MAX_STREAMS + 1));
    }

    #[test]
    fn folders_and_missing_files_are_told() {
        let open = |path: &Path| {
            let config = FileConfig { path: path.to_owned(), ..config(Format::Plain) };
            File::open(&config).err().map(|error| error.message).unwrap_or_default()
        };
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path()).ends_with("it is a folder; name a log file in it"));
        assert!(open(&folder.path().join("none")).ends_with("No such file or directory (os error 2)"));
    }

    /// Gives at most so many bytes at a time.
    struct Drip(Cursor<Vec<u8>>, Vec<usize>, usize);

    impl Read for Drip {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            self.2 += 1;
            let size = self.1[self.2 % self.1.len()].min(room.len());
            self.0.read(&mut room[..size])
        }
    }

    proptest! {
        #[test]
        fn however_the_reader_cuts_the_entries_are_the_same(
            lines in proptest::collection::vec(
                prop_oneof!["[a-z\u{e9}]{0,8}", (0u64..50).prop_map(|n| format!("{} x", 1_795_212_000 + n))], 0..60),
            pieces in proptest::collection::vec(1usize..9, 1..6),
            packed: bool,
        ) {
            let text = lines.join("\n").into_bytes();
            let expected = entries(&mut of(&text, Format::Plain).unwrap());
            let bytes = if packed { gzip(&text) } else { text };
            let drip = Box::new(Drip(Cursor::new(bytes), pieces, 0));
            let reader = unpack(Counted { reader: drip, read: Arc::default() }, "app.log").unwrap();
            let mut file = File::new(&config(Format::Plain), "app.log".to_owned(), reader, None).unwrap();
            file.size = Size { lines: 3, bytes: 30 };
            let found = entries(&mut file);
            // Batches this small split instants by nanoseconds; nothing else may differ.
            let second = |entry: &(Nanos, String, String)| (entry.0 / SECOND, entry.2.clone());
            prop_assert!(found.iter().map(second).eq(expected.iter().map(second)));
        }
    }
}
