//! Against a real mail server: aiosmtpd, started here on a free port.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use super::*;
use crate::notify::fixture;
use crate::notify::receiver::stub::{HUSH, send};

/// A server that keeps what it gets as one JSON object a line on its standard output, the first being its port. It wants a
/// login when it has TLS, refuses `full@`, and takes nothing more after a mail to `later@`.
const SERVER: &str = r#"
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
class Keep:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('full@'):
            return '552 5.2.2 mailbox full of XyZ0123456789abcdef'
        if address.startswith('later@'):
            return '451 4.7.1 try again later'
        envelope.rcpt_tos.append(address)
        return '250 OK'
    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({'to': envelope.rcpt_tos, 'text': envelope.content.decode(), 'tls': server.transport.get_extra_info('sslcontext') is not None,
                          'login': bool(session.authenticated)}), flush=True)
        return '250 OK'
def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b'sigyn', b'XyZ0123456789abcdef'), handled=False)
async def main(mode, folder):
    context = None
    if mode != 'none':
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder + '/cert.pem', folder + '/key.pem')
    def make():
        return SMTP(Keep(), hostname='mail.test', enable_SMTPUTF8=True, authenticator=login, auth_required=mode != 'none',
                    tls_context=context if mode == 'starttls' else None, require_starttls=mode == 'starttls',
                    auth_require_tls=mode == 'starttls')
    server = await asyncio.get_running_loop().create_server(make, '127.0.0.1', 0, ssl=context if mode == 'tls' else None)
    print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
    await server.serve_forever()
asyncio.run(main(sys.argv[1], sys.argv[2]))
"#;

struct Server {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `None` where it is not installed.
    fn start(mode: &str) -> Option<Self> {
        let there = Command::new("python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI needs python3 with aiosmtpd");
            println!("SKIPPED: python3 with aiosmtpd is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut child = Command::new("python3")
            .args(["-W", "ignore", "-c", SERVER, mode])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Some(Self { child, out, folder, port })
    }

    fn mail(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn config(&self, tls: Security) -> EmailConfig {
        let login = tls != Security::None;
        EmailConfig {
            host: "localhost".to_owned(),
            port: self.port,
            ca_file: Some(self.folder.path().join("cert.pem")),
            username: login.then(|| "sigyn".to_owned()),
            password: login.then(|| Secret::new(HUSH)),
            from: "sigyn <sigyn@example.com>".to_owned(),
            to: vec!["oncall@example.com".to_owned(), "Zoë Müller <zoe@example.com>".to_owned()],
            tls,
            ..EmailConfig::default()
        }
    }
}

fn email(config: &EmailConfig) -> Email {
    // As `main` does: the one provider of the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Email::new(config, Setup::of("notify.receivers[0].email")).unwrap()
}

async fn refused(config: &EmailConfig) -> String {
    let error = send(&email(config), &fixture::notification(fixture::opened(), "mail"), None).await.unwrap_err();
    let (how, reason) = match &error {
        SendError::Retry { reason, .. } => ("retry", reason),
        SendError::GiveUp { reason, .. } => ("give up", reason),
    };
    format!("{how} {reason}: {error}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_of_mails_over_every_kind_of_connection() {
    for (mode, tls) in [("none", Security::None), ("starttls", Security::Starttls), ("tls", Security::Tls)] {
        let Some(mut server) = Server::start(mode) else { return };
        let sender = email(&server.config(tls));
        let first = send(&sender, &fixture::notification(fixture::opened(), "mail"), None).await.unwrap();
        let second = send(&sender, &fixture::notification(fixture::resolved(), "mail"), Some(&first)).await.unwrap();
        assert_eq!(first, second);
        let (one, two) = (server.mail(), server.mail());
        assert_eq!(one["to"], serde_json::json!(["oncall@example.com", "zoe@example.com"]));
        assert_eq!((&one["tls"], &one["login"]), (&(mode != "none").into(), &(mode != "none").into()));
        let (one, two) = (one["text"].as_str().unwrap(), two["text"].as_str().unwrap());
        let id = "<00c0ffee00c0ffee.1.mail@example.com>";
        assert!(one.contains(&format!("Message-ID: {id}")) && !one.contains("In-Reply-To"), "{one}");
        assert!(two.contains(&format!("In-Reply-To: {id}")) && two.contains(&format!("References: {id}")), "{two}");
        assert!(one.contains("multipart/alternative") && one.contains("text/plain") && one.contains("text/html"));
        assert!(one.lines().all(|line| line.len() <= 998));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_to_do() {
    let Some(server) = Server::start("starttls") else { return };
    let config = server.config(Security::Starttls);
    let (to, place) = (|to: &str| vec![to.to_owned()], |text: String| text.replace(&server.port.to_string(), "PORT"));
    let said = [
        refused(&EmailConfig { password: Some(Secret::new("wrong-XyZ")), ..config.clone() }).await,
        refused(&EmailConfig { to: to("full@example.com"), ..config.clone() }).await,
        refused(&EmailConfig { to: to("later@example.com"), ..config.clone() }).await,
        refused(&EmailConfig { ca_file: None, ..config.clone() }).await,
        refused(&EmailConfig { tls: Security::None, username: None, password: None, ..config.clone() }).await,
    ];
    insta::assert_snapshot!(place(said.join("\n")), @r#"
    give up unauthorized: mailing by localhost to 2 addresses: answered "permanent error (535): 5.7.8 Authentication credentials invalid"; the server wants another login or an encrypted connection: check username, password and tls under notify.receivers[0].email
    give up full: mailing by localhost to 1 addresses: answered "permanent error (552): 5.2.2 mailbox full of [secret]"; a mailbox is full, or the mail is too long for it
    retry server: mailing by localhost to 1 addresses: answered "transient error (451): 4.7.1 try again later"
    retry tls: mailing by localhost to 2 addresses: Connection error: Connection error: invalid peer certificate: UnknownIssuer; for a server with its own authority set ca_file under notify.receivers[0].email
    give up unauthorized: mailing by localhost to 2 addresses: answered "permanent error (530): Must issue a STARTTLS command first"; the server wants another login or an encrypted connection: check username, password and tls under notify.receivers[0].email
    "#);
}

async fn probed(config: &EmailConfig) -> String {
    let answer = email(config).probe().await;
    let said = match answer {
        Ok(text) => text,
        Err(error @ SendError::Retry { .. }) => format!("retry: {error}"),
        Err(error @ SendError::GiveUp { .. }) => format!("give up: {error}"),
    };
    assert!(!said.contains(HUSH), "{said}");
    said.replace(&config.port.to_string(), "PORT")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_asked_by_logging_in_and_gets_no_mail() {
    for (mode, tls) in [("none", Security::None), ("starttls", Security::Starttls), ("tls", Security::Tls)] {
        let Some(mut server) = Server::start(mode) else { return };
        let config = server.config(tls);
        assert_eq!(probed(&config).await, "localhost lets us in; whether it takes mail for 2 shows with the first");
        if mode != "none" {
            let wrong = probed(&EmailConfig { password: Some(Secret::new("wrong-XyZ")), ..config.clone() }).await;
            assert!(
                wrong.starts_with("give up: logging in at the mail server localhost: answered \"permanent error (535)")
            );
            let stranger = probed(&EmailConfig { ca_file: None, ..config.clone() }).await;
            insta::allow_duplicates! {
                insta::assert_snapshot!(stranger, @"retry: logging in at the mail server localhost: Connection error: Connection error: invalid peer certificate: UnknownIssuer; for a server with its own authority set ca_file under notify.receivers[0].email");
            }
        }
        // The first that it gets is what is sent.
        send(&email(&config), &fixture::notification(fixture::resolved(), "mail"), None).await.unwrap();
        assert!(server.mail()["text"].as_str().unwrap().contains("00c0ffee00c0ffee.3.mail@example.com"));
    }
}

/// A mail server that greets so, offers this, and answers so to everything else; and all that it was told.
async fn stub(greeting: &'static str, offer: &'static str, answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = tokio::io::BufReader::new(read).lines();
        let mut say = greeting.to_owned();
        // An empty answer: it hangs up.
        while !say.is_empty() && write.write_all(format!("{say}\r\n").as_bytes()).await.is_ok() {
            let Ok(Some(line)) = lines.next_line().await else { return };
            let word = line.split(' ').next().unwrap().to_owned();
            say = match word.as_str() {
                "EHLO" => format!("250-mail.test\r\n250 {offer}"),
                "QUIT" => "221 bye".to_owned(),
                _ => answer.to_owned(),
            };
            ears.lock().unwrap().push(word);
        }
    });
    (port, heard)
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_is_told_with_what_to_do() {
    let plain = EmailConfig {
        host: "127.0.0.1".to_owned(),
        from: "a@example.com".to_owned(),
        to: vec!["b@example.com".to_owned()],
        tls: Security::None,
        ..EmailConfig::default()
    };
    let encrypted = EmailConfig { tls: Security::Starttls, ..plain.clone() };
    let mut all = Vec::new();
    for (config, greeting, offer, answer) in [
        (&plain, "220 mail.test", "HELP", "250 fine"),
        (&plain, "220 mail.test", "HELP", "421 4.3.2 going down"),
        (&plain, "421 4.7.0 too many connections", "HELP", "250 fine"),
        (&plain, "554 5.7.1 not you", "HELP", "250 fine"),
        (&plain, "HTTP/1.1 400 Bad Request", "HELP", "250 fine"),
        (&plain, "", "HELP", "250 fine"),
        (&encrypted, "220 mail.test", "HELP", "250 fine"),
        (&encrypted, "220 mail.test", "STARTTLS", "454 4.7.0 no certificate today"),
    ] {
        let (port, heard) = stub(greeting, offer, answer).await;
        let said = probed(&EmailConfig { port, ..config.clone() }).await;
        let heard = heard.lock().unwrap().join(" ");
        all.push(format!("{said} <- {}", if heard.is_empty() { "nothing" } else { &heard }));
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    all.push(probed(&EmailConfig { port: free.port(), ..plain }).await);
    insta::assert_snapshot!(all.join("\n"), @r#"
    127.0.0.1 lets us in; whether it takes mail for 1 shows with the first <- EHLO NOOP QUIT
    retry: logging in at the mail server 127.0.0.1: it greets, and takes nothing after that; check host, port and tls under notify.receivers[0].email, and whether it can be reached from here <- EHLO NOOP QUIT
    retry: logging in at the mail server 127.0.0.1: answered "transient error (421): 4.7.0 too many connections" <- nothing
    give up: logging in at the mail server 127.0.0.1: answered "permanent error (554): 5.7.1 not you"; the server does not take the mail: check the settings under notify.receivers[0].email <- nothing
    retry: logging in at the mail server 127.0.0.1: response error: error Tag at: HTTP/1.1 400 Bad Request; check host, port and tls under notify.receivers[0].email, and whether it can be reached from here <- nothing
    retry: logging in at the mail server 127.0.0.1: response error: incomplete response; check host, port and tls under notify.receivers[0].email, and whether it can be reached from here <- nothing
    give up: logging in at the mail server 127.0.0.1: answered "internal client error: STARTTLS is not supported on this server"; the server cannot do what is asked: check tls and username under notify.receivers[0].email <- EHLO
    retry: logging in at the mail server 127.0.0.1: answered "transient error (454): 4.7.0 no certificate today" <- EHLO STARTTLS QUIT
    retry: logging in at the mail server 127.0.0.1: Connection error: Connection refused (os error 111); check host, port and tls under notify.receivers[0].email, and whether it can be reached from here
    "#);
}

#[tokio::test]
async fn nobody_there_is_worth_another_try() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = EmailConfig {
        host: "127.0.0.1".to_owned(),
        port: free.port(),
        tls: Security::None,
        from: "a@example.com".to_owned(),
        to: vec!["b@example.com".to_owned()],
        ..EmailConfig::default()
    };
    let said = refused(&config).await;
    assert!(said.starts_with("retry unreachable: mailing by 127.0.0.1 to 1 addresses"), "{said}");
}
