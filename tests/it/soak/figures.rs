//! What a soak came to.

use std::collections::BTreeMap;
use std::fmt;

use log_generator::{Burst, Truth};
use sigyn::app::demo::Score;
use sigyn::time::{HOUR, MINUTE, Nanos, SECOND};

use super::books::Books;
use super::gauge::{Sample, a_day, quantile};
use super::ill::Spell;
use super::time::since;
use crate::crash::hook::Wire;

/// Rows of the table of growth.
const ROWS: Nanos = 14;
/// The most memory that sigyn may use, bytes.
const MEMORY: u64 = 200_000_000;
/// What begins so soon after a burst belongs to it.
const SOON: Nanos = 10 * MINUTE;

/// What a soak came to.
#[derive(Debug)]
pub(crate) struct Figures {
    start: Nanos,
    length: Nanos,
    truth: Truth,
    bursts: Vec<Burst>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) rows: Vec<(Nanos, BTreeMap<&'static str, u64>)>,
    /// Lines that were written in the time that is looked at, and read of them.
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) noted: u64,
    by_service: BTreeMap<String, u64>,
    windows: u64,
    grown: u64,
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
    /// Lines made in all, and of these late ones.
    pub(crate) made: u64,
    pub(crate) late: u64,
    /// Late lines that the last process found.
    pub(crate) late_found: f64,
    /// Bytes at most.
    pub(crate) peak: u64,
    /// CPU seconds of sigyn.
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
    pub(crate) kills: u64,
    pub(crate) spells: BTreeMap<Option<Spell>, u64>,
    pub(crate) requests: u64,
    /// Requests to Loki that something happened to.
    pub(crate) refused: u64,
    pub(crate) receiver: Wire,
    /// Messages that were given up.
    pub(crate) dead: u64,
    /// How often time had to wait for sigyn.
    pub(crate) held: u64,
    /// The most that traffic came after its time.
    pub(crate) starved: Nanos,
    /// How far sigyn was behind when it had caught up at the end.
    pub(crate) caught_up: Option<Nanos>,
    score: Option<Score>,
}

impl Figures {
    pub(crate) fn new((start, length): (Nanos, Nanos), truth: Truth, bursts: Vec<Burst>) -> Self {
        Self {
            start,
            length,
            truth,
            bursts,
            samples: Vec::new(),
            rows: Vec::new(),
            written: 0,
            read: 0,
            noted: 0,
            by_service: BTreeMap::new(),
            windows: 0,
            grown: 0,
            lost: Vec::new(),
            doubled: Vec::new(),
            made: 0,
            late: 0,
            late_found: 0.0,
            peak: 0,
            cpu: 0.0,
            wall: 0.0,
            kills: 0,
            spells: BTreeMap::new(),
            requests: 0,
            refused: 0,
            receiver: Wire::default(),
            dead: 0,
            held: 0,
            starved: Nanos::MIN,
            caught_up: None,
            score: None,
        }
    }

    /// Takes over what was compared.
    pub(crate) fn close(&mut self, books: &Books) {
        (self.written, self.read, self.noted) = (books.written, books.lines, books.noted);
        (self.windows, self.grown) = (books.windows, books.grown);
        self.by_service.clone_from(&books.read);
        (self.lost, self.doubled) = (books.lost.clone(), books.doubled.clone());
        let end = self.start + self.length;
        let told: Vec<_> = books.told().into_iter().filter(|told| told.at <= end).collect();
        self.score = Some(Score::new(&self.truth, &told));
    }

    /// Fails when a line was lost or doubled, or something grew without end.
    pub(crate) fn hold(&self) {
        let Self { lost, doubled, .. } = self;
        assert!(lost.is_empty() && doubled.is_empty(), "lost: {lost:#?}\ndoubled: {doubled:#?}");
        assert_eq!(self.read + self.noted, self.written, "lines read and lines written");
        assert!(self.caught_up.is_some(), "it never caught up");
        assert!(self.starved < 0, "the traffic came {} s late", self.starved / SECOND);
        assert!(self.peak < MEMORY, "{} bytes of memory", self.peak);
        assert_eq!(self.dead, 0, "messages were given up");
        assert!(self.receiver.mixed_up.is_empty(), "{:#?}", self.receiver.mixed_up);
        let (before, after) = self.halves();
        assert!(after < before + before / 2 + (16 << 20), "the store grows: from {before} to {after} bytes");
    }

    /// The most bytes of the store in the first three quarters of the time, and in all of it.
    fn halves(&self) -> (u64, u64) {
        let size = |sample: &Sample| sample.store + sample.log;
        let until = self.start + self.length * 3 / 4;
        let most = |to: Nanos| self.samples.iter().filter(|sample| sample.at < to).map(size).max().unwrap_or(0);
        (most(until), most(Nanos::MAX))
    }

    /// Samples of the process that lived longest: since the last kill, and a while to warm up.
    fn steady(&self) -> &[Sample] {
        let from = self.start + self.length / 2;
        &self.samples[self.samples.partition_point(|sample| sample.at < from)..]
    }

    fn growth(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "at            RSS MB (most)  behind s (median, most)  store + log MB  rows")?;
        let step = (self.length / ROWS).max(HOUR / 4);
        for n in 0..=(self.length / step) {
            let (from, to) = (self.start + n * step, self.start + (n + 1) * step);
            let range =
                self.samples.partition_point(|one| one.at < from)..self.samples.partition_point(|one| one.at < to);
            let part = &self.samples[range];
            let Some(last) = part.last() else { continue };
            let most = |of: fn(&Sample) -> u64| quantile(part, 1.0, of);
            let lag = |share| quantile(part, share, |sample| sample.lag.max(0).unsigned_abs()) / 1_000_000_000;
            let rows =
                self.rows.iter().rev().find(|(at, _)| *at <= to).map(|(_, rows)| rows.clone()).unwrap_or_default();
            let rows: Vec<String> = rows.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
            writeln!(
                f,
                "{}   {:>4.0} ({:>4.0})   {:>5} {:>6}   {:>6.1} + {:>4.1}   {}",
                since(self.start, from),
                last.rss as f64 / 1e6,
                most(|sample| sample.rss) as f64 / 1e6,
                lag(0.5),
                lag(1.0),
                last.store as f64 / 1e6,
                last.log as f64 / 1e6,
                rows.join(", ")
            )?;
        }
        Ok(())
    }

    fn found(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(score) = &self.score else { return Ok(()) };
        let missed = score.planted.iter().filter(|planted| planted.found.is_none());
        let missed: Vec<String> = missed
            .map(|one| format!("{} of {} at {}", one.fault.kind, one.fault.service, self.at(one.fault.start)))
            .collect();
        writeln!(f, "faults: {} of {} found; missed: {missed:?}", score.found(), score.planted.len())?;
        let in_burst = |at: Nanos| self.bursts.iter().any(|burst| burst.start - MINUTE <= at && at < burst.end + SOON);
        let (bursts, others): (Vec<_>, Vec<_>) =
            score.false_alarms.iter().partition(|alarm| in_burst(alarm.started_at));
        let (of_bursts, all) = (bursts.len(), self.bursts.len());
        writeln!(f, "incidents beside them: {of_bursts} in {all} bursts, {} others", others.len())?;
        for alarm in others {
            writeln!(f, "  {} {:?} {}", self.at(alarm.started_at), alarm.severity, alarm.title)?;
        }
        Ok(())
    }

    fn at(&self, at: Nanos) -> String {
        since(self.start, at)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.growth(f)?;
        let hours = self.length as f64 / HOUR as f64;
        writeln!(f, "{hours:.1} h of the log in {:.0} s; time went slowly {} times", self.wall, self.held)?;
        writeln!(f, "{} lines written, {} read, {} noted as missing", self.written, self.read, self.noted)?;
        writeln!(f, "by service: {:?}", self.by_service)?;
        writeln!(f, "lost: {:?}", &self.lost[..self.lost.len().min(20)])?;
        writeln!(f, "doubled: {:?}", &self.doubled[..self.doubled.len().min(20)])?;
        writeln!(f, "{} windows, {} of them judged again; {} lines came late", self.windows, self.grown, self.late)?;
        let (steady, mb) = (self.steady(), 1e6);
        let middle = quantile(steady, 0.5, |sample| sample.rss) as f64 / mb;
        let slope = a_day(steady, |sample| sample.rss as f64) / mb;
        writeln!(
            f,
            "memory: {:.0} MB at most; in the second half {middle:.0} MB, {slope:+.2} MB a day",
            self.peak as f64 / mb
        )?;
        let slope = a_day(steady, |sample| (sample.store + sample.log) as f64) / mb;
        let (_, most) = self.halves();
        writeln!(f, "store: {:.1} MB at most, {slope:+.2} MB a day in the second half", most as f64 / mb)?;
        let rate = self.made as f64 / self.cpu;
        writeln!(
            f,
            "CPU of sigyn: {:.0} s, {rate:.0} lines a second of it; {:.0} lines/s",
            self.cpu,
            self.made as f64 / self.wall
        )?;
        let most = self.samples.iter().map(|sample| sample.lag).max().unwrap_or(0) / SECOND;
        let end = self.caught_up.map(|lag| lag / SECOND);
        writeln!(
            f,
            "behind: {most} s at most, {end:?} s at the end; traffic made {} s ahead at least",
            -self.starved / SECOND
        )?;
        writeln!(
            f,
            "{} requests, {} of them ill; spells {:?}; {} kills",
            self.requests, self.refused, self.spells, self.kills
        )?;
        let told: u64 = self.receiver.told.values().sum();
        let again = told - self.receiver.told.len() as u64;
        writeln!(
            f,
            "{told} messages, {again} of them again; failures {:?}; {} given up",
            self.receiver.failures, self.dead
        )?;
        self.found(f)
    }
}
