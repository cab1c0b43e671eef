//! A list of permissions in the making, and the parts that several kinds of work share.

use super::super::Permission;
use super::{BARMAN, CNPG, DrillForm, SNAPSHOT, Source};

/// What a scratch namespace's names of snapshots are for.
const TAKE: &str = "take the snapshots into the scratch namespace";

/// A list in the making.
#[derive(Default)]
pub(super) struct Needs {
    pub(super) list: Vec<Permission>,
    namespace: Option<String>,
    optional: bool,
}

impl Needs {
    /// What follows is for one namespace, or for all, and required.
    pub(super) fn inside(&mut self, namespace: Option<&str>) {
        self.namespace = namespace.map(str::to_owned);
        self.optional = false;
    }

    /// What follows is for all namespaces, and required.
    pub(super) fn everywhere(&mut self) {
        self.inside(None);
    }

    pub(super) fn optional(&mut self) {
        self.optional = true;
    }

    /// What a drill reads of its source.
    pub(super) fn source(&mut self, form: DrillForm, source: &Source) {
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
    pub(super) fn outside(&mut self, form: DrillForm) {
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
    pub(super) fn inside_scratch(&mut self, form: DrillForm) {
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

    pub(super) fn add(
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

    pub(super) fn sub(
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

    pub(super) fn named(&mut self, resource: &'static str, name: &str, purpose: &'static str) {
        self.push("get", "", resource, purpose).name = Some(name.to_owned());
    }

    pub(super) fn secrets(&mut self, names: &[String], purpose: &'static str) {
        if names.is_empty() {
            self.push("get", "", "secrets", purpose);
        }
        for name in names {
            self.named("secrets", name, purpose);
        }
    }

    /// The operator and the storage classes: only told of, so optional.
    pub(super) fn surroundings(&mut self) {
        self.optional = true;
        let operator = "tell the operator's and the plugin's versions";
        self.add("apps", "deployments", &["list"], operator);
        self.add("", "services", &["list"], operator);
        self.classes();
    }

    pub(super) fn classes(&mut self) {
        self.optional = true;
        let purpose = "tell the storage classes";
        self.add("storage.k8s.io", "storageclasses", &["list"], purpose);
    }

    /// The way to a store that is a Service, from outside.
    pub(super) fn tunnel(&mut self) {
        self.optional = true;
        let purpose = "from outside, with a store in the cluster: reach it";
        self.add("", "services", &["get"], purpose);
        self.add("discovery.k8s.io", "endpointslices", &["list"], purpose);
        self.sub("pods", "portforward", &["get", "create"], purpose);
        self.optional = false;
    }

    pub(super) fn push(
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
