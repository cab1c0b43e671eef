//! Without a base backup WAL itself tells how large its segments are.

use serde_json::Value;

use crate::common::damage::Tree;
use crate::common::postgres::TestServer;
use crate::common::require;
use crate::common::walproof::run;
use crate::transaction;

fn show(tree: &Tree, code: i32) -> Value {
    let url = tree.url();
    run(&["wal", "show", &url, "--output", "json"], &[])
        .expect_code(code)
        .json()
}

#[test]
fn segments_of_1_and_64_mib_are_read_without_a_base_backup() {
    require!(Postgres);
    for megabytes in [1, 64] {
        let mut server = TestServer::options()
            .segment_size_mb(megabytes)
            .setting("min_wal_size", &format!("{}MB", megabytes * 2))
            .setting("archive_mode", "on")
            .setting("archive_command", "false")
            .create();
        let tree = Tree::empty("orders");
        tree.archive(&server, true);
        server.script("CREATE TABLE ledger (id int, t text);");
        let file = server.number("SELECT pg_relation_filenode('ledger')");
        for _ in 0..3 {
            server.script("INSERT INTO ledger SELECT i, 'row' FROM generate_series(1, 4000) i");
            server.psql("SELECT pg_switch_wal()");
        }
        let dropping = transaction(&server, "DROP TABLE ledger");
        server.archive_all();
        server.stop();

        let segments = tree.segments();
        assert!(segments.len() >= 4, "{segments:?}");
        let shown = show(&tree, 0);
        let read = &shown["read"];
        assert_eq!(read["findings"], serde_json::json!([]), "{megabytes}");
        assert_eq!(read["whole"], true, "{megabytes}");
        assert_eq!(read["segments"], segments.len(), "{megabytes}");
        assert_eq!(
            read["bytes"],
            segments.len() as u64 * (u64::from(megabytes) << 20)
        );
        assert_eq!(
            read["stretches"].as_array().unwrap().len(),
            1,
            "{megabytes}"
        );

        let (url, wanted) = (tree.url(), file.to_string());
        let arguments = [
            "wal",
            "find",
            &url,
            "--output",
            "json",
            "--dropped",
            &wanted,
        ];
        let found = run(&arguments, &[]).expect_code(0).json();
        assert_eq!(found["found"]["hits"][0]["xid"], dropping);

        // The first segment does not tell it, and others do.
        let key = tree.wal_key(&segments[0]);
        tree.change_inside(&key, |bytes| bytes[..8192].fill(0));
        let shown = show(&tree, 1);
        let stretches = shown["read"]["stretches"].as_array().unwrap();
        assert_eq!(stretches.len(), 1, "{megabytes}");
        assert_eq!(stretches[0]["first_segment"], segments[1], "{megabytes}");
    }
}
