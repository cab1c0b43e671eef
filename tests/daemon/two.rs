//! Two daemons on one PostgreSQL, killed at random and put to sleep: no job is lost, none is
//! done twice in effect, and the ledger stays whole.
//!
//! `WALPROOF_TWO_SECONDS` makes it longer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::damage::Tree;
use crate::common::postgres::TestServer;
use crate::common::process::wait_until;
use crate::common::require;
use crate::kit::{Daemon, Ground, LIMIT, repository};

/// A state in PostgreSQL.
pub struct Shared {
    pub server: TestServer,
    pub ground: Ground,
    /// Repositories of their own.
    _trees: Vec<Tree>,
}

impl Shared {
    fn new(clusters: usize, cron: &str) -> Self {
        let schedule = format!("{{job: verify, cron: '{cron}', depth: read}}");
        Self::with(clusters, &schedule, "")
    }

    /// `schedule` gets a name; `more` stands in the configuration as it is.
    pub fn with(clusters: usize, schedule: &str, more: &str) -> Self {
        let schedule = schedule.trim_start_matches('{');
        let server = TestServer::options().create();
        server.psql("CREATE DATABASE walproof ENCODING 'UTF8' TEMPLATE template0");
        let socket = server.socket_directory().display().to_string();
        let mut ground = Ground::new();
        ground.state = format!(
            "postgres://postgres@{}:{}/walproof",
            socket.replace('/', "%2F"),
            TestServer::PORT
        );
        let mut text = format!(
            "version: 1\nstate: '{}'\ndaemon: {{listen: '127.0.0.1:0', lease: 3s, stop_within: 20s, drills: 4}}\n{more}schedules:\n- {{name: often, deadline: 1h, {schedule}\nclusters:\n",
            ground.state
        );
        let mut trees = Vec::new();
        for number in 0..clusters {
            let tree = Tree::copy_of(repository().root(), "orders");
            let _ = writeln!(
                text,
                "- {{name: c{number}, primary: {{url: '{}'}}}}",
                tree.url()
            );
            trees.push(tree);
        }
        ground.write(&text);
        Self {
            server,
            ground,
            _trees: trees,
        }
    }

    pub fn ask(&self, sql: &str) -> Vec<String> {
        let answer = self.server.try_psql_in("walproof", sql).unwrap_or_default();
        answer
            .lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub fn number(&self, sql: &str) -> u64 {
        self.ask(sql)
            .first()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    pub fn done(&self) -> u64 {
        self.number("SELECT count(*) FROM jobs WHERE status = 'done'")
    }

    /// Nothing was done twice in effect, and every job is where it should be.
    pub fn check(&self) {
        // Entries that say that a due moment was verified, by cluster and moment.
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        let sql = "SELECT cluster || ' ' || (text::json #>> '{body,run,asked,due_at}') FROM entries \
                   WHERE kind = 'verify' AND text::json #>> '{body,run,exit_code}' IN ('0', '1')";
        for moment in self.ask(sql) {
            *seen.entry(moment).or_default() += 1;
        }
        for (moment, times) in &seen {
            assert_eq!(*times, 1, "{moment} was done {times} times");
        }
        assert_eq!(seen.len() as u64, self.done(), "a job done has its entry");
        let other = self
            .ask("SELECT key || ' ' || status FROM jobs WHERE status NOT IN ('done', 'waiting')");
        assert!(other.is_empty(), "{other:?}");
        let verified = self
            .ground
            .walproof(&["evidence", "verify", "--output", "json"]);
        verified.expect_code(0);
        // The numbers have no gap, and each names the digest of the one before.
        let broken = self.number(
            "SELECT count(*) FROM (SELECT sequence, previous, lag(sha256) OVER w AS before, \
             lag(sequence) OVER w AS last FROM entries WINDOW w AS (ORDER BY sequence)) e \
             WHERE last IS NOT NULL AND (sequence <> last + 1 OR previous <> before)",
        );
        assert_eq!(broken, 0);
    }
}

pub fn until(daemons: &[&Daemon], what: &str, condition: impl FnMut() -> bool) {
    let shown = || {
        daemons
            .iter()
            .map(|daemon| daemon.log())
            .collect::<String>()
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(LIMIT, what, condition);
    }));
    assert!(result.is_ok(), "in vain: {what}\n{}", shown());
}

#[test]
fn two_share_the_work_and_are_killed_at_random() {
    require!(Postgres);
    let shared = Shared::new(6, "*/3 * * * * *");
    let seconds = std::env::var("WALPROOF_TWO_SECONDS").map_or(20, |text| text.parse().unwrap());
    let mut daemons = [
        shared.ground.daemon_called("a"),
        shared.ground.daemon_called("b"),
    ];
    until(&[&daemons[0], &daemons[1]], "the first jobs", || {
        shared.done() >= 4
    });
    let begin = Instant::now();
    // No real randomness is needed, only moments that nothing is aligned with.
    let mut seed = u64::from(std::process::id()) | 1;
    let mut kills = 0;
    while begin.elapsed() < Duration::from_secs(seconds) {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(400 + (seed >> 33) % 2_500));
        let which = usize::from((seed >> 20) & 1 == 1);
        daemons[which].kill();
        kills += 1;
        daemons[which] = shared.ground.daemon_called(["a", "b"][which]);
    }
    assert!(kills >= 3);
    // Nothing more comes due; what is there is worked off.
    let holders =
        shared.number("SELECT count(DISTINCT holder) FROM leases WHERE holder IS NOT NULL");
    assert!(holders <= 1);
    shared
        .server
        .try_psql_in("walproof", "DELETE FROM schedules")
        .unwrap();
    until(&[&daemons[0], &daemons[1]], "the queue to be empty", || {
        shared.number("SELECT count(*) FROM jobs WHERE status IN ('running', 'waiting') AND run_after < (extract(epoch FROM now()) + 20) * 1000000") == 0
    });
    let [a, b] = daemons;
    assert_eq!((a.stop(), b.stop()), (0, 0));
    println!("{kills} kills, {} jobs done", shared.done());
    shared.check();
}

#[test]
fn one_that_slept_over_the_end_of_its_lease_is_refused() {
    require!(Postgres);
    // One moment, and a job that is long enough to be stopped in.
    let shared = Shared::new(1, "*/5 * * * * *");
    let mut sleeper = shared.ground.daemon_called("sleeper");
    let mut asleep = false;
    // Until it is caught in the middle of a job.
    let begin = Instant::now();
    while !asleep {
        assert!(begin.elapsed() < LIMIT, "never caught\n{}", sleeper.log());
        until(&[&sleeper], "a job", || {
            shared.number("SELECT count(*) FROM jobs WHERE status = 'running'") == 1
        });
        sleeper.signal(Signal::SIGSTOP);
        asleep = shared.number("SELECT count(*) FROM jobs WHERE status = 'running'") == 1;
        if !asleep {
            sleeper.signal(Signal::SIGCONT);
        }
    }
    let key = shared.ask("SELECT key FROM jobs WHERE status = 'running'")[0].clone();
    let other = shared.ground.daemon_called("other");
    until(&[&sleeper, &other], "the other to do it", || {
        shared.number(&format!(
            "SELECT count(*) FROM jobs WHERE key = '{key}' AND status = 'done' AND token >= 2"
        )) == 1
    });
    sleeper.signal(Signal::SIGCONT);
    until(&[&sleeper, &other], "the sleeper to notice", || {
        sleeper.log().contains("belongs to somebody else")
            || sleeper.log().contains("another daemon took over")
            || sleeper.log().contains("lease was lost")
    });
    assert!(sleeper.is_running());
    assert_eq!((sleeper.stop(), other.stop()), (0, 0));
    shared.check();
}
