//! Where lines go besides Loki: plain lines to one file, to one file per service or to standard output, the labelled
//! five-column file, and the truth as JSON.
//!
//! What comes in: records. What goes out: bytes in files. No clock is read here.

mod labelled;
mod plain;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::fault::Truth;
use crate::generator::Record;

pub use labelled::Labelled;
pub use plain::Plain;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`: {reason}; is the folder there, and may it be written?", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    // Not named `source`: the text has it already, and would show it twice.
    reason: io::Error,
}

impl Error {
    fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |reason| Self { action, path, reason }
    }
}

/// A place that takes lines.
pub enum Sink {
    /// Plain lines.
    Plain(Plain),
    /// The five columns.
    Labelled(Labelled),
}

impl Sink {
    /// Takes one line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn take(&mut self, record: &Record<'_>) -> Result<(), Error> {
        match self {
            Self::Plain(plain) => plain.take(record),
            Self::Labelled(labelled) => labelled.take(record),
        }
    }

    /// Makes what was taken visible to readers.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        match self {
            Self::Plain(plain) => plain.flush(),
            Self::Labelled(_) => Ok(()),
        }
    }

    /// Ends the files.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(self, truth: &Truth) -> Result<(), Error> {
        match self {
            Self::Plain(mut plain) => plain.flush(),
            Self::Labelled(labelled) => labelled.finish(truth),
        }
    }
}

/// Writes `truth` as JSON: `{"faults": [...], "benign": [...]}`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_truth(path: &Path, truth: &Truth) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(truth).map_err(|error| Error::at("write", path)(error.into()))?;
    std::fs::write(path, text + "\n").map_err(Error::at("write", path))
}

const BUFFER: usize = 256 * 1024;

fn create(path: &Path) -> Result<BufWriter<File>, Error> {
    let file = File::create(path).map_err(Error::at("create", path))?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}

fn append(path: &Path) -> Result<BufWriter<File>, Error> {
    let file = File::options().create(true).append(true).open(path).map_err(Error::at("open", path))?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}

fn write_all(out: &mut impl Write, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).map_err(Error::at("write", path))
}
