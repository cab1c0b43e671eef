//! A restored server that fetches its WAL by itself, while the store or the command is not
//! as it should be: it stops, and never promotes with rows missing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::postgres::TestServer;
use crate::common::process::{Server, wait_until};
use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::s3::S3Server;
use crate::common::walproof::{readable_copy, run_command};
use crate::common::{require, scratch};

/// The server of a restore, with the store's credentials in its environment.
struct Recovery {
    server: TestServer,
    environment: Vec<(String, String)>,
}

impl Recovery {
    /// Restores to the tip, to be promoted there.
    fn new(s3: &S3Server, url: &str) -> Self {
        let keep = Arc::new(scratch::directory());
        let home = keep.path().join("pg");
        std::fs::create_dir(&home).unwrap();
        let data = home.join("data");
        let program = readable_copy(keep.path());
        let mut command = std::process::Command::new(program);
        let mut environment = s3.environment();
        environment.push(("TZ".to_owned(), "UTC".to_owned()));
        environment.push(("HOME".to_owned(), "/tmp".to_owned()));
        command
            .args(["restore", url, "--then", "promote", "--into"])
            .arg(&data)
            .env_remove("WALPROOF_CONFIG")
            .envs(environment.clone());
        run_command(command).expect_code(0);
        let server = TestServer::adopt(keep, &data, &[("fsync", "off")]);
        std::fs::write(data.join("pg_hba.conf"), "local all all trust\n").unwrap();
        scratch::give_to_server_user(&data);
        Self {
            server,
            environment,
        }
    }

    fn data(&self) -> std::path::PathBuf {
        self.server.data()
    }

    fn start(&self) -> Server {
        let data = self.data();
        Server::start(
            &TestServer::bin("postgres"),
            &["-D", data.to_str().unwrap()],
            &self.environment,
            true,
            "QUIT",
            &self.log_file(),
        )
    }

    fn log_file(&self) -> std::path::PathBuf {
        self.data().with_file_name("recovery.log")
    }

    /// Starts it and waits for it to give up; gives what it said.
    fn gives_up(&self) -> String {
        let _ = std::fs::remove_file(self.log_file());
        self.start().wait(Duration::from_mins(3));
        let log = std::fs::read_to_string(self.log_file()).unwrap();
        assert!(!log.contains("selected new timeline"), "promoted:\n{log}");
        assert!(self.data().join("recovery.signal").exists(), "{log}");
        log
    }
}

fn history_files(data: &Path) -> usize {
    std::fs::read_dir(data.join("pg_wal"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".history"))
        .count()
}

#[test]
fn a_server_that_cannot_fetch_stops_and_goes_on_when_it_can() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (mut s3, url) = fixture.s3();
    let recovery = Recovery::new(&s3, &url);
    let conf = recovery.data().join("postgresql.conf");
    let healthy = std::fs::read_to_string(&conf).unwrap();
    let command = healthy
        .lines()
        .find(|line| line.starts_with("restore_command"))
        .unwrap();

    // Flags and words that do not exist, a configuration that is not there: mistakes that
    // people make in this line.
    for (from, to) in [
        (" wal get ", " wal get --read-ahed 4 "),
        (" wal get ", " --config /no/such.yaml wal get "),
        ("--plan ", "--plan /no/such"),
        ("s3://", "s4://"),
    ] {
        assert!(command.contains(from), "{command}");
        std::fs::write(
            &conf,
            healthy.replace(command, &command.replacen(from, to, 1)),
        )
        .unwrap();
        let log = recovery.gives_up();
        assert!(log.contains("could not restore file"), "{to}:\n{log}");
        assert!(
            log.contains("child process exited with exit code 201"),
            "{to}:\n{log}"
        );
    }
    std::fs::write(&conf, &healthy).unwrap();

    // The store is away when the server begins.
    s3.interrupt();
    let log = recovery.gives_up();
    assert!(
        log.contains("walproof wal get:") && log.contains("127.0.0.1"),
        "{log}"
    );
    assert!(log.contains("exit code 201"), "{log}");
    assert_eq!(history_files(&recovery.data()), 0);

    // It is back: the same directory goes on to where it was told to end.
    s3.resume();
    let mut process = recovery.start();
    let mut ended = false;
    wait_until(Duration::from_mins(2), "promotion", || {
        ended = process.ended();
        let asked = recovery.server.try_psql("select pg_is_in_recovery()");
        ended || asked.as_deref() == Ok("f")
    });
    let log = std::fs::read_to_string(recovery.log_file()).unwrap();
    assert!(!ended, "{log}");
    let tip = fixture.facts.tip();
    let server = &recovery.server;
    assert_eq!(server.number("select count(*) from ledger"), tip.rows);
    assert_eq!(server.number("select sum(id) from ledger"), tip.sum);
    process.signal(nix::sys::signal::Signal::SIGINT);
    process.wait(Duration::from_mins(1));
}
