//! The running server: its facts, and the low-level backup API.
//!
//! `pg_backup_start` and `pg_backup_stop` (before 15 `pg_start_backup` and
//! `pg_stop_backup` with `exclusive := false`) must be called in one session: when it ends
//! early, the server gives the backup up by itself.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use crate::postgres::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::repository::Tablespace;

/// Where the server listens. What is `None` comes from the environment (`PGHOST`,
/// `PGPORT`, `PGUSER`, `PGDATABASE`) or has PostgreSQL's default; a password only ever
/// comes from `PGPASSWORD` or the password file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerAddress {
    /// A host name, or the directory of a socket.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The role; it needs `pg_read_all_settings` and the right to call the backup functions.
    pub user: Option<String>,
    /// The database.
    pub database: Option<String>,
}

impl ServerAddress {
    fn options(&self) -> PgConnectOptions {
        let mut options = PgConnectOptions::new().application_name("walproof backup");
        if let Some(host) = &self.host {
            options = if host.starts_with('/') {
                options.socket(host)
            } else {
                options.host(host)
            };
        }
        if let Some(port) = self.port {
            options = options.port(port);
        }
        if let Some(user) = &self.user {
            options = options.username(user);
        }
        match &self.database {
            Some(database) => options.database(database),
            None if options.get_database().is_none() => options.database("postgres"),
            None => options,
        }
    }
}

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerFacts {
    pub(super) version: u32,
    pub(super) system_id: SystemId,
    pub(super) segment_size: SegmentSize,
    pub(super) data_directory: PathBuf,
    pub(super) data_checksums: bool,
    pub(super) in_recovery: bool,
    pub(super) archive_mode: String,
    pub(super) config_file: Option<String>,
    pub(super) hba_file: Option<String>,
    pub(super) ident_file: Option<String>,
    pub(super) cluster_size: Option<u64>,
    pub(super) tablespaces: Vec<Tablespace>,
}

/// Where a backup began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) lsn: Lsn,
    pub(super) timeline: TimelineId,
    pub(super) time: DateTime<Utc>,
}

/// Where a backup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) lsn: Lsn,
    pub(super) time: DateTime<Utc>,
    pub(super) label: String,
}

/// What `pg_stat_archiver` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Archiver {
    pub(super) last_archived: Option<String>,
    pub(super) last_failed: Option<String>,
    pub(super) failures: i64,
}

/// A session of its own.
pub(super) struct Server {
    connection: PgConnection,
    major: u32,
}

impl Server {
    /// Connects and asks for the facts.
    pub(super) async fn connect(
        address: &ServerAddress,
    ) -> Result<(Self, ServerFacts), sqlx::Error> {
        let mut connection = address.options().connect().await?;
        let facts = facts(&mut connection).await?;
        let major = facts.version / 10_000;
        // The session idles while the files are copied, and a slow checkpoint takes its time.
        sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0")
            .execute(&mut connection)
            .await?;
        if major >= 14 {
            sqlx::raw_sql("SET idle_session_timeout = 0")
                .execute(&mut connection)
                .await?;
        }
        Ok((Self { connection, major }, facts))
    }

    /// Begins a backup. Unless `fast`, this waits for a spread checkpoint.
    pub(super) async fn begin(&mut self, label: &str, fast: bool) -> Result<Begin, sqlx::Error> {
        let call = if self.major >= 15 {
            "pg_backup_start($1, $2)"
        } else {
            "pg_start_backup($1, $2, false)"
        };
        let sql = format!(
            "SELECT location::text, (SELECT timeline_id FROM pg_control_checkpoint()), now() FROM {call} AS location"
        );
        // Only one of the two constants above goes into the text.
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(label)
            .bind(fast)
            .fetch_one(&mut self.connection)
            .await?;
        let timeline: i32 = row.try_get(1)?;
        Ok(Begin {
            lsn: decoded(&row, 0)?,
            timeline: TimelineId(unsigned(timeline)?),
            time: row.try_get(2)?,
        })
    }

    /// Ends the backup without waiting for the archive. On a primary the server switches
    /// to a new segment, so that the last one gets archived.
    pub(super) async fn end(&mut self) -> Result<End, sqlx::Error> {
        let call = if self.major >= 15 {
            "pg_backup_stop(false)"
        } else {
            "pg_stop_backup(false, false)"
        };
        let sql = format!("SELECT lsn::text, labelfile, now() FROM {call}");
        let row = sqlx::query(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await?;
        Ok(End {
            lsn: decoded(&row, 0)?,
            label: row.try_get(1)?,
            time: row.try_get(2)?,
        })
    }

    /// Whether the session, and with it the backup, is still alive.
    pub(super) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.connection.ping().await
    }

    /// How archiving goes.
    pub(super) async fn archiver(&mut self) -> Result<Archiver, sqlx::Error> {
        let row = sqlx::query(
            "SELECT last_archived_wal, last_failed_wal, failed_count FROM pg_stat_archiver",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(Archiver {
            last_archived: row.try_get(0)?,
            last_failed: row.try_get(1)?,
            failures: row.try_get(2)?,
        })
    }

    /// Ends the session.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

async fn facts(connection: &mut PgConnection) -> Result<ServerFacts, sqlx::Error> {
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::int, \
                (SELECT system_identifier FROM pg_control_system()), \
                (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'), \
                current_setting('data_directory'), \
                current_setting('data_checksums') = 'on', \
                pg_is_in_recovery(), \
                current_setting('archive_mode'), \
                nullif(current_setting('config_file'), ''), \
                nullif(current_setting('hba_file'), ''), \
                nullif(current_setting('ident_file'), ''), \
                (SELECT sum(pg_database_size(oid))::bigint FROM pg_database)",
    )
    .fetch_one(&mut *connection)
    .await?;
    let version: i32 = row.try_get(0)?;
    let system_id: i64 = row.try_get(1)?;
    let segment_size: i64 = row.try_get(2)?;
    let data_directory: String = row.try_get(3)?;
    let cluster_size: Option<i64> = row.try_get(10)?;
    let mut tablespaces = Vec::new();
    let rows = sqlx::query(
        "SELECT oid::bigint, spcname::text, pg_tablespace_location(oid) FROM pg_tablespace \
         WHERE pg_tablespace_location(oid) <> '' ORDER BY oid",
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let oid: i64 = row.try_get(0)?;
        tablespaces.push(Tablespace {
            oid: u32::try_from(oid).map_err(decode)?,
            name: row.try_get(1)?,
            location: row.try_get(2)?,
        });
    }
    Ok(ServerFacts {
        version: unsigned(version)?,
        // The server shows the unsigned number as a signed one.
        system_id: SystemId(u64::from_ne_bytes(system_id.to_ne_bytes())),
        segment_size: u64::try_from(segment_size)
            .map_err(decode)
            .and_then(|bytes| SegmentSize::new(bytes).map_err(decode))?,
        data_directory: PathBuf::from(data_directory),
        data_checksums: row.try_get(4)?,
        in_recovery: row.try_get(5)?,
        archive_mode: row.try_get(6)?,
        config_file: row.try_get(7)?,
        hba_file: row.try_get(8)?,
        ident_file: row.try_get(9)?,
        cluster_size: cluster_size.and_then(|bytes| u64::try_from(bytes).ok()),
        tablespaces,
    })
}

fn decoded(row: &sqlx::postgres::PgRow, index: usize) -> Result<Lsn, sqlx::Error> {
    let text: String = row.try_get(index)?;
    text.parse().map_err(decode)
}

fn unsigned(number: i32) -> Result<u32, sqlx::Error> {
    u32::try_from(number).map_err(decode)
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
