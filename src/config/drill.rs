//! Drill definitions: what a drill restores, how far, and what it asks the result.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::Name;
use super::{AloneSetting, CnpgDrill, Expectation, Period, TargetText};

/// A drill definition: a restore for proof, and the questions put to the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillDefinition {
    /// The version of this file's format.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// The drill's name, unique among all drills.
    #[schemars(with = "Name")]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The clusters it drills, by their names in walproof.yaml. Empty: the one named on the
    /// command line.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Which copy it restores from: `primary`, `replica-1` or the copy's name.
    #[serde(default)]
    pub copy: Option<String>,
    /// Whether every other copy of the cluster must be out of reach while it runs: `true`
    /// makes the drill `unproven` if one answers, `report` only records what they say.
    #[serde(default, skip_serializing_if = "AloneSetting::is_no")]
    pub alone: AloneSetting,
    /// Where it restores.
    #[serde(default)]
    pub environment: Environment,
    /// How it restores with `environment: cnpg`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnpg: Option<CnpgDrill>,
    /// How far it recovers.
    #[serde(default = "tip")]
    pub target: TargetText,
    /// The base backup: `auto` takes the newest that reaches the target.
    #[serde(default = "auto")]
    pub backup: String,
    /// The drill is given up after this time.
    #[serde(default)]
    pub timeout: Option<Period>,
    /// The directory in which scratch directories are made.
    #[serde(default)]
    pub scratch: Option<PathBuf>,
    /// The superuser's name in the restored cluster. Default: `postgres`.
    #[serde(default)]
    pub superuser: Option<String>,
    /// Libraries for `shared_preload_libraries` that the checks need.
    #[serde(default)]
    pub preload: Vec<String>,
    /// Settings of the restored server, such as `shared_buffers: 256MB`. Those that keep it
    /// apart from production cannot be changed.
    #[serde(default)]
    pub settings: BTreeMap<String, SettingValue>,
    /// Questions put to the restored databases.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Whether `pg_checksums` reads every page after the server was stopped. The cluster
    /// must have data checksums.
    #[serde(default)]
    pub checksums: bool,
    /// Runs `pg_amcheck` over the restored databases.
    #[serde(default)]
    pub amcheck: Option<Amcheck>,
    /// Whether walproof tries to write one small object to the repository before the drill,
    /// which should be refused, and records the answer. What is let through is removed again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe_write: bool,
}

fn tip() -> TargetText {
    TargetText::Tip
}

fn auto() -> String {
    "auto".to_owned()
}

impl DrillDefinition {
    /// A drill to the archive tip with nothing but the built-in checks.
    pub fn plain(name: impl Into<String>) -> Self {
        Self {
            version: 1,
            name: name.into(),
            description: None,
            clusters: Vec::new(),
            copy: None,
            alone: AloneSetting::No,
            environment: Environment::Local,
            cnpg: None,
            target: tip(),
            backup: auto(),
            timeout: None,
            scratch: None,
            superuser: None,
            preload: Vec::new(),
            settings: BTreeMap::new(),
            checks: Vec::new(),
            checksums: false,
            amcheck: None,
            probe_write: false,
        }
    }
}

/// Where a drill restores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// PostgreSQL binaries on this machine, in a scratch directory.
    #[default]
    Local,
    /// A recovery Cluster of CloudNativePG in a scratch namespace of Kubernetes.
    Cnpg,
}

/// One question put to a restored database: a query and what it must give, either a single
/// value (`expect`) or exact rows (`rows`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is asked, in a few words. Unique within the drill.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The database that is asked.
    #[schemars(length(min = 1))]
    pub database: String,
    /// The query. It runs in a read-only transaction.
    #[schemars(length(min = 1))]
    pub sql: String,
    /// What the query's single value must be.
    #[serde(default)]
    pub expect: Option<Expectation>,
    /// The rows that the query must give, in order. Values are compared as the text that
    /// PostgreSQL prints; `null` is NULL.
    #[serde(default)]
    pub rows: Option<Vec<Vec<Cell>>>,
    /// The query is given up after this time.
    #[serde(default)]
    pub timeout: Option<Period>,
}

/// A value as PostgreSQL prints it; `None` is NULL. `true` and `false` are `t` and `f`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cell(pub Option<String>);

impl JsonSchema for Cell {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cell".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "number", "boolean", "null"],
            "description": "A value as PostgreSQL prints it; null is NULL; true and false are t and f.",
        })
    }
}

/// The value of a server setting, as it would stand in `postgresql.conf`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SettingValue(pub String);

impl JsonSchema for SettingValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SettingValue".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "number", "boolean"],
            "description": "A setting's value, such as 256MB, 4 or off.",
        })
    }
}

/// How `pg_amcheck` runs. It reads every page of the relations it checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amcheck {
    /// The databases. Empty: all that can be connected to.
    #[serde(default)]
    pub databases: Vec<String>,
    /// Only these tables, `schema.table`, with their indexes. Empty: all.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Whether every table row must be found in its indexes (slower).
    #[serde(default)]
    pub heapallindexed: bool,
    /// How many connections work at once. Default: 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64))]
    pub jobs: Option<u32>,
    /// The check is given up after this time.
    #[serde(default)]
    pub timeout: Option<Period>,
}
