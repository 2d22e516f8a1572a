//! Tests of `client`.

use super::*;
use crate::collect::Purpose;
use crate::labels::quote;

type Read = (Nanos, String, Option<Level>, String);

fn read(text: &str) -> Result<Vec<Read>, String> {
    let mut batch = Batch::new("w".into(), TimeRange::new(0, 1), Purpose::Judge);
    decode(text, &mut Streams::default(), &mut batch).map_err(|error| error.to_string())?;
    batch.sort();
    let show = |e: crate::collect::Entry<'_>| {
        (e.ts, batch.streams[e.stream].labels.to_string(), e.detected_level, e.line.to_owned())
    };
    Ok(batch.entries().map(show).collect())
}

fn answer(result: &str) -> String {
    format!(
        r#"{{"status":"success","data":{{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{result}],"stats":{{"x":[1,2.5e3]}}}}}}"#
    )
}

#[test]
fn categorized_entries_keep_one_stream_and_their_own_level() {
    let body = answer(
        r#"{"stream":{"app":"a\"b"},"values":[
                ["2","plain",{"structuredMetadata":{"detected_level":"info","trace_id":"t"},"parsed":{"detected_level":"fatal"}}],
                ["1","with \"quotes\" and \u00e9\n",{"structuredMetadata":{"trace_id":"u","detected_level":"error"}}],
                ["3","none",{}], ["4","odd",{"structuredMetadata":{"detected_level":"unknown"}}]]},
               {"stream":{},"values":[]}"#,
    );
    let stream = r#"{app="a\"b"}"#.to_owned();
    let entry = |ts, level, line: &str| (ts, stream.clone(), level, line.to_owned());
    let want = vec![
        entry(1, Some(Level::Error), "with \"quotes\" and é\n"),
        entry(2, Some(Level::Info), "plain"),
        entry(3, None, "none"),
        entry(4, None, "odd"),
    ];
    assert_eq!(read(&body), Ok(want));
}

#[test]
fn a_merged_level_leaves_the_labels_so_that_streams_stay_whole() {
    let body = answer(
        r#"{"stream":{"app":"a","detected_level":"warn"},"values":[["2","w"]]},
               {"stream":{"app":"a","detected_level":"info"},"values":[["1","i"],["3","j"]]}"#,
    );
    let mut batch = Batch::new("w".into(), TimeRange::new(0, 1), Purpose::Judge);
    decode(&body, &mut Streams::default(), &mut batch).unwrap();
    assert_eq!(batch.streams.len(), 1);
    let levels: Vec<_> = batch.entries().map(|e| e.detected_level).collect();
    assert_eq!(levels, [Some(Level::Warn), Some(Level::Info), Some(Level::Info)]);
}

#[test]
fn what_is_no_page_is_an_error_and_never_an_empty_page() {
    for body in [
        "",
        "{}",
        "<html>",
        r#"{"status":"success"}"#,
        r#"{"data":{"resultType":"streams"}}"#,
        r#"{"data":{"resultType":"matrix","result":[]}}"#,
        r#"{"data":{"resultType":"streams","result":null}}"#,
        &answer(r#"{"stream":{},"values":[["x","l"]]}"#),
        &answer(r#"{"stream":{},"values":[["1"]]}"#),
        &answer(r#"{"values":[["1","l"]]}"#),
        &answer("")[..60],
    ] {
        assert!(read(body).is_err(), "{body}");
    }
    assert_eq!(read(&answer("")), Ok(vec![]));
}

#[test]
fn refusals_are_told_apart() {
    let kind = |status, text: &str| classify(status, text).0;
    let over = "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)";
    assert_eq!(kind(400, over), Kind::MaxEntries(5000));
    assert_eq!(kind(400, "the query time range exceeds the limit (query length: 2h, limit: 1h)"), Kind::TooLong);
    assert_eq!(kind(400, "the query would read too many bytes (query: 697 KiB, limit: 1.0 KiB)"), Kind::TooManyBytes);
    assert_eq!(kind(400, "parse error at line 1, col 1: syntax error"), Kind::BadQuery);
    assert_eq!(kind(400, "<center>No required SSL certificate was sent</center>"), Kind::Tls);
    assert_eq!(kind(400, "Client sent an HTTP request to an HTTPS server."), Kind::Tls);
    assert_eq!(kind(401, "no org id"), Kind::Unauthorized);
    assert_eq!(kind(429, "too many outstanding requests"), Kind::RateLimited);
    assert_eq!(kind(504, "request timed out, decrease the duration"), Kind::Deadline);
    assert_eq!(kind(499, "context canceled"), Kind::Server);
    assert_eq!(kind(302, ""), Kind::Redirected);
}

#[test]
fn lengths_of_time_are_exact() {
    assert_eq!(
        (duration(60 * SECOND), duration(1), duration(SECOND + 1)),
        ("60s".into(), "1ns".into(), "1000000001ns".into())
    );
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]
    #[test]
    fn any_line_comes_through(lines in proptest::collection::vec(".*", 0..8)) {
        let json = |line: &String| serde_json::to_string(line).unwrap();
        let values: Vec<_> = lines.iter().enumerate().map(|(i, line)| format!("[{},{}]", quote(&i.to_string()), json(line))).collect();
        let body = answer(&format!(r#"{{"stream":{{"a":"b"}},"values":[{}]}}"#, values.join(",")));
        let got: Vec<_> = read(&body).unwrap().into_iter().map(|e| e.3).collect();
        proptest::prop_assert_eq!(got, lines);
    }
}
