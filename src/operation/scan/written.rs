//! The configuration that says what a scan found: it opens the same repositories from the
//! same machine as it is printed. Secrets stand in it by reference.

use std::fmt::Write as _;
use std::path::Path;

use super::report::ScanReport;
use crate::config::{Cluster, KubernetesConfig, RepositoryConfig, SecretReference, SecretSource};

/// What is written.
#[derive(Clone, Debug)]
pub struct Written {
    /// How the API is reached.
    pub kubernetes: KubernetesConfig,
    /// The clusters whose place is known.
    pub clusters: Vec<Cluster>,
}

impl Written {
    /// The text of a `walproof.yaml`.
    pub fn text(&self, report: &ScanReport) -> String {
        let mut text = String::from(HEAD);
        let _ = writeln!(
            text,
            "# Written by `walproof kubernetes scan` on {}.",
            report.at.format("%Y-%m-%d %H:%M UTC")
        );
        text.push_str("version: 1\n");
        self.access(&mut text);
        if self.clusters.is_empty() {
            text.push_str("\n# No cluster archives to a place that is known.\nclusters: []\n");
        } else {
            text.push_str("\nclusters:\n");
        }
        for cluster in &self.clusters {
            entry(&mut text, cluster, report);
        }
        let without: Vec<_> = report
            .clusters
            .iter()
            .filter(|found| found.written_as.is_none())
            .collect();
        if !without.is_empty() {
            text.push_str("\n# Left out, as no place of theirs is known:\n");
        }
        for found in without {
            let why = found.trouble.as_ref().map_or_else(
                || match found.location {
                    Some(_) => "it shares the place of a cluster above".to_owned(),
                    None => "it archives nowhere".to_owned(),
                },
                |trouble| one_line(&trouble.message),
            );
            let _ = writeln!(text, "#   {}: {why}", found.title());
        }
        text
    }

    fn access(&self, text: &mut String) {
        let KubernetesConfig {
            kubeconfig,
            context,
            ..
        } = &self.kubernetes;
        if kubeconfig.is_none() && context.is_none() {
            text.push_str("# The API of Kubernetes is reached as the pod's ServiceAccount.\n");
            return;
        }
        text.push_str("\nkubernetes:\n");
        if let Some(file) = kubeconfig {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            let _ = writeln!(text, "  kubeconfig: {}", path(&file));
        }
        if let Some(context) = context {
            let _ = writeln!(text, "  context: {}", scalar(context));
        }
    }
}

const HEAD: &str = "\
# yaml-language-server: $schema=docs/schema/walproof.schema.json
#
# Every secret stands in a Secret of Kubernetes and is read from there when it is needed.
# An endpoint that is a Service is reached through the API from outside of the cluster.
# Prefer credentials that can only read: walproof never writes to a primary repository.
#
";

fn entry(text: &mut String, cluster: &Cluster, report: &ScanReport) {
    let found = report
        .clusters
        .iter()
        .find(|found| found.written_as.as_ref() == Some(&cluster.name));
    if let Some(trouble) = found.and_then(|found| found.trouble.as_ref()) {
        let words = format!("could not be read: {}", one_line(&trouble.message));
        for line in wrapped(&words) {
            let _ = writeln!(text, "  # {line}");
        }
    }
    let _ = writeln!(text, "  - name: {}", scalar(&cluster.name));
    if let Some(place) = &cluster.kubernetes {
        let _ = writeln!(
            text,
            "    kubernetes: {{namespace: {}, name: {}}}",
            scalar(&place.namespace),
            scalar(&place.name)
        );
    }
    text.push_str("    primary:\n");
    repository(text, &cluster.primary);
}

fn repository(text: &mut String, repository: &RepositoryConfig) {
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "      {key}: {value}");
    };
    line("url", scalar(&repository.url.to_string()));
    if let Some(endpoint) = &repository.endpoint {
        line("endpoint", scalar(endpoint.as_str()));
    }
    if let Some(region) = &repository.region {
        line("region", scalar(region));
    }
    if let Some(account) = &repository.account {
        line("account", scalar(account));
    }
    if let Some(ca) = repository.ca.as_ref().and_then(reference) {
        line("ca", ca);
    }
    let Some(credentials) = &repository.credentials else {
        text.push_str(
            "      # No credentials: the platform's own chain is asked, here and in a pod.\n",
        );
        return;
    };
    text.push_str("      credentials:\n");
    for (key, source) in credentials.sources() {
        if let Some(reference) = reference(source) {
            let _ = writeln!(text, "        {key}: {reference}");
        }
    }
}

fn reference(source: &SecretSource) -> Option<String> {
    let SecretReference {
        namespace,
        name,
        key,
    } = source.kubernetes.as_ref()?;
    Some(format!(
        "{{kubernetes: {{namespace: {}, name: {}, key: {}}}}}",
        scalar(namespace),
        scalar(name),
        scalar(key)
    ))
}

fn path(file: &Path) -> String {
    scalar(&file.display().to_string())
}

/// A text as YAML reads it back: plain where that is safe anywhere, else in double quotes,
/// whose rules are those of JSON.
fn scalar(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(safe)
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    // A URL, whose colon is never followed by a space.
    let url = text.split_once("://").is_some_and(|(scheme, rest)| {
        scheme
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            && !rest.is_empty()
            && rest.chars().all(|c| safe(c) || c == ':')
            && !rest.ends_with(':')
    });
    if plain || url {
        text.to_owned()
    } else {
        serde_json::Value::String(text.to_owned()).to_string()
    }
}

/// Lines of at most 90 characters, longer words by themselves.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < 90 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use chrono::Utc;

    use super::super::report::{SCHEMA, ScanCounts};
    use super::*;
    use crate::config::{self, Credentials, GuardedCluster};

    fn report() -> ScanReport {
        ScanReport {
            schema: SCHEMA.to_owned(),
            version: String::new(),
            at: Utc::now(),
            server: String::new(),
            context: None,
            identity: None,
            kubernetes: None,
            namespace: None,
            operator: None,
            counts: ScanCounts::default(),
            clusters: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn cluster(name: &str) -> Cluster {
        let source = |key: &str| {
            Some(SecretSource {
                kubernetes: Some(SecretReference {
                    namespace: "shop".to_owned(),
                    name: "s3".to_owned(),
                    key: key.to_owned(),
                }),
                ..SecretSource::default()
            })
        };
        Cluster {
            name: name.to_owned(),
            description: None,
            owner: None,
            tier: None,
            raci: None,
            primary: RepositoryConfig {
                endpoint: Some("http://s3.storage.svc:9000".parse().unwrap()),
                region: Some("eu-central-1".to_owned()),
                ca: source("ca.crt"),
                credentials: Some(Credentials {
                    access_key_id: source("ID"),
                    secret_access_key: source("a key: with #signs"),
                    ..Credentials::default()
                }),
                ..RepositoryConfig::at(format!("s3://backups/2026-11: x/{name}").parse().unwrap())
            },
            replicas: Vec::new(),
            heartbeat: None,
            kubernetes: Some(GuardedCluster::new("1234", "true")),
        }
    }

    fn read(written: &Written) -> config::Config {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("walproof.yaml");
        std::fs::write(&file, written.text(&report())).unwrap();
        config::load(&file).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let written = Written {
            kubernetes: KubernetesConfig {
                kubeconfig: Some(PathBuf::from("/home/a b/.kube/config")),
                context: Some("admin@lab: 1".to_owned()),
                ..KubernetesConfig::default()
            },
            clusters: ["orders", "no", "123"].map(cluster).to_vec(),
        };
        let read = read(&written);
        assert_eq!(read.clusters, written.clusters);
        assert_eq!(read.kubernetes, written.kubernetes);
    }

    #[test]
    fn nothing_found_is_a_configuration_too() {
        let written = Written {
            kubernetes: KubernetesConfig::default(),
            clusters: Vec::new(),
        };
        assert!(read(&written).clusters.is_empty());
    }
}
