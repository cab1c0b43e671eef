//! Names of relations from a running server's catalog.

use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::Failure;
use crate::verify::wal_story::RelationNames;

/// `pg_relation_filenode` also knows the files of mapped relations, whose
/// `pg_class.relfilenode` is 0. Shared relations lie in database 0.
const RELATIONS: &str = "
    SELECT (CASE WHEN c.relisshared THEN 0 ELSE d.oid END)::int8,
           pg_catalog.pg_relation_filenode(c.oid)::int8,
           n.nspname || '.' || c.relname
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
    WHERE pg_catalog.pg_relation_filenode(c.oid) IS NOT NULL";

/// Reads the names of one database's relations. The password comes from `PGPASSWORD` or
/// the password file, never from the URL, which everybody on the machine could read.
pub(super) async fn read(url: &str) -> Result<RelationNames, Failure> {
    if url.split_once("://").is_some_and(|(_, rest)| {
        rest.split_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    }) || url.contains("password=")
    {
        return Err(Failure::usage("a password does not go into --catalog")
            .with_hint("set PGPASSWORD or use a password file (PGPASSFILE, ~/.pgpass)"));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| {
        Failure::usage(format_args!("--catalog: {error}")).with_hint(
            "expected postgres://user@host:5432/database, or postgres:///database?host=/run/postgresql&user=postgres",
        )
    })?;
    let failed = |error: sqlx::Error| {
        Failure::unproven(format_args!("read names from the catalog: {error}")).with_hint(
            "--catalog needs a running server: the live one, or one restored to a moment when the relation still existed (`walproof restore`)",
        )
    };
    let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
    let rows: Vec<(i64, i64, String)> = sqlx::query_as(RELATIONS)
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
    // The answer is there; how the connection ends changes nothing.
    let _ = connection.close().await;
    let mut names = RelationNames::default();
    for (database, relation, name) in rows {
        if let (Ok(database), Ok(relation)) = (u32::try_from(database), u32::try_from(relation)) {
            names.learn(database, relation, name);
        }
    }
    Ok(names)
}
