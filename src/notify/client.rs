//! What all receivers share of HTTP: the client, one request whose answer is judged, words for failures, and when to come
//! again.
//!
//! What never happens here: an URL in an error. The URL of a webhook is a secret, and proxies and servers like to echo it.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use url::Url;

use super::SendError;
use crate::secret::{MASK, Secret};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one request may take as a whole. A receiver that needs longer is ill.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// Nobody is asked to wait longer than this, whatever a header says.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// How much of an answer is shown.
const SHOWN: usize = 200;
/// How much of an answer is read.
const READ: usize = 64 * 1024;

/// A client that follows no redirect (it would carry a secret elsewhere) and takes proxies from the environment.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("sigyn/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
    };
    // Where the system has no roots of trust, plain HTTP still works, and HTTPS says that it trusts nobody.
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

/// What a status and the words of an answer mean when they will not change by themselves: a reason for metrics, and what to
/// do about it. `@` in it stands for the place of the settings. `None`: what such a status usually means.
pub type Advice = fn(StatusCode, &str) -> Option<(&'static str, &'static str)>;

/// A request to one receiver: how its answer is judged, and what of it must not be shown.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is attempted on what: `posting to the Slack webhook at hooks.slack.com`.
    pub what: &'a str,
    /// The settings that may be wrong: `notify.receivers[2].webhook`.
    pub place: &'a str,
    /// Taken out of every answer.
    pub secrets: &'a [&'a Secret],
    /// What its own answers mean.
    pub advice: Advice,
}

/// An answer, at most 64 kB of it. It may echo secrets, so it is shown through [`Call`] only.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Call<'_> {
    /// Sends, and judges the answer: what is no success is worth another try or not, with the reason and what to do.
    ///
    /// # Errors
    /// When there is no answer, or it says no.
    pub async fn ask(&self, request: RequestBuilder) -> Result<Answer, SendError> {
        self.judge(self.exchange(request).await?)
    }

    /// Sends, and gives any answer back as it is.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn exchange(&self, request: RequestBuilder) -> Result<Answer, SendError> {
        let mut response = request.send().await.map_err(|error| match error.is_builder() {
            true => self.refuse("settings", "this is no request that can be sent: check the URL and the keys under @"),
            false => no_answer(self.what, error),
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = String::from_utf8_lossy(&read(&mut response).await).into_owned();
        Ok(Answer { status, headers, text })
    }

    /// Takes an answer of success, and says what any other means.
    ///
    /// # Errors
    /// When the answer says no.
    pub fn judge(&self, answer: Answer) -> Result<Answer, SendError> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let Answer { status, headers, text } = &answer;
        let message = format!("{}: answered {} {:?}", self.what, status.as_u16(), self.shown(text));
        let after = wait(headers);
        Err(match *status {
            StatusCode::TOO_MANY_REQUESTS => SendError::Retry { reason: "rate_limited", message, after },
            StatusCode::REQUEST_TIMEOUT => SendError::Retry { reason: "timeout", message, after },
            status if status.is_server_error() => SendError::Retry { reason: "server", message, after },
            status => {
                let (reason, advice) = (self.advice)(status, text).unwrap_or_else(|| usual(status));
                SendError::GiveUp { reason, message: format!("{message}; {}", advice.replace('@', self.place)) }
            }
        })
    }

    /// An answer that came with success and yet says no.
    #[must_use]
    pub fn no(&self, said: &str, reason: &'static str, advice: &str) -> SendError {
        let message = format!("{}: answered {:?}; {}", self.what, self.shown(said), advice.replace('@', self.place));
        SendError::GiveUp { reason, message }
    }

    /// An answer that came with success, says no, and may say yes later.
    #[must_use]
    pub fn not_now(&self, said: &str, reason: &'static str, after: Option<Duration>) -> SendError {
        SendError::Retry { reason, message: format!("{}: answered {:?}", self.what, self.shown(said)), after }
    }

    /// Nothing was sent.
    #[must_use]
    pub fn refuse(&self, reason: &'static str, advice: &str) -> SendError {
        SendError::GiveUp { reason, message: format!("{}: {}", self.what, advice.replace('@', self.place)) }
    }

    /// A text of the receiver as one calm, short line without any secret.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        let bare = self.secrets.iter().fold(text.trim().to_owned(), |text, secret| redact(&text, secret));
        super::escape::calm(&bare, SHOWN)
    }
}

/// What a status usually means, when it will not change by itself.
fn usual(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        status if status.is_redirection() => {
            ("redirected", "redirects are not followed: set the final address under @")
        }
        StatusCode::UNAUTHORIZED => ("unauthorized", "the key is wrong, revoked or expired: set a new one under @"),
        StatusCode::FORBIDDEN => {
            ("forbidden", "the key may not do this: give it the right, or set another one under @")
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => ("not_found", "there is no such thing: check the address under @"),
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("too_large", "the message is too long for it; a template of your own may be why, under @")
        }
        _ => ("refused", "it does not take the message: check the address and the other keys under @"),
    }
}

/// No advice of its own.
#[must_use]
pub fn no_advice(_: StatusCode, _: &str) -> Option<(&'static str, &'static str)> {
    None
}

/// A secret of the settings that is read anew for each use, so that a rotated file counts.
#[derive(Clone, Debug)]
pub struct Key {
    value: Option<Secret>,
    file: Option<PathBuf>,
    /// Key path: `notify.slack.webhook_url`.
    place: String,
}

impl Key {
    /// The key called `name` of the settings at `place`.
    #[must_use]
    pub fn new(place: &str, name: &str, value: Option<&Secret>, file: Option<&PathBuf>) -> Self {
        Self { value: value.cloned(), file: file.cloned(), place: format!("{place}.{name}") }
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.value.is_some() || self.file.is_some()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When none is set, or its file cannot be read now.
    pub fn read(&self) -> Result<Secret, SendError> {
        let place = &self.place;
        let read = Secret::read(self.value.as_ref(), self.file.as_deref());
        let read = read.map_err(|error| SendError::Retry {
            reason: "settings",
            message: format!("{place}_file: {error}"),
            after: None,
        })?;
        read.map(|secret| Secret::new(secret.expose().trim())).ok_or_else(|| SendError::GiveUp {
            reason: "settings",
            message: format!("nothing is set; set {place} or {place}_file"),
        })
    }

    /// Reads it as a URL, which is as secret as the key.
    ///
    /// # Errors
    /// As [`Self::read`], and when it is no URL.
    pub fn url(&self) -> Result<(Secret, Url), SendError> {
        let secret = self.read()?;
        let url = Url::parse(secret.expose()).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"));
        let url = url.ok_or_else(|| SendError::GiveUp {
            reason: "settings",
            message: format!(
                "{} is no URL; it must start with https:// and is not shown, as it is a secret",
                self.place
            ),
        })?;
        Ok((secret, url))
    }
}

/// What stands after `Basic` in `Authorization` (RFC 7617): as secret as the password, since it tells it.
#[must_use]
pub fn basic(username: &str, password: &Secret) -> Secret {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in format!("{username}:{}", password.expose()).as_bytes().chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    Secret::new(out)
}

/// A request that got no answer. `what` says what was attempted: `posting to Slack's webhook at hooks.slack.com`.
#[must_use]
pub fn no_answer(what: &str, error: reqwest::Error) -> SendError {
    let reason = if error.is_timeout() { "timeout" } else { "unreachable" };
    let message = format!("{what}: {}", chain(&error.without_url()));
    SendError::Retry { reason, message, after: None }
}

/// An error with all that caused it, each once.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The wait that a server asks for: `Retry-After` in seconds or as a date, else `x-ratelimit-reset` when nothing
/// remains. Dates are measured against the answer's own `Date`, so that no clock is needed here.
#[must_use]
pub fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let now = text(DATE.as_str()).and_then(http_date);
    let until = |at: i64| Some(Duration::from_secs(u64::try_from(at - now?).unwrap_or(0)));
    let asked = text(RETRY_AFTER.as_str()).and_then(|value| match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => http_date(value).and_then(until),
    });
    let reset = || {
        let nothing_left = text("x-ratelimit-remaining") == Some("0");
        let at = text("x-ratelimit-reset").and_then(|at| at.parse().ok()).filter(|_| nothing_left)?;
        until(at).or(Some(Duration::from_secs(60)))
    };
    asked.or_else(reset).map(|wait| wait.min(LONGEST_WAIT))
}

fn http_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|date| date.timestamp().as_second())
}

async fn read(response: &mut reqwest::Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= READ {
            break;
        }
    }
    bytes.truncate(READ);
    bytes
}

/// `text` as one calm, short line without the secret or any longer part of it.
#[must_use]
pub fn shown(text: &str, secret: &Secret) -> String {
    super::escape::calm(&redact(text.trim(), secret), SHOWN)
}

/// Takes out a secret, and of a URL each part of its path and query of 6 bytes or more.
#[must_use]
pub fn redact(text: &str, secret: &Secret) -> String {
    const SHORTEST: usize = 6;
    let whole = secret.expose();
    let rest = whole.split_once("://").map_or(whole, |(_, rest)| rest);
    let parts = rest.split(['/', '?', '&', '=', '@', ':', '#']).skip(usize::from(rest.len() < whole.len()));
    let mut out = text.to_owned();
    for part in [whole].into_iter().chain(parts).filter(|part| part.len() >= SHORTEST) {
        out = out.replace(part, MASK);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_when_to_come_again() {
        let now = ("date", "Fri, 20 Nov 2026 22:00:00 GMT");
        for (pairs, seconds) in [
            (vec![("retry-after", "7")], Some(7)),
            (vec![("retry-after", "Fri, 20 Nov 2026 22:02:00 GMT"), now], Some(120)),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795212030"), now], Some(30)),
            (vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795212030")], Some(60)),
            (vec![("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "1795212030"), now], None),
            (vec![("retry-after", "999999999")], Some(3_600)),
            (vec![("retry-after", "soon")], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(name, value.parse().unwrap());
            }
            assert_eq!(wait(&headers), seconds.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn a_login_is_written_as_servers_read_it() {
        // RFC 7617 §2 and §2.1.
        for (user, password, value) in [
            ("Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("test", "123£", "dGVzdDoxMjPCow=="),
            ("u", "a", "dTph"),
            ("u", "ab", "dTphYg=="),
            ("u", "abc", "dTphYmM="),
        ] {
            assert_eq!(basic(user, &Secret::new(password)).expose(), value);
        }
    }

    #[test]
    fn an_echoed_secret_is_taken_out() {
        let url = Secret::new("https://hooks.example.com/services/T0000001/B0000002/abcdefXYZ?key=k123456");
        let answer = "404: /services/T0000001/B0000002/abcdefXYZ not found (k123456) at hooks.example.com";
        assert_eq!(
            shown(answer, &url),
            "404: /[secret]/[secret]/[secret]/[secret] not found ([secret]) at hooks.example.com"
        );
        assert_eq!(shown("bad ghp_abcdef\n", &Secret::new("ghp_abcdef")), "bad [secret]");
    }
}
