//! The questions that a drill puts to the restored databases.

use std::time::Duration;

use super::Failure;
use super::source::Source;
use crate::config::{DrillDefinition, Expectation, Period};
use crate::drill::checks::{self, CheckDefinition, CheckKind};

/// The questions: the heartbeat of the cluster, those of the definition, `pg_amcheck`.
pub(super) fn checks_of(
    definition: &DrillDefinition,
    source: &Source,
) -> Result<Vec<CheckDefinition>, Failure> {
    let limit = |period: Option<Period>| period.map_or(checks::DEFAULT_TIMEOUT, Period::as_std);
    let mut all = Vec::new();
    let heartbeat = source
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.heartbeat.as_ref());
    if let Some(beat) = heartbeat {
        all.push(CheckDefinition::new(
            "heartbeat",
            CheckKind::Heartbeat {
                database: beat.database.clone(),
                table: beat.table.clone(),
                column: beat.column.clone(),
                max_age: None,
            },
        ));
    }
    for check in &definition.checks {
        let expectation = match (&check.expect, &check.rows) {
            (_, Some(rows)) => checks::Expectation::Rows(
                rows.iter()
                    .map(|row| row.iter().map(|cell| cell.0.clone()).collect())
                    .collect(),
            ),
            (Some(expect), None) => expectation(expect)?,
            (None, None) => {
                return Err(Failure::configuration(format_args!(
                    "check `{}` has neither `expect` nor `rows`",
                    check.name
                )));
            }
        };
        all.push(CheckDefinition {
            timeout: limit(check.timeout),
            ..CheckDefinition::new(
                &check.name,
                CheckKind::Sql {
                    database: check.database.clone(),
                    sql: check.sql.clone(),
                    expectation,
                },
            )
        });
    }
    if let Some(amcheck) = &definition.amcheck {
        all.push(CheckDefinition {
            // Reading every page takes its time; the drill's own limit holds anyway.
            timeout: amcheck
                .timeout
                .map_or(Duration::from_hours(2), Period::as_std),
            ..CheckDefinition::new(
                "amcheck",
                CheckKind::Amcheck {
                    databases: amcheck.databases.clone(),
                    tables: amcheck.tables.clone(),
                    heapallindexed: amcheck.heapallindexed,
                    jobs: amcheck.jobs.unwrap_or(1),
                },
            )
        });
    }
    if definition.checksums {
        all.push(CheckDefinition {
            timeout: definition
                .timeout
                .map_or(Duration::from_hours(2), Period::as_std),
            ..CheckDefinition::new("checksums", CheckKind::Checksums)
        });
    }
    Ok(all)
}

/// Both rooms write expectations alike; the drill's can judge.
fn expectation(expect: &Expectation) -> Result<checks::Expectation, Failure> {
    expect.to_string().parse().map_err(Failure::configuration)
}
