//! The real Barman Cloud tools, pinned by `scripts/install`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::postgres::TestServer;
use super::process::{self, Server, wait_until};
use super::s3::S3Server;
use super::{require, scratch};

/// The codecs of `barman-cloud-backup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BaseCodec {
    /// `.tar`
    None,
    /// `.tar.gz`
    Gzip,
    /// `.tar.bz2`
    Bzip2,
    /// `.tar.snappy`
    Snappy,
    /// `.tar.lz4`
    Lz4,
}

/// The codecs of `barman-cloud-wal-archive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WalCodec {
    /// no extension
    None,
    /// `.gz`
    Gzip,
    /// `.bz2`
    Bzip2,
    /// `.xz`
    Xz,
    /// `.snappy`
    Snappy,
    /// `.zst`
    Zstd,
    /// `.lz4`
    Lz4,
}

impl BaseCodec {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Bzip2, Self::Snappy, Self::Lz4];

    /// What follows `.tar` in a key.
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Snappy => ".snappy",
            Self::Lz4 => ".lz4",
        }
    }

    fn flag(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Gzip => &["--gzip"],
            Self::Bzip2 => &["--bzip2"],
            Self::Snappy => &["--snappy"],
            Self::Lz4 => &["--lz4"],
        }
    }
}

impl WalCodec {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Gzip,
        Self::Bzip2,
        Self::Xz,
        Self::Snappy,
        Self::Zstd,
        Self::Lz4,
    ];

    /// What follows the WAL file's name in a key.
    pub fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Xz => ".xz",
            Self::Snappy => ".snappy",
            Self::Zstd => ".zst",
            Self::Lz4 => ".lz4",
        }
    }

    fn flag(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Gzip => &["--gzip"],
            Self::Bzip2 => &["--bzip2"],
            Self::Xz => &["--xz"],
            Self::Snappy => &["--snappy"],
            Self::Zstd => &["--zstd"],
            Self::Lz4 => &["--lz4"],
        }
    }
}

/// The tools, pointed at one server folder of a bucket.
#[derive(Clone, Debug)]
pub struct BarmanCloud {
    endpoint: String,
    environment: Vec<(String, String)>,
    bucket_url: String,
    server: String,
}

/// An `archive_command` that is `barman-cloud-wal-archive`. It works while this value lives.
#[derive(Debug)]
pub struct Archiver {
    relay: Server,
    /// The text for `archive_command`.
    pub command: String,
    /// Every archived WAL file as the server wrote it, byte for byte: the tests' oracle.
    pub plain_wal: PathBuf,
}

impl BarmanCloud {
    /// For `<bucket>/<prefix>/<server>` of `s3`. The prefix may be empty.
    pub fn new(s3: &S3Server, prefix: &str, server: &str) -> Self {
        let mut bucket_url = format!("s3://{}", S3Server::BUCKET);
        if !prefix.is_empty() {
            bucket_url = format!("{bucket_url}/{prefix}");
        }
        Self {
            endpoint: s3.endpoint(),
            environment: s3.environment(),
            bucket_url,
            server: server.to_owned(),
        }
    }

    /// The repository's URL as walproof takes it.
    pub fn url(&self) -> String {
        format!("{}/{}", self.bucket_url, self.server)
    }

    /// A tool with its options so far; destination and server name are still to be added.
    fn tool(&self, name: &str, options: &[&str]) -> Command {
        let mut command = Command::new(require::barman_bin().join(name));
        command
            .args(["--endpoint-url", &self.endpoint])
            .args(options)
            .envs(self.environment.iter().cloned())
            .env("TZ", "UTC")
            .env_remove("AWS_ENDPOINT_URL")
            .current_dir("/");
        command
    }

    fn run(&self, name: &str, options: &[&str], rest: &[&str]) -> Result<String, String> {
        let mut command = self.tool(name, options);
        process::try_run(command.args([&self.bucket_url, &self.server]).args(rest))
    }

    /// `barman-cloud-backup`; gives the backup's id.
    pub fn backup(&self, server: &TestServer, codec: BaseCodec, options: &[&str]) -> String {
        self.try_backup(server, codec, options)
            .unwrap_or_else(|failure| panic!("{failure}"));
        let newest = self
            .list()
            .into_iter()
            .next_back()
            .expect("no backup in the list");
        newest["backup_id"].as_str().unwrap().to_owned()
    }

    /// `barman-cloud-backup`, which may fail.
    pub fn try_backup(
        &self,
        server: &TestServer,
        codec: BaseCodec,
        options: &[&str],
    ) -> Result<String, String> {
        let mut command = self.tool("barman-cloud-backup", codec.flag());
        command
            .arg("--immediate-checkpoint")
            .args(["--host", server.socket_directory().to_str().unwrap()])
            .args([
                "--port",
                &TestServer::PORT.to_string(),
                "--user",
                "postgres",
            ])
            .args(options)
            .args([&self.bucket_url, &self.server]);
        process::try_run(&mut command)
    }

    /// A base backup as [`Self::backup`] takes it, on storage that is slow and tears pages:
    /// in files of at least `from` bytes it pauses `microseconds` in the middle of each block.
    /// `everything`: temporary files and caches too, as older versions of the tool. Calls
    /// `copied` when the last file is copied, before the server is told.
    pub fn backup_slowly(
        &self,
        server: &TestServer,
        codec: BaseCodec,
        (microseconds, from): (u32, u32),
        everything: bool,
        copied: impl FnOnce(),
    ) -> String {
        let script = server.home().join("slow.py");
        let mark = server.home().join("copied");
        let _ = std::fs::remove_file(&mark);
        std::fs::write(&script, include_str!("barman_slow.py")).unwrap();
        let mut command = Command::new(require::barman_bin().join("python"));
        command
            .arg(&script)
            .args(["--endpoint-url", &self.endpoint])
            .args(codec.flag())
            .envs(self.environment.iter().cloned())
            .env("TZ", "UTC")
            .env("PAUSE_US", microseconds.to_string())
            .env("PAUSE_FROM", from.to_string())
            .env("COPIED", &mark)
            .env_remove("AWS_ENDPOINT_URL")
            .current_dir("/");
        if everything {
            command.env("EVERYTHING", "1");
        }
        command
            .args(["--immediate-checkpoint", "--jobs", "1"])
            .args(["--host", server.socket_directory().to_str().unwrap()])
            .args([
                "--port",
                &TestServer::PORT.to_string(),
                "--user",
                "postgres",
            ])
            .args([&self.bucket_url, &self.server]);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| process::try_run(&mut command));
            while !mark.exists() && !run.is_finished() {
                std::thread::sleep(Duration::from_millis(20));
            }
            copied();
            run.join()
                .unwrap()
                .unwrap_or_else(|failure| panic!("{failure}"));
        });
        let newest = self.list().into_iter().next_back();
        let newest = newest.expect("no backup in the list");
        newest["backup_id"].as_str().unwrap().to_owned()
    }

    /// `barman-cloud-wal-archive` of one file, by the tool's own command line.
    pub fn wal_archive(&self, codec: WalCodec, file: &Path) -> Result<String, String> {
        self.run(
            "barman-cloud-wal-archive",
            codec.flag(),
            &[file.to_str().unwrap()],
        )
    }

    /// `barman-cloud-backup-list`, oldest first.
    pub fn list(&self) -> Vec<serde_json::Value> {
        let text = self
            .run("barman-cloud-backup-list", &["--format", "json"], &[])
            .unwrap_or_else(|failure| panic!("{failure}"));
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut list = list["backups_list"].as_array().unwrap().clone();
        list.sort_by_key(|backup| backup["backup_id"].as_str().unwrap().to_owned());
        list
    }

    /// `barman-cloud-restore` into `data`, which must be empty or absent. Each tablespace
    /// `(name, directory)` is placed there.
    pub fn restore(
        &self,
        backup: &str,
        data: &Path,
        tablespaces: &[(&str, &Path)],
    ) -> Result<String, String> {
        let places: Vec<String> = tablespaces
            .iter()
            .flat_map(|(name, place)| {
                std::fs::create_dir_all(place).unwrap();
                [
                    "--tablespace".to_owned(),
                    format!("{name}:{}", place.display()),
                ]
            })
            .collect();
        let options: Vec<&str> = places.iter().map(String::as_str).collect();
        self.run(
            "barman-cloud-restore",
            &options,
            &[backup, data.to_str().unwrap()],
        )
    }

    /// `barman-cloud-wal-restore` of `name` to `file`, full segments only.
    pub fn wal_restore(&self, name: &str, file: &Path) -> Result<String, String> {
        // Its default spool, /var/tmp/walrestore, is shared by all servers of a machine: a
        // segment left there by another cluster is served without a look.
        let spool = scratch::directory();
        let spool = spool.path().to_str().unwrap();
        self.run(
            "barman-cloud-wal-restore",
            &["--no-partial", "--spool-dir", spool],
            &[name, file.to_str().unwrap()],
        )
    }

    /// Fetches every WAL file of `names` to `directory`, so that a restored server can get
    /// them by `cp`.
    pub fn fetch_wal(&self, names: &[String], directory: &Path) {
        std::fs::create_dir_all(directory).unwrap();
        for name in names {
            self.wal_restore(name, &directory.join(name))
                .unwrap_or_else(|failure| panic!("{failure}"));
        }
        scratch::give_to_server_user(directory);
    }

    /// Restores with these tools as an operator would, without a target: base by
    /// `barman-cloud-restore`, the WAL files `wal` by `barman-cloud-wal-restore`, recovery to
    /// wherever that leads, promotion. The server archives nothing.
    pub fn restore_to_server(
        &self,
        backup: &str,
        wal: &[String],
        tablespaces: &[&str],
    ) -> TestServer {
        let keep = Arc::new(scratch::directory());
        let home = keep.path().join("restored");
        let data = home.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let places: Vec<(&str, PathBuf)> = tablespaces
            .iter()
            .map(|&name| (name, home.join(name)))
            .collect();
        let places: Vec<(&str, &Path)> = places
            .iter()
            .map(|(name, place)| (*name, place.as_path()))
            .collect();
        self.restore(backup, &data, &places)
            .unwrap_or_else(|failure| panic!("{failure}"));
        self.fetch_wal(wal, &home.join("wal"));
        std::fs::write(data.join("recovery.signal"), "").unwrap();
        // Not the configuration of the backup: its archive_command still works.
        let _ = std::fs::remove_file(data.join("postgresql.auto.conf"));
        let fetch = format!("cp '{}/wal/%f' '%p'", home.display());
        let mut server = TestServer::adopt(
            keep,
            &data,
            &[
                ("archive_mode", "off"),
                ("restore_command", &fetch),
                ("recovery_target_timeline", "latest"),
            ],
        );
        server.start();
        server.wait_for_promotion();
        server
    }

    /// `barman-cloud-backup-keep --target full|standalone`.
    pub fn keep(&self, backup: &str, target: &str) {
        self.run("barman-cloud-backup-keep", &["--target", target], &[backup])
            .unwrap_or_else(|failure| panic!("{failure}"));
    }

    /// Makes `server` archive by `barman-cloud-wal-archive` from now on. A second server of
    /// the same cluster (a promoted standby) may get the same archiver's command.
    pub fn archive(&self, server: &TestServer, codec: WalCodec) -> Archiver {
        let archiver = self.archiver(&server.home().join("archiver"), codec);
        server.set("archive_command", &archiver.command);
        archiver
    }

    /// An archiver whose files lie in `home`.
    pub fn archiver(&self, home: &Path, codec: WalCodec) -> Archiver {
        std::fs::create_dir_all(home).unwrap();
        let socket = home.join("relay");
        let plain_wal = home.join("plain");
        scratch::server_directory(&plain_wal);
        std::fs::write(home.join("relay.py"), include_str!("barman_relay.py")).unwrap();
        std::fs::write(home.join("ask.py"), include_str!("barman_ask.py")).unwrap();
        // archive_command is cut at about 1,024 bytes, so it is a script.
        let script = home.join("archive.sh");
        std::fs::write(
            &script,
            format!(
                "set -e\ncp \"$1\" '{plain}/.new.'$$ && mv '{plain}/.new.'$$ '{plain}/'\"$2\"\n\
                 exec python3 -I -S '{home}/ask.py' '{socket}' \"$1\"\n",
                plain = plain_wal.display(),
                home = home.display(),
                socket = socket.display(),
            ),
        )
        .unwrap();
        let mut arguments = vec![
            home.join("relay.py").to_str().unwrap().to_owned(),
            socket.to_str().unwrap().to_owned(),
            "--endpoint-url".to_owned(),
            self.endpoint.clone(),
        ];
        arguments.extend(codec.flag().iter().map(|&flag| flag.to_owned()));
        arguments.extend([self.bucket_url.clone(), self.server.clone()]);
        let mut environment = self.environment.clone();
        environment.retain(|(name, _)| name != "AWS_ENDPOINT_URL");
        environment.push(("TZ".to_owned(), "UTC".to_owned()));
        let mut relay = Server::start(
            &require::barman_bin().join("python"),
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            &environment,
            false,
            "KILL",
            &home.join("log"),
        );
        let log = || std::fs::read_to_string(home.join("log")).unwrap_or_default();
        wait_until(Duration::from_secs(30), "the archiver", || {
            assert!(!relay.ended(), "the archiver ended: {}", log());
            socket.exists()
        });
        let command = format!("sh '{}' %p %f", script.display());
        Archiver {
            relay,
            command,
            plain_wal,
        }
    }
}
