//! What is remembered of copies.

use chrono::{DateTime, Utc};

use super::hold::Hold;
use super::lock;
use super::store::Backend;
use super::{CopyMark, CopyPair, CopySummary, RememberedCopy, State, StateError};

/// Nobody else copies the same pair while this lives.
#[derive(Debug)]
pub struct HeldPair {
    _hold: Hold,
}

impl State {
    /// Takes a pair for oneself; `None` if another process has it. When its holder dies it
    /// is free: at once with SQLite, where the kernel gives it back, and within a minute
    /// with PostgreSQL.
    pub async fn hold_pair(&self, pair: &CopyPair) -> Result<Option<HeldPair>, StateError> {
        let held = match &self.backend {
            Backend::Sqlite(_) => lock::try_take(self.directory(), &format!("copy-{}", pair.id))
                .map_err(|error| StateError::io("write to", self.directory(), &error))?
                .map(Hold::File),
            Backend::Postgres(postgres) => postgres.hold_pair(pair).await?.map(Hold::Process),
        };
        Ok(held.map(|hold| HeldPair { _hold: hold }))
    }

    /// The pair of two repositories, noted if it is new.
    pub async fn copy_pair(&self, source: &str, target: &str) -> Result<CopyPair, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.copy_pair(source, target).await,
            Backend::Postgres(postgres) => postgres.copy_pair(source, target).await,
        }
    }

    /// The marks behind the key `after` up to and with `until`, in the order of their keys,
    /// at most `limit`. Memory: some 200 bytes each.
    pub async fn copies_page(
        &self,
        pair: &CopyPair,
        after: &str,
        until: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CopyMark>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.copies_page(pair, after, until, limit).await,
            Backend::Postgres(postgres) => postgres.copies_page(pair, after, until, limit).await,
        }
    }

    /// What is remembered of these keys, in no order; those that are not known are left out.
    pub async fn copies_lookup(
        &self,
        pair: &CopyPair,
        keys: &[String],
    ) -> Result<Vec<RememberedCopy>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.copies_lookup(pair, keys).await,
            Backend::Postgres(postgres) => postgres.copies_lookup(pair, keys).await,
        }
    }

    /// Writes what is to be remembered of copies, all of it or nothing.
    pub async fn copies_write(
        &self,
        pair: &CopyPair,
        copies: &[RememberedCopy],
    ) -> Result<(), StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.copies_write(pair, copies).await,
            Backend::Postgres(postgres) => postgres.copies_write(pair, copies).await,
        }
    }

    /// The copies with which something is wrong, in the order of their keys, at most
    /// `limit`.
    pub async fn copies_alarmed(
        &self,
        pair: &CopyPair,
        limit: u32,
    ) -> Result<Vec<RememberedCopy>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.copies_alarmed(pair, limit).await,
            Backend::Postgres(postgres) => postgres.copies_alarmed(pair, limit).await,
        }
    }

    /// When the two were last compared as a whole, and the text that was kept with it; `None`
    /// if something was left undone since.
    pub async fn copy_front(
        &self,
        pair: &CopyPair,
    ) -> Result<Option<(DateTime<Utc>, String)>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.copy_front(pair).await,
            Backend::Postgres(postgres) => postgres.copy_front(pair).await,
        }
    }

    /// Keeps when the two were compared as a whole, with a JSON text; `None` when something
    /// was left undone.
    pub async fn keep_copy_front(
        &self,
        pair: &CopyPair,
        compared_at: DateTime<Utc>,
        front: Option<&str>,
    ) -> Result<(), StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.keep_copy_front(pair, compared_at, front).await,
            Backend::Postgres(postgres) => postgres.keep_copy_front(pair, compared_at, front).await,
        }
    }

    /// A pair's copies counted.
    pub async fn copies_summary(&self, pair: &CopyPair) -> Result<CopySummary, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.copies_summary(pair).await,
            Backend::Postgres(postgres) => postgres.copies_summary(pair).await,
        }
    }
}
