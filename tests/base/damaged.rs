//! Each damage gives its code and its object.

use super::*;
use crate::common::postgres::TestServer;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::source::Source;

/// A copy of the default repository, and the key of the second backup's data.
fn fixture() -> (Tree, String, String) {
    let fixture = Fixture::get(&RepositoryOptions::default());
    let tree = fixture.tree();
    let id = fixture.facts.backups[1].id.clone();
    let key = tree
        .archives(&id)
        .into_iter()
        .find(|key| key.contains("/data.tar"))
        .unwrap();
    (tree, id, key)
}

/// A member of `ledger`'s pages, from before the second backup.
fn change_ledger(tree: &Tree, key: &str, change: impl FnOnce(&mut [u8])) -> String {
    let mut name = String::new();
    tree.change_inside(key, |tar| {
        let member = tape::ledger(tar);
        change(&mut tar[member.contents]);
        name = member.name;
    });
    name
}

/// A manifest of these files and sizes, of the backup from `begin` to `end`.
fn manifest((begin, end): (&str, &str), files: &[(&str, usize)]) -> Vec<u8> {
    let files: Vec<String> = files
        .iter()
        .map(|(path, size)| {
            format!("{{ \"Path\": \"{path}\", \"Size\": {size}, \"Last-Modified\": \"2026-11-21 00:00:00 GMT\" }}")
        })
        .collect();
    let text = format!(
        "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{}\n],\n\"WAL-Ranges\": [\n\
         {{ \"Timeline\": 1, \"Start-LSN\": \"{begin}\", \"End-LSN\": \"{end}\" }}\n],\n",
        files.join(",\n")
    );
    let digest = walproof::codec::Sha256::of(text.as_bytes());
    format!("{text}\"Manifest-Checksum\": \"{digest}\"}}\n").into_bytes()
}

#[test]
fn files_are_held_against_the_manifest_of_this_backup_only() {
    require!(Postgres, S3, Barman);
    let (_, id, key) = fixture();
    let facts = Fixture::get(&RepositoryOptions::default()).facts.backups[1].clone();
    let own = (facts.begin_xlog.as_str(), facts.end_xlog.as_str());
    let version = ("PG_VERSION", 3);
    for (range, files, wrong) in [
        (own, [version, ("global/pg_control", 8192)], None),
        (
            own,
            [("PG_VERSION", 4), version],
            Some("PG_VERSION has 3 bytes"),
        ),
        (
            own,
            [version, ("base/1/none", 8)],
            Some("base/1/none is in none"),
        ),
        // Left over from the backup that the cluster was made from.
        (
            ("0/1", own.1),
            [("PG_VERSION", 4), ("base/1/none", 8)],
            None,
        ),
        // And that began at the same checkpoint.
        (
            (own.0, "0/1"),
            [("PG_VERSION", 4), ("base/1/none", 8)],
            None,
        ),
        (own, [("PG_VERSION", 4), ("backup_label", 1)], None),
    ] {
        let (tree, ..) = fixture();
        let manifest = manifest(range, &files);
        tree.change_members(&id, &[("backup_manifest", Some(&manifest))]);
        let read = read(&tree, 1);
        match wrong {
            None => assert_eq!(read.findings(), [] as [&Finding; 0], "{files:?}"),
            Some(words) => {
                let finding = read.only();
                assert_eq!(
                    (finding.code, &finding.object),
                    (Code::ManifestMismatch, &key)
                );
                assert!(finding.message.contains(words), "{finding:#?}");
            }
        }
    }
}

#[test]
fn a_flipped_page_is_corrupt_and_named() {
    require!(Postgres, S3, Barman);
    let (tree, _, key) = fixture();
    let name = change_ledger(&tree, &key, |file| {
        file[2 * 8192 + 5000] ^= 1;
        file[3 * 8192 + 5000] ^= 1;
    });
    let read = read(&tree, 1);
    let finding = read.only();
    assert_eq!((finding.code, &finding.object), (Code::PageCorrupt, &key));
    assert!(
        finding
            .message
            .contains(&format!("{name}: blocks 2 to 3 fail")),
        "{finding:#?}"
    );
    assert_eq!((read.pages.corrupt, read.pages.suspect), (2, 0));
}

#[test]
fn a_page_of_zeros_and_an_old_page_are_stale() {
    require!(Postgres, S3, Barman);
    let (tree, _, key) = fixture();
    let name = change_ledger(&tree, &key, |file| file[4 * 8192..5 * 8192].fill(0));
    let read = read(&tree, 1);
    let finding = read.only();
    assert_eq!((finding.code, &finding.object), (Code::PageStale, &key));
    assert!(
        finding
            .message
            .contains(&format!("{name}: block 4 is empty")),
        "{finding:#?}"
    );
    assert_eq!(read.pages.stale, 1);
}

#[test]
fn a_page_of_the_future_is_beyond_the_end() {
    require!(Postgres, S3, Barman);
    let (tree, _, key) = fixture();
    let name = change_ledger(&tree, &key, |file| {
        let page: &mut [u8; 8192] = (&mut file[8192..2 * 8192]).try_into().unwrap();
        page[0..4].copy_from_slice(&7_u32.to_le_bytes());
        let sum = walproof::postgres::page::checksum(page, 1);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
    });
    let read = read(&tree, 1);
    let finding = read.only();
    assert_eq!((finding.code, &finding.object), (Code::PageBeyondEnd, &key));
    assert!(
        finding
            .message
            .contains(&format!("{name}: block 1 was changed at 7/"))
    );
    assert_eq!(read.pages.beyond_end, 1);
}

#[test]
fn a_relation_ten_pages_short_or_absent_is_noticed() {
    require!(Postgres, S3, Barman);
    let (tree, _, key) = fixture();
    let mut name = String::new();
    tree.change_inside(&key, |tar| {
        let member = tape::ledger(tar);
        tape::shorten(tar, &member, 10 * 8192);
        name = member.name;
    });
    let finding = read(&tree, 1);
    for finding in finding.findings() {
        assert_eq!(
            (finding.code, &finding.object),
            (Code::RelationFileShort, &key)
        );
        assert!(
            finding.message.starts_with(&format!("{name} ends before")),
            "{finding:#?}"
        );
    }
    assert!(!finding.codes().is_empty());

    let (tree, _, key) = fixture();
    tree.change_inside(&key, |tar| {
        let member = tape::ledger(tar);
        tar.drain(member.all);
    });
    let read = read(&tree, 1);
    let finding = read.only();
    assert_eq!(
        (finding.code, &finding.object),
        (Code::RelationFileMissing, &key)
    );
    assert!(
        finding
            .message
            .starts_with(&format!("{name} is not in the backup")),
        "{finding:#?}"
    );
}

#[test]
fn streams_and_structure() {
    require!(Postgres, S3, Barman);
    let (tree, _, key) = fixture();
    tree.halve(&key);
    let cut = read(&tree, 1);
    let finding = cut.only();
    assert_eq!((finding.code, &finding.object), (Code::BackupDamaged, &key));
    let archive = cut.report.archives.iter().find(|of| of.key == key).unwrap();
    assert_eq!(archive.sha256, None);

    // Whatever restore refuses is refused here, in the same words.
    for (hostile, words) in [
        (
            tape::hostile_member("../../escaped", b'0', "", b"x"),
            "climbs out",
        ),
        (
            tape::hostile_member("/etc/passwd", b'0', "", b"x"),
            "absolute path",
        ),
        (
            tape::hostile_member("out", b'2', "/tmp", b""),
            "links are not restored",
        ),
        (
            tape::hostile_member("PG_VERSION", b'0', "", b"15\n"),
            "occurs twice",
        ),
        (
            tape::hostile_member("PG_VERSION/x", b'0', "", b""),
            "a folder of its path is a file",
        ),
    ] {
        let (tree, _, key) = fixture();
        tree.change_inside(&key, |tar| {
            let at = tape::member(tar, "PG_VERSION").all.end;
            tar.splice(at..at, hostile);
        });
        let read = read(&tree, 1);
        let finding = read.only();
        assert_eq!(
            (finding.code, &finding.object),
            (Code::BackupMemberUnsafe, &key)
        );
        assert!(finding.message.contains(words), "{finding:#?}");
    }

    // A damaged header behind which nothing can be believed.
    let (tree, _, key) = fixture();
    tree.change_inside(&key, |tar| {
        let header = tape::member(tar, "PG_VERSION").header;
        tar[header] ^= 1;
    });
    let finding = read(&tree, 1);
    let finding = finding.only();
    assert_eq!((finding.code, &finding.object), (Code::BackupDamaged, &key));
    assert!(
        finding.message.contains("checksum is wrong"),
        "{finding:#?}"
    );

    // A part of the first backup in place of the second's.
    let (tree, _, key) = fixture();
    let other = key.replace(&tree.backups()[1], &tree.backups()[0]);
    tree.write(&key, &tree.read(&other));
    let read = read(&tree, 1);
    let finding = read
        .findings()
        .into_iter()
        .find(|of| of.code == Code::BackupInfoContradictory);
    assert!(
        finding.unwrap().message.contains("backup_label begins at"),
        "{finding:#?}"
    );
}

#[test]
fn small_files() {
    require!(Postgres, S3, Barman);
    for (name, change, code, words) in [
        (
            "PG_VERSION",
            None,
            Code::BackupDamaged,
            "none of its archives holds PG_VERSION",
        ),
        (
            "PG_VERSION",
            Some(&b"14\n"[..]),
            Code::BackupInfoContradictory,
            "PG_VERSION says 14",
        ),
        (
            "global/pg_control",
            None,
            Code::BackupDamaged,
            "none of its archives holds global/pg_control",
        ),
        (
            "global/pg_control",
            Some(&[7; 8192]),
            Code::BackupDamaged,
            "global/pg_control cannot be read",
        ),
        (
            "backup_label",
            None,
            Code::BackupLabelMissing,
            "none of the archives holds a backup_label",
        ),
        (
            "backup_label",
            Some(b"x"),
            Code::BackupDamaged,
            "backup_label cannot be read",
        ),
    ] {
        let (tree, id, _) = fixture();
        tree.change_members(&id, &[(name, change)]);
        let read = read(&tree, 1);
        let finding = read.only();
        assert_eq!(
            (finding.code, finding.object.as_str()),
            (code, id.as_str()),
            "{name}"
        );
        assert!(finding.message.contains(words), "{finding:#?}");
    }
    for change in [None, Some(&[1; 524][..]), Some(b"x")] {
        let (tree, id, key) = fixture();
        tree.change_members(&id, &[("global/pg_filenode.map", change)]);
        let read = read(&tree, 1);
        let finding = read.only();
        assert_eq!(
            (finding.code, &finding.object),
            (Code::RelationMapCorrupt, &key)
        );
    }
    let (tree, id, key) = fixture();
    tree.change_members(&id, &[("pg_xact/0000", None)]);
    let read = read(&tree, 1);
    let finding = read.only();
    assert_eq!(
        (finding.code, &finding.object),
        (Code::TransactionStatusMissing, &key)
    );
}

#[test]
fn the_members_of_multixacts_must_be_there() {
    require!(Postgres, S3, Barman);
    let source = Source::new(&[]);
    // A lock by a transaction and a change by one within it make a multixact of each row.
    source.server.script(
        "create table shared (id int primary key, v int);
         insert into shared select g, 0 from generate_series(1, 3000) g;
         do $$ begin
           for i in 1..3000 loop
             perform 1 from shared where id = i for share;
             begin update shared set v = 1 where id = i; exception when others then null; end;
           end loop;
         end $$;",
    );
    let id = source.back_up();
    let tree = source.tree();
    let control = TestServer::control_data(&source.server.data());
    let next: u64 = control["Latest checkpoint's NextMultiOffset"]
        .parse()
        .unwrap();
    assert!(next >= 6000, "{next}");
    assert_eq!(read(&tree, 0).findings(), [] as [&Finding; 0]);

    let mut members = None;
    tree.change_inside(&tree.archives(&id)[0], |tar| {
        let found = tape::member(tar, "pg_multixact/members/0000");
        members = Some(tar[found.contents].to_vec());
    });
    let members = members.unwrap();
    assert!(members.len() as u64 >= next * 5, "{}", members.len());
    for (left, words) in [
        (None, "pg_multixact/members/0000 is in none"),
        (
            Some(&members[..members.len() - 8192]),
            "pg_multixact/members/0000 has",
        ),
    ] {
        let tree = source.tree();
        tree.change_members(&id, &[("pg_multixact/members/0000", left)]);
        let read = read(&tree, 0);
        let finding = read.only();
        assert_eq!(finding.code, Code::TransactionStatusMissing);
        assert_eq!(finding.object, tree.archives(&id)[0]);
        assert!(finding.message.contains(words), "{finding:#?}");
    }
}
