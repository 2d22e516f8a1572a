//! Tests of `file`.

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
