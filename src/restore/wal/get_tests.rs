//! `walproof wal get` over a small archive of files.

use std::fs;
use std::path::{Path, PathBuf};

use super::fetch::tests::segment;
use super::plan::tests::example;
use super::{WalAnswer, WalGetOptions, wal_get};
use crate::codec::{Codec, encode_all};
use crate::postgres::{SegmentName, SegmentSize, SystemId, WalFileName};
use crate::repository::barman_cloud::keys::wal_key;
use crate::repository::{Repository, open};
use crate::storage::{StorageOptions, Store};

/// An archive of 1 MiB segments of system 7, and a `pg_wal` to restore into.
pub(super) struct Archive {
    pub(super) temp: tempfile::TempDir,
}

impl Archive {
    pub(super) fn new(names: &[&str]) -> Self {
        let archive = Self {
            temp: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(archive.temp.path().join("orders")).unwrap();
        fs::create_dir_all(archive.temp.path().join("pg_wal")).unwrap();
        for name in names {
            archive.put(name, Codec::Gzip, &good(name));
        }
        archive
    }

    pub(super) fn put(&self, name: &str, codec: Codec, bytes: &[u8]) {
        let path = self.file(name, codec);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, encode_all(codec, bytes).unwrap()).unwrap();
    }

    pub(super) fn file(&self, name: &str, codec: Codec) -> PathBuf {
        let name: WalFileName = name.parse().unwrap();
        self.temp.path().join("orders").join(wal_key(name, codec))
    }

    pub(super) fn repository(&self) -> Repository {
        let url = format!("file://{}/orders", self.temp.path().display());
        open(Store::open(&url.parse().unwrap(), &StorageOptions::default()).unwrap())
    }

    pub(super) fn destination(&self) -> PathBuf {
        self.temp.path().join("pg_wal/RECOVERYXLOG")
    }

    async fn get(&self, name: &str, options: &WalGetOptions) -> WalAnswer {
        wal_get(&self.repository(), name, &self.destination(), options).await
    }

    fn delivered(&self) -> Vec<u8> {
        fs::read(self.destination()).unwrap()
    }

    fn spool(&self) -> Vec<String> {
        names_in(&self.temp.path().join("pg_wal/walproof_spool"))
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn size() -> SegmentSize {
    SegmentSize::new(1 << 20).unwrap()
}

pub(super) fn good(name: &str) -> Vec<u8> {
    segment(name.trim_end_matches(".partial"), size(), SystemId(7))
}

fn planned() -> WalGetOptions {
    WalGetOptions {
        plan: Some(example()),
        read_ahead: 2,
        ..WalGetOptions::default()
    }
}

fn unplanned() -> WalGetOptions {
    WalGetOptions {
        segment_size: size(),
        read_ahead: 1,
        ..WalGetOptions::default()
    }
}

pub(super) const TWO: &str = "000000010000000000000002";
pub(super) const THREE: &str = "000000010000000000000003";
pub(super) const FOUR: &str = "000000010000000000000004";
pub(super) const FIVE: &str = "000000030000000000000005";

#[tokio::test]
async fn segments_are_read_ahead_and_taken_from_the_spool() {
    let archive = Archive::new(&[TWO, THREE, FOUR]);
    assert_eq!(archive.get(TWO, &planned()).await, WalAnswer::Delivered);
    assert_eq!(archive.delivered(), good(TWO));
    assert_eq!(archive.spool(), [THREE, FOUR]);

    // What lies in the spool is given without the archive.
    fs::remove_file(archive.file(THREE, Codec::Gzip)).unwrap();
    assert_eq!(archive.get(THREE, &planned()).await, WalAnswer::Delivered);
    assert_eq!(archive.delivered(), good(THREE));

    // A half-written or foreign file in the spool is thrown away and fetched anew.
    let spooled = archive.temp.path().join("pg_wal/walproof_spool").join(FOUR);
    for bytes in [
        good(FOUR)[..1 << 19].to_vec(),
        segment(FOUR, size(), SystemId(8)),
        good(THREE),
    ] {
        fs::write(&spooled, bytes).unwrap();
        assert_eq!(archive.get(FOUR, &planned()).await, WalAnswer::Delivered);
        assert_eq!(archive.delivered(), good(FOUR));
    }

    // Past the target the spool is emptied.
    fs::write(&spooled, good(FOUR)).unwrap();
    let beyond = archive.get("000000030000000000000007", &planned()).await;
    assert_eq!(beyond.exit_code(), 1, "{beyond}");
    assert_eq!(archive.spool(), [""; 0]);
    assert_eq!(
        names_in(&archive.temp.path().join("pg_wal")),
        ["RECOVERYXLOG"]
    );
}

#[tokio::test]
async fn what_the_plan_needs_is_never_called_absent() {
    let archive = Archive::new(&[TWO]);
    let missing = archive.get(THREE, &planned()).await;
    assert_eq!(missing.exit_code(), 200, "{missing}");
    let history = archive.get("00000003.history", &planned()).await;
    assert_eq!(history.exit_code(), 200, "{history}");
    let optional = archive.get("00000004.history", &planned()).await;
    assert_eq!(optional.exit_code(), 1, "{optional}");
    archive.put("00000004.history", Codec::None, b"<html>");
    let garbled = archive.get("00000004.history", &planned()).await;
    assert_eq!(garbled.exit_code(), 200, "{garbled}");
    let nonsense = archive.get("../../etc/passwd", &planned()).await;
    assert_eq!(nonsense.exit_code(), 200, "{nonsense}");
    assert!(!archive.destination().exists());

    for (bytes, word) in [
        (good(THREE)[..1 << 19].to_vec(), "instead of"),
        (good(FOUR), "another segment"),
        (segment(THREE, size(), SystemId(8)), "database system"),
    ] {
        archive.put(THREE, Codec::Gzip, &bytes);
        let bad = archive.get(THREE, &planned()).await;
        assert_eq!(bad.exit_code(), 200, "{bad}");
        assert!(bad.to_string().contains(word), "{bad}");
    }
    fs::write(archive.file(THREE, Codec::Gzip), b"not gzip").unwrap();
    assert_eq!(archive.get(THREE, &planned()).await.exit_code(), 200);

    // A good object under another extension is as good.
    archive.put(THREE, Codec::Zstd, &good(THREE));
    assert_eq!(archive.get(THREE, &planned()).await, WalAnswer::Delivered);
    assert_eq!(archive.delivered(), good(THREE));
}

#[tokio::test]
async fn without_a_plan_a_hole_is_told_from_the_end() {
    let archive = Archive::new(&[TWO, FOUR]);
    assert_eq!(archive.get(TWO, &unplanned()).await, WalAnswer::Delivered);
    let hole = archive.get(THREE, &unplanned()).await;
    assert_eq!(hole.exit_code(), 200, "{hole}");
    assert!(hole.to_string().contains(FOUR), "{hole}");
    let end = archive.get(FIVE, &unplanned()).await;
    assert_eq!(end.exit_code(), 1, "{end}");

    // Across the border of the archive's folders too.
    let next: SegmentName = "000000010000000100000000".parse().unwrap();
    archive.put(&next.to_string(), Codec::None, &good(&next.to_string()));
    let hole = archive.get("000000010000000000000FFF", &unplanned()).await;
    assert_eq!(hole.exit_code(), 200, "{hole}");
}

#[tokio::test]
async fn an_unfinished_segment_passes_only_when_asked_for() {
    let archive = Archive::new(&[TWO]);
    let partial = format!("{THREE}.partial");
    archive.put(&partial, Codec::Gzip, &good(&partial));
    for options in [planned(), unplanned()] {
        let refused = archive.get(THREE, &options).await;
        assert!(refused.exit_code() > 0, "{refused}");
        let asked = WalGetOptions {
            allow_partial: true,
            ..options
        };
        assert_eq!(archive.get(THREE, &asked).await, WalAnswer::Delivered);
        assert_eq!(archive.delivered(), good(THREE));
        fs::remove_file(archive.destination()).unwrap();
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_absence() {
    let archive = Archive::new(&[TWO]);
    let options = StorageOptions {
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        environment: [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        retry_time: std::time::Duration::from_millis(100),
        ..StorageOptions::default()
    };
    let store = Store::open(&"s3://bucket/orders".parse().unwrap(), &options).unwrap();
    for options in [planned(), unplanned()] {
        let answer = wal_get(&open(store.clone()), TWO, &archive.destination(), &options).await;
        assert_eq!(answer.exit_code(), 201, "{answer}");
    }
}
