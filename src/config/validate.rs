//! What types cannot say about settings: URLs, names, pairs that belong together, files that must be readable.
//!
//! What comes in: settings of the right types. What goes out: findings with their key path. What never happens here:
//! opening a connection, or showing a secret.

mod receivers;
mod route;

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};

use url::Url;

use super::Settings;
use super::mistake::{Path, shown};
use crate::collect::config::{CollectConfig, LokiConfig, WatchConfig};
use crate::detect::config::{DetectConfig, Size, WindowSpec};
use crate::detect::personal::{MAX_PATTERNS, MaskConfig, compile};
use crate::incident::config::IncidentConfig;
use crate::labels::Labels;
use crate::notify::config::{GithubConfig, NotifyConfig};
use crate::secret::{MASK, Secret};
use crate::store::config::StoreConfig;
use crate::store::is_url;
use crate::time::Span;

/// Longest tenant name that Loki takes.
const MAX_ORG_ID: usize = 150;
/// Longest label name that GitHub takes.
const MAX_GITHUB_LABEL: usize = 50;
/// What a watch needs for a few groups and their templates.
const LEAST_MEMORY: Size = Size::megabytes(8);
/// Longest name of a watch; it is a metric label and part of titles.
const MAX_NAME: usize = 100;

/// A mistake before its place is known.
pub(super) struct Finding {
    pub(super) path: Path,
    /// Other keys that it is about: when one of them is a mistake already, this one may be none.
    pub(super) also: Vec<Path>,
    pub(super) text: String,
}

/// All findings.
pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let mut look = Look(Vec::new());
    look.loki(&settings.loki);
    look.collect(&settings.collect);
    let mut names = BTreeSet::new();
    for (index, watch) in settings.watches.iter().enumerate() {
        look.watch(watch, &Path::of("watches").index(index), &settings.collect, &mut names);
    }
    look.detect(&settings.detect);
    look.memory(settings.detect.memory_limit, settings.watches.len().max(1));
    look.mask(&settings.mask);
    look.incident(&settings.incident);
    look.notify(&settings.notify);
    look.routing(&settings.notify);
    look.receivers(&settings.notify);
    look.rest(settings);
    look.0
}

/// What is no mistake, but probably not what was meant.
pub(super) fn notes(settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let github = &settings.notify.github;
    if github.repo.is_none() && (github.token.is_some() || github.token_file.is_some()) {
        notes.push("a GitHub token is set but no notify.github.repo: no issues are made".to_owned());
    }
    if notify_nobody(&settings.notify) {
        notes.push("neither Slack nor GitHub is set: incidents go to the remediation log only".to_owned());
    }
    let loki = &settings.loki;
    let credentials = loki.password.is_some() || loki.password_file.is_some();
    let credentials = credentials || loki.bearer_token.is_some() || loki.bearer_token_file.is_some();
    if credentials && loki.url.starts_with("http://") && !is_local(&loki.url) {
        notes.push("loki.url is http: the credentials go over the network in clear text".to_owned());
    }
    notes
}

fn notify_nobody(notify: &NotifyConfig) -> bool {
    notify.entries().is_empty()
}

fn is_local(url: &str) -> bool {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

struct Look(Vec<Finding>);

impl Look {
    fn say(&mut self, path: Path, text: impl Into<String>) {
        self.0.push(Finding { path, also: Vec::new(), text: text.into() });
    }

    fn say_with(&mut self, path: Path, also: &[Path], text: impl Into<String>) {
        self.0.push(Finding { path, also: also.to_vec(), text: text.into() });
    }

    fn loki(&mut self, loki: &LokiConfig) {
        let at = |key| Path::of("loki").key(key);
        self.url(at("url"), &loki.url);
        self.org_id(at("org_id"), loki.org_id.as_deref());
        self.secret(&Path::of("loki"), "password", loki.password.as_ref(), loki.password_file.as_ref());
        self.secret(&Path::of("loki"), "bearer_token", loki.bearer_token.as_ref(), loki.bearer_token_file.as_ref());
        let basic = loki.password.is_some() || loki.password_file.is_some();
        let bearer = loki.bearer_token.is_some() || loki.bearer_token_file.is_some();
        let keys = ["username", "password", "password_file", "bearer_token", "bearer_token_file"].map(at);
        match &loki.username {
            Some(_) if !basic => self.say_with(at("username"), &keys, "needs password or password_file"),
            None if basic => self.say_with(Path::of("loki"), &keys, "a password without a username"),
            _ => {}
        }
        if bearer && (basic || loki.username.is_some()) {
            self.say_with(Path::of("loki"), &keys, "both a password and a bearer token; keep one");
        }
        for (name, value) in &loki.headers {
            let path = at("headers").key(name);
            if axum::http::HeaderName::try_from(name.as_str()).is_err() {
                self.say(at("headers"), format!("`{}` is no name of a header", shown(name)));
            }
            self.value(&path, value);
        }
        self.readable(at("ca_file"), loki.ca_file.as_deref());
        self.readable(at("cert_file"), loki.cert_file.as_deref());
        self.readable(at("key_file"), loki.key_file.as_deref());
        let pair = [at("cert_file"), at("key_file")];
        match (&loki.cert_file, &loki.key_file) {
            (Some(_), None) => self.say_with(at("cert_file"), &pair, "needs key_file"),
            (None, Some(_)) => self.say_with(at("key_file"), &pair, "needs cert_file"),
            _ => {}
        }
        self.positive(at("timeout"), loki.timeout);
    }

    fn collect(&mut self, collect: &CollectConfig) {
        let at = |key| Path::of("collect").key(key);
        self.positive(at("interval"), collect.interval);
        self.positive(at("late_after"), collect.late_after);
        self.positive(at("max_lag"), collect.max_lag);
        self.delay(at("eval_delay"), collect.eval_delay, collect.max_lag);
        self.at_least_one(at("max_requests_per_minute"), collect.max_requests_per_minute);
        self.at_least_one(at("limit"), collect.limit);
    }

    fn watch(&mut self, watch: &WatchConfig, at: &Path, collect: &CollectConfig, names: &mut BTreeSet<String>) {
        let name = at.key("name");
        if watch.name.trim().is_empty() {
            self.say(name, "a watch needs a name");
        } else if watch.name.len() > MAX_NAME || watch.name.chars().any(char::is_control) {
            self.say(name, format!("must be at most {MAX_NAME} bytes without control characters"));
        } else if watch.name == "sigyn" {
            self.say(name, "`sigyn` is the name of incidents about sigyn itself; choose another");
        } else if !names.insert(watch.name.clone()) {
            self.say(name, format!("`{}` is the name of another watch; names must be unique", watch.name));
        }
        self.query(at.key("query"), watch.query.trim());
        self.org_id(at.key("org_id"), watch.org_id.as_deref());
        if let Some(interval) = watch.interval {
            self.positive(at.key("interval"), interval);
        }
        if let Some(delay) = watch.eval_delay {
            self.delay(at.key("eval_delay"), delay, collect.max_lag);
        }
        if let Some(Err(text)) = watch.window.as_deref().map(str::parse::<WindowSpec>) {
            self.say(at.key("window"), text);
        }
        for (index, label) in watch.group_by.iter().enumerate().filter(|(_, label)| !is_label(label)) {
            self.say(at.key("group_by").index(index), format!("`{}` is no name of a label", shown(label)));
        }
        self.labels(at.key("labels"), &watch.labels);
        if let Some(url) = &watch.runbook_url {
            self.url(at.key("runbook_url"), url);
        }
    }

    fn query(&mut self, path: Path, query: &str) {
        let selector =
            query.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(selector, _)| selector.trim());
        match selector {
            _ if query.is_empty() => self.say(path, "a watch needs a query such as `{namespace=\"shop\"}`"),
            None if query.starts_with('{') => self.say(path, "the selector has no closing `}`"),
            None => self.say(path, "must be a LogQL selector with optional line filters, such as `{app=\"cart\"} != \"healthz\"`; metric queries are made by sigyn itself"),
            Some("") => self.say(path, "`{}` selects nothing in Loki; name a label, such as `{service_name=~\".+\"}`"),
            Some(_) => {}
        }
    }

    fn detect(&mut self, detect: &DetectConfig) {
        let at = |key| Path::of("detect").key(key);
        self.at_least_one(at("warm_up"), detect.warm_up);
        self.at_least_one(at("history"), detect.history);
        self.at_least_one(at("refit_every"), detect.refit_every);
        self.at_least_one(at("max_groups"), detect.max_groups);
        self.positive(at("forget_after"), detect.forget_after);
        if detect.warm_up > detect.history {
            let text = format!("must be at most history ({}), or nothing is ever judged", detect.history);
            self.say_with(at("warm_up"), &[at("history")], text);
        }
        if !(detect.false_alerts_per_day.is_finite() && detect.false_alerts_per_day > 0.0) {
            self.say(at("false_alerts_per_day"), "must be a number above 0");
        }
    }

    fn incident(&mut self, incident: &IncidentConfig) {
        let at = |key| Path::of("incident").key(key);
        self.positive(at("keep_firing_for"), incident.keep_firing_for);
        self.positive(at("news_interval"), incident.news_interval);
        self.positive(at("update_interval"), incident.update_interval);
        if incident.expire_after <= incident.keep_firing_for {
            let text = format!("must be longer than keep_firing_for ({})", incident.keep_firing_for);
            self.say_with(at("expire_after"), &[at("keep_firing_for")], text);
        }
    }

    fn notify(&mut self, notify: &NotifyConfig) {
        let at = |key| Path::of("notify").key(key);
        for (key, url) in [("external_url", &notify.external_url), ("grafana_url", &notify.grafana_url)] {
            if let Some(url) = url {
                self.url(at(key), url);
            }
        }
        if notify.grafana_datasource.is_some() && notify.grafana_url.is_none() {
            self.say_with(at("grafana_datasource"), &[at("grafana_url")], "needs grafana_url");
        }
        self.labels(at("external_labels"), &notify.external_labels);
        let heartbeat = &notify.heartbeat;
        self.secret(&at("heartbeat"), "url", heartbeat.url.as_ref(), heartbeat.url_file.as_ref());
        self.secret_url(at("heartbeat").key("url"), heartbeat.url.as_ref());
        self.positive(at("heartbeat").key("interval"), heartbeat.interval);
    }

    fn github(&mut self, github: &GithubConfig, place: &Path) {
        let at = |key| place.key(key);
        self.url(at("api_url"), &github.api_url);
        self.secret(place, "token", github.token.as_ref(), github.token_file.as_ref());
        if let Some(repo) = &github.repo {
            let part = |text: &str| {
                !matches!(text, "" | "." | "..")
                    && text.len() <= 100
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            };
            if !repo.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name)) {
                self.say(at("repo"), "must be owner/name, such as acme/shop");
            }
            if github.token.is_none() && github.token_file.is_none() {
                self.say_with(at("repo"), &[at("token"), at("token_file")], "needs token or token_file");
            }
        }
        for (index, label) in github.labels.iter().enumerate() {
            if label.trim().is_empty() || label.chars().count() > MAX_GITHUB_LABEL || label.contains(',') {
                let text = format!("must be 1 to {MAX_GITHUB_LABEL} characters without commas");
                self.say(at("labels").index(index), text);
            }
        }
    }

    fn memory(&mut self, limit: Size, watches: usize) {
        let least = Size(LEAST_MEMORY.0.saturating_mul(watches as u64));
        if limit < least {
            let each = if watches == 1 { String::new() } else { format!(" for {watches} watches") };
            let text = format!("{limit} is too little{each}; write at least {least}, {LEAST_MEMORY} for each watch");
            self.say_with(Path::of("detect.memory_limit"), &[Path::of("watches")], text);
        }
    }

    fn mask(&mut self, mask: &MaskConfig) {
        let patterns = Path::of("mask.patterns");
        if mask.patterns.len() > MAX_PATTERNS {
            self.say(patterns.clone(), format!("has more than {MAX_PATTERNS} patterns; join some with `|`"));
        }
        for (index, pattern) in mask.patterns.iter().enumerate() {
            if let Err(wrong) = compile(pattern) {
                self.say(patterns.clone().index(index), wrong);
            }
        }
    }

    fn rest(&mut self, settings: &Settings) {
        let store = |key| Path::of("store").key(key);
        if settings.store.data_dir.as_os_str().is_empty() {
            self.say(store("data_dir"), "must name a folder");
        }
        let StoreConfig { url, url_file, window_retention, incident_retention, .. } = &settings.store;
        self.secret(&Path::of("store"), "url", url.as_ref(), url_file.as_ref());
        if url.as_ref().is_some_and(|url| url.expose() != MASK && !is_url(url)) {
            self.say(store("url"), "must be like postgres://user:password@host:5432/database");
        }
        let StoreConfig { model_retention, gap_retention, command_retention, silence_retention, .. } = &settings.store;
        for (key, span) in [
            ("window_retention", window_retention),
            ("incident_retention", incident_retention),
            ("model_retention", model_retention),
            ("gap_retention", gap_retention),
            ("command_retention", command_retention),
            ("silence_retention", silence_retention),
        ] {
            self.positive(store(key), *span);
        }
        if let Some(Err(error)) = settings.telemetry.log.as_deref().map(tracing_subscriber::EnvFilter::try_new) {
            let text = format!("is no filter for the log ({error}); write it like `info` or `sigyn=debug,warn`");
            self.say(Path::of("telemetry.log"), text);
        }
    }

    // What several sections need.

    fn positive(&mut self, path: Path, span: Span) {
        if span.0.is_zero() {
            self.say(path, "must be longer than 0");
        }
    }

    fn at_least_one(&mut self, path: Path, count: u32) {
        if count == 0 {
            self.say(path, "must be at least 1");
        }
    }

    fn delay(&mut self, path: Path, delay: Span, max_lag: Span) {
        if delay >= max_lag {
            let text = format!("must be shorter than collect.max_lag ({max_lag}), or nothing is ever read");
            self.say_with(path, &[Path::of("collect.max_lag")], text);
        }
    }

    fn url(&mut self, path: Path, text: &str) {
        if let Err(why) = http_url(text) {
            self.say(path, why);
        }
    }

    fn secret_url(&mut self, path: Path, secret: Option<&Secret>) {
        // The mask is reported as such.
        if let Some(secret) = secret.filter(|secret| secret.expose() != MASK && !secret.expose().trim().is_empty())
            && !matches!(Url::parse(secret.expose().trim()), Ok(url) if is_http(&url))
        {
            self.say(path, "must be a URL that starts with https:// (or http://); it is not shown, as it is a secret");
        }
    }

    fn org_id(&mut self, path: Path, org_id: Option<&str>) {
        // Loki's own rule for tenants; `a|b` asks several at once.
        let part = |text: &str| {
            !matches!(text, "" | "." | "..")
                && text.len() <= MAX_ORG_ID
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!-_.*'()".contains(&b))
        };
        if org_id.is_some_and(|text| !text.split('|').all(part)) {
            self.say(path, format!("must be 1 to {MAX_ORG_ID} letters, digits or any of !-_.*'() (`a|b` for several)"));
        }
    }

    fn labels(&mut self, path: Path, labels: &Labels) {
        for (name, _) in labels.iter().filter(|(name, _)| !is_label(name)) {
            self.say(path.clone(), format!("`{}` is no name of a label: letters, digits and _ only", shown(name)));
        }
    }

    /// A secret that is a value or a file.
    fn secret(&mut self, section: &Path, key: &str, value: Option<&Secret>, file: Option<&PathBuf>) {
        let (path, file_path) = (section.key(key), section.key(&format!("{key}_file")));
        if value.is_some() && file.is_some() {
            let text = format!("both {key} and {key}_file are set; keep one");
            self.say_with(path.clone(), std::slice::from_ref(&file_path), text);
        }
        if let Some(secret) = value {
            self.value(&path, secret);
        }
        self.readable(file_path, file.map(PathBuf::as_path));
    }

    fn value(&mut self, path: &Path, secret: &Secret) {
        let text = secret.expose();
        if text == MASK {
            self.say(path.clone(), format!("is `{MASK}`, the mask that print-config shows, not the secret itself"));
        } else if text.trim().is_empty() {
            self.say(path.clone(), "is empty");
        } else if text.chars().any(char::is_control) {
            self.say(path.clone(), "holds a line break or another control character");
        }
    }

    fn readable(&mut self, path: Path, file: Option<&FilePath>) {
        let Some(file) = file else { return };
        let opened = std::fs::File::open(file).and_then(|open| open.metadata());
        match opened {
            Ok(about) if about.is_dir() => self.say(path, format!("{} is a folder, not a file", file.display())),
            Ok(_) => {}
            Err(error) => self.say(path, format!("cannot read {}: {error}", file.display())),
        }
    }
}

/// `Err` says why a text is no base URL. What may hold credentials is not shown.
fn http_url(text: &str) -> Result<(), String> {
    let example = "write it like http://loki:3100";
    let url = match Url::parse(text.trim()) {
        Ok(url) => url,
        Err(error) if text.contains('@') => return Err(format!("is no URL: {error}; {example}")),
        Err(error) => return Err(format!("`{text}` is no URL: {error}; {example}")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password; there are own keys for them".to_owned());
    }
    if !is_http(&url) {
        return Err(format!("`{}:` is not http or https; {example}", shown(url.scheme())));
    }
    Ok(())
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty())
}

fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
