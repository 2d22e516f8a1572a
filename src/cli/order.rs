//! `sigyn incident ack|snooze|resolve|release`: what people want with incidents.
//!
//! What comes in: ids and who wants it. What goes out: rows of the command table, also beside a running daemon, which takes
//! them up by itself. What never happens here: changing an incident.

use anyhow::{bail, ensure};
use serde::Serialize;

use super::{Common, Exit, Format, Output, show, text};
use crate::app::clock::Clock;
use crate::app::place;
use crate::engine::{CommandKind, Order};
use crate::incident::{Incident, Mark, Snooze, State};
use crate::store::Store;
use crate::time::{Nanos, Span, rfc3339};

/// Longest note, and longest name, in bytes.
const MAX_NOTE: usize = 2000;
const MAX_NAME: usize = 256;

/// Which incidents, and who wants something with them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids of incidents, or their first characters
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    output: Output,
}

/// `snooze`, with when it ends.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("end").required(true).multiple(true))]
pub struct SnoozeArgs {
    #[command(flatten)]
    args: Args,
    /// Until this much time has passed, such as 2h
    #[arg(long = "for", value_name = "TIME", group = "end")]
    time: Option<Span>,
    /// Until it was seen in so many more windows
    #[arg(long, value_name = "N", group = "end", value_parser = clap::value_parser!(u64).range(1..))]
    windows: Option<u64>,
    /// Until it becomes worse
    #[arg(long, group = "end")]
    until_worse: bool,
}

#[derive(Debug, clap::Args)]
struct Who {
    /// Who wants it
    #[arg(long, env = "USER", hide_env_values = true, default_value = "somebody", value_name = "NAME")]
    by: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// What is wanted.
#[derive(Debug)]
pub enum Wish<'a> {
    /// To look after them.
    Ack(&'a Args),
    /// Not to hear of them for now.
    Snooze(&'a SnoozeArgs),
    /// That they are over.
    Resolve(&'a Args),
    /// To take an acknowledgement and a snooze back.
    Release(&'a Args),
}

/// Notes it.
///
/// # Errors
/// When there is no store, it cannot be written, or an id is not that of an open incident; then nothing is noted.
pub async fn run(wish: &Wish<'_>, common: &Common) -> anyhow::Result<Exit> {
    let args = wish.args();
    let now = Clock::real().now();
    let order = wish.order(mark(&args.who, now)?, now);
    let mut loaded = common.loader().load()?;
    args.output.apply(&mut loaded.settings);
    let store = Store::open_beside(place(&loaded.settings, false)?).await?;
    let mut incidents = Vec::new();
    for id in &args.ids {
        incidents.push(find(&store, id).await?);
    }
    let mut out = String::new();
    for incident in &incidents {
        let kind = CommandKind::Incident { incident: incident.id.clone(), order: order.clone() };
        store.append_command(&kind, now).await?;
        out += &told(&kind, incident, args.output.output);
    }
    store.close().await?;
    show(&out)
}

impl Wish<'_> {
    fn args(&self) -> &Args {
        match self {
            Self::Ack(args) | Self::Resolve(args) | Self::Release(args) => args,
            Self::Snooze(snooze) => &snooze.args,
        }
    }

    fn order(&self, mark: Mark, now: Nanos) -> Order {
        match self {
            Self::Ack(_) => Order::Acknowledge(mark),
            Self::Resolve(_) => Order::Resolve(mark),
            Self::Release(_) => Order::Release(mark),
            Self::Snooze(snooze) => Order::Snooze(Snooze {
                mark,
                until: snooze.time.map(|time| now.saturating_add(time.nanos())),
                windows: snooze.windows,
                until_worse: snooze.until_worse,
            }),
        }
    }
}

fn mark(who: &Who, now: Nanos) -> anyhow::Result<Mark> {
    let by = who.by.trim();
    ensure!(!by.is_empty() && by.len() <= MAX_NAME, "--by must be a name of at most {MAX_NAME} bytes");
    let note = who.note.as_deref().map(str::trim).filter(|note| !note.is_empty());
    ensure!(note.is_none_or(|note| note.len() <= MAX_NOTE), "--note must be at most {MAX_NOTE} bytes");
    Ok(Mark { by: by.to_owned(), at: now, note: note.map(ToOwned::to_owned) })
}

async fn find(store: &Store, id: &str) -> anyhow::Result<Incident> {
    let shown = text::clean(id);
    let found = if id.is_empty() { None } else { store.incident(id).await? };
    let Some(detail) = found else {
        bail!(
            "no incident in {} has an id that begins with `{shown}`; `sigyn incident list` shows the newest",
            store.place()
        );
    };
    let incident = detail.incident;
    ensure!(incident.state != State::Resolved, "the incident {} is resolved already", incident.id);
    Ok(incident)
}

fn told(kind: &CommandKind, incident: &Incident, format: Format) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        incident: &'a str,
        #[serde(flatten)]
        order: &'a Order,
    }
    let CommandKind::Incident { order, .. } = kind else { return String::new() };
    if format == Format::Json {
        let line = Line { r#type: "order", incident: &incident.id, order };
        return serde_json::to_string(&line).unwrap_or_default() + "\n";
    }
    let what = match order {
        Order::Acknowledge(_) => "acknowledge".to_owned(),
        Order::Resolve(_) => "resolve".to_owned(),
        Order::Release(_) => "release".to_owned(),
        Order::Snooze(snooze) => format!("snooze {}", until(snooze)),
    };
    format!("noted for sigyn: {what}: {} {}\n", incident.id, text::clean(&incident.title))
}

/// When a snooze ends.
fn until(snooze: &Snooze) -> String {
    let mut ends = Vec::new();
    ends.extend(snooze.until.map(|until| format!("until {}", rfc3339(until - until.rem_euclid(crate::time::SECOND)))));
    ends.extend(snooze.windows.map(|windows| format!("for {}", crate::notify::render::count(windows, "window"))));
    ends.extend(snooze.until_worse.then(|| "until it becomes worse".to_owned()));
    ends.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::time::{HOUR, SECOND};

    #[test]
    fn what_was_noted_is_shown() {
        let incident = fixture::opened().incident;
        let mark = Mark { by: "anna".to_owned(), at: fixture::START, note: Some("looking".to_owned()) };
        let snooze = Snooze {
            mark: mark.clone(),
            until: Some(fixture::START + 2 * HOUR + SECOND / 2),
            windows: Some(1),
            until_worse: true,
        };
        let mut shown = String::new();
        for order in [
            Order::Acknowledge(mark.clone()),
            Order::Snooze(snooze),
            Order::Resolve(mark.clone()),
            Order::Release(mark),
        ] {
            let kind = CommandKind::Incident { incident: incident.id.clone(), order };
            shown += &told(&kind, &incident, Format::Text);
            shown += &told(&kind, &incident, Format::Json);
        }
        insta::assert_snapshot!(shown, @r#"
        noted for sigyn: acknowledge: 00c0ffee00c0ffee cart: more errors than usual
        {"type":"order","incident":"00c0ffee00c0ffee","order":"acknowledge","by":"anna","at":1795212000000000000,"note":"looking"}
        noted for sigyn: snooze until 2026-11-21T00:00:00Z or for 1 window or until it becomes worse: 00c0ffee00c0ffee cart: more errors than usual
        {"type":"order","incident":"00c0ffee00c0ffee","order":"snooze","mark":{"by":"anna","at":1795212000000000000,"note":"looking"},"until":1795219200500000000,"windows":1,"until_worse":true}
        noted for sigyn: resolve: 00c0ffee00c0ffee cart: more errors than usual
        {"type":"order","incident":"00c0ffee00c0ffee","order":"resolve","by":"anna","at":1795212000000000000,"note":"looking"}
        noted for sigyn: release: 00c0ffee00c0ffee cart: more errors than usual
        {"type":"order","incident":"00c0ffee00c0ffee","order":"release","by":"anna","at":1795212000000000000,"note":"looking"}
        "#);
    }

    fn args(folder: &std::path::Path, ids: &[&str]) -> Args {
        let who = Who { by: "anna".to_owned(), note: None };
        let output = Output { output: Format::Text, data_dir: Some(folder.to_owned()) };
        Args { ids: ids.iter().map(|&id| id.to_owned()).collect(), who, output }
    }

    #[tokio::test]
    async fn orders_stand_in_the_command_table_and_all_ids_must_be_open_incidents() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("sigyn.yaml");
        std::fs::write(&config, "").unwrap();
        let common = Common { config: Some(config) };
        let store = Store::open(folder.path()).await.unwrap();
        let (open, mut over) = (fixture::opened().incident, fixture::resolved().incident);
        over.id = "00c0ffee0000000f".to_owned();
        let incidents = vec![open.clone(), over];
        let step = crate::engine::Step { incidents, ..Default::default() };
        let commit = crate::store::Commit { step: &step, source_state: None, fence: None };
        store.commit(&commit).await.unwrap();
        for (ids, told) in [
            (vec!["00c0ffee00c", "beef"], "no incident in"),
            (vec![""], "no incident in"),
            (vec!["00c0ffee0000"], "the incident 00c0ffee0000000f is resolved already"),
            (vec!["00c0ffee"], "more than one"),
        ] {
            let error = run(&Wish::Ack(&args(folder.path(), &ids)), &common).await.unwrap_err().to_string();
            assert!(error.contains(told), "{ids:?}: {error}");
        }
        assert!(store.pending_orders().await.unwrap().is_empty());
        // Beside the process that has it open.
        let args = args(folder.path(), &["00c0ffee00c"]);
        let snooze = SnoozeArgs { args, time: None, windows: Some(3), until_worse: false };
        run(&Wish::Snooze(&snooze), &common).await.unwrap();
        run(&Wish::Release(&snooze.args), &common).await.unwrap();
        let orders = store.pending_orders().await.unwrap();
        let CommandKind::Incident { incident, order: Order::Snooze(snooze) } = &orders[0].kind else {
            panic!("{orders:?}")
        };
        assert_eq!((incident, snooze.windows, snooze.mark.by.as_str()), (&open.id, Some(3), "anna"));
        assert!(matches!(&orders[1].kind, CommandKind::Incident { order: Order::Release(_), .. }));
    }

    #[test]
    fn a_name_and_a_note_have_their_bounds() {
        let who = |by: &str, note: &str| Who { by: by.to_owned(), note: Some(note.to_owned()) };
        assert!(mark(&who(" ", ""), 0).is_err());
        assert!(mark(&who("a", &"x".repeat(MAX_NOTE + 1)), 0).is_err());
        assert_eq!(mark(&who(" a ", " "), 7).unwrap(), Mark { by: "a".to_owned(), at: 7, note: None });
    }
}
