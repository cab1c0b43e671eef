//! A month of a fleet in simulated time, through the real verification and replication of
//! real repositories, held against a computation of its own; and what an idle daemon costs.
//!
//! The suite runs a small one. `scripts/soak` runs the full size with these variables:
//! `WALPROOF_SOAK_CLUSTERS`, `WALPROOF_SOAK_DAYS`, `WALPROOF_SOAK_IDLE` (seconds).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use walproof::config::StateUrl;
use walproof::daemon::clock::{Clock, SimulatedClock};
use walproof::daemon::{Daemon, DaemonOptions, InProcess, Signals};
use walproof::evidence::ledger::Walk;
use walproof::state::State;

use crate::common::process::run;
use crate::common::require;
use crate::kit::{Ground, repository};

/// The daemon looks this often in simulated time.
const TICK: Duration = Duration::from_mins(5);
/// One cluster in so many has a replica.
const REPLICATED: usize = 10;
/// The fleet stays down from noon of this day, for so many days.
const DOWN_FROM: u64 = 5;
const DOWN_FOR: u64 = 3;

fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name)
        .ok()
        .map_or(otherwise, |text| text.parse().unwrap())
}

/// Resident memory of a process in MiB.
fn resident(process: &str) -> u64 {
    memory(process, "VmRSS:")
}

/// Memory of a process by its name in `/proc/…/status`, in MiB.
fn memory(process: &str, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(what))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024
}

/// Noon of a day of the soak, which goes over the end of summer time.
fn noon(day: u64) -> DateTime<Utc> {
    let first = NaiveDate::from_ymd_opt(2026, 10, 20).unwrap();
    let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap();
    (first + Days::new(day)).and_time(noon).and_utc()
}

/// Every 02:30 in Berlin of the soak: on 25 October the first of two.
fn due(from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeSet<DateTime<Utc>> {
    let mut due = BTreeSet::new();
    let mut date = from.date_naive() - Days::new(1);
    while date <= to.date_naive() + Days::new(1) {
        let wall = date.and_time(NaiveTime::from_hms_opt(2, 30, 0).unwrap());
        let moment = chrono_tz::Europe::Berlin
            .from_local_datetime(&wall)
            .earliest()
            .unwrap()
            .with_timezone(&Utc);
        if moment > from && moment <= to {
            due.insert(moment);
        }
        date = date + Days::new(1);
    }
    due
}

/// A fleet whose repositories share their bytes by hard links.
fn fleet(ground: &Ground, clusters: usize) {
    let mut text = format!(
        "version: 1\nstate: {}\ntime_zone: Europe/Berlin\ntiers: {{plain: , copied: }}\nclusters:\n",
        ground.state
    );
    let root = ground.path().join("fleet");
    std::fs::create_dir_all(&root).unwrap();
    for number in 0..clusters {
        let place = root.join(format!("c{number}"));
        link(repository().root(), &place);
        let place = place.display();
        let _ = if number % REPLICATED == 0 {
            writeln!(
                text,
                "- {{name: c{number}, tier: copied, primary: {{url: 'file://{place}'}}, replicas: [{{url: 'file://{place}-copy'}}]}}"
            )
        } else {
            writeln!(
                text,
                "- {{name: c{number}, tier: plain, primary: {{url: 'file://{place}'}}}}"
            )
        };
    }
    text.push_str(
        "schedules:
- {name: verify, job: verify, cron: '30 2 * * *', jitter: 2h, copies: [primary]}
- {name: copy, job: replicate, cron: '30 2 * * *', jitter: 1h, tiers: [copied]}
daemon: {jobs: 4}
",
    );
    ground.write(&text);
}

fn link(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-al").arg(from).arg(to));
}

/// Lets a daemon live from where the clock stands until a moment. Gives the resident memory
/// at `look`, if that lies between.
async fn live(
    ground: &Ground,
    state: &State,
    clock: &SimulatedClock,
    until: DateTime<Utc>,
    look: DateTime<Utc>,
) -> Option<u64> {
    let config = walproof::config::load(&ground.config()).unwrap();
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    // Time stands still until everybody has begun.
    let awake = clock.awake();
    let daemon = Daemon::start(
        state.clone(),
        DaemonOptions {
            config,
            file: None,
            state_url: None,
            clock: shared,
            executor: Arc::new(InProcess::new(state.clone())),
            tick: TICK,
            overlay: None,
            process: false,
        },
    )
    .await
    .unwrap();
    let (stop, stopped) = watch::channel(false);
    let (_hangup, hangup) = mpsc::channel(1);
    let controller = clock.clone();
    let control = tokio::spawn(async move {
        let mut seen = None;
        let mut awake = awake;
        if look > controller.now() && look < until {
            let sleep = controller.sleep_until(look);
            drop(awake);
            awake = sleep.await;
            seen = Some(resident("self"));
        }
        let sleep = controller.sleep_until(until);
        drop(awake);
        let _awake = sleep.await;
        stop.send_replace(true);
        seen
    });
    daemon
        .run(Signals {
            stop: stopped,
            hangup,
        })
        .await
        .unwrap();
    control.await.unwrap()
}

/// What the ledger says of each cluster.
#[derive(Debug, Default)]
struct Told {
    runs: BTreeMap<(String, String), Vec<DateTime<Utc>>>,
    late: BTreeMap<(String, String), u64>,
    missed: u64,
    skipped: u64,
    entries: u64,
}

async fn told(state: &State) -> Told {
    let mut told = Told::default();
    let mut walk = Walk::new();
    loop {
        let entries = state.entries(told.entries, 1_000).await.unwrap();
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            walk.step(&entry).unwrap();
            told.entries = entry.sequence;
            let content = entry.content().unwrap();
            let key = |body: &Value| {
                let cluster = content.cluster.clone().unwrap();
                (cluster, body.as_str().unwrap().to_owned())
            };
            let body = &content.body;
            match content.kind.as_str() {
                "verify" | "replicate" => {
                    assert_eq!(body["run"]["exit_code"], 0, "{body:#}");
                    let asked = &body["run"]["asked"];
                    let due = asked["due_at"].as_str().unwrap().parse().unwrap();
                    let key = key(&asked["schedule"]);
                    told.runs.entry(key).or_default().push(due);
                }
                "late" => {
                    let over = body["passed_over"].as_u64().unwrap();
                    *told.late.entry(key(&body["schedule"])).or_default() += over;
                }
                "missed" => told.missed += 1,
                "skipped" => told.skipped += 1,
                _ => {}
            }
        }
    }
    told
}

#[test]
fn a_month_of_a_fleet() {
    require!(Postgres);
    let clusters = from_environment("WALPROOF_SOAK_CLUSTERS", 40);
    let days = from_environment("WALPROOF_SOAK_DAYS", 10) as u64;
    assert!(days > DOWN_FROM + DOWN_FOR + 1);
    let ground = Ground::new();
    fleet(&ground, clusters);
    let begin = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let url: StateUrl = ground.state.parse().unwrap();
        let state = State::open(&url).await.unwrap();
        let clock = SimulatedClock::at(noon(0));
        let look = noon(DOWN_FROM) - TimeDelta::hours(1);
        let early = live(&ground, &state, &clock, noon(DOWN_FROM), look)
            .await
            .unwrap();
        // Down: nobody ticks.
        let back = noon(DOWN_FROM + DOWN_FOR);
        drop(clock.sleep_until(back).await);
        live(&ground, &state, &clock, noon(days), noon(0)).await;
        let late = resident("self");
        let told = told(&state).await;
        println!(
            "soak: {clusters} clusters, {days} days, {} entries in {:?}; resident {early} MiB after day {DOWN_FROM}, {late} MiB after day {days}",
            told.entries,
            begin.elapsed()
        );
        check(&told, clusters, days);
        assert!(late <= early + 24, "memory grows: {early} MiB, then {late} MiB");
        state.close().await;
    });
}

fn check(told: &Told, clusters: usize, days: u64) {
    let all = due(noon(0), noon(days));
    let down = due(noon(DOWN_FROM), noon(DOWN_FROM + DOWN_FOR));
    assert_eq!(all.len() as u64, days);
    assert_eq!(down.len() as u64, DOWN_FOR);
    // The newest of those is made up for, the others are passed over.
    let newest = *down.last().unwrap();
    let expected: Vec<DateTime<Utc>> = all
        .iter()
        .copied()
        .filter(|moment| !down.contains(moment) || *moment == newest)
        .collect();
    for number in 0..clusters {
        let schedules: &[&str] = if number % REPLICATED == 0 {
            &["verify", "copy"]
        } else {
            &["verify"]
        };
        for schedule in schedules {
            let key = (format!("c{number}"), (*schedule).to_owned());
            let mut runs = told.runs.get(&key).cloned().unwrap_or_default();
            runs.sort();
            assert_eq!(runs, expected, "{key:?}: once each, in time or late");
            assert_eq!(told.late.get(&key), Some(&(DOWN_FOR - 1)), "{key:?}");
        }
    }
    let replicated = clusters.div_ceil(REPLICATED);
    assert_eq!(told.runs.len(), clusters + replicated, "and nothing else");
    assert_eq!((told.missed, told.skipped), (0, 0));
}

/// Time on the processor of a process, in milliseconds.
fn processor(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, behind) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    // utime and stime, in hundredths of a second.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks * 10
}

#[test]
fn an_idle_daemon_is_small_and_quiet() {
    let clusters = from_environment("WALPROOF_SOAK_CLUSTERS", 1_000);
    let seconds = from_environment("WALPROOF_SOAK_IDLE", 10) as u64;
    let ground = Ground::new();
    let mut text = format!("version: 1\nstate: {}\nclusters:\n", ground.state);
    for number in 0..clusters {
        let _ = writeln!(
            text,
            "- {{name: c{number}, primary: {{url: 'file:///nowhere/c{number}'}}}}"
        );
    }
    text.push_str(
        "schedules:\n- {name: verify, job: verify, cron: '0 0 29 2 *'}\n- {name: drill, job: drill, cron: '0 0 29 2 *'}\ndaemon: {listen: '127.0.0.1:0'}\n",
    );
    ground.write(&text);
    let mut daemon = ground.daemon();
    daemon.until_log("the schedules are in the state");
    // What the start costs is over.
    std::thread::sleep(Duration::from_secs(3));
    let id = daemon.child.id();
    let (before, begin) = (processor(id), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let used = processor(id) - before;
    let share = u128::from(used) * 1_000 / begin.elapsed().as_millis();
    // Its own: how much of the program's file is in memory is a matter of the build.
    let own = memory(&id.to_string(), "RssAnon:");
    println!(
        "idle daemon, {clusters} clusters: {own} MiB of its own, {} MiB resident, {used} ms of processor in {seconds} s",
        resident(&id.to_string())
    );
    assert!(own < 40, "{own} MiB");
    assert!(share < 10, "{share} thousandths of a core");
    assert_eq!(daemon.stop(), 0);
}
