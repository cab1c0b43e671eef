//! The part of a configuration that one job needs, as files that [`load()`](super::load())
//! reads back.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Config, ConfigFile, DaemonConfig, SecretSource, StateDatabase, default_state_directory,
};

/// A configuration that could not be written. It would be a defect: what was read can be
/// written.
#[derive(Debug, thiserror::Error)]
#[error("write the configuration of a job: {0}")]
pub struct ExtractError(#[from] serde_json::Error);

/// The configuration of one job, as files by name. Secrets stand in it by reference only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The text of each file. JSON, which is YAML.
    pub files: BTreeMap<String, String>,
}

impl Extracted {
    /// The main file.
    pub const MAIN: &'static str = "walproof.yaml";
}

impl Config {
    /// What a job on this cluster needs, in files of its own: the cluster with its tier and
    /// the drills that are defined for it or for nobody, the state, the daemon's lease and
    /// budgets. No schedules, no other clusters, nobody who is told of incidents: that stays
    /// with the daemon. A kubeconfig stays behind as well, for a pod has its ServiceAccount.
    pub fn extract(&self, cluster: &str) -> Result<Extracted, ExtractError> {
        let clusters: Vec<_> = self.cluster(cluster).cloned().into_iter().collect();
        let tiers = clusters
            .iter()
            .filter_map(|cluster| cluster.tier.as_ref())
            .filter_map(|name| Some((name.clone(), self.tiers.get(name)?.clone())))
            .collect();
        let mut files = BTreeMap::new();
        let mut drills = Vec::new();
        for (index, drill) in self.drills.iter().enumerate() {
            let own = &drill.definition.clusters;
            if !own.is_empty() && !own.iter().any(|name| name == cluster) {
                continue;
            }
            let mut definition = drill.definition.clone();
            definition.clusters.retain(|name| name == cluster);
            let name = format!("drill-{}.yaml", index + 1);
            files.insert(name.clone(), text(&definition)?);
            drills.push(name);
        }
        let (state_password, state_directory) = match self.state.database() {
            StateDatabase::Sqlite(_) => (None, None),
            StateDatabase::Postgres(state) => (
                state.password_source().cloned(),
                // The place that holds without any word is another one for every user.
                Some(state.directory.clone())
                    .filter(|directory| *directory != default_state_directory()),
            ),
        };
        let mut kubernetes = self.kubernetes.clone();
        (kubernetes.kubeconfig, kubernetes.context) = (None, None);
        let main = ConfigFile {
            version: 1,
            state: Some(self.state.clone()),
            time_zone: Some(self.time_zone),
            state_password,
            state_directory,
            tiers,
            clusters,
            schedules: Vec::new(),
            daemon: DaemonConfig {
                lease: self.daemon.lease,
                stop_within: self.daemon.stop_within,
                bandwidth: self.daemon.bandwidth,
                scratch: self.daemon.scratch,
                ..DaemonConfig::default()
            },
            drills: Some(drills),
            notifications: None,
            telemetry: Some(self.telemetry.clone()),
            kubernetes: Some(kubernetes),
            requests: self.requests.clone(),
        };
        files.insert(Extracted::MAIN.to_owned(), text(&main)?);
        Ok(Extracted { files })
    }

    /// The files on this machine and the variables of this process that a job on this
    /// cluster reads its secrets from: what a pod must be given too. Secrets of Kubernetes
    /// are read from wherever the job runs.
    pub fn secrets_at_hand(&self, cluster: &str) -> Vec<String> {
        let mut sources: Vec<&SecretSource> = Vec::new();
        if let StateDatabase::Postgres(state) = self.state.database() {
            sources.extend(state.password_source());
        }
        if let Some(cluster) = self.cluster(cluster) {
            for (_, copy) in cluster.copies() {
                let credentials = copy.credentials.iter();
                sources.extend(
                    credentials
                        .flat_map(super::Credentials::sources)
                        .map(|(_, source)| source),
                );
            }
        }
        let mut words: Vec<String> = sources
            .into_iter()
            .filter_map(|source| match (&source.env, &source.file) {
                (Some(variable), _) => Some(format!("the variable {variable}")),
                (_, Some(file)) => Some(format!("the file {}", file.display())),
                _ => None,
            })
            .collect();
        words.sort();
        words.dedup();
        words
    }
}

fn text(content: &impl serde::Serialize) -> Result<String, ExtractError> {
    let mut value = serde_json::to_value(content)?;
    without_nulls(&mut value);
    Ok(serde_json::to_string_pretty(&value)?)
}

/// What is not said is left out.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load;
    use super::*;

    const MAIN: &str = r"
version: 1
state: postgres://walproof@state.example:5432/walproof?sslmode=verify-full
state_password: {env: STATE_PASSWORD}
time_zone: Europe/Berlin
kubernetes: {kubeconfig: /etc/walproof/kubeconfig, context: lab}
telemetry: {otlp: {endpoint: 'http://127.0.0.1:4318', headers: {authorization: {env: OTLP_TOKEN}}}}
notifications: {receivers: {hook: {webhook: {url: {env: HOOK}}}}}
tiers:
  gold: {rpo: 5m, rto: 30m, verification: {depth: read, shards: 4}}
  other: {rpo: 1d}
clusters:
- name: orders
  tier: gold
  owner: team orders
  primary:
    url: s3://bucket/orders
    endpoint: http://127.0.0.1:9000
    region: us-east-1
    path_style: true
    credentials:
      access_key_id: {kubernetes: {namespace: pg, name: reader, key: id}}
      secret_access_key: {file: /run/secrets/key}
  replicas:
  - {name: second, url: 's3://other/orders', place: our cellar}
- {name: people, tier: other, primary: {url: 's3://bucket/people'}}
schedules:
- {name: nightly, job: verify, cron: '0 0 2 * * *'}
daemon: {executor: kubernetes, kubernetes: {image: walproof}, lease: 30s, bandwidth: 100MB/s, jobs: 7}
drills: ['own.yaml', 'shared.yaml', 'foreign.yaml']
";

    fn write(directory: &Path) -> Config {
        let file = directory.join("walproof.yaml");
        std::fs::write(&file, MAIN).unwrap();
        for (name, rest) in [
            (
                "own",
                "clusters: [people, orders]\nsettings: {shared_buffers: 1.50}\nchecks:\n- {name: one, database: app, sql: 'select 1', expect: '= 1'}\n",
            ),
            ("shared", "timeout: 2h\n"),
            ("foreign", "clusters: [people]\n"),
        ] {
            let text = format!("version: 1\nname: {name}\n{rest}");
            std::fs::write(directory.join(format!("{name}.yaml")), text).unwrap();
        }
        load(&file).unwrap()
    }

    #[test]
    fn it_is_read_back_as_it_was_but_for_what_the_job_does_not_need() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let whole = write(from.path());
        let extracted = whole.extract("orders").unwrap();
        for (name, text) in &extracted.files {
            std::fs::write(to.path().join(name), text).unwrap();
        }
        let read = load(&to.path().join(Extracted::MAIN)).unwrap();
        assert_eq!(read.clusters, [whole.clusters[0].clone()]);
        assert_eq!(read.tiers.len(), 1);
        assert_eq!(read.tiers["gold"], whole.tiers["gold"]);
        assert_eq!(read.state, whole.state);
        assert_eq!(read.time_zone, whole.time_zone);
        assert_eq!(read.telemetry, whole.telemetry);
        assert_eq!(read.kubernetes.kubeconfig, None);
        assert_eq!(read.kubernetes.context, None);
        assert_eq!(read.notifications, None);
        assert!(read.schedules.is_empty());
        assert_eq!(read.daemon.executor, super::super::ExecutorKind::InProcess);
        assert_eq!(read.daemon.lease, whole.daemon.lease);
        assert_eq!(read.daemon.bandwidth, whole.daemon.bandwidth);
        assert_eq!(read.drills.len(), 2);
        let own = &read.drill("own").unwrap().definition;
        let before = &whole.drill("own").unwrap().definition;
        assert_eq!(own.clusters, ["orders"]);
        assert_eq!(
            (&own.settings, &own.checks),
            (&before.settings, &before.checks)
        );
        assert_eq!(
            read.drill("shared").unwrap().definition,
            whole.drill("shared").unwrap().definition
        );
        assert!(read.drill("foreign").is_none());
    }

    #[test]
    fn secrets_stand_in_it_by_reference_only() {
        let from = tempfile::tempdir().unwrap();
        let whole = write(from.path());
        let main = &whole.extract("orders").unwrap().files[Extracted::MAIN];
        for word in ["STATE_PASSWORD", "/run/secrets/key", "\"reader\""] {
            assert!(main.contains(word), "{word}: {main}");
        }
        assert!(!main.contains("HOOK") && !main.contains("people"));
        assert_eq!(
            whole.secrets_at_hand("orders"),
            ["the file /run/secrets/key", "the variable STATE_PASSWORD"]
        );
        assert_eq!(
            whole.secrets_at_hand("people"),
            ["the variable STATE_PASSWORD"]
        );
    }
}
