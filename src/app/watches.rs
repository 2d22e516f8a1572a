//! Which watches there are, and each as the poller and the engine need to know it.

use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::reader::{Mark, Until};
use crate::collect::client::Client;
use crate::collect::config::WatchConfig;
use crate::collect::streams;
use crate::config::Settings;
use crate::detect::config::WindowSpec;
use crate::engine::WatchOptions;
use crate::labels::Labels;
use crate::time::Nanos;

/// Pause before Loki is asked again what there is to watch.
const PAUSE: Duration = Duration::from_secs(10);

/// The watches of the settings, or all streams that Loki has. `None` when told to stop while waiting for Loki.
pub(super) async fn choose(
    settings: &Settings,
    client: &Client,
    options: &Options,
    stop: &CancellationToken,
) -> Result<Option<Vec<WatchConfig>>> {
    if !settings.watches.is_empty() {
        return Ok(Some(settings.watches.clone()));
    }
    loop {
        let asked = streams::choose(client, settings.loki.org_id.as_deref(), options.clock.now()).await;
        let error = match asked {
            Ok(choice) => {
                for told in &choice.told {
                    tracing::info!("no watches are set: {told}");
                }
                return Ok(Some(choice.watches));
            }
            Err(error) if options.until == Until::CaughtUp => return Err(error.into()),
            Err(error) => error,
        };
        tracing::warn!("cannot ask Loki what there is to watch: {error}");
        options.board.set(Some(error.to_string()));
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn spec(settings: &Settings, watch: &WatchConfig) -> WindowSpec {
    // The settings were checked: a window that does not read is not there.
    watch.window.as_deref().and_then(|text| text.parse().ok()).unwrap_or(settings.detect.window)
}

/// What is asked of Loki for the watch.
pub(super) fn mark(settings: &Settings, watch: &WatchConfig) -> Mark {
    Mark::of(&watch.query, watch.org_id.as_deref().or(settings.loki.org_id.as_deref()))
}

/// Length of the watch's windows; `None` for windows of lines.
pub(super) fn window(settings: &Settings, watch: &WatchConfig) -> Option<Nanos> {
    match spec(settings, watch) {
        WindowSpec::Time(span) => Some(span.nanos()),
        WindowSpec::Lines { .. } => None,
    }
}

/// The watch as the engine needs to know it.
pub(super) fn options(settings: &Settings, watch: &WatchConfig) -> WatchOptions {
    let mut labels: Labels = settings.notify.external_labels.clone();
    for (name, value) in watch.labels.iter() {
        labels.insert(name, value);
    }
    WatchOptions {
        name: watch.name.as_str().into(),
        query: watch.query.clone(),
        window: spec(settings, watch),
        group_by: watch.group_by.clone(),
        labels,
        owner: watch.owner.clone(),
        runbook_url: watch.runbook_url.clone(),
    }
}
