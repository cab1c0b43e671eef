//! What each kind of work needs.

use super::{Permission, RBAC};

const CNPG: &str = "postgresql.cnpg.io";
const BARMAN: &str = "barmancloud.cnpg.io";
const OWN: &str = "walproof.dev";
const SNAPSHOT: &str = "snapshot.storage.k8s.io";
/// What a scratch namespace's names of snapshots are for.
const TAKE: &str = "take the snapshots into the scratch namespace";

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

/// A list in the making.
#[derive(Default)]
struct Needs {
    list: Vec<Permission>,
    namespace: Option<String>,
    optional: bool,
}

impl Needs {
    /// What follows is for one namespace, or for all, and required.
    fn inside(&mut self, namespace: Option<&str>) {
        self.namespace = namespace.map(str::to_owned);
        self.optional = false;
    }

    /// What follows is for all namespaces, and required.
    fn everywhere(&mut self) {
        self.inside(None);
    }

    fn optional(&mut self) {
        self.optional = true;
    }

    /// What a drill reads of its source.
    fn source(&mut self, form: DrillForm, source: &Source) {
        self.inside(source.namespace.as_deref());
        self.add(CNPG, "clusters", &["get"], "derive the drill's cluster");
        // The pods get the credentials that walproof itself reads the copy with. No Secret of the
        // source is read but those that its configuration refers to, each by its name.
        for name in &source.secrets {
            self.named("secrets", name, "read the credentials of the copy");
        }
        if form == DrillForm::Snapshot {
            self.add(
                SNAPSHOT,
                "volumesnapshots",
                &["list"],
                "choose the snapshots",
            );
            self.add(
                CNPG,
                "backups",
                &["get", "list"],
                "know where the snapshots begin and end",
            );
        }
    }

    /// What a drill does outside of its scratch namespace, with what belongs to no namespace
    /// or to many.
    fn outside(&mut self, form: DrillForm) {
        self.everywhere();
        let namespaces = "make, find and remove scratch namespaces";
        let verbs = ["get", "list", "create", "patch", "delete"];
        self.add("", "namespaces", &verbs, namespaces);
        if form == DrillForm::Snapshot {
            self.add(
                SNAPSHOT,
                "volumesnapshotcontents",
                &["get", "list", "create", "delete"],
                TAKE,
            );
        }
        let volumes = "see that the volumes are released";
        self.add("", "persistentvolumes", &["get", "list"], volumes);
        let network = "let through what recovery needs and no more";
        self.add("", "services", &["get", "list"], network);
        self.add("discovery.k8s.io", "endpointslices", &["list"], network);
        self.add("apps", "deployments", &["list"], network);
        self.optional();
        self.add(
            "",
            "persistentvolumes",
            &["patch"],
            "with a storage class that retains volumes: release a drill's own",
        );
        self.add(
            "authorization.k8s.io",
            "subjectaccessreviews",
            &["create"],
            "record what a drill's pod may ask of the API",
        );
        self.classes();
    }

    /// What a drill does inside its scratch namespace.
    fn inside_scratch(&mut self, form: DrillForm) {
        let limits = "limit what a drill may use";
        self.add("", "resourcequotas", &["create", "list", "watch"], limits);
        self.add("", "limitranges", &["create"], limits);
        self.add(
            "networking.k8s.io",
            "networkpolicies",
            &["create"],
            "deny a drill's traffic but what recovery needs",
        );
        self.add("", "secrets", &["create"], "place the store's credentials");
        if form != DrillForm::InTree {
            self.add(
                BARMAN,
                "objectstores",
                &["create"],
                "name the store to the plugin",
            );
        }
        if form == DrillForm::Snapshot {
            self.add(SNAPSHOT, "volumesnapshots", &["create"], TAKE);
        }
        let recover = "make the drill's cluster, follow it, and stop its server";
        let verbs = ["create", "list", "watch", "patch"];
        self.add(CNPG, "clusters", &verbs, recover);
        let follow = "see what happens to the recovery";
        let look = ["list", "watch"];
        self.add("", "pods", &["get", "list", "watch"], follow);
        self.sub("pods", "log", &["get"], follow);
        self.add("", "events", &look, follow);
        self.add("", "persistentvolumeclaims", &look, follow);
        self.add("batch", "jobs", &look, follow);
        // As a WebSocket both are a GET; from Kubernetes 1.35 on `create` is asked for as well
        // (KEP-3962, AuthorizePodWebsocketUpgradeCreatePermission).
        let stream = ["get", "create"];
        self.sub(
            "pods",
            "portforward",
            &stream,
            "question the restored database",
        );
        self.sub(
            "pods",
            "exec",
            &stream,
            "probe what a drill's pod can reach",
        );
        self.named(
            "secrets",
            "drill-superuser",
            "log in to the restored database",
        );
        self.named("secrets", "drill-ca", "know its certificate");
        self.optional = true;
        self.named(
            "secrets",
            "drill-app",
            "for requests: hand the restored database to its owner",
        );
        self.add("", "pods", &["delete"], "end a drill's pods sooner");
        self.optional = false;
    }

    fn add(
        &mut self,
        group: &'static str,
        resource: &'static str,
        verbs: &[&'static str],
        purpose: &'static str,
    ) {
        for verb in verbs {
            self.push(verb, group, resource, purpose);
        }
    }

    fn sub(
        &mut self,
        resource: &'static str,
        subresource: &'static str,
        verbs: &[&'static str],
        purpose: &'static str,
    ) {
        for verb in verbs {
            self.push(verb, "", resource, purpose).subresource = Some(subresource);
        }
    }

    fn named(&mut self, resource: &'static str, name: &str, purpose: &'static str) {
        self.push("get", "", resource, purpose).name = Some(name.to_owned());
    }

    fn secrets(&mut self, names: &[String], purpose: &'static str) {
        if names.is_empty() {
            self.push("get", "", "secrets", purpose);
        }
        for name in names {
            self.named("secrets", name, purpose);
        }
    }

    /// The operator and the storage classes: only told of, so optional.
    fn surroundings(&mut self) {
        self.optional = true;
        let operator = "tell the operator's and the plugin's versions";
        self.add("apps", "deployments", &["list"], operator);
        self.add("", "services", &["list"], operator);
        self.classes();
    }

    fn classes(&mut self) {
        self.optional = true;
        let purpose = "tell the storage classes";
        self.add("storage.k8s.io", "storageclasses", &["list"], purpose);
    }

    /// The way to a store that is a Service, from outside.
    fn tunnel(&mut self) {
        self.optional = true;
        let purpose = "from outside, with a store in the cluster: reach it";
        self.add("", "services", &["get"], purpose);
        self.add("discovery.k8s.io", "endpointslices", &["list"], purpose);
        self.sub("pods", "portforward", &["get", "create"], purpose);
        self.optional = false;
    }

    fn push(
        &mut self,
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        purpose: &'static str,
    ) -> &mut Permission {
        self.list.push_mut(Permission {
            verb,
            group,
            resource,
            subresource: None,
            name: None,
            namespace: self.namespace.clone(),
            purpose,
            optional: self.optional,
        })
    }
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
