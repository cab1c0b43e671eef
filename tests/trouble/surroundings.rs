//! The machine is not as it should be, or a person points at the wrong place.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::common::postgres::TestServer;
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::walproof::{run, run_command};
use crate::common::{require, scratch};
use crate::kit::{Place, reason_codes};
use crate::places::{
    as_server_user, assert_explained, assert_unproven, fingerprint, start_drill, state_of,
};

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Drills with another scratch root than the place's own.
fn drill_at(place: &Place, url: &str, root: &Path) -> crate::common::walproof::Run {
    let mut words = place.arguments(url, &[]);
    let own = words.iter().position(|word| word == "--scratch").unwrap();
    words[own + 1] = root.display().to_string();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    run(&words, &[])
}

#[test]
fn a_major_that_nobody_has_and_programs_that_are_not_there() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (place, tree) = (Place::new(), fixture.tree());
    let empty = place.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let drill = place.drill(&tree.url(), &["--pg-bin", empty.to_str().unwrap()]);
    assert_unproven(&drill, "no program `postgres`", "--pg-bin");
    for backup in tree.backups() {
        tree.set_info(&backup, "version", "990001");
    }
    let drill = place.drill(&tree.url(), &[]);
    let report = assert_unproven(&drill, "no PostgreSQL 99", "install postgresql-99");
    let found = format!("found {}", fixture.facts.major);
    assert!(report["reasons"].to_string().contains(&found), "{report:#}");
    let drill = place.drill(&fixture.tree().url(), &["--run-as", "nobody-here"]);
    if nix::unistd::Uid::effective().is_root() {
        assert_unproven(&drill, "there is no user", "--run-as");
    } else {
        assert_unproven(&drill, "only root can", "run walproof as that user");
    }
    place.assert_clean();
}

#[test]
fn scratch_places_that_cannot_be_used_are_said() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (place, tree) = (Place::new(), fixture.tree());
    let file = place.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let drill = drill_at(&place, &tree.url(), &file);
    assert_unproven(&drill, "cannot make", "check the scratch directory");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let odd = place.path().join("it's");
    let drill = drill_at(&place, &tree.url(), &odd);
    assert_unproven(&drill, "scratch directory", "without control characters");
    assert!(!odd.exists());
    // A root that may not be written to, for somebody who is not root.
    let closed = place.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    open(&closed, 0o555);
    let own = place.path().join("own");
    scratch::server_directory(&own);
    let (url, state) = (
        tree.url(),
        format!("sqlite://{}/state.sqlite", own.display()),
    );
    let words = |root: &'static str| {
        let root = place.path().join(root);
        [
            "drill",
            "run",
            &url,
            "--output",
            "json",
            "--state",
            &state,
            "--scratch",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([root.to_str().unwrap().to_owned()])
        .collect::<Vec<_>>()
    };
    let go = |root| {
        let words = words(root);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run_command(as_server_user(&place, &words))
    };
    assert_unproven(&go("closed"), "Permission denied", "its permissions");
    assert_eq!(std::fs::read_dir(&closed).unwrap().count(), 0);
    // The same user with a root of its own.
    let healthy = go("own/scratch").expect_code(0).json();
    assert_eq!(healthy["verdict"], "proven");
    assert_eq!(std::fs::read_dir(own.join("scratch")).unwrap().count(), 0);
    place.assert_clean();
}

#[test]
fn a_scratch_root_behind_a_link_is_used_and_left_empty() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (place, tree) = (Place::new(), fixture.tree());
    let real = place.path().join("real");
    std::fs::create_dir(&real).unwrap();
    symlink(&real, place.scratch()).unwrap();
    let report = place.drill(&tree.url(), &[]).expect_code(0).json();
    assert_eq!(report["verdict"], "proven");
    assert!(place.scratch().is_symlink());
    assert_eq!(std::fs::read_dir(&real).unwrap().count(), 0);
    place.assert_clean();
}

#[test]
fn nothing_is_put_into_the_directory_of_another_server() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (place, tree) = (Place::new(), fixture.tree());
    let server = TestServer::options().segment_size_mb(1).create();
    let space = server.create_tablespace("far");
    server.psql("create table precious as select generate_series(1, 1000) id");
    let names = |root: &Path| {
        let all = fingerprint(root).into_iter();
        all.map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = (names(&server.data()), names(&space));
    let link = place.path().join("link");
    symlink(server.data().join("base"), &link).unwrap();
    let version = std::fs::read_dir(&space).unwrap().next().unwrap().unwrap();
    let inside: [PathBuf; 4] = [
        server.data(),
        server.data().join("base/scratch"),
        link.join("scratch"),
        version.path().join("scratch"),
    ];
    let words = "lies in the PostgreSQL directory";
    for root in &inside {
        let report = drill_at(&place, &tree.url(), root).expect_code(4).json();
        assert_eq!(report["ending"], "refused");
        assert_eq!(report["verdict"], "unproven");
        let text = report["reasons"].to_string();
        assert!(text.contains(words) && text.contains("--scratch"), "{text}");
        let into = root.join("into");
        let restore = run(
            &[
                "restore",
                &tree.url(),
                "--output",
                "json",
                "--into",
                into.to_str().unwrap(),
            ],
            &[],
        );
        assert_explained(
            &restore,
            4,
            "it lies in the PostgreSQL directory",
            "place outside",
        );
    }
    assert_eq!((names(&server.data()), names(&space)), before);
    assert_eq!(server.number("select count(*) from precious"), 1000);
    // Beside it, with that server running, is fine.
    place.drill(&tree.url(), &[]).expect_code(0);
    place.assert_clean();
}

#[test]
fn destinations_that_are_not_free_are_refused_untouched() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (place, tree) = (Place::new(), fixture.tree());
    let url = tree.url();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir(at("full")).unwrap();
    std::fs::write(at("full/mine"), "precious").unwrap();
    std::fs::write(at("file"), "precious").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    symlink(at("empty"), at("link")).unwrap();
    let before = fingerprint(place.path());
    for (name, code, what, todo) in [
        (
            "full",
            4,
            "it is not empty",
            "name an empty or new directory",
        ),
        ("file", 4, "it is a file", ""),
        ("file/below", 3, "Not a directory", "check the path"),
        ("link", 4, "symbolic link", "name the directory itself"),
        (
            "no/such/parent",
            3,
            "there is no directory to create it in",
            "create the directory above",
        ),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            let into = at(name);
            let words = ["restore", &url, "--output", "json", "--into"];
            let restore = run(&[&words[..], &[into.to_str().unwrap()], dry].concat(), &[]);
            assert_explained(&restore, code, what, todo);
        }
    }
    assert_eq!(fingerprint(place.path()), before);
}

#[test]
fn the_assumed_loss_may_lie_anywhere_in_the_past_and_nowhere_else() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (place, tree) = (Place::new(), fixture.tree());
    let url = tree.url();
    let future = place.drill(&url, &["--lost-at", "2999-01-01T00:00:00Z"]);
    assert_explained(&future, 2, "has not come yet", "a moment in the past");
    assert!(!place.path().join("state.sqlite").exists(), "nothing began");
    // Nobody loses what was written after the loss: the recovery point is never negative.
    let tip = fixture.facts.tip().time;
    for (lost_at, lost, code) in [
        (tip - chrono::TimeDelta::days(365), 0..1, 0),
        (tip + chrono::TimeDelta::seconds(1), 1..2000, 0),
    ] {
        let lost_at = lost_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let more = ["--lost-at", &lost_at, "--rpo", "5s"];
        let report = place.drill(&url, &more).expect_code(code).json();
        let achieved = report["measurements"]["recovery_point_achieved"]
            .as_u64()
            .unwrap();
        assert!(lost.contains(&achieved), "{lost_at}: {achieved} ms");
    }
    let late = place.drill(&url, &["--rpo", "1s", "--lost-at", &later(tip)]);
    assert_eq!(
        reason_codes(&late.expect_code(1).json()),
        ["objective-missed-rpo"]
    );
    place.assert_clean();
}

/// A minute after `moment`, or now if that is sooner.
fn later(moment: chrono::DateTime<chrono::Utc>) -> String {
    (moment + chrono::TimeDelta::minutes(1))
        .min(chrono::Utc::now())
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[test]
fn what_is_not_ours_or_was_tampered_with_survives_every_run() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (place, tree) = (Place::new(), fixture.tree());
    let url = tree.url();
    // What a killed drill leaves, with a socket directory elsewhere.
    let waiting = place.definition(
        "checks:\n- {name: wait, database: postgres, sql: 'select pg_sleep(120)', expect: '> 0', timeout: 5m}\n",
    );
    let mut child = start_drill(&place, &url, &["--definition", &waiting], &[]);
    crate::common::process::wait_until(std::time::Duration::from_mins(2), "the server", || {
        place.left().first().is_some_and(|left| {
            std::fs::read_to_string(left.join("server.log"))
                .is_ok_and(|log| log.contains("ready to accept"))
        })
    });
    crate::places::signal(&child, nix::sys::signal::Signal::SIGKILL);
    child.wait().unwrap();
    crate::common::process::wait_until(std::time::Duration::from_mins(1), "its end", || {
        place.servers().is_empty()
    });
    let left = place.left().remove(0);
    let marker_file = left.join("walproof.scratch.json");
    let text = std::fs::read_to_string(&marker_file).unwrap();
    let mut marker: serde_json::Value = serde_json::from_str(&text).unwrap();

    // Somebody's directory in /tmp that is named like ours, and a bystander.
    let elsewhere = tempfile::Builder::new()
        .prefix("wp-")
        .tempdir_in("/tmp")
        .unwrap();
    std::fs::write(elsewhere.path().join("mine"), "precious").unwrap();
    let mut bystander = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", bystander.id())).unwrap();
    let start_time = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(19)
        .unwrap();
    marker["socket_directory"] = elsewhere.path().to_str().unwrap().into();
    marker["server"] = serde_json::json!({
        "pid": bystander.id(), "start_time": start_time.parse::<u64>().unwrap(),
    });
    std::fs::write(&marker_file, marker.to_string()).unwrap();
    symlink(elsewhere.path(), left.join("data/elsewhere")).unwrap();

    // Directories named like ours: without a marker, with another's, and a link.
    let foreign = |last: char| {
        let id = format!("0199c1f2-0000-7000-8000-00000000000{last}");
        place.scratch().join(format!("drill-{id}"))
    };
    std::fs::create_dir(foreign('1')).unwrap();
    std::fs::write(foreign('1').join("mine"), "precious").unwrap();
    std::fs::create_dir(foreign('2')).unwrap();
    std::fs::write(
        foreign('2').join("walproof.scratch.json"),
        marker.to_string(),
    )
    .unwrap();
    symlink(elsewhere.path(), foreign('3')).unwrap();

    let report = place.drill(&url, &[]).expect_code(0).json();
    let swept = &report["environment"]["swept"];
    assert_eq!(
        swept["removed"],
        serde_json::json!([left.to_str().unwrap()]),
        "{swept:#}"
    );
    assert_eq!(swept["ended"], serde_json::json!([]), "{swept:#}");
    assert_eq!(swept["kept"].as_array().unwrap().len(), 3, "{swept:#}");
    assert!(!left.exists());
    let mine = std::fs::read_to_string(elsewhere.path().join("mine")).unwrap();
    assert_eq!(mine, "precious");
    assert!(foreign('1').join("mine").exists() && foreign('2').is_dir());
    assert!(foreign('3').is_symlink());
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "the bystander was ended"
    );
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    let state = state_of(&place);
    run(&["history", "--state", &state], &[]).expect_code(0);
}
