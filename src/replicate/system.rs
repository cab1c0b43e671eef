//! Whether both sides belong to the same database.

use super::diff::Differences;
use super::gate::read_marker;
use super::{Pair, ReplicateError};
use crate::repository::Repository;
use crate::storage::StorageError;

/// Refuses to mix two databases in one place: segments of one would pass for the other's,
/// because all clusters name theirs alike. Reads one commit marker of each side.
pub(super) async fn check_system(
    pair: &Pair,
    differences: &Differences,
) -> Result<(), ReplicateError> {
    let (Some(here), Some(there)) = (&differences.source_marker, &differences.target_marker) else {
        return Ok(());
    };
    let (here, there) =
        futures::try_join!(system(&pair.source, here), system(&pair.target, there))?;
    match (here, there) {
        (Some(here), Some(there)) if here != there => Err(ReplicateError::OtherSystem {
            source_url: pair.source_url(),
            target_url: pair.target_url(),
            here,
            there,
        }),
        _ => Ok(()),
    }
}

async fn system(repository: &Repository, key: &str) -> Result<Option<String>, StorageError> {
    let read = read_marker(repository, key).await?;
    Ok(read
        .and_then(|(_, _, marker)| marker.ok()?.system_id)
        .map(|system| system.to_string()))
}
