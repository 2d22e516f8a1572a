//! A notification as JSON, the same for webhooks, files, standard output and Loki. Fields are only added, never changed,
//! unless `VERSION` rises.
//!
//! What comes in: a [`Notification`]. What goes out: an object of plain text and figures; JSON needs no other escaping.
//! What never happens here: a text of strangers that is longer than its limit.

use serde::Serialize;

use crate::incident::{Severity, TransitionKind};
use crate::labels::Labels;
use crate::notify::Notification;
use crate::notify::escape::calm;
use crate::notify::render::{Message, message};
use crate::time::rfc3339;

/// Of the shape.
const VERSION: u32 = 1;
/// Characters of a log line.
const LINE: usize = 1_000;
/// Characters of any other text.
const VALUE: usize = 1_000;
/// Log lines, reasons and members each.
const MANY: usize = 20;

/// A notification.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    version: u32,
    /// The same in every retry: who has seen it may forget the second.
    pub key: String,
    kind: TransitionKind,
    number: u64,
    at: String,
    state: &'static str,
    severity: Severity,
    incident: String,
    fingerprint: String,
    title: String,
    watch: String,
    group: Labels,
    labels: Labels,
    started_at: String,
    last_seen: String,
    resolved_at: Option<String>,
    windows: u64,
    lines: u64,
    score: Option<f64>,
    threshold: Option<f64>,
    why: Vec<Why>,
    samples: Vec<String>,
    members: Vec<String>,
    detail: Option<String>,
    ended: Option<String>,
    care: Option<String>,
    held_back: u64,
    owner: Option<String>,
    query: Option<String>,
    runbook_url: Option<String>,
    incident_url: Option<String>,
    explore_url: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Why {
    what: &'static str,
    seen: String,
    expected: String,
    share: String,
    line: Option<String>,
    before: Option<String>,
}

impl Record {
    /// Of a notification.
    #[must_use]
    pub fn new(notification: &Notification) -> Self {
        Self::of(notification, &message(notification))
    }

    /// Of a notification that was put into words already.
    #[must_use]
    pub fn of(notification: &Notification, said: &Message) -> Self {
        let transition = &notification.transition;
        let incident = &transition.incident;
        let text = |text: &String| calm(text, VALUE);
        let some = |one: &Option<String>| one.as_ref().map(text);
        Self {
            version: VERSION,
            key: notification.key.clone(),
            kind: transition.kind,
            number: transition.number,
            at: rfc3339(transition.at),
            state: said.state(),
            severity: incident.severity,
            incident: incident.id.clone(),
            fingerprint: incident.group.fingerprint.to_string(),
            title: text(&incident.title),
            watch: text(&incident.watch),
            group: short(&incident.group.labels),
            labels: short(&incident.labels),
            started_at: rfc3339(incident.started_at),
            last_seen: rfc3339(incident.last_seen),
            resolved_at: incident.resolved_at.map(rfc3339),
            windows: incident.windows,
            lines: incident.lines,
            score: incident.worst.as_ref().map(|worst| worst.score),
            threshold: incident.worst.as_ref().map(|worst| worst.threshold),
            why: why(said),
            samples: said
                .samples
                .iter()
                .take(MANY)
                .map(|line| format!("{} {}", line.time, calm(&line.text, LINE)))
                .collect(),
            members: said.members.iter().take(MANY).map(text).collect(),
            detail: some(&said.detail),
            ended: some(&said.ended),
            care: some(&said.care),
            held_back: incident.handling.held_back,
            owner: some(&said.owner),
            query: said.query.as_ref().map(|query| query.logql.clone()),
            runbook_url: some(&said.runbook),
            incident_url: said.links.incident.clone(),
            explore_url: said.links.explore.clone(),
        }
    }

    /// As one line.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn short(labels: &Labels) -> Labels {
    labels.iter().take(MANY).map(|(name, value)| (name.to_owned(), calm(value, VALUE))).collect()
}

fn why(said: &Message) -> Vec<Why> {
    let some = |one: &Option<String>| one.as_ref().map(|text| calm(text, LINE));
    let reasons = said.why.iter().take(MANY).map(|reason| Why {
        what: reason.what,
        seen: reason.seen.clone(),
        expected: reason.expected.clone(),
        share: reason.share.clone(),
        line: some(&reason.line),
        before: some(&reason.before),
    });
    reasons.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;

    #[test]
    fn says_everything_as_json() {
        let record = Record::new(&fixture::notification(fixture::opened(), "hook"));
        let value: serde_json::Value = serde_json::from_str(&record.line()).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap(), @r#"
        {
          "at": "2026-11-20T22:03:00Z",
          "care": null,
          "detail": null,
          "ended": null,
          "explore_url": "https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D",
          "fingerprint": "v1:cd9da4c2580bd810",
          "group": {
            "service_name": "cart"
          },
          "held_back": 0,
          "incident": "00c0ffee00c0ffee",
          "incident_url": "https://sigyn.example.com/incidents/00c0ffee00c0ffee",
          "key": "00c0ffee00c0ffee/1/hook",
          "kind": "opened",
          "labels": {
            "cluster": "eu-1"
          },
          "last_seen": "2026-11-20T22:03:00Z",
          "lines": 3412,
          "members": [],
          "number": 1,
          "owner": "team-shop",
          "query": "{service_name=\"cart\"}",
          "resolved_at": null,
          "runbook_url": "https://wiki.example.com/cart?a=1&b=2",
          "samples": [
            "22:02:01Z level=error msg=\"payment gateway timeout\" order=<*>",
            "22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)",
            "22:02:30Z level=warn msg=\"retrying\" attempt=‹3›",
            "22:02:31Z level=warn msg=\"retrying\" attempt=4"
          ],
          "score": 0.934,
          "severity": "critical",
          "started_at": "2026-11-20T22:00:00Z",
          "state": "CRITICAL",
          "threshold": 0.71,
          "title": "cart: more errors than usual",
          "version": 1,
          "watch": "shop",
          "why": [
            {
              "before": "most of them \"payment gateway timeout\", never seen before",
              "expected": "0 to 3",
              "line": null,
              "seen": "48",
              "share": "71 %",
              "what": "errors"
            },
            {
              "before": null,
              "expected": "20 to 42.5",
              "line": null,
              "seen": "131",
              "share": "19 %",
              "what": "different messages"
            },
            {
              "before": null,
              "expected": "4 to 9.25",
              "line": null,
              "seen": "20.1 lines/s",
              "share": "8 %",
              "what": "rate"
            },
            {
              "before": null,
              "expected": "80 to 220",
              "line": null,
              "seen": "214 bytes",
              "share": "2 %",
              "what": "line length"
            }
          ],
          "windows": 3
        }
        "#);
    }
}
