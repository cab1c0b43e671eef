//! From what all archives held to a reading of the backup.

use std::sync::atomic::Ordering;

use super::context::BaseContext;
use super::facts::{self, Facts, Surroundings};
use super::limited::Limited;
use super::manifest::ManifestFiles;
use super::read::ReadArchive;
use super::relations::{Relations, Setting};
use super::small_files::SmallFiles;
use super::status_files::ReadStatusFile;
use super::suspects::{Gap, MAX_SUSPECTS, Place, Suspects};
use super::touched::FrozenBlocks;
use super::{BaseReading, BaseReport, PageCounts};
use crate::finding::{Code, Finding};
use crate::postgres::relation_file::{DEFAULT_TABLESPACE, Fork, GLOBAL_TABLESPACE, RelationFile};
use crate::postgres::{ControlFile, Lsn, RequiredSettings, SystemId};
use crate::repository::{ArchiveContents, BackupMethod, BaseBackup};

/// What all archives held together.
#[derive(Debug, Default)]
struct All {
    counts: PageCounts,
    relations: Relations,
    small: SmallFiles,
    status: Vec<ReadStatusFile>,
    links: Vec<u32>,
    manifest: Option<ManifestFiles>,
}

/// Puts together what the archives held. `fraction` is the part of the touched blocks that
/// is known, `None` when nothing is known of them.
pub(super) fn finish(
    backup: &BaseBackup,
    context: &BaseContext,
    system_id: Option<SystemId>,
    fraction: Option<f64>,
    archives: Vec<ReadArchive>,
) -> BaseReading {
    let mut report = BaseReport::new(&backup.id);
    let mut findings = Limited::new(&backup.id);
    let mut all = All::default();
    let mut complete = parts_follow(backup);
    for archive in archives {
        let found = archive.found;
        complete &= archive.whole && !found.refused;
        report.archives.extend(archive.reading);
        report.members += found.members;
        report.files += found.files;
        report.bytes += found.bytes;
        report.blocks_compared += found.compared;
        findings.merge(found.findings);
        all.counts.add(found.counts);
        all.relations.merge(found.relations);
        all.small.merge(found.small);
        all.status.extend(found.status);
        all.links.extend(found.links);
        all.manifest = all.manifest.or(found.manifest);
    }
    if backup.method != BackupMethod::Archives {
        report
            .not_compared
            .push("its data lies in volume snapshots, which cannot be read from here".to_owned());
        return BaseReading {
            report,
            settings: None,
            from_standby: None,
            findings: findings.finish(),
            suspects: Suspects::default(),
        };
    }
    report.relation_files = all.relations.files();
    let mut databases = all.relations.databases();
    databases.remove(&0);
    let mut facts = Facts::of(
        &all.small,
        &Surroundings {
            backup,
            system_id,
            complete,
            databases: &databases,
            links: &all.links,
            status: &all.status,
        },
    );
    for finding in facts.findings.drain(..) {
        findings.push(finding);
    }
    if let Some(manifest) = all.manifest.take() {
        let bytes = all.small.get("backup_label").and_then(|(_, bytes)| bytes);
        let label = facts.label.as_ref().zip(bytes);
        match manifest.compare(context, label, complete) {
            Ok(mismatches) => {
                facts.not_compared.push(
                    "of what backup_manifest lists, sizes were compared and checksums were not"
                        .to_owned(),
                );
                for finding in mismatches {
                    findings.push(finding);
                }
            }
            Err(said) => facts.not_compared.push(said),
        }
    }
    let patchy = all.relations.patchy();
    if patchy > 0 {
        facts.not_compared.push(format!(
            "of {patchy} relations with very many stretches of visible or empty blocks, only the first were compared with the visibility map"
        ));
    }
    report.checksums = has_checksums(backup, facts.control.as_ref(), &all.counts);
    report.not_compared = not_compared(backup, &report, &facts, fraction, complete);
    let place = Place {
        backup_id: backup.id.clone(),
        archives: backup.archives.iter().map(|of| of.key.clone()).collect(),
        version_directory: version_directory(backup, facts.control.as_ref()),
        begin: backup
            .begin_lsn
            .or(facts.label.as_ref().map(|label| label.start_lsn))
            .unwrap_or_default(),
        end: backup.end_lsn,
    };
    if let Some(finding) = inconsistent_standby(&all.relations, &facts, backup, &place) {
        findings.push(finding);
    }
    let control = facts.control.as_ref();
    let settings = control.map(RequiredSettings::of_control_file);
    let from_standby = facts.label.as_ref().map(|label| label.from_standby);
    let suspects = all.into_suspects(backup, context, facts, place, report.checksums, complete);
    report.pages = suspects.counts;
    BaseReading {
        report,
        settings,
        from_standby,
        findings: findings.finish(),
        suspects,
    }
}

impl All {
    fn into_suspects(
        self,
        backup: &BaseBackup,
        context: &BaseContext,
        facts: Facts,
        place: Place,
        checksums: bool,
        complete: bool,
    ) -> Suspects {
        let Self {
            mut counts,
            mut relations,
            ..
        } = self;
        if !checksums {
            counts.without_checksum += std::mem::take(&mut counts.sound);
        }
        let mut missing = Vec::new();
        if complete {
            let here = |tablespace| {
                matches!(tablespace, DEFAULT_TABLESPACE | GLOBAL_TABLESPACE)
                    || context.separate.contains(&tablespace)
            };
            for (locator, archive) in &facts.mapped {
                if !relations.has_main(*locator) {
                    let because = "the database's relation map points to it";
                    missing.push((*locator, Gap::missing_because(*archive, because, true)));
                }
            }
            let unseen = context.touched.iter().flat_map(FrozenBlocks::unseen);
            let mut last = None;
            for (locator, block, changed) in unseen.filter(|(of, ..)| here(of.tablespace)) {
                if relations.has_main(locator) {
                    relations.add_absent(locator, block, changed);
                } else if last.replace(locator) != Some(locator) {
                    let because = "WAL before the backup changed blocks of it";
                    let archive = archive_of(backup, locator.tablespace);
                    missing.push((locator, Gap::missing_because(archive, because, false)));
                }
            }
        }
        let setting = Setting {
            checksums,
            complete,
        };
        let mut room = context.room.load(Ordering::Relaxed).min(MAX_SUSPECTS);
        let mut of_relations = relations.into_suspects(setting, &mut counts, &mut room);
        for (locator, gap) in missing {
            let relation = of_relations.entry(locator).or_default();
            if !relation.gaps.iter().any(|of| of.segment == gap.segment) {
                relation.gaps.push(gap);
            }
        }
        Suspects {
            place,
            counts,
            relations: of_relations,
            others: facts.suspects,
            overflowed: room == 0,
        }
    }
}

/// Whether the parts of each archive follow each other. If not, the listing has said so.
fn parts_follow(backup: &BaseBackup) -> bool {
    let contents: std::collections::BTreeSet<_> =
        backup.archives.iter().map(|of| of.contents).collect();
    let expected = backup
        .tablespaces
        .iter()
        .map(|tablespace| ArchiveContents::Tablespace(tablespace.oid))
        .chain([ArchiveContents::Data]);
    expected.into_iter().all(|of| contents.contains(&of))
        && contents.into_iter().all(|of| {
            let mut parts: Vec<u32> = backup
                .archives
                .iter()
                .filter(|archive| archive.contents == of)
                .map(|archive| archive.part)
                .collect();
            parts.sort_unstable();
            parts.into_iter().zip(0..).all(|(part, at)| part == at)
        })
}

/// The first archive of what a tablespace's files are in.
fn archive_of(backup: &BaseBackup, tablespace: u32) -> u16 {
    let wanted = match tablespace {
        DEFAULT_TABLESPACE | GLOBAL_TABLESPACE => ArchiveContents::Data,
        other => ArchiveContents::Tablespace(other),
    };
    let at = backup.archives.iter().position(|of| of.contents == wanted);
    at.and_then(|at| u16::try_from(at).ok()).unwrap_or(u16::MAX)
}

/// Whether pages carry checksums: the control file knows.
fn has_checksums(backup: &BaseBackup, control: Option<&ControlFile>, counts: &PageCounts) -> bool {
    match (control, backup.data_checksums) {
        // What was not summed up cannot be said to be sound.
        (_, Some(false)) => false,
        (Some(control), _) => control.data_checksum_version == 1,
        (None, Some(described)) => described,
        (None, None) => counts.sound > 0,
    }
}

fn version_directory(backup: &BaseBackup, control: Option<&ControlFile>) -> String {
    match (control, backup.major()) {
        (Some(control), Some(major)) => format!("PG_{major}_{}", control.catalog_version),
        _ => "PG_*".to_owned(),
    }
}

/// What was not looked at, said plainly.
fn not_compared(
    backup: &BaseBackup,
    report: &BaseReport,
    facts: &Facts,
    fraction: Option<f64>,
    complete: bool,
) -> Vec<String> {
    let mut said = facts.not_compared.clone();
    if !complete {
        said.push(
            "not everything could be read, so that missing files and blocks were not looked for"
                .to_owned(),
        );
    }
    if !report.checksums {
        said.push(
            "the cluster has no page checksums: of pages only the headers were judged".to_owned(),
        );
    }
    if let Some(control) = &facts.control
        && !facts::usual_blocks(control)
    {
        said.push(format!(
            "pages of {} bytes in files of {} blocks are not known: what is said of pages does not count",
            control.block_size, control.relation_segment_blocks
        ));
    }
    if backup.end_lsn.is_none() {
        said.push(
            "the description tells no end, so that pages past it were not looked for".to_owned(),
        );
    }
    match fraction {
        None => said.push(
            "no WAL from before the backup was read, so that lost writes were not looked for"
                .to_owned(),
        ),
        Some(fraction) if fraction < 1.0 => said.push(format!(
            "of the blocks that WAL before the backup had changed, {}% were compared with it",
            fraction * 100.0
        )),
        Some(_) => {}
    }
    said
}

/// A standby's copy is consistent where its control file says; pages past that mean that
/// the control file is older than they are.
fn inconsistent_standby(
    relations: &Relations,
    facts: &Facts,
    backup: &BaseBackup,
    place: &Place,
) -> Option<Finding> {
    let consistent = facts::consistent_at(facts.control.as_ref()?, facts.label.as_ref()?)?;
    let (locator, block, lsn) = relations.latest()?;
    // Past the backup's end it is told as such.
    if lsn <= consistent || place.end.is_some_and(|end: Lsn| lsn > end) {
        return None;
    }
    let file = RelationFile {
        locator,
        fork: Fork::Main,
        segment: 0,
        backend: None,
    };
    Some(Finding::new(
        Code::BackupInfoContradictory,
        &backup.id,
        format!(
            "pg_control says that the copy of the standby is consistent at {consistent}, but block {block} of {} was changed at {lsn}: it is older than the files",
            file.path(&place.version_directory)
        ),
    ))
}
