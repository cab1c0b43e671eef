//! Loads that go on beside a base backup until the test ends them.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::postgres::TestServer;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A pgbench that runs one script over and over. Dropped, it is killed.
#[derive(Debug)]
pub struct Endless {
    child: Child,
    log: std::path::PathBuf,
}

impl Endless {
    /// Starts `clients` clients that run `script` (of pgbench) until [`Self::end`].
    pub fn start(server: &TestServer, clients: u32, script: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = server.home().join(format!("load-{number}.sql"));
        std::fs::write(&file, script).unwrap();
        let log = server.home().join(format!("load-{number}.log"));
        let child = Command::new(TestServer::bin("pgbench"))
            .args(["-n", "-T", "600", "-c", &clients.to_string(), "-f"])
            .arg(&file)
            .envs(server.environment())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("cannot run pgbench");
        Self { child, log }
    }

    /// Ends it; it must have gone on until now.
    #[track_caller]
    pub fn end(mut self) {
        let words = std::fs::read_to_string(&self.log).unwrap_or_default();
        assert!(
            self.child.try_wait().unwrap().is_none() && !words.contains("aborted"),
            "the load ended by itself:\n{words}"
        );
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
