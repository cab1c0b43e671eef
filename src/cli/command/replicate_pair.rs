//! From `CLUSTER [--copy NAME]` or `SOURCE_URL TARGET_URL` to two places.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::cli::source::{SourceArgs, StoreArgs, resolve, resolve_url};
use crate::config::{Config, Replication};
use crate::operation::replicate::Places;
use crate::operation::source::Source;
use crate::storage::Scheme;

/// What is copied, and where to.
#[derive(Args, Clone, Debug)]
pub struct PairArgs {
    /// A cluster's name from the configuration, or the URL of the repository to copy
    #[arg(value_name = "CLUSTER|SOURCE_URL")]
    pub source: String,
    /// Where to, if the first is a URL: s3://bucket/prefix, gs://…, az://…, file:///directory
    #[arg(value_name = "TARGET_URL")]
    pub target: Option<String>,
    /// Which replica of the cluster [default: all of them]
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
    /// How to reach the source.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How to reach the target.
    #[command(flatten)]
    pub target_store: TargetStoreArgs,
}

/// How to reach the target of two URLs. What is left out comes from the environment, as for
/// the source.
#[derive(Args, Clone, Debug, Default)]
#[expect(
    clippy::struct_field_names,
    reason = "the fields' names are the flags' names"
)]
pub struct TargetStoreArgs {
    /// Endpoint of the target's S3-compatible server [default: as the source's environment]
    #[arg(help_heading = "Target", long, value_name = "URL")]
    pub target_endpoint: Option<String>,
    /// Region of the target
    #[arg(help_heading = "Target", long, value_name = "NAME")]
    pub target_region: Option<String>,
    /// Profile of ~/.aws/credentials with the target's credentials
    #[arg(help_heading = "Target", long, value_name = "NAME")]
    pub target_profile: Option<String>,
    /// PEM file with further certificate authorities to trust at the target
    #[arg(help_heading = "Target", long, value_name = "FILE")]
    pub target_ca_file: Option<PathBuf>,
    /// Whether the target's bucket is part of the path instead of the host name
    #[arg(help_heading = "Target", long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub target_path_style: Option<bool>,
}

impl TargetStoreArgs {
    fn is_empty(&self) -> bool {
        self.target_endpoint.is_none()
            && self.target_region.is_none()
            && self.target_profile.is_none()
            && self.target_ca_file.is_none()
            && self.target_path_style.is_none()
    }
}

impl PairArgs {
    /// The pairs that are meant: of a cluster its primary and each replica.
    pub fn resolve(&self, config: &Config) -> Result<Vec<Places>, Failure> {
        match &self.target {
            Some(target) => Ok(vec![self.of_urls(target, config)?]),
            None => self.of_cluster(config),
        }
    }

    fn of_urls(&self, target: &str, config: &Config) -> Result<Places, Failure> {
        if self.copy.is_some() {
            return Err(Failure::usage(
                "--copy needs a cluster's name, not two URLs",
            ));
        }
        if !target.contains("://") {
            return Err(
                Failure::usage(format_args!("the target is a URL, not {target:?}"))
                    .with_hint("of a cluster, name the replica with --copy"),
            );
        }
        let source = resolve(
            &SourceArgs {
                source: self.source.clone(),
                copy: None,
                store: self.store.clone(),
            },
            config,
        )?;
        let own = &self.target_store;
        let store = StoreArgs {
            endpoint_url: own.target_endpoint.clone(),
            region: own.target_region.clone(),
            ca_file: own.target_ca_file.clone(),
            path_style: own.target_path_style,
        };
        let (location, mut options) = resolve_url(target, &store)?;
        if let Some(profile) = &own.target_profile {
            if location.scheme() != Scheme::S3 {
                return Err(Failure::usage(format_args!(
                    "--target-profile has no meaning for {}://",
                    location.scheme().as_str()
                )));
            }
            options
                .environment
                .push(("AWS_PROFILE".to_owned(), profile.clone()));
        }
        let target = Source {
            name: source.name.clone(),
            copy: String::new(),
            location,
            options,
            kubernetes: source.kubernetes.clone(),
            cluster: source.cluster.clone(),
            tier: source.tier.clone(),
        };
        Ok(Places {
            source,
            target,
            replication: Replication::default(),
        })
    }

    fn of_cluster(&self, config: &Config) -> Result<Vec<Places>, Failure> {
        if self.source.contains("://") {
            return Err(Failure::usage("a URL alone does not say where to")
                .with_hint("give the target's URL behind it, or a cluster's name"));
        }
        if !self.target_store.is_empty() {
            return Err(Failure::usage(
                "the --target flags are for two URLs; a replica's settings stand in the configuration",
            ));
        }
        Ok(Places::of_cluster(
            config,
            &self.source,
            self.copy.as_deref(),
            &self.store.reach(),
        )?)
    }
}
