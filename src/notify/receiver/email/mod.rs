//! Mail by SMTP: one thread an incident, as text and HTML.
//!
//! What comes in: notifications. What goes out: one mail each to all recipients. Its Message-ID is made of the incident and
//! the transition, so a second try has the same one and mail servers that know it drop the double; later mails name the
//! first one, so readers show a thread. What never happens here: a password over a connection that is not encrypted.

mod mime;

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde::{Deserialize, Serialize};

pub use mime::{Form, form, mail};

use super::config::Facts;
use super::{Rate, Setup};
use crate::notify::client::{Call, Key, TIMEOUT, chain, no_advice};
use crate::notify::render::message;
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError};
use crate::secret::Secret;

/// Mail servers are asked gently: a mail is a connection.
pub const RATE: Rate = Rate::every_ms(500);

/// `email:`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Plain at first, then TLS or nothing is sent (port 587).
    Starttls,
    /// TLS from the first byte (port 465).
    Tls,
    /// Never encrypted (port 25): for a relay on the same machine; no password goes over it.
    None,
}

/// `email:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmailConfig {
    /// The mail server.
    pub host: String,
    /// Its port; 0: what is usual for `tls`.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: Security,
    /// PEM file with a certificate authority to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// User name, when the server asks for one.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Who writes, such as `sigyn <sigyn@example.com>`.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// The name by which sigyn greets the server; some ask for a real one.
    pub hello: Option<String>,
}

impl Default for EmailConfig {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            tls: Security::Starttls,
            ca_file: None,
            username: None,
            password: None,
            password_file: None,
            from: String::new(),
            to: Vec::new(),
            hello: None,
        }
    }
}

impl EmailConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        let password = self.password.is_some() || self.password_file.is_some();
        let facts = Facts::with_templates()
            .text("host", &self.host)
            .file("ca_file", self.ca_file.as_ref())
            .optional("password", self.password.as_ref(), self.password_file.as_ref())
            .wrong_if(self.username.is_some() != password, "username", "a user name and a password belong together")
            .wrong_if(
                password && self.tls == Security::None,
                "tls",
                "a password is never sent unencrypted; use starttls or tls",
            )
            .wrong_if(
                self.from.parse::<Mailbox>().is_err(),
                "from",
                "must be an address such as `sigyn <sigyn@example.com>`",
            )
            .wrong_if(self.to.is_empty(), "to", "needs at least one address");
        let bad = self.to.iter().position(|to| to.parse::<Mailbox>().is_err());
        facts.wrong_if(bad.is_some(), "to", "every entry must be an address such as `oncall@example.com`")
    }
}

/// A mail server, and whom it is to reach.
#[derive(Debug)]
pub struct Email {
    config: EmailConfig,
    from: Mailbox,
    to: Vec<Mailbox>,
    password: Key,
    place: String,
    template: Template,
}

impl Email {
    /// Sends by these settings.
    ///
    /// # Errors
    /// When an address is none.
    pub fn new(config: &EmailConfig, setup: Setup) -> Result<Self, String> {
        let Setup { place, template, .. } = setup;
        let address = |text: &String| text.parse::<Mailbox>().map_err(|error| format!("{place}: `{text}`: {error}"));
        let (from, to) = (address(&config.from)?, config.to.iter().map(address).collect::<Result<_, _>>()?);
        let password = Key::new(&place, "password", config.password.as_ref(), config.password_file.as_ref());
        Ok(Self { config: config.clone(), from, to, password, place, template })
    }

    fn transport(
        &self,
        password: Option<&Secret>,
    ) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
        let config = &self.config;
        let (usual, tls) = match config.tls {
            Security::Starttls => (587, Tls::Required(self.trust()?)),
            Security::Tls => (465, Tls::Wrapper(self.trust()?)),
            Security::None => (25, Tls::None),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str())
            .port(if config.port == 0 { usual } else { config.port })
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some(hello) = &config.hello {
            builder = builder.hello_name(ClientId::Domain(hello.clone()));
        }
        if let (Some(username), Some(password)) = (&config.username, password) {
            builder = builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
        }
        Ok(builder.build())
    }

    fn trust(&self) -> Result<TlsParameters, lettre::transport::smtp::Error> {
        let mut builder = TlsParameters::builder(self.config.host.clone());
        // One that cannot be read now shows as a certificate that is not trusted; the settings were checked before.
        if let Some(pem) = self.config.ca_file.as_ref().and_then(|path| std::fs::read(path).ok()) {
            builder = builder.add_root_certificate(Certificate::from_pem(&pem)?);
        }
        builder.build_rustls()
    }

    async fn deliver(&self, mail: lettre::Message) -> Result<(), SendError> {
        let password = if self.password.is_set() { Some(self.password.read()?) } else { None };
        let what = format!("mailing by {} to {} addresses", self.config.host, self.to.len());
        let secrets: Vec<&Secret> = password.iter().collect();
        let call = Call { what: &what, place: &self.place, secrets: &secrets, advice: no_advice };
        let outcome = match self.transport(password.as_ref()) {
            // The whole conversation has its own end, beside that of each answer in it.
            Ok(transport) => match tokio::time::timeout(TIMEOUT * 3, transport.send(mail)).await {
                Ok(outcome) => outcome.map(|_| ()),
                Err(_) => return Err(away(&call, "no answer in time", "timeout")),
            },
            Err(error) => Err(error),
        };
        outcome.map_err(|error| failure(&call, &error))
    }
}

/// Codes of SMTP: 4xx may work later, 5xx will not (RFC 5321 §4.2.1).
fn failure(call: &Call<'_>, error: &lettre::transport::smtp::Error) -> SendError {
    let said = chain(error);
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    let refused = |reason, advice| call.no(&said, reason, advice);
    match code.as_str() {
        "530" | "534" | "535" | "538" => refused(
            "unauthorized",
            "the server wants another login or an encrypted connection: check username, password and tls under @",
        ),
        "550" | "551" | "553" | "501" => refused("not_found", "it does not take an address: check from and to under @"),
        "552" => refused("full", "a mailbox is full, or the mail is too long for it"),
        "454" | "421" | "450" | "451" | "452" => call.not_now(&said, "server", None),
        _ if error.is_permanent() => {
            refused("refused", "the server does not take the mail: check the settings under @")
        }
        _ if error.is_tls() || said.contains("certificate") => SendError::Retry {
            reason: "tls",
            message: format!(
                "{}: {}; for a server with its own authority set ca_file under {}",
                call.what,
                call.shown(&said),
                call.place
            ),
            after: Some(Duration::from_secs(60)),
        },
        _ if error.is_client() => {
            refused("refused", "the server cannot do what is asked: check tls and username under @")
        }
        _ if error.is_timeout() => away(call, "no answer in time", "timeout"),
        _ => away(call, &said, "unreachable"),
    }
}

/// Nobody answered, or nobody who talks like a mail server.
fn away(call: &Call<'_>, said: &str, reason: &'static str) -> SendError {
    let (what, said, place) = (call.what, call.shown(said), call.place);
    let message =
        format!("{what}: {said}; check host, port and tls under {place}, and whether it can be reached from here");
    SendError::Retry { reason, message, after: None }
}

impl Email {
    /// Subject and text of the mail.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> (String, String) {
        let form = form(&message(notification), &self.template);
        (form.subject, form.text)
    }

    /// Whether the server lets us in: connects, encrypts, logs in and says good-bye.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn probe(&self) -> Result<String, SendError> {
        let password = if self.password.is_set() { Some(self.password.read()?) } else { None };
        let what = format!("logging in at the mail server {}", self.config.host);
        let secrets: Vec<&Secret> = password.iter().collect();
        let call = Call { what: &what, place: &self.place, secrets: &secrets, advice: no_advice };
        let tested = async { self.transport(password.as_ref())?.test_connection().await };
        match tokio::time::timeout(TIMEOUT, tested).await {
            Ok(Ok(true)) => Ok(format!(
                "{} lets us in; whether it takes mail for {} shows with the first",
                self.config.host,
                self.to.len()
            )),
            Ok(Ok(false)) => Err(away(&call, "it greets, and takes nothing after that", "server")),
            Ok(Err(error)) => Err(failure(&call, &error)),
            Err(_) => Err(away(&call, "no answer in time", "timeout")),
        }
    }
}

impl Notifier for Email {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let said = message(notification);
        let first = earlier.and_then(|receipt| receipt.id.clone());
        let mail =
            mail(notification, &said, &self.template, (&self.from, &self.to), first.as_deref()).map_err(|error| {
                SendError::GiveUp {
                    reason: "invalid",
                    message: format!(
                        "writing a mail about incident {}: {error}; check {}.from and to",
                        said.id, self.place
                    ),
                }
            })?;
        let id = mime::id(&mail);
        self.deliver(mail).await?;
        Ok(Receipt { id: first.or(id), url: None })
    }
}

#[cfg(test)]
mod tests;
