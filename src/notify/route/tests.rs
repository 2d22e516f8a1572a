//! Tests of routes: Alertmanager's walk as a table, what is inherited, mistakes with their keys, properties.

use proptest::prelude::*;

use super::*;
use crate::notify::fixture;
use crate::notify::interval::TimeInterval;
use crate::time::rfc3339;

fn nanos(text: &str) -> Nanos {
    super::super::silence::read_time(text).unwrap()
}

fn labels_of(text: &str) -> Labels {
    crate::labels::matcher::parse(text).unwrap().iter().map(|matcher| (matcher.name(), matcher.value())).collect()
}

fn build(route: &str, intervals: &str, receivers: &[&str]) -> Result<Router, Vec<Wrong>> {
    let route: RouteConfig = serde_json::from_str(route).unwrap();
    let time_intervals: Vec<TimeInterval> = serde_json::from_str(intervals).unwrap();
    let receivers: Vec<String> = receivers.iter().map(|&name| name.to_owned()).collect();
    Router::new(&Rules { route: &route, time_intervals: &time_intervals, receivers: &receivers })
}

#[test]
fn without_settings_everybody_hears_everything() {
    let router = build("{}", "[]", &["slack", "github"]).unwrap();
    let routes = router.matching(&labels_of("a=b"));
    assert_eq!(routes.len(), 1);
    let root = routes[0];
    assert_eq!((root.path.as_str(), root.receivers.join(",")), ("root", "slack,github".to_owned()));
    assert_eq!((root.group_wait, root.group_interval), (GROUP_WAIT.nanos(), GROUP_INTERVAL.nanos()));
    assert_eq!(root.repeat_interval, REPEAT_INTERVAL.nanos());
    assert_eq!((root.min_severity, root.interruptions_per_day), (Severity::Info, UNLIMITED));
    assert_eq!(root.muted(0), None);
    assert_eq!(
        root.group_key(&labels_of("watch=shop,cluster=eu,service=cart")),
        r#"root:{cluster="eu", watch="shop"}"#
    );
    // Nobody is set up: the route is there, and tells nobody.
    assert!(build("{}", "[]", &[]).unwrap().matching(&Labels::new())[0].receivers.is_empty());
}

/// The tree of Alertmanager's own test (dispatch/route_test.go) in few lines.
const TREE: &str = r#"{
    "receiver": "def",
    "routes": [
        {"matchers": ["owner=\"team-A\""], "receiver": "A", "routes": [
            {"matchers": ["env=testing"], "receiver": "A-testing", "group_by": ["..."]},
            {"matchers": ["env=production"], "receiver": "A-production", "group_wait": "1m", "continue": true},
            {"matchers": ["env=~\"produ.*\", job=~\".*\""], "receiver": "A-produ", "group_wait": "30s", "group_by": ["job"]},
            {"matchers": ["env=production"], "receiver": "A-all"}
        ]},
        {"matchers": ["owner=~\"team-B|team-C\""], "group_by": ["foo", "bar"], "group_wait": "2m", "receiver": "BC"},
        {"matchers": ["group_by=role"], "group_by": ["role"], "routes": [
            {"matchers": ["env=testing"], "receiver": "testing", "routes": [{"matchers": ["wait=long"], "group_wait": "2m"}]}
        ]}
    ]
}"#;
const ALL: [&str; 8] = ["def", "A", "A-testing", "A-production", "A-produ", "A-all", "BC", "testing"];

#[test]
fn the_walk_is_that_of_alertmanager() {
    let router = build(TREE, "[]", &ALL).unwrap();
    for (labels, heard) in [
        ("owner=team-A", "A"),
        ("owner=team-A,env=unset", "A"),
        ("owner=team-C", "BC"),
        ("owner=team-A,env=testing", "A-testing"),
        ("owner=team-A,env=production", "A-production A-produ"),
        ("group_by=role", "def"),
        ("env=testing,group_by=role", "testing"),
        ("env=testing,group_by=role,wait=long", "testing"),
        ("x=y", "def"),
    ] {
        let routes = router.matching(&labels_of(labels));
        let names: Vec<String> = routes.iter().map(|route| route.receivers.join(",")).collect();
        assert_eq!(names.join(" "), heard, "{labels}");
    }
}

#[test]
fn what_is_not_set_is_inherited_and_paths_are_stable() {
    let router = build(TREE, "[]", &ALL).unwrap();
    let lines: Vec<String> = router
        .routes()
        .iter()
        .map(|route| {
            format!(
                "{} -> {} by {} after {} s",
                route.path,
                route.receivers.join(","),
                route.group_by,
                route.group_wait / crate::time::SECOND
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r##"
    root -> def by watch, cluster, namespace after 30 s
    root/owner="team-A" -> A by watch, cluster, namespace after 30 s
    root/owner="team-A"/env="testing" -> A-testing by ... after 30 s
    root/owner="team-A"/env="production" -> A-production by watch, cluster, namespace after 60 s
    root/owner="team-A"/env=~"produ.*", job=~".*" -> A-produ by job after 30 s
    root/owner="team-A"/env="production"#2 -> A-all by watch, cluster, namespace after 30 s
    root/owner=~"team-B|team-C" -> BC by foo, bar after 120 s
    root/group_by="role" -> def by role after 30 s
    root/group_by="role"/env="testing" -> testing by role after 30 s
    root/group_by="role"/env="testing"/wait="long" -> testing by role after 120 s
    "##);
    let all: std::collections::BTreeSet<_> = router.routes().iter().map(|route| &route.path).collect();
    assert_eq!(all.len(), router.routes().len());
    for route in router.routes() {
        assert_eq!(router.route(&route.path).unwrap().path, route.path);
    }
    let child = r#"{"min_severity": "critical", "interruptions_per_day": 5, "time_zone": "Asia/Kathmandu",
        "digest": {"every": "week", "at": "09:30", "weekday": "friday"}, "routes": [{"matchers": ["a=b"]}]}"#;
    let router = build(child, "[]", &[]).unwrap();
    let route = router.matching(&labels_of("a=b"))[0];
    assert_eq!((route.min_severity, route.interruptions_per_day, route.depth), (Severity::Critical, 5, 1));
    assert_eq!(route.time_zone.name(), "Asia/Kathmandu");
    assert!(!route.tells(Severity::Warning) && route.tells(Severity::Critical));
    assert_eq!(rfc3339(route.next_digest(nanos("2026-11-21T00:00:00Z"))), "2026-11-27T03:45:00Z");
}

#[test]
fn routes_are_silent_in_their_intervals() {
    let intervals = r#"[
        {"name": "office", "time_intervals": [{"weekdays": ["monday:friday"], "times": [{"start_time": "09:00", "end_time": "17:00"}]}]},
        {"name": "lunch", "time_intervals": [{"times": [{"start_time": "12:00", "end_time": "13:00"}]}]}
    ]"#;
    let route = r#"{"routes": [
        {"matchers": ["a=b"], "active_time_intervals": ["office"], "mute_time_intervals": ["lunch"], "routes": [{"matchers": ["c=d"]}]}
    ]}"#;
    let router = build(route, intervals, &[]).unwrap();
    let route = router.matching(&labels_of("a=b"))[0];
    for (at, muted) in [
        ("2026-11-20T10:00:00Z", None),
        ("2026-11-20T12:30:00Z", Some(Muted::In("lunch"))),
        ("2026-11-20T18:00:00Z", Some(Muted::NotActive)),
        ("2026-11-21T10:00:00Z", Some(Muted::NotActive)),
    ] {
        assert_eq!(route.muted(nanos(at)), muted, "{at}");
    }
    assert_eq!(route.intervals(), (vec!["lunch"], vec!["office"]));
    // As in Alertmanager, children do not inherit them.
    assert_eq!(router.matching(&labels_of("a=b,c=d"))[0].muted(nanos("2026-11-21T10:00:00Z")), None);
}

#[test]
fn a_digest_comes_once_a_day_or_week_by_the_clock() {
    let router = |every: &str, at: &str, zone: &str| {
        let route = format!(
            r#"{{"time_zone": "{zone}", "digest": {{"every": "{every}", "at": "{at}", "weekday": "sunday"}}}}"#
        );
        build(&route, "[]", &[]).unwrap()
    };
    for (every, at, zone, after, due) in [
        ("day", "08:00", "UTC", "2026-11-21T07:59:59Z", "2026-11-21T08:00:00Z"),
        ("day", "08:00", "UTC", "2026-11-21T08:00:00Z", "2026-11-22T08:00:00Z"),
        ("day", "08:00", "Europe/Berlin", "2026-03-28T08:00:00Z", "2026-03-29T06:00:00Z"),
        // 02:30 is skipped, and comes twice.
        ("day", "02:30", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
        ("day", "02:30", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ("week", "08:00", "UTC", "2026-11-21T09:00:00Z", "2026-11-22T08:00:00Z"),
        ("week", "08:00", "UTC", "2026-11-22T08:00:00Z", "2026-11-29T08:00:00Z"),
        ("week", "00:00", "Pacific/Kiritimati", "2026-11-21T09:59:00Z", "2026-11-21T10:00:00Z"),
    ] {
        let router = router(every, at, zone);
        assert_eq!(rfc3339(router.routes()[0].next_digest(nanos(after))), due, "{every} {at} {zone} {after}");
    }
}

#[test]
fn all_mistakes_at_once_each_with_its_key() {
    let route = r#"{
        "matchers": ["a=b"], "continue": true, "mute_time_intervals": ["office"], "receivers": ["slack", "pager"],
        "repeat_interval": "0",
        "routes": [
            {"receiver": "a", "receivers": ["b"]},
            {"receiver": "mail", "group_by": ["...", "a"], "active_time_intervals": ["nights"],
             "routes": [{"group_interval": "0", "group_by": ["a", "", "a"], "digest": {"at": "24:00"}}]}
        ]
    }"#;
    let intervals = r#"[{"name": "office"}, {"name": "office", "time_intervals": [{}]}, {"time_intervals": [{"cron": "0 2 * * *"}]}]"#;
    let told: Vec<String> = build(route, intervals, &["slack", "github"])
        .unwrap_err()
        .into_iter()
        .map(|wrong| format!("{}: {}", wrong.key, wrong.text))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    time_intervals[0].time_intervals: needs at least one part, or it is never
    time_intervals[1].name: is the name of another time interval; names must be unique
    time_intervals[1].time_intervals[0]: says nothing; set times, weekdays, days_of_month, months, years or cron
    time_intervals[2].name: a time interval needs a name, by which routes call it
    time_intervals[2].time_intervals[0].cron: needs `for`, which says how long the window lasts
    route.matchers: the root takes whatever no other route takes, so it cannot have matchers; make a route below it
    route.continue: the root takes whatever no other route takes, so it cannot have `continue`
    route.mute_time_intervals: the root takes whatever no other route takes, so it cannot have mute_time_intervals; make a route below it
    route.receivers[1]: there is no receiver `pager`; there are: slack, github
    route.repeat_interval: must be longer than 0
    route.routes[0].receiver: both receiver and receivers are set; keep one
    route.routes[1].receiver: there is no receiver `mail`; there are: slack, github
    route.routes[1].group_by: `...` is all labels; it cannot stand beside others
    route.routes[1].active_time_intervals[0]: there is no such name in notify.time_intervals
    route.routes[1].routes[0].group_by[1]: must be the name of a label
    route.routes[1].routes[0].group_by[2]: stands here twice
    route.routes[1].routes[0].group_interval: must be longer than 0
    route.routes[1].routes[0].digest.at: must be from 00:00 to 23:59
    ");
    assert!(build(r#"{"receiver": "slack"}"#, "[]", &[]).unwrap_err()[0].text.contains("none is set up"));
}

#[test]
fn a_tree_has_its_bounds() {
    let many = format!(r#"{{"routes": [{}]}}"#, vec!["{}"; 1001].join(","));
    assert!(build(&many, "[]", &[]).unwrap_err()[0].text.starts_with("at most 1000 routes"));
    let deep = format!("{}{{}}{}", r#"{"routes": ["#.repeat(22), "]}".repeat(22));
    assert_eq!(build(&deep, "[]", &[]).unwrap_err().len(), 1);
}

#[test]
fn an_incident_has_labels_to_route_by() {
    let mut incident = fixture::opened().incident;
    incident.labels =
        [("cluster", "eu-1"), ("service_name", "of the watch"), ("severity", "page")].into_iter().collect();
    insta::assert_snapshot!(labels(&incident), @r#"{alertname="more errors than usual", cluster="eu-1", service="cart", service_name="cart", severity="critical", watch="shop"}"#);
    insta::assert_snapshot!(labels(&fixture::internal().incident), @r#"{alertname="loki_unreachable", cluster="eu-1", on="shop", problem="loki_unreachable", service="sigyn", severity="warning", watch="sigyn"}"#);
    let mut hostile = fixture::hostile("a: b").incident;
    hostile.group.labels = Labels::new();
    assert_eq!(labels(&hostile).get("alertname"), Some("more errors than usual"));
    assert_eq!(labels(&hostile).get("service"), None);
}

/// Settings of a tree, three levels deep.
fn tree() -> impl Strategy<Value = RouteConfig> {
    let matchers = prop::collection::vec(
        prop::sample::select(vec!["a=1", "a!=1", "a=~\"1|2\"", "b!~\"1.*\"", "severity=critical", "c=\"\""]),
        0..3,
    );
    let leaf =
        (matchers, any::<bool>(), prop::option::of(Just("r".to_owned()))).prop_map(|(matchers, go_on, receiver)| {
            let matchers = matchers.join(",").parse().unwrap();
            RouteConfig { matchers, go_on, receiver, ..RouteConfig::default() }
        });
    leaf.prop_recursive(3, 20, 4, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..4)).prop_map(|(mut route, routes)| {
            route.routes = routes;
            route
        })
    })
}

proptest! {
    #[test]
    fn somebody_always_hears_and_only_who_matches(routes in prop::collection::vec(tree(), 0..4), labels in "a=[123],b=[123],c=[12]") {
        let labels = labels_of(&labels);
        let route = RouteConfig { routes, ..RouteConfig::default() };
        let receivers = ["r".to_owned()];
        let router = Router::new(&Rules { route: &route, time_intervals: &[], receivers: &receivers }).unwrap();
        let found = router.matching(&labels);
        prop_assert!(!found.is_empty());
        let paths: std::collections::BTreeSet<&str> = found.iter().map(|route| route.path.as_str()).collect();
        prop_assert_eq!(paths.len(), found.len(), "each once");
        for route in found {
            prop_assert!(route.matchers.matches(&labels));
            prop_assert_eq!(route.receivers.as_slice(), &receivers);
            prop_assert!(router.route(&route.path).is_some());
        }
        // The same settings, written and read.
        let text = serde_json::to_string(&route).unwrap();
        prop_assert_eq!(serde_json::from_str::<RouteConfig>(&text).unwrap(), route);
    }

    #[test]
    fn the_next_digest_is_ahead_and_near(after in any::<i32>(), minutes in 0..1440u16, zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"]), weekly in any::<bool>()) {
        let mut router = build("{}", "[]", &[]).unwrap();
        let route = &mut router.routes[0];
        route.time_zone = Zone::named(zone).unwrap();
        route.digest = DigestConfig { every: if weekly { Every::Week } else { Every::Day }, at: super::super::interval::Clock(minutes), weekday: Day::Sunday };
        let after = Nanos::from(after) * crate::time::SECOND;
        let due = route.next_digest(after);
        let most = if weekly { 9 } else { 2 };
        prop_assert!(due > after && due - after <= most * 24 * crate::time::HOUR, "{} to {}", rfc3339(after), rfc3339(due));
        prop_assert!(route.day(after).contains(after));
    }
}
