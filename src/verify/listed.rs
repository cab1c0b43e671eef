//! Everything that names and sizes tell: no object is read here.

use crate::finding::Finding;
use crate::postgres::SegmentNumber;
use crate::repository::{BaseBackup, Catalog};

use super::backups::{self, BackupAssessment, Way};
use super::bad_segments::BadSegments;
use super::chain::{self, Chain};
use super::path::SegmentPath;
use super::timelines::{self, Timelines};
use super::wal::{self, HoleSpan};
use super::{VerifyOptions, objects};

/// What names and sizes tell of a repository.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The timelines.
    pub timelines: Timelines,
    /// The way to the current timeline.
    pub path: SegmentPath,
    /// Segments that are bad by their size.
    pub bad: BadSegments,
    /// Every backup, in the catalog's order.
    pub backups: Vec<BackupAssessment>,
    /// The chain of each usable backup, in the same order.
    pub chains: Vec<Chain>,
    /// From which segment on the archive is meant to be whole.
    pub needed_from: Option<SegmentNumber>,
    /// The holes from there on.
    pub holes: Vec<HoleSpan>,
    /// What is wrong, but for the holes.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// Looks at a catalog.
    pub fn of(catalog: &Catalog, options: &VerifyOptions) -> Self {
        let timelines = Timelines::of(catalog);
        let path = SegmentPath::new(&timelines.current, catalog.wal.segment_size);
        let bad = BadSegments::of(&catalog.wal);
        let way = Way {
            catalog,
            history: &timelines.current,
            path: &path,
            bad: &bad,
        };
        let system_id = objects::system_id(catalog);
        let assessments: Vec<BackupAssessment> = catalog
            .backups
            .iter()
            .map(|backup| backups::assess(way, backup, system_id, options))
            .collect();
        let usable = || usable(catalog, &assessments);
        let unreachable = timelines.unreachable_above();
        let chains = usable()
            .filter_map(|backup| chain::follow(way, backup, unreachable))
            .collect();
        let needed_from = wal::needed_from(catalog, &assessments);
        let holes = needed_from.map_or_else(Vec::new, |from| wal::holes(way, from));
        let oldest_needed = usable().filter_map(|backup| backup.timeline).min();

        let mut findings = catalog.findings.clone();
        findings.extend(objects::findings(catalog));
        findings.extend(assessments.iter().flat_map(|found| found.findings.clone()));
        findings.extend(backups::findings(catalog, &assessments, options));
        findings.extend(timelines::findings(catalog, &timelines, oldest_needed));
        findings.extend(wal::odd_findings(way, needed_from, &holes));
        Self {
            timelines,
            path,
            bad,
            backups: assessments,
            chains,
            needed_from,
            holes,
            findings,
        }
    }

    /// Where and against what the catalog was judged.
    pub fn way<'a>(&'a self, catalog: &'a Catalog) -> Way<'a> {
        Way {
            catalog,
            history: &self.timelines.current,
            path: &self.path,
            bad: &self.bad,
        }
    }

    /// The usable backups, oldest first.
    pub fn usable<'a>(&'a self, catalog: &'a Catalog) -> impl Iterator<Item = &'a BaseBackup> {
        usable(catalog, &self.backups)
    }
}

fn usable<'a>(
    catalog: &'a Catalog,
    assessments: &'a [BackupAssessment],
) -> impl Iterator<Item = &'a BaseBackup> {
    assessments
        .iter()
        .filter(|found| found.usable)
        .filter_map(|found| catalog.backup(&found.id))
}
