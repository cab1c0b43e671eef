//! What each kind of work needs.

use super::Permission;

const CNPG: &str = "postgresql.cnpg.io";
const BARMAN: &str = "barmancloud.cnpg.io";
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
        &["list", "get"],
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

/// What a drill in a scratch namespace needs.
pub fn for_drill(form: DrillForm, source: &Source) -> Vec<Permission> {
    let mut needs = Needs::default();
    needs.inside(source.namespace.as_deref());
    needs.add(CNPG, "clusters", &["get"], "derive the drill's cluster");
    // The pods get the credentials that walproof itself reads the copy with. No Secret of the
    // source is read but those that its configuration refers to, each by its name.
    for name in &source.secrets {
        needs.named("secrets", name, "read the credentials of the copy");
    }
    if form == DrillForm::Snapshot {
        needs.add(
            SNAPSHOT,
            "volumesnapshots",
            &["get", "list"],
            "choose the snapshots",
        );
        needs.add(
            CNPG,
            "backups",
            &["get", "list"],
            "know where the snapshots begin and end",
        );
    }

    needs.everywhere();
    let namespaces = "make, find and remove scratch namespaces";
    let verbs = ["get", "list", "create", "patch", "delete"];
    needs.add("", "namespaces", &verbs, namespaces);
    let limits = "limit what a drill may use";
    needs.add("", "resourcequotas", &["create", "list", "watch"], limits);
    needs.add("", "limitranges", &["create"], limits);
    needs.add(
        "networking.k8s.io",
        "networkpolicies",
        &["create"],
        "deny a drill's traffic but what recovery needs",
    );
    needs.add("", "secrets", &["create"], "place the store's credentials");
    if form != DrillForm::InTree {
        needs.add(
            BARMAN,
            "objectstores",
            &["create"],
            "name the store to the plugin",
        );
    }
    if form == DrillForm::Snapshot {
        let purpose = "take the snapshots into the scratch namespace";
        needs.add(SNAPSHOT, "volumesnapshots", &["create"], purpose);
        needs.add(
            SNAPSHOT,
            "volumesnapshotcontents",
            &["get", "list", "create", "delete"],
            purpose,
        );
    }
    let recover = "make the drill's cluster, follow it, and stop its server";
    let verbs = ["create", "get", "list", "watch", "patch"];
    needs.add(CNPG, "clusters", &verbs, recover);
    let follow = "see what happens to the recovery";
    let look = ["get", "list", "watch"];
    needs.add("", "pods", &look, follow);
    needs.sub("pods", "log", &["get"], follow);
    needs.add("", "events", &["list", "watch"], follow);
    needs.add("", "persistentvolumeclaims", &look, follow);
    needs.add("batch", "jobs", &look, follow);
    // As a WebSocket both are a GET; from Kubernetes 1.35 on `create` is asked for as well
    // (KEP-3962, AuthorizePodWebsocketUpgradeCreatePermission).
    let stream = ["get", "create"];
    needs.sub(
        "pods",
        "portforward",
        &stream,
        "question the restored database",
    );
    needs.sub(
        "pods",
        "exec",
        &stream,
        "probe what a drill's pod can reach",
    );
    needs.named(
        "secrets",
        "drill-superuser",
        "log in to the restored database",
    );
    needs.named("secrets", "drill-ca", "know its certificate");
    let volumes = "see that the volumes are released";
    needs.add("", "persistentvolumes", &["get"], volumes);
    let network = "let through what recovery needs and no more";
    needs.add("", "services", &["get", "list"], network);
    needs.add(
        "discovery.k8s.io",
        "endpointslices",
        &["get", "list"],
        network,
    );
    needs.add("apps", "deployments", &["list"], network);
    needs.optional();
    needs.add("", "pods", &["delete"], "end a drill's pods sooner");
    needs.add(
        "",
        "persistentvolumes",
        &["patch"],
        "with a storage class that retains volumes: release a drill's own",
    );
    needs.add(
        "authorization.k8s.io",
        "subjectaccessreviews",
        &["create"],
        "record what a drill's pod may ask of the API",
    );
    needs.classes();
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
    let verbs = ["create", "get", "list", "watch"];
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
                    "get secrets drill-ca"
                ]
            );
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
