//! Pushes a generator's lines to Loki, in the pace of a clock that may run faster than the real one.
//!
//! What comes in: a generator, a pace, and a future that stops it. What goes out: JSON bodies on `/loki/api/v1/push`, at
//! most 1,000 lines and about 1 MB each. On 429, 5xx and broken connections the same body is sent again after a pause
//! (Loki keeps equal lines once); other answers end it.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::generator::{Generator, Record};
use crate::template::number;

/// Lines and bytes of one body at most.
const LINES: usize = 1000;
const BYTES: usize = 1_000_000;
/// Lines that are due within one tick of the real clock travel together.
const TICK: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Loki drops its connections after 30 s; nothing comes later.
const TIMEOUT: Duration = Duration::from_secs(35);

/// Why pushing ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be built.
    #[error("cannot prepare the connection to Loki: {0}")]
    Client(reqwest::Error),
    /// An answer that does not get better by asking again.
    #[error("Loki at `{url}` refused the lines with status {status}: {text}")]
    Refused {
        /// Where they were sent.
        url: String,
        /// The status.
        status: u16,
        /// The answer's text, at most 300 characters.
        text: String,
    },
    /// A sink beside the push failed.
    #[error(transparent)]
    Output(#[from] crate::output::Error),
}

/// When a line is due: at `began` it is `origin`, from then on time runs `speed` times as fast as the real clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The lines' time at `began`, nanoseconds since the Unix epoch. Older lines are due at once.
    pub origin: i64,
    /// The real moment of `origin`.
    pub began: Instant,
    /// How many seconds of lines go by in one real second; 0 for as fast as possible.
    pub speed: f64,
}

impl Pace {
    /// As fast as possible.
    #[must_use]
    pub fn none() -> Self {
        Self { origin: 0, began: Instant::now(), speed: 0.0 }
    }

    /// It is `origin` now.
    #[must_use]
    pub fn from_now(origin: i64, speed: f64) -> Self {
        Self { origin, began: Instant::now(), speed }
    }

    /// The real moment at which a line of `ts` is due, on the next tick; `None` when it is due already.
    fn due(&self, ts: i64) -> Option<Instant> {
        if self.speed <= 0.0 || ts <= self.origin {
            return None;
        }
        let after = (ts - self.origin) as f64 / 1e9 / self.speed;
        let ticks = (after / TICK.as_secs_f64()).ceil().min(1e12);
        let due = self.began.checked_add(TICK.mul_f64(ticks))?;
        (due > Instant::now()).then_some(due)
    }

    /// Waits until a line of `ts` is due.
    pub async fn wait(&self, ts: i64) {
        if let Some(due) = self.due(ts) {
            tokio::time::sleep_until(due).await;
        }
    }

    /// Whether a line of `ts` has to wait.
    #[must_use]
    pub fn waits(&self, ts: i64) -> bool {
        self.due(ts).is_some()
    }
}

/// What was pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that Loki has taken.
    pub lines: u64,
    /// Bodies that Loki has taken.
    pub batches: u64,
    /// Bodies that were sent again.
    pub retries: u64,
    /// The last time that Loki has taken, nanoseconds since the Unix epoch; 0 for none.
    pub last: i64,
    /// Whether it was stopped before the plan's end.
    pub stopped: bool,
}

/// Sends lines to one Loki.
#[derive(Clone, Debug)]
pub struct Pusher {
    client: reqwest::Client,
    url: String,
    org_id: Option<String>,
}

impl Pusher {
    /// For the Loki at `url`, with or without `/loki/api/v1/push` at its end.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(url: &str, org_id: Option<&str>) -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("log-generator/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .build()
            .map_err(Error::Client)?;
        let base = url.trim_end_matches('/').trim_end_matches("/loki/api/v1/push");
        Ok(Self { client, url: format!("{base}/loki/api/v1/push"), org_id: org_id.map(str::to_owned) })
    }

    /// Pushes all lines of `generator` in `pace`, until its end or until `stop` is done. What was not yet sent when it
    /// stops is dropped; the report says what Loki has.
    ///
    /// # Errors
    /// When Loki refuses lines for good.
    pub async fn run(
        &self,
        generator: &mut Generator,
        pace: Pace,
        stop: impl Future<Output = ()>,
    ) -> Result<Report, Error> {
        self.run_with(generator, pace, stop, |_| Ok(())).await
    }

    /// Like [`Pusher::run`]; `beside` sees each line when it is due.
    ///
    /// # Errors
    /// When Loki refuses lines for good, or `beside` fails.
    pub async fn run_with(
        &self,
        generator: &mut Generator,
        pace: Pace,
        stop: impl Future<Output = ()>,
        mut beside: impl FnMut(&Record<'_>) -> Result<(), crate::output::Error>,
    ) -> Result<Report, Error> {
        tokio::pin!(stop);
        let mut batch = Batch::default();
        let mut report = Report::default();
        while let Some(record) = generator.next() {
            let waits = pace.waits(record.ts);
            if waits || batch.is_full() {
                if !self.send(&mut batch, &mut report, stop.as_mut()).await? {
                    report.stopped = true;
                    return Ok(report);
                }
                tokio::select! {
                    biased;
                    () = &mut stop => {
                        report.stopped = true;
                        return Ok(report);
                    }
                    () = pace.wait(record.ts) => {}
                }
            }
            beside(&record)?;
            batch.add(&record);
        }
        report.stopped = !self.send(&mut batch, &mut report, stop.as_mut()).await?;
        Ok(report)
    }

    /// Sends `batch` until Loki takes it; false when `stop` came first. A request under way is not cut, so that the
    /// report is right.
    async fn send(
        &self,
        batch: &mut Batch,
        report: &mut Report,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Result<bool, Error> {
        if batch.lines == 0 {
            return Ok(true);
        }
        let body = batch.body();
        let mut pause = FIRST_PAUSE;
        while !self.post(&body).await? {
            report.retries += 1;
            tokio::select! {
                biased;
                () = stop.as_mut() => return Ok(false),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        report.lines += batch.lines as u64;
        report.batches += 1;
        report.last = batch.last;
        batch.clear();
        Ok(true)
    }

    /// True when Loki took `body`, false when it is worth asking again.
    async fn post(&self, body: &str) -> Result<bool, Error> {
        let mut request = self.client.post(&self.url).header("content-type", "application/json").body(body.to_owned());
        if let Some(org_id) = &self.org_id {
            request = request.header("x-scope-orgid", org_id);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(url = self.url, "no answer to a push, will send it again: {error}");
                return Ok(false);
            }
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(true);
        }
        if status.as_u16() == 429 || status.is_server_error() {
            tracing::warn!(url = self.url, %status, "Loki did not take a push, will send it again");
            return Ok(false);
        }
        let text: String = answer.text().await.unwrap_or_default().trim().chars().take(300).collect();
        Err(Error::Refused { url: self.url.clone(), status: status.as_u16(), text })
    }
}

/// Lines on their way, grouped by stream.
#[derive(Default)]
struct Batch {
    /// By [`crate::Stream::index`]: the stream's labels, and its values without the brackets around them.
    streams: Vec<(String, Vec<u8>)>,
    lines: usize,
    bytes: usize,
    last: i64,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.lines >= LINES || self.bytes >= BYTES
    }

    fn add(&mut self, record: &Record<'_>) {
        let index = record.stream.index;
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, Default::default);
        }
        let (labels, values) = &mut self.streams[index];
        if labels.is_empty() {
            for (name, value) in record.stream.labels() {
                labels.push_str(if labels.is_empty() { "{" } else { "," });
                labels.push_str(&format!("\"{name}\":\"{value}\""));
            }
            labels.push('}');
        }
        let before = values.len();
        values.extend_from_slice(if values.is_empty() { b"[\"" } else { b",[\"" });
        number(values, record.ts.unsigned_abs());
        values.extend_from_slice(b"\",\"");
        escape(values, record.line);
        values.extend_from_slice(b"\"]");
        self.bytes += values.len() - before;
        self.lines += 1;
        self.last = record.ts;
    }

    fn body(&self) -> String {
        let mut body = Vec::with_capacity(self.bytes + 4096);
        body.extend_from_slice(b"{\"streams\":[");
        let mut first = true;
        for (labels, values) in self.streams.iter().filter(|(_, values)| !values.is_empty()) {
            body.extend_from_slice(if first { b"{\"stream\":" } else { b",{\"stream\":" });
            first = false;
            body.extend_from_slice(labels.as_bytes());
            body.extend_from_slice(b",\"values\":[");
            body.extend_from_slice(values);
            body.extend_from_slice(b"]}");
        }
        body.extend_from_slice(b"]}");
        String::from_utf8(body).unwrap_or_default()
    }

    fn clear(&mut self) {
        for (_, values) in &mut self.streams {
            values.clear();
        }
        self.lines = 0;
        self.bytes = 0;
    }
}

/// Appends `text` as the inside of a JSON string.
fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => out.push(byte),
        }
    }
}
