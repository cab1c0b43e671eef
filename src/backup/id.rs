//! Backup ids.

use chrono::{DateTime, Utc};

/// The id of a backup that begins now: `20261121T133159`, in UTC. Barman takes the local
/// time of its process, which in CloudNativePG's pods is UTC as well.
pub(super) fn of(time: DateTime<Utc>) -> String {
    time.format("%Y%m%dT%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_time() {
        let time = "2026-11-21T13:31:59.9Z".parse().unwrap();
        assert_eq!(of(time), "20261121T133159");
    }
}
