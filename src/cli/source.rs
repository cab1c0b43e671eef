//! From `CLUSTER|URL` on the command line to a place that can be opened.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::config::Config;
use crate::operation;
use crate::operation::source::{Reach, Source};
use crate::storage::{Location, StorageOptions};

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
    /// The same as plain data.
    pub fn reach(&self) -> Reach {
        Reach {
            endpoint: self.endpoint_url.clone(),
            region: self.region.clone(),
            ca_file: self.ca_file.clone(),
            path_style: self.path_style,
        }
    }
}

/// The one place that `CLUSTER|URL` names; of a cluster the primary unless `--copy` says
/// otherwise.
pub fn resolve(args: &SourceArgs, config: &Config) -> Result<Source, Failure> {
    let reach = args.store.reach();
    Ok(if args.source.contains("://") {
        if args.copy.is_some() {
            return Err(Failure::usage("--copy needs a cluster's name, not a URL"));
        }
        Source::at_url(&args.source, &reach)?
    } else {
        Source::of_cluster(config, &args.source, args.copy.as_deref(), &reach)?
    })
}

/// Every copy that `CLUSTER|URL` names, the primary first; with `--copy` only that one.
pub fn resolve_all(args: &SourceArgs, config: &Config) -> Result<Vec<Source>, Failure> {
    if args.copy.is_some() || args.source.contains("://") {
        return Ok(vec![resolve(args, config)?]);
    }
    Ok(Source::all_of_cluster(
        config,
        &args.source,
        &args.store.reach(),
    )?)
}

/// A location given as a URL only, with the options from the command line.
pub fn resolve_url(text: &str, store: &StoreArgs) -> Result<(Location, StorageOptions), Failure> {
    Ok(operation::source::at_location(text, &store.reach())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ExitCode;
    use crate::config::Tier;

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
