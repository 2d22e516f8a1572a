//! The way to Loki and back: TLS, authentication, headers, time limits, bounded bodies.
//!
//! What comes in: an endpoint and its parameters. What goes out: status and body, or a [`ClientError`] that says what was
//! attempted, what came back and what to do. What never happens here: a retry, a look into the JSON, a secret in an error.

use std::error::Error as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use url::Url;

use crate::collect::config::LokiConfig;
use crate::secret::{MASK, Secret};
use crate::time::Nanos;

/// At most this many bytes of an answer are read. Loki's own bound is 4 MiB a page (`loki.md` §0, point 2); operators raise it.
const MAX_BODY: usize = 64 << 20;
/// Room for an answer that is kept from one to the next: that of most pages.
const ROOM: usize = 4 << 20;
/// Parameters longer than this go as a POST form: gateways cut lines from 8 KiB on.
const MAX_QUERY_STRING: usize = 4 << 10;
/// So much of an answer is quoted in an error.
const QUOTED: usize = 200;

/// Why Loki could not be asked, or did not answer as hoped.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// What kind of failure it is; decides what the poller does next.
    pub kind: Kind,
    /// What was attempted on what, what came back, what to do. Holds no secret.
    pub message: String,
}

/// The kinds of failure that are handled differently (`loki.md` §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The settings cannot be used: URL, certificates, header names, secret files.
    Settings,
    /// No connection.
    Unreachable,
    /// The host's name is not known.
    Dns,
    /// The connection is not trusted, or we are not.
    Tls,
    /// No answer within `loki.timeout`.
    Timeout,
    /// The connection ended without a whole answer: a page over 4 MiB, or over 30 s of work.
    Closed,
    /// An answer over 64 MiB.
    TooBig,
    /// 3xx.
    Redirected,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404, 405.
    NotFound,
    /// 429.
    RateLimited,
    /// 400: the limit is above the tenant's maximum, which is this.
    MaxEntries(u32),
    /// 400: the range is too long.
    TooLong,
    /// 400, 413: the query would read too many bytes.
    TooManyBytes,
    /// 400: too many series.
    TooManySeries,
    /// Another 4xx: the query is wrong.
    BadQuery,
    /// 504, or Loki's own time limit.
    Deadline,
    /// 499, other 5xx.
    Server,
    /// 200, but not what Loki answers.
    BadAnswer,
}

impl Kind {
    /// A short word for metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Unreachable => "unreachable",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::TooBig => "too_big",
            Self::Redirected => "redirected",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::MaxEntries(_) => "max_entries",
            Self::TooLong => "too_long",
            Self::TooManyBytes => "too_many_bytes",
            Self::TooManySeries => "too_many_series",
            Self::BadQuery => "bad_query",
            Self::Deadline => "deadline",
            Self::Server => "server",
            Self::BadAnswer => "bad_answer",
        }
    }
}

/// On whose behalf a request is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Name of the watch, for messages; empty when it is for none.
    pub watch: &'a str,
    /// `X-Scope-OrgID`, when it differs from the settings' own.
    pub org_id: Option<&'a str>,
}

/// What came back, whatever the status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Loki's clock, to the second.
    pub(super) date: Option<Nanos>,
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
}

/// Whether what follows is the secret of an `Authorization` header.
fn is_scheme(word: &str) -> bool {
    let word = word.rsplit([':', '"', '=']).next().unwrap_or_default();
    word.eq_ignore_ascii_case("basic") || word.eq_ignore_ascii_case("bearer")
}

/// A connection pool to one Loki.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    org_id: Option<String>,
    auth: Auth,
    timeout: Duration,
    /// The variable of the environment that names a proxy for this Loki, unless `NO_PROXY` has its host.
    proxy: Option<&'static str>,
    /// Room for an answer. Pages are as long as they happen to be, and room of ever other sizes is what an allocator keeps.
    room: Arc<Mutex<Vec<u8>>>,
}

#[derive(Clone, Debug)]
enum Auth {
    None,
    Basic { user: String, password: Option<Secret>, file: Option<std::path::PathBuf> },
    Bearer { token: Option<Secret>, file: Option<std::path::PathBuf> },
}

impl Wire {
    /// Reads certificates and checks names; opens no connection.
    pub(super) fn new(config: &LokiConfig) -> Result<Self, ClientError> {
        let mut base = base_url(&config.url)?;
        let auth = auth(config, &mut base)?;
        let timeout = config.timeout.0;
        let builder = || {
            // No redirects: the headers of `loki.headers` may be secrets, and would follow to another host.
            reqwest::Client::builder()
                .timeout(timeout)
                .connect_timeout(timeout.min(Duration::from_secs(10)))
                .redirect(reqwest::redirect::Policy::none())
                .gzip(config.gzip)
        };
        let roots = match &config.ca_file {
            Some(path) => authorities(path)?,
            None => Vec::new(),
        };
        let identity = identity(config)?;
        let with = |builder: reqwest::ClientBuilder| match identity.clone() {
            Some(identity) => builder.identity(identity).build(),
            None => builder.build(),
        };
        // A container without the system's authorities can still use its own, or plain HTTP.
        let http = with(builder().tls_certs_merge(roots.clone()))
            .or_else(|_| with(builder().tls_certs_only(roots)))
            .map_err(|error| settings(format!("cannot set up TLS for {base}: {}", chain(&error))))?;
        let proxy = proxy(&base);
        let (headers, org_id, room) = (headers(config)?, config.org_id.clone(), Arc::default());
        Ok(Self { http, base, headers, org_id, auth, timeout, proxy, room })
    }

    /// The base URL, without credentials.
    pub(super) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks one endpoint once. `path` has no leading slash.
    pub(super) async fn call(
        &self,
        scope: Scope<'_>,
        path: &'static str,
        params: &[(&str, &str)],
    ) -> Result<Reply, ClientError> {
        let reply = self.send(scope, path, params).await;
        let outcome = match &reply {
            Ok(reply) if reply.status < 300 => "ok",
            Ok(reply) => match reply.status {
                429 => "rate_limited",
                500.. => "server_error",
                _ => "refused",
            },
            Err(error) => error.kind.reason(),
        };
        metrics::counter!("sigyn_requests_total", "endpoint" => endpoint(path), "outcome" => outcome).increment(1);
        reply
    }

    /// Takes back the room of an answer that is done with.
    pub(super) fn give_back(&self, body: Vec<u8>) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if (room.capacity()..=ROOM).contains(&body.capacity()) {
            *room = body;
        }
    }

    async fn send(&self, scope: Scope<'_>, path: &str, params: &[(&str, &str)]) -> Result<Reply, ClientError> {
        let failed = |error: &reqwest::Error| self.failure(scope, path, error);
        let request = self.request(scope, path, params)?;
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let text = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let (date, location) = (text(DATE).and_then(parse_date), text(LOCATION).map(str::to_owned));
        let status = response.status().as_u16();
        let mut body = std::mem::take(&mut *self.room.lock().unwrap_or_else(PoisonError::into_inner));
        body.clear();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                let what = format!("answered with more than {MAX_BODY} bytes; fewer lines will be asked for");
                return Err(self.error(scope, path, Kind::TooBig, &what));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, date, location, body })
    }

    fn request(
        &self,
        scope: Scope<'_>,
        path: &str,
        params: &[(&str, &str)],
    ) -> Result<reqwest::RequestBuilder, ClientError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
        let request = if query.len() > MAX_QUERY_STRING {
            self.http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(query)
        } else {
            url.set_query((!query.is_empty()).then_some(query.as_str()));
            self.http.get(url)
        };
        let mut request = request.headers(self.headers.clone());
        if let Some(org) = scope.org_id.or(self.org_id.as_deref()) {
            request = request.header("X-Scope-OrgID", org);
        }
        let secret = |value: &Option<Secret>, file: &Option<std::path::PathBuf>| {
            Secret::read(value.as_ref(), file.as_deref()).map_err(|error| settings(error.to_string()))
        };
        Ok(match &self.auth {
            Auth::None => request,
            Auth::Basic { user, password, file } => {
                request.basic_auth(user, secret(password, file)?.as_ref().map(Secret::expose))
            }
            Auth::Bearer { token, file } => match secret(token, file)? {
                Some(token) => request
                    .header(AUTHORIZATION, sensitive("loki.bearer_token", &format!("Bearer {}", token.expose()))?),
                None => request,
            },
        })
    }

    /// The start of a body, for a message: one line, at most 200 characters, without what a proxy may echo of our secrets.
    pub(super) fn quote(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body.get(..body.len().min(4 * QUOTED)).unwrap_or_default());
        let mut after_scheme = false;
        let words = text.split_whitespace().map(|word| {
            let hidden = std::mem::replace(&mut after_scheme, is_scheme(word));
            if hidden { MASK.to_owned() } else { self.hide(word) }
        });
        words.collect::<Vec<_>>().join(" ").chars().take(QUOTED).collect()
    }

    fn hide(&self, word: &str) -> String {
        let (value, file) = match &self.auth {
            Auth::None => (&None, &None),
            Auth::Basic { password, file, .. } => (password, file),
            Auth::Bearer { token, file } => (token, file),
        };
        let own = Secret::read(value.as_ref(), file.as_deref()).ok().flatten();
        let headers =
            self.headers.values().filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
        let secrets = own.as_ref().map(Secret::expose).into_iter().chain(headers).filter(|secret| secret.len() >= 4);
        secrets.fold(word.to_owned(), |word, secret| word.replace(secret, MASK))
    }

    /// An error about this request, in the form all of them have: on whose behalf, what, on what, what came back.
    pub(super) fn error(&self, scope: Scope<'_>, path: &str, kind: Kind, what: &str) -> ClientError {
        let watch = if scope.watch.is_empty() { String::new() } else { format!("watch `{}`: ", scope.watch) };
        ClientError { kind, message: format!("{watch}{}/{path} {what}", self.base()) }
    }

    fn failure(&self, scope: Scope<'_>, path: &str, error: &reqwest::Error) -> ClientError {
        let cause = chain(error);
        let lower = cause.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        // With TLS 1.3 a server refuses a client's certificate only after the connection stands.
        let refused =
            has(&["fatal alert: certificaterequired", "fatal alert: unknownca", "fatal alert: badcertificate"])
                || (!error.is_connect() && has(&["fatal alert"]));
        let tls = ["certificate", "handshake", "tls", "invalidcontenttype", "corrupt message", "fatal alert"];
        let (kind, what) = if refused {
            (
                Kind::Tls,
                format!(
                    "does not accept who asks ({cause}); set loki.cert_file and loki.key_file to a client certificate that it trusts"
                ),
            )
        } else if error.is_connect() && has(&tls) {
            (
                Kind::Tls,
                format!(
                    "is not trusted or does not speak TLS as hoped ({cause}); for an own authority set loki.ca_file, for a client certificate loki.cert_file and loki.key_file, for plain HTTP write http://"
                ),
            )
        } else if error.is_dns() || has(&["dns error", "failed to lookup"]) {
            let proxy = self.proxied();
            (
                Kind::Dns,
                format!("cannot be found ({cause}); check the host name in loki.url and the container's DNS{proxy}"),
            )
        } else if error.is_connect() {
            let proxy = self.proxied();
            (
                Kind::Unreachable,
                format!("cannot be reached ({cause}); check loki.url and that Loki listens there{proxy}"),
            )
        } else if error.is_timeout() {
            (
                Kind::Timeout,
                format!(
                    "did not answer within {} s (loki.timeout); fewer lines will be asked for",
                    self.timeout.as_secs()
                ),
            )
        } else if has(&["operation was canceled"]) {
            // The end came before the request went out, so it has nothing to do with what was asked for.
            let tls = match self.base.scheme() {
                "https" => {
                    "; when it wants a client certificate, set loki.cert_file and loki.key_file to one that it trusts"
                }
                _ => "; check what stands before Loki",
            };
            (Kind::Unreachable, format!("closed the connection before it was asked anything ({cause}){tls}"))
        } else {
            (
                Kind::Closed,
                format!(
                    "closed the connection without a whole answer ({cause}): a page over 4 MiB or more than 30 s of work ends like this; fewer lines will be asked for"
                ),
            )
        };
        self.error(scope, path, kind, &what)
    }

    /// What to think of besides when there is no connection.
    fn proxied(&self) -> String {
        self.proxy.map_or_else(String::new, |name| {
            format!("; {name} is set: perhaps it is the proxy that is away, or NO_PROXY should have this host")
        })
    }
}

/// The variable that names a proxy for this URL, as far as can be told: it is only for a hint, the client decides.
fn proxy(url: &Url) -> Option<&'static str> {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = url.host_str().unwrap_or_default();
    let direct = value("no_proxy").or_else(|| value("NO_PROXY")).unwrap_or_default();
    // A network in it may well have this address.
    let covers = |entry: &str| {
        let name = entry.trim_start_matches('.');
        name == "*" || name == host || host.ends_with(&format!(".{name}")) || name.contains('/')
    };
    if direct.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(covers) {
        return None;
    }
    let names: &[&'static str] = match url.scheme() {
        "https" => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    names.iter().copied().find(|name| value(name).is_some())
}

fn endpoint(path: &'static str) -> &'static str {
    path.rsplit('/').next().unwrap_or(path)
}

fn settings(message: String) -> ClientError {
    ClientError { kind: Kind::Settings, message }
}

fn base_url(text: &str) -> Result<Url, ClientError> {
    let wrong = |why: &str| settings(format!("loki.url is no usable URL: {why}; write it like http://loki:3100"));
    let url = Url::parse(text.trim()).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        other => Err(wrong(&format!("the scheme is `{other}`, not http or https"))),
    }
}

/// The one way of authentication that the settings name; credentials in the URL are taken out of it.
fn auth(config: &LokiConfig, base: &mut Url) -> Result<Auth, ClientError> {
    let decode = |text: &str| {
        let pair = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let in_url = (!base.username().is_empty()).then(|| (decode(base.username()), base.password().map(decode)));
    if in_url.is_some() {
        let _ = base.set_username("");
        let _ = base.set_password(None);
    }
    if config.bearer_token.is_some() || config.bearer_token_file.is_some() {
        if config.username.is_some() {
            return Err(settings("loki.username and loki.bearer_token are both set; use one".to_owned()));
        }
        return Ok(Auth::Bearer { token: config.bearer_token.clone(), file: config.bearer_token_file.clone() });
    }
    Ok(match (&config.username, in_url) {
        (Some(user), _) => {
            Auth::Basic { user: user.clone(), password: config.password.clone(), file: config.password_file.clone() }
        }
        (None, Some((user, password))) => Auth::Basic { user, password: password.map(Secret::new), file: None },
        (None, None) => Auth::None,
    })
}

fn headers(config: &LokiConfig) -> Result<HeaderMap, ClientError> {
    let mut map = HeaderMap::new();
    map.insert(USER_AGENT, HeaderValue::from_static(concat!("sigyn/", env!("CARGO_PKG_VERSION"))));
    // Operators see in Loki's query log whose queries these are; the poller leaves those lines out by the same word.
    map.insert("x-query-tags", HeaderValue::from_static("Source=sigyn"));
    map.insert("x-loki-response-encoding-flags", HeaderValue::from_static("categorize-labels"));
    for (name, value) in &config.headers {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| settings(format!("loki.headers: `{name}` is no header name")))?;
        map.insert(key, sensitive(&format!("loki.headers.{name}"), value.expose())?);
    }
    Ok(map)
}

fn sensitive(key: &str, text: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| settings(format!("{key} holds characters that a header cannot carry, such as a line break")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let found = reqwest::Certificate::from_pem_bundle(&read(path, "loki.ca_file")?)
        .map_err(|error| unusable("loki.ca_file", path, &error))?;
    if found.is_empty() {
        let path = path.display();
        return Err(settings(format!(
            "loki.ca_file {path} holds no certificate; it must be PEM: -----BEGIN CERTIFICATE-----"
        )));
    }
    Ok(found)
}

fn identity(config: &LokiConfig) -> Result<Option<reqwest::Identity>, ClientError> {
    match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => {
            let mut pem = read(cert, "loki.cert_file")?;
            pem.push(b'\n');
            pem.extend(read(key, "loki.key_file")?);
            reqwest::Identity::from_pem(&pem)
                .map(Some)
                .map_err(|error| unusable("loki.cert_file with loki.key_file", cert, &error))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(settings("loki.cert_file is set and loki.key_file is not; both are needed".to_owned())),
        (None, Some(_)) => Err(settings("loki.key_file is set and loki.cert_file is not; both are needed".to_owned())),
    }
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| {
        settings(format!(
            "cannot read {key} {}: {error}; it must exist and be readable by sigyn's user",
            path.display()
        ))
    })
}

fn unusable(key: &str, path: &Path, error: &reqwest::Error) -> ClientError {
    settings(format!("{key} {} is not usable as PEM: {}", path.display(), chain(error)))
}

/// The innermost causes of an error, without the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        source = cause.source();
    }
    match causes.len() {
        0 if error.is_builder() => "not usable".to_owned(),
        0 => "no cause given".to_owned(),
        n => causes.split_off(n.saturating_sub(2)).join(": "),
    }
}

/// An HTTP date (`Fri, 20 Nov 2026 22:03:15 GMT`).
fn parse_date(text: &str) -> Option<Nanos> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Nanos::try_from(zoned.timestamp().as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    fn message(change: impl FnOnce(&mut LokiConfig)) -> String {
        let mut config = LokiConfig::default();
        change(&mut config);
        Wire::new(&config).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn bad_settings_say_which_and_what_to_do() {
        let url = |text: &str| message(|c| c.url = text.to_owned());
        assert!(url("loki:3100").contains("the scheme is `loki`"), "{}", url("loki:3100"));
        assert!(url("").contains("write it like http://loki:3100"));
        assert!(message(|c| c.ca_file = Some("/none".into())).contains("cannot read loki.ca_file /none"));
        assert!(message(|c| c.cert_file = Some("/none".into())).contains("loki.key_file is not"));
        let header = message(|c| {
            c.headers.insert("x-key".to_owned(), Secret::new("hunter2\n"));
        });
        assert!(header.contains("loki.headers.x-key") && !header.contains("hunter2"));
    }

    #[test]
    fn credentials_leave_the_url() {
        let config = LokiConfig { url: "http://me:p%40ss+@loki:3100/prefix/".to_owned(), ..LokiConfig::default() };
        let wire = Wire::new(&config).unwrap();
        assert_eq!(wire.base(), "http://loki:3100/prefix");
        let Auth::Basic { user, password, .. } = &wire.auth else { panic!("no basic auth") };
        assert_eq!((user.as_str(), password.as_ref().unwrap().expose()), ("me", "p@ss+"));
        assert!(!format!("{wire:?}").contains("p@ss"));
    }

    #[test]
    fn http_dates_are_read() {
        assert_eq!(parse_date("Fri, 20 Nov 2026 22:03:15 GMT"), Some(1_795_212_195 * SECOND));
        assert_eq!(parse_date("yesterday"), None);
    }
}
