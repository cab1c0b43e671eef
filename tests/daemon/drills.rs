//! Two daemons on one PostgreSQL whose jobs are drills: both are killed while servers of
//! drills run, and after the last sweep nothing of them is left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::require;
use crate::two::{Shared, until};

/// When drills are due.
const OFTEN: &str = "*/5 * * * * *";

/// Command lines of processes that name a directory.
fn processes(directory: &Path) -> Vec<String> {
    let needle = directory.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains(needle))
        .collect()
}

fn left(scratch: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(scratch)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default()
}

#[test]
fn two_that_are_killed_while_drills_run_leave_nothing() {
    require!(Postgres);
    let shared = Shared::with(3, &format!("{{job: drill, cron: '{OFTEN}'}}"), "");
    let scratch = shared.ground.path().join("scratch");
    std::fs::create_dir(shared.ground.path().join("drills")).unwrap();
    std::fs::write(
        shared.ground.path().join("drills/short.yaml"),
        format!(
            "version: 1\nname: short\nclusters: [c0, c1, c2]\nscratch: {}\nchecks:\n- {{name: slow, database: postgres, sql: 'SELECT pg_sleep(1)', rows: [['']]}}\n",
            scratch.display()
        ),
    )
    .unwrap();
    let mut daemons = [
        shared.ground.daemon_called("a"),
        shared.ground.daemon_called("b"),
    ];
    let names = ["a", "b"];
    let begin = Instant::now();
    let mut seed = u64::from(std::process::id()) | 1;
    let (mut kills, mut caught) = (0, 0);
    while begin.elapsed() < Duration::from_secs(10) {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        until(&[&daemons[0], &daemons[1]], "a drill", || {
            !left(&scratch).is_empty()
        });
        std::thread::sleep(Duration::from_millis((seed >> 33) % 2_500));
        let which = usize::from((seed >> 20) & 1 == 1);
        daemons[which].kill();
        kills += 1;
        caught += usize::from(!left(&scratch).is_empty());
        daemons[which] = shared.ground.daemon_called(names[which]);
    }
    assert!(kills >= 2 && caught >= 1, "{kills} kills, {caught} caught");
    // Both at once, in the middle of drills.
    until(&[&daemons[0], &daemons[1]], "drills at work", || {
        !processes(&scratch).is_empty()
    });
    for daemon in &mut daemons {
        daemon.kill();
    }
    assert!(!left(&scratch).is_empty());
    // Nothing more comes due. One alone takes the work over, and brings it to its end.
    let text = std::fs::read_to_string(shared.ground.config()).unwrap();
    shared.ground.write(&text.replace(OFTEN, "0 0 29 2 *"));
    let last = shared.ground.daemon_called("last");
    until(&[&last], "the queue to be empty", || {
        shared.ask("UPDATE jobs SET run_after = due_at WHERE status = 'waiting'");
        shared.number("SELECT count(*) FROM jobs WHERE status IN ('running', 'waiting')") == 0
    });
    assert_eq!(last.stop(), 0);
    // As if a minute had gone by: so long the dead are not taken for dead. Then one that
    // starts sweeps for the last time.
    shared.ask("UPDATE processes SET beat_at = beat_at - interval '2 minutes'");
    let mut sweeper = shared.ground.daemon_called("sweeper");
    sweeper.until_log("the schedules are in the state");
    assert_eq!(sweeper.stop(), 0);
    println!(
        "{kills} kills and two, {caught} of them in drills, {} done",
        shared.done()
    );
    assert_eq!(left(&scratch), Vec::<std::path::PathBuf>::new());
    assert_eq!(processes(&scratch), Vec::<String>::new());
    for nothing in [
        "SELECT id FROM runs WHERE status = 'running'",
        "SELECT name || ' ' || holder FROM leases WHERE holder IS NOT NULL",
        "SELECT key || ' ' || holder FROM jobs WHERE holder IS NOT NULL AND status IN ('running', 'waiting')",
    ] {
        assert_eq!(shared.ask(nothing), Vec::<String>::new(), "{nothing}");
    }
    // What came to its end did so once, and every job that was done did.
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let sql = "SELECT cluster || ' ' || (text::json #>> '{body,run,asked,due_at}') FROM entries \
               WHERE kind = 'drill' AND text::json #>> '{body,run,exit_code}' = '0'";
    for moment in shared.ask(sql) {
        *ends.entry(moment).or_default() += 1;
    }
    assert!(ends.values().all(|times| *times == 1), "{ends:?}");
    assert_eq!(ends.len() as u64, shared.done(), "a job done has its entry");
    assert!(!ends.is_empty());
    shared
        .ground
        .walproof(&["evidence", "verify"])
        .expect_code(0);
}
