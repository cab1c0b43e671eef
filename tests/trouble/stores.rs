//! The store is away, says no, or is another one than was meant.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::postgres::TestServer;
use crate::common::process::wait_until;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::s3::{ADMIN, Credentials, READER, S3Server};
use crate::common::walproof::{Run, run};
use crate::common::wire::Wire;
use crate::kit::Place;
use crate::places::{
    assert_explained, assert_unproven, fingerprint, finish, newest_run, signal, start, start_drill,
    state_of,
};

/// A segment of the shared repository as PostgreSQL had it.
fn segment(fixture: &Fixture) -> PathBuf {
    let tree = fixture.tree();
    fixture.plain_wal().join(tree.segments().last().unwrap())
}

/// What every command that needs the store says when it cannot have it.
struct Trouble<'a> {
    url: &'a str,
    more: &'a [&'a str],
    environment: Vec<(String, String)>,
    code: i32,
    what: &'a str,
    todo: &'a str,
}

impl Trouble<'_> {
    /// Runs verify, drill, restore, discover, `wal push` and `wal get`, side by side.
    fn meet(&self, segment: &Path) {
        let place = Place::new();
        let state = state_of(&place);
        let into = place.path().join("into");
        let got = place.path().join("got");
        let (into, got) = (into.to_str().unwrap(), got.to_str().unwrap());
        let name = segment.file_name().unwrap().to_str().unwrap();
        let file = segment.to_str().unwrap();
        let go = |words: &[&str]| -> Run {
            let more = ["--output", "json", "--state", &state];
            run(&[words, self.more, &more].concat(), &self.environment)
        };
        std::thread::scope(|scope| {
            let others = [
                scope.spawn(|| go(&["verify", self.url])),
                scope.spawn(|| go(&["restore", self.url, "--into", into])),
                scope.spawn(|| go(&["repository", "discover", self.url])),
                scope.spawn(|| go(&["wal", "push", self.url, file])),
                scope.spawn(|| go(&["drill", "run", self.url, "--dry-run"])),
            ];
            let get = scope.spawn(|| go(&["wal", "get", self.url, name, got]));
            let drill = place.drill_in(self.url, self.more, &self.environment);
            if self.code == 3 {
                let report = assert_unproven(&drill, self.what, self.todo);
                assert_eq!(report["ending"], "unproven");
            } else {
                assert_explained(&drill, self.code, self.what, self.todo);
            }
            for other in others {
                let other = other.join().unwrap();
                assert_explained(&other, self.code, self.what, self.todo);
            }
            // PostgreSQL must stop: codes up to 125 would say that the archive ends here.
            let get = get.join().unwrap().expect_code(201);
            assert!(get.stderr.contains(self.what), "{}", get.stderr);
        });
        if self.code == 3 {
            assert_eq!(newest_run(&place)["exit_code"], 3);
        }
        for left in [into, got] {
            assert!(!Path::new(left).exists(), "{left}");
        }
        place.assert_clean();
    }
}

#[test]
fn a_store_that_cannot_be_used_is_explained_by_every_command() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let segment = segment(&fixture);
    let (mut s3, url) = fixture.s3();
    let before = fingerprint(&s3.bucket(S3Server::BUCKET));
    let trouble = Trouble {
        url: &url,
        more: &[],
        environment: s3.environment(),
        code: 3,
        what: "",
        todo: "check the access key and secret",
    };
    let wrong = |key, secret| s3.environment_for(Credentials { key, secret });
    let missing = Path::new("/no/such/ca.pem").to_str().unwrap();
    for trouble in [
        Trouble {
            environment: wrong("nobody", "admin-secret"),
            what: "InvalidAccessKeyId",
            ..trouble
        },
        Trouble {
            environment: wrong("admin", "not-the-secret"),
            what: "SignatureDoesNotMatch",
            ..trouble
        },
        Trouble {
            url: "s3://no-such-bucket/pg/orders",
            environment: s3.environment(),
            what: "NoSuchBucket",
            todo: "check the name of the bucket",
            ..trouble
        },
        Trouble {
            more: &["--ca-file", missing],
            environment: s3.environment(),
            code: 2,
            what: "CA file /no/such/ca.pem: No such file",
            todo: "CA settings",
            ..trouble
        },
    ] {
        trouble.meet(&segment);
    }
    // Nothing listens any more.
    s3.interrupt();
    Trouble {
        environment: s3.environment(),
        what: "127.0.0.1",
        todo: "check endpoint, DNS, port",
        ..trouble
    }
    .meet(&segment);
    assert_eq!(fingerprint(&s3.bucket(S3Server::BUCKET)), before);
}

#[test]
fn a_reader_may_verify_and_drill_and_write_nothing() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let segment = segment(&fixture);
    let (s3, url) = fixture.s3();
    let before = fingerprint(&s3.bucket(S3Server::BUCKET));
    let reader = s3.environment_for(READER);
    let place = Place::new();
    let state = state_of(&place);
    let go = |words: &[&str]| {
        let more = ["--output", "json", "--state", &state];
        run(&[words, &more].concat(), &reader)
    };
    go(&["verify", &url]).expect_code(0);
    let drill = place
        .drill_in(&url, &["--probe-write"], &reader)
        .expect_code(0)
        .json();
    assert_eq!(drill["verdict"], "proven");
    assert_eq!(drill["environment"]["repository_writable"], false);
    // An object that is there is only compared; a new one is not for readers.
    let new = place.path().join("00000009.history");
    std::fs::write(&new, "1\t0/5000000\tno recovery target specified\n").unwrap();
    assert_explained(
        &go(&["wal", "push", &url, new.to_str().unwrap()]),
        3,
        "AccessDenied",
        "lack the permission",
    );
    go(&["wal", "push", &url, segment.to_str().unwrap()]).expect_code(0);
    // A place without a repository: that is said of the place, not of the store.
    let empty = format!("s3://{}/pg/nothing", S3Server::BUCKET);
    let verify = go(&["verify", &empty]).expect_code(1);
    assert_eq!(verify.finding_codes(), ["repository-empty"]);
    let drill = place.drill_in(&empty, &[], &reader).expect_code(1);
    assert!(drill.finding_codes().contains(&"repository-empty".into()));
    let into = place.path().join("into");
    let restore = go(&["restore", &empty, "--into", into.to_str().unwrap()]);
    assert_explained(&restore, 1, "backup", "");
    assert!(!into.exists());
    place.assert_clean();
    assert_eq!(fingerprint(&s3.bucket(S3Server::BUCKET)), before);
}

#[test]
fn who_may_write_is_told_so_and_nothing_stays_of_the_attempt() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let objects = |s3: &S3Server| {
        let listing = fingerprint(&s3.bucket(S3Server::BUCKET).join("pg"));
        listing
            .iter()
            .filter(|line| line.contains(" 100644 "))
            .cloned()
            .collect::<Vec<String>>()
    };
    let before = objects(&s3);
    assert!(!before.is_empty());
    let place = Place::new();
    let writer = place.drill_in(&url, &["--probe-write"], &s3.environment());
    let report = writer.json();
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["environment"]["repository_writable"], true);
    assert!(writer.finding_codes().contains(&"primary-writable".into()));
    assert_eq!(objects(&s3), before);
}

/// The store is patient for a minute when it once answered, so all of it happens at once.
#[test]
fn a_store_that_goes_away_in_the_middle_leaves_things_unproven_and_nothing_behind() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (s3, url) = fixture.s3();
    let environment = s3.environment();
    let places = [Place::new(), Place::new(), Place::new()];
    let wires = [(); 3].map(|()| Wire::to(&s3.endpoint()));
    let begun: Vec<_> = places
        .iter()
        .zip(&wires)
        .take(2)
        .map(|(place, wire)| {
            let environment = wire.environment(&environment);
            wire.fall_silent_at("data.tar", 100_000);
            start_drill(place, &url, &[], &environment)
        })
        .collect();
    let into = places[2].path().join("into");
    wires[2].fall_silent_at("data.tar", 100_000);
    let restore = start(
        &[
            "restore",
            &url,
            "--output",
            "json",
            "--into",
            into.to_str().unwrap(),
        ],
        &wires[2].environment(&environment),
    );
    for wire in &wires {
        wire.wait_for_silence("the base to be fetched");
    }
    wait_until(Duration::from_secs(10), "the first files", || {
        into.join("walproof_set_aside").is_dir()
    });
    // One has a server when the store goes, the other none yet.
    wires[1].fall_silent_at("/wals/", 0);
    wires[1].go_on();
    wires[1].wait_for_silence("recovery to ask for WAL");
    for wire in &wires {
        wire.cut();
    }
    for (child, place) in begun.into_iter().zip(&places) {
        let ended = finish(child);
        let report = assert_unproven(&ended, "127.0.0.1", "check endpoint");
        assert_eq!(report["environment"]["removed"], true);
        assert_eq!(newest_run(place)["verdict"], "unproven");
        place.assert_clean();
    }
    let restore = finish(restore);
    assert_explained(&restore, 3, "data.tar", "check endpoint");
    assert!(!into.exists());
}

#[test]
fn a_backup_that_cannot_be_stored_leaves_the_server_as_it_was() {
    require!(Postgres, S3);
    let server = TestServer::options().segment_size_mb(1).create();
    let mut s3 = S3Server::start();
    let url = format!("s3://{}/taken", S3Server::BUCKET);
    let port = TestServer::PORT.to_string();
    let socket = server.socket_directory();
    let go = |credentials, more: &[&str]| {
        let words = [
            "backup", "take", &url, "--output", "json", "--user", "postgres",
        ];
        let address = ["--host", socket.to_str().unwrap(), "--port", &port];
        let environment = s3.environment_for(credentials);
        start(&[&words[..], &address, more].concat(), &environment)
    };
    let resting = |what: &str| {
        wait_until(Duration::from_secs(20), what, || {
            let others =
                "select count(*) from pg_stat_activity where application_name like 'walproof%'";
            server.number(others) == 0
        });
        let label = server.data().join("backup_label");
        assert!(!label.exists(), "{what}");
    };
    let reader = finish(go(READER, &[]));
    assert_explained(&reader, 3, "AccessDenied", "lack the permission");
    resting("after a store that only reads");
    let secret = "not-the-secret";
    let wrong = finish(go(
        Credentials {
            key: "admin",
            secret,
        },
        &[],
    ));
    assert_explained(&wrong, 3, "SignatureDoesNotMatch", "access key and secret");
    resting("after a wrong secret");
    assert_eq!(
        fingerprint(&s3.bucket(S3Server::BUCKET)),
        Vec::<String>::new()
    );

    // Nothing archives here, so that it waits until somebody has had enough of it.
    let waiting = go(ADMIN, &["--wait", "10m"]);
    wait_until(Duration::from_mins(1), "the archives", || {
        fingerprint(&s3.object("taken"))
            .iter()
            .any(|line| line.contains("data.tar"))
    });
    signal(&waiting, Signal::SIGINT);
    let report = finish(waiting).expect_code(130).json();
    assert_eq!(report["archived"], false);
    assert!(
        report["notes"].to_string().contains("interrupted before"),
        "{report:#}"
    );
    resting("after an interruption");
    let verify = run(&["verify", &url, "--output", "json"], &s3.environment()).expect_code(1);
    let codes = verify.finding_codes();
    assert!(
        codes
            .iter()
            .any(|code| code.contains("backup") || code.contains("wal")),
        "{codes:?}"
    );

    let address = s3.endpoint();
    s3.interrupt();
    let environment = s3.environment();
    let words = [
        "backup", "take", &url, "--output", "json", "--user", "postgres",
    ];
    let host = ["--host", socket.to_str().unwrap(), "--port", &port];
    let away = run(&[&words[..], &host].concat(), &environment);
    assert_explained(
        &away,
        3,
        address.trim_start_matches("http://"),
        "check endpoint",
    );
    resting("after a store that is away");
}
