//! Trouble with the server that holds the state: each kind in clear words, without the
//! password, and nothing lost of what was finished.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use nix::sys::signal::Signal;

use super::store::Backend;
use super::testing::{Place, Server, majors, skipped};
use super::tests::{new_run, outcome};
use super::{
    Completion, HistoryFilter, RememberedObject, RunKind, RunStatus, State, StateError,
    StateErrorKind,
};
use crate::config::{SecretSource, StateUrl};
use crate::storage::ObjectIdentity;

/// A server of the test's own; `None`, said aloud, without PostgreSQL.
fn server(settings: &[(&str, &str)]) -> Option<Server> {
    Server::shared()?;
    let (_, bin) = majors()
        .into_iter()
        .find(|(_, bin)| bin.starts_with("/usr/lib/postgresql"))?;
    Some(Server::start(&bin, settings))
}

fn url(server: &Server, user: &str, database: &str) -> StateUrl {
    let socket = server.socket().display().to_string().replace('/', "%2F");
    format!("postgres://{user}@{socket}/{database}")
        .parse()
        .unwrap()
}

fn password_in(file: &Path, password: &str) -> SecretSource {
    std::fs::write(file, password).unwrap();
    SecretSource {
        file: Some(file.to_owned()),
        ..SecretSource::default()
    }
}

async fn refused(url: &StateUrl) -> StateError {
    State::open(url).await.map(|_| ()).unwrap_err()
}

#[track_caller]
fn assert_told(error: &StateError, kind: StateErrorKind, words: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    let text = error.to_string();
    assert!(!text.contains("hush"), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not said: {text}");
    }
}

/// Several at once: two of them wait for a quarter of a minute.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_why() {
    let Some(server) = server(&[]) else { return };
    server
        .sql(
            "CREATE ROLE walproof LOGIN PASSWORD 'hush-hush'; CREATE ROLE full_up LOGIN CONNECTION LIMIT 0",
        )
        .await;
    server
        .sql("CREATE DATABASE walproof OWNER walproof TEMPLATE template0")
        .await;
    server
        .sql("CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII'")
        .await;
    let hba = server.data().join("pg_hba.conf");
    let trust = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("local all walproof scram-sha-256\n{trust}")).unwrap();
    server.signal(Signal::SIGHUP);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let wrong = url(&server, "walproof", "walproof")
        .with_directory(directory.path())
        .with_password(password_in(&file, "hush-no"));
    // The reload takes a moment.
    super::testing::wait_until("the new pg_hba.conf", async || {
        State::open(&wrong).await.is_err()
    })
    .await;
    let error = refused(&wrong).await;
    let credentials = StateErrorKind::Credentials;
    assert_told(
        &error,
        credentials,
        &["password authentication failed", "state_password"],
    );
    assert!(error.to_string().contains("walproof@"), "{error}");
    std::fs::remove_file(&file).unwrap();
    assert_told(
        &refused(&wrong).await,
        credentials,
        &["state_password", "No such file"],
    );

    let crowded = tokio::spawn({
        let url = url(&server, "full_up", "bytes").with_directory(directory.path());
        async move { refused(&url).await }
    });
    let nobody = refused(&url(&server, "nobody_knows", "bytes")).await;
    assert_told(&nobody, credentials, &["does not exist", "pg_hba.conf"]);
    let nowhere = refused(&url(&server, "postgres", "nowhere")).await;
    assert_told(
        &nowhere,
        StateErrorKind::NoDatabase,
        &["nowhere", "create it"],
    );
    let bytes = refused(&url(&server, "postgres", "bytes")).await;
    assert_told(&bytes, StateErrorKind::Unsuitable, &["SQL_ASCII", "UTF8"]);
    let silent: StateUrl = "postgres://me@%2Fnowhere/state".parse().unwrap();
    let begin = std::time::Instant::now();
    let silent = refused(&silent).await;
    assert_told(
        &silent,
        StateErrorKind::Unreachable,
        &["check that the server runs"],
    );
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "15 seconds are said"
    );
    let crowded = crowded.await.unwrap();
    assert_told(
        &crowded,
        StateErrorKind::Crowded,
        &["too many connections", "max_connections"],
    );

    // The right one, and another from one moment to the next, as rotation does it.
    password_in(&file, "hush-hush\n");
    let state = State::open(&wrong).await.unwrap();
    assert!(!format!("{state:?}").contains("hush"), "{state:?}");
    let run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    password_in(&file, "hush-new");
    server
        .sql("ALTER ROLE walproof PASSWORD 'hush-new'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'walproof'")
        .await;
    state
        .finish_run(run, &outcome(None), &Completion::default())
        .await
        .unwrap();
    password_in(&file, "hush-old");
    server
        .sql("ALTER ROLE walproof PASSWORD 'hush-third'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'walproof'")
        .await;
    let error = state.history(&HistoryFilter::default()).await.unwrap_err();
    assert_told(&error, credentials, &["state_password"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_asked_for_by_name_and_no_more_than_needed() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let server = Server::shared().unwrap();
    let database = place.url().to_string();
    let database = database.rsplit('/').next().unwrap();
    let role = format!("{database}_worker");
    place
        .sql(&format!(
            "CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ))
        .await
        .unwrap();
    let worker = url(server, &role, database).with_directory(place.directory());
    let error = refused(&worker).await;
    assert_told(
        &error,
        StateErrorKind::Rights,
        &["permission denied", "docs/state.md"],
    );

    // Somebody else brings the schema up to date; then the rights of docs/state.md do.
    place.open().await.close().await;
    let error = refused(&worker).await;
    assert_told(&error, StateErrorKind::Rights, &["permission denied"]);
    let documented = include_str!("../../docs/state.md");
    for grant in documented
        .lines()
        .filter(|line| line.starts_with("GRANT ") && line.contains("walproof_worker"))
    {
        let grant = grant
            .replace("walproof_worker", &role)
            .replace("DATABASE walproof ", &format!("DATABASE {database} "));
        place.sql(&grant).await.unwrap();
    }
    let state = State::open(&worker).await.unwrap();
    let run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    let mut record = crate::evidence::sample();
    record.run_id = run.id;
    state.record_drill(&run, &record).await.unwrap();
    state
        .finish_run(run, &outcome(None), &Completion::default())
        .await
        .unwrap();
    let pair = state.copy_pair("s3://a", "s3://b").await.unwrap();
    drop(state.hold_pair(&pair).await.unwrap().unwrap());
    state.close().await;
    // It cannot do away with the evidence, nor with what guards it.
    for attack in [
        "ALTER TABLE records DISABLE TRIGGER ALL",
        "DROP TABLE records",
        "DELETE FROM records",
    ] {
        let attack = format!("SET ROLE {role}; {attack}");
        place.sql(&attack).await.expect_err(&attack);
        place.sql("RESET ROLE").await.unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM records").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_wrote_is_left_alone() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    place.open().await.close().await;
    place
        .sql(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', true, '\\x00', 0)",
        )
        .await
        .unwrap();
    let error = refused(place.url()).await;
    assert_told(
        &error,
        StateErrorKind::NewerSchema,
        &["version 9999", "use that version"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_can_be_looked_at_and_takes_nothing() {
    let Some(mut server) = server(&[]) else {
        return;
    };
    let place = Place::on(&server).await;
    let state = place.open().await;
    let run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    drop(run);
    state.close().await;
    place.a_minute_passes().await;
    place.pool().close().await;
    server.stop();
    server.append("standby.signal", "");
    server.run();
    let state = place.open().await;
    let runs = state.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(
        runs[0].status,
        RunStatus::Running,
        "nobody could write anything else"
    );
    let error = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap_err();
    assert_told(
        &error,
        StateErrorKind::ReadOnly,
        &["read-only", "name the primary"],
    );
    let error = refused(&url(&server, "postgres", "postgres")).await;
    assert_told(&error, StateErrorKind::ReadOnly, &["read-only"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_what_the_url_asks_for() {
    let key = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        std::process::Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(key.path())
            .output()
            .is_ok_and(|done| done.status.success())
    };
    std::fs::write(key.path().join("names"), "subjectAltName=DNS:localhost").unwrap();
    let kind = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let made = openssl(&format!(
        "req -x509 -days 2 -subj /CN=authority {kind} -keyout ca-key.pem -out ca.pem"
    )) && openssl(&format!(
        "req -subj /CN=server {kind} -keyout key.pem -out request.pem"
    )) && openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile names -out cert.pem",
    );
    if !made {
        return skipped("openssl is not installed");
    }
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port().to_string()
    };
    let Some(mut server) = server(&[("port", &port)]) else {
        return;
    };
    let database = server.create_database_at(&port).await;
    server.stop();
    for name in ["key.pem", "cert.pem"] {
        server.append(
            name,
            &std::fs::read_to_string(key.path().join(name)).unwrap(),
        );
        server.only_for_server(name);
    }
    server.set(&[
        ("listen_addresses", "127.0.0.1"),
        ("ssl", "on"),
        ("ssl_key_file", "key.pem"),
        ("ssl_cert_file", "cert.pem"),
    ]);
    std::fs::write(
        server.data().join("pg_hba.conf"),
        "hostssl all all 127.0.0.1/32 trust\n",
    )
    .unwrap();
    server.run();
    let certificate = key.path().join("ca.pem");
    let open = async |host: &str, query: &str| {
        let url: StateUrl = format!("postgres://postgres@{host}:{port}/{database}?{query}")
            .parse()
            .unwrap();
        State::open(&url.with_directory(key.path())).await
    };
    let trusted = format!("sslrootcert={}", certificate.display());
    let told = async |host: &str, query: &str, words: &[&str]| {
        let error = open(host, query).await.map(|_| ()).unwrap_err();
        assert_told(&error, StateErrorKind::Tls, words);
    };
    told(
        "localhost",
        "sslmode=disable",
        &["no encryption", "sslmode"],
    )
    .await;
    told("localhost", "sslmode=verify-full", &["certificate"]).await;
    told(
        "localhost",
        "sslmode=verify-full&sslrootcert=/nowhere.pem",
        &["/nowhere.pem"],
    )
    .await;
    told(
        "127.0.0.1",
        &format!("sslmode=verify-full&{trusted}"),
        &["certificate"],
    )
    .await;
    for query in [
        "sslmode=require".to_owned(),
        "sslmode=prefer".to_owned(),
        String::new(),
        format!("sslmode=verify-full&{trusted}"),
    ] {
        let state = open("localhost", &query).await.unwrap();
        state.history(&HistoryFilter::default()).await.unwrap();
    }
    open("127.0.0.1", &format!("sslmode=verify-ca&{trusted}"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_somebody_else_is_waited_for_and_then_told() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let state = place.open().await;
    let holding = place.pool().begin().await.unwrap();
    let mut holding = holding;
    sqlx::query("LOCK TABLE runs")
        .execute(&mut *holding)
        .await
        .unwrap();
    let error = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap_err();
    assert_told(
        &error,
        StateErrorKind::Blocked,
        &["lock timeout", "pg_stat_activity"],
    );
    drop(holding);
    state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
}

fn object(key: &str) -> RememberedObject {
    RememberedObject {
        key: key.to_owned(),
        identity: ObjectIdentity {
            size: 1,
            etag: None,
            version: None,
            modified: DateTime::UNIX_EPOCH,
        },
        first_seen: DateTime::UNIX_EPOCH,
        first_read: None,
        last_read: None,
        findings: Vec::new(),
        change: None,
        absent_since: None,
    }
}

/// Adds a second to what is remembered of one object.
async fn add(state: &State, place: &str) -> Result<(), StateError> {
    let decide = |known: Vec<RememberedObject>| {
        let mut object = known.into_iter().next().unwrap_or_else(|| object("a"));
        object.first_seen += TimeDelta::seconds(1);
        vec![object]
    };
    state.objects_update(place, &["a".to_owned()], decide).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_comes_back_loses_nothing_and_does_nothing_twice() {
    const WORKERS: usize = 4;
    let Some(mut server) = server(&[]) else {
        return;
    };
    let place = Place::on(&server).await;
    let state = place.open().await;
    let over = Arc::new(AtomicBool::new(false));
    let through = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            // Two of them share a handle, as the jobs of a daemon do.
            let (shared, url, over) = (state.clone(), place.url().clone(), Arc::clone(&over));
            let through = Arc::clone(&through);
            tokio::spawn(async move {
                let state = if number < 2 {
                    shared
                } else {
                    State::open(&url).await.unwrap()
                };
                let repository = format!("s3://backups/{number}");
                let (mut added, mut runs) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    add(&state, &repository).await.unwrap();
                    added += 1;
                    let run = state
                        .begin_run(&new_run(RunKind::Drill, &repository))
                        .await
                        .unwrap();
                    let mut record = crate::evidence::sample();
                    record.run_id = run.id;
                    record.id = uuid::Uuid::now_v7();
                    state.record_drill(&run, &record).await.unwrap();
                    state
                        .finish_run(run, &outcome(None), &Completion::default())
                        .await
                        .unwrap();
                    runs += 1;
                    through.fetch_add(1, Ordering::Relaxed);
                }
                (repository, added, runs)
            })
        })
        .collect();
    // Connections cut at any moment, also between a commit and its acknowledgement, until
    // enough came through all the same.
    let begin = std::time::Instant::now();
    let mut cuts = 0;
    while cuts < 60 || through.load(Ordering::Relaxed) < 20 {
        assert!(
            begin.elapsed() < Duration::from_mins(3),
            "hardly anything comes through"
        );
        cuts += 1;
        server
            .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walproof'")
            .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The whole server, twice; as a crash.
    for _ in 0..2 {
        server.stop();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        server.run();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut all = 0;
    for worker in workers {
        let (repository, added, runs) = worker.await.unwrap();
        all += runs;
        let known = state
            .objects_lookup(&repository, &["a".to_owned()])
            .await
            .unwrap();
        let seconds = (known[0].first_seen - DateTime::UNIX_EPOCH).num_seconds();
        assert_eq!(seconds, added, "{repository}: added so often");
        let filter = HistoryFilter {
            source: Some(repository),
            ..HistoryFilter::default()
        };
        let kept = state.history(&filter).await.unwrap();
        assert_eq!(kept.len(), runs);
        assert!(kept.iter().all(|run| run.status == RunStatus::Finished));
    }
    let records = place.number("SELECT count(*) FROM records").await;
    assert_eq!(usize::try_from(records).unwrap(), all);
    eprintln!("{all} runs through {cuts} cuts and 2 crashes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_told_and_found_again() {
    let Some(mut server) = server(&[]) else {
        return;
    };
    let place = Place::on(&server).await;
    let mut state = place.open().await;
    let run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    if let Backend::Postgres(postgres) = &mut state.backend {
        Arc::make_mut(postgres).set_patience(Duration::from_secs(2));
    }
    server.stop();
    let error = state.history(&HistoryFilter::default()).await.unwrap_err();
    let words = ["after 2 seconds of trying", "check that the server runs"];
    assert_told(&error, StateErrorKind::Unreachable, &words);
    let error = add(&state, "s3://backups/orders").await.unwrap_err();
    assert_told(&error, StateErrorKind::Unreachable, &words);
    server.run();
    // Others thought in the meantime that this process had died: what it did counts still.
    place.a_minute_passes().await;
    let other = place.open().await;
    let runs = other.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(runs[0].status, RunStatus::Interrupted);
    state
        .finish_run(run, &outcome(None), &Completion::default())
        .await
        .unwrap();
    let runs = other.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(runs[0].status, RunStatus::Finished);
    // But not what was finished already.
    let run = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    place
        .sql("UPDATE runs SET status = 'finished', finished_at = now() WHERE status = 'running'")
        .await
        .unwrap();
    let error = state
        .finish_run(run, &outcome(None), &Completion::default())
        .await
        .unwrap_err();
    assert_told(&error, StateErrorKind::Refused, &["is not under way"]);
}

/// Runs and records as a night leaves them, one run still under way.
async fn some_work(state: &State) {
    for _ in 0..3 {
        let run = state
            .begin_run(&new_run(RunKind::Drill, "orders"))
            .await
            .unwrap();
        let mut record = crate::evidence::sample();
        record.run_id = run.id;
        record.id = uuid::Uuid::now_v7();
        state.record_drill(&run, &record).await.unwrap();
        state
            .finish_run(run, &outcome(None), &Completion::default())
            .await
            .unwrap();
    }
    add(state, "s3://backups/orders").await.unwrap();
}

/// What a restored state must still be.
async fn assert_whole(place: &Place, before: &[super::Run]) {
    let state = place.open().await;
    let runs = state.history(&HistoryFilter::default()).await.unwrap();
    assert_eq!(runs[1..], before[1..]);
    assert_eq!(runs[0].id, before[0].id);
    assert_eq!(runs[0].status, RunStatus::Interrupted, "it was under way");
    let drill = state.drill(runs[1].clone()).await.unwrap();
    assert_eq!(drill.record.unwrap().run_id, runs[1].id);
    assert_eq!(state.info().await.unwrap().records, 3);
    add(&state, "s3://backups/orders").await.unwrap();
    // What guards the evidence came along, and the numbers go on.
    let error = place.sql("DELETE FROM records").await.unwrap_err();
    assert!(error.to_string().contains("append-only"), "{error}");
    some_work(&state).await;
    assert_eq!(place.number("SELECT max(sequence) FROM records").await, 6);
    assert_eq!(
        state.info().await.unwrap().schema_version,
        super::sqlite::MIGRATIONS
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap()
    );
    state.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_the_file_is_the_state_again() {
    let place = Place::sqlite();
    let state = place.open().await;
    some_work(&state).await;
    let _under_way = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    let before = state.history(&HistoryFilter::default()).await.unwrap();
    let restored = Place::sqlite();
    let file = restored.directory().join("state.sqlite");
    state.backup_to(&file).await.unwrap();
    let error = state.backup_to(&file).await.unwrap_err();
    assert_eq!(error.kind, StateErrorKind::Refused, "{error}");
    assert_whole(&restored, &before).await;
    let nowhere = Path::new("/nowhere/at/all");
    let error = state.backup_to(nowhere).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_database_is_the_state_again() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let state = place.open().await;
    some_work(&state).await;
    let _under_way = state
        .begin_run(&new_run(RunKind::Drill, "orders"))
        .await
        .unwrap();
    let before = state.history(&HistoryFilter::default()).await.unwrap();
    let restored = Place::postgres().await.unwrap();
    let dump = place.directory().join("walproof.dump");
    let (_, bin) = majors()
        .into_iter()
        .find(|(_, bin)| bin.join("pg_dump").is_file())
        .unwrap();
    let url = |place: &Place| place.url().to_string();
    for (program, arguments) in [
        (
            "pg_dump",
            [
                "--format=custom".to_owned(),
                "--file".to_owned(),
                dump.display().to_string(),
                url(&place),
            ],
        ),
        (
            "pg_restore",
            [
                "--exit-on-error".to_owned(),
                "--no-owner".to_owned(),
                format!("--dbname={}", url(&restored)),
                dump.display().to_string(),
            ],
        ),
    ] {
        let done = std::process::Command::new(bin.join(program))
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    // The process whose run it was beats in the other database only.
    restored.a_minute_passes().await;
    assert_whole(&restored, &before).await;
    let error = state.backup_to(&dump).await.unwrap_err();
    assert!(error.to_string().contains("pg_dump"), "{error}");
}
