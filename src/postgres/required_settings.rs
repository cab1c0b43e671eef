//! Settings that a restored server must have at least as high as the source had.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ControlFile;
use super::wal::ParameterChange;

/// The least values with which recovery neither pauses nor stops
/// (`CheckRequiredParameterValues` in `src/backend/access/transam/xlogrecovery.c`). The
/// default holds PostgreSQL's own defaults, below which nothing is gained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequiredSettings {
    /// `max_connections`.
    pub max_connections: i32,
    /// `max_worker_processes`.
    pub max_worker_processes: i32,
    /// `max_wal_senders`.
    pub max_wal_senders: i32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: i32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: i32,
    /// Whether commit times were tracked: replay then keeps `pg_commit_ts`.
    pub track_commit_timestamp: bool,
}

impl Default for RequiredSettings {
    fn default() -> Self {
        Self {
            max_connections: 100,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 64,
            track_commit_timestamp: false,
        }
    }
}

impl RequiredSettings {
    /// What a server that was copied with this control file must at least have.
    pub fn of_control_file(control: &ControlFile) -> Self {
        let mut settings = Self::default();
        settings.raise_to_control_file(control);
        settings
    }

    /// At least what a change in the WAL says.
    pub fn raise_to_change(&mut self, change: &ParameterChange) {
        self.raise(Self {
            max_connections: change.max_connections,
            max_worker_processes: change.max_worker_processes,
            max_wal_senders: change.max_wal_senders,
            max_prepared_transactions: change.max_prepared_transactions,
            max_locks_per_transaction: change.max_locks_per_transaction,
            track_commit_timestamp: change.track_commit_timestamp,
        });
    }

    /// At least what the control file of the base backup says.
    pub fn raise_to_control_file(&mut self, control: &ControlFile) {
        self.raise(Self {
            max_connections: control.max_connections,
            max_worker_processes: control.max_worker_processes,
            max_wal_senders: control.max_wal_senders,
            max_prepared_transactions: control.max_prepared_transactions,
            max_locks_per_transaction: control.max_locks_per_transaction,
            track_commit_timestamp: control.track_commit_timestamp,
        });
    }

    /// At least `other`, value by value.
    pub fn raise(&mut self, other: Self) {
        self.max_connections = self.max_connections.max(other.max_connections);
        self.max_worker_processes = self.max_worker_processes.max(other.max_worker_processes);
        self.max_wal_senders = self.max_wal_senders.max(other.max_wal_senders);
        self.max_prepared_transactions = self
            .max_prepared_transactions
            .max(other.max_prepared_transactions);
        self.max_locks_per_transaction = self
            .max_locks_per_transaction
            .max(other.max_locks_per_transaction);
        self.track_commit_timestamp |= other.track_commit_timestamp;
    }

    /// What `other` raises of the values that recovery insists on, each as "name from old
    /// to new".
    pub fn raised_by(&self, other: &Self) -> Vec<String> {
        let mut after = *self;
        after.raise(*other);
        let (before, after) = (self.assignments(), after.assignments());
        before
            .into_iter()
            .zip(after)
            .filter(|((_, before), (_, after))| before != after)
            .map(|((name, before), (_, after))| format!("{name} from {before} to {after}"))
            .collect()
    }

    /// Names and values as they stand in a configuration file.
    pub fn assignments(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("max_connections", self.max_connections.to_string()),
            (
                "max_worker_processes",
                self.max_worker_processes.to_string(),
            ),
            ("max_wal_senders", self.max_wal_senders.to_string()),
            (
                "max_prepared_transactions",
                self.max_prepared_transactions.to_string(),
            ),
            (
                "max_locks_per_transaction",
                self.max_locks_per_transaction.to_string(),
            ),
        ];
        if self.track_commit_timestamp {
            all.push(("track_commit_timestamp", "on".to_owned()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_rises_on_its_own_and_none_falls() {
        let mut settings = RequiredSettings::default();
        settings.raise(RequiredSettings {
            max_connections: 300,
            max_locks_per_transaction: 32,
            ..RequiredSettings::default()
        });
        settings.raise(RequiredSettings {
            max_connections: 200,
            max_prepared_transactions: 5,
            track_commit_timestamp: true,
            ..RequiredSettings::default()
        });
        let written = settings.assignments();
        for (name, value) in [
            ("max_connections", "300"),
            ("max_worker_processes", "8"),
            ("max_prepared_transactions", "5"),
            ("max_locks_per_transaction", "64"),
            ("track_commit_timestamp", "on"),
        ] {
            assert!(written.contains(&(name, value.to_owned())), "{name}");
        }
    }
}
