//! Following an archive: what appears at the source is at the target within seconds.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::process::wait_until;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::s3::S3Server;
use crate::common::{require, scratch};
use crate::{Ground, assert_same};

struct Following(Child);

impl Following {
    fn start(ground: &Ground, options: &[&str]) -> Self {
        let mut all = vec!["--follow", "--interval", "1s"];
        all.extend_from_slice(options);
        let mut command = ground.command("run", &all);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Ends it as systemd does; gives its report.
    fn stop(mut self, code: i32) -> serde_json::Value {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(id, Signal::SIGTERM).unwrap();
        let mut child = std::mem::replace(
            &mut self.0,
            std::process::Command::new("true").spawn().unwrap(),
        );
        let read = |stream: &mut dyn std::io::Read| {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let out = read(&mut child.stdout.take().unwrap());
        let err = read(&mut child.stderr.take().unwrap());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{out}\n{err}");
        serde_json::from_str(&out).unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn new_segments_and_backups_are_at_the_target_within_seconds() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let whole = fixture.tree();
    let s3 = S3Server::start();
    let target = S3Server::start();
    let root = s3.object("pg/orders");
    // At first the older backup and the WAL up to its end.
    let first = &fixture.facts.backups[0];
    let second = &fixture.facts.backups[1];
    let early = |key: &str| {
        key.starts_with(&format!("base/{}", first.id))
            || whole
                .segments()
                .iter()
                .any(|name| *name <= first.end_wal && key.contains(name.as_str()))
    };
    let put = |key: &str, bytes: &[u8]| {
        let file = root.join(key);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        // As a store does: nothing is visible before it is whole.
        let aside = scratch::directory();
        let staged = aside.path().join("x");
        std::fs::write(&staged, bytes).unwrap();
        scratch::copy_tree(aside.path(), &root.parent().unwrap().join("aside"));
        std::fs::rename(root.parent().unwrap().join("aside/x"), &file).unwrap();
    };
    for key in whole.keys().iter().filter(|key| early(key)) {
        put(key, &whole.read(key));
    }
    let url = format!("s3://{}/pg/orders", S3Server::BUCKET);
    let (ground, copy) = Ground::s3(&s3, &url, &target);
    let following = Following::start(&ground, &[]);
    let at_target = |key: &str| copy.join(key).exists();
    wait_until(Duration::from_secs(30), "the first backup", || {
        at_target(&format!("base/{}/backup.info", first.id))
    });

    let info = format!("base/{}/backup.info", second.id);
    let started = whole
        .info(&second.id)
        .replace("status=DONE", "status=STARTED");
    put(&info, started.as_bytes());
    let mut slowest = Duration::ZERO;
    for key in whole
        .keys()
        .iter()
        .filter(|key| !early(key) && **key != info)
    {
        put(key, &whole.read(key));
        let begin = Instant::now();
        wait_until(Duration::from_secs(20), key, || at_target(key));
        slowest = slowest.max(begin.elapsed());
    }
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(!at_target(&info), "it is not finished");
    put(&info, &whole.read(&info));
    wait_until(Duration::from_secs(20), &info, || at_target(&info));

    let report = following.stop(0);
    assert_eq!(report["ended"]["reason"], "stopped");
    assert_same(whole.root(), &copy);
    ground.compare(&["--read"]).expect_code(0);
}

#[test]
fn a_store_that_goes_away_is_waited_for() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let mut target = S3Server::start();
    let (ground, copy) = Ground::s3(&s3, &url, &target);
    let following = Following::start(&ground, &["--compare-every", "5s"]);
    wait_until(Duration::from_mins(1), "all of it", || {
        crate::tree(&copy).len() == fixture.tree().keys().len()
    });
    target.interrupt();
    let newest = fixture.tree().segments().pop().unwrap();
    let key = fixture.tree().wal_key(&newest);
    let next = key.replace(&newest, &format!("{}F", &newest[..23]));
    assert_ne!(next, key);
    std::fs::copy(
        s3.object(&format!("pg/orders/{key}")),
        s3.object(&format!("pg/orders/{next}")),
    )
    .unwrap();
    std::thread::sleep(Duration::from_secs(8));
    target.resume();
    wait_until(Duration::from_mins(2), "the new segment", || {
        copy.join(&next).exists()
    });
    following.stop(0);
    assert_same(&s3.object("pg/orders"), &copy);
}
