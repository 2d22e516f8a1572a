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
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(COLUMNS);
    for report in reports {
        table.add_row(cells(report));
    }
    format!("{table}\n")
}

/// A row a file.
pub(super) fn markdown(reports: &[Report]) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = row(&COLUMNS.map(str::to_owned));
    text += &row(&COLUMNS.map(|_| "---".to_owned()));
    for report in reports {
        text += &row(&cells(report));
    }
    text
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
                report.lines,
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

fn none() -> String {
    "-".to_owned()
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(none, |value| format!("{value:.3}"))
}

fn pair(found: Option<usize>, total: Option<usize>) -> String {
    found.zip(total).map_or_else(none, |(found, total)| format!("{found} of {total}"))
}

fn area(report: &Report) -> String {
    match (report.pr_auc, report.pr_auc_low, report.pr_auc_high) {
        (Some(area), Some(low), Some(high)) => format!("{area:.3} ({low:.3}-{high:.3})"),
        _ => none(),
    }
}

fn found(report: &Report) -> String {
    let any = report.incidents_any.map(|any| format!(" (any {any})")).unwrap_or_default();
    format!("{}{any}", pair(report.incidents_found, report.incidents_total))
}

fn told(report: &Report) -> String {
    let wrong = report.false_notifications.map(|count| format!(", {count} false")).unwrap_or_default();
    let rate = report.false_notifications_per_hour.map(|rate| format!(" ({rate:.2}/h)")).unwrap_or_default();
    format!("{}{wrong}{rate}", report.notifications)
}

fn memory(report: &Report) -> String {
    report.peak_rss_bytes.map_or_else(none, |bytes| format!("{} MB", bytes / 1_000_000))
}
