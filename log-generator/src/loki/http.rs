//! The server: a request comes in, the faults in force are played, the call is answered. What Loki has and the stand-in
//! has not is answered with 501.

use super::api::{self, Answer, Call};
use super::clock::http_date;
use super::fault::{Endpoint, Fault};
use super::wire::{Door, Wire};
use super::{Options, RequestLog, State, lock};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State as Given};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// The largest request body.
const MAX_BODY: usize = 128 << 20;

/// From this size on an answer is worth compressing.
const GZIP_FROM: usize = 1400;

/// A compressed answer up to this size comes in one piece: it fits the buffer of a Go server.
const BUFFER: usize = 2048;

/// The size of one piece of a body that goes out in chunks.
const CHUNK: usize = 32 << 10;

/// How long running requests may take to finish at the end.
const DRAIN: Duration = Duration::from_secs(1);

/// What the server and its owner share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    state: Mutex<State>,
    stopped: watch::Receiver<bool>,
}

impl Shared {
    pub(crate) fn new(options: Options, stopped: watch::Receiver<bool>) -> Self {
        Self { state: Mutex::new(State::new(&options)), options, stopped }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Sleeps, but no longer than the stand-in lives.
    async fn pause(&self, time: Duration) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    }
}

/// Serves until the stand-in is stopped.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) -> std::io::Result<()> {
    let door = Door(tokio::net::TcpListener::from_std(listener)?);
    let mut stopped = shared.stopped.clone();
    let mut last_call = shared.stopped.clone();
    let app = Router::new().fallback(handle).with_state(shared).into_make_service_with_connect_info::<Wire>();
    let server = axum::serve(door, app).with_graceful_shutdown(async move {
        // An error means that the owner is gone without a word: stop as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    let too_long = async {
        let _ = last_call.wait_for(|stop| *stop).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        done = async { server.await } => done,
        () = too_long => Ok(()),
    }
}

async fn handle(Given(shared): Given<Arc<Shared>>, ConnectInfo(wire): ConnectInfo<Wire>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let endpoint = Endpoint::of(parts.uri.path());
    let body = to_bytes(body, MAX_BODY).await;
    let call = Call::new(&parts, body.as_deref().unwrap_or_default());
    let happens = {
        let mut state = shared.state();
        state.counters.requests += 1;
        state.counters.queries += u64::from(matches!(endpoint, Endpoint::QueryRange | Endpoint::Query));
        state.release(shared.options.clock.now());
        state.mischief.next(endpoint)
    };
    let mut cut = None;
    let mut instead = None;
    for fault in happens {
        match fault {
            Fault::Slow(time) => shared.pause(time).await,
            Fault::Cut(part) => cut = Some((part, false)),
            Fault::CutChunk(part) => cut = Some((part, true)),
            Fault::NoAnswer(hold) => {
                shared.pause(hold).await;
                return unanswered(&shared, &parts, call, || wire.close_after(0));
            }
            Fault::Reset => return unanswered(&shared, &parts, call, || wire.reset()),
            Fault::TooManyRequests => instead = Some(api::too_many(endpoint)),
            Fault::Status(status, text) => instead = Some(Answer::text(status, text)),
        }
    }
    let mut answer = instead.unwrap_or_else(|| api::answer(&shared, &call));
    let cap = shared.state().mischief.faults.page;
    if let Some(cap) = cap.filter(|cap| answer.encoded > cap.bytes) {
        shared.state().mischief.hits += 1;
        shared.pause(cap.hold).await;
        return unanswered(&shared, &parts, call, || wire.close_after(0));
    }
    let size = answer.body.len() as u64;
    let body = packed(&mut answer, &parts.headers);
    if let Some((_, in_chunks)) = cut {
        answer.streamed = in_chunks;
    }
    let length = body.len();
    let response = respond(&shared, &answer, body);
    if let Some((part, _)) = cut {
        // The head is about this long; where exactly the break comes does not matter.
        wire.close_after(head_len(&response) + (length as f64 * part.clamp(0.0, 1.0)) as usize);
    }
    remember(&shared, &parts, call, answer.status);
    let mut state = shared.state();
    state.counters.lines_out += answer.lines as u64;
    state.counters.bytes_out += size;
    response
}

/// Breaks the connection; the response is made only because one is owed to the framework, and is never sent.
fn unanswered(shared: &Shared, parts: &Parts, call: Call<'_>, end: impl FnOnce()) -> Response {
    end();
    remember(shared, parts, call, 0);
    Response::new(Body::empty())
}

fn remember(shared: &Shared, parts: &Parts, call: Call<'_>, status: u16) {
    let text = |name: &str| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
    shared.state().remember(RequestLog {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: call.params,
        status,
        org_id: text("x-scope-orgid"),
        user_agent: text("user-agent"),
        tags: text("x-query-tags"),
    });
}

/// The body as it goes over the wire.
fn packed(answer: &mut Answer, asked: &HeaderMap) -> Vec<u8> {
    answer.zipped = answer.vary && answer.body.len() >= GZIP_FROM && answer.status == 200 && accepts_gzip(asked);
    if !answer.zipped {
        return std::mem::take(&mut answer.body);
    }
    let body = gzip(&answer.body);
    answer.streamed &= body.len() > BUFFER;
    body
}

fn respond(shared: &Shared, answer: &Answer, body: Vec<u8>) -> Response {
    let length = body.len();
    let mut response = Response::new(if answer.streamed { chunks(body) } else { Body::from(body) });
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(date) = HeaderValue::from_str(&http_date(shared.options.clock.now())) {
        headers.insert(header::DATE, date);
    }
    if let Some(kind) = answer.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if answer.vary {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if answer.zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if answer.status != 204 && !answer.streamed {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// A body of unknown length in pieces, as a server sends that writes while it reads.
fn chunks(body: Vec<u8>) -> Body {
    let mut rest = Bytes::from(body);
    let pieces = std::iter::from_fn(move || {
        let piece = rest.split_to(rest.len().min(CHUNK));
        (!piece.is_empty()).then_some(Ok::<_, Infallible>(piece))
    });
    Body::from_stream(futures_util::stream::iter(pieces))
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    accepted.flat_map(|v| v.split(',')).any(|coding| coding.split(';').next().is_some_and(|c| c.trim() == "gzip"))
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut zip = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    // Writing into memory does not fail.
    let _ = zip.write_all(body);
    zip.finish().unwrap_or_default()
}

fn head_len(response: &Response) -> usize {
    let lines = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    "HTTP/1.1 200 OK\r\n\r\n".len() + lines.sum::<usize>()
}
