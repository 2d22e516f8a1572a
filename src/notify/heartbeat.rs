//! The dead-man's switch: a request at regular times, as long as sigyn is well. Who gets none any more raises the alarm.
//!
//! What never happens here: the URL in the log. It has a key in it.

use std::path::PathBuf;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::client;
use super::config::HeartbeatConfig;
use crate::secret::{Secret, SecretError};

/// Requests the URL each interval while `healthy` says yes, until `stop`. Returns at once when no URL is set.
pub async fn run(
    config: &HeartbeatConfig,
    client: reqwest::Client,
    healthy: impl Fn() -> bool + Send,
    stop: CancellationToken,
) {
    let beat = Beat { url: config.url.clone(), file: config.url_file.clone(), client };
    if beat.url.is_none() && beat.file.is_none() {
        return;
    }
    let mut ticks = interval(config.interval.0.max(std::time::Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !healthy() {
            continue;
        }
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = beat.send() => outcome,
        };
        match &outcome {
            Err(error) if !failing => tracing::warn!("heartbeat: {error}; it is tried again at each interval"),
            Err(error) => tracing::debug!("heartbeat: {error}"),
            Ok(()) if failing => tracing::info!("heartbeat: it is taken again"),
            Ok(()) => {}
        }
        failing = outcome.is_err();
    }
}

struct Beat {
    url: Option<Secret>,
    file: Option<PathBuf>,
    client: reqwest::Client,
}

#[derive(Debug, thiserror::Error)]
enum BeatError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("notify.heartbeat.url is no URL; it looks like https://hc-ping.com/...")]
    NoUrl,
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("answered {0}; check notify.heartbeat.url")]
    Refused(u16),
}

impl Beat {
    async fn send(&self) -> Result<(), BeatError> {
        let url = Secret::read(self.url.as_ref(), self.file.as_deref())?;
        let url = url.and_then(|url| Url::parse(url.expose()).ok()).ok_or(BeatError::NoUrl)?;
        let sent = self.client.get(url).send().await;
        let status = sent.map_err(|error| BeatError::NoAnswer(client::chain(&error.without_url())))?.status();
        if status.is_success() { Ok(()) } else { Err(BeatError::Refused(status.as_u16())) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::time::Span;

    async fn stub(status: u16) -> (Secret, Arc<AtomicU32>, tokio::sync::mpsc::UnboundedReceiver<()>) {
        let count = Arc::new(AtomicU32::new(0));
        let (told, beats) = tokio::sync::mpsc::unbounded_channel();
        let counted = Arc::clone(&count);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ping/hunter2secret", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            told.send(()).unwrap();
            axum::http::StatusCode::from_u16(status).unwrap()
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Secret::new(url), count, beats)
    }

    #[tokio::test]
    async fn beats_while_well_and_stops() {
        let (url, count, mut beats) = stub(200).await;
        let config = HeartbeatConfig { url: Some(url), url_file: None, interval: Span(Duration::from_millis(2)) };
        let well = Arc::new(AtomicBool::new(true));
        let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
        let (health, stop) = (Arc::clone(&well), CancellationToken::new());
        let healthy = move || {
            let _ = asked.send(());
            health.load(Ordering::SeqCst)
        };
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { run(&config, client::client().unwrap(), healthy, stop).await }
        });
        for _ in 0..3 {
            beats.recv().await.unwrap();
        }
        well.store(false, Ordering::SeqCst);
        // At most the beat that was under way still comes; then it is asked for health again and again, in vain.
        while asks.try_recv().is_ok() {}
        asks.recv().await.unwrap();
        asks.recv().await.unwrap();
        let seen = count.load(Ordering::SeqCst);
        asks.recv().await.unwrap();
        asks.recv().await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), seen);
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn errors_do_not_show_the_url() {
        let (url, _count, _beats) = stub(404).await;
        let client = client::client().unwrap();
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for url in [url, Secret::new(format!("http://{free}/hunter2secret")), Secret::new("hunter2secret")] {
            let beat = Beat { url: Some(url), file: None, client: client.clone() };
            let error = beat.send().await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn without_a_url_there_is_nothing_to_do() {
        let config = HeartbeatConfig::default();
        run(&config, client::client().unwrap(), || true, CancellationToken::new()).await;
    }
}
