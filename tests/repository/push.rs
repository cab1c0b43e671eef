//! `walproof wal push`.

use std::path::{Path, PathBuf};

use walproof::backup::{PushError, PushOutcome, push};
use walproof::codec::Codec;
use walproof::postgres::WalFileName;
use walproof::storage::Store;

use crate::common::barman::{BarmanCloud, WalCodec};
use crate::common::postgres::TestServer;
use crate::common::require;
use crate::common::s3::S3Server;
use crate::s3::store;
use crate::tree::Tree;

/// Two segments of 1 MiB as a server wrote them.
fn segments() -> (TestServer, PathBuf, PathBuf) {
    let server = TestServer::options().segment_size_mb(1).create();
    let one = server.psql("select pg_walfile_name(pg_current_wal_lsn())");
    server.psql("create table t as select generate_series(1, 100) as n; select pg_switch_wal()");
    let two = server.psql("select pg_walfile_name(pg_current_wal_lsn())");
    server.psql("insert into t values (0); select pg_switch_wal()");
    let wal = server.data().join("pg_wal");
    let (one, two) = (wal.join(one), wal.join(two));
    (server, one, two)
}

fn name_of(path: &Path) -> WalFileName {
    path.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

async fn stores_refuses_and_repeats(store: &Store, one: &Path, two: &Path) {
    let name = name_of(one);
    let stored = push(store, one, name, Codec::Gzip).await.unwrap();
    let PushOutcome::Stored {
        key,
        bytes,
        stored_bytes,
        ..
    } = stored
    else {
        panic!("{stored:?}");
    };
    assert!(key.ends_with(&format!("/{name}.gz")), "{key}");
    assert_eq!(bytes, 1 << 20);
    assert!(stored_bytes < bytes);
    let before = store.head(&key).await.unwrap().unwrap();

    // Again, and with another codec: the same bytes are there, nothing is written.
    for codec in [Codec::Gzip, Codec::Zstd, Codec::None] {
        let again = push(store, one, name, codec).await.unwrap();
        assert!(
            matches!(&again, PushOutcome::AlreadyStored { key: found, .. } if *found == key),
            "{again:?}"
        );
    }
    assert_eq!(store.head(&key).await.unwrap().unwrap(), before);

    // Other bytes under the same name: refused with both digests, whatever the codec.
    let mut changed = std::fs::read(one).unwrap();
    changed[500_000] ^= 1;
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join(one.file_name().unwrap());
    std::fs::write(&other, changed).unwrap();
    for codec in [Codec::Gzip, Codec::Lz4] {
        let error = push(store, &other, name, codec).await.unwrap_err();
        let PushError::Differs { stored, new, .. } = &error else {
            panic!("{error}");
        };
        assert_ne!(stored, new);
        assert!(error.to_string().contains(stored) && error.to_string().contains(new));
    }
    assert_eq!(store.head(&key).await.unwrap().unwrap(), before);

    // What is there cannot be read: never replaced.
    let key = format!(
        "wals/{}/{}.gz",
        &name_of(two).to_string()[..16],
        name_of(two)
    );
    store.put_new(&key, "cut off".into()).await.unwrap();
    let error = push(store, two, name_of(two), Codec::Gzip)
        .await
        .unwrap_err();
    assert!(
        matches!(error, PushError::StoredUnreadable { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_create_only_and_repeatable_on_files() {
    require!(Postgres);
    let (_server, one, two) = segments();
    let tree = Tree::new();
    stores_refuses_and_repeats(&tree.store(), &one, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_create_only_and_repeatable_on_s3() {
    require!(Postgres, S3);
    let (_server, one, two) = segments();
    let s3 = S3Server::start();
    stores_refuses_and_repeats(&store(&s3, "cluster"), &one, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_named_file_is_not_stored() {
    require!(Postgres);
    let (_server, one, two) = segments();
    let tree = Tree::new();
    let store = tree.store();
    let directory = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(&one).unwrap();
    let zeros = vec![0; 1 << 20];
    let cases: [(&str, &[u8], &str); 5] = [
        ("truncated", &bytes[..1 << 19], "has 524288 bytes"),
        ("empty", &[], "first page"),
        ("zeros", &zeros, "first page"),
        ("text", b"hello", "first page"),
        (
            "longer",
            &[bytes.as_slice(), b"x"].concat(),
            "has 1048577 bytes",
        ),
    ];
    for (file, bytes, words) in cases {
        let path = directory.path().join(file);
        std::fs::write(&path, bytes).unwrap();
        let error = push(&store, &path, name_of(&one), Codec::Gzip)
            .await
            .unwrap_err();
        assert!(
            matches!(error, PushError::NotThisFile { .. }),
            "{file}: {error}"
        );
        assert!(error.to_string().contains(words), "{file}: {error}");
    }
    // Good bytes of another segment, and of another timeline.
    let error = push(&store, &one, name_of(&two), Codec::Gzip)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("it holds the WAL of"), "{error}");
    let missing = push(
        &store,
        &directory.path().join("none"),
        name_of(&one),
        Codec::Gzip,
    )
    .await;
    assert!(matches!(missing, Err(PushError::File { .. })));
    let listed = tree.repository().catalog().await.unwrap();
    assert!(listed.is_empty(), "something was stored");

    // Small files are taken as they are, but not empty.
    let history = directory.path().join("00000002.history");
    std::fs::write(&history, "").unwrap();
    assert!(
        push(&store, &history, name_of(&history), Codec::Gzip)
            .await
            .is_err()
    );
    std::fs::write(&history, "1\t0/5000148\tno recovery target specified\n").unwrap();
    push(&store, &history, name_of(&history), Codec::Gzip)
        .await
        .unwrap();
    let catalog = tree.repository().catalog().await.unwrap();
    assert_eq!(catalog.wal.histories.len(), 1);
    assert!(
        catalog
            .wal
            .histories
            .values()
            .all(|object| object.history.is_ok())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn barman_reads_every_codec_that_walproof_pushes() {
    require!(Postgres, S3, Barman);
    let (_server, one, _) = segments();
    let s3 = S3Server::start();
    let directory = tempfile::tempdir().unwrap();
    for codec in Codec::ALL {
        let folder = format!("push-{codec}");
        push(&store(&s3, &folder), &one, name_of(&one), codec)
            .await
            .unwrap();
        let got = directory.path().join(&folder);
        BarmanCloud::new(&s3, "", &folder)
            .wal_restore(&name_of(&one).to_string(), &got)
            .unwrap();
        assert!(
            std::fs::read(&got).unwrap() == std::fs::read(&one).unwrap(),
            "{codec}"
        );
    }
    // And what barman archived is seen as the same bytes.
    let barman = BarmanCloud::new(&s3, "", "theirs");
    barman.wal_archive(WalCodec::Bzip2, &one).unwrap();
    let outcome = push(&store(&s3, "theirs"), &one, name_of(&one), Codec::Gzip)
        .await
        .unwrap();
    assert!(
        matches!(outcome, PushOutcome::AlreadyStored { .. }),
        "{outcome:?}"
    );
}
