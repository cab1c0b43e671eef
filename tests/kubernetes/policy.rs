//! The daemon asks for a base backup where a verification finds none, and does not again.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::kubernetes::source::{Form, Source};
use crate::common::kubernetes::store::Store;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process::wait_until;
use crate::kit::Place;

const LIMIT: Duration = Duration::from_mins(5);

/// A daemon of a place, killed when it is dropped.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(place: &Place) -> Self {
        let log = place.path().join("daemon.log");
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let child = place
            .command(&["daemon", "--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(file.unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for words in the log, and gives the line.
    #[track_caller]
    fn until(&self, words: &str) -> String {
        let begin = Instant::now();
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(begin.elapsed() < LIMIT, "no {words:?} in {log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Verifies every ten seconds, with this policy.
fn configure(place: &Place, source: &Source, policy: &str) {
    place.configure(
        source,
        "schedules:\n- {name: often, job: verify, cron: '*/10 * * * * *'}\n\
         daemon: {listen: '127.0.0.1:0', reload: 1s}\n",
    );
    let text = std::fs::read_to_string(place.config()).unwrap();
    let policed = format!("\n  kubernetes: {{\"fresh_backup\": \"{policy}\", ");
    let changed = text.replace("\n  kubernetes: {", &policed);
    assert_ne!(text, changed);
    std::fs::write(place.config(), changed).unwrap();
}

fn runs(place: &Place, kind: &str) -> Vec<Value> {
    let words = [
        "history", "orders", "--kind", kind, "--limit", "0", "--output", "json",
    ];
    let json = place.run(&words).expect_code(0).json();
    let mut runs = json["runs"].as_array().unwrap().clone();
    runs.retain(|run| run["status"] == "finished");
    runs
}

/// The Backups for which walproof asked.
fn asked(lab: &Lab, source: &Source) -> Vec<Value> {
    lab.list(
        source.name(),
        "backups",
        "app.kubernetes.io/managed-by=walproof",
    )
}

#[test]
fn the_daemon_asks_for_a_backup_where_there_is_none_and_only_once() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::idle(lab, Form::Plugin);
    source.sql("insert into history (note) values ('before any backup')");
    source.archive();
    let place = Place::new(lab);

    // The command line says how to ask, and asks for nothing; nor does a daemon without the
    // policy.
    configure(&place, &source, "when-none-usable");
    let verified = place.run(&["verify", "orders"]).expect_code(1);
    let hint = "walproof backup request orders";
    assert!(verified.stderr.contains(hint), "{}", verified.stderr);
    configure(&place, &source, "never");
    let daemon = Daemon::start(&place);
    wait_until(LIMIT, "two verifications by the daemon", || {
        runs(&place, "verify").len() >= 3
    });
    daemon.stop();
    assert_eq!(asked(lab, &source), Vec::<Value>::new());
    assert_eq!(runs(&place, "backup"), Vec::<Value>::new());

    configure(&place, &source, "when-none-usable");
    let daemon = Daemon::start(&place);
    wait_until(LIMIT, "the run of the backup", || {
        !runs(&place, "backup").is_empty()
    });
    let after = runs(&place, "verify").len();
    wait_until(LIMIT, "two verifications behind it", || {
        runs(&place, "verify").len() >= after + 2
    });
    let log = daemon.log();
    daemon.stop();
    let backups = asked(lab, &source);
    assert_eq!(backups.len(), 1, "{backups:#?}");
    let id = backups[0]["status"]["backupId"].as_str().unwrap();
    let recorded = runs(&place, "backup");
    assert_eq!(recorded.len(), 1, "{recorded:#?}");
    assert_eq!(recorded[0]["exit_code"], 0);
    assert_eq!(recorded[0]["summary"], format!("{id} verified"));
    // What the job came to says it, and what the verification found stayed as it was.
    let name = backups[0]["metadata"]["name"].as_str().unwrap();
    let outcome = format!("no usable backup: asked for {name}: {id} verified");
    let said = |line: &&str| line.contains("\"done\"") && line.contains(&outcome);
    assert_eq!(log.lines().filter(said).count(), 1, "{log}");
    let mut verified = runs(&place, "verify");
    verified.sort_by_key(|run| run["started_at"].as_str().unwrap().to_owned());
    let codes: Vec<u64> = verified
        .iter()
        .map(|run| run["exit_code"].as_u64().unwrap())
        .collect();
    let (before, behind) = codes.split_at(codes.iter().position(|code| *code == 0).unwrap());
    assert!(before.iter().all(|code| *code == 1), "{codes:?}");
    assert!(behind.iter().all(|code| *code == 0), "{codes:?}");
    let evidence = place.run(&["evidence", "verify"]);
    evidence.expect_code(0);

    // It is lost again: within six hours no other is asked for. Neither does a state that
    // knows nothing of the first ask, because Kubernetes does ...
    let folder = format!("{}/{}/base/", source.folder(), Source::CLUSTER);
    let api = source.store.api();
    for key in source.store.keys(Store::BUCKET, &folder) {
        api.delete(Store::BUCKET, &key, None).expect_success();
    }
    let other = Place::new(lab);
    configure(&other, &source, "when-none-usable");
    let daemon = Daemon::start(&other);
    let line = daemon.until("and none is asked for");
    // It ended within these ten minutes.
    assert!(line.contains(name), "{line}");
    daemon.stop();
    assert_eq!(runs(&other, "backup"), Vec::<Value>::new());
    // ... nor the first one's, when the Backup is gone from Kubernetes.
    lab.ask(&["-n", source.name(), "delete", "backup", name]);
    let daemon = Daemon::start(&place);
    let line = daemon.until("and none is asked for");
    assert!(line.contains("at most one is in 6h"), "{line}");
    daemon.stop();
    assert_eq!(asked(lab, &source), Vec::<Value>::new());
}
