//! Depth `read`: every object of a repository, to the last byte.
//!
//! The WAL on the way to the current timeline is read in one pass, oldest first: fetched
//! and decoded a few segments ahead, checked record by record, joined across segment
//! borders. Where a segment is missing or damaged a stretch ends, and the next begins at
//! the first record that can be read again: behind a fault that is the next segment, or
//! the redo point of a base backup within the damaged one, for recovery can begin there.
//! What lies beside that way is read for itself.
//!
//! Each base backup is read where it begins, against what the WAL before it changed, and
//! what its pages leave open is settled by the WAL up to its end. From its begin to its end
//! records are checked in order on one thread; elsewhere several segments at once.
//!
//! Memory: at most 48 MiB of decoded segments ahead of the one that is checked, but always
//! at least one segment (of 1 GiB, if segments are that large), with their stored bytes
//! and decoders; the longest record; and what is reported.

mod bases;
mod beside;
mod fetch;
mod judge;
mod pass;
mod replayed;
mod report;
mod seen;
mod shard;
mod teller;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;

pub use bases::BaseOutcome;
use bases::Bases;
use beside::Beside;
use fetch::{ObjectFact, Source, fetch_all};
pub use judge::{Judged, judge};
pub use pass::Break;
use pass::Pass;
pub use replayed::raised_finding;
pub use report::{CheckpointPoint, SegmentReading, WalReading, WalStop, WalStretch, XidRange};
pub(in crate::verify) use seen::Seen;
pub use shard::{ShardRead, read_shard};
use teller::Teller;
pub use teller::{OnReadProgress, ReadProgress, Reading};

use super::backups::Way;
use super::chain::known_end;
use super::duplicates::differs_finding;
use super::ledger::ObjectReading;
use super::listed::Survey;
use super::parts::{KeptBase, Parts, base_read_with};
use super::range_facts::Facts;
use super::rotation::Selection;
use super::{VerifyError, VerifyOptions};
use crate::finding::Finding;
use crate::postgres::wal::PieceOptions;
use crate::postgres::{Lsn, SegmentNumber, SystemId};
use crate::repository::{BaseBackup, Repository};

/// What reading the WAL gave, before it is judged.
#[derive(Debug)]
pub struct WalPass {
    /// What was read.
    pub wal: WalReading,
    /// Where the WAL on the way cannot be passed.
    pub breaks: Vec<Break>,
    /// The redo points of base backups at which a record begins.
    pub begins_met: BTreeSet<Lsn>,
    /// Where base backups end by the records of their servers, by redo point. A standby
    /// writes none.
    pub backup_ends: BTreeMap<Lsn, Lsn>,
    /// What came of the base backups.
    pub bases: Vec<BaseOutcome>,
    /// What else is wrong.
    pub findings: Vec<Finding>,
    /// What records do.
    facts: Facts,
}

/// Reads a repository.
pub async fn read(
    repository: &Repository,
    way: Way<'_>,
    survey: &Survey,
    system_id: Option<SystemId>,
    options: &VerifyOptions,
    on_progress: OnReadProgress<'_>,
) -> Result<WalPass, VerifyError> {
    let started = Instant::now();
    let selection = &options.selection;
    let mut kept = BTreeMap::new();
    if options.parts.is_kept() {
        for backup in &way.catalog.backups {
            let found = options.parts.base(&backup.id).await?;
            if let Some(base) = found
                && is_as_it_was(repository, way, system_id, &options.parts, backup, &base).await?
            {
                options.parts.taken();
                kept.insert(backup.id.clone(), base);
            }
        }
    }
    let wanted = |id: &str| selection.wants_backup(id) && !kept.contains_key(id);
    let bases = Bases::new(repository, way, system_id, &wanted);
    let begins = all_begins(way);
    let mut source = source_of(repository, way, system_id, &bases, Arc::clone(&begins));
    source.digest = options.log.is_kept();
    source.parts = options.parts.clone();
    let mut teller = Teller {
        on_progress,
        log: &options.log,
        digest: options.log.is_kept(),
        progress: ReadProgress {
            of_bytes: expected_bytes(way, selection),
            ..ReadProgress::default()
        },
    };
    let mut pass = Pass::new(
        way,
        system_id,
        begins,
        bases,
        options.by_segment,
        source.clone(),
    );
    let mut findings = Vec::new();
    let order = in_reading_order(way);
    for id in &order {
        if let Some(base) = kept.remove(id) {
            pass.bases.take_over(base, &mut teller);
        }
    }
    read_way(
        &source,
        &mut pass,
        &mut teller,
        selection,
        &mut findings,
        None,
    )
    .await?;
    pass.bases.rest(&mut teller).await?;
    pass.bases.log(&teller).await;
    if options.parts.is_kept() {
        pass.bases.outcomes.sort_by_key(|outcome| {
            let id = &outcome.report.backup_id;
            order.iter().position(|known| known == id)
        });
    }
    // What lies beside is read for itself.
    source.in_order = Arc::new(vec![SegmentNumber(0)..=SegmentNumber(u64::MAX)]);
    let beside = Beside::new(way, &survey.timelines, system_id);
    let besides = read_beside(&source, beside, way, selection, &mut teller, &mut findings).await?;

    let mut totals = pass.totals;
    totals.segments_beside = besides;
    totals.objects = teller.progress.segments;
    totals.stored_bytes = pass.stored_bytes;
    totals.prepared = pass.facts.prepared.len() as u64;
    totals.clock_steps = pass.facts.clock_steps_count;
    totals.restore_points = std::mem::take(&mut pass.facts.restore_points);
    totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(WalPass {
        wal: totals,
        breaks: pass.breaks,
        begins_met: pass.begins_met,
        backup_ends: pass.backup_ends,
        bases: pass.bases.outcomes,
        findings,
        facts: pass.facts,
    })
}

/// Whether a base backup is still the one that a shard read, to each of its archives.
async fn is_as_it_was(
    repository: &Repository,
    way: Way<'_>,
    system_id: Option<SystemId>,
    parts: &Parts,
    backup: &BaseBackup,
    base: &KeptBase,
) -> Result<bool, VerifyError> {
    if base.read_with != base_read_with(backup, system_id, way.history) {
        return Ok(false);
    }
    let archives = base.archives.iter();
    let read: BTreeSet<&str> = archives.map(|archive| archive.entry.key.as_str()).collect();
    let archives = backup.archives.iter();
    let there: BTreeSet<&str> = archives.map(|archive| archive.key.as_str()).collect();
    if read != there {
        return Ok(false);
    }
    for archive in &base.archives {
        let same = parts.is_as_it_was(repository.store(), &archive.entry).await;
        if !same.map_err(VerifyError::Base)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The redo points of all base backups.
fn all_begins(way: Way<'_>) -> Arc<BTreeSet<Lsn>> {
    let backups = way.catalog.backups.iter();
    Arc::new(backups.filter_map(|backup| backup.begin_lsn).collect())
}

/// Where the segments come from, for these base backups.
fn source_of(
    repository: &Repository,
    way: Way<'_>,
    system_id: Option<SystemId>,
    bases: &Bases<'_>,
    begins: Arc<BTreeSet<Lsn>>,
) -> Source {
    let size = way.catalog.wal.segment_size;
    Source {
        repository: repository.clone(),
        size,
        digest: false,
        pieces: PieceOptions {
            segment_size: size,
            system_id,
            history: Arc::new(way.history.clone()),
            start: None,
        },
        in_order: Arc::new(bases.in_order()),
        touched_until: bases.touched_until(),
        begins,
        parts: Parts::none(),
    }
}

/// The base backups in the order in which one process reads them: those on the way as they
/// begin, then the others.
fn in_reading_order(way: Way<'_>) -> Vec<String> {
    let mut order: Vec<&BaseBackup> = way.catalog.backups.iter().collect();
    order.sort_by_key(|backup| match backup.begin_lsn {
        Some(begin) if bases::on_the_way(way, backup) => (false, Some(begin)),
        _ => (true, None),
    });
    order.into_iter().map(|backup| backup.id.clone()).collect()
}

/// The stored bytes that a selection takes, as far as a listing tells.
fn expected_bytes(way: Way<'_>, selection: &Selection) -> u64 {
    let catalog = way.catalog;
    if selection.is_everything() {
        return catalog.bytes;
    }
    let bases = |wanted: &dyn Fn(&BaseBackup) -> bool| {
        let chosen = catalog.backups.iter().filter(|backup| wanted(backup));
        chosen.map(BaseBackup::stored_bytes).sum::<u64>()
    };
    let segments: u64 = catalog
        .wal
        .timelines
        .iter()
        .flat_map(|(timeline, own)| own.runs.iter().map(move |run| (*timeline, run)))
        .map(|(timeline, run)| {
            let numbers = (run.first.0..=run.last.0).map(SegmentNumber);
            numbers
                .filter(|number| selection.wants_segment(timeline, *number))
                .count() as u64
        })
        .sum();
    let wal = catalog.bytes.saturating_sub(bases(&|_| true));
    let each = wal.checked_div(catalog.wal.count()).unwrap_or_default();
    bases(&|backup| selection.wants_backup(&backup.id))
        .saturating_add(each.saturating_mul(segments))
}

/// Reads the WAL on the way to the current timeline, with the base backups on it. A shard
/// `keeps` the base backups as soon as they are settled, and ends behind the last of them.
async fn read_way(
    source: &Source,
    pass: &mut Pass<'_>,
    teller: &mut Teller<'_>,
    selection: &Selection,
    findings: &mut Vec<Finding>,
    keeps: Option<&Parts>,
) -> Result<(), VerifyError> {
    let way = pass.way;
    let (catalog, wal) = (way.catalog, &way.catalog.wal);
    let runs = way.path.present(wal, way.bad, SegmentNumber(0));
    let known = known_end(way);
    let wanted =
        |number: SegmentNumber| selection.wants_segment(way.path.timeline_of(number), number);
    for (index, (first, last)) in runs.iter().enumerate() {
        let numbers = || (first.0..=last.0).map(SegmentNumber);
        let chosen = numbers()
            .filter(|number| wanted(*number))
            .map(|number| (way.path.timeline_of(number), number));
        let mut ahead = std::pin::pin!(fetch_all(source, catalog, chosen));
        for number in numbers() {
            // What was begun is read to its end; nothing more is begun.
            let fetched = if wanted(number) && !selection.is_over() {
                ahead.next().await
            } else {
                None
            };
            let Some(fetched) = fetched else {
                pass.skip(number);
                continue;
            };
            let mut fetched = fetched?;
            let objects = std::mem::take(&mut fetched.objects);
            for fact in &objects {
                pass.stored_bytes += fact.entry.size;
                teller.segment(fact.entry.size, Reading::Wal);
            }
            let mut own = Vec::new();
            if let Some((key, reason)) = &fetched.differs {
                let copies = objects.len();
                let finding = differs_finding(way, fetched.name, number, copies, key, reason);
                own.push(finding.clone());
                findings.push(finding);
            }
            let before = pass.breaks.len();
            pass.segment(fetched, &objects, teller).await?;
            let breaks = pass.breaks.get(before..).unwrap_or_default();
            own.extend(breaks.iter().map(|found| found.finding.clone()));
            if let Some(parts) = keeps {
                pass.bases.keep_judged(parts).await?;
                if pass.bases.is_idle() {
                    return Ok(());
                }
                continue;
            }
            note(teller, objects, &own).await;
            pass.bases.log(teller).await;
        }
        let more = index + 1 < runs.len() || known.is_some_and(|known| known > *last);
        pass.end_run(if more {
            let next = last.next();
            let segment = wal.name(way.path.timeline_of(next), next).to_string();
            WalStop::Missing { segment }
        } else {
            WalStop::ArchiveEnd
        });
    }
    Ok(())
}

/// Reads the WAL beside that way; gives how many segments that were.
async fn read_beside(
    source: &Source,
    mut beside: Beside<'_>,
    way: Way<'_>,
    selection: &Selection,
    teller: &mut Teller<'_>,
    findings: &mut Vec<Finding>,
) -> Result<u64, VerifyError> {
    let mut segments = 0;
    let chosen = beside::segments(way, selection);
    let mut ahead = std::pin::pin!(fetch_all(source, way.catalog, chosen));
    while !selection.is_over()
        && let Some(fetched) = ahead.next().await
    {
        let fetched = fetched?;
        segments += 1;
        for fact in &fetched.objects {
            teller.segment(fact.entry.size, Reading::Beside);
        }
        let found = beside.segment(fetched.name, fetched.number, fetched.read);
        let found = found.await?;
        note(teller, fetched.objects, found.as_slice()).await;
        findings.extend(found);
    }
    for (timeline, own) in &way.catalog.wal.timelines {
        for (number, _) in &own.partials {
            if selection.wants_segment(*timeline, *number) && !selection.is_over() {
                let (facts, found) = beside.partial(source, *timeline, *number).await?;
                for fact in &facts {
                    teller.segment(fact.entry.size, Reading::Beside);
                }
                segments += 1;
                note(teller, facts, &found).await;
                findings.extend(found);
            }
        }
    }
    Ok(segments)
}

/// Tells the ledger of objects that have been judged.
async fn note(teller: &Teller<'_>, objects: Vec<ObjectFact>, found: &[Finding]) {
    for ObjectFact { entry, sha256 } in objects {
        let Some(sha256) = sha256 else { continue };
        let of_it = |finding: &&Finding| finding.object == entry.key;
        let findings: Vec<Finding> = found.iter().filter(of_it).cloned().collect();
        let reading = ObjectReading {
            entry,
            sha256,
            // What broke at it may lie in the segment before: both are read again.
            judged: found.is_empty() || !findings.is_empty(),
            findings,
        };
        teller.log.note(reading).await;
    }
}
