//! Stored definitions, and the live one.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::config::Config;
use crate::finding::{Code, Finding, Severity};
use crate::kubernetes::Kube;
use crate::kubernetes::definition::{CapturedObject, Content, Stamp, Unread, collect};
use crate::operation::secrets::access_of;
use crate::operation::{Failure, FailureClass};
use crate::replicate::definition::{self as stored, DefinitionError, StoredDefinition};

/// The definitions beside a replica. JSON: `walproof.definition-list/v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefinitionList {
    /// `walproof.definition-list/v1`.
    pub schema: String,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// The replica.
    pub copy: String,
    /// Where they lie.
    pub location: String,
    /// The definitions, the newest first.
    pub definitions: Vec<ListedDefinition>,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
}

/// A stored definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListedDefinition {
    /// Its name.
    pub definition: String,
    /// When it was captured.
    pub captured_at: DateTime<Utc>,
    /// Whether it can be used.
    pub state: StoredState,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// SHA-256 of its content; `null` where it cannot be used.
    pub sha256: Option<String>,
    /// The objects that it holds.
    pub objects: Vec<String>,
    /// The Secrets that it refers to.
    pub secrets: Vec<String>,
    /// What could not be read when it was captured.
    pub unread: Vec<Unread>,
}

/// Whether a stored definition can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoredState {
    /// Every digest was checked.
    Whole,
    /// It is not what was captured.
    Changed,
    /// It was begun and never finished; it counts for nothing.
    Unfinished,
}

impl DefinitionList {
    /// The document's name.
    pub const SCHEMA: &'static str = "walproof.definition-list/v1";

    /// The exit code of the command.
    pub fn exit_code(&self) -> u8 {
        let wrong = |finding: &Finding| finding.severity >= Severity::Warning;
        u8::from(self.findings.iter().any(wrong))
    }
}

/// Every definition beside a replica, read with its digests checked.
pub async fn list(place: &Place) -> Result<DefinitionList, Failure> {
    let store = place.open()?;
    let name = &place.cluster.name;
    let mut definitions = Vec::new();
    let mut findings = Vec::new();
    for stamp in stored::list(&store, name).await?.into_iter().rev() {
        let mut listed = ListedDefinition {
            definition: stamp.to_string(),
            captured_at: stamp.moment(),
            state: StoredState::Whole,
            problem: None,
            sha256: None,
            objects: Vec::new(),
            secrets: Vec::new(),
            unread: Vec::new(),
        };
        match stored::read(&store, name, &stamp).await {
            Ok(Some(found)) => {
                listed.sha256 = Some(found.manifest.sha256.clone());
                let objects = found.content.objects.iter();
                listed.objects = objects.map(CapturedObject::title).collect();
                let secrets = found.content.secrets.into_iter();
                listed.secrets = secrets.map(|secret| secret.name).collect();
                listed.unread = found.content.unread;
            }
            Ok(None) => listed.state = StoredState::Unfinished,
            Err(DefinitionError::Changed { name, problem }) => {
                listed.state = StoredState::Changed;
                listed.problem = Some(problem.to_string());
                findings.push(Finding::new(
                    Code::DefinitionChangedDigest,
                    name,
                    problem.to_string(),
                ));
            }
            Err(error) => return Err(error.into()),
        }
        definitions.push(listed);
    }
    let location = store.location().join(&stored::folder(name)).to_string();
    if !definitions
        .iter()
        .any(|one| one.state == StoredState::Whole)
    {
        findings.push(Finding::new(
            Code::DefinitionNotCaptured,
            location.clone(),
            format!("there is no whole definition of `{name}` here"),
        ));
    }
    Ok(DefinitionList {
        schema: DefinitionList::SCHEMA.to_owned(),
        cluster: name.clone(),
        copy: place.source.copy.clone(),
        location,
        definitions,
        findings,
    })
}

/// The newest stored definition, digests checked.
pub async fn newest(place: &Place) -> Result<StoredDefinition, Failure> {
    let store = place.open()?;
    let name = &place.cluster.name;
    stored::newest(&store, name)
        .await?
        .ok_or_else(|| not_captured(place))
}

/// A stored definition by the beginning of its name or of its digest.
pub async fn by_name(place: &Place, wanted: &str) -> Result<StoredDefinition, Failure> {
    let store = place.open()?;
    let name = &place.cluster.name;
    let all = stored::list(&store, name).await?;
    let fits = |stamp: &&Stamp| {
        stamp.to_string().starts_with(wanted)
            || (wanted.len() >= 4 && stamp.digest().starts_with(wanted))
    };
    let found: Vec<&Stamp> = all.iter().filter(fits).collect();
    let hint = "`walproof definition list` shows them";
    let same = |one: &&Stamp| found.first().map(|first| first.digest()) == Some(one.digest());
    let stamp = match found.as_slice() {
        // One that was stored once more for its lock has several names.
        [.., newest] if found.iter().all(same) => *newest,
        [] => {
            return Err(Failure::configuration(format_args!(
                "no definition of `{name}` in {} is named `{wanted}`",
                place.source.copy
            ))
            .with_hint(hint));
        }
        several => {
            return Err(Failure::configuration(format_args!(
                "{} definitions of `{name}` are named `{wanted}…`",
                several.len()
            ))
            .with_hint(hint));
        }
    };
    stored::read(&store, name, stamp).await?.ok_or_else(|| {
        Failure::new(
            FailureClass::Capacity,
            format_args!("{stamp} was begun and never finished"),
        )
        .with_hint(hint)
    })
}

/// The definition as it is in Kubernetes now.
pub async fn live(place: &Place, config: &Config) -> Result<Content, Failure> {
    let guarded = place.guarded()?;
    let kube = Kube::connect(&access_of(&config.kubernetes)).await?;
    Ok(collect(&kube, &guarded.namespace, &guarded.name).await?)
}

fn not_captured(place: &Place) -> Failure {
    let name = &place.cluster.name;
    Failure::new(
        FailureClass::Capacity,
        format_args!(
            "no definition of `{name}` was captured beside {}",
            place.source.location
        ),
    )
    .with_hint(format_args!(
        "run `walproof definition capture {name}` while the Cluster is there, and schedule `job: capture`"
    ))
}
