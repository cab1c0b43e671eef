//! From a folder and its `backup.info` to a base backup.

use super::info::BackupInfo;
use super::keys::info_key;
use super::listing::BackupFolder;
use crate::codec::Sha256;
use crate::finding::{Code, Finding};
use crate::postgres::{SegmentName, SegmentSize};
use crate::repository::{BackupMethod, BackupStatus, BaseBackup, Keep};

/// Makes the backup of a folder. `bytes` is its `backup.info`, `None` when there is none;
/// an `Err` says why it could not be read as one.
pub(super) fn describe(
    id: &str,
    folder: BackupFolder,
    bytes: Option<Result<&[u8], String>>,
    keep: Option<Keep>,
    findings: &mut Vec<Finding>,
) -> BaseBackup {
    let key = info_key(id);
    let size = match &bytes {
        Some(Ok(bytes)) => Some(bytes.len() as u64),
        _ => None,
    };
    let sha256 = match &bytes {
        Some(Ok(bytes)) => Some(Sha256::of(bytes).to_string()),
        _ => None,
    };
    let info = match bytes {
        None => {
            let message = format!(
                "base/{id} holds {} archive objects and no backup.info",
                folder.archives.len()
            );
            findings.push(Finding::new(Code::BackupInfoMissing, key.clone(), message));
            None
        }
        Some(read) => {
            let parsed =
                read.and_then(|bytes| BackupInfo::parse(bytes).map_err(|error| error.to_string()));
            match parsed {
                // Every version writes it, near the end of the sorted lines.
                Ok(info) if info.status.is_none() => {
                    findings.push(Finding::new(
                        Code::BackupInfoUnreadable,
                        key.clone(),
                        "it tells no status; it may have been cut off",
                    ));
                    None
                }
                Ok(info) => {
                    findings.extend(contradiction(&info).map(|message| {
                        Finding::new(Code::BackupInfoContradictory, key.clone(), message)
                    }));
                    Some(info)
                }
                Err(reason) => {
                    findings.push(Finding::new(
                        Code::BackupInfoUnreadable,
                        key.clone(),
                        reason,
                    ));
                    None
                }
            }
        }
    };
    let status = info
        .as_ref()
        .map_or(BackupStatus::Unknown, BackupInfo::backup_status);
    let info = info.unwrap_or_default();
    let mut archives = folder.archives;
    archives.sort_by(|a, b| {
        (a.contents, a.part, a.codec, &a.key).cmp(&(b.contents, b.part, b.codec, &b.key))
    });
    let mut notes = info.notes.clone();
    if info.segment_size.is_none() && status != BackupStatus::Unknown {
        notes.push("no xlog_segment_size in it; 16 MiB was taken".to_owned());
    }
    let snapshot = info.is_snapshot() || (archives.is_empty() && folder.label);
    BaseBackup {
        id: id.to_owned(),
        status,
        method: if snapshot {
            BackupMethod::Snapshot
        } else {
            BackupMethod::Archives
        },
        begin_time: info.begin_time,
        end_time: info.end_time,
        begin_lsn: info.begin_lsn,
        end_lsn: info.end_lsn,
        timeline: info.timeline,
        system_id: info.system_id,
        server_version: info.version,
        segment_size: info.segment_size.unwrap_or(SegmentSize::DEFAULT),
        data_checksums: info.data_checksums,
        cluster_size: info.cluster_size,
        unknown_fields: info.unknown_fields(),
        name: info.backup_name,
        error: info.error,
        tablespaces: info.tablespaces,
        backup_label: info.backup_label,
        keep,
        archives,
        info_key: key,
        info_sha256: sha256,
        info_bytes: size,
        notes,
    }
}

/// What a finished backup's description says against itself.
fn contradiction(info: &BackupInfo) -> Option<String> {
    if info.backup_status() != BackupStatus::Done {
        return None;
    }
    let missing: Vec<&str> = [
        ("begin_xlog", info.begin_lsn.is_none()),
        ("end_xlog", info.end_lsn.is_none()),
        ("timeline", info.timeline.is_none()),
        ("systemid", info.system_id.is_none()),
        ("version", info.version.is_none()),
    ]
    .into_iter()
    .filter_map(|(key, missing)| missing.then_some(key))
    .collect();
    if !missing.is_empty() {
        return Some(format!(
            "status is DONE, but {} is not set",
            missing.join(", ")
        ));
    }
    let (Some(begin), Some(end), Some(timeline)) = (info.begin_lsn, info.end_lsn, info.timeline)
    else {
        return None;
    };
    if end < begin {
        return Some(format!("end_xlog {end} lies before begin_xlog {begin}"));
    }
    let size = info.segment_size.unwrap_or_default();
    if let Some(begin_wal) = info.begin_wal {
        let expected = SegmentName::new(timeline, size.segment_of(begin), size);
        if begin_wal != expected {
            return Some(format!(
                "begin_wal is {begin_wal}, but timeline {timeline}, begin_xlog {begin} and {}-byte segments make it {expected}",
                size.bytes()
            ));
        }
    }
    if let Some(end_wal) = info.end_wal {
        // An end exactly between two segments may be named after either.
        let expected = [size.segment_of(end), size.segment_before(end)];
        if !end_wal
            .number(size)
            .is_ok_and(|number| expected.contains(&number))
        {
            return Some(format!(
                "end_wal is {end_wal}, which does not hold end_xlog {end} with {}-byte segments",
                size.bytes()
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "begin_xlog=0/2000028\nend_xlog=0/3000000\nbegin_wal=000000010000000000000002\nend_wal=000000010000000000000002\ntimeline=1\nsystemid=7\nversion=150018\nstatus=DONE\n";

    fn codes(text: &str) -> Vec<(Code, String)> {
        let mut findings = Vec::new();
        let folder = BackupFolder::default();
        describe("x", folder, Some(Ok(text.as_bytes())), None, &mut findings);
        findings
            .into_iter()
            .map(|finding| (finding.code, finding.message))
            .collect()
    }

    #[test]
    fn a_consistent_description_has_no_finding() {
        assert_eq!(codes(GOOD), []);
        let other = GOOD.replace(
            "end_wal=000000010000000000000002",
            "end_wal=000000010000000000000003",
        );
        assert_eq!(codes(&other), []);
    }

    #[test]
    fn contradictions_are_named() {
        for (from, to, words) in [
            (
                "begin_wal=000000010000000000000002",
                "begin_wal=000000010000000000000004",
                "begin_wal is",
            ),
            ("timeline=1", "timeline=2", "begin_wal is"),
            ("end_xlog=0/3000000", "end_xlog=0/1000000", "lies before"),
            ("end_xlog=0/3000000", "end_xlog=0/5000000", "end_wal is"),
            ("end_xlog=0/3000000", "end_xlog=None", "end_xlog is not set"),
            (
                "version=150018",
                "xlog_segment_size=67108864\nversion=150018",
                "begin_wal is",
            ),
        ] {
            let found = codes(&GOOD.replace(from, to));
            assert_eq!(found.len(), 1, "{to}");
            assert_eq!(found[0].0, Code::BackupInfoContradictory, "{to}");
            assert!(found[0].1.contains(words), "{to}: {}", found[0].1);
        }
        // What is not finished may be incomplete.
        assert_eq!(codes("status=STARTED\nbegin_xlog=0/2000028"), []);
    }

    #[test]
    fn unreadable_and_missing_differ() {
        assert_eq!(codes("<html>")[0].0, Code::BackupInfoUnreadable);
        let cut = codes(&GOOD.replace("status=DONE\n", ""));
        assert_eq!(cut.len(), 1, "{cut:?}");
        assert_eq!(cut[0].0, Code::BackupInfoUnreadable);
        let mut findings = Vec::new();
        let backup = describe("x", BackupFolder::default(), None, None, &mut findings);
        assert_eq!(findings[0].code, Code::BackupInfoMissing);
        assert_eq!(backup.status, BackupStatus::Unknown);
        assert_eq!(backup.info_sha256, None);
    }
}
