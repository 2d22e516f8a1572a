//! Single sessions (a request, a block, a job): which of them are not like the others.
//!
//! What comes in: lines in the order of time, with a session key or without (then it is found). What goes out: a
//! [`Verdict`] for each session that is over. A session is what it did how often; what few sessions do is a deviation:
//! a template that is **present**, one that is **absent** though it is overdue, and a **count**. The rarest one decides,
//! against a threshold that is drawn through the widest gap between the rarities of all sessions. What never happens
//! here: I/O, a clock, unseeded randomness, a session judged by what was learnt from it, or growth beyond [`Limits`].

mod cut;
mod lag;
pub mod model;
mod open;
mod read;
#[cfg(test)]
mod tests;
mod vector;

use super::voice::Detectors;
use crate::collect::Purpose;
use crate::time::Nanos;
use lag::Lags;
use model::{Deviation, Model};
use open::{Closed, Open};
use read::Reader;
use vector::Vectors;

/// How much may be held. All of it together stays below some 200 MB, where sessions have ten templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions that may go on; past it those that were quiet longest are judged, and forgotten.
    pub open: usize,
    /// Distinct sessions that are remembered; past it the rarest and oldest half is forgotten.
    pub vectors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { open: 1 << 20, vectors: 1 << 14 }
    }
}

/// A line on its way to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The session, where it is known; else it is found in the line, and where lines have none the stream is it.
    pub key: Option<u64>,
    /// Time stamp.
    pub ts: Nanos,
    /// The stream, such as the hash of its labels.
    pub stream: u64,
    /// The log line.
    pub line: &'a str,
}

/// What was found about a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The session.
    pub key: u64,
    /// Its first line, counted from 0 over all lines that were handed over.
    pub line: u64,
    /// The greater, the more anomalous: nats of the rarest deviation, and a little of the next ones.
    pub score: f64,
    /// What the rarest deviation had to reach, in nats.
    pub threshold: f64,
    /// Whether it is anomalous.
    pub alarm: bool,
    /// What is rare about it, the rarest first, at most [`model::TOLD`].
    pub deviations: Vec<Deviation>,
}

/// Sessions before any is judged.
const ENOUGH: u64 = 20;
/// More anomalous sessions than twice as many as when the model was fitted: sessions have changed.
const SURPRISED: f64 = 10.0;

/// The sessions of a watch, and what is known of them.
pub struct Sessions {
    reader: Reader,
    open: Open,
    lags: Lags,
    vectors: Vectors,
    model: Option<Model>,
    /// Sessions judged since the last fit, and the anomalous ones.
    since: (u64, u64),
    /// See [`Sessions::hold_cut`].
    cut: Option<f64>,
    heard: Detectors,
}

impl Sessions {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            reader: Reader::default(),
            open: Open::new(limits.open),
            lags: Lags::default(),
            vectors: Vectors::new(limits.vectors),
            model: None,
            since: (0, 0),
            cut: None,
            heard: Detectors::ALL,
        }
    }

    /// Sets the threshold, as the share of sessions that an anomaly has to be rarer than. To measure by: left alone, the
    /// sessions themselves say where it lies.
    #[must_use]
    pub fn hold_cut(mut self, cut: f64) -> Self {
        self.cut = Some(cut);
        self
    }

    /// Sets which deviations count.
    #[must_use]
    pub fn hear(mut self, detectors: Detectors) -> Self {
        self.heard = detectors;
        self
    }

    /// Takes the next line. Answers with the sessions that are over by now and began when `purpose` was to judge.
    pub fn add(&mut self, purpose: Purpose, line: &Line<'_>) -> Vec<Verdict> {
        let Self { reader, open, lags, .. } = self;
        reader.read(purpose, line, |event| open.add(&event, lags));
        if !self.open.is_time() {
            return Vec::new();
        }
        let over = self.open.over(self.lags.quiet());
        self.close(over)
    }

    /// All was handed over: every session is over.
    pub fn finish(&mut self) -> Vec<Verdict> {
        let Self { reader, open, lags, .. } = self;
        reader.finish(|event| open.add(&event, lags));
        let all = self.open.all();
        let answers = self.close(all);
        self.open.rewind();
        self.fit();
        answers
    }

    /// The threshold in force, as the share of sessions that an anomaly has to be rarer than.
    #[must_use]
    pub fn cut(&self) -> Option<f64> {
        self.model.as_ref().map(Model::cut)
    }

    /// Distinct sessions that are known.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.vectors.len()
    }

    /// How people would call the session key; `None` where sessions are streams, given, or not known yet.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.reader.name()
    }

    fn close(&mut self, over: Vec<Closed>) -> Vec<Verdict> {
        // What is only learnt comes first: among sessions that end at once it began first.
        let (learnt, judged): (Vec<Closed>, Vec<Closed>) = over.into_iter().partition(|one| one.learn);
        learnt.into_iter().for_each(|one| self.learn(one));
        if judged.is_empty() {
            return Vec::new();
        }
        let mut answers = Vec::new();
        for one in judged {
            if self.is_old() {
                self.fit();
            }
            let verdict = self.judge(&one);
            self.since.0 += 1;
            self.since.1 += u64::from(verdict.as_ref().is_some_and(|verdict| verdict.alarm));
            answers.extend(verdict);
            self.learn(one);
        }
        answers
    }

    /// Whether the model should be fitted anew: twice as much is known, or far more is anomalous than was then.
    fn is_old(&self) -> bool {
        let known = self.model.as_ref().map_or(0, Model::learnt);
        let (judged, alarms) = self.since;
        let usual = self.model.as_ref().map_or(0.0, Model::anomalous) * judged as f64;
        let more = alarms as f64 > 2.0 * usual + SURPRISED.max(0.02 * known as f64);
        self.vectors.learnt() >= ENOUGH.max(2 * known) || more
    }

    fn judge(&self, session: &Closed) -> Option<Verdict> {
        let model = self.model.as_ref()?;
        let vector = vector::of(&session.parts, |unit| self.reader.resolve(unit));
        let age = self.open.now() - session.first;
        let found = model.judge(&vector, |unit| model.overdue(unit, age), |unit| self.reader.is_error(unit));
        Some(Verdict {
            key: session.key,
            line: session.line,
            score: found.score,
            threshold: model.threshold(),
            alarm: found.nats >= model.threshold(),
            deviations: found.deviations,
        })
    }

    fn learn(&mut self, session: Closed) {
        let vector = vector::of(&session.parts, |unit| self.reader.resolve(unit));
        self.vectors.add(vector);
    }

    /// The model anew: what was learnt, without what is anomalous by it.
    fn fit(&mut self) {
        if self.vectors.learnt() < ENOUGH {
            return;
        }
        self.reader.settle_errors();
        let reader = &self.reader;
        self.since = (0, 0);
        self.vectors.resolve(|unit| reader.resolve(unit));
        let late = self.lags.late(|unit| reader.resolve(unit));
        self.model = Some(Model::fit(&self.vectors, late, (self.cut, self.heard), |unit| reader.is_error(unit)));
    }
}
