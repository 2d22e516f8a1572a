//! `sigyn silence add|list|expire|import|export`, in amtool's words.
//!
//! What comes in: arguments, files, what the store and the settings know. What goes out: rows of the command table, also
//! beside a running daemon, which takes them up by itself; lists. What never happens here: holding a message back.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;

use super::incident::sheet;
use super::text::{self, Look};
use super::{Common, Exit, Format, Output, show};
use crate::app::clock::Clock;
use crate::config::Settings;
use crate::engine::CommandKind;
use crate::labels::{Labels, Matcher, Matchers, matcher};
use crate::notify::interval::{Cron, CronWindow};
use crate::notify::silence::{FOREVER, Silence, SilenceState, Silences, file, read_time};
use crate::notify::zone::Zone;
use crate::store::{Store, StoreError};
use crate::time::{Nanos, SECOND, Span, rfc3339};

/// Arguments of `sigyn silence`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Silence incidents with these labels for a time; prints the id
    Add(Box<Add>),
    /// Show silences
    #[command(visible_alias = "query")]
    List(List),
    /// End silences
    Expire(Expire),
    /// Add the silences of a file, as `export` writes it; what is known already stays as it is
    Import(Import),
    /// Write silences as a file for `import` and `notify.silence_files`
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Labels that must match, such as service_name=cart or 'pod=~"web-.*"'; =, !=, =~, !~
    #[arg(required = true, value_name = "MATCHER")]
    matchers: Vec<String>,
    /// How long it lasts [default: 1h, and without end with --cron]
    #[arg(short, long, value_name = "TIME", conflicts_with = "end")]
    duration: Option<Span>,
    /// When it begins, such as 2026-11-21T22:00:00+01:00 [default: now]
    #[arg(long, value_name = "WHEN", value_parser = read_time)]
    start: Option<Nanos>,
    /// When it ends
    #[arg(long, value_name = "WHEN", value_parser = read_time)]
    end: Option<Nanos>,
    /// Why
    #[arg(short, long, value_name = "TEXT")]
    comment: String,
    /// Who wants it
    #[arg(short, long, env = "USER", hide_env_values = true, default_value = "somebody", value_name = "NAME")]
    author: String,
    /// Only in windows that begin by this pattern, such as "0 2 * * SUN" (minute, hour, day, month, weekday)
    #[arg(long, value_name = "PATTERN", requires = "length")]
    cron: Option<Cron>,
    /// How long each of these windows lasts
    #[arg(long = "for", id = "length", value_name = "TIME", requires = "cron")]
    length: Option<Span>,
    /// By whose clocks they begin, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron", value_parser = Zone::named)]
    time_zone: Option<Zone>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those whose own matchers match these, such as service_name=cart
    #[arg(value_name = "MATCHER")]
    matchers: Vec<String>,
    /// Those that are over, in place of the others
    #[arg(long)]
    expired: bool,
    /// Only those that end, or ended, within this time
    #[arg(long, value_name = "TIME")]
    within: Option<Span>,
    /// Only those of this person
    #[arg(long, value_name = "NAME")]
    created_by: Option<String>,
    /// Only their ids
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Expire {
    /// Ids of silences, or their first characters
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Import {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// Also those that are over
    #[arg(long)]
    expired: bool,
    #[command(flatten)]
    output: Output,
}

/// Carries it out.
///
/// # Errors
/// When there is no store, it cannot be read or written, or what is asked for cannot be.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let now = Clock::real().now();
    match &args.command {
        Command::Add(args) => add(args, common, now).await,
        Command::List(args) => list(args, common, now).await,
        Command::Expire(args) => expire(args, common, now).await,
        Command::Import(args) => import(args, common, now).await,
        Command::Export(args) => export(args, common, now).await,
    }
}

async fn add(args: &Add, common: &Common, now: Nanos) -> anyhow::Result<Exit> {
    let silence = made(args, now)?;
    let (store, mut known) = open(&args.output, common).await?;
    known.set(silence.clone())?;
    append(&store, &silence, now).await?;
    store.close().await?;
    match args.output.output {
        Format::Json => show(&json(&silence, now)),
        Format::Text => show(&format!("{}\n", silence.id)),
    }
}

/// The silence that the arguments describe.
fn made(args: &Add, now: Nanos) -> anyhow::Result<Silence> {
    ensure!(!args.comment.trim().is_empty(), "--comment must say why");
    let start = args.start.unwrap_or(now - now.rem_euclid(SECOND));
    let schedule = args.cron.clone().map(|cron| CronWindow {
        cron,
        length: args.length.unwrap_or_default(),
        time_zone: args.time_zone.clone().unwrap_or_default(),
    });
    let usual = if schedule.is_some() { None } else { Some(Span::hours(1)) };
    let lasts = args.duration.or(usual).map_or(FOREVER, |span| start.saturating_add(span.nanos()));
    let silence = Silence {
        starts_at: start,
        ends_at: args.end.unwrap_or(lasts),
        schedule,
        created_by: args.author.clone(),
        created_at: now,
        comment: args.comment.trim().to_owned(),
        ..Silence::new(matchers(&args.matchers)?)
    };
    ensure!(silence.ends_at > now, "it would be over already: it ends at {}", rfc3339(silence.ends_at));
    Ok(silence.checked()?)
}

/// Matchers of several arguments. As in amtool, a first one that is only a word is the `alertname`.
fn matchers(texts: &[String]) -> anyhow::Result<Matchers> {
    let mut all = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        if index == 0 && !text.contains(['=', '~']) {
            all.push(Matcher::equal("alertname", text));
            continue;
        }
        let parsed = matcher::parse(text).map_err(|error| anyhow!("`{}`: {error}", text::clean(text)))?;
        all.extend(parsed.iter().cloned());
    }
    Ok(all.into_iter().collect())
}

async fn list(args: &List, common: &Common, now: Nanos) -> anyhow::Result<Exit> {
    let (store, known) = open(&args.output, common).await?;
    store.close().await?;
    let wanted = matchers(&args.matchers)?;
    let mut found: Vec<&Silence> = known.iter().filter(|silence| args.asks_for(silence, &wanted, now)).collect();
    found.sort_by(|a, b| (a.ends_at, &a.id).cmp(&(b.ends_at, &b.id)));
    match args.output.output {
        _ if args.quiet => show(&found.iter().map(|silence| format!("{}\n", silence.id)).collect::<String>()),
        Format::Json => show(&found.iter().map(|silence| json(silence, now)).collect::<String>()),
        Format::Text if found.is_empty() => show("no silences\n"),
        Format::Text => show(&table(&found, now, Look::of_stdout())),
    }
}

impl List {
    fn asks_for(&self, silence: &Silence, wanted: &Matchers, now: Nanos) -> bool {
        let over = silence.state(now) == SilenceState::Expired;
        // As amtool has it, a filter is on what the silence's own matchers say.
        let said: Labels = silence.matchers.iter().map(|matcher| (matcher.name(), matcher.value())).collect();
        let near = |within: Span| (silence.ends_at.saturating_sub(now)).abs() <= within.nanos();
        over == self.expired
            && wanted.matches(&said)
            && self.within.is_none_or(near)
            && self.created_by.as_ref().is_none_or(|by| *by == silence.created_by)
    }
}

async fn expire(args: &Expire, common: &Common, now: Nanos) -> anyhow::Result<Exit> {
    let (store, mut known) = open(&args.output, common).await?;
    let mut ids = Vec::new();
    for id in &args.ids {
        let silence = known.find(id)?;
        ensure!(silence.state(now) != SilenceState::Expired, "the silence `{}` is over already", silence.id);
        let id = silence.id.clone();
        known.expire(&id, now)?;
        ids.push(id);
    }
    for id in &ids {
        store.append_command(&CommandKind::Silence { id: id.clone(), document: None }, now).await?;
    }
    store.close().await?;
    show(&ids.iter().map(|id| format!("{id}\n")).collect::<String>())
}

async fn import(args: &Import, common: &Common, now: Nanos) -> anyhow::Result<Exit> {
    let silences = if args.file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        file::parse(&text).map_err(|error| anyhow!("standard input: {error}"))?
    } else {
        file::load(&args.file)?
    };
    let (store, mut known) = open(&args.output, common).await?;
    let (mut new, mut changed, mut same) = (Vec::new(), 0, 0);
    for silence in silences {
        // Imported, it is no longer the file's.
        let silence = Silence { file: None, ..silence };
        match known.get(&silence.id) {
            Some(before) if *before == silence => {
                same += 1;
                continue;
            }
            Some(_) => changed += 1,
            None => {}
        }
        known.set(silence.clone())?;
        new.push(silence);
    }
    for silence in &new {
        append(&store, silence, now).await?;
    }
    store.close().await?;
    show(&format!("silences: {} new, {changed} changed, {same} known already\n", new.len() - changed))
}

async fn export(args: &Export, common: &Common, now: Nanos) -> anyhow::Result<Exit> {
    let (store, known) = open(&args.output, common).await?;
    store.close().await?;
    let wanted = |silence: &&Silence| args.expired || silence.state(now) != SilenceState::Expired;
    let own = known.iter().filter(|silence| silence.file.is_none()).filter(wanted);
    show(&file::export(own))
}

async fn append(store: &Store, silence: &Silence, now: Nanos) -> anyhow::Result<()> {
    let (id, document) = (silence.id.clone(), Some(silence.document()));
    store.append_command(&CommandKind::Silence { id, document }, now).await?;
    Ok(())
}

async fn open(output: &Output, common: &Common) -> anyhow::Result<(Store, Silences)> {
    let mut loaded = common.loader().load()?;
    output.apply(&mut loaded.settings);
    let store = Store::open_beside(&loaded.settings.store.data_dir).await?;
    let known = known(&loaded.settings, Some(&store)).await?;
    Ok((store, known))
}

/// All silences: those of the settings' files, those of the store, and what was ordered and is not done yet.
pub(super) async fn known(settings: &Settings, store: Option<&Store>) -> anyhow::Result<Silences> {
    let mut all = Silences::new();
    for path in &settings.notify.silence_files {
        for silence in file::load(path)? {
            all.set(silence)?;
        }
    }
    let Some(store) = store else { return Ok(all) };
    // What cannot be applied any more (it is declared in a file by now) is not in force either.
    for stored in store.silences().await? {
        if all.apply(&stored.id, Some(&stored.document), 0).is_ok()
            && let Some(at) = stored.expired_at
        {
            let _ = all.expire(&stored.id, at);
        }
    }
    for command in store.pending_orders().await? {
        if let CommandKind::Silence { id, document } = &command.kind {
            let _ = all.apply(id, document.as_deref(), command.at);
        }
    }
    Ok(all)
}

/// The store of the settings, when there is one.
pub(super) async fn store(settings: &Settings) -> anyhow::Result<Option<Store>> {
    match Store::open_read_only(&settings.store.data_dir).await {
        Ok(store) => Ok(Some(store)),
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => bail!(error),
    }
}

/// One line of JSON, the type first.
fn json(silence: &Silence, now: Nanos) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        state: SilenceState,
        #[serde(flatten)]
        silence: &'a Silence,
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<&'a str>,
    }
    let line = Line { r#type: "silence", state: silence.state(now), silence, file: silence.file.as_deref() };
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}

fn table(silences: &[&Silence], now: Nanos, look: Look) -> String {
    let mut table = sheet(look, &["id", "state", "matchers", "ends", "by", "comment"]);
    for silence in silences {
        let by = match &silence.file {
            Some(file) => format!("{} ({file})", silence.created_by),
            None => silence.created_by.clone(),
        };
        table.add_row([
            silence.id.clone(),
            silence.state(now).to_string(),
            text::clean(&silence.matchers.to_string()),
            ends(silence, now),
            text::clean(by.trim()),
            text::clean(&silence.comment),
        ]);
    }
    table.trim_fmt() + "\n"
}

/// When it ends, and where it has a schedule, when it holds.
fn ends(silence: &Silence, now: Nanos) -> String {
    let shown = |at: Nanos| rfc3339(at - at.rem_euclid(SECOND));
    let end = if silence.ends_at == FOREVER { "never".to_owned() } else { shown(silence.ends_at) };
    let Some(schedule) = &silence.schedule else { return end };
    let next = schedule.next(now).filter(|next| *next < silence.ends_at && silence.state(now) == SilenceState::Pending);
    let next = next.map(|next| format!(", next {}", shown(next))).unwrap_or_default();
    format!("{end}; {} for {}, {}{next}", schedule.cron, schedule.length, schedule.time_zone.name())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::notify::fixture::START;
    use crate::time::HOUR;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        add: Add,
    }

    fn check(args: &[&str]) -> Result<Silence, String> {
        let args = ["add", "--comment", "deploy", "--author", "anna"].iter().chain(args);
        let line = Line::try_parse_from(args).map_err(|error| error.to_string())?;
        made(&line.add, START + SECOND / 3).map_err(|error| error.to_string())
    }

    #[test]
    fn a_silence_is_what_the_arguments_say() {
        let usual = check(&["service_name=cart"]).unwrap();
        assert_eq!((usual.starts_at, usual.ends_at), (START, START + HOUR));
        assert_eq!(usual.matchers.to_string(), r#"{service_name="cart"}"#);
        let word = check(&["slower than usual", "severity!=critical", "-d", "2h"]).unwrap();
        assert_eq!(word.matchers.to_string(), r#"{alertname="slower than usual", severity!="critical"}"#);
        assert_eq!(word.ends_at, START + 2 * HOUR);
        let cron = check(&["a=b", "--cron", "0 2 * * SUN", "--for", "2h", "--time-zone", "Europe/Berlin"]).unwrap();
        assert_eq!(cron.ends_at, FOREVER);
        let times = ["a=b", "--start", "2026-11-21T00:00:00+01:00", "--end", "2026-11-22T00:00:00Z"];
        assert_eq!(rfc3339(check(&times).unwrap().starts_at), "2026-11-20T23:00:00Z");
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (args, told) in [
            (vec!["a=~("], "`a=~(`: column 4: no regular expression: unclosed group"),
            (vec!["a!=b"], "at least one must name a value"),
            (vec!["a=b", "--end", "2026-11-20T00:00:00Z"], "it would be over already"),
            (vec!["a=b", "--start", "tomorrow"], "`tomorrow` is no time"),
            (vec!["a=b", "--cron", "0 2 * * SUN"], "--for"),
            (vec!["a=b", "--cron", "0 2 * *", "--for", "1h"], "is no cron pattern"),
            (vec!["a=b", "--time-zone", "Mars"], "`Mars` is no time zone"),
            (vec!["a=b", "-d", "0"], "it would be over already"),
            (vec![], "MATCHER"),
        ] {
            let error = check(&args).unwrap_err();
            assert!(error.contains(told), "{args:?}: {error}");
        }
    }

    #[test]
    fn a_list_is_a_table() {
        let one = check(&["service_name=cart"]).unwrap();
        let mut cron = check(&["a=b", "--cron", "0 2 * * SUN", "--for", "2h", "--time-zone", "Europe/Berlin"]).unwrap();
        cron.file = Some("silences.yaml".to_owned());
        let over = Silence { ends_at: START + 1, comment: "a\x1b[2J\nb".to_owned(), ..one.clone() };
        insta::assert_snapshot!(table(&[&one, &cron, &over], START + 2 * SECOND, Look::Plain), @r#"
        id                state    matchers               ends                                                                 by                    comment
        e84d075316126445  active   {service_name="cart"}  2026-11-20T23:00:00Z                                                 anna                  deploy
        50cbe4cc69b7ed2d  pending  {a="b"}                never; 0 2 * * SUN for 2h, Europe/Berlin, next 2026-11-22T01:00:00Z  anna (silences.yaml)  deploy
        e84d075316126445  expired  {service_name="cart"}  2026-11-20T22:00:00Z                                                 anna                  a\u{1b}[2J b
        "#);
        insta::assert_snapshot!(json(&cron, START), @r#"{"type":"silence","state":"pending","id":"50cbe4cc69b7ed2d","matchers":["a=\"b\""],"starts_at":"2026-11-20T22:00:00Z","schedule":{"cron":"0 2 * * SUN","for":"2h","time_zone":"Europe/Berlin"},"created_by":"anna","created_at":"2026-11-20T22:00:00.333333333Z","comment":"deploy","file":"silences.yaml"}"#);
    }
}
