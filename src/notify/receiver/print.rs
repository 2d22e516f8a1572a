//! Shows what would be sent, and sends nothing: for `--dry-run`.
//!
//! What comes in: notifications. What goes out: for each receiver its own form of them, as it would get it. What never
//! happens here: a secret; keys and addresses are not part of any form.

use std::sync::Arc;

use serde_json::Value;

use super::Way;
use super::github::{render_comment, render_issue};
use super::slack::render_text;
use crate::incident::TransitionKind;
use crate::notify::Notification;

/// Something that would have been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// To whom, by the name in the settings.
    pub receiver: String,
    /// Subject of a mail, title of an issue.
    pub title: Option<String>,
    /// The text or the body as the receiver would get it.
    pub text: String,
}

/// Where it goes instead. Called by several tasks, so it writes each one as a whole.
pub type Show = Arc<dyn Fn(&Printed) + Send + Sync>;

/// Title and text for a receiver; `None`: nothing would be sent.
pub(super) fn preview(way: &Way, notification: &Notification) -> Option<(Option<String>, String)> {
    let plain = |text: String| Some((None, text));
    let json = |body: Value| Some((None, serde_json::to_string_pretty(&body).unwrap_or_default()));
    match way {
        Way::Slack(way) => plain(way.preview(notification)),
        Way::Github(_) if notification.transition.kind == TransitionKind::Opened => {
            let (title, text) = render_issue(notification);
            Some((Some(title), text))
        }
        Way::Github(_) => plain(render_comment(notification)),
        Way::Email(way) => {
            let (subject, text) = way.preview(notification);
            Some((Some(subject), text))
        }
        Way::Teams(way) => json(way.preview(notification)),
        Way::Pagerduty(way) => json(way.preview(notification)),
        Way::Opsgenie(way) => json(way.preview(notification)),
        Way::Discord(way) => json(way.preview(notification)),
        Way::Telegram(way) => plain(way.preview(notification)),
        Way::Sms(way) => plain(way.preview(notification)?),
        Way::Webhook(way) => plain(way.preview(notification)),
        Way::Alertmanager(way) => json(way.preview(notification)),
        Way::Grafana(way) => json(way.preview(notification)),
        Way::Loki(way) => json(way.preview(notification)),
        Way::File(way) => plain(way.preview(notification)),
        Way::Stdout(way) => plain(way.preview(notification)),
        Way::Nobody => plain(render_text(notification)["text"].as_str().unwrap_or_default().to_owned()),
    }
}
