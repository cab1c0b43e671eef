//! Objects that are not what they were, and those that only look so.

use walproof::codec::Sha256;

use super::*;
use crate::common::damage::Tree;
use crate::common::require;

/// A segment in the middle of the archive.
fn middle(tree: &Tree) -> String {
    let segments = tree.segments();
    tree.wal_key(&segments[segments.len() / 2])
}

fn on_files(tree: &Tree) -> Ground {
    Ground::new(tree.url(), Vec::new())
}

#[test]
fn a_healthy_repository_is_remembered_and_stays_without_a_finding() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = on_files(&tree);
    let listed = ground.sound(&[]);
    let objects = number(&listed["ledger"]["objects"]);
    assert!(objects > 10, "{:#}", listed["ledger"]);
    // Descriptions are read at every depth.
    assert_eq!(
        number(&listed["ledger"]["read_now"]),
        tree.backups().len() as u64
    );
    let read = ground.sound(&["--depth", "read"]);
    assert_eq!(read["depth"], "read");
    assert_eq!(read["ledger"]["objects"], objects);
    let segments = tree.segments().len() as u64;
    assert!(number(&read["ledger"]["read_now"]) >= segments);
    assert_eq!(read["ledger"]["unread"], 0, "{:#}", read["ledger"]);
    for depth in ["listed", "read", "listed"] {
        let again = ground.sound(&["--depth", depth]);
        assert_eq!(again["ledger"]["changed"], 0);
        assert_eq!(again["ledger"]["stored_anew"], 0);
    }
}

#[test]
fn a_flipped_byte_under_the_same_size_is_found_by_its_time_and_told_by_its_digest() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = on_files(&tree);
    ground.sound(&["--depth", "read"]);
    let key = middle(&tree);
    let (then, size) = (Sha256::of(&tree.read(&key)), tree.read(&key).len());
    tree.flip_middle(&key);
    touch(&tree.file(&key), 7);
    let now = Sha256::of(&tree.read(&key));

    // By names and sizes another object lies there.
    let listed = ground.changed(&[], &key, "warning");
    assert!(message(changes(&listed)[0]).contains("not yet read again"));
    // A night that reads little reads this first, and then knows.
    let sampled = ground.changed(&["--depth", "sampled"], &key, "critical");
    let words = message(changes(&sampled)[0]);
    for part in [then.to_string(), now.to_string(), format!("{size} bytes")] {
        assert!(words.contains(&part), "{words}");
    }
    let codes: Vec<&str> = sampled["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["code"].as_str())
        .collect();
    assert!(
        codes.contains(&"wal-unreadable") || codes.contains(&"wal-corrupt"),
        "{codes:?}"
    );
    // It stays told, also by runs that do not read, and so does the damage.
    let listed = ground.changed(&[], &key, "critical");
    let remembered = listed["findings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|finding| message(finding).contains("as it was when last read"));
    assert!(remembered, "{:#}", listed["findings"]);
    // The original put back ends it.
    tree.flip_middle(&key);
    touch(&tree.file(&key), 9);
    let healed = ground.sound(&["--depth", "sampled"]);
    assert_eq!(healed["ledger"]["changed"], 0, "{:#}", healed["ledger"]);
    ground.sound(&[]);
}

#[test]
fn bytes_that_rot_below_the_store_are_found_when_they_are_read_again() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = on_files(&tree);
    ground.sound(&["--depth", "read"]);
    let key = middle(&tree);
    let path = tree.file(&key);
    let then = path.metadata().unwrap().modified().unwrap();
    // In place, and with its old time: the store cannot tell.
    let mut bytes = tree.read(&key);
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    file.set_modified(then).unwrap();
    drop(file);
    ground.sound(&[]);
    ground.changed(&["--depth", "read"], &key, "critical");
}

#[test]
fn the_same_bytes_stored_anew_are_no_finding_once_they_were_read() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = on_files(&tree);
    ground.sound(&["--depth", "read"]);
    let key = middle(&tree);
    let bytes = tree.read(&key);
    tree.delete(&key);
    tree.write(&key, &bytes);
    touch(&tree.file(&key), 5);
    let sampled = ground.sound(&["--depth", "sampled"]);
    assert_eq!(
        sampled["ledger"]["stored_anew"], 1,
        "{:#}",
        sampled["ledger"]
    );
    assert_eq!(ground.sound(&[])["ledger"]["changed"], 0);
}

#[test]
fn a_description_may_change_until_it_is_finished_and_marks_always() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = on_files(&tree);
    let newest = tree.backups().pop().unwrap();
    let info = format!("base/{newest}/backup.info");
    let finished = tree.read(&info);
    tree.set_info(&newest, "status", "STARTED");
    let begun = ground.verify(&[]).json();
    assert_eq!(changes(&begun).len(), 0);
    tree.set_info(&newest, "version", "150019");
    assert_eq!(changes(&ground.verify(&[]).json()).len(), 0);
    tree.write(&info, &finished);
    ground.sound(&[]);
    let keep = format!("base/{newest}/annotations/keep");
    tree.write(&keep, b"full");
    ground.sound(&[]);
    tree.write(&keep, b"standalone");
    ground.sound(&[]);
    tree.delete(&keep);
    ground.sound(&[]);
    // Finished it stays as it is.
    tree.append(&info, b"\n");
    let report = ground.changed(&[], &info, "critical");
    assert!(message(changes(&report)[0]).contains(&Sha256::of(&finished).to_string()));
    // Unless somebody says that this is right.
    let accepted = ground.sound(&["--accept-changed"]);
    assert_eq!(changes(&accepted)[0]["severity"], "info");
    assert_eq!(changes(&ground.sound(&[])).len(), 0);
}

#[test]
fn expiry_is_no_finding_and_is_forgotten_when_asked() {
    require!(Postgres, S3, Barman);
    let tree = fixture().tree();
    let ground = on_files(&tree);
    let objects = number(&ground.sound(&[])["ledger"]["objects"]);
    let oldest = tree.backups().remove(0);
    let gone: Vec<String> = tree
        .keys()
        .into_iter()
        .filter(|key| key.starts_with(&format!("base/{oldest}/")))
        .collect();
    for key in &gone {
        tree.delete(key);
    }
    let expired = ground.sound(&[]);
    assert_eq!(expired["ledger"]["absent"], gone.len());
    assert_eq!(
        number(&expired["ledger"]["objects"]),
        objects - gone.len() as u64
    );
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let kept = ground.sound(&["--forget-absent", "1d"]);
    assert_eq!(kept["ledger"]["absent"], gone.len());
    let forgotten = ground.sound(&["--forget-absent", "1s"]);
    assert_eq!(forgotten["ledger"]["absent"], 0);
}

/// Listings, HEAD and GET of a real server name one state alike, and what is written over
/// is found, by its size already where that differs.
#[test]
fn on_s3_an_object_that_was_replaced_is_found_and_all_others_stay_what_they_were() {
    require!(Postgres, S3, Barman);
    let fixture = fixture();
    let (s3, url) = fixture.s3();
    let tree = fixture.tree();
    let ground = Ground::new(&url, s3.environment());
    ground.sound(&["--depth", "read"]);
    assert_eq!(wal_read(&ground).0, 0);
    ground.sound(&[]);
    ground.sound(&["--depth", "read"]);
    let prefix = url.split_once(&format!("{}/", common::s3::S3Server::BUCKET));
    let (_, prefix) = prefix.unwrap();
    let segments = tree.segments();
    let key = middle(&tree);
    let other = tree.read(&tree.wal_key(&segments[0]));
    let same_size = other.len() == tree.read(&key).len();
    let path = s3.object(&format!("{prefix}/{key}"));
    std::fs::write(&path, &other).unwrap();
    touch(&path, 5);
    let severity = if same_size { "warning" } else { "critical" };
    // versitygw keeps the tag of a file that is written below it: only size and time tell.
    if !same_size {
        ground.changed(&[], &key, severity);
    }
    let sampled = ground.changed(&["--depth", "sampled"], &key, "critical");
    assert!(message(changes(&sampled)[0]).contains(&Sha256::of(&other).to_string()));
    // The same name in another bucket service is another repository.
    let (elsewhere, _) = fixture.s3();
    let there = Ground {
        environment: elsewhere.environment(),
        ..ground
    };
    let fresh = there.sound(&[]);
    assert_eq!(changes(&fresh).len(), 0);
}
