//! Loki's calls: a request with its parameters comes in, an answer with status, headers and body goes out. Error texts
//! are Loki's. Errors of Loki's front end come without a line break at the end, those of its server with one.

use super::answer;
use super::clock::{HOUR, SECOND, go_duration, limit_duration, parse_duration, parse_time};
use super::fault::Endpoint;
use super::http::Shared;
use super::logql::{self, Log, Matcher, Metric, Query};
use super::push;
use super::query::{self, Direction, Window};
use super::store::{Pairs, Store};
use super::{FAKE, Limits};
use axum::http::request::Parts;
use axum::http::{Method, header};
use std::collections::BTreeSet;
use std::time::Duration;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json; charset=UTF-8";

/// Loki's cap on the samples of one series.
const MAX_POINTS: i64 = 11_000;

/// One request, read.
pub(crate) struct Call<'a> {
    method: Method,
    path: String,
    /// Decoded parameters of the query string and of a form body.
    pub(crate) params: Vec<(String, String)>,
    org_id: Option<String>,
    categorized: bool,
    accept: String,
    content_type: String,
    content_encoding: String,
    body: &'a [u8],
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'static str>,
    /// It comes through Loki's front end: `Vary`, and compressed on demand.
    pub(crate) vary: bool,
    pub(crate) body: Vec<u8>,
    /// Lines in the body.
    pub(crate) lines: usize,
    /// What Loki would have had to send inside for it, in bytes.
    pub(crate) encoded: usize,
    /// It goes out in chunks, its length untold.
    pub(crate) streamed: bool,
    /// Its body is sent compressed.
    pub(crate) zipped: bool,
}

impl Answer {
    fn json(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            content_type: Some(JSON),
            vary: true,
            body,
            lines: 0,
            encoded: 0,
            streamed: false,
            zipped: false,
        }
    }

    /// Answers of queries go out as they are written.
    fn streamed(self) -> Self {
        Self { streamed: true, ..self }
    }

    /// An error of the front end.
    pub(crate) fn text(status: u16, text: impl Into<String>) -> Self {
        let body = text.into().into_bytes();
        Self {
            status,
            content_type: Some(TEXT),
            vary: true,
            body,
            lines: 0,
            encoded: 0,
            streamed: false,
            zipped: false,
        }
    }

    /// An answer of the server itself.
    fn server(status: u16, text: &str) -> Self {
        Self { vary: false, ..Self::text(status, format!("{text}\n")) }
    }

    fn empty(status: u16) -> Self {
        Self { content_type: None, vary: false, ..Self::text(status, "") }
    }

    fn unsupported(what: &str) -> Self {
        Self::server(501, &format!("not in the stand-in: {what}"))
    }
}

impl From<logql::Error> for Answer {
    fn from(error: logql::Error) -> Self {
        match error {
            logql::Error::Syntax(text) => Self::text(400, text),
            logql::Error::Unsupported(_) => Self::server(501, &error.to_string()),
        }
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(parts: &Parts, body: &'a [u8]) -> Self {
        let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let content_type = text(header::CONTENT_TYPE.as_str());
        let mut params = pairs(parts.uri.query().unwrap_or_default());
        if content_type.starts_with("application/x-www-form-urlencoded") {
            params.extend(pairs(&String::from_utf8_lossy(body)));
        }
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            params,
            org_id: parts.headers.get("x-scope-orgid").map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()),
            categorized: text("x-loki-response-encoding-flags").split(',').any(|f| f.trim() == "categorize-labels"),
            accept: text(header::ACCEPT.as_str()),
            content_type,
            content_encoding: text(header::CONTENT_ENCODING.as_str()),
            body,
        }
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.params.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A time parameter.
    fn time(&self, name: &str, default: i64) -> Result<i64, Answer> {
        let Some(text) = self.param(name) else { return Ok(default) };
        parse_time(text).ok_or_else(|| {
            let why = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
            Answer::text(400, format!("could not parse '{name}' parameter: {why}"))
        })
    }

    /// `start` and `end`, by default the last hour (or `since`).
    fn range(&self, now: i64) -> Result<(i64, i64), Answer> {
        let end = self.time("end", now)?;
        let since = match self.param("since") {
            Some(text) => parse_duration(text)
                .ok_or_else(|| Answer::text(400, format!("could not parse 'since' parameter: {text:?}")))?,
            None => HOUR,
        };
        let start = self.time("start", end.min(now).saturating_sub(since))?;
        if end < start {
            return Err(Answer::text(400, "end timestamp must not be before or equal to start time"));
        }
        Ok((start, end))
    }
}

/// Answers a call.
pub(crate) fn answer(shared: &Shared, call: &Call<'_>) -> Answer {
    let result = match Endpoint::of(&call.path) {
        Endpoint::Ready => Ok(Answer::server(200, "ready")),
        Endpoint::BuildInfo => Ok(build_info(&shared.options.version)),
        Endpoint::Push if call.method != Method::POST => Ok(Answer::empty(405)),
        Endpoint::Push => take(shared, call),
        Endpoint::Other => Ok(Answer::unsupported(&call.path)),
        _ if call.method != Method::GET && call.method != Method::POST => Ok(Answer::empty(405)),
        endpoint => ask(shared, call, endpoint),
    };
    result.unwrap_or_else(|refusal| refusal)
}

/// The text of a 429: of the ingester for pushes, of the query scheduler for the rest.
pub(crate) fn too_many(endpoint: Endpoint) -> Answer {
    match endpoint {
        Endpoint::Push => Answer::server(
            429,
            "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '1' \
             lines totaling '1' bytes, reduce log volume or contact your Loki administrator to see if the limit can \
             be increased",
        ),
        _ => Answer::text(429, "too many outstanding requests"),
    }
}

fn build_info(version: &str) -> Answer {
    let info = serde_json::json!({
        "version": version, "revision": "stand-in", "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""
    });
    Answer { content_type: Some("application/json"), vary: false, ..Answer::json(info.to_string().into_bytes()) }
}

/// For whom, with which limits, and when a call is answered.
struct Scope {
    tenants: Vec<String>,
    limits: Limits,
    now: i64,
}

impl Scope {
    fn new(shared: &Shared, call: &Call<'_>) -> Result<Self, Answer> {
        let tenants = tenants(shared, call)?;
        let limits = limits(shared, &tenants);
        Ok(Self { tenants, limits, now: shared.options.clock.now() })
    }

    /// The range after `max_query_lookback`, if it is not too long then.
    fn clamp(&self, start: i64, end: i64) -> Result<(i64, i64), Answer> {
        let (lookback, length) = (nanos(self.limits.max_query_lookback), nanos(self.limits.max_query_length));
        let start = if lookback > 0 { start.max(self.now.saturating_sub(lookback)) } else { start };
        let end = end.max(start);
        if length > 0 && end.saturating_sub(start) > length {
            let (asked, max) = (go_duration(end.saturating_sub(start)), limit_duration(length));
            return Err(Answer::text(
                400,
                format!("the query time range exceeds the limit (query length: {asked}, limit: {max})"),
            ));
        }
        Ok((start, end))
    }
}

/// The tenants a call speaks for.
fn tenants(shared: &Shared, call: &Call<'_>) -> Result<Vec<String>, Answer> {
    if !shared.options.auth_enabled {
        return Ok(vec![FAKE.to_owned()]);
    }
    let given = call.org_id.as_deref().unwrap_or_default();
    if given.is_empty() {
        return Err(Answer::server(401, "no org id"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    let mut tenants: Vec<String> = given.split('|').map(str::to_owned).collect();
    if let Some(bad) = tenants.iter().find_map(|t| t.chars().find(|c| !allowed(*c))) {
        return Err(Answer::text(400, format!("tenant ID '{given}' contains unsupported character '{bad}'")));
    }
    if tenants.len() > 1 && !shared.options.multi_tenant {
        return Err(Answer::server(400, "multiple org IDs present"));
    }
    tenants.sort();
    tenants.dedup();
    Ok(tenants)
}

/// The limits of the tenants; of several the smallest number of entries counts.
fn limits(shared: &Shared, tenants: &[String]) -> Limits {
    let options = &shared.options;
    let of = |t: &String| options.tenant_limits.get(t).unwrap_or(&options.limits);
    let mut limits = tenants.first().map(of).unwrap_or(&options.limits).clone();
    limits.max_entries = tenants.iter().map(|t| of(t).max_entries).min().unwrap_or(limits.max_entries);
    if let Some(cap) = shared.state().mischief.faults.max_entries {
        limits.max_entries = limits.max_entries.min(cap);
    }
    limits
}

fn take(shared: &Shared, call: &Call<'_>) -> Result<Answer, Answer> {
    let Scope { tenants, limits, now } = Scope::new(shared, call)?;
    let [tenant] = tenants.as_slice() else { return Err(Answer::server(400, "multiple org IDs present")) };
    let refused = |r: push::Refused| Answer::server(r.status, &r.text);
    let batches = push::decode(&call.content_type, &call.content_encoding, call.body).map_err(refused)?;
    let mut state = shared.state();
    let outcome = push::check(&state.store, tenant, batches, &limits, now);
    for (labels, lines) in outcome.accepted {
        let mut at_once = Vec::with_capacity(lines.len());
        for line in lines {
            match state.mischief.late() {
                Some(by) => state.hold(tenant, &labels, line, (by, now)),
                None => at_once.push(line),
            }
        }
        state.take(tenant, &labels, at_once);
    }
    outcome.refused.map_or_else(|| Ok(Answer::empty(204)), |r| Err(refused(r)))
}

fn ask(shared: &Shared, call: &Call<'_>, endpoint: Endpoint) -> Result<Answer, Answer> {
    let scope = Scope::new(shared, call)?;
    match endpoint {
        Endpoint::QueryRange => query_range(shared, call, &scope),
        Endpoint::Query => query(shared, call, &scope),
        Endpoint::Series => series(shared, call, &scope),
        _ => labels(shared, call, &scope),
    }
}

fn query_range(shared: &Shared, call: &Call<'_>, scope: &Scope) -> Result<Answer, Answer> {
    if call.accept.contains("parquet") {
        let off = "support for Parquet encoded responses is disabled. Enable with \
                   -frontend.support-parquet-encoding=true";
        return Err(Answer::text(400, off));
    }
    if call.accept.contains("protobuf") || call.param("interval").is_some() {
        return Err(Answer::unsupported("Accept: protobuf, and the parameter interval"));
    }
    let (start, end) = call.range(scope.now)?;
    let limit = limit(call)?;
    let direction = direction(call)?;
    let step = step(call, start, end)?;
    let query = logql::parse(call.param("query").unwrap_or_default())?;
    let (start, end) = scope.clamp(start, end)?;
    match query {
        Query::Log(log) => {
            let max = scope.limits.max_entries;
            if limit > max {
                let what = "max entries limit per query exceeded, limit > max_entries_limit_per_query";
                return Err(Answer::text(400, format!("{what} ({limit} > {max})")));
            }
            let categorized = call.categorized && shared.options.categorize;
            let asked = Page { log, window: Window { start, end, limit, direction }, categorized };
            Ok(page(&shared.state().store, &scope.tenants, &asked))
        }
        Query::Metric(metric) => {
            if (end - start) / step > MAX_POINTS {
                let why = "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of \
                           the step parameter";
                return Err(Answer::text(400, why));
            }
            // The front end rounds to multiples of the step, outwards.
            let first = start.div_euclid(step);
            let last = end.div_euclid(step) + i64::from(end.rem_euclid(step) != 0);
            let times: Vec<i64> = (first..=last).map(|n| n.saturating_mul(step)).collect();
            let series = counted(&shared.state().store, scope, &metric, &times)?;
            Ok(Answer::json(answer::matrix(&series, &times)).streamed())
        }
    }
}

fn query(shared: &Shared, call: &Call<'_>, scope: &Scope) -> Result<Answer, Answer> {
    let time = call.time("time", scope.now)?;
    let Query::Metric(metric) = logql::parse(call.param("query").unwrap_or_default())? else {
        let why = "log queries are not supported as an instant query type, please change your query to a range query \
                   type";
        return Err(Answer::text(400, why));
    };
    let series = counted(&shared.state().store, scope, &metric, &[time])?;
    Ok(Answer::json(answer::vector(&series, time)).streamed())
}

/// A page of lines as it is asked for.
struct Page {
    log: Log,
    window: Window,
    categorized: bool,
}

fn page(store: &Store, tenants: &[String], asked: &Page) -> Answer {
    let Page { log, window, categorized } = asked;
    let sources = query::sources(store, tenants, &log.matchers);
    let hits = query::page(&sources, &log.stages, *window);
    let groups = query::groups(&sources, &hits, &log.stages, *categorized);
    let body = answer::streams(&groups, *categorized, &query::dropped(&log.stages));
    Answer { lines: body.lines, encoded: body.encoded, ..Answer::json(body.json).streamed() }
}

fn counted(store: &Store, scope: &Scope, metric: &Metric, times: &[i64]) -> Result<query::Series, Answer> {
    let max_range = nanos(scope.limits.max_query_range);
    if max_range > 0 && metric.range > max_range {
        let (range, max) = (limit_duration(metric.range), limit_duration(max_range));
        return Err(Answer::text(400, format!("[interval] value exceeds limit: [{range}] > [{max}]")));
    }
    let sources = query::sources(store, &scope.tenants, &metric.log.matchers);
    query::series(&sources, metric, times, scope.limits.max_series).map_err(|max| {
        Answer::text(
            400,
            format!(
                "maximum number of series ({max}) reached for a single query; consider reducing query cardinality by \
                 adding more specific stream selectors, reducing the time range, or aggregating results with \
                 functions like sum(), count() or topk()"
            ),
        )
    })
}

fn labels(shared: &Shared, call: &Call<'_>, scope: &Scope) -> Result<Answer, Answer> {
    let range = call.range(scope.now)?;
    let matchers = match call.param("query") {
        Some(text) => logql::parse_selector(text)?,
        None => Vec::new(),
    };
    let name = match call.path.strip_prefix("/loki/api/v1/label/") {
        Some(rest) => match rest.strip_suffix("/values") {
            Some(name) => Some(percent(name, false)),
            None => return Err(Answer::unsupported(&call.path)),
        },
        None => None,
    };
    let state = shared.state();
    let found = found(&state.store, &scope.tenants, &[matchers], range);
    let all = found.iter().flat_map(|labels| labels.iter());
    let items: BTreeSet<&str> = match &name {
        Some(name) => all.filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect(),
        None => all.map(|(n, _)| n.as_str()).collect(),
    };
    Ok(Answer::json(answer::list(items)))
}

fn series(shared: &Shared, call: &Call<'_>, scope: &Scope) -> Result<Answer, Answer> {
    let range = call.range(scope.now)?;
    let mut selectors: Vec<Vec<Matcher>> =
        call.all("match[]").chain(call.all("match")).map(logql::parse_selector).collect::<Result<_, _>>()?;
    if selectors.is_empty() {
        if !shared.options.bare_series {
            return Err(Answer::text(400, "0 matcher groups supplied".to_owned()));
        }
        selectors.push(Vec::new());
    }
    let state = shared.state();
    Ok(Answer::json(answer::sets(&found(&state.store, &scope.tenants, &selectors, range))))
}

/// The label sets of the streams that fit one of the selectors and have a line in the range, sorted.
fn found(store: &Store, tenants: &[String], selectors: &[Vec<Matcher>], (start, end): (i64, i64)) -> BTreeSet<Pairs> {
    let sources = selectors.iter().flat_map(|matchers| query::sources(store, tenants, matchers));
    sources.filter(|s| s.stream.within(start, end.saturating_add(1))).map(|s| s.labels.to_vec()).collect()
}

fn limit(call: &Call<'_>) -> Result<usize, Answer> {
    let Some(text) = call.param("limit") else { return Ok(100) };
    let bad = || Answer::text(400, format!("strconv.ParseUint: parsing {text:?}: invalid syntax"));
    match text.parse::<i64>().map_err(|_| bad())? {
        ..=0 => Err(Answer::text(400, "limit must be a positive value")),
        n => usize::try_from(n).map_err(|_| bad()),
    }
}

fn direction(call: &Call<'_>) -> Result<Direction, Answer> {
    match call.param("direction") {
        None => Ok(Direction::Backward),
        Some(d) if d.eq_ignore_ascii_case("forward") => Ok(Direction::Forward),
        Some(d) if d.eq_ignore_ascii_case("backward") => Ok(Direction::Backward),
        Some(d) => Err(Answer::text(400, format!("invalid direction '{d}'"))),
    }
}

/// The step in ns: seconds with or without a fraction, or a duration; by default a 250th of the range.
fn step(call: &Call<'_>, start: i64, end: i64) -> Result<i64, Answer> {
    let Some(text) = call.param("step") else {
        return Ok((end.saturating_sub(start) / 250 / SECOND * SECOND).max(SECOND));
    };
    let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && *s < 9e9);
    let ns = seconds.map(|s| (s * SECOND as f64) as i64).or_else(|| parse_duration(text));
    match ns {
        Some(ns) if ns > 0 => Ok(ns),
        Some(_) => Err(Answer::text(
            400,
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        )),
        None => Err(Answer::text(400, format!("cannot parse {text:?} to a valid duration"))),
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// `a=b&c=d`, decoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (percent(name, true), percent(value, true))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn percent(text: &str, form: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' if form => out.push(b' '),
            b'%' => {
                let mut hex = bytes.clone();
                let digit = |b: Option<u8>| (b? as char).to_digit(16);
                match (digit(hex.next()), digit(hex.next())) {
                    (Some(high), Some(low)) => {
                        out.push((high * 16 + low) as u8);
                        bytes = hex;
                    }
                    _ => out.push(b),
                }
            }
            _ => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
