//! The examiner against the scorer that others use, and against labels that lie.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sigyn::config::Settings;
use sigyn::eval::attribute::{Note, Tally};
use sigyn::eval::report::Exam;
use sigyn::eval::truth::Truth;
use sigyn::eval::{Protocol, Setup, Unit, WARM_UP};
use sigyn::time::{SECOND, Span, TimeRange};

fn setup(unit: &str, protocol: Protocol) -> Setup {
    let Settings { detect, incident, .. } = Settings::default();
    Setup { unit: unit.parse().unwrap(), protocol, budget: None, warm_up: WARM_UP, detect, incident }
}

/// The folder of labelled sets and of the scorer; `None`, after saying why, where it is not.
fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("SIGYN_SHARED").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    if folder.join("tools/score.py").exists() {
        return Some(folder);
    }
    skip(&format!("{} has no tools/score.py; SIGYN_SHARED may name the folder", folder.display()));
    None
}

fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    println!("SKIPPED: {why}");
}

/// What the scorer prints: a name and a JSON value a line.
fn scorer(shared: &Path, set: &Path, notes: &[Note], arguments: &[String]) -> Option<serde_json::Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notifications.tsv");
    let mut text = String::new();
    for note in notes {
        writeln!(text, "{}\t{}\t{}", note.at, if note.update { "update" } else { "new" }, note.text).unwrap();
    }
    std::fs::write(&file, text).unwrap();
    let script = shared.join("tools/score.py");
    let output = match Command::new("python3").arg(script).arg(set).arg(&file).args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("python3 cannot be run: {error}"));
            return None;
        }
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the scorer failed: {stderr}");
    let pairs = stdout.lines().filter_map(|line| line.split_once(' '));
    Some(
        pairs
            .map(|(name, value)| (name.to_owned(), serde_json::from_str::<serde_json::Value>(value).unwrap()))
            .collect(),
    )
}

fn assert_same(tally: &Tally, scored: &serde_json::Value) {
    let round = |value: f64| (value * 100.0).round() / 100.0;
    let number = |name: &str| scored[name].as_f64().unwrap();
    let counts = [
        ("incidents", tally.total()),
        ("found", tally.found()),
        ("any", tally.any),
        ("notifications", tally.notifications),
        ("false", tally.false_notifications),
    ];
    for (name, count) in counts {
        assert_eq!(number(name), count as f64, "{name} of {scored}");
    }
    assert_eq!(scored["delay_median_s"].as_f64(), tally.median_delay(), "{scored}");
    assert!((number("normal_hours") - tally.normal_hours).abs() <= 0.0051, "{scored}");
    let rate = round(tally.false_notifications as f64 / tally.normal_hours);
    assert!((number("false_per_h") - rate).abs() <= 0.011, "{scored}");
    for (kind, kinds) in &tally.kinds {
        let text = scored["kinds"][kind].as_str().unwrap();
        assert!(text.starts_with(&format!("{}/{}", kinds.found, kinds.total)), "{kind}: {text}");
    }
}

/// Notes at all kinds of moments that name all kinds of things, rightly and wrongly.
fn invented(truth: &Truth, seed: u64) -> Vec<Note> {
    let mut bits = seed;
    let mut dice = |limit: usize| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((bits >> 33) as usize) % limit
    };
    let mut notes: Vec<Note> = (0..60)
        .map(|_| {
            let one = &truth.planted[dice(truth.planted.len())];
            let moments = [
                one.start - SECOND,
                one.onset,
                (one.onset + one.end) / 2,
                one.end + 30 * SECOND,
                one.end + 31 * SECOND,
            ];
            let name = &one.services[dice(one.services.len())];
            let template = one.templates.first().cloned().unwrap_or_default();
            let texts = [
                format!("ts-{name}-service-5c66d57d58-6mp2b: more errors than usual"),
                format!("{{stream=\"TS-{name}-Service\"}}"),
                format!("x{name} and {name}-other, {name}2"),
                format!("new: ERROR {template} and more"),
                format!("{template}5"),
                "something is odd".to_owned(),
            ];
            let at = moments[dice(moments.len())];
            Note { at, update: dice(3) == 0, text: texts[dice(texts.len())].clone() }
        })
        .collect();
    let (first, last) = truth.span;
    notes.extend((0..20).map(|n| Note {
        at: first + (last - first) / 20 * n,
        update: false,
        text: "every while".to_owned(),
    }));
    notes.sort_by_key(|note| note.at);
    notes
}

#[test]
fn incidents_are_scored_as_the_scorer_of_the_sets_does() {
    let Some(shared) = shared() else { return };
    for (set, file) in [("resampled/example", "stream.tsv.gz"), ("trainticket", "trainticket_dev.tsv.gz")] {
        let folder = shared.join("data").join(set);
        let truth = Truth::read(&folder.join(file), Unit::Time(Span::seconds(10))).unwrap();
        let (first, last) = truth.span;
        let span = TimeRange::new(first + WARM_UP.nanos(), last);
        for seed in 0..4 {
            let notes = invented(&truth, seed);
            let tally = Tally::new(&truth.planted, &truth.benign, &notes, span);
            let arguments = ["--span".to_owned(), format!("{first},{last}")];
            let Some(scored) = scorer(&shared, &folder, &notes, &arguments) else { return };
            assert_same(&tally, &scored);
            assert!(tally.found() > 0 && tally.found() <= tally.any, "{tally:?}");
        }
    }
}

#[test]
fn notes_of_the_engine_are_scored_as_the_scorer_does() {
    let Some(shared) = shared() else { return };
    let folder = shared.join("data/resampled/example");
    let exam = Exam::open(&folder.join("stream.tsv.gz"), &setup("10s", Protocol::Online)).unwrap();
    let driven = exam.drive().unwrap();
    let report = exam.report(&driven);
    let Some(scored) = scorer(&shared, &folder, &exam.notes(&driven), &[]) else { return };
    let number = |name: &str| scored[name].as_u64().unwrap();
    assert_eq!(report.incidents_total, Some(2));
    assert_eq!(report.incidents_found, Some(number("found") as usize), "{scored}");
    assert_eq!(report.notifications, number("notifications") as usize, "{scored}");
    assert_eq!(report.false_notifications, Some(number("false") as usize), "{scored}");
    assert_eq!(report.median_delay_seconds, scored["delay_median_s"].as_f64(), "{scored}");
}

/// Forty minutes of two steady streams; one has a burst of errors near the end. `truth` gives label and group by line.
fn steady(truth: impl Fn(usize) -> (u8, String)) -> String {
    let mut text = String::new();
    let mut count = 0;
    for second in 0..2400i64 {
        for (offset, pod) in [(0, "cart"), (500_000_000, "order")] {
            let burst = pod == "cart" && (2200..2230).contains(&second);
            for n in 0..(2 + second % 2 + if burst { 20 } else { 0 }) {
                let (label, group) = truth(count);
                let level = if burst { "ERROR cannot reach the database" } else { "INFO request done" };
                let ts = (1_795_212_000 + second) * SECOND + offset + n * 1_000_000;
                writeln!(text, "{ts}\t{label}\t{group}\t{pod}\t{level} {count}").unwrap();
                count += 1;
            }
        }
    }
    text
}

#[test]
fn labels_and_groups_reach_no_judgement() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tsv");
    let honest = steady(|n| if n > 11_000 { (1, "error@cart@1".to_owned()) } else { (0, "-".to_owned()) });
    let lying = steady(|n| (u8::from(n * 7919 % 13 < 6), format!("slow@order@{}", n * 7919 % 101)));
    for (unit, protocol) in
        [("10s", Protocol::Online), ("10s", Protocol::Split), ("10s", Protocol::All), ("20lines", Protocol::All)]
    {
        let setup = setup(unit, protocol);
        let judge = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let exam = Exam::open(&path, &setup).unwrap();
            let driven = exam.drive().unwrap();
            let report = exam.report(&driven);
            (exam.notes(&driven), driven, report)
        };
        let (one, other) = (judge(&honest), judge(&lying));
        assert_eq!((&one.0, &one.1), (&other.0, &other.1), "{unit} {protocol}");
        assert!(one.1.verdicts.values().any(|verdict| verdict.alarm), "{unit} {protocol}: the burst was not seen");
        assert_ne!(one.2.units_anomalous, other.2.units_anomalous, "{unit} {protocol}");
    }
}

#[test]
fn all_judges_with_what_the_whole_file_has_taught() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tsv");
    std::fs::write(&path, steady(|_| (0, "-".to_owned()))).unwrap();
    for (unit, windows) in [("10s", 239), ("20lines", 630)] {
        let exam = Exam::open(&path, &setup(unit, Protocol::All)).unwrap();
        let driven = exam.drive().unwrap();
        let report = exam.report(&driven);
        // From the very first window on, though an engine that knows nothing learns sixty of them.
        assert_eq!((report.units, report.units_judged), (windows, windows), "{unit}");
        assert_eq!(driven.lines, 2 * report.lines, "{unit}");
    }
}

#[test]
fn what_cannot_be_examined_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tsv");
    let error = |text: &str, unit: &str| {
        std::fs::write(&path, text).unwrap();
        let exam = Exam::open(&path, &setup(unit, Protocol::Online));
        let error = exam.and_then(|exam| exam.drive().map(drop)).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(error("5\t0\t-\ta\tx\n", "10s"), @"DIR/x.tsv has 0 whole windows of 10s, of which none is left to judge with protocol online; a smaller --window makes more of them");
    insta::assert_snapshot!(error("blk\t0\t1 2\n", "10s"), @"DIR/x.tsv holds one session a row, without time; examine it with `--window session`");
}

#[test]
fn the_command_gives_all_figures_as_json_and_the_notifications_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, told) = (folder.path().join("x.tsv"), folder.path().join("told.tsv"));
    std::fs::write(&path, steady(|n| (u8::from(n > 11_500), "-".to_owned()))).unwrap();
    let mut command = assert_cmd::Command::cargo_bin("sigyn").unwrap();
    command.current_dir(folder.path()).env_clear().arg("eval").arg(&path);
    let output = command.args(["--output", "json", "--notifications"]).arg(&told).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let report: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    for key in [
        "set",
        "window",
        "protocol",
        "precision",
        "recall",
        "f1",
        "best_f1",
        "roc_auc",
        "pr_auc",
        "incidents_found",
        "incidents_total",
        "benign_notified",
        "median_delay_seconds",
        "false_notifications_per_hour",
        "alarm_windows_per_normal_hour",
        "lines",
        "lines_per_second",
        "peak_rss_bytes",
    ] {
        assert!(report.get(key).is_some(), "{key} is not in {report}");
    }
    assert_eq!(
        (&report["set"], &report["window"], &report["protocol"]),
        (&"x".into(), &"10s".into(), &"online".into())
    );
    let told = std::fs::read_to_string(told).unwrap();
    assert!(told.lines().any(|line| line.contains("\tnew\tcart: ") && line.contains("{stream=\"cart\"}")), "{told}");
}

#[test]
fn the_script_that_makes_sets_tries_itself() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/make-sets.py");
    match Command::new("python3").arg(script).arg("--self-test").output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => skip(&format!("python3 cannot be run: {error}")),
    }
}

/// Two hours of one service, ten lines a minute, with a minute full of errors near the end.
fn burst() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("burst.tsv");
    let mut text = String::new();
    for minute in 0..120i64 {
        for n in 0..10 {
            let ts = (minute * 60 + 6 * n) * SECOND;
            writeln!(text, "{ts}\t0\t-\tcart\tlevel=info msg=\"item {} added\"", n * minute).unwrap();
        }
        for n in 0..if minute == 110 { 80 } else { 0 } {
            let ts = (minute * 60 + 55) * SECOND + n;
            writeln!(text, "{ts}\t1\tburst\tcart\tlevel=error msg=\"cannot add item {n}\"").unwrap();
        }
    }
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| line.split('\t').next().unwrap().parse::<i64>().unwrap());
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    (folder, path)
}

#[test]
fn each_detector_is_heard_alone_and_left_out() {
    let (_folder, path) = burst();
    let sigyn = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sigyn"));
        command.args(["eval", "--window", "1m", "--output", "json"]).args(arguments).arg(&path);
        let output = command.current_dir(path.parent().unwrap()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let found = |report: &serde_json::Value| report["incidents_found"].as_u64().unwrap();
    let combined = sigyn(&[]).remove(0);
    assert_eq!((combined["detector"].as_str(), found(&combined)), (Some("combined"), 1), "{combined}");
    let named: Vec<&str> =
        combined["detectors"].as_array().unwrap().iter().filter_map(|one| one["detector"].as_str()).collect();
    assert_eq!(named[0], "combined");
    assert!(named.contains(&"burst"), "{named:?}");
    assert_eq!(sigyn(&["--detectors", "warn_count,slow"]).iter().map(found).sum::<u64>(), 0);

    let all = sigyn(&["--ablation", "--detectors", "error_count,warn_count"]);
    let rows: Vec<(&str, Option<&str>, u64)> =
        all.iter().map(|one| (one["detector"].as_str().unwrap(), one["without"].as_str(), found(one))).collect();
    let both = "error_count,warn_count";
    let expected = [
        (both, None, 1),
        ("error_count", None, 1),
        ("warn_count", None, 0),
        (both, Some("error_count"), 0),
        (both, Some("warn_count"), 1),
    ];
    assert_eq!(rows, expected);
}
