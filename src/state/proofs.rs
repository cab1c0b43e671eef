//! When each copy was last proven, without what the proofs say: for looking at a whole fleet
//! often.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::database::values;
use super::{RunKind, State, StateError};
use crate::evidence::Verdict;

/// The newest proof of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// The cluster.
    pub cluster: String,
    /// Which copy; may be empty.
    pub copy: String,
    /// What kind of run.
    pub kind: RunKind,
    /// The repository's URL. A proof of another place is none of the one that has its name by
    /// now.
    pub location: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Its verdict, if runs of the kind have one.
    pub verdict: Option<Verdict>,
    /// Of a drill that could not check, what it says of those before it; else `None`.
    pub unproven: Option<Value>,
}

impl State {
    /// The newest proof of each kind of each copy.
    pub async fn proofs(&self) -> Result<Vec<Proof>, StateError> {
        let rows = self
            .rows(
                "SELECT cluster, copy, kind, location, at, verdict, \
                 CASE WHEN kind = 'drill' AND verdict = 'unproven' THEN body END AS unproven \
                 FROM standings",
                values![],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Proof {
                    cluster: row.text("cluster")?,
                    copy: row.text("copy")?,
                    kind: row.word("kind", RunKind::from_word)?,
                    location: row.text("location")?,
                    at: row.moment("at")?,
                    verdict: row
                        .optional_text("verdict")?
                        .map(|word| word.parse().map_err(|_| row.strange(&word)))
                        .transpose()?,
                    unproven: row.optional_json("unproven")?,
                })
            })
            .collect()
    }
}
