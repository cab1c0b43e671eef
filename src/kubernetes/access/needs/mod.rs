//! What each kind of work needs.

mod list;

use self::list::Needs;
use super::{Permission, RBAC};

const CNPG: &str = "postgresql.cnpg.io";
const BARMAN: &str = "barmancloud.cnpg.io";
const OWN: &str = "walproof.dev";
const SNAPSHOT: &str = "snapshot.storage.k8s.io";

/// How a drill's Cluster is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DrillForm {
    /// Through the Barman Cloud plugin and its ObjectStore.
    #[default]
    Plugin,
    /// Through the operator's own `barmanObjectStore`.
    InTree,
    /// From volume snapshots, with the WAL of a Barman Cloud repository.
    Snapshot,
}

/// What work is done on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The namespace of the Clusters; all of them when absent.
    pub namespace: Option<String>,
    /// The Secrets of their stores' credentials, in that namespace; any when empty.
    pub secrets: Vec<String>,
}

/// What `walproof kubernetes scan` reads. Nothing else than `get` and `list`, but for the
/// stream to an object store in the cluster.
pub fn for_scan(source: &Source) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.inside(source.namespace.as_deref());
    needs.add(CNPG, "clusters", &["list", "get"], "find the clusters");
    needs.add(
        CNPG,
        "backups",
        &["list"],
        "compare with what the operator says",
    );
    needs.add(
        CNPG,
        "scheduledbackups",
        &["list"],
        "see when backups are due",
    );
    needs.secrets(&source.secrets, "read the stores' credentials");
    needs.optional();
    needs.add(
        BARMAN,
        "objectstores",
        &["get"],
        "with the Barman Cloud plugin: where the repositories are",
    );
    needs.add(
        SNAPSHOT,
        "volumesnapshots",
        &["list"],
        "with volume snapshots: see them",
    );
    needs.everywhere();
    needs.surroundings();
    needs.tunnel();
    needs.list
}

/// What a drill needs whose rights hold in all namespaces: those of its scratch namespace have
/// no name before the drill, and RBAC knows no patterns.
pub fn for_drill(form: DrillForm, source: &Source) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.source(form, source);
    needs.outside(form);
    needs.everywhere();
    needs.inside_scratch(form);
    needs.list
}

/// What a drill needs outside of its scratch namespace, where it binds itself to a ClusterRole
/// called `scratch_role`, which holds what [`for_scratch`] names.
pub fn for_drill_outside(form: DrillForm, source: &Source, scratch_role: &str) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.source(form, source);
    needs.outside(form);
    needs.everywhere();
    let purpose = "take a drill's rights in its own namespace";
    needs.add(RBAC, "rolebindings", &["create"], purpose);
    let name = Some(scratch_role.to_owned());
    needs
        .push("bind", RBAC, "clusterroles", purpose)
        .name
        .clone_from(&name);
    needs.optional();
    let purpose = "let `walproof kubernetes check` see whether that role is enough";
    needs.push("get", RBAC, "clusterroles", purpose).name = name;
    needs.list
}

/// What a drill does inside its scratch namespace, in this one or in all.
pub fn for_scratch(form: DrillForm, namespace: Option<&str>) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.inside(namespace);
    needs.inside_scratch(form);
    needs.list
}

/// What `walproof backup request` needs.
pub fn for_backup(source: &Source) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.inside(source.namespace.as_deref());
    needs.add(
        CNPG,
        "clusters",
        &["get"],
        "know how the cluster is backed up",
    );
    let verbs = ["create", "get"];
    needs.add(CNPG, "backups", &verbs, "ask for a backup and follow it");
    needs.optional();
    needs.add(
        BARMAN,
        "objectstores",
        &["get"],
        "with the Barman Cloud plugin and --verify: where it is",
    );
    needs.secrets(
        &source.secrets,
        "with --verify: read the store's credentials",
    );
    needs.add(
        SNAPSHOT,
        "volumesnapshots",
        &["list"],
        "with volume snapshots and --verify: see that they are ready",
    );
    needs.everywhere();
    needs.tunnel();
    needs.list
}

/// What a daemon needs that performs its jobs as Jobs of Kubernetes, in this namespace.
pub fn for_executor(namespace: Option<&str>) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.inside(namespace);
    let verbs = ["create", "list", "watch", "patch", "delete"];
    needs.add(
        "batch",
        "jobs",
        &verbs,
        "make a Job for each claim, follow it, end it",
    );
    needs.add(
        "",
        "configmaps",
        &["create"],
        "give a Job its configuration",
    );
    needs.add(
        "",
        "pods",
        &["list", "watch"],
        "see what becomes of a Job's pod",
    );
    needs.add("", "events", &["list"], "say why a pod does not start");
    needs.list
}

/// What the controller needs for the custom resources of this namespace, or of all.
pub fn for_controller(namespace: Option<&str>) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.inside(namespace);
    let look = ["list", "watch"];
    for resource in ["protectedclusters", "recoverydrills", "recoveryrequests"] {
        needs.add(OWN, resource, &look, "take up the resources");
        needs
            .push("patch", OWN, resource, "say how they stand")
            .subresource = Some("status");
    }
    for resource in ["recoverydrills", "recoveryrequests"] {
        needs.add(
            OWN,
            resource,
            &["patch"],
            "hold their removal until all is cleaned up",
        );
    }
    needs.add("events.k8s.io", "events", &["create"], "tell what happens");
    needs.add(
        CNPG,
        "clusters",
        &look,
        "know which clusters there are, and which come and go",
    );
    needs.optional();
    needs.add(
        BARMAN,
        "objectstores",
        &look,
        "with the Barman Cloud plugin: where the repositories are",
    );
    needs.list
}

/// What `walproof definition capture` reads. Secrets only by name, and of them nothing but the
/// names of their keys is kept.
pub fn for_definition(source: &Source) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.inside(source.namespace.as_deref());
    let made_of = "capture what the cluster is made of";
    needs.add(CNPG, "clusters", &["get"], made_of);
    needs.add(BARMAN, "objectstores", &["get"], made_of);
    for resource in [
        "databases",
        "poolers",
        "publications",
        "scheduledbackups",
        "subscriptions",
    ] {
        needs.add(CNPG, resource, &["list"], made_of);
    }
    needs.add("", "configmaps", &["get"], made_of);
    needs.optional();
    needs.add(
        CNPG,
        "imagecatalogs",
        &["get"],
        "where its image comes from a catalog",
    );
    for name in &source.secrets {
        needs.named(
            "secrets",
            name,
            "know the keys of the Secrets that it refers to",
        );
    }
    needs.everywhere();
    needs.optional();
    needs.add(
        CNPG,
        "clusterimagecatalogs",
        &["get"],
        "where its image comes from a catalog",
    );
    let operator = "tell the operator's and the plugin's versions";
    needs.add("apps", "deployments", &["list"], operator);
    needs.add("", "services", &["list"], operator);
    needs.list
}

/// What a request for a restore needs beside what a drill does: to place a Secret with the way to
/// the restored server in the namespace of whoever asked, and to remove it again.
pub fn for_request(namespace: Option<&str>) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.inside(namespace);
    let verbs = ["create", "delete"];
    needs.add(
        "",
        "secrets",
        &verbs,
        "place a copy of the way to a restored server",
    );
    needs.list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            namespace: Some("shop".to_owned()),
            secrets: vec!["orders-backup".to_owned()],
        }
    }

    #[test]
    fn a_drill_may_read_only_secrets_that_are_named() {
        for form in [DrillForm::Plugin, DrillForm::InTree, DrillForm::Snapshot] {
            let needs = for_drill(form, &source());
            let secrets: Vec<String> = needs
                .iter()
                .filter(|need| need.resource == "secrets" && need.verb != "create")
                .map(ToString::to_string)
                .collect();
            assert_eq!(
                secrets,
                [
                    "get secrets orders-backup in shop",
                    "get secrets drill-superuser",
                    "get secrets drill-ca",
                    "get secrets drill-app"
                ]
            );
        }
    }

    /// Apart or together, a drill needs the same, but for the right to bind itself.
    #[test]
    fn the_parts_of_a_drill_are_the_whole() {
        let said = |needs: &[Permission]| -> std::collections::BTreeSet<String> {
            needs.iter().map(ToString::to_string).collect()
        };
        for form in [DrillForm::Plugin, DrillForm::InTree, DrillForm::Snapshot] {
            let whole = said(&for_drill(form, &source()));
            let outside = for_drill_outside(form, &source(), "walproof-scratch");
            let inside = for_scratch(form, None);
            let parts = said(&[outside.clone(), inside.clone()].concat());
            let more: Vec<&String> = parts.difference(&whole).collect();
            assert_eq!(
                more,
                [
                    "bind clusterroles.rbac.authorization.k8s.io walproof-scratch",
                    "create rolebindings.rbac.authorization.k8s.io",
                    "get clusterroles.rbac.authorization.k8s.io walproof-scratch",
                ]
            );
            assert_eq!(whole.difference(&parts).count(), 0);
            // What would reach production stands in the scratch role alone.
            for need in &outside {
                let harmless = matches!(need.verb, "get" | "list");
                let own = matches!(
                    need.resource,
                    "namespaces"
                        | "persistentvolumes"
                        | "volumesnapshotcontents"
                        | "subjectaccessreviews"
                        | "rolebindings"
                        | "clusterroles"
                );
                assert!(harmless || own, "{need}");
                assert!(need.subresource.is_none(), "{need}");
                let secret = need.resource == "secrets";
                assert!(!secret || need.namespace.is_some(), "{need}");
            }
            let there = for_scratch(form, Some("walproof-drill-orders-456789ab"));
            assert!(there.iter().all(|need| need.namespace.is_some()));
            assert_eq!(there.len(), inside.len());
        }
    }

    #[test]
    fn a_scan_only_reads() {
        for need in for_scan(&Source::default()) {
            let stream = need.subresource == Some("portforward");
            assert!(
                matches!(need.verb, "get" | "list") || (stream && need.optional),
                "{need}"
            );
        }
    }

    #[test]
    fn each_form_asks_for_its_own_kinds() {
        let has = |form, group| {
            for_drill(form, &source())
                .iter()
                .any(|need| need.group == group && !need.optional)
        };
        assert!(has(DrillForm::Plugin, BARMAN) && !has(DrillForm::Plugin, SNAPSHOT));
        assert!(!has(DrillForm::InTree, BARMAN) && !has(DrillForm::InTree, SNAPSHOT));
        assert!(has(DrillForm::Snapshot, SNAPSHOT) && has(DrillForm::Snapshot, BARMAN));
    }

    #[test]
    fn nothing_is_asked_twice() {
        for needs in [
            for_scan(&Source::default()),
            for_drill(DrillForm::Snapshot, &source()),
            for_backup(&source()),
        ] {
            let mut said: Vec<String> = needs.iter().map(ToString::to_string).collect();
            said.sort();
            let before = said.len();
            said.dedup();
            assert_eq!(said.len(), before);
        }
    }
}
