//! Asks a receiver whether it would take messages, without sending any: for `sigyn check --online`.
//!
//! What comes in: receivers. What goes out: a sentence for people, or what is wrong and what to do. What never happens here:
//! a message. Who can only be asked by sending is not asked.

use super::{Receiver, Way};
use crate::notify::SendError;

impl Receiver {
    /// Whether it would take messages, as far as that can be known without sending one. `None`: it cannot be known at all.
    pub async fn probe(&self) -> Option<Result<String, SendError>> {
        match &self.way {
            Way::Slack(way) => way.probe().await,
            Way::Github(way) => Some(way.probe().await),
            Way::Email(way) => Some(way.probe().await),
            Way::Opsgenie(way) => Some(way.probe().await),
            Way::Discord(way) => Some(way.probe().await),
            Way::Telegram(way) => Some(way.probe().await),
            Way::Sms(way) => way.probe().await,
            Way::Alertmanager(way) => Some(way.probe().await),
            Way::Grafana(way) => Some(way.probe().await),
            Way::Loki(way) => Some(way.probe().await),
            Way::File(way) => Some(way.probe().await),
            Way::Teams(_) | Way::Pagerduty(_) | Way::Webhook(_) | Way::Stdout(_) | Way::Nobody => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::notify::SendError;
    use crate::notify::config::NotifyConfig;
    use crate::notify::receiver::build;
    use crate::notify::receiver::stub::{HUSH, Stub};

    /// What a receiver with these settings, at a server that answers so, comes to; and what it asked.
    async fn probed(kind: &str, mut settings: serde_json::Value, answer: (u16, &str)) -> String {
        let (stub, url) = Stub::start(&[answer]).await;
        for value in settings.as_object_mut().unwrap().values_mut() {
            *value = serde_json::from_str(&value.to_string().replace("URL", &url)).unwrap();
        }
        let config: NotifyConfig =
            serde_json::from_value(json!({ "receivers": [{ "name": "it", kind: settings }] })).unwrap();
        let outcome = match build(&config).unwrap()[0].1.probe().await {
            None => "cannot be asked".to_owned(),
            Some(Ok(text)) => text,
            Some(Err(SendError::GiveUp { reason, message } | SendError::Retry { reason, message, .. })) => {
                format!("{reason}: {message}")
            }
        };
        assert!(!outcome.contains(HUSH), "{outcome}");
        let asked: Vec<String> = stub.asked().iter().map(|one| one.line().replace(HUSH, "HUSH")).collect();
        let asked = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
        format!("{kind}: {outcome} <- {asked}")
    }

    #[tokio::test]
    async fn who_can_be_asked_is_asked_and_nobody_is_told_anything() {
        let hook = json!({ "webhook_url": format!("URL/{HUSH}") });
        let bot = json!({ "bot_token": HUSH, "channel": "C1", "api_url": "URL" });
        let chat = json!({ "bot_token": HUSH, "chat_id": "7", "api_url": "URL" });
        let opsgenie = json!({ "api_key": HUSH, "api_url": "URL" });
        let twilio = json!({ "to": "+49", "twilio": { "account_sid": "AC1", "auth_token": HUSH, "from": "+1", "api_url": "URL" } });
        let gateway = json!({ "to": "+49", "http": { "url": format!("URL/{HUSH}") } });
        let all = [
            probed("slack", hook.clone(), (200, "")).await,
            probed("slack", bot.clone(), (200, r#"{"ok":true,"user":"sigyn","team":"acme"}"#)).await,
            probed("slack", bot, (200, r#"{"ok":false,"error":"invalid_auth"}"#)).await,
            probed("teams", hook.clone(), (200, "")).await,
            probed("pagerduty", json!({ "routing_key": HUSH, "api_url": "URL" }), (200, "")).await,
            probed("opsgenie", opsgenie.clone(), (200, "{}")).await,
            probed("opsgenie", opsgenie.clone(), (403, "")).await,
            probed("opsgenie", opsgenie, (401, "ECHO")).await,
            probed("discord", hook.clone(), (200, r#"{"name":"sigyn"}"#)).await,
            probed("discord", hook, (404, "ECHO")).await,
            probed("telegram", chat.clone(), (200, "{}")).await,
            probed("telegram", chat, (400, "ECHO")).await,
            probed("sms", twilio, (200, "{}")).await,
            probed("sms", gateway, (200, "{}")).await,
            probed("webhook", json!({ "url": "URL" }), (200, "")).await,
            probed("alertmanager", json!({ "urls": ["URL"] }), (200, "{}")).await,
            probed("grafana", json!({ "url": "URL", "token": HUSH }), (401, "ECHO")).await,
            probed("grafana", json!({ "url": "URL", "token": HUSH }), (200, "[]")).await,
            probed("loki", json!({ "url": "URL" }), (200, "{}")).await,
            probed("stdout", json!({}), (200, "")).await,
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        slack: cannot be asked <- nothing
        slack: the bot sigyn in acme; whether it is in channel C1 shows with the first message <- POST /auth.test
        slack: unauthorized: auth.test at Slack: answered "invalid_auth"; the token is wrong, revoked or expired: install the app again and set notify.receivers[0].slack.bot_token <- POST /auth.test
        teams: cannot be asked <- nothing
        pagerduty: cannot be asked <- nothing
        opsgenie: Opsgenie takes the key <- GET /v2/alerts/count
        opsgenie: Opsgenie knows the key, which may not read; whether it may write shows with the first alert <- GET /v2/alerts/count
        opsgenie: unauthorized: asking Opsgenie: answered 401 "/v2/alerts/count GenieKey [secret]"; the key is wrong or of another region: set notify.receivers[0].opsgenie.api_key to that of an API integration, and notify.receivers[0].opsgenie.api_url to its region <- GET /v2/alerts/count
        discord: the webhook `sigyn` is there <- GET /HUSH
        discord: not_found: asking for the Discord webhook: answered 404 "/[secret]"; the webhook was removed: make a new one and set notify.receivers[0].discord.webhook_url <- GET /HUSH
        telegram: the bot sees the chat 7 <- POST /botHUSH/getChat
        telegram: refused: asking for Telegram's chat 7: answered 400 "/bot[secret]/getChat  {chat_id:7}"; it does not take the message: check the address and the other keys under notify.receivers[0].telegram <- POST /botHUSH/getChat
        sms: Twilio knows the account; whether it sends to this number shows with the first message <- GET /2010-04-01/Accounts/AC1.json
        sms: cannot be asked <- nothing
        webhook: cannot be asked <- nothing
        alertmanager: 1 of 1 Alertmanagers answer <- GET /api/v2/status
        grafana: unauthorized: annotating in Grafana at 127.0.0.1: answered 401 "/api/annotations?limit=1&tags=sigyn Bearer [secret]"; the token is wrong, revoked or expired: set notify.receivers[0].grafana.token <- GET /api/annotations?limit=1&tags=sigyn
        grafana: the token may read annotations; whether it may write them shows with the first <- GET /api/annotations?limit=1&tags=sigyn
        loki: Loki at 127.0.0.1 answers; whether it takes lines shows with the first <- GET /loki/api/v1/status/buildinfo
        stdout: cannot be asked <- nothing
        "#);
    }
}
