//! Services that write one JSON object a line.

use super::Role::{Chatter, Cron, Error, Fault, Fresh, Step, Warn};
use super::{Family, Level, Line, Service, line};

pub(super) fn framed(service: &str, line: &Line, text: &str) -> String {
    let level = match line.role.level() {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    format!(
        "{{\"timestamp\":\"{{iso}}\",\"level\":\"{level}\",\"service\":\"{service}\",\"message\":\"{text}\",\
         \"trace_id\":\"{{trace}}\"{}}}",
        line.more
    )
}

pub(super) const AUTH: Service = Service {
    name: "auth",
    family: Family::Json,
    pods: 2,
    warns: 1.1,
    errors: 0.6,
    place: "auth",
    lines: &[
        line(Step, "attempt", 1.0, "login attempt for {user}", ",\"ip\":\"{ip}\""),
        line(Step, "checked", 1.0, "password of {user} checked", ",\"duration_ms\":{ms:60}"),
        line(Step, "session", 1.0, "session opened for {user}", ",\"session\":\"{session}\",\"duration_ms\":{ms:9}"),
        line(Step, "token", 1.0, "token accepted", ",\"user\":\"{user}\",\"duration_ms\":{ms:4}"),
        line(Chatter, "", 0.3, "signing keys refreshed", ",\"keys\":{int:2-3},\"duration_ms\":{ms:80}"),
        line(Chatter, "", 0.8, "session expired", ",\"session\":\"{hex}\",\"age_s\":{int:1800-86400}"),
        line(Warn, "failed", 5.0, "login failed for {user}: wrong password", ",\"ip\":\"{ip}\",\"attempt\":{int:1-3}"),
        line(Warn, "", 3.0, "token expired, asking for a new one", ",\"user\":\"{user}\""),
        line(Warn, "", 1.0, "password of {user} uses an old hash, will be upgraded", ""),
        line(
            Error,
            "",
            2.0,
            "cannot reach the mail service for a second factor, retrying",
            ",\"attempt\":{int:1-3},\"duration_ms\":{ms:1500}",
        ),
        line(Error, "", 1.0, "session store answered late", ",\"duration_ms\":{ms:2200}"),
        line(Fresh, "", 1.0, "passkey offered to {user}", ",\"country\":\"{country}\""),
        line(Fresh, "", 1.0, "risk score computed", ",\"user\":\"{user}\",\"score\":{int:0-30}"),
        line(
            Fault(Level::Warn),
            "brute",
            1.0,
            "login failed for {victim}: wrong password",
            ",\"ip\":\"{attacker}\",\"attempt\":{int:4-400}",
        ),
    ],
};

pub(super) const CART: Service = Service {
    name: "cart",
    family: Family::Json,
    pods: 3,
    warns: 1.0,
    errors: 0.8,
    place: "cart",
    lines: &[
        line(Step, "add", 1.0, "item {sku} added", ",\"cart\":\"{cart}\",\"quantity\":{qty},\"duration_ms\":{ms:11}"),
        line(Step, "total", 1.0, "total computed", ",\"cart\":\"{cart}\",\"total\":{amount},\"duration_ms\":{ms:6}"),
        line(Step, "view", 1.0, "cart shown", ",\"cart\":\"{cart}\",\"items\":{int:1-7},\"duration_ms\":{ms:7}"),
        line(
            Step,
            "checkout",
            1.0,
            "cart handed to checkout",
            ",\"cart\":\"{cart}\",\"order\":\"{order}\",\"total\":{amount}",
        ),
        line(Chatter, "", 0.5, "abandoned cart kept", ",\"cart\":\"{hex}\",\"age_h\":{int:1-72}"),
        line(Chatter, "", 0.4, "price cache refreshed", ",\"entries\":{int:3000-3400},\"duration_ms\":{ms:140}"),
        line(Warn, "", 4.0, "item {sku} is low in stock", ",\"left\":{int:1-4}"),
        line(Warn, "", 3.0, "cache miss, falling back to database", ",\"cart\":\"{cart}\",\"duration_ms\":{ms:35}"),
        line(Warn, "", 2.0, "coupon {coupon} not applicable", ",\"cart\":\"{cart}\""),
        line(Error, "", 2.0, "cannot update cart: version conflict", ",\"cart\":\"{cart}\",\"attempt\":{int:1-3}"),
        line(Error, "", 1.0, "inventory did not answer in time", ",\"sku\":\"{sku}\",\"duration_ms\":{ms:1000}"),
        line(Fresh, "", 1.0, "gift wrapping offered", ",\"cart\":\"{cart}\""),
        line(Fresh, "", 1.0, "bundle price applied to {sku}", ",\"saved\":{int:1-9}"),
        line(Fresh, "", 1.0, "cart merged after login", ",\"user\":\"{user}\",\"items\":{int:1-5}"),
    ],
};

pub(super) const PAYMENT: Service = Service {
    name: "payment",
    family: Family::Json,
    pods: 2,
    warns: 1.0,
    errors: 1.2,
    place: "payment",
    lines: &[
        line(
            Step,
            "requested",
            1.0,
            "payment requested",
            ",\"order\":\"{order}\",\"amount\":{amount},\"currency\":\"{currency}\"",
        ),
        line(
            Step,
            "authorised",
            1.0,
            "payment authorised by {bank}",
            ",\"order\":\"{order}\",\"amount\":{amount},\"duration_ms\":{ms:180}",
        ),
        line(
            Step,
            "captured",
            1.0,
            "payment captured",
            ",\"order\":\"{order}\",\"amount\":{amount},\"duration_ms\":{ms:90}",
        ),
        line(
            Step,
            "refund",
            1.0,
            "refund sent to {bank}",
            ",\"order\":\"{order}\",\"amount\":{amount},\"duration_ms\":{ms:150}",
        ),
        line(
            Chatter,
            "",
            0.4,
            "exchange rates loaded",
            ",\"base\":\"EUR\",\"rates\":{int:30-32},\"duration_ms\":{ms:120}",
        ),
        line(Chatter, "", 0.6, "connection to {bank} is healthy", ",\"duration_ms\":{ms:45}"),
        line(
            Warn,
            "",
            4.0,
            "card declined by {bank}",
            ",\"order\":\"{order}\",\"card\":\"{card}\",\"code\":{int:51-57}",
        ),
        line(Warn, "", 2.0, "retrying authorisation", ",\"order\":\"{order}\",\"attempt\":{int:2-3}"),
        line(Warn, "", 2.0, "second factor takes long", ",\"order\":\"{order}\",\"waited_s\":{int:20-90}"),
        line(
            Error,
            "",
            2.0,
            "{bank} refused the request: temporarily unavailable",
            ",\"order\":\"{order}\",\"status\":503,\"duration_ms\":{ms:800}",
        ),
        line(Error, "", 1.0, "webhook signature does not match", ",\"bank\":\"{bank}\""),
        line(Fresh, "", 1.0, "instalment plan offered", ",\"order\":\"{order}\",\"months\":{int:3-12}"),
        line(Fresh, "", 1.0, "network token used", ",\"card\":\"{card}\""),
    ],
};

pub(super) const INVENTORY: Service = Service {
    name: "inventory",
    family: Family::Json,
    pods: 2,
    warns: 1.0,
    errors: 0.8,
    place: "inventory",
    lines: &[
        line(
            Step,
            "lookup",
            1.0,
            "stock of {sku} read",
            ",\"warehouse\":\"{warehouse}\",\"left\":{int:0-400},\"duration_ms\":{ms:8}",
        ),
        line(
            Step,
            "reserve",
            1.0,
            "stock of {sku} reserved",
            ",\"order\":\"{order}\",\"quantity\":{qty},\"duration_ms\":{ms:15}",
        ),
        line(
            Step,
            "release",
            1.0,
            "reservation turned into shipment",
            ",\"order\":\"{order}\",\"quantity\":{qty},\"warehouse\":\"{warehouse}\"",
        ),
        line(
            Chatter,
            "",
            0.8,
            "stock level received from {warehouse}",
            ",\"items\":{int:20-300},\"duration_ms\":{ms:60}",
        ),
        line(Chatter, "", 0.3, "reorder list written", ",\"items\":{int:1-40}"),
        line(Warn, "", 4.0, "stock of {sku} below reorder point", ",\"left\":{int:0-9}"),
        line(Warn, "", 2.0, "count from {warehouse} differs from ours", ",\"sku\":\"{sku}\",\"difference\":{int:1-6}"),
        line(
            Error,
            "",
            2.0,
            "cannot reserve {sku}: lock not available",
            ",\"attempt\":{int:1-4},\"duration_ms\":{ms:250}",
        ),
        line(Error, "", 1.0, "feed from {warehouse} has a broken row", ",\"row\":{int:1-9000}"),
        line(Fresh, "", 1.0, "shelf scanner registered", ",\"warehouse\":\"{warehouse}\",\"scanner\":{int:1-60}"),
        line(Fresh, "", 1.0, "forecast updated for {sku}", ",\"days\":{int:7-28}"),
        line(Cron, "", 1.0, "hourly stock snapshot part {int:1-64} written", ",\"rows\":{int:800-1200}"),
    ],
};
