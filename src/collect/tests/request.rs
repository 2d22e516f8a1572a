//! What is asked of Loki, and what its refusals come to.

use super::*;

#[tokio::test]
async fn the_budget_turns_into_a_pause() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { max_requests_per_minute: 2, limit: 1, ..collect() });
    push_seconds(&rig, 60);
    rig.set(T0 + 2 * MINUTE);
    let pause = rig.drain().await;
    assert!(pause > Duration::from_secs(20) && pause <= Duration::from_secs(30), "{pause:?}");
    assert!(rig.loki.counters().queries <= 4);
}

#[tokio::test]
async fn requests_say_who_asks_and_never_cross_an_hour() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), collect());
    push_seconds(&rig, 300);
    rig.set(T0 + 5 * MINUTE);
    rig.drain().await;
    let requests = rig.loki.requests();
    assert!(requests.iter().any(|r| r.param("limit") == Some("5000") && r.param("direction") == Some("forward")));
    for request in &requests {
        assert_eq!(request.tags.as_deref(), Some("Source=sigyn"));
        assert!(request.user_agent.as_deref().is_some_and(|agent| agent.starts_with("sigyn/")));
        let number = |name| request.param(name).map(|text| text.parse::<Nanos>().unwrap());
        if let (Some(start), Some(end)) = (number("start"), number("end")) {
            assert_eq!(start.div_euclid(HOUR), (end - 1).div_euclid(HOUR));
        }
    }
}

#[tokio::test]
async fn a_refused_minute_becomes_a_gap_and_reading_goes_on() {
    use standin::{Endpoint, Fault, Faults, When};
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { audit_every: 0, ..collect() });
    push_seconds(&rig, 120);
    let text = "the query would read too many bytes (query: 697 KiB, limit: 1.0 KiB); consider adding".to_owned();
    rig.loki.set_faults(Faults::rule(Fault::Status(400, text), Endpoint::QueryRange, When::Next(10)));
    rig.set(T0 + 2 * MINUTE);
    rig.drain().await;
    let range = TimeRange::new(T0, T0 + MINUTE);
    assert_eq!(rig.model.gaps, [Gap { range, lines: Some(60), reason: GapReason::Refused }], "{:?}", rig.errors);
    assert_eq!(rig.model.lines.len(), 50);
}

#[test]
fn each_failure_says_what_where_and_what_to_do() {
    use standin::{Endpoint, Fault, Faults, When};
    let mut rig = Rig::at_t0(stand_in(|options| options.auth_enabled = true), collect());
    rig.set(T0 + MINUTE);
    let mut fail = |fault: Option<Fault>| {
        rig.loki.set_faults(fault.map(|f| Faults::rule(f, Endpoint::Any, When::Always)).unwrap_or_default());
        let error = block_on(rig.poller.next()).unwrap_err();
        format!("[{}] {}", error.reason, error.message.replace(&rig.loki.address().to_string(), "HOST"))
    };
    let status = |status: u16, text: &str| Some(Fault::Status(status, text.to_owned()));
    insta::assert_snapshot!(fail(None), @r#"[unauthorized] watch `w`: http://HOST/loki/api/v1/query_range answered 401 Unauthorized: `no org id`; set loki.org_id, or org_id of the watch: this Loki has tenants"#);
    insta::assert_snapshot!(fail(status(403, "")), @r#"[forbidden] watch `w`: http://HOST/loki/api/v1/query_range answered 403 Forbidden: no text; the credentials are known and not allowed to read this tenant; check rights and org_id"#);
    insta::assert_snapshot!(fail(status(404, "404 page not found\n")), @r#"[not_found] watch `w`: http://HOST/loki/api/v1/query_range answered 404 Not Found: `404 page not found`; check the path of loki.url: it must end where /loki/api begins, with a gateway's prefix"#);
    insta::assert_snapshot!(fail(status(502, "<html>Bad\n Gateway</html>")), @r#"[server] watch `w`: http://HOST/loki/api/v1/query_range answered 502 Bad Gateway: `<html>Bad Gateway</html>`; asking again later; Loki's own log says more"#);
    insta::assert_snapshot!(fail(status(200, "<html>Log in</html>")), @r#"[bad_answer] watch `w`: http://HOST/loki/api/v1/query_range answered 200 with something that is not Loki's JSON (expected value at line 1 column 1, in `<html>Log in</html>`); check that loki.url is Loki and no login page, and that no proxy cuts answers"#);
    insta::assert_snapshot!(fail(Some(Fault::TooManyRequests)), @r#"[rate_limited] watch `w`: http://HOST/loki/api/v1/query_range answered 429 Too Many Requests: `too many outstanding requests`; asking again later; fewer watches or a longer collect.interval ask less"#);
    insta::assert_snapshot!(fail(status(400, "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")), @r#"[bad_query] watch `w`: http://HOST/loki/api/v1/query_range answered 400 Bad Request: `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER`; the watch's query is no valid LogQL; correct it"#);
    insta::assert_snapshot!(fail(status(504, "request timed out, decrease the duration of the request")), @r#"[deadline] watch `w`: http://HOST/loki/api/v1/query_range answered 504 Gateway Timeout: `request timed out, decrease the duration of the request`; shorter ranges are asked for"#);
    assert!(fail(Some(Fault::Reset)).starts_with("[closed] watch `w`: http://HOST/loki/api/v1/query_range closed"));
}

#[test]
fn an_unreachable_loki_says_so() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = |url: &str| {
        let client = Client::new(&LokiConfig { url: url.to_owned(), ..LokiConfig::default() }).unwrap();
        block_on(client.version()).unwrap_err()
    };
    let error = message(&format!("http://me:hunter2@{free}"));
    assert_eq!(error.kind.reason(), "unreachable");
    assert!(error.message.contains("check loki.url") && !error.message.contains("hunter2"), "{}", error.message);
    let error = message("http://no-such-host.invalid:3100");
    assert_eq!(error.kind.reason(), "dns", "{}", error.message);
}
