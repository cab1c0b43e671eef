//! Clusters, their copies and their objectives.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Endpoint;
use super::name::Name;
use super::{
    ByteSize, Credentials, Due, GuardedCluster, Period, Replication, SecretError, SecretReader,
    SecretSource,
};
use crate::storage::{Location, StorageOptions};

/// One guarded PostgreSQL cluster and where its backups lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The name by which commands know it: letters, digits, `-`, `_` and `.`.
    #[schemars(with = "Name")]
    pub name: String,
    /// What it is for, in a few words.
    #[serde(default)]
    pub description: Option<String>,
    /// The team or person that owns it.
    #[serde(default)]
    pub owner: Option<String>,
    /// The tier whose objectives hold for it; one of the keys under `tiers`.
    #[serde(default)]
    pub tier: Option<String>,
    /// Who does what when it must be recovered.
    #[serde(default)]
    pub raci: Option<Raci>,
    /// The repository that the backup tool writes.
    pub primary: RepositoryConfig,
    /// Further copies of that repository.
    #[serde(default)]
    pub replicas: Vec<RepositoryConfig>,
    /// A table that something writes to at a steady rate, so that an idle database still
    /// has a recent commit.
    #[serde(default)]
    pub heartbeat: Option<Heartbeat>,
    /// Where it lives in Kubernetes, if it is a `Cluster` of CloudNativePG.
    #[serde(default)]
    pub kubernetes: Option<GuardedCluster>,
}

impl Cluster {
    /// Every copy with its label, the primary first. A replica without a name is
    /// `replica-1`, `replica-2`, … in the order of the file.
    pub fn copies(&self) -> impl Iterator<Item = (String, &RepositoryConfig)> {
        let replicas = self.replicas.iter().enumerate().map(|(index, replica)| {
            let label = replica
                .name
                .clone()
                .unwrap_or_else(|| format!("replica-{}", index + 1));
            (label, replica)
        });
        let primary = self
            .primary
            .name
            .clone()
            .unwrap_or_else(|| "primary".to_owned());
        std::iter::once((primary, &self.primary)).chain(replicas)
    }
}

/// Who is responsible, accountable, consulted and informed when a cluster must be recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raci {
    /// Who does the work.
    #[serde(default)]
    pub responsible: Vec<String>,
    /// The one who answers for it.
    #[serde(default)]
    pub accountable: Option<String>,
    /// Who is asked before.
    #[serde(default)]
    pub consulted: Vec<String>,
    /// Who is told after.
    #[serde(default)]
    pub informed: Vec<String>,
}

/// A table with a column of moments, written at a steady rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The database that holds it.
    #[schemars(length(min = 1))]
    pub database: String,
    /// The table, with its schema if that is not `public`.
    #[schemars(length(min = 1))]
    pub table: String,
    /// The column of type `timestamptz`.
    #[schemars(length(min = 1))]
    pub column: String,
}

/// What a group of clusters promises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Recovery point objective: at most this much may be lost.
    #[serde(default)]
    pub rpo: Option<Period>,
    /// Recovery time objective: from the start of recovery until all checks passed.
    #[serde(default)]
    pub rto: Option<Period>,
    /// How far back any moment must be recoverable.
    #[serde(default)]
    pub retention: Option<Period>,
    /// The newest good base backup must be younger than this.
    #[serde(default)]
    pub max_backup_age: Option<Period>,
    /// A base backup that began longer ago than this and has not ended counts as dead.
    #[serde(default)]
    pub started_backup_age: Option<Period>,
    /// How deeply `walproof verify` looks, and how much it reads.
    #[serde(default)]
    pub verification: Option<Verification>,
    /// How old the newest proof of each kind may get. What is older is overdue: a record
    /// says that it was missed, and an incident is opened.
    #[serde(default)]
    pub due: Option<Due>,
}

/// How deeply `walproof verify` looks, and how much it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// How deeply; names and sizes if it is left out.
    #[serde(default)]
    pub depth: Option<VerificationDepth>,
    /// At depth `sampled`: within this time everything is read again, a share each run;
    /// 30 days if no limit is given.
    #[serde(default)]
    pub reread_within: Option<Period>,
    /// At depth `sampled`: at most this much is read in a run, as stored.
    #[serde(default)]
    pub max_bytes: Option<ByteSize>,
    /// At depth `sampled`: only what fits into this time at the rate of the last run.
    #[serde(default)]
    pub max_time: Option<Period>,
    /// At depth `read`: into how many parts the reading is divided, each read by a process,
    /// or with `daemon: {executor: kubernetes}` by a pod of its own. Default: 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 256))]
    pub shards: Option<u32>,
}

/// How deeply a verification looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerificationDepth {
    /// Names and sizes, and the WAL around the tip and around gaps.
    Listed,
    /// What is new or changed, and a part of the rest, to the last byte.
    Sampled,
    /// Everything, to the last byte.
    Read,
}

/// One place in object storage (or a directory) where one cluster's backups lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryConfig {
    /// What to call this copy in output.
    #[serde(default)]
    #[schemars(with = "Option<Name>")]
    pub name: Option<String>,
    /// Where it lies, down to the server's folder: `s3://bucket/prefix/server`.
    pub url: Location,
    /// The endpoint of an S3-compatible server: `https://minio.example:9000`.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// The region, if the store wants one.
    #[serde(default)]
    pub region: Option<String>,
    /// Whether the bucket is part of the path instead of the host name; usual for servers
    /// with an `endpoint`.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// Azure: the storage account's name, where it is no secret.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub account: Option<String>,
    /// A PEM file with further certificate authorities to trust, relative to this file.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The same, read from where a secret may lie: a Secret of Kubernetes, for example.
    #[serde(default)]
    pub ca: Option<SecretSource>,
    /// Where credentials are found. Without it: the environment and the platform's own
    /// chain (instance, pod or web identity).
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// Where in the world it lies, in your own words: `eu-central-1`, `our cellar`. Copies
    /// in one place are lost together.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub place: Option<String>,
    /// On what it lies, in your own words: `object storage`, `disk`, `tape`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub media: Option<String>,
    /// Of a replica: how it is kept.
    #[serde(default)]
    pub replication: Option<Replication>,
}

impl RepositoryConfig {
    /// A repository that is only a URL; credentials come from the environment.
    pub const fn at(url: Location) -> Self {
        Self {
            name: None,
            url,
            endpoint: None,
            region: None,
            path_style: None,
            account: None,
            ca_file: None,
            ca: None,
            credentials: None,
            place: None,
            media: None,
            replication: None,
        }
    }

    /// How to reach it. Reads the secrets now, from where `credentials` says, those of
    /// Kubernetes by `reader`; an error names the place, never a value.
    pub fn storage_options(
        &self,
        reader: &dyn SecretReader,
    ) -> Result<StorageOptions, SecretError> {
        let mut options = self.options_without_secrets();
        if let Some(credentials) = &self.credentials {
            options.environment.extend(credentials.resolve(reader)?);
        }
        let ca = self
            .ca
            .as_ref()
            .map(|source| source.read_with("ca", reader));
        options.ca_pem = ca.transpose()?;
        Ok(options)
    }

    /// How to reach it but for the secrets: enough to know which place it is.
    pub fn options_without_secrets(&self) -> StorageOptions {
        StorageOptions {
            endpoint: self.endpoint.as_ref().map(|url| url.as_str().to_owned()),
            region: self.region.clone(),
            virtual_hosted: self.path_style.map(|path_style| !path_style),
            allow_http: self.endpoint.as_ref().is_some_and(Endpoint::is_plain_http),
            ca_file: self.ca_file.clone(),
            environment: self
                .account
                .iter()
                .map(|account| ("AZURE_STORAGE_ACCOUNT_NAME".to_owned(), account.clone()))
                .collect(),
            ..StorageOptions::default()
        }
    }
}
