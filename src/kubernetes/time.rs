//! Moments of the Kubernetes API (`jiff`) as the rest of walproof keeps them (`chrono`),
//! and back. The only file that names `jiff`.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;

/// A moment of the API. `None` for one beyond what `chrono` can hold, which no server
/// writes.
pub fn from_api(time: &Time) -> Option<DateTime<Utc>> {
    from_timestamp(time.0)
}

/// The API keeps whole seconds; so does a status, to be the same when it is read again.
pub fn whole(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

/// A moment of the API with microseconds (events of `events.k8s.io`, leases).
pub fn from_api_micro(time: &MicroTime) -> Option<DateTime<Utc>> {
    from_timestamp(time.0)
}

/// A moment for the API, which keeps whole seconds.
pub fn to_api(time: DateTime<Utc>) -> Option<Time> {
    to_timestamp(time).map(Time)
}

/// The same with microseconds, as Events have them.
pub fn to_api_micro(time: DateTime<Utc>) -> Option<MicroTime> {
    to_timestamp(time).map(MicroTime)
}

/// A moment as the client's parameters want it, for instance a log's `since`.
pub fn to_timestamp(time: DateTime<Utc>) -> Option<Timestamp> {
    let nanoseconds = i32::try_from(time.timestamp_subsec_nanos().min(999_999_999)).ok()?;
    Timestamp::new(time.timestamp(), nanoseconds).ok()
}

/// A text of the API (RFC 3339) as a moment; for resources that are read as plain JSON.
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.with_timezone(&Utc))
}

/// The `Date` of an answer (RFC 9110) as a moment.
pub fn parse_http(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text)
        .ok()
        .map(|time| time.with_timezone(&Utc))
}

fn from_timestamp(time: Timestamp) -> Option<DateTime<Utc>> {
    // Before 1970 jiff counts the fraction backwards from the next second, chrono forwards.
    let nanoseconds = time.subsec_nanosecond();
    let (seconds, nanoseconds) = if nanoseconds < 0 {
        (
            time.as_second().checked_sub(1)?,
            nanoseconds.checked_add(1_000_000_000)?,
        )
    } else {
        (time.as_second(), nanoseconds)
    };
    DateTime::from_timestamp(seconds, u32::try_from(nanoseconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_survive_both_ways() {
        for text in [
            "2026-11-22T08:25:00Z",
            "2026-11-22T08:25:00.123456Z",
            "1969-12-31T23:59:58.750Z",
            "0001-01-01T00:00:00Z",
        ] {
            let time = parse(text).unwrap();
            let timestamp = to_timestamp(time).unwrap();
            assert_eq!(from_timestamp(timestamp), Some(time), "{text}");
            assert_eq!(timestamp, text.parse().unwrap(), "{text}");
        }
        let time = parse("2026-11-22T09:25:00+01:00").unwrap();
        assert_eq!(from_api(&to_api(time).unwrap()), Some(time));
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn an_answers_date_is_a_moment() {
        assert_eq!(
            parse_http("Sun, 22 Nov 2026 08:25:00 GMT"),
            parse("2026-11-22T08:25:00Z")
        );
        assert_eq!(parse_http("today"), None);
    }

    #[test]
    fn a_leap_second_is_not_lost_on_the_way_to_the_api() {
        let time = parse("2016-12-31T23:59:60Z").unwrap();
        assert!(to_timestamp(time).is_some());
    }
}
