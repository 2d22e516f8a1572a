//! The tables with their columns, for what treats all of them alike: backup, restore and check.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Real,
    Text,
    Bytes,
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// Its rows get numbers that must go on after a restore.
    pub(super) numbered: Option<&'static str>,
}

use Kind::{Bytes, Int, Real, Text};

/// All that is worth keeping, each after those that it refers to. Not among them: leases, which are about processes.
pub(super) const TABLES: [Table; 17] = [
    Table {
        name: "watches",
        columns: &[
            ("tenant", Text),
            ("watch", Text),
            ("done_until", Int),
            ("source_state", Text),
            ("carry", Text),
            ("patterns", Bytes),
        ],
        numbered: None,
    },
    Table {
        name: "chains",
        columns: &[
            ("tenant", Text),
            ("watch", Text),
            ("document", Text),
            ("number", Int),
            ("checksum", Int),
            ("bytes", Bytes),
        ],
        numbered: None,
    },
    Table {
        name: "groups",
        columns: &[("tenant", Text), ("watch", Text), ("grp", Int), ("labels", Text)],
        numbered: None,
    },
    Table {
        name: "windows",
        columns: &[
            ("tenant", Text),
            ("watch", Text),
            ("grp", Int),
            ("range_end", Int),
            ("range_start", Int),
            ("revision", Int),
            ("lines", Int),
            ("line_length", Real),
            ("error_count", Real),
            ("warn_count", Real),
            ("unique_messages", Real),
            ("rate", Real),
            ("known", Text),
            ("seen", Int),
            ("missing", Int),
            ("score", Real),
            ("threshold", Real),
            ("anomalous", Text),
            ("learnt", Int),
            ("late", Int),
        ],
        numbered: None,
    },
    Table {
        name: "models",
        columns: &[("tenant", Text), ("watch", Text), ("grp", Int), ("until", Int), ("model", Text)],
        numbered: None,
    },
    Table {
        name: "incidents",
        columns: &[
            ("tenant", Text),
            ("id", Text),
            ("fingerprint", Text),
            ("watch", Text),
            ("title", Text),
            ("state", Text),
            ("severity", Text),
            ("started_at", Int),
            ("last_seen", Int),
            ("resolved_at", Int),
            ("document", Text),
            ("handling", Text),
            ("lead", Text),
            ("open", Int),
        ],
        numbered: None,
    },
    Table {
        name: "words",
        columns: &[("tenant", Text), ("word", Text), ("started_at", Int), ("incident", Text)],
        numbered: None,
    },
    Table { name: "transitions", columns: TOLD, numbered: None },
    Table {
        name: "queue",
        columns: &[("seq", Int), ("tenant", Text), ("incident", Text), ("number", Int)],
        numbered: Some("seq"),
    },
    Table { name: "notices", columns: TOLD, numbered: None },
    Table {
        name: "deliveries",
        columns: &[
            ("id", Int),
            ("tenant", Text),
            ("key", Text),
            ("receiver", Text),
            ("incident", Text),
            ("number", Int),
            ("links", Text),
            ("state", Text),
            ("attempts", Int),
            ("first_try", Int),
            ("next_at", Int),
            ("changed_at", Int),
            ("error", Text),
            ("receipt", Text),
        ],
        numbered: Some("id"),
    },
    Table {
        name: "commands",
        columns: &[("id", Int), ("tenant", Text), ("at", Int), ("subject", Text), ("document", Text), ("done", Int)],
        numbered: Some("id"),
    },
    Table {
        name: "gaps",
        columns: &[
            ("tenant", Text),
            ("watch", Text),
            ("range_start", Int),
            ("range_end", Int),
            ("reason", Text),
            ("lines", Int),
        ],
        numbered: None,
    },
    Table { name: "dispatch", columns: &[("tenant", Text), ("key", Text), ("document", Text)], numbered: None },
    Table {
        name: "silences",
        columns: &[("tenant", Text), ("id", Text), ("document", Text), ("ends_at", Int), ("expired_at", Int)],
        numbered: None,
    },
    Table {
        name: "days",
        columns: &[("tenant", Text), ("receiver", Text), ("day", Text), ("key", Text)],
        numbered: None,
    },
    Table {
        name: "shares",
        columns: &[
            ("tenant", Text),
            ("watch", Text),
            ("groups", Int),
            ("share", Int),
            ("group_share", Int),
            ("epoch", Int),
            ("claimed_at", Int),
        ],
        numbered: None,
    },
];

const TOLD: &[(&str, Kind)] =
    &[("tenant", Text), ("incident", Text), ("number", Int), ("kind", Text), ("at", Int), ("document", Text)];

impl Table {
    /// All rows, all columns in their order.
    pub(super) fn select(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        format!("SELECT {} FROM {}", names.join(", "), self.name)
    }
}
