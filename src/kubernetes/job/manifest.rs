//! What a Job looks like.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{CONFIGURATION, CONTAINER, JOB, KIND, TOKEN};
use crate::kubernetes::names;

/// The volume with the job's configuration.
const VOLUME: &str = "walproof-job";
/// Variables that tell walproof in a pod which pod it is.
pub(in crate::kubernetes) const POD_NAME: &str = "WALPROOF_POD_NAME";
pub(in crate::kubernetes) const POD_NAMESPACE: &str = "WALPROOF_POD_NAMESPACE";

/// So many pods, each with its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// How many, from 1.
    pub pods: u32,
    /// How often the pod of one index is tried again.
    pub again: u32,
}

/// One Job in which walproof runs.
#[derive(Clone, Debug, PartialEq)]
pub struct PodJob {
    /// Its namespace.
    pub namespace: String,
    /// The job in the state database.
    pub job: Uuid,
    /// The claim that it is made for.
    pub token: i64,
    /// What sets it apart from others of the same claim; empty for the one that does the work.
    pub part: String,
    /// The kind of work, one word.
    pub kind: String,
    /// The guarded cluster.
    pub cluster: String,
    /// The pod template.
    pub template: Value,
    /// The image, in place of the template's.
    pub image: Option<String>,
    /// What walproof is told, behind `--config FILE`.
    pub arguments: Vec<String>,
    /// The files of its configuration; `walproof.yaml` is the main one.
    pub files: BTreeMap<String, String>,
    /// It is removed so long after its end.
    pub ttl: Duration,
    /// How long a pod has to clean up, unless the template says.
    pub grace: Duration,
    /// One pod, or so many.
    pub indexed: Option<Indexed>,
}

impl PodJob {
    /// Its name, and that of its ConfigMap.
    pub fn name(&self) -> String {
        let mut name = format!("walproof-{}-{}", self.job.simple(), self.token);
        if !self.part.is_empty() {
            name.push('-');
            name.push_str(&self.part);
        }
        name
    }

    fn labels(&self) -> Map<String, Value> {
        let mut labels = Map::new();
        for (name, value) in [
            (names::MANAGED_BY, names::WALPROOF.to_owned()),
            (JOB, self.job.to_string()),
            (TOKEN, self.token.to_string()),
            (KIND, self.kind.clone()),
            (names::CLUSTER, names::label_value(&self.cluster)),
        ] {
            if !value.is_empty() {
                labels.insert(name.to_owned(), json!(value));
            }
        }
        labels
    }

    /// The Job, suspended.
    pub fn job(&self) -> Value {
        let mut spec = json!({
            "suspend": true,
            "ttlSecondsAfterFinished": self.ttl.as_secs(),
            "template": self.pod(),
        });
        let more = match self.indexed {
            // Who tries again is the queue, which counts.
            None => json!({"backoffLimit": 0, "completions": 1, "parallelism": 1}),
            Some(indexed) => json!({
                "completionMode": "Indexed",
                "completions": indexed.pods,
                "parallelism": indexed.pods,
                "backoffLimitPerIndex": indexed.again,
                "podReplacementPolicy": "Failed",
            }),
        };
        merge(&mut spec, more);
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": self.name(),
                "namespace": self.namespace,
                "labels": self.labels(),
            },
            "spec": spec,
        })
    }

    /// The ConfigMap with its configuration; it goes with the Job of this uid.
    pub fn config_map(&self, owner: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "immutable": true,
            "metadata": {
                "name": self.name(),
                "namespace": self.namespace,
                "labels": self.labels(),
                "ownerReferences": [{
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": self.name(),
                    "uid": owner,
                    "controller": true,
                    "blockOwnerDeletion": false,
                }],
            },
            "data": self.files,
        })
    }

    fn pod(&self) -> Value {
        let mut metadata = json!({"labels": {}, "annotations": {}});
        for key in ["labels", "annotations"] {
            if let Some(own) = self.template.pointer(&format!("/metadata/{key}"))
                && own.is_object()
            {
                merge(&mut metadata, json!({ key: own }));
            }
        }
        merge(&mut metadata, json!({"labels": self.labels()}));
        let mut spec = self.template.get("spec").cloned().unwrap_or_default();
        merge(&mut spec, json!({"restartPolicy": "Never"}));
        if spec.get("terminationGracePeriodSeconds").is_none() {
            merge(
                &mut spec,
                json!({"terminationGracePeriodSeconds": self.grace.as_secs().max(1)}),
            );
        }
        let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
        if let Some(containers) = containers {
            let own = containers
                .iter()
                .position(|container| container.get("name") == Some(&json!(CONTAINER)))
                .unwrap_or(0);
            if let Some(container) = containers.get_mut(own) {
                self.fill(container);
            }
        }
        push(
            &mut spec,
            "volumes",
            json!({"name": VOLUME, "configMap": {"name": self.name()}}),
        );
        json!({"metadata": metadata, "spec": spec})
    }

    /// Gives walproof's container what it is to do.
    fn fill(&self, container: &mut Value) {
        let mut arguments = vec![
            "--config".to_owned(),
            format!("{CONFIGURATION}/walproof.yaml"),
        ];
        arguments.extend(self.arguments.iter().cloned());
        merge(container, json!({"args": arguments}));
        if let Some(image) = &self.image {
            merge(container, json!({"image": image}));
        }
        for (name, field) in [
            (POD_NAME, "metadata.name"),
            (POD_NAMESPACE, "metadata.namespace"),
        ] {
            push(
                container,
                "env",
                json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}}),
            );
        }
        push(
            container,
            "volumeMounts",
            json!({"name": VOLUME, "mountPath": CONFIGURATION, "readOnly": true}),
        );
    }
}

/// Puts fields over those that are there; objects are put together.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn push(into: &mut Value, list: &str, item: Value) {
    let Some(object) = into.as_object_mut() else {
        return;
    };
    match object.entry(list).or_insert_with(|| json!([])) {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::built_in;
    use super::*;

    fn job() -> PodJob {
        PodJob {
            namespace: "walproof".into(),
            job: Uuid::nil(),
            token: 7,
            part: String::new(),
            kind: "verify".into(),
            cluster: "shop.orders".into(),
            template: built_in("walproof:1"),
            image: None,
            arguments: vec!["job".into(), "perform".into()],
            files: BTreeMap::from([("walproof.yaml".to_owned(), "version: 1".to_owned())]),
            ttl: Duration::from_hours(1),
            grace: Duration::from_mins(2),
            indexed: None,
        }
    }

    #[test]
    fn one_claim_is_one_name_and_it_is_short_enough_for_a_label() {
        let one = job();
        assert_eq!(one.name(), "walproof-00000000000000000000000000000000-7");
        let later = PodJob { token: 8, ..job() };
        assert_ne!(later.name(), one.name());
        let long = PodJob {
            token: 1_000_000,
            part: "shards".into(),
            ..job()
        };
        assert!(long.name().len() <= 57, "the pods' suffix has room");
    }

    #[test]
    fn the_template_is_kept_but_for_what_the_job_is() {
        let template = json!({
            "metadata": {"labels": {"team": "dba", JOB: "forged"}, "annotations": {"a": "b"}},
            "spec": {
                "serviceAccountName": "walproof-jobs",
                "restartPolicy": "Always",
                "containers": [
                    {"name": "beside", "image": "beside:1"},
                    {"name": "walproof", "image": "walproof:1", "env": [{"name": "A", "value": "b"}],
                        "command": ["/work/walproof"]},
                ],
                "volumes": [{"name": "work", "emptyDir": {}}],
            },
        });
        let made = PodJob { template, ..job() }.job();
        assert_eq!(made["spec"]["suspend"], true);
        assert_eq!(made["spec"]["backoffLimit"], 0);
        assert_eq!(made["spec"]["ttlSecondsAfterFinished"], 3600);
        assert_eq!(made["spec"].get("activeDeadlineSeconds"), None);
        let pod = &made["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"]["team"], "dba");
        assert_eq!(pod["metadata"]["labels"][JOB], Uuid::nil().to_string());
        assert_eq!(pod["metadata"]["labels"][names::CLUSTER], "shop.orders");
        assert_eq!(pod["metadata"]["annotations"]["a"], "b");
        let spec = &pod["spec"];
        assert_eq!(spec["restartPolicy"], "Never");
        assert_eq!(spec["serviceAccountName"], "walproof-jobs");
        assert_eq!(spec["terminationGracePeriodSeconds"], 120);
        assert_eq!(spec["containers"][0].get("args"), None);
        let own = &spec["containers"][1];
        assert_eq!(
            own["args"],
            json!([
                "--config",
                "/etc/walproof/job/walproof.yaml",
                "job",
                "perform"
            ])
        );
        assert_eq!(own["command"], json!(["/work/walproof"]));
        assert_eq!(own["env"].as_array().unwrap().len(), 3);
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_configuration_goes_with_its_job() {
        let map = job().config_map("uid-1");
        assert_eq!(map["metadata"]["name"], job().name());
        assert_eq!(map["metadata"]["ownerReferences"][0]["uid"], "uid-1");
        assert_eq!(map["data"]["walproof.yaml"], "version: 1");
    }

    #[test]
    fn shards_have_an_index_and_each_its_own_tries() {
        let shards = PodJob {
            part: "shards".into(),
            indexed: Some(Indexed { pods: 4, again: 3 }),
            image: Some("other:2".into()),
            ..job()
        };
        let made = shards.job();
        assert_eq!(made["spec"]["completionMode"], "Indexed");
        assert_eq!(made["spec"]["completions"], 4);
        assert_eq!(made["spec"]["parallelism"], 4);
        assert_eq!(made["spec"]["backoffLimitPerIndex"], 3);
        assert_eq!(made["spec"].get("backoffLimit"), None);
        assert_eq!(
            made["spec"]["template"]["spec"]["containers"][0]["image"],
            "other:2"
        );
    }
}
