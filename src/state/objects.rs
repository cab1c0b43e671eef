//! What is remembered of the objects of repositories.

use chrono::{DateTime, Utc};

use super::store::Backend;
use super::{ObjectSummary, ReadRate, RememberedObject, State, StateError};

impl State {
    /// How many objects to ask for or to write at once: more take longer than others who
    /// wait should have to.
    pub const OBJECTS_TOGETHER: usize = 1_000;

    /// What is remembered of these objects of a repository, in no order; those that are not
    /// known are left out. Memory: half a KiB per key.
    pub async fn objects_lookup(
        &self,
        location: &str,
        keys: &[String],
    ) -> Result<Vec<RememberedObject>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.objects_lookup(location, keys).await,
            Backend::Postgres(postgres) => postgres.objects_lookup(location, keys).await,
        }
    }

    /// Writes what `decide` makes of what is remembered of these objects; nobody else writes
    /// in between, so that two runs at once do not undo each other's work. What `decide`
    /// leaves out stays as it is. It is asked again, and starts anew, when the database went
    /// away before all was written.
    pub async fn objects_update(
        &self,
        location: &str,
        keys: &[String],
        mut decide: impl FnMut(Vec<RememberedObject>) -> Vec<RememberedObject> + Send,
    ) -> Result<(), StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.objects_update(location, keys, &mut decide).await,
            Backend::Postgres(postgres) => {
                Box::pin(postgres.objects_update(location, keys, &mut decide)).await
            }
        }
    }

    /// The keys behind `after` of what is remembered and not gone, in their order, at most
    /// `limit`.
    pub async fn objects_keys(
        &self,
        location: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.objects_keys(location, after, limit).await,
            Backend::Postgres(postgres) => postgres.objects_keys(location, after, limit).await,
        }
    }

    /// The objects that are not what they were, and those in which something was wrong, in
    /// the order of their keys, at most `limit`; none that is gone.
    pub async fn objects_marked(
        &self,
        location: &str,
        limit: u32,
    ) -> Result<Vec<RememberedObject>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.objects_marked(location, limit).await,
            Backend::Postgres(postgres) => postgres.objects_marked(location, limit).await,
        }
    }

    /// A repository's objects counted.
    pub async fn objects_summary(&self, location: &str) -> Result<ObjectSummary, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.objects_summary(location).await,
            Backend::Postgres(postgres) => postgres.objects_summary(location).await,
        }
    }

    /// Forgets the objects that have been gone since before a moment. Gives how many. What
    /// a repository's tool expires would otherwise be remembered for ever.
    pub async fn objects_forget_absent(
        &self,
        location: &str,
        before: DateTime<Utc>,
    ) -> Result<u64, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.objects_forget_absent(location, before).await,
            Backend::Postgres(postgres) => postgres.objects_forget_absent(location, before).await,
        }
    }

    /// How fast a repository could last be read; `None` while it never was.
    pub async fn read_rate(&self, location: &str) -> Result<Option<ReadRate>, StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.read_rate(location).await,
            Backend::Postgres(postgres) => postgres.read_rate(location).await,
        }
    }

    /// Keeps how fast a repository could be read.
    pub async fn keep_read_rate(&self, location: &str, rate: ReadRate) -> Result<(), StateError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.keep_read_rate(location, rate).await,
            Backend::Postgres(postgres) => postgres.keep_read_rate(location, rate).await,
        }
    }
}
