//! Reports as text: for people, for programs, for documents.

use comfy_table::{ContentArrangement, Table, presets};

use crate::eval::report::Report;
use crate::notify::render::number;

/// One object in one line.
///
/// # Errors
/// When it has no form in JSON; it always has.
pub(super) fn json(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string(report)? + "\n")
}

/// A block for one file, a row each for several.
pub(super) fn table(reports: &[Report]) -> String {
    if let [report] = reports {
        return block(report);
    }
    rows(COLUMNS, reports.iter().map(cells), false)
}

/// A row a file.
pub(super) fn markdown(reports: &[Report]) -> String {
    rows(COLUMNS, reports.iter().map(cells), true)
}

/// Rows below their columns, for people or for documents.
pub(super) fn rows<const N: usize>(
    columns: [&str; N],
    all: impl Iterator<Item = [String; N]>,
    markdown: bool,
) -> String {
    if markdown {
        let row = |cells: [String; N]| format!("| {} |\n", cells.join(" | "));
        let head = row(columns.map(str::to_owned)) + &row(columns.map(|_| "---".to_owned()));
        return head + &all.map(row).collect::<String>();
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns).add_rows(all);
    format!("{table}\n")
}

const COLUMNS: [&str; 13] = [
    "set",
    "window, protocol",
    "units (anomalous)",
    "P / R / F1",
    "best F1",
    "ROC-AUC",
    "PR-AUC (95 %)",
    "found (any)",
    "median delay",
    "notifications, false (per hour)",
    "alarm windows / normal hour",
    "benign notified",
    "lines/CPU s, peak",
];

fn cells(report: &Report) -> [String; 13] {
    [
        report.set.clone(),
        format!("{} {}", report.window, report.protocol),
        format!("{} ({})", report.units, report.units_anomalous),
        [report.precision, report.recall, report.f1].map(share).join(" / "),
        share(report.best_f1),
        share(report.roc_auc),
        area(report),
        found(report),
        report.median_delay_seconds.map_or_else(none, |seconds| format!("{seconds:.0} s")),
        told(report),
        report.alarm_windows_per_normal_hour.map_or_else(none, |rate| format!("{rate:.1}")),
        pair(report.benign_notified, report.benign_total),
        format!("{}, {}", report.lines_per_cpu_second.map_or_else(none, number), memory(report)),
    ]
}

fn block(report: &Report) -> String {
    let kinds: Vec<String> =
        report.kinds.iter().map(|(kind, found)| format!("{kind} {} of {}", found.found, found.total)).collect();
    let detectors: Vec<String> = report
        .detectors
        .iter()
        .map(|one| format!("{} {} alarms, F1 {}", one.detector, one.alarms, share(one.f1)))
        .collect();
    let seconds = |seconds: Option<f64>| seconds.map_or_else(none, |seconds| format!("{seconds:.2} s"));
    let rows = [
        ("set", report.set.clone()),
        ("window, protocol", format!("{}, {}", report.window, report.protocol)),
        ("heard", report.detector.clone()),
        ("units", format!("{}, {} anomalous, {} judged", report.units, report.units_anomalous, report.units_judged)),
        (
            "own threshold",
            format!("precision {}, recall {}, F1 {}", share(report.precision), share(report.recall), share(report.f1)),
        ),
        (
            "any threshold",
            format!("best F1 {}, ROC-AUC {}, PR-AUC {}", share(report.best_f1), share(report.roc_auc), area(report)),
        ),
        ("incidents", format!("{}{}", found(report), if report.attributed { ", by name" } else { "" })),
        ("by kind", if kinds.is_empty() { none() } else { kinds.join(", ") }),
        ("median delay", report.median_delay_seconds.map_or_else(none, |delay| format!("{delay:.0} s"))),
        ("notifications", told(report)),
        ("normal hours", report.normal_hours.map_or_else(none, |hours| format!("{hours:.2}"))),
        (
            "alarm windows",
            format!(
                "{} a normal hour, {} of all",
                report.alarm_windows_per_normal_hour.map_or_else(none, |rate| format!("{rate:.1}")),
                share(report.alarm_share)
            ),
        ),
        ("benign notified", pair(report.benign_notified, report.benign_total)),
        ("detectors", detectors.join("; ")),
        (
            "lines",
            format!(
                "{} in {} ({} CPU): {} lines/s, {} lines/CPU s",
                number(report.lines as f64),
                seconds(report.seconds),
                seconds(report.cpu_seconds),
                report.lines_per_second.map_or_else(none, number),
                report.lines_per_cpu_second.map_or_else(none, number),
            ),
        ),
        ("peak memory", memory(report)),
    ];
    rows.iter().map(|(name, value)| format!("{name:<17} {value}\n")).collect()
}

pub(super) fn none() -> String {
    "-".to_owned()
}

pub(super) fn share(value: Option<f64>) -> String {
    value.map_or_else(none, |value| format!("{value:.3}"))
}

pub(super) fn pair(found: Option<usize>, total: Option<usize>) -> String {
    found.zip(total).map_or_else(none, |(found, total)| format!("{found} of {total}"))
}

pub(super) fn area(report: &Report) -> String {
    match (report.pr_auc, report.pr_auc_low, report.pr_auc_high) {
        (Some(area), Some(low), Some(high)) => format!("{area:.3} ({low:.3}-{high:.3})"),
        _ => none(),
    }
}

pub(super) fn found(report: &Report) -> String {
    let any = report.incidents_any.map(|any| format!(" (any {any})")).unwrap_or_default();
    format!("{}{any}", pair(report.incidents_found, report.incidents_total))
}

pub(super) fn told(report: &Report) -> String {
    let wrong = report.false_notifications.map(|count| format!(", {count} false")).unwrap_or_default();
    let rate = report.false_notifications_per_hour.map(|rate| format!(" ({rate:.2}/h)")).unwrap_or_default();
    format!("{}{wrong}{rate}", report.notifications)
}

fn memory(report: &Report) -> String {
    report.peak_rss_bytes.map_or_else(none, |bytes| format!("{} MB", bytes / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::attribute::Kind;
    use crate::eval::report::Detector;

    fn report() -> Report {
        Report {
            set: "f1".to_owned(),
            window: "10s".to_owned(),
            protocol: "online".to_owned(),
            detector: "combined".to_owned(),
            without: None,
            units: 2081,
            units_anomalous: 690,
            units_judged: 2053,
            precision: Some(0.75),
            recall: Some(0.2),
            f1: Some(0.3158),
            best_f1: Some(0.498),
            roc_auc: Some(0.608),
            pr_auc: Some(0.439),
            pr_auc_low: Some(0.38),
            pr_auc_high: Some(0.5),
            incidents_found: Some(1),
            incidents_total: Some(3),
            incidents_any: Some(2),
            attributed: true,
            kinds: [("drop".to_owned(), Kind { found: 1, total: 1 }), ("slow".to_owned(), Kind { found: 0, total: 2 })]
                .into(),
            benign_notified: Some(1),
            benign_total: Some(4),
            median_delay_seconds: Some(35.0),
            delays_seconds: vec![35.0],
            notifications: 14,
            false_notifications: Some(2),
            normal_hours: Some(3.31),
            false_notifications_per_hour: Some(0.604),
            alarm_windows_per_normal_hour: Some(2.1),
            alarm_share: Some(0.088),
            lines: 357_022,
            lines_per_second: Some(140_000.0),
            lines_per_cpu_second: Some(141_000.0),
            seconds: Some(2.55),
            cpu_seconds: Some(2.53),
            peak_rss_bytes: Some(25_000_000),
            detectors: vec![Detector {
                detector: "combined".to_owned(),
                alarms: 183,
                f1: Some(0.3158),
                ..Detector::default()
            }],
        }
    }

    #[test]
    fn one_file_is_a_block() {
        insta::assert_snapshot!(table(&[report()]), @"
        set               f1
        window, protocol  10s, online
        heard             combined
        units             2081, 690 anomalous, 2053 judged
        own threshold     precision 0.750, recall 0.200, F1 0.316
        any threshold     best F1 0.498, ROC-AUC 0.608, PR-AUC 0.439 (0.380-0.500)
        incidents         1 of 3 (any 2), by name
        by kind           drop 1 of 1, slow 0 of 2
        median delay      35 s
        notifications     14, 2 false (0.60/h)
        normal hours      3.31
        alarm windows     2.1 a normal hour, 0.088 of all
        benign notified   1 of 4
        detectors         combined 183 alarms, F1 0.316
        lines             357,022 in 2.55 s (2.53 s CPU): 140,000 lines/s, 141,000 lines/CPU s
        peak memory       25 MB
        ");
    }

    #[test]
    fn several_files_are_rows() {
        let empty = Report { set: "clean".to_owned(), ..Report::default() };
        insta::assert_snapshot!(markdown(&[report(), empty.clone()]), @"
        | set | window, protocol | units (anomalous) | P / R / F1 | best F1 | ROC-AUC | PR-AUC (95 %) | found (any) | median delay | notifications, false (per hour) | alarm windows / normal hour | benign notified | lines/CPU s, peak |
        | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
        | f1 | 10s online | 2081 (690) | 0.750 / 0.200 / 0.316 | 0.498 | 0.608 | 0.439 (0.380-0.500) | 1 of 3 (any 2) | 35 s | 14, 2 false (0.60/h) | 2.1 | 1 of 4 | 141,000, 25 MB |
        | clean |   | 0 (0) | - / - / - | - | - | - | - | - | 0 | - | - | -, - |
        ");
        let rows = table(&[report(), empty]);
        assert!(rows.lines().count() > 4 && rows.contains("clean"), "{rows}");
    }

    #[test]
    fn json_has_null_where_a_figure_does_not_apply() {
        let text = json(&Report::default()).unwrap();
        assert!(
            text.ends_with("}\n") && text.contains("\"precision\":null") && text.contains("\"incidents_found\":null")
        );
    }
}
