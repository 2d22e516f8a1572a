//! Stage 2: from [`Batch`](crate::collect::Batch)es to judged windows and [`Anomaly`]s.
//!
//! What comes in: entries in the order (time, stream, arrival). What goes out: closed [`Window`]s with a [`Judgement`].
//! What never happens here: I/O, a clock, unseeded randomness, or learning from the window that is judged.

pub mod burst;
pub mod calibrate;
pub mod config;
pub mod decide;
pub mod detector;
pub mod expect;
pub mod explain;
pub mod gate;
pub mod habit;
pub mod held;
pub mod history;
mod instance;
pub mod level;
pub mod mask;
pub mod model;
pub mod novelty;
mod past;
pub mod pattern;
pub mod personal;
pub mod rarity;
pub mod ratio;
mod season;
mod seen;
pub mod session;
pub mod silence;
pub mod spread;
pub mod tail;
pub mod template;
mod tide;
pub mod trace;
pub mod value;
pub mod voice;
pub mod window;

use serde::{Deserialize, Serialize};

use crate::collect::Coverage;
pub use crate::collect::Level;
use crate::labels::{Fingerprint, Labels};
use crate::time::{Nanos, TimeRange};
pub use gate::{Check, Gate, NearMiss};
pub use spread::{Common, Odd};

/// Windows without it after which what was told is over, and only what came since is added up. Windows of a minute are over before
/// an incident is (`keep_firing_for`, 5 minutes): else the sum over half an hour tells it again as soon as one straggler comes.
pub(crate) const LULL: usize = 4;

/// What is measured of a window. The first four are those of the simple detector that teams write themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Mean length of a line in bytes; absent in a window without lines.
    LineLength,
    /// Lines of level error or worse.
    ErrorCount,
    /// Lines of level warn.
    WarnCount,
    /// Distinct lines, digits masked.
    UniqueMessages,
    /// Lines per second; in windows of lines over the time that the window took.
    Rate,
}

impl Feature {
    /// All of them, in the order of [`Features`].
    pub const ALL: [Self; 5] = [Self::LineLength, Self::ErrorCount, Self::WarnCount, Self::UniqueMessages, Self::Rate];
}

/// The values of [`Feature::ALL`] of one window; `None` where the window has nothing to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Features(pub [Option<f64>; 5]);

impl Features {
    /// The value of one feature.
    #[must_use]
    pub fn get(&self, feature: Feature) -> Option<f64> {
        self.0.get(feature as usize).copied().flatten()
    }
}

/// Which lines belong together: the values of the watch's `group_by` labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Identity over restarts.
    pub fingerprint: Fingerprint,
    /// The labels that name it, such as `{service_name="cart"}`.
    pub labels: Labels,
}

/// A line kept as evidence: masked for secrets, cut to at most 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its time stamp.
    pub ts: Nanos,
    /// Its level.
    pub level: Level,
    /// The masked line.
    pub line: String,
    /// Its variable parts, from and to which byte, in order; known of the lines of anomalies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<(u32, u32)>,
}

/// A closed window of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Time: the aligned window, or first to last line (`end` = last + 1 ns) of a window of lines.
    pub range: TimeRange,
    /// Entries in it.
    pub lines: u64,
    /// What was measured.
    pub features: Features,
    /// How much of it was seen.
    pub coverage: Coverage,
    /// Whether it was closed once before with fewer lines, and grew.
    pub late: bool,
    /// Up to five lines, the worst levels first, then the earliest.
    pub samples: Vec<Sample>,
}

/// How unusual a window is, by one detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// 0 (ordinary) to 1 (never seen anything like it).
    pub value: f64,
    /// Exact additive shares by feature; they sum to 1 when any is positive.
    pub shares: [f64; 5],
}

/// Scores a window against the windows learnt before, and learns. Learning never happens in [`Detector::score`].
pub trait Detector {
    /// `None` while warming up.
    fn score(&self, window: &Window) -> Option<Score>;
    /// Takes a window into the history. Call it after the window was scored.
    fn learn(&mut self, window: &Window);
}

/// Why one feature speaks against a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureEvidence {
    /// Which feature.
    pub feature: Feature,
    /// What was seen.
    pub seen: f64,
    /// Lower and upper end of what is expected from the group's past.
    pub expected: (f64, f64),
    /// Share of the score, 0 to 1; the shares of all features and patterns sum to 1.
    pub share: f64,
    /// The part of the share that the forest has in it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forest: f64,
    /// Of errors and warnings: the line that comes most often among them in this window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequent: Option<Frequent>,
    /// Windows in a row that it was seen over, this one the last: 1 for this window alone.
    #[serde(default = "one")]
    pub windows: u32,
    /// Whether windows that have any are counted, not how many they have.
    #[serde(default)]
    pub presence: bool,
    /// Whether it is too much for this hour of the week, though not for others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seasonal: bool,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// When a line like this one was seen in its group before the window; both `None`: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The first time, to the millisecond.
    pub first: Option<Nanos>,
    /// The last time; `None` also where only the first is known.
    pub last: Option<Nanos>,
}

/// A line that comes often among others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frequent {
    /// The line, masked, `<*>` for its variable parts.
    pub line: String,
    /// Its share of them, 0 to 1.
    pub part: f64,
    /// When it was seen before; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// What is wrong with the lines themselves, rather than with their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatternKind {
    /// A line that the group never wrote before.
    New,
    /// A problem that comes more often than it used to.
    Burst,
    /// Sessions begin with a problem, which may be an everyday one in their midst.
    Begins,
    /// Sessions have a line that their like do not have.
    Unexpected,
    /// Sessions lack a line that their like have.
    Missing,
    /// A line comes more often in a session than usual.
    MoreOften,
    /// A line comes less often in a session than usual.
    LessOften,
    /// Sessions stay longer in the group than usual.
    Slow,
    /// Lines come in an unusual order.
    Order,
    /// Many different lines begin sessions in their midst: those before them are lost or late. The groups that wrote them stand
    /// in `along`.
    Lost,
    /// A line that few windows have; windows of lines only. `seen` and `of` are windows.
    Rare,
    /// A line comes too seldom beside one that it used to come with. `seen` and `expected` are its lines, `of` those of the
    /// other, which stands in `after`.
    Ratio,
    /// A line that came regularly has stopped. `windows` is how long it has not come, `expected` and `most` are the mean and
    /// the longest pause, in windows; `of` is how often it came.
    Stopped,
    /// A number in a line is far from all that stood there before. `seen` are lines.
    Value,
    /// One instance has more warnings or errors than it used to, and the others of its group have not. `seen` and `expected`
    /// are the lines of the instance, which stands in `key`; `of` are those of the whole group, `line` is the most frequent one.
    Instance,
}

/// Why the lines of a group speak against a window. A session is all lines of one request, block or job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatternEvidence {
    /// What is wrong.
    pub kind: PatternKind,
    /// The line, masked, as it was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// When it was seen before; `None` where there is no line, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// The line before it, where the order is wrong, or sessions end there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How sessions are told apart, such as `trace_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Sessions that are so.
    pub seen: f64,
    /// Of how many sessions of their types.
    pub of: f64,
    /// How many of them were expected to be so.
    pub expected: f64,
    /// Up to so many are ordinary: all but one in a hundred windows have no more. `None` where there is no such law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// Longer than so many seconds, where they are slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// How long it took in the middle one of the slow ones, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<f64>,
    /// Groups between whose lines, one after the other, it takes so long, or sessions end; `None` of one group alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<(String, String)>,
    /// Other groups of which steps are missing too, and how many steps are, of all groups.
    #[serde(default, skip_serializing_if = "is_alone")]
    pub along: (Vec<String>, u32),
    /// The number that is far off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<OddValue>,
    /// Windows in a row that it was seen over, this one the last.
    pub windows: u32,
    /// Share of the score, 0 to 1; the shares of all evidence sum to 1.
    pub share: f64,
}

fn is_alone((groups, steps): &(Vec<String>, u32)) -> bool {
    groups.is_empty() && *steps == 0
}

impl PatternEvidence {
    /// One of this kind that was seen once and not expected.
    pub(crate) fn of(kind: PatternKind) -> Self {
        Self {
            kind,
            line: None,
            before: None,
            after: None,
            key: None,
            seen: 1.0,
            of: 1.0,
            expected: 0.0,
            most: None,
            seconds: None,
            took: None,
            between: None,
            along: (Vec::new(), 0),
            value: None,
            windows: 1,
            share: 0.0,
        }
    }
}

/// A number that is far off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OddValue {
    /// The key or the word before it, masked; empty when there is none.
    pub name: String,
    /// The number.
    pub seen: f64,
    /// All numbers before lay between these.
    pub expected: (f64, f64),
}

/// What speaks for an anomaly, complete enough to explain it without asking Loki.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// By falling share.
    pub features: Vec<FeatureEvidence>,
    /// By falling share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<PatternEvidence>,
    /// Up to five masked lines.
    pub samples: Vec<Sample>,
    /// Labels that the lines that it is about have in common and others have not, the most telling first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub common: Vec<Common>,
    /// What the strongest finding had to pass, in the order of passing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// How much of the window was seen.
    pub coverage: Coverage,
    /// The LogQL query that shows the lines.
    pub query: String,
}

/// What was found about a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// `None` while the group is warming up.
    pub score: Option<f64>,
    /// The score from which on a window is anomalous, from the score's own history.
    pub threshold: Option<f64>,
    /// Set when the window is anomalous: the features that say so, by falling share.
    pub anomalous: Option<Vec<FeatureEvidence>>,
    /// What is wrong with the lines, when the window is anomalous for it. Not stored with the window.
    #[serde(skip)]
    pub patterns: Vec<PatternEvidence>,
    /// Lines that the patterns are about. Not stored with the window.
    #[serde(skip)]
    pub samples: Vec<Sample>,
    /// What the detector alone said, so that it need not be asked again when the window is learnt. Not stored.
    #[serde(skip)]
    pub raw: Option<f64>,
}

/// What is done about an anomaly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Shown, not sent: too little is known of the group to be sure.
    Learning,
    /// Shown, not sent: there are more lines, or other ones, and nothing is wrong in them.
    Notice,
    /// Told.
    #[default]
    Alert,
}

impl Grade {
    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Notice => "notice",
            Self::Alert => "alert",
        }
    }
}

/// A window of a group that is not normal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Where.
    pub group: Group,
    /// When.
    pub range: TimeRange,
    /// Entries in the window.
    pub lines: u64,
    /// Whether the window grew after it was first judged.
    pub late: bool,
    /// Its score.
    pub score: f64,
    /// What the score had to pass.
    pub threshold: f64,
    /// What is done about it.
    #[serde(default)]
    pub grade: Grade,
    /// Why.
    pub evidence: Evidence,
}
