//! Tests of `stamp`.

use proptest::prelude::*;

use super::*;
use crate::time::rfc3339;

fn at(text: &str) -> Nanos {
    let stamp: jiff::Timestamp = text.parse().unwrap();
    i64::try_from(stamp.as_nanosecond()).unwrap()
}

#[track_caller]
fn check(form: Form, line: &str, expected: &str) {
    let mut stamper = Stamper::find(std::iter::once(line.as_bytes()), Some(at("2026-12-31T00:00:00Z")))
        .unwrap_or_else(|| panic!("no form fits `{line}`"));
    assert_eq!(stamper.form(), form, "{line}");
    let stamp = stamper.read(line.as_bytes()).unwrap();
    assert_eq!(stamp, at(expected), "{line}: {}", rfc3339(stamp));
}

#[test]
fn every_form_is_found_and_read() {
    check(Form::Iso, "2026-11-20T22:00:01Z up", "2026-11-20T22:00:01Z");
    check(Form::Iso, "2026-11-20T22:00:01.123456789+01:00 up", "2026-11-20T21:00:01.123456789Z");
    check(Form::Iso, "2026-11-20 22:00:01,123 INFO up", "2026-11-20T22:00:01.123Z");
    check(Form::Iso, "[2026-11-20 22:00:01 -0500] up", "2026-11-21T03:00:01Z");
    check(Form::Iso, "2026-11-20 22:00:01.5+00 UTC [1] LOG:", "2026-11-20T22:00:01.5Z");
    check(Form::Iso, "2026-11-20 22:00:01 - up", "2026-11-20T22:00:01Z");
    check(Form::Iso, "2026/11/20 22:00:01 [error] 1#1", "2026-11-20T22:00:01Z");
    check(Form::Iso, "level=info ts=2026-11-20T22:00:01.5Z", "2026-11-20T22:00:01.5Z");
    check(Form::Iso, "app.log:2026-11-20T22:00:01Z up", "2026-11-20T22:00:01Z");
    check(
        Form::Iso,
        "- 1117838570 2005.06.03 R02-M1 2005-06-03-15.42.50.675872 R02-M1 RAS KERNEL INFO",
        "2005-06-03T15:42:50.675872Z",
    );
    check(Form::Common, "::1 - bob [20/Nov/2026:22:00:01 +0100] \"GET /\" 200 1", "2026-11-20T21:00:01Z");
    check(Form::Hadoop, "081109 203615 148 INFO dfs.DataNode: x", "2008-11-09T20:36:15Z");
    check(Form::Hadoop, "17/06/09 20:10:40 INFO x", "2017-06-09T20:10:40Z");
    check(Form::Klog, "E1120 22:00:01.000500    1 a.go:1] x", "2026-11-20T22:00:01.0005Z");
    check(Form::Syslog, "Nov 20 22:00:01 host app[1]: x", "2026-11-20T22:00:01Z");
    check(Form::Syslog, "<34>Nov  2 22:00:01 host app: x", "2026-11-02T22:00:01Z");
    check(Form::Syslog, "[Sun Dec 04 04:47:44 2005] [notice] x", "2005-12-04T04:47:44Z");
    check(Form::Epoch, "1795212001 x", "2026-11-20T22:00:01Z");
    check(Form::Epoch, "[1795212001.25] x", "2026-11-20T22:00:01.25Z");
    check(Form::Epoch, "1795212001250 x", "2026-11-20T22:00:01.25Z");
    check(Form::Epoch, "1795212001250000 x", "2026-11-20T22:00:01.25Z");
    check(Form::Epoch, "1795212001250000001 x", "2026-11-20T22:00:01.250000001Z");
}

#[test]
fn json_fields_are_read() {
    let stamp = "2026-11-20T22:00:01.5Z";
    check(Form::Json("\"timestamp\""), r#"{"level":"info","timestamp":"2026-11-20T22:00:01.5Z"}"#, stamp);
    check(Form::Json("\"ts\""), r#"{"ts": 1795212001.5, "msg":"x"}"#, stamp);
    check(Form::Json("\"ts\""), r#"{"ts":1.7952120015e+09,"msg":"x"}"#, stamp);
    check(Form::Json("\"time\""), r#"{"log":"the \"time\" is up\n","time":"2026-11-20T22:00:01.500Z"}"#, stamp);
    check(Form::Json("\"@timestamp\""), r#" {"@timestamp":"2026-11-20T22:00:01.500+0000"}"#, stamp);
    check(Form::Json("\"time\""), r#"{"level":30,"time":1795212001500,"pid":1}"#, stamp);
}

#[test]
fn what_is_no_stamp_is_none() {
    for line in [
        "",
        "up",
        "2026-13-20T22:00:01Z",
        "2026-11-20T25:00:01Z",
        "2026-11-20",
        "16:42:09.486 INFO x",
        "99999999999999999999 x",
        "0000000001 x",
        "{\"ts\":true}",
        "{\"ts\":",
        "Nov 20",
        "081109 203660999 x",
    ] {
        assert!(Stamper::find(std::iter::once(line.as_bytes()), None).is_none(), "{line}");
    }
}

#[test]
fn most_lines_decide_and_traces_may_outnumber_them() {
    let mut lines = vec!["2026-11-20 22:00:01 ERROR boom"];
    lines.extend(["\tat com.shop.Cart.add(Cart.java:10)"; 8]);
    let sample = || lines.iter().map(|line| line.as_bytes());
    assert_eq!(Stamper::find(sample(), None).unwrap().form(), Form::Iso);
    lines.extend(["\tat com.shop.Cart.add(Cart.java:10)"; 8]);
    assert!(Stamper::find(lines.iter().map(|line| line.as_bytes()), None).is_none());
}

#[test]
fn the_year_is_guessed_and_counts_on_over_new_year() {
    let lines = ["Dec 31 23:59:59 a", "Jan  1 00:00:00 b", "Dec 31 23:59:59 late", "Feb  1 00:00:00 c"];
    let mut stamper =
        Stamper::find(lines.iter().map(|line| line.as_bytes()), Some(at("2026-02-03T00:00:00Z"))).unwrap();
    let stamps: Vec<String> = lines.iter().map(|line| rfc3339(stamper.read(line.as_bytes()).unwrap())).collect();
    assert_eq!(
        stamps,
        ["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z", "2026-02-01T00:00:00Z"]
    );
    let mut stamper = Stamper::find(lines.iter().map(|line| line.as_bytes()), None).unwrap();
    assert_eq!(rfc3339(stamper.read(lines[0].as_bytes()).unwrap()), "1970-12-31T23:59:59Z");
}

#[test]
fn a_late_line_takes_the_time_of_the_one_before() {
    let mut order = Order::new(10 * SECOND);
    let placed: Vec<Nanos> = [10, 12, 11, 13].iter().map(|at| order.place(at * SECOND) / SECOND).collect();
    assert_eq!((placed, order.late, order.restarts), (vec![10, 12, 12, 13], 1, 0));
}

#[test]
fn time_that_stays_behind_goes_on_shifted_and_one_far_stamp_does_not_count() {
    let mut order = Order::new(0);
    order.place(3600 * SECOND);
    assert_eq!(order.place(LAST - 1), 3600 * SECOND, "one stamp far ahead");
    for at in 0..100 {
        order.place(at * SECOND);
    }
    assert_eq!((order.now() / SECOND, order.restarts), (3600 + 100 - i64::from(CONFIRM), 1));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        for form in Form::ALL {
            if let Some(stamp) = Stamper::of(form, None).read(&line) {
                prop_assert!((0..LAST).contains(&stamp));
            }
        }
    }

    #[test]
    fn bytes_of_stamps_are_read_without_panic(line in "[\\[{<]?[0-9:T/., +Z\"eE-]{0,40}|(Jan|Dec|E)[0-9: ]{0,20}|\\{\"ts\": ?[0-9.e+\"-]{0,30}") {
        for form in Form::ALL {
            if let Some(stamp) = Stamper::of(form, Some(0)).read(line.as_bytes()) {
                prop_assert!((0..LAST).contains(&stamp));
            }
        }
    }

    #[test]
    fn iso_agrees_with_jiff(second in 0i64..7_000_000_000, nanos in 0i64..SECOND) {
        let stamp = second * SECOND + nanos;
        let text = jiff::Timestamp::from_nanosecond(i128::from(stamp)).unwrap().to_string();
        prop_assert_eq!(iso(text.as_bytes()), Some(stamp));
        let (year, month, day) = civil(stamp);
        prop_assert_eq!(days(year, month, day), second.div_euclid(86_400));
    }

    #[test]
    fn order_never_goes_back(stamps in proptest::collection::vec(0..LAST, 0..200)) {
        let mut order = Order::new(0);
        let mut last = 0;
        for stamp in stamps {
            let at = order.place(stamp);
            prop_assert!(at >= last);
            last = at;
        }
    }
}
