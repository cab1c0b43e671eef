//! What shards of a verification read, until another process concludes from it: one row per
//! object or base backup, text that only the reader understands.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::database::{transact, values};
use super::{State, StateError};

/// What a shard read of one object or base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReading {
    /// What was read.
    pub name: String,
    /// What came of it.
    pub body: String,
    /// What only some who go on need of it.
    pub aside: Option<String>,
}

impl State {
    /// Keeps what was read for a campaign: a verification that is divided. What is kept of
    /// the same name already stays.
    pub async fn keep_reading(
        &self,
        campaign: &str,
        reading: &ShardReading,
        now: DateTime<Utc>,
    ) -> Result<(), StateError> {
        transact!(self, transaction => async {
            transaction
                .execute(
                    "INSERT INTO shard_readings (campaign, name, at, body, aside) \
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (campaign, name) DO NOTHING",
                    values![
                        campaign,
                        &reading.name,
                        now,
                        &reading.body,
                        reading.aside.as_deref()
                    ],
                )
                .await
                .map(|_| ())
        })
    }

    /// What was kept under a name; what lies aside only if it is asked for.
    pub async fn reading(
        &self,
        campaign: &str,
        name: &str,
        aside: bool,
    ) -> Result<Option<ShardReading>, StateError> {
        self.row(
            "SELECT name, body, CASE WHEN $3 = 1 THEN aside ELSE NULL END AS aside \
             FROM shard_readings WHERE campaign = $1 AND name = $2",
            values![campaign, name, aside],
        )
        .await?
        .map(|row| {
            Ok(ShardReading {
                name: row.text("name")?,
                body: row.text("body")?,
                aside: row.optional_text("aside")?,
            })
        })
        .transpose()
    }

    /// The names of all that is kept for a campaign. Memory: some 100 bytes each.
    pub async fn reading_names(&self, campaign: &str) -> Result<HashSet<String>, StateError> {
        self.rows(
            "SELECT name FROM shard_readings WHERE campaign = $1",
            values![campaign],
        )
        .await?
        .iter()
        .map(|row| row.text("name"))
        .collect()
    }

    /// When something was kept last for a campaign.
    pub async fn newest_reading(
        &self,
        campaign: &str,
    ) -> Result<Option<DateTime<Utc>>, StateError> {
        let newest = self
            .row(
                "SELECT at FROM shard_readings WHERE campaign = $1 ORDER BY at DESC LIMIT 1",
                values![campaign],
            )
            .await?;
        newest.map(|row| row.moment("at")).transpose()
    }

    /// Forgets what was kept for a campaign. Gives how much that was.
    pub async fn forget_readings(&self, campaign: &str) -> Result<u64, StateError> {
        transact!(self, transaction => async {
            transaction
                .execute(
                    "DELETE FROM shard_readings WHERE campaign = $1",
                    values![campaign],
                )
                .await
        })
    }

    /// Forgets what was kept before a moment, of whatever campaign. Gives how much that was.
    pub async fn forget_readings_before(&self, before: DateTime<Utc>) -> Result<u64, StateError> {
        transact!(self, transaction => async {
            transaction
                .execute(
                    "DELETE FROM shard_readings WHERE at < $1",
                    values![before],
                )
                .await
        })
    }
}
