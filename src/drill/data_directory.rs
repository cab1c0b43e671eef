//! What is taken out of a restored data directory before a server may start in it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::finding::{Code, Finding};
use crate::postgres::WalFileName;

/// A configuration file is read up to here.
const FILE_LIMIT: u64 = 4 << 20;

/// Settings that act on the world outside, or name files there.
const REACHING: &[&str] = &[
    "archive_cleanup_command",
    "archive_command",
    "archive_library",
    "archive_mode",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "include",
    "include_dir",
    "include_if_exists",
    "krb_server_keyfile",
    "local_preload_libraries",
    "log_directory",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_end_command",
    "restore_command",
    "session_preload_libraries",
    "shared_preload_libraries",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_crl_dir",
    "ssl_crl_file",
    "ssl_key_file",
    "ssl_passphrase_command",
    "stats_temp_directory",
    "unix_socket_directories",
];

/// Files that would make the server something else than a recovery by our plan.
const FILES: &[&str] = &[
    "postgresql.auto.conf",
    "standby.signal",
    "recovery.signal",
    "recovery.conf",
    "postmaster.pid",
    "postmaster.opts",
    "backup_label.old",
    "tablespace_map.old",
];

/// Directories whose contents belong to the source's running server.
const EMPTIED: &[&str] = &["pg_replslot", "pg_dynshmem", "pg_stat_tmp", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans"];

/// What was found and set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAside {
    /// Files that were removed from the scratch copy.
    pub files: Vec<String>,
    /// Names of settings that would reach outside.
    pub settings: Vec<String>,
    /// The source's `shared_preload_libraries`.
    pub preload: Vec<String>,
    /// WAL files that came with the base backup and were removed, so that a hole in the
    /// archive cannot hide behind them.
    pub wal_files: u64,
}

/// A file of the restored directory that cannot be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct DataDirectoryError {
    /// What was being done.
    pub action: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// The system's own words.
    pub source: std::io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DataDirectoryError {
    let path = path.to_owned();
    move |source| DataDirectoryError {
        action,
        path,
        source,
    }
}

/// Name and raw value of a configuration line: `name = 'value' # comment`.
fn entry(line: &str) -> Option<(String, String)> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$')))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => {
            let mut value = String::new();
            let mut chars = quoted.chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '\'' if chars.peek() == Some(&'\'') => {
                        chars.next();
                        value.push('\'');
                    }
                    '\'' => break,
                    '\\' => value.extend(chars.next()),
                    other => value.push(other),
                }
            }
            value
        }
        None => rest
            .split(|c: char| c.is_whitespace() || c == '#')
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

/// Reads a configuration file; never follows an include or a link.
fn entries(path: &Path) -> Vec<(String, String)> {
    let mut text = String::new();
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path);
    let Ok(file) = opened else {
        return Vec::new();
    };
    let mut bytes = Vec::new();
    if file.take(FILE_LIMIT).read_to_end(&mut bytes).is_ok() {
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    text.lines().filter_map(entry).collect()
}

fn remove_contents(directory: &Path) -> Result<(), DataDirectoryError> {
    let Ok(listing) = fs::read_dir(directory) else {
        return Ok(()); // not there: nothing to remove
    };
    for found in listing {
        let found = found.map_err(failed("look into", directory))?;
        let path = found.path();
        let kind = found.file_type().map_err(failed("look at", &path))?;
        if kind.is_dir() {
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        } else {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

fn make_directory(path: &Path) -> Result<(), DataDirectoryError> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => {
            // A link to a place on the source: WAL is never written there.
            fs::remove_file(path).map_err(failed("remove", path))?;
            fs::DirBuilder::new().mode(0o700).create(path).map_err(failed("make", path))
        }
        Err(_) => fs::DirBuilder::new().mode(0o700).create(path).map_err(failed("make", path)),
    }
}

/// Makes a restored data directory safe to start in: takes out configuration, signals,
/// slots and WAL that came with it, and asks for recovery. Returns what was set aside.
pub fn neutralise(data: &Path) -> Result<SetAside, DataDirectoryError> {
    let mut aside = SetAside::default();
    for file in ["postgresql.conf", "postgresql.auto.conf"] {
        for (name, value) in entries(&data.join(file)) {
            if name == "shared_preload_libraries" {
                aside.preload = value
                    .split(',')
                    .map(|library| library.trim().trim_matches('"').to_owned())
                    .filter(|library| !library.is_empty())
                    .collect();
            }
            let reaches = REACHING.contains(&name.as_str()) || name.starts_with("cron.");
            let says = !value.is_empty() && value != "off";
            if reaches && says && !aside.settings.contains(&name) {
                aside.settings.push(name);
            }
        }
    }
    aside.settings.sort();
    for name in FILES {
        let path = data.join(name);
        match fs::remove_file(&path) {
            Ok(()) => aside.files.push((*name).to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &path)(error)),
        }
    }
    for name in EMPTIED {
        remove_contents(&data.join(name))?;
    }
    let wal = data.join("pg_wal");
    make_directory(&wal)?;
    for found in fs::read_dir(&wal).map_err(failed("look into", &wal))? {
        let found = found.map_err(failed("look into", &wal))?;
        let path = found.path();
        let name = found.file_name();
        let is_wal = name
            .to_str()
            .is_some_and(|name| name.parse::<WalFileName>().is_ok());
        if is_wal {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            aside.wal_files += 1;
        }
    }
    let status = wal.join("archive_status");
    make_directory(&status)?;
    remove_contents(&status)?;
    let signal = data.join("recovery.signal");
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&signal)
        .map_err(failed("make", &signal))?;
    Ok(aside)
}

impl SetAside {
    /// What to tell about it, if there is anything.
    pub fn finding(&self) -> Option<Finding> {
        if self.settings.is_empty() && !self.files.iter().any(|file| file == "standby.signal") {
            return None;
        }
        let mut what = self.settings.clone();
        what.extend(self.files.iter().filter(|file| *file == "standby.signal").cloned());
        Some(Finding::new(
            Code::BackupConfigurationSetAside,
            "postgresql.conf",
            format!("set aside: {}", what.join(", ")),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn lines_are_read_as_the_server_reads_them() {
        for (line, expected) in [
            ("archive_command = 'cp %p /a'", Some(("archive_command", "cp %p /a"))),
            ("  Archive_Mode on # really", Some(("archive_mode", "on"))),
            ("a='it''s'", Some(("a", "it's"))),
            (r"a = 'x\'y'", Some(("a", "x'y"))),
            ("include 'other.conf'", Some(("include", "other.conf"))),
            ("cron.host=''", Some(("cron.host", ""))),
            ("# archive_command = 'x'", None),
            ("", None),
        ] {
            let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(entry(line), expected, "{line}");
        }
    }

    #[test]
    fn everything_that_would_act_is_taken_out() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let archive = place.path().join("archive");
        for directory in ["pg_wal/archive_status", "pg_replslot/standby1"] {
            fs::create_dir_all(data.join(directory)).unwrap();
        }
        fs::create_dir(&archive).unwrap();
        fs::write(
            data.join("postgresql.conf"),
            "shared_preload_libraries = 'pg_cron, \"pg_stat_statements\"'\narchive_command = 'cp %p /a/%f'\narchive_mode = on\nwork_mem = 4MB\n",
        )
        .unwrap();
        fs::write(data.join("postgresql.auto.conf"), "primary_conninfo = 'host=prod'\n").unwrap();
        for file in ["standby.signal", "postmaster.pid", "pg_wal/000000010000000000000001",
                     "pg_wal/00000002.history", "pg_wal/archive_status/000000010000000000000001.ready",
                     "pg_replslot/standby1/state"] {
            fs::write(data.join(file), "x").unwrap();
        }
        let aside = neutralise(&data).unwrap();
        assert_eq!(aside.preload, ["pg_cron", "pg_stat_statements"]);
        assert_eq!(
            aside.settings,
            ["archive_command", "archive_mode", "primary_conninfo", "shared_preload_libraries"]
        );
        assert_eq!(aside.wal_files, 2);
        for gone in ["standby.signal", "postgresql.auto.conf", "postmaster.pid",
                     "pg_wal/000000010000000000000001", "pg_replslot/standby1",
                     "pg_wal/archive_status/000000010000000000000001.ready"] {
            assert!(!data.join(gone).exists(), "{gone}");
        }
        assert!(data.join("recovery.signal").exists());
        let finding = aside.finding().unwrap();
        assert!(finding.message.contains("standby.signal"), "{}", finding.message);
    }

    #[test]
    fn a_link_in_place_of_pg_wal_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let production = place.path().join("production_wal");
        fs::create_dir(&data).unwrap();
        fs::create_dir(&production).unwrap();
        let segment = production.join("000000010000000000000001");
        fs::write(&segment, "precious").unwrap();
        symlink(&production, data.join("pg_wal")).unwrap();
        let aside = neutralise(&data).unwrap();
        assert_eq!(aside.wal_files, 0);
        assert!(segment.exists());
        assert!(fs::symlink_metadata(data.join("pg_wal")).unwrap().is_dir());
        assert_eq!(aside.finding(), None);
    }
}
