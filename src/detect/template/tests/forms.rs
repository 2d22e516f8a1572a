//! The same messages behind many headers, and in many wrappers, have the same templates.

use std::collections::BTreeSet;

use super::super::{Level, Limits, Miner, TemplateId};

const LEVELS: [&str; 3] = ["INFO", "WARN", "ERROR"];

fn message(n: usize) -> String {
    let name = ["alice", "bob", "carol", "dave", "erin", "frank", "grace"][n / 4 % 7];
    match n % 4 {
        0 => format!("user {name} logged in from 10.0.0.{}", n % 250),
        1 => format!("cache refreshed in {} ms, entries={}", n % 97, n * 7),
        2 => format!("cannot reach db-{n}.shop.internal:5432: connection refused"),
        _ => "queue is empty".to_owned(),
    }
}

const EXPECTED: [&str; 4] = [
    "cache refreshed in <*>, entries=<*>",
    "cannot reach <*>: connection refused",
    "queue is empty",
    "user <*> logged in from <*>",
];

/// Mines 400 lines; the texts at the end, for which all ids must resolve to as many templates.
#[track_caller]
fn check(name: &str, line: impl Fn(usize, &str, &str) -> String) {
    let mut miner = Miner::new(Limits::default());
    let slot = miner.stream(1);
    let mut groups: [BTreeSet<TemplateId>; 4] = Default::default();
    let given: Vec<TemplateId> =
        (0..400).map(|n| miner.mine(slot, 0, Level::Unknown, &line(n, LEVELS[n % 3], &message(n))).template).collect();
    for (n, id) in given.iter().enumerate() {
        groups[n % 4].insert(miner.resolve(*id));
    }
    assert!(groups.iter().all(|ids| ids.len() == 1), "{name}: {groups:?}");
    let mut texts: Vec<&str> = groups.iter().flatten().filter_map(|id| miner.get(*id)).map(|one| one.text).collect();
    texts.sort_unstable();
    assert_eq!(texts, EXPECTED, "{name}");
}

#[test]
fn headers() {
    check("none", |_, _, m| m.to_owned());
    check("time", |n, _, m| format!("2026-11-20T22:00:{:02}.123Z {m}", n % 60));
    check("time and level", |n, l, m| format!("2026-11-20 22:00:{:02},123 {l:5} {m}", n % 60));
    check("epoch", |n, l, m| format!("{}.5 [{l}] {m}", 1_795_212_000 + n));
    check("letters", |n, l, m| {
        format!("11-20 22:00:{:02}.123  {n}  {} {} {}: {m}", n % 60, n * 3, &l[..1], ["Wifi", "Power"][n % 2])
    });
    check("dashes", |n, l, m| format!("2026-11-20 22:00:{:02},123 - app.{} - {l} - {m}", n % 60, ["db", "web"][n % 2]));
    check("thread and logger", |n, l, m| {
        format!("2026-11-20 22:00:{:02}.123 [exec-{n}] {l} shop.{} - {m}", n % 60, ["A", "B"][n % 2])
    });
    check("table", |n, l, m| {
        format!("2026-11-20T22:00:{:02}.1Z {l:>5} 1 --- [shop] [main] a.b.{:20} : {m}", n % 60, ["C", "D"][n % 2])
    });
    check("pipes", |n, _, m| format!("20261120-22:0:{}:123|Step_{}|3000{}|{m}", n % 60, ["LSC", "Ext"][n % 2], n % 9));
    check("tabs", |n, l, m| format!("2026-11-20T22:00:{:02}.1Z\t{l}\tserver\t{m}", n % 60));
    check("syslog", |n, _, m| {
        format!("Nov 20 22:00:{:02} web-{} {}[{n}]: {m}", n % 60, n % 9, ["sshd", "cron"][n % 2])
    });
    check("priority", |n, _, m| {
        format!("<{}>Nov 20 22:00:{:02} web {}[{n}]: {m}", n % 190, n % 60, ["sshd", "cron"][n % 2])
    });
    check("syslog 5424", |n, _, m| format!("<34>1 2026-11-20T22:00:{:02}Z web app {n} - [a b=\"c\"] {m}", n % 60));
    check("klog", |n, l, m| format!("{}1120 22:00:{:02}.000001       1 a.go:12] {m}", &l[..1], n % 60));
    check("level first", |n, l, m| format!("{l} [2026-11-20 22:00:{:02}] {m}", n % 60));
    check("level and name joined", |n, l, m| format!("{l}:app.{}:{m}", ["db", "web"][n % 2]));
    check("letter and bracket", |n, l, m| {
        format!("{}, [2026-11-20T22:00:{:02}.000001 #{n}]  {l} -- : {m}", &l[..1], n % 60)
    });
    check("flag", |n, _, m| {
        format!("{} node-{} unix 10742978{:02} {} {m}", 1000 + n, n % 9, n % 60, if n % 20 == 3 { -1 } else { 1 })
    });
    check("zone", |n, l, m| format!("2026-11-20 22:00:{:02}.123 UTC [{n}] {l}:  {m}", n % 60));
}

#[test]
fn wrappers_and_fields() {
    let quoted = |m: &str| m.replace('"', "\\\"");
    check("docker", |n, l, m| {
        format!(
            "{{\"log\":\"22:00:{:02} {l} {m}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-20T22:00:00Z\"}}",
            n % 60
        )
    });
    check("runtime interface", |n, l, m| format!("2026-11-20T22:00:{:02}.1Z stdout F {l} {m}", n % 60));
    check("colours", |n, l, m| format!("\u{1b}[2m22:00:{:02}\u{1b}[0m \u{1b}[32m{l}\u{1b}[0m {m}", n % 60));
    check("json", |n, l, m| format!("{{\"level\":\"{l}\",\"n\":{n},\"msg\":\"{}\",\"ts\":{n}.5}}", quoted(m)));
    check("json inside", |n, l, m| {
        format!("{{\"level\":\"{l}\",\"fields\":{{\"n\":{n},\"message\":\"{}\"}}}}", quoted(m))
    });
    check("logfmt", |n, l, m| format!("ts=2026-11-20T22:00:{:02}Z level={l} msg=\"{}\" n={n}", n % 60, quoted(m)));
    check("json behind a header", |n, l, m| {
        format!("Nov 20 22:00:{:02} web {}[{n}]: {{\"level\": \"{l}\", \"msg\": \"{m}\"}}", n % 60, ["a", "b"][n % 2])
    });
}

#[test]
fn streams_with_few_lines_share_a_header() {
    let mut miner = Miner::new(Limits::default());
    let mut ids = BTreeSet::new();
    let mut given = Vec::new();
    for n in 0..200 {
        let slot = miner.stream(n / 2);
        let line = format!(
            "2026.11.20 node-{n} 2026-11-20-22.00.00.{n:06} RAS {} cache parity error corrected",
            LEVELS[n as usize % 3]
        );
        given.push(miner.mine(slot, 0, Level::Unknown, &line).template);
    }
    ids.extend(given.iter().map(|id| miner.resolve(*id)));
    let texts: Vec<&str> = ids.iter().filter_map(|id| miner.get(*id)).map(|template| template.text).collect();
    assert_eq!(texts, ["cache parity error corrected"]);
}

#[test]
fn values_that_are_written_in_two_ways_are_one() {
    let mut miner = Miner::new(Limits::default());
    let slot = miner.stream(1);
    let mut text = |line: &str| {
        let id = miner.mine(slot, 0, Level::Unknown, line).template;
        miner.get(id).map(|template| template.text.to_owned()).unwrap_or_default()
    };
    for (lines, template) in [
        (["sent 512 bytes to a peer", "sent 1190 bytes (1.16 KB) to a peer"], "sent <*> to a peer"),
        (["copied: 1048576 (1.0 MB), in all", "copied: 12, in all"], "copied: <*>, in all"),
        (["waited 5000 ms (5 s) for it", "waited 7 ms for it"], "waited <*> for it"),
    ] {
        assert_eq!(lines.map(&mut text), [template; 2]);
    }
    for (lines, template) in [
        (["cannot read http://a.b/c/d: refused", "cannot read a.example.com: refused"], "cannot read <*>: refused"),
        (["lock taken, ws=WorkSource{10111}, uid=1", "lock taken, ws=null, uid=2"], "lock taken, ws=<*>, uid=<*>"),
    ] {
        assert_eq!(lines.map(&mut text), [template; 2]);
    }
    for n in 0..20 {
        text(&format!("synchronized to 10.0.0.{n}, stratum 3"));
    }
    assert_eq!(text("synchronized to LOCAL(0), stratum 10"), "synchronized to <*>, stratum <*>");
    assert_eq!(text("synchronized to PEER (0), stratum 10"), "synchronized to PEER (<*>), stratum <*>");
    for (line, template) in [
        ("lifetime 5 sec (3 KB) is over", "lifetime <*> (<*>) is over"),
        ("clock 5 GHz (3 ms) is off", "clock <*> (<*>) is off"),
        ("attempt 5 (5 s) failed twice", "attempt <*> (<*>) failed twice"),
        ("port 80 (http) is open now", "port <*> (http) is open now"),
        ("node [7] (4 KB) left again", "node [<*>] (<*>) left again"),
    ] {
        assert_eq!(text(line), template);
    }
}

#[test]
fn fields_without_a_message_make_a_template() {
    let mut miner = Miner::new(Limits::default());
    let slot = miner.stream(1);
    let mut text = |line: &str| {
        let id = miner.mine(slot, 0, Level::Unknown, line).template;
        miner.get(id).map(|template| template.text.to_owned()).unwrap_or_default()
    };
    insta::assert_snapshot!(text(r#"{"time":"x","event_type":"login","user":"u1","ok":true}"#), @"event_type=login user=<*> ok=<*>");
    insta::assert_snapshot!(text(r#"{"time":"x","event_type":"search","query":"a b","took":12}"#), @"event_type=search query=<*> took=<*>");
    insta::assert_snapshot!(text(r#""Started controller" controller="shop/cart""#), @r#""Started controller" controller=<*>"#);
    insta::assert_snapshot!(text(r#"10.0.0.1 - "GET /a/b HTTP/1.1" 200 12"#), @"<*> - GET <*>");
    insta::assert_snapshot!(text("logname= uid=0 user= [a, b, c] (4 KB) exception.........0 <1 ms"), @"logname= <*> uid=<*> user= <*> [<*>] (<*>) exception<*>");
}
