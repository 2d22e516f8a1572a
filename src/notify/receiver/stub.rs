//! A server for the tests of receivers: answers by a script and keeps what it was told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::Value;

use super::Setup;
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError, client};

/// A secret that must never be seen outside of a request.
pub(crate) const HUSH: &str = "XyZ0123456789abcdef";

impl Setup {
    /// For a receiver whose settings stand at `place`.
    pub(crate) fn of(place: &str) -> Self {
        Self { place: place.to_owned(), http: client::client().unwrap(), template: Template::default() }
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// `POST /v2/alerts`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Answers with status and body in turn; then 200 and `{}`.
#[derive(Clone)]
pub(crate) struct Stub(Arc<Mutex<State>>);

struct State {
    script: VecDeque<(u16, String)>,
    asked: Vec<Asked>,
}

async fn answer(
    extract::State(stub): extract::State<Stub>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> impl IntoResponse {
    let mut stub = stub.0.lock().unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let path = uri.to_string();
    let login = headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    let echo = format!("{path} {login} {}", text.chars().filter(|c| *c != '"').take(30).collect::<String>());
    stub.asked.push(Asked { method, path, headers, text });
    let (status, said) = stub.script.pop_front().unwrap_or((200, "{}".to_owned()));
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    if status == 429 {
        headers.insert("retry-after", "7".parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers, said.replace("ECHO", &echo))
}

impl Stub {
    /// The stub and its address, `http://127.0.0.1:PORT`.
    pub(crate) async fn start(script: &[(u16, &str)]) -> (Self, String) {
        let script = script.iter().map(|(status, text)| (*status, (*text).to_owned())).collect();
        let stub = Self(Arc::new(Mutex::new(State { script, asked: Vec::new() })));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(stub.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (stub, url)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap().asked.clone()
    }
}

/// Sends, and sees to it that no error shows [`HUSH`].
pub(crate) async fn send(
    receiver: &impl Notifier,
    notification: &Notification,
    earlier: Option<&Receipt>,
) -> Result<Receipt, SendError> {
    let outcome = receiver.send(notification, earlier).await;
    if let Err(error) = &outcome {
        assert!(!format!("{error:?} {error}").contains(HUSH), "{error}");
    }
    outcome
}

/// What the usual answers come to, with everything echoed: `make` gives a receiver at a URL. Text for a snapshot.
pub(crate) async fn judged<N: Notifier>(make: impl Fn(&str) -> N, answers: &[(u16, &str)]) -> String {
    let mut said = Vec::new();
    let notification = crate::notify::fixture::notification(crate::notify::fixture::opened(), "it");
    for (status, text) in answers {
        let (_stub, url) = Stub::start(&[(*status, text)]).await;
        let line = match send(&make(&url), &notification, None).await {
            Ok(receipt) => format!("{status}: taken {receipt:?}"),
            Err(SendError::Retry { reason, message, after }) => {
                format!("{status}: retry {reason} {after:?}: {message}")
            }
            Err(SendError::GiveUp { reason, message }) => format!("{status}: give up {reason}: {message}"),
        };
        let port = url.rsplit(':').next().unwrap();
        said.push(line.replace(port, "PORT"));
    }
    said.join("\n")
}
