//! Depth `read`: every object of a repository, to the last byte.
//!
//! The WAL on the way to the current timeline is read in one pass, oldest first: fetched
//! and decoded a few segments ahead, checked record by record, joined across segment
//! borders. Where a segment is missing or damaged a stretch ends, and the next begins at
//! the first record that can be read again: behind a fault that is the next segment, or
//! the redo point of a base backup within the damaged one, for recovery can begin there.
//! What lies beside that way is read for itself.
//!
//! Memory: at most 64 MiB of decoded segments ahead of the one that is checked, but always
//! at least one segment (of 1 GiB, if segments are that large), with their stored bytes
//! and decoders; the longest record; and what is reported.

mod beside;
mod fetch;
mod judge;
mod observer;
mod pass;
mod report;
mod seen;
mod selection;

use std::collections::BTreeSet;
use std::time::Instant;

use futures::StreamExt as _;

use beside::Beside;
use fetch::{Source, fetch_all};
pub use judge::{Judged, judge, span};
pub use observer::{ObjectFact, ReadObserver, ReadProgress, Reading};
pub use pass::Break;
use pass::Pass;
pub use report::{CheckpointPoint, SegmentReading, WalReading, WalStop, WalStretch, XidRange};
pub use selection::ReadSelection;

use super::backups::Way;
use super::chain::known_end;
use super::duplicates::differs_finding;
use super::listed::Survey;
use super::{RequestedDepth, VerifyError, VerifyOptions};
use crate::finding::{Code, Finding};
use crate::postgres::{Lsn, SegmentNumber, SystemId};
use crate::repository::Repository;

/// What reading the WAL gave, before it is judged.
#[derive(Debug)]
pub struct WalPass {
    /// What was read.
    pub wal: WalReading,
    /// Where the WAL on the way cannot be passed.
    pub breaks: Vec<Break>,
    /// The redo points of base backups at which a record begins.
    pub begins_met: BTreeSet<Lsn>,
    /// What else is wrong.
    pub findings: Vec<Finding>,
}

/// Counts what was read and tells the observer.
struct Teller<'o> {
    observer: &'o dyn ReadObserver,
    progress: ReadProgress,
}

impl Teller<'_> {
    fn tell(&mut self, facts: &[ObjectFact], what: Reading) {
        self.progress.what = what;
        for fact in facts {
            self.progress.segments += 1;
            self.progress.bytes += fact.entry.size;
            self.observer.object(fact);
        }
        self.observer.progress(self.progress);
    }
}

/// Reads the WAL of a repository.
pub async fn read(
    repository: &Repository,
    way: Way<'_>,
    survey: &Survey,
    system_id: Option<SystemId>,
    options: &VerifyOptions,
    observer: &dyn ReadObserver,
) -> Result<WalPass, VerifyError> {
    let started = Instant::now();
    let selection = match options.depth {
        RequestedDepth::Sampled => &options.selection,
        RequestedDepth::Listed | RequestedDepth::Read => &ReadSelection::All,
    };
    let catalog = way.catalog;
    let wal = &catalog.wal;
    let source = Source {
        repository: repository.clone(),
        size: wal.segment_size,
        digest: observer.wants_digests(),
    };
    let mut teller = Teller {
        observer,
        progress: ReadProgress {
            of_bytes: catalog.bytes,
            ..ReadProgress::default()
        },
    };
    let mut pass = Pass::new(way, system_id, options.by_segment);
    let mut findings = Vec::new();
    let runs = way.path.present(wal, way.bad, SegmentNumber(0));
    let known = known_end(way);
    for (index, (first, last)) in runs.iter().enumerate() {
        let numbers = || (first.0..=last.0).map(SegmentNumber);
        let chosen = numbers()
            .map(|number| (way.path.timeline_of(number), number))
            .filter(|(timeline, number)| selection.has_segment(*timeline, *number));
        let mut ahead = std::pin::pin!(fetch_all(&source, catalog, chosen));
        for number in numbers() {
            if !selection.has_segment(way.path.timeline_of(number), number) {
                pass.skip(number);
                continue;
            }
            let Some(fetched) = ahead.next().await else {
                break;
            };
            let fetched = fetched?;
            let mut facts = fetched.objects.clone();
            let breaks = pass.breaks.len();
            if let Some((key, reason)) = &fetched.differs {
                let copies = fetched.objects.len();
                findings.push(differs_finding(
                    way,
                    fetched.name,
                    number,
                    copies,
                    key,
                    reason,
                ));
            }
            pass.segment(fetched).await?;
            let sound = pass.breaks.len() == breaks;
            facts.iter_mut().for_each(|fact| fact.whole &= sound);
            teller.tell(&facts, Reading::Wal);
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

    let mut beside = Beside::new(way, &survey.timelines, system_id);
    let mut others = std::pin::pin!(fetch_all(
        &source,
        catalog,
        beside::segments(way, selection)
    ));
    while let Some(fetched) = others.next().await {
        let fetched = fetched?;
        let mut facts = fetched.objects;
        pass.totals.segments_beside += 1;
        let found = beside.segment(fetched.name, fetched.number, fetched.read);
        let found = found.await?;
        let sound = found.is_none();
        facts.iter_mut().for_each(|fact| fact.whole &= sound);
        teller.tell(&facts, Reading::Beside);
        findings.extend(found);
    }
    for (timeline, own) in &wal.timelines {
        for (number, _) in &own.partials {
            if selection.has_segment(*timeline, *number) {
                let (facts, found) = beside.partial(&source, *timeline, *number).await?;
                teller.tell(&facts, Reading::Beside);
                pass.totals.segments_beside += 1;
                findings.extend(found);
            }
        }
    }

    let timeline_of = |lsn| way.path.timeline_of(wal.segment_size.segment_of(lsn));
    findings.extend(
        pass.facts
            .findings(timeline_of)
            .into_iter()
            // Each one is a break.
            .filter(|finding| finding.code != Code::WalLevelMinimal),
    );
    let mut totals = pass.totals;
    totals.objects = teller.progress.segments;
    totals.stored_bytes = teller.progress.bytes;
    totals.prepared = pass.facts.prepared.len() as u64;
    totals.clock_steps = pass.facts.clock_steps_count;
    totals.restore_points = pass.facts.restore_points;
    totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(WalPass {
        wal: totals,
        breaks: pass.breaks,
        begins_met: pass.begins_met,
        findings,
    })
}
