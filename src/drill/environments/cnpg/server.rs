//! The restored server in its pod: connections through the API server, programs in the pod.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use uuid::Uuid;

use crate::drill::restored::{
    ConnectError, ProgramEnd, Restored, SessionSettings, open_session, open_session_of_anybody,
};
use crate::kubernetes::exec::{ExecOutput, exec};
use crate::kubernetes::forward::Forward;
use crate::kubernetes::names::SCRATCH_CLUSTER;
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, PodRef, cnpg};

/// PostgreSQL's port in the pod.
const PORT: u16 = 5432;
/// At most this much of a program's output is kept.
const OUTPUT_LIMIT: usize = 64 << 10;
/// How long a fenced server may take to shut down.
const SHUTDOWN: Duration = Duration::from_mins(2);

/// A directory of our own for a socket, removed with its owner.
#[derive(Debug)]
struct SocketDirectory(PathBuf);

impl SocketDirectory {
    /// In the temporary directory, with a short name: a socket's path has 107 bytes.
    fn create(id: Uuid) -> std::io::Result<Self> {
        let tail = id.simple().to_string();
        let tail = tail.get(tail.len().saturating_sub(12)..).unwrap_or(&tail);
        let path = std::env::temp_dir().join(format!("wp-{tail}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        // What is left is an empty directory of our own; a drill's end does not depend on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Who logs in to the restored server, and by whose word it is that server. Never shown.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) authority: Vec<u8>,
}

impl Login {
    /// Reads it from the operator's Secret of that suffix: `superuser`, or `app` for the
    /// owner of the application's database.
    pub(super) async fn read(
        kube: &Kube,
        namespace: &str,
        suffix: &str,
    ) -> Result<Self, KubeError> {
        let user = secret(kube, namespace, suffix).await?;
        let authority = secret(kube, namespace, "ca").await?;
        let value = |secret: &Secret, key: &str| -> Result<Vec<u8>, KubeError> {
            let data = secret.data.as_ref();
            data.and_then(|data| data.get(key))
                .map(|bytes| bytes.0.clone())
                .ok_or_else(|| {
                    let name = secret.metadata.name.as_deref().unwrap_or_default();
                    KubeError::new(
                        KubeErrorKind::NotFound,
                        format!("read secret {namespace}/{name}"),
                        format!("it has no key `{key}`"),
                    )
                })
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self {
            user: text(value(&user, "username")?),
            password: text(value(&user, "password")?),
            authority: value(&authority, "ca.crt")?,
        })
    }
}

/// The restored server.
#[derive(Debug)]
pub(super) struct PodServer {
    kube: Kube,
    pod: PodRef,
    major: u32,
    options: PgConnectOptions,
    forward: Forward,
    fenced: bool,
    _directory: SocketDirectory,
}

impl PodServer {
    /// Opens the way to the primary of the recovery Cluster. Who connects proves by the
    /// Cluster's own authority that it speaks with that Cluster's server.
    pub(super) async fn open(
        kube: &Kube,
        namespace: &str,
        pod: &str,
        major: u32,
        id: Uuid,
    ) -> Result<Self, KubeError> {
        let login = Login::read(kube, namespace, "superuser").await?;
        Self::open_as(kube, namespace, pod, major, id, &login).await
    }

    /// The same as somebody else.
    pub(super) async fn open_as(
        kube: &Kube,
        namespace: &str,
        pod: &str,
        major: u32,
        id: Uuid,
        login: &Login,
    ) -> Result<Self, KubeError> {
        let directory = SocketDirectory::create(id).map_err(|error| {
            KubeError::new(
                KubeErrorKind::Other,
                "make a directory for a socket",
                error.to_string(),
            )
        })?;
        let socket = directory.0.join(format!(".s.PGSQL.{PORT}"));
        let forward = Forward::open(kube, namespace, pod, PORT, &socket).await?;
        let options = PgConnectOptions::new_without_pgpass()
            .host(&format!("{SCRATCH_CLUSTER}-rw.{namespace}.svc"))
            .socket(&directory.0)
            .port(PORT)
            .username(&login.user)
            .password(&login.password)
            .ssl_mode(PgSslMode::VerifyFull)
            .ssl_root_cert_from_pem(login.authority.clone());
        Ok(Self {
            kube: kube.clone(),
            pod: PodRef::new(namespace, pod).container("postgres"),
            major,
            options,
            forward,
            fenced: false,
            _directory: directory,
        })
    }

    /// What went wrong between here and the pod since this was last asked.
    pub(super) fn trouble(&self) -> Option<KubeError> {
        self.forward.trouble()
    }

    /// Connects as who need not be a superuser.
    pub(super) async fn log_in(
        &self,
        database: &str,
        settings: &SessionSettings<'_>,
    ) -> Result<PgConnection, ConnectError> {
        let opened = open_session_of_anybody(self.options.clone(), database, settings).await;
        match (opened, self.trouble()) {
            (Err(_), Some(trouble)) => Err(ConnectError::NotYet(trouble.to_string())),
            (opened, _) => opened,
        }
    }

    /// Runs a program in the pod.
    pub(super) async fn run(
        &self,
        command: &[&str],
        limit: Duration,
    ) -> Result<ExecOutput, KubeError> {
        exec(&self.kube, &self.pod, command, limit, OUTPUT_LIMIT).await
    }

    /// Whether it was stopped for a check.
    pub(super) const fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Stops the server, and leaves its pod: CloudNativePG calls it fencing.
    async fn fence(&mut self) -> Result<(), String> {
        self.fenced = true;
        set_fence(&self.kube, &self.pod.namespace, Some("[\"*\"]"))
            .await
            .map_err(|error| error.to_string())?;
        let begun = std::time::Instant::now();
        while begun.elapsed() < SHUTDOWN {
            // The file goes when the server has shut down in order.
            let looked = self
                .run(
                    &["sh", "-c", "test ! -e \"$PGDATA/postmaster.pid\""],
                    Duration::from_secs(30),
                )
                .await;
            if looked.is_ok_and(|output| output.succeeded()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Err("the fenced server did not shut down within two minutes".to_owned())
    }
}

/// Lets a server that was stopped for a check begin again.
pub(super) async fn unfence(kube: &Kube, namespace: &str) -> Result<(), KubeError> {
    set_fence(kube, namespace, None).await
}

async fn set_fence(kube: &Kube, namespace: &str, instances: Option<&str>) -> Result<(), KubeError> {
    let resource = cnpg::resources::cluster();
    let clusters: Api<DynamicObject> = Api::namespaced_with(kube.client(), namespace, &resource);
    let patch = fence_patch(instances);
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let action = format!("fence cluster {namespace}/{SCRATCH_CLUSTER}");
    kube.call(action, clusters.patch(SCRATCH_CLUSTER, &params, &patch))
        .await
        .map(drop)
}

/// The instances that are to be stopped; without any the annotation goes.
fn fence_patch(instances: Option<&str>) -> Value {
    json!({"metadata": {"annotations": {"cnpg.io/fencedInstances": instances}}})
}

async fn secret(kube: &Kube, namespace: &str, suffix: &str) -> Result<Secret, KubeError> {
    let name = format!("{SCRATCH_CLUSTER}-{suffix}");
    let secrets: Api<Secret> = Api::namespaced(kube.client(), namespace);
    secrets
        .get(&name)
        .await
        .map_err(|error| KubeError::of(format!("read secret {namespace}/{name}"), error))
}

fn program_end(name: &str, output: &ExecOutput) -> Result<ProgramEnd, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // 126 and 127: as shells and container runtimes say that there is no such program.
    if matches!(output.code, Some(126 | 127)) {
        return Err(format!("there is no program `{name}` in the image"));
    }
    Ok(ProgramEnd {
        code: output.code,
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    })
}

impl Restored for PodServer {
    fn major(&self) -> u32 {
        self.major
    }

    fn connect<'a>(
        &'a self,
        database: &'a str,
        settings: &'a SessionSettings<'a>,
    ) -> BoxFuture<'a, Result<PgConnection, ConnectError>> {
        Box::pin(async move {
            let opened = open_session(self.options.clone(), database, settings).await;
            match (opened, self.trouble()) {
                // Who connects only sees an end.
                (Err(_), Some(trouble)) => Err(ConnectError::NotYet(trouble.to_string())),
                (opened, _) => opened,
            }
        })
    }

    fn pg_amcheck<'a>(
        &'a self,
        arguments: &'a [String],
        options: &'a str,
        limit: Duration,
    ) -> BoxFuture<'a, Result<ProgramEnd, String>> {
        Box::pin(async move {
            // In the pod: its version fits, and the operating system says who asks.
            let options = format!("PGOPTIONS={options}");
            let mut command = vec!["env", "LC_ALL=C", options.as_str(), "PGCONNECT_TIMEOUT=30"];
            command.extend(["pg_amcheck", "--username=postgres"]);
            command.extend(arguments.iter().map(String::as_str));
            let output = self
                .run(&command, limit)
                .await
                .map_err(|error| error.to_string())?;
            program_end("pg_amcheck", &output)
        })
    }

    fn pg_checksums(&mut self, limit: Duration) -> BoxFuture<'_, Result<ProgramEnd, String>> {
        Box::pin(async move {
            self.fence().await?;
            let output = self
                .run(&["env", "LC_ALL=C", "pg_checksums", "--check"], limit)
                .await
                .map_err(|error| error.to_string())?;
            program_end("pg_checksums", &output)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockets_directory_is_our_own_and_goes_with_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = SocketDirectory::create(Uuid::now_v7()).unwrap();
        let path = directory.0.as_path();
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(path.join(".s.PGSQL.5432").as_os_str().len() < 100);
        let kept = path.to_owned();
        drop(directory);
        assert!(!kept.exists());
    }

    #[test]
    fn a_fence_is_set_and_taken_away() {
        let of = |patch: Value| patch["metadata"]["annotations"]["cnpg.io/fencedInstances"].clone();
        assert_eq!(of(fence_patch(Some("[\"*\"]"))), json!("[\"*\"]"));
        // In a merge patch null removes the key.
        assert_eq!(of(fence_patch(None)), Value::Null);
        assert!(
            fence_patch(None)
                .pointer("/metadata/annotations/cnpg.io~1fencedInstances")
                .is_some()
        );
    }

    #[test]
    fn a_missing_program_is_no_verdict() {
        let end = |code| ExecOutput {
            code,
            ..ExecOutput::default()
        };
        assert!(program_end("pg_amcheck", &end(Some(127))).is_err());
        assert_eq!(
            program_end("pg_amcheck", &end(Some(2))).unwrap().code,
            Some(2)
        );
    }
}
