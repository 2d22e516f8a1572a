//! sigyn's own log and metrics.
//!
//! What comes in: settings, and what all parts record. What goes out: lines on standard error, and the text of `/metrics`.
//! Both are global in a process and set up once; tests need neither.

use std::io::IsTerminal;

use metrics::Unit;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use serde::{Deserialize, Serialize};

/// `telemetry:` sigyn's own log, on standard error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Filter in tracing's grammar: `info`, `sigyn=debug,warn`; else `info` in the daemon and `warn` elsewhere.
    pub log: Option<String>,
    /// How a log line looks.
    pub format: LogFormat,
}

/// How a line of sigyn's own log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A metric of sigyn: its name, type, unit and help are in [`METRICS`] and nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, with its labels in the help text.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Unit.
    pub unit: Unit,
    /// What it counts or measures, and its labels.
    pub help: &'static str,
}

/// Type of a [`Metric`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// All metrics of sigyn.
pub const METRICS: &[Metric] = &[
    counter("sigyn_lines_total", "Lines read and given to the engine; labels: watch."),
    counter("sigyn_late_lines_total", "Lines that arrived after their range had been read; labels: watch."),
    counter("sigyn_gap_lines_total", "Lines counted and not read, see the gap records; labels: watch."),
    counter("sigyn_gaps_total", "Ranges that were left out; labels: watch, reason."),
    counter("sigyn_shrunk_lines_total", "Lines that Loki no longer had at a second count; labels: watch."),
    counter("sigyn_streams_evicted_total", "Label sets forgotten because there were too many to remember."),
    seconds("sigyn_lag_seconds", "From the end of what was read to now; labels: watch."),
    gauge("sigyn_coverage_ratio", Unit::Percent, "Share of the existing lines that was read, 0 to 1; labels: watch."),
    seconds("sigyn_clock_skew_seconds", "Our clock minus Loki's."),
    seconds(
        "sigyn_shipper_delay_seconds",
        "Within this time of their stamp 99 % of the lines are in Loki, at least eval_delay; labels: watch.",
    ),
    counter("sigyn_requests_total", "Requests to Loki; labels: endpoint, outcome."),
    gauge("sigyn_learning_ratio", Unit::Percent, "Share of Loki's past that was learnt from, 0 to 1; labels: watch."),
    counter("sigyn_windows_total", "Windows closed; labels: watch."),
    counter(
        "sigyn_anomalies_total",
        "Windows found anomalous; labels: watch, grade (alert is told, notice and learning are shown only).",
    ),
    counter("sigyn_transitions_total", "Incidents that opened, went on or were resolved; labels: watch, kind."),
    gauge("sigyn_groups", Unit::Count, "Groups known; labels: watch."),
    gauge("sigyn_groups_ready", Unit::Count, "Groups that have learnt enough to be judged; labels: watch."),
    gauge(
        "sigyn_groups_without_templates",
        Unit::Count,
        "Groups whose templates say nothing: levels, rates and lengths are judged there; labels: watch.",
    ),
    gauge(
        "sigyn_held_bytes",
        Unit::Bytes,
        "What models, templates and sessions take, of detect.memory_limit over the number of watches; labels: watch.",
    ),
    counter(
        "sigyn_dropped_total",
        "What was forgotten for want of memory; labels: watch, what (groups, templates, lines: kinds of lines of single groups).",
    ),
    gauge(
        "sigyn_false_alert_share_ratio",
        Unit::Percent,
        "Share of detect.false_alerts_per_day that a watch may spend, 0 to 1, the same in all processes; 0: it is gone; labels: watch.",
    ),
    counter("sigyn_notices_total", "What people were told; labels: kind."),
    counter("sigyn_held_back_total", "Messages that were held back; labels: route, reason."),
    counter("sigyn_commit_failures_total", "Steps that could not be stored at the first try."),
    counter("sigyn_deliveries_total", "Attempts to send a message; labels: receiver, outcome, reason."),
    gauge("sigyn_outbox_pending", Unit::Count, "Messages that wait to be sent."),
    gauge("sigyn_watches_held", Unit::Count, "Watches that this process reads; of several on one server, its share."),
    gauge("sigyn_config_reload_success", Unit::Count, "1 when the last reading of the settings was good, else 0."),
    seconds("sigyn_config_reload_timestamp_seconds", "When settings were last taken over, Unix time."),
    gauge("sigyn_build_info", Unit::Count, "Always 1; labels: version."),
];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, help }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, help }
}

const fn seconds(name: &'static str, help: &'static str) -> Metric {
    gauge(name, Unit::Seconds, help)
}

/// Why sigyn's own log or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The filter is none.
    #[error("telemetry.log: `{text}` is no filter: {source}; write it like `info` or `sigyn=debug,warn`")]
    Filter {
        /// The filter.
        text: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is one already in this process.
    #[error("cannot set up sigyn's own {what}: it is set up already")]
    Again {
        /// `log` or `metrics`.
        what: &'static str,
    },
}

/// What goes before every filter. octocrab logs each 5xx as an error; the outbox says the same with what it does about it.
const BEFORE: &str = "octocrab=off";

/// Starts the log, once in a process; `usual` is the filter where the settings have none.
///
/// # Errors
/// When the filter is wrong, or a log is there already.
pub fn start_log(config: &TelemetryConfig, usual: &str) -> Result<(), SetupError> {
    let text = config.log.as_deref().unwrap_or(usual);
    let filter = EnvFilter::try_new(format!("{BEFORE},{text}"))
        .map_err(|source| SetupError::Filter { text: text.to_owned(), source })?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = match config.format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|_| SetupError::Again { what: "log" })
}

/// What renders the metrics.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Makes the recorder that all `metrics::counter!` and the like of this process write to.
    ///
    /// # Errors
    /// When there is one already.
    pub fn install() -> Result<Self, SetupError> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| SetupError::Again { what: "metrics" })?;
        describe();
        metrics::gauge!("sigyn_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self(handle))
    }

    /// All metrics in Prometheus' text format, those of the process fresh.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        let mut text = self.0.render();
        if let Some(process) = Process::now() {
            text.push_str(&process.render());
        }
        text
    }
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
        }
    }
}

/// What the process uses, as the system counts it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Memory in RAM now.
    pub rss_bytes: u64,
    /// The most that it was since the start.
    pub peak_rss_bytes: u64,
    /// CPU time, user and system.
    pub cpu_seconds: f64,
}

impl Process {
    /// Asks the system; `None` where it does not say (it does on Linux).
    #[must_use]
    pub fn now() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&status, &stat)
    }

    /// By hand: the recorder's counters are whole numbers.
    fn render(&self) -> String {
        format!(
            "# HELP process_resident_memory_bytes Memory of the process that is in RAM.\n\
             # TYPE process_resident_memory_bytes gauge\n\
             process_resident_memory_bytes {}\n\
             # HELP process_cpu_seconds_total CPU time of the process, user and system.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total {}\n",
            self.rss_bytes, self.cpu_seconds
        )
    }

    /// From `/proc/self/status` and `/proc/self/stat`, see proc(5). A tick is 1/100 s in every Linux ABI.
    fn parse(status: &str, stat: &str) -> Option<Self> {
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
        };
        // The second field is the name in brackets and may hold anything; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let (user, system) = (fields.next()?.ok()?, fields.next()?.ok()?);
        Some(Self {
            rss_bytes: kib("VmRSS")? * 1024,
            peak_rss_bytes: kib("VmHWM")? * 1024,
            cpu_seconds: (user + system) as f64 / 100.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn metrics_are_named_as_prometheus_wants() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            let unit = match metric.unit {
                Unit::Seconds => "_seconds",
                Unit::Percent => "_ratio",
                _ => "",
            };
            assert!(metric.name.ends_with(unit), "{}", metric.name);
        }
    }

    #[test]
    fn metrics_render_with_help_and_type() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = Metrics(recorder.handle());
        let text = metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!("sigyn_lines_total", "watch" => "a \"b\"\n").increment(3);
            handle.render()
        });
        assert!(text.contains("# HELP sigyn_lines_total Lines read"), "{text}");
        assert!(text.contains("# TYPE sigyn_lines_total counter"), "{text}");
        assert!(text.contains(r#"sigyn_lines_total{watch="a \"b\"\n"} 3"#), "{text}");
    }

    #[test]
    fn the_process_is_read_from_the_system() {
        let status = "Name:\tx\nVmHWM:\t   300 kB\nVmRSS:\t   200 kB\n";
        let stat = "1 (a) b) R 2 3 4 5 6 7 8 9 10 11 150 50 16";
        let process = Process::parse(status, stat).unwrap();
        assert_eq!(process, Process { rss_bytes: 204_800, peak_rss_bytes: 307_200, cpu_seconds: 2.0 });
        assert_eq!(Process::parse("", stat), None);
        assert_eq!(Process::parse(status, "1 (a"), None);
        #[cfg(target_os = "linux")]
        assert!(Process::now().is_some_and(|process| process.rss_bytes > 0));
    }

    #[test]
    fn a_wrong_filter_is_told() {
        let config = TelemetryConfig { log: Some("sigyn=loud".to_owned()), ..TelemetryConfig::default() };
        let error = start_log(&config, "info").unwrap_err().to_string();
        assert!(error.contains("`sigyn=loud` is no filter"), "{error}");
    }
}
