//! PostgreSQL's clocks.

use chrono::{DateTime, Utc};

/// Microseconds from 1970-01-01 to 2000-01-01, both at 00:00 UTC.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A `TimestampTz`: microseconds since 2000-01-01 00:00 UTC
/// (`src/include/datatype/timestamp.h`). What no calendar holds becomes the calendar's
/// first or last moment.
pub(super) fn from_timestamptz(micros: i64) -> DateTime<Utc> {
    micros
        .checked_add(POSTGRES_EPOCH_MICROS)
        .and_then(DateTime::from_timestamp_micros)
        .unwrap_or_else(|| clamp(micros))
}

/// A `pg_time_t`: seconds since 1970-01-01 00:00 UTC, clamped likewise.
pub(super) fn from_time_t(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_else(|| clamp(seconds))
}

fn clamp(direction: i64) -> DateTime<Utc> {
    if direction < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_postgres_own() {
        assert_eq!(
            from_timestamptz(0).to_rfc3339(),
            "2000-01-01T00:00:00+00:00"
        );
        assert_eq!(from_time_t(0).to_rfc3339(), "1970-01-01T00:00:00+00:00");
        assert_eq!(from_timestamptz(i64::MAX), DateTime::<Utc>::MAX_UTC);
        assert_eq!(from_time_t(i64::MIN), DateTime::<Utc>::MIN_UTC);
    }
}
