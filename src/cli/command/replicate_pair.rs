//! From `CLUSTER [--copy NAME]` or `SOURCE_URL TARGET_URL` to two places.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::cli::source::{
    Source, SourceArgs, StoreArgs, open_for_writing, resolve, resolve_all, resolve_url,
};
use crate::config::{Config, Replication};
use crate::replicate::{Pair, ReplicateError};
use crate::repository;
use crate::storage::{Scheme, Store};

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

/// A source and a target that can be opened.
#[derive(Clone, Debug)]
pub struct Places {
    /// What is copied.
    pub source: Source,
    /// Where to.
    pub target: Source,
    /// How the copy is kept, by the configuration.
    pub replication: Replication,
}

impl PairArgs {
    /// The pairs that are meant: of a cluster its primary and each replica.
    pub fn resolve(&self, config: &Config) -> Result<Vec<Places>, Failure> {
        let source = self.source_args(None);
        match &self.target {
            Some(target) => Ok(vec![self.of_urls(&source, target, config)?]),
            None => self.of_cluster(config),
        }
    }

    fn source_args(&self, copy: Option<String>) -> SourceArgs {
        SourceArgs {
            source: self.source.clone(),
            copy,
            store: self.store.clone(),
        }
    }

    fn of_urls(
        &self,
        source: &SourceArgs,
        target: &str,
        config: &Config,
    ) -> Result<Places, Failure> {
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
        let source = resolve(source, config)?;
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
        let source = resolve(&self.source_args(None), config)?;
        let replicas = resolve_all(
            &SourceArgs {
                // The flags are the source's.
                store: StoreArgs::default(),
                ..self.source_args(None)
            },
            config,
        )?;
        let mut places = Vec::new();
        for target in replicas.into_iter().skip(1) {
            if self.copy.as_ref().is_some_and(|copy| *copy != target.copy) {
                continue;
            }
            let replication = target
                .cluster
                .as_ref()
                .and_then(|cluster| {
                    let (_, repository) =
                        cluster.copies().find(|(label, _)| *label == target.copy)?;
                    repository.replication.clone()
                })
                .unwrap_or_default();
            places.push(Places {
                source: source.clone(),
                target,
                replication,
            });
        }
        if places.is_empty() {
            let failure = match &self.copy {
                Some(copy) => Failure::usage(format_args!(
                    "cluster `{}` has no replica `{copy}`",
                    self.source
                )),
                None => Failure::usage(format_args!("cluster `{}` has no replicas", self.source)),
            };
            return Err(failure
                .with_hint("name them under `replicas` in the configuration, or give two URLs"));
        }
        Ok(places)
    }
}

impl Places {
    /// Opens both. A target that is a directory is made if `writing`.
    pub fn open(&self, writing: bool) -> Result<Pair, Failure> {
        let source = Store::open(&self.source.location, &self.source.options)?;
        let target = if writing {
            open_for_writing(&self.target)?
        } else {
            Store::open(&self.target.location, &self.target.options)?
        };
        Pair::new(repository::open(source), repository::open(target)).map_err(Failure::from)
    }

    /// What to call the target in output.
    pub fn label(&self) -> String {
        if self.target.copy.is_empty() {
            self.target.location.to_string()
        } else {
            format!("{}/{}", self.target.name, self.target.copy)
        }
    }
}

impl From<ReplicateError> for Failure {
    fn from(error: ReplicateError) -> Self {
        match error {
            ReplicateError::Storage(error) => error.into(),
            ReplicateError::State(error) => error.into(),
            error @ ReplicateError::SamePlace { .. } => Self::refused(error)
                .with_hint("a copy needs a place of its own, best with another provider"),
            error @ ReplicateError::OtherSystem { .. } => Self::refused(error).with_hint(
                "every cluster needs a place of its own: segments of both have the same names",
            ),
            error @ ReplicateError::Busy { .. } => Self::unproven(error)
                .with_hint("wait for it, or look for a `walproof replicate run --follow`"),
            ReplicateError::Interrupted => Self::interrupted(),
            error @ (ReplicateError::Unordered(_) | ReplicateError::Task(_)) => {
                Self::unproven(error)
            }
        }
    }
}
