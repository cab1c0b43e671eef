//! What goes with the end of a run.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::{DepthRank, Fence, RequestChange, Standing};
use crate::evidence::DrillRecord;

/// What goes with the end of a run, all of it in the transaction that ends it. The default
/// is that of a run by hand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// The attempt at a job that the run was. When a newer attempt has begun, the run is
    /// refused and nothing of it is kept.
    pub fence: Option<Fence>,
    /// What becomes of that job.
    pub job: JobEnd,
    /// The body of the ledger's entry (a [`crate::evidence::ledger::Body`] of the run's kind as JSON);
    /// without it the run alone. Which incidents the run opened and closed is added to it.
    pub body: Option<Value>,
    /// Where the copy stands now. Left out when nothing could be checked, so that what was
    /// last known stays.
    pub standing: Option<Standing>,
    /// How deep a verification looked. When it is not known, what it raises is closed only by
    /// the deepest, and it closes only what was raised by the shallowest.
    pub depth: Option<DepthRank>,
    /// Whether it did not look at all that a run of its kind looks at: it ended early, or
    /// looked only at what is new. Then what it did not find may be there all the same, and it
    /// closes no incident.
    pub partial: bool,
    /// Which of several that look at the same copy, such as a drill's definition.
    pub scope: String,
    /// A drill's record, kept as [`super::State::record_drill`] keeps it, but within the same
    /// transaction.
    pub record: Option<Box<DrillRecord>>,
    /// The request that it was made for, and what changes in it.
    pub request: Option<(Uuid, Box<RequestChange>)>,
}

/// What becomes of a job with the end of one of its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JobEnd {
    /// It is done.
    #[default]
    Done,
    /// It goes on: there are further runs, or its holder lets it go by itself.
    GoesOn,
    /// It is to be tried again; when its attempts are used up it has failed.
    Retry {
        /// Not before this moment.
        run_after: DateTime<Utc>,
        /// Why this attempt came to nothing.
        error: String,
    },
    /// It could not be done, and trying again is no use.
    Failed {
        /// Why.
        error: String,
    },
}
