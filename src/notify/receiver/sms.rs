//! Short messages to a phone, by Twilio or by any gateway that takes HTTP: 160 characters of the GSM alphabet, and at most
//! so many a day.
//!
//! What comes in: notifications. What goes out: one message for an incident that opened, got much worse, came back or is
//! over; what only goes on is not sent. One number an entry: each has its own deliveries, retries and cap.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::form_urlencoded;

use super::config::Facts;
use super::{Rate, Setup};
use crate::incident::TransitionKind;
use crate::notify::client::{Call, Key, basic, no_advice};
use crate::notify::escape;
use crate::notify::pace::Daily;
use crate::notify::render::{Message, message};
use crate::notify::zone::Zone;
use crate::notify::{Notification, Notifier, Receipt, SendError};
use crate::secret::{MASK, Secret};

/// Twilio: one message a second from a long number (help.twilio.com, "Understanding Twilio Rate Limits").
pub const RATE: Rate = Rate::every_ms(1_000);
/// Septets of one message (3GPP TS 23.040 §9.2.3.24); more become two.
pub const SEPTETS: usize = 160;
/// Ours: more short messages than this a day are read by nobody, and cost money.
const DAILY: u32 = 20;

/// `sms:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmsConfig {
    /// The phone, such as `+4915112345678`.
    pub to: String,
    /// At most this many messages on a calendar day; what is over is given up and stays visible as such.
    pub daily_cap: u32,
    /// Where the calendar hangs: an IANA name such as `Europe/Berlin`.
    pub time_zone: Zone,
    /// Twilio.
    pub twilio: Option<TwilioConfig>,
    /// Any gateway that takes HTTP.
    pub http: Option<GatewayConfig>,
}

/// `sms.twilio:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwilioConfig {
    /// `AC...`
    pub account_sid: String,
    /// Token of the account.
    pub auth_token: Option<Secret>,
    /// File with the token.
    pub auth_token_file: Option<PathBuf>,
    /// The number or name that sends, or a messaging service (`MG...`).
    pub from: String,
    /// The API.
    pub api_url: String,
}

/// `sms.http:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// URL to post to; gateways put keys in it, so it is a secret.
    pub url: Option<Secret>,
    /// File with the URL.
    pub url_file: Option<PathBuf>,
    /// `json` or `form`.
    pub format: Format,
    /// Name of the field with the phone.
    pub to_field: String,
    /// Name of the field with the text.
    pub text_field: String,
    /// Further fields, such as `{sender: sigyn}`.
    pub fields: BTreeMap<String, String>,
    /// Further request headers; their values are secrets.
    pub headers: BTreeMap<String, Secret>,
}

/// How a gateway wants the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As a JSON object.
    Json,
    /// As a form.
    Form,
}

impl Default for SmsConfig {
    fn default() -> Self {
        Self { to: String::new(), daily_cap: DAILY, time_zone: Zone::default(), twilio: None, http: None }
    }
}

impl Default for TwilioConfig {
    fn default() -> Self {
        Self {
            account_sid: String::new(),
            auth_token: None,
            auth_token_file: None,
            from: String::new(),
            api_url: "https://api.twilio.com".to_owned(),
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            format: Format::Json,
            to_field: "to".to_owned(),
            text_field: "text".to_owned(),
            fields: BTreeMap::new(),
            headers: BTreeMap::new(),
        }
    }
}

impl SmsConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        let mut facts = Facts::default()
            .text("to", &self.to)
            .wrong_if(self.daily_cap == 0, "daily_cap", "must be at least 1")
            .wrong_if(self.twilio.is_some() == self.http.is_some(), "twilio", "set one of twilio and http");
        if let Some(twilio) = &self.twilio {
            let sid = !twilio.account_sid.is_empty() && twilio.account_sid.bytes().all(|b| b.is_ascii_alphanumeric());
            facts = facts
                .needed("twilio.auth_token", twilio.auth_token.as_ref(), twilio.auth_token_file.as_ref())
                .wrong_if(!sid, "twilio.account_sid", "must be the account's id, such as AC0123...")
                .text("twilio.from", &twilio.from)
                .url("twilio.api_url", &twilio.api_url);
        }
        if let Some(http) = &self.http {
            facts = facts
                .needed("http.url", http.url.as_ref(), http.url_file.as_ref())
                .secret_url("http.url", http.url.as_ref())
                .wrong_if(
                    http.headers.values().any(|value| value.expose() == MASK),
                    "http.headers",
                    "a value is the mask that print-config shows",
                );
        }
        facts
    }
}

/// A phone.
#[derive(Debug)]
pub struct Sms {
    to: String,
    cap: u32,
    zone: Zone,
    way: Way,
    setup: Setup,
}

#[derive(Debug)]
enum Way {
    Twilio { token: Key, config: TwilioConfig },
    Gateway { url: Key, config: GatewayConfig },
}

impl Sms {
    /// Writes by these settings.
    #[must_use]
    pub fn new(config: &SmsConfig, setup: Setup) -> Self {
        let way = match (&config.twilio, &config.http) {
            (Some(twilio), _) => {
                let place = format!("{}.twilio", setup.place);
                let token = Key::new(&place, "auth_token", twilio.auth_token.as_ref(), twilio.auth_token_file.as_ref());
                Way::Twilio { token, config: TwilioConfig { auth_token: None, ..twilio.clone() } }
            }
            (None, http) => {
                let (place, http) = (format!("{}.http", setup.place), http.clone().unwrap_or_default());
                Way::Gateway { url: Key::new(&place, "url", http.url.as_ref(), http.url_file.as_ref()), config: http }
            }
        };
        Self { to: config.to.clone(), cap: config.daily_cap, zone: config.time_zone.clone(), way, setup }
    }

    /// The text that would be sent; `None`: this is not worth one.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> Option<String> {
        let said = message(notification);
        is_sent(said.kind).then(|| render(&said))
    }

    /// Whether Twilio knows the account. A gateway can only be tried by sending (`None`).
    pub async fn probe(&self) -> Option<Result<String, SendError>> {
        let Way::Twilio { token, config } = &self.way else { return None };
        let asked = async {
            let token = token.read()?;
            let (api, sid) = (config.api_url.trim_end_matches('/'), &config.account_sid);
            let login = basic(sid, &token);
            let call = Call {
                what: "asking Twilio for the account",
                place: &self.setup.place,
                secrets: &[&token, &login],
                advice: no_advice,
            };
            let request = self.setup.http.get(format!("{api}/2010-04-01/Accounts/{sid}.json"));
            call.ask(request.header("authorization", format!("Basic {}", login.expose()))).await?;
            Ok("Twilio knows the account; whether it sends to this number shows with the first message".to_owned())
        };
        Some(asked.await)
    }

    /// What a day bears.
    #[must_use]
    pub fn daily(&self) -> Daily {
        Daily { cap: self.cap, zone: self.zone.clone(), counts: is_sent }
    }

    fn request(&self, text: &str) -> Result<(RequestBuilder, Vec<Secret>), SendError> {
        let http = &self.setup.http;
        match &self.way {
            Way::Twilio { token, config } => {
                let token = token.read()?;
                let (api, sid) = (config.api_url.trim_end_matches('/'), &config.account_sid);
                let sender = if config.from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
                let fields = [("To", self.to.as_str()), (sender, config.from.as_str()), ("Body", text)];
                let request = http.post(format!("{api}/2010-04-01/Accounts/{sid}/Messages.json"));
                let login = basic(sid, &token);
                Ok((
                    form(request, fields).header("authorization", format!("Basic {}", login.expose())),
                    vec![token, login],
                ))
            }
            Way::Gateway { url, config } => {
                let (secret, url) = url.url()?;
                let own = [(config.to_field.as_str(), self.to.as_str()), (config.text_field.as_str(), text)];
                let fields = config.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(own);
                let mut request = match config.format {
                    Format::Form => form(http.post(url), fields),
                    Format::Json => {
                        let body: serde_json::Map<String, Value> =
                            fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
                        http.post(url).json(&body)
                    }
                };
                for (name, value) in &config.headers {
                    request = request.header(name, value.expose());
                }
                Ok((request, config.headers.values().cloned().chain([secret]).collect()))
            }
        }
    }
}

fn form<'a>(request: RequestBuilder, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> RequestBuilder {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

impl Notifier for Sms {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let said = message(notification);
        let receipt = earlier.cloned().unwrap_or_default();
        if !is_sent(said.kind) {
            return Ok(receipt);
        }
        let plain = Call { what: "sending a short message", place: &self.setup.place, secrets: &[], advice: no_advice };
        let (request, secrets) = self.request(&render(&said))?;
        let secrets: Vec<&Secret> = secrets.iter().collect();
        let call = Call { secrets: &secrets, ..plain };
        call.ask(request).await?;
        Ok(receipt)
    }
}

/// What only goes on is not worth a short message.
pub(super) fn is_sent(kind: TransitionKind) -> bool {
    !matches!(kind, TransitionKind::Continued | TransitionKind::Acknowledged)
}

/// The text: at most [`SEPTETS`], without any link that somebody else wrote.
#[must_use]
pub fn render(said: &Message) -> String {
    let since = said.when.split([' ', ',']).find(|word| word.contains('T')).unwrap_or_default();
    // To the minute: `22:00Z`.
    let since =
        since.split_once('T').and_then(|(_, time)| time.get(..5)).map(|time| format!(" {time}Z")).unwrap_or_default();
    let end = format!("{since} {}", escape::gsm7(&said.id, 16));
    let mut text = format!("{} {}", said.state(), escape::gsm7(&said.title, 80));
    let reason = said.ended.clone().or_else(|| said.reason()).unwrap_or_default();
    let room = SEPTETS.saturating_sub(text.chars().count() + end.chars().count() + 2);
    if room > 10 && !reason.is_empty() {
        text = format!("{text}. {}", escape::gsm7(&reason, room));
    }
    escape::gsm7(&format!("{text}{end}"), SEPTETS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{HUSH, Stub, judged, send};

    fn twilio(url: &str) -> Sms {
        let twilio = TwilioConfig {
            account_sid: "AC1".to_owned(),
            auth_token: Some(Secret::new(HUSH)),
            from: "+15550001111".to_owned(),
            api_url: url.to_owned(),
            ..Default::default()
        };
        let config = SmsConfig { to: "+4915112345678".to_owned(), twilio: Some(twilio), ..Default::default() };
        Sms::new(&config, Setup::of("notify.receivers[0].sms"))
    }

    #[tokio::test]
    async fn twilio_gets_a_form() {
        let (stub, url) = Stub::start(&[(201, "{}")]).await;
        let sms = twilio(&url);
        for transition in [fixture::opened(), fixture::continued()] {
            send(&sms, &fixture::notification(transition, "sms"), None).await.unwrap();
        }
        let asked = stub.asked();
        assert_eq!(asked.len(), 1, "what only goes on is not sent");
        assert!(asked[0].header("authorization").starts_with("Basic "));
        let fields: Vec<(String, String)> = form_urlencoded::parse(asked[0].text.as_bytes()).into_owned().collect();
        insta::assert_snapshot!(format!("{}\n{fields:?}", asked[0].line()), @r#"
        POST /2010-04-01/Accounts/AC1/Messages.json
        [("To", "+4915112345678"), ("From", "+15550001111"), ("Body", "CRITICAL cart: more errors than usual. errors 48, expected 0 to 3 22:00Z 00c0ffee00c0ffee")]
        "#);
    }

    #[tokio::test]
    async fn a_gateway_gets_what_it_wants() {
        for (format, body) in [(Format::Json, "{\"msg\""), (Format::Form, "sender=sigyn&to=%2B49")] {
            let (stub, url) = Stub::start(&[]).await;
            let http = GatewayConfig {
                url: Some(Secret::new(format!("{url}/send/{HUSH}"))),
                format,
                text_field: "msg".to_owned(),
                fields: [("sender".to_owned(), "sigyn".to_owned())].into(),
                headers: [("x-key".to_owned(), Secret::new("k"))].into(),
                ..Default::default()
            };
            let config = SmsConfig { to: "+49".to_owned(), http: Some(http), ..Default::default() };
            let sms = Sms::new(&config, Setup::of("notify.receivers[0].sms"));
            send(&sms, &fixture::notification(fixture::resolved(), "sms"), None).await.unwrap();
            let asked = stub.asked();
            assert!(asked[0].text.starts_with(body), "{}", asked[0].text);
            assert_eq!(asked[0].header("x-key"), "k");
        }
    }

    #[test]
    fn texts_are_short() {
        let texts = [
            fixture::opened(),
            fixture::patterns(),
            fixture::resolved(),
            fixture::internal(),
            fixture::hostile("<b> http://e.vil/ 🔥 [x]"),
        ]
        .map(|transition| render(&message(&fixture::notification(transition, "sms"))));
        insta::assert_snapshot!(texts.join("\n"), @r#"
        CRITICAL cart: more errors than usual. errors 48, expected 0 to 3 22:00Z 00c0ffee00c0ffee
        CRITICAL cart: a step is missing. step missing in 14 of 15 requests (trace_id), expected 0.1 (up to 2): "order <*> stored" 22:00Z 00c0ffee00c0ffee
        RESOLVED cart: more errors than usual. quiet for 5 minutes 22:00Z 00c0ffee00c0ffee
        WARNING sigyn: cannot reach Loki. GET http: //loki:3100/loki/api/v1/query_range: connection refused; is Loki up, and is loki.url right? 22:00Z 00c0ffee00c0ffee
        CRITICAL <b> http: //e.vil/ ? (x): more errors than usual. errors 48, expected 0 to 3 22:00Z 00c0ffee00c0ffee
        "#);
        assert!(texts.iter().all(|text| text.chars().count() <= SEPTETS));
    }

    #[tokio::test]
    async fn answers_are_judged() {
        insta::assert_snapshot!(judged(twilio, &[(201, "{}"), (429, ""), (401, "ECHO"), (400, "{\"code\":21211}")]).await, @r#"
        201: taken Receipt { id: None, url: None }
        429: retry rate_limited Some(7s): sending a short message: answered 429 ""
        401: give up unauthorized: sending a short message: answered 401 "/2010-04-01/Accounts/AC1/Messages.json Basic [secret] To=%2B4915112345678&From=%2B15"; the key is wrong, revoked or expired: set a new one under notify.receivers[0].sms
        400: give up refused: sending a short message: answered 400 "{\"code\":21211}"; it does not take the message: check the address and the other keys under notify.receivers[0].sms
        "#);
    }
}
