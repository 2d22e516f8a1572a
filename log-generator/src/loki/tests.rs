//! The stand-in as a client sees it.

use super::probe::{Ask, encoded, get, send};
use super::*;

const T: i64 = 1_795_211_880_000_000_000;
const S: i64 = 1_000_000_000;

fn start(options: Options) -> Loki {
    Loki::start(Options { clock: Clock::fixed(T + 600 * S), ..options }).unwrap()
}

fn lines(loki: &Loki, query: &str, rest: &str) -> String {
    let reply = get(loki.address(), &format!("/loki/api/v1/query_range?query={}&{rest}", encoded(query)));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.result()
}

#[test]
fn pushed_lines_are_read_back() {
    let loki = start(Options::default());
    let body = format!(r#"{{"streams":[{{"stream":{{"app":"a"}},"values":[["{T}","one"],["{}","two"]]}}]}}"#, T + 1);
    let json = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    let push = Ask { method: "POST".into(), target: "/loki/api/v1/push".into(), headers: json, body: body.into() };
    assert_eq!(send(loki.address(), &push).status, 204);
    loki.push(&[("app", "b")], T, "three");
    let shown = lines(&loki, "{app=~\".+\"}", &format!("start={T}&end={}&direction=forward", T + 10));
    assert!(shown.contains(&format!(r#"["{T}","one"],["{}","two"]"#, T + 1)), "{shown}");
    assert!(shown.contains("three"), "{shown}");
    assert_eq!(loki.entries("{app=~\".+\"}").unwrap().len(), 3);
    assert_eq!(loki.counters().queries, 1);
    loki.shutdown();
}
