//! `sigyn check`: all mistakes in the settings at once.

use anyhow::ensure;
use futures_util::future::join_all;

use super::{Common, Exit, lines, show};
use crate::app::clock::Clock;
use crate::collect::client::Client;
use crate::collect::config::WatchConfig;
use crate::collect::streams::{self, Cost};
use crate::config::Settings;
use crate::notify::receiver;
use crate::time::Nanos;

/// Arguments of `sigyn check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also ask Loki and the receivers whether they would accept us, sending nothing, and what the watches would cost Loki
    #[arg(long)]
    pub online: bool,
}

/// Carries it out.
///
/// # Errors
/// The mistakes, or why a service did not accept us.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let loaded = common.settings()?;
    let watches = match loaded.settings.watches.len() {
        0 => "no watches, so all streams are watched".to_owned(),
        n => format!("watches: {n}"),
    };
    show(&format!("settings are good; {watches}\n"))?;
    if args.online { online(&loaded.settings, Clock::real().now()).await } else { Ok(Exit::Done) }
}

/// One thing that was asked, and what is known now.
#[derive(Debug)]
struct Answer {
    good: bool,
    text: String,
}

impl Answer {
    fn of(asked: Result<String, String>) -> Self {
        match asked {
            Ok(text) => Self { good: true, text },
            Err(text) => Self { good: false, text: format!("FAILED: {text}") },
        }
    }
}

/// Asks the services whether they would accept us, and prints what the watches would cost Loki. All answers are shown
/// before it fails.
async fn online(settings: &Settings, now: Nanos) -> anyhow::Result<Exit> {
    let answers = ask(settings, now).await;
    for answer in &answers {
        show(&format!("{}\n", lines(&answer.text)))?;
    }
    let failed = answers.iter().filter(|answer| !answer.good).count();
    ensure!(failed == 0, "{failed} of {} answers are bad; they are marked FAILED above", answers.len());
    Ok(Exit::Done)
}

async fn ask(settings: &Settings, now: Nanos) -> Vec<Answer> {
    let mut answers = match Client::new(&settings.loki) {
        Ok(client) => loki(settings, &client, now).await,
        Err(error) => vec![Answer::of(Err(error.to_string()))],
    };
    answers.extend(receivers(settings).await);
    answers
}

async fn loki(settings: &Settings, client: &Client, now: Nanos) -> Vec<Answer> {
    let version = client.version().await.map_err(|error| error.to_string());
    let found = version.map(|version| match version.as_str() {
        // One that was built by hand may not know.
        "" => format!("Loki: {} answers, and does not say its version", client.url()),
        version => format!("Loki: {} answers, version {version}", client.url()),
    });
    let reached = found.is_ok();
    let mut answers = vec![Answer::of(found)];
    if !reached {
        // Every further question would say the same.
        return answers;
    }
    let mut watches = settings.watches.clone();
    if watches.is_empty() {
        match streams::choose(client, None, now).await {
            Ok(choice) => {
                answers.extend(choice.told.into_iter().map(|text| Answer { good: true, text }));
                watches = choice.watches;
            }
            Err(error) => answers.push(Answer::of(Err(error.to_string()))),
        }
    }
    for watch in &watches {
        let interval = watch.interval.unwrap_or(settings.collect.interval).nanos();
        let cost = client.probe(watch, now, interval, settings.collect.limit).await;
        answers.push(Answer::of(cost.map(|cost| told(watch, &cost, interval)).map_err(|error| error.to_string())));
    }
    answers
}

/// What a watch costs, in words. The model is that of [`streams`].
fn told(watch: &WatchConfig, cost: &Cost, interval: Nanos) -> String {
    let Cost { watch: name, streams, lines_per_minute, requests_per_poll, cpu_ms_per_poll } = cost;
    let share = cpu_ms_per_poll * 1e6 / interval.max(1) as f64 * 100.0;
    let requests =
        if *requests_per_poll > 1.0 { format!("{requests_per_poll:.0} requests") } else { "1 request".to_owned() };
    let mut text = format!(
        "watch `{name}`: {streams} streams in the last day, {lines_per_minute} lines a minute; a poll takes about {requests} \
         and {cpu_ms_per_poll:.0} ms of Loki's CPU time, {share:.2} % of a core"
    );
    if *streams == 0 && !is_chosen(watch) {
        text += "\n  nothing matches: a wrong selector, or a wrong org_id, looks just like this";
    }
    text
}

/// Whether sigyn made the watch by itself: of an empty Loki that was said already.
fn is_chosen(watch: &WatchConfig) -> bool {
    watch.name == "all" || watch.name.starts_with("all-")
}

/// Asks every receiver that can be asked without sending anything, all at once; of the others it says so.
async fn receivers(settings: &Settings) -> Vec<Answer> {
    let notify = &settings.notify;
    let built = match receiver::build_each(notify) {
        Ok(built) => built,
        Err(error) => return vec![Answer::of(Err(error.to_string()))],
    };
    let has =
        |kind: &str| notify.entries().iter().any(|(_, entry)| entry.kinds().iter().any(|(name, _)| *name == kind));
    let mut answers = Vec::new();
    if !has("slack") {
        answers.push(Answer::of(Ok("Slack: not set".to_owned())));
    }
    let asked = built.iter().map(|(name, built)| async move {
        match built {
            Err(mistake) => Err(mistake.clone()),
            Ok((receiver, _)) => match receiver.probe().await {
                Some(probed) => {
                    probed.map(|text| format!("`{name}`: {text}")).map_err(|error| format!("`{name}`: {error}"))
                }
                None => {
                    Ok(format!("`{name}`: cannot be asked without sending; send one with `sigyn notify test {name}`"))
                }
            },
        }
    });
    answers.extend(join_all(asked).await.into_iter().map(Answer::of));
    if !has("github") {
        answers.push(Answer::of(Ok("GitHub: not set; incidents go to the remediation log".to_owned())));
    }
    answers
}

#[cfg(test)]
mod tests {
    use log_generator::loki as standin;

    use super::*;
    use crate::secret::Secret;
    use crate::time::{MINUTE, SECOND};

    const NOW: Nanos = 1_800_000_000 * SECOND;

    fn settings(url: String) -> Settings {
        let mut settings = Settings::default();
        settings.loki.url = url;
        settings
    }

    fn answered(settings: &Settings) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answers = runtime.block_on(ask(settings, NOW));
        let port = settings.loki.url.rsplit(':').next().unwrap();
        answers.iter().map(|answer| answer.text.replace(port, "PORT")).collect::<Vec<_>>().join("\n")
    }

    fn loki() -> standin::Loki {
        let options = standin::Options { limits: standin::Limits::any_time(), ..standin::Options::default() };
        let loki = standin::Loki::start(options).unwrap();
        for id in 0..120 {
            let service = if id % 2 == 0 { "cart" } else { "auth" };
            loki.push(&[("service_name", service)], NOW - MINUTE + id * SECOND / 10, format!("line {id}"));
        }
        loki
    }

    #[test]
    fn a_loki_that_answers_is_described_with_what_it_would_cost() {
        let loki = loki();
        insta::assert_snapshot!(answered(&settings(loki.url())), @r#"
        Loki: http://127.0.0.1:PORT answers, version 3.8.0
        watch `all`: {service_name=~".+",service_name!="unknown_service"}, grouped by service_name (2 streams in the last day)
        watch `all`: 2 streams in the last day, 120 lines a minute; a poll takes about 1 request and 4 ms of Loki's CPU time, 0.01 % of a core
        Slack: not set
        GitHub: not set; incidents go to the remediation log
        "#);
    }

    #[test]
    fn a_loki_without_a_version_is_told_so() {
        let loki = standin::Loki::start(standin::Options { version: String::new(), ..standin::Options::default() });
        let loki = loki.unwrap();
        let first = answered(&settings(loki.url())).lines().next().unwrap().to_owned();
        insta::assert_snapshot!(first, @"Loki: http://127.0.0.1:PORT answers, and does not say its version");
    }

    #[test]
    fn every_bad_answer_is_shown_and_none_hides_another() {
        let loki = loki();
        let mut settings = settings(loki.url());
        let watch = |name: &str, query: &str| WatchConfig {
            name: name.to_owned(),
            query: query.to_owned(),
            ..WatchConfig::default()
        };
        settings.watches =
            vec![watch("typo", "{app=\"no\"}"), watch("bad", "{app="), watch("good", "{service_name=\"cart\"}")];
        settings.notify.github.repo = Some("acme/shop".to_owned());
        settings.notify.slack.webhook_url = Some(Secret::new("https://hooks.slack.com/services/T/B/X"));
        insta::assert_snapshot!(answered(&settings), @r#"
        Loki: http://127.0.0.1:PORT answers, version 3.8.0
        watch `typo`: 0 streams in the last day, 0 lines a minute; a poll takes about 1 request and 0 ms of Loki's CPU time, 0.00 % of a core
          nothing matches: a wrong selector, or a wrong org_id, looks just like this
        FAILED: watch `bad`: `{app=` is no log query: the closing brace of the selector is missing; write it like {app="cart"} != "healthz"
        watch `good`: 1 streams in the last day, 60 lines a minute; a poll takes about 1 request and 2 ms of Loki's CPU time, 0.01 % of a core
        `slack`: cannot be asked without sending; send one with `sigyn notify test slack`
        FAILED: notify.github.repo is `acme/shop`, but there is no token; set GITHUB_TOKEN or notify.github.token_file
        "#);
    }

    #[test]
    fn a_loki_that_is_away_is_one_failure() {
        // Nobody listens on a port that was just given back.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        insta::assert_snapshot!(answered(&settings(format!("http://127.0.0.1:{port}"))), @"
        FAILED: http://127.0.0.1:PORT/loki/api/v1/status/buildinfo cannot be reached (tcp connect error: Connection refused (os error 111)); check loki.url and that Loki listens there
        Slack: not set
        GitHub: not set; incidents go to the remediation log
        ");
    }
}
