//! WAL that lies beside the way to the current timeline: abandoned branches, what a
//! parent wrote after the switch, unfinished segments. Recovery to the current timeline
//! needs none of it, so damage there is told, but is no alarm.

use std::ops::ControlFlow;

use super::fetch::{ObjectFact, Source, read_object};
use crate::finding::{Finding, Severity};
use crate::postgres::wal::{WalFault, WalStream, WalStreamOptions, first_record};
use crate::postgres::{
    Lsn, SegmentName, SegmentNumber, SystemId, TimelineHistory, TimelineId, WalFileName,
};
use crate::verify::VerifyError;
use crate::verify::backups::Way;
use crate::verify::rotation::Selection;
use crate::verify::segment_reader::{SegmentRead, fault_finding, unreadable_finding};
use crate::verify::timelines::{TimelineRole, Timelines};

/// The full segments that no recovery to the current timeline reads, in order.
pub(super) fn segments<'a>(
    way: Way<'a>,
    selection: &'a Selection,
) -> impl Iterator<Item = (TimelineId, SegmentNumber)> + 'a {
    way.catalog
        .wal
        .timelines
        .iter()
        .flat_map(|(timeline, own)| {
            own.runs.iter().flat_map(|run| {
                (run.first.0..=run.last.0).map(|number| (*timeline, SegmentNumber(number)))
            })
        })
        .filter(move |(timeline, number)| {
            way.path.timeline_of(*number) != *timeline
                && selection.wants_segment(*timeline, *number)
        })
}

/// Checks segments of side branches one after the other, joined where they are
/// neighbours.
pub(super) struct Beside<'a> {
    way: Way<'a>,
    system_id: Option<SystemId>,
    timelines: &'a Timelines,
    stream: Option<(TimelineId, WalStream)>,
}

impl<'a> Beside<'a> {
    pub(super) const fn new(
        way: Way<'a>,
        timelines: &'a Timelines,
        system_id: Option<SystemId>,
    ) -> Self {
        Self {
            way,
            system_id,
            timelines,
            stream: None,
        }
    }

    /// Takes in the next segment; tells what is wrong with it.
    pub(super) async fn segment(
        &mut self,
        name: SegmentName,
        number: SegmentNumber,
        read: SegmentRead,
    ) -> Result<Option<Finding>, VerifyError> {
        let catalog = self.way.catalog;
        let timeline = name.timeline;
        let (key, bytes) = match read {
            SegmentRead::Bytes { key, bytes } => (key, bytes),
            SegmentRead::Missing => {
                self.stream = None; // Whatever expired it did no harm.
                return Ok(None);
            }
            SegmentRead::Unreadable { key, reason } => {
                self.stream = None;
                let finding = unreadable_finding(catalog, name, &key, &reason);
                return Ok(Some(self.soften(timeline, finding)));
            }
        };
        let history = catalog.wal.history(timeline);
        let placed = history.is_some();
        let history = history.unwrap_or(TimelineHistory {
            timeline,
            ancestors: Vec::new(),
        });
        let known = self
            .stream
            .take()
            .filter(|(owner, stream)| *owner == timeline && stream.next_segment() == number);
        let size = catalog.wal.segment_size;
        let (system_id, own) = (self.system_id, history.clone());
        let checked = tokio::task::spawn_blocking(move || {
            let mut stream = match known {
                Some((_, stream)) => stream,
                None => WalStream::new(WalStreamOptions {
                    segment_size: size,
                    system_id,
                    history: own,
                    start: match first_record(&bytes) {
                        Ok(Some(start)) if size.segment_of(start) == number => start,
                        Ok(None) => return (None, Ok(())),
                        _ => number.begin_lsn(size),
                    },
                }),
            };
            let result = stream.push_segment(number, &bytes, &mut |_| ControlFlow::Continue(()));
            (result.is_ok().then_some(stream), result)
        });
        let (stream, result) = checked.await?;
        self.stream = stream.map(|stream| (timeline, stream));
        Ok(match result {
            // Without its history nobody knows which timeline should be where.
            Err(WalFault::WrongTimeline { .. } | WalFault::TimelineNotBegun { .. }) if !placed => {
                None
            }
            Err(fault) => {
                let finding = fault_finding(catalog, &history, &fault, name, &key);
                Some(self.soften(timeline, finding))
            }
            Ok(()) => None,
        })
    }

    /// What damage means where the current timeline does not need it. A timeline that
    /// cannot be placed may be where production went.
    fn soften(&self, timeline: TimelineId, finding: Finding) -> Finding {
        let current = self.way.history.timeline;
        let unplaced = self
            .timelines
            .all
            .iter()
            .any(|report| report.timeline == timeline && report.role == TimelineRole::Unplaced);
        let finding = finding
            .with_severity(if unplaced && timeline > current {
                Severity::Warning
            } else {
                Severity::Info
            })
            .with_consequence(format!(
                "It lies beside the way to the current timeline {current}, and no recovery to that needs it; a restore to timeline {timeline} would end here."
            ));
        finding.with_action("Nothing to do, unless you mean to restore to that timeline.")
    }

    /// Reads one unfinished segment. It may end anywhere; its codec, its size and its
    /// first page must be right.
    pub(super) async fn partial(
        &self,
        source: &Source,
        timeline: TimelineId,
        number: SegmentNumber,
    ) -> Result<(Vec<ObjectFact>, Vec<Finding>), VerifyError> {
        let catalog = self.way.catalog;
        let size = catalog.wal.segment_size;
        let name = catalog.wal.name(timeline, number);
        let objects = source
            .repository
            .wal_objects(catalog, WalFileName::Partial(name));
        let (mut facts, mut findings) = (Vec::new(), Vec::new());
        for object in &objects {
            let (read, fact) = read_object(source, object).await?;
            facts.extend(fact);
            let finding = match read {
                SegmentRead::Missing => continue,
                SegmentRead::Unreadable { key, reason } => {
                    unreadable_finding(catalog, name, &key, &reason)
                }
                SegmentRead::Bytes { key, bytes } => {
                    let history = catalog.wal.history(timeline);
                    let Some(fault) = self.head_fault(number, &bytes) else {
                        continue;
                    };
                    let history = history.as_ref().unwrap_or(self.way.history);
                    fault_finding(catalog, history, &fault, name, &key)
                }
            };
            let begin = number.begin_lsn(size);
            let finding = finding.with_wal(timeline, begin, number.end_lsn(size));
            findings.push(
                finding
                    .with_severity(Severity::Info)
                    .with_consequence("It is an unfinished segment, which recovery never asks for.")
                    .with_action("Nothing to do, unless it is the only trace of the newest WAL."),
            );
        }
        Ok((facts, findings))
    }

    /// What is wrong with the size and first page of an unfinished segment.
    fn head_fault(&self, number: SegmentNumber, bytes: &[u8]) -> Option<WalFault> {
        let size = self.way.catalog.wal.segment_size;
        let lsn = number.begin_lsn(size);
        if bytes.len() as u64 != size.bytes() {
            return Some(WalFault::WrongSize {
                lsn,
                found: bytes.len() as u64,
                expected: size.bytes(),
            });
        }
        let first = match crate::postgres::wal::read_first_page(bytes) {
            Ok(first) => first,
            Err(WalFault::UnexpectedZeros { .. }) => return None, // Nothing was written yet.
            Err(fault) => return Some(fault),
        };
        if let Some(expected) = self.system_id
            && first.system_id != expected
        {
            return Some(WalFault::ForeignSystem {
                lsn,
                found: first.system_id,
                expected,
            });
        }
        (first.address != lsn).then_some(WalFault::WrongPageAddress {
            lsn,
            found: Lsn::new(first.address.bytes()),
        })
    }
}
