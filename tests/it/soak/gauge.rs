//! What a process uses, as the kernel counts it.

use std::path::Path;

use sigyn::time::{Nanos, SECOND};

/// Ticks of the kernel's clock in a second, on Linux.
const TICKS: f64 = 100.0;

/// How things stood at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) at: Nanos,
    /// Bytes.
    pub(crate) rss: u64,
    /// Nanoseconds.
    pub(crate) lag: Nanos,
    /// Bytes of the database and of its log.
    pub(crate) store: u64,
    pub(crate) log: u64,
}

/// Resident bytes, now and at most; `None` when the process is gone.
pub(crate) fn memory(pid: u32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Seconds of CPU so far.
pub(crate) fn cpu(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Some(ticks.sum::<Result<f64, _>>().ok()? / TICKS)
}

/// Bytes of a file; 0 when it is not there.
pub(crate) fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |meta| meta.len())
}

/// How much `value` grows in a day, by least squares.
pub(crate) fn a_day(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let n = samples.len() as f64;
    let Some(first) = samples.first() else { return 0.0 };
    let days = |sample: &Sample| (sample.at - first.at) as f64 / (86_400 * SECOND) as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(&days), mean(&value));
    let over: f64 = samples.iter().map(|sample| (days(sample) - x) * (value(sample) - y)).sum();
    let under: f64 = samples.iter().map(|sample| (days(sample) - x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

/// The value that a share of the samples does not exceed.
pub(crate) fn quantile(samples: &[Sample], share: f64, value: impl Fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(value).collect();
    values.sort_unstable();
    values.get(((values.len() as f64 - 1.0) * share).max(0.0) as usize).copied().unwrap_or(0)
}
