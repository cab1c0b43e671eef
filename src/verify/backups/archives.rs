//! The archives of a base backup by their names and sizes.

use std::collections::BTreeMap;

use super::{BackupAssessment, file_name, sibling_key};
use crate::codec::Codec;
use crate::finding::{Code, Finding};
use crate::repository::{Archive, ArchiveContents, BaseBackup};
use crate::verify::words::bytes;

/// No cluster's data directory packs into less: an empty one has 20 MB and more of
/// catalogs, which bzip2 brings to about 1.5 MB.
const LEAST_DATA: u64 = 256 << 10;
/// Two closing blocks of a tar.
const LEAST_TAR: u64 = 1024;
/// What the closing blocks alone take with the densest codec, and a bit less.
const LEAST_PACKED_TAR: u64 = 24;

pub(super) fn check_archives(backup: &BaseBackup, found: &mut BackupAssessment) {
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
