//! A small server that archives into a repository of its own, to be made to do something.

use super::barman::{Archiver, BarmanCloud, BaseCodec, WalCodec};
use super::damage::Tree;
use super::postgres::TestServer;
use super::s3::S3Server;
use super::workload;

/// A small server that archives, plain, into an S3 server of its own.
pub struct Source {
    s3: S3Server,
    barman: BarmanCloud,
    /// The running server.
    pub server: TestServer,
    /// What archives. It holds every segment as the server wrote it.
    pub archiver: Archiver,
}

impl Source {
    /// With these settings; archives from before its tables are made.
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let s3 = S3Server::start();
        let barman = BarmanCloud::new(&s3, "pg", "orders");
        let mut options = TestServer::options()
            .segment_size_mb(1)
            .setting("min_wal_size", "2MB")
            .setting("archive_command", "true");
        for (name, value) in settings {
            options = options.setting(name, value);
        }
        let server = options.create();
        server.archive_all();
        let archiver = barman.archive(&server, WalCodec::None);
        workload::create(&server, None);
        Self {
            s3,
            barman,
            server,
            archiver,
        }
    }

    /// Takes a base backup.
    pub fn back_up(&self) -> String {
        self.back_up_from(&self.server)
    }

    /// Takes a base backup of this server or a standby of it.
    pub fn back_up_from(&self, server: &TestServer) -> String {
        self.barman.backup(server, BaseCodec::Lz4, &["--jobs", "1"])
    }

    /// The repository with everything in it that the server has written.
    pub fn tree(&self) -> Tree {
        self.server.archive_all();
        Tree::copy_of(&self.s3.object("pg/orders"), "orders")
    }
}
