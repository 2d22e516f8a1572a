//! Services that write plain text: a search engine, a scheduler, and a mailer in syslog form.

use super::Role::{Batch, Chatter, Cron, Error, Fresh, Step, Warn};
use super::{Family, Level, Line, Service, line};

pub(super) fn framed(place: &str, line: &Line, text: &str) -> String {
    let level = match line.role.level() {
        Level::Info => "INFO ",
        Level::Warn => "WARN ",
        Level::Error => "ERROR",
    };
    format!("{{comma}} {level} [{place}] {text}")
}

pub(super) fn syslog(line: &Line, text: &str) -> String {
    let (program, text) = text.split_once(": ").filter(|_| text.starts_with("smtp")).unwrap_or(("master", text));
    let level = match line.role.level() {
        Level::Info => "",
        Level::Warn => "warning: ",
        Level::Error => "error: ",
    };
    format!("{{syslog}} {{pod}} postfix/{program}[{{int:100-400}}]: {level}{text}")
}

pub(super) const SEARCH: Service = Service {
    name: "search",
    family: Family::Plain,
    pods: 2,
    warns: 1.0,
    errors: 0.8,
    place: "search.engine",
    lines: &[
        line(Step, "query", 1.0, "query \"{term}\" found {int:0-480} products in {ms:22} ms trace={shorttrace}", ""),
        line(
            Step,
            "suggest",
            1.0,
            "suggested {int:1-8} completions for \"{term}\" in {ms:5} ms trace={shorttrace}",
            "",
        ),
        line(Chatter, "", 0.6, "segment _{hex} merged, {int:1000-90000} documents in {ms:400} ms", ""),
        line(Chatter, "", 0.8, "indexed {int:1-60} changed products in {ms:70} ms", ""),
        line(Warn, "", 3.0, "slow query \"{term}\" took {ms:900} ms trace={shorttrace}", ""),
        line(Warn, "", 2.0, "no synonyms for \"{term}\", using plain terms", ""),
        line(Warn, "", 1.0, "collector [{gc}] paused for {ms:300} ms", ""),
        line(Error, "", 2.0, "shard {int:0-5} did not answer, partial result for \"{term}\" trace={shorttrace}", ""),
        line(Error, "", 1.0, "cannot parse query: unbalanced quote at position {int:3-30} trace={shorttrace}", ""),
        line(Fresh, "", 1.0, "vector ranking used for \"{term}\", {int:10-50} candidates", ""),
        line(Fresh, "", 1.0, "facet cache warmed with {int:20-90} entries", ""),
        line(Cron, "", 1.0, "suggestions rebuilt for prefix {name}, {int:20-900} entries", ""),
    ],
};

pub(super) const SCHEDULER: Service = Service {
    name: "scheduler",
    family: Family::Plain,
    pods: 1,
    warns: 1.0,
    errors: 0.8,
    place: "scheduler",
    lines: &[
        line(Step, "start", 1.0, "job {job} started, run {shorttrace}", ""),
        line(Step, "done", 1.0, "job {job} finished, run {shorttrace}, took {ms:1500} ms", ""),
        line(Chatter, "", 1.0, "next run of {job} in {int:5-300} s", ""),
        line(Chatter, "", 0.5, "leader lease renewed in {ms:6} ms", ""),
        line(Warn, "", 3.0, "job {job} is late by {int:1-20} s", ""),
        line(Warn, "", 1.0, "job {job} still running, this run is skipped", ""),
        line(Error, "", 1.0, "job {job} failed with exit code {int:1-3}, will be retried", ""),
        line(Fresh, "", 1.0, "job {job} runs with jitter of {int:1-9} s", ""),
        line(Batch, "", 2.0, "batch step {int:1-400} of nightly close done in {ms:700} ms", ""),
        line(Cron, "", 1.0, "hourly report for warehouse {warehouse} queued", ""),
        line(Cron, "", 1.0, "hourly export part {int:1-40} written", ""),
    ],
};

pub(super) const MAILER: Service = Service {
    name: "mailer",
    family: Family::Syslog,
    pods: 1,
    warns: 1.1,
    errors: 0.8,
    place: "mailer",
    lines: &[
        line(
            Step,
            "queued",
            1.0,
            "smtpd: {shorttrace}: client=queue-worker, template={mail}, size={int:2000-30000}",
            "",
        ),
        line(
            Step,
            "sent",
            1.0,
            "smtp: {shorttrace}: to=<{email}>, relay=mx.{mailhost}:25, delay={int:0-3}.{int:10-99}, status=sent (250 2.0.0 Ok)",
            "",
        ),
        line(Chatter, "", 0.4, "statistics: max connection rate {int:1-30}/60s for (smtp:10.0.0.{int:2-30})", ""),
        line(
            Warn,
            "",
            3.0,
            "smtp: {shorttrace}: to=<{email}>, relay=mx.{mailhost}:25, status=deferred (451 4.7.1 greylisted, try again later)",
            "",
        ),
        line(Warn, "", 1.0, "smtpd: hostname client-{int:1-250}.example does not resolve to address {ip}", ""),
        line(
            Error,
            "",
            2.0,
            "smtp: {shorttrace}: to=<{email}>, relay=mx.{mailhost}:25, status=bounced (550 5.1.1 user unknown)",
            "",
        ),
        line(Error, "", 1.0, "smtp: connect to mx.{mailhost}[10.9.{int:0-9}.{int:1-250}]:25: Connection timed out", ""),
        line(Fresh, "", 1.0, "smtp: TLSv1.3 session resumed with mx.{mailhost}", ""),
        line(Batch, "", 1.0, "smtpd: {hex}: client=scheduler, template=newsletter, size={int:20000-30000}", ""),
        line(Cron, "", 1.0, "smtpd: {hex}: client=scheduler, template=report, size={int:9000-12000}", ""),
    ],
};
