//! The pods of Jobs: what they are given, and what walproof may make.

use serde_json::{Value, json};

use crate::{chart, name_of};

const EXECUTOR: &str = "executor.kind=kubernetes,state.kind=postgres,state.postgres.url=postgres://w@db/w,state.postgres.passwordSecret.name=password-of-state";

/// The pod of a job, as the configuration has it.
#[track_caller]
fn job_pod(objects: &[Value]) -> Value {
    let map = objects
        .iter()
        .find(|object| object["kind"] == "ConfigMap" && name_of(object) == "walproof")
        .unwrap();
    let text = map["data"]["job-pod.yaml"].as_str().unwrap();
    let template: Value = serde_saphyr::from_str(text).unwrap();
    template["template"].clone()
}

fn daemon_pod(objects: &[Value]) -> Value {
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment");
    deployment.unwrap()["spec"]["template"].clone()
}

/// The ServiceAccount says that no pod gets its token: both must ask for it.
#[test]
fn daemons_and_jobs_are_given_the_token_that_their_account_keeps() {
    if crate::common::deploy::missing() {
        return;
    }
    let objects = chart(&["--set", EXECUTOR]);
    let account = objects
        .iter()
        .find(|object| object["kind"] == "ServiceAccount")
        .unwrap();
    assert_eq!(account["automountServiceAccountToken"], false);
    for pod in [daemon_pod(&objects), job_pod(&objects)] {
        assert_eq!(pod["spec"]["automountServiceAccountToken"], true, "{pod:#}");
        assert_eq!(pod["spec"]["enableServiceLinks"], false);
    }
}

/// What admission, cost reports and identities of clouds go by holds for all pods.
#[test]
fn jobs_carry_what_the_daemons_carry() {
    if crate::common::deploy::missing() {
        return;
    }
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}],
    }}});
    let objects = chart(&[
        "--set",
        EXECUTOR,
        "--set",
        "podLabels.team=dba,podAnnotations.cost=shared,priorityClassName=operations",
        "--set-json",
        &format!("executor.affinity={affinity}"),
    ]);
    for pod in [daemon_pod(&objects), job_pod(&objects)] {
        assert_eq!(pod["metadata"]["labels"]["team"], "dba");
        assert_eq!(pod["metadata"]["annotations"]["cost"], "shared");
        assert_eq!(pod["spec"]["priorityClassName"], "operations");
    }
    let pod = job_pod(&objects);
    assert_eq!(
        pod["metadata"]["labels"]["app.kubernetes.io/component"],
        "job"
    );
    assert_eq!(pod["spec"]["affinity"], affinity);
    assert_eq!(daemon_pod(&objects)["spec"]["affinity"], Value::Null);
}

/// OpenShift gives users of its own: then nothing is said of them.
#[test]
fn the_users_of_the_pods_may_be_left_to_the_cluster() {
    if crate::common::deploy::missing() {
        return;
    }
    let objects = chart(&[
        "--set",
        EXECUTOR,
        "--set",
        "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null,podSecurityContext.fsGroup=null",
    ]);
    for pod in [daemon_pod(&objects), job_pod(&objects)] {
        assert_eq!(
            pod["spec"]["securityContext"],
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
        );
    }
}

/// Whoever may make Jobs may run anything in their namespace, so a policy holds walproof to its
/// own. Whether an API server takes it so is tried in a cluster.
#[test]
fn a_policy_keeps_jobs_to_what_the_template_has() {
    if crate::common::deploy::missing() {
        return;
    }
    let policy = |objects: &[Value]| -> Option<Value> {
        let mut all = objects.iter();
        let policy = all.find(|object| {
            object["kind"] == "ValidatingAdmissionPolicy" && name_of(object) == "walproof-jobs"
        });
        policy.cloned()
    };
    assert_eq!(policy(&chart(&[])), None, "no Jobs, no right, no policy");
    // It does not depend on drills.
    let volumes = json!([
        {"name": "key", "secret": {"secretName": "key-of-volume"}},
        {"name": "all", "projected": {"sources": [{"secret": {"name": "key-projected"}}]}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "claimed"}},
        {"name": "vault", "csi": {"driver": "secrets-store.csi.k8s.io"}},
    ]);
    let env = json!([
        {"name": "A", "value": "a"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "key-of-variable", "key": "b"}}},
    ]);
    let objects = chart(&[
        "--set",
        EXECUTOR,
        "--set",
        "rbac.drills=false,image.repository=registry.example/walproof",
        "--set-json",
        &format!("volumes={volumes}"),
        "--set-json",
        &format!("env={env}"),
    ]);
    let policy = policy(&objects).unwrap();
    let binding = objects.iter().find(|object| {
        object["kind"] == "ValidatingAdmissionPolicyBinding" && name_of(object) == "walproof-jobs"
    });
    assert_eq!(binding.unwrap()["spec"]["policyName"], "walproof-jobs");
    let rule = &policy["spec"]["matchConstraints"]["resourceRules"][0];
    assert_eq!(rule["apiGroups"], json!(["batch"]));
    assert_eq!(rule["resources"], json!(["jobs"]));
    assert_eq!(rule["operations"], json!(["CREATE", "UPDATE", "DELETE"]));
    let expressions: Vec<&str> = policy["spec"]["validations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["expression"].as_str().unwrap())
        .collect();
    let all = expressions.join("\n");
    let secrets = "['key-of-variable', 'key-of-volume', 'key-projected', 'password-of-state']";
    for words in [
        "serviceAccountName == 'walproof'",
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "privileged",
        "c.image.startsWith('registry.example/walproof:')",
        &format!("v.secret.secretName in {secrets}"),
        &format!("s.secret.name in {secrets}"),
        &format!("e.valueFrom.secretKeyRef.name in {secrets}"),
        "v.persistentVolumeClaim.claimName in ['claimed']",
        "has(v.csi) && v.name in ['vault']",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
    assert!(!all.contains("has(v.hostPath)"), "{all}");
}
