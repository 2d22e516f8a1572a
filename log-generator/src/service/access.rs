//! Web servers: access lines in the combined format with request time and trace, and their own error log.

use super::Role::{Batch, Chatter, Error, Fault, Fresh, Step, Warn};
use super::{Family, Level, Line, Service, line};

/// A text that begins with a quote is an access line; all other texts go to the error log.
pub(super) fn framed(line: &Line, text: &str) -> String {
    if line.key == "brute" {
        return format!(
            "{{attacker}} - - [{{clf}}] {text} \"-\" \"python-requests/2.32.3\" {{elapsed}} {{shorttrace}}"
        );
    }
    if line.key == "probe" {
        return format!("10.0.0.{{int:2-9}} - - [{{clf}}] {text} \"-\" \"kube-probe/1.32\" {{elapsed}} {{shorttrace}}");
    }
    if text.starts_with('"') {
        return format!("{{ip}} - {{user}} [{{clf}}] {text} \"-\" \"{{agent}}\" {{elapsed}} {{shorttrace}}");
    }
    let level = match line.role.level() {
        Level::Info => "notice",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    format!("{{slashed}} [{level}] 17#17: *{{int:1000-999999}} {text}")
}

pub(super) const GATEWAY: Service = Service {
    name: "gateway",
    family: Family::Access,
    pods: 3,
    warns: 0.8,
    errors: 0.7,
    place: "gateway",
    lines: &[
        line(Step, "home", 1.0, "\"GET {path} HTTP/1.1\" 200 {int:900-24000}", ""),
        line(Step, "product", 1.0, "\"GET /api/products/{sku} HTTP/1.1\" 200 {int:700-6000}", ""),
        line(Step, "search", 1.0, "\"GET /api/search?page={int:1-4} HTTP/1.1\" 200 {int:2000-30000}", ""),
        line(Step, "login", 1.0, "\"POST /api/login HTTP/1.1\" 200 {int:300-420}", ""),
        line(Step, "add", 1.0, "\"POST /api/cart/{cart}/items HTTP/1.1\" 201 {int:200-900}", ""),
        line(Step, "checkout", 1.0, "\"POST /api/orders HTTP/1.1\" 201 {int:500-1500}", ""),
        line(Step, "refund", 1.0, "\"POST /api/orders/{order}/refund HTTP/1.1\" 202 {int:100-200}", ""),
        line(Chatter, "probe", 2.0, "\"GET /healthz HTTP/1.1\" 200 2", ""),
        line(Warn, "", 6.0, "\"GET {missing} HTTP/1.1\" 404 {int:120-180}", ""),
        line(Warn, "", 3.0, "\"GET /api/account HTTP/1.1\" 401 {int:90-120}", ""),
        line(Warn, "", 1.0, "\"POST /api/cart/{cart}/items HTTP/1.1\" 429 {int:60-90}", ""),
        line(
            Warn,
            "",
            1.0,
            "an upstream response is buffered to a temporary file /var/cache/nginx/{int:1-9}/{int:10-99}",
            "",
        ),
        line(Error, "", 2.0, "\"GET {path} HTTP/1.1\" 502 157", ""),
        line(Error, "", 1.0, "\"POST /api/cart/{cart}/items HTTP/1.1\" 500 {int:80-120}", ""),
        line(Error, "", 1.0, "upstream prematurely closed connection while reading response header, client: {ip}", ""),
        line(Fault(Level::Error), "downstream", 3.0, "\"POST /api/orders HTTP/1.1\" 504 {int:160-180}", ""),
        line(
            Fault(Level::Error),
            "downstream",
            1.0,
            "upstream timed out (110: Connection timed out) while connecting to upstream, client: {ip}",
            "",
        ),
        line(Fault(Level::Warn), "brute", 1.0, "\"POST /api/login HTTP/1.1\" 401 {int:90-96}", ""),
    ],
};

pub(super) const STOREFRONT: Service = Service {
    name: "storefront",
    family: Family::Access,
    pods: 2,
    warns: 0.7,
    errors: 0.4,
    place: "storefront",
    lines: &[
        line(Step, "asset", 1.0, "\"GET {asset} HTTP/2.0\" 200 {int:400-90000}", ""),
        line(Step, "cached", 1.0, "\"GET {asset} HTTP/2.0\" 304 0", ""),
        line(Chatter, "probe", 1.0, "\"GET /status HTTP/1.1\" 200 {int:30-34}", ""),
        line(Warn, "", 5.0, "\"GET {missing} HTTP/2.0\" 404 {int:500-560}", ""),
        line(Warn, "", 1.0, "\"GET {asset} HTTP/2.0\" 499 0", ""),
        line(Warn, "", 0.6, "conflicting server name \"www{int:1-3}.shop.example\" on 0.0.0.0:443, ignored", ""),
        line(
            Error,
            "",
            2.0,
            "open() \"/usr/share/nginx/html{missing}\" failed (2: No such file or directory), client: {ip}",
            "",
        ),
        line(Error, "", 1.0, "\"GET {asset} HTTP/2.0\" 503 {int:190-210}", ""),
        line(Fresh, "", 1.0, "\"GET /assets/beta.{int:1-5}.js HTTP/2.0\" 200 {int:400-9000}", ""),
        line(Batch, "", 1.0, "\"PURGE {asset} HTTP/1.1\" 200 {int:20-30}", ""),
    ],
};
