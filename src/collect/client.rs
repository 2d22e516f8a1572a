//! Loki's HTTP API as far as a poller needs it, and its JSON: the only file that knows either.
//!
//! What comes in: queries with exact ranges. What goes out: entries pushed straight into a [`Batch`], counts, label sets.
//! What never happens here: a retry, a pause, a decision what to ask next.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::collect::config::LokiConfig;
pub use crate::collect::wire::{ClientError, Kind, Scope};
use crate::collect::wire::{Reply, Wire};
use crate::collect::{Batch, Level, Stream};
use crate::labels::Labels;
use crate::time::{Nanos, SECOND, TimeRange};

const QUERY_RANGE: &str = "loki/api/v1/query_range";
const QUERY: &str = "loki/api/v1/query";
const SERIES: &str = "loki/api/v1/series";
const LABELS: &str = "loki/api/v1/labels";
/// Path of what every Loki says of itself, below the base URL.
pub const BUILD_INFO: &str = "loki/api/v1/status/buildinfo";
/// Where entries are pushed to, for the receiver that writes incidents back.
pub const PUSH: &str = "loki/api/v1/push";

/// Loki's name for the level it has guessed; metadata since 3.1, merged into the labels without `categorize-labels`.
const DETECTED_LEVEL: &str = "detected_level";

/// Bytes that an entry takes in an answer, at the least: its time stamp, quotes and a few words.
const LINE: usize = 64;

/// One page to read, oldest entries first.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// On whose behalf.
    pub scope: Scope<'a>,
    /// LogQL.
    pub query: &'a str,
    /// Half-open, as Loki's log queries are.
    pub range: TimeRange,
    /// At most this many entries.
    pub limit: u32,
}

/// What a page was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Entries in it.
    pub lines: usize,
    /// Bytes of the answer, uncompressed.
    pub bytes: usize,
    /// Loki's clock when it answered, to the second.
    pub date: Option<Nanos>,
}

/// Streams seen lately, so that each label set exists once. Bounded.
#[derive(Debug, Default)]
pub struct Streams(FxHashMap<u64, Arc<Stream>>);

impl Streams {
    /// More than this many and all are forgotten: they are only a way to share memory.
    const MAX: usize = 100_000;

    fn intern(&mut self, labels: Labels) -> Arc<Stream> {
        if self.0.len() >= Self::MAX {
            metrics::counter!("sigyn_streams_evicted_total").increment(self.0.len() as u64);
            self.0.clear();
        }
        Arc::clone(self.0.entry(labels.stable_hash()).or_insert_with(|| Stream::new(labels)))
    }
}

/// A client of one Loki; cheap to clone, the connections are shared.
#[derive(Clone, Debug)]
pub struct Client {
    wire: Arc<Wire>,
}

impl Client {
    /// Reads certificates and checks the settings; opens no connection.
    ///
    /// # Errors
    /// When the URL, a certificate or a header cannot be used.
    pub fn new(config: &LokiConfig) -> Result<Self, ClientError> {
        Ok(Self { wire: Arc::new(Wire::new(config)?) })
    }

    /// The base URL, without credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        self.wire.base()
    }

    /// Reads one page and appends its entries, unsorted. On a failure `into` is as it was.
    ///
    /// # Errors
    /// When Loki does not answer with a page.
    pub async fn page(&self, ask: Ask<'_>, streams: &mut Streams, into: &mut Batch) -> Result<Page, ClientError> {
        let (start, end, limit) = (ask.range.start.to_string(), ask.range.end.to_string(), ask.limit.to_string());
        let params = [
            ("query", ask.query),
            ("start", start.as_str()),
            ("end", end.as_str()),
            ("limit", limit.as_str()),
            ("direction", "forward"),
        ];
        let reply = self.ask(ask.scope, QUERY_RANGE, &params).await?;
        let (bytes, date) = (reply.body.len(), reply.date);
        let before = into.len();
        let body = text(reply.body);
        // Lines take the greatest part of an answer, so that the text does not grow step by step.
        into.reserve((bytes / LINE).min(ask.limit as usize), bytes);
        match decode(&body, streams, into) {
            Ok(()) => {
                self.wire.give_back(body.into_bytes());
                Ok(Page { lines: into.len() - before, bytes, date })
            }
            Err(error) => {
                into.truncate(before);
                let begins = self.wire.quote(body.as_bytes());
                Err(self.bad_answer(ask.scope, QUERY_RANGE, &format_args!("{error}, in `{begins}`")))
            }
        }
    }

    /// Counts the entries in `[start, end)` exactly: an instant query at `end - 1 ns` over the whole length, because
    /// `count_over_time` leaves its start out and takes its end in (`loki.md`, "Counting exactly").
    ///
    /// # Errors
    /// When Loki does not answer with a count.
    pub async fn count(&self, scope: Scope<'_>, query: &str, range: TimeRange) -> Result<u64, ClientError> {
        if range.is_empty() {
            return Ok(0);
        }
        let query = format!("sum(count_over_time({query}[{}]))", duration(range.len()));
        let time = (range.end - 1).to_string();
        let reply = self.ask(scope, QUERY, &[("query", &query), ("time", &time)]).await?;
        let answer: Answer<Vector> = self.parse(scope, QUERY, reply)?;
        let samples = answer.data.map(|data| data.result).unwrap_or_default();
        // Nothing counted gives no sample, never a zero.
        let counts = samples.iter().map(|sample| sample.value.1.parse::<f64>());
        let sum = counts.sum::<Result<f64, _>>().map_err(|error| self.bad_answer(scope, QUERY, &error))?;
        Ok(sum.max(0.0).round() as u64)
    }

    /// The streams with entries in `range` that match; all of them when `matcher` is `None`.
    ///
    /// # Errors
    /// When Loki does not answer with label sets.
    pub async fn series(
        &self,
        scope: Scope<'_>,
        matcher: Option<&str>,
        range: TimeRange,
    ) -> Result<Vec<Labels>, ClientError> {
        let (start, end) = (range.start.to_string(), range.end.to_string());
        let mut params = vec![("start", start.as_str()), ("end", end.as_str())];
        params.extend(matcher.map(|matcher| ("match[]", matcher)));
        let reply = self.ask(scope, SERIES, &params).await?;
        Ok(self.parse::<Answer<Vec<Labels>>>(scope, SERIES, reply)?.data.unwrap_or_default())
    }

    /// The names of labels with entries in `range`.
    ///
    /// # Errors
    /// When Loki does not answer with names.
    pub async fn label_names(&self, scope: Scope<'_>, range: TimeRange) -> Result<Vec<String>, ClientError> {
        let (start, end) = (range.start.to_string(), range.end.to_string());
        let reply = self.ask(scope, LABELS, &[("start", &start), ("end", &end)]).await?;
        Ok(self.parse::<Answer<Vec<String>>>(scope, LABELS, reply)?.data.unwrap_or_default())
    }

    /// Loki's version, such as `3.7.6`; empty when it does not know. Needs no tenant.
    ///
    /// # Errors
    /// When Loki does not answer with a version.
    pub async fn version(&self) -> Result<String, ClientError> {
        let scope = Scope::default();
        let reply = self.ask(scope, BUILD_INFO, &[]).await?;
        Ok(self.parse::<BuildInfo>(scope, BUILD_INFO, reply)?.version)
    }

    async fn ask(&self, scope: Scope<'_>, path: &'static str, params: &[(&str, &str)]) -> Result<Reply, ClientError> {
        let reply = self.wire.call(scope, path, params).await?;
        if (200..300).contains(&reply.status) {
            return Ok(reply);
        }
        let quote = self.wire.quote(&reply.body);
        let (kind, hint) = classify(reply.status, &quote);
        let status = reqwest::StatusCode::from_u16(reply.status).map_or(reply.status.to_string(), |s| s.to_string());
        let to = reply.location.map(|url| format!(" (to {})", without_credentials(&url))).unwrap_or_default();
        let said = if quote.is_empty() { "no text".to_owned() } else { format!("`{quote}`") };
        Err(self.wire.error(scope, path, kind, &format!("answered {status}{to}: {said}; {hint}")))
    }

    fn parse<T: serde::de::DeserializeOwned>(
        &self,
        scope: Scope<'_>,
        path: &str,
        reply: Reply,
    ) -> Result<T, ClientError> {
        let parsed = serde_json::from_slice(&reply.body).map_err(|error| {
            let begins = self.wire.quote(&reply.body);
            self.bad_answer(scope, path, &format_args!("{error}, in `{begins}`"))
        });
        self.wire.give_back(reply.body);
        parsed
    }

    fn bad_answer(&self, scope: Scope<'_>, path: &str, why: &dyn fmt::Display) -> ClientError {
        let what = format!(
            "answered 200 with something that is not Loki's JSON ({why}); check that loki.url is Loki and no login page, \
             and that no proxy cuts answers"
        );
        self.wire.error(scope, path, Kind::BadAnswer, &what)
    }
}

/// A length of time in LogQL. Whole seconds as such, all else in nanoseconds.
fn duration(nanos: Nanos) -> String {
    if nanos % SECOND == 0 { format!("{}s", nanos / SECOND) } else { format!("{nanos}ns") }
}

fn without_credentials(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        Err(_) => url.split('?').next().unwrap_or_default().to_owned(),
    }
}

/// What a refusal means and what to do about it (`loki.md` §7). Loki's errors are plain text.
fn classify(status: u16, text: &str) -> (Kind, &'static str) {
    let has = |part: &str| text.contains(part);
    match status {
        400 if has("max entries limit") => match max_entries(text) {
            Some(max) => (Kind::MaxEntries(max), "the limit is lowered to what Loki allows"),
            None => (Kind::BadQuery, "lower collect.limit"),
        },
        400 if has("time range exceeds the limit") || has("value exceeds limit") => {
            (Kind::TooLong, "shorter ranges are asked for")
        }
        400 | 413 | 422 if has("too many bytes") || status == 413 => (
            Kind::TooManyBytes,
            "shorter ranges are asked for; narrow the watch's query or raise max_query_bytes_read in Loki",
        ),
        400 if has("SSL certificate") => {
            (Kind::Tls, "set loki.cert_file and loki.key_file to a client certificate that it trusts")
        }
        400 if has("HTTP request was sent to HTTPS") || has("HTTP request to an HTTPS server") => {
            (Kind::Tls, "this port speaks TLS: write https:// in loki.url")
        }
        400 if has("maximum number of series") => (Kind::TooManySeries, "narrow the watch's query"),
        400 if has("parse error") => (Kind::BadQuery, "the watch's query is no valid LogQL; correct it"),
        401 if has("no org id") => {
            (Kind::Unauthorized, "set loki.org_id, or org_id of the watch: this Loki has tenants")
        }
        401 => (Kind::Unauthorized, "set loki.username and loki.password, or loki.bearer_token"),
        403 => {
            (Kind::Forbidden, "the credentials are known and not allowed to read this tenant; check rights and org_id")
        }
        404 | 405 => {
            (Kind::NotFound, "check the path of loki.url: it must end where /loki/api begins, with a gateway's prefix")
        }
        429 => (Kind::RateLimited, "asking again later; fewer watches or a longer collect.interval ask less"),
        300..400 => (Kind::Redirected, "redirects are not followed; set loki.url to where Loki really is"),
        504 => (Kind::Deadline, "shorter ranges are asked for"),
        499 | 500.. if has("timed out") || has("deadline exceeded") => (Kind::Deadline, "shorter ranges are asked for"),
        499 | 500.. => (Kind::Server, "asking again later; Loki's own log says more"),
        _ => (Kind::BadQuery, "correct the watch's query or the settings under loki:"),
    }
}

/// The second number in `... (5001 > 5000)`.
fn max_entries(text: &str) -> Option<u32> {
    let (_, rest) = text.rsplit_once("> ")?;
    rest.trim_end().trim_end_matches(')').parse().ok().filter(|max| *max > 0)
}

/// Loki's JSON is UTF-8; what is not, is replaced, so that one bad byte cannot stop a watch.
fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Answer<T> {
    /// Left out when there is nothing to show.
    #[serde(default = "Option::default")]
    data: Option<T>,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    value: (IgnoredAny, String),
}

#[derive(Deserialize)]
struct BuildInfo {
    #[serde(default)]
    version: String,
}

/// Pushes the entries of a streams answer, as Loki's JSON has them, into the batch.
///
/// # Errors
/// When it is no such answer; what came before the mistake is in the batch.
pub fn decode(text: &str, streams: &mut Streams, batch: &mut Batch) -> Result<(), serde_json::Error> {
    let index = batch.streams.iter().enumerate().map(|(index, stream)| (stream.hash, index)).collect();
    let mut sink = Sink { batch, streams, index, stream: None, level: None, scratch: String::new(), whole: false };
    let mut json = serde_json::Deserializer::from_str(text);
    Object { sink: &mut sink, of: Place::Answer }.deserialize(&mut json)?;
    json.end()?;
    // An answer without a result must never pass for an empty page: lines would be skipped.
    if sink.whole { Ok(()) } else { Err(serde_json::Error::custom("no data.result")) }
}

/// Where entries go while the answer is read: no value of it is ever held as a tree.
struct Sink<'b> {
    batch: &'b mut Batch,
    streams: &'b mut Streams,
    /// From stream hash to its index in the batch.
    index: FxHashMap<u64, usize>,
    /// Of the result stream that is being read.
    stream: Option<usize>,
    level: Option<Level>,
    /// A line whose escapes had to be resolved, until its metadata is known.
    scratch: String,
    /// Whether the result was there.
    whole: bool,
}

impl Sink<'_> {
    fn begin(&mut self, mut pairs: Vec<(Text<'_>, Text<'_>)>) {
        self.level = None;
        pairs.retain(|(Text(name), Text(value))| {
            let merged = name == DETECTED_LEVEL;
            if merged {
                self.level = level(value);
            }
            !merged
        });
        let labels: Labels =
            pairs.into_iter().map(|(name, value)| (name.0.into_owned(), value.0.into_owned())).collect();
        let stream = self.streams.intern(labels);
        let batch = &mut *self.batch;
        self.stream = Some(*self.index.entry(stream.hash).or_insert_with(|| {
            batch.streams.push(stream);
            batch.streams.len() - 1
        }));
    }
}

/// What `detected_level` means; `unknown` says nothing.
fn level(text: &str) -> Option<Level> {
    Some(match text {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" | "warning" => Level::Warn,
        "error" => Level::Error,
        "critical" | "fatal" => Level::Critical,
        _ => return None,
    })
}

/// A string of the answer: borrowed, unless it had escapes. Serde's derive would copy a `Cow` inside a tuple.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Any)
    }
}

/// Which object of the answer is being read.
#[derive(Clone, Copy)]
enum Place {
    Answer,
    Data,
    Stream,
    Labels,
    Categories,
    Metadata,
}

struct Object<'s, 'b> {
    sink: &'s mut Sink<'b>,
    of: Place,
}

impl<'de> DeserializeSeed<'de> for Object<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of a query_range answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { sink, of } = self;
        if matches!(of, Place::Labels) {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            sink.begin(pairs);
            return Ok(());
        }
        while let Some(Text(key)) = map.next_key()? {
            match (of, &*key) {
                (Place::Answer, "data") => map.next_value_seed(Object { sink, of: Place::Data })?,
                (Place::Data, "resultType") => {
                    let Text(kind) = map.next_value()?;
                    if kind != "streams" {
                        return Err(A::Error::custom(format!("the result is `{kind}`, not `streams`")));
                    }
                }
                (Place::Data, "result") => {
                    map.next_value_seed(Array { sink, of: Place::Stream })?;
                    sink.whole = true;
                }
                (Place::Stream, "stream") => map.next_value_seed(Object { sink, of: Place::Labels })?,
                (Place::Stream, "values") => map.next_value_seed(Array { sink, of: Place::Categories })?,
                (Place::Categories, "structuredMetadata") => {
                    map.next_value_seed(Object { sink, of: Place::Metadata })?;
                }
                (Place::Metadata, DETECTED_LEVEL) => sink.level = level(&map.next_value::<Text<'_>>()?.0),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if matches!(of, Place::Stream) {
            sink.stream = None;
        }
        Ok(())
    }
}

/// An array of result streams, or (`Place::Categories`) of entries.
struct Array<'s, 'b> {
    sink: &'s mut Sink<'b>,
    of: Place,
}

impl<'de> DeserializeSeed<'de> for Array<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of a query_range answer")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let sink = self.sink;
        match self.of {
            Place::Stream => while seq.next_element_seed(Object { sink, of: Place::Stream })?.is_some() {},
            _ => while seq.next_element_seed(Value { sink })?.is_some() {},
        }
        Ok(())
    }
}

/// `[ts, line]`, or with `categorize-labels` (Loki from 3.0 on) `[ts, line, {"structuredMetadata": {...}, ...}]`.
struct Value<'s, 'b> {
    sink: &'s mut Sink<'b>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[time stamp, line, metadata]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let sink = self.sink;
        let Some(stream) = sink.stream else {
            return Err(A::Error::custom("values before the labels of their stream"));
        };
        let Some(Text(ts)) = seq.next_element()? else { return Err(A::Error::invalid_length(0, &ENTRY)) };
        let ts = ts.parse().map_err(|_| A::Error::custom(format!("`{ts}` is no time stamp in nanoseconds")))?;
        sink.scratch.clear();
        let Some(line) = seq.next_element_seed(Line { scratch: &mut sink.scratch })? else {
            return Err(A::Error::invalid_length(1, &ENTRY));
        };
        let merged = sink.level;
        while seq.next_element_seed(Object { sink, of: Place::Categories })?.is_some() {}
        let level = std::mem::replace(&mut sink.level, merged);
        if sink.batch.push(ts, stream, line.unwrap_or(&sink.scratch), level) {
            Ok(())
        } else {
            Err(A::Error::custom("a batch over 4 GiB"))
        }
    }
}

const ENTRY: &str = "a time stamp and a line";

/// A line: `Some` when it is borrowed from the answer, `None` when its escapes were resolved into the scratch buffer.
struct Line<'s> {
    scratch: &'s mut String,
}

impl<'de> DeserializeSeed<'de> for Line<'_> {
    type Value = Option<&'de str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Line<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line")
    }

    fn visit_borrowed_str<E>(self, line: &'de str) -> Result<Self::Value, E> {
        Ok(Some(line))
    }

    fn visit_str<E>(self, line: &str) -> Result<Self::Value, E> {
        self.scratch.push_str(line);
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
