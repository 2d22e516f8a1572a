//! The ways to Loki through the real binary: own authorities, client certificates, proxies, packed answers.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use flate2::Compression;
use flate2::write::GzEncoder;
use log_generator::loki::{Loki, Options};
use sigyn::app::clock::Clock;
use sigyn::time::SECOND;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::child::Place;
use crate::cli::{closed, seen};
use crate::shop::place;
use crate::tls::{Authority, Served};

/// What asking Loki over TLS shows.
fn asked(served: &Served, place: Place) -> String {
    let place = place.set("LOKI_URL", &served.url);
    seen(&place, &place.run(&["check", "--online"])).replace(&served.url, "https://127.0.0.1:[port]")
}

/// The line about Loki.
fn about_loki(text: &str) -> &str {
    text.lines().find(|line| line.contains("https://")).unwrap_or(text)
}

/// A place with the files of a client that trusts this server.
fn trusting(served: &Served) -> Place {
    let place = Place::new();
    let path = place.file("ca.pem", &served.authority.pem());
    place.set("SIGYN__LOKI__CA_FILE", path.to_str().unwrap())
}

/// The same with a certificate of this authority.
fn certified(served: &Served, authority: &Authority) -> Place {
    let place = trusting(served);
    let (cert, key) = authority.certificate("sigyn");
    let (cert, key) = (place.file("cert.pem", &cert), place.file("key.pem", &key));
    place.set("SIGYN__LOKI__CERT_FILE", cert.to_str().unwrap()).set("SIGYN__LOKI__KEY_FILE", key.to_str().unwrap())
}

#[test]
fn an_own_authority_is_trusted_when_it_is_named() {
    let served = Served::start(None);
    insta::assert_snapshot!(about_loki(&asked(&served, trusting(&served))), @"Loki: https://127.0.0.1:[port] answers, version 3.8.0");
    insta::assert_snapshot!(about_loki(&asked(&served, Place::new())), @"FAILED: https://127.0.0.1:[port]/loki/api/v1/status/buildinfo is not trusted or does not speak TLS as hoped (client error (Connect): invalid peer certificate: UnknownIssuer); for an own authority set loki.ca_file, for a client certificate loki.cert_file and loki.key_file, for plain HTTP write http://");
    let place = Place::new();
    let path = place.file("ca.pem", "this is no certificate\n");
    insta::assert_snapshot!(asked(&served, place.set("SIGYN__LOKI__CA_FILE", path.to_str().unwrap())), @"
    settings are good; no watches, so all streams are watched
    FAILED: loki.ca_file [folder]/ca.pem holds no certificate; it must be PEM: -----BEGIN CERTIFICATE-----
    Slack: not set
    GitHub: not set; incidents go to the remediation log
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: 1 of 3 answers are bad; they are marked FAILED above
    exit 1
    ");
}

#[test]
fn a_server_that_wants_a_client_certificate_gets_it() {
    let clients = Authority::new("the clients' authority");
    let served = Served::start(Some(&clients));
    insta::assert_snapshot!(about_loki(&asked(&served, certified(&served, &clients))), @"Loki: https://127.0.0.1:[port] answers, version 3.8.0");
    let stranger = Authority::new("somebody else");
    for place in [trusting(&served), certified(&served, &stranger)] {
        let said = asked(&served, place);
        // With TLS 1.3 the refusal comes when the connection stands: it is a race whether the alert is seen.
        let alert = about_loki(&said).contains("does not accept who asks (connection error: received fatal alert: ");
        let closed = about_loki(&said).contains("closed the connection before it was asked anything");
        assert!((alert || closed) && said.contains("set loki.cert_file and loki.key_file to"), "{said}");
    }
}

/// Lines of one stream in the last minutes.
fn filled(lines: i64) -> Loki {
    let loki = Loki::start(Options::default()).unwrap();
    let now = Clock::real().now();
    for n in 0..lines {
        let ts = now - 10 * 60 * SECOND + n * SECOND / 10;
        loki.push(&[("env", "demo"), ("service_name", "cart")], ts, format!("level=info msg=\"request {n} done\""));
    }
    loki
}

/// How many lines `once` has read there.
fn lines_read(place: &Place) -> u64 {
    let ended = place.run(&["once", "--lookback", "1h", "--output", "json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let summary: serde_json::Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
    summary["lines"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_answers_are_read_as_plain_ones_are() {
    let loki = filled(3000);
    assert_eq!(lines_read(&place(&loki.url())), 3000);
    // The stand-in packs what is worth it, and what it sends is not what it counts.
    assert_eq!(lines_read(&place(&loki.url()).set("SIGYN__LOKI__GZIP", "true")), 3000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packed_answer_that_grows_without_end_is_left() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), 70 << 20), &mut packed).unwrap();
    let packed = packed.finish().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(move || {
        let headers = [(CONTENT_ENCODING, "gzip"), (CONTENT_TYPE, "application/json")];
        std::future::ready((headers, packed.clone()))
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let place = Place::new().set("LOKI_URL", url).set("SIGYN__LOKI__GZIP", "true");
    insta::assert_snapshot!(seen(&place, &place.run(&["check", "--online"])), @"
    settings are good; no watches, so all streams are watched
    FAILED: http://127.0.0.1:[port]/loki/api/v1/status/buildinfo answered with more than 67108864 bytes; fewer lines will be asked for
    Slack: not set
    GitHub: not set; incidents go to the remediation log
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: 1 of 3 answers are bad; they are marked FAILED above
    exit 1
    ");
}

#[test]
fn a_long_query_goes_as_a_form() {
    let loki = filled(100);
    let place = place(&loki.url());
    let filters = (0..200).map(|n| format!(" != \"a word that no line has, number {n}\"")).collect::<String>();
    place.file("settings.yaml", &format!("watches:\n  - name: shop\n    query: '{{env=\"demo\"}}{filters}'\n"));
    assert_eq!(lines_read(&place), 100);
    let asked = loki.requests();
    let queries = asked.iter().filter(|request| request.path.contains("/query"));
    let methods: Vec<_> = queries.map(|request| request.method.as_str()).collect();
    assert!(methods.len() >= 2 && methods.iter().all(|method| *method == "POST"), "{methods:?}");
    assert!(asked.iter().all(|request| request.status == 200));
    assert!(place.run(&["check", "--online"]).stdout.contains("watch `shop`: 1 streams"));
}

/// An HTTP proxy that leads everything to one place, whatever name is asked for.
struct Proxy {
    url: String,
    /// The request lines that it got.
    used: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(to: &str) -> Self {
        let to = to.split("://").nth(1).unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let used = Arc::default();
        let noted = Arc::clone(&used);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, to.clone(), Arc::clone(&noted)));
            }
        });
        Self { url, used }
    }

    fn used(&self) -> Vec<String> {
        std::mem::take(&mut self.used.lock().unwrap())
    }
}

/// One connection: a tunnel, or plain requests whose first line has the whole URL, which Loki takes as well.
async fn forward(client: TcpStream, to: String, noted: Arc<std::sync::Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let mut loki = TcpStream::connect(to).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap() == 0 {
            return;
        }
    }
    let first = head.lines().next().unwrap().split('?').next().unwrap().to_owned();
    let tunnel = first.starts_with("CONNECT ");
    noted.lock().unwrap().push(first);
    if tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    } else {
        loki.write_all(head.as_bytes()).await.unwrap();
    }
    let _ = tokio::io::copy_bidirectional(&mut client, &mut loki).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_come_from_the_environment() {
    let loki = filled(10);
    let proxy = Proxy::start(&loki.url()).await;
    // The name leads nowhere: only the proxy knows the way.
    let place = place("http://loki.invalid:3100").set("http_proxy", &proxy.url);
    assert_eq!(lines_read(&place), 10);
    assert!(proxy.used().iter().all(|line| line.contains(" http://loki.invalid:3100/loki/api/v1/")));

    let served = Served::start(None);
    let proxy = Proxy::start(&served.url).await;
    let place = trusting(&served).set("HTTPS_PROXY", &proxy.url);
    let said = asked(&served, place);
    assert!(about_loki(&said).contains("answers, version 3.8.0"), "{said}");
    assert!(proxy.used().iter().all(|line| line.starts_with("CONNECT 127.0.0.1:")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_proxy_names_is_asked_without_one() {
    let loki = filled(10);
    let place = place(&loki.url()).set("http_proxy", closed().await).set("NO_PROXY", "example.org,127.0.0.1");
    assert_eq!(lines_read(&place), 10);
    let place = place.set("NO_PROXY", "example.org");
    insta::assert_snapshot!(seen(&place, &place.run(&["check", "--online"])), @"
    settings are good; watches: 1
    FAILED: http://127.0.0.1:[port]/loki/api/v1/status/buildinfo cannot be reached (tcp connect error: Connection refused (os error 111)); check loki.url and that Loki listens there; http_proxy is set: perhaps it is the proxy that is away, or NO_PROXY should have this host
    Slack: not set
    GitHub: not set; incidents go to the remediation log
    sigyn: settings from settings.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: 1 of 3 answers are bad; they are marked FAILED above
    exit 1
    ");
}
