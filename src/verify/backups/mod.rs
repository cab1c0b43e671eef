//! Base backups: which can be used for the current timeline, and why the others cannot.

mod archives;
mod wal;
mod whole;

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::finding::{Code, Finding};
use crate::postgres::{Lsn, SystemId, TimelineHistory};
use crate::repository::{BackupMethod, BackupStatus, BaseBackup, Catalog};

use super::VerifyOptions;
use super::bad_segments::BadSegments;
use super::path::SegmentPath;
use super::words::{length, utc};

pub use wal::needed_wal;
pub use whole::findings;

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
            BackupMethod::Archives => archives::check_archives(backup, &mut found),
            BackupMethod::Snapshot => found.refuse_with(Finding::new(
                Code::BackupOnSnapshot,
                &backup.id,
                "its data lies in volume snapshots",
            )),
            BackupMethod::VolumeSnapshot => {}
        }
        if let (Some(own), Some(expected)) = (backup.system_id, system_id)
            && own != expected
        {
            found.refuse(format!(
                "it belongs to another database system ({own}, not {expected})"
            ));
        }
        wal::check_timeline(way, backup, &mut found);
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

fn sibling_key(backup: &BaseBackup, name: &str) -> String {
    backup
        .info_key
        .rsplit_once('/')
        .map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}
