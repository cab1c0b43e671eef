//! One capture: the live definition, stored beside one replica.

use chrono::Utc;
use uuid::Uuid;

use super::place::Place;
use super::report::{CaptureReport, Outcome};
use super::site;
use crate::config::Config;
use crate::finding::{Code, Finding};
use crate::kubernetes::Kube;
use crate::kubernetes::definition::{Content, collect};
use crate::operation::recording::{failed, outcome};
use crate::operation::secrets::access_of;
use crate::operation::{Failure, Leaves, Recording};
use crate::replicate::ReplicateOptions;
use crate::replicate::definition::{DefinitionError, PutDefinition, put, since};
use crate::state;

/// A capture that was made.
#[derive(Clone, Debug)]
pub struct Captured {
    /// What it came to.
    pub report: CaptureReport,
    /// How it is recorded, or would be.
    pub outcome: state::Outcome,
    /// Its run, if it was recorded.
    pub run_id: Option<Uuid>,
}

/// Captures the definition of a cluster and stores it beside a replica, unless the newest
/// there is the same and locked for long enough. Looks for copies of its Secrets at the disaster site, if one is
/// configured. The primary repository is not touched.
///
/// # Errors
///
/// The Cluster cannot be read, or the replica cannot be written to. That, too, is recorded.
pub async fn capture(
    place: &Place,
    config: &Config,
    recording: Option<Recording>,
) -> Result<Captured, Failure> {
    let made = Box::pin(make(place, config)).await;
    let run_id = recording.as_ref().map(Recording::id);
    match made {
        Ok(report) => {
            let outcome = outcome(
                report.verdict(),
                report.exit_code(),
                report.summary(),
                &report.findings,
                (CaptureReport::SCHEMA, &report),
            );
            if let Some(recording) = recording {
                let standing = serde_json::json!({
                    "seen_at": report.captured_at,
                    "definition": report.definition,
                    "sha256": report.sha256,
                    "since": report.since,
                });
                let leaves = Leaves {
                    standing: Some((report.captured_at, standing)),
                    ..Leaves::default()
                };
                recording.finish(&outcome, leaves).await?;
            }
            Ok(Captured {
                report,
                outcome,
                run_id,
            })
        }
        Err(failure) => {
            if let Some(recording) = recording {
                recording
                    .finish(&failed(&failure), Leaves::nothing())
                    .await?;
            }
            Err(failure)
        }
    }
}

async fn make(place: &Place, config: &Config) -> Result<CaptureReport, Failure> {
    let guarded = place.guarded()?;
    let kube = Kube::connect(&access_of(&config.kubernetes)).await?;
    let content = collect(&kube, &guarded.namespace, &guarded.name).await?;
    let captured_at = kube.time().await.unwrap_or_else(|_| Utc::now());
    let mut findings = findings_of(&content);
    let mut secrets = site::named(&content.secrets);
    let disaster_site = match site::access(config, guarded) {
        Some((access, namespace)) => Some(
            site::look(
                &access,
                &namespace,
                &content.secrets,
                &mut secrets,
                &mut findings,
            )
            .await,
        ),
        None => None,
    };
    let replication = place
        .cluster
        .replicas
        .iter()
        .find(|replica| replica.url == place.source.location)
        .and_then(|replica| replica.replication.clone())
        .unwrap_or_default();
    let locked = ReplicateOptions::of(&replication).locked_until(Utc::now());
    let store = place.source.open_for_writing()?;
    let mut damaged = Vec::new();
    let name = &place.cluster.name;
    let stored = put(&store, name, &content, captured_at, locked, &mut damaged).await?;
    for error in damaged {
        if let DefinitionError::Changed { name, problem } = error {
            findings.push(Finding::new(
                Code::DefinitionChangedDigest,
                name,
                problem.to_string(),
            ));
        }
    }
    let outcome = match &stored {
        PutDefinition::Stored(_) => Outcome::Stored,
        PutDefinition::Renewed(_) => Outcome::Renewed,
        PutDefinition::Unchanged(_) => Outcome::Unchanged,
    };
    let stored = stored.stored();
    let since = since(&store, name, stored).await?;
    let folder = crate::replicate::definition::folder(name);
    Ok(CaptureReport {
        schema: CaptureReport::SCHEMA.to_owned(),
        cluster: name.clone(),
        copy: place.source.copy.clone(),
        namespace: content.namespace.clone(),
        name: content.name.clone(),
        captured_at,
        outcome,
        definition: stored.stamp.to_string(),
        location: store
            .location()
            .join(&format!("{folder}/{}", stored.stamp))
            .to_string(),
        sha256: stored.manifest.sha256.clone(),
        since,
        objects: content
            .objects
            .iter()
            .map(crate::kubernetes::definition::CapturedObject::title)
            .collect(),
        secrets,
        disaster_site,
        unread: content.unread.clone(),
        findings,
    })
}

/// What is wrong with a definition as it is.
fn findings_of(content: &Content) -> Vec<Finding> {
    let unread = content.unread.iter().map(|unread| {
        Finding::new(
            Code::DefinitionIncomplete,
            unread.object.clone(),
            format!("it is not part of the definition: {}", unread.reason),
        )
    });
    let secrets = content.suspicions().into_iter().map(|suspicion| {
        Finding::new(
            Code::DefinitionHoldsSecret,
            suspicion.object,
            format!("{} holds {}", suspicion.path, suspicion.looks_like),
        )
    });
    unread.chain(secrets).collect()
}
