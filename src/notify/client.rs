//! What all receivers share of HTTP: the client, words for its failures, and when to come again.
//!
//! What never happens here: an URL in an error. The URL of a webhook is a secret, and proxies and servers like to echo it.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

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

/// The start of an answer as one calm line, without the secret or any longer part of it.
pub async fn body(mut response: reqwest::Response, secret: &Secret) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= READ {
            break;
        }
    }
    bytes.truncate(READ);
    shown(&String::from_utf8_lossy(&bytes), secret)
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
