//! How a run of sigyn came out, read from its store and its remediation log.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sigyn::detect::Features;
use sigyn::incident::{Severity, Transition, TransitionKind};
use sigyn::store::{Delivery, IncidentDetail, Search, Store};
use sigyn::time::Nanos;

use crate::shop::Shop;

/// How a run came out.
pub(crate) struct Outcome {
    pub(crate) incidents: Vec<IncidentDetail>,
    /// By service and start.
    pub(crate) windows: BTreeMap<(String, Nanos), Seen>,
    /// Windows with lines that are stored more than once.
    pub(crate) doubled: u64,
    /// Transitions that wait to be dealt with.
    pub(crate) queued: usize,
    /// Keys of the remediation log.
    pub(crate) log: Vec<String>,
}

/// What is stored of a window with lines.
pub(crate) type Seen = (u64, Features, bool);

/// A transition as far as it may depend on nothing but the lines.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) kind: TransitionKind,
    pub(crate) at: Nanos,
    pub(crate) title: String,
    pub(crate) severity: Severity,
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
    pub(crate) windows: u64,
    pub(crate) lines: u64,
}

impl Outcome {
    /// Of a sigyn that has stopped.
    pub(crate) async fn read(shop: &Shop, data: &Path) -> Self {
        let store = Store::open_read_only(data).await.unwrap();
        let mut incidents = Vec::new();
        let all = Search { members: true, ..Search::default() };
        for incident in store.search(&all, 1000, None).await.unwrap() {
            incidents.push(store.incident(&incident.id).await.unwrap().unwrap());
        }
        let stored = store.windows_all_since("shop", 0).await.unwrap();
        let judged = stored.into_iter().filter(|row| row.window.lines > 0 && row.window.range.end <= shop.cut_off());
        let windows = judged.map(|row| {
            let service = row.group.labels.get("service_name").unwrap().to_owned();
            let seen = (row.window.lines, row.window.features, row.judgement.anomalous.is_some());
            ((service, row.window.range.start), seen)
        });
        let (mut doubled, mut once) = (0, BTreeMap::new());
        for (key, seen) in windows {
            doubled += u64::from(once.insert(key, seen).is_some());
        }
        let queued = store.queued(1000).await.unwrap().len();
        store.close().await.unwrap();
        let log = std::fs::read_to_string(data.join("remediation.jsonl")).unwrap();
        // A kill may tear a line; the next attempt writes it again, whole.
        let log = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let log = log.map(|line| line["key"].as_str().unwrap().to_owned()).collect();
        Self { incidents, windows: once, doubled, queued, log }
    }

    pub(crate) fn transitions(&self) -> impl Iterator<Item = &Transition> {
        self.incidents.iter().flat_map(|detail| &detail.transitions)
    }

    pub(crate) fn deliveries(&self, receiver: &str) -> Vec<&Delivery> {
        let all = self.incidents.iter().flat_map(|detail| &detail.deliveries);
        all.filter(|delivery| delivery.receiver == receiver).collect()
    }

    /// What the engine has said of the shop up to here, in order.
    pub(crate) fn told(&self, until: Nanos) -> Vec<Told> {
        let of_the_shop = self.transitions().filter(|told| told.at <= until && told.incident.watch == "shop");
        let mut told: Vec<Told> = of_the_shop
            .map(|Transition { kind, number, at, incident }| Told {
                id: incident.id.clone(),
                number: *number,
                kind: *kind,
                at: *at,
                title: incident.title.clone(),
                severity: incident.severity,
                from: incident.started_at,
                to: incident.last_seen,
                windows: incident.windows,
                lines: incident.lines,
            })
            .collect();
        told.sort_by(|a, b| (a.at, &a.id, a.number).cmp(&(b.at, &b.id, b.number)));
        told
    }
}
