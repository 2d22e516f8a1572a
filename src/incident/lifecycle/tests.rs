use proptest::prelude::*;

use super::*;
use crate::detect::{Evidence, PatternEvidence};
use crate::labels::Fingerprint;
use crate::time::{MINUTE, Span};

/// Feeds a script, one window of a minute a letter, and writes down what is told.
/// `!` anomalous, `.` normal, `?` not seen whole; upper case `C` answers the wish.
fn play(script: &str, confirmed: bool) -> String {
    played(script, confirmed).1
}

fn played(script: &str, confirmed: bool) -> (Lifecycle, String) {
    played_for(script, confirmed, Span::seconds(0))
}

fn played_for(script: &str, confirmed: bool, pending_for: Span) -> (Lifecycle, String) {
    let group = Group { fingerprint: Fingerprint(7), labels: [("service_name", "cart")].into_iter().collect() };
    let keep_firing_for = Span::minutes(3);
    let config = IncidentConfig { pending_for, keep_firing_for, ..IncidentConfig::default() };
    let labels = Labels::new();
    let origin =
        Origin { group: &group, watch: "all", labels: &labels, owner: None, runbook_url: None, config: &config };
    let mut life = Lifecycle::default();
    let mut now = 0;
    let mut told = String::new();
    for letter in script.chars() {
        let outcome = if letter == 'C' {
            life.wish().map(|wish| life.confirm(&origin, wish)).unwrap_or_default()
        } else {
            let range = TimeRange::new(now, now + MINUTE);
            now += MINUTE;
            // `a` and `b`: with a reason.
            let reason = match letter {
                'a' => vec![reason(Feature::ErrorCount)],
                'b' => vec![reason(Feature::WarnCount)],
                // Worse: critical by its errors, and many times more.
                'e' => vec![FeatureEvidence { seen: 11.0, ..reason(Feature::ErrorCount) }],
                'f' => vec![FeatureEvidence { seen: 60.0, ..reason(Feature::ErrorCount) }],
                // As many in six windows as before in one, six times.
                'g' => vec![FeatureEvidence { seen: 66.0, windows: 6, ..reason(Feature::ErrorCount) }],
                _ => Vec::new(),
            };
            let anomaly = "!abefg".contains(letter).then(|| {
                let evidence = Evidence { features: reason, ..Evidence::default() };
                (Anomaly { evidence, ..anomaly(&group, range) }, "cart: odd".to_owned())
            });
            let whole = letter != '?';
            life.observe(&origin, Observation { range, anomaly, whole, confirmed, rates: Vec::new() })
        };
        for transition in outcome.transitions {
            told += &format!("{:?}#{}@{} ", transition.kind, transition.number, transition.at / MINUTE);
        }
    }
    (life, told.trim_end().to_owned())
}

fn anomaly(group: &Group, range: TimeRange) -> Anomaly {
    Anomaly {
        group: group.clone(),
        range,
        lines: 10,
        late: false,
        score: 0.9,
        threshold: 0.6,
        grade: crate::detect::Grade::Alert,
        evidence: Evidence::default(),
    }
}

fn reason(feature: Feature) -> FeatureEvidence {
    let (frequent, forest) = (None, 0.0);
    FeatureEvidence {
        feature,
        seen: 9.0,
        expected: (0.0, 1.0),
        share: 1.0,
        forest,
        frequent,
        windows: 1,
        presence: false,
        seasonal: false,
    }
}

#[test]
fn news_soon_after_a_message_are_told_late_not_never() {
    for (script, told) in [
        ("aaaaaaaa", "Opened#1@1"),
        ("abbbbbbb", "Opened#1@1 Continued#2@3"),
        ("abaaaaaa", "Opened#1@1 Continued#2@3"),
        ("aaaaabaa", "Opened#1@1 Continued#2@6"),
        ("ab...", "Opened#1@1 Resolved#2@5"),
        // Said once, and again when it has not been so for as long as would have resolved it.
        ("aabaaaaabaa", "Opened#1@1 Continued#2@3 Continued#3@9"),
        ("aabaababaaa", "Opened#1@1 Continued#2@3"),
    ] {
        assert_eq!(play(script, true), told, "{script}");
    }
}

#[test]
fn what_two_windows_say_that_is_new_is_told_in_one_message() {
    let group = Group { fingerprint: Fingerprint(1), labels: Labels::new() };
    let window = |score: f64, lines: &[(&str, f64)], errors: f64| {
        let mut one = anomaly(&group, TimeRange::new(0, MINUTE));
        one.score = score;
        one.evidence.features = vec![FeatureEvidence { share: errors, ..reason(Feature::ErrorCount) }];
        one.evidence.patterns = (lines.iter())
            .map(|(line, share)| PatternEvidence {
                line: Some((*line).to_owned()),
                share: *share,
                ..PatternEvidence::of(PatternKind::Burst)
            })
            .collect();
        one
    };
    let strong = window(0.9, &[("a", 0.5), ("b", 0.5)], 0.0);
    let weak = window(0.8, &[("b", 0.5), ("c", 0.1)], 0.4);
    let both = join(strong.clone(), &weak);
    let lines: Vec<&str> = both.evidence.patterns.iter().filter_map(|one| one.line.as_deref()).collect();
    // What has next to no part of a score is not worth a word.
    assert_eq!(lines, ["a", "b"]);
    let errors: Vec<f64> = both.evidence.features.iter().map(|one| one.share).collect();
    assert!(errors.len() == 1 && errors[0] > 0.1, "in place of the one that said nothing: {errors:?}");
    let weak = window(0.8, &[("b", 0.2), ("c", 0.8)], 0.0);
    let both = join(strong.clone(), &weak);
    let shares: Vec<f64> = both.evidence.patterns.iter().map(|one| one.share).collect();
    assert_eq!((shares.len(), both.score), (3, strong.score));
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
    assert_eq!(join(strong.clone(), &strong), strong);
    let many: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let many: Vec<(&str, f64)> = many.iter().map(|line| (line.as_str(), 0.5)).collect();
    assert_eq!(join(strong, &window(0.8, &many, 0.0)).evidence.patterns.len(), MAX_JOINED);
}

#[test]
fn what_is_much_worse_is_told_at_once() {
    for (script, told) in [
        // Another severity.
        ("aaeaa", "Opened#1@1 Escalated#2@3"),
        // Many times more, after a while.
        ("effff", "Opened#1@1 Escalated#2@3"),
        ("fffff", "Opened#1@1"),
        ("egggg", "Opened#1@1"),
    ] {
        assert_eq!(play(script, true), told, "{script}");
    }
}

#[test]
fn what_has_not_lasted_is_not_told() {
    for (script, confirmed, told) in [
        ("!.!!.!.", true, ""),
        ("!!!..", true, "Opened#1@3"),
        ("!?!!..", true, "Opened#1@3"),
        ("!!!!C", false, "Opened#1@3"),
        ("!!.!C", false, ""),
    ] {
        assert_eq!(played_for(script, confirmed, Span::minutes(3)).1, told, "{script}");
    }
}

#[test]
fn scripts() {
    for (script, confirmed, told) in [
        ("....", true, ""),
        ("!!..", true, "Opened#1@1"),
        ("!!...", true, "Opened#1@1 Resolved#2@5"),
        ("!..!...", true, "Opened#1@1 Resolved#2@7"),
        // Blind is not quiet.
        ("!..?..", true, "Opened#1@1"),
        ("!..?...", true, "Opened#1@1 Resolved#2@7"),
        // Without an exact count nothing opens or resolves.
        ("!!.....", false, ""),
        ("!C", false, "Opened#1@1"),
        ("!C....", false, "Opened#1@1"),
        ("!C...C", false, "Opened#1@1 Resolved#2@4"),
        // It does not matter when the answers come.
        ("!!...CC", false, "Opened#1@1 Resolved#2@5"),
        ("!...!...CCCC", false, "Opened#1@1 Resolved#2@4 Opened#1@5 Resolved#2@8"),
        // One incident after the other.
        ("!...!...", true, "Opened#1@1 Resolved#2@4 Opened#1@5 Resolved#2@8"),
    ] {
        assert_eq!(play(script, confirmed), told, "{script}");
    }
}

#[test]
fn what_nobody_watches_any_more_is_closed_and_told_once() {
    for (script, told, state) in [("!!.", 2, Some(State::Resolved)), ("...", 0, None), ("!...", 0, None)] {
        let (mut lifecycle, _) = played(script, true);
        let outcome = lifecycle.withdrawn(100 * MINUTE, "the watch was taken out of the settings");
        let closed = outcome.incidents.last();
        assert_eq!(closed.map(|incident| incident.state), state, "{script}");
        assert_eq!(outcome.transitions.last().map_or(0, |told| told.number), told, "{script}");
        assert_eq!(lifecycle, Lifecycle::default(), "{script}");
    }
    // Nobody has heard of a pending one.
    let (mut lifecycle, _) = played("!", false);
    let outcome = lifecycle.withdrawn(100 * MINUTE, "why");
    assert_eq!((outcome.transitions.len(), outcome.incidents[0].resolved_at), (0, Some(100 * MINUTE)));
    assert_eq!(outcome.incidents[0].detail.as_deref(), Some("withdrawn: why"));
}

#[test]
fn long_ones_speak_now_and_then_and_expire() {
    let told = play(&"!".repeat(65), true);
    assert_eq!(told, "Opened#1@1 Continued#2@31 Continued#3@61");
    let told = play(&"!".repeat(24 * 60), true);
    assert!(told.ends_with("Resolved#49@1440"), "{told}");
}

proptest! {
    /// A count that is answered late changes nothing but the moment of telling.
    #[test]
    fn answers_may_come_late(script in "[!.?]{0,60}", late in proptest::collection::vec(0..4usize, 60)) {
        let answered: String = script.chars().flat_map(|c| [c, 'C']).collect();
        let delayed: String =
            script.chars().zip(late).flat_map(|(c, n)| std::iter::once(c).chain("CCC".chars().take(n))).collect();
        prop_assert_eq!(play(&answered, false), play(&(delayed + &"C".repeat(60)), false));
    }

    /// Whatever happens, an incident opens once, resolves at most once after that, and numbers count up by one.
    #[test]
    fn order_holds(script in "[!.?C]{0,80}", confirmed: bool) {
        let told = play(&script, confirmed);
        let mut open = false;
        let mut number = 0;
        for word in told.split_whitespace() {
            let (kind, rest) = word.split_once('#').unwrap();
            prop_assert_eq!(kind == "Opened", !open);
            number = if kind == "Opened" { 1 } else { number + 1 };
            prop_assert_eq!(rest.split('@').next().unwrap(), number.to_string());
            open = kind != "Resolved";
        }
    }
}
