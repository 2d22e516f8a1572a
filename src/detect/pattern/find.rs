//! What each detector finds at the end of a window, put into words and gates.
//!
//! What comes in: the end of a window. What goes out: [`Found`]s, and near misses where they are asked for. What never
//! happens here: a line read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::burst::Burst;
use super::super::calibrate::to_score;
use super::super::mask::mask_secrets;
use super::super::personal::is_card;
use super::super::ratio::Broken;
use super::super::silence::{Silence, Stopped};
use super::super::tail::ordinary;
use super::super::trace::broken::Lead;
use super::super::trace::tally::{Unit, span_end};
use super::super::trace::{Deviation, Kind};
use super::super::value;
use super::super::{Before, Check, Gate, Level, OddValue, PatternEvidence, PatternKind};
use super::unit::UnitInfo;
use super::{AGE, Found, GroupNumber, MAX_MISSED, Patterns, State};
use crate::time::Nanos;

/// Windows without it after which lines that are lost may be told of another group.
const LOST_LULL: i64 = 60;

impl Patterns {
    pub(super) fn sessions(&mut self, end: Nanos) -> Vec<Found> {
        let State { units, trace, .. } = &mut self.state;
        let bad =
            |unit: Unit| units.get(unit as usize).and_then(Option::as_ref).is_some_and(|one| one.level >= Level::Warn);
        let judged: Vec<(Deviation, bool)> = trace
            .close(end, bad, |unit| units.get(unit as usize).and_then(Option::as_ref).map_or(0, |one| one.group))
            .into_iter()
            .filter(|one| self.config.detectors.has(one.kind.told(bad)))
            .map(|one| {
                let wrong = trace.surprise(&one) >= self.needed && one.matters();
                (one, wrong)
            })
            .collect();
        trace.learn(&judged);
        let missed = judged.iter().filter(|(_, wrong)| !wrong).map(|(one, _)| (self.state.trace.surprise(one), one));
        let missed: Vec<(f64, &Deviation)> = missed.collect();
        self.miss(missed, |this, one| this.told(one, end));
        if self.state.trace.is_lossy() {
            let lost = judged.iter().filter(|(one, wrong)| *wrong && one.kind == Kind::Lost);
            return lost.map(|(one, _)| self.lost(one, end)).collect();
        }
        let blamed = self.state.trace.blame();
        let names = |group: u32| blamed.iter().any(|(_, named)| *named == group);
        let mut leads: BTreeMap<Unit, (Lead, &Deviation)> = BTreeMap::new();
        let mut found = Vec::new();
        for (one, _) in judged.iter().filter(|(_, wrong)| *wrong) {
            match one.kind {
                Kind::Wait(hop) => {
                    let named = blamed.iter().find(|(known, _)| *known == hop).map(|(_, group)| GroupNumber(*group));
                    let told = self.told(one, end);
                    found.push(Found { group: named.unwrap_or(told.group), ..told });
                }
                // That its callers are slow too goes without saying.
                Kind::Slow(group) if !blamed.is_empty() && !names(group) => {}
                _ => match self.state.trace.lead(one) {
                    Some(lead) => gather(&mut leads, lead, one),
                    None => found.push(self.told(one, end)),
                },
            }
        }
        found.extend(leads.into_values().map(|(lead, one)| self.lacking(&lead, one, end)));
        found
    }

    /// Lines that are lost: told of the group that sessions begin with most often, as long as that goes on.
    fn lost(&mut self, one: &Deviation, end: Nanos) -> Found {
        let mut starts = self.state.trace.middles(one.windows);
        starts.retain(|unit| !self.is_bad(*unit));
        let mut groups: Vec<u32> = Vec::new();
        for group in starts.iter().map(|unit| self.group_of(*unit)) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        let along = groups.iter().map(|group| self.name(*group)).collect();
        let found = self.told(one, end);
        let steps = u32::try_from(starts.len()).unwrap_or(u32::MAX);
        let evidence = PatternEvidence { along: (along, steps), ..found.evidence };
        let (last, at) = self.state.lost_at.unwrap_or((Nanos::MIN, 0));
        let goes_on =
            last >= end - self.window * LOST_LULL && self.state.groups.get(at as usize).is_some_and(Option::is_some);
        let at = if goes_on { at } else { groups.first().copied().unwrap_or_default() };
        self.state.lost_at = Some((end, at));
        Found { group: GroupNumber(at), evidence, ..found }
    }

    /// What sessions lack first, with all that they lack besides.
    fn lacking(&self, lead: &Lead, one: &Deviation, end: Nanos) -> Found {
        let Lead { first, last, others } = lead;
        let found = self.told(one, end);
        let of = self.evidence(found.evidence.kind, *first, end);
        let ends = last.map(|last| (self.name(self.group_of(last)), self.name(self.group_of(*first))));
        let mut along: Vec<String> = others.iter().map(|unit| self.name(self.group_of(*unit))).collect();
        along.sort_unstable();
        along.dedup();
        along.retain(|name| *name != self.name(self.group_of(*first)));
        let evidence = PatternEvidence {
            line: of.line,
            before: of.before,
            after: last.and_then(|last| self.text(last)),
            between: ends,
            along: (along, u32::try_from(others.len()).unwrap_or(u32::MAX)),
            ..found.evidence
        };
        Found { group: GroupNumber(self.group_of(last.unwrap_or(*first))), evidence, ..found }
    }

    fn name(&self, group: u32) -> String {
        self.names.get(group as usize).cloned().unwrap_or_default()
    }

    pub(super) fn told(&self, one: &Deviation, end: Nanos) -> Found {
        let (unit, after) = match one.kind {
            Kind::Present(at) | Kind::Absent(at) | Kind::Many(at) | Kind::Few(at) | Kind::Start(at) => (at, None),
            Kind::Slow(_) | Kind::Wait(_) | Kind::Lost => (Unit::MAX, None),
            Kind::Order(from, to) => (to, self.text(from)),
        };
        let kind = one.kind.told(|unit| self.is_bad(unit));
        let evidence = PatternEvidence {
            after,
            key: self.state.trace.name().map(str::to_owned),
            seen: one.seen,
            of: one.sessions,
            expected: one.expected,
            most: Some(ordinary(one.expected, one.fano)),
            // The end of the last ordinary bucket.
            seconds: one.limit.map(|limit| span_end(limit.saturating_sub(1))),
            took: one.took.map(|(took, _)| took),
            value: None,
            between: self.between(one.kind),
            windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
            ..self.evidence(kind, unit, end)
        };
        let left = self.state.trace.surprise(one);
        let gates = one.gates().chain([
            Gate::least(Check::Budget, one.surprise, self.needed),
            Gate::least(Check::SecondLook, left, self.needed),
        ]);
        let mut found = self.found(unit, left, evidence, gates.collect());
        match one.kind {
            Kind::Slow(group) => found.group = GroupNumber(group),
            Kind::Wait(hop) => found.group = GroupNumber(hop.callee),
            _ => {}
        }
        found
    }

    /// Whose lines it takes longer between.
    fn between(&self, kind: Kind) -> Option<(String, String)> {
        let Kind::Wait(hop) = kind else { return None };
        let (from, to) = hop.in_time();
        Some((self.name(from), self.name(to)))
    }

    /// Keeps what of all that was not told came nearest, where that is asked for. All come with their surprise.
    pub(super) fn miss<T>(&mut self, mut all: Vec<(f64, T)>, found: impl Fn(&Self, &T) -> Found) {
        if self.missed.is_none() {
            return;
        }
        all.retain(|(surprise, _)| *surprise > 0.0);
        all.sort_by(|one, two| two.0.total_cmp(&one.0));
        let near: Vec<Found> = all.iter().take(MAX_MISSED).map(|(_, one)| found(self, one)).collect();
        self.missed.iter_mut().for_each(|missed| missed.extend(near.iter().cloned()));
    }

    pub(super) fn novel(&mut self, end: Nanos) -> Vec<Found> {
        let fresh = std::mem::take(&mut self.fresh);
        let (mut found, mut quiet) = (Vec::new(), Vec::new());
        let mut with_new: Vec<u32> = Vec::new();
        for (unit, unknown) in fresh {
            let Some((group, level)) = self.state.info(unit).map(|info| (info.group, info.level)) else {
                continue;
            };
            if level < Level::Warn {
                continue;
            }
            with_new.push(group);
            let surprise = self.state.novelty.surprise(group, level, unknown);
            if surprise >= self.needed && self.config.detectors.has(PatternKind::New) {
                found.push(self.fresh(unit, surprise, end));
            } else {
                quiet.push((surprise, (surprise, unit)));
            }
        }
        self.miss(quiet, |this, (surprise, unit)| this.fresh(*unit, *surprise, end));
        let State { groups, novelty, .. } = &mut self.state;
        for (group, _) in (0..).zip(groups).filter(|(_, group)| group.is_some()) {
            novelty.close(group, with_new.contains(&group));
        }
        for ((lines, keyed), (windows, share)) in self.state.keyed.iter_mut().zip(&mut self.state.in_sessions) {
            if *lines > 0 {
                (*windows, *share) = (*windows * AGE + 1.0, *share * AGE + *keyed as f32 / *lines as f32);
            }
            (*lines, *keyed) = (0, 0);
        }
        found
    }

    pub(super) fn fresh(&self, unit: Unit, surprise: f64, end: Nanos) -> Found {
        let gates = vec![
            Gate::plain(Check::Level, true),
            self.state.novelty.history(self.group_of(unit)),
            Gate::least(Check::Budget, surprise, self.needed),
        ];
        self.found(unit, surprise, self.evidence(PatternKind::New, unit, end), gates)
    }

    pub(super) fn bursts(&mut self, end: Nanos) -> Vec<Found> {
        let mut bursts = self.state.bursts.close();
        bursts.retain(|_| self.config.detectors.has(PatternKind::Burst));
        let surprise = |burst: &Burst| self.state.bursts.surprise(burst);
        let judged: Vec<(Burst, bool)> =
            bursts.into_iter().map(|one| (surprise(&one) >= self.needed, one)).map(|(told, one)| (one, told)).collect();
        let told = judged.iter().filter(|(_, told)| *told).map(|(one, _)| self.burst(one, end)).collect();
        let missed = judged.iter().filter(|(_, told)| !told).map(|(one, _)| (self.state.bursts.surprise(one), one));
        let missed: Vec<(f64, &Burst)> = missed.collect();
        self.miss(missed, |this, one| this.burst(one, end));
        self.state.bursts.told(&judged);
        told
    }

    pub(super) fn burst(&self, one: &Burst, end: Nanos) -> Found {
        let problem = PatternEvidence {
            seen: one.seen,
            of: one.seen,
            expected: one.expected,
            most: Some(ordinary(one.expected, one.fano)),
            windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
            ..self.evidence(PatternKind::Burst, one.unit, end)
        };
        let left = self.state.bursts.surprise(one);
        let gates = self.state.bursts.gates(one).into_iter().chain([
            Gate::least(Check::Budget, one.surprise, self.needed),
            Gate::least(Check::SecondLook, left, self.needed),
        ]);
        self.found(one.unit, left, problem, gates.collect())
    }

    pub(super) fn values(&mut self, end: Nanos) -> Vec<Found> {
        let mut odd = self.state.values.close();
        odd.retain(|_| self.config.detectors.has(PatternKind::Value));
        // A number that may be somebody's PIN or card is not told.
        let secret = |name: &str| matches!(mask_secrets(&format!("{name}=x")), Cow::Owned(_));
        odd.retain(|one| !secret(&one.name) && !is_card(&format!("{:.0}", one.value)));
        let judged = odd.into_iter().map(|one| (self.state.values.surprise(&one), one));
        let (wrong, quiet): (Vec<_>, Vec<_>) = judged.partition(|(surprise, _)| *surprise >= self.needed);
        let told = wrong.iter().map(|(surprise, one)| self.value(one, *surprise, end)).collect();
        let quiet = quiet.into_iter().map(|(surprise, one)| (surprise, (surprise, one)));
        self.miss(quiet.collect(), |this, (surprise, one)| this.value(one, *surprise, end));
        told
    }

    fn value(&self, one: &value::Odd, surprise: f64, end: Nanos) -> Found {
        let evidence = PatternEvidence {
            seen: one.seen.into(),
            of: one.seen.into(),
            windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
            value: Some(OddValue { name: one.name.clone(), seen: one.value, expected: one.usual }),
            ..self.evidence(PatternKind::Value, one.unit, end)
        };
        let gates = vec![
            one.gate(),
            Gate::least(Check::Budget, one.surprise, self.needed),
            Gate::least(Check::SecondLook, surprise, self.needed),
        ];
        self.found(one.unit, surprise, evidence, gates)
    }

    pub(super) fn stopped(&mut self, end: Nanos) -> Vec<Found> {
        let State { units, ratios, silence, keyed, .. } = &mut self.state;
        let info = |unit: Unit| units.get(unit as usize).and_then(Option::as_ref);
        let group = |unit: Unit| info(unit).map_or(0, |info| info.group);
        let mut stopped = silence.close(ratios.present(), keyed, group, |unit| ratios.scatter(unit));
        // Nobody misses a problem.
        stopped.retain(|one| info(one.unit).is_some_and(|info| info.level < Level::Warn));
        stopped.retain(|_| self.config.detectors.has(PatternKind::Stopped));
        let judged = stopped.into_iter().map(|one| (self.state.silence.surprise(&one) >= self.needed, one));
        let judged: Vec<(Stopped, bool)> = judged.map(|(told, one)| (one, told)).collect();
        let told = judged.iter().filter(|(_, told)| *told).map(|(one, _)| self.stop(one, end)).collect();
        let missed = judged.iter().filter(|(_, told)| !told).map(|(one, _)| (self.state.silence.surprise(one), one));
        let missed: Vec<(f64, &Stopped)> = missed.collect();
        self.miss(missed, |this, one| this.stop(one, end));
        self.state.silence.told(&judged);
        told
    }

    fn stop(&self, one: &Stopped, end: Nanos) -> Found {
        let evidence = PatternEvidence {
            seen: 0.0,
            of: one.times,
            expected: one.usual.0,
            most: Some(one.usual.1),
            windows: u32::try_from(one.pause).unwrap_or(u32::MAX),
            ..self.evidence(PatternKind::Stopped, one.unit, end)
        };
        let left = self.state.silence.surprise(one);
        let gates = Silence::gates(one).into_iter().chain([
            Gate::least(Check::Budget, one.surprise, self.needed),
            Gate::least(Check::SecondLook, left, self.needed),
        ]);
        self.found(one.unit, left, evidence, gates.collect())
    }

    pub(super) fn ratios(&mut self, end: Nanos) -> Vec<Found> {
        let State { units, ratios, .. } = &mut self.state;
        let mut broken =
            ratios.close(|unit| units.get(unit as usize).and_then(Option::as_ref).map_or(0, |info| info.group));
        broken.retain(|_| self.config.detectors.has(PatternKind::Ratio));
        let judged: Vec<(Broken, bool)> = broken
            .into_iter()
            .map(|one| (self.state.ratios.surprise(&one) >= self.needed, one))
            .map(|(told, one)| (one, told))
            .collect();
        let told = judged.iter().filter(|(_, told)| *told).map(|(one, _)| self.ratio(one, end)).collect();
        let missed = judged.iter().filter(|(_, told)| !told).map(|(one, _)| (self.state.ratios.surprise(one), one));
        let missed: Vec<(f64, &Broken)> = missed.collect();
        self.miss(missed, |this, one| this.ratio(one, end));
        self.state.ratios.told(&judged);
        if self.state.trace.is_lossy() { Vec::new() } else { told }
    }

    fn ratio(&self, one: &Broken, end: Nanos) -> Found {
        let evidence = PatternEvidence {
            seen: one.seen,
            of: one.others,
            expected: one.expected,
            after: self.text(one.by),
            windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
            ..self.evidence(PatternKind::Ratio, one.unit, end)
        };
        let left = self.state.ratios.surprise(one);
        let gates = self.state.ratios.gates(one).into_iter().chain([
            Gate::least(Check::Budget, one.surprise, self.needed),
            Gate::least(Check::SecondLook, left, self.needed),
        ]);
        self.found(one.unit, left, evidence, gates.collect())
    }

    pub(super) fn is_bad(&self, unit: Unit) -> bool {
        self.state.info(unit).is_some_and(|info| info.level >= Level::Warn)
    }

    /// A finding about a unit in the window that ends now: its line, and when it was seen before.
    pub(super) fn evidence(&self, kind: PatternKind, unit: Unit, end: Nanos) -> PatternEvidence {
        let before = self.before(unit, end - self.window);
        PatternEvidence { line: self.text(unit), before, ..PatternEvidence::of(kind) }
    }

    /// When a unit, or what it has become a part of, was seen before.
    pub(super) fn before(&self, unit: Unit, start: Nanos) -> Option<Before> {
        let UnitInfo { group, template, .. } = self.state.info(unit)?;
        let now = self.state.unit_of.get(&(*group, self.miner.resolve(*template).0));
        self.state.seen.before(now.copied().unwrap_or(unit), start)
    }

    pub(super) fn found(&self, unit: Unit, surprise: f64, evidence: PatternEvidence, gates: Vec<Gate>) -> Found {
        let group = self.group_of(unit);
        let lines = matches!(
            evidence.kind,
            PatternKind::New | PatternKind::Burst | PatternKind::Begins | PatternKind::Unexpected
        );
        Found {
            group: GroupNumber(group),
            scores: (to_score(surprise), to_score(self.needed)),
            evidence,
            sample: self.samples.get(unit),
            gates,
            common: if lines { self.spread.of_unit(group, unit) } else { Vec::new() },
        }
    }
}

/// Puts together what sessions lack from the same step on: told is that step, or else the most surprising one.
fn gather<'a>(leads: &mut BTreeMap<Unit, (Lead, &'a Deviation)>, lead: Lead, one: &'a Deviation) {
    let Some((known, strongest)) = leads.get_mut(&lead.first) else {
        leads.insert(lead.first, (lead, one));
        return;
    };
    let is_first = |one: &Deviation| matches!(one.kind, Kind::Absent(unit) | Kind::Few(unit) if unit == lead.first);
    if (is_first(one), one.surprise) > (is_first(strongest), strongest.surprise) {
        *strongest = one;
        known.last = lead.last;
    }
    known.others.extend(lead.others);
    known.others.sort_unstable();
    known.others.dedup();
}
