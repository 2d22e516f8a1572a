//! What is planted: faults that must be found and surprises that must not alarm.
//!
//! Only words and tables live here; `schedule` places them in time and `effect` makes them visible.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A kind of scripted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Known error lines, many times as often as every day.
    ErrorBurst,
    /// An exception that was never seen before, a few times a minute.
    NewException,
    /// Known warnings that slowly become more.
    WarnCreep,
    /// All lines of the service are missing.
    Silence,
    /// The durations in the service's lines rise; counts stay about the same.
    Latency,
    /// The service starts, dies and starts again.
    CrashLoop,
    /// Many failed logins from a few addresses.
    BruteForce,
    /// A disk fills slowly, then writes fail.
    DiskFull,
    /// Memory grows until the process is killed, again and again.
    Oom,
    /// Errors spread from one service over two that depend on it.
    Cascade,
    /// An ordinary line with a value that never occurs otherwise.
    OddValue,
    /// The steps of a request come in the wrong order.
    WrongOrder,
}

impl FaultKind {
    /// Every kind, in the order in which `--faults all` plants them.
    pub const ALL: [Self; 12] = [
        Self::ErrorBurst,
        Self::NewException,
        Self::WarnCreep,
        Self::Silence,
        Self::Latency,
        Self::CrashLoop,
        Self::BruteForce,
        Self::DiskFull,
        Self::Oom,
        Self::Cascade,
        Self::OddValue,
        Self::WrongOrder,
    ];

    /// The name in files and flags, such as `error_burst`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorBurst => "error_burst",
            Self::NewException => "new_exception",
            Self::WarnCreep => "warn_creep",
            Self::Silence => "silence",
            Self::Latency => "latency",
            Self::CrashLoop => "crash_loop",
            Self::BruteForce => "brute_force",
            Self::DiskFull => "disk_full",
            Self::Oom => "oom",
            Self::Cascade => "cascade",
            Self::OddValue => "odd_value",
            Self::WrongOrder => "wrong_order",
        }
    }

    /// How long it lasts when there is room, in seconds.
    pub(crate) const fn seconds(self) -> i64 {
        match self {
            Self::ErrorBurst | Self::NewException | Self::BruteForce => 360,
            Self::Silence | Self::CrashLoop | Self::Cascade => 480,
            Self::OddValue | Self::WrongOrder => 600,
            Self::Latency => 720,
            Self::Oom => 900,
            Self::WarnCreep | Self::DiskFull => 1500,
        }
    }

    /// Where it can strike: the service first, then those that it drags along.
    pub(crate) const fn places(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::ErrorBurst => &[&["payment"], &["inventory"], &["cart"], &["order"], &["search"], &["database"]],
            Self::NewException => &[&["order"], &["payment"], &["cart"], &["inventory"]],
            Self::WarnCreep => &[&["database"], &["cart"], &["search"], &["inventory"]],
            Self::Silence => &[&["auth"], &["inventory"], &["database"], &["search"], &["cart"]],
            Self::Latency => &[&["payment"], &["database"], &["inventory"], &["search"]],
            Self::CrashLoop => &[&["cart"], &["search"], &["queue-worker"], &["inventory"]],
            Self::BruteForce => &[&["auth", "gateway"]],
            Self::DiskFull => &[&["database"], &["search"], &["queue-worker"]],
            Self::Oom => &[&["order"], &["search"], &["cart"]],
            Self::Cascade => {
                &[&["database", "inventory", "gateway"], &["payment", "order", "gateway"], &["auth", "cart", "gateway"]]
            }
            Self::OddValue => &[&["payment"], &["cart"], &["inventory"]],
            Self::WrongOrder => &[&["payment"], &["order"], &["auth"], &["queue-worker"]],
        }
    }

    /// The share of its length after which its effect passes twice the ordinary: 0 for all that start at once.
    #[must_use]
    pub fn onset_share(self) -> f64 {
        match self {
            // Warnings grow in a straight line to CREEP times the ordinary: twice is reached at 1 / (CREEP - 1).
            Self::WarnCreep => 1.0 / (CREEP - 1.0),
            // Durations grow in a straight line to SLOW times the ordinary within SLOW_RAMP of the length.
            Self::Latency => SLOW_RAMP / (SLOW - 1.0),
            // A gauge climbs in a straight line from GAUGE to 100 %: twice is reached at GAUGE of the way's 100 - GAUGE.
            Self::DiskFull | Self::Oom => GAUGE_RAMP * GAUGE / (100.0 - GAUGE),
            _ => 0.0,
        }
    }
}

/// A warning creep ends at so many times the ordinary warnings.
pub(crate) const CREEP: f64 = 6.0;
/// A latency rise ends at so many times the ordinary durations.
pub(crate) const SLOW: f64 = 8.0;
/// The share of a latency rise in which it climbs; then it stays.
pub(crate) const SLOW_RAMP: f64 = 0.35;
/// The ordinary use of a disk or a heap in percent.
pub(crate) const GAUGE: f64 = 42.0;
/// The share of a filling fault in which the gauge climbs to 100 %.
pub(crate) const GAUGE_RAMP: f64 = 0.6;

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("`{text}` is no kind of fault; the kinds are {}", known()))
    }
}

impl Serialize for FaultKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One planted fault. All times are nanoseconds since the Unix epoch, on whole seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// Where it happens (the root, for a cascade).
    pub service: &'static str,
    /// Further services whose lines show it.
    pub also: Vec<&'static str>,
    /// From when on it counts: for a gradual fault the moment when its effect passes twice the ordinary.
    pub start: i64,
    /// First instant after it.
    pub end: i64,
    /// When the script began to act; before `start` for a gradual fault, else equal.
    pub scripted_start: i64,
    /// How strong it is; 1 is the middle, seeds give 0.8 to 1.25.
    pub strength: f64,
    /// A number that chooses texts and addresses.
    #[serde(skip)]
    pub(crate) salt: u64,
}

impl Fault {
    /// The id in labelled files: `kind@service@epoch`, epoch in seconds.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}@{}@{}", self.kind, self.service, self.start / 1_000_000_000)
    }

    /// How far the script is at `at`: 0 at the scripted start, 1 at the end.
    pub(crate) fn progress(&self, at: i64) -> f64 {
        (at - self.scripted_start) as f64 / (self.end - self.scripted_start).max(1) as f64
    }

    /// The services that show it, the root first.
    pub fn services(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.service).chain(self.also.iter().copied())
    }
}

/// A kind of surprise that must not alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BenignKind {
    /// A new version: pods restart one after the other under new names, and new harmless lines come from then on.
    Deploy,
    /// A nightly batch job.
    Batch,
    /// The jobs of the full hour.
    Cron,
    /// More traffic than usual, coming and going slowly.
    Surge,
}

impl BenignKind {
    /// The name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Batch => "batch",
            Self::Cron => "cron",
            Self::Surge => "surge",
        }
    }
}

/// One harmless surprise. Times as in [`Fault`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Benign {
    /// What happens.
    pub kind: BenignKind,
    /// Where; `-` when it is the whole shop.
    pub service: &'static str,
    /// First instant of it.
    pub start: i64,
    /// First instant after it.
    pub end: i64,
}

/// All that a plan plants.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Truth {
    /// In time order, not overlapping.
    pub faults: Vec<Fault>,
    /// In the order of their starts; they may overlap.
    pub benign: Vec<Benign>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert!((0.0..0.6).contains(&kind.onset_share()), "{kind}");
        }
        assert!("flood".parse::<FaultKind>().unwrap_err().contains("error_burst"));
    }
}
