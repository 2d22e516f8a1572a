//! A file or standard output: one JSON object a line, or the message as text.
//!
//! What comes in: notifications. What goes out: appended lines; in a file each is on disk before it counts as delivered.
//! A retry after a crash writes the line again, with the same key. The file may be rotated away at any time: it is opened
//! anew for each line. A line that a crash has torn is left as it is, and the next one starts on a new line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::fs::OpenOptions;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::config::Facts;
use super::record::Record;
use crate::notify::layout::{Layout, Markup};
use crate::notify::render::message;
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError};

/// Ours: characters of a message as text.
const TEXT: usize = 20_000;

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// The message as people read it, and an empty line.
    Text,
}

/// `file:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    /// The file; made when it is not there.
    pub path: PathBuf,
    /// What is written.
    pub format: Format,
}

/// `stdout:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StdoutConfig {
    /// What is written.
    pub format: Format,
}

impl FileConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Facts { templates: self.format == Format::Text, ..Facts::default() }
            .wrong_if(self.path.as_os_str().is_empty(), "path", "must name a file")
            .wrong_if(self.path.is_dir(), "path", "is a folder, not a file")
            .wrong_if(!folder.is_dir(), "path", "its folder is not there; make it, or name another file")
    }
}

/// A file.
#[derive(Debug)]
pub struct File {
    config: FileConfig,
    template: Template,
}

impl File {
    /// Appends by these settings.
    #[must_use]
    pub fn new(config: &FileConfig, template: Template) -> Self {
        Self { config: config.clone(), template }
    }

    /// Opens it for a line; how long it is.
    async fn open(&self, create: bool) -> io::Result<(tokio::fs::File, u64)> {
        let mut file = OpenOptions::new().read(true).append(true).create(create).open(&self.config.path).await?;
        let length = file.seek(io::SeekFrom::End(0)).await?;
        Ok((file, length))
    }

    async fn append(&self, text: &str) -> io::Result<()> {
        let (mut file, length) = self.open(true).await?;
        let mut bytes = Vec::with_capacity(text.len() + 1);
        if length > 0 {
            file.seek(io::SeekFrom::End(-1)).await?;
            if file.read_u8().await? != b'\n' {
                bytes.push(b'\n');
            }
        }
        bytes.extend_from_slice(text.as_bytes());
        file.write_all(&bytes).await?;
        file.flush().await?;
        file.sync_data().await
    }
}

impl File {
    /// What would be written.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> String {
        render(notification, self.config.format, &self.template)
    }

    /// Whether it can be written. One that is not there yet is not made: that another can be made beside it says enough.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn probe(&self) -> Result<String, SendError> {
        let path = self.config.path.display();
        let bad = |message| SendError::Retry { reason: "io", message, after: None };
        match self.open(false).await {
            Ok(_) => Ok(format!("{path} can be written")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.make_beside().await {
                Ok(()) => Ok(format!("{path} is not there yet; it is made with the first message")),
                Err(error) => Err(bad(format!(
                    "making a file beside {path}: {error}; its folder must be there, and sigyn's user must be able to write \
                     into it"
                ))),
            },
            Err(error) => Err(bad(format!(
                "opening {path}: {error}; it must be an ordinary file that sigyn's user may read and write"
            ))),
        }
    }

    /// Makes another file in the same folder, and takes it away again.
    async fn make_beside(&self) -> io::Result<()> {
        let beside = self.config.path.with_file_name(format!(".sigyn-check-{}", std::process::id()));
        OpenOptions::new().write(true).create_new(true).open(&beside).await?;
        tokio::fs::remove_file(&beside).await
    }
}

impl Notifier for File {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let path = self.config.path.display();
        self.append(&render(notification, self.config.format, &self.template)).await.map_err(|error| {
            SendError::Retry {
                reason: "io",
                message: format!("appending to {path}: {error}; sigyn's user must be able to write there"),
                after: None,
            }
        })?;
        Ok(earlier.cloned().unwrap_or_default())
    }
}

/// Standard output.
#[derive(Debug)]
pub struct Stdout {
    format: Format,
    template: Template,
}

impl Stdout {
    /// Prints by these settings.
    #[must_use]
    pub fn new(config: &StdoutConfig, template: Template) -> Self {
        Self { format: config.format, template }
    }
}

impl Stdout {
    /// What would be printed.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> String {
        render(notification, self.format, &self.template)
    }
}

impl Notifier for Stdout {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let text = render(notification, self.format, &self.template);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| SendError::Retry {
            reason: "io",
            message: format!("writing to standard output: {error}"),
            after: None,
        })?;
        Ok(earlier.cloned().unwrap_or_default())
    }
}

/// What is written, with its line break.
#[must_use]
pub fn render(notification: &Notification, format: Format, template: &Template) -> String {
    let said = message(notification);
    match format {
        Format::Json => Record::of(notification, &said).line() + "\n",
        Format::Text => Layout::new(&said, Markup::PLAIN, template).text(250, TEXT) + "\n\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::send;

    #[tokio::test]
    async fn a_torn_line_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let config = FileConfig { path: folder.path().join("out.jsonl"), format: Format::Json };
        let file = File::new(&config, Template::default());
        std::fs::write(&config.path, "{\"torn\":").unwrap();
        for transition in [fixture::opened(), fixture::resolved()] {
            send(&file, &fixture::notification(transition, "f"), None).await.unwrap();
        }
        let text = std::fs::read_to_string(&config.path).unwrap();
        let keys: Vec<serde_json::Value> = text
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].clone())
            .collect();
        assert_eq!(keys, ["00c0ffee00c0ffee/1/f", "00c0ffee00c0ffee/3/f"]);
        let nowhere = File::new(&FileConfig { path: folder.path().join("no/out"), ..config }, Template::default());
        let error = send(&nowhere, &fixture::notification(fixture::opened(), "f"), None).await.unwrap_err();
        assert!(matches!(error, SendError::Retry { reason: "io", .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_file_is_asked_without_a_trace() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let asked = async |name: &str| {
            let config = FileConfig { path: folder.path().join(name), format: Format::Json };
            let answer = File::new(&config, Template::default()).probe().await;
            let text = answer.unwrap_or_else(|error| format!("FAILED: {error}"));
            text.replace(folder.path().to_str().unwrap(), "[folder]")
        };
        std::fs::write(folder.path().join("there"), "{}\n").unwrap();
        let (closed, locked) = (folder.path().join("closed"), folder.path().join("locked"));
        std::fs::create_dir(&closed).unwrap();
        std::fs::write(&locked, "").unwrap();
        let all = [asked("new").await, asked("there").await, asked("gone/new").await, asked("closed").await];
        insta::assert_snapshot!(all.join("\n"), @"
        [folder]/new is not there yet; it is made with the first message
        [folder]/there can be written
        FAILED: making a file beside [folder]/gone/new: No such file or directory (os error 2); its folder must be there, and sigyn's user must be able to write into it
        FAILED: opening [folder]/closed: Is a directory (os error 21); it must be an ordinary file that sigyn's user may read and write
        ");

        // A pipe takes no line: what is sent there would never be told.
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
        if made.is_ok_and(|status| status.success()) {
            insta::assert_snapshot!(asked("pipe").await, @"FAILED: opening [folder]/pipe: Illegal seek (os error 29); it must be an ordinary file that sigyn's user may read and write");
        }

        for path in [&closed, &locked] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
        }
        let (file, made) = (asked("locked").await, asked("closed/new").await);
        // Root may write anywhere.
        if std::fs::OpenOptions::new().append(true).open(&locked).is_err() {
            insta::assert_snapshot!(format!("{file}\n{made}"), @"
            FAILED: opening [folder]/locked: Permission denied (os error 13); it must be an ordinary file that sigyn's user may read and write
            FAILED: opening [folder]/closed/new: Permission denied (os error 13); it must be an ordinary file that sigyn's user may read and write
            ");
            // Whoever may look into the folder, but not write.
            std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
            insta::assert_snapshot!(asked("closed/new").await, @"FAILED: making a file beside [folder]/closed/new: Permission denied (os error 13); its folder must be there, and sigyn's user must be able to write into it");
        }
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        left.retain(|name| name != "pipe");
        left.sort();
        assert_eq!(left, ["closed", "locked", "there"]);
        assert_eq!(std::fs::read_to_string(folder.path().join("there")).unwrap(), "{}\n");
    }

    #[test]
    fn text_is_for_people() {
        let notification = fixture::notification(fixture::resolved(), "f");
        insta::assert_snapshot!(render(&notification, Format::Text, &Template::default()), @r#"
        🟢 RESOLVED cart: more errors than usual
        When: 2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes · 38,912 lines in 33 unusual windows
        End: quiet for 5 minutes
        Worst: errors 48, expected 0 to 3
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Runbook: https://wiki.example.com/cart?a=1&b=2
        Owner: team-shop
        sigyn · watch shop · incident 00c0ffee00c0ffee
        "#);
    }
}
