//! Source or target are not what they were: told, and nothing overwritten or deleted.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::process::wait_until;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::s3::S3Server;
use crate::common::walproof::Run;
use crate::common::{require, scratch};
use crate::{Ground, assert_same, tree};
use walproof::codec::Sha256;

/// The finding of a code, whole, as text.
#[track_caller]
fn finding(run: &Run, code: &str) -> serde_json::Value {
    let report = run.json();
    let found = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["code"] == code);
    found
        .unwrap_or_else(|| panic!("no {code}: {report:#}"))
        .clone()
}

#[test]
fn a_target_that_differs_is_told_with_both_digests_and_left_alone() {
    require!(Postgres, S3, Barman);
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&source);
    let key = source.wal_key(&source.segments()[3]);
    let other = copy.join(&key);
    std::fs::create_dir_all(other.parent().unwrap()).unwrap();
    std::fs::write(&other, b"something else").unwrap();

    for _ in 0..2 {
        let run = ground.run(&[]).expect_code(1);
        let finding = finding(&run, "copy-differs");
        assert_eq!(finding["object"], key);
        let message = finding["message"].as_str().unwrap();
        for digest in [
            Sha256::of(&source.read(&key)),
            Sha256::of(b"something else"),
        ] {
            assert!(message.contains(&digest.to_string()), "{message}");
        }
        assert_eq!(std::fs::read(&other).unwrap(), b"something else");
    }
    // Everything else was copied.
    assert_eq!(tree(&copy).len(), source.keys().len());
    std::fs::remove_file(&other).unwrap();
    ground.run(&[]).expect_code(1); // It vanished, which is told once.
    ground.run(&[]).expect_code(0);
    assert_same(source.root(), &copy);
}

#[test]
fn the_same_size_with_other_bytes_is_found_by_reading() {
    require!(Postgres, S3, Barman);
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&source);
    let key = source.wal_key(&source.segments()[3]);
    scratch::copy_tree(source.root(), &copy);
    let mut bytes = source.read(&key);
    bytes[100] ^= 1;
    std::fs::write(copy.join(&key), &bytes).unwrap();

    let run = ground.run(&[]).expect_code(0);
    let compared = &run.json()["compared"]["not_compared"];
    assert_eq!(compared["objects"], source.keys().len() as u64);
    let read = ground.compare(&["--read"]).expect_code(1);
    assert_eq!(finding(&read, "copy-differs")["object"], key);
    assert_eq!(read.json()["read"]["different"]["objects"], 1);
    // From then on runs know it too.
    let run = ground.run(&[]).expect_code(1);
    assert_eq!(finding(&run, "copy-differs")["object"], key);
    assert_eq!(std::fs::read(copy.join(&key)).unwrap(), bytes);
}

#[test]
fn a_backup_of_which_a_part_differs_is_not_made_one() {
    require!(Postgres, S3, Barman);
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&source);
    let backup = source.backups()[0].clone();
    let key = source.archives(&backup)[0].clone();
    let other = copy.join(&key);
    std::fs::create_dir_all(other.parent().unwrap()).unwrap();
    std::fs::write(&other, b"half a backup").unwrap();
    let run = ground.run(&[]).expect_code(1);
    let waiting = run.json()["waiting"].clone();
    assert_eq!(waiting[0]["object"], format!("base/{backup}/backup.info"));
    assert!(!copy.join(format!("base/{backup}/backup.info")).exists());
}

#[test]
fn a_source_that_changed_after_it_was_copied_is_an_alarm_and_the_copy_stands() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let target = S3Server::start();
    let (ground, copy) = Ground::s3(&s3, &url, &target);
    ground.run(&[]).expect_code(0);
    let before = tree(&copy);
    let source = fixture.tree();
    let key = source.wal_key(&source.segments()[3]);
    let file = s3.object(&format!("pg/orders/{key}"));
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[50] ^= 0xFF;
    // The server's listings give whole seconds.
    std::thread::sleep(Duration::from_millis(1_100));
    std::fs::write(&file, &bad).unwrap();

    for looked_at in [1, 0] {
        let run = ground.run(&[]).expect_code(1);
        let finding = finding(&run, "copy-source-changed");
        assert_eq!(finding["object"], key);
        let message = finding["message"].as_str().unwrap();
        assert!(
            message.contains(&Sha256::of(&good).to_string()),
            "{message}"
        );
        assert!(message.contains(&Sha256::of(&bad).to_string()), "{message}");
        // The second time from memory.
        assert_eq!(run.json()["compared"]["looked_at"], looked_at);
    }
    assert_eq!(
        ground.compare(&[]).expect_code(1).finding_codes(),
        ["copy-source-changed"]
    );
    assert!(tree(&copy) == before, "the copy was touched");

    // Written anew with its own bytes it is no alarm any more.
    std::thread::sleep(Duration::from_millis(1_100));
    std::fs::write(&file, &good).unwrap();
    ground.run(&[]).expect_code(0);
    let last = ground.run(&[]).expect_code(0);
    assert_eq!(last.json()["compared"]["looked_at"], 0);
}

#[test]
fn a_copy_that_was_changed_is_told_and_one_that_vanished_is_copied_again() {
    require!(Postgres, S3, Barman);
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&source);
    ground.run(&[]).expect_code(0);
    let key = source.wal_key(&source.segments()[2]);
    let mut bytes = source.read(&key);
    bytes[10] ^= 1;
    std::fs::write(copy.join(&key), &bytes).unwrap();
    let run = ground.run(&[]).expect_code(1);
    assert_eq!(finding(&run, "copy-damaged")["object"], key);
    assert_eq!(std::fs::read(copy.join(&key)).unwrap(), bytes);

    std::fs::remove_file(copy.join(&key)).unwrap();
    let run = ground.run(&[]).expect_code(1);
    assert_eq!(finding(&run, "copy-missing")["object"], key);
    assert_eq!(Ground::copied(&run), 1);
    ground.run(&[]).expect_code(0);
    assert_same(source.root(), &copy);
}

#[test]
fn a_source_that_was_emptied_leaves_the_copy_as_it_was() {
    require!(Postgres, S3, Barman);
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&source);
    ground.run(&[]).expect_code(0);
    let before = tree(&copy);
    let key = source.wal_key(&source.segments()[0]);
    source.delete(&key);
    let run = ground.run(&[]).expect_code(0);
    assert_eq!(finding(&run, "copy-only")["severity"], "info");
    for key in source.keys() {
        source.delete(&key);
    }
    for run in [ground.run(&[]), ground.compare(&[])] {
        let run = run.expect_code(1);
        let finding = finding(&run, "copy-only");
        assert_eq!(finding["severity"], "critical");
        assert!(
            finding["message"]
                .as_str()
                .unwrap()
                .contains(&format!("{} objects", before.len()))
        );
    }
    assert!(tree(&copy) == before, "the copy was touched");
}

#[test]
fn an_unfinished_backup_waits_until_it_is_done() {
    require!(Postgres, S3, Barman);
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let (ground, copy) = Ground::files(&source);
    let backup = source.backups()[1].clone();
    let done = source.info(&backup);
    source.set_info(&backup, "status", "STARTED");
    let info = copy.join(format!("base/{backup}/backup.info"));
    for _ in 0..2 {
        let run = ground.run(&[]).expect_code(0);
        let waiting = &run.json()["waiting"][0];
        assert_eq!(waiting["object"], format!("base/{backup}/backup.info"));
        assert!(waiting["reason"].as_str().unwrap().contains("STARTED"));
        assert!(!info.exists());
    }
    // One that another tool copied unfinished is renewed.
    std::fs::write(&info, source.info(&backup)).unwrap();
    source.change_info(&backup, |_| done.clone());
    ground.run(&[]).expect_code(0);
    assert_eq!(std::fs::read_to_string(&info).unwrap(), done);
    assert_same(source.root(), &copy);
    ground.compare(&["--read"]).expect_code(0);
}

#[test]
fn a_backup_whose_wal_is_not_there_waits() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let source = fixture.tree();
    let (ground, copy) = Ground::files(&source);
    let facts = &fixture.facts.backups[1];
    let key = source.wal_key(&facts.end_wal);
    let bytes = source.read(&key);
    source.delete(&key);
    let run = ground.run(&[]).expect_code(0);
    let waiting = &run.json()["waiting"][0];
    assert!(
        waiting["reason"].as_str().unwrap().contains(&facts.end_wal),
        "{waiting}"
    );
    assert!(!copy.join(format!("base/{}/backup.info", facts.id)).exists());
    source.write(&key, &bytes);
    ground.run(&[]).expect_code(0);
    assert_same(source.root(), &copy);
}

#[test]
fn places_that_overlap_and_those_of_another_database_are_refused() {
    require!(Postgres, S3, Barman);
    let source = Fixture::get(&RepositoryOptions::default()).tree();
    let (mut ground, copy) = Ground::files(&source);
    let target = ground.target.clone();
    for within in [source.url(), format!("{}/wals", source.url())] {
        ground.target = within;
        let refused = ground.run(&[]).expect_code(4);
        assert!(refused.stderr.contains("lies within"), "{}", refused.stderr);
    }
    ground.target = target;
    ground.run(&[]).expect_code(0);
    let before = tree(&copy);
    for backup in source.backups() {
        source.set_info(&backup, "systemid", "7");
    }
    let refused = ground.run(&[]).expect_code(4);
    assert!(
        refused.stderr.contains("another database system"),
        "{}",
        refused.stderr
    );
    assert!(tree(&copy) == before);
}

#[test]
fn ctrl_c_ends_a_run_soon_and_leaves_nothing_half_visible() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let target = S3Server::start();
    let (ground, copy) = Ground::s3(&s3, &url, &target);
    let mut command = ground.command("run", &["--bandwidth", "500KB/s"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until(Duration::from_secs(30), "the first copies", || {
        tree(&copy).len() > 2
    });
    let begin = Instant::now();
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(id, Signal::SIGINT).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["ended"]["reason"], "interrupted");
    assert!(report["left"]["wal"]["objects"].as_u64().unwrap() > 0);
    let whole = tree(&s3.object("pg/orders"));
    for (key, bytes) in tree(&copy) {
        assert!(whole[&key] == bytes, "{key} is half a copy");
    }
    ground.run(&[]).expect_code(0);
    assert_same(&s3.object("pg/orders"), &copy);
}
