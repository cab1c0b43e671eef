//! From a cluster's name or a URL to a place that can be opened.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use super::secrets::{KubernetesSecrets, access_of};
use super::{Failure, FailureClass};
use crate::config::{Cluster, Config, Endpoint, RepositoryConfig, Tier};
use crate::kubernetes::{Access, Kube, KubeError, bridge, tunnel};
use crate::storage::{Location, Scheme, StorageOptions, Store};

/// How to reach a store. What is said here wins over the configuration, which wins over the
/// environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Endpoint of an S3-compatible server.
    pub endpoint: Option<String>,
    /// Region, if the store wants one.
    pub region: Option<String>,
    /// PEM file with further certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// Whether the bucket is part of the path instead of the host name.
    pub path_style: Option<bool>,
}

impl Reach {
    /// Puts this over the options of a repository at `location`; what is still open is
    /// filled from the environment by the names that Amazon's own tools use.
    pub fn apply(&self, location: &Location, options: &mut StorageOptions) -> Result<(), Failure> {
        self.apply_with(location, options, |name| std::env::var(name).ok())
    }

    fn apply_with(
        &self,
        location: &Location,
        options: &mut StorageOptions,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(), Failure> {
        // The text is not repeated as it came: there may be a password in it.
        let checked = |what: &str, text: Option<String>| -> Result<Option<String>, Failure> {
            match text.as_deref().map(str::parse::<Endpoint>) {
                Some(Err(error)) => Err(Failure::configuration(format_args!("{what}: {error}"))),
                _ => Ok(text),
            }
        };
        let own = checked("--endpoint-url", self.endpoint.clone())?;
        if location.scheme() == Scheme::File {
            return Ok(());
        }
        let s3 = location.scheme() == Scheme::S3;
        let from_environment = |names: &[&str]| {
            names
                .iter()
                .filter(|_| s3)
                .find_map(|name| environment(name).filter(|value| !value.is_empty()))
        };
        let in_environment = from_environment(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
            .filter(|_| own.is_none() && options.endpoint.is_none());
        let in_environment = checked("AWS_ENDPOINT_URL", in_environment)?;
        if let Some(endpoint) = own.or_else(|| options.endpoint.take()).or(in_environment) {
            options.allow_http = endpoint.starts_with("http://");
            options.endpoint = Some(endpoint);
        }
        if self.region.is_some() {
            options.region.clone_from(&self.region);
        }
        options.ca_file = self
            .ca_file
            .clone()
            .or_else(|| options.ca_file.take())
            .or_else(|| from_environment(&["AWS_CA_BUNDLE"]).map(PathBuf::from));
        if let Some(path_style) = self.path_style {
            options.virtual_hosted = Some(!path_style);
        }
        Ok(())
    }
}

/// A place that can be opened.
#[derive(Clone, Debug)]
pub struct Source {
    /// The cluster's name, or the last part of the URL.
    pub name: String,
    /// Which copy it is: `primary`, `replica-1`, a name; empty for a URL.
    pub copy: String,
    /// Where it lies.
    pub location: Location,
    /// How to reach it, secrets resolved. The endpoint is as it is configured, by which
    /// places are compared; [`Source::open`] goes through Kubernetes where only that leads
    /// there.
    pub options: StorageOptions,
    /// The API of Kubernetes through which an endpoint in a cluster is reached.
    pub kubernetes: Access,
    /// The cluster, if the configuration knows it.
    pub cluster: Option<Cluster>,
    /// The objectives; empty when there are none.
    pub tier: Tier,
}

impl Source {
    /// A place by its URL, with what is said of how to reach it.
    pub fn at_url(url: &str, reach: &Reach) -> Result<Self, Failure> {
        let (location, options) = at_location(url, reach)?;
        let name = location
            .last_part()
            .unwrap_or_else(|| location.bucket())
            .to_owned();
        Ok(Self {
            name,
            copy: String::new(),
            location,
            options,
            kubernetes: Access::default(),
            cluster: None,
            tier: Tier::default(),
        })
    }

    /// A copy of a cluster: the primary unless another is named.
    pub fn of_cluster(
        config: &Config,
        name: &str,
        copy: Option<&str>,
        reach: &Reach,
    ) -> Result<Self, Failure> {
        let cluster = find(name, config)?;
        let (label, repository) = match copy {
            Some(wanted) => cluster
                .copies()
                .find(|(label, _)| label == wanted)
                .ok_or_else(|| no_such_copy(cluster, wanted))?,
            None => cluster
                .copies()
                .next()
                .ok_or_else(|| no_such_copy(cluster, "primary"))?,
        };
        Self::in_cluster(config, cluster, label, repository, reach)
    }

    /// Every copy of a cluster, the primary first.
    pub fn all_of_cluster(
        config: &Config,
        name: &str,
        reach: &Reach,
    ) -> Result<Vec<Self>, Failure> {
        let cluster = find(name, config)?;
        cluster
            .copies()
            .map(|(label, repository)| Self::in_cluster(config, cluster, label, repository, reach))
            .collect()
    }

    fn in_cluster(
        config: &Config,
        cluster: &Cluster,
        label: String,
        repository: &RepositoryConfig,
        reach: &Reach,
    ) -> Result<Self, Failure> {
        let mut options = repository.storage_options(&KubernetesSecrets::of(config))?;
        reach.apply(&repository.url, &mut options)?;
        Ok(Self {
            name: cluster.name.clone(),
            copy: label,
            location: repository.url.clone(),
            options,
            kubernetes: access_of(&config.kubernetes),
            cluster: Some(cluster.clone()),
            tier: config.tier_of(cluster),
        })
    }

    /// Opens it. Blocks for as long as the API of Kubernetes needs, when the endpoint lies
    /// in a cluster.
    pub fn open(&self) -> Result<Store, Failure> {
        open_at(&self.kubernetes, &self.location, &self.options)
    }

    /// Opens it to be written to. A local directory that does not exist yet is made, but
    /// only in a parent that exists: a missing parent is most likely a file system that is
    /// not mounted, and backups must not fill the disk below it.
    pub fn open_for_writing(&self) -> Result<Store, Failure> {
        if let Some(directory) = self.location.directory()
            && let Err(error) = std::fs::DirBuilder::new().mode(0o750).create(&directory)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(Failure::new(
                FailureClass::Storage { transient: false },
                format_args!("make {}: {error}", directory.display()),
            )
            .with_hint(
                "its parent directory must exist and be writable; is the file system mounted?",
            ));
        }
        self.open()
    }
}

/// Opens a place, through the API of Kubernetes when its endpoint is a Service there that
/// does not resolve here.
pub fn open_at(
    kubernetes: &Access,
    location: &Location,
    options: &StorageOptions,
) -> Result<Store, Failure> {
    Ok(Store::open(location, &reachable(kubernetes, options)?)?)
}

/// The options with an endpoint that can be reached from here.
pub(super) fn reachable(
    kubernetes: &Access,
    options: &StorageOptions,
) -> Result<StorageOptions, Failure> {
    let mut options = options.clone();
    if let Some(endpoint) = options.endpoint.clone().filter(|text| is_service(text)) {
        let access = kubernetes.clone();
        if let Some(through) = bridge::wait(async move { way(&access, &endpoint).await })? {
            tracing::debug!(endpoint = through, "through the API of Kubernetes");
            options.endpoint = Some(through);
        }
    }
    Ok(options)
}

/// Whether the host is a Service's by its name.
fn is_service(endpoint: &str) -> bool {
    url::Url::parse(endpoint).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        let labels: Vec<&str> = host.rsplit('.').take(3).collect();
        matches!(
            labels.as_slice(),
            ["svc", _, ..] | ["local", "cluster", "svc"]
        )
    })
}

async fn way(access: &Access, endpoint: &str) -> Result<Option<String>, KubeError> {
    match Kube::connect(access).await {
        Ok(kube) => tunnel::reach(&kube, endpoint).await,
        // The name may resolve all the same; if not, the store's error says so.
        Err(error) => {
            tracing::warn!("{endpoint} is not reached through Kubernetes: {error}");
            Ok(None)
        }
    }
}

/// A location given as a URL only, and how it is reached.
pub fn at_location(url: &str, reach: &Reach) -> Result<(Location, StorageOptions), Failure> {
    // What stands before an `@` may be a secret, so the text is not repeated.
    if url.contains('@') {
        return Err(
            Failure::configuration("credentials do not go into a repository's URL").with_hint(
                "set them in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …)",
            ),
        );
    }
    let location: Location = url.parse().map_err(Failure::configuration)?;
    let mut options = StorageOptions::default();
    reach.apply(&location, &mut options)?;
    Ok((location, options))
}

pub(super) fn find<'a>(name: &str, config: &'a Config) -> Result<&'a Cluster, Failure> {
    config.cluster(name).ok_or_else(|| {
        let failure = Failure::configuration(format_args!("there is no cluster `{name}`"));
        match (&config.file, config.cluster_like(name)) {
            (Some(_), Some(near)) => failure.with_hint(format_args!("did you mean `{near}`?")),
            (Some(file), None) => failure.with_hint(format_args!(
                "{} knows: {}; or give a repository's URL",
                file.display(),
                names(config)
            )),
            (None, _) => failure.with_hint(
                "no configuration was found; give a repository's URL (s3://bucket/server) or --config FILE",
            ),
        }
    })
}

fn names(config: &Config) -> String {
    let names: Vec<&str> = config
        .clusters
        .iter()
        .map(|cluster| cluster.name.as_str())
        .collect();
    if names.is_empty() {
        "no cluster".to_owned()
    } else {
        names.join(", ")
    }
}

fn no_such_copy(cluster: &Cluster, wanted: &str) -> Failure {
    let labels: Vec<String> = cluster.copies().map(|(label, _)| label).collect();
    Failure::configuration(format_args!(
        "cluster `{}` has no copy `{wanted}`",
        cluster.name
    ))
    .with_hint(format_args!("copies: {}", labels.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_wins_over_the_configuration_and_that_over_the_environment() {
        let environment = |name: &str| {
            (name == "AWS_ENDPOINT_URL").then(|| "http://environment.example".to_owned())
        };
        let configured = || StorageOptions {
            endpoint: Some("https://configured.example".to_owned()),
            region: Some("configured".to_owned()),
            ..StorageOptions::default()
        };
        let said = Reach {
            endpoint: Some("http://flag.example".to_owned()),
            path_style: Some(true),
            ..Reach::default()
        };
        let s3: Location = "s3://b/orders".parse().unwrap();

        let mut options = configured();
        said.apply_with(&s3, &mut options, environment).unwrap();
        assert_eq!(options.endpoint.as_deref(), Some("http://flag.example"));
        assert!(options.allow_http);
        assert_eq!(options.region.as_deref(), Some("configured"));
        assert_eq!(options.virtual_hosted, Some(false));

        let mut options = configured();
        Reach::default()
            .apply_with(&s3, &mut options, environment)
            .unwrap();
        assert_eq!(
            options.endpoint.as_deref(),
            Some("https://configured.example")
        );
        assert!(!options.allow_http);

        let mut options = StorageOptions::default();
        Reach::default()
            .apply_with(&s3, &mut options, environment)
            .unwrap();
        assert_eq!(
            options.endpoint.as_deref(),
            Some("http://environment.example")
        );
        assert!(options.allow_http);

        let mut options = StorageOptions::default();
        let gcs = "gs://b/orders".parse().unwrap();
        Reach::default()
            .apply_with(&gcs, &mut options, environment)
            .unwrap();
        assert_eq!(options.endpoint, None);
    }

    #[test]
    fn only_a_service_is_looked_for_in_kubernetes() {
        for (endpoint, service) in [
            ("http://s3.storage.svc:7070", true),
            ("http://s3.storage.svc.cluster.local.", true),
            ("https://s3.storage.svc", true),
            ("http://s3.example.com", false),
            ("http://svc:9000", false),
            ("no url", false),
        ] {
            assert_eq!(is_service(endpoint), service, "{endpoint}");
        }
    }

    #[test]
    fn a_password_in_an_endpoint_is_not_repeated() {
        let said = Reach {
            endpoint: Some("http://u:hush@127.0.0.1:9".to_owned()),
            ..Reach::default()
        };
        let failure = Source::at_url("s3://b/orders", &said).unwrap_err();
        assert_eq!(failure.class, FailureClass::Configuration);
        assert!(!failure.to_string().contains("hush"), "{failure}");
    }
}
