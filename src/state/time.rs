//! Moments as text that sorts.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339 in UTC with six digits: `2026-11-21T18:40:00.000000Z`.
pub(super) fn to_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The moment that [`to_text`] wrote.
pub(super) fn from_text(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_sorts_as_time_does(left in 0..4_102_444_800_000_000_i64, right in 0..4_102_444_800_000_000_i64) {
            let time = |micros| DateTime::from_timestamp_micros(micros).unwrap();
            let (left, right) = (time(left), time(right));
            prop_assert_eq!(to_text(left).cmp(&to_text(right)), left.cmp(&right));
            prop_assert_eq!(from_text(&to_text(left)), Some(left));
        }
    }
}
