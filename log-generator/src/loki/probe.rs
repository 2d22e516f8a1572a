//! A small blocking HTTP client for the tests of the stand-in: it shows exactly what came over the wire.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One request; `target` is path and query string as sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// One answer as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    /// 0: the connection ended without a status line.
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection ended with an error, not with a close, or before the last chunk.
    pub(crate) broken: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body up to the `stats`.
    pub(crate) fn result(&self) -> String {
        self.text().split(",\"stats\":").next().unwrap_or_default().to_owned()
    }
}

/// GET with a target that is encoded already.
pub(crate) fn get(address: SocketAddr, target: &str) -> Reply {
    send(address, &Ask { method: "GET".into(), target: target.into(), ..Ask::default() })
}

/// Sends one request on a connection of its own and reads until the end.
pub(crate) fn send(address: SocketAddr, ask: &Ask) -> Reply {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!("{} {} HTTP/1.1\r\nHost: loki\r\nConnection: close\r\n", ask.method, ask.target);
    for (name, value) in &ask.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !ask.body.is_empty() || ask.method == "POST" {
        head += &format!("Content-Length: {}\r\n", ask.body.len());
    }
    head += "\r\n";
    tcp.write_all(head.as_bytes()).unwrap();
    tcp.write_all(&ask.body).unwrap();
    let mut raw = Vec::new();
    let broken = tcp.read_to_end(&mut raw).is_err();
    let reply = parse(&raw);
    Reply { broken: broken || reply.broken, ..reply }
}

fn parse(raw: &[u8]) -> Reply {
    let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") else { return Reply::default() };
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)?.parse().ok()).unwrap_or_default();
    let headers = lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let reply = Reply { status, headers, body: raw[end + 4..].to_vec(), broken: false };
    if reply.header("Transfer-Encoding") == Some("chunked") { joined(reply) } else { reply }
}

/// Puts the chunks together; `broken` when the last one is missing.
fn joined(mut reply: Reply) -> Reply {
    let raw = std::mem::take(&mut reply.body);
    let mut rest = raw.as_slice();
    reply.broken = true;
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            reply.broken = false;
            break;
        }
        let chunk = &rest[end + 2..];
        reply.body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
    reply
}

/// Percent-encodes one parameter.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |out, b| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out + &(b as char).to_string(),
        _ => out + &format!("%{b:02X}"),
    })
}
