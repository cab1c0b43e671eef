//! Healthy repositories that look damaged: not one finding, however deep the reading, and a
//! restore of each gives what the server itself said.

use std::fmt::Write as _;

use ::walproof::finding::Code;
use ::walproof::verify::Depth;

use crate::common::damage::Tree;
use crate::common::{require, scratch, walproof};
use crate::matrix;
use crate::worlds::{Facts, World};

/// A drill from `backup`: the real server replays it to the tip, `pg_amcheck` and
/// `pg_checksums` find nothing, and each question has its answer. `Err` holds the reasons.
pub(crate) fn is_healthy_by_a_restore(
    tree: &Tree,
    backup: &str,
    facts: &Facts,
    programs: &str,
) -> Result<(), String> {
    let keep = scratch::directory();
    let mut lines = String::from("version: 1\nname: test\n");
    // Of other majors there are servers only, without their tools.
    if programs.is_empty() {
        writeln!(lines, "amcheck: {{}}\nchecksums: {}", facts.checksums).unwrap();
    }
    lines.push_str("checks:\n");
    for (number, (sql, answer)) in facts.answers.iter().enumerate() {
        writeln!(
            lines,
            "- {{name: q{number}, database: postgres, sql: '{sql}', expect: '= {answer}'}}"
        )
        .unwrap();
    }
    let definition = keep.path().join("drill.yaml");
    std::fs::write(&definition, lines).unwrap();
    let scratch = keep.path().join("scratch");
    let state = format!("sqlite://{}/state.sqlite", keep.path().display());
    let url = tree.url();
    let mut arguments = vec![
        "drill",
        "run",
        &url,
        "--output",
        "json",
        "--backup",
        backup,
        "--definition",
        definition.to_str().unwrap(),
        "--scratch",
        scratch.to_str().unwrap(),
        "--state",
        &state,
    ];
    if !programs.is_empty() {
        arguments.extend(["--pg-bin", programs]);
    }
    let run = walproof::run(&arguments, &[]);
    let report = run.json();
    if report["verdict"] == "proven" {
        Ok(())
    } else {
        Err(format!(
            "{:#}\n{:#}\n{}",
            report["reasons"], report["findings"], run.stderr
        ))
    }
}

/// What may be told of a healthy repository, for information.
const TOLD: &[Code] = &[Code::WalSettingsRaised];

/// A world, held against what PostgreSQL itself says of it.
fn world(name: &str) -> World {
    let world = World::get(name);
    let facts = &world.facts;
    let report = matrix::read(&world.tree().url());
    let findings: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| !TOLD.contains(&finding.code))
        .collect();
    assert!(findings.is_empty(), "{name}: {findings:#?}");
    assert_eq!(
        report.counts.usable_backups,
        facts.backups.len() as u64,
        "{name}"
    );
    assert_eq!(report.depth, Depth::Read, "{name}");
    for (backup, raw) in facts.backups.iter().zip(&facts.raw) {
        let mut bases = report.bases.iter();
        let base = bases.find(|base| base.backup_id == *backup).unwrap();
        let pages = base.pages;
        println!("{name}, {backup}: {pages:?}");
        assert_eq!(pages.corrupt + pages.stale + pages.beyond_end, 0);
        assert_eq!(pages.suspect, 0, "not settled");
        assert_eq!(facts.checksums, base.checksums);
        let unproven = pages.without_checksum;
        assert_eq!(unproven > 0, !facts.checksums, "{unproven}");
        let Some(raw) = raw else { continue };
        // Temporary relations are removed by the server; there is nothing to read in them.
        let temporary = |file: &str| file.rsplit('/').next().unwrap().starts_with('t');
        let of_temporary = raw.bad.iter().filter(|(file, _)| temporary(file));
        let of_temporary: usize = of_temporary.map(|(_, blocks)| blocks.len()).sum();
        let torn = raw.torn() as u64;
        let reset = (raw.torn_but_reset() - of_temporary) as u64;
        println!(
            "{name}, {backup}: {torn} of {} blocks torn, {reset} more of what recovery resets, {} files end within a block",
            raw.blocks,
            raw.ragged.len()
        );
        // Pages that were copied before WAL of the backup changed them count as healed too.
        assert!(pages.healed + pages.reset >= torn + reset, "{pages:?}");
        assert!(pages.read <= raw.blocks);
    }
    for (number, backup) in facts.backups.iter().enumerate() {
        // The newest only: a restore takes seconds, and its WAL goes through all the rest.
        if number + 1 == facts.backups.len() {
            is_healthy_by_a_restore(&world.tree(), backup, facts, "")
                .unwrap_or_else(|words| panic!("{name}, {backup}: {words}"));
        }
    }
    world
}

#[test]
fn pages_torn_and_files_rewritten_while_the_copy_runs() {
    require!(Postgres, S3, Barman);
    let world = world("heavy writes");
    let raw = world.facts.raw.last().unwrap().as_ref().unwrap();
    assert!(raw.torn() > 0, "no page was torn: the test shows nothing");
    assert!(raw.torn_but_reset() > 0, "no unlogged page was torn");
    let has = |what: &dyn Fn(&str) -> bool| raw.files.iter().any(|file| what(file));
    assert!(has(&|file| file.ends_with("pg_internal.init")));
    assert!(has(&|file| file.contains("/pgsql_tmp/")));
    assert!(has(&|file| file.contains("/t") && file.starts_with("base/")));
    assert!(has(&|file| file.ends_with("_init")));
}

#[test]
fn a_cluster_without_checksums() {
    require!(Postgres, S3, Barman);
    let world = world("no checksums");
    assert!(!world.facts.checksums);
}

#[test]
fn a_copy_of_a_standby_whose_primary_crashes() {
    require!(Postgres, S3, Barman);
    // One process replays, so a torn page is likely and not certain here.
    world("from a standby");
}

#[test]
fn crashes_a_record_cut_off_and_a_promotion() {
    require!(Postgres, S3, Barman);
    assert_eq!(world("crashes").facts.timeline, 2);
}

#[test]
fn segments_ended_early_and_recycled() {
    require!(Postgres, S3, Barman);
    world("early switches");
}
