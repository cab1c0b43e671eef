//! One shard of a reading: its segments, then its base backups.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::StreamExt as _;

use super::bases::Bases;
use super::fetch::{Fetched, Source, fetch_all};
use super::pass::{Pass, first_in};
use super::seen::ReadPiece;
use super::teller::{OnReadProgress, ReadProgress, Reading, Teller};
use super::{all_begins, read_way, source_of};
use crate::postgres::{SegmentNumber, SystemId};
use crate::repository::Repository;
use crate::repository::{BackupMethod, BackupStatus, BaseBackup};
use crate::verify::backups::Way;
use crate::verify::ledger::ReadLog;
use crate::verify::parts::{
    KeptSegment, Parts, of_base, of_begun, of_segment, of_shard, read_with,
};
use crate::verify::rotation::{Selection, Subset};
use crate::verify::segment_reader::SegmentRead;
use crate::verify::{VerifyError, VerifyOptions};

/// So many neighbouring segments belong to the same shard.
const NEIGHBOURS: u64 = 16;
/// The others are waited for as long as one of them kept something within this time.
const ALIVE: TimeDelta = TimeDelta::seconds(30);
/// How often is looked after them.
const LOOK: Duration = Duration::from_millis(500);

/// What a shard did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ShardRead {
    /// Segments of it that were read now and kept.
    pub segments: u64,
    /// Those that had been kept before.
    pub segments_before: u64,
    /// Those that are left to whoever concludes: damaged, missing, or stored twice with other
    /// bytes.
    pub segments_left: u64,
    /// Base backups of it that were read now and kept.
    pub bases: u64,
    /// Those that had been kept before.
    pub bases_before: u64,
    /// Those that are left to whoever concludes: something is wrong with them, or their WAL
    /// could not settle what their pages leave open.
    pub bases_left: u64,
    /// Stored bytes that were read.
    pub stored_bytes: u64,
}

/// Reads one shard into `parts`. What is kept already is not read again.
pub async fn read_shard(
    repository: &Repository,
    way: Way<'_>,
    system_id: Option<SystemId>,
    options: &VerifyOptions,
    shard: Subset,
    on_progress: OnReadProgress<'_>,
) -> Result<ShardRead, VerifyError> {
    let parts = &options.parts;
    let log = ReadLog::none();
    let mut teller = Teller {
        on_progress,
        log: &log,
        digest: true,
        progress: ReadProgress {
            of_bytes: way.catalog.bytes / u64::from(shard.of()).max(1),
            ..ReadProgress::default()
        },
    };
    let mut done = ShardRead::default();
    parts.keep(of_begun(shard), String::new(), None).await?;
    let known = parts.names().await?;
    read_wal(
        repository,
        way,
        system_id,
        parts,
        shard,
        &known,
        &mut teller,
        &mut done,
    )
    .await?;
    parts.keep(of_shard(shard), String::new(), None).await?;
    let own = own_bases(way, shard);
    let left: Vec<&BaseBackup> = own
        .iter()
        .copied()
        .filter(|backup| !known.contains(&of_base(&backup.id)))
        .collect();
    done.bases_before = (own.len() - left.len()) as u64;
    if !left.is_empty() {
        wait_for_others(parts, shard).await?;
        done.bases = read_bases(repository, way, system_id, options, &left, &mut teller).await?;
        done.bases_left = (left.len() as u64).saturating_sub(done.bases);
    }
    done.stored_bytes = teller.progress.bytes;
    Ok(done)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one reading, used once"
)]
async fn read_wal(
    repository: &Repository,
    way: Way<'_>,
    system_id: Option<SystemId>,
    parts: &Parts,
    shard: Subset,
    known: &HashSet<String>,
    teller: &mut Teller<'_>,
    done: &mut ShardRead,
) -> Result<(), VerifyError> {
    let (catalog, wal) = (way.catalog, &way.catalog.wal);
    let all = Bases::new(repository, way, system_id, &|_| true);
    let mut source = source_of(repository, way, system_id, &all, all_begins(way));
    source.digest = true;
    // Each alone, whatever base backup lies there.
    source.in_order = Arc::new(Vec::new());
    let mut chosen = Vec::new();
    for (first, last) in way.path.present(wal, way.bad, SegmentNumber(0)) {
        for number in (first.0..=last.0).filter(|number| shard.holds(number / NEIGHBOURS)) {
            let number = SegmentNumber(number);
            let timeline = way.path.timeline_of(number);
            if known.contains(&of_segment(wal.name(timeline, number))) {
                done.segments_before += 1;
            } else {
                chosen.push((timeline, number));
            }
        }
    }
    let read_with = read_with(&source.pieces);
    let mut ahead = std::pin::pin!(fetch_all(&source, catalog, chosen.into_iter()));
    while let Some(fetched) = ahead.next().await {
        let fetched = fetched?;
        for fact in &fetched.objects {
            teller.segment(fact.entry.size, Reading::Wal);
        }
        if keep(parts, &source, fetched, &read_with).await? {
            done.segments += 1;
        } else {
            done.segments_left += 1;
        }
    }
    Ok(())
}

/// Keeps a segment that is sound by itself.
async fn keep(
    parts: &Parts,
    source: &Source,
    fetched: Fetched,
    read_with: &str,
) -> Result<bool, VerifyError> {
    let Fetched {
        number,
        name,
        read: SegmentRead::Bytes { key, bytes },
        objects,
        differs: None,
        piece: Some(piece),
        ..
    } = fetched
    else {
        return Ok(false);
    };
    let ReadPiece { wal, seen, touched } = *piece;
    if wal.fault().is_some() {
        return Ok(false);
    }
    let about = |data| KeptSegment {
        read_with: read_with.to_owned(),
        objects: objects
            .into_iter()
            .map(|fact| (fact.entry, fact.sha256))
            .collect(),
        key,
        bytes: bytes.len() as u64,
        begin: first_in(number, &bytes, source.size),
        piece: data,
        seen,
    };
    Ok(parts
        .keep_segment(name, &wal, touched.as_ref(), about)
        .await?)
}

/// The base backups of a shard: divided by their size, the largest first, each to the shard
/// that has least. The same for all who see the same listing.
fn own_bases(way: Way<'_>, shard: Subset) -> Vec<&BaseBackup> {
    let mut all: Vec<&BaseBackup> = way
        .catalog
        .backups
        .iter()
        .filter(|backup| {
            backup.status == BackupStatus::Done && backup.method == BackupMethod::Archives
        })
        .collect();
    all.sort_by(|one, other| {
        let by_size = other.stored_bytes().cmp(&one.stored_bytes());
        by_size.then_with(|| one.id.cmp(&other.id))
    });
    let mut loads: BTreeMap<u32, u64> = (1..=shard.of()).map(|part| (part, 0)).collect();
    let mut own = Vec::new();
    for backup in all {
        let least = loads.iter().min_by_key(|(part, load)| (**load, **part));
        let Some(part) = least.map(|(part, _)| *part) else {
            break;
        };
        if let Some(load) = loads.get_mut(&part) {
            *load += backup.stored_bytes();
        }
        if part == shard.part() {
            own.push(backup);
        }
    }
    own
}

/// Waits until the others that have begun have read their WAL, or none of them does anything.
/// What is missing then is read here.
async fn wait_for_others(parts: &Parts, shard: Subset) -> Result<(), VerifyError> {
    loop {
        let names = parts.names().await?;
        let under_way = (1..=shard.of())
            .filter_map(|part| Subset::new(part, shard.of()))
            .filter(|other| *other != shard)
            .any(|other| names.contains(&of_begun(other)) && !names.contains(&of_shard(other)));
        let newest = parts.newest().await?;
        let alive = newest.is_some_and(|newest| Utc::now() - newest < ALIVE);
        if !(under_way && alive) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads base backups on the way of the kept pieces; each is kept as soon as it is settled.
/// Gives how many were.
async fn read_bases(
    repository: &Repository,
    way: Way<'_>,
    system_id: Option<SystemId>,
    options: &VerifyOptions,
    own: &[&BaseBackup],
    teller: &mut Teller<'_>,
) -> Result<u64, VerifyError> {
    let ids: HashSet<&str> = own.iter().map(|backup| backup.id.as_str()).collect();
    let begins = all_begins(way);
    let bases = Bases::new(repository, way, system_id, &|id| ids.contains(id));
    let mut source = source_of(repository, way, system_id, &bases, Arc::clone(&begins));
    source.digest = true;
    source.parts = options.parts.clone();
    let mut pass = Pass::new(way, system_id, begins, bases, false, source.clone());
    let (everything, mut findings) = (Selection::everything(), Vec::new());
    let keeps = Some(&options.parts);
    read_way(
        &source,
        &mut pass,
        teller,
        &everything,
        &mut findings,
        keeps,
    )
    .await?;
    pass.bases.rest(teller).await?;
    pass.bases.keep_judged(&options.parts).await?;
    Ok(pass.bases.kept)
}
