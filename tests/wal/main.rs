//! `walproof wal show` and `wal find`: the archive alone tells when something happened.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code; clippy knows only functions marked #[test] as such"
)]

#[path = "../common/mod.rs"]
mod common;

mod find;
mod show;
mod sizes;

use common::damage::Tree;
use common::postgres::TestServer;

/// What was done, and where the server says it was done.
pub(crate) struct Story {
    pub(crate) server: TestServer,
    pub(crate) tree: Tree,
    pub(crate) database: i64,
    /// File numbers: of `invoices` before it was dropped, of `journal` before it was
    /// truncated, of `ledger`, which stays.
    pub(crate) invoices: i64,
    pub(crate) journal: i64,
    pub(crate) ledger: i64,
    pub(crate) dropping: i64,
    pub(crate) truncating: i64,
    /// The last commit before the drop.
    pub(crate) before_drop: i64,
}

/// Runs a statement in a transaction and tells its number.
fn transaction(server: &TestServer, sql: &str) -> i64 {
    let output = server.psql(&format!(
        "BEGIN; {sql}; SELECT 'xid:' || pg_current_xact_id(); COMMIT;"
    ));
    output
        .lines()
        .find_map(|line| line.trim().strip_prefix("xid:"))
        .unwrap_or_else(|| panic!("no number in {output:?}"))
        .parse()
        .unwrap()
}

/// A server that archives into a tree, with a drop, a truncation and a restore point.
pub(crate) fn story() -> Story {
    let mut server = TestServer::options()
        .setting("archive_mode", "on")
        .setting("archive_command", "false")
        .create();
    let tree = Tree::empty("orders");
    tree.archive(&server, true);
    server.script(
        "CREATE TABLE invoices (id int PRIMARY KEY, t text);
         INSERT INTO invoices SELECT i, 'invoice ' || i FROM generate_series(1, 20000) i;
         CREATE TABLE journal (id int, t text);
         INSERT INTO journal SELECT i, 'entry ' || i FROM generate_series(1, 20000) i;
         CREATE TABLE ledger (id int, t text);",
    );
    let file = |name: &str| server.number(&format!("SELECT pg_relation_filenode('{name}')"));
    let (invoices, journal, ledger) = (file("invoices"), file("journal"), file("ledger"));
    let database =
        server.number("SELECT oid::int8 FROM pg_database WHERE datname = current_database()");
    server.psql("SELECT pg_create_restore_point('before release')");
    let before_drop = transaction(&server, "INSERT INTO ledger VALUES (1, 'last one before')");
    let dropping = transaction(&server, "DROP TABLE invoices");
    server.psql("SELECT pg_switch_wal()");
    server.script("INSERT INTO ledger SELECT i, 'after' FROM generate_series(1, 20000) i");
    server.psql("SELECT pg_switch_wal()");
    let truncating = transaction(&server, "TRUNCATE journal");
    server.script("INSERT INTO journal VALUES (1, 'new')");
    server.psql("SELECT pg_create_restore_point('after release')");
    server.archive_all();
    server.stop();
    Story {
        server,
        tree,
        database,
        invoices,
        journal,
        ledger,
        dropping,
        truncating,
        before_drop,
    }
}
