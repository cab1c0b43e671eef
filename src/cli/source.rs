//! From `CLUSTER|URL` on the command line to a place that can be opened.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::config::{Cluster, Config, Endpoint, RepositoryConfig, Tier};
use crate::storage::{Location, Scheme, StorageOptions, Store};

/// A cluster's name or a repository's URL, and how to reach it.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    /// A cluster's name from the configuration, or a repository's URL: s3://bucket/prefix,
    /// gs://bucket/prefix, az://container/prefix, file:///directory
    #[arg(value_name = "CLUSTER|URL")]
    pub source: String,
    /// Which copy of a cluster: primary, replica-1 or the copy's name
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
    /// How to reach the store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// How to reach a store. These flags win over the configuration, which wins over the
/// environment.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// Endpoint of an S3-compatible server
    #[arg(help_heading = "Store", long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Region, if the store wants one
    #[arg(help_heading = "Store", long, value_name = "NAME")]
    pub region: Option<String>,
    /// PEM file with further certificate authorities to trust
    #[arg(help_heading = "Store", long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Whether the bucket is part of the path instead of the host name
    #[arg(help_heading = "Store", long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub path_style: Option<bool>,
}

impl StoreArgs {
    /// Puts these over the options of a repository at `location`; what is still open is
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
        // Parsed here and not by clap, which repeats a value that it refuses: there may be
        // a password in it.
        let checked = |what: &str, text: Option<String>| -> Result<Option<String>, Failure> {
            match text.as_deref().map(str::parse::<Endpoint>) {
                Some(Err(error)) => Err(Failure::usage(format_args!("{what}: {error}"))),
                _ => Ok(text),
            }
        };
        let flag = checked("--endpoint-url", self.endpoint_url.clone())?;
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
            .filter(|_| flag.is_none() && options.endpoint.is_none());
        let in_environment = checked("AWS_ENDPOINT_URL", in_environment)?;
        if let Some(endpoint) = flag.or_else(|| options.endpoint.take()).or(in_environment) {
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
    /// How to reach it, secrets resolved.
    pub options: StorageOptions,
    /// The cluster, if the configuration knows it.
    pub cluster: Option<Cluster>,
    /// The objectives; empty when there are none.
    pub tier: Tier,
}

/// The one place that `CLUSTER|URL` names; of a cluster the primary unless `--copy` says
/// otherwise.
pub fn resolve(args: &SourceArgs, config: &Config) -> Result<Source, Failure> {
    if args.source.contains("://") {
        return at_url(args);
    }
    let cluster = find(&args.source, config)?;
    let (label, repository) = match &args.copy {
        Some(wanted) => cluster
            .copies()
            .find(|(label, _)| label == wanted)
            .ok_or_else(|| no_such_copy(cluster, wanted))?,
        None => cluster
            .copies()
            .next()
            .ok_or_else(|| no_such_copy(cluster, "primary"))?,
    };
    in_cluster(args, config, cluster, label, repository)
}

/// Every copy that `CLUSTER|URL` names, the primary first; with `--copy` only that one.
pub fn resolve_all(args: &SourceArgs, config: &Config) -> Result<Vec<Source>, Failure> {
    if args.copy.is_some() || args.source.contains("://") {
        return Ok(vec![resolve(args, config)?]);
    }
    let cluster = find(&args.source, config)?;
    cluster
        .copies()
        .map(|(label, repository)| in_cluster(args, config, cluster, label, repository))
        .collect()
}

/// A location given as a URL only, with the options from the command line.
pub fn resolve_url(text: &str, store: &StoreArgs) -> Result<(Location, StorageOptions), Failure> {
    let location = parse_url(text)?;
    let mut options = StorageOptions::default();
    store.apply(&location, &mut options)?;
    Ok((location, options))
}

/// Opens a place that will be written to. A local directory that does not exist yet is made,
/// but only in a parent that exists: a missing parent is most likely a file system that is
/// not mounted, and backups must not fill the disk below it.
pub fn open_for_writing(source: &Source) -> Result<Store, Failure> {
    if let Some(directory) = source.location.directory()
        && let Err(error) = std::fs::DirBuilder::new().mode(0o750).create(&directory)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(
            Failure::unproven(format_args!("make {}: {error}", directory.display())).with_hint(
                "its parent directory must exist and be writable; is the file system mounted?",
            ),
        );
    }
    Ok(Store::open(&source.location, &source.options)?)
}

fn at_url(args: &SourceArgs) -> Result<Source, Failure> {
    if args.copy.is_some() {
        return Err(Failure::usage("--copy needs a cluster's name, not a URL"));
    }
    let (location, options) = resolve_url(&args.source, &args.store)?;
    let name = location
        .last_part()
        .unwrap_or_else(|| location.bucket())
        .to_owned();
    Ok(Source {
        name,
        copy: String::new(),
        location,
        options,
        cluster: None,
        tier: Tier::default(),
    })
}

fn in_cluster(
    args: &SourceArgs,
    config: &Config,
    cluster: &Cluster,
    label: String,
    repository: &RepositoryConfig,
) -> Result<Source, Failure> {
    let mut options = repository.storage_options()?;
    args.store.apply(&repository.url, &mut options)?;
    Ok(Source {
        name: cluster.name.clone(),
        copy: label,
        location: repository.url.clone(),
        options,
        cluster: Some(cluster.clone()),
        tier: config.tier_of(cluster),
    })
}

fn parse_url(text: &str) -> Result<Location, Failure> {
    // What stands before an `@` may be a secret, so the text is not repeated.
    if text.contains('@') {
        return Err(
            Failure::usage("credentials do not go into a repository's URL").with_hint(
                "set them in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …)",
            ),
        );
    }
    text.parse().map_err(Failure::usage)
}

fn find<'a>(name: &str, config: &'a Config) -> Result<&'a Cluster, Failure> {
    config.cluster(name).ok_or_else(|| {
        let failure = Failure::usage(format_args!("there is no cluster `{name}`"));
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
    Failure::usage(format_args!(
        "cluster `{}` has no copy `{wanted}`",
        cluster.name
    ))
    .with_hint(format_args!("copies: {}", labels.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ExitCode;

    fn args(source: &str, copy: Option<&str>) -> SourceArgs {
        SourceArgs {
            source: source.to_owned(),
            copy: copy.map(str::to_owned),
            store: StoreArgs::default(),
        }
    }

    fn config() -> Config {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(
            &file,
            "version: 1\ntiers: {gold: {rpo: 5m}}\nclusters:\n- name: orders\n  tier: gold\n  primary: {url: 's3://b/orders', endpoint: 'http://127.0.0.1:9'}\n  replicas: [{url: 'file:///srv/copy'}, {name: far, url: 's3://far/orders', path_style: true}]\n",
        )
        .unwrap();
        crate::config::load(&file).unwrap()
    }

    #[test]
    fn a_url_needs_no_configuration() {
        let source = resolve(&args("s3://backups/a/orders", None), &Config::default()).unwrap();
        assert_eq!(source.name, "orders");
        assert!(source.cluster.is_none());
        assert_eq!(source.tier, Tier::default());
    }

    #[test]
    fn a_name_gives_copy_options_and_objectives() {
        let config = config();
        let primary = resolve(&args("orders", None), &config).unwrap();
        assert_eq!(primary.copy, "primary");
        assert_eq!(
            primary.options.endpoint.as_deref(),
            Some("http://127.0.0.1:9")
        );
        assert!(primary.options.allow_http);
        assert_eq!(primary.tier.rpo, Some("5m".parse().unwrap()));
        let far = resolve(&args("orders", Some("far")), &config).unwrap();
        assert_eq!(far.location.to_string(), "s3://far/orders");
        assert_eq!(far.options.virtual_hosted, Some(false));
        let all = resolve_all(&args("orders", None), &config).unwrap();
        let copies: Vec<&str> = all.iter().map(|source| source.copy.as_str()).collect();
        assert_eq!(copies, ["primary", "replica-1", "far"]);
    }

    #[test]
    fn flags_win_over_the_configuration_and_that_over_the_environment() {
        let environment = |name: &str| {
            (name == "AWS_ENDPOINT_URL").then(|| "http://environment.example".to_owned())
        };
        let configured = || StorageOptions {
            endpoint: Some("https://configured.example".to_owned()),
            region: Some("configured".to_owned()),
            ..StorageOptions::default()
        };
        let flags = StoreArgs {
            endpoint_url: Some("http://flag.example".to_owned()),
            path_style: Some(true),
            ..StoreArgs::default()
        };
        let s3: Location = "s3://b/orders".parse().unwrap();

        let mut options = configured();
        flags.apply_with(&s3, &mut options, environment).unwrap();
        assert_eq!(options.endpoint.as_deref(), Some("http://flag.example"));
        assert!(options.allow_http);
        assert_eq!(options.region.as_deref(), Some("configured"));
        assert_eq!(options.virtual_hosted, Some(false));

        let mut options = configured();
        StoreArgs::default()
            .apply_with(&s3, &mut options, environment)
            .unwrap();
        assert_eq!(
            options.endpoint.as_deref(),
            Some("https://configured.example")
        );
        assert!(!options.allow_http);

        let mut options = StorageOptions::default();
        StoreArgs::default()
            .apply_with(&s3, &mut options, environment)
            .unwrap();
        assert_eq!(
            options.endpoint.as_deref(),
            Some("http://environment.example")
        );
        assert!(options.allow_http);

        let mut options = StorageOptions::default();
        let gcs = "gs://b/orders".parse().unwrap();
        StoreArgs::default()
            .apply_with(&gcs, &mut options, environment)
            .unwrap();
        assert_eq!(options.endpoint, None);
    }

    #[test]
    fn refusals_are_about_usage_and_help() {
        let config = config();
        for (source, copy, words) in [
            ("ordres", None, "did you mean `orders`?"),
            ("billing", None, "knows: orders"),
            ("orders", Some("near"), "copies: primary, replica-1, far"),
            ("s3://k:hush@b/orders", None, "in the environment"),
        ] {
            let failure = resolve(&args(source, copy), &config).unwrap_err();
            assert_eq!(failure.code, ExitCode::Usage);
            let hint = failure.hint.unwrap_or_default();
            assert!(hint.contains(words), "{source}: {hint}");
            assert!(!failure.message.contains("hush"));
        }
        let failure = resolve(&args("orders", None), &Config::default()).unwrap_err();
        assert!(failure.hint.unwrap().contains("no configuration was found"));
    }
}
