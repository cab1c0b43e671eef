//! One daemon as a process.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::process::wait_until;
use crate::common::require;
use crate::kit::{Ground, LIMIT, repository};

/// Every two seconds; on a port of its own, with short leases.
const OFTEN: &str = "schedules:
- {name: often, job: verify, cron: '*/2 * * * * *'}
daemon: {listen: '127.0.0.1:0', lease: 3s, reload: 1s}
";

#[test]
fn what_is_due_is_run_and_recorded() {
    require!(Postgres);
    let ground = Ground::new();
    ground.configure(OFTEN);
    let mut daemon = ground.daemon();
    daemon.until("three verifications", || {
        ground.entries_of("verify").len() >= 3
    });
    assert_eq!(daemon.stop(), 0);
    let entries = ground.entries();
    assert_eq!(entries[0]["kind"], "started");
    assert_eq!(entries.last().unwrap()["kind"], "stopped");
    for entry in ground.entries_of("verify") {
        let asked = &entry["body"]["run"]["asked"];
        assert_eq!(asked["trigger"], "schedule", "{entry}");
        assert_eq!(asked["schedule"], "often", "{entry}");
        assert_eq!(entry["cluster"], "orders");
    }
    // No moment twice.
    let due: Vec<String> = ground
        .entries_of("verify")
        .iter()
        .map(|entry| entry["body"]["run"]["asked"]["due_at"].to_string())
        .collect();
    let mut once = due.clone();
    once.dedup();
    assert_eq!(due, once);
}

#[test]
fn what_was_due_while_it_was_down_is_made_up_for_once() {
    require!(Postgres);
    let ground = Ground::new();
    ground.configure(
        "schedules:\n- {name: minutely, job: verify, cron: '* * * * *', deadline: 1h}\ndaemon: {listen: '127.0.0.1:0'}\n",
    );
    let mut daemon = ground.daemon();
    daemon.until_log("the schedules are in the state");
    assert_eq!(daemon.stop(), 0);
    // As if it had been down for five minutes: what is due lies so far back.
    let moved = ground.query(
        "UPDATE schedules SET next_due = next_due - 360 * 1000000 RETURNING CAST(next_due AS TEXT)",
    );
    assert_eq!(moved.len(), 1);
    let before = ground.entries().len();
    let mut daemon = ground.daemon();
    daemon.until("the late one", || !ground.entries_of("verify").is_empty());
    assert_eq!(daemon.stop(), 0);
    let new = &ground.entries()[before..];
    let said: Vec<&str> = new
        .iter()
        .filter_map(|entry| entry["kind"].as_str())
        .filter(|kind| ["late", "missed", "skipped"].contains(kind))
        .collect();
    assert_eq!(said.len(), 1, "{new:#?}");
    let entry = new.iter().find(|entry| entry["kind"] == said[0]).unwrap();
    let passed = match said[0] {
        "late" => entry["body"]["passed_over"].as_u64().unwrap(),
        // The newest was on time, by the minute that it took.
        _ => entry["body"]["moments"].as_u64().unwrap(),
    };
    assert!((4..=6).contains(&passed), "{entry:#}");
    assert_eq!(entry["body"]["reason"], "down");
}

#[test]
fn a_changed_configuration_is_taken_up_as_a_whole_or_not_at_all() {
    require!(Postgres);
    let ground = Ground::new();
    ground.configure(OFTEN);
    let mut daemon = ground.daemon();
    daemon.until("a verification", || !ground.entries_of("verify").is_empty());
    // A mistake: the one before stays.
    ground.configure(&OFTEN.replace("verify", "verfy"));
    daemon.until("the refusal", || {
        ground
            .entries_of("configuration")
            .iter()
            .any(|entry| entry["body"]["accepted"] == false)
    });
    let open = || {
        ground.query("SELECT message FROM incidents WHERE code = 'configuration-refused' AND closed_at IS NULL")
    };
    daemon.until("the incident", || !open().is_empty());
    assert!(open()[0].contains("verfy"), "{:?}", open());
    let runs = ground.entries_of("verify").len();
    daemon.until("it to go on", || {
        ground.entries_of("verify").len() > runs + 1
    });
    // A right one, looked at because of the signal: the schedule has another name.
    ground.configure(
        &OFTEN
            .replace("often", "seldom")
            .replace("reload: 1s", "reload: 1h"),
    );
    daemon.signal(Signal::SIGHUP);
    daemon.until("the new one", || {
        ground
            .entries_of("verify")
            .iter()
            .any(|entry| entry["body"]["run"]["asked"]["schedule"] == "seldom")
    });
    daemon.until("the incident's end", || open().is_empty());
    let accepted = ground
        .entries_of("configuration")
        .into_iter()
        .rfind(|entry| entry["body"]["accepted"] == true)
        .unwrap();
    let changes = accepted["body"]["changes"].to_string();
    assert!(changes.contains("schedule seldom added"), "{changes}");
    assert!(changes.contains("schedule often removed"), "{changes}");
    let names = ground.query("SELECT schedule FROM schedules");
    assert_eq!(names, ["seldom"]);
    assert_eq!(daemon.stop(), 0);
}

/// A drill that asks the restored server for something that takes long.
const LONG_DRILL: &str = "version: 1
name: long
clusters: [orders]
checks:
- {name: slow, database: postgres, sql: 'SELECT pg_sleep(300)', rows: [['']]}
";

fn drilling() -> Ground {
    let ground = Ground::new();
    std::fs::create_dir(ground.path().join("drills")).unwrap();
    let scratch = ground.path().join("scratch");
    let drill = format!("{LONG_DRILL}scratch: {}\n", scratch.display());
    std::fs::write(ground.path().join("drills/long.yaml"), drill).unwrap();
    ground.configure(
        "schedules:\n- {name: drill, job: drill, cron: '*/2 * * * * *', deadline: 1h}\ndaemon: {listen: '127.0.0.1:0', lease: 3s, stop_within: 60s}\n",
    );
    ground
}

/// Directories in which drills work.
fn scratches(ground: &Ground) -> usize {
    std::fs::read_dir(ground.path().join("scratch")).map_or(0, Iterator::count)
}

fn wait_for_drill(ground: &Ground, daemon: &mut crate::kit::Daemon) {
    daemon.until("the drill's checks", || {
        ground
            .query("SELECT progress FROM jobs WHERE status = 'running' AND progress IS NOT NULL")
            .iter()
            .any(|progress| progress.contains("checks"))
    });
}

#[test]
fn a_drill_that_runs_when_it_is_stopped_cleans_up_and_is_handed_back() {
    require!(Postgres);
    let ground = drilling();
    let mut daemon = ground.daemon();
    wait_for_drill(&ground, &mut daemon);
    // Later moments are left out meanwhile.
    daemon.until("what is left out", || {
        !ground.entries_of("skipped").is_empty()
    });
    let begin = Instant::now();
    assert_eq!(daemon.stop(), 0);
    assert!(begin.elapsed() < Duration::from_mins(1));
    assert_eq!(scratches(&ground), 0, "nothing is left");
    assert_eq!((ground.jobs("running"), ground.jobs("waiting")), (0, 1));
    let attempts = ground.query("SELECT CAST(attempts AS TEXT) FROM jobs WHERE status = 'waiting'");
    assert_eq!(attempts, ["0"], "what was handed back does not count");
}

#[test]
fn a_daemon_that_is_killed_is_swept_after_and_its_job_comes_back() {
    require!(Postgres);
    let ground = drilling();
    let mut daemon = ground.daemon();
    wait_for_drill(&ground, &mut daemon);
    let first = ground.query("SELECT id FROM jobs WHERE status = 'running'");
    daemon.kill();
    assert!(scratches(&ground) > 0);
    let mut daemon = ground.daemon();
    daemon.until("the job to be taken back", || {
        ground.number("SELECT CAST(max(token) AS TEXT) FROM jobs") >= 2
    });
    wait_for_drill(&ground, &mut daemon);
    assert_eq!(
        ground.query("SELECT id FROM jobs WHERE status = 'running'"),
        first,
        "the same job"
    );
    assert_eq!(scratches(&ground), 1, "what the dead one left is gone");
    assert_eq!(ground.entries_of("interrupted").len(), 1);
    // Somebody wants it no longer.
    let id = first[0].clone();
    ground.walproof(&["job", "cancel", &id]).expect_code(0);
    daemon.until("the cancellation", || ground.jobs("cancelled") == 1);
    daemon.until("the end of the drill", || scratches(&ground) <= 1);
    assert_eq!(daemon.stop(), 0);
    wait_until(LIMIT, "the sweep", || scratches(&ground) == 0);
}

#[test]
fn within_a_blackout_nothing_is_started() {
    require!(Postgres);
    let ground = Ground::new();
    ground.configure(&OFTEN.replace(
        "'*/2 * * * * *'}",
        "'*/2 * * * * *', blackout: ['Mon-Sun']}\n- {name: free, job: verify, cron: '*/3 * * * * *'}",
    ));
    let mut daemon = ground.daemon();
    daemon.until("the other one", || ground.entries_of("verify").len() >= 2);
    assert_eq!(daemon.stop(), 0);
    for entry in ground.entries_of("verify") {
        assert_eq!(entry["body"]["run"]["asked"]["schedule"], "free");
    }
    // It is never white again, and that is said.
    assert!(!ground.entries_of("missed").is_empty());
}

#[test]
fn a_store_that_fails_is_tried_again_and_a_wrong_one_is_not() {
    require!(Postgres);
    let ground = Ground::new();
    let gone = ground.path().join("nowhere");
    ground.write(&format!(
        "version: 1\nstate: {}\nclusters:\n- name: orders\n  primary: {{url: 'file://{}'}}\n- name: far\n  primary: {{url: 's3://b/far', endpoint: 'http://127.0.0.1:9', region: x, credentials: {{access_key_id: {{env: K}}, secret_access_key: {{env: K}}}}}}\n{OFTEN}",
        ground.state,
        gone.display()
    ));
    let mut daemon = ground.daemon();
    // Secrets that are not there: tried again later, with its reason.
    daemon.until("the second attempt to wait", || {
        ground
            .query("SELECT error FROM jobs WHERE cluster = 'far' AND status = 'waiting' AND attempts = 1")
            .iter()
            .any(|error| error.contains('K'))
    });
    let ahead = ground.number(
        "SELECT CAST((max(run_after) - max(due_at)) / 1000000 AS TEXT) FROM jobs WHERE cluster = 'far' AND attempts = 1",
    );
    assert!(ahead > 200, "{ahead}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn it_says_how_it_is() {
    require!(Postgres);
    let ground = Ground::new();
    ground.configure(OFTEN);
    let mut daemon = ground.daemon();
    daemon.until_log("the daemon began");
    let log = daemon.log();
    let port: u16 = log
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
        .unwrap_or_else(|| panic!("{log}"));
    let get = |path: &str| -> String {
        use std::io::{Read as _, Write as _};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
            return String::new();
        };
        let _ = write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    daemon.until("readiness", || get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(get("/healthz").starts_with("HTTP/1.1 200"));
    daemon.until("a run in the metrics", || {
        get("/metrics").contains("orders")
    });
    assert!(repository().root().exists());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_daemon_without_a_right_configuration_does_not_start() {
    let ground = Ground::new();
    ground.write("version: 1\nschedules:\n- {name: a, job: verify, cron: soon}\n");
    let run = ground.walproof(&["daemon"]).expect_code(2);
    assert!(run.stderr.contains("walproof.yaml:3"), "{}", run.stderr);
    ground.write("version: 1\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    ground.write(&format!(
        "version: 1\nstate: {}\ndaemon: {{listen: '{address}'}}\n",
        ground.state
    ));
    let run = ground.walproof(&["daemon"]).expect_code(3);
    assert!(run.stderr.contains(&address.to_string()), "{}", run.stderr);
}

#[test]
fn a_proof_that_nothing_makes_is_overdue_until_somebody_makes_it() {
    require!(Postgres);
    let ground = Ground::new();
    ground.write(&format!(
        "version: 1\nstate: {}\ntiers:\n  gold: {{due: {{verify: 10s, drill: 100d}}}}\nclusters:\n- {{name: orders, tier: gold, primary: {{url: '{}'}}}}\ndaemon: {{listen: '127.0.0.1:0'}}\n",
        ground.state,
        repository().url()
    ));
    let mut daemon = ground.daemon();
    let open = || {
        ground.query("SELECT message FROM incidents WHERE code = 'verification-overdue' AND closed_at IS NULL")
    };
    daemon.until("the incident", || !open().is_empty());
    let missed = ground.entries_of("missed");
    assert_eq!(missed[0]["body"]["reason"], "overdue");
    assert_eq!(missed[0]["body"]["job"], "verify");
    assert_eq!(missed[0]["cluster"], "orders");
    // The tier is made patient, and somebody looks.
    let text = std::fs::read_to_string(ground.config()).unwrap();
    ground.write(&text.replace("verify: 10s", "verify: 100d"));
    daemon.signal(Signal::SIGHUP);
    ground.walproof(&["verify", "orders"]).expect_code(0);
    daemon.until("the incident's end", || open().is_empty());
    assert_eq!(daemon.stop(), 0);
}
