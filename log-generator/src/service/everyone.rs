//! Lines that every service can write, each in its own format: starting, stopping, and what faults make visible.

use super::{Level, Line, Role, line};

const WARN: Role = Role::Fault(Level::Warn);
const ERROR: Role = Role::Fault(Level::Error);

pub(super) const LINES: &[Line] = &[
    line(Role::Stop, "", 1.0, "received signal 15, draining {int:1-9} requests", ""),
    line(Role::Start, "", 1.0, "starting {service} version 4.{int:10-40}.{int:0-9} build {hex}", ""),
    line(Role::Start, "", 1.0, "configuration read from /etc/{service}/config.yaml", ""),
    line(Role::Start, "", 1.0, "connection pool to database opened with {int:8-16} connections", ""),
    line(Role::Start, "", 1.0, "listening on 0.0.0.0:8080", ""),
    line(Role::Start, "", 1.0, "ready after {ms:2300} ms", ""),
    // Gauges: everybody reports its disk and memory now and then.
    line(Role::Chatter, "disk", 0.04, "volume /data is {gauge} percent full", ""),
    line(Role::Chatter, "heap", 0.04, "memory in use {gauge} percent of limit", ""),
    line(WARN, "disk_high", 1.0, "volume /data is {gauge} percent full, above the soft limit", ""),
    line(ERROR, "disk_full", 1.0, "write to /data failed: no space left on device (ENOSPC)", ""),
    line(
        WARN,
        "heap_high",
        1.0,
        "memory in use {gauge} percent of limit, collector cannot keep up, paused {ms:900} ms",
        "",
    ),
    line(ERROR, "oom", 1.0, "out of memory: allocation of {int:1000000-90000000} bytes failed", ""),
    line(
        ERROR,
        "oom_killed",
        1.0,
        "process {int:7-9} killed: memory limit of the container exceeded (exit code 137)",
        "",
    ),
    line(ERROR, "crash", 1.0, "fatal: cannot load pricing rules: unexpected end of file at offset {int:100-9000}", ""),
    line(ERROR, "exit", 1.0, "process exited with code 1, restart {int:1-30}", ""),
    line(WARN, "slow", 1.0, "slow operation took {ms:400} ms, budget is 300 ms", ""),
    line(ERROR, "root", 1.0, "connection pool exhausted: {int:64-64} of 64 in use, waited {ms:5000} ms", ""),
    line(ERROR, "downstream", 1.0, "call to upstream failed: deadline exceeded after {ms:3000} ms, giving up", ""),
    line(
        ERROR,
        "exception",
        1.0,
        "unhandled exception: index {int:12-99} out of range for list of length {int:1-9} in PriceCalculator.roundingRule",
        "",
    ),
    line(
        ERROR,
        "exception",
        1.0,
        "unhandled exception: cannot convert value of type null to Currency in TaxTable.lookup",
        "",
    ),
    line(ERROR, "exception", 1.0, "unhandled exception: certificate for partner-api.example is not yet valid", ""),
    line(ERROR, "exception", 1.0, "unhandled exception: duplicate key in shard map: shard-{int:0-31} owned twice", ""),
];
