//! The contract: every pair recorded against a real Loki (`../shared/loki-contract`) stands in one table with what the
//! stand-in does about it. The recorded pushes are replayed; what was pushed without a record is rebuilt from the
//! recorded answers. Compared are status, headers that say what the body is, and the body; `stats` and `Date` apart.

use super::clock::{SECOND, parse_rfc3339};
use super::probe::{Ask, Reply, get, send};
use super::{Clock, Limits, Loki, Options};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// What the stand-in does about a recorded pair.
enum How {
    /// The same status, headers and body; JSON up to the `stats`.
    Same(World),
    /// The same, but the list under `data` may come in any order (Loki's own varies).
    Set(World),
    /// The same status; the text or value is Loki's own for the reason given.
    Status(World, &'static str),
    /// 501: the stand-in has no such call or no such part of LogQL.
    Foreign,
    /// Not covered, for the reason given.
    No(&'static str),
}

/// What the stand-in holds when the request comes.
enum World {
    /// Nothing.
    Bare,
    /// What these recorded answers show.
    Shown(&'static [&'static str]),
    /// What these recorded pushes bring in.
    After(&'static [&'static str]),
    /// One line in each stream of the recorded `/series` answer.
    Series,
    /// So many streams of one line each, of tenant `series`.
    Many(usize),
}

use How::{Foreign, No, Same, Set, Status};
use World::{After, Bare, Many, Series, Shown};

const RANGE: World = Shown(&["qr-streams-default"]);
const SM: World = Shown(&["qr-metadata-categorized"]);
const LEVELS: World = Shown(&["qr-detected-levels"]);
const SAME_TIME: World = Shown(&["qr-sametime-all"]);
const COUNT: World = After(&["count-exact-push"]);
const TRICKY: World = After(&["detected-level-tricky-push"]);
const TENANTS: World = After(&["auth-push-tenant-a-204", "auth-push-tenant-b-204"]);
const DUPLICATES: World = After(&["push-duplicate-same-request-204", "push-duplicate-again-204"]);
const OUT_OF_ORDER: World = After(&["push-newest-first-204"]);

const GO_JSON: &str = "the text is that of Loki's JSON parser";
const RATE: &str = "rates are not counted; a 429 is played by Faults";
const READY: &str = "it is ready from the start";
const TAIL: &str = "no websockets, and no answer is recorded but the handshake";

const TABLE: &[(&str, How)] = &[
    ("alerts-prometheus", Foreign),
    ("auth-bad-tenant", Same(Bare)),
    ("auth-empty-tenant", Same(Bare)),
    ("auth-labels-no-tenant-401", Same(Bare)),
    ("auth-labels-two-tenants", Same(TENANTS)),
    ("auth-metric-two-tenants", Same(TENANTS)),
    ("auth-patterns-two-tenants", Foreign),
    ("auth-push-no-tenant-401", Same(Bare)),
    ("auth-push-tenant-a-204", Same(Bare)),
    ("auth-push-tenant-b-204", Same(Bare)),
    ("auth-push-two-tenants", Same(Bare)),
    ("auth-query-no-tenant-401", Same(Bare)),
    ("auth-query-tenant-a", Same(TENANTS)),
    ("auth-query-two-tenants", Same(TENANTS)),
    ("auth-query-two-tenants-categorized", Same(TENANTS)),
    ("auth-query-two-tenants-select", Same(TENANTS)),
    ("auth-rules-no-rules-400", Foreign),
    ("auth-rules-tenant-a", Foreign),
    ("auth-unknown-tenant-200", Same(TENANTS)),
    ("buildinfo", Status(Bare, "it names its own version")),
    ("config-excerpt", Foreign),
    ("count-exact-instant-b", Same(COUNT)),
    ("count-exact-instant-b-minus-1ns", Same(COUNT)),
    ("count-exact-push", Same(Bare)),
    ("count-exact-range-offset-1ns", Foreign),
    ("detected-field-values", Foreign),
    ("detected-fields", Foreign),
    ("detected-fields-logfmt", Foreign),
    ("detected-labels", Foreign),
    ("detected-level-tricky", Same(TRICKY)),
    ("detected-level-tricky-push", Same(Bare)),
    ("drilldown-limits", Foreign),
    ("format-query", Foreign),
    ("format-query-error-400", Foreign),
    ("index-shards", Foreign),
    ("index-stats", Foreign),
    ("index-stats-empty", Foreign),
    ("index-volume", Foreign),
    ("index-volume-no-query-400", Foreign),
    ("index-volume-range", Foreign),
    ("index-volume-target-labels", Foreign),
    ("label-values", Same(Series)),
    ("label-values-query", Same(RANGE)),
    ("label-values-unknown", Same(Series)),
    ("labels", Same(Series)),
    ("labels-empty", Same(Series)),
    ("labels-with-query", Same(Series)),
    ("metrics-excerpt", Foreign),
    ("not-found-404", Foreign),
    ("patterns", Foreign),
    ("patterns-bad-query-400", Foreign),
    ("patterns-default-step", Foreign),
    ("patterns-filter-ignored-or-not", Foreign),
    ("patterns-fresh", Foreign),
    ("patterns-old-range-empty", Foreign),
    ("push-bad-content-encoding-400", Same(Bare)),
    ("push-bad-json-400", Status(Bare, GO_JSON)),
    ("push-duplicate-again-204", Same(Bare)),
    ("push-duplicate-check", Same(DUPLICATES)),
    ("push-duplicate-same-request-204", Same(Bare)),
    ("push-empty-body", Same(Bare)),
    ("push-empty-streams", Same(Bare)),
    ("push-get-405", Same(Bare)),
    ("push-invalid-label-name", Same(Bare)),
    ("push-invalid-label-selector-protobuf-400", Same(Bare)),
    ("push-json-204", Same(Bare)),
    ("push-json-bad-timestamp-400", Status(Bare, GO_JSON)),
    ("push-json-gzip-204", Same(Bare)),
    ("push-json-metadata-nonstring-400", Status(Bare, GO_JSON)),
    ("push-json-numeric-timestamp-400", Status(Bare, GO_JSON)),
    ("push-json-structured-metadata-204", Same(Bare)),
    ("push-line-too-long-400", Same(Bare)),
    ("push-newest-first-204", Same(Bare)),
    ("push-no-content-type-400", Same(Bare)),
    ("push-no-labels-204", Same(Bare)),
    ("push-otlp-check", Same(Shown(&["push-otlp-check"]))),
    ("push-otlp-json", Foreign),
    ("push-out-of-order-30m-204", Same(OUT_OF_ORDER)),
    ("push-partial-check", Same(After(&["push-partial-reject-400"]))),
    ("push-partial-reject-400", Same(Bare)),
    ("push-per-stream-rate-limited-429", No(RATE)),
    ("push-protobuf-not-snappy-400", Same(Bare)),
    ("push-protobuf-snappy-204", Same(Bare)),
    ("push-protobuf-snappy-content-encoding-204", Same(Bare)),
    ("push-rate-limited-429", No(RATE)),
    ("push-stream-limit-429", Same(Bare)),
    ("push-text-plain-400", Same(Bare)),
    ("push-too-far-behind-400", Same(OUT_OF_ORDER)),
    ("push-too-many-labels-400", Same(Bare)),
    ("push-too-many-labels-limit3-400", Same(Bare)),
    ("push-too-new-400", Same(Bare)),
    ("push-too-old-400", Same(Bare)),
    ("qr-accept-parquet", Same(RANGE)),
    ("qr-accept-protobuf", Foreign),
    ("qr-accept-zstd-br", Same(RANGE)),
    ("qr-all-streams-empty-selector-400", Same(RANGE)),
    ("qr-bad-direction-400", Same(RANGE)),
    ("qr-bad-regex-400", Same(RANGE)),
    ("qr-bad-start-400", Same(RANGE)),
    ("qr-bad-step-400", Same(RANGE)),
    ("qr-bounds-end-before-start-400", Same(RANGE)),
    ("qr-bounds-one-ns", Same(RANGE)),
    ("qr-bounds-start-equals-end", Same(RANGE)),
    ("qr-bounds-start-inclusive-end-exclusive", Same(RANGE)),
    ("qr-categorized-no-metadata", Same(RANGE)),
    ("qr-detected-level-filter", Same(LEVELS)),
    ("qr-detected-levels", Same(LEVELS)),
    ("qr-empty-compatible-matcher-400", Same(RANGE)),
    ("qr-empty-matcher-400", Same(RANGE)),
    ("qr-empty-matrix-200", Same(RANGE)),
    ("qr-empty-streams-200", Same(RANGE)),
    ("qr-exact-streams", Same(COUNT)),
    ("qr-future-empty-200", Same(RANGE)),
    ("qr-gzip", Same(RANGE)),
    ("qr-gzip-small", Same(RANGE)),
    ("qr-interval-param", Foreign),
    ("qr-json-parser-error", Foreign),
    ("qr-limit-negative-400", Same(RANGE)),
    ("qr-limit-over-max-400", Same(RANGE)),
    ("qr-limit-over-max-ignored-for-metric", Same(RANGE)),
    ("qr-limit-zero-400", Same(RANGE)),
    ("qr-line-format-drop", Foreign),
    ("qr-log-query-over-500-streams-200", Same(Many(520))),
    ("qr-matrix-absent", Foreign),
    ("qr-matrix-bytes-over-time", Same(RANGE)),
    ("qr-matrix-count-over-time", Same(RANGE)),
    ("qr-matrix-nan-inf", Foreign),
    ("qr-matrix-quantile-unwrap", Foreign),
    ("qr-matrix-quantile-unwrap-noerror", Foreign),
    ("qr-matrix-rate", Same(RANGE)),
    ("qr-matrix-start-not-aligned", Same(RANGE)),
    ("qr-matrix-sum-by-level", Same(RANGE)),
    ("qr-matrix-topk", Foreign),
    ("qr-matrix-unwrap-missing-label", Foreign),
    ("qr-matrix-window-semantics", Same(RANGE)),
    ("qr-max-series-400", Same(Many(520))),
    ("qr-metadata-categorized", Same(SM)),
    ("qr-metadata-categorized-parsed", Foreign),
    ("qr-metadata-default", Same(SM)),
    ("qr-metadata-filter", Same(SM)),
    ("qr-no-query-400", Same(RANGE)),
    ("qr-page-over-4MiB-no-response", No("played by Faults::page, with a test of its own")),
    ("qr-parse-error-400", Same(RANGE)),
    ("qr-parse-error-unknown-function-400", Same(RANGE)),
    ("qr-parsed-default", Foreign),
    ("qr-query-tags", Same(RANGE)),
    ("qr-sametime-all", Same(SAME_TIME)),
    ("qr-sametime-backward-limit5", Same(SAME_TIME)),
    ("qr-sametime-drain-one-ns", Same(SAME_TIME)),
    ("qr-sametime-page1-limit5", Same(SAME_TIME)),
    ("qr-sametime-page2-from-last-ts", Same(SAME_TIME)),
    ("qr-sametime-page2-from-last-ts-plus-1", Same(SAME_TIME)),
    ("qr-since", Same(RANGE)),
    ("qr-slow-over-write-timeout-no-response", No("played by Fault::NoAnswer, with a test of its own")),
    ("qr-streams-backward", Same(RANGE)),
    ("qr-streams-default", Same(RANGE)),
    ("qr-streams-forward", Same(RANGE)),
    ("qr-streams-post-form", Same(RANGE)),
    ("qr-tenant-bytes-read-400", No("bytes are not limited; Fault::Status plays it")),
    ("qr-tenant-default-limit-over-max-400", Same(Bare)),
    ("qr-tenant-lookback-clamped-200", Same(Bare)),
    ("qr-tenant-max-entries-10-400", Same(Bare)),
    ("qr-tenant-max-entries-two-tenants-400", Same(Bare)),
    ("qr-tenant-max-range-400", Same(Bare)),
    ("qr-tenant-max-series-ok", Same(Many(50))),
    ("qr-tenant-query-timeout-504", No("it is never too slow by itself; Fault::Status plays it")),
    ("qr-tenant-too-long-400", Status(Bare, "the length in the text is that of the moment after the lookback")),
    ("qr-time-formats-rfc3339", Same(RANGE)),
    ("qr-time-formats-seconds-float", Same(RANGE)),
    ("qr-too-long-400", Same(RANGE)),
    ("qr-too-many-outstanding-429", No("played by Fault::TooManyRequests, with a test of its own")),
    ("qr-too-many-points-400", Same(RANGE)),
    ("qr-vector-sum-empty", Same(RANGE)),
    ("qr-vector-sum-or-zero", Same(RANGE)),
    ("query-instant-log-400", Same(RANGE)),
    ("query-instant-scalar", Foreign),
    ("query-instant-vector", Same(RANGE)),
    ("ready-200", Same(Bare)),
    ("ready-503-ingester", No(READY)),
    ("ready-503-pattern", No(READY)),
    ("ready-503-some", No(READY)),
    ("rules-prometheus", Foreign),
    ("rules-yaml", Foreign),
    ("series", Set(Series)),
    ("series-no-match", Set(Series)),
    ("series-no-matcher", Set(TRICKY)),
    ("services", Foreign),
    ("tail-bad-query", No(TAIL)),
    ("tail-delay-too-big", No(TAIL)),
    ("tail-limit-over-max", No(TAIL)),
    ("tail-metric-query", No(TAIL)),
    ("tail-not-websocket", Foreign),
    ("tail-websocket", No(TAIL)),
    ("tail-websocket-categorized", No(TAIL)),
    ("tail-websocket-dropped", No(TAIL)),
];

/// The recorded pairs, or why they are not there.
fn folder() -> Option<PathBuf> {
    let shared = std::env::var_os("SIGYN_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let folder = shared.join("loki-contract");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", folder.display());
    println!("SKIPPED: no recorded pairs in {}", folder.display());
    None
}

struct Contract {
    folder: PathBuf,
}

impl Contract {
    fn read(&self, name: &str) -> Value {
        let path = self.folder.join(format!("{name}.json"));
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
    }

    /// A stand-in in the state that the pair was recorded in, at the time of its answer.
    fn world(&self, pair: &Value, world: &World) -> Loki {
        let name = pair["name"].as_str().unwrap();
        let tenant = header(&pair["request"]["headers"], "X-Scope-OrgID");
        let auth_enabled = name.starts_with("auth-") || tenant.is_some();
        let options = Options {
            auth_enabled,
            multi_tenant: true,
            clock: Clock::fixed(date(pair)),
            tenant_limits: tenant_limits(),
            ..Options::default()
        };
        let loki = Loki::start(options).unwrap();
        match world {
            Bare => {}
            Shown(names) => names.iter().for_each(|name| load(&loki, &self.read(name))),
            After(names) => names.iter().for_each(|name| drop(send(loki.address(), &ask(&self.read(name))))),
            Series => {
                for labels in self.read("series-no-match")["response"]["body_json"]["data"].as_array().unwrap() {
                    loki.push_all("fake", &pairs(labels), [(1_795_211_887 * SECOND, "x".to_owned())]);
                }
            }
            Many(n) => {
                for i in 0..*n {
                    let (app, ts) = (format!("m{i}"), 1_795_211_940 * SECOND + i as i64);
                    loki.push_all("series", &[("app", app.as_str()), ("env", "e")], [(ts, format!("x {i}"))]);
                }
            }
        }
        loki
    }

    fn check(&self, name: &str, how: &How) -> Result<(), String> {
        let (world, pair) = match how {
            Same(world) | Set(world) | Status(world, _) => (world, self.read(name)),
            Foreign => (&Bare, self.read(name)),
            No(_) => return Ok(()),
        };
        let loki = self.world(&pair, world);
        let reply = send(loki.address(), &ask(&pair));
        let wanted = &pair["response"];
        let status = wanted["status"].as_u64().unwrap_or_default();
        let same = |what: &str, seen: String, wanted: String| {
            if seen == wanted { Ok(()) } else { Err(format!("{name}: {what}\n  seen   {seen}\n  wanted {wanted}")) }
        };
        if matches!(how, Foreign) {
            let text = reply.text();
            let start = text.get(..20).unwrap_or_default().to_owned();
            same("status", reply.status.to_string(), "501".to_owned())?;
            return same("text", start, "not in the stand-in:".to_owned());
        }
        same("status", format!("{} {}", reply.status, reply.text()), format!("{status} {}", reply.text()))?;
        for name in ["Content-Type", "Content-Encoding", "Vary", "Transfer-Encoding"] {
            let shown = |v: Option<&str>| v.unwrap_or("none").to_owned();
            same(name, shown(reply.header(name)), shown(header(&wanted["headers"], name).as_deref()))?;
        }
        match how {
            Same(_) => same("body", body(&reply), wanted_body(wanted)),
            Set(_) => {
                let set =
                    |v: &Value| v["data"].as_array().unwrap().iter().map(Value::to_string).collect::<BTreeSet<_>>();
                let seen: Value = serde_json::from_slice(&reply.body).unwrap();
                same("set", format!("{:?}", set(&seen)), format!("{:?}", set(&wanted["body_json"])))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn the_table_names_every_recorded_pair() {
    let Some(folder) = folder() else { return };
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|f| Some(f.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    let table: BTreeSet<String> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(table.len(), TABLE.len(), "a name stands twice in the table");
    assert_eq!(files, table);
}

#[test]
fn every_pair_of_the_table_holds() {
    let Some(folder) = folder() else { return };
    let contract = Contract { folder };
    let failed: Vec<String> = TABLE.iter().filter_map(|(name, how)| contract.check(name, how).err()).collect();
    let covered = TABLE.iter().filter(|(_, how)| !matches!(how, No(_))).count();
    assert!(failed.is_empty(), "{} of {covered} pairs differ:\n{}", failed.len(), failed.join("\n"));
    let why: BTreeSet<&str> = TABLE
        .iter()
        .filter_map(|(_, how)| if let No(why) | Status(_, why) = how { Some(*why) } else { None })
        .collect();
    println!("{covered} of {} pairs are covered; the rest, or only in part: {why:?}", TABLE.len());
}

#[test]
fn a_stopped_port_is_free_again() {
    let loki = Loki::start(Options::default()).unwrap();
    let address = loki.address();
    assert_eq!(get(address, "/ready").text(), "ready\n");
    loki.shutdown();
    let again = Loki::start(Options { listen: address, ..Options::default() }).unwrap();
    assert_eq!(get(address, "/ready").status, 200);
    drop(again);
}

/// The limits that the recorded server had for its tenants.
fn tenant_limits() -> BTreeMap<String, Limits> {
    let hour = Duration::from_secs(3600);
    let tight = Limits {
        max_entries: 10,
        max_labels: 3,
        max_query_length: hour,
        max_query_range: hour / 6,
        max_query_lookback: 2 * hour,
        ..Limits::default()
    };
    let few = Limits { max_streams: 2, ..Limits::default() };
    BTreeMap::from([("tight".to_owned(), tight), ("fewstreams".to_owned(), few)])
}

/// The recorded request.
fn ask(pair: &Value) -> Ask {
    let request = &pair["request"];
    let mut headers = Vec::new();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        headers.push((name.trim_end_matches(';').to_owned(), value.as_str().unwrap().to_owned()));
    }
    let mut body = match &request["body_base64"] {
        Value::String(text) => base64(text),
        _ => request["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    };
    if request["body_truncated_from"].is_number() {
        // The one long body that is replayed: a line of one byte more than is allowed.
        let line = "y".repeat(262_145);
        let stream = r#"{"service_name":"contract","case":"push"}"#;
        body = format!(r#"{{"streams":[{{"stream":{stream},"values":[["1795211887000000000","{line}"]]}}]}}"#).into();
    }
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    Ask { method: text(&request["method"]), target: text(&request["path"]), headers, body }
}

/// The time of the recorded answer, in ns.
fn date(pair: &Value) -> i64 {
    let Some(text) = header(&pair["response"]["headers"], "Date") else { return 1_795_212_000 * SECOND };
    let parts: Vec<&str> = text.split(' ').collect();
    assert_eq!(parts[2], "Nov");
    parse_rfc3339(&format!("{}-11-{}T{}Z", parts[3], parts[1], parts[4])).unwrap()
}

/// A header of a recorded request (an object) or answer (a list of pairs).
fn header(headers: &Value, name: &str) -> Option<String> {
    let list = headers.as_array().into_iter().flatten().map(|h| (h[0].as_str(), h[1].as_str()));
    let object = headers.as_object().into_iter().flatten().map(|(n, v)| (Some(n.as_str()), v.as_str()));
    list.chain(object).find(|(n, _)| *n == Some(name)).and_then(|(_, v)| Some(v?.to_owned()))
}

fn body(reply: &Reply) -> String {
    if reply.header("Content-Encoding") == Some("gzip") {
        return unzipped(&reply.body);
    }
    reply.result().trim_end_matches('\n').to_owned() + if reply.text().ends_with('\n') { "\n" } else { "" }
}

fn wanted_body(response: &Value) -> String {
    if let Some(zipped) = response["body_base64"].as_str() {
        return unzipped(&base64(zipped));
    }
    let text = response["body"].as_str().unwrap_or_default();
    let cut = text.split(",\"stats\":").next().unwrap_or_default();
    cut.trim_end_matches('\n').to_owned() + if text.ends_with('\n') { "\n" } else { "" }
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes), &mut text).unwrap();
    text.split(",\"stats\":").next().unwrap().to_owned()
}

/// Puts in what a recorded answer shows.
fn load(loki: &Loki, pair: &Value) {
    for stream in pair["response"]["body_json"]["data"]["result"].as_array().unwrap() {
        let labels: Vec<(&str, &str)> =
            pairs(&stream["stream"]).into_iter().filter(|(name, _)| *name != "detected_level").collect();
        for value in stream["values"].as_array().unwrap() {
            let ts = value[0].as_str().unwrap().parse().unwrap();
            let metadata: Vec<(&str, &str)> = value
                .get(2)
                .map(|third| pairs(&third["structuredMetadata"]))
                .unwrap_or_default()
                .into_iter()
                .filter(|(name, _)| *name != "detected_level")
                .collect();
            loki.push_with("fake", &labels, ts, value[1].as_str().unwrap(), &metadata);
        }
    }
}

fn pairs(object: &Value) -> Vec<(&str, &str)> {
    object.as_object().into_iter().flatten().map(|(n, v)| (n.as_str(), v.as_str().unwrap())).collect()
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().filter_map(|b| DIGITS.iter().position(|d| *d == b)) {
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}
