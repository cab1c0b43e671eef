//! What a test needs from the machine. `scripts/install` brings all of it.

use std::io::Write as _;
use std::path::PathBuf;

/// Something a test needs that is not a crate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Need {
    /// PostgreSQL server and client binaries (Debian's).
    Postgres,
    /// versitygw, an S3 server whose objects are plain files.
    S3,
    /// MinIO, another S3 server.
    Minio,
    /// fake-gcs-server, with the interface of Google Cloud Storage.
    Gcs,
    /// Azurite, with the interface of Azure Blob Storage, and Node.js to run it.
    Azurite,
    /// Prometheus with promtool, and Alertmanager with amtool.
    Prometheus,
    /// The Barman Cloud tools in a virtual environment of their own.
    Barman,
    /// Debian's Python with aiosmtpd, a mail server.
    Aiosmtpd,
    /// Prometheus Alertmanager (Debian's).
    Alertmanager,
    /// The image that `make image` builds.
    Image,
    /// cargo-deny, which looks for known holes.
    CargoDeny,
    /// buildah, and newuidmap for it to work without root.
    Buildah,
    /// helm, which renders the chart.
    Helm,
    /// kustomize, which builds the overlays.
    Kustomize,
}

/// Where `scripts/install` puts what no Debian package brings.
pub fn cache() -> PathBuf {
    std::env::var_os("WALPROOF_TEST_CACHE").map_or_else(
        || {
            let home = std::env::var_os("HOME").expect("HOME is not set");
            PathBuf::from(home).join(".cache/walproof-test")
        },
        PathBuf::from,
    )
}

/// The S3 server's program.
pub fn versitygw() -> PathBuf {
    cache().join("bin/versitygw")
}

/// MinIO's program.
pub fn minio() -> PathBuf {
    cache().join("bin/minio")
}

/// fake-gcs-server's program.
pub fn fake_gcs_server() -> PathBuf {
    cache().join("bin/fake-gcs-server")
}

/// The script by which Node.js runs Azurite's blob server.
pub fn azurite() -> PathBuf {
    cache().join("azurite/node_modules/azurite/dist/src/blob/main.js")
}

/// A program of Prometheus or Alertmanager: unpacked by `scripts/install`, or installed.
pub fn prometheus(program: &str) -> Option<PathBuf> {
    let unpacked = cache().join("prometheus/usr/bin").join(program);
    if unpacked.is_file() {
        return Some(unpacked);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Whether the system's Python has the mail server.
pub fn aiosmtpd() -> bool {
    PathBuf::from("/usr/lib/python3/dist-packages/aiosmtpd").is_dir()
}

/// Alertmanager's program.
pub fn alertmanager() -> Option<PathBuf> {
    prometheus("prometheus-alertmanager").or_else(|| prometheus("alertmanager"))
}

/// The archive that `scripts/image` writes.
pub fn image() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target directory")
        .join("image/walproof.oci.tar")
}

/// Whether a command is on the path.
fn command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// The directory of `barman-cloud-backup` and its siblings.
pub fn barman_bin() -> PathBuf {
    cache().join("barman/bin")
}

/// The directory of the newest installed PostgreSQL server that has its client tools too.
pub fn postgres_bin() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            ["postgres", "initdb", "psql", "pgbench", "pg_basebackup"]
                .iter()
                .all(|tool| bin.join(tool).is_file())
                .then_some((major, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

impl Need {
    fn present(self) -> bool {
        match self {
            Self::Postgres => postgres_bin().is_some(),
            Self::S3 => versitygw().is_file(),
            Self::Minio => minio().is_file(),
            Self::Gcs => fake_gcs_server().is_file(),
            Self::Azurite => azurite().is_file() && command("node"),
            Self::Prometheus => [
                "prometheus",
                "promtool",
                "prometheus-alertmanager",
                "amtool",
            ]
            .iter()
            .all(|program| prometheus(program).is_some()),
            Self::Barman => barman_bin().join("barman-cloud-backup").is_file(),
            Self::Aiosmtpd => aiosmtpd(),
            Self::Alertmanager => alertmanager().is_some(),
            Self::Image => image().is_file(),
            Self::CargoDeny => command("cargo-deny") || cache().join("bin/cargo-deny").is_file(),
            Self::Buildah => command("buildah") && command("newuidmap"),
            Self::Helm => command("helm") || cache().join("bin/helm").is_file(),
            Self::Kustomize => command("kustomize") || cache().join("bin/kustomize").is_file(),
        }
    }
}

/// Whether all `needs` are there. If not: panics under `CI=true`, else says so on the
/// terminal, past the test runner's capture, and notes it for `make test` to repeat. What
/// `make image` brings is there only where CI is asked for it (`WALPROOF_CI_IMAGE=yes`).
pub fn all_present(needs: &[Need], test: &str) -> bool {
    let missing: Vec<Need> = needs
        .iter()
        .copied()
        .filter(|need| !need.present())
        .collect();
    if missing.is_empty() {
        return true;
    }
    let way = if missing.contains(&Need::Image) {
        "make image"
    } else if missing.contains(&Need::Buildah) {
        "scripts/install --deploy"
    } else {
        "scripts/install"
    };
    let message = format!("{test}: SKIPPED, not there: {missing:?} (run {way})");
    let is = |name: &str, value: &str| std::env::var(name).as_deref() == Ok(value);
    let of_image = |need: &Need| matches!(need, Need::Image | Need::Buildah);
    let excused = missing.iter().all(of_image) && !is("WALPROOF_CI_IMAGE", "yes");
    assert!(
        !is("CI", "true") || excused,
        "{message}; under CI=true that is a failure"
    );
    let _ = writeln!(std::io::stderr().lock(), "\n*** {message}\n");
    let note = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("skipped.txt");
    if let Ok(mut file) = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(note)
    {
        let _ = writeln!(file, "{message}");
    }
    false
}

/// `require!(Postgres, S3)` at the head of a test: returns from it if something is missing
/// (see [`all_present`]).
macro_rules! require {
    ($($need:ident),+ $(,)?) => {
        if !$crate::common::require::all_present(
            &[$($crate::common::require::Need::$need),+],
            std::thread::current().name().unwrap_or("test"),
        ) {
            return;
        }
    };
}
pub(crate) use require;
