//! Both databases have the same migrations and the same tables, and the older and newer
//! majors of PostgreSQL do as well as the one that the other tests use.

use std::collections::BTreeSet;

use super::testing::{Place, Server, majors, skipped};
use super::{copy_tests, object_tests, postgres, sqlite, tests};

#[test]
fn every_migration_is_there_for_both() {
    let all = |migrator: &'static sqlx::migrate::Migrator| -> Vec<(i64, &'static str)> {
        migrator
            .iter()
            .map(|migration| (migration.version, &*migration.description))
            .collect()
    };
    let (here, there) = (all(&sqlite::MIGRATIONS), all(&postgres::MIGRATIONS));
    assert_eq!(here, there);
    let versions: Vec<i64> = here.iter().map(|(version, _)| *version).collect();
    let expected: Vec<i64> = (1..).take(here.len()).collect();
    assert_eq!(versions, expected);
}

/// What PostgreSQL needs where SQLite has locks of files.
const MORE: [&str; 11] = [
    "processes",
    "processes.beat_at",
    "processes.host",
    "processes.id",
    "processes.pid",
    "processes.started_at",
    "processes.version",
    "pair_holders",
    "pair_holders.hold_id",
    "pair_holders.pair_id",
    "pair_holders.process_id",
];

#[tokio::test(flavor = "multi_thread")]
async fn tables_columns_and_what_may_be_null_agree() {
    let Some(server) = Place::postgres().await else {
        return;
    };
    server.open().await.close().await;
    let file = Place::sqlite();
    file.open().await.close().await;
    let of_file = file
        .texts(
            "SELECT t.name || '.' || c.name || CASE WHEN c.\"notnull\" OR c.pk THEN '' ELSE '?' END \
             FROM sqlite_schema t, pragma_table_info(t.name) c \
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> '_sqlx_migrations' \
             UNION ALL SELECT name FROM sqlite_schema \
             WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations' \
             UNION ALL SELECT 'index ' || name FROM sqlite_schema \
             WHERE type = 'index' AND sql IS NOT NULL",
        )
        .await;
    let of_server = server
        .texts(
            "SELECT table_name || '.' || column_name || CASE is_nullable WHEN 'NO' THEN '' ELSE '?' END \
             FROM information_schema.columns \
             WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' \
             UNION ALL SELECT table_name::text FROM information_schema.tables \
             WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations' \
             UNION ALL SELECT 'index ' || indexname FROM pg_indexes WHERE schemaname = 'public' \
             AND indexdef NOT LIKE 'CREATE UNIQUE INDEX % ON %._sqlx_migrations %' \
             AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname)",
        )
        .await;
    let of_file: BTreeSet<String> = of_file.into_iter().collect();
    let mut of_server: BTreeSet<String> = of_server.into_iter().collect();
    for name in MORE.into_iter().chain(["runs.process_id?"]) {
        assert!(of_server.remove(name), "{name} is gone: correct the list");
    }
    let differ: Vec<_> = of_file.symmetric_difference(&of_server).collect();
    assert!(differ.is_empty(), "only one of the two has {differ:?}");
    assert!(of_file.contains("records.sha256"));
}

/// The oldest and the newest major that are installed, besides the one of all the other
/// tests.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_and_the_newest_major_do_as_well() {
    let all = majors();
    let ends = [all.first(), all.last()];
    if all.len() < 2 {
        skipped("only one major of PostgreSQL is installed");
    }
    for (major, bin) in ends.into_iter().flatten() {
        eprintln!("PostgreSQL {major}");
        let server = Server::start(bin, &[]);
        let place = async || Place::on(&server).await;
        tests::a_run_is_kept_with_its_findings_and_report(&place().await).await;
        tests::the_history_is_narrowed_by_each_filter(&place().await).await;
        tests::a_drill_is_kept_with_its_record_as_rows_and_as_file(&place().await).await;
        tests::records_cannot_be_changed_removed_or_replaced_by_any_program(&place().await).await;
        tests::a_run_that_is_given_up_is_interrupted_at_the_next_start(&place().await).await;
        tests::many_processes_may_begin_at_once(&place().await).await;
        tests::what_cannot_be_text_is_kept_all_the_same(&place().await).await;
        object_tests::an_object_is_kept_whole_and_per_place(&place().await).await;
        object_tests::the_summary_counts_what_is_there_and_the_marked_are_found(&place().await)
            .await;
        object_tests::keys_sort_by_bytes(&place().await).await;
        object_tests::writers_at_once_do_not_undo_each_other(&place().await).await;
        copy_tests::copies_are_kept_whole_and_apart_by_pair(&place().await).await;
        copy_tests::one_process_holds_a_pair(&place().await).await;
        copy_tests::a_database_of_the_version_before_learns_new_kinds_of_runs(&place().await).await;
    }
}
