//! walproof's image as a pod that may do as little as Kubernetes knows: `restricted`, with a
//! file system that can only be read.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::kubernetes::{Lab, Namespace, cluster};
use crate::common::process::wait_until;
use crate::common::scratch;

/// Every interface: whoever scrapes comes from elsewhere.
const CONFIG: &str = "version: 1\nstate: sqlite:///var/lib/walproof/state.sqlite\n\
     daemon: {listen: '0.0.0.0:9188'}\n";

/// A namespace that takes only pods of Pod Security's strictest kind.
fn restricted(lab: &'static Lab, name: &str) -> Namespace {
    let namespace = lab.namespace(name);
    lab.ask(&[
        "label",
        "namespace",
        &namespace.name,
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    lab.apply(&[json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "walproof", "namespace": namespace.name},
        "data": {"walproof.yaml": CONFIG}})]);
    namespace
}

/// The daemon, with no user of its own but the image's.
fn pod(lab: &Lab, namespace: &Namespace) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "walproof", "namespace": namespace.name},
    "spec": {
        "automountServiceAccountToken": false,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"runAsNonRoot": true, "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "walproof", "image": lab.walproof_image(),
            "imagePullPolicy": "IfNotPresent",
            "args": ["daemon"],
            "ports": [{"name": "http", "containerPort": 9188}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"},
                "periodSeconds": 1},
            "securityContext": {"allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/walproof", "readOnly": true},
                {"name": "state", "mountPath": "/var/lib/walproof"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }],
        "volumes": [
            {"name": "config", "configMap": {"name": "walproof"}},
            {"name": "state", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }})
}

#[test]
fn runs_restricted_with_a_file_system_that_can_only_be_read() {
    let lab = cluster!();
    let namespace = restricted(lab, "image");
    lab.apply(&[pod(lab, &namespace)]);
    lab.wait(
        &namespace.name,
        "pod/walproof",
        "condition=Ready",
        Duration::from_mins(2),
    );
    let exec = |words: &[&str]| {
        let all = [
            &["-n", &namespace.name, "exec", "walproof", "--"][..],
            words,
        ]
        .concat();
        lab.try_ask(&all)
    };
    let path = format!(
        "/api/v1/namespaces/{}/pods/walproof:9188/proxy/metrics",
        namespace.name
    );
    let metrics = lab.ask(&["get", "--raw", &path]);
    assert!(metrics.contains("walproof_state_up 1"), "{metrics}");

    // What it needs is there, what somebody who got in would like is not.
    assert!(
        exec(&["walproof", "--version"])
            .unwrap()
            .contains("walproof")
    );
    for shell in ["sh", "/bin/sh", "bash", "/busybox/sh"] {
        let refused = exec(&[shell, "-c", "true"]).unwrap_err();
        assert!(
            refused.contains("no such file") || refused.contains("not found"),
            "{shell}: {refused}"
        );
    }

    // A place that is mounted takes a state, the image's own does not.
    let state = |place: &str| {
        let url = format!("sqlite://{place}/other.sqlite");
        exec(&["walproof", "--state", &url, "status"])
    };
    assert!(state("/tmp").is_ok_and(|said| !said.is_empty()));
    let refused = state("/var/tmp").unwrap_err();
    assert!(
        refused.to_lowercase().contains("read-only"),
        "it was not refused as read-only: {refused}"
    );

    // It goes when it is asked to, and not only when its time is over.
    let begin = std::time::Instant::now();
    lab.ask(&["-n", &namespace.name, "delete", "pod", "walproof"]);
    println!("the daemon's pod ended in {:.1?}", begin.elapsed());
}

/// The other way: as root, or with a word less, it is refused.
#[test]
fn as_root_it_is_refused() {
    let lab = cluster!();
    let namespace = restricted(lab, "image-root");
    let directory = scratch::directory();
    let spoiled = |pointer: &str, value: Value| {
        let mut pod = pod(lab, &namespace);
        *pod.pointer_mut(pointer).unwrap() = value;
        let file = directory.path().join("pod.json");
        std::fs::write(&file, pod.to_string()).unwrap();
        lab.try_ask(&["apply", "-f", file.to_str().unwrap()])
    };
    for (pointer, value) in [
        ("/spec/securityContext", json!({"runAsUser": 0})),
        (
            "/spec/containers/0/securityContext",
            json!({"readOnlyRootFilesystem": true}),
        ),
    ] {
        let refused = spoiled(pointer, value).unwrap_err();
        assert!(refused.contains("violates PodSecurity"), "{refused}");
    }
    // Where nothing is enforced, the kubelet still judges by the image's user.
    let open = lab.namespace("image-open");
    let mut pod = pod(lab, &namespace);
    pod["metadata"]["namespace"] = open.name.clone().into();
    pod["spec"]["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 0});
    pod["spec"]["volumes"][0] = json!({"name": "config", "emptyDir": {}});
    lab.apply(&[pod]);
    wait_until(Duration::from_mins(2), "the kubelet's refusal", || {
        let state = lab.get(&open.name, "pod/walproof").unwrap();
        let waiting = &state["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == "CreateContainerConfigError"
    });
}
