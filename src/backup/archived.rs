//! Waiting until a segment has arrived in the archive.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::error::TakeError;
use super::options::TakeProgress;
use super::server::{Archiver, Server};
use crate::codec::Codec;
use crate::postgres::{SegmentName, WalFileName};
use crate::repository::barman_cloud::keys::wal_key;
use crate::storage::Store;

/// How often the archive is looked into.
const BEAT: Duration = Duration::from_secs(1);

/// Waits until a segment is in the archive, under whatever codec.
pub(super) async fn wait(
    store: &Store,
    id: &str,
    segment: SegmentName,
    patience: Duration,
    server: &mut Server,
    progress: &(dyn Fn(TakeProgress) + Send + Sync),
) -> Result<(), TakeError> {
    let begin = Instant::now();
    loop {
        for codec in Codec::ALL {
            let key = wal_key(WalFileName::Segment(segment), codec);
            if store.head(&key).await?.is_some() {
                return Ok(());
            }
        }
        let waited = begin.elapsed();
        if waited >= patience {
            let archiver = server.archiver().await.map_or_else(
                |error| format!("the server did not say why ({error})"),
                |archiver| archiver_words(&archiver),
            );
            return Err(TakeError::NotArchived {
                id: id.to_owned(),
                segment: segment.to_string(),
                waited,
                archiver,
            });
        }
        progress(TakeProgress::WaitingForArchive {
            segment: segment.to_string(),
            waited,
        });
        tokio::time::sleep(BEAT.min(patience.saturating_sub(waited))).await;
    }
}

fn archiver_words(archiver: &Archiver) -> String {
    let mut words = format!(
        "the server last archived {}",
        archiver.last_archived.as_deref().unwrap_or("nothing")
    );
    if let Some(failed) = &archiver.last_failed {
        // Writing to a String cannot fail.
        let _ = write!(
            words,
            " and failed {} times, last with {failed}; see its log",
            archiver.failures
        );
    } else {
        words.push_str(" and knows of no failure; does archive_command write to this repository?");
    }
    words
}
