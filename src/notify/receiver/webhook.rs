//! JSON to any URL, signed, in a form of our own or by the user's template.
//!
//! What comes in: notifications. What goes out: one POST each with the notification's key, which is the same in every
//! retry. With a signing key, `X-Sigyn-Signature` is `sha256=` and the HMAC-SHA256 of the time stamp in
//! `X-Sigyn-Timestamp`, a dot and the body, so that neither can be changed nor sent again later unnoticed.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::config::{Auth, AuthConfig, Facts};
use super::record::Record;
use super::{Rate, Setup};
use crate::notify::client::{Call, Key, no_advice};
use crate::notify::render::message;
use crate::notify::{Notification, Notifier, Receipt, SendError, template};
use crate::secret::Secret;

/// Ours: who needs fewer says so by `Retry-After`.
pub const RATE: Rate = Rate::every_ms(100);

/// `webhook:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// URL to post to; it may hold a key, so it is a secret.
    pub url: Option<Secret>,
    /// File with the URL.
    pub url_file: Option<PathBuf>,
    /// Key for the signature.
    pub signing_key: Option<Secret>,
    /// File with that key.
    pub signing_key_file: Option<PathBuf>,
    /// Template of the body; each value is written as JSON. Without it: the notification as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What the body is.
    pub content_type: String,
    /// How to log in, and further headers.
    pub auth: AuthConfig,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            signing_key: None,
            signing_key_file: None,
            body: None,
            content_type: "application/json".to_owned(),
            auth: AuthConfig::default(),
        }
    }
}

impl WebhookConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        let wrong = self.body.as_deref().and_then(template::wrong);
        Facts::default()
            .needed("url", self.url.as_ref(), self.url_file.as_ref())
            .secret_url("url", self.url.as_ref())
            .optional("signing_key", self.signing_key.as_ref(), self.signing_key_file.as_ref())
            .wrong_if(!self.content_type.contains('/'), "content_type", "must be a media type such as application/json")
            .wrong_if(wrong.is_some(), "body", wrong.as_deref().unwrap_or_default())
            .auth(&self.auth)
    }
}

/// Any URL.
#[derive(Debug)]
pub struct Webhook {
    url: Key,
    signing: Key,
    auth: Auth,
    body: Option<String>,
    content_type: String,
    setup: Setup,
}

impl Webhook {
    /// Posts by these settings.
    #[must_use]
    pub fn new(config: &WebhookConfig, setup: Setup) -> Self {
        let key = |name, value: &Option<Secret>, file: &Option<PathBuf>| {
            Key::new(&setup.place, name, value.as_ref(), file.as_ref())
        };
        Self {
            url: key("url", &config.url, &config.url_file),
            signing: key("signing_key", &config.signing_key, &config.signing_key_file),
            auth: Auth::new(&config.auth, &setup.place),
            body: config.body.clone(),
            content_type: config.content_type.clone(),
            setup,
        }
    }
}

impl Webhook {
    /// The body that would be sent.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> String {
        render(notification, self.body.as_deref(), &self.content_type)
    }
}

impl Notifier for Webhook {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let (secret, url) = self.url.url()?;
        let what = format!("posting to the webhook at {}", url.host_str().unwrap_or("?"));
        let body = render(notification, self.body.as_deref(), &self.content_type);
        let mut request = self.setup.http.post(url).header("content-type", &self.content_type);
        request = request.header("idempotency-key", ascii(&notification.key));
        let (mut request, mut secrets) = self.auth.sign(request)?;
        if self.signing.is_set() {
            let key = self.signing.read()?;
            let stamp = now();
            request =
                request.header("x-sigyn-timestamp", stamp).header("x-sigyn-signature", signature(&key, stamp, &body));
            secrets.push(key);
        }
        let secrets: Vec<&Secret> = secrets.iter().chain([&secret]).collect();
        let call = Call { what: &what, place: &self.setup.place, secrets: &secrets, advice: no_advice };
        call.ask(request.body(body)).await?;
        Ok(earlier.cloned().unwrap_or_default())
    }
}

/// The body of a request. A template that fails, or makes no JSON where JSON is promised, gives way to our own form.
#[must_use]
pub fn render(notification: &Notification, source: Option<&str>, content_type: &str) -> String {
    let said = message(notification);
    let own = source.and_then(|source| template::body(source, &said, &notification.key));
    let promised = content_type.contains("json");
    let good = own.filter(|body| !promised || serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok());
    good.unwrap_or_else(|| Record::of(notification, &said).line())
}

/// `sha256=` and 64 hex digits.
#[must_use]
pub fn signature(key: &Secret, stamp: u64, body: &str) -> String {
    // Any length of key is good for an HMAC, so this fails never.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()) else { return String::new() };
    mac.update(format!("{stamp}.{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// Seconds since 1970: a signature that is some minutes old is to be refused.
#[expect(clippy::disallowed_methods, reason = "the receiver compares it with its own clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn ascii(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{HUSH, Stub, judged, send};

    fn config(url: &str) -> WebhookConfig {
        WebhookConfig {
            url: Some(Secret::new(format!("{url}/in?key={HUSH}"))),
            signing_key: Some(Secret::new("hunter2hunter2")),
            auth: AuthConfig {
                bearer_token: Some(Secret::new(HUSH)),
                headers: [("x-team".to_owned(), Secret::new("shop-secret"))].into(),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn at(url: &str) -> Webhook {
        Webhook::new(&config(url), Setup::of("notify.receivers[0].webhook"))
    }

    #[tokio::test]
    async fn posts_signed_json() {
        let (stub, url) = Stub::start(&[]).await;
        let notification = fixture::notification(fixture::opened(), "hook");
        send(&at(&url), &notification, None).await.unwrap();
        let asked = &stub.asked()[0];
        assert_eq!(asked.text, Record::new(&notification).line());
        assert_eq!(asked.header("idempotency-key"), "00c0ffee00c0ffee/1/hook");
        assert_eq!(
            (asked.header("authorization"), asked.header("x-team")),
            (&*format!("Bearer {HUSH}"), "shop-secret")
        );
        let stamp = asked.header("x-sigyn-timestamp").parse().unwrap();
        assert_eq!(asked.header("x-sigyn-signature"), signature(&Secret::new("hunter2hunter2"), stamp, &asked.text));
    }

    /// RFC 4231 §4.3 has this key and these words; a signature is over `stamp.body`, so the stamp is in front here.
    #[test]
    fn a_signature_is_that_of_other_tools() {
        // printf '1795212000.{}' | openssl dgst -sha256 -hmac Jefe
        insta::assert_snapshot!(signature(&Secret::new("Jefe"), 1_795_212_000, "{}"), @r#"sha256=449a1c380213bb59fe8a9949556269f47746de5aeb3bbea1386e051f243a4bc5"#);
    }

    #[test]
    fn a_template_makes_the_body() {
        let notification = fixture::notification(fixture::hostile("\"},{ <b>"), "hook");
        let body = render(&notification, Some("{\"text\": {{ title }}, \"id\": {{ key }}}"), "application/json");
        assert!(
            body.starts_with("{\"text\": \"\\\"},{") && body.ends_with("\"id\": \"00c0ffee00c0ffee/1/hook\"}"),
            "{body}"
        );
        let own = Record::new(&notification).line();
        assert_eq!(render(&notification, Some("{{ nothing("), "application/json"), own);
        assert_eq!(render(&notification, Some("{{ title }} is no object of"), "application/json"), own);
        assert!(render(&notification, Some("state={{ state }}"), "text/plain").starts_with("state="));
    }

    #[tokio::test]
    async fn answers_are_judged() {
        let answers = [(204, ""), (429, ""), (500, "ECHO"), (301, ""), (403, "ECHO"), (413, ""), (404, "ECHO")];
        let said = judged(at, &answers).await;
        assert!(!said.contains("hunter2") && !said.contains("shop-secret"), "{said}");
        let kept: Vec<String> = said.lines().map(|line| line.split(" \"").next().unwrap().to_owned()).collect();
        insta::assert_snapshot!(kept.join("\n"), @r#"
        204: taken Receipt { id: None, url: None }
        429: retry rate_limited Some(7s): posting to the webhook at 127.0.0.1: answered 429
        500: retry server None: posting to the webhook at 127.0.0.1: answered 500
        301: give up redirected: posting to the webhook at 127.0.0.1: answered 301
        403: give up forbidden: posting to the webhook at 127.0.0.1: answered 403
        413: give up too_large: posting to the webhook at 127.0.0.1: answered 413
        404: give up not_found: posting to the webhook at 127.0.0.1: answered 404
        "#);
    }
}
