//! When each copy was last proven, without what the proofs say: for looking at a whole fleet
//! often.

use chrono::{DateTime, Utc};

use super::database::values;
use super::{RunKind, State, StateError};
use crate::evidence::Verdict;

/// The newest proof of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The cluster.
    pub cluster: String,
    /// Which copy; may be empty.
    pub copy: String,
    /// What kind of run.
    pub kind: RunKind,
    /// When.
    pub at: DateTime<Utc>,
    /// Its verdict, if runs of the kind have one.
    pub verdict: Option<Verdict>,
}

impl State {
    /// The newest proof of each kind of each copy.
    pub async fn proofs(&self) -> Result<Vec<Proof>, StateError> {
        let rows = self
            .rows(
                "SELECT cluster, copy, kind, at, verdict FROM standings",
                values![],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Proof {
                    cluster: row.text("cluster")?,
                    copy: row.text("copy")?,
                    kind: row.word("kind", RunKind::from_word)?,
                    at: row.moment("at")?,
                    verdict: row
                        .optional_text("verdict")?
                        .map(|word| word.parse().map_err(|_| row.strange(&word)))
                        .transpose()?,
                })
            })
            .collect()
    }
}
