//! What a drill of a Cluster in a scratch namespace would need, and what of it is there.

use std::collections::BTreeSet;

use super::report::{Need, NeedKind};
use crate::kubernetes::access::{Answer, DrillForm};
use crate::kubernetes::cnpg::{
    Archive, Operator, SourceCluster, Storage, StoreConfiguration, VolumeClass,
};
use crate::kubernetes::quantity;
use crate::operation::standing::VerifyStanding;
use crate::verify::words::{bytes, count};

/// The first operator without the in-tree form.
const IN_TREE_ENDS: (u64, u64) = (1, 31);

/// What is known of the Kubernetes cluster itself; `None` for what could not be seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Ground {
    /// The operator; `Some(None)` when there is none.
    #[expect(
        clippy::option_option,
        reason = "what is not there is told from what could not be seen"
    )]
    pub(super) operator: Option<Option<Operator>>,
    /// The storage classes.
    pub(super) classes: Option<Vec<VolumeClass>>,
    /// Permissions for a drill of the plugin form.
    pub(super) plugin: Option<Vec<Answer>>,
    /// Permissions for a drill of the in-tree form.
    pub(super) in_tree: Option<Vec<Answer>>,
}

/// The form that a drill of a Cluster would take.
pub(super) fn form_of(cluster: &SourceCluster) -> Option<DrillForm> {
    match cluster.archive {
        Archive::Plugin { .. } => Some(DrillForm::Plugin),
        Archive::InTree { .. } => Some(DrillForm::InTree),
        Archive::Unknown { .. } | Archive::None => None,
    }
}

/// What a drill would need; `store` with whether its credentials were refused. Empty for a Cluster that archives nowhere: there is nothing to
/// drill.
pub(super) fn needs(
    cluster: &SourceCluster,
    store: Option<(&StoreConfiguration, bool)>,
    standing: Option<&VerifyStanding>,
    ground: &Ground,
) -> Vec<Need> {
    let Some(form) = form_of(cluster) else {
        return Vec::new();
    };
    let mut needs = vec![
        backup(standing),
        operator(ground),
        plugin(form, cluster, ground),
        permissions(form, ground),
        storage(cluster, ground),
    ];
    needs.extend(store.map(|(store, refused)| credentials(store, refused)));
    if cluster.image.is_none() {
        needs.push(need(
            NeedKind::Image,
            Some(false),
            "the cluster names no image, and its status says none",
        ));
    }
    needs
}

fn need(kind: NeedKind, met: Option<bool>, text: impl Into<String>) -> Need {
    Need {
        kind,
        met,
        text: text.into(),
    }
}

fn backup(standing: Option<&VerifyStanding>) -> Need {
    let (met, text) = match standing {
        None => (None, "the repository could not be read".to_owned()),
        Some(seen) if seen.usable_backups == 0 => {
            (Some(false), "no base backup can be used".to_owned())
        }
        Some(seen) => (
            Some(true),
            format!(
                "{}, the newest {}",
                count(seen.usable_backups, "usable base backup"),
                seen.newest_backup_id.as_deref().unwrap_or("without an id")
            ),
        ),
    };
    need(NeedKind::Backup, met, text)
}

fn operator(ground: &Ground) -> Need {
    let (met, text) = match &ground.operator {
        None => (None, "the operator could not be seen".to_owned()),
        Some(None) => (
            None,
            "no operator with the usual label was found".to_owned(),
        ),
        Some(Some(found)) if found.ready == 0 => (
            Some(false),
            format!("no pod of the operator in {} is ready", found.namespace),
        ),
        Some(Some(found)) if !found.watches.is_empty() => (
            Some(false),
            format!(
                "the operator watches only {}: it would not serve a scratch namespace",
                found.watches.join(", ")
            ),
        ),
        Some(Some(found)) => (
            Some(true),
            format!(
                "CloudNativePG {} in {}",
                found.version.as_deref().unwrap_or("of unknown version"),
                found.namespace
            ),
        ),
    };
    need(NeedKind::Operator, met, text)
}

fn plugin(form: DrillForm, cluster: &SourceCluster, ground: &Ground) -> Need {
    let found = ground.operator.as_ref().and_then(Option::as_ref);
    let (met, text) = if form == DrillForm::InTree {
        let version = found.and_then(|operator| operator.version.as_deref());
        match version.and_then(major_and_minor) {
            None => (None, "the in-tree form needs CloudNativePG before 1.31".to_owned()),
            Some(version) if version >= IN_TREE_ENDS => (
                Some(false),
                "CloudNativePG 1.31 has no in-tree form any more: move the source to the Barman Cloud plugin".to_owned(),
            ),
            Some(_) => (
                Some(true),
                "the operator still has the in-tree form; CloudNativePG 1.31 has not".to_owned(),
            ),
        }
    } else {
        // Every cluster says which plugins answered it.
        let answered = cluster
            .manifest
            .pointer("/status/pluginStatus")
            .and_then(serde_json::Value::as_array)
            .is_some_and(|all| {
                all.iter().any(|one| {
                    one.get("name").and_then(serde_json::Value::as_str)
                        == Some(crate::kubernetes::cnpg::PLUGIN)
                })
            });
        match found.map(|operator| operator.plugin.as_ref()) {
            Some(Some(plugin)) => (
                Some(true),
                format!(
                    "Barman Cloud plugin {}",
                    plugin.version.as_deref().unwrap_or("of unknown version")
                ),
            ),
            _ if answered => (Some(true), "the Barman Cloud plugin answers".to_owned()),
            Some(None) => (
                Some(false),
                "the Barman Cloud plugin is not installed beside the operator".to_owned(),
            ),
            None => (None, "the Barman Cloud plugin could not be seen".to_owned()),
        }
    };
    need(NeedKind::Plugin, met, text)
}

fn major_and_minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn permissions(form: DrillForm, ground: &Ground) -> Need {
    let answers = match form {
        DrillForm::InTree => &ground.in_tree,
        _ => &ground.plugin,
    };
    let (met, text) = match answers {
        None => (None, "permissions could not be asked for".to_owned()),
        Some(answers) => {
            let missing: Vec<String> = answers
                .iter()
                .filter(|answer| answer.is_missing())
                .map(|answer| answer.permission.to_string())
                .collect();
            match missing.as_slice() {
                [] => (Some(true), "all permissions are there".to_owned()),
                [first, rest @ ..] => (
                    Some(false),
                    format!(
                        "{} missing: {first}{}; `walproof kubernetes check --for drill` lists all",
                        count(missing.len() as u64, "permission"),
                        if rest.is_empty() { "" } else { ", …" }
                    ),
                ),
            }
        }
    };
    need(NeedKind::Permission, met, text)
}

fn volumes(cluster: &SourceCluster) -> impl Iterator<Item = &Storage> {
    std::iter::once(&cluster.storage)
        .chain(&cluster.wal_storage)
        .chain(cluster.tablespaces.iter().map(|one| &one.storage))
}

/// A scratch instance has the volumes of one instance of the source.
fn storage(cluster: &SourceCluster, ground: &Ground) -> Need {
    let sizes: Option<Vec<u64>> = volumes(cluster)
        .map(|volume| quantity::bytes(volume.size.as_deref()?))
        .collect();
    let size = sizes.map_or_else(
        || "volumes of unknown size".to_owned(),
        |sizes| bytes(sizes.iter().sum()),
    );
    let classes: BTreeSet<Option<&str>> = volumes(cluster)
        .map(|volume| volume.class.as_deref())
        .collect();
    let named = |class: Option<&str>| class.unwrap_or("the default class").to_owned();
    let all: Vec<String> = classes.iter().copied().map(named).collect();
    let text = format!("{size} on {}", all.join(", "));
    let Some(known) = &ground.classes else {
        return need(NeedKind::Storage, None, text);
    };
    let missing: Vec<String> = classes
        .iter()
        .filter(|class| {
            !known.iter().any(|have| match class {
                Some(name) => have.name == *name,
                None => have.is_default,
            })
        })
        .copied()
        .map(named)
        .collect();
    if missing.is_empty() {
        need(NeedKind::Storage, Some(true), text)
    } else {
        let words = format!("{text}: no such class: {}", missing.join(", "));
        need(NeedKind::Storage, Some(false), words)
    }
}

fn credentials(store: &StoreConfiguration, refused: bool) -> Need {
    if store.credentials.is_ambient() {
        return need(
            NeedKind::Credentials,
            None,
            "the store is reached by the identity of the pods: the scratch ServiceAccount needs the same role, for reading",
        );
    }
    let names: BTreeSet<&str> = store
        .credentials
        .references()
        .into_iter()
        .chain(&store.endpoint_ca)
        .map(|reference| reference.name.as_str())
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return need(
            NeedKind::Credentials,
            None,
            "the store names no credentials",
        );
    }
    let names = names.join(", ");
    if refused {
        let words = format!("what Secret {names} holds is refused, missing, or may not be read");
        return need(NeedKind::Credentials, Some(false), words);
    }
    let words = format!("a copy of Secret {names}; better credentials that can only read");
    need(NeedKind::Credentials, Some(true), words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::access::{Permission, Source, for_drill};

    fn cluster() -> SourceCluster {
        SourceCluster::parse(json!({
            "metadata": {"namespace": "shop", "name": "orders"},
            "spec": {
                "imageName": "pg:17",
                "storage": {"size": "50Gi", "storageClass": "fast"},
                "walStorage": {"size": "10Gi"},
                "plugins": [{
                    "name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
                    "parameters": {"barmanObjectName": "store"},
                }],
            },
        }))
        .unwrap()
    }

    fn class(name: &str, is_default: bool) -> VolumeClass {
        VolumeClass {
            name: name.to_owned(),
            is_default,
            provisioner: "csi".to_owned(),
        }
    }

    fn answers(allowed: impl Fn(&Permission) -> bool) -> Vec<Answer> {
        for_drill(DrillForm::Plugin, &Source::default())
            .into_iter()
            .map(|permission| Answer {
                allowed: allowed(&permission),
                permission,
                reason: None,
            })
            .collect()
    }

    fn unmet(ground: &Ground) -> Vec<(NeedKind, Option<bool>, String)> {
        needs(&cluster(), None, None, ground)
            .into_iter()
            .filter(|need| need.met != Some(true))
            .map(|need| (need.kind, need.met, need.text))
            .collect()
    }

    #[test]
    fn each_need_is_there_missing_or_unknown() {
        let unknown = unmet(&Ground::default());
        assert!(
            unknown.iter().all(|(_, met, _)| met.is_none()),
            "{unknown:?}"
        );
        assert_eq!(unknown.len(), 5);

        let operator = Operator {
            namespace: "cnpg-system".to_owned(),
            deployment: "cnpg".to_owned(),
            version: Some("1.30.0".to_owned()),
            ready: 1,
            pod_labels: std::collections::BTreeMap::new(),
            watches: Vec::new(),
            plugin: None,
        };
        let bad = Ground {
            operator: Some(Some(Operator {
                watches: vec!["shop".to_owned()],
                ..operator.clone()
            })),
            classes: Some(vec![class("fast", false)]),
            plugin: Some(answers(|permission| permission.resource != "namespaces")),
            in_tree: None,
        };
        let words: Vec<String> = unmet(&bad)
            .into_iter()
            .filter(|(_, met, _)| *met == Some(false))
            .map(|(kind, _, text)| format!("{}: {text}", kind.as_str()))
            .collect();
        assert_eq!(words.len(), 4, "{words:?}");
        assert!(words[0].contains("watches only shop"));
        assert!(words[1].contains("not installed"));
        assert!(words[2].starts_with("permission: 5 permissions missing: get namespaces"));
        assert!(
            words[3].ends_with("no such class: the default class"),
            "{}",
            words[3]
        );

        let good = Ground {
            operator: Some(Some(Operator {
                plugin: Some(crate::kubernetes::cnpg::Plugin {
                    service: None,
                    version: Some("0.14.0".to_owned()),
                    pod_labels: std::collections::BTreeMap::new(),
                }),
                ..operator
            })),
            classes: Some(vec![class("fast", false), class("slow", true)]),
            plugin: Some(answers(|_| true)),
            in_tree: None,
        };
        let left = unmet(&good);
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].0, NeedKind::Backup);
    }

    #[test]
    fn the_in_tree_form_ends_with_an_operator() {
        assert!(major_and_minor("1.31.0-rc1") >= Some(IN_TREE_ENDS));
        assert!(major_and_minor("1.30.4") < Some(IN_TREE_ENDS));
        assert_eq!(major_and_minor("main"), None);
    }
}
