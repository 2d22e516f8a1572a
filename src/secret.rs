//! A value that must never be shown: a token, a password, a webhook URL.
//!
//! It can be read from the settings or from a file and handed to a client. It never prints itself: `Debug`, `Display`
//! and `Serialize` all give `[secret]`, and the memory is wiped when it is dropped.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a secret shows of itself.
pub const MASK: &str = "[secret]";

/// A secret text.
#[derive(Clone)]
pub struct Secret(SecretString);

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the secret file {path}: {source}; it must exist, be UTF-8 and be readable by sigyn's user")]
pub struct SecretError {
    path: PathBuf,
    source: std::io::Error,
}

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself, for the one place that hands it to a client.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The value, else the trimmed content of the file, else `None`. Call it for each use, so that a rotated file counts.
    ///
    /// # Errors
    /// When a file is named and cannot be read as UTF-8.
    pub fn read(value: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>, SecretError> {
        match (value, file) {
            (Some(secret), _) => Ok(Some(secret.clone())),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map(|text| Some(Self::new(text.trim())))
                .map_err(|source| SecretError { path: path.to_owned(), source }),
            (None, None) => Ok(None),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), MASK);
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[secret]\"");
    }

    #[test]
    fn a_file_is_read_again_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for text in ["one\n", "two\n"] {
            std::fs::write(&path, text).unwrap();
            let secret = Secret::read(None, Some(&path)).unwrap().unwrap();
            assert_eq!(secret.expose(), text.trim());
        }
        let error = Secret::read(None, Some(&folder.path().join("none"))).unwrap_err();
        assert!(error.to_string().contains("cannot read the secret file"));
    }
}
