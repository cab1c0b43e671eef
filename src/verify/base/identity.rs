//! Whether the files that recovery starts from belong to the backup's description.

use crate::postgres::{BackupLabel, ControlFile};
use crate::repository::BaseBackup;

/// What in the version, control file and label of a base backup contradicts its
/// description, or makes it no backup of its own: the first thing found.
pub(crate) fn contradiction(
    major: u32,
    control: &ControlFile,
    label: &BackupLabel,
    backup: &BaseBackup,
) -> Option<String> {
    if let Some(described) = backup.major()
        && described != major
    {
        return Some(format!(
            "PG_VERSION says {major}, the description {described}"
        ));
    }
    if let Some(described) = backup.system_id
        && described != control.system_id
    {
        return Some(format!(
            "pg_control belongs to database system {}, the description to {described}",
            control.system_id
        ));
    }
    if control.segment_size != backup.segment_size {
        return Some(format!(
            "pg_control says {}-byte WAL segments, the description {}",
            control.segment_size.bytes(),
            backup.segment_size.bytes()
        ));
    }
    if let Some(described) = backup.begin_lsn
        && described != label.start_lsn
    {
        return Some(format!(
            "backup_label begins at {}, the description at {described}: a part of another backup is among its archives",
            label.start_lsn
        ));
    }
    if let Some(described) = backup.timeline
        && described != label.timeline
    {
        return Some(format!(
            "backup_label is of timeline {}, the description of {described}",
            label.timeline
        ));
    }
    if label.incremental_from.is_some() {
        return Some("it is an incremental backup, whose files are not whole".to_owned());
    }
    None
}
