//! Plain lines: to standard output, to one file, or to one file per service in a folder.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{BUFFER, Error, append, create, write_all};
use crate::generator::Record;

/// Takes lines as they are, one a line.
pub struct Plain {
    path: PathBuf,
    out: Out,
}

enum Out {
    One(Box<dyn Write + Send>),
    /// One file per service, opened at its first line. There are about a dozen services.
    PerService(Vec<(&'static str, BufWriter<std::fs::File>)>),
}

impl Plain {
    /// `-` is standard output; a folder (or a path that ends in `/`) takes one file `SERVICE.log` per service, which
    /// grow; everything else is a file, which is written anew.
    ///
    /// # Errors
    /// When the file or folder cannot be made.
    pub fn open(path: &str) -> Result<Self, Error> {
        let path = path.strip_prefix("file:").unwrap_or(path);
        if path == "-" {
            let out = BufWriter::with_capacity(BUFFER, io::stdout());
            return Ok(Self { path: path.into(), out: Out::One(Box::new(out)) });
        }
        let is_folder = path.ends_with('/') || Path::new(path).is_dir();
        let path = PathBuf::from(path);
        if is_folder {
            std::fs::create_dir_all(&path).map_err(Error::at("create the folder", &path))?;
            return Ok(Self { path, out: Out::PerService(Vec::new()) });
        }
        let out = Out::One(Box::new(create(&path)?));
        Ok(Self { path, out })
    }

    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), Error> {
        match &mut self.out {
            Out::One(out) => {
                write_all(out, &self.path, record.line.as_bytes())?;
                write_all(out, &self.path, b"\n")
            }
            Out::PerService(files) => {
                let service = record.service();
                let at = match files.iter().position(|(name, _)| *name == service) {
                    Some(at) => at,
                    None => {
                        files.push((service, append(&self.path.join(format!("{service}.log")))?));
                        files.len() - 1
                    }
                };
                let out = &mut files[at].1;
                write_all(out, &self.path, record.line.as_bytes())?;
                write_all(out, &self.path, b"\n")
            }
        }
    }

    /// Makes what was taken visible to readers.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        let done = match &mut self.out {
            Out::One(out) => out.flush(),
            Out::PerService(files) => files.iter_mut().try_for_each(|(_, out)| out.flush()),
        };
        done.map_err(Error::at("write", &self.path))
    }
}
