//! Where to look further, made from the settings and an incident.

use url::Url;

use super::Links;
use super::config::NotifyConfig;
use crate::detect::Anomaly;
use crate::incident::Incident;
use crate::time::{MINUTE, Nanos, TimeRange};

/// Shown before the first anomalous window, so that the eye sees what is usual.
const BEFORE: Nanos = 15 * MINUTE;
/// Shown after the last one.
const AFTER: Nanos = 5 * MINUTE;
/// Servers and proxies refuse longer request lines (nginx: 8 kB).
const LONGEST: usize = 8_000;

/// The links of an incident: its page at `external_url`, and Grafana Explore with its query and time.
#[must_use]
pub fn links(config: &NotifyConfig, incident: &Incident) -> Links {
    let page = |base: &str| format!("{}/incidents/{}", base.trim_end_matches('/'), incident.id);
    let seen = TimeRange::new(incident.started_at, incident.resolved_at.unwrap_or(incident.last_seen));
    let worst = incident.worst.as_ref();
    Links {
        incident: config.external_url.as_deref().map(page),
        explore: worst.and_then(|worst| explore(config, &worst.evidence.query, seen)),
    }
}

/// The link of one anomalous window.
#[must_use]
pub fn anomaly_links(config: &NotifyConfig, anomaly: &Anomaly) -> Links {
    Links { incident: None, explore: explore(config, &anomaly.evidence.query, anomaly.range) }
}

/// Grafana Explore in the `panes` form with `schemaVersion=1` (Grafana 10 and later). A data source is found by its UID
/// or its name; without the setting it is looked for under the name that Grafana gives it, `Loki`.
fn explore(config: &NotifyConfig, query: &str, range: TimeRange) -> Option<String> {
    let base = config.grafana_url.as_deref()?;
    let source = config.grafana_datasource.as_deref().unwrap_or("Loki");
    let (from, to) = (range.start.saturating_sub(BEFORE), range.end.saturating_add(AFTER));
    let panes = serde_json::json!({
        "sigyn": {
            "datasource": source,
            "queries": [{
                "refId": "A",
                "expr": query,
                "queryType": "range",
                "editorMode": "code",
                "datasource": { "type": "loki", "uid": source },
            }],
            "range": { "from": millis(from), "to": millis(to) },
        }
    });
    let mut url = Url::parse(&format!("{}/explore", base.trim_end_matches('/'))).ok()?;
    url.query_pairs_mut().append_pair("schemaVersion", "1").append_pair("panes", &panes.to_string());
    Some(String::from(url)).filter(|url| url.len() <= LONGEST)
}

/// Milliseconds since the epoch, as text: what Grafana takes for an absolute time.
fn millis(at: Nanos) -> String {
    at.div_euclid(1_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;

    fn config() -> NotifyConfig {
        NotifyConfig {
            external_url: Some("https://sigyn.example.com/".to_owned()),
            grafana_url: Some("https://grafana.example.com/g/".to_owned()),
            grafana_datasource: Some("loki-1".to_owned()),
            ..NotifyConfig::default()
        }
    }

    #[test]
    fn explore_carries_query_source_and_range() {
        let incident = fixture::opened().incident;
        let links = links(&config(), &incident);
        assert_eq!(links.incident.as_deref(), Some("https://sigyn.example.com/incidents/00c0ffee00c0ffee"));
        let url = Url::parse(&links.explore.unwrap()).unwrap();
        assert_eq!((url.host_str(), url.path()), (Some("grafana.example.com"), "/g/explore"));
        let pairs: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs["schemaVersion"], "1");
        let panes: serde_json::Value = serde_json::from_str(&pairs["panes"]).unwrap();
        insta::assert_snapshot!(panes, @r#"{"sigyn":{"datasource":"loki-1","queries":[{"datasource":{"type":"loki","uid":"loki-1"},"editorMode":"code","expr":"{service_name=\"cart\"}","queryType":"range","refId":"A"}],"range":{"from":"1795211100000","to":"1795212480000"}}}"#);
    }

    #[test]
    fn a_window_has_a_link_too() {
        let anomaly = fixture::opened().incident.worst.unwrap();
        let links = anomaly_links(&config(), &anomaly);
        assert_eq!(links.incident, None);
        assert!(links.explore.is_some_and(|url| url.contains("1795211220000") && url.contains("1795212480000")));
    }

    #[test]
    fn what_is_not_set_or_not_known_makes_no_link() {
        let incident = fixture::internal().incident;
        assert_eq!(links(&NotifyConfig::default(), &incident), Links::default());
        assert_eq!(links(&config(), &incident).explore, None);
        let broken = NotifyConfig { grafana_url: Some("grafana".to_owned()), ..config() };
        assert_eq!(links(&broken, &fixture::opened().incident).explore, None);
        let endless = fixture::hostile(&"x".repeat(10_000)).incident;
        assert_eq!(links(&config(), &endless).explore, None);
    }
}
