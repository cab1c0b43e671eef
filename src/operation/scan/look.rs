//! One Cluster: from its resource to its place in the configuration and to what its
//! repository is worth.

use std::time::Duration;

use super::locate;
use super::place::{Place, place};
use super::report::{ScanOutcome, ScanTrouble, ScannedCluster};
use crate::config::{Cluster, Config, GuardedCluster, SecretReader as _};
use crate::drill::Cancellation;
use crate::finding::{Code, Finding, Severity};
use crate::kubernetes::Kube;
use crate::kubernetes::cnpg::{self, Archive, SourceCluster, StoreConfiguration};
use crate::operation::secrets::KubernetesSecrets;
use crate::operation::source::{Reach, Source};
use crate::operation::standing::VerifyStanding;
use crate::operation::verify::{VerifyRequest, verify};
use crate::operation::{Failure, FailureClass};
use crate::verify::report::settle;
use crate::verify::{ReadProgress, VerifyReport};

/// How long the look at one repository may take.
const LIMIT: Duration = Duration::from_mins(5);

/// What came of one Cluster.
pub(super) struct Looked {
    /// The report, but for what a drill needs.
    pub(super) report: ScannedCluster,
    /// Its entry in the configuration, where it archives to a known place.
    pub(super) written: Option<Cluster>,
    /// The store, where there is one.
    pub(super) store: Option<StoreConfiguration>,
}

/// Looks at a Cluster, which the configuration shall know as `name`.
pub(super) async fn look(
    kube: &Kube,
    config: &Config,
    cluster: &SourceCluster,
    name: &str,
) -> Looked {
    let mut looked = Looked {
        report: blank(cluster),
        written: None,
        store: None,
    };
    let findings = operators_words(cluster);
    let judged = match find(kube, cluster, &mut looked).await {
        Ok(Some(found)) => {
            let region = looked.region(config, found, cluster, name);
            match region.await {
                Ok(written) => verified(config, &written).await,
                Err(failure) => Err(failure.into()),
            }
        }
        Ok(None) => {
            looked.report.findings = findings;
            looked.report.outcome = ScanOutcome::Problem;
            return looked;
        }
        Err(trouble) => Err(trouble),
    };
    looked.conclude(cluster, judged, findings);
    looked
}

impl Looked {
    /// Enters the place into the configuration; the region is read from its Secret, as it is
    /// no secret.
    async fn region(
        &mut self,
        config: &Config,
        mut found: Place,
        cluster: &SourceCluster,
        name: &str,
    ) -> Result<Cluster, Failure> {
        let read = match found.region.take() {
            Some(reference) => {
                let reader = KubernetesSecrets::of(config);
                blocking(move || {
                    reader.read(&reference).map_err(|fault| {
                        Failure::new(
                            FailureClass::Credentials,
                            format_args!("read the region from {reference}: {}", fault.cause),
                        )
                    })
                })
                .await
                .map(Some)
            }
            None => Ok(None),
        };
        if let Ok(region) = &read {
            found.repository.region.clone_from(region);
        }
        let written = Cluster {
            name: name.to_owned(),
            description: None,
            owner: None,
            tier: None,
            raci: None,
            primary: found.repository,
            replicas: Vec::new(),
            heartbeat: None,
            kubernetes: Some(GuardedCluster::new(&cluster.namespace, &cluster.name)),
        };
        self.report.written_as = Some(name.to_owned());
        self.report.location = Some(written.primary.url.to_string());
        self.written = Some(written.clone());
        read.map(|_| written)
    }

    /// Credentials that a store refused are named with their Secret.
    fn whose(&self, cluster: &SourceCluster, mut trouble: ScanTrouble) -> ScanTrouble {
        let refused = trouble.is_of_credentials();
        let named = self.store.as_ref().and_then(|store| {
            let references = store.credentials.references();
            references.first().map(|reference| reference.name.clone())
        });
        // A Secret that could not be read is in the message already.
        if let Some(name) = named.filter(|_| refused && !trouble.message.contains("from Secret")) {
            let secret = format!("Secret {}/{name}", cluster.namespace);
            trouble.hint = Some(match trouble.hint {
                Some(hint) => format!("{hint}; they stand in {secret}"),
                None => format!("the credentials stand in {secret}"),
            });
        }
        trouble
    }

    fn conclude(
        &mut self,
        cluster: &SourceCluster,
        judged: Result<VerifyReport, ScanTrouble>,
        mut findings: Vec<Finding>,
    ) {
        match judged {
            Ok(verified) => {
                findings.extend(other_system(cluster, &verified));
                findings.extend(verified.findings.iter().cloned());
                self.report.exposure = verified.exposure;
                let objectives = crate::config::Tier::default();
                self.report.standing = Some(VerifyStanding::of(&verified, &objectives));
            }
            Err(trouble) => self.report.trouble = Some(self.whose(cluster, trouble)),
        }
        self.report.findings = settle(findings);
        let problem = self.report.worst() >= Some(Severity::Warning);
        self.report.outcome = if self.report.standing.is_none() {
            ScanOutcome::Unread
        } else if problem {
            ScanOutcome::Problem
        } else {
            ScanOutcome::Quiet
        };
    }
}

/// The place where a Cluster archives; `None` when it archives nowhere.
async fn find(
    kube: &Kube,
    cluster: &SourceCluster,
    looked: &mut Looked,
) -> Result<Option<Place>, ScanTrouble> {
    let mut store: Option<StoreConfiguration> = None;
    if let Some(name) = locate::object_store_of(&cluster.archive) {
        looked.report.object_store = Some(name.to_owned());
        let found = cnpg::object_store(kube, &cluster.namespace, name).await;
        if let Some(found) = found.map_err(Failure::from)? {
            looked.report.retention = found.retention;
            store = Some(found.configuration);
        }
    }
    let (namespace, name) = (&cluster.namespace, &cluster.name);
    let found = locate::configuration(namespace, name, &cluster.archive, store.as_ref())?;
    let Some(configuration) = found else {
        return Ok(None);
    };
    looked
        .report
        .endpoint
        .clone_from(&configuration.endpoint_url);
    let server = cluster.archive.server_name().unwrap_or(name);
    let found = place(namespace, &configuration, server);
    looked.store = Some(configuration);
    Ok(Some(found.map_err(ScanTrouble::from)?))
}

/// The repository at depth `listed`, opened as the configuration that is written opens it.
async fn verified(config: &Config, written: &Cluster) -> Result<VerifyReport, ScanTrouble> {
    let config = Config {
        clusters: vec![written.clone()],
        ..config.clone()
    };
    let name = written.name.clone();
    let source =
        blocking(move || Source::of_cluster(&config, &name, None, &Reach::default())).await?;
    let request = VerifyRequest::of(&source);
    let never = Cancellation::never();
    let quiet = |_: ReadProgress| {};
    let work = verify(&source, &request, None, &quiet, &never);
    match tokio::time::timeout(LIMIT, Box::pin(work)).await {
        Ok(verified) => Ok(verified?.report),
        Err(_) => Err(Failure::new(
            FailureClass::Storage { transient: true },
            format_args!(
                "list {}: it did not end within {} minutes",
                source.location,
                LIMIT.as_secs() / 60
            ),
        )
        .with_hint(format_args!(
            "take what time it needs: walproof verify {}",
            source.name
        ))
        .into()),
    }
}

/// What asks the API on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Failure::new(FailureClass::Defect, error)))
}

/// What the resource itself says is wrong.
fn operators_words(cluster: &SourceCluster) -> Vec<Finding> {
    let title = format!("Cluster {}/{}", cluster.namespace, cluster.name);
    let mut findings = Vec::new();
    if cluster.archive == Archive::None {
        let mut finding = Finding::new(
            Code::ArchiveNotConfigured,
            title.clone(),
            "neither spec.plugins nor spec.backup names a place for its WAL",
        );
        if cluster.snapshot_class.is_some() {
            finding = finding.with_consequence(
                "There are volume snapshots only: what was written after the newest is lost, and no moment between two can be had.",
            );
        }
        findings.push(finding);
    }
    if let Archive::Plugin { wal: false, .. } = &cluster.archive {
        findings.push(Finding::new(
            Code::ArchiveNotConfigured,
            title.clone(),
            "the plugin is not the WAL archiver (`isWALArchiver`), and nothing else is",
        ));
    }
    if cluster.archiving == Some(false) {
        let words = cluster.archiving_problem.as_deref().unwrap_or("no reason");
        findings.push(Finding::new(
            Code::ArchivingFailing,
            title,
            format!("the operator says: {words}"),
        ));
    }
    findings
}

/// The repository is another cluster's.
fn other_system(cluster: &SourceCluster, verified: &VerifyReport) -> Option<Finding> {
    let (live, stored) = (cluster.system_id?, verified.system_id?);
    (live != stored).then(|| {
        Finding::new(
            Code::SystemIdDiffers,
            verified.location.clone(),
            format!("the running cluster is system {live}, its repository holds {stored}"),
        )
        .with_consequence("What lies there is another database: this cluster cannot be recovered from it.")
        .with_action("Give this cluster a serverName or a path of its own and take a base backup; find out whose the other backups are.")
    })
}

fn blank(cluster: &SourceCluster) -> ScannedCluster {
    ScannedCluster {
        namespace: cluster.namespace.clone(),
        name: cluster.name.clone(),
        written_as: None,
        form: cluster.archive.form().to_owned(),
        phase: cluster.phase.clone(),
        healthy: cluster.is_healthy(),
        major: cluster.major,
        instances: cluster.instances,
        image: cluster.image.clone(),
        system_id: cluster.system_id,
        object_store: None,
        server_name: cluster.archive.server_name().map(str::to_owned),
        location: None,
        endpoint: None,
        retention: cluster.retention.clone(),
        next_backup_at: None,
        snapshots: None,
        outcome: ScanOutcome::Unread,
        exposure: None,
        standing: None,
        findings: Vec::new(),
        trouble: None,
        needs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "written where it is used")]
    fn cluster(spec: serde_json::Value) -> SourceCluster {
        SourceCluster::parse(json!({
            "metadata": {"namespace": "shop", "name": "orders"},
            "spec": spec,
            "status": {"conditions": [{
                "type": "ContinuousArchiving", "status": "False", "message": "exit status 4",
            }]},
        }))
        .unwrap()
    }

    fn codes(spec: serde_json::Value) -> Vec<&'static str> {
        let findings = operators_words(&cluster(spec));
        findings
            .iter()
            .map(|finding| finding.code.as_str())
            .collect()
    }

    #[test]
    fn the_resource_itself_says_what_is_wrong() {
        assert_eq!(
            codes(json!({})),
            ["archive-not-configured", "archiving-failing"]
        );
        let plugin = |archiver: bool| {
            json!({"plugins": [{
                "name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": archiver,
                "parameters": {"barmanObjectName": "store"},
            }]})
        };
        assert_eq!(codes(plugin(true)), ["archiving-failing"]);
        assert_eq!(
            codes(plugin(false)),
            ["archive-not-configured", "archiving-failing"]
        );
        let snapshots = cluster(json!({"backup": {"volumeSnapshot": {"className": "csi"}}}));
        let findings = operators_words(&snapshots);
        assert!(findings[0].consequence.contains("snapshots only"));
    }
}
