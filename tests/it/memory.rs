//! Too little memory: what is forgotten is told, with what to do.

use sigyn::app::clock::Clock;
use sigyn::time::{HOUR, Nanos};

use crate::shop::{dice, place, standin};

/// Six letters that no other number has.
fn word(n: u64) -> String {
    let chance = dice(n);
    (0..6).map(|place| char::from(b'a' + (chance >> (place * 5)) as u8 % 26)).collect()
}

#[test]
fn what_is_forgotten_for_want_of_memory_is_told_with_what_to_do() {
    const LINES: u64 = 40_000;
    let loki = standin();
    let begin = Clock::real().now() - HOUR;
    // Each service for a while, and hardly two lines alike.
    for n in 0..LINES {
        let service = format!("job-{}", n / 400);
        let words: Vec<String> = (0..5).map(|place| word(n * 5 + place)).collect();
        let at = begin + n.cast_signed() * (HOUR / LINES.cast_signed()) as Nanos;
        loki.push(&[("env", "demo"), ("service_name", &service)], at, words.join(" "));
    }
    let place = place(&loki.url());
    let told = place.folder().join("told.txt");
    let receivers =
        format!("notify:\n  receivers:\n    - name: file\n      file: {{path: {}, format: text}}\n", told.display());
    let watches = "watches:\n  - name: shop\n    query: '{env=\"demo\"}'\n";
    place.file("settings.yaml", &format!("{watches}detect:\n  memory_limit: 8MB\n{receivers}"));
    let ended = place.run(&["once", "--lookback", "1h"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let told =
        std::fs::read_to_string(&told).unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    let told =
        told.split("\n\n").find(|text| text.contains("memory")).unwrap_or_else(|| panic!("{told}{}", ended.stderr));
    let number = regex::Regex::new(r"\d+(\.\d+)?").unwrap();
    let lines: Vec<String> = told.lines().map(|line| number.replace_all(line, "N").into_owned()).collect();
    insta::assert_snapshot!(lines.join("\n"), @"");
}
