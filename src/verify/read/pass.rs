//! One pass over the WAL of the way to the current timeline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bases::Bases;
use super::fetch::{Fetched, ObjectFact, Source, read_object};
use super::report::{CheckpointPoint, SegmentReading, WalReading, WalStop, WalStretch, XidRange};
use super::seen::{How, Notes, ReadPiece, Seen, Step, next_start};
use super::teller::Teller;
use crate::finding::{Code, Finding};
use crate::postgres::wal::{
    ParameterChange, WalEvent, WalFault, WalStream, WalStreamOptions, first_record,
};
use crate::postgres::{
    Lsn, SegmentName, SegmentNumber, SegmentSize, SystemId, WalFileName, WalLevel,
};
use crate::verify::backups::Way;
use crate::verify::range_facts::Facts;
use crate::verify::segment_reader::{SegmentRead, fault_finding, unreadable_finding};
use crate::verify::{CommitPoint, VerifyError};

/// WAL within a contiguous run of segments that recovery cannot pass.
#[derive(Clone, Debug)]
pub struct Break {
    /// The segment that is hit.
    pub segment: SegmentNumber,
    /// Where the WAL before it ends.
    pub from: Lsn,
    /// Where it can be read again.
    pub to: Lsn,
    /// What makes it.
    pub finding: Finding,
}

/// The pass. Memory: the facts told, breaks and stretches, which grow with damage only.
pub(super) struct Pass<'a> {
    pub(super) way: Way<'a>,
    system_id: Option<SystemId>,
    /// The redo points of base backups.
    begins: Arc<BTreeSet<Lsn>>,
    pub(super) bases: Bases<'a>,
    /// Those at which a record does begin.
    pub(super) begins_met: BTreeSet<Lsn>,
    /// By redo point, where the record that tells a base backup's end ends.
    pub(super) backup_ends: BTreeMap<Lsn, Lsn>,
    stream: Option<WalStream>,
    open: Option<WalStretch>,
    /// Whether WAL has not gone on since the last break.
    broken: bool,
    pub(super) breaks: Vec<Break>,
    pub(super) facts: Facts,
    pub(super) totals: WalReading,
    /// Stored bytes read on the way.
    pub(super) stored_bytes: u64,
    /// Where bytes come from that a shard has read and that are wanted after all.
    source: Source,
}

/// A decoded segment.
struct Segment {
    number: SegmentNumber,
    name: SegmentName,
    key: String,
    /// None that a shard has read.
    bytes: Option<Arc<Vec<u8>>>,
    /// Where reading can begin in it.
    begin: Begin,
}

/// Where the first record begins in a segment; `None` where none does. What is wrong with the
/// segment's head is left to the stream to tell.
pub(super) fn first_in(number: SegmentNumber, bytes: &[u8], size: SegmentSize) -> Option<Lsn> {
    match first_record(bytes) {
        Ok(Some(lsn)) if size.segment_of(lsn) == number => Some(lsn),
        Ok(None) if bytes.len() as u64 == size.bytes() => None,
        _ => Some(number.begin_lsn(size)),
    }
}

/// Where reading can begin in a segment.
#[derive(Clone, Copy)]
enum Begin {
    At(Lsn),
    /// No record begins in it.
    Nowhere,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        way: Way<'a>,
        system_id: Option<SystemId>,
        begins: Arc<BTreeSet<Lsn>>,
        bases: Bases<'a>,
        by_segment: bool,
        source: Source,
    ) -> Self {
        Self {
            way,
            system_id,
            begins,
            bases,
            begins_met: BTreeSet::new(),
            backup_ends: BTreeMap::new(),
            stream: None,
            open: None,
            broken: false,
            breaks: Vec::new(),
            facts: Facts::default(),
            totals: WalReading {
                by_segment: by_segment.then(Vec::new),
                ..WalReading::default()
            },
            stored_bytes: 0,
            source,
        }
    }

    /// Takes in the next segment of a run.
    pub(super) async fn segment(
        &mut self,
        fetched: Fetched,
        objects: &[ObjectFact],
        teller: &mut Teller<'_>,
    ) -> Result<(), VerifyError> {
        let Fetched {
            number,
            name,
            read,
            piece,
            kept,
            ..
        } = fetched;
        let breaks = self.breaks.len();
        if let Some(table) = &mut self.totals.by_segment {
            let key = match &read {
                SegmentRead::Bytes { key, .. } | SegmentRead::Unreadable { key, .. } => {
                    Some(key.clone())
                }
                SegmentRead::Missing => None,
            };
            let own = objects
                .iter()
                .find(|fact| Some(&fact.entry.key) == key.as_ref());
            table.push(SegmentReading {
                segment: name.to_string(),
                stored_bytes: own.map(|fact| fact.entry.size),
                key,
                sound: true,
                records: 0,
                commits: 0,
                first_commit: None,
                last_commit: None,
                xids: None,
                checkpoints: 0,
                restore_points: Vec::new(),
            });
        }
        self.totals.segments += 1;
        match read {
            SegmentRead::Missing => {
                let size = self.way.catalog.wal.segment_size;
                let finding = Finding::new(
                    Code::WalGap,
                    name.to_string(),
                    format!("segment {name} was listed and is gone"),
                )
                .with_wal(
                    name.timeline,
                    number.begin_lsn(size),
                    number.end_lsn(size),
                );
                let segment = name.to_string();
                self.stop(number, None, WalStop::Missing { segment }, finding);
            }
            SegmentRead::Unreadable { key, reason } => {
                let finding = unreadable_finding(self.way.catalog, name, &key, &reason);
                let stop = WalStop::Unreadable {
                    segment: name.to_string(),
                    reason,
                };
                self.stop(number, None, stop, finding);
            }
            SegmentRead::Bytes { key, bytes } => {
                let size = self.way.catalog.wal.segment_size;
                let (count, begin) = match kept {
                    Some(kept) => (kept.count, kept.begin),
                    None => (bytes.len() as u64, first_in(number, &bytes, size)),
                };
                self.totals.bytes += count;
                let segment = Segment {
                    number,
                    name,
                    key,
                    bytes: kept.is_none().then(|| Arc::new(bytes)),
                    begin: begin.map_or(Begin::Nowhere, Begin::At),
                };
                self.check(segment, piece, teller).await?;
            }
        }
        if self.breaks.len() > breaks
            && let Some(row) = self
                .totals
                .by_segment
                .as_mut()
                .and_then(|table| table.last_mut())
        {
            row.sound = false;
        }
        Ok(())
    }

    /// Checks the records of a segment: on in the open stream, or from where one can be
    /// begun. Behind a fault within the segment only a base backup's redo point is a
    /// place to go on, because recovery could begin there.
    async fn check(
        &mut self,
        mut segment: Segment,
        mut piece: Option<Box<ReadPiece>>,
        teller: &mut Teller<'_>,
    ) -> Result<(), VerifyError> {
        let Segment { number, name, .. } = segment;
        let size = self.way.catalog.wal.segment_size;
        let (begin, end) = (number.begin_lsn(size), number.end_lsn(size));
        let mut joined = self.stream.is_some();
        let mut own = false;
        // Never the same place twice.
        let mut tried = Lsn::INVALID;
        let mut from = if joined {
            Begin::Nowhere
        } else {
            segment.begin
        };
        loop {
            let (stream, at) = match (self.stream.take(), &from) {
                (Some(stream), _) => {
                    let at = next_start(stream.position().end, size);
                    (stream, at)
                }
                (None, Begin::At(lsn)) => {
                    tried = *lsn;
                    (self.begin(*lsn), *lsn)
                }
                (None, Begin::Nowhere) => return Ok(()),
            };
            self.bases.reach(at, teller).await?;
            let piece = piece
                .take()
                .filter(|piece| joined || piece.wal.first_record() == Some(at))
                .filter(|_| self.bases.takes_pieces(end));
            let how = match piece {
                Some(piece) => How::Join(piece),
                None => How::Push {
                    number,
                    bytes: self.bytes_of(&mut segment).await?,
                    until: self.bases.next_begin().filter(|begin| *begin < end),
                    size,
                },
            };
            let step = Step {
                stream,
                notes: Notes::of(number, size, &self.begins),
                companions: self.bases.lend(),
                how,
            };
            let stepped = step.run().await?;
            own |= stepped.seen.first_own.is_some();
            self.bases
                .give_back(stepped.companions, stepped.position.end);
            self.take(stepped.seen, &segment.key);
            if let Some(open) = &mut self.open
                && stepped.position.last_record.is_some()
            {
                open.end = open.end.max(stepped.position.end);
                open.last_record = stepped.position.last_record;
                open.timeline = name.timeline;
                open.key = Some(segment.key.clone());
            }
            let Err(fault) = stepped.result else {
                let done = !stepped.stopped || stepped.stream.next_segment() != number;
                self.stream = Some(stepped.stream);
                if done {
                    return Ok(());
                }
                continue;
            };
            let (catalog, history) = (self.way.catalog, self.way.history);
            let finding = fault_finding(catalog, history, &fault, name, &segment.key);
            let stop = WalStop::Damaged {
                segment: name.to_string(),
                lsn: fault.lsn(),
                reason: fault.to_string(),
            };
            self.stop(number, Some(&fault), stop, finding);
            from = if joined && !own {
                // The segment may be sound by itself.
                segment.begin
            } else {
                let behind = fault.lsn().max(tried);
                self.begins
                    .range(begin..end)
                    .find(|begin| **begin > behind)
                    .map_or(Begin::Nowhere, |begin| Begin::At(*begin))
            };
            joined = false;
        }
    }

    /// The bytes of a segment; those that a shard has read are read once more.
    async fn bytes_of(&self, segment: &mut Segment) -> Result<Arc<Vec<u8>>, VerifyError> {
        if let Some(bytes) = &segment.bytes {
            return Ok(Arc::clone(bytes));
        }
        self.source.parts.read_here();
        let objects = self
            .source
            .repository
            .wal_objects(self.way.catalog, WalFileName::Segment(segment.name));
        let mut bytes = Vec::new();
        if let Some(object) = objects.iter().find(|object| object.key == segment.key)
            && let (SegmentRead::Bytes { bytes: read, .. }, _) =
                read_object(&self.source, object).await?
        {
            bytes = read;
        }
        // One that is gone since is taken for an empty one, which is a fault.
        let bytes = Arc::new(bytes);
        segment.bytes = Some(Arc::clone(&bytes));
        Ok(bytes)
    }

    /// Begins a stretch.
    fn begin(&mut self, start: Lsn) -> WalStream {
        if self.open.is_none() {
            self.open_at(start);
        }
        WalStream::new(WalStreamOptions {
            segment_size: self.way.catalog.wal.segment_size,
            system_id: self.system_id,
            history: self.way.history.clone(),
            start,
        })
    }

    fn open_at(&mut self, start: Lsn) {
        if std::mem::take(&mut self.broken)
            && let Some(last) = self.breaks.last_mut()
        {
            last.to = last.to.max(start);
        }
        let segment = self.way.catalog.wal.segment_size.segment_of(start);
        self.open = Some(WalStretch {
            begin: start,
            end: start,
            last_record: None,
            timeline: self.way.path.timeline_of(segment),
            key: None,
            records: 0,
            commits: 0,
            first_commit: None,
            last_commit: None,
            last_time: None,
            whole: true,
            stopped_by: WalStop::ArchiveEnd,
        });
    }

    /// Ends a run of contiguous segments.
    pub(super) fn end_run(&mut self, stopped_by: WalStop) {
        self.close(stopped_by);
        self.broken = false;
    }

    /// Ends the open stretch, if one is open.
    fn close(&mut self, stopped_by: WalStop) {
        self.stream = None;
        self.bases.gap();
        if let Some(open) = self.open.take()
            && (open.records > 0 || !open.whole)
        {
            self.totals
                .stretches
                .push(WalStretch { stopped_by, ..open });
        }
    }

    /// Ends the open stretch at something that recovery cannot pass.
    fn stop(
        &mut self,
        number: SegmentNumber,
        fault: Option<&WalFault>,
        stopped_by: WalStop,
        finding: Finding,
    ) {
        let size = self.way.catalog.wal.segment_size;
        let (begin, end) = (number.begin_lsn(size), number.end_lsn(size));
        let open = self.open.as_ref().filter(|open| open.records > 0);
        let from = match (open, fault) {
            (Some(open), _) => open.end,
            (None, Some(fault)) => fault.lsn().clamp(begin, end),
            (None, None) => begin,
        };
        let resumed = open.is_some();
        self.close(stopped_by);
        self.broken = true;
        // A second try that fails at once tells nothing new.
        let again = self
            .breaks
            .last_mut()
            .filter(|last| !resumed && last.segment == number);
        match again {
            Some(last) => last.to = end,
            None => self.breaks.push(Break {
                segment: number,
                from,
                to: end,
                finding,
            }),
        }
    }

    /// A segment that is left out: it counts as sound.
    pub(super) fn skip(&mut self, number: SegmentNumber) {
        let size = self.way.catalog.wal.segment_size;
        self.stream = None;
        self.bases.gap();
        if self.open.is_none() {
            self.open_at(number.begin_lsn(size));
        }
        if let Some(open) = &mut self.open {
            open.whole = false;
            open.end = number.end_lsn(size);
            open.last_record = None;
            open.timeline = self.way.path.timeline_of(number);
            open.key = None;
        }
    }

    /// Takes in what passed by.
    fn take(&mut self, seen: Seen, key: &str) {
        self.begins_met.extend(seen.begins);
        self.facts.records += seen.records;
        self.totals.records += seen.records;
        let mut counted = 0;
        for noted in seen.noted {
            self.facts
                .take_event(noted.start, noted.end, &noted.event, key);
            let minimal = matches!(
                noted.event,
                WalEvent::ParameterChange(ParameterChange {
                    wal_level: WalLevel::Minimal,
                    ..
                })
            );
            if minimal {
                if let Some(open) = &mut self.open {
                    open.records += noted.before - counted;
                    open.end = noted.start;
                    open.key = Some(key.to_owned());
                }
                counted = noted.before + 1;
                self.stop_at_minimal(noted.start, noted.end, key);
            }
            self.event(noted.start, noted.end, &noted.event);
        }
        if let Some(open) = &mut self.open {
            open.records += seen.records - counted;
        }
        if let Some(row) = self.row() {
            row.records += seen.records;
        }
    }

    fn row(&mut self) -> Option<&mut SegmentReading> {
        self.totals.by_segment.as_mut()?.last_mut()
    }

    fn stop_at_minimal(&mut self, start: Lsn, end: Lsn, key: &str) {
        let size = self.way.catalog.wal.segment_size;
        let number = size.segment_of(start);
        let finding = Finding::new(
            Code::WalLevelMinimal,
            key,
            format!("wal_level is lowered to minimal at {start}"),
        )
        .with_wal(self.way.path.timeline_of(number), start, end);
        let stream = self.stream.take();
        self.close(WalStop::WalLevelMinimal { lsn: start });
        self.stream = stream;
        self.breaks.push(Break {
            segment: number,
            from: start,
            to: end,
            finding,
        });
        self.open_at(end);
    }

    fn event(&mut self, start: Lsn, end: Lsn, event: &WalEvent) {
        let ended = match event {
            WalEvent::Commit { xid, .. } | WalEvent::Abort { xid, .. } => Some(*xid),
            _ => None,
        };
        if let Some(xid) = ended {
            self.totals.xids = Some(XidRange::with(self.totals.xids, xid));
        }
        let time = match event {
            WalEvent::Commit { time, .. }
            | WalEvent::Abort { time, .. }
            | WalEvent::Checkpoint { time, .. }
            | WalEvent::RestorePoint { time, .. }
            | WalEvent::EndOfRecovery { time, .. } => Some(*time),
            _ => None,
        };
        if let Some(open) = &mut self.open {
            open.last_time = open.last_time.max(time);
        }
        match event {
            WalEvent::Commit { xid, time, .. } => {
                let commit = CommitPoint {
                    lsn: start,
                    end,
                    xid: *xid,
                    time: *time,
                };
                self.totals.commits += 1;
                self.totals.first_commit.get_or_insert(commit);
                self.totals.last_commit = Some(commit);
                if let Some(open) = &mut self.open {
                    open.commits += 1;
                    open.first_commit.get_or_insert(commit);
                    open.last_commit = Some(commit);
                }
            }
            WalEvent::Checkpoint { redo, time, .. } => {
                self.totals.last_checkpoint = Some(CheckpointPoint {
                    lsn: start,
                    redo: *redo,
                    time: *time,
                });
            }
            WalEvent::BackupEnd { start: redo } if self.begins.contains(redo) => {
                self.backup_ends.insert(*redo, end);
            }
            _ => {}
        }
        let Some(row) = self.row() else { return };
        if let Some(xid) = ended {
            row.xids = Some(XidRange::with(row.xids, xid));
        }
        match event {
            WalEvent::Commit { time, .. } => {
                row.commits += 1;
                row.first_commit.get_or_insert(*time);
                row.last_commit = Some(*time);
            }
            WalEvent::Checkpoint { .. } => row.checkpoints += 1,
            WalEvent::RestorePoint { name, .. } => row.restore_points.push(name.clone()),
            _ => {}
        }
    }
}
