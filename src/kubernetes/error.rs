//! What goes wrong at the Kubernetes API, by what a person must do about it.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;

use kube::client::AuthError;
use kube::config::KubeconfigError;
use kube::core::Status;

/// The kind of failure, by what a person must do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KubeErrorKind {
    /// No answer as expected: name, address, port, TLS, or a server that is starting.
    Unreachable,
    /// The API does not know who asks: no, wrong or expired credentials.
    Unauthorized,
    /// The API knows who asks, and that identity may not do this.
    Forbidden,
    /// The object, its namespace or its kind does not exist.
    NotFound,
    /// Somebody else changed the object meanwhile.
    Conflict,
    /// There is an object of this name.
    AlreadyExists,
    /// The API or an admission webhook refuses the object as it is.
    Invalid,
    /// A ResourceQuota has no room for it.
    Quota,
    /// No answer in time.
    Timeout,
    /// The kubeconfig, or what it names, is wrong.
    Configuration,
    /// Anything else.
    Other,
}

impl KubeErrorKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::AlreadyExists,
        Self::Invalid,
        Self::Quota,
        Self::Timeout,
        Self::Configuration,
        Self::Other,
    ];

    /// The word used in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::AlreadyExists => "already-exists",
            Self::Invalid => "invalid",
            Self::Quota => "quota",
            Self::Timeout => "timeout",
            Self::Configuration => "configuration",
            Self::Other => "other",
        }
    }

    /// What to do.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "check the server's address in the kubeconfig, the network and the proxy; \
                 `kubectl get --raw /readyz` should say ok"
            }
            Self::Unauthorized => {
                "the credentials are missing, wrong or expired; log in again, or check the \
                 token and the user of this context"
            }
            Self::Forbidden => {
                "this identity lacks the permission; `walproof kubernetes check --print-role` \
                 prints the role to grant"
            }
            Self::NotFound => {
                "check the name and the namespace; for a kind that is not there, whether its \
                 operator is installed"
            }
            Self::Conflict => "somebody else changed it meanwhile; try again",
            Self::AlreadyExists => "an object of this name is there; nothing was overwritten",
            Self::Invalid => {
                "the API or an admission webhook refuses it; its words say which field"
            }
            Self::Quota => {
                "the namespace's ResourceQuota has no room for it; raise it or ask for less"
            }
            Self::Timeout => "the API server did not answer in time; look at its load, try again",
            Self::Configuration => {
                "check the kubeconfig: `kubectl config view --minify` shows what holds"
            }
            Self::Other => "see the cause",
        }
    }
}

/// A failed wish to the Kubernetes API. Never holds a token, a key or a secret's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {message}")]
pub struct KubeError {
    /// The kind of failure.
    pub kind: KubeErrorKind,
    /// Verb and object, such as `create namespace walproof-drill-orders-0a1b2c3d`.
    pub action: String,
    /// The API's or the system's own words.
    pub message: String,
}

impl KubeError {
    /// An error of a known kind.
    pub fn new(kind: KubeErrorKind, action: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            action: action.into(),
            message: message.into(),
        }
    }

    /// What the client said, when `action` was wished.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "made for `map_err`, which hands the error over"
    )]
    pub fn of(action: impl Into<String>, error: kube::Error) -> Self {
        let (kind, message) = judge(&error);
        Self::new(kind, action, message)
    }

    /// What the API answered, when `action` was wished.
    pub fn of_status(action: impl Into<String>, status: &Status) -> Self {
        Self::new(kind_of_status(status), action, words_of_status(status))
    }

    /// An error of the kubeconfig.
    pub(super) fn of_kubeconfig(action: impl Into<String>, error: &KubeconfigError) -> Self {
        Self::new(
            KubeErrorKind::Configuration,
            action,
            words_of_kubeconfig(error),
        )
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        self.kind.hint()
    }

    /// Whether it may pass by itself.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            KubeErrorKind::Unreachable | KubeErrorKind::Timeout | KubeErrorKind::Conflict
        )
    }

    /// Whether a container has no log yet because it has not started.
    pub fn is_not_started(&self) -> bool {
        // The kubelet's words, kubelet_pods.go: `container "x" in pod "y" is waiting to
        // start: PodInitializing`.
        self.kind == KubeErrorKind::Other && self.message.contains("is waiting to start")
    }
}

fn judge(error: &kube::Error) -> (KubeErrorKind, String) {
    match error {
        kube::Error::Api(status) => (kind_of_status(status), words_of_status(status)),
        kube::Error::Auth(auth) => judge_auth(auth),
        kube::Error::InferConfig(_) => (KubeErrorKind::Configuration, chain(error)),
        kube::Error::InferKubeconfig(kubeconfig) => (
            KubeErrorKind::Configuration,
            words_of_kubeconfig(kubeconfig),
        ),
        kube::Error::ProxyProtocolDisabled { .. }
        | kube::Error::ProxyProtocolUnsupported { .. } => (
            KubeErrorKind::Configuration,
            // The proxy's address may hold a password.
            "the proxy of the kubeconfig or of HTTPS_PROXY is of a protocol that is not supported"
                .to_owned(),
        ),
        kube::Error::RustlsTls(_) | kube::Error::TlsRequired => {
            (KubeErrorKind::Configuration, chain(error))
        }
        // The text that could not be read may be a secret's.
        kube::Error::SerdeError(cause) => (
            KubeErrorKind::Other,
            format!(
                "the answer is not what was expected ({:?} error)",
                cause.classify()
            ),
        ),
        kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(
            status,
        )) => (
            kind_of_code(status.as_u16()),
            format!("the server did not open a stream: {status}"),
        ),
        _ => judge_chain(error),
    }
}

/// Errors that passed through layers: the one that says most is somewhere inside.
fn judge_chain(error: &(dyn StdError + 'static)) -> (KubeErrorKind, String) {
    let mut inner: Option<&(dyn StdError + 'static)> = Some(error);
    let mut kind = KubeErrorKind::Unreachable;
    while let Some(cause) = inner {
        if let Some(auth) = cause.downcast_ref::<AuthError>() {
            return judge_auth(auth);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::TimedOut
        {
            kind = KubeErrorKind::Timeout;
        }
        inner = cause.source();
    }
    let words = chain(error);
    // rustls: the server is not the one whose CA the kubeconfig holds, or refuses the
    // certificate that it holds.
    if words.contains("received fatal alert: CertificateExpired")
        || words.contains("received fatal alert: BadCertificate")
        || words.contains("received fatal alert: CertificateRequired")
    {
        kind = KubeErrorKind::Unauthorized;
    } else if words.contains("invalid peer certificate") {
        kind = KubeErrorKind::Configuration;
    }
    (kind, words)
}

/// What an exec plugin printed may be a token, and its environment a secret: neither is
/// repeated.
fn judge_auth(error: &AuthError) -> (KubeErrorKind, String) {
    match error {
        AuthError::AuthExecStart(cause) => (
            KubeErrorKind::Configuration,
            format!("the kubeconfig's credential plugin could not be started: {cause}"),
        ),
        AuthError::AuthExecRun { out, .. } => (
            KubeErrorKind::Unauthorized,
            format!(
                "the kubeconfig's credential plugin failed ({}); what it said is on standard error, or run it by hand",
                out.status
            ),
        ),
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed | AuthError::AuthExec(_) => (
            KubeErrorKind::Unauthorized,
            "the kubeconfig's credential plugin gave no credentials".to_owned(),
        ),
        AuthError::InvalidBearerToken(_) | AuthError::InvalidBasicAuth(_) => (
            KubeErrorKind::Configuration,
            "the token or password holds characters that cannot be sent".to_owned(),
        ),
        AuthError::ReadTokenFile(cause, path) => (
            KubeErrorKind::Configuration,
            format!("the token file {} cannot be read: {cause}", path.display()),
        ),
        error => (KubeErrorKind::Configuration, chain(error)),
    }
}

fn kind_of_status(status: &Status) -> KubeErrorKind {
    let message = status.message.as_str();
    // An admission webhook's own code and reason are the webhook's choice: 403, 400, any.
    if message.contains("admission webhook") && message.contains("denied the request") {
        return KubeErrorKind::Invalid;
    }
    // Pod Security answers 403 as permissions do.
    if message.contains("violates PodSecurity") {
        return KubeErrorKind::Invalid;
    }
    if message.contains("ValidatingAdmissionPolicy") && message.contains("denied request") {
        return KubeErrorKind::Invalid;
    }
    // Too much is asked for, or a quota wants to know how much: 403 as well.
    if message.contains("exceeded quota") || message.contains("failed quota") {
        return KubeErrorKind::Quota;
    }
    // A namespace of this name may be made again when this one is gone.
    if message.contains("because it is being terminated") {
        return KubeErrorKind::Conflict;
    }
    match status.reason.as_str() {
        "AlreadyExists" => KubeErrorKind::AlreadyExists,
        "Conflict" => KubeErrorKind::Conflict,
        "NotFound" => KubeErrorKind::NotFound,
        "Unauthorized" => KubeErrorKind::Unauthorized,
        "Forbidden" => KubeErrorKind::Forbidden,
        "Invalid" => KubeErrorKind::Invalid,
        "Timeout" | "ServerTimeout" => KubeErrorKind::Timeout,
        "ServiceUnavailable" | "TooManyRequests" => KubeErrorKind::Unreachable,
        // A webhook that does not answer is its own server's trouble, and passes.
        "InternalError" if message.contains("failed calling webhook") => KubeErrorKind::Unreachable,
        _ => kind_of_code(status.code),
    }
}

const fn kind_of_code(code: u16) -> KubeErrorKind {
    match code {
        401 => KubeErrorKind::Unauthorized,
        403 => KubeErrorKind::Forbidden,
        404 => KubeErrorKind::NotFound,
        409 => KubeErrorKind::Conflict,
        422 => KubeErrorKind::Invalid,
        408 | 504 => KubeErrorKind::Timeout,
        429 | 502 | 503 => KubeErrorKind::Unreachable,
        _ => KubeErrorKind::Other,
    }
}

/// The longest text of others that is repeated, in characters.
const MAX_WORDS: usize = 1000;

fn words_of_status(status: &Status) -> String {
    let text = if !status.message.is_empty() {
        status.message.clone()
    } else if !status.reason.is_empty() {
        status.reason.clone()
    } else {
        format!("the API answered {}", status.code)
    };
    short(text)
}

/// A YAML error may show the lines around it, and there are tokens in a kubeconfig.
fn words_of_kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "the kubeconfig is not valid YAML of a kubeconfig".to_owned(),
        KubeconfigError::ReadConfig(cause, path) => {
            format!("read {}: {cause}", path.display())
        }
        KubeconfigError::CurrentContextNotSet => {
            "the kubeconfig has no current context; name one with --context".to_owned()
        }
        KubeconfigError::LoadContext(name) => {
            format!("the kubeconfig has no context {name}")
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("the kubeconfig's context names the cluster {name}, which it does not hold")
        }
        KubeconfigError::FindPath => {
            "there is no home directory to look for .kube/config in".to_owned()
        }
        error => short(chain(error)),
    }
}

/// An error with its causes, each once.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(cause) = inner {
        let words = cause.to_string();
        if !text.contains(&words) {
            let _ = write!(text, ": {words}");
        }
        inner = cause.source();
    }
    short(text)
}

fn short(text: String) -> String {
    match text.char_indices().nth(MAX_WORDS) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
