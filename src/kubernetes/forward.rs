//! A pod's port as a Unix socket here.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{Kube, KubeError, KubeErrorKind};

/// The longest path of a Unix socket, in bytes, without the zero at its end (`sun_path`,
/// unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;

/// A pod's port behind a Unix socket: each connection has a stream of its own through the
/// API server. Ends when dropped, and with the runtime that it was opened in.
#[derive(Debug)]
pub struct Forward {
    socket: PathBuf,
    task: JoinHandle<()>,
    trouble: Arc<Mutex<Option<KubeError>>>,
}

impl Forward {
    /// Listens on `socket`. Its directory must be there and be nobody else's (mode 0700 is
    /// given to it); the socket gets mode 0600. What the pod has to say shows when somebody
    /// connects: [`Self::trouble`].
    ///
    /// PostgreSQL's clients want the name `DIR/.s.PGSQL.PORT`.
    pub async fn open(
        kube: &Kube,
        namespace: &str,
        pod: &str,
        port: u16,
        socket: &Path,
    ) -> Result<Self, KubeError> {
        let action = format!("forward port {port} of {namespace}/{pod}");
        let listener = listen(socket).map_err(|(kind, words)| {
            KubeError::new(kind, &action, format!("{}: {words}", socket.display()))
        })?;
        let trouble = Arc::new(Mutex::new(None));
        let pods: Api<Pod> = Api::namespaced(kube.client(), namespace);
        let target = Target {
            pods,
            pod: pod.to_owned(),
            port,
            action,
            trouble: Arc::clone(&trouble),
        };
        Ok(Self {
            socket: socket.to_owned(),
            task: tokio::spawn(serve(listener, target)),
            trouble,
        })
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What went wrong on the way to the pod since this was last asked: who connects only
    /// sees an end.
    pub fn trouble(&self) -> Option<KubeError> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
        // Somebody may have removed the directory already.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn listen(socket: &Path) -> Result<UnixListener, (KubeErrorKind, String)> {
    let failed = |error: std::io::Error| (KubeErrorKind::Configuration, error.to_string());
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        let words = format!("a socket's path has at most {MAX_SOCKET_PATH} bytes");
        return Err((KubeErrorKind::Configuration, words));
    }
    if let Some(directory) = socket.parent() {
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(directory, closed).map_err(failed)?;
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    let own = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(socket, own).map_err(failed)?;
    Ok(listener)
}

/// Where connections go.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) pods: Api<Pod>,
    pub(super) pod: String,
    pub(super) port: u16,
    pub(super) action: String,
    pub(super) trouble: Arc<Mutex<Option<KubeError>>>,
}

/// Serves connections until it is aborted; theirs end with it.
async fn serve(listener: UnixListener, target: Target) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    connections.spawn(carry(connection, target.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "{}: accept a connection", target.action);
                    // Too many open files: it passes when connections end.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(connection: UnixStream, target: Target) {
    if let Err(error) = through(connection, &target).await {
        tracing::debug!("{error}");
        *target
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Carries one connection to the pod's port and back.
pub(super) async fn through<C: AsyncRead + AsyncWrite + Unpin>(
    mut connection: C,
    target: &Target,
) -> Result<(), KubeError> {
    let opened = target.pods.portforward(&target.pod, &[target.port]).await;
    let mut forwarder = opened.map_err(|error| KubeError::of(&target.action, error))?;
    let Some(mut stream) = forwarder.take_stream(target.port) else {
        return Ok(());
    };
    let error = forwarder.take_error(target.port);
    let carried = async {
        // An end on either side is an end, whatever words the system has for it.
        let _ = copy_bidirectional(&mut connection, &mut stream).await;
        None
    };
    let refused = async {
        match error {
            Some(error) => error.await,
            None => None,
        }
    };
    // The pod's refusal comes with the end of the stream, not before it.
    let words = tokio::select! {
        biased;
        Some(words) = refused => Some(words),
        words = carried => words,
    };
    drop(stream);
    forwarder.abort();
    match words {
        Some(words) => Err(KubeError::new(
            KubeErrorKind::Unreachable,
            &target.action,
            words,
        )),
        None => Ok(()),
    }
}
