//! What the configuration that came with a backup says, read from where it was set aside.

use std::fs;
use std::path::Path;

use super::configuration::{SettingsReview, parse_conf, review_settings};
use super::error::RestoreError;
use crate::finding::{Code, Finding};
use crate::postgres::{ControlFile, RequiredSettings};
use crate::verify::base::placement::SET_ASIDE;
use crate::verify::read::raised_finding;

/// The most bytes of one configuration file that are looked at.
const MAX_CONF: u64 = 4 << 20;

/// The configuration files in the order in which a server reads them. Files from outside
/// the data directory were archived later, under the same names.
const FILES: &[&str] = &[
    "postgresql.conf",
    "postgresql.conf.2",
    "recovery.conf",
    "postgresql.auto.conf",
];

/// Judges the configuration that was set aside below `data_directory`.
pub fn review_set_aside(data_directory: &Path) -> Result<SettingsReview, RestoreError> {
    let mut files = Vec::new();
    for name in FILES {
        let path = data_directory.join(SET_ASIDE).join(name);
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !meta.is_file() || meta.len() > MAX_CONF {
            continue;
        }
        let bytes = fs::read(&path).map_err(|error| RestoreError::local("read", &path, error))?;
        let text = String::from_utf8_lossy(&bytes);
        files.push(((*name).to_owned(), parse_conf(&text)));
    }
    Ok(review_settings(&files))
}

/// One finding for everything in the backup that would act outside, or `None`. It names
/// settings and files, never values.
pub fn set_aside_finding(
    backup_id: &str,
    review: &SettingsReview,
    files: &[std::path::PathBuf],
) -> Option<Finding> {
    let mut names: Vec<String> = review
        .set_aside
        .iter()
        .map(|setting| format!("{} ({})", setting.name, setting.effect))
        .collect();
    for signal in ["standby.signal", "recovery.signal", "tablespace_map"] {
        if files.iter().any(|file| file == Path::new(signal)) {
            names.push(signal.to_owned());
        }
    }
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| {
        Finding::new(
            Code::BackupConfigurationSetAside,
            backup_id,
            format!("set aside: {}", names.join(", ")),
        )
    })
}

/// Settings that the WAL asks to be higher than the backup's control file does, or `None`.
pub fn settings_raised_finding(
    backup_id: &str,
    required: &RequiredSettings,
    control: &ControlFile,
) -> Option<Finding> {
    raised_finding(
        backup_id,
        &RequiredSettings::of_control_file(control),
        required,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_outside_is_named_without_its_value() {
        let temp = tempfile::tempdir().unwrap();
        let aside = temp.path().join(SET_ASIDE);
        fs::create_dir(&aside).unwrap();
        fs::write(
            aside.join("postgresql.conf"),
            "archive_cleanup_command = 'rm -rf /archive'\nmax_connections = 100\n",
        )
        .unwrap();
        fs::write(
            aside.join("postgresql.auto.conf"),
            "max_connections = 200\nprimary_conninfo = 'password=hidden'\n",
        )
        .unwrap();
        let review = review_set_aside(temp.path()).unwrap();
        assert_eq!(review.kept.number("max_connections"), Some(200));
        let finding = set_aside_finding("b", &review, &["standby.signal".into()]).unwrap();
        for word in [
            "archive_cleanup_command",
            "primary_conninfo",
            "standby.signal",
        ] {
            assert!(finding.message.contains(word), "{}", finding.message);
        }
        assert!(!finding.message.contains("hidden") && !finding.message.contains("/archive"));
        assert!(set_aside_finding("b", &SettingsReview::default(), &[]).is_none());
    }
}
