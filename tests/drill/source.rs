//! A small server that archives into a repository of its own, and lives on beside drills.

use std::os::unix::fs::PermissionsExt as _;

use crate::common::barman::{Archiver, BarmanCloud, BaseCodec, WalCodec};
use crate::common::damage::Tree;
use crate::common::postgres::TestServer;
use crate::common::s3::S3Server;
use crate::common::workload;

/// The source of a repository: production, as far as the drill is concerned.
pub(crate) struct Source {
    s3: S3Server,
    barman: BarmanCloud,
    /// The running server. Its socket is open to every user of this machine, so that a
    /// restored server could reach it.
    pub(crate) server: TestServer,
    _archiver: Archiver,
}

impl Source {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        let s3 = S3Server::start();
        let barman = BarmanCloud::new(&s3, "", "orders");
        let mut options = TestServer::options().segment_size_mb(1);
        for (name, value) in settings {
            options = options.setting(name, value);
        }
        let server = options.create();
        for directory in [server.home(), &server.socket_directory()] {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let archiver = barman.archive(&server, WalCodec::Gzip);
        workload::create(&server, None);
        workload::write(&server, "before", 100, 2);
        Self {
            s3,
            barman,
            server,
            _archiver: archiver,
        }
    }

    pub(crate) fn back_up(&self) -> String {
        self.back_up_from(&self.server)
    }

    /// From this server or a standby of it.
    pub(crate) fn back_up_from(&self, server: &TestServer) -> String {
        self.barman.backup(server, BaseCodec::Lz4, &["--jobs", "1"])
    }

    /// The repository with everything in it that the server has written.
    pub(crate) fn tree(&self) -> Tree {
        self.server.archive_all();
        self.copy()
    }

    /// The repository as it stands.
    pub(crate) fn copy(&self) -> Tree {
        Tree::copy_of(&self.s3.object("orders"), "orders")
    }
}
