//! `sigyn incident list|show`: what the store knows of incidents. What people want with them is in [`super::order`].
//!
//! It only reads, also beside a running daemon.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use super::order::{self, SnoozeArgs, Wish};
use super::text::{self, Look};
use super::{Common, Exit, Format, Output, show};
use crate::app::place;
use crate::config::Settings;
use crate::incident::{Incident, Severity, State, Transition, TransitionKind};
use crate::notify::config::NotifyConfig;
use crate::notify::{Notification, links, render};
use crate::store::{Cursor, Delivery, DeliveryState, IncidentDetail, Search, Store};
use crate::time::rfc3339;

/// Rows read from the store at once.
const PAGE: u32 = 200;

/// Arguments of `sigyn incident`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The newest incidents
    List(List),
    /// All about one incident
    Show(Show),
    /// Say that you look after incidents
    Ack(order::Args),
    /// Hear nothing of incidents until one of the ends that you name
    Snooze(SnoozeArgs),
    /// Say that incidents are over
    Resolve(order::Args),
    /// Take an acknowledgement or a snooze back
    Release(order::Args),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those in this state
    #[arg(long, value_enum)]
    state: Option<Which>,
    /// Only those whose titles have all these words
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// Also those that are part of others
    #[arg(long)]
    members: bool,
    /// At most this many, the newest first
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u32,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Id of the incident, or its first characters
    id: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    Pending,
    Firing,
    Resolved,
}

/// Carries it out.
///
/// # Errors
/// When there is no store, it cannot be read, or there is no such incident.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List(args) => list(args, common).await,
        Command::Show(args) => one(args, common).await,
        Command::Ack(args) => order::run(&Wish::Ack(args), common).await,
        Command::Snooze(args) => order::run(&Wish::Snooze(args), common).await,
        Command::Resolve(args) => order::run(&Wish::Resolve(args), common).await,
        Command::Release(args) => order::run(&Wish::Release(args), common).await,
    }
}

async fn list(args: &List, common: &Common) -> anyhow::Result<Exit> {
    let (store, _) = open(&args.output, common).await?;
    let mut incidents: Vec<Incident> = Vec::new();
    let search = Search { state: args.state.map(State::from), text: args.text.clone(), members: args.members };
    loop {
        let left = args.limit.saturating_sub(u32::try_from(incidents.len()).unwrap_or(u32::MAX));
        let before = incidents.last().map(Cursor::from);
        let page = store.search(&search, left.min(PAGE), before.as_ref()).await?;
        if page.is_empty() {
            break;
        }
        incidents.extend(page);
    }
    match args.output.output {
        Format::Json => show(&incidents.iter().map(|incident| json(incident, None)).collect::<String>()),
        Format::Text if incidents.is_empty() => show("no incidents\n"),
        Format::Text => show(&table(&incidents, Look::of_stdout())),
    }
}

async fn one(args: &Show, common: &Common) -> anyhow::Result<Exit> {
    let (store, settings) = open(&args.output, common).await?;
    let Some(detail) = store.incident(&args.id).await? else {
        anyhow::bail!(
            "no incident in {} has an id that begins with `{}`; `sigyn incident list` shows the newest",
            store.place(),
            text::clean(&args.id)
        );
    };
    match args.output.output {
        Format::Json => show(&json(&detail.incident, Some(&detail))),
        Format::Text => show(&page(&detail, &settings.notify, Look::of_stdout())),
    }
}

async fn open(output: &Output, common: &Common) -> anyhow::Result<(Store, Settings)> {
    let mut loaded = common.loader().load()?;
    output.apply(&mut loaded.settings);
    let store = Store::open_read_only(place(&loaded.settings, false)?).await?;
    Ok((store, loaded.settings))
}

/// One line of JSON, the type first.
fn json(incident: &Incident, detail: Option<&IncidentDetail>) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        #[serde(flatten)]
        incident: &'a Incident,
        #[serde(skip_serializing_if = "Option::is_none")]
        transitions: Option<Vec<Told<'a>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        deliveries: Option<Vec<Sent<'a>>>,
    }
    #[derive(Serialize)]
    struct Told<'a> {
        number: u64,
        kind: TransitionKind,
        at: i64,
        title: &'a str,
    }
    #[derive(Serialize)]
    struct Sent<'a> {
        receiver: &'a str,
        kind: TransitionKind,
        state: DeliveryState,
        attempts: u32,
        url: Option<&'a str>,
        error: Option<&'a str>,
    }
    let mut told = incident.clone();
    if let Some(worst) = &mut told.worst {
        worst.evidence = render::weighty(&worst.evidence);
    }
    let line = Line {
        r#type: "incident",
        incident: &told,
        transitions: detail.map(|detail| {
            let all = detail.notices.iter();
            all.map(|told| Told { number: told.number, kind: told.kind, at: told.at, title: &told.incident.title })
                .collect()
        }),
        deliveries: detail.map(|detail| {
            let all = detail.deliveries.iter();
            all.map(|delivery| Sent {
                receiver: &delivery.receiver,
                kind: delivery.kind,
                state: delivery.state,
                attempts: delivery.attempts,
                url: delivery.receipt.as_ref().and_then(|receipt| receipt.url.as_deref()),
                error: delivery.error.as_deref(),
            })
            .collect()
        }),
    };
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

fn table(incidents: &[Incident], look: Look) -> String {
    let mut table = sheet(look, &["id", "state", "severity", "since", "lasted", "lines/s", "what"]);
    for incident in incidents {
        let (state, colour) = match incident.state {
            State::Pending => ("pending", Color::Blue),
            State::Firing => ("firing", Color::Red),
            State::Resolved => ("resolved", Color::Green),
        };
        let severity = Cell::new(incident.severity.as_str()).fg(match incident.severity {
            Severity::Critical => Color::Red,
            Severity::Warning => Color::Yellow,
            Severity::Info => Color::Blue,
        });
        table.add_row([
            Cell::new(&incident.id),
            Cell::new(state).fg(colour),
            severity,
            Cell::new(rfc3339(incident.started_at - incident.started_at.rem_euclid(1_000_000_000))),
            Cell::new(render::duration(incident.last_seen - incident.started_at)),
            Cell::new(render::sparkline(&incident.rates).unwrap_or_default()),
            Cell::new(text::clean(&incident.title)),
        ]);
    }
    table.trim_fmt() + "\n"
}

fn page(detail: &IncidentDetail, notify: &NotifyConfig, look: Look) -> String {
    let incident = &detail.incident;
    // Of an incident that nobody has been told of yet there is no notice.
    let kind = match incident.state {
        State::Resolved => TransitionKind::Resolved,
        _ => TransitionKind::Opened,
    };
    let (number, at) = detail.notices.last().map_or((0, incident.last_seen), |last| (last.number, last.at));
    let notification = Notification {
        key: String::new(),
        transition: Transition { kind, number, at, incident: incident.clone() },
        links: links(notify, incident),
    };
    let mut out = text::message(&render::message(&notification), look);
    if incident.state == State::Pending {
        out.push_str("\nNobody has been told yet: its lines are still being counted.\n");
    }
    if !detail.notices.is_empty() {
        let mut table = sheet(look, &["when", "what", "told"]);
        for transition in &detail.notices {
            table.add_row([
                rfc3339(transition.at - transition.at.rem_euclid(1_000_000_000)),
                transition_word(transition.kind).to_owned(),
                told(&detail.deliveries, transition),
            ]);
        }
        out.push_str(&format!("\n{}\n", table.trim_fmt()));
    }
    out
}

fn transition_word(kind: TransitionKind) -> &'static str {
    match kind {
        TransitionKind::Opened => "opened",
        TransitionKind::Continued => "still going on",
        TransitionKind::Escalated => "escalated",
        TransitionKind::Acknowledged => "acknowledged",
        TransitionKind::Reopened => "back again",
        TransitionKind::Resolved => "resolved",
    }
}

/// Who was told of a transition, one a line.
fn told(deliveries: &[Delivery], transition: &Transition) -> String {
    let of_it = |delivery: &&Delivery| delivery.notification.transition.number == transition.number;
    let line = |delivery: &Delivery| {
        let error = delivery.error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
        let what = match delivery.state {
            DeliveryState::Sent => match delivery.receipt.as_ref().and_then(|receipt| receipt.url.as_deref()) {
                Some(url) => format!("sent, {url}"),
                None => "sent".to_owned(),
            },
            DeliveryState::Pending => {
                format!("to be sent, {}{error}", render::count(delivery.attempts.into(), "attempt"))
            }
            DeliveryState::Dead => format!("given up{error}"),
        };
        text::clean(&format!("{} {what}", delivery.receiver))
    };
    deliveries.iter().filter(of_it).map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn sheet(look: Look, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match look {
        Look::Plain => table.force_no_tty(),
        Look::Colours => table.set_content_arrangement(ContentArrangement::Dynamic).enforce_styling(),
    };
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

impl From<Which> for State {
    fn from(which: Which) -> Self {
        match which {
            Which::Pending => Self::Pending,
            Which::Firing => Self::Firing,
            Which::Resolved => Self::Resolved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{Receipt, fixture};

    fn detail() -> IncidentDetail {
        let delivery = |transition: &Transition, receiver: &str, state, receipt, error: Option<&str>| Delivery {
            id: 1,
            receiver: receiver.to_owned(),
            incident: transition.incident.id.clone(),
            kind: transition.kind,
            notification: fixture::notification(transition.clone(), receiver),
            attempts: 2,
            state,
            first_try: None,
            next_at: 0,
            changed_at: 0,
            error: error.map(ToOwned::to_owned),
            receipt,
            earlier: None,
        };
        let (opened, resolved) = (fixture::opened(), fixture::resolved());
        let issue =
            Receipt { id: Some("7".to_owned()), url: Some("https://github.example/acme/shop/issues/7".to_owned()) };
        let deliveries = vec![
            delivery(&opened, "slack", DeliveryState::Sent, None, None),
            delivery(&opened, "github", DeliveryState::Sent, Some(issue), None),
            delivery(&resolved, "slack", DeliveryState::Pending, None, Some("Slack answered 500")),
            delivery(&resolved, "github", DeliveryState::Dead, None, Some("404: the issue\x1b[2J is gone")),
        ];
        let incident = resolved.incident.clone();
        let notices = vec![opened, resolved];
        IncidentDetail { incident, members: Vec::new(), transitions: notices.clone(), notices, deliveries }
    }

    #[test]
    fn a_list_is_a_table() {
        let incidents = [fixture::opened().incident, fixture::resolved().incident, fixture::internal().incident];
        insta::assert_snapshot!(table(&incidents, Look::Plain), @"
        id                state     severity  since                 lasted      lines/s  what
        00c0ffee00c0ffee  firing    critical  2026-11-20T22:00:00Z  3 minutes   ▃▃▃▅▇█   cart: more errors than usual
        00c0ffee00c0ffee  resolved  critical  2026-11-20T22:00:00Z  33 minutes  ▃▃▃▅▇█   cart: more errors than usual
        00c0ffee00c0ffee  firing    warning   2026-11-20T22:00:00Z  3 minutes            sigyn: cannot reach Loki
        ");
        insta::assert_snapshot!(table(&[fixture::hostile("a\x1b[31m\nb").incident], Look::Plain), @r"
        id                state   severity  since                 lasted     lines/s  what
        00c0ffee00c0ffee  firing  critical  2026-11-20T22:00:00Z  3 minutes  ▃▃▃▅▇█   a\u{1b}[31m b: more errors than usual
        ");
    }

    #[test]
    fn one_incident_is_a_page() {
        insta::assert_snapshot!(page(&detail(), &NotifyConfig::default(), Look::Plain), @r#"
        RESOLVED  cart: more errors than usual
          incident  00c0ffee00c0ffee
              when  2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes
          how much  38,912 lines in 33 unusual windows
           lines/s  ▃▃▃▅▇█
             where  {service_name="cart"}
             watch  shop
            labels  cluster=eu-1
             ended  quiet for 5 minutes
               why  errors 48, expected 0 to 3; most of them "payment gateway timeout", never seen before (71 %)
                    different messages 131, expected 20 to 42.5 (19 %)
                    rate 20.1 lines/s, expected 4 to 9.25 (8 %)
                    line length 214 bytes, expected 80 to 220 (2 %)
         in common  all 48 errors from pod=cart-7; 12 % of the other lines
            passed  1,440 windows learnt (60 needed)
                    by chance once in 810,000 looks (490 needed)
          how sure  score 0.93, unusual from 0.71 · every line seen, counted exactly
           samples  22:02:01Z  level=error msg="payment gateway timeout" order=<*>
                    22:02:02Z  java.net.SocketTimeoutException: Read timed out  at Pay.call(Pay.java:42)
                    22:02:30Z  level=warn msg="retrying" attempt=‹3›
                    22:02:31Z  level=warn msg="retrying" attempt=4
             owner  team-shop
           runbook  https://wiki.example.com/cart?a=1&b=2
             query  {service_name="cart"}
          ask Loki  logcli query --from=2026-11-20T21:59:00Z --to=2026-11-20T22:34:00Z --limit=500 '{service_name="cart"}'

         when                  what      told
         2026-11-20T22:03:00Z  opened    slack sent
                                         github sent, https://github.example/acme/shop/issues/7
         2026-11-20T22:38:00Z  resolved  slack to be sent, 2 attempts: Slack answered 500
                                         github given up: 404: the issue\u{1b}[2J is gone
        "#);
    }

    #[test]
    fn nobody_was_told_of_a_pending_one() {
        let mut incident = fixture::opened().incident;
        incident.state = State::Pending;
        let detail = IncidentDetail {
            incident,
            members: Vec::new(),
            transitions: Vec::new(),
            notices: Vec::new(),
            deliveries: Vec::new(),
        };
        let text = page(&detail, &NotifyConfig::default(), Look::Plain);
        assert!(text.contains("Nobody has been told yet"), "{text}");
    }

    #[test]
    fn json_is_one_line_with_the_type_first() {
        for detail in [None, Some(detail())] {
            let line = json(&fixture::opened().incident, detail.as_ref());
            assert!(line.starts_with("{\"type\":\"incident\",\"id\":") && line.ends_with("}\n"), "{line}");
            assert_eq!(line.lines().count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["deliveries"].as_array().map(Vec::len), detail.map(|_| 4));
        }
    }

    #[tokio::test]
    async fn no_store_and_no_incident_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("sigyn.yaml");
        std::fs::write(&config, "").unwrap();
        let common = Common { config: Some(config) };
        let output = Output { output: Format::Text, data_dir: Some(folder.path().to_owned()) };
        let ask = Show { id: "abc".to_owned(), output };
        let told = |error: anyhow::Error| error.to_string().replace(&folder.path().display().to_string(), "");
        insta::assert_snapshot!(told(one(&ask, &common).await.unwrap_err()), @"there is no store at /sigyn.db; `sigyn run` or `sigyn once` makes one, or point `store.data_dir` to the folder of an existing one");
        Store::open(folder.path()).await.unwrap().close().await.unwrap();
        insta::assert_snapshot!(told(one(&ask, &common).await.unwrap_err()), @"no incident in /sigyn.db has an id that begins with `abc`; `sigyn incident list` shows the newest");
    }
}
