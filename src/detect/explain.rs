//! Why a window is anomalous, in numbers and in words.
//!
//! What comes in: findings with their shares, and what they had to pass. What goes out: plain English, the same for all
//! outputs. What never happens here: markup, or escaping; lines and labels in it are as hostile as they came.

use super::{
    Before, Check, Common, Evidence, Feature, FeatureEvidence, Frequent, Gate, Odd, PatternEvidence, PatternKind,
    Sample,
};
use crate::time::Nanos;

/// Groups that are named of those that lack steps too.
const MAX_ALONG: usize = 8;

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
        Some(pattern) if ends(pattern) => "requests end early".to_owned(),
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
        PatternKind::Lost => "lines of many services are lost or late",
        PatternKind::Rare => "a line that it seldom logs",
        PatternKind::Value => "a value far from usual",
        PatternKind::Ratio => "lines are missing that come with others",
        PatternKind::Stopped => "a regular line has stopped",
        PatternKind::Instance => "one instance has more problems than usual",
    }
}

/// A pattern: what it is, what was seen, what was expected, and the lines that it is about, which are log text: escape them.
#[must_use]
pub fn pattern(one: &PatternEvidence) -> (&'static str, String, String, Option<String>) {
    let key = one.key.as_deref().map(|key| format!(" ({key})")).unwrap_or_default();
    let of = format!("in {} of {} requests{key}", number(one.seen), number(one.of));
    let most = one.most.filter(|most| *most > one.expected);
    let most = most.map(|most| format!(" (up to {})", number(most))).unwrap_or_default();
    let expected = format!("{}{most}", number(one.expected));
    let line = one.line.as_deref().map(|line| format!("\"{line}\""));
    match (one.kind, &one.after) {
        (PatternKind::New, _) => ("new problem", "1".to_owned(), "0".to_owned(), line),
        (PatternKind::Burst, _) => {
            ("problem", format!("{} times in {}", number(one.seen), windows(one.windows)), expected, line)
        }
        (PatternKind::Begins, _) => ("begins with a problem", of, expected, line),
        (PatternKind::Unexpected, _) => ("problem", of, expected, line),
        (PatternKind::Missing | PatternKind::LessOften, Some(last)) if ends(one) => {
            let (from, to) = one.between.clone().unwrap_or_default();
            let first = line.map(|line| format!(", without {line} of {to}{}", along(one)));
            ("end early", of, expected, Some(format!("after \"{last}\" of {from}{}", first.unwrap_or_default())))
        }
        (PatternKind::Missing, _) => ("step missing", of, expected, line.map(|line| format!("{line}{}", along(one)))),
        (PatternKind::MoreOften, _) => ("step repeated", of, expected, line),
        (PatternKind::LessOften, _) => {
            ("step less often", of, expected, line.map(|line| format!("{line}{}", along(one))))
        }
        (PatternKind::Slow, _) => {
            let between = one.between.as_ref().map(|(from, to)| match from == to {
                true => format!("from one line of {from} to the next"),
                false => format!("from a line of {from} to the next, of {to}"),
            });
            let took = one.took.map(|took| format!(" (about {} s)", number(took))).unwrap_or_default();
            let longer = format!("{} s{took} {of}", number(one.seconds.unwrap_or_default()));
            ("longer than", longer, expected, line.or(between))
        }
        (PatternKind::Order, Some(after)) => {
            ("other order", of, expected, line.map(|line| format!("{line} right after \"{after}\"")))
        }
        (PatternKind::Lost, _) => {
            let (groups, _) = &one.along;
            let text = format!(
                "with lines of {} services in all, {}: those before them are lost or late on their way, or clocks differ",
                groups.len(),
                few(groups)
            );
            ("begin in their midst", of, expected, Some(text))
        }
        (PatternKind::Order, None) => ("unusual first step", of, expected, line),
        (PatternKind::Value, _) => {
            let (seen, (low, high), name) =
                one.value.as_ref().map_or((0.0, (0.0, 0.0), ""), |odd| (odd.seen, odd.expected, odd.name.as_str()));
            let name = if name.is_empty() { String::new() } else { format!("{name} ") };
            let range = if low == high { number(low) } else { format!("{} to {}", number(low), number(high)) };
            ("value", format!("{name}{} in {} lines", number(seen), number(one.seen)), range, line)
        }
        (PatternKind::Ratio, after) => {
            let with = after.as_ref().map(|after| format!(", which comes with \"{after}\" ({} times)", number(one.of)));
            let line = line.map(|line| format!("{line}{}", with.unwrap_or_default()));
            ("only", format!("{} times in {}", number(one.seen), windows(one.windows)), expected, line)
        }
        (PatternKind::Stopped, _) => {
            let every = format!("every {} windows{most}", number(one.expected));
            let every = if one.expected < 1.05 { format!("every window{most}") } else { every };
            ("stopped", format!("for {}", windows(one.windows)), every, line)
        }
        (PatternKind::Instance, _) => {
            let all = if one.of > one.seen { format!(" of {} in its group", number(one.of)) } else { String::new() };
            let most = line.map(|line| format!(", most of it {line}")).unwrap_or_default();
            let place = format!("{}{most}", one.key.as_deref().unwrap_or_default());
            ("problems", format!("{}{all} in {}", number(one.seen), windows(one.windows)), expected, Some(place))
        }
        (PatternKind::Rare, _) => {
            ("seldom line", "here".to_owned(), format!("in {} of {} windows", number(one.seen), number(one.of)), line)
        }
    }
}

/// Whether sessions end after a line.
fn ends(one: &PatternEvidence) -> bool {
    matches!(one.kind, PatternKind::Missing | PatternKind::LessOften) && one.between.is_some()
}

/// What is missing besides: `, and 12 more steps, also of cart, stock and 3 more`. As hostile as it came.
fn along(one: &PatternEvidence) -> String {
    let (groups, steps) = &one.along;
    if *steps == 0 {
        return String::new();
    }
    let steps = if *steps == 1 { "1 more step".to_owned() } else { format!("{steps} more steps") };
    let of = if groups.is_empty() { String::new() } else { format!(", also of {}", few(groups)) };
    format!(", and {steps}{of}")
}

/// The first of some names, and how many more there are.
fn few(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_ALONG).map(String::as_str).collect();
    match names.len().saturating_sub(MAX_ALONG) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// When the line of a pattern was seen before its window, in words; `None` where nothing is known. `moment` writes a time.
#[must_use]
pub fn before(one: &PatternEvidence, moment: impl Fn(Nanos) -> String) -> Option<String> {
    one.before.map(|before| times(before, moment))
}

fn times(before: Before, moment: impl Fn(Nanos) -> String) -> String {
    match (before.first, before.last) {
        (None, _) => "never seen before".to_owned(),
        (Some(first), None) => format!("first seen {}", moment(first)),
        (Some(first), Some(last)) => format!("first seen {}, last before this {}", moment(first), moment(last)),
    }
}

/// Which line is the most frequent among errors or warnings: `most of them "db refused", never seen before`. As hostile
/// as it came.
#[must_use]
pub fn frequent(one: &FeatureEvidence, moment: impl Fn(Nanos) -> String) -> Option<String> {
    let Frequent { line, part, before } = one.frequent.as_ref()?;
    let before = before.map(|before| format!(", {}", times(before, moment))).unwrap_or_default();
    let most = match *part {
        part if part >= 1.0 => "all of them",
        part if part >= 0.5 => "most of them",
        _ => "most frequent",
    };
    Some(format!("{most} \"{line}\"{before}"))
}

/// The additive shares of all detectors in a score, the greatest first; they sum to 1.
#[must_use]
pub fn detectors(evidence: &Evidence) -> Vec<(&'static str, f64)> {
    let mut all: Vec<(&'static str, f64)> = Vec::new();
    let mut add = |name: &'static str, share: f64| match all.iter_mut().find(|(known, _)| *known == name) {
        _ if share <= 0.0 => {}
        Some((_, sum)) => *sum += share,
        None => all.push((name, share)),
    };
    for one in &evidence.features {
        add("counts", one.share - one.forest);
        add("forest", one.forest);
    }
    for one in &evidence.patterns {
        let name = match one.kind {
            PatternKind::New => "new lines",
            PatternKind::Burst => "bursts",
            PatternKind::Rare => "seldom lines",
            PatternKind::Value => "values",
            PatternKind::Ratio => "ratios",
            PatternKind::Stopped => "silence",
            PatternKind::Instance => "instances",
            _ => "requests",
        };
        add(name, one.share);
    }
    all.sort_by(|one, two| two.1.total_cmp(&one.1));
    all
}

/// A label that odd lines have in common: `all 40 errors from pod=api-7; 12 % of the other lines`. Label and value are as
/// hostile as they came.
#[must_use]
pub fn common(one: &Common) -> String {
    let lines = match one.odd {
        Odd::Errors => "errors",
        Odd::Warnings => "warnings",
        Odd::Pattern => "such lines",
    };
    let seen = if one.seen == one.of { format!("all {}", one.of) } else { format!("{} of {}", one.seen, one.of) };
    let others = if one.others > 0.0 { format!("{} %", number(one.others * 100.0)) } else { "none".to_owned() };
    format!("{seen} {lines} from {}={}; {others} of the other lines", one.label, one.value)
}

/// A condition with what was reached and what was needed.
#[must_use]
pub fn gate(one: &Gate) -> String {
    let (reached, needed) = (grouped(&number(one.reached)), number(one.needed));
    let not = if one.passed { "" } else { "not " };
    match one.check {
        Check::Windows => format!("{reached} windows learnt ({needed} needed)"),
        Check::Requests => format!("{reached} earlier requests like these ({needed} needed)"),
        Check::Unusual => {
            let did = if one.reached > 0.0 { format!("{} %", number(one.reached * 100.0)) } else { "none".to_owned() };
            format!("{did} of those did so (under {} % needed)", number(one.needed * 100.0))
        }
        Check::Lines => format!("{reached} lines ({needed} needed)"),
        Check::Excess if one.reached > 999.0 => format!("over 1,000 times what is expected ({needed} needed)"),
        Check::Excess => format!("{reached} times what is expected ({needed} needed)"),
        Check::Matters => format!("{not}far enough outside to matter"),
        Check::GoesOn => format!("{not}going on at the end of the window"),
        Check::Level => format!("{not}a warning or worse"),
        Check::Shape if one.passed => "more has changed than how lines look".to_owned(),
        Check::Shape => "nothing has changed but how lines look".to_owned(),
        Check::Apart if one.passed => "not explained by its requests".to_owned(),
        Check::Apart => "its lines are parts of requests, which are judged by themselves".to_owned(),
        Check::Templates if one.passed => "its lines have templates that come again".to_owned(),
        Check::Templates => {
            "nearly each of its lines has a template of its own: judged by levels, rates and lengths".to_owned()
        }
        Check::Daily => at_this_time(one, "day"),
        Check::Weekly => at_this_time(one, "week"),
        Check::Words if one.passed => "its lines have words in common".to_owned(),
        Check::Words => {
            "all of its lines have one template, without a word in it: judged by levels, rates and lengths".to_owned()
        }
        Check::Settles if one.passed => "its lines have templates that settle".to_owned(),
        Check::Settles => {
            "most of its templates never came again, and new ones keep coming: judged by levels, rates and lengths"
                .to_owned()
        }
        Check::Budget => format!("by chance once in {} looks ({} needed)", odds(one.reached), odds(one.needed)),
        // What is needed is the same as for the first look.
        Check::SecondLook if one.passed => format!("beside how the past scatters once in {}", odds(one.reached)),
        Check::SecondLook => {
            format!("beside how the past scatters once in {} ({} needed)", odds(one.reached), odds(one.needed))
        }
    }
}

/// The habit that holds an anomaly back, where there is one.
#[must_use]
pub fn habit(evidence: &Evidence) -> Option<String> {
    let held = |one: &&Gate| !one.passed && matches!(one.check, Check::Daily | Check::Weekly);
    evidence.gates.iter().find(held).map(gate)
}

fn at_this_time(one: &Gate, period: &str) -> String {
    let (reached, needed) = (one.reached, one.needed);
    if one.passed {
        format!(
            "not usual at this time of the {period}, though it came the {period} before: if it comes again, it is shown only"
        )
    } else if reached < needed {
        format!("usual at this time of the {period}: on {reached} of the last {needed}")
    } else {
        format!("usual at this time of the {period}: on each of the last {needed}")
    }
}

/// A surprise in nats as the number of looks in which it comes once: two figures, thousands apart.
fn odds(surprise: f64) -> String {
    let looks = surprise.clamp(0.0, 700.0).exp();
    if looks > 1e9 {
        return "more than a billion".to_owned();
    }
    let step = 10f64.powf((looks.log10().floor() - 1.0).max(0.0));
    grouped(&format!("{:.0}", (looks / step).round() * step))
}

/// Digits, thousands apart; a number with a point stays as it is.
fn grouped(digits: &str) -> String {
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !digits.contains('.') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What marks the variable parts of a line.
const MARKS: (char, char) = ('‹', '›');

/// A line with its variable parts marked: `order ‹17› stored in ‹35 ms›`. As hostile as it came.
#[must_use]
pub fn marked(sample: &Sample) -> String {
    let mut out = String::with_capacity(sample.line.len() + 6 * sample.variables.len());
    let mut done = 0;
    for (start, end) in sample.variables.iter().map(|(start, end)| (*start as usize, *end as usize)) {
        if start == end {
            continue;
        }
        let (Some(before), Some(value)) = (sample.line.get(done..start), sample.line.get(start..end)) else { continue };
        out.push_str(before);
        out.push(MARKS.0);
        out.push_str(value);
        out.push(MARKS.1);
        done = end;
    }
    out.push_str(sample.line.get(done..).unwrap_or_default());
    out
}

fn windows(count: u32) -> String {
    if count == 1 { "1 window".to_owned() } else { format!("{count} windows") }
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
    let hour = if one.seasonal { " at this hour" } else { "" };
    format!("{name} {}, expected {range}{hour}", seen(one, &number(one.seen), unit))
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
        FeatureEvidence {
            feature,
            seen,
            expected,
            share: 0.5,
            forest: 0.0,
            frequent: None,
            windows: 1,
            presence: false,
            seasonal: false,
        }
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
                before: None,
                after: after.map(str::to_owned),
                key: Some("trace_id".to_owned()),
                seen: 14.0,
                of: 15.0,
                expected: 0.12,
                most: Some(2.0),
                seconds: Some(0.7),
                value: None,
                took: None,
                between: None,
                along: (Vec::new(), 0),
                windows: 3,
                share: 1.0,
            };
            let (what, seen, expected, line) = pattern(&one);
            let title = headline(&Evidence { patterns: vec![one], ..Evidence::default() });
            format!("{title} | {what} {seen}, expected {expected}: {}", line.unwrap_or_default())
        };
        let of = "in 14 of 15 requests (trace_id), expected 0.1 (up to 2)";
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
                PatternKind::Ratio,
                Some("paid"),
                concat!(
                    "lines are missing that come with others | only 14 times in 3 windows, expected 0.1 (up to 2): ",
                    "\"order <*> stored\", which comes with \"paid\" (15 times)"
                )
                .to_owned(),
            ),
            (
                PatternKind::Stopped,
                None,
                "a regular line has stopped | stopped for 3 windows, expected every window (up to 2): \"order <*> stored\""
                    .to_owned(),
            ),
            (
                PatternKind::Instance,
                None,
                concat!(
                    "one instance has more problems than usual | problems 14 of 15 in its group in 3 windows, expected 0.1 (up to 2): ",
                    "trace_id, most of it \"order <*> stored\""
                )
                .to_owned(),
            ),
            (
                PatternKind::Burst,
                None,
                "a problem comes in a burst | problem 14 times in 3 windows, expected 0.1 (up to 2): \"order <*> stored\""
                    .to_owned(),
            ),
        ] {
            assert_eq!(told(kind, after), text);
        }
        assert!(told(PatternKind::Slow, None).contains("longer than 0.7 s in 14 of 15 requests"));
        let between = |from: &str, to: &str| {
            let between = Some((from.to_owned(), to.to_owned()));
            let one = PatternEvidence {
                took: Some(1.25),
                seconds: Some(0.7),
                between,
                ..PatternEvidence::of(PatternKind::Slow)
            };
            let (_, seen, _, place) = pattern(&one);
            format!("{seen}: {}", place.unwrap_or_default())
        };
        let of = "0.7 s (about 1.2 s) in 1 of 1 requests";
        assert_eq!(between("front", "cart"), format!("{of}: from a line of front to the next, of cart"));
        assert_eq!(between("cart", "cart"), format!("{of}: from one line of cart to the next"));
    }

    #[test]
    fn what_was_before_is_told() {
        let told = |before| {
            let one = PatternEvidence { before, ..PatternEvidence::of(PatternKind::New) };
            super::before(&one, |at| format!("at {at}")).unwrap_or_default()
        };
        for (seen, text) in [
            (None, ""),
            (Some((None, None)), "never seen before"),
            (Some((Some(7), None)), "first seen at 7"),
            (Some((Some(7), Some(9))), "first seen at 7, last before this at 9"),
        ] {
            assert_eq!(told(seen.map(|(first, last)| Before { first, last })), text);
        }
    }

    #[test]
    fn the_most_frequent_line_is_named() {
        let told = |part, before| {
            let frequent = Some(Frequent { line: "db refused".to_owned(), part, before });
            let one = FeatureEvidence { frequent, ..evidence(Feature::ErrorCount, 48.0, (0.0, 3.0)) };
            frequent_of(&one)
        };
        assert_eq!(told(1.0, Some(Before::default())), "all of them \"db refused\", never seen before");
        assert_eq!(told(0.6, None), "most of them \"db refused\"");
        assert_eq!(told(0.2, None), "most frequent \"db refused\"");
        assert_eq!(frequent_of(&evidence(Feature::Rate, 1.0, (0.0, 0.0))), "");
    }

    fn frequent_of(one: &FeatureEvidence) -> String {
        frequent(one, |at| format!("at {at}")).unwrap_or_default()
    }

    #[test]
    fn labels_in_common_are_told_with_the_others() {
        let told = |odd, (seen, of), others| {
            let (label, value) = ("pod".to_owned(), "api-7".to_owned());
            common(&Common { label, value, odd, seen, of, others })
        };
        assert_eq!(told(Odd::Errors, (40, 40), 0.12), "all 40 errors from pod=api-7; 12 % of the other lines");
        assert_eq!(told(Odd::Warnings, (38, 40), 0.0), "38 of 40 warnings from pod=api-7; none of the other lines");
        assert_eq!(told(Odd::Pattern, (5, 5), 0.004), "all 5 such lines from pod=api-7; 0.4 % of the other lines");
    }

    #[test]
    fn gates_are_plain() {
        for (gate, text) in [
            (Gate::least(Check::Windows, 312.0, 60.0), "312 windows learnt (60 needed)"),
            (Gate::least(Check::Requests, 1312.0, 20.0), "1,312 earlier requests like these (20 needed)"),
            (Gate::below(Check::Unusual, 0.002, 0.15), "0.2 % of those did so (under 15 % needed)"),
            (Gate::below(Check::Unusual, -0.0, 0.15), "none of those did so (under 15 % needed)"),
            (Gate::least(Check::Excess, 1234.0, 2.0), "over 1,000 times what is expected (2 needed)"),
            (Gate::least(Check::Budget, 15.4, 10.268), "by chance once in 4,900,000 looks (29,000 needed)"),
            (Gate::least(Check::Budget, 500.0, 0.0), "by chance once in more than a billion looks (1 needed)"),
            (Gate::least(Check::SecondLook, 3.0, 10.268), "beside how the past scatters once in 20 (29,000 needed)"),
            (Gate::least(Check::SecondLook, 13.0, 10.268), "beside how the past scatters once in 440,000"),
            (Gate::plain(Check::Level, false), "not a warning or worse"),
            (Gate::plain(Check::Shape, false), "nothing has changed but how lines look"),
        ] {
            assert_eq!(super::gate(&gate), text);
        }
    }

    #[test]
    fn variable_parts_are_marked_whatever_the_places_are() {
        let line = |variables: &[(u32, u32)]| {
            let line = "order 17 für 3 ms".to_owned();
            marked(&Sample { ts: 0, level: crate::detect::Level::Info, line, variables: variables.to_vec() })
        };
        assert_eq!(line(&[(6, 8), (14, 18)]), "order ‹17› für ‹3 ms›");
        assert_eq!(line(&[]), "order 17 für 3 ms");
        // Inside of a character, beyond the end, backwards.
        assert_eq!(line(&[(6, 8), (9, 11), (7, 8), (14, 99), (8, 6)]), "order ‹17› für 3 ms");
    }

    #[test]
    fn detectors_share_the_score() {
        let feature = |share, forest| FeatureEvidence { share, forest, ..evidence(Feature::Rate, 1.0, (0.0, 0.0)) };
        let pattern = |kind, share| PatternEvidence { share, ..PatternEvidence::of(kind) };
        let all = Evidence {
            features: vec![feature(0.25, 0.125), feature(0.0, 0.0)],
            patterns: vec![
                pattern(PatternKind::Missing, 0.5),
                pattern(PatternKind::Slow, 0.125),
                pattern(PatternKind::New, 0.125),
            ],
            ..Evidence::default()
        };
        let shares = [("requests", 0.625), ("counts", 0.125), ("forest", 0.125), ("new lines", 0.125)];
        assert_eq!(detectors(&all), shares);
    }

    #[test]
    fn evidence_of_earlier_versions_is_read() {
        let old = r#"{"features":[{"feature":"error_count","seen":48.0,"expected":[0.0,3.0],"share":0.6}],
            "patterns":[{"kind":"missing","line":"order <*>","seen":3.0,"of":4.0,"expected":0.1,"windows":3,"share":0.4}],
            "samples":[{"ts":1,"level":"error","line":"order 17"}],
            "coverage":{"known":"paged","seen":4,"missing":0},"query":"{}"}"#;
        let evidence: Evidence = serde_json::from_str(old).unwrap();
        assert_eq!((evidence.features[0].forest, evidence.patterns[0].before), (0.0, None));
        assert!(evidence.gates.is_empty() && evidence.common.is_empty());
        assert_eq!(marked(&evidence.samples[0]), "order 17");
        let text = serde_json::to_string(&evidence).unwrap();
        assert!(!text.contains("variables") && !text.contains("gates"), "{text}");
    }
}
