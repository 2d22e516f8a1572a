//! Time zones by their IANA names, with the rules of the time zone database that is compiled in: the same on every machine.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::time::{Nanos, SECOND, TimeRange};

/// A time zone. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Zone {
    /// The zone with this IANA name; upper and lower case are the same.
    ///
    /// # Errors
    /// When there is none; the text says what to write.
    pub fn named(name: &str) -> Result<Self, String> {
        let name = name.trim();
        if matches!(name, "" | "Etc/Unknown") || name.len() > 64 {
            return Err("must be an IANA name such as Europe/Berlin, or UTC".to_owned());
        }
        let found = TimeZoneDatabase::bundled().get(name);
        found
            .map(Self)
            .map_err(|_| format!("`{name}` is no time zone; write an IANA name such as Europe/Berlin, or UTC"))
    }

    /// Its IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What calendar and clock show there.
    #[must_use]
    pub fn civil(&self, at: Nanos) -> DateTime {
        self.0.to_datetime(stamp(at))
    }

    /// What clocks there are ahead of UTC.
    #[must_use]
    pub fn offset(&self, at: Nanos) -> Nanos {
        Nanos::from(self.0.to_offset(stamp(at)).seconds()) * SECOND
    }

    /// When clocks there show this for the first time. Where the time is skipped, when they would have shown it by the
    /// rules before the change (as RFC 5545 has it, section 3.3.5).
    #[must_use]
    pub fn first(&self, civil: DateTime) -> Nanos {
        let zoned = self.0.to_ambiguous_zoned(civil).compatible();
        zoned.map_or(Nanos::MAX, |zoned| nanos(zoned.timestamp()))
    }

    /// The day there that `at` belongs to: 23 to 25 hours where clocks change.
    #[must_use]
    pub fn day(&self, at: Nanos) -> TimeRange {
        let today = self.civil(at).date();
        let midnight = |date: Date| self.first(date.to_datetime(jiff::civil::Time::midnight()));
        let tomorrow = today.tomorrow().map_or(Nanos::MAX, midnight);
        TimeRange::new(midnight(today).min(at), tomorrow)
    }

    /// When clocks were last changed there, at `at` or before.
    pub(super) fn changed(&self, at: Nanos) -> Option<Nanos> {
        // Times that come before the given one are found.
        let after = stamp(at.saturating_add(1));
        self.0.preceding(after).next().map(|change| nanos(change.timestamp()))
    }
}

fn stamp(at: Nanos) -> Timestamp {
    // 64 bits of nanoseconds are well within its years.
    Timestamp::from_nanosecond(i128::from(at)).unwrap_or_default()
}

fn nanos(stamp: Timestamp) -> Nanos {
    let clamped = stamp.as_nanosecond().clamp(i128::from(Nanos::MIN), i128::from(Nanos::MAX));
    Nanos::try_from(clamped).unwrap_or(Nanos::MAX)
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::named(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{HOUR, rfc3339};

    fn at(text: &str) -> Nanos {
        nanos(text.parse().unwrap())
    }

    #[test]
    fn names_are_those_of_the_database() {
        for name in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Argentina/Ushuaia"] {
            assert_eq!(Zone::named(name).unwrap().name(), name);
        }
        assert_eq!(Zone::named("europe/berlin").unwrap().name(), "Europe/Berlin");
        for name in ["", "Local", "Europe/Berln", "+02:00", "../../etc/passwd", "Etc/Unknown"] {
            assert!(Zone::named(name).is_err(), "{name}");
        }
    }

    #[test]
    fn days_are_as_long_as_they_are() {
        for (zone, when, start, hours) in [
            ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", 23.0),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", 25.0),
            ("America/New_York", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", 23.0),
            ("Australia/Lord_Howe", "2026-04-05T00:00:00Z", "2026-04-04T13:00:00Z", 24.5),
            ("Asia/Kathmandu", "2026-06-01T00:00:00Z", "2026-05-31T18:15:00Z", 24.0),
            // Midnight itself is skipped.
            ("Asia/Beirut", "2026-03-29T12:00:00Z", "2026-03-28T22:00:00Z", 23.0),
        ] {
            let day = Zone::named(zone).unwrap().day(at(when));
            assert_eq!((rfc3339(day.start).as_str(), day.len() as f64 / HOUR as f64), (start, hours), "{zone} {when}");
        }
        let zone = Zone::named("Europe/Berlin").unwrap();
        for at in [Nanos::MIN, Nanos::MAX] {
            assert!(zone.day(at).start <= at);
        }
    }
}
