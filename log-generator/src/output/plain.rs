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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generator, Plan};

    fn write(path: &str) -> String {
        let mut generator = Generator::new(&Plan { rate: 5.0, ..Plan::default() });
        let mut plain = Plain::open(path).unwrap();
        let mut all = String::new();
        while let Some(record) = generator.next() {
            plain.take(&record).unwrap();
            all += record.line;
            all.push('\n');
        }
        plain.flush().unwrap();
        all
    }

    #[test]
    fn a_file_holds_all_lines_and_a_folder_one_file_per_service() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("all.log");
        let all = write(&format!("file:{}", file.display()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), all);
        let parts = folder.path().join("parts");
        write(&format!("{}/", parts.display()));
        let lines = |name: &str| std::fs::read_to_string(parts.join(name)).unwrap().lines().count();
        let files: Vec<_> = std::fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files.len(), 12);
        assert_eq!(files.iter().map(|name| lines(name.to_str().unwrap())).sum::<usize>(), all.lines().count());
        assert!(std::fs::read_to_string(parts.join("cart.log")).unwrap().starts_with("{\"timestamp\":"));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Plain::open("/nowhere/at/all.log").err().unwrap().to_string();
        assert!(error.contains("`/nowhere/at/all.log`") && error.contains("is the folder there"), "{error}");
    }
}
