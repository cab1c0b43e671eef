//! A restored server that would act on the world outside: it is confined, and asked.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::common::damage::Tree;
use crate::common::postgres::TestServer;
use crate::common::process::wait_until;
use crate::common::{codec, require, scratch, workload};
use crate::kit::{Place, check};
use crate::source::Source;

/// A directory that every user may write to, with an archive in it: whatever changes here
/// was changed by a restored server.
struct Canary {
    keep: tempfile::TempDir,
}

impl Canary {
    fn new() -> Self {
        let keep = scratch::directory();
        let canary = Self { keep };
        for directory in ["", "archive", "log", "sockets"] {
            let directory = canary.path().join(directory);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        // Older than any backup: what pg_archivecleanup deletes first.
        for number in 1..4 {
            let segment = canary.path().join(format!("archive/{number:024X}"));
            let segment = segment.with_file_name(format!("0000000100000000{number:08X}"));
            std::fs::write(segment, "precious").unwrap();
        }
        std::fs::write(canary.path().join("hba"), "local all all trust\n").unwrap();
        canary
    }

    fn path(&self) -> PathBuf {
        self.keep.path().join("canary")
    }

    fn touch(&self, name: &str) -> String {
        format!("touch {}", self.path().join(name).display())
    }

    fn listing(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.path()];
        while let Some(next) = open.pop() {
            for entry in std::fs::read_dir(&next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                found.insert(path);
            }
        }
        found
    }

    /// Settings that would act here if they were in force. Every one of them is named in
    /// the report.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let place = |name: &str| self.path().join(name).display().to_string();
        let cleanup = TestServer::bin("pg_archivecleanup");
        vec![
            (
                "archive_cleanup_command",
                format!(
                    "{}; {} {} %r",
                    self.touch("archive_cleanup_command"),
                    cleanup.display(),
                    place("archive")
                ),
            ),
            ("archive_command", self.touch("archive_command")),
            ("recovery_end_command", self.touch("recovery_end_command")),
            (
                "restore_command",
                format!("{}; false", self.touch("restore_command")),
            ),
            ("recovery_target_timeline", "1".to_owned()),
            ("external_pid_file", place("pid")),
            ("log_directory", place("log")),
            ("log_filename", "restored.log".to_owned()),
            ("unix_socket_directories", place("sockets")),
            ("hba_file", place("hba")),
            ("ident_file", place("ident")),
            ("ssl_cert_file", place("cert")),
            ("ssl_key_file", place("key")),
            ("listen_addresses", "*".to_owned()),
            ("local_preload_libraries", "no_such_library".to_owned()),
            ("session_preload_libraries", "no_such_library".to_owned()),
            (
                "shared_preload_libraries",
                "pg_stat_statements, timescaledb, pg_cron, house_library".to_owned(),
            ),
            ("primary_slot_name", "production".to_owned()),
        ]
    }
}

#[track_caller]
fn assert_set_aside(report: &Value, names: &[&str], secret: &str) {
    let finding = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["code"] == "backup-configuration-set-aside")
        .unwrap_or_else(|| panic!("{:#}", report["findings"]));
    let message = finding["message"].as_str().unwrap();
    for name in names {
        assert!(message.contains(name), "{name}: {message}");
    }
    assert!(!message.contains(secret), "a value was told: {message}");
}

/// What the restored server was asked about its confinement, twice.
#[track_caller]
fn assert_asked_back(report: &Value, preload: &str) {
    assert_eq!(report["safety"]["holds"], true, "{:#}", report["safety"]);
    let items = report["safety"]["items"].as_array().unwrap();
    for (name, value) in [
        ("archive_mode", "off"),
        ("archive_command", ""),
        ("archive_cleanup_command", ""),
        ("recovery_end_command", ""),
        ("primary_conninfo", ""),
        ("primary_slot_name", ""),
        ("listen_addresses", ""),
        ("max_logical_replication_workers", "0"),
        ("shared_preload_libraries", preload),
        ("session_preload_libraries", ""),
        ("local_preload_libraries", ""),
        ("archive_library", ""),
        ("wal-receivers", "none"),
        ("replication-slots", "none"),
        ("foreign-processes", "none"),
    ] {
        for stage in ["at target", "promoted"] {
            let asked = format!("{name} {stage}");
            let item = items
                .iter()
                .find(|item| item["name"] == asked.as_str())
                .unwrap_or_else(|| panic!("not asked: {asked}"));
            assert_eq!(item["observed"], value, "{asked}");
            assert_eq!(item["holds"], true, "{asked}");
        }
    }
}

/// What a person would do by hand: unpack, `standby.signal` and configuration as they came.
fn plain_standby(source: &Source, tree: &Tree, backup: &str, canary: &Canary) -> TestServer {
    let keep = Arc::new(scratch::directory());
    let data = keep.path().join("plain/data");
    let key = tree.archives(backup).into_iter().next().unwrap();
    let bytes = codec::decode(codec::extension(Path::new(&key)), &tree.read(&key));
    tar::Archive::new(&bytes[..]).unpack(&data).unwrap();
    let settings = canary.settings();
    let acting: Vec<(&str, &str)> = settings
        .iter()
        .filter(|(name, _)| name.contains("cleanup"))
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    // The rest of the canaries would only keep it from starting.
    std::fs::write(data.join("postgresql.conf"), "").unwrap();
    let own = std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap();
    let own: Vec<&str> = own
        .lines()
        .filter(|line| line.starts_with("primary_conninfo"))
        .collect();
    std::fs::write(data.join("postgresql.auto.conf"), own.join("\n") + "\n").unwrap();
    let plain = source.server.home().join("archiver/plain");
    let fetch = format!("cp '{}/%f' '%p'", plain.display());
    let mut server = TestServer::adopt(keep, &data, &acting);
    server.append_settings(&[
        ("archive_mode", "off"),
        ("restore_command", &fetch),
        ("hot_standby", "on"),
        ("fsync", "off"),
    ]);
    server.start();
    server
}

#[test]
fn a_base_from_a_standby_with_hostile_configuration_touches_nothing() {
    require!(Postgres, S3, Barman);
    let canary = Canary::new();
    let source = Source::new(&[("log_connections", "on")]);
    let standby = source.server.create_standby();
    source.server.wait_for_standby(&standby);
    // In the files, not in force on the standby itself.
    let settings = canary.settings();
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    standby.append_settings(&settings);
    let append = |file: &str, text: &str| {
        let file = standby.data().join(file);
        let old = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, old + text).unwrap();
        scratch::give_to_server_user(&file);
    };
    append(
        "postgresql.conf",
        "archive_mode = 'always'\nlogging_collector = 'on'\nssl = 'on'\n\
         data_directory = '/nowhere'\ninclude 'evil.conf'\ninclude_if_exists 'evil.conf'\n\
         include_dir 'evil.d'\n",
    );
    std::fs::create_dir(standby.data().join("evil.d")).unwrap();
    scratch::give_to_server_user(&standby.data().join("evil.d"));
    for file in ["evil.conf", "evil.d/more.conf"] {
        append(
            file,
            &format!("recovery_end_command = '{}'\n", canary.touch("included")),
        );
    }
    let quoted: String = settings
        .iter()
        .map(|(name, value)| format!("{name} = '{value}'\n"))
        .collect();
    append(
        "postgresql.auto.conf",
        &format!("{quoted}archive_mode = 'on'\nlogging_collector = 'on'\n"),
    );
    let backup = source.back_up_from(&standby);
    drop(standby);
    source.server.psql("checkpoint");
    let tip = workload::write_moment(&source.server, "tip", 100, 2);
    let tree = source.tree();
    // Barman leaves it out; snapshots and pg_basebackup -R bring it.
    tree.change_members(&backup, &[("standby.signal", Some(b""))]);
    wait_until(Duration::from_secs(30), "the standby's goodbye", || {
        source
            .server
            .number("select count(*) from pg_stat_replication")
            == 0
    });
    let connections = || {
        source
            .server
            .log()
            .matches("replication connection authorized")
            .count()
    };
    let (before, connected) = (canary.listing(), connections());
    // Rows that only production has: they must not get into the copy.
    workload::write(&source.server, "never archived", 100, 2);

    let place = Place::new();
    let definition = place.definition(&format!(
        "settings: {{fsync: 'off'}}\nchecks:\n- {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {}'}}\n",
        tip.rows
    ));
    let run = place
        .drill(&tree.url(), &["--definition", &definition])
        .expect_code(0);
    let report = run.json();
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["plan"]["backup"]["id"], backup.as_str());
    assert_eq!(check(&report, "rows")["outcome"], "passed");
    assert_eq!(report["measurements"]["recovery_point"]["xid"], tip.xid);
    let mut names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    names.extend([
        "primary_conninfo",
        "standby.signal",
        "archive_mode",
        "data_directory",
        "include",
        "include_if_exists",
        "include_dir",
    ]);
    let secret = canary.path();
    assert_set_aside(&report, &names, secret.to_str().unwrap());
    assert_asked_back(&report, "pg_stat_statements");
    let library = |code: &str| -> BTreeSet<String> {
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["code"] == code)
            .map(|finding| finding["object"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        library("preload-library-set-aside"),
        BTreeSet::from(["house_library".to_owned(), "pg_cron".to_owned()])
    );
    assert_eq!(
        library("preload-library-missing"),
        BTreeSet::from(["timescaledb".to_owned()])
    );
    // Nothing outside was made, changed or deleted, and production saw nobody.
    assert_eq!(canary.listing(), before);
    assert_eq!(connections(), connected, "{}", source.server.log());
    assert_eq!(
        source
            .server
            .number("select count(*) from pg_stat_replication"),
        0
    );
    place.assert_clean();

    // The trap is a real one: by hand the same backup streams from production and empties
    // the archive.
    let plain = plain_standby(&source, &tree, &backup, &canary);
    wait_until(Duration::from_secs(30), "the plain copy to stream", || {
        connections() > connected
    });
    plain.psql("checkpoint");
    wait_until(Duration::from_secs(30), "the archive to be emptied", || {
        canary.path().join("archive").read_dir().unwrap().count() == 0
    });
    assert!(canary.path().join("archive_cleanup_command").exists());
}

#[test]
fn subscriptions_slots_and_odd_databases_stay_quiet() {
    require!(Postgres, S3, Barman);
    let source = Source::new(&[
        ("wal_level", "logical"),
        ("log_connections", "on"),
        // Its own subscription must not run here either: any replication connection in its
        // log is the copy's.
        ("max_logical_replication_workers", "0"),
    ]);
    let server = &source.server;
    let here = server.socket_directory();
    server.psql("create publication all_of_it for all tables");
    server.psql(&format!(
        "create subscription to_myself connection 'host={} dbname=postgres user=postgres' \
         publication all_of_it with (connect = false, slot_name = 'production')",
        here.display()
    ));
    server.psql("alter subscription to_myself enable");
    server.psql("select pg_create_physical_replication_slot('production', true)");
    for (name, change) in [
        ("closed", "alter database closed allow_connections false"),
        // What an interrupted DROP DATABASE leaves: nobody can open it, and nobody need.
        (
            "half_dropped",
            "update pg_database set datconnlimit = -2 where datname = 'half_dropped'",
        ),
        (
            "loading",
            "alter role postgres in database loading set local_preload_libraries = 'no_such_library'; \
             alter database loading set session_preload_libraries = 'no_such_library'",
        ),
    ] {
        server.psql(&format!("create database {name}"));
        server.psql(change);
    }
    server.psql("create extension dblink");
    let backup = source.back_up();
    let state = std::fs::read(server.data().join("pg_replslot/production/state")).unwrap();
    let tip = workload::write_moment(server, "tip", 100, 2);
    let tree = source.tree();
    // Barman leaves slots out; a snapshot does not.
    tree.change_members(&backup, &[("pg_replslot/production/state", Some(&state))]);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let place = Place::new();
    let definition = place.definition(&format!(
        "settings: {{fsync: 'off'}}\nchecks:\n\
         - {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {}'}}\n\
         - {{name: enabled, database: postgres, sql: 'select subenabled from pg_subscription', rows: [[t]]}}\n\
         - {{name: out, database: postgres, sql: \"select dblink_connect('host=127.0.0.1 port={port} user=x connect_timeout=2')\", expect: '> 0', timeout: 10s}}\n",
        tip.rows
    ));
    let more = ["--definition", definition.as_str()];
    let report = place.drill(&tree.url(), &more).expect_code(1).json();
    assert_eq!(report["proof"]["state"], "held");
    // A database that reaches out by itself does not get far.
    assert_eq!(check(&report, "out")["outcome"], "failed");
    if nix::unistd::Uid::effective().is_root() {
        assert!(listener.accept().is_err(), "the copy reached the network");
    }
    for name in ["rows", "enabled", "every database opens"] {
        let check = check(&report, name);
        assert_eq!(check["outcome"], "passed", "{check:#}");
    }
    assert_eq!(report["safety"]["subscriptions"], 1);
    assert_asked_back(&report, "");
    let connected = |server: &TestServer| {
        server
            .log()
            .lines()
            .filter(|line| line.contains("replication connection authorized"))
            .count()
    };
    assert_eq!(connected(server), 0, "{}", server.log());

    // The maintenance database need not be `postgres`.
    server
        .try_psql_in(
            "template1",
            "update pg_database set datallowconn = false where datname = 'postgres'",
        )
        .unwrap();
    let in_template = |sql: &str| server.try_psql_in("template1", sql).unwrap();
    // Nor the superuser: then walproof asks for its name, and blames nobody.
    in_template("create role admin superuser login");
    in_template("alter role postgres nologin");
    let mut psql = std::process::Command::new(TestServer::bin("psql"));
    psql.args(["-X", "-q", "-d", "template1", "-U", "admin", "-h"])
        .arg(&here)
        .args(["-c", "select pg_switch_wal()"]);
    assert!(psql.status().unwrap().success());
    server.wait_archived();
    let closed = source.copy();
    let definition =
        |role: &str| place.definition(&format!("superuser: {role}\nsettings: {{fsync: 'off'}}\n"));
    let more = ["--definition", &definition("postgres")];
    let report = place.drill(&closed.url(), &more).expect_code(3).json();
    assert_eq!(report["verdict"], "unproven");
    let text = report["reasons"].to_string();
    assert!(
        text.contains("no role") && text.contains("postgres") && text.contains("superuser"),
        "{text}"
    );
    let more = ["--definition", &definition("admin")];
    let report = place.drill(&closed.url(), &more).expect_code(0).json();
    assert_eq!(report["verdict"], "proven");
    place.assert_clean();
}
