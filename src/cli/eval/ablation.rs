//! What each detector is worth: files judged by all, by each alone, and by all but it.
//!
//! A variant is nothing but another value of `detect.detectors`: the same engine, calibration and budget.

use super::print::{area, found, none, pair, rows, share, told};
use crate::detect::voice::Detectors;
use crate::eval::report::Report;
use crate::eval::{Setup, Unit};

/// Which detectors are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// Those that the settings have.
    Combined(Detectors),
    /// These alone.
    Alone(Detectors),
    /// All of the first but the second.
    Without(Detectors, Detectors),
}

impl Variant {
    fn heard(self) -> Detectors {
        match self {
            Self::Combined(heard) | Self::Alone(heard) => heard,
            Self::Without(all, out) => all.without(out),
        }
    }

    /// How it is examined.
    pub(super) fn setup(self, setup: &Setup) -> Setup {
        let mut setup = setup.clone();
        setup.detect.detectors = self.heard();
        setup
    }

    /// Says in the report which it is.
    pub(super) fn name(self, report: &mut Report) {
        if let Self::Without(all, out) = self {
            report.detector = if all == Detectors::ALL { "combined".to_owned() } else { all.to_string() };
            report.without = Some(out.to_string());
        }
    }
}

/// All, then each alone, then all but each: families first, then their members. Of `heard` only, and what can speak of
/// such units.
pub(super) fn variants(unit: Unit, heard: Detectors) -> Vec<Variant> {
    let timed = [Detectors::FEATURES, Detectors::TRACE];
    let families: &[Detectors] = match unit {
        Unit::Time(_) => &timed,
        Unit::Lines(_) => &timed[..1],
        Unit::Session => &[],
    };
    let members = match unit {
        Unit::Time(_) => Detectors::ALL.without(Detectors::SESSION).without(Detectors::RARE),
        Unit::Lines(_) => Detectors::FEATURES.with(Detectors::RARE),
        Unit::Session => Detectors::SESSION,
    };
    let families =
        families.iter().map(|family| family.among(heard)).filter(|family| family.len() > 1 && *family != heard);
    let parts: Vec<Detectors> = families.chain(members.among(heard).each()).collect();
    let alone = parts.iter().map(|part| Variant::Alone(*part));
    let without = parts.iter().map(|part| Variant::Without(heard, *part));
    std::iter::once(Variant::Combined(heard)).chain(alone).chain(without).collect()
}

const COLUMNS: [&str; 10] = [
    "set",
    "detectors",
    "P / R / F1",
    "best F1",
    "PR-AUC (95 %)",
    "found (any)",
    "median delay",
    "notifications, false (per hour)",
    "alarm windows / normal hour",
    "benign notified",
];

/// A row a variant.
pub(super) fn table(reports: &[Report], markdown: bool) -> String {
    rows(COLUMNS, reports.iter().map(cells), markdown)
}

fn cells(report: &Report) -> [String; 10] {
    [
        report.set.clone(),
        report.without.as_ref().map_or_else(|| report.detector.clone(), |out| format!("without {out}")),
        [report.precision, report.recall, report.f1].map(share).join(" / "),
        share(report.best_f1),
        area(report),
        found(report),
        report.median_delay_seconds.map_or_else(none, |seconds| format!("{seconds:.0} s")),
        told(report),
        report.alarm_windows_per_normal_hour.map_or_else(none, |rate| format!("{rate:.1}")),
        pair(report.benign_notified, report.benign_total),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unit: &str, heard: &str, expected: &str) {
        let report = |variant: Variant| {
            let mut report = Report { detector: variant.heard().to_string(), ..Report::default() };
            variant.name(&mut report);
            let out = report.without.map(|out| format!("-{out}")).unwrap_or_default();
            report.detector + &out
        };
        let all = variants(unit.parse().unwrap(), heard.parse().unwrap());
        assert_eq!(all.into_iter().map(report).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn each_detector_is_heard_alone_and_left_out() {
        check("session", "all", "all present absent count combined-present combined-absent combined-count");
        check(
            "20lines",
            "features,rare,burst",
            concat!(
                "line_length,error_count,warn_count,unique_messages,rate,burst,rare features line_length error_count warn_count ",
                "unique_messages rate rare line_length,error_count,warn_count,unique_messages,rate,burst,rare-features ",
                "line_length,error_count,warn_count,unique_messages,rate,burst,rare-line_length ",
                "line_length,error_count,warn_count,unique_messages,rate,burst,rare-error_count ",
                "line_length,error_count,warn_count,unique_messages,rate,burst,rare-warn_count ",
                "line_length,error_count,warn_count,unique_messages,rate,burst,rare-unique_messages ",
                "line_length,error_count,warn_count,unique_messages,rate,burst,rare-rate ",
                "line_length,error_count,warn_count,unique_messages,rate,burst,rare-rare",
            ),
        );
        check("10s", "burst,slow", "burst,slow burst slow burst,slow-burst burst,slow-slow");
        assert_eq!(variants("10s".parse().unwrap(), Detectors::ALL).len(), 1 + 2 * (2 + 19));
    }

    #[test]
    fn rows_name_what_was_heard() {
        let alone = Report { set: "f1".to_owned(), detector: "burst".to_owned(), ..Report::default() };
        let without = Report { without: Some("burst".to_owned()), ..alone.clone() };
        insta::assert_snapshot!(table(&[alone.clone(), without.clone()], true), @"
        | set | detectors | P / R / F1 | best F1 | PR-AUC (95 %) | found (any) | median delay | notifications, false (per hour) | alarm windows / normal hour | benign notified |
        | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
        | f1 | burst | - / - / - | - | - | - | - | 0 | - | - |
        | f1 | without burst | - / - / - | - | - | - | - | 0 | - | - |
        ");
        assert!(table(&[alone, without], false).contains("without burst"));
    }
}
