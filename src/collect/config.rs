//! The settings of stage 1: how to reach Loki, what to watch, how to read it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::secret::Secret;
use crate::time::Span;

/// `loki:` how to reach Loki.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LokiConfig {
    /// Base URL, with the path prefix of a gateway if there is one.
    pub url: String,
    /// `X-Scope-OrgID` of watches that name none; Loki with `auth_enabled: true` needs it.
    pub org_id: Option<String>,
    /// User name for basic authentication.
    pub username: Option<String>,
    /// Password for basic authentication.
    pub password: Option<Secret>,
    /// File with the password; read again for every connection attempt.
    pub password_file: Option<PathBuf>,
    /// Bearer token.
    pub bearer_token: Option<Secret>,
    /// File with the bearer token; read again, so that it can be rotated.
    pub bearer_token_file: Option<PathBuf>,
    /// Further request headers.
    pub headers: BTreeMap<String, Secret>,
    /// PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate (chain).
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client certificate's key.
    pub key_file: Option<PathBuf>,
    /// How long to wait for an answer. Loki's own write timeout is 30 s: after it nothing can arrive any more.
    pub timeout: Span,
    /// Ask for compressed answers: saves wire, costs Loki 10 to 23 ms per 5000 lines. On over a WAN only.
    pub gzip: bool,
}

impl Default for LokiConfig {
    fn default() -> Self {
        Self {
            url: "http://localhost:3100".to_owned(),
            org_id: None,
            username: None,
            password: None,
            password_file: None,
            bearer_token: None,
            bearer_token_file: None,
            headers: BTreeMap::new(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            timeout: Span::seconds(35),
            gzip: false,
        }
    }
}

/// `collect:` how every watch reads, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectConfig {
    /// Pause between polls.
    pub interval: Span,
    /// How far behind real time to read; shippers batch for 1 to 5 s.
    pub eval_delay: Span,
    /// A closed minute is counted again for late lines when it is at least this old.
    pub late_after: Span,
    /// One closed minute in this many is audited by an exact count; 0 audits only before an incident opens or resolves.
    pub audit_every: u32,
    /// What is older than this when its turn comes is not read, but counted and recorded as a gap.
    pub max_lag: Span,
    /// How far back to learn at the first start.
    pub learn_lookback: Span,
    /// At most this many lines are read to learn, as whole windows sampled evenly over the look-back.
    pub learn_lines: u64,
    /// At most this many requests a minute go to Loki for each watch.
    pub max_requests_per_minute: u32,
    /// Lines per request; lowered by itself when Loki allows fewer or answers would pass 3 MB.
    pub limit: u32,
    /// Leave out what sigyn and Loki log about sigyn's own queries.
    pub exclude_own_queries: bool,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self {
            interval: Span::seconds(30),
            eval_delay: Span::seconds(10),
            late_after: Span::minutes(1),
            audit_every: 10,
            max_lag: Span::hours(6),
            learn_lookback: Span::hours(24),
            learn_lines: 500_000,
            max_requests_per_minute: 600,
            limit: 5000,
            exclude_own_queries: true,
        }
    }
}

/// One entry of `watches:`; what is not set comes from `collect:` and `detect:`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Unique name; part of every incident's identity, so renaming it starts afresh.
    pub name: String,
    /// LogQL selector with optional line filters, such as `{namespace="shop"} != "healthz"`.
    pub query: String,
    /// `X-Scope-OrgID` of this watch.
    pub org_id: Option<String>,
    /// Pause between polls.
    pub interval: Option<Span>,
    /// How far behind real time to read.
    pub eval_delay: Option<Span>,
    /// Window: a length of time (`1m`) or of lines (`20 lines`, `20 lines step 5`).
    pub window: Option<String>,
    /// Labels whose values tell groups apart. Empty: the first of `service_name`, `job`, `app` that a stream has.
    pub group_by: Vec<String>,
    /// Labels added to each incident of this watch.
    pub labels: Labels,
    /// Who owns what it watches.
    pub owner: Option<String>,
    /// Where to read what to do.
    pub runbook_url: Option<String>,
}
