//! The WAL server and its client, over a small archive of files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::get_tests::{Archive, FIVE, FOUR, THREE, TWO, good};
use super::plan::tests::example;
use super::{WalAnswer, WalServer, WalServerOptions, fetch};
use crate::codec::{Codec, Sha256};

async fn start(archive: &Archive) -> WalServer {
    let repository = archive.repository();
    // A base backup tells the segment size, by which names are read.
    let info = archive.temp.path().join("orders/base/20261121T120000");
    fs::create_dir_all(&info).unwrap();
    fs::write(
        info.join("backup.info"),
        "status=DONE\nsystemid=7\ntimeline=1\nxlog_segment_size=1048576\n",
    )
    .unwrap();
    let catalog = repository.catalog().await.unwrap();
    assert_eq!(catalog.wal.segment_size, example().segment_size);
    WalServer::start(
        repository,
        Arc::new(catalog),
        example(),
        WalServerOptions::new(archive.temp.path().join("wal.sock")),
    )
    .unwrap()
}

async fn ask(archive: &Archive, name: &str) -> WalAnswer {
    let (socket, destination, name) = (
        archive.temp.path().join("wal.sock"),
        archive.destination(),
        name.to_owned(),
    );
    tokio::task::spawn_blocking(move || fetch(&socket, &name, &destination))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_files_are_given_and_written_down() {
    let archive = Archive::new(&[TWO, THREE, FOUR, FIVE]);
    archive.put("00000003.history", Codec::None, b"1\t0/500000\tx\n");
    let server = start(&archive).await;
    for name in [TWO, THREE, TWO, FOUR, FIVE] {
        assert_eq!(ask(&archive, name).await, WalAnswer::Delivered, "{name}");
        assert_eq!(fs::read(archive.destination()).unwrap(), good(name));
    }
    assert_eq!(
        ask(&archive, "00000003.history").await,
        WalAnswer::Delivered
    );
    let mode = fs::metadata(server.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Reading ahead over the plan's missing end harms nobody.
    let missing = ask(&archive, "000000030000000000000006").await;
    assert_eq!(missing.exit_code(), 200, "{missing}");
    let beyond = ask(&archive, "000000030000000000000007").await;
    assert_eq!(beyond.exit_code(), 1, "{beyond}");

    let log = server.stop();
    assert_eq!(log.served.len(), 6);
    assert_eq!(log.served[1].sha256, Sha256::of(&good(THREE)).to_string());
    assert_eq!(log.served[1].bytes, 1 << 20);
    assert_eq!(log.bytes(), 5 * (1 << 20) + 13);
    assert_eq!(log.stopped_by().unwrap().name, "000000030000000000000006");
    assert_eq!(log.refused.len(), 2);
    assert!(!archive.temp.path().join("wal.sock").exists());
    assert_eq!(ask(&archive, TWO).await.exit_code(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_questions_are_answered_and_harm_nobody() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    let archive = Archive::new(&[TWO]);
    let server = start(&archive).await;
    let socket = server.socket().to_owned();
    let answers = tokio::task::spawn_blocking(move || {
        [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\n",
            b"walproof-wal/1 ../../x\n",
            &[b'x'; 5_000],
        ]
        .map(|question| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            // The server may have answered and hung up before all is written.
            let _ = stream.write_all(question);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        })
    })
    .await
    .unwrap();
    for answer in &answers[..3] {
        assert!(answer.starts_with("walproof-wal/1 stop "), "{answer:?}");
    }
    assert_eq!(ask(&archive, TWO).await, WalAnswer::Delivered);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_path_that_no_system_takes_is_explained() {
    let archive = Archive::new(&[TWO]);
    let repository = archive.repository();
    let catalog = Arc::new(repository.catalog().await.unwrap());
    let long = archive.temp.path().join("x".repeat(120));
    let error = WalServer::start(repository, catalog, example(), WalServerOptions::new(long))
        .err()
        .unwrap();
    assert!(error.to_string().contains("shorter scratch"), "{error}");
    assert!(error.is_unreachable());
}
