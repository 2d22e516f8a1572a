//! `sigyn notify test`: sends a clearly marked test message, and shows what the receiver answered. `dead` and `resend`: what
//! no receiver took.
//!
//! A test works on the settings alone, also beside a running daemon: nothing is stored, and nothing is retried.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Common, Exit, Format, Output, lines, show, text};
use crate::app::clock::Clock;
use crate::app::place;
use crate::engine::CommandKind;
use crate::notify::receiver::{self, Receiver};
use crate::notify::{Notification, Notifier, Receipt, SendError, sample};
use crate::store::{Delivery, Store};
use crate::time::Nanos;

/// Messages that are shown.
const SHOWN: u32 = 200;
/// As long as the outbox waits.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Arguments of `sigyn notify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Send a test message, and then its end
    Test(Test),
    /// Messages that were given up
    Dead(Dead),
    /// Send messages that were given up again
    Resend(Resend),
}

#[derive(Debug, clap::Args)]
struct Dead {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Resend {
    /// Only those for this receiver
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,
    /// Only those about this incident
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Test {
    /// Names of receivers in the settings (`slack` and `github` for the shorthands); without any, all of them
    names: Vec<String>,
    /// Leave it open: do not send that the test is over
    #[arg(long)]
    open: bool,
}

/// Carries it out.
///
/// # Errors
/// When a setting cannot be used, or a receiver did not take the message.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Test(args) => try_out(args, common).await,
        Command::Dead(args) => dead(args, common).await,
        Command::Resend(args) => resend(args, common).await,
    }
}

/// The messages that no receiver took.
async fn dead(args: &Dead, common: &Common) -> anyhow::Result<Exit> {
    let mut loaded = common.loader().load()?;
    args.output.apply(&mut loaded.settings);
    let store = Store::open_read_only(place(&loaded.settings, false)?).await?;
    let dead = store.dead_deliveries(SHOWN).await?;
    store.close().await?;
    if args.output.output == Format::Json {
        let line = |one: &Delivery| {
            let line = serde_json::json!({
                "type": "dead", "receiver": one.receiver, "incident": one.incident, "kind": one.kind.as_str(),
                "title": one.notification.transition.incident.title, "attempts": one.attempts, "error": one.error,
                "changed_at": one.changed_at,
            });
            format!("{line}\n")
        };
        return show(&dead.iter().map(line).collect::<String>());
    }
    if dead.is_empty() {
        return show("no message was given up\n");
    }
    let line = |one: &Delivery| {
        let (title, error) = (&one.notification.transition.incident.title, one.error.as_deref().unwrap_or("?"));
        let head = format!("{} {} {}", one.receiver, one.incident, one.kind.as_str());
        format!("{} {}\n    {}\n", text::clean(&head), text::clean(title), text::clean(error))
    };
    let all: String = dead.iter().map(line).collect();
    let first = if dead.len() < SHOWN as usize { String::new() } else { format!("these are the first {SHOWN}; ") };
    show(&format!("{all}{first}send them again with: sigyn notify resend\n"))
}

/// Asks the daemon to send what was given up again.
async fn resend(args: &Resend, common: &Common) -> anyhow::Result<Exit> {
    let mut loaded = common.loader().load()?;
    args.output.apply(&mut loaded.settings);
    let store = Store::open_beside(place(&loaded.settings, false)?).await?;
    let incident = match &args.incident {
        Some(id) => Some(about(&store, id).await?),
        None => None,
    };
    let is = |wish: &Option<String>, name: &str| wish.as_deref().is_none_or(|wish| wish == name);
    let dead = store.dead_deliveries(SHOWN).await?;
    let wanted = |one: &Delivery| is(&args.receiver, &one.receiver) && is(&incident, &one.incident);
    if dead.len() < SHOWN as usize && !dead.iter().any(wanted) {
        store.close().await?;
        return show("no such message was given up, so nothing is sent again; `sigyn notify dead` shows which were\n");
    }
    let kind = CommandKind::Resend { receiver: args.receiver.clone(), incident };
    store.append_command(&kind, Clock::real().now()).await?;
    store.close().await?;
    show("noted: a running sigyn sends them within some seconds, else the next one does\n")
}

/// The whole id of the incident whose id begins so.
async fn about(store: &Store, id: &str) -> anyhow::Result<String> {
    let found = if id.is_empty() { None } else { store.incident(id).await? };
    found.map(|detail| detail.incident.id).with_context(|| {
        let shown = text::clean(id);
        format!("no incident in {} has an id that begins with `{shown}`; `sigyn notify dead` shows ids", store.place())
    })
}

async fn try_out(args: &Test, common: &Common) -> anyhow::Result<Exit> {
    let loaded = common.settings()?;
    let receivers = receiver::build(&loaded.settings.notify)?;
    let known: Vec<&str> = receivers.iter().map(|(name, _, _)| name.as_str()).collect();
    if let Some(unknown) = args.names.iter().find(|name| !known.contains(&name.as_str())) {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        eprintln!("sigyn: no receiver is called `{}`; the settings have: {known}", lines(unknown));
        return Ok(Exit::Usage);
    }
    ensure!(!known.is_empty(), "the settings have no receiver; set notify.slack, notify.github or notify.receivers");
    let (mut failed, now) = (0, Clock::real().now());
    let wanted = |name: &String| args.names.is_empty() || args.names.contains(name);
    let chosen: Vec<_> = receivers.iter().filter(|(name, _, _)| wanted(name)).collect();
    for (name, receiver, _) in &chosen {
        let (good, told) = test(name, receiver, now, !args.open).await;
        show(&told)?;
        failed += usize::from(!good);
    }
    ensure!(failed == 0, "{failed} of {} receivers did not take the test message", chosen.len());
    Ok(Exit::Done)
}

/// Whether all was taken, and what happened.
async fn test(name: &str, receiver: &Receiver, now: Nanos, end: bool) -> (bool, String) {
    let opened = sample::test(name, now, false);
    let mut told =
        format!("{name}: sending {:?}, incident {}\n", opened.transition.incident.title, opened.transition.incident.id);
    let (receipt, line) = answered(send(receiver, &opened, None).await);
    told += &format!("{name}: opened: {line}\n");
    let Some(receipt) = receipt else { return (false, told) };
    if !end {
        return (true, told);
    }
    let (ended, line) = answered(send(receiver, &sample::test(name, now, true), Some(&receipt)).await);
    told += &format!("{name}: resolved: {line}\n");
    (ended.is_some(), told)
}

async fn send(
    receiver: &Receiver,
    notification: &Notification,
    earlier: Option<&Receipt>,
) -> Result<Receipt, SendError> {
    let sent = tokio::time::timeout(TIMEOUT, receiver.send(notification, earlier)).await;
    sent.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", TIMEOUT.as_secs());
        Err(SendError::Retry { reason: "timeout", message, after: None })
    })
}

/// A line for people. Errors hold no secret, by their type's promise.
fn answered(outcome: Result<Receipt, SendError>) -> (Option<Receipt>, String) {
    match outcome {
        Ok(receipt) => {
            let id = receipt.id.as_deref().map(|id| format!(", known there as {}", lines(id))).unwrap_or_default();
            let url = receipt.url.as_deref().map(|url| format!(", see {}", lines(url))).unwrap_or_default();
            (Some(receipt), format!("taken{id}{url}"))
        }
        Err(SendError::Retry { reason, message, after }) => {
            let after = after.map(|after| format!(", asks to wait {} s", after.as_secs())).unwrap_or_default();
            (None, format!("FAILED ({reason}; it may work later{after}): {}", lines(&message)))
        }
        Err(SendError::GiveUp { reason, message }) => (None, format!("FAILED ({reason}): {}", lines(&message))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::config::{NotifyConfig, SlackConfig};
    use crate::notify::receiver::stub::{HUSH, Stub};
    use crate::secret::Secret;

    const NOW: Nanos = 1_800_000_000_000_000_000;

    async fn told(script: &[(u16, &str)]) -> (String, Stub) {
        let (stub, url) = Stub::start(script).await;
        let slack =
            SlackConfig { webhook_url: Some(Secret::new(format!("{url}/services/{HUSH}"))), ..SlackConfig::default() };
        let built = receiver::build(&NotifyConfig { slack, ..NotifyConfig::default() }).unwrap();
        let (name, receiver, _) = &built[0];
        let (good, told) = test(name, receiver, NOW, true).await;
        assert!(!told.contains(HUSH), "{told}");
        (format!("{good}\n{told}"), stub)
    }

    #[tokio::test]
    async fn a_test_is_marked_as_one_and_ends() {
        let (told, stub) = told(&[]).await;
        let texts: Vec<String> =
            stub.asked().iter().map(|one| one.json()["text"].as_str().unwrap().to_owned()).collect();
        insta::assert_snapshot!(format!("{told}=====\n{}", texts.join("\n-----\n")), @r#"
        true
        slack: sending "sigyn: TEST, nothing is wrong", incident 18fae27693b40000
        slack: opened: taken
        slack: resolved: taken
        =====
        🔵 INFO sigyn: TEST, nothing is wrong
        When: since 2027-01-15T08:00:00Z, less than a second so far
        Where: {on="slack", problem="test", service="sigyn"}
        Why: this is a test of the receiver 'slack', sent by hand with 'sigyn notify test'; nobody needs to do anything
        sigyn · watch sigyn · to handle: sigyn incident ack, snooze or resolve · incident 18fae27693b40000
        -----
        🟢 RESOLVED sigyn: TEST, nothing is wrong
        When: 2027-01-15T08:00:00Z to 2027-01-15T08:00:00Z, less than a second
        End: well again
        Why: this is a test of the receiver 'slack', sent by hand with 'sigyn notify test'; nobody needs to do anything
        sigyn · watch sigyn · incident 18fae27693b40000
        "#);
    }

    #[tokio::test]
    async fn a_failure_says_why() {
        let (gone, _) = told(&[(404, "no_service ECHO")]).await;
        let (busy, _) = told(&[(200, "ok"), (429, "")]).await;
        insta::assert_snapshot!(format!("{gone}{busy}"), @r#"
        false
        slack: sending "sigyn: TEST, nothing is wrong", incident 18fae27693b40000
        slack: opened: FAILED (not_found): posting to the Slack webhook at 127.0.0.1: answered 404 "no_service /[secret]/[secret]  {blocks:[{text:{emoji:false,te"; the webhook was removed or switched off: make a new one and set notify.slack.webhook_url
        false
        slack: sending "sigyn: TEST, nothing is wrong", incident 18fae27693b40000
        slack: opened: taken
        slack: resolved: FAILED (rate_limited; it may work later, asks to wait 7 s): posting to the Slack webhook at 127.0.0.1: answered 429 ""
        "#);
    }
}
