//! Rows whose number is known at every named moment.
//!
//! * `ledger`: numbered rows in transactions, each row labelled with its batch;
//! * `heartbeat`: one row per beat, with the time at which it was written;
//! * `scratchpad`: unlogged, empty after every recovery;
//! * pgbench's tables when `pgbench_init` was called: noise with a checksum.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::postgres::TestServer;

/// What the server said right after a commit, while nothing else ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The name it was taken under: also a label in `ledger` and, if WAL was on its way, a
    /// restore point of the same name right after it.
    pub name: String,
    /// The timeline.
    pub timeline: u32,
    /// The insert position after the commit, `X/X`: every WAL record up to here belongs to
    /// the moment, no later commit does.
    pub lsn: String,
    /// The last commit's transaction id.
    pub xid: u32,
    /// The last commit's time, by the server's own books (`track_commit_timestamp`).
    pub time: DateTime<Utc>,
    /// Rows of `ledger`.
    pub rows: i64,
    /// Sum of the ids of `ledger`.
    pub sum: i64,
    /// Rows of `heartbeat`.
    pub beats: i64,
}

/// Makes the tables. `tablespace` gets a second ledger, `ledger_far`, if given.
pub fn create(server: &TestServer, tablespace: Option<&str>) {
    server.psql(
        "create table ledger (id bigint generated always as identity primary key,
             label text not null, written_at timestamptz not null default clock_timestamp(),
             filler text not null default repeat('x', 100));
         create table heartbeat (id bigint generated always as identity primary key,
             beat_at timestamptz not null default clock_timestamp());
         create unlogged table scratchpad (id int);
         insert into scratchpad select generate_series(1, 10);",
    );
    if let Some(name) = tablespace {
        server.psql(&format!(
            "create table ledger_far (id bigint primary key, label text not null) tablespace {name}"
        ));
    }
}

/// Writes `rows` rows in `transactions` transactions under `label`, and a heartbeat with
/// each transaction. The last commit is a heartbeat's.
pub fn write(server: &TestServer, label: &str, rows: u32, transactions: u32) {
    let per_transaction = rows / transactions.max(1);
    let far = server.psql("select to_regclass('ledger_far') is not null") == "t";
    let far = if far {
        format!(
            "insert into ledger_far select coalesce(max(id), 0) + 1, '{label}' from ledger_far;"
        )
    } else {
        String::new()
    };
    let transaction = format!(
        "begin; insert into ledger (label) select '{label}' from generate_series(1, {per_transaction}); \
         {far} commit; insert into heartbeat default values;\n"
    );
    // A statement of its own each: psql sends a -c script as one transaction otherwise.
    server.script(&transaction.repeat(transactions.max(1) as usize));
}

/// Asks the server where it stands. Nothing else may be writing.
pub fn moment(server: &TestServer, name: &str) -> Moment {
    let line = server.psql(
        "select to_char(timestamp at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
             xid, pg_current_wal_insert_lsn(),
             ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int,
             (select count(*) from ledger), (select coalesce(sum(id), 0) from ledger),
             (select count(*) from heartbeat)
         from pg_last_committed_xact()",
    );
    let fields: Vec<&str> = line.split('|').collect();
    Moment {
        name: name.to_owned(),
        time: fields[0].parse().unwrap(),
        xid: fields[1].parse().unwrap(),
        lsn: fields[2].to_owned(),
        timeline: fields[3].parse().unwrap(),
        rows: fields[4].parse().unwrap(),
        sum: fields[5].parse().unwrap(),
        beats: fields[6].parse().unwrap(),
    }
}

/// Writes rows and gives the moment after them, marked by a restore point of its name.
pub fn write_moment(server: &TestServer, name: &str, rows: u32, transactions: u32) -> Moment {
    write(server, name, rows, transactions);
    let moment = moment(server, name);
    server.psql(&format!("select pg_create_restore_point('{name}')"));
    moment
}

/// Leaves a prepared transaction open, with a row that is not in `ledger` until it commits.
pub fn prepare_transaction(server: &TestServer, gid: &str) {
    server.script(&format!(
        "begin; insert into ledger (label) values ('prepared'); prepare transaction '{gid}';"
    ));
}
