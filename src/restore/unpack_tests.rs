//! Archives as they should be, and archives as an enemy or a broken disk would have them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::error::RestoreError;
use super::progress::Cancel;
use super::unpack::{Extracted, Room, unpack};
use crate::codec::archive::{ArchiveWalk, MAX_EXTENSION, MemberKind};
use crate::verify::base::placement::SET_ASIDE;

/// A header whose name is written as it stands, without the builder's own checks.
fn header(name: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    field[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o6777);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header
}

fn push(archive: &mut Vec<u8>, header: &Header, body: &[u8]) {
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(body);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fn file(archive: &mut Vec<u8>, name: &str, body: &[u8]) {
    push(
        archive,
        &header(name.as_bytes(), EntryType::Regular, body.len() as u64),
        body,
    );
}

fn link(archive: &mut Vec<u8>, kind: EntryType, name: &str, to: &str) {
    let mut header = header(name.as_bytes(), kind, 0);
    header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
    header.set_cksum();
    push(archive, &header, b"");
}

fn end(mut archive: Vec<u8>) -> Vec<u8> {
    archive.extend_from_slice(&[0; 10_240]);
    archive
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let bare = key.len() + value.len() + 3;
        let mut length = bare + 1;
        while length != bare + length.to_string().len() {
            length += 1;
        }
        body.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    body
}

/// A scratch place with a data directory, and something outside it that must stay.
struct Place {
    temp: TempDir,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("outside"), "precious").unwrap();
        fs::create_dir_all(temp.path().join("data").join(SET_ASIDE)).unwrap();
        Self { temp }
    }

    fn data(&self) -> std::path::PathBuf {
        self.temp.path().join("data")
    }

    fn room(&self) -> Room {
        Room::Data {
            root: self.data(),
            separate: vec![16384],
        }
    }

    fn unpack(&self, archive: &[u8]) -> Result<Extracted, RestoreError> {
        unpack(archive, "base/x/data.tar", &self.room(), &Cancel::new())
    }

    /// Nothing but the data directory and the file that was there, and no link anywhere.
    fn assert_clean_outside(&self) {
        let mut names: Vec<_> = fs::read_dir(self.temp.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["data", "outside"]);
        assert_eq!(
            fs::read_to_string(self.temp.path().join("outside")).unwrap(),
            "precious"
        );
        assert_no_links(&self.data());
    }
}

fn assert_no_links(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        assert!(!kind.is_symlink(), "{}", entry.path().display());
        if kind.is_dir() {
            assert_no_links(&entry.path());
        }
    }
}

#[test]
fn an_ordinary_archive_is_written_with_safe_modes() {
    let mut archive = Vec::new();
    push(&mut archive, &header(b"./", EntryType::Directory, 0), b"");
    file(&mut archive, "./PG_VERSION", b"15\n");
    push(
        &mut archive,
        &header(b"base/1", EntryType::Directory, 0),
        b"",
    );
    file(&mut archive, "base/1/1259", &vec![7; 100_000]);
    file(&mut archive, "global/pg_control", b"control");
    file(
        &mut archive,
        "postgresql.conf",
        b"archive_cleanup_command = 'rm'",
    );
    file(&mut archive, "postgresql.conf", b"from /etc");
    file(&mut archive, "standby.signal", b"");
    file(&mut archive, "pg_wal/000000010000000000000002", &[1; 3_000]);
    link(
        &mut archive,
        EntryType::Symlink,
        "log",
        "/var/log/postgresql",
    );

    let place = Place::new();
    let done = place.unpack(&end(archive)).unwrap();
    assert_eq!((done.files, done.left_out), (3, 2));
    assert_eq!(done.bytes, 3 + 100_000 + 7);
    assert_eq!(done.set_aside.len(), 3);
    let data = place.data();
    assert_eq!(
        fs::read(data.join("base/1/1259")).unwrap(),
        vec![7; 100_000]
    );
    let mode = |path: &str| fs::metadata(data.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("PG_VERSION"), 0o600);
    assert_eq!(mode("base/1"), 0o700);
    for absent in ["postgresql.conf", "standby.signal", "pg_wal", "log"] {
        assert!(!data.join(absent).exists(), "{absent}");
    }
    for aside in ["postgresql.conf", "postgresql.conf.2", "standby.signal"] {
        assert!(data.join(SET_ASIDE).join(aside).exists(), "{aside}");
    }
    place.assert_clean_outside();
}

#[test]
fn the_tar_crates_own_archives_are_read_alike() {
    let mut builder = Builder::new(Vec::new());
    let long = format!("base/{}", "n".repeat(180));
    for name in ["short", long.as_str()] {
        let mut header = Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, &b"body"[..])
            .unwrap();
    }
    let place = Place::new();
    let done = place.unpack(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(done.files, 2);
    assert_eq!(fs::read(place.data().join(long)).unwrap(), b"body");
}

#[test]
fn pax_names_and_sizes_win_over_the_header() {
    let mut archive = Vec::new();
    let body = pax(&[
        ("mtime", "1700000000.5"),
        ("path", "base/5/16401"),
        ("size", "600"),
    ]);
    push(
        &mut archive,
        &header(b"x", EntryType::XHeader, body.len() as u64),
        &body,
    );
    // The header's own size is 0, as some writers leave it when PAX has the real one.
    push(
        &mut archive,
        &header(b"cut-name", EntryType::Regular, 0),
        &[9; 600],
    );
    file(&mut archive, "after", b"still in step");
    let place = Place::new();
    place.unpack(&end(archive)).unwrap();
    assert_eq!(
        fs::read(place.data().join("base/5/16401")).unwrap(),
        [9; 600]
    );
    assert_eq!(
        fs::read(place.data().join("after")).unwrap(),
        b"still in step"
    );
}

#[test]
fn every_escape_is_refused_and_nothing_is_written_outside() {
    let one = |name: &str| {
        let mut archive = Vec::new();
        file(&mut archive, name, b"evil");
        archive
    };
    let with_link = |kind: EntryType, name: &str, behind: &str| {
        let mut archive = Vec::new();
        link(&mut archive, kind, name, "..");
        file(&mut archive, behind, b"evil");
        archive
    };
    let special = |kind: EntryType| {
        let mut archive = Vec::new();
        push(&mut archive, &header(b"dev", kind, 0), b"");
        archive
    };
    let pax_path = |path: &str| {
        let mut archive = Vec::new();
        let body = pax(&[("path", path)]);
        push(
            &mut archive,
            &header(b"x", EntryType::XHeader, body.len() as u64),
            &body,
        );
        file(&mut archive, "harmless", b"evil");
        archive
    };
    let twice = {
        let mut archive = one("base/1/1259");
        file(&mut archive, "./base//1/1259", b"evil");
        archive
    };
    let file_as_folder = {
        let mut archive = one("base");
        file(&mut archive, "base/1", b"evil");
        archive
    };
    let folder_as_file = {
        let mut archive = one("base/1");
        file(&mut archive, "base", b"evil");
        archive
    };
    let sparse = {
        let mut archive = Vec::new();
        let body = pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "1")]);
        push(
            &mut archive,
            &header(b"x", EntryType::XHeader, body.len() as u64),
            &body,
        );
        file(&mut archive, "harmless", b"x");
        archive
    };
    for (what, archive, reason) in [
        ("climbs", one("../../x"), "climbs out"),
        ("climbs later", one("base/../../outside"), "climbs out"),
        ("absolute", one("/tmp/walproof-evil"), "absolute"),
        ("pax climbs", pax_path("../outside"), "climbs out"),
        ("pax absolute", pax_path("/etc/x"), "absolute"),
        (
            "symlink",
            with_link(EntryType::Symlink, "a", "a/outside"),
            "links",
        ),
        (
            "known symlink, file behind",
            with_link(EntryType::Symlink, "pg_wal", "pg_wal/outside"),
            "behind a link",
        ),
        (
            "hard link",
            with_link(EntryType::Link, "a", "b"),
            "hard links",
        ),
        ("device", special(EntryType::Char), "files and directories"),
        ("block", special(EntryType::Block), "files and directories"),
        ("fifo", special(EntryType::Fifo), "files and directories"),
        (
            "gnu sparse",
            special(EntryType::GNUSparse),
            "files and directories",
        ),
        ("pax sparse", sparse, "files and directories"),
        (
            "unknown",
            special(EntryType::new(b'Z')),
            "files and directories",
        ),
        ("twice", twice, "twice"),
        ("file as folder", file_as_folder, "is a file"),
        ("folder as file", folder_as_file, "twice"),
        ("the root as a file", one("./"), ""),
        (
            "behind a tablespace",
            one("pg_tblspc/16384/PG_15/1/1"),
            "archive of its own",
        ),
    ] {
        let place = Place::new();
        let result = place.unpack(&end(archive));
        place.assert_clean_outside();
        if what == "the root as a file" {
            // A trailing slash makes it a directory: the root itself, which is there.
            assert_eq!(result.unwrap().files, 0);
            continue;
        }
        let error = result.unwrap_err();
        assert!(
            matches!(error, RestoreError::UnsafeMember { .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains(reason), "{what}: {error}");
    }
    assert!(!Path::new("/tmp/walproof-evil").exists());
}

#[test]
fn one_name_in_two_archives_is_refused() {
    let place = Place::new();
    let mut first = Vec::new();
    file(&mut first, "base/1/1259", b"one");
    place.unpack(&end(first.clone())).unwrap();
    let error = place.unpack(&end(first)).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    assert_eq!(fs::read(place.data().join("base/1/1259")).unwrap(), b"one");
}

#[test]
fn a_damaged_archive_is_told_from_a_whole_one() {
    let mut members = Vec::new();
    file(&mut members, "PG_VERSION", b"15\n");
    let boundary = members.len();
    file(&mut members, "base/1/1259", &[3; 4_000]);
    let whole = end(members.clone());
    assert!(Place::new().unpack(&whole).is_ok());

    let mut flipped = whole.clone();
    flipped[boundary + 3] ^= 0x20;
    let mut behind = whole.clone();
    behind.extend_from_slice(b"more");
    let mut single_zero_block = members.clone();
    single_zero_block.extend_from_slice(&[0; 512]);
    file(&mut single_zero_block, "late", b"x");
    let huge = {
        let mut archive = Vec::new();
        push(
            &mut archive,
            &header(b"huge", EntryType::Regular, 8_000_000_000),
            b"little",
        );
        end(archive)
    };
    let huge_pax = {
        let mut archive = Vec::new();
        let body = pax(&[("size", "18446744073709551615")]);
        push(
            &mut archive,
            &header(b"x", EntryType::XHeader, body.len() as u64),
            &body,
        );
        file(&mut archive, "huge", b"little");
        end(archive)
    };
    let fat_extension = {
        let mut archive = Vec::new();
        push(
            &mut archive,
            &header(b"x", EntryType::XHeader, MAX_EXTENSION + 1),
            b"",
        );
        end(archive)
    };
    let bad_pax = {
        let mut archive = Vec::new();
        push(
            &mut archive,
            &header(b"x", EntryType::XHeader, 9),
            b"99 path=x",
        );
        file(&mut archive, "y", b"");
        end(archive)
    };
    let damaged_behind_pax = {
        let mut archive = Vec::new();
        let body = pax(&[("path", "base/2")]);
        push(
            &mut archive,
            &header(b"x", EntryType::XHeader, body.len() as u64),
            &body,
        );
        let at = archive.len();
        file(&mut archive, "y", b"");
        archive[at] ^= 1;
        end(archive)
    };
    for (what, archive, reason) in [
        ("empty", Vec::new(), "end-of-archive"),
        (
            "cut between members",
            whole[..boundary].to_vec(),
            "end-of-archive",
        ),
        ("no marker", members.clone(), "end-of-archive"),
        ("half a marker", [&members[..], &[0; 512]].concat(), "cut"),
        ("cut in a header", whole[..boundary + 100].to_vec(), "cut"),
        (
            "cut in a body",
            whole[..boundary + 512 + 100].to_vec(),
            "bytes short",
        ),
        ("header damaged", flipped, "checksum"),
        ("header behind PAX damaged", damaged_behind_pax, "checksum"),
        ("bytes behind", behind, "behind the end"),
        ("one zero block", single_zero_block, "single zero block"),
        ("huge claim", huge, "bytes short"),
        ("huge PAX claim", huge_pax, "bytes short"),
        ("fat extension", fat_extension, "extension header claims"),
        ("bad PAX", bad_pax, "PAX header"),
        ("not a tar", vec![b'<'; 2_048], "checksum"),
    ] {
        let place = Place::new();
        let error = place.unpack(&archive).unwrap_err();
        assert!(
            matches!(error, RestoreError::Damaged { .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains(reason), "{what}: {error}");
        place.assert_clean_outside();
    }
}

#[test]
fn a_store_that_fails_is_no_damage() {
    struct Failing;
    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(crate::storage::StorageError::new(
                crate::storage::Operation::Read,
                "s3://b/k",
                crate::storage::ErrorKind::Network,
                "connection reset",
            )
            .into())
        }
    }
    let place = Place::new();
    let error = unpack(Failing, "o", &place.room(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, RestoreError::Storage(_)), "{error}");
    assert!(error.is_unreachable() && error.finding().is_none());
}

#[test]
fn a_wish_to_stop_ends_the_extraction() {
    let mut archive = Vec::new();
    file(&mut archive, "PG_VERSION", b"15\n");
    let place = Place::new();
    let cancel = Cancel::new();
    cancel.cancel();
    let error = unpack(&end(archive)[..], "o", &place.room(), &cancel).unwrap_err();
    assert!(error.is_cancelled());
    assert!(!place.data().join("PG_VERSION").exists());
}

#[test]
fn a_wish_to_stop_ends_what_is_only_skipped() {
    /// Zeros without end, at some point of which somebody wishes to stop.
    struct Endless(Cancel, u32);
    impl std::io::Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.1 += 1;
            assert!(self.1 < 1_000, "it reads on");
            if self.1 == 10 {
                self.0.cancel();
            }
            into.fill(0);
            Ok(into.len())
        }
    }
    let left_out = header(b"pg_wal/0", EntryType::Regular, 8_000_000_000);
    // Within a member that is left out, and behind the end of the archive.
    for head in [left_out.as_bytes().as_slice(), &[]] {
        let cancel = Cancel::new();
        let zeros = Endless(cancel.clone(), 0);
        let archive = std::io::Read::chain(head, zeros);
        let error = unpack(archive, "o", &Place::new().room(), &cancel).unwrap_err();
        assert!(error.is_cancelled(), "{error}");
    }
}

#[test]
fn links_without_end_are_refused() {
    let many = |count: u32| {
        let mut archive = Vec::new();
        for oid in 0..count {
            link(
                &mut archive,
                EntryType::Symlink,
                &format!("pg_tblspc/{oid}"),
                "/srv",
            );
        }
        Place::new().unpack(&end(archive))
    };
    assert_eq!(many(4_096).unwrap().left_out, 4_096);
    assert!(matches!(
        many(4_097),
        Err(RestoreError::UnsafeMember { .. })
    ));
}

#[test]
fn unread_bodies_are_skipped_in_step() {
    let mut archive = Vec::new();
    file(&mut archive, "a", &[1; 1_000]);
    file(&mut archive, "b", &[2; 10]);
    let archive = end(archive);
    let mut walk = ArchiveWalk::new(&archive[..]);
    let names: Vec<_> = std::iter::from_fn(|| walk.next_member().unwrap())
        .map(|member| (member.name, member.kind, member.size))
        .collect();
    assert_eq!(
        names,
        [
            (b"a".to_vec(), MemberKind::File, 1_000),
            (b"b".to_vec(), MemberKind::File, 10)
        ]
    );
    assert!(walk.next_member().unwrap().is_none());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4096)) {
        let mut walk = ArchiveWalk::new(&bytes[..]);
        for _ in 0..64 {
            if !matches!(walk.next_member(), Ok(Some(_))) {
                break;
            }
        }
    }
}
