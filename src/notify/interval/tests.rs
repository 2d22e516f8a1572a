//! Tests of intervals: Alertmanager's form as a table, windows by cron over changes of clocks, both against walking.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use proptest::prelude::*;

use super::*;
use crate::time::{HOUR, MINUTE, SECOND};

fn at(text: &str) -> Nanos {
    Nanos::try_from(text.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap()
}

fn part(json: &str) -> Part {
    serde_json::from_str(json).unwrap()
}

#[test]
fn intervals_are_those_of_alertmanager() {
    let hours = r#""times": [{"start_time": "09:00", "end_time": "17:00"}]"#;
    for (interval, inside, outside) in [
        (format!("{{{hours}}}"), "2026-11-21T09:00:00Z", "2026-11-21T17:00:00Z"),
        (format!("{{{hours}}}"), "2026-11-21T16:59:59.9Z", "2026-11-21T08:59:59.9Z"),
        (format!(r#"{{{hours}, "weekdays": ["monday:friday"]}}"#), "2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z"),
        (r#"{"weekdays": ["saturday", "Sunday"]}"#.to_owned(), "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
        (
            r#"{"times": [{"start_time": "18:00", "end_time": "24:00"}]}"#.to_owned(),
            "2026-11-21T23:59:00Z",
            "2026-11-22T00:00:00Z",
        ),
        (r#"{"days_of_month": ["1:5"]}"#.to_owned(), "2026-11-05T00:00:00Z", "2026-11-06T00:00:00Z"),
        (r#"{"days_of_month": ["-3:-1"]}"#.to_owned(), "2026-02-26T00:00:00Z", "2026-02-25T00:00:00Z"),
        (r#"{"days_of_month": ["31"]}"#.to_owned(), "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
        (r#"{"days_of_month": ["25:-1"]}"#.to_owned(), "2026-02-28T00:00:00Z", "2026-02-24T00:00:00Z"),
        (r#"{"months": ["january:march", "12"]}"#.to_owned(), "2026-12-01T00:00:00Z", "2026-04-01T00:00:00Z"),
        (r#"{"years": ["2026:2027"]}"#.to_owned(), "2027-12-31T23:59:59Z", "2028-01-01T00:00:00Z"),
        (format!(r#"{{{hours}, "location": "Asia/Kathmandu"}}"#), "2026-11-21T03:15:00Z", "2026-11-21T11:15:00Z"),
        (format!(r#"{{{hours}, "time_zone": "Europe/Berlin"}}"#), "2026-10-25T08:00:00Z", "2026-10-25T07:59:59Z"),
        // The day before, in summer.
        (format!(r#"{{{hours}, "time_zone": "Europe/Berlin"}}"#), "2026-10-24T07:00:00Z", "2026-10-24T06:59:59Z"),
    ] {
        let part = part(&interval);
        assert!(part.contains(at(inside)), "{interval} {inside}");
        assert!(!part.contains(at(outside)), "{interval} {outside}");
        let again: Part = serde_json::from_str(&serde_json::to_string(&part).unwrap()).unwrap();
        assert_eq!(again, part);
        assert_eq!(part.mistake(), None);
    }
}

#[test]
fn what_is_no_interval_is_told() {
    for (json, told) in [
        (r#"{"times": [{"start_time": "9:00", "end_time": "17:00"}]}"#, "`9:00` is no time of the day"),
        (r#"{"times": [{"start_time": "09:00", "end_time": "24:01"}]}"#, "`24:01` is no time of the day"),
        (r#"{"times": [{"start_time": "09:60", "end_time": "24:00"}]}"#, "`09:60` is no time of the day"),
        (r#"{"times": [{"start_time": "+9:00", "end_time": "24:00"}]}"#, "`+9:00` is no time of the day"),
        (r#"{"weekdays": ["friday:monday"]}"#, "the week begins with sunday; make it two ranges"),
        (r#"{"weekdays": ["mon"]}"#, "`mon` is no day of the week"),
        (r#"{"days_of_month": ["0"]}"#, "`0` is no day of a month"),
        (r#"{"days_of_month": ["5:1"]}"#, "`5:1` ends before it begins"),
        (r#"{"days_of_month": ["-1:-3"]}"#, "`-1:-3` ends before it begins"),
        (r#"{"days_of_month": ["-5:3"]}"#, "must end with one"),
        (r#"{"months": ["13"]}"#, "`13` is no month"),
        (r#"{"years": ["2028:2026"]}"#, "`2028:2026` ends before it begins"),
        (r#"{"location": "Local"}"#, "`Local` is no time zone"),
        (r#"{"cron": "0 2 * *"}"#, "is no cron pattern"),
        (r#"{"cron": "0 0 2 * * SUN"}"#, "is no cron pattern"),
        (r#"{"cron": "0 0 31 2 *"}"#, "such a day never comes"),
        (r#"{"cron": "0 25 * * *"}"#, "is no cron pattern"),
    ] {
        let error = serde_json::from_str::<Part>(json).unwrap_err().to_string();
        assert!(error.contains(told), "{json}: {error}");
    }
    for (json, key) in [
        ("{}", ""),
        (r#"{"location": "UTC"}"#, ""),
        (r#"{"for": "2h", "months": ["1"]}"#, "for"),
        (r#"{"cron": "0 2 * * SUN"}"#, "cron"),
        (r#"{"cron": "0 2 * * SUN", "for": "0"}"#, "for"),
        (r#"{"cron": "0 2 * * SUN", "for": "400d"}"#, "for"),
    ] {
        assert_eq!(part(json).mistake().unwrap().0, key, "{json}");
    }
}

fn window(cron: &str, length: &str, zone: &str) -> CronWindow {
    CronWindow { cron: cron.parse().unwrap(), length: length.parse().unwrap(), time_zone: Zone::named(zone).unwrap() }
}

/// The stretches of time between `from` and `to` in which a window is open, found minute by minute.
fn open(window: &CronWindow, from: &str, to: &str) -> Vec<(String, String)> {
    let (mut open, mut since) = (Vec::new(), None);
    let mut now = at(from);
    while now <= at(to) {
        match (window.contains(now), since) {
            (true, None) => since = Some(now),
            (false, Some(start)) => {
                open.push((crate::time::rfc3339(start), crate::time::rfc3339(now)));
                since = None;
            }
            _ => {}
        }
        now += 15 * MINUTE;
    }
    open
}

#[test]
fn windows_are_right_where_clocks_change() {
    for (cron, length, zone, from, windows) in [
        // Ordinary Sundays, winter and summer.
        ("0 2 * * SUN", "2h", "Europe/Berlin", "2026-11-22", vec!["2026-11-22T01:00:00Z/03:00"]),
        ("0 2 * * SUN", "2h", "Europe/Berlin", "2026-06-07", vec!["2026-06-07T00:00:00Z/02:00"]),
        // 02:00 is skipped: when it would have been.
        ("0 2 * * SUN", "2h", "Europe/Berlin", "2026-03-29", vec!["2026-03-29T01:00:00Z/03:00"]),
        ("30 2 * * SUN", "1h", "Europe/Berlin", "2026-03-29", vec!["2026-03-29T01:30:00Z/02:30"]),
        // 02:00 comes twice: the clock's 02:00 to 04:00.
        ("0 2 * * SUN", "2h", "Europe/Berlin", "2026-10-25", vec!["2026-10-25T00:00:00Z/03:00"]),
        (
            "0 2 * * SUN",
            "30m",
            "Europe/Berlin",
            "2026-10-25",
            vec!["2026-10-25T00:00:00Z/00:30", "2026-10-25T01:00:00Z/01:30"],
        ),
        // A window over the change lasts for its length.
        ("0 1 * * SUN", "3h", "Europe/Berlin", "2026-03-29", vec!["2026-03-29T00:00:00Z/03:00"]),
        ("0 1 * * SUN", "3h", "Europe/Berlin", "2026-10-25", vec!["2026-10-24T23:00:00Z/02:00"]),
        ("0 2 * * SUN", "1h", "America/New_York", "2026-03-08", vec!["2026-03-08T07:00:00Z/08:00"]),
        (
            "30 1 * * SUN",
            "15m",
            "America/New_York",
            "2026-11-01",
            vec!["2026-11-01T05:30:00Z/05:45", "2026-11-01T06:30:00Z/06:45"],
        ),
        // Half an hour, on the other side of the world.
        ("15 2 * * SUN", "30m", "Australia/Lord_Howe", "2026-10-04", vec!["2026-10-03T15:45:00Z/16:15"]),
        (
            "45 1 * * SUN",
            "15m",
            "Australia/Lord_Howe",
            "2026-04-05",
            vec!["2026-04-04T14:45:00Z/15:00", "2026-04-04T15:15:00Z/15:30"],
        ),
        // A whole day, and a Friday, was left out: its windows are when they would have been.
        ("0 2 * * FRI", "1h", "Pacific/Apia", "2011-12-30", vec!["2011-12-30T12:00:00Z/13:00"]),
        // No changes, and an odd offset.
        ("0 2 * * *", "30m", "Asia/Kathmandu", "2026-10-25", vec!["2026-10-24T20:15:00Z/20:45"]),
        ("0 23 * * *", "2h", "UTC", "2026-10-25", vec!["2026-10-24T23:00:00Z/01:00"]),
        // The last Friday of a month, and longer than its period.
        ("0 22 * * FRI#L", "1h", "UTC", "2026-10-31", vec!["2026-10-30T22:00:00Z/23:00"]),
        ("0 */6 * * *", "7h", "UTC", "2026-10-25", vec![]),
    ] {
        let window = window(cron, length, zone);
        let day: jiff::civil::Date = from.parse().unwrap();
        let (start, end) = (day.yesterday().unwrap(), day);
        let found = open(&window, &format!("{start}T12:00:00Z"), &format!("{end}T18:45:00Z"));
        let found: Vec<String> = found.iter().map(|(from, to)| format!("{from}/{}", &to[11..16])).collect();
        assert_eq!(found, windows, "{cron} for {length} in {zone} at {from}");
    }
    assert!(window("0 */6 * * *", "7h", "UTC").contains(0));
}

#[test]
fn the_next_window_is_named() {
    let berlin = window("0 2 * * SUN", "2h", "Europe/Berlin");
    for (from, next) in [
        ("2026-10-20T00:00:00Z", "2026-10-25T00:00:00Z"),
        ("2026-10-25T00:00:00Z", "2026-11-01T01:00:00Z"),
        ("2026-03-28T00:00:00Z", "2026-03-29T01:00:00Z"),
    ] {
        assert_eq!(berlin.next(at(from)), Some(at(next)), "{from}");
    }
}

/// More than clocks were ever set ahead or back: Samoa left out a day.
const SKIPPED: Nanos = 26 * HOUR;

/// Every minute that clocks of the zone may show near `at`, with the instants at which they do.
fn walked(window: &CronWindow, zone: &TimeZone, at: Nanos) -> bool {
    let stamp = |nanos: Nanos| Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
    let length = window.length.nanos();
    let mut civil =
        zone.to_datetime(stamp(at - length - SKIPPED)).with().second(0).subsec_nanosecond(0).build().unwrap();
    let end = zone.to_datetime(stamp(at + SKIPPED));
    let pattern: croner::Cron = String::from(window.cron.clone()).parse().unwrap();
    let instant = |civil: DateTime, offset: jiff::tz::Offset| {
        Nanos::try_from(offset.to_timestamp(civil).unwrap().as_nanosecond()).unwrap()
    };
    while civil <= end {
        let shown = civil.to_zoned(TimeZone::UTC).unwrap();
        if pattern.is_time_matching(&shown).unwrap() {
            let begins = match zone.to_ambiguous_zoned(civil).offset() {
                AmbiguousOffset::Unambiguous { offset } => vec![instant(civil, offset)],
                AmbiguousOffset::Gap { before, .. } => vec![instant(civil, before)],
                AmbiguousOffset::Fold { before, after } => vec![instant(civil, before), instant(civil, after)],
            };
            if begins.iter().any(|begin| *begin <= at && at < begin + length) {
                return true;
            }
        }
        civil = civil.checked_add(jiff::SignedDuration::from_mins(1)).unwrap();
    }
    false
}

const ZONES: [&str; 7] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Africa/Casablanca",
    "Pacific/Apia",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn windows_are_what_walking_finds(
        zone in prop::sample::select(ZONES.to_vec()),
        minute in prop_oneof![Just("0".to_owned()), Just("*/15".to_owned()), Just("*".to_owned()), (0..60i32).prop_map(|m| m.to_string())],
        hour in prop_oneof![Just("*".to_owned()), Just("2".to_owned()), Just("1-3".to_owned()), (0..24i32).prop_map(|h| h.to_string())],
        day in prop_oneof![Just("*".to_owned()), Just("SUN".to_owned()), Just("MON-FRI".to_owned())],
        length in prop_oneof![Just(60), 1..300i64, Just(26 * 60)],
        year in 2009..2030i64, change in 0..4usize, away in -30 * 3600..30 * 3600i64, sub in 0..2i64,
    ) {
        let tz = TimeZoneDatabase::bundled().get(zone).unwrap();
        let new_year: Timestamp = format!("{year}-01-01T00:00:00Z").parse().unwrap();
        // Near a change of clocks, where there is one in this or the next years.
        let near = tz.following(new_year).nth(change).map_or(new_year, |change| change.timestamp());
        let at = Nanos::try_from(near.as_nanosecond()).unwrap() + away * SECOND + sub * 7;
        let length = Span::seconds(length.unsigned_abs() * 60);
        let cron = format!("{minute} {hour} * * {day}").parse().unwrap();
        let window = CronWindow { cron, length, time_zone: Zone::named(zone).unwrap() };
        prop_assert_eq!(window.contains(at), walked(&window, &tz, at), "{:?} at {}", window, crate::time::rfc3339(at));
    }

    #[test]
    fn any_text_gives_an_answer(text in prop_oneof!["\\PC{0,30}", "[0-9*/,LW#?a-zA-Z -]{0,30}"]) {
        if let Ok(cron) = text.parse::<Cron>() {
            let window = CronWindow { cron, length: Span::hours(1), time_zone: Zone::default() };
            let _ = window.contains(1_795_212_000 * SECOND);
        }
    }
}
