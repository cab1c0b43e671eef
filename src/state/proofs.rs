//! When each copy was last proven, without what the proofs say: for looking at a whole fleet
//! often.

use chrono::{DateTime, Utc};

use super::database::values;
use super::{RunKind, State, StateError};
use crate::evidence::Verdict;

/// The newest run of a kind that gave an answer, good or bad.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl State {
    /// The newest proof of each kind of each copy. A run that could not check is none, and
    /// hides none.
    pub async fn proofs(&self) -> Result<Vec<Proof>, StateError> {
        let rows = self
            .rows(
                "SELECT cluster, copy, location, kind, answered_at, answered_verdict \
                 FROM standings WHERE answered_at IS NOT NULL",
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
                    at: row.moment("answered_at")?,
                    verdict: row
                        .optional_text("answered_verdict")?
                        .map(|word| word.parse().map_err(|_| row.strange(&word)))
                        .transpose()?,
                })
            })
            .collect()
    }
}
