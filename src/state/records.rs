//! The ledger and the drill records as they lie in the database, for those who check them.

use super::database::values;
use super::entries::entry;
use super::{State, StateError};
use crate::evidence::LedgerEntry;
use crate::evidence::ledger::Labels;

/// Entries that one call gives at most. An entry is a few KiB.
const ENTRIES: u32 = 1000;

/// A drill record as its row holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// The digest that was kept beside the text.
    pub sha256: String,
    /// The text.
    pub text: String,
}

impl State {
    /// Entries behind a number with what is kept beside their text, in order, at most
    /// `limit` and 1,000.
    pub async fn labelled_entries(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(LedgerEntry, Labels)>, StateError> {
        let rows = self
            .rows(
                "SELECT sequence, previous, sha256, at, kind, cluster, copy, run_id, text \
                 FROM entries WHERE sequence > $1 ORDER BY sequence LIMIT $2",
                values![after, limit.min(ENTRIES)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let labels = Labels {
                    at: row.moment("at")?,
                    kind: row.text("kind")?,
                    cluster: row.optional_text("cluster")?,
                    copy: row.optional_text("copy")?,
                    run_id: row.optional_id("run_id")?,
                };
                Ok((entry(row)?, labels))
            })
            .collect()
    }

    /// A drill record's row; `None` when there is none of this id.
    pub async fn record_row(&self, id: uuid::Uuid) -> Result<Option<RecordRow>, StateError> {
        let row = self
            .row(
                "SELECT sha256, CAST(body AS text) AS body FROM records \
                 WHERE CAST(id AS text) = $1",
                values![id],
            )
            .await?;
        row.map(|row| {
            Ok(RecordRow {
                sha256: row.text("sha256")?,
                text: row.text("body")?,
            })
        })
        .transpose()
    }
}
