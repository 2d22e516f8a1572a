//! Probes, metrics and reload on their own listener.
//!
//! What comes in: requests, and closures that know how sigyn is. What goes out: small answers. What never happens here:
//! a decision, or a log line of anybody else. It is not meant for the open internet.

pub mod config;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// What the answers are made of.
#[derive(Clone)]
pub struct State {
    /// How sigyn is now.
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
    /// The metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Reads the settings anew: what was taken over, or the mistakes.
    pub reload: Reload,
}

/// Reads the settings anew.
pub type Reload = Arc<dyn Fn() -> Reloading + Send + Sync>;

/// The answer to come of [`Reload`].
pub type Reloading = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// How sigyn is: the body of `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Why it is not ready; empty: it is.
    pub reasons: Vec<String>,
    /// Each watch.
    pub watches: Vec<WatchHealth>,
}

/// How a watch is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchHealth {
    /// Its name.
    pub name: String,
    /// Whether it was read successfully since the start.
    pub read: bool,
    /// Seconds from the end of what was read to now, `eval_delay` included; `None` before the first reading.
    pub lag_seconds: Option<f64>,
    /// Groups that are judged.
    pub groups: u64,
    /// Groups that still learn.
    pub learning: u64,
    /// Why the last reading failed, while it does.
    pub error: Option<String>,
}

impl Health {
    /// Whether sigyn does its work: the store is open, nothing inside has failed, every watch has been read once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.all_reasons().is_empty()
    }

    /// [`Health::reasons`] and the watches that were never read.
    #[must_use]
    pub fn all_reasons(&self) -> Vec<String> {
        let unread = self.watches.iter().filter(|watch| !watch.read).map(|watch| match &watch.error {
            Some(error) => format!("watch {} was never read: {error}", watch.name),
            None => format!("watch {} was not read yet", watch.name),
        });
        self.reasons.iter().cloned().chain(unread).collect()
    }
}

/// The routes.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/-/reload", post(reload))
        .with_state(state)
}

/// Serves until `shutdown` is over and the answers under way are out.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn ready(Shared(state): Shared<State>) -> Response {
    let health = (state.health)();
    let reasons = health.all_reasons();
    let (status, word) = match reasons.is_empty() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let body = Ready { status: word, reasons, watches: health.watches };
    (status, Json(body)).into_response()
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    reasons: Vec<String>,
    watches: Vec<WatchHealth>,
}

async fn metrics(Shared(state): Shared<State>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.metrics)()).into_response()
}

async fn reload(Shared(state): Shared<State>) -> Response {
    match (state.reload)().await {
        Ok(text) => (StatusCode::OK, format!("{text}\n")).into_response(),
        Err(text) => (StatusCode::BAD_REQUEST, format!("{text}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::sync::oneshot;

    use super::*;

    struct Server {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        done: tokio::task::JoinHandle<std::io::Result<()>>,
    }

    async fn start(health: Health, reload: Result<&'static str, &'static str>) -> Server {
        let state = State {
            health: Arc::new(move || health.clone()),
            metrics: Arc::new(|| "sigyn_up 1\n".to_owned()),
            reload: Arc::new(move || Box::pin(async move { reload.map(ToOwned::to_owned).map_err(ToOwned::to_owned) })),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(serve(listener, router(state), async {
            let _ = stopped.await;
        }));
        Server { address, stop, done }
    }

    impl Server {
        async fn ask(&self, method: reqwest::Method, path: &str) -> (u16, String) {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = client.request(method, format!("http://{}{path}", self.address)).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }

        async fn get(&self, path: &str) -> (u16, String) {
            self.ask(reqwest::Method::GET, path).await
        }
    }

    fn watch(name: &str, read: bool, error: Option<&str>) -> WatchHealth {
        WatchHealth { name: name.to_owned(), read, error: error.map(ToOwned::to_owned), ..WatchHealth::default() }
    }

    #[tokio::test]
    async fn probes_answer_and_the_server_drains() {
        let health = Health { reasons: vec![], watches: vec![watch("a", true, Some("Loki is away"))] };
        let server = start(health, Ok("settings taken over")).await;
        assert_eq!(server.get("/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(server.get("/metrics").await, (200, "sigyn_up 1\n".to_owned()));
        let (status, body) = server.get("/readyz").await;
        assert_eq!(status, 200);
        insta::assert_snapshot!(body, @r#"{"status":"ready","reasons":[],"watches":[{"name":"a","read":true,"lag_seconds":null,"groups":0,"learning":0,"error":"Loki is away"}]}"#);
        assert_eq!(server.ask(reqwest::Method::POST, "/-/reload").await, (200, "settings taken over\n".to_owned()));
        assert_eq!(server.get("/-/reload").await.0, 405);
        assert_eq!(server.get("/other").await.0, 404);
        server.stop.send(()).unwrap();
        server.done.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_missing_is_said() {
        let watches = vec![watch("a", false, None), watch("b", false, Some("401")), watch("c", true, None)];
        let server =
            start(Health { reasons: vec!["the engine has stopped".to_owned()], watches }, Err("1 mistake")).await;
        let (status, body) = server.get("/readyz").await;
        assert_eq!(status, 503);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        insta::assert_snapshot!(body["reasons"], @r#"["the engine has stopped","watch a was not read yet","watch b was never read: 401"]"#);
        assert_eq!(server.ask(reqwest::Method::POST, "/-/reload").await, (400, "1 mistake\n".to_owned()));
    }
}
