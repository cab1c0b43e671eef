//! A state database that cannot be used: no drill without a record, but a look at a
//! repository needs none.

use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};

use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::common::walproof::{Run, run, run_command};
use crate::common::{damage::Tree, scratch};
use crate::kit::Place;
use crate::places::{as_server_user, assert_explained, state_of};

/// Runs all three kinds of command and checks what they say.
fn meet(place: &Place, tree: &Tree, what: &str, todo: &str, go: impl Fn(&[&str]) -> Run + Sync) {
    let (url, state) = (tree.url(), state_of(place));
    let scratch = place.scratch();
    let scratch = scratch.to_str().unwrap();
    let more = ["--output", "json", "--state", &state];
    let run = |words: &[&str]| go(&[words, &more].concat());
    let (drill, history, verify) = std::thread::scope(|scope| {
        let drill = scope.spawn(|| run(&["drill", "run", &url, "--scratch", scratch]));
        let history = scope.spawn(|| run(&["history"]));
        let verify = run(&["verify", &url]);
        (drill.join().unwrap(), history.join().unwrap(), verify)
    });
    assert_explained(&drill, 3, what, todo);
    assert_explained(&history, 3, what, todo);
    assert_eq!(
        verify.clone().expect_code(0).json()["schema"],
        "walproof.verify/v1"
    );
    assert!(
        verify.stderr.contains("not kept in the history"),
        "{}",
        verify.stderr
    );
    assert!(verify.stderr.contains(what), "{}", verify.stderr);
    place.assert_clean();
}

fn sql(file: &Path, text: &'static str) -> (tokio::runtime::Runtime, SqliteConnection) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connection = runtime.block_on(async {
        let url = format!("sqlite://{}", file.display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
        connection
    });
    (runtime, connection)
}

/// A place with a database that a healthy run has made.
fn used(tree: &Tree) -> Place {
    let place = Place::new();
    let state = state_of(&place);
    let verify = run(&["verify", &tree.url(), "--state", &state], &[]).expect_code(0);
    assert_eq!(verify.stderr, "");
    place
}

#[test]
fn a_locked_damaged_newer_or_closed_database_stops_drills_and_not_verify() {
    require!(Postgres, S3, Barman);
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let plain = |words: &[&str]| run(words, &[]);
    std::thread::scope(|scope| {
        // This one takes as long as walproof waits for the lock.
        let waiting = scope.spawn(|| {
            let place = used(&tree);
            let held = sql(&place.path().join("state.sqlite"), "BEGIN IMMEDIATE");
            meet_locked(&place, &tree);
            drop(held);
            run(&["history", "--state", &state_of(&place)], &[]).expect_code(0);
        });

        let place = Place::new();
        let file = place.path().join("state.sqlite");
        std::fs::write(&file, "not a database, but somebody's notes\n".repeat(100)).unwrap();
        meet(&place, &tree, "not a database", "move it away", plain);
        assert!(
            std::fs::read_to_string(&file)
                .unwrap()
                .starts_with("not a database")
        );

        let place = used(&tree);
        drop(sql(
            &place.path().join("state.sqlite"),
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (99990101000000, 'from the future', 1, x'00', 0)",
        ));
        meet(&place, &tree, "99990101000000", "use that version", plain);

        // A directory that belongs to somebody else.
        let place = Place::new();
        let directory = place.path().join("closed");
        std::fs::create_dir(&directory).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o555);
        std::fs::set_permissions(&directory, mode).unwrap();
        scratch::server_directory(&place.scratch());
        crate::common::walproof::readable_copy(place.path());
        let closed = format!("sqlite://{}/state.sqlite", directory.display());
        meet(
            &place,
            &tree,
            "Permission denied",
            "check owner and permissions",
            |words| {
                let mut words: Vec<&str> = words.to_vec();
                *words.last_mut().unwrap() = &closed;
                run_command(as_server_user(&place, &words))
            },
        );
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        waiting.join().unwrap();
    });
}

/// Reading a locked database works (it is in WAL mode); noting a drill does not.
fn meet_locked(place: &Place, tree: &Tree) {
    let drill = place.drill(&tree.url(), &[]);
    assert_explained(&drill, 3, "database is locked", "another process holds");
    place.assert_clean();
}

/// The state on a file system of its own in memory, which goes with the process; `$1` is
/// walproof.
fn with_small_state(place: &Place, script: &str) -> Run {
    let mut command = std::process::Command::new("unshare");
    command.arg("--mount");
    if !nix::unistd::Uid::effective().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["sh", "-c"])
        .arg(format!(
            "mount -t tmpfs -o mode=755,size=3m none /mnt || exit 99\n{script}"
        ))
        .arg("sh")
        .arg(crate::common::walproof::program())
        .env("WALPROOF_STATE", "sqlite:///mnt/state.sqlite")
        .env("NO_COLOR", "1")
        .current_dir(place.path());
    let run = run_command(command);
    assert_ne!(run.code, Some(99), "no mount: {}", run.stderr);
    run
}

#[test]
fn a_full_disk_below_the_state_loses_nothing_that_was_kept() {
    require!(Postgres, S3, Barman);
    let place = Place::new();
    let tree = Fixture::get(&RepositoryOptions::default()).tree();
    let (url, scratch) = (tree.url(), place.scratch());
    let scratch = scratch.display();
    let fill = "cat /dev/zero >/mnt/filler 2>/dev/null; ";
    // Filled before there is a state: it cannot be made.
    let history = with_small_state(&place, &format!("{fill}\"$1\" history -o json"));
    assert_explained(&history, 3, "/mnt", "make room");
    // Filled when there is one: no drill without a record of it.
    let drill = format!(
        "\"$1\" verify '{url}' >/dev/null || exit 98; {fill}\
         \"$1\" drill run '{url}' --scratch '{scratch}' -o json"
    );
    assert_explained(&with_small_state(&place, &drill), 3, "/mnt", "make room");
    place.assert_clean();
    // A look at the repository needs no state.
    let verify = with_small_state(&place, &format!("{fill}\"$1\" verify '{url}' -o json"));
    let verify = verify.expect_code(0);
    assert!(
        verify.stderr.contains("not kept in the history"),
        "{}",
        verify.stderr
    );
    // With room again everything is as it was.
    let again = format!("{{ {drill}; }} >/dev/null 2>&1; rm /mnt/filler; \"$1\" history -o json");
    let again = with_small_state(&place, &again).expect_code(0).json();
    let runs = again["runs"].as_array().unwrap();
    let finished: Vec<_> = runs
        .iter()
        .filter(|run| run["status"] == "finished")
        .collect();
    assert_eq!(finished.len(), 1, "{again:#}");
    assert_eq!(finished[0]["kind"], "verify");
}

#[test]
fn a_broken_configuration_stops_everything_that_reads_it() {
    let place = Place::new();
    let file = place.path().join("walproof.yaml");
    std::fs::write(&file, "version: 1\nclusters:\n- {name: orders, ownr: me}\n").unwrap();
    let (config, into) = (file.to_str().unwrap(), place.path().join("into"));
    for words in [
        &["verify", "orders"][..],
        &["drill", "run", "orders"],
        &["restore", "orders", "--into", into.to_str().unwrap()],
        &["history"],
    ] {
        let run = run(
            &[words, &["--output", "json", "--config", config]].concat(),
            &[],
        );
        let run = run.expect_code(2);
        let mistakes = run.json()["mistakes"].to_string();
        assert!(mistakes.contains("ownr"), "{words:?}: {mistakes}");
        assert!(run.stderr.contains("owner"), "{words:?}: {}", run.stderr);
    }
    // A restore_command must stop PostgreSQL instead.
    let get = [
        "wal",
        "get",
        "orders",
        "000000010000000000000001",
        "/dev/null/x",
    ];
    run(&[&get[..], &["--config", config]].concat(), &[]).expect_code(201);
    let left = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(left, 1, "only the configuration");
}
