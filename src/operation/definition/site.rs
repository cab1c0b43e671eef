//! Whether the Secrets of a rebuild are where it would look for them.

use super::report::{SecretReport, SiteReport};
use crate::config::{Config, GuardedCluster};
use crate::finding::{Code, Finding};
use crate::kubernetes::definition::{SecretNames, secret_keys};
use crate::kubernetes::{Access, Kube, KubeError, KubeErrorKind};
use crate::operation::secrets::access_of;

/// How the API of the disaster site is reached, and the namespace there.
pub(super) fn access(config: &Config, guarded: &GuardedCluster) -> Option<(Access, String)> {
    let site = guarded.disaster_site.as_ref()?;
    let whole = access_of(&config.kubernetes);
    let access = match &site.kubeconfig {
        Some(kubeconfig) => Access {
            kubeconfig: Some(kubeconfig.clone()),
            context: site.context.clone(),
        },
        None => Access {
            kubeconfig: whole.kubeconfig,
            context: site.context.clone().or(whole.context),
        },
    };
    let namespace = site
        .namespace
        .clone()
        .unwrap_or_else(|| guarded.namespace.clone());
    Some((access, namespace))
}

/// Secrets as a report names them, before anybody looked elsewhere.
pub(super) fn named(secrets: &[SecretNames]) -> Vec<SecretReport> {
    secrets
        .iter()
        .map(|secret| SecretReport {
            name: secret.name.clone(),
            present: secret.present,
            keys: secret.keys.clone(),
            optional: secret.optional,
            referenced_by: secret.referenced_by.clone(),
            at_disaster_site: None,
            missing_keys: Vec::new(),
        })
        .collect()
}

/// The keys that a rebuild needs of a Secret: those that are referred to, else those that it
/// has.
fn needed(secret: &SecretNames) -> Vec<String> {
    if secret.wanted.is_empty() {
        secret.keys.clone().unwrap_or_default()
    } else {
        secret.wanted.clone()
    }
}

/// Looks for every Secret by its name; no value is kept. What could not be looked at is a
/// finding of its own.
pub(super) async fn look(
    access: &Access,
    namespace: &str,
    secrets: &[SecretNames],
    reports: &mut [SecretReport],
    findings: &mut Vec<Finding>,
) -> SiteReport {
    let mut site = SiteReport {
        server: String::new(),
        namespace: namespace.to_owned(),
        unchecked: None,
    };
    let kube = match Kube::connect(access).await {
        Ok(kube) => kube,
        Err(error) => return unchecked(site, &error, findings),
    };
    kube.server().clone_into(&mut site.server);
    for (secret, report) in secrets.iter().zip(reports) {
        match secret_keys(&kube, namespace, &secret.name).await {
            Ok(Some(there)) => {
                report.at_disaster_site = Some(true);
                report.missing_keys = needed(secret)
                    .into_iter()
                    .filter(|key| !there.contains(key))
                    .collect();
            }
            Ok(None) => {
                report.at_disaster_site = Some(false);
                report.missing_keys = needed(secret);
            }
            Err(error) if error.kind == KubeErrorKind::Forbidden => {
                findings.push(Finding::new(
                    Code::DefinitionIncomplete,
                    format!("Secret {namespace}/{} at {}", secret.name, site.server),
                    "whether the disaster site has it is not known: walproof's identity may not read it"
                        .to_owned(),
                ));
                continue;
            }
            Err(error) => return unchecked(site, &error, findings),
        }
        if let Some(finding) = missing(report, &site).filter(|_| !secret.optional) {
            findings.push(finding);
        }
    }
    site
}

fn unchecked(mut site: SiteReport, error: &KubeError, findings: &mut Vec<Finding>) -> SiteReport {
    let words = error.to_string();
    findings.push(Finding::new(
        Code::DefinitionIncomplete,
        format!("disaster site, namespace {}", site.namespace),
        format!("its Secrets could not be looked at: {words}"),
    ));
    site.unchecked = Some(words);
    site
}

fn missing(report: &SecretReport, site: &SiteReport) -> Option<Finding> {
    let message = match report.at_disaster_site {
        Some(false) => format!(
            "there is no copy of it at {}, namespace {}; it is referred to by {}",
            site.server,
            site.namespace,
            report.referenced_by.join(", ")
        ),
        Some(true) if !report.missing_keys.is_empty() => format!(
            "its copy at {}, namespace {}, lacks the keys {}",
            site.server,
            site.namespace,
            report.missing_keys.join(", ")
        ),
        _ => return None,
    };
    Some(Finding::new(
        Code::DefinitionSecretMissing,
        format!("Secret {}/{}", site.namespace, report.name),
        message,
    ))
}
