//! The labelled file: `ts_ns`, label, group, stream, line, parted by tabs; beside it `incidents.tsv` and `benign.tsv`.
//!
//! A line of a fault has label 1 and the fault's id as group; all other lines have 0 and `-`. Unlike sets that mark
//! whole intervals, only the lines that a fault made or changed are marked.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Error, create, write_all};
use crate::fault::{Fault, FaultKind, Truth};
use crate::generator::Record;
use crate::template::number;

/// Takes lines with their truth.
pub struct Labelled {
    path: PathBuf,
    out: Out,
    row: Vec<u8>,
    /// Marked lines of each fault.
    marked: Vec<u64>,
    ids: Vec<String>,
}

enum Out {
    Plain(std::io::BufWriter<std::fs::File>),
    Gzip(Box<GzEncoder<std::io::BufWriter<std::fs::File>>>),
}

impl Labelled {
    /// Writes `path` anew, compressed when its name ends in `.gz`. `truth` is that of the lines to come.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path, truth: &Truth) -> Result<Self, Error> {
        let file = create(path)?;
        let out = if path.extension().is_some_and(|ending| ending == "gz") {
            Out::Gzip(Box::new(GzEncoder::new(file, Compression::new(6))))
        } else {
            Out::Plain(file)
        };
        Ok(Self {
            path: path.to_owned(),
            out,
            row: Vec::with_capacity(1024),
            marked: vec![0; truth.faults.len()],
            ids: truth.faults.iter().map(Fault::id).collect(),
        })
    }

    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), Error> {
        let row = &mut self.row;
        row.clear();
        number(row, record.ts.unsigned_abs());
        match record.fault_index {
            Some(index) => {
                self.marked[index] += 1;
                row.extend_from_slice(b"\t1\t");
                row.extend_from_slice(self.ids[index].as_bytes());
            }
            None => row.extend_from_slice(b"\t0\t-"),
        }
        row.push(b'\t');
        row.extend_from_slice(record.stream.pod.as_bytes());
        row.push(b'\t');
        let line = row.len();
        row.extend_from_slice(record.line.as_bytes());
        for byte in &mut row[line..] {
            if *byte == b'\t' {
                *byte = b' ';
            }
        }
        row.push(b'\n');
        match &mut self.out {
            Out::Plain(out) => write_all(out, &self.path, row),
            Out::Gzip(out) => write_all(out, &self.path, row),
        }
    }

    pub(super) fn finish(self, truth: &Truth) -> Result<(), Error> {
        let Self { path, out, marked, .. } = self;
        match out {
            Out::Plain(mut out) => out.flush(),
            Out::Gzip(out) => out.finish().and_then(|mut out| out.flush()),
        }
        .map_err(Error::at("write", &path))?;
        let beside = |name: &str| path.with_file_name(name);
        let write = |path: PathBuf, text: String| std::fs::write(&path, text).map_err(Error::at("write", &path));
        write(beside("incidents.tsv"), incidents(truth, &marked))?;
        write(beside("benign.tsv"), benign(truth))
    }
}

/// The columns of the resampled sets: `start_ns` is the scripted start, `onset_ns` is from when on it counts; `also` is
/// one further service, `template` what else a finding may name (parted by `;`), `affected` the marked lines.
fn incidents(truth: &Truth, marked: &[u64]) -> String {
    let mut text = "kind\tservice\tstart_ns\tend_ns\tonset_ns\talso\ttemplate\tstrength\taffected\n".to_owned();
    for (fault, marked) in truth.faults.iter().zip(marked) {
        text += &format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:.2}\t{marked}\n",
            fault.kind,
            fault.service,
            fault.scripted_start,
            fault.end,
            fault.start,
            fault.also.first().unwrap_or(&"-"),
            template(fault),
            fault.strength,
        );
    }
    text
}

fn template(fault: &Fault) -> String {
    match fault.kind {
        FaultKind::NewException => "unhandled exception:;Servlet.service() for servlet".to_owned(),
        // The third service of a cascade: the column before has room for one.
        FaultKind::Cascade => fault.also[1..].join(";"),
        _ => "-".to_owned(),
    }
}

fn benign(truth: &Truth) -> String {
    let mut text = "kind\tservice\tstart_ns\tend_ns\n".to_owned();
    for event in &truth.benign {
        text += &format!("{}\t{}\t{}\t{}\n", event.kind.name(), event.service, event.start, event.end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generator, Plan};
    use std::io::Read;

    fn write(name: &str) -> (tempfile::TempDir, String, Plan) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let plan = Plan { rate: 20.0, ..Plan::default() };
        let mut generator = Generator::new(&plan);
        let mut labelled = Labelled::create(&path, generator.truth()).unwrap();
        while let Some(record) = generator.next() {
            labelled.take(&record).unwrap();
        }
        labelled.finish(generator.truth()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut text = String::new();
        if name.ends_with(".gz") {
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(bytes).unwrap();
        }
        (folder, text, plan)
    }

    #[test]
    fn rows_have_five_columns_and_the_truth() {
        let (folder, text, plan) = write("stream.tsv.gz");
        let ids: Vec<String> = plan.truth().faults.iter().map(Fault::id).collect();
        let mut last = 0;
        for row in text.lines() {
            let columns: Vec<&str> = row.split('\t').collect();
            assert_eq!(columns.len(), 5, "{row}");
            let ts: i64 = columns[0].parse().unwrap();
            assert!(ts > last);
            last = ts;
            assert_eq!(columns[1] == "1", ids.iter().any(|id| id == columns[2]), "{row}");
            assert!(columns[1] == "1" || (columns[1] == "0" && columns[2] == "-"), "{row}");
        }
        let incidents = std::fs::read_to_string(folder.path().join("incidents.tsv")).unwrap();
        assert_eq!(incidents.lines().count(), 13);
        for row in incidents.lines().skip(1) {
            let columns: Vec<&str> = row.split('\t').collect();
            assert_eq!(columns.len(), 9, "{row}");
            assert_eq!(columns[8] == "0", columns[0] == "silence", "{row}");
        }
        let benign = std::fs::read_to_string(folder.path().join("benign.tsv")).unwrap();
        assert!(benign.lines().any(|row| row.starts_with("deploy\t")), "{benign}");
    }

    #[test]
    fn compressed_and_plain_hold_the_same() {
        assert_eq!(write("a.tsv").1, write("a.tsv.gz").1);
    }
}
