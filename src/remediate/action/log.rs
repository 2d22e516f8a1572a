//! The remediation log: one JSON object a line for each transition of an incident and what is done about it.
//!
//! What comes in: notifications. What goes out: appended lines, each on disk before it counts as delivered. A line that
//! is there already, from a try before a crash, is not written again; a line that a crash has torn is left as it is and
//! the next one starts on a new line. The file may be rotated away at any time: it is opened anew for each line.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::fs::OpenOptions;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::incident::{Incident, Severity, TransitionKind};
use crate::labels::{Fingerprint, Labels};
use crate::notify::render::{Message, Reason, message};
use crate::notify::{Links, Notification, Notifier, Receipt, SendError};
use crate::remediate::Remediation;
use crate::time::rfc3339;

/// How much of the end of the file is read for keys at start.
const TAIL: u64 = 4 << 20;
/// Keys remembered; the outbox repeats a delivery soon or never.
const KEYS: usize = 16_384;

/// The remediation log.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    action: Remediation,
    written: Mutex<Keys>,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the remediation log {path}: {source}; set remediate.log to a file that sigyn's user can write")]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

impl Log {
    /// Opens the log for appending, makes it and its folder when they are missing, and reads which keys its end holds.
    ///
    /// # Errors
    /// When the file cannot be read and written.
    pub fn open(path: &Path, action: Remediation) -> Result<Self, LogError> {
        let keys = tail(path).map_err(|source| LogError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), action, written: Mutex::new(keys) })
    }

    async fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path).await?;
        let mut bytes = Vec::with_capacity(line.len() + 2);
        if file.seek(SeekFrom::End(0)).await? > 0 {
            file.seek(SeekFrom::End(-1)).await?;
            if file.read_u8().await? != b'\n' {
                bytes.push(b'\n');
            }
        }
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        file.write_all(&bytes).await?;
        file.flush().await?;
        file.sync_data().await
    }
}

impl Notifier for Log {
    async fn send(&self, notification: &Notification, _earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let mut written = self.written.lock().await;
        if written.has(&notification.key) {
            return Ok(Receipt::default());
        }
        let said = message(notification);
        let line = serde_json::to_vec(&Record::new(notification, &said, &self.action));
        let line = line.map_err(|error| SendError::GiveUp {
            reason: "invalid",
            message: format!("writing incident {} as JSON: {error}", notification.transition.incident.id),
        })?;
        self.append(&line).await.map_err(|error| SendError::Retry {
            reason: "io",
            message: format!("appending to the remediation log {}: {error}", self.path.display()),
            after: None,
        })?;
        written.add(notification.key.clone());
        Ok(Receipt::default())
    }
}

/// The keys written last.
#[derive(Debug, Default)]
struct Keys {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Keys {
    fn has(&self, key: &str) -> bool {
        self.known.contains(key)
    }

    fn add(&mut self, key: String) {
        if self.known.insert(key.clone()) {
            self.order.push_back(key);
        }
        if self.order.len() > KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// The keys in the last [`TAIL`] bytes. Lines that are no JSON (torn ones, the first one of the tail) have none.
fn tail(path: &Path) -> io::Result<Keys> {
    #[derive(Deserialize)]
    struct Known {
        key: String,
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let mut keys = Keys::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(Known { key }) = serde_json::from_slice(line) {
            keys.add(key);
        }
    }
    Ok(keys)
}

/// A line of the log.
#[derive(Serialize)]
struct Record<'a> {
    key: &'a str,
    /// When, in the time of the log that was read.
    time: String,
    incident: &'a str,
    fingerprint: Fingerprint,
    labels: &'a Labels,
    incident_labels: &'a Labels,
    watch: &'a str,
    kind: TransitionKind,
    severity: Severity,
    title: &'a str,
    reason: Option<String>,
    evidence: Evidence<'a>,
    #[serde(flatten)]
    action: &'a Remediation,
    links: &'a Links,
}

/// Enough to see why without asking sigyn.
#[derive(Serialize)]
struct Evidence<'a> {
    started_at: String,
    last_seen: String,
    windows: u64,
    lines: u64,
    score: Option<f64>,
    threshold: Option<f64>,
    reasons: Vec<String>,
    coverage: Option<&'a str>,
    query: Option<&'a str>,
}

impl<'a> Record<'a> {
    fn new(notification: &'a Notification, said: &'a Message, action: &'a Remediation) -> Self {
        let transition = &notification.transition;
        let incident = &transition.incident;
        Self {
            key: &notification.key,
            time: rfc3339(transition.at),
            incident: &incident.id,
            fingerprint: incident.group.fingerprint,
            labels: &incident.group.labels,
            incident_labels: &incident.labels,
            watch: &incident.watch,
            kind: transition.kind,
            severity: incident.severity,
            title: &incident.title,
            reason: said.reason(),
            evidence: Evidence::new(incident, said),
            action,
            links: &notification.links,
        }
    }
}

impl<'a> Evidence<'a> {
    fn new(incident: &'a Incident, said: &'a Message) -> Self {
        let worst = incident.worst.as_ref();
        Self {
            started_at: rfc3339(incident.started_at),
            last_seen: rfc3339(incident.last_seen),
            windows: incident.windows,
            lines: incident.lines,
            score: worst.map(|worst| worst.score),
            threshold: worst.map(|worst| worst.threshold),
            reasons: said.told().into_iter().map(Reason::words).collect(),
            coverage: said.coverage.as_deref(),
            query: worst.map(|worst| worst.evidence.query.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;

    fn github() -> Remediation {
        Remediation::GithubIssue { repo: "acme/shop".to_owned() }
    }

    async fn write(log: &Log, transition: crate::incident::Transition) {
        log.send(&fixture::notification(transition, "remediation_log"), None).await.unwrap();
    }

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_line_says_it_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        write(&Log::open(&path, github()).unwrap(), fixture::opened()).await;
        write(&Log::open(&path, Remediation::Log).unwrap(), fixture::internal_resolved()).await;
        insta::assert_snapshot!(lines(&path).join("\n"), @r#"
        {"key":"00c0ffee00c0ffee/1/remediation_log","time":"2026-11-20T22:03:00Z","incident":"00c0ffee00c0ffee","fingerprint":"v1:cd9da4c2580bd810","labels":{"service_name":"cart"},"incident_labels":{"cluster":"eu-1"},"watch":"shop","kind":"opened","severity":"critical","title":"cart: more errors than usual","reason":"errors 48, expected 0 to 3","evidence":{"started_at":"2026-11-20T22:00:00Z","last_seen":"2026-11-20T22:03:00Z","windows":3,"lines":3412,"score":0.934,"threshold":0.71,"reasons":["errors 48, expected 0 to 3","different messages 131, expected 20 to 42.5","rate 20.1 lines/s, expected 4 to 9.25"],"coverage":"every line seen, counted exactly","query":"{service_name=\"cart\"}"},"action":"github_issue","repo":"acme/shop","links":{"incident":"https://sigyn.example.com/incidents/00c0ffee00c0ffee","explore":"https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D"}}
        {"key":"00c0ffee00c0ffee/2/remediation_log","time":"2026-11-20T22:03:00Z","incident":"00c0ffee00c0ffee","fingerprint":"v1:18590898ede2571d","labels":{"on":"shop","problem":"loki_unreachable","service":"sigyn"},"incident_labels":{"cluster":"eu-1"},"watch":"sigyn","kind":"resolved","severity":"warning","title":"sigyn: cannot reach Loki","reason":"GET http://loki:3100/loki/api/v1/query_range: connection refused; is Loki up, and is loki.url right?","evidence":{"started_at":"2026-11-20T22:00:00Z","last_seen":"2026-11-20T22:03:00Z","windows":0,"lines":0,"score":null,"threshold":null,"reasons":[],"coverage":null,"query":null},"action":"log","links":{"incident":"https://sigyn.example.com/incidents/00c0ffee00c0ffee","explore":"https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D"}}
        "#);
    }

    #[tokio::test]
    async fn each_once_even_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        for _restart in 0..2 {
            let log = Log::open(&path, github()).unwrap();
            for transition in [fixture::opened(), fixture::opened(), fixture::continued()] {
                write(&log, transition).await;
            }
        }
        assert_eq!(lines(&path).len(), 2);
    }

    #[tokio::test]
    async fn a_torn_line_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        write(&Log::open(&path, github()).unwrap(), fixture::opened()).await;
        let whole = std::fs::read(&path).unwrap();
        for (kept, lines_after) in [(whole.len() - 1, 2), (whole.len() / 2, 3), (0, 2)] {
            std::fs::write(&path, &whole[..kept]).unwrap();
            let log = Log::open(&path, github()).unwrap();
            write(&log, fixture::opened()).await;
            write(&log, fixture::continued()).await;
            let lines = lines(&path);
            assert_eq!(lines.len(), lines_after, "{kept}");
            let good = lines.iter().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
            assert_eq!(good, 2);
        }
    }

    #[tokio::test]
    async fn a_rotated_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let log = Log::open(&path, github()).unwrap();
        write(&log, fixture::opened()).await;
        std::fs::rename(&path, folder.path().join("log.jsonl.1")).unwrap();
        write(&log, fixture::continued()).await;
        assert_eq!(lines(&path).len(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_says_so() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = Log::open(&folder.path().join("file/log.jsonl"), Remediation::Log).unwrap_err().to_string();
        assert!(error.contains("cannot open the remediation log") && error.contains("remediate.log"), "{error}");
    }

    #[test]
    fn only_so_many_keys_are_kept() {
        let mut keys = Keys::default();
        for index in 0..KEYS + 5 {
            keys.add(index.to_string());
        }
        assert_eq!((keys.order.len(), keys.known.len()), (KEYS, KEYS));
        assert!(!keys.has("4") && keys.has("5"));
    }
}
