//! The order in which Barman Cloud's objects may be copied. `barman/cloud_providers` writes
//! `backup.info` with status `STARTED` first, then the archives, and `backup.info` again
//! with `DONE` or `FAILED` last (`barman/cloud.py`: `CloudBackup.backup`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::info::BackupInfo;
use super::keys::{BASE, Key, WALS};
use crate::postgres::{SegmentName, TimelineId, WalFileName};
use crate::repository::copy::{Follow, Marker, NeededWal};
use crate::repository::{BackupStatus, CopyClass};

/// How many segments before the newest are looked at again: archivers that work in parallel
/// may store them out of order.
const BEHIND: u32 = 32;

/// How many timelines are followed, the newest.
const TIMELINES: usize = 3;

/// What a key is to whoever copies it.
pub(in crate::repository) fn class(key: &str) -> CopyClass {
    match Key::parse(key) {
        Key::Info { id } => CopyClass::Marker {
            backup: id.to_owned(),
        },
        Key::Archive { id, .. } | Key::Label { id } => CopyClass::Data {
            backup: id.to_owned(),
        },
        Key::Keep { id } => CopyClass::Annotation {
            backup: id.to_owned(),
        },
        Key::Wal {
            name: WalFileName::History(_),
            ..
        } => CopyClass::History,
        Key::Wal { name, .. } => CopyClass::Wal(name),
        Key::Folder | Key::Own => CopyClass::Folder,
        Key::Unknown => CopyClass::Other,
    }
}

/// Reads a `backup.info`.
pub(in crate::repository) fn marker(bytes: &[u8]) -> Result<Marker, String> {
    let info = BackupInfo::parse(bytes).map_err(|error| error.to_string())?;
    if info.status.is_none() {
        return Err("it tells no status; it may have been cut off".to_owned());
    }
    let status = info.backup_status();
    let segment_size = info.segment_size.unwrap_or_default();
    let number = |name: Option<SegmentName>| name.and_then(|name| name.number(segment_size).ok());
    let needs = match (info.begin_wal, number(info.begin_wal), number(info.end_wal)) {
        (Some(name), Some(first), Some(last)) if status == BackupStatus::Done => Some(NeededWal {
            timeline: name.timeline,
            first,
            last,
            segment_size,
        }),
        _ => None,
    };
    Ok(Marker {
        is_final: matches!(status, BackupStatus::Done | BackupStatus::Failed),
        status,
        needs,
        system_id: info.system_id,
    })
}

/// The stretch of keys in which the WAL of a backup lies. A key that is the beginning of
/// another sorts before it, so both ends hold whatever codec's extension follows.
pub(in crate::repository) fn between(needs: NeededWal) -> Follow {
    let key = |number| {
        let name = SegmentName::new(needs.timeline, number, needs.segment_size).to_string();
        format!("{WALS}/{}/{name}", name.get(..16).unwrap_or_default())
    };
    let first = key(needs.first);
    Follow {
        prefix: WALS.to_owned(),
        // Just before the first, which may have no extension.
        after: first.get(..first.len() - 1).unwrap_or_default().to_owned(),
        until: Some(format!("{}~", key(needs.last))),
    }
}

/// The newest keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::repository) struct Front {
    timelines: BTreeMap<TimelineId, Newest>,
    newest_backup: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Newest {
    log: u32,
    segment: u32,
    /// The highest segment part of any name: how many segments a log has, less one.
    highest: u32,
}

impl Front {
    pub(in crate::repository) fn note(&mut self, key: &str) {
        match Key::parse(key) {
            Key::Wal {
                name: WalFileName::Segment(name),
                ..
            } => {
                let own = self.timelines.entry(name.timeline).or_insert(Newest {
                    log: name.log,
                    segment: name.segment,
                    highest: name.segment,
                });
                own.highest = own.highest.max(name.segment);
                if (name.log, name.segment) > (own.log, own.segment) {
                    (own.log, own.segment) = (name.log, name.segment);
                }
            }
            Key::Info { id } | Key::Archive { id, .. } | Key::Label { id }
                if self
                    .newest_backup
                    .as_deref()
                    .is_none_or(|newest| newest < id) =>
            {
                self.newest_backup = Some(id.to_owned());
            }
            _ => {}
        }
    }

    pub(in crate::repository) fn absorb(&mut self, other: Self) {
        for (timeline, newest) in other.timelines {
            let own = self.timelines.entry(timeline).or_insert(newest);
            own.highest = own.highest.max(newest.highest);
            (own.log, own.segment) = (own.log, own.segment).max((newest.log, newest.segment));
        }
        self.newest_backup = self.newest_backup.take().max(other.newest_backup);
    }

    pub(in crate::repository) fn follow<'a>(
        &'a self,
        open: impl Iterator<Item = &'a str>,
    ) -> Vec<Follow> {
        // The newest is looked at again too: its description may still be to come.
        let oldest = open.chain(self.newest_backup.as_deref()).min();
        let after_base = oldest.map_or_else(String::new, |id| format!("{BASE}/{id}"));
        let mut follows = vec![Follow {
            prefix: BASE.to_owned(),
            after: after_base,
            until: None,
        }];
        let mut until = None;
        for (timeline, newest) in self.timelines.iter().rev().take(TIMELINES) {
            let name = SegmentName {
                timeline: *timeline,
                ..newest.behind()
            };
            let file = name.to_string();
            follows.push(Follow {
                prefix: WALS.to_owned(),
                after: format!("{WALS}/{}/{file}", file.get(..16).unwrap_or_default()),
                until,
            });
            // Its history sorts before its segments.
            until = Some(format!("{WALS}/{:08X}", timeline.0));
        }
        if self.timelines.is_empty() {
            follows.push(Follow {
                prefix: WALS.to_owned(),
                after: String::new(),
                until: None,
            });
        }
        follows
    }
}

impl Newest {
    /// The name so many segments before, on no timeline.
    fn behind(self) -> SegmentName {
        let (log, segment) = match self.segment.checked_sub(BEHIND) {
            Some(segment) => (self.log, segment),
            None if self.log == 0 => (0, 0),
            None => (
                self.log - 1,
                (self.highest + 1 + self.segment).saturating_sub(BEHIND),
            ),
        };
        SegmentName {
            timeline: TimelineId(0),
            log,
            segment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_class() {
        let backup = || "20261121T133159".to_owned();
        for (key, expected) in [
            ("wals/00000002.history.gz", CopyClass::History),
            (
                "base/20261121T133159/data_0001.tar.gz",
                CopyClass::Data { backup: backup() },
            ),
            (
                "base/20261121T133159/backup_label",
                CopyClass::Data { backup: backup() },
            ),
            (
                "base/20261121T133159/annotations/keep",
                CopyClass::Annotation { backup: backup() },
            ),
            (
                "base/20261121T133159/backup.info",
                CopyClass::Marker { backup: backup() },
            ),
            ("base/20261121T133159/", CopyClass::Folder),
            (".walproof/lock-trial-1", CopyClass::Folder),
            ("notes.txt", CopyClass::Other),
        ] {
            assert_eq!(class(key), expected, "{key}");
        }
        assert!(matches!(
            class("wals/0000000100000000/000000010000000000000002.00000028.backup"),
            CopyClass::Wal(WalFileName::BackupHistory { .. })
        ));
    }

    #[test]
    fn a_marker_is_final_once_the_tool_is_done_with_it() {
        let text = |status: &str| {
            format!(
                "begin_wal=000000010000000000000002\nend_wal=000000010000000000000004\nstatus={status}\nsystemid=7\nxlog_segment_size=16777216\n"
            )
        };
        let done = marker(text("DONE").as_bytes()).unwrap();
        let needs = done.needs.unwrap();
        assert!(done.is_final);
        assert_eq!((needs.first.0, needs.last.0), (2, 4));
        assert!(marker(text("FAILED").as_bytes()).unwrap().is_final);
        assert!(!marker(text("STARTED").as_bytes()).unwrap().is_final);
        assert!(!marker(text("SYNCING").as_bytes()).unwrap().is_final);
        assert!(marker(b"begin_wal=None\n").is_err());
    }

    #[test]
    fn new_objects_are_looked_for_a_little_before_the_newest() {
        let mut front = Front::default();
        for key in [
            "wals/0000000100000000/0000000100000000000000FF.gz",
            "wals/0000000100000001/000000010000000100000003.gz",
            "wals/00000002.history",
            "wals/0000000200000001/000000020000000100000050.gz",
            "base/20261121T133159/data.tar",
            "base/20261120T133159/data.tar",
        ] {
            front.note(key);
        }
        let follows = front.follow(std::iter::empty());
        assert_eq!(follows[0].after, "base/20261121T133159");
        assert_eq!(
            follows[1].after,
            "wals/0000000200000001/000000020000000100000030"
        );
        assert_eq!(follows[1].until, None);
        assert_eq!(
            follows[2].after,
            "wals/0000000100000000/0000000100000000000000E3"
        );
        assert_eq!(follows[2].until.as_deref(), Some("wals/00000002"));
        let open = front.follow(["20261120T133159"].into_iter());
        assert_eq!(open[0].after, "base/20261120T133159");
    }
}
