//! The services of the shop and the lines they write, as tables; one file per family of formats.
//!
//! A line is a text with `{parts}` (see `template`). Its role says when it is written.

mod access;
mod everyone;
mod java;
mod json;
mod logfmt;
mod plain;

use serde::Serialize;

/// How grave a line is, by the generator's own knowledge (an access line with status 404 is a warning).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Ordinary.
    Info,
    /// A warning.
    Warn,
    /// An error, with the lines of its stack trace.
    Error,
}

/// The format that a service writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Web servers: access lines, and their own error log.
    Access,
    /// One JSON object a line.
    Json,
    /// `key=value`.
    Logfmt,
    /// `time LEVEL [place] text`.
    Plain,
    /// Syslog, as mail servers write it.
    Syslog,
    /// Spring-like, with stack traces, one entry per line of the trace.
    Java,
}

/// When a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// As a step of a request, by its key.
    Step,
    /// By itself, `weight` times per unit of time.
    Chatter,
    /// Beside an ordinary line, as an everyday warning.
    Warn,
    /// Beside an ordinary line, as an everyday error.
    Error,
    /// Beside an ordinary line, as an everyday error with a short stack trace.
    Thrown,
    /// A line of a stack trace; key `cause` first, then `frame`.
    Frame,
    /// From a deploy on.
    Fresh,
    /// While the nightly batch runs.
    Batch,
    /// In the burst of the full hour.
    Cron,
    /// When a pod starts, in table order.
    Start,
    /// When a pod is told to stop.
    Stop,
    /// Only by a fault, by its key, with this level.
    Fault(Level),
}

impl Role {
    pub(crate) const fn level(self) -> Level {
        match self {
            Self::Warn => Level::Warn,
            Self::Error | Self::Thrown | Self::Frame => Level::Error,
            Self::Fault(level) => level,
            _ => Level::Info,
        }
    }
}

/// One line of a service's repertoire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) role: Role,
    pub(crate) key: &'static str,
    pub(crate) weight: f64,
    pub(crate) text: &'static str,
    /// Further fields, in the family's own form.
    pub(crate) more: &'static str,
}

const fn line(role: Role, key: &'static str, weight: f64, text: &'static str, more: &'static str) -> Line {
    Line { role, key, weight, text, more }
}

/// A service of the shop.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    pub(crate) pods: u8,
    /// How many everyday warnings it writes for its traffic, against the others.
    pub(crate) warns: f64,
    /// Likewise for everyday errors.
    pub(crate) errors: f64,
    /// The class or component in formats that name one.
    pub(crate) place: &'static str,
    pub(crate) lines: &'static [Line],
}

/// The shop.
pub(crate) const SHOP: [&Service; 12] = [
    &access::GATEWAY,
    &access::STOREFRONT,
    &json::AUTH,
    &json::CART,
    &json::PAYMENT,
    &json::INVENTORY,
    &java::ORDER,
    &plain::SEARCH,
    &logfmt::DATABASE,
    &logfmt::QUEUE_WORKER,
    &plain::SCHEDULER,
    &plain::MAILER,
];

impl Service {
    /// Its own lines, then those that every service can write.
    pub(crate) fn repertoire(&self) -> impl Iterator<Item = &'static Line> + use<> {
        self.lines.iter().chain(everyone::LINES)
    }

    /// The whole line with the family's frame around its text.
    pub(crate) fn framed(&self, line: &Line) -> String {
        let text = line.text.replace("{service}", self.name);
        if line.role == Role::Frame {
            return text;
        }
        match self.family {
            Family::Access => access::framed(line, &text),
            Family::Json => json::framed(self.name, line, &text),
            Family::Logfmt => logfmt::framed(self.name, line, &text),
            Family::Plain => plain::framed(self.place, line, &text),
            Family::Syslog => plain::syslog(line, &text),
            Family::Java => java::framed(self.place, line, &text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;

    #[test]
    fn every_part_is_known() {
        for service in SHOP {
            for line in service.repertoire() {
                let (_, unknown) = Template::read(&service.framed(line));
                assert!(unknown.is_empty(), "{} `{}`: {unknown:?}", service.name, line.text);
            }
        }
    }

    #[test]
    fn every_service_can_warn_fail_and_start() {
        for service in SHOP {
            for role in [Role::Warn, Role::Start, Role::Stop, Role::Fault(Level::Error)] {
                assert!(service.repertoire().any(|line| line.role == role), "{}: {role:?}", service.name);
            }
            assert!(service.repertoire().any(|line| matches!(line.role, Role::Error | Role::Thrown)));
        }
    }
}
