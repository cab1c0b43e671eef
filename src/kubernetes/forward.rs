//! A pod's port as a Unix socket here.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Portforwarder};
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
    #[expect(
        clippy::unused_async,
        reason = "it must be called in a runtime, whose tasks it starts"
    )]
    pub async fn open(
        kube: &Kube,
        namespace: &str,
        pod: &str,
        port: u16,
        socket: &Path,
    ) -> Result<Self, KubeError> {
        let target = Target::new(kube, namespace, pod, port);
        let listener = listen(socket).map_err(|words| {
            KubeError::new(
                KubeErrorKind::Configuration,
                &target.action,
                format!("{}: {words}", socket.display()),
            )
        })?;
        let trouble = Arc::new(Mutex::new(None));
        Ok(Self {
            socket: socket.to_owned(),
            task: tokio::spawn(serve(listener, target, Arc::clone(&trouble))),
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

fn listen(socket: &Path) -> Result<UnixListener, String> {
    let failed = |error: std::io::Error| error.to_string();
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(format!(
            "the path of a socket has at most {MAX_SOCKET_PATH} bytes; choose a shorter directory"
        ));
    }
    if let Some(directory) = socket.parent() {
        // Between its making and its mode the socket is open to whom the directory is.
        let closed = Permissions::from_mode(0o700);
        std::fs::set_permissions(directory, closed).map_err(failed)?;
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    std::fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves connections until it is aborted; theirs end with it.
async fn serve(listener: UnixListener, target: Target, trouble: Arc<Mutex<Option<KubeError>>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    connections.spawn(carry(connection, target.clone(), Arc::clone(&trouble)));
                }
                Err(error) => {
                    tracing::debug!(%error, "accept a connection for {}", target.action);
                    // Too many open files: that passes when connections end.
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(connection: UnixStream, target: Target, trouble: Arc<Mutex<Option<KubeError>>>) {
    let carried = match target.open().await {
        Ok(stream) => stream.carry(connection).await,
        Err(error) => Err(error),
    };
    if let Err(error) = carried {
        tracing::debug!("{error}");
        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// How long to wait when the system accepts no connection.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// A port of a pod.
#[derive(Clone)]
pub(super) struct Target {
    pods: Api<Pod>,
    pod: String,
    port: u16,
    action: String,
}

impl Target {
    pub(super) fn new(kube: &Kube, namespace: &str, pod: &str, port: u16) -> Self {
        Self {
            pods: Api::namespaced(kube.client(), namespace),
            pod: pod.to_owned(),
            port,
            action: format!("forward port {port} of {namespace}/{pod}"),
        }
    }

    /// A stream to the port. The kubelet connects to the port after this has succeeded.
    pub(super) async fn open(&self) -> Result<PodStream, KubeError> {
        let ports = [self.port];
        let opened = self.pods.portforward(&self.pod, &ports);
        let opened = tokio::time::timeout(Kube::REQUEST_TIMEOUT, opened).await;
        let forwarder = opened
            .map_err(|_| {
                KubeError::new(
                    KubeErrorKind::Timeout,
                    &self.action,
                    "the stream was not opened in time",
                )
            })?
            .map_err(|error| KubeError::of(&self.action, error))?;
        Ok(PodStream {
            forwarder,
            port: self.port,
            action: self.action.clone(),
        })
    }
}

/// A stream to a pod's port.
pub(super) struct PodStream {
    forwarder: Portforwarder,
    port: u16,
    action: String,
}

impl PodStream {
    /// Carries a connection there and back until either side ends. The error is the pod's
    /// refusal, such as a port that nobody listens on.
    pub(super) async fn carry<C: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        mut connection: C,
    ) -> Result<(), KubeError> {
        let Some(mut stream) = self.forwarder.take_stream(self.port) else {
            return Ok(());
        };
        let refusal = self.forwarder.take_error(self.port);
        let refused = async {
            match refusal {
                Some(refusal) => refusal.await,
                None => None,
            }
        };
        let words = tokio::select! {
            biased;
            Some(words) = refused => Some(words),
            // An end on either side is an end, whatever words the system has for it.
            _ = copy_bidirectional(&mut connection, &mut stream) => None,
        };
        match words {
            Some(words) => Err(KubeError::new(
                KubeErrorKind::Unreachable,
                &self.action,
                words,
            )),
            None => Ok(()),
        }
    }
}

impl Drop for PodStream {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}
