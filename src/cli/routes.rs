//! `sigyn routes show|test`: the routing tree, and who would hear of an incident.
//!
//! It only reads. What never happens here: telling anybody.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow, ensure};
use serde::Serialize;

use super::{Common, Exit, Format, Output, show, silence, text};
use crate::app::clock::Clock;
use crate::config::Settings;
use crate::incident::{Incident, Severity, State};
use crate::labels::Labels;
use crate::notify::config::NotifyConfig;
use crate::notify::inhibit::{InhibitRule, inhibited};
use crate::notify::route::{DigestConfig, Every, Muted, Route, Router, Rules, UNLIMITED};
use crate::notify::silence::{Silence, Silences, read_time};
use crate::notify::{dispatch, render, route};
use crate::time::{Nanos, rfc3339};

/// Incidents that fire and may hold others back: the newest so many are looked at.
const FIRING: u32 = 1_000;

/// Arguments of `sigyn routes`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The tree, with all that routes inherit
    Show(Show),
    /// Who would hear of an incident with these labels
    Test(Test),
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Test {
    /// Labels of the incident, such as service_name=cart team=shop
    #[arg(long, alias = "labels", num_args = 1.., value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// How bad it is: info, warning or critical [default: the label `severity`, else warning]
    #[arg(long, value_parser = read_severity, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// When, such as 2026-11-21T22:00:00+01:00 [default: now]
    #[arg(long, value_name = "WHEN", value_parser = read_time)]
    at: Option<Nanos>,
    /// Fail unless exactly these receivers would hear, comma separated
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    verify_receivers: Option<Vec<String>>,
    #[command(flatten)]
    output: Output,
}

/// Carries it out.
///
/// # Errors
/// When the settings have mistakes, the store cannot be read, or others would hear than `--verify-receivers` says.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let mut loaded = common.loader().load()?;
    match &args.command {
        Command::Show(args) => tree(&loaded.settings, args.output.output),
        Command::Test(args) => {
            args.output.apply(&mut loaded.settings);
            test(args, &loaded.settings).await
        }
    }
}

fn router(notify: &NotifyConfig) -> anyhow::Result<Router> {
    let receivers = notify.receiver_names();
    let rules = Rules { route: &notify.route, time_intervals: &notify.time_intervals, receivers: &receivers };
    let wrong = |wrong: Vec<_>| anyhow!("the routes have {} mistakes; `sigyn check` shows them", wrong.len());
    Router::new(&rules).map_err(wrong)
}

fn tree(settings: &Settings, format: Format) -> anyhow::Result<Exit> {
    let router = router(&settings.notify)?;
    let routes = router.routes().iter();
    match format {
        Format::Json => show(&routes.map(|route| line(&Heard::of(route))).collect::<String>()),
        Format::Text => show(&routes.map(branch).collect::<String>()),
    }
}

/// A route and what it says, indented by its depth.
fn branch(route: &Route) -> String {
    let indent = "  ".repeat(route.depth);
    let name = if route.depth == 0 {
        "whatever no route below takes".to_owned()
    } else {
        match route.matchers.to_string() {
            none if none == "{}" => "everything".to_owned(),
            matchers => matchers,
        }
    };
    let go_on = if route.go_on { ", and on" } else { "" };
    let mut out = format!("{indent}{} -> {}{go_on}\n", text::clean(&name), receivers(route));
    for line in [format!("grouped by {}; {}", route.group_by, timing(route)), limits(route)] {
        out += &format!("{indent}    {}\n", text::clean(&line));
    }
    out
}

fn receivers(route: &Route) -> String {
    match route.receivers.as_slice() {
        [] => "nobody".to_owned(),
        names => text::clean(&names.join(", ")),
    }
}

fn timing(route: &Route) -> String {
    let [wait, interval, repeat] =
        [route.group_wait, route.group_interval, route.repeat_interval].map(render::duration);
    format!("waits {wait}, what is new after {interval}, the same after {repeat}")
}

fn limits(route: &Route) -> String {
    let mut out = format!("from {} on", route.min_severity.as_str());
    if route.interruptions_per_day != UNLIMITED {
        out += &format!(", at most {} a day, the rest in the digest", route.interruptions_per_day);
    }
    out += &format!("; digest {}, {}", digest(&route.digest), route.time_zone.name());
    let (mute, active) = route.intervals();
    for (names, word) in [(mute, "muted in"), (active, "only in")] {
        if !names.is_empty() {
            out += &format!("; {word} {}", names.join(", "));
        }
    }
    out
}

fn digest(digest: &DigestConfig) -> String {
    match digest.every {
        Every::Day => format!("every day at {}", digest.at),
        Every::Week => {
            let day = serde_json::to_value(digest.weekday).unwrap_or_default();
            format!("every {} at {}", day.as_str().unwrap_or_default(), digest.at)
        }
    }
}

async fn test(args: &Test, settings: &Settings) -> anyhow::Result<Exit> {
    let mut labels: Labels = args.label.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let of_label =
        labels.get("severity").map(read_severity).transpose().map_err(|error| anyhow!("severity: {error}"))?;
    let bad = args.severity.or(of_label).unwrap_or(Severity::Warning);
    labels.insert("severity", bad.as_str());
    let at = args.at.unwrap_or_else(|| Clock::real().now());
    let store = silence::store(settings).await?;
    let silences = silence::known(settings, store.as_ref()).await.context("cannot read the silences")?;
    let (state, firing) = match &store {
        Some(store) => (store.dispatch_state().await?, store.incidents(Some(State::Firing), FIRING, None).await?),
        None => (Vec::new(), Vec::new()),
    };
    let router = router(&settings.notify)?;
    let rules = &settings.notify.inhibit_rules;
    let held = Held { silences: &silences, inhibit: Inhibit { rules, firing: &firing }, state: &state };
    let heard = heard(&router, &held, &labels, bad, at);
    let out = match args.output.output {
        Format::Json => heard.iter().map(line).collect::<String>(),
        Format::Text => said(&heard, &labels, at),
    };
    show(&out)?;
    if let Some(wanted) = &args.verify_receivers {
        let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
        let found: BTreeSet<&str> = heard
            .iter()
            .filter(|heard| heard.tells())
            .flat_map(|heard| &heard.route.receivers)
            .map(String::as_str)
            .collect();
        let list = |names: &BTreeSet<&str>| text::clean(&names.iter().copied().collect::<Vec<_>>().join(", "));
        ensure!(wanted == found, "expected to be heard by [{}], would be heard by [{}]", list(&wanted), list(&found));
    }
    Ok(Exit::Done)
}

/// A route that an incident takes, and what holds it back there.
struct Heard<'a> {
    route: &'a Route,
    group: Option<String>,
    muted: Option<Muted<'a>>,
    silence: Option<&'a Silence>,
    /// A rule, and the incident because of which it holds this one back.
    inhibited: Option<(String, &'a str)>,
    too_low: bool,
    /// Messages of the day that interrupted somebody.
    spent: u32,
}

/// What may hold an incident back, besides the routes.
struct Held<'a> {
    silences: &'a Silences,
    inhibit: Inhibit<'a>,
    /// The dispatcher's, as it is stored.
    state: &'a [(String, String)],
}

/// Rules, and the incidents that fire now.
#[derive(Clone, Copy)]
struct Inhibit<'a> {
    rules: &'a [InhibitRule],
    firing: &'a [Incident],
}

impl<'a> Inhibit<'a> {
    fn of(&self, labels: &Labels) -> Option<(String, &'a str)> {
        let firing: Vec<Labels> = self.firing.iter().map(route::labels).collect();
        let found = inhibited(self.rules, labels, firing.iter())?;
        let name = self.rules.get(found.rule).and_then(|rule| rule.name.as_deref());
        let rule = name.map_or_else(|| format!("inhibit_rules[{}]", found.rule), |name| format!("inhibition `{name}`"));
        Some((rule, self.firing.get(found.source)?.id.as_str()))
    }
}

fn heard<'a>(router: &'a Router, held: &Held<'a>, labels: &Labels, bad: Severity, at: Nanos) -> Vec<Heard<'a>> {
    let silence = held.silences.held(labels, at);
    let routes = router.matching(labels).into_iter();
    routes
        .map(|route| Heard {
            route,
            group: Some(route.group_key(labels)),
            muted: route.muted(at),
            silence,
            inhibited: held.inhibit.of(labels),
            too_low: !route.tells(bad),
            spent: dispatch::interruptions(held.state, &route.path, route.day(at)),
        })
        .collect()
}

impl<'a> Heard<'a> {
    fn of(route: &'a Route) -> Self {
        Self { route, group: None, muted: None, silence: None, inhibited: None, too_low: false, spent: 0 }
    }

    fn tells(&self) -> bool {
        self.why_not().is_empty()
    }

    /// Why nobody would hear; none: somebody would.
    fn why_not(&self) -> Vec<String> {
        let mut why = Vec::new();
        why.extend(self.muted.map(|muted| muted.to_string()));
        why.extend(self.silence.map(|silence| format!("silence {} ({})", silence.id, silence.comment)));
        why.extend(self.inhibited.as_ref().map(|(rule, source)| format!("{rule}, while incident {source} fires")));
        why.extend(
            self.too_low.then(|| format!("less severe than {}, so in the digest", self.route.min_severity.as_str())),
        );
        let limit = self.route.interruptions_per_day;
        why.extend(
            (self.spent >= limit)
                .then(|| format!("{} of {limit} messages of the day are spent, so in the digest", self.spent)),
        );
        why.extend(self.route.receivers.is_empty().then(|| "no receiver is set up".to_owned()));
        why
    }
}

fn said(heard: &[Heard<'_>], labels: &Labels, at: Nanos) -> String {
    let mut out = format!("labels     {}\nat         {}\n", text::clean(&labels.to_string()), rfc3339(at));
    for heard in heard {
        let route = heard.route;
        let told = match heard.why_not().as_slice() {
            [] => "yes".to_owned(),
            why => format!("no: {}", why.join(", ")),
        };
        for (name, value) in [
            ("\nroute", route.path.clone()),
            ("receivers", receivers(route)),
            ("told", told),
            ("group", heard.group.clone().unwrap_or_default()),
            ("timing", timing(route)),
            ("limits", limits(route)),
        ] {
            out += &format!(
                "{name:width$}{}\n",
                text::clean(&value),
                width = if name.starts_with('\n') { 12 } else { 11 }
            );
        }
    }
    out
}

/// One line of JSON, the type first.
fn line(heard: &Heard<'_>) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        path: &'a str,
        matchers: &'a crate::labels::Matchers,
        receivers: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        told: Option<bool>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        why_not: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<&'a str>,
        group_by: String,
        group_wait_seconds: f64,
        group_interval_seconds: f64,
        repeat_interval_seconds: f64,
        min_severity: Severity,
        interruptions_per_day: Option<u32>,
        digest: &'a DigestConfig,
        time_zone: &'a str,
    }
    let (route, asked) = (heard.route, heard.group.is_some());
    let seconds = |nanos: Nanos| nanos as f64 / 1e9;
    let line = Line {
        r#type: "route",
        path: &route.path,
        matchers: &route.matchers,
        receivers: &route.receivers,
        told: asked.then(|| heard.tells()),
        why_not: if asked { heard.why_not() } else { Vec::new() },
        group: heard.group.as_deref(),
        group_by: route.group_by.to_string(),
        group_wait_seconds: seconds(route.group_wait),
        group_interval_seconds: seconds(route.group_interval),
        repeat_interval_seconds: seconds(route.repeat_interval),
        min_severity: route.min_severity,
        interruptions_per_day: Some(route.interruptions_per_day).filter(|count| *count != UNLIMITED),
        digest: &route.digest,
        time_zone: route.time_zone.name(),
    };
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    if name.is_empty() { Err("write it as name=value".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
}

fn read_severity(text: &str) -> Result<Severity, String> {
    let all = [Severity::Info, Severity::Warning, Severity::Critical];
    let found = all.into_iter().find(|bad| bad.as_str() == text);
    found.ok_or_else(|| format!("`{}` is not one of: info, warning, critical", text::clean(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::matcher;
    use crate::secret::Secret;
    use crate::time::HOUR;

    const SETTINGS: &str = r#"{
        "slack": {"webhook_url": "https://hooks.example.com/x"},
        "github": {"token": "t", "repo": "acme/shop"},
        "route": {
            "receiver": "slack", "time_zone": "Europe/Berlin",
            "routes": [
                {"matchers": ["team=shop"], "receivers": ["slack", "github"], "continue": true, "interruptions_per_day": 5},
                {"matchers": ["team=~\"shop|search\"", "env=dev"], "min_severity": "critical", "active_time_intervals": ["office"],
                 "digest": {"every": "week"}, "group_by": ["..."]}
            ]
        },
        "time_intervals": [{"name": "office", "time_intervals": [{"weekdays": ["monday:friday"]}]}]
    }"#;

    fn notify() -> NotifyConfig {
        let mut notify: NotifyConfig = serde_json::from_str(SETTINGS).unwrap();
        notify.slack.webhook_url = Some(Secret::new("https://hooks.example.com/x"));
        notify
    }

    fn check(labels: &str, bad: Severity, silences: &Silences) -> String {
        let spent = |path: &str, count: u32| {
            let midnight = read_time("2026-11-21T00:00:00+01:00").unwrap();
            let book = format!(
                r#"{{"day": {midnight}, "interruptions": {count}, "digest": {{"from": 0, "rows": [], "more": 0}}, "digest_at": null, "opened": [], "storm": null}}"#
            );
            (format!("book/{path}"), book)
        };
        let state = [spent("root", 7), spent("root/team=\"shop\"", 5)];
        let mut labels: Labels =
            matcher::parse(labels).unwrap().iter().map(|matcher| (matcher.name(), matcher.value())).collect();
        labels.insert("severity", bad.as_str());
        let at = read_time("2026-11-21T22:00:00+01:00").unwrap();
        let router = router(&notify()).unwrap();
        let rules: Vec<InhibitRule> = serde_json::from_str(
            r#"[{"source_matchers": ["service=cart"], "target_matchers": ["service=checkout"], "equal": ["cluster"]},
                {"name": "all", "source_matchers": ["watch=shop"], "target_matchers": ["env=held"]}]"#,
        )
        .unwrap();
        let firing = [crate::notify::fixture::opened().incident];
        let held = Held { silences, inhibit: Inhibit { rules: &rules, firing: &firing }, state: &state };
        let heard = heard(&router, &held, &labels, bad, at);
        said(&heard, &labels, at)
    }

    #[test]
    fn the_tree_is_shown() {
        let router = router(&notify()).unwrap();
        insta::assert_snapshot!(router.routes().iter().map(branch).collect::<String>(), @r#"
        whatever no route below takes -> slack
            grouped by watch, cluster, namespace; waits 30 seconds, what is new after 5 minutes, the same after 4 hours
            from info on; digest every day at 08:00, Europe/Berlin
          {team="shop"} -> slack, github, and on
              grouped by watch, cluster, namespace; waits 30 seconds, what is new after 5 minutes, the same after 4 hours
              from info on, at most 5 a day, the rest in the digest; digest every day at 08:00, Europe/Berlin
          {team=~"shop|search", env="dev"} -> slack
              grouped by ...; waits 30 seconds, what is new after 5 minutes, the same after 4 hours
              from critical on; digest every monday at 08:00, Europe/Berlin; only in office
        "#);
        insta::assert_snapshot!(line(&Heard::of(&router.routes()[1])), @r#"{"type":"route","path":"root/team=\"shop\"","matchers":["team=\"shop\""],"receivers":["slack","github"],"group_by":"watch, cluster, namespace","group_wait_seconds":30.0,"group_interval_seconds":300.0,"repeat_interval_seconds":14400.0,"min_severity":"info","interruptions_per_day":5,"digest":{"every":"day","at":"08:00","weekday":"monday"},"time_zone":"Europe/Berlin"}"#);
    }

    #[test]
    fn who_would_hear_is_told() {
        insta::assert_snapshot!(check("team=shop,env=dev", Severity::Warning, &Silences::new()), @r#"
        labels     {env="dev", severity="warning", team="shop"}
        at         2026-11-21T21:00:00Z

        route      root/team="shop"
        receivers  slack, github
        told       no: 5 of 5 messages of the day are spent, so in the digest
        group      root/team="shop":{}
        timing     waits 30 seconds, what is new after 5 minutes, the same after 4 hours
        limits     from info on, at most 5 a day, the rest in the digest; digest every day at 08:00, Europe/Berlin

        route      root/team=~"shop|search", env="dev"
        receivers  slack
        told       no: not active now, less severe than critical, so in the digest
        group      root/team=~"shop|search", env="dev":{env="dev", severity="warning", team="shop"}
        timing     waits 30 seconds, what is new after 5 minutes, the same after 4 hours
        limits     from critical on; digest every monday at 08:00, Europe/Berlin; only in office
        "#);
        let mut silences = Silences::new();
        let mut silence = Silence::new(matcher::parse("team=search").unwrap());
        silence.comment = "deploy".to_owned();
        silence.ends_at = read_time("2026-11-21T22:00:00Z").unwrap() + HOUR;
        silences.set(silence).unwrap();
        insta::assert_snapshot!(check("team=search", Severity::Critical, &silences), @r#"
        labels     {severity="critical", team="search"}
        at         2026-11-21T21:00:00Z

        route      root
        receivers  slack
        told       no: silence caed29f96c3e5df4 (deploy)
        group      root:{}
        timing     waits 30 seconds, what is new after 5 minutes, the same after 4 hours
        limits     from info on; digest every day at 08:00, Europe/Berlin
        "#);
    }

    #[test]
    fn what_an_incident_that_fires_holds_back_is_told() {
        let told = |labels: &str| {
            let text = check(labels, Severity::Critical, &Silences::new());
            text.lines().find(|line| line.starts_with("told")).unwrap().to_owned()
        };
        let told = ["service=checkout,cluster=eu-1", "service=checkout", "env=held"].map(told).join("\n");
        insta::assert_snapshot!(told, @r"
        told       no: inhibit_rules[0], while incident 00c0ffee00c0ffee fires
        told       yes
        told       no: inhibition `all`, while incident 00c0ffee00c0ffee fires
        ");
    }

    #[test]
    fn arguments_are_read() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("a").is_err() && pair("=a").is_err() && read_severity("bad").is_err());
    }
}
