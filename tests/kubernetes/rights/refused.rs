//! What the chart's account may not do, asked of the real API server.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use ::walproof::kubernetes::{Access, Kube};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::Right;
use crate::common::kubernetes::Lab;
use crate::common::kubernetes::source::Source;
use crate::common::process::try_run;
use crate::inside::Inside;

/// What somebody with walproof's token would try. Each is asked of the real API server, changes
/// as a dry run, which goes through authorization and admission all the same. Returns what was
/// not refused.
pub(super) fn tempt(
    lab: &Lab,
    kubeconfig: &Path,
    own: &str,
    sources: &[&Source],
    release: &str,
    table: &mut String,
) -> Vec<String> {
    let source = sources[0].name();
    let pod = format!("{}-1", Source::CLUSTER);
    let metadata = |name: &str, namespace: &str| json!({"name": name, "namespace": namespace});
    let rbac = "rbac.authorization.k8s.io";
    let account = json!([{"kind": "ServiceAccount", "name": Inside::ACCOUNT, "namespace": own}]);
    let binding = |name: &str, namespace: &str, role: &str, subjects: &Value| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
            "metadata": metadata(name, namespace), "subjects": subjects,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}})
    };
    let scratch = format!("{release}-scratch");
    let simple_pod = |namespace: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata("thief", namespace),
            "spec": {"containers": [{"name": "c", "image": "x"}]}})
    };
    let labelled = |name: &str, labels: &Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let drill_labels = json!({"app.kubernetes.io/managed-by": "walproof",
        "walproof.dev/drill": "01936d2e-7c1a-7f00-8000-0123456789ab",
        "pod-security.kubernetes.io/enforce": "restricted"});
    let orders = format!("cluster/{}", Source::CLUSTER);
    let as_admin = [
        "get",
        "secrets",
        "-n",
        "kube-system",
        "--as",
        "system:admin",
        "--as-group",
        "system:masters",
    ];
    let policy = format!("{release}-namespaces");
    let scratch_role = format!("clusterrole/{scratch}");
    let writer = format!("secret/{}", Source::WRITER);
    let exec = ["exec", "-n", source, &pod, "-c", "postgres", "--", "true"];
    let mut cases: Vec<(&str, Vec<&str>, Option<Value>)> = vec![
        (
            "read a Secret beside the one that is named",
            vec!["get", "-n", source, &writer],
            None,
        ),
        (
            "list the Secrets of a source",
            vec!["get", "secrets", "-n", source],
            None,
        ),
        ("list all Secrets", vec!["get", "secrets", "-A"], None),
        (
            "read Secrets of its own namespace",
            vec!["get", "secrets", "-n", own],
            None,
        ),
        (
            "read ConfigMaps of a source",
            vec!["get", "configmaps", "-n", source],
            None,
        ),
        (
            "delete a source's namespace",
            vec!["delete", "namespace", source, "--dry-run=server"],
            None,
        ),
        (
            "take a source's namespace for a scratch one",
            vec![
                "label",
                "namespace",
                source,
                "walproof.dev/drill=01936d2e-7c1a-7f00-8000-0123456789ab",
                "app.kubernetes.io/managed-by=walproof",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "relax kube-system's Pod Security",
            vec![
                "label",
                "namespace",
                "kube-system",
                "pod-security.kubernetes.io/enforce=privileged",
                "--overwrite",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "make a namespace of any name",
            vec!["create", "namespace", "harmless", "--dry-run=server"],
            None,
        ),
        (
            "make a scratch namespace under a foreign prefix",
            vec!["create", "--dry-run=server"],
            Some(labelled("shop-456789ab", &drill_labels)),
        ),
        (
            "delete a pod of a source",
            vec!["delete", "pod", &pod, "-n", source, "--dry-run=server"],
            None,
        ),
        (
            "make a pod in a source's namespace",
            vec!["create", "--dry-run=server"],
            Some(simple_pod(source)),
        ),
        (
            "make a pod in its own namespace",
            vec!["create", "--dry-run=server"],
            Some(simple_pod(own)),
        ),
        (
            "change a source's Cluster",
            vec![
                "patch",
                "-n",
                source,
                &orders,
                "--type=merge",
                "-p",
                "{\"spec\":{\"instances\":0}}",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "delete a source's Cluster",
            vec!["delete", "-n", source, &orders, "--dry-run=server"],
            None,
        ),
        (
            "make a Cluster in a source's namespace",
            vec!["create", "--dry-run=server"],
            Some(
                json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": metadata("thief", source), "spec": {"instances": 1, "storage": {"size": "1Gi"}}}),
            ),
        ),
        (
            "ask for a Backup where it was not granted",
            vec!["create", "--dry-run=server"],
            Some(
                json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": metadata("thief", own), "spec": {"cluster": {"name": "x"}}}),
            ),
        ),
        (
            "delete a source's Backups",
            vec![
                "delete",
                "backups.postgresql.cnpg.io",
                "--all",
                "-n",
                source,
                "--dry-run=server",
            ],
            None,
        ),
        ("run a program in a source's pod", exec.to_vec(), None),
        (
            "attach to a source's pod",
            vec!["attach", "-n", source, &pod, "-c", "postgres"],
            None,
        ),
        (
            "forward a port of a source's pod",
            vec!["port-forward", "-n", source, &pod, "0:5432"],
            None,
        ),
        (
            "read the logs of a source",
            vec!["logs", "-n", source, &pod, "-c", "postgres"],
            None,
        ),
        (
            "delete a source's volume claims",
            vec!["delete", "pvc", "--all", "-n", source, "--dry-run=server"],
            None,
        ),
        (
            "become cluster-admin",
            vec![
                "create",
                "clusterrolebinding",
                "thief",
                "--clusterrole=cluster-admin",
                "--user=thief",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "bind cluster-admin in kube-system",
            vec!["create", "--dry-run=server"],
            Some(binding("thief", "kube-system", "cluster-admin", &account)),
        ),
        (
            "bind its scratch role in kube-system",
            vec!["create", "--dry-run=server"],
            Some(binding("thief", "kube-system", &scratch, &account)),
        ),
        (
            "bind its scratch role in a source's namespace",
            vec!["create", "--dry-run=server"],
            Some(binding("thief", source, &scratch, &account)),
        ),
        (
            "bind cluster-admin in its own namespace",
            vec!["create", "--dry-run=server"],
            Some(binding("thief", own, "cluster-admin", &account)),
        ),
        (
            "widen its scratch role",
            vec![
                "patch",
                &scratch_role,
                "--type=json",
                "-p",
                "[{\"op\":\"add\",\"path\":\"/rules/-\",\"value\":{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]}}]",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "make a ClusterRole",
            vec![
                "create",
                "clusterrole",
                "thief",
                "--verb=get",
                "--resource=secrets",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "read another role",
            vec!["get", "clusterrole", "cluster-admin"],
            None,
        ),
        (
            "remove the policy that confines it",
            vec![
                "delete",
                "validatingadmissionpolicy",
                &policy,
                "--dry-run=server",
            ],
            None,
        ),
        (
            "remove that policy's binding",
            vec![
                "delete",
                "validatingadmissionpolicybinding",
                &policy,
                "--dry-run=server",
            ],
            None,
        ),
        ("impersonate an administrator", as_admin.to_vec(), None),
        (
            "make a token of another account",
            vec!["create", "token", "default", "-n", "kube-system"],
            None,
        ),
        ("list the nodes", vec!["get", "nodes"], None),
        (
            "read the API server's metrics",
            vec!["get", "--raw", "/metrics"],
            None,
        ),
        (
            "read custom resource definitions",
            vec!["get", "crds"],
            None,
        ),
        (
            "stop the operator",
            vec![
                "scale",
                "-n",
                "cnpg-system",
                "deployment",
                "--all",
                "--replicas=0",
                "--dry-run=server",
            ],
            None,
        ),
        (
            "run a Job in a source's namespace",
            vec![
                "create",
                "job",
                "thief",
                "--image=x",
                "-n",
                source,
                "--dry-run=server",
            ],
            None,
        ),
        (
            "delete all volumes",
            vec!["delete", "persistentvolumes", "--all", "--dry-run=server"],
            None,
        ),
    ];
    let volumes = lab.list("", "persistentvolumes", "");
    let volume = volumes
        .iter()
        .find(|volume| volume["spec"]["claimRef"]["namespace"] == json!(source))
        .map(|volume| volume["metadata"]["name"].as_str().unwrap().to_owned())
        .unwrap();
    cases.push((
        "let a source's volume go with its claim",
        vec!["patch", "persistentvolume", &volume, "--type=merge", "-p", "{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Delete\"},\"metadata\":{\"labels\":{\"a\":\"b\"}}}", "--dry-run=server"],
        None,
    ));
    let contents = if lab.snapshots.is_some() {
        lab.list("", "volumesnapshotcontents", "")
    } else {
        Vec::new()
    };
    let content = contents
        .first()
        .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned());
    if let Some(content) = &content {
        cases.push((
            "delete a source's snapshot",
            vec![
                "delete",
                "volumesnapshotcontent",
                content,
                "--dry-run=server",
            ],
            None,
        ));
    }
    let mut open = Vec::new();
    table.push_str("\n# What is refused\n\n| Tried | The API server's answer |\n|---|---|\n");
    for (what, arguments, input) in cases {
        let mut command = std::process::Command::new(&lab.kubectl);
        command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--request-timeout", "20s"])
            .args(arguments);
        if let Some(object) = input {
            let file = kubeconfig.with_file_name("tried.json");
            std::fs::write(&file, object.to_string()).unwrap();
            command.arg("-f").arg(file);
        }
        let answer = try_run(&mut command);
        let refused = match &answer {
            Ok(_) => false,
            Err(words) => {
                let words = words.to_lowercase();
                words.contains("forbidden") || words.contains("denied request")
            }
        };
        let words = answer.unwrap_or_else(|words| words);
        let by = if words.contains("ValidatingAdmissionPolicy") {
            let said = words.rsplit("denied request: ").next().unwrap_or_default();
            format!("policy: {}", said.lines().next().unwrap_or_default())
        } else if words.contains("attempting to grant") {
            "RBAC: it may not grant what it does not hold".to_owned()
        } else {
            "RBAC".to_owned()
        };
        let _ = writeln!(
            table,
            "| {what} | {} |",
            if refused { &by } else { "**allowed**" }
        );
        if !refused {
            open.push(format!("{what}: {words}"));
        }
    }
    open
}

/// Asks the API server for every verb on every resource that it has, in the chart's own
/// namespace, a source's, kube-system and for all of them. Returns what is allowed and not among
/// the chart's rights.
pub(super) async fn ask_for_everything(
    kubeconfig: &Path,
    own: &str,
    source: &str,
    rights: &[Right],
    table: &mut String,
) -> Vec<String> {
    let access = Access {
        kubeconfig: Some(kubeconfig.to_owned()),
        context: None,
    };
    let kube = Kube::connect(&access).await.unwrap();
    let client = kube.client();
    let mut resources: BTreeSet<(String, String)> = BTreeSet::new();
    let core = client.list_core_api_resources("v1").await.unwrap();
    resources.extend(
        core.resources
            .into_iter()
            .map(|one| (String::new(), one.name)),
    );
    for group in client.list_api_groups().await.unwrap().groups {
        for version in &group.versions {
            let listed = client
                .list_api_group_resources(&version.group_version)
                .await;
            let listed = listed.map(|list| list.resources).unwrap_or_default();
            resources.extend(listed.into_iter().map(|one| (group.name.clone(), one.name)));
        }
    }
    let verbs = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "bind",
        "escalate",
        "impersonate",
        "use",
        "approve",
        "sign",
    ];
    let places = [None, Some(own), Some(source), Some("kube-system")];
    let mut questions = Vec::new();
    for (group, resource) in &resources {
        for verb in verbs {
            for place in places {
                questions.push((group.clone(), resource.clone(), verb, place));
            }
        }
    }
    let asked = questions.len();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
    let answers: Vec<Option<String>> = stream::iter(questions)
        .map(|(group, resource, verb, place)| {
            let reviews = reviews.clone();
            async move {
                let (name, subresource) = match resource.split_once('/') {
                    Some((name, sub)) => (name.to_owned(), Some(sub.to_owned())),
                    None => (resource.clone(), None),
                };
                let question = SelfSubjectAccessReview {
                    spec: SelfSubjectAccessReviewSpec {
                        resource_attributes: Some(ResourceAttributes {
                            group: Some(group.clone()),
                            resource: Some(name),
                            subresource,
                            verb: Some(verb.to_owned()),
                            namespace: place.map(str::to_owned),
                            ..ResourceAttributes::default()
                        }),
                        ..SelfSubjectAccessReviewSpec::default()
                    },
                    ..SelfSubjectAccessReview::default()
                };
                let answer = reviews
                    .create(&PostParams::default(), &question)
                    .await
                    .unwrap();
                let allowed = answer.status.is_some_and(|status| status.allowed);
                let object = if group.is_empty() {
                    resource
                } else {
                    // `pods/exec` has its group behind the subresource, as the rights spell it.
                    format!("{resource}.{group}")
                };
                let place = place.unwrap_or("all");
                allowed.then(|| format!("{verb} {object} in {place}"))
            }
        })
        .buffer_unordered(16)
        .collect()
        .await;
    let allowed: BTreeSet<String> = answers.into_iter().flatten().collect();
    let granted = |text: &str| {
        let (what, place) = text.rsplit_once(" in ").unwrap();
        let (verb, object) = what.split_once(' ').unwrap();
        // What everybody may do who is known to the API.
        let everybody = verb == "create"
            && matches!(
                object,
                "selfsubjectaccessreviews.authorization.k8s.io"
                    | "selfsubjectrulesreviews.authorization.k8s.io"
                    | "selfsubjectreviews.authentication.k8s.io"
            );
        everybody
            || rights.iter().any(|right| {
                !right.role.ends_with("-scratch")
                    && right.name.is_none()
                    && right.verb == verb
                    && right.object == object
                    && right.namespace.as_deref().is_none_or(|own| own == place)
            })
    };
    let more: Vec<String> = allowed
        .iter()
        .filter(|text| !granted(text))
        .cloned()
        .collect();
    let _ = writeln!(
        table,
        "\n# Every verb on every resource\n\n{asked} questions ({} resources and subresources, {} \
         verbs; its own namespace, a source's, kube-system and all): {} allowed, {} of them not \
         granted by the chart.",
        resources.len(),
        verbs.len(),
        allowed.len(),
        more.len()
    );
    more
}
