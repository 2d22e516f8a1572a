//! `sigyn scan` through the real binary: exit codes, standard input, and what it says of inputs that are no good logs.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::child::Place;
use crate::cli::seen;

/// Two hours and a half of steady lines; the second-last minute has errors when `fault` says so.
fn steady(fault: bool) -> String {
    let mut text = String::new();
    for minute in 0..150 {
        let time = format!("2026-11-20T{:02}:{:02}", minute / 60, minute % 60);
        for n in 0..20 + minute % 3 {
            text += &format!("{time}:{:02}Z INFO request {n} done\n", 2 * n);
        }
        if fault && minute == 148 {
            text += &format!("{time}:59Z ERROR database refused\n").repeat(60);
        }
    }
    text
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn something_found_is_code_3_where_it_is_asked_for() {
    let place = Place::new();
    for (name, content, asked, code) in [
        ("fault.log", steady(true).into_bytes(), true, 3),
        ("fault.log", steady(true).into_bytes(), false, 0),
        ("calm.log", steady(false).into_bytes(), true, 0),
        ("fault.log.gz", gzip(&steady(true)), true, 3),
        ("calm.log.gz", gzip(&steady(false)), true, 0),
    ] {
        std::fs::write(place.folder().join(name), content).unwrap();
        let arguments: &[&str] = if asked { &["scan", "--exit-code", name] } else { &["scan", name] };
        let ended = place.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn explain_shows_what_came_near_and_what_held_it_back() {
    let place = Place::new();
    // A variant of a known line, as a warning: odd, but not odd enough.
    let text = steady(true).replace("T02:20:00Z INFO request 0 done", "T02:20:00Z WARN request 0 done late");
    place.file("app.log", &text);
    let plain = place.run(&["scan", "app.log"]).stdout;
    assert!(plain.contains("passed: ") && !plain.contains("near miss"), "{plain}");
    let told = place.run(&["scan", "--explain", "app.log"]).stdout;
    let near: Vec<&str> = told.lines().skip_while(|line| !line.contains("near miss")).take(3).collect();
    insta::assert_snapshot!(near.join("\n"), @r#"
    2026-11-20 02:20:00  near miss app.log  new problem 1, expected 0: "request <*> done late"; never seen before
                         held back: by chance once in 790 looks (5,800 needed)
                         passed: 140 windows learnt (60 needed) · a warning or worse
    "#);
    let json = place.run(&["scan", "--explain", "--output", "json", "app.log"]).stdout;
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = rows.iter().filter_map(|row| row["type"].as_str()).collect();
    assert_eq!(kinds, ["anomaly", "incident", "near_miss", "summary"]);
    for row in &rows[..2] {
        let shares = |name: &str| row[name].as_array().into_iter().flatten().filter_map(|one| one["share"].as_f64());
        assert!((shares("features").chain(shares("patterns")).sum::<f64>() - 1.0).abs() < 0.01, "{row}");
        assert!(row["gates"].as_array().unwrap().iter().all(|gate| gate["passed"] == true), "{row}");
    }
    let miss = &rows[2];
    assert!(miss["surprise"].as_f64() < miss["needed"].as_f64() && miss["held_by"]["check"] == "budget", "{miss}");
}

#[test]
fn standard_input_is_read_as_a_file_is() {
    let place = Place::new();
    place.file("app.log", &steady(true));
    let lines = |text: String| text.lines().filter(|line| !line.contains("peak memory")).collect::<Vec<_>>().join("\n");
    let file = place.run(&["scan", "--exit-code", "app.log"]);
    // Groups of a file have its name.
    let expected = lines(file.stdout).replace("app.log", "stdin");
    assert!(expected.contains("ERROR database refused"), "{expected}");
    for (input, code) in [(steady(true).into_bytes(), 3), (gzip(&steady(true)), 3)] {
        let ended = place.run_on(&["scan", "--exit-code", "-"], input);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert_eq!(lines(ended.stdout), expected);
    }
    for input in [steady(false).into_bytes(), gzip(&steady(false)), Vec::new()] {
        assert_eq!(place.run_on(&["scan", "--exit-code", "-"], input).code, Some(0));
    }
}

/// All that scanning these bytes shows.
fn shown(content: &[u8]) -> String {
    let place = Place::new();
    std::fs::write(place.folder().join("app.log"), content).unwrap();
    let shown = seen(&place, &place.run(&["scan", "--exit-code", "app.log"]));
    // From standard input the same is said, with another name.
    let piped = seen(&place, &place.run_on(&["scan", "--exit-code", "-"], content.to_owned()));
    assert_eq!(piped.replace("standard input", "app.log"), shown);
    shown
}

#[test]
fn a_file_that_cannot_be_read() {
    let place = Place::new();
    insta::assert_snapshot!(seen(&place, &place.run(&["scan", "no/such.log"])), @"
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: cannot read no/such.log: No such file or directory (os error 2)
    exit 1
    ");
    std::fs::create_dir(place.folder().join("logs")).unwrap();
    insta::assert_snapshot!(seen(&place, &place.run(&["scan", "logs"])), @"
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: cannot read logs: it is a folder; name a log file in it
    exit 1
    ");
}

#[test]
fn binary_garbage() {
    insta::assert_snapshot!(shown(b"\x7fELF\x02\x01\x01\0\0\0"), @"
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: app.log is no text: it has a NUL byte at offset 7; expected a log file, plain or gzip
    exit 1
    ");
    let mut cut = gzip(&steady(false));
    cut.truncate(cut.len() / 2);
    // How many lines come out depends on the packer.
    let number = regex::Regex::new(r"[\d,]+ (lines|windows)").unwrap();
    insta::assert_snapshot!(number.replace_all(&shown(&cut), "N $1"), @"
    time stamps: ISO 8601; windows of 1m, the first 60 of each group are learnt
    N lines in N windows: 0 anomalies, 0 incidents
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: reading app.log failed after N lines: incomplete deflate stream
    exit 1
    ");
}

#[test]
fn a_line_of_10_megabytes() {
    insta::assert_snapshot!(shown(&b"x".repeat(10_000_000)), @"
    no time stamps found: the lines are counted instead; windows of 20 lines, the first 60 of each group are learnt
    lines over 256 KB, cut there: 1
    not judged: 1 of 1 groups, for want of 60 windows to learn from; a smaller --window makes more of them
    1 line in 0 windows: 0 anomalies, 0 incidents
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    exit 0
    ");
}

#[test]
fn bytes_that_are_not_utf_8() {
    insta::assert_snapshot!(shown(b"caf\xe9\ntea\n"), @"
    no time stamps found: the lines are counted instead; windows of 20 lines, the first 60 of each group are learnt
    lines with bytes that are not UTF-8, replaced: 1
    not judged: 1 of 1 groups, for want of 60 windows to learn from; a smaller --window makes more of them
    2 lines in 0 windows: 0 anomalies, 0 incidents
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    exit 0
    ");
}
