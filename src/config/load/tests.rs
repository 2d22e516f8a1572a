//! Tests of `load`.

use proptest::prelude::*;

use super::*;
use crate::detect::config::WindowSpec;
use crate::time::Span;

/// What a file and an environment give; `{dir}` in the outcome is the folder of the file.
fn load(yaml: &str, env: &[(&str, &str)]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sigyn.yaml");
    std::fs::write(&file, yaml).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Loader::new(Some(file), env)
        .load()
        .map_err(|mistakes| mistakes.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

fn wrong(yaml: &str, env: &[(&str, &str)]) -> String {
    load(yaml, env).unwrap_err()
}

#[test]
fn the_simple_detector_takes_windows_of_lines_unless_told_otherwise() {
    for (yaml, env, window) in [
        ("detect: {preset: classic}", vec![], "20 lines"),
        ("detect: {preset: classic, window: 1m}", vec![], "1m"),
        ("detect: {preset: classic}", vec![("WINDOW_SIZE", "50")], "50 lines"),
        ("{}", vec![], "1m"),
    ] {
        assert_eq!(load(yaml, &env).unwrap().settings.detect.window.to_string(), window, "{yaml}");
    }
}

#[test]
fn the_built_in_file_says_what_the_defaults_say() {
    let settings = load(super::super::DEFAULTS, &[]).unwrap().settings;
    assert_eq!(settings, Settings::default());
}

#[test]
fn the_built_in_file_names_every_key_and_its_examples_are_right() {
    for key in known_keys() {
        let name = key.rsplit('.').next().unwrap();
        let named = |line: &str| line.trim_start().trim_start_matches('#').starts_with(&format!("{name}:"));
        assert!(super::super::DEFAULTS.lines().any(named), "{key} is not in config/sigyn.yaml");
    }
    // A setting that is commented out has no blank behind its `#`; the lines of a list have two or more.
    let examples: Vec<String> = super::super::DEFAULTS
        .lines()
        .skip_while(|line| !line.is_empty())
        .filter(|line| {
            // An empty list whose example stands below it.
            let key = line.trim_start().strip_suffix(" []").unwrap_or("none");
            !super::super::DEFAULTS.lines().any(|line| line.trim_start().strip_prefix('#') == Some(key))
        })
        .map(|line| match line.trim_start().strip_prefix('#') {
            Some(rest) if rest.starts_with("  ") || !rest.starts_with(' ') => line.replacen('#', "", 1),
            _ => line.to_owned(),
        })
        .collect();
    let text = wrong(&examples.join("\n"), &[]);
    assert!(!text.contains("no such key") && !text.contains("expected"), "{text}");
    assert!(text.contains("both password and password_file are set"), "{text}");
}

#[test]
fn an_empty_file_and_empty_sections_are_the_defaults() {
    for yaml in ["", "# nothing\n", "---\n", "loki:\nnotify:\n  slack:\n  external_labels:\nwatches:\n", "{}"] {
        assert_eq!(load(yaml, &[]).unwrap().settings, Settings::default(), "{yaml:?}");
    }
}

#[test]
fn layers_win_in_their_order() {
    let yaml = "loki: {url: 'http://file', org_id: file}\ncollect: {interval: 1m}";
    let check = |env: &[(&str, &str)], url: &str| assert_eq!(load(yaml, env).unwrap().settings.loki.url, url);
    check(&[], "http://file");
    check(&[("LOKI_URL", "http://plain")], "http://plain");
    check(&[("LOKI_URL", "http://plain"), ("SIGYN__LOKI__URL", "http://own")], "http://own");
    check(&[("sigyn__loki__url", "http://lower")], "http://lower");
    check(&[("LOKI_URL", ""), ("SIGYN__LOKI__URL", "  ")], "http://file");
    check(&[("SIGYN__LOKI", r#"{"url": "http://json"}"#)], "http://json");
    let both = load(yaml, &[("SIGYN__LOKI__URL", "http://own")]).unwrap().settings;
    assert_eq!((both.loki.org_id.as_deref(), both.collect.interval), (Some("file"), Span::minutes(1)));
}

#[test]
fn a_secret_of_a_stronger_layer_replaces_the_file_of_a_weaker_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token").display().to_string();
    std::fs::write(&file, "t").unwrap();
    let yaml = format!("notify: {{github: {{token_file: '{file}', repo: a/b}}}}");
    let github = |yaml: &str, env: &[(&str, &str)]| {
        let github = load(yaml, env).unwrap().settings.notify.github;
        (github.token.is_some(), github.token_file.is_some())
    };
    assert_eq!(github(&yaml, &[]), (false, true));
    assert_eq!(github(&yaml, &[("GITHUB_TOKEN", "t")]), (true, false));
    let env = [("GITHUB_TOKEN", "t"), ("SIGYN__NOTIFY__GITHUB__TOKEN_FILE", file.as_str())];
    assert_eq!(github("", &env), (false, true));
    let both = wrong(&yaml.replace("repo", "token: t, repo"), &[]);
    assert!(both.contains("notify.github.token: both token and token_file are set; keep one"), "{both}");
}

#[test]
fn plain_names_have_their_units() {
    let set = |name, value| load("", &[(name, value)]).unwrap().settings;
    for (text, window) in [("20", "20 lines"), ("1m", "1m"), ("20 lines step 5", "20 lines step 5")] {
        assert_eq!(set("WINDOW_SIZE", text).detect.window, window.parse::<WindowSpec>().unwrap());
    }
    for (text, seconds) in [("15", 15), ("2m", 120)] {
        assert_eq!(set("POLL_INTERVAL", text).collect.interval, Span::seconds(seconds));
    }
    for (text, minutes) in [("90", 90), ("6h", 360)] {
        assert_eq!(set("LOOKBACK_MINUTES", text).collect.learn_lookback, Span::minutes(minutes));
    }
    assert_eq!(set("SLACK_WEBHOOK_URL", "https://x").notify.slack.webhook_url.unwrap().expose(), "https://x");
    let env = [("GITHUB_TOKEN", "t"), ("GITHUB_REPO", "a/b"), ("GITHUB_API_URL", "https://ghe/api/v3")];
    let github = load("", &env).unwrap().settings.notify.github;
    assert_eq!((github.repo.as_deref(), github.api_url.as_str()), (Some("a/b"), "https://ghe/api/v3"));
    assert_eq!(github.token.unwrap().expose(), "t");
}

#[test]
fn each_field_gets_what_it_asks_for() {
    let env = [
        ("SIGYN__LOKI__USERNAME", "007"),
        ("SIGYN__LOKI__PASSWORD", "12345"),
        ("SIGYN__LOKI__GZIP", "true"),
        ("SIGYN__DETECT__SEED", "7"),
        ("SIGYN__DETECT__FALSE_ALERTS_PER_DAY", "2"),
        ("SIGYN__NOTIFY__GITHUB__LABELS", "a, b"),
        ("SIGYN__NOTIFY__EXTERNAL_LABELS__CLUSTER", "1"),
        ("SIGYN__WATCHES", r#"[{"name": "x", "query": "{a=\"b\"}", "group_by": ["app"]}]"#),
    ];
    let settings = load("", &env).unwrap().settings;
    assert_eq!(settings.loki.username.as_deref(), Some("007"));
    assert_eq!(settings.loki.password.unwrap().expose(), "12345");
    assert!(settings.loki.gzip);
    assert_eq!((settings.detect.seed, settings.detect.false_alerts_per_day), (7, 2.0));
    assert_eq!(settings.notify.github.labels, ["a", "b"]);
    assert_eq!(settings.notify.external_labels.get("cluster"), Some("1"));
    assert_eq!(settings.watches[0].group_by, ["app"]);
    let json = load("", &[("SIGYN__NOTIFY__GITHUB__LABELS", r#"["a,b ", "c"]"#)]);
    insta::assert_snapshot!(json.unwrap_err(), @"
        1 mistake in the settings:
          SIGYN__NOTIFY__GITHUB__LABELS: notify.github.labels[0]: must be 1 to 50 characters without commas
        ");
    let yaml = "loki: {username: 007, password: 1.50}\nnotify: {external_labels: {_1: true}}";
    let settings = load(yaml, &[]).unwrap().settings;
    assert_eq!(settings.loki.username.as_deref(), Some("007"));
    assert_eq!(settings.loki.password.unwrap().expose(), "1.50");
    assert_eq!(settings.notify.external_labels.get("_1"), Some("true"));
}

#[test]
fn a_bad_value() {
    insta::assert_snapshot!(wrong("collect:\n  interval: soon\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:13: collect.interval: `soon` is no duration; write it like 30s, 5m, 1h30m or 7d
        ");
}

#[test]
fn an_unknown_key() {
    insta::assert_snapshot!(wrong("loki:\n  timout: 3s\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:3: loki.timout: no such key; did you mean `timeout`?
        ");
    insta::assert_snapshot!(wrong("slack:\n  webhook_url: https://secret\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:1:1: slack: no such key here; did you mean `notify.slack`?
        ");
    insta::assert_snapshot!(wrong("loki:\n  interval: 1m\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:3: loki.interval: no such key here; did you mean `collect.interval` or `notify.heartbeat.interval`?
        ");
    insta::assert_snapshot!(wrong("zzz: 1\na.b: 2\n\"watches[99999999999]\": 3\n", &[]), @"
        3 mistakes in the settings:
          sigyn.yaml:1:1: zzz: no such key; known here: loki, watches, collect, detect, mask, incident, notify, remediate, store, http, telemetry
          sigyn.yaml:2:1: a.b: no such key
          sigyn.yaml:3:1: (not shown): no such key
        ");
}

#[test]
fn all_mistakes_at_once() {
    let yaml = r#"
loki:
  url: loki:3100
  username: me
  gzip: maybe
collect:
  eval_delay: 7h
  limit: many
  audit_every: -1
watches:
  - name: a
    query: sum(rate({a="b"}[1m]))
    window: 1 rows
  - just text
  - name: a
    qury: '{app="x"}'
    labels: {no-label: 1}
detect:
  preset: clasic
  warm_up: 10000
incident: 5
http:
  listen: 9477
notify:
  github: {repo: shop}
telemetry: [info]
"#;
    insta::assert_snapshot!(wrong(yaml, &[("SIGYN__DETECT__KIND", "tree")]), @r#"
        20 mistakes in the settings:
          sigyn.yaml:3:8: loki.url: `loki:` is not http or https; write it like http://loki:3100
          sigyn.yaml:4:13: loki.username: needs password or password_file
          sigyn.yaml:5:9: loki.gzip: expected true or false, found a text
          sigyn.yaml:7:15: collect.eval_delay: must be shorter than collect.max_lag (6h), or nothing is ever read
          sigyn.yaml:8:10: collect.limit: expected a whole number from 0 to 4294967295, found a text
          sigyn.yaml:9:16: collect.audit_every: expected a whole number from 0 to 4294967295, found -1
          sigyn.yaml:12:12: watches[0].query: must be a LogQL selector with optional line filters, such as `{app="cart"} != "healthz"`; metric queries are made by sigyn itself
          sigyn.yaml:13:13: watches[0].window: `1 rows` is no window; write a length of time from 1s (`1m`) or lines from 1 to 10000 (`20 lines`, `20 lines step 5`)
          sigyn.yaml:14:5: watches[1]: expected a section with keys, found a text
          sigyn.yaml:15:11: watches[2].name: `a` is the name of another watch; names must be unique
          sigyn.yaml:16:5: watches[2].qury: no such key; did you mean `query`?
          sigyn.yaml:17:13: watches[2].labels: `no-label` is no name of a label: letters, digits and _ only
          sigyn.yaml:19:11: detect.preset: `clasic` is not one of: standard, classic; did you mean `classic`?
          sigyn.yaml:20:12: detect.warm_up: must be at most history (2880), or nothing is ever judged
          sigyn.yaml:21:11: incident: expected a section with keys, found a number
          sigyn.yaml:23:11: http.listen: this is no address with a port; write it like 0.0.0.0:9477 or [::]:9477
          sigyn.yaml:25:18: notify.github.repo: must be owner/name, such as acme/shop
          sigyn.yaml:25:18: notify.github.repo: needs token or token_file
          sigyn.yaml:26:12: telemetry: expected a section with keys, found a list
          SIGYN__DETECT__KIND: detect.kind: `tree` is not one of: auto, none, forest, extended
        "#);
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let env = [
        ("SIGYN__LOKI__TIMOUT", "3s"),
        ("SIGYN__COLLECT__LIMIT", "many"),
        ("POLL_INTERVAL", "often"),
        ("WINDOW_SIZE", "0"),
        ("GITHUB_REPO", "shop"),
        ("SIGYN__WATCHES__0__QUERY", "{}"),
        ("SIGYN__NOTIFY__SLACK", "https://secret"),
        ("SIGYN____URL", "x"),
    ];
    insta::assert_snapshot!(wrong("", &env), @"
        9 mistakes in the settings:
          GITHUB_REPO: notify.github.repo: must be owner/name, such as acme/shop
          GITHUB_REPO: notify.github.repo: needs token or token_file
          POLL_INTERVAL: collect.interval: `often` is no duration; write it like 30s, 5m, 1h30m or 7d
          SIGYN__COLLECT__LIMIT: collect.limit: expected a whole number from 0 to 4294967295, found a text
          SIGYN__LOKI__TIMOUT: loki.timout: no such key; did you mean `timeout`?
          SIGYN__NOTIFY__SLACK: notify.slack: expected a section with keys, found a text
          SIGYN__WATCHES__0__QUERY: watches: expected a list, found keys with values; in the environment a list is one value: JSON, or words with commas between them
          SIGYN____URL: no such key; write it as SIGYN__SECTION__KEY, such as SIGYN__LOKI__URL
          WINDOW_SIZE: detect.window: `0 lines` is no window; write a length of time from 1s (`1m`) or lines from 1 to 10000 (`20 lines`, `20 lines step 5`)
        ");
    let env = [("SIGYN__WATCHES", r#"[{"name": 1, "qury": "x", "interval": "y"}, 7]"#)];
    insta::assert_snapshot!(wrong("", &env), @"
        3 mistakes in the settings:
          SIGYN__WATCHES: watches[0].interval: `y` is no duration; write it like 30s, 5m, 1h30m or 7d
          SIGYN__WATCHES: watches[0].qury: no such key; did you mean `query`?
          SIGYN__WATCHES: watches[1]: expected a section with keys, found a number
        ");
}

#[test]
fn broken_yaml_names_line_and_column() {
    insta::assert_snapshot!(wrong("loki:\n  url: http://x\n  url: http://y\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:3:3: this is not YAML: duplicated key in mapping
        ");
    insta::assert_snapshot!(wrong("loki:\n\turl: x\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:2: this is not YAML: tabs disallowed within this context (block indentation)
        ");
    insta::assert_snapshot!(wrong("loki: {url: x\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:1: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'
        ");
    insta::assert_snapshot!(wrong("- a\n- b\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:1:1: expected keys such as `loki:` at the top of the file
        ");
    insta::assert_snapshot!(wrong("loki:\n---\nloki:\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:3:1: a second document; put all settings in one
        ");
    insta::assert_snapshot!(wrong(&format!("{}a", "- ".repeat(100_000)), &[]), @"
        1 mistake in the settings:
          sigyn.yaml:1:1: nested more than 200 levels deep
        ");
    insta::assert_snapshot!(wrong(&"[".repeat(100_000), &[]), @"
        1 mistake in the settings:
          sigyn.yaml:1:256: this is not YAML: recursion limit exceeded
        ");
}

#[test]
fn a_file_that_is_no_settings_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("binary"), [b'a', b'\n', 0xff, 0xfe, 0]).unwrap();
    std::fs::write(at("nul"), [0, 1, 2, 3]).unwrap();
    std::fs::write(at("long"), vec![b'#'; yaml::MAX_BYTES + 1]).unwrap();
    let try_file = |name: &str| {
        let mistakes = Loader::new(Some(at(name)), Env::new()).load().unwrap_err();
        mistakes.to_string().replace(&format!("{}", folder.path().display()), "")
    };
    insta::assert_snapshot!(try_file("none"), @"
        1 mistake in the settings:
          /none: cannot be read: No such file or directory (os error 2); it must exist and be readable by sigyn's user
        ");
    insta::assert_snapshot!(try_file("."), @"
        1 mistake in the settings:
          /.: cannot be read: Is a directory (os error 21); it must exist and be readable by sigyn's user
        ");
    insta::assert_snapshot!(try_file("binary"), @"
        1 mistake in the settings:
          /binary: is not UTF-8 text (line 2), so it is no settings file
        ");
    insta::assert_snapshot!(try_file("nul"), @"
        1 mistake in the settings:
          /nul:1:1: this is not YAML: found unprintable character
        ");
    insta::assert_snapshot!(try_file("long"), @"
        1 mistake in the settings:
          /long: is longer than 1048576 bytes, so it is no settings file
        ");
}

#[test]
fn secrets_never_show() {
    const SECRET: &str = "hunter2hunter2";
    let at: [(&str, &str); 8] = [
        ("loki: {password: [S]}", ""),
        ("loki: {password: {S: 1}, headers: {X-Key: \"S\\nx\"}}", ""),
        ("loki: {url: 'http://me:S@loki'}", ""),
        ("loki: {url: 'me:S@loki:3100:x'}", ""),
        ("loki: S\nnotify: {slack: S, github: [S], heartbeat: {url: S}}", ""),
        ("notify: {slack: {webhook_url: S, 'https://S': 1}}", ""),
        ("", "SLACK_WEBHOOK_URL"),
        ("", "SIGYN__NOTIFY__SLACK"),
    ];
    for (yaml, name) in at {
        let env = if name.is_empty() { vec![] } else { vec![(name, SECRET)] };
        let text = wrong(&yaml.replace('S', SECRET), &env);
        assert!(!text.contains(SECRET), "{text}");
    }
    let loaded = load(&format!("notify: {{slack: {{webhook_url: 'https://{SECRET}'}}}}"), &[("GITHUB_TOKEN", SECRET)]);
    let loaded = loaded.unwrap();
    let shown = format!("{loaded:?}{}", super::super::print::effective(&loaded));
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn notes_say_what_may_not_be_meant() {
    let env = [("SIGYN_LOKI_URL", "x"), ("SIGYN_SERVICE_HOST", "10.0.0.1"), ("GITHUB_TOKEN", "t")];
    let notes = load("loki: {url: 'http://loki', bearer_token: x}", &env).unwrap().notes;
    insta::assert_snapshot!(notes.join("\n"), @"
        SIGYN_LOKI_URL is ignored; did you mean SIGYN__LOKI__URL (two underscores between the parts)?
        a GitHub token is set but no notify.github.repo: no issues are made
        neither Slack nor GitHub is set: incidents go to the remediation log only
        loki.url is http: the credentials go over the network in clear text
        ");
}

#[test]
fn settings_in_force_read_back_the_same() {
    let yaml = r#"
loki: {url: "http://loki:3100", org_id: "12345", headers: {X-A: b}}
watches:
  - {name: "a: b", query: '{app="x"}', group_by: [app], labels: {team: "yes", n: "1"}, interval: 10s}
notify: {external_labels: {cluster: eu-1}}
"#;
    let loaded = load(yaml, &[("WINDOW_SIZE", "20")]).unwrap();
    let printed = super::super::print::effective(&loaded);
    let again = load(&printed.replace("\"[secret]\"", "b"), &[]).unwrap();
    assert_eq!(again.settings, loaded.settings);
    let start = printed.lines().skip(1).take_while(|line| *line != "collect:").collect::<Vec<_>>().join("\n");
    let start = regex::Regex::new("# /.*/").unwrap().replace_all(&start, "# ");
    insta::assert_snapshot!(start, @r#"
        loki:
          url: http://loki:3100  # sigyn.yaml:2:8
          org_id: "12345"  # sigyn.yaml:2:33
          username: null
          password: null
          password_file: null
          bearer_token: null
          bearer_token_file: null
          headers:
            X-A: "[secret]"  # sigyn.yaml:2:60
          ca_file: null
          cert_file: null
          key_file: null
          timeout: 35s
          gzip: false
        watches:  # sigyn.yaml:3:1
          - name: "a: b"
            query: "{app=\"x\"}"
            org_id: null
            interval: 10s
            eval_delay: null
            window: null
            group_by: [app]
            labels:
              n: "1"
              team: yes
            owner: null
            runbook_url: null
        "#);
    assert!(printed.contains("\n  window: \"20 lines\"  # WINDOW_SIZE\n"), "{printed}");
}

proptest! {
    #[test]
    fn any_text_gives_an_answer(text in "\\PC{0,200}", bits in "[-?:,\\[\\]{}#&*!|>'\"%@` \\n\ta-c0-2~.]{0,80}") {
        let _ = load(&text, &[]);
        let _ = load(&bits, &[("SIGYN__WATCHES", &text), ("SIGYN__LOKI", &bits)]);
    }

    #[test]
    fn any_values_at_known_keys_give_an_answer(
        parts in proptest::collection::vec((any::<prop::sample::Index>(), "[-?:,\\[\\]{}'\" \\n\ta-c0-9~.]{0,20}"), 1..8)
    ) {
        let known = known_keys();
        let env: Vec<(String, String)> = parts
            .iter()
            .map(|(key, value)| {
                let key = key.get(&known).replace('.', "__").to_uppercase();
                (format!("SIGYN__{key}"), value.clone())
            })
            .collect();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let _ = load("", &env);
    }
}

#[test]
fn the_example_of_all_receivers_is_right() {
    let text = include_str!("../../../config/examples/receivers.yaml");
    let settings = load(text, &[]).unwrap().settings;
    let entries = settings.notify.entries();
    let kinds: Vec<&str> = entries.iter().flat_map(|(_, entry)| entry.kinds()).map(|(kind, _)| kind).collect();
    for kind in crate::notify::receiver::config::KINDS.split(", ") {
        assert!(kinds.contains(&kind.trim()), "{kind} is not in the example");
    }
    assert_eq!(crate::notify::receiver::build(&settings.notify).unwrap().len(), entries.len());
}

/// `--dry-run`: each shows its own form, and no key or address.
#[tokio::test]
async fn a_dry_run_shows_each_receivers_own_form() {
    use std::sync::{Arc, Mutex};

    use crate::notify::receiver::{self, Printed, Show};
    use crate::notify::{Notifier, fixture};

    let settings = load(include_str!("../../../config/examples/receivers.yaml"), &[]).unwrap().settings;
    let shown = Arc::new(Mutex::new(Vec::<Printed>::new()));
    let sink = Arc::clone(&shown);
    let show: Show = Arc::new(move |one| sink.lock().unwrap().push(one.clone()));
    for (name, receiver, _) in &receiver::dry(&settings.notify, &show).unwrap() {
        for transition in [fixture::opened(), fixture::continued()] {
            receiver.send(&fixture::notification(transition, name), None).await.unwrap();
        }
    }
    let shown = shown.lock().unwrap();
    let first = |one: &Printed| {
        let text: String = one.text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(60).collect();
        let title = one.title.as_ref().map(|title| format!("[{title}] ")).unwrap_or_default();
        format!("{}: {title}{text}", one.receiver)
    };
    insta::assert_snapshot!(shown.iter().map(first).collect::<Vec<_>>().join("\n"), @r#"
    chat: 🔴 CRITICAL cart: more errors than usual When: since 2026-11-
    chat: 🔴 STILL CRITICAL cart: more errors than usual When: since 20
    mattermost: 🔴 CRITICAL cart: more errors than usual When: since 2026-11-
    mattermost: 🔴 STILL CRITICAL cart: more errors than usual When: since 20
    issues: [[sigyn] cart: more errors than usual] <!-- sigyn:incident=00c0ffee00c0ffee fingerprint=v1:cd9da4c2
    issues: <!-- sigyn:key=00c0ffee00c0ffee/2/issues --> **Still going o
    mail: [🔴 CRITICAL cart: more errors than usual] 🔴 CRITICAL cart: more errors than usual cart: more errors th
    mail: [🔴 STILL CRITICAL cart: more errors than usual] 🔴 STILL CRITICAL cart: more errors than usual cart: more err
    teams: { "attachments": [ { "content": { "$schema": "http://adaptiv
    teams: { "attachments": [ { "content": { "$schema": "http://adaptiv
    pager: { "client": "sigyn", "client_url": "https://sigyn.example.co
    pager: { "client": "sigyn", "client_url": "https://sigyn.example.co
    opsgenie: { "alias": "00c0ffee00c0ffee", "description": "🔴 CRITICAL ca
    opsgenie: { "alias": "00c0ffee00c0ffee", "description": "🔴 STILL CRITI
    jira: { "alias": "00c0ffee00c0ffee", "description": "🔴 CRITICAL ca
    jira: { "alias": "00c0ffee00c0ffee", "description": "🔴 STILL CRITI
    discord: { "allowed_mentions": { "parse": [] }, "embeds": [ { "color"
    discord: { "allowed_mentions": { "parse": [] }, "embeds": [ { "color"
    telegram: 🔴 CRITICAL cart: more errors than usual <b>When</b> since 20
    telegram: 🔴 STILL CRITICAL cart: more errors than usual <b>When</b> si
    phone: CRITICAL cart: more errors than usual. errors 48, expected 0
    phone-by-gateway: CRITICAL cart: more errors than usual. errors 48, expected 0
    hook: {"version":1,"key":"00c0ffee00c0ffee/1/hook","kind":"opened"
    hook: {"version":1,"key":"00c0ffee00c0ffee/2/hook","kind":"continu
    alertmanager: [ { "annotations": { "dashboard_url": "https://grafana.examp
    alertmanager: [ { "annotations": { "dashboard_url": "https://grafana.examp
    dashboards: { "tags": [ "sigyn", "incident:00c0ffee00c0ffee", "severity:
    dashboards: { "tags": [ "sigyn", "incident:00c0ffee00c0ffee", "severity:
    loki: { "streams": [ { "stream": { "cluster": "eu-1", "kind": "ope
    loki: { "streams": [ { "stream": { "cluster": "eu-1", "kind": "con
    file: {"version":1,"key":"00c0ffee00c0ffee/1/file","kind":"opened"
    file: {"version":1,"key":"00c0ffee00c0ffee/2/file","kind":"continu
    screen: 🔴 CRITICAL cart: more errors than usual When: since 2026-11-
    screen: 🔴 STILL CRITICAL cart: more errors than usual When: since 20
    "#);
    for one in shown.iter() {
        // Its secrets are called so in the example; an issue has a word for masked lines.
        assert!(!one.text.replace("secrets masked", "").contains("secret"), "{}", one.receiver);
    }
}

#[test]
fn mistakes_in_receivers_say_what_to_do() {
    let yaml = r#"
notify:
  slack: {webhook_url: "https://hooks.example.com/x"}
  receivers:
    - {name: slack, stdout: {}}
    - {name: remediation_log, stdout: {}}
    - {stdout: {}}
    - {name: none}
    - {name: two, stdout: {}, file: {path: x.jsonl}}
    - {name: typo, pagerdutty: {}}
    - {name: empty, pagerduty: {}}
    - {name: words, title: "{{ titel }}", text: "{% if %}", teams: {webhook_url: "https://x.example.com/y"}}
    - {name: form, title: "{{ title }}", opsgenie: {api_key: k}}
    - {name: mail, email: {host: m, username: u, from: nobody, to: []}}
    - {name: hook, webhook: {url: "ftp://x", auth: {password: p, password_file: /none}}}
    - {name: text, sms: {to: "+49", twilio: {auth_token: t}, http: {}}}
    - {name: back, loki: {url: "http://loki:3100", labels: {service_name: x}}}
    - {name: bot, slack: {bot_token: t}}
    - {name: issues, github: {token: t}}
"#;
    insta::assert_snapshot!(wrong(yaml, &[]), @r#"
    24 mistakes in the settings:
      sigyn.yaml:5:14: notify.receivers[0].name: `slack` is the name of another receiver; names must be unique (notify.slack is `slack`, notify.github is `github`)
      sigyn.yaml:6:14: notify.receivers[1].name: `remediation_log` is a name of sigyn's own; choose another
      sigyn.yaml:7:7: notify.receivers[2].name: a receiver needs a name, by which routes and metrics know it
      sigyn.yaml:8:7: notify.receivers[3]: names no kind; give it one of slack, github, email, teams, pagerduty, opsgenie, jira_service_management, discord, telegram, sms, webhook, alertmanager, grafana, loki, file, stdout (without keys of its own: `stdout: {}`)
      sigyn.yaml:9:7: notify.receivers[4]: names 2 kinds: file, stdout; make an entry of each
      sigyn.yaml:10:20: notify.receivers[5].pagerdutty: no such key; did you mean `pagerduty`?
      sigyn.yaml:11:21: notify.receivers[6].pagerduty.routing_key: is missing; set routing_key or routing_key_file
      sigyn.yaml:12:28: notify.receivers[7].title: line 1: `titel` is nothing that a message has; did you mean `title`?
      sigyn.yaml:12:49: notify.receivers[7].text: line 1: is no template that can be used (syntax error: unexpected end of block); write it like `{{ title }}`, or leave it out
      sigyn.yaml:13:27: notify.receivers[8].title: `opsgenie` has a form of its own; leave the template out
      sigyn.yaml:14:47: notify.receivers[9].email.username: a user name and a password belong together
      sigyn.yaml:14:56: notify.receivers[9].email.from: must be an address such as `sigyn <sigyn@example.com>`
      sigyn.yaml:14:68: notify.receivers[9].email.to: needs at least one address
      sigyn.yaml:15:35: notify.receivers[10].webhook.url: must be a URL that starts with https:// (or http://); it is not shown, as it is a secret
      sigyn.yaml:15:46: notify.receivers[10].webhook.auth.username: a user name and a password belong together
      sigyn.yaml:15:63: notify.receivers[10].webhook.auth.password: both password and password_file are set; keep one
      sigyn.yaml:15:81: notify.receivers[10].webhook.auth.password_file: cannot read /none: No such file or directory (os error 2)
      sigyn.yaml:16:37: notify.receivers[11].sms.twilio.account_sid: must be the account's id, such as AC0123...
      sigyn.yaml:16:37: notify.receivers[11].sms.twilio.from: is missing or empty
      sigyn.yaml:16:45: notify.receivers[11].sms.twilio: set one of twilio and http
      sigyn.yaml:16:62: notify.receivers[11].sms.http.url: is missing; set http.url or http.url_file
      sigyn.yaml:17:60: notify.receivers[12].loki.labels: service_name is always sigyn, so that sigyn does not read it back; leave it out
      sigyn.yaml:18:19: notify.receivers[13].slack.channel: a bot needs the channel to post to, such as C0123456789
      sigyn.yaml:19:22: notify.receivers[14].github.repo: needs the repository as owner/name
    "#);
}

#[test]
fn a_pattern_of_the_mask() {
    insta::assert_snapshot!(
        wrong("mask:\n  patterns:\n    - 'customer-[0-9]+'\n    - 'id-('\n    - 'x*'\n", &[]),
        @"
    2 mistakes in the settings:
      sigyn.yaml:4:7: mask.patterns[1]: is no regular expression: unclosed group, at character 4
      sigyn.yaml:5:7: mask.patterns[2]: matches the empty text, so it would hide everything; name at least one character
    "
    );
}
