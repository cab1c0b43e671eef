//! Base backups: which can be used for the current timeline, and why the others cannot.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, NaiveDateTime, Utc};

use crate::codec::Codec;
use crate::finding::{Code, Finding};
use crate::postgres::{Lsn, SegmentNumber, SystemId, TimelineHistory, TimelineId};
use crate::repository::{
    Archive, ArchiveContents, BackupMethod, BackupStatus, BaseBackup, Catalog,
};

use super::VerifyOptions;
use super::bad_segments::BadSegments;
use super::path::SegmentPath;
use super::words::{bytes, count, length, utc};

/// Where and against what backups are judged.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// What the repository claims.
    pub catalog: &'a Catalog,
    /// The way to the timeline that is to be recovered.
    pub history: &'a TimelineHistory,
    /// The same in segments.
    pub path: &'a SegmentPath,
    /// Segments that are bad by their size.
    pub bad: &'a BadSegments,
}

/// What is known of one base backup without reading its archives.
#[derive(Clone, Debug, Default)]
pub struct BackupAssessment {
    /// The backup's id.
    pub id: String,
    /// Whether it can be used for the timeline asked about.
    pub usable: bool,
    /// Why not, in short sentences.
    pub reasons: Vec<String>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

impl BackupAssessment {
    fn refuse(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    fn refuse_with(&mut self, finding: Finding) {
        self.reasons.push(finding.message.clone());
        self.findings.push(finding);
    }
}

/// Judges one backup by names and sizes. `system_id` is the one of the newest finished
/// backup, which the repository is taken to belong to.
pub fn assess(
    way: Way<'_>,
    backup: &BaseBackup,
    system_id: Option<SystemId>,
    options: &VerifyOptions,
) -> BackupAssessment {
    let mut found = BackupAssessment {
        id: backup.id.clone(),
        ..BackupAssessment::default()
    };
    if backup.status == BackupStatus::Done {
        check_description(way, backup, &mut found);
        match backup.method {
            BackupMethod::Archives => check_archives(backup, &mut found),
            BackupMethod::Snapshot => found.refuse_with(Finding::new(
                Code::BackupOnSnapshot,
                &backup.id,
                "its data lies in volume snapshots",
            )),
        }
        if let (Some(own), Some(expected)) = (backup.system_id, system_id)
            && own != expected
        {
            found.refuse(format!(
                "it belongs to another database system ({own}, not {expected})"
            ));
        }
        check_timeline(way, backup, &mut found);
    } else {
        check_unfinished(backup, options, &mut found);
    }
    found.usable = found.reasons.is_empty();
    found
}

/// The moment a backup began: as described, or by its id, or by its newest object.
fn began(backup: &BaseBackup) -> Option<DateTime<Utc>> {
    let by_id = || {
        NaiveDateTime::parse_from_str(&backup.id, "%Y%m%dT%H%M%S")
            .ok()
            .map(|time| time.and_utc())
    };
    let by_objects = || {
        let times = backup.archives.iter().map(|archive| archive.last_modified);
        times.max()
    };
    backup.begin_time.or_else(by_objects).or_else(by_id)
}

fn check_unfinished(backup: &BaseBackup, options: &VerifyOptions, found: &mut BackupAssessment) {
    let word = match &backup.status {
        BackupStatus::Failed => {
            let error = backup.error.as_deref().unwrap_or("no error text was kept");
            found.refuse_with(Finding::new(
                Code::BackupFailed,
                &backup.id,
                format!("it failed: {error}"),
            ));
            return;
        }
        BackupStatus::Unknown => {
            found.refuse("its description is missing or cannot be read");
            return;
        }
        BackupStatus::Started | BackupStatus::Done => "STARTED",
        BackupStatus::Other(word) => word,
    };
    let age = began(backup).map(|begin| options.now.signed_duration_since(begin));
    match age {
        Some(age) if age <= options.started_too_long => {
            found.refuse(format!("its status is {word}; it may still be running"));
        }
        Some(age) => found.refuse_with(Finding::new(
            Code::BackupUnfinished,
            &backup.id,
            format!("its status has been {word} for {}", length(age)),
        )),
        None => found.refuse_with(Finding::new(
            Code::BackupUnfinished,
            &backup.id,
            format!("its status is {word}, and nothing tells since when"),
        )),
    }
}

/// A finished backup must say where it begins and ends, without contradicting itself.
/// What the reader of the description found counts too.
fn check_description(way: Way<'_>, backup: &BaseBackup, found: &mut BackupAssessment) {
    let mut told = way.catalog.findings.iter().filter(|finding| {
        finding.code == Code::BackupInfoContradictory && finding.object == backup.info_key
    });
    if let Some(finding) = told.next() {
        found.refuse(finding.message.clone());
        return;
    }
    let mut wrong = |what: String| {
        found.refuse_with(Finding::new(
            Code::BackupInfoContradictory,
            &backup.info_key,
            what,
        ));
    };
    let lacking: Vec<&str> = [
        ("begin_xlog", backup.begin_lsn.is_none()),
        ("end_xlog", backup.end_lsn.is_none()),
        ("timeline", backup.timeline.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, absent)| absent.then_some(name))
    .collect();
    if !lacking.is_empty() {
        wrong(format!(
            "it is DONE but does not tell {}",
            lacking.join(", ")
        ));
    }
    if let (Some(begin), Some(end)) = (backup.begin_lsn, backup.end_lsn)
        && end <= begin
    {
        wrong(format!("it ends at {end}, not after its begin at {begin}"));
    }
    if let (Some(begin), Some(end)) = (backup.begin_time, backup.end_time)
        && end < begin
    {
        wrong(format!(
            "it ends at {}, before its begin at {}",
            utc(end),
            utc(begin)
        ));
    }
    let expected = way.catalog.wal.segment_size;
    if backup.segment_size != expected {
        wrong(format!(
            "its WAL segments have {} bytes, those of the newest backup {}",
            backup.segment_size.bytes(),
            expected.bytes()
        ));
    }
    if let Some((label, begin)) = label_begin(backup).zip(backup.begin_lsn)
        && label != begin
    {
        wrong(format!(
            "it begins at {begin}, but its backup label at {label}"
        ));
    }
}

/// The redo point that the copy of `backup_label` names.
fn label_begin(backup: &BaseBackup) -> Option<Lsn> {
    backup
        .backup_label
        .as_deref()?
        .lines()
        .find_map(|line| line.strip_prefix("START WAL LOCATION: "))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// No cluster's data directory packs into less: an empty one has 20 MB and more of
/// catalogs, which bzip2 brings to about 1.5 MB.
const LEAST_DATA: u64 = 256 << 10;
/// Two closing blocks of a tar.
const LEAST_TAR: u64 = 1024;
/// What the closing blocks alone take with the densest codec, and a bit less.
const LEAST_PACKED_TAR: u64 = 24;

fn check_archives(backup: &BaseBackup, found: &mut BackupAssessment) {
    let mut by_contents: BTreeMap<ArchiveContents, Vec<&Archive>> = BTreeMap::new();
    for archive in &backup.archives {
        by_contents
            .entry(archive.contents)
            .or_default()
            .push(archive);
        check_size(archive, found);
    }
    if !by_contents.contains_key(&ArchiveContents::Data) {
        found.refuse_with(Finding::new(
            Code::BackupPartMissing,
            sibling_key(backup, "data.tar"),
            "the archive of the data directory is missing",
        ));
    }
    for tablespace in &backup.tablespaces {
        let contents = ArchiveContents::Tablespace(tablespace.oid);
        if !by_contents.contains_key(&contents) {
            found.refuse_with(Finding::new(
                Code::BackupTablespaceMissing,
                sibling_key(backup, &format!("{}.tar", tablespace.oid)),
                format!(
                    "the archive of tablespace {} ({}) is missing",
                    tablespace.name, tablespace.oid
                ),
            ));
        }
    }
    for (contents, archives) in &by_contents {
        if let ArchiveContents::Tablespace(oid) = contents
            && !backup.tablespaces.iter().any(|space| space.oid == *oid)
        {
            found.refuse_with(Finding::new(
                Code::BackupInfoContradictory,
                archives
                    .first()
                    .map_or(&backup.info_key, |archive| &archive.key),
                format!(
                    "there is an archive of tablespace {oid}, which the description does not know"
                ),
            ));
        }
        check_parts(backup, archives, found);
    }
    check_data_size(backup, found);
    check_codecs(backup, found);
}

fn check_size(archive: &Archive, found: &mut BackupAssessment) {
    let least = if archive.codec == Codec::None {
        LEAST_TAR
    } else {
        LEAST_PACKED_TAR
    };
    if archive.size == 0 {
        found.refuse_with(Finding::new(
            Code::ObjectEmpty,
            &archive.key,
            format!("archive {} is empty", file_name(&archive.key)),
        ));
    } else if archive.size < least {
        found.refuse_with(Finding::new(
            Code::ObjectTooSmall,
            &archive.key,
            format!(
                "archive {} has only {} bytes",
                file_name(&archive.key),
                archive.size
            ),
        ));
    }
}

/// Part numbers must run from 0 without a gap. That the last ones are there cannot be
/// seen from names: their number is recorded nowhere.
fn check_parts(backup: &BaseBackup, archives: &[&Archive], found: &mut BackupAssessment) {
    let Some(sample) = archives.first() else {
        return;
    };
    let stem = match sample.contents {
        ArchiveContents::Data => "data".to_owned(),
        ArchiveContents::Tablespace(oid) => oid.to_string(),
    };
    let extension = sample.codec.extension();
    let mut parts: Vec<u32> = archives.iter().map(|archive| archive.part).collect();
    parts.sort_unstable();
    parts.dedup();
    let mut expected = 0u32;
    for part in parts {
        if part > expected {
            let name = |part: u32| match part {
                0 => format!("{stem}.tar{extension}"),
                part => format!("{stem}_{part:04}.tar{extension}"),
            };
            let last = part - 1;
            let message = if last == expected {
                format!("part {} is missing", name(expected))
            } else {
                format!("parts {} to {} are missing", name(expected), name(last))
            };
            found.refuse_with(Finding::new(
                Code::BackupPartMissing,
                sibling_key(backup, &name(expected)),
                message,
            ));
        }
        expected = part.saturating_add(1);
    }
}

fn check_codecs(backup: &BaseBackup, found: &mut BackupAssessment) {
    let mut by_codec: BTreeMap<Codec, Vec<&Archive>> = BTreeMap::new();
    for archive in &backup.archives {
        by_codec.entry(archive.codec).or_default().push(archive);
    }
    if by_codec.len() < 2 {
        return;
    }
    let rarest = by_codec
        .values()
        .rev()
        .min_by_key(|archives| archives.len());
    let object = rarest.and_then(|archives| archives.first());
    let codecs: Vec<String> = by_codec.keys().map(ToString::to_string).collect();
    found.refuse_with(Finding::new(
        Code::BackupPartMixed,
        object.map_or(&backup.info_key, |archive| &archive.key),
        format!(
            "its archives were written with several codecs: {}",
            codecs.join(", ")
        ),
    ));
}

/// All archives together must be able to hold the cluster. Plain ones hold nearly the
/// sum of the databases' sizes; packed ones at least a thousandth of it.
fn check_data_size(backup: &BaseBackup, found: &mut BackupAssessment) {
    let of_data = |archive: &&Archive| archive.contents == ArchiveContents::Data;
    let Some(first) = backup.archives.iter().find(of_data) else {
        return;
    };
    let data: u64 = backup
        .archives
        .iter()
        .filter(of_data)
        .map(|archive| archive.size)
        .sum();
    let all = backup.stored_bytes();
    let plain = backup
        .archives
        .iter()
        .all(|archive| archive.codec == Codec::None);
    let expected = backup
        .cluster_size
        .map_or(0, |size| if plain { size / 2 } else { size / 1000 });
    if data == 0
        || found
            .reasons
            .iter()
            .any(|reason| reason.contains("missing"))
    {
        return; // Said already.
    }
    if data < LEAST_DATA {
        found.refuse_with(Finding::new(
            Code::ObjectTooSmall,
            &first.key,
            format!(
                "the archives of the data directory have only {} together",
                bytes(data)
            ),
        ));
    } else if all < expected {
        found.refuse_with(Finding::new(
            Code::ObjectTooSmall,
            &first.key,
            format!(
                "the archives have only {} together for databases of {}",
                bytes(all),
                bytes(backup.cluster_size.unwrap_or_default())
            ),
        ));
    }
}

/// The backup must lie on the way to the timeline asked about, with the WAL that makes
/// it consistent.
fn check_timeline(way: Way<'_>, backup: &BaseBackup, found: &mut BackupAssessment) {
    let (Some(timeline), Some(begin), Some(end)) =
        (backup.timeline, backup.begin_lsn, backup.end_lsn)
    else {
        return;
    };
    let current = way.history.timeline;
    if !way.history.contains(timeline) {
        let known = way.catalog.wal.history(timeline).is_some();
        if known {
            found.refuse_with(abandoned(backup, format!(
                "it was taken on timeline {timeline}, which does not lead to the current timeline {current}"
            )));
        } else {
            found.refuse(format!(
                "it was taken on timeline {timeline}, whose history file is missing or unreadable; by hand, recovery_target_timeline = 'current' may still restore it"
            ));
        }
        return;
    }
    if let Some(switch) = way.history.switch_from(timeline)
        && end > switch
    {
        found.refuse_with(abandoned(backup, format!(
            "it ends at {end} on timeline {timeline}, past the point where the current timeline {current} branched off ({switch})"
        )));
        return;
    }
    if end > begin && backup.segment_size == way.catalog.wal.segment_size {
        check_wal(way, backup, (timeline, begin, end), found);
    }
}

fn abandoned(backup: &BaseBackup, message: String) -> Finding {
    Finding::new(Code::BackupAbandoned, &backup.id, message)
}

/// The first and last segment that a backup needs to be consistent.
pub fn needed_wal(backup: &BaseBackup) -> Option<(SegmentNumber, SegmentNumber)> {
    let first = backup.segment_size.segment_of(backup.begin_lsn?);
    let last = backup.segment_size.segment_before(backup.end_lsn?);
    (first <= last).then_some((first, last))
}

fn check_wal(
    way: Way<'_>,
    backup: &BaseBackup,
    (timeline, begin, end): (TimelineId, Lsn, Lsn),
    found: &mut BackupAssessment,
) {
    let Some((first, last)) = needed_wal(backup) else {
        return;
    };
    let wal = &way.catalog.wal;
    let mut expected = first;
    let mut absent: Vec<(SegmentNumber, SegmentNumber)> = Vec::new();
    for (run_first, run_last) in way.path.present(wal, way.bad, first) {
        if run_first > last {
            break;
        }
        if let Some(before) = run_first.previous().filter(|before| *before >= expected) {
            absent.push((expected, before));
        }
        expected = run_last.next();
    }
    if expected <= last {
        absent.push((expected, last));
    }
    let Some(((first_absent, _), (_, last_absent))) = absent.first().zip(absent.last()) else {
        return;
    };
    let missing: u64 = absent.iter().map(|(from, to)| to.0 - from.0 + 1).sum();
    let partial = |number: SegmentNumber| {
        wal.timelines.iter().any(|(owner, own)| {
            way.history.contains(*owner)
                && own.partials.iter().any(|(partial, _)| *partial == number)
        })
    };
    let name = |number: SegmentNumber| wal.name(way.path.timeline_of(number), number);
    let range = if missing == 1 {
        name(*first_absent).to_string()
    } else {
        format!(
            "{} between {} and {}",
            count(missing, "segment"),
            name(*first_absent),
            name(*last_absent)
        )
    };
    let only_partial = missing == 1 && partial(*first_absent);
    let finding = if only_partial {
        let own = wal.name(timeline, *first_absent);
        Finding::new(
            Code::BackupWalPartial,
            &backup.id,
            format!("it needs {range}, which exists only as {own}.partial"),
        )
    } else {
        Finding::new(
            Code::BackupWalMissing,
            &backup.id,
            format!("it needs WAL from {begin} to {end}, and of that is missing: {range}"),
        )
    };
    let size = wal.segment_size;
    found.refuse_with(finding.with_wal(
        way.path.timeline_of(*first_absent),
        first_absent.begin_lsn(size).max(begin),
        last_absent.end_lsn(size).min(end),
    ));
}

/// What is wrong with the backups as a whole.
pub fn findings(
    catalog: &Catalog,
    assessments: &[BackupAssessment],
    options: &VerifyOptions,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let usable = |backup: &&BaseBackup| {
        assessments
            .iter()
            .any(|found| found.usable && found.id == backup.id)
    };
    if !catalog.is_empty() && !catalog.backups.iter().any(|backup| usable(&backup)) {
        let message = match catalog.backups.len() {
            0 => "there is no base backup".to_owned(),
            1 => "there is one base backup, and it cannot be used".to_owned(),
            number => format!("there are {number} base backups, and none can be used"),
        };
        findings.push(
            Finding::new(Code::RepositoryWithoutBackup, &catalog.location, message)
                .with_consequence("Nothing can be restored from here: WAL without a usable base backup restores nothing."),
        );
        return findings;
    }
    let newest = catalog
        .backups
        .iter()
        .filter(usable)
        .max_by_key(|backup| backup.end_time);
    if let (Some(limit), Some(newest)) = (options.max_backup_age, newest)
        && let Some(end) = newest.end_time
    {
        let age = options.now.signed_duration_since(end);
        if age > limit {
            findings.push(
                Finding::new(
                    Code::BackupStale,
                    &newest.id,
                    format!(
                        "the newest usable base backup is {} old; the tier allows {}",
                        length(age),
                        length(limit)
                    ),
                )
                .with_time(Some(end), Some(options.now)),
            );
        }
    }
    findings.extend(retention(catalog, assessments, options));
    findings
}

/// Whether the oldest restorable moment is as old as the tier promises. A repository
/// that still holds the cluster's first segments has lost nothing: it is only young.
fn retention(
    catalog: &Catalog,
    assessments: &[BackupAssessment],
    options: &VerifyOptions,
) -> Option<Finding> {
    let required: Duration = options.retention?;
    let oldest = assessments
        .iter()
        .filter(|found| found.usable)
        .filter_map(|found| catalog.backup(&found.id))
        .filter(|backup| backup.keep != Some(crate::repository::Keep::Standalone))
        .min_by_key(|backup| backup.end_time)?;
    let begin = oldest.end_time?;
    let promised = options.now - required;
    let since_birth = catalog
        .wal
        .timelines
        .get(&TimelineId::FIRST)
        .and_then(crate::repository::TimelineWal::oldest)
        .is_some_and(|first| first.0 <= 1);
    (begin > promised && !since_birth).then(|| {
        Finding::new(
            Code::RetentionTooShort,
            &oldest.id,
            format!(
                "the oldest restorable moment is {} ({} ago); the tier promises {}",
                utc(begin),
                length(options.now - begin),
                length(required)
            ),
        )
        .with_time(Some(promised), Some(begin))
        .with_action("If this repository is younger than the promise, wait. Otherwise lengthen the retention of the backup tool or of the bucket's lifecycle rules.")
    })
}

fn sibling_key(backup: &BaseBackup, name: &str) -> String {
    backup
        .info_key
        .rsplit_once('/')
        .map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}
