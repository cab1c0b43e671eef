//! A command in a running container.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Kube, KubeError, KubeErrorKind, PodRef};

/// What a command printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code. None when the connection ended before the command did, as it does when
    /// the pod goes away.
    pub code: Option<i32>,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
    /// Whether it printed more than was kept.
    pub truncated: bool,
}

impl ExecOutput {
    /// Whether it ended with 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a command in a container, without a shell and without input. At most `max_output`
/// bytes of each of its outputs are kept; what follows is read and dropped. The time limit
/// ends the waiting, not the command.
pub async fn exec(
    kube: &Kube,
    pod: &PodRef,
    command: &[&str],
    timeout: Duration,
    max_output: usize,
) -> Result<ExecOutput, KubeError> {
    let program = command.first().copied().unwrap_or_default();
    let action = format!("run {program} in {pod}");
    let work = run(kube, pod, command, max_output, &action);
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(KubeError::new(
            KubeErrorKind::Timeout,
            action,
            format!("not done within {} s", timeout.as_secs_f32()),
        )),
    }
}

async fn run(
    kube: &Kube,
    pod: &PodRef,
    command: &[&str],
    max_output: usize,
    action: &str,
) -> Result<ExecOutput, KubeError> {
    let pods: Api<Pod> = Api::namespaced(kube.client(), &pod.namespace);
    let mut parameters = AttachParams::default()
        .stdin(false)
        .stdout(true)
        .stderr(true)
        .max_stdout_buf_size(PIPE)
        .max_stderr_buf_size(PIPE);
    parameters.container.clone_from(&pod.container);
    let mut process = pods
        .exec(&pod.pod, command.to_vec(), &parameters)
        .await
        .map_err(|error| KubeError::of(action, error))?;
    let stdout = process.stdout();
    let stderr = process.stderr();
    let status = process.take_status();
    let (stdout, stderr, status) = tokio::join!(
        beginning(stdout, max_output),
        beginning(stderr, max_output),
        async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        }
    );
    Ok(ExecOutput {
        code: status.map(|status| code(action, &status)).transpose()?,
        truncated: stdout.1 || stderr.1,
        stdout: stdout.0,
        stderr: stderr.0,
    })
}

/// Bytes between the connection and the reader, for each output.
const PIPE: usize = 64 * 1024;

/// The first bytes of an output, and whether there were more. A broken connection ends it:
/// the missing exit code tells of it.
async fn beginning(output: Option<impl AsyncRead + Unpin>, max: usize) -> (Vec<u8>, bool) {
    let mut kept = Vec::new();
    let mut more = false;
    let Some(mut output) = output else {
        return (kept, more);
    };
    let mut buffer = vec![0_u8; 16 * 1024];
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let room = max.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(count.min(room)));
        more |= count > room;
    }
    (kept, more)
}

/// The exit code in the API's closing words. A command that could not be started is an
/// error: there was nothing that could have ended.
fn code(action: &str, status: &Status) -> Result<i32, KubeError> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status
        .details
        .as_ref()
        .and_then(|details| details.causes.as_deref())
        .unwrap_or_default();
    causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse().ok())
        .ok_or_else(|| {
            KubeError::new(
                KubeErrorKind::Other,
                action,
                status.message.clone().unwrap_or_default(),
            )
        })
}
