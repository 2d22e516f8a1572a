//! The stand-in as a client sees it: what a page holds, what counts say, how it misbehaves, how fast it is.

use super::clock::{MINUTE, SECOND, instant};
use super::probe::{Ask, Reply, encoded, get, send};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::atomic::{AtomicI64, Ordering};

const T: i64 = 1_795_211_880_000_000_000;
const A: &[(&str, &str)] = &[("app", "a")];

fn start(options: Options) -> Loki {
    Loki::start(Options { clock: Clock::fixed(T + 10 * MINUTE), ..options }).unwrap()
}

fn faulty(faults: Faults) -> Loki {
    let loki = start(Options { faults, ..Options::default() });
    loki.push(A, T, "one");
    loki
}

fn range(loki: &Loki, query: &str, rest: &str) -> Reply {
    get(loki.address(), &format!("/loki/api/v1/query_range?query={}&{rest}", encoded(query)))
}

fn push(loki: &Loki, body: &str) -> u16 {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    let ask = Ask { method: "POST".into(), target: "/loki/api/v1/push".into(), headers, body: body.into() };
    send(loki.address(), &ask).status
}

/// Time stamp and text of each line of an answer, in the answer's order.
fn values(reply: &Reply) -> Vec<(i64, String)> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let streams = json["data"]["result"].as_array().unwrap();
    let values = streams.iter().flat_map(|s| s["values"].as_array().unwrap());
    values.map(|v| (v[0].as_str().unwrap().parse().unwrap(), v[1].as_str().unwrap().to_owned())).collect()
}

fn texts(reply: &Reply) -> String {
    values(reply).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
}

const ALL: &str = "start=1795211000&end=1795213000&direction=forward";

#[test]
fn pushed_lines_are_read_back() {
    let loki = start(Options::default());
    let body = format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{T}","one"],["{}","two"]]}}]}}"#, T + 1);
    assert_eq!(push(&loki, &body), 204);
    loki.push(&[("app", "b")], T, "three");
    assert_eq!(texts(&range(&loki, "{app=~\".+\"}", ALL)), "one two three");
    let shown = loki.entries("{app=~\".+\"}").unwrap();
    assert_eq!(shown.iter().map(|(_, _, text)| text.as_str()).collect::<Vec<_>>(), ["one", "three", "two"]);
    assert_eq!(shown[0].0["service_name"], "a");
    assert_eq!((loki.counters().queries, loki.counters().lines_in, loki.counters().lines_out), (1, 3, 3));
    loki.shutdown();
}

#[test]
fn filters_choose_lines() {
    let loki = start(Options::default());
    for (i, line) in ["GET /a 200", "GET /b 500 error", "level=warn slow", "\"quoted\" <tag> \u{1}ü"].iter().enumerate()
    {
        loki.push_with("fake", A, T + i as i64, line, &[("pod", if i < 2 { "x" } else { "y" })]);
    }
    loki.push(&[("app", "b")], T, "other");
    for (query, wanted) in [
        (r#"{app="a"} |= "GET""#, "GET /a 200 GET /b 500 error"),
        (r#"{app="a"} |= "GET" != "error""#, "GET /a 200"),
        (r#"{app="a"} |~ "/a|slow""#, "GET /a 200 level=warn slow"),
        (r#"{app="a"} !~ `GET|"`"#, "level=warn slow"),
        (r#"{app="a"} |= "slow" or "500""#, "GET /b 500 error level=warn slow"),
        (r#"{app="a"} | detected_level="error""#, "GET /b 500 error"),
        (r#"{app="a"} | detected_level=~"error|warn" | pod="y""#, "level=warn slow"),
        (
            r#"{app="a"} | pod="x", detected_level!="error" or pod="y""#,
            "GET /a 200 level=warn slow \"quoted\" <tag> \u{1}ü",
        ),
        (r#"{app!="a", service_name=~".+"}"#, "other"),
        (r#"{app=~"b|c"}"#, "other"),
        (r#"{app=~"."} |= "o" !~ "slow|error""#, "\"quoted\" <tag> \u{1}ü other"),
        (r#"{app="a", none=""} |= "200""#, "GET /a 200"),
    ] {
        let flag = ("X-Loki-Response-Encoding-Flags".to_owned(), "categorize-labels".to_owned());
        let target = format!("/loki/api/v1/query_range?query={}&{ALL}", encoded(query));
        let ask = Ask { method: "GET".into(), target, headers: vec![flag], ..Ask::default() };
        assert_eq!(texts(&send(loki.address(), &ask)), wanted, "{query}");
    }
}

#[test]
fn org_ids_keep_tenants_apart() {
    let loki = start(Options { auth_enabled: true, ..Options::default() });
    loki.push_all("one", A, [(T, "of one".to_owned())]);
    loki.push_all("two", A, [(T, "of two".to_owned())]);
    let target = format!("/loki/api/v1/query_range?query={}&{ALL}", encoded("{app=\"a\"}"));
    let ask = |tenant: &str| {
        let headers = [("X-Scope-OrgID", tenant), ("User-Agent", "probe/1"), ("X-Query-Tags", "Source=sigyn")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        send(
            loki.address(),
            &Ask { method: "GET".into(), target: target.clone(), headers: headers.into(), ..Ask::default() },
        )
    };
    assert_eq!(texts(&ask("two")), "of two");
    assert_eq!(texts(&ask("three")), "");
    assert_eq!((ask("one|two").status, ask("one|two").text().as_str()), (400, "multiple org IDs present\n"));
    assert_eq!(loki.entries_of("one", "{app=\"a\"}").unwrap().len(), 1);
    let log = loki.requests();
    let first = &log[0];
    assert_eq!((first.method.as_str(), first.path.as_str(), first.status), ("GET", "/loki/api/v1/query_range", 200));
    assert_eq!(first.param("query"), Some("{app=\"a\"}"));
    assert_eq!(first.org_id.as_deref(), Some("two"));
    assert_eq!(first.user_agent.as_deref(), Some("probe/1"));
    assert_eq!(first.tags.as_deref(), Some("Source=sigyn"));
}

#[test]
fn refusals_come_with_their_texts() {
    let status = |status, text: &str| Fault::Status(status, text.to_owned());
    let loki = faulty(Faults {
        rules: vec![
            Rule::new(Fault::TooManyRequests, Endpoint::Queries, When::Next(1)),
            Rule::new(status(504, "request timed out"), Endpoint::QueryRange, When::Next(1)),
            Rule::new(Fault::TooManyRequests, Endpoint::Push, When::Always),
        ],
        ..Faults::default()
    });
    let first = range(&loki, "{app=\"a\"}", ALL);
    assert_eq!((first.status, first.text().as_str()), (429, "too many outstanding requests"));
    assert_eq!(first.header("Retry-After"), None);
    assert_eq!(range(&loki, "{app=\"a\"}", ALL).text(), "request timed out");
    assert_eq!(texts(&range(&loki, "{app=\"a\"}", ALL)), "one");
    assert_eq!(push(&loki, "{}"), 429);
    assert_eq!(loki.counters().faults, 3);
    loki.set_faults(Faults::default());
    assert!(loki.faults().rules.is_empty());
    assert_eq!(push(&loki, r#"{"streams":[]}"#), 422);
}

#[test]
fn an_answer_that_never_comes() {
    let hold = Duration::from_millis(30);
    let loki = faulty(Faults::rule(Fault::NoAnswer(hold), Endpoint::QueryRange, When::Next(1)));
    let before = instant();
    let reply = range(&loki, "{app=\"a\"}", ALL);
    assert_eq!((reply.status, reply.broken, reply.body.len()), (0, false, 0));
    assert!(before.elapsed() >= hold);
    assert_eq!(loki.requests()[0].status, 0);
    assert_eq!(texts(&range(&loki, "{app=\"a\"}", ALL)), "one");
}

#[test]
fn a_held_answer_does_not_hold_up_the_end() {
    let loki = faulty(Faults::rule(Fault::NoAnswer(Duration::from_secs(600)), Endpoint::Any, When::Always));
    let address = loki.address();
    let client = std::thread::spawn(move || get(address, "/ready").status);
    while loki.counters().requests == 0 {
        std::thread::yield_now();
    }
    loki.shutdown();
    assert_eq!(client.join().unwrap(), 0);
}

#[test]
fn a_reset_is_an_error_not_an_end() {
    let loki = faulty(Faults::rule(Fault::Reset, Endpoint::Any, When::Next(1)));
    let reply = get(loki.address(), "/ready");
    assert_eq!((reply.status, reply.broken), (0, true));
    assert_eq!(get(loki.address(), "/ready").status, 200);
}

#[test]
fn a_cut_body_is_shorter_than_it_says() {
    let loki = faulty(Faults::rule(Fault::Cut(0.5), Endpoint::Any, When::Always));
    loki.push_all("fake", A, (0..500).map(|i| (T + i, format!("line {i} {}", "x".repeat(300)))));
    let reply = range(&loki, "{app=\"a\"}", &format!("{ALL}&limit=5000"));
    let said: usize = reply.header("Content-Length").unwrap().parse().unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.body.len() > said / 3 && reply.body.len() < said * 2 / 3, "{} of {said}", reply.body.len());
}

#[test]
fn a_missing_last_chunk() {
    let loki = faulty(Faults::rule(Fault::CutChunk(0.5), Endpoint::QueryRange, When::Next(1)));
    loki.push_all("fake", A, (0..500).map(|i| (T + i, format!("line {i} {}", "x".repeat(300)))));
    let asked = || range(&loki, "{app=\"a\"}", &format!("{ALL}&limit=5000"));
    let (cut, whole) = (asked(), asked());
    assert_eq!((cut.status, cut.broken, cut.header("Transfer-Encoding")), (200, true, Some("chunked")));
    assert!(!whole.broken && cut.body.len() < whole.body.len() * 2 / 3, "{} {}", cut.body.len(), whole.body.len());
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let quick = |_| {
        let loki = start(Options::default());
        let mut tcp = std::net::TcpStream::connect(loki.address()).unwrap();
        std::io::Write::write_all(&mut tcp, b"GET /ready HTTP/1.1\r\nHost: loki\r\n\r\n").unwrap();
        assert!(tcp.read(&mut [0; 64]).unwrap() > 0);
        let before = instant();
        loki.shutdown();
        before.elapsed() < Duration::from_millis(800)
    };
    // Several tries: the machine may be busy.
    assert!((0..5).any(quick));
}

#[test]
fn an_old_loki_knows_no_levels_and_no_flag() {
    let loki = start(Options::old());
    loki.push(A, T, "level=error");
    let flag = ("X-Loki-Response-Encoding-Flags".to_owned(), "categorize-labels".to_owned());
    let target = format!("/loki/api/v1/query_range?query={}&{ALL}", encoded("{app=\"a\"}"));
    let reply = send(loki.address(), &Ask { method: "GET".into(), target, headers: vec![flag], ..Ask::default() });
    let stream = r#"{"stream":{"app":"a"},"values":[["1795211880000000000","level=error"]]}"#;
    assert!(reply.text().contains(&format!(r#""streams","result":[{stream}]"#)), "{}", reply.text());
}

#[test]
fn a_slow_answer_is_still_an_answer() {
    let slow = Duration::from_millis(30);
    let loki = faulty(Faults::rule(Fault::Slow(slow), Endpoint::Any, When::Always));
    let before = instant();
    assert_eq!(texts(&range(&loki, "{app=\"a\"}", ALL)), "one");
    assert!(before.elapsed() >= slow);
}

#[test]
fn pages_over_the_cap_are_never_answered() {
    let cap = PageCap { bytes: 4096, hold: Duration::from_millis(5) };
    let loki = faulty(Faults { page: Some(cap), ..Faults::default() });
    loki.push_all("fake", A, (1..100).map(|i| (T + i, "x".repeat(80))));
    let asked = |limit: usize| range(&loki, "{app=\"a\"}", &format!("{ALL}&limit={limit}")).status;
    assert_eq!((asked(100), asked(50), asked(25)), (0, 0, 200));
    assert_eq!(loki.counters().faults, 2);
}

#[test]
fn a_lower_cap_on_entries_is_told() {
    let loki = faulty(Faults { max_entries: Some(50), ..Faults::default() });
    let reply = range(&loki, "{app=\"a\"}", ALL);
    let wanted = "max entries limit per query exceeded, limit > max_entries_limit_per_query (100 > 50)";
    assert_eq!((reply.status, reply.text().as_str()), (400, wanted));
    assert_eq!(range(&loki, "{app=\"a\"}", &format!("{ALL}&limit=50")).status, 200);
}

#[test]
fn late_lines_come_after_queries_or_time() {
    let now = Arc::new(AtomicI64::new(T));
    let clock = Arc::clone(&now);
    let clock = Clock::Function(Arc::new(move || clock.load(Ordering::SeqCst)));
    let loki = Loki::start(Options { clock, ..Options::default() }).unwrap();
    loki.push_late(A, T, "by queries", Delay::Queries(2));
    loki.push_late(A, T + 1, "by time", Delay::For(Duration::from_secs(5)));
    let shown = || texts(&range(&loki, "{app=\"a\"}", ALL));
    assert_eq!((shown(), shown(), shown()), (String::new(), String::new(), "by queries".to_owned()));
    assert_eq!((loki.hidden(), loki.len()), (1, 2));
    assert_eq!(loki.entries("{app=\"a\"} |= \"by\"").unwrap().len(), 2);
    now.fetch_add(5 * SECOND, Ordering::SeqCst);
    assert_eq!(shown(), "by queries by time");

    loki.set_faults(Faults { late: Some(Late { chance: 0.5, by: Delay::Queries(0) }), seed: 7, ..Faults::default() });
    let rows: Vec<String> = (0..100).map(|i| format!(r#"["{}","line {i}"]"#, T + 10 + i)).collect();
    assert_eq!(
        push(&loki, &format!(r#"{{"streams":[{{"stream":{{"app":"c"}},"values":[{}]}}]}}"#, rows.join(","))),
        204
    );
    assert!((30..70).contains(&loki.hidden()), "{}", loki.hidden());
    assert_eq!(values(&range(&loki, "{app=\"c\"}", &format!("{ALL}&limit=200"))).len(), 100);
}

#[test]
fn the_date_follows_the_clock() {
    let loki = start(Options::default());
    assert_eq!(get(loki.address(), "/ready").header("Date"), Some("Fri, 20 Nov 2026 22:08:00 GMT"));
    let fast = Clock::fast(T, 1e6);
    let first = fast.now();
    assert!(first >= T && fast.now() >= first);
}

#[test]
fn what_it_does_not_know_is_501() {
    let loki = faulty(Faults::default());
    for target in
        ["/loki/api/v1/tail", "/", "/loki/api/v1/label/a", "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D%7Cjson"]
    {
        let reply = get(loki.address(), target);
        assert_eq!(reply.status, 501, "{target}");
        assert!(reply.text().starts_with("not in the stand-in"), "{}", reply.text());
    }
}

#[test]
fn memory_is_capped_and_the_oldest_go() {
    let loki = start(Options { max_bytes: 200_000, ..Options::default() });
    for i in 0..4000 {
        loki.push(if i % 2 == 0 { A } else { &[("app", "b")] }, T + i, format!("line {i}"));
    }
    let kept = loki.entries("{app=~\".+\"}").unwrap();
    assert!(kept.len() > 1500 && kept.len() < 3000, "{}", kept.len());
    assert_eq!(kept.last().unwrap().1, T + 3999);
    assert_eq!(kept[0].1, T + 4000 - kept.len() as i64, "only the oldest are gone");
    assert_eq!(loki.counters().evicted, 4000 - kept.len() as u64);
}

#[test]
fn a_page_out_of_a_million_lines_is_quick() {
    let loki = start(Options::default());
    let line = |i: i64| {
        (
            T + i * 1000,
            format!("level=info msg=\"request done\" n={i} path=/api/orders/1234/items dur=12ms user=abcdef"),
        )
    };
    for stream in 0..20_i64 {
        let app = format!("app-{stream}");
        loki.push_all("fake", &[("app", app.as_str())], (0..50_000).map(|i| line(i * 20 + stream)));
    }
    assert_eq!(loki.len(), 1_000_000);
    let best = |query: &str, path: &str, rest: &str| {
        let target = format!("/loki/api/v1/{path}?query={}&{rest}", encoded(query));
        let once = |_| {
            let before = instant();
            let reply = get(loki.address(), &target);
            assert_eq!(reply.status, 200, "{}", reply.text());
            before.elapsed()
        };
        (0..5).map(once).min().unwrap()
    };
    let middle = T + 500_000_000;
    let page = best(
        "{app=~\".+\"}",
        "query_range",
        &format!("start={middle}&end={}&limit=5000&direction=forward", T + MINUTE),
    );
    let count = best("sum(count_over_time({app=~\".+\"}[1m]))", "query", &format!("time={}", T + MINUTE));
    assert_eq!(loki.counters().lines_out, 25_000);
    println!("page of 5000: {page:?}, count of a million: {count:?}");
    // Very loose, for a machine that does ten times as much besides; the goal is 10 ms and 1 ms.
    assert!(page < Duration::from_secs(2) && count < Duration::from_millis(500), "{page:?} {count:?}");
}

#[test]
fn gzip_when_asked_for() {
    let loki = faulty(Faults::default());
    loki.push_all("fake", A, (1..100).map(|i| (T + i, "x".repeat(80))));
    let target = format!("/loki/api/v1/query_range?query={}&{ALL}", encoded("{app=\"a\"}"));
    let headers = vec![("Accept-Encoding".to_owned(), "br, gzip;q=0.5".to_owned())];
    let mut reply = send(loki.address(), &Ask { method: "GET".into(), target, headers, ..Ask::default() });
    assert_eq!(reply.header("Content-Encoding"), Some("gzip"));
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_end(&mut plain).unwrap();
    reply.body = plain;
    assert_eq!(values(&reply).len(), 100);
}

/// Lines of up to three streams at few and often equal times.
fn some_lines() -> impl Strategy<Value = Vec<(usize, i64, u8)>> {
    prop::collection::vec((0..3_usize, 0..12_i64, 0..6_u8), 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Both directions, any limit: the answer is the head (or tail) of all lines in time order, each line once.
    #[test]
    fn a_page_is_the_end_of_all_lines(lines in some_lines(), limit in 1..100_usize, from in 0..12_i64, to in 0..12_i64) {
        let loki = start(Options::default());
        for (app, ts, text) in &lines {
            let app = ["a", "b", "c"][*app];
            loki.push(&[("app", app)], T + ts, format!("{app}{text}"));
        }
        let unique: BTreeSet<_> = lines.iter().map(|(app, ts, text)| (T + ts, ["a", "b", "c"][*app], *text)).collect();
        prop_assert_eq!(loki.len(), unique.len());
        let (from, to) = (T + from.min(to), T + from.max(to));
        let mut times: Vec<i64> = unique.iter().map(|(ts, _, _)| *ts).filter(|ts| (from..to).contains(ts)).collect();
        for direction in ["forward", "backward"] {
            if direction == "backward" {
                times.reverse();
            }
            let rest = format!("start={from}&end={to}&limit={limit}&direction={direction}");
            let shown = values(&range(&loki, "{app=~\".+\"}", &rest));
            let distinct: BTreeSet<_> = shown.iter().cloned().collect();
            prop_assert_eq!(distinct.len(), shown.len());
            let mut shown: Vec<i64> = shown.into_iter().map(|(ts, _)| ts).collect();
            shown.sort_unstable();
            let mut wanted: Vec<i64> = times.iter().copied().take(limit).collect();
            wanted.sort_unstable();
            prop_assert_eq!(shown, wanted);
        }
        let count = if from < to {
            let query = format!("sum(count_over_time({{app=~\".+\"}}[{}ns]))", to - from);
            let reply = get(loki.address(), &format!("/loki/api/v1/query?query={}&time={}", encoded(&query), to - 1));
            let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            json["data"]["result"][0]["value"][1].as_str().map_or(0, |v| v.parse().unwrap())
        } else { 0 };
        prop_assert_eq!(count, times.len());
    }
}
