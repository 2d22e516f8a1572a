//! Services that write `key=value` lines.

use super::Role::{Batch, Chatter, Cron, Error, Fresh, Step, Warn};
use super::{Family, Level, Line, Service, line};

pub(super) fn framed(service: &str, line: &Line, text: &str) -> String {
    let level = match line.role.level() {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    format!("ts={{iso}} level={level} service={service} msg=\"{text}\"{} trace_id={{trace}}", line.more)
}

pub(super) const DATABASE: Service = Service {
    name: "database",
    family: Family::Logfmt,
    pods: 1,
    warns: 1.1,
    errors: 0.8,
    place: "database",
    lines: &[
        line(Step, "select", 1.0, "query done", " op=select table={table} rows={int:0-60} duration_ms={ms:4}"),
        line(Step, "insert", 1.0, "query done", " op=insert table={table} rows={int:1-9} duration_ms={ms:7}"),
        line(Step, "commit", 1.0, "transaction committed", " tables={int:1-4} duration_ms={ms:12}"),
        line(Chatter, "", 0.3, "checkpoint complete", " buffers={int:200-900} duration_ms={ms:2500}"),
        line(Chatter, "", 0.6, "autovacuum finished", " table={table} pages={int:1-300} duration_ms={ms:300}"),
        line(Chatter, "", 0.8, "connection authorised", " peer={peer} pool={int:4-20}"),
        line(Warn, "", 5.0, "slow query", " op=select table={table} duration_ms={ms:650}"),
        line(
            Warn,
            "",
            2.0,
            "sequential scan on a large table",
            " table={table} column={column} rows={int:90000-990000}",
        ),
        line(Warn, "", 1.0, "replica lags behind", " lag_ms={ms:900}"),
        line(Error, "", 2.0, "deadlock detected, one transaction rolled back", " table={table} pid={int:200-900}"),
        line(Error, "", 2.0, "duplicate key violates unique constraint", " table={table} column={column}"),
        line(Error, "", 1.0, "canceling statement due to statement timeout", " table={table} duration_ms={ms:30000}"),
        line(Fresh, "", 1.0, "parallel plan chosen", " table={table} workers={int:2-4}"),
        line(Batch, "", 2.0, "partition archived", " table={table} rows={int:9000-99000} duration_ms={ms:900}"),
        line(Batch, "", 1.0, "index rebuilt", " table={table} column={column} duration_ms={ms:1800}"),
        line(Cron, "", 1.0, "statistics refreshed", " table={table} column={column} duration_ms={ms:200}"),
    ],
};

pub(super) const QUEUE_WORKER: Service = Service {
    name: "queue-worker",
    family: Family::Logfmt,
    pods: 3,
    warns: 1.0,
    errors: 0.9,
    place: "queue-worker",
    lines: &[
        line(Step, "taken", 1.0, "message taken", " queue={queue} message={order} waited_ms={ms:120}"),
        line(Step, "worked", 1.0, "message handled", " queue={queue} message={order} duration_ms={ms:220}"),
        line(Step, "acked", 1.0, "message acknowledged", " queue={queue} message={order}"),
        line(Chatter, "", 1.0, "queue length", " queue={queue} length={int:0-60}"),
        line(Chatter, "", 0.4, "heartbeat sent to broker", " duration_ms={ms:3}"),
        line(Warn, "", 3.0, "message redelivered", " queue={queue} message={order} attempt={int:2-4}"),
        line(Warn, "", 2.0, "handling took longer than usual", " queue={queue} duration_ms={ms:1900}"),
        line(
            Error,
            "",
            2.0,
            "handler failed, message goes back to the queue",
            " queue={queue} message={order} attempt={int:1-3}",
        ),
        line(Error, "", 1.0, "message moved to dead letter queue", " queue={queue} message={order}"),
        line(Fresh, "", 1.0, "prefetch adapted", " queue={queue} prefetch={int:8-64}"),
        line(Batch, "", 2.0, "invoice rendered", " queue=invoices order={order} pages={int:1-3} duration_ms={ms:400}"),
        line(Cron, "", 1.0, "thumbnail rendered", " queue=thumbnails sku={sku} duration_ms={ms:90}"),
    ],
};
