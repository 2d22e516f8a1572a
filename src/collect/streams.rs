//! "All streams": which selectors cover everything that a Loki has, when no watch is configured; and what watches cost.
//!
//! What comes in: the label sets of the last day. What goes out: watches. What never happens here: `{}` or `{x=~".*"}`,
//! which Loki refuses.

use std::collections::BTreeMap;

use crate::collect::client::{Client, ClientError, Scope};
use crate::collect::config::WatchConfig;
use crate::collect::query::Query;
use crate::labels::Labels;
use crate::time::{HOUR, MINUTE, Nanos, SECOND, TimeRange};

/// Labels that name a service, the best first. Loki from 3.0 on sets `service_name` itself, `unknown_service` if need be.
const NAMES: [&str; 3] = ["service_name", "job", "app"];
const UNKNOWN: &str = "unknown_service";
/// At most so many watches are made.
const MAX_WATCHES: usize = 8;
/// Loki's CPU time for each matched busy stream of a request, and for each line (`loki.md` §9, measured).
const STREAM_MS: f64 = 1.6;
const LINE_MS: f64 = 0.008;

/// The watches that cover all streams, and a line for people about each.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// One watch for each label that groups streams.
    pub watches: Vec<WatchConfig>,
    /// What was chosen and why.
    pub told: Vec<String>,
}

/// What a watch would cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Name of the watch.
    pub watch: String,
    /// Streams that match, by the last day.
    pub streams: usize,
    /// Lines in the last closed minute.
    pub lines_per_minute: u64,
    /// Requests of one poll.
    pub requests_per_poll: f64,
    /// Loki's CPU time for one poll, in milliseconds, by the model of `loki.md` §9.
    pub cpu_ms_per_poll: f64,
}

/// Asks Loki for the streams of the last day and chooses.
///
/// # Errors
/// When Loki cannot be asked.
pub async fn choose(client: &Client, org_id: Option<&str>, now: Nanos) -> Result<Choice, ClientError> {
    let scope = Scope { watch: "all", org_id };
    let range = TimeRange::new(now - 24 * HOUR, now);
    let series = match client.series(scope, None, range).await {
        // Before 3.0 a matcher must be named; every label that exists names some.
        Err(error) if error.kind == crate::collect::client::Kind::BadQuery => {
            let mut found = Vec::new();
            for name in client.label_names(scope, range).await?.iter().filter(|name| !name.starts_with("__")) {
                found.extend(client.series(scope, Some(&format!("{{{name}=~\".+\"}}")), range).await?);
            }
            found.sort();
            found.dedup();
            found
        }
        other => other?,
    };
    Ok(cover(&series, org_id))
}

/// Chooses the watches for these streams.
#[must_use]
pub fn cover(series: &[Labels], org_id: Option<&str>) -> Choice {
    let mut choice = Choice { watches: Vec::new(), told: Vec::new() };
    if series.is_empty() {
        choice.told.push(
            "Loki has no streams yet, or loki.org_id is mistyped; watching what will have service_name or job"
                .to_owned(),
        );
    }
    let mut left: Vec<&Labels> = series.iter().collect();
    let mut taken: Vec<String> = Vec::new();
    for name in NAMES {
        let before = left.len();
        left.retain(|labels| !names_itself(labels, name));
        let wanted = before > left.len() || (series.is_empty() && name != "app");
        if wanted {
            choice.add(name, &taken, before - left.len(), org_id);
            taken.push(name.to_owned());
        }
    }
    // Streams without any of the three: by whatever label most of them have.
    while let Some(name) = most_common(&left, &taken).filter(|_| choice.watches.len() < MAX_WATCHES) {
        let before = left.len();
        left.retain(|labels| labels.get(&name).is_none());
        choice.add(&name, &taken, before - left.len(), org_id);
        taken.push(name);
    }
    let unknown = left.iter().filter(|labels| labels.get("service_name") == Some(UNKNOWN)).count();
    if unknown > 0 {
        let rest: String =
            taken.iter().filter(|name| *name != "service_name").map(|name| format!(",{name}=\"\"")).collect();
        choice.push("service_name", format!("{{service_name=\"{UNKNOWN}\"{rest}}}"), unknown, org_id, "all-unknown");
    }
    if left.len() > unknown {
        choice.told.push(format!("{} streams are not covered; configure watches for them", left.len() - unknown));
    }
    choice
}

impl Choice {
    /// A watch of the streams that have `name` and none of the labels `taken` before it.
    fn add(&mut self, name: &str, taken: &[String], streams: usize, org_id: Option<&str>) {
        let mut matchers = vec![format!("{name}=~\".+\"")];
        if name == "service_name" {
            matchers.push(format!("service_name!=\"{UNKNOWN}\""));
        }
        matchers.extend(taken.iter().map(|other| match other.as_str() {
            "service_name" => format!("service_name=~\"|{UNKNOWN}\""),
            other => format!("{other}=\"\""),
        }));
        let watch = if self.watches.is_empty() { "all".to_owned() } else { format!("all-{name}") };
        self.push(name, format!("{{{}}}", matchers.join(",")), streams, org_id, &watch);
    }

    fn push(&mut self, name: &str, query: String, streams: usize, org_id: Option<&str>, watch: &str) {
        self.told.push(format!("watch `{watch}`: {query}, grouped by {name} ({streams} streams in the last day)"));
        self.watches.push(WatchConfig {
            name: watch.to_owned(),
            query,
            org_id: org_id.map(str::to_owned),
            group_by: vec![name.to_owned()],
            ..WatchConfig::default()
        });
    }
}

fn names_itself(labels: &Labels, name: &str) -> bool {
    labels.get(name).is_some_and(|value| !value.is_empty() && (name != "service_name" || value != UNKNOWN))
}

/// The label that most of the streams have, the first by name among equals.
fn most_common(streams: &[&Labels], taken: &[String]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in streams.iter().flat_map(|labels| labels.iter()) {
        if name != "service_name" && !name.starts_with("__") && !taken.iter().any(|other| other == name) {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts.iter().max_by_key(|(name, count)| (**count, std::cmp::Reverse(**name))).map(|(name, _)| (*name).to_owned())
}

impl Client {
    /// The streams of the last day that a watch's selector matches. None of them is what a typo in the tenant or the
    /// selector looks like: Loki answers 200 and empty.
    ///
    /// # Errors
    /// When Loki cannot be asked, or the query is none.
    pub async fn matched(&self, watch: &WatchConfig, now: Nanos) -> Result<usize, ClientError> {
        let scope = Scope { watch: &watch.name, org_id: watch.org_id.as_deref() };
        let query = query(watch)?;
        let range = TimeRange::new(now - 24 * HOUR, now);
        Ok(self.series(scope, Some(query.selector()), range).await?.len())
    }

    /// What a watch would cost this Loki at `now`, with a poll each `interval` and pages of `limit` lines.
    ///
    /// # Errors
    /// When Loki would not answer; the message says what to do.
    pub async fn probe(
        &self,
        watch: &WatchConfig,
        now: Nanos,
        interval: Nanos,
        limit: u32,
    ) -> Result<Cost, ClientError> {
        let scope = Scope { watch: &watch.name, org_id: watch.org_id.as_deref() };
        let streams = self.matched(watch, now).await?;
        let minute = TimeRange::new(now - MINUTE - 10 * SECOND, now - 10 * SECOND);
        let lines_per_minute = self.count(scope, &query(watch)?.text(), minute).await?;
        let lines = lines_per_minute as f64 * interval as f64 / MINUTE as f64;
        let requests_per_poll = (lines / (0.65 * f64::from(limit.max(1)))).ceil().max(1.0);
        Ok(Cost {
            watch: watch.name.clone(),
            streams,
            lines_per_minute,
            requests_per_poll,
            cpu_ms_per_poll: STREAM_MS * streams as f64 * requests_per_poll + LINE_MS * lines,
        })
    }
}

fn query(watch: &WatchConfig) -> Result<Query, ClientError> {
    Query::new(&watch.query, false).map_err(|why| ClientError {
        kind: crate::collect::client::Kind::BadQuery,
        message: format!("watch `{}`: {why}", watch.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(sets: &[&[(&str, &str)]]) -> Vec<Labels> {
        sets.iter().map(|set| set.iter().copied().collect()).collect()
    }

    fn told(sets: &[&[(&str, &str)]]) -> String {
        cover(&series(sets), None).told.join("\n")
    }

    #[test]
    fn service_name_alone_covers_a_new_loki() {
        insta::assert_snapshot!(told(&[&[("service_name", "a"), ("job", "j")], &[("service_name", "b")]]), @r#"watch `all`: {service_name=~".+",service_name!="unknown_service"}, grouped by service_name (2 streams in the last day)"#);
    }

    #[test]
    fn what_has_no_name_is_grouped_by_what_it_has() {
        let sets: [&[(&str, &str)]; 6] = [
            &[("service_name", "a")],
            &[("service_name", "unknown_service"), ("job", "j")],
            &[("app", "x")],
            &[("service_name", "unknown_service"), ("host", "h"), ("zone", "z")],
            &[("host", "i")],
            &[("service_name", "unknown_service")],
        ];
        insta::assert_snapshot!(told(&sets), @r#"
        watch `all`: {service_name=~".+",service_name!="unknown_service"}, grouped by service_name (1 streams in the last day)
        watch `all-job`: {job=~".+",service_name=~"|unknown_service"}, grouped by job (1 streams in the last day)
        watch `all-app`: {app=~".+",service_name=~"|unknown_service",job=""}, grouped by app (1 streams in the last day)
        watch `all-host`: {host=~".+",service_name=~"|unknown_service",job="",app=""}, grouped by host (2 streams in the last day)
        watch `all-unknown`: {service_name="unknown_service",job="",app="",host=""}, grouped by service_name (1 streams in the last day)
        "#);
    }

    #[test]
    fn an_empty_loki_is_watched_for_what_will_come() {
        insta::assert_snapshot!(told(&[]), @r#"
        Loki has no streams yet, or loki.org_id is mistyped; watching what will have service_name or job
        watch `all`: {service_name=~".+",service_name!="unknown_service"}, grouped by service_name (0 streams in the last day)
        watch `all-job`: {job=~".+",service_name=~"|unknown_service"}, grouped by job (0 streams in the last day)
        "#);
    }

    #[test]
    fn every_stream_is_covered_by_exactly_one_watch() {
        use log_generator::loki as standin;
        let loki = standin::Loki::start(standin::Options {
            limits: standin::Limits::any_time(),
            discover_levels: false,
            ..standin::Options::default()
        })
        .unwrap();
        let now = 1_800_000_000 * SECOND;
        let sets: [&[(&str, &str)]; 7] = [
            &[("service_name", "a"), ("host", "h")],
            &[("service_name", "unknown_service"), ("job", "j")],
            &[("service_name", "unknown_service"), ("job", "j"), ("app", "k")],
            &[("service_name", "unknown_service"), ("host", "h")],
            &[("service_name", "unknown_service"), ("host", "h"), ("zone", "z")],
            &[("service_name", "unknown_service"), ("zone", "z")],
            &[("service_name", "unknown_service")],
        ];
        for (id, set) in sets.iter().enumerate() {
            loki.push(set, now - MINUTE, format!("line {id}"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = crate::collect::config::LokiConfig { url: loki.url(), ..Default::default() };
        let client = Client::new(&config).unwrap();
        let choice = runtime.block_on(choose(&client, None, now)).unwrap();
        let mut lines: Vec<String> = Vec::new();
        for watch in &choice.watches {
            lines.extend(loki.entries(&watch.query).unwrap().into_iter().map(|(_, _, line)| line));
            let cost = runtime.block_on(client.probe(watch, now, 30 * SECOND, 5000)).unwrap();
            assert!(cost.streams > 0 && cost.requests_per_poll >= 1.0, "{cost:?}");
        }
        lines.sort();
        let all: Vec<String> = (0..sets.len()).map(|id| format!("line {id}")).collect();
        assert_eq!(lines, all, "{:?}", choice.told);
        let typo = WatchConfig { query: "{app=\"typo\"}".to_owned(), ..choice.watches[0].clone() };
        assert_eq!(runtime.block_on(client.matched(&typo, now)).unwrap(), 0);
        assert_eq!(runtime.block_on(client.version()).unwrap(), "3.8.0");
    }
}
