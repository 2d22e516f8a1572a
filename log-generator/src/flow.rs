//! The requests of the shop: which services write what, in which order, with which gaps.

/// One step: service, key of its line, and the median milliseconds since the step before.
pub(crate) type Step = (&'static str, &'static str, f64);

/// A kind of request.
pub(crate) struct Flow {
    /// How often, against the others and against chatter.
    pub(crate) weight: f64,
    /// How far it follows the rhythm of the day: 1 wholly, 0 not at all.
    pub(crate) rhythm: f64,
    pub(crate) steps: &'static [Step],
}

const fn flow(weight: f64, rhythm: f64, steps: &'static [Step]) -> Flow {
    Flow { weight, rhythm, steps }
}

/// A web server writes its access line at the end of a request, so the gateway comes last in most.
pub(crate) const FLOWS: &[Flow] = &[
    flow(13.0, 1.0, &[("storefront", "asset", 3.0)]),
    flow(6.0, 1.0, &[("storefront", "cached", 1.0)]),
    flow(5.0, 1.0, &[("inventory", "lookup", 2.0), ("database", "select", 4.0), ("gateway", "home", 6.0)]),
    flow(5.0, 1.0, &[("inventory", "lookup", 2.0), ("database", "select", 4.0), ("gateway", "product", 5.0)]),
    flow(4.0, 1.0, &[("search", "query", 22.0), ("gateway", "search", 4.0)]),
    flow(3.0, 1.0, &[("search", "suggest", 5.0)]),
    flow(3.0, 1.0, &[("auth", "token", 3.0), ("cart", "view", 8.0), ("gateway", "home", 5.0)]),
    flow(
        1.5,
        1.0,
        &[
            ("auth", "attempt", 2.0),
            ("database", "select", 4.0),
            ("auth", "checked", 60.0),
            ("auth", "session", 9.0),
            ("gateway", "login", 4.0),
        ],
    ),
    flow(
        2.5,
        1.0,
        &[
            ("auth", "token", 3.0),
            ("inventory", "lookup", 7.0),
            ("cart", "add", 9.0),
            ("database", "insert", 6.0),
            ("cart", "total", 5.0),
            ("gateway", "add", 4.0),
        ],
    ),
    flow(
        1.3,
        1.0,
        &[
            ("auth", "token", 3.0),
            ("order", "received", 6.0),
            ("cart", "checkout", 9.0),
            ("inventory", "reserve", 15.0),
            ("order", "validated", 12.0),
            ("payment", "requested", 5.0),
            ("payment", "authorised", 180.0),
            ("payment", "captured", 90.0),
            ("database", "commit", 12.0),
            ("order", "confirmed", 6.0),
            ("gateway", "checkout", 4.0),
            ("queue-worker", "taken", 120.0),
            ("inventory", "release", 60.0),
            ("queue-worker", "worked", 150.0),
            ("queue-worker", "acked", 3.0),
            ("mailer", "queued", 200.0),
            ("mailer", "sent", 700.0),
        ],
    ),
    flow(
        0.15,
        1.0,
        &[
            ("auth", "token", 3.0),
            ("payment", "refund", 150.0),
            ("order", "refunded", 9.0),
            ("database", "commit", 12.0),
            ("gateway", "refund", 4.0),
            ("mailer", "queued", 300.0),
            ("mailer", "sent", 700.0),
        ],
    ),
    flow(
        0.5,
        0.0,
        &[
            ("scheduler", "start", 1.0),
            ("queue-worker", "taken", 80.0),
            ("database", "select", 20.0),
            ("queue-worker", "worked", 200.0),
            ("queue-worker", "acked", 3.0),
            ("scheduler", "done", 30.0),
        ],
    ),
];
