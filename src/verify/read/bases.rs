//! Base backups within a pass: read where they begin, settled where they end.

use std::ops::RangeInclusive;

use super::seen::{Companions, begins_at};
use super::teller::Teller;
use crate::finding::{Finding, Severity};
use crate::postgres::{Lsn, RequiredSettings, SegmentNumber, SystemId};
use crate::repository::{BackupMethod, BackupStatus, BaseBackup, Repository};
use crate::storage::ObjectEntry;
use crate::verify::VerifyError;
use crate::verify::backups::Way;
use crate::verify::base::{self, BaseReadOptions, BaseReport, Suspects, TouchedBlocks};
use crate::verify::ledger::ObjectReading;
use crate::verify::parts::{KeptBase, Parts, base_read_with};
use crate::verify::wal_range::{RangeRequest, StopReason, Until, scan};

/// How many blocks that WAL changed are remembered between base backups: some 40 MiB.
const TOUCHED: usize = 1_000_000;

/// How many archives of a base backup are read at once.
const PARALLEL: usize = 2;

/// What came of reading one base backup.
#[derive(Debug)]
pub struct BaseOutcome {
    /// Figures.
    pub report: BaseReport,
    /// What the server that was copied must at least have, by its control file.
    pub settings: Option<RequiredSettings>,
    /// Whether a standby was copied, by the label.
    pub from_standby: Option<bool>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// Whether the WAL that settles what its pages leave open was read.
    pub settled: bool,
    /// Its archives, for the ledger, until it has been judged.
    unlogged: Vec<ObjectReading>,
}

impl BaseOutcome {
    /// Why it cannot be used.
    pub(super) fn reason(&self) -> Option<&Finding> {
        let grave = |finding: &&Finding| finding.severity == Severity::Critical;
        self.findings.iter().find(grave)
    }
}

/// A base backup that waits for the WAL that settles it.
struct Waiting {
    outcome: usize,
    end: Lsn,
}

/// The base backups that are to be read.
pub(super) struct Bases<'a> {
    repository: &'a Repository,
    way: Way<'a>,
    system_id: Option<SystemId>,
    /// Those that begin on the way, the one that begins last first.
    pending: Vec<(Lsn, &'a BaseBackup)>,
    /// Those that do not, or do not tell.
    beside: Vec<&'a BaseBackup>,
    /// What is shown every record.
    companions: Companions,
    waiting: Vec<Waiting>,
    pub(super) outcomes: Vec<BaseOutcome>,
    /// Those of which the ledger is to be told.
    judged: Vec<usize>,
    /// How many were kept for who concludes.
    pub(super) kept: u64,
}

impl<'a> Bases<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        way: Way<'a>,
        system_id: Option<SystemId>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Self {
        let (mut pending, mut beside) = (Vec::new(), Vec::new());
        let readable = way.catalog.backups.iter().filter(|backup| {
            backup.status == BackupStatus::Done
                && backup.method == BackupMethod::Archives
                && wanted(&backup.id)
        });
        for backup in readable {
            match backup.begin_lsn {
                Some(begin) if on_the_way(way, backup) => pending.push((begin, backup)),
                _ => beside.push(backup),
            }
        }
        pending.sort_by_key(|(begin, _)| std::cmp::Reverse(*begin));
        Self {
            repository,
            way,
            system_id,
            pending,
            beside,
            companions: Companions {
                touched: Some(TouchedBlocks::new(TOUCHED)),
                suspects: Vec::new(),
            },
            waiting: Vec::new(),
            outcomes: Vec::new(),
            judged: Vec::new(),
            kept: 0,
        }
    }

    /// Takes a base backup over that a shard has read.
    pub(super) fn take_over(&mut self, kept: KeptBase, teller: &mut Teller<'_>) {
        let stored = kept.report.archives.iter();
        teller.base_done(stored.map(|archive| archive.stored_bytes).sum());
        self.judged.push(self.outcomes.len());
        self.outcomes.push(BaseOutcome {
            report: kept.report,
            settings: kept.settings,
            from_standby: kept.from_standby,
            findings: Vec::new(),
            settled: true,
            unlogged: kept.archives,
        });
    }

    /// Keeps for who concludes what has been judged since, and is sound and settled. What is
    /// wrong with a base backup is told by who reads it as it lies there then.
    pub(super) async fn keep_judged(&mut self, parts: &Parts) -> Result<(), VerifyError> {
        for index in std::mem::take(&mut self.judged) {
            let Some(outcome) = self.outcomes.get(index) else {
                continue;
            };
            let id = outcome.report.backup_id.as_str();
            let Some(backup) = self.way.catalog.backup(id) else {
                continue;
            };
            if !outcome.settled || !outcome.findings.is_empty() {
                continue;
            }
            self.kept += 1;
            let kept = KeptBase {
                read_with: base_read_with(backup, self.system_id, self.way.history),
                report: outcome.report.clone(),
                settings: outcome.settings,
                from_standby: outcome.from_standby,
                archives: outcome.unlogged.clone(),
            };
            parts.keep_base(&kept).await?;
        }
        Ok(())
    }

    /// Whether no base backup on the way is left to be read or settled.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.waiting.is_empty()
    }

    /// The segments whose every record must be shown in order: from the begin to the end of
    /// each.
    pub(super) fn in_order(&self) -> Vec<RangeInclusive<SegmentNumber>> {
        let size = self.way.catalog.wal.segment_size;
        self.pending
            .iter()
            .map(|(begin, backup)| {
                let end = backup.end_lsn.unwrap_or(*begin).max(*begin);
                size.segment_of(*begin)..=size.segment_of(end)
            })
            .collect()
    }

    /// Up to which segment it matters which blocks are changed.
    pub(super) fn touched_until(&self) -> Option<SegmentNumber> {
        let size = self.way.catalog.wal.segment_size;
        self.pending
            .first()
            .map(|(begin, _)| size.segment_of(*begin))
    }

    /// Whether a segment that was read as a piece can be taken: no base backup begins in it
    /// or waits to see its records.
    pub(super) fn takes_pieces(&self, segment_end: Lsn) -> bool {
        self.companions.suspects.is_empty()
            && self.next_begin().is_none_or(|begin| begin >= segment_end)
    }

    /// Where the next base backup begins.
    pub(super) fn next_begin(&self) -> Option<Lsn> {
        self.pending.last().map(|(begin, _)| *begin)
    }

    /// What is to be shown every record; to be given back.
    pub(super) fn lend(&mut self) -> Companions {
        std::mem::take(&mut self.companions)
    }

    /// Takes them back; `end` is how far reading came.
    pub(super) fn give_back(&mut self, companions: Companions, end: Lsn) {
        self.companions = companions;
        let mut index = 0;
        while let Some(waiting) = self.waiting.get(index) {
            if waiting.end > end {
                index += 1;
                continue;
            }
            let waiting = self.waiting.remove(index);
            let suspects = self.companions.suspects.remove(index);
            self.settle(waiting.outcome, suspects);
        }
        if self.pending.is_empty() {
            self.companions.touched = None;
        }
    }

    fn settle(&mut self, index: usize, suspects: Suspects) {
        let (pages, findings) = suspects.settle();
        if let Some(outcome) = self.outcomes.get_mut(index) {
            outcome.report.pages = pages;
            outcome.findings.extend(findings);
            outcome.settled = true;
            self.judged.push(index);
        }
    }

    /// WAL cannot go on here: what waits for it is not settled.
    pub(super) fn gap(&mut self) {
        if let Some(touched) = &mut self.companions.touched {
            touched.clear();
        }
        let waiting = std::mem::take(&mut self.waiting);
        let suspects = std::mem::take(&mut self.companions.suspects);
        for (waiting, suspects) in waiting.into_iter().zip(suspects) {
            self.give_up(waiting.outcome, suspects);
        }
    }

    fn give_up(&mut self, index: usize, suspects: Suspects) {
        if let Some(outcome) = self.outcomes.get_mut(index) {
            for object in &mut outcome.unlogged {
                object.judged = false;
            }
            self.judged.push(index);
            outcome.report.pages = suspects.give_up();
            outcome.report.not_compared.push(
                "What its pages leave open is not settled: the WAL from its begin to its end cannot be read.".to_owned(),
            );
        }
    }

    /// Reads the base backups that begin at `reached` or before, from which on WAL is
    /// about to be read.
    pub(super) async fn reach(
        &mut self,
        reached: Lsn,
        teller: &mut Teller<'_>,
    ) -> Result<(), VerifyError> {
        while let Some((begin, backup)) = self.pending.pop_if(|(begin, _)| *begin <= reached) {
            if !begins_at(reached, begin) {
                // Its begin was passed over, so its WAL is not whole.
                self.beside.push(backup);
                continue;
            }
            let touched = self.companions.touched.take();
            let read = self.read_one(backup, touched.as_ref(), teller).await;
            self.companions.touched = touched;
            let (outcome, suspects) = read?;
            match backup.end_lsn {
                Some(end) => {
                    self.waiting.push(Waiting { outcome, end });
                    self.companions.suspects.push(suspects);
                }
                None => self.give_up(outcome, suspects),
            }
        }
        Ok(())
    }

    /// Reads those that the pass did not come upon, each with the WAL of its own way.
    pub(super) async fn rest(&mut self, teller: &mut Teller<'_>) -> Result<(), VerifyError> {
        self.gap();
        let passed = std::mem::take(&mut self.pending);
        let mut rest = std::mem::take(&mut self.beside);
        rest.extend(passed.into_iter().map(|(_, backup)| backup));
        for backup in rest {
            let (outcome, mut suspects) = self.read_one(backup, None, teller).await?;
            if suspects.is_empty() || self.show_own_wal(backup, &mut suspects).await? {
                self.settle(outcome, suspects);
            } else {
                self.give_up(outcome, suspects);
            }
            if !on_the_way(self.way, backup)
                && let Some(outcome) = self.outcomes.get_mut(outcome)
            {
                let findings = std::mem::take(&mut outcome.findings);
                outcome.findings = findings.into_iter().map(soften).collect();
            }
        }
        Ok(())
    }

    /// Tells the ledger of the archives that have been judged since.
    pub(super) async fn log(&mut self, teller: &Teller<'_>) {
        for index in std::mem::take(&mut self.judged) {
            let Some(outcome) = self.outcomes.get_mut(index) else {
                continue;
            };
            for object in std::mem::take(&mut outcome.unlogged) {
                let of_it = |finding: &&Finding| finding.object == object.entry.key;
                let findings = outcome.findings.iter().filter(of_it).cloned().collect();
                teller.log.note(ObjectReading { findings, ..object }).await;
            }
        }
    }

    /// Shows suspects the WAL of their backup; tells whether that was whole.
    async fn show_own_wal(
        &self,
        backup: &BaseBackup,
        suspects: &mut Suspects,
    ) -> Result<bool, VerifyError> {
        let wal = &self.way.catalog.wal;
        let (Some(begin), Some(end), Some(timeline)) =
            (backup.begin_lsn, backup.end_lsn, backup.timeline)
        else {
            return Ok(false);
        };
        let Some(history) = wal.history(timeline) else {
            return Ok(false);
        };
        if end <= begin || backup.segment_size != wal.segment_size {
            return Ok(false);
        }
        let request = RangeRequest {
            history,
            start: begin,
            until: Until::Segment(wal.segment_size.segment_before(end)),
            system_id: backup.system_id.or(self.system_id),
        };
        let report = scan(
            self.repository,
            self.way.catalog,
            &request,
            &|_| {},
            &mut |record| {
                suspects.take(record);
                std::ops::ControlFlow::Continue(())
            },
        )
        .await?;
        Ok(report.stopped_by == StopReason::Requested && report.end >= end)
    }

    async fn read_one(
        &mut self,
        backup: &BaseBackup,
        touched: Option<&TouchedBlocks>,
        teller: &mut Teller<'_>,
    ) -> Result<(usize, Suspects), VerifyError> {
        let options = BaseReadOptions {
            parallel: PARALLEL,
            digest: teller.digest,
            touched: touched.filter(|touched| !touched.is_empty()),
            system_id: self.system_id,
        };
        let reading = {
            let progress = teller.for_base();
            base::read(self.repository, backup, &options, &progress).await?
        };
        let mut unlogged = Vec::new();
        for archive in &reading.report.archives {
            let listed = backup.archives.iter().find(|own| own.key == archive.key);
            if let (Some(sha256), Some(listed)) = (archive.sha256, listed) {
                unlogged.push(ObjectReading {
                    entry: ObjectEntry {
                        key: archive.key.clone(),
                        size: archive.stored_bytes,
                        last_modified: listed.last_modified,
                        etag: archive.etag.clone(),
                        version: None,
                    },
                    sha256,
                    judged: true,
                    findings: Vec::new(),
                });
            }
        }
        let stored = reading.report.archives.iter();
        teller.base_done(stored.map(|archive| archive.stored_bytes).sum());
        self.outcomes.push(BaseOutcome {
            report: reading.report,
            settings: reading.settings,
            from_standby: reading.from_standby,
            findings: reading.findings,
            settled: false,
            unlogged,
        });
        Ok((self.outcomes.len() - 1, reading.suspects))
    }
}

/// Whether a base backup begins on the way to the current timeline.
pub(super) fn on_the_way(way: Way<'_>, backup: &BaseBackup) -> bool {
    backup.timeline.is_some_and(|timeline| {
        let switch = way.history.switch_from(timeline);
        way.history.contains(timeline)
            && switch.is_none_or(|switch| backup.end_lsn.is_some_and(|end| end <= switch))
    })
}

fn soften(finding: Finding) -> Finding {
    finding.with_severity(Severity::Info).with_consequence(
        "It lies beside the way to the current timeline, which does not need it; a restore from it is not to be trusted.",
    )
}
