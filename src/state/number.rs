//! Numbers on their way into a database.

/// Numbers in databases are signed.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
