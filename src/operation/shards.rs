//! A verification that several processes read, and one of them concludes.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::Failure;
use super::source::Source;
use super::verify::options;
use crate::drill::Cancellation;
use crate::repository::{self, Repository};
use crate::state::State;
use crate::verify::parts::{Parts, Shown};
use crate::verify::read::ShardRead;
use crate::verify::rotation::Subset;
use crate::verify::{OnReadProgress, RequestedDepth, VerifyError, VerifyOptions, read_part};

/// Batches of a listing that wait to be looked at.
const BATCHES: usize = 2;

/// Whose parts they are: those of one campaign are put together, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Campaign {
    /// The one that goes on by hand; a repository has one at a time.
    Hand,
    /// That of a job.
    Job(Uuid),
}

impl Campaign {
    fn of(self, repository: &Repository) -> String {
        match self {
            Self::Hand => format!("hand/{}", repository.name()),
            Self::Job(job) => format!("job/{job}/{}", repository.name()),
        }
    }

    /// What shards of it have kept of a repository.
    pub(super) async fn parts(
        self,
        state: &State,
        repository: &Repository,
        options: &VerifyOptions,
    ) -> Result<Parts, VerifyError> {
        Ok(Parts::of(state.clone(), self.of(repository), options.now).await?)
    }
}

/// Reads one shard of a place, to its last byte. What was kept before is not read again.
/// Nothing is recorded as a run: whoever concludes does that.
pub async fn read_shard(
    source: &Source,
    state: &State,
    campaign: Campaign,
    shard: Subset,
    tell: OnReadProgress<'_>,
    stop: &Cancellation,
) -> Result<ShardRead, Failure> {
    tokio::select! {
        biased;
        read = Box::pin(read(source, state, campaign, shard, tell)) => read,
        () = stop.cancelled() => Err(Failure::interrupted()),
    }
}

async fn read(
    source: &Source,
    state: &State,
    campaign: Campaign,
    shard: Subset,
    tell: OnReadProgress<'_>,
) -> Result<ShardRead, Failure> {
    let repository = repository::open(source.open()?);
    let mut options = VerifyOptions {
        depth: RequestedDepth::Read,
        ..options(source, &source.tier)
    };
    let parts = campaign.parts(state, &repository, &options).await?;
    let (sender, batches) = mpsc::channel(BATCHES);
    let watching = tokio::spawn(Shown::watch(batches));
    let catalog = repository.catalog_shown_to(Some(sender)).await;
    let catalog = Arc::new(catalog.map_err(VerifyError::from)?);
    options.parts = parts.beside(watching.await.map_err(VerifyError::from)?);
    Ok(read_part(&repository, &catalog, &options, shard, tell).await?)
}
