//! The newest row of a table that is written at a steady rate: the recovery point as the
//! application sees it.

use std::time::Duration;

use chrono::TimeDelta;

use super::answer::{Moments, parse_moment, words};
use super::sql::{ask_value, query_error, quote_identifier, refused, session_settings};
use super::{Answered, CheckOutcome};
use crate::drill::restored::Restored;

/// The writer's clock may be ahead of the server's by this much.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// The table's name, quoted: `table` or `schema.table`.
fn quote_table(table: &str) -> String {
    match table.split_once('.') {
        Some((schema, name)) => {
            format!("{}.{}", quote_identifier(schema), quote_identifier(name))
        }
        None => quote_identifier(table),
    }
}

/// Judges the newest heartbeat: there is one, it is not later than the recovery point,
/// and not too old.
fn judge(text: Option<&str>, moments: &Moments, max_age: Option<Duration>) -> Answered {
    let Some(text) = text else {
        return Answered::failed("the heartbeat table holds no row");
    };
    let Some(newest) = parse_moment(text) else {
        return Answered::unproven("the heartbeat column does not hold moments (timestamptz)")
            .seeing(text);
    };
    let mut answered = match moments.recovery_point {
        None if max_age.is_some() => Answered::unproven(
            "the recovery point is unknown, because the replayed WAL holds no commit",
        ),
        None => Answered::new(CheckOutcome::Passed),
        Some(point) => {
            let age = point.signed_duration_since(newest);
            let limit = max_age.and_then(|limit| TimeDelta::from_std(limit).ok());
            if age < -CLOCK_TOLERANCE {
                Answered::failed(format!(
                    "the newest heartbeat is {} later than the recovery point",
                    words(age)
                ))
            } else if limit.is_some_and(|limit| age > limit) {
                Answered::failed(format!(
                    "the newest heartbeat is {} older than the recovery point",
                    words(age)
                ))
            } else {
                Answered::new(CheckOutcome::Passed)
            }
        }
    };
    answered.heartbeat = Some(newest);
    answered.seeing(text)
}

/// Reads the newest heartbeat and judges it.
pub async fn check(
    server: &dyn Restored,
    database: &str,
    table: &str,
    column: &str,
    max_age: Option<Duration>,
    moments: &Moments,
    timeout: Duration,
) -> Answered {
    let mut connection = match server.connect(database, &session_settings(timeout)).await {
        Ok(connection) => connection,
        Err(error) => return refused(database, &error),
    };
    let sql = format!(
        "SELECT max({}) FROM {}",
        quote_identifier(column),
        quote_table(table)
    );
    let answered = match ask_value(&mut connection, &sql).await {
        Ok(value) => judge(value.as_deref(), moments, max_age),
        Err(error) => query_error(&error),
    };
    answered.expecting(match max_age {
        Some(limit) => format!(
            "at most {} before the recovery point, and not after it",
            words(TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX))
        ),
        None => "not after the recovery point".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_lies_before_the_recovery_point_and_near_it() {
        use CheckOutcome::{Failed, Passed, Unproven};
        let known = Moments {
            recovery_point: parse_moment("2026-11-21 12:00:00+00"),
            now: parse_moment("2026-11-21 13:00:00+00").unwrap(),
        };
        let unknown = Moments {
            recovery_point: None,
            ..known
        };
        let minute = Some(Duration::from_mins(1));
        for (text, moments, max_age, outcome) in [
            (Some("2026-11-21 11:59:30+00"), &known, minute, Passed),
            (Some("2026-11-21 11:58:30+00"), &known, minute, Failed),
            (Some("2026-11-21 11:58:30+00"), &known, None, Passed),
            (Some("2026-11-21 12:00:04+00"), &known, None, Passed),
            (Some("2026-11-21 12:00:06+00"), &known, None, Failed),
            (Some("2026-11-21 11:59:30+00"), &unknown, minute, Unproven),
            (Some("2026-11-21 11:59:30+00"), &unknown, None, Passed),
            (Some("17"), &known, None, Unproven),
            (None, &known, None, Failed),
        ] {
            assert_eq!(judge(text, moments, max_age).outcome, outcome, "{text:?}");
        }
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quote_table("ops.heart\"beat"), "\"ops\".\"heart\"\"beat\"");
        assert_eq!(quote_table("heartbeat"), "\"heartbeat\"");
    }
}
