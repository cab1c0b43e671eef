//! The way to one Kubernetes API server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, GetParams, PostParams, Request};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::calls::Counting;
use super::error::{KubeError, KubeErrorKind};

/// How long a connection to the API server may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which API server, as whom. The default is what kubectl would take (`KUBECONFIG`, else
/// `~/.kube/config`), else, in a pod, its ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; its current one when absent.
    pub context: Option<String>,
}

/// Who the API server says that we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user, such as `system:serviceaccount:backups:walproof`.
    pub username: String,
    /// Its groups.
    pub groups: Vec<String>,
}

/// A way to the API of one cluster. Cheap to clone. It does its work in the runtime that it
/// was made in.
#[derive(Clone)]
pub struct Kube {
    client: Client,
    about: Arc<About>,
}

struct About {
    config: Config,
    server: String,
    context: Option<String>,
    in_cluster: bool,
}

impl About {
    async fn read(access: &Access) -> Result<Self, KubeError> {
        let (mut config, context, in_cluster) = configuration(access).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Watches and logs may be silent for long: time limits belong to the requests.
        config.read_timeout = None;
        let server = config.cluster_url.to_string();
        Ok(Self {
            server: server.trim_end_matches('/').to_owned(),
            config,
            context,
            in_cluster,
        })
    }
}

impl fmt::Debug for Kube {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kube")
            .field("server", &self.about.server)
            .field("context", &self.about.context)
            .field("in_cluster", &self.about.in_cluster)
            .finish_non_exhaustive()
    }
}

impl Kube {
    /// How long an ordinary request may take, the retries of the client included.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

    /// Reads the access and makes a client. Nothing is sent yet, but a credential plugin of
    /// the kubeconfig is run.
    pub async fn connect(access: &Access) -> Result<Self, KubeError> {
        Self::make(Arc::new(About::read(access).await?)).await
    }

    /// The same as another user: the API server is asked to take us for `user`, which needs
    /// the permission to `impersonate` it.
    pub async fn connect_as(access: &Access, user: &str) -> Result<Self, KubeError> {
        let mut about = About::read(access).await?;
        about.config.auth_info.impersonate = Some(user.to_owned());
        Self::make(Arc::new(about)).await
    }

    /// The same access with a client that does its work in the current runtime.
    pub async fn again(&self) -> Result<Self, KubeError> {
        Self::make(Arc::clone(&self.about)).await
    }

    async fn make(about: Arc<About>) -> Result<Self, KubeError> {
        let action = format!("make a client for {}", about.server);
        let config = about.config.clone();
        let in_cluster = about.in_cluster;
        // A credential plugin is a program that runs while this waits for it.
        let runtime = tokio::runtime::Handle::current();
        let made = tokio::task::spawn_blocking(move || {
            let _inside = runtime.enter();
            let own = in_cluster.then(|| config.default_namespace.clone());
            ClientBuilder::try_from(config)
                .map(|builder| builder.with_layer(&Counting::new(own.as_deref())).build())
        })
        .await
        .map_err(|error| KubeError::new(KubeErrorKind::Other, &action, error.to_string()))?;
        let client = made.map_err(|error| KubeError::of(action, error))?;
        Ok(Self { client, about })
    }

    /// The client, for `Api`.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The server's URL, without a slash at its end.
    pub fn server(&self) -> &str {
        &self.about.server
    }

    /// The kubeconfig's context; none in a pod.
    pub fn context(&self) -> Option<&str> {
        self.about.context.as_deref()
    }

    /// Whether this is a pod's ServiceAccount.
    pub fn in_cluster(&self) -> bool {
        self.about.in_cluster
    }

    /// The namespace of the context or of the pod; `default` when neither says.
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// One request, within [`Self::REQUEST_TIMEOUT`].
    pub fn call<T>(
        &self,
        action: impl Into<String>,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> impl Future<Output = Result<T, KubeError>> {
        let action = action.into();
        // A request is large; whoever makes several would be as large as all of them.
        let request = Box::pin(request);
        async move {
            match tokio::time::timeout(Self::REQUEST_TIMEOUT, request).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => Err(KubeError::of(action, error)),
                Err(_) => Err(KubeError::new(
                    KubeErrorKind::Timeout,
                    action,
                    format!(
                        "no answer from {} within {} s",
                        self.server(),
                        Self::REQUEST_TIMEOUT.as_secs()
                    ),
                )),
            }
        }
    }

    /// Who the API server says that we are (SelfSubjectReview). Everybody who is known to it
    /// may ask.
    pub async fn whoami(&self) -> Result<Identity, KubeError> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client());
        let question = SelfSubjectReview::default();
        let parameters = PostParams::default();
        let answer = self
            .call("ask who we are", reviews.create(&parameters, &question))
            .await?;
        let user = answer.status.and_then(|status| status.user_info);
        let user = user.unwrap_or_default();
        Ok(Identity {
            username: user.username.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        })
    }

    /// What time it is by the API server's clock, to the second, from the `Date` of an answer.
    /// It needs no permission.
    ///
    /// # Errors
    ///
    /// No answer, or one that does not say.
    pub async fn time(&self) -> Result<DateTime<Utc>, KubeError> {
        let action = "ask for the time";
        let request = Request::new("")
            .get("version", &GetParams::default())
            .map_err(|error| KubeError::new(KubeErrorKind::Other, action, error.to_string()))?;
        let answer = self
            .call(action, self.client.send(request.map(Body::from)))
            .await?;
        let date = answer.headers().get("date").map(|date| date.to_str());
        date.and_then(Result::ok)
            .and_then(super::time::parse_http)
            .ok_or_else(|| {
                let message = format!("an answer of {} bears no date", self.server());
                KubeError::new(KubeErrorKind::Other, action, message)
            })
    }

    /// The API server's version, such as `v1.34.4`.
    pub async fn version(&self) -> Result<String, KubeError> {
        let info = self
            .call("ask for the version", self.client.apiserver_version())
            .await?;
        Ok(info.git_version)
    }
}

/// The client's configuration, the context's name, and whether it is a pod's.
async fn configuration(access: &Access) -> Result<(Config, Option<String>, bool), KubeError> {
    let file = access.kubeconfig.as_deref();
    let action = match file {
        Some(file) => format!("read the kubeconfig {}", file.display()),
        None => "read the kubeconfig".to_owned(),
    };
    if file.is_none() && access.context.is_none() && !kubeconfig_exists() {
        return match Config::incluster() {
            Ok(config) => Ok((config, None, true)),
            Err(_) => Err(KubeError::new(
                KubeErrorKind::Configuration,
                "find a Kubernetes API",
                "there is no KUBECONFIG, no ~/.kube/config, and this is not a pod with a ServiceAccount",
            )),
        };
    }
    let kubeconfig = match file {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    }
    .map_err(|error| KubeError::of_kubeconfig(&action, &error))?;
    let context = access
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone());
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| KubeError::of_kubeconfig(&action, &error))?;
    Ok((config, context, false))
}

/// Whether there is what kubectl would read: `KUBECONFIG` names something, or
/// `~/.kube/config` is there.
fn kubeconfig_exists() -> bool {
    let named = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    named
        || std::env::home_dir()
            .is_some_and(|home| Path::new(&home).join(".kube").join("config").exists())
}
