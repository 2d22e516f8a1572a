//! Too little memory: what is forgotten is told, with what it means and what to do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sigyn::app::board::Board;
use sigyn::app::clock::Clock;
use sigyn::app::reader::Until;
use sigyn::app::{App, Options};
use sigyn::collect::config::WatchConfig;
use sigyn::config::Settings;
use sigyn::detect::config::Size;
use sigyn::notify::receiver::Show;
use sigyn::time::{HOUR, SECOND, Span};
use tokio_util::sync::CancellationToken;

use crate::shop::{dice, standin};

/// Six letters that hardly another number has.
fn word(n: u64) -> String {
    let chance = dice(n);
    (0..6).map(|place| char::from(b'a' + (chance >> (place * 5)) as u8 % 26)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_for_want_of_memory_is_told_with_what_to_do() {
    let loki = standin();
    let begin = Clock::real().now() - HOUR;
    for second in 0..3600 {
        // Another service every five minutes, and hardly two lines alike.
        let service = format!("job-{}", second / 300);
        let words: Vec<String> = (0..5).map(|place| word(second * 5 + place)).collect();
        let at = begin + second.cast_signed() * SECOND;
        loki.push(&[("service_name", &service)], at, format!("level=warn msg=\"{}\"", words.join(" ")));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.loki.url = loki.url();
    settings.store.data_dir = folder.path().to_owned();
    settings.collect.learn_lookback = Span::minutes(60);
    let query = "{service_name=~\".+\"}".to_owned();
    settings.watches = vec![WatchConfig { name: "jobs".to_owned(), query, ..WatchConfig::default() }];
    // Less than may be set, so that a few lines are enough.
    settings.detect.memory_limit = Size(300_000);
    let told = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&told);
    let show: Show = Arc::new(move |printed| {
        let title = printed.title.as_deref().unwrap_or_default();
        heard.lock().unwrap().push_str(&format!("{title}\n{}\n\n", printed.text));
    });
    let options = Options {
        settings: Arc::new(settings),
        clock: Clock::real(),
        trust_date: true,
        until: Until::CaughtUp,
        judge_from: None,
        dry: Some(show),
        observer: None,
        explain: false,
        board: Board::default(),
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut app = App::start(options, CancellationToken::new()).await.unwrap().unwrap();
    let reports = app.finished().await;
    assert!(reports.iter().all(|report| report.error.is_none()), "{reports:?}");
    assert!(app.sent_within(Duration::from_secs(60)).await);
    app.drain().await.unwrap();

    let told = told.lock().unwrap().clone();
    let number = regex::Regex::new(r"\d+(\.\d+)?").unwrap();
    let about = told.split("\n\n").filter(|text| text.contains("memory")).flat_map(str::lines);
    let said: Vec<_> = about.filter(|line| line.contains("sigyn: ") || line.starts_with("Why: ")).collect();
    insta::assert_snapshot!(number.replace_all(&said.join("\n"), "N"), @r"
    🟠 WARNING sigyn: forgets for want of memory (jobs)
    Why: watch jobs: it held N MB and may hold N MB, so it has forgotten N groups that were quiet longest, and N templates and N kinds of lines that were seen longest ago. What comes back is learnt anew: until then nothing is told of such a group, and less is noticed in such lines. Raise detect.memory_limit (each watch has an equal share of it), watch less, or group by fewer labels.
    ");
}
