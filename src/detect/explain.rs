//! Why a window is anomalous, in numbers and in words.
//!
//! What comes in: findings with their shares. What goes out: evidence by falling share, and plain English. No log text
//! and no label goes through here.

use super::{Evidence, Feature, FeatureEvidence, PatternEvidence, PatternKind};

/// What is wrong, with numbers: `errors 48, expected 0 to 3; rate 3.1 lines/s, expected 11 to 19`. Only features outside
/// their range are named, the first three; when there are none, the one with the greatest share.
#[must_use]
pub fn reason(evidence: &[FeatureEvidence]) -> String {
    let outside: Vec<&FeatureEvidence> = evidence.iter().filter(|one| is_outside(one)).take(3).collect();
    let told = if outside.is_empty() { evidence.iter().take(1).collect() } else { outside };
    let parts: Vec<String> = told.into_iter().map(part).collect();
    parts.join("; ")
}

/// What is wrong in a few words without counts, such as `more errors than usual` or `a step is missing`.
#[must_use]
pub fn headline(evidence: &Evidence) -> String {
    let counts = evidence.features.first().map_or(0.0, |first| first.share);
    match evidence.patterns.first().filter(|first| first.share >= counts) {
        Some(pattern) => pattern_headline(pattern.kind).to_owned(),
        None => feature_headline(&evidence.features),
    }
}

fn pattern_headline(kind: PatternKind) -> &'static str {
    match kind {
        PatternKind::New => "a problem that it never logged before",
        PatternKind::Burst => "a problem comes in a burst",
        PatternKind::Begins => "requests that begin with a problem",
        PatternKind::Unexpected => "a problem in more requests than usual",
        PatternKind::Missing => "a step is missing",
        PatternKind::MoreOften => "a step is repeated",
        PatternKind::LessOften => "a step comes less often than usual",
        PatternKind::Slow => "slower than usual",
        PatternKind::Order => "steps in an unusual order",
        PatternKind::Rare => "a line that it seldom logs",
        PatternKind::Value => "a value far from usual",
    }
}

/// A pattern: what it is, what was seen, what was expected, and the lines that it is about, which are log text: escape them.
#[must_use]
pub fn pattern(one: &PatternEvidence) -> (&'static str, String, String, Option<String>) {
    let key = one.key.as_deref().map(|key| format!(" ({key})")).unwrap_or_default();
    let of = format!("in {} of {} sessions{key}", number(one.seen), number(one.of));
    let expected = number(one.expected);
    let line = one.line.as_deref().map(|line| format!("\"{line}\""));
    match (one.kind, &one.after) {
        (PatternKind::New, _) => ("new problem", "1".to_owned(), "0".to_owned(), line),
        (PatternKind::Burst, _) => {
            ("problem", format!("{} times in {} windows", number(one.seen), one.windows), expected, line)
        }
        (PatternKind::Begins, _) => ("begins with a problem", of, expected, line),
        (PatternKind::Unexpected, _) => ("problem", of, expected, line),
        (PatternKind::Missing, _) => ("step missing", of, expected, line),
        (PatternKind::MoreOften, _) => ("step repeated", of, expected, line),
        (PatternKind::LessOften, _) => ("step less often", of, expected, line),
        (PatternKind::Slow, _) => {
            ("longer than", format!("{} s {of}", number(one.seconds.unwrap_or_default())), expected, line)
        }
        (PatternKind::Order, Some(after)) => {
            ("other order", of, expected, line.map(|line| format!("{line} right after \"{after}\"")))
        }
        (PatternKind::Order, None) => ("unusual first step", of, expected, line),
        (PatternKind::Value, _) => {
            let (seen, (low, high), name) =
                one.value.as_ref().map_or((0.0, (0.0, 0.0), ""), |odd| (odd.seen, odd.expected, odd.name.as_str()));
            let name = if name.is_empty() { String::new() } else { format!("{name} ") };
            let range = if low == high { number(low) } else { format!("{} to {}", number(low), number(high)) };
            ("value", format!("{name}{} in {} lines", number(seen), number(one.seen)), range, line)
        }
        (PatternKind::Rare, _) => {
            ("seldom line", "here".to_owned(), format!("in {} of {} windows", number(one.seen), number(one.of)), line)
        }
    }
}

fn feature_headline(evidence: &[FeatureEvidence]) -> String {
    let Some(first) = evidence.iter().find(|one| is_outside(one)).or(evidence.first()) else {
        return "unusual lines".to_owned();
    };
    let up = first.seen > first.expected.1;
    let down = first.seen < first.expected.0;
    let text = match first.feature {
        Feature::LineLength if up => "longer lines than usual",
        Feature::LineLength if down => "shorter lines than usual",
        Feature::ErrorCount if up && first.expected.1 < 1.0 => "errors where there were none",
        Feature::ErrorCount if up => "more errors than usual",
        Feature::WarnCount if up && first.expected.1 < 1.0 => "warnings where there were none",
        Feature::WarnCount if up => "more warnings than usual",
        Feature::UniqueMessages if up => "more kinds of lines than usual",
        Feature::UniqueMessages if down => "fewer kinds of lines than usual",
        Feature::Rate if first.seen == 0.0 && down => "gone silent",
        Feature::Rate if up => "more lines than usual",
        Feature::Rate if down => "fewer lines than usual",
        _ => "an unusual mix of lines",
    };
    text.to_owned()
}

fn is_outside(one: &FeatureEvidence) -> bool {
    one.seen < one.expected.0 || one.seen > one.expected.1
}

fn part(one: &FeatureEvidence) -> String {
    let (name, unit) = match one.feature {
        Feature::LineLength => ("line length", " bytes"),
        Feature::ErrorCount => ("errors", ""),
        Feature::WarnCount => ("warnings", ""),
        Feature::UniqueMessages => ("different messages", ""),
        Feature::Rate => ("rate", " lines/s"),
    };
    let (low, high) = (number(one.expected.0), number(one.expected.1));
    let range = if low == high { low } else { format!("{low} to {high}") };
    format!("{name} {}, expected {range}", seen(one, &number(one.seen), unit))
}

/// What was seen, with the windows it was seen over: `48`, `48 in 3 windows`, `in 12 of 30 windows`, `1.2 lines/s over 3
/// windows`.
#[must_use]
pub fn seen(one: &FeatureEvidence, number: &str, unit: &str) -> String {
    match (one.presence, one.windows) {
        (true, windows) => format!("in {number} of {windows} windows"),
        (false, 0 | 1) => format!("{number}{unit}"),
        (false, windows) if one.feature == Feature::Rate => format!("{number}{unit} over {windows} windows"),
        (false, windows) => format!("{number}{unit} in {windows} windows"),
    }
}

/// Three figures are enough: `0.033`, `3.1`, `48`, `1250`.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 10.0 || size == 0.0 => 0,
        size if size >= 0.1 => 1,
        size if size >= 0.01 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(feature: Feature, seen: f64, expected: (f64, f64)) -> FeatureEvidence {
        FeatureEvidence { feature, seen, expected, share: 0.5, windows: 1, presence: false }
    }

    #[test]
    fn reasons_are_plain() {
        let all = [
            evidence(Feature::ErrorCount, 48.0, (0.0, 3.0)),
            evidence(Feature::Rate, 3.05, (11.0, 19.2)),
            evidence(Feature::WarnCount, 1.0, (0.0, 3.0)),
        ];
        insta::assert_snapshot!(reason(&all), @"errors 48, expected 0 to 3; rate 3 lines/s, expected 11 to 19");
        let rest =
            [evidence(Feature::LineLength, 812.4, (96.0, 140.0)), evidence(Feature::UniqueMessages, 9.0, (0.0, 0.0))];
        insta::assert_snapshot!(reason(&rest), @"line length 812 bytes, expected 96 to 140; different messages 9, expected 0");
        assert_eq!(reason(&[]), "");
    }

    #[test]
    fn headlines_name_the_direction() {
        for (feature, seen, expected, text) in [
            (Feature::ErrorCount, 48.0, (0.0, 3.0), "more errors than usual"),
            (Feature::ErrorCount, 48.0, (0.0, 0.0), "errors where there were none"),
            (Feature::Rate, 0.0, (0.2, 3.0), "gone silent"),
            (Feature::Rate, 0.1, (0.2, 3.0), "fewer lines than usual"),
            (Feature::Rate, 9.0, (0.2, 3.0), "more lines than usual"),
            (Feature::LineLength, 9.0, (0.2, 3.0), "longer lines than usual"),
            (Feature::LineLength, 1.0, (0.2, 3.0), "an unusual mix of lines"),
        ] {
            assert_eq!(feature_headline(&[evidence(feature, seen, expected)]), text);
        }
        assert_eq!(headline(&Evidence::default()), "unusual lines");
    }

    #[test]
    fn patterns_are_told_with_their_numbers_and_their_line() {
        let told = |kind, after: Option<&str>| {
            let one = PatternEvidence {
                kind,
                line: Some("order <*> stored".to_owned()),
                after: after.map(str::to_owned),
                key: Some("trace_id".to_owned()),
                seen: 14.0,
                of: 15.0,
                expected: 0.12,
                seconds: Some(0.7),
                value: None,
                windows: 3,
                share: 1.0,
            };
            let (what, seen, expected, line) = pattern(&one);
            let title = headline(&Evidence { patterns: vec![one], ..Evidence::default() });
            format!("{title} | {what} {seen}, expected {expected}: {}", line.unwrap_or_default())
        };
        let of = "in 14 of 15 sessions (trace_id), expected 0.1";
        for (kind, after, text) in [
            (PatternKind::Missing, None, format!("a step is missing | step missing {of}: \"order <*> stored\"")),
            (
                PatternKind::Begins,
                None,
                format!("requests that begin with a problem | begins with a problem {of}: \"order <*> stored\""),
            ),
            (
                PatternKind::Unexpected,
                None,
                format!("a problem in more requests than usual | problem {of}: \"order <*> stored\""),
            ),
            (
                PatternKind::Order,
                Some("paid"),
                format!("steps in an unusual order | other order {of}: \"order <*> stored\" right after \"paid\""),
            ),
            (
                PatternKind::Burst,
                None,
                "a problem comes in a burst | problem 14 times in 3 windows, expected 0.1: \"order <*> stored\""
                    .to_owned(),
            ),
        ] {
            assert_eq!(told(kind, after), text);
        }
        assert!(told(PatternKind::Slow, None).contains("longer than 0.7 s in 14 of 15 sessions"));
    }
}
