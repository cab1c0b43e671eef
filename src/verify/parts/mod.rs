//! Parts of one verification at depth `read` that several processes read: what each keeps
//! for the one that concludes.
//!
//! A shard reads WAL segments each alone, into the pieces that one process would read in
//! parallel too, and keeps them; and base backups with the WAL of each, on the way of the
//! pieces. Who concludes goes the whole way of one process, with the pieces and the base
//! backups that were kept in place of the bytes: the same findings, windows and tip. What
//! could not be kept it reads itself: segments that are damaged, missing or stored twice with
//! other bytes, WAL beside the way, and whatever no shard came to; base backups in which
//! something is wrong, or which the WAL did not settle; and all of which an object is no longer
//! the one that was read, by the listing of who concludes.
//!
//! What is kept lies in the state database until the conclusion, at most a day. Size: of a
//! segment its first pages and its events, some kilobytes, and beside it what each base
//! backup behind it needs to know of the blocks that it changed.

mod kept;
mod pack;
mod shown;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

pub(in crate::verify) use kept::{KeptBase, KeptSegment, base_read_with, read_with};
pub use shown::Shown;

use crate::state::{ShardReading, State, StateError};

/// What is older is not gone on with.
const KEPT_FOR: TimeDelta = TimeDelta::hours(24);

/// What shards keep for one verification, and find kept. Without a place nothing is kept.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    inner: Option<Arc<Inner>>,
    /// What lies in the repository now.
    shown: Option<Arc<Shown>>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    campaign: String,
    taken: AtomicU64,
    read: AtomicU64,
}

/// How much was taken over from shards, and how much was read here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartsTally {
    /// Objects and base backups that a shard had read.
    pub taken: u64,
    /// Those that were read here.
    pub read: u64,
}

impl Parts {
    /// Nothing is kept, and nothing found.
    pub const fn none() -> Self {
        Self {
            inner: None,
            shown: None,
        }
    }

    /// What belongs to this campaign. What was kept more than a day ago is forgotten first.
    ///
    /// # Errors
    ///
    /// The state database fails.
    pub async fn of(
        state: State,
        campaign: String,
        now: DateTime<Utc>,
    ) -> Result<Self, StateError> {
        let before = now.checked_sub_signed(KEPT_FOR).unwrap_or(now);
        state.forget_readings_before(before).await?;
        Ok(Self {
            inner: Some(Arc::new(Inner {
                state,
                campaign,
                taken: AtomicU64::new(0),
                read: AtomicU64::new(0),
            })),
            shown: None,
        })
    }

    /// Whether anything can be kept and found.
    pub const fn is_kept(&self) -> bool {
        self.inner.is_some()
    }

    /// How much was taken over, and how much read.
    pub fn tally(&self) -> PartsTally {
        self.inner
            .as_ref()
            .map_or_else(PartsTally::default, |inner| PartsTally {
                taken: inner.taken.load(Ordering::Relaxed),
                read: inner.read.load(Ordering::Relaxed),
            })
    }

    /// Counts something that was read here although parts are kept.
    pub(super) fn read_here(&self) {
        if let Some(inner) = &self.inner {
            inner.read.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets all that was kept: the verification has its end.
    ///
    /// # Errors
    ///
    /// The state database fails.
    pub async fn forget(&self) -> Result<(), StateError> {
        if let Some(inner) = &self.inner {
            inner.state.forget_readings(&inner.campaign).await?;
        }
        Ok(())
    }

    pub(super) async fn names(&self) -> Result<std::collections::HashSet<String>, StateError> {
        match &self.inner {
            Some(inner) => inner.state.reading_names(&inner.campaign).await,
            None => Ok(std::collections::HashSet::new()),
        }
    }

    /// When anything was kept last.
    pub(super) async fn newest(&self) -> Result<Option<DateTime<Utc>>, StateError> {
        match &self.inner {
            Some(inner) => inner.state.newest_reading(&inner.campaign).await,
            None => Ok(None),
        }
    }

    /// Keeps something; it stays if it is kept already.
    pub(super) async fn keep(
        &self,
        name: String,
        body: String,
        aside: Option<String>,
    ) -> Result<(), StateError> {
        let Some(inner) = &self.inner else {
            return Ok(());
        };
        inner.read.fetch_add(1, Ordering::Relaxed);
        let reading = ShardReading { name, body, aside };
        inner
            .state
            .keep_reading(&inner.campaign, &reading, Utc::now())
            .await
    }

    /// What is kept under a name.
    pub(super) async fn find(
        &self,
        name: &str,
        aside: bool,
    ) -> Result<Option<ShardReading>, StateError> {
        match &self.inner {
            Some(inner) => inner.state.reading(&inner.campaign, name, aside).await,
            None => Ok(None),
        }
    }

    /// Counts something that was taken over.
    pub(super) fn taken(&self) {
        if let Some(inner) = &self.inner {
            inner.taken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The name of a segment's part.
pub(super) fn of_segment(name: impl std::fmt::Display) -> String {
    format!("wal/{name}")
}

/// The name of a base backup's part.
pub(super) fn of_base(id: &str) -> String {
    format!("base/{id}")
}

/// The name by which a shard says that it has begun.
pub(super) fn of_begun(shard: crate::verify::rotation::Subset) -> String {
    format!("begun/{shard}")
}

/// The name by which a shard says that it has read its WAL.
pub(super) fn of_shard(shard: crate::verify::rotation::Subset) -> String {
    format!("shard/{shard}")
}
