//! The whole scan: the Kubernetes cluster itself, then its Clusters a few at a time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};

use super::look::look;
use super::needs::{Ground, needs};
use super::report::{
    OperatorReport, SCHEMA, ScanCounts, ScanOutcome, ScanReport, ScanTrouble, ScannedCluster,
};
use super::written::Written;
use crate::config::{self, Config, KubernetesConfig};
use crate::finding::{Code, Finding};
use crate::kubernetes::access::{self, Answer, DrillForm};
use crate::kubernetes::cnpg::{self, Archive, SourceCluster};
use crate::kubernetes::{Access, Kube, KubeError, KubeErrorKind, names};
use crate::operation::Failure;
use crate::verify::report::settle;
use crate::verify::words::count;

/// How many repositories are looked at at a time, unless told otherwise.
const AT_ONCE: usize = 4;

/// What is asked of a scan.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// Which API server, as whom.
    pub access: Access,
    /// The namespace of the Clusters; all of them when absent.
    pub namespace: Option<String>,
    /// How many repositories are looked at at a time.
    pub at_once: usize,
}

impl ScanOptions {
    /// All namespaces of this API server.
    pub const fn of(access: Access) -> Self {
        Self {
            access,
            namespace: None,
            at_once: AT_ONCE,
        }
    }
}

/// What a scan gives.
#[derive(Clone, Debug)]
pub struct Scan {
    /// What was found.
    pub report: ScanReport,
    /// The configuration that says the same.
    pub written: Written,
}

/// Scans. `tell` is called with each Cluster that is done, and how many there are.
///
/// # Errors
///
/// The API cannot be asked, or the Clusters cannot be listed. What else fails is part of
/// the report.
pub async fn scan(
    options: &ScanOptions,
    tell: &(dyn Fn(&ScannedCluster, usize) + Sync),
) -> Result<Scan, Failure> {
    let at = Utc::now();
    let kube = Kube::connect(&options.access).await?;
    let namespace = options.namespace.as_deref();
    let listed = cnpg::clusters(&kube, namespace)
        .await
        .map_err(|error| not_listed(error, namespace))?;
    let mut notes: Vec<String> = listed.unreadable.iter().map(ToString::to_string).collect();
    let (mut clusters, scratch): (Vec<_>, Vec<_>) =
        listed.items.into_iter().partition(|one| !is_scratch(one));
    if !scratch.is_empty() {
        notes.push(format!(
            "{} of drills left out",
            count(scratch.len() as u64, "scratch cluster")
        ));
    }
    clusters.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let ground = ground(&kube, &clusters, namespace, &mut notes).await;
    let surroundings = Beside::see(&kube, namespace, &mut notes).await;
    let config = Config {
        kubernetes: KubernetesConfig {
            kubeconfig: options.access.kubeconfig.clone(),
            // The current context may be another tomorrow.
            context: kube.context().map(str::to_owned),
            ..KubernetesConfig::default()
        },
        ..Config::default()
    };
    let names = written_names(&clusters);
    let total = clusters.len();
    let looks = clusters.iter().zip(&names).map(|(cluster, name)| {
        let (kube, config, ground) = (&kube, &config, &ground);
        let surroundings = &surroundings;
        async move {
            let mut looked = look(kube, config, cluster, name).await;
            let trouble = looked.report.trouble.as_ref();
            let refused = trouble.is_some_and(ScanTrouble::is_of_credentials);
            looked.report.needs = needs(
                cluster,
                looked.store.as_ref().map(|store| (store, refused)),
                looked.report.standing.as_ref(),
                ground,
            );
            surroundings.enter(&mut looked.report);
            tell(&looked.report, total);
            (looked.report, looked.written)
        }
    });
    let (mut reports, mut entries): (Vec<_>, Vec<_>) = stream::iter(looks)
        .buffered(options.at_once.max(1))
        .unzip()
        .await;
    shared(&mut reports, &mut entries);
    let report = ScanReport {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at,
        server: kube.server().to_owned(),
        context: kube.context().map(str::to_owned),
        identity: kube.whoami().await.ok().map(|identity| identity.username),
        kubernetes: kube.version().await.ok(),
        namespace: options.namespace.clone(),
        operator: operator(&ground),
        counts: counts(&reports),
        clusters: reports,
        notes,
    };
    let written = Written {
        kubernetes: config.kubernetes,
        clusters: entries.into_iter().flatten().collect(),
    };
    Ok(Scan { report, written })
}

/// Clusters that archive to one place: each of them is told, and only the first is written,
/// as a configuration has every place once.
fn shared(reports: &mut [ScannedCluster], entries: &mut [Option<config::Cluster>]) {
    let mut places: BTreeMap<(String, Option<String>), Vec<usize>> = BTreeMap::new();
    for (index, report) in reports.iter().enumerate() {
        if let Some(location) = &report.location {
            let place = (location.clone(), report.endpoint.clone());
            places.entry(place).or_default().push(index);
        }
    }
    for ((location, _), sharing) in places.into_iter().filter(|(_, all)| all.len() > 1) {
        let titles: Vec<String> = sharing
            .iter()
            .filter_map(|index| reports.get(*index).map(ScannedCluster::title))
            .collect();
        let words = format!("{} archive here", titles.join(" and "));
        for (nth, index) in sharing.into_iter().enumerate() {
            let Some(report) = reports.get_mut(index) else {
                continue;
            };
            let finding = Finding::new(Code::SystemIdMixed, location.clone(), words.clone());
            report.findings.push(finding);
            report.findings = settle(std::mem::take(&mut report.findings));
            report.outcome = ScanOutcome::Problem;
            if nth > 0 {
                report.written_as = None;
                if let Some(entry) = entries.get_mut(index) {
                    *entry = None;
                }
            }
        }
    }
}

/// Whether a drill of ours made it.
fn is_scratch(cluster: &SourceCluster) -> bool {
    let labels = cluster.manifest.pointer("/metadata/labels");
    labels.is_some_and(|labels| labels.get(names::DRILL).is_some())
}

fn not_listed(error: KubeError, namespace: Option<&str>) -> Failure {
    let kind = error.kind;
    let failure = Failure::from(error);
    match (kind, namespace) {
        (KubeErrorKind::NotFound, _) => failure.with_hint(
            "CloudNativePG is not installed here: the API knows no kind Cluster of postgresql.cnpg.io",
        ),
        (KubeErrorKind::Forbidden, None) => failure.with_hint(
            "look at one namespace with --namespace NAME, or let this identity list in all; `walproof kubernetes check --for scan` says what else is missing",
        ),
        _ => failure,
    }
}

/// The Clusters' names in a configuration: their own where nobody else has it, else with
/// the namespace before it.
fn written_names(clusters: &[SourceCluster]) -> Vec<String> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for cluster in clusters {
        *taken.entry(cluster.name.clone()).or_default() += 1;
    }
    let alone = |cluster: &SourceCluster| taken.get(&cluster.name) == Some(&1);
    let mut names: Vec<String> = Vec::with_capacity(clusters.len());
    for cluster in clusters {
        let mut name = if alone(cluster) {
            cluster.name.clone()
        } else {
            format!("{}-{}", cluster.namespace, cluster.name)
        };
        // `a-b` in `c` and `b` in `c-a` would be one.
        while names.contains(&name) || (!alone(cluster) && taken.contains_key(&name)) {
            name.push_str("-2");
        }
        names.push(name);
    }
    names
}

/// What a drill stands on. What cannot be seen leaves a note and is unknown.
async fn ground(
    kube: &Kube,
    clusters: &[SourceCluster],
    namespace: Option<&str>,
    notes: &mut Vec<String>,
) -> Ground {
    let uses = |form: fn(&Archive) -> bool| clusters.iter().any(|one| form(&one.archive));
    let plugin = uses(|archive| matches!(archive, Archive::Plugin { .. }));
    let in_tree = uses(|archive| matches!(archive, Archive::InTree { .. }));
    let (operator, classes, plugin, in_tree) = tokio::join!(
        cnpg::operator(kube),
        cnpg::storage_classes(kube),
        permissions(kube, DrillForm::Plugin, namespace, plugin),
        permissions(kube, DrillForm::InTree, namespace, in_tree),
    );
    Ground {
        operator: seen(operator, notes),
        classes: seen(classes, notes),
        plugin: seen(plugin, notes).flatten(),
        in_tree: seen(in_tree, notes).flatten(),
    }
}

async fn permissions(
    kube: &Kube,
    form: DrillForm,
    namespace: Option<&str>,
    asked: bool,
) -> Result<Option<Vec<Answer>>, KubeError> {
    if !asked {
        return Ok(None);
    }
    let source = access::Source {
        namespace: namespace.map(str::to_owned),
        secrets: Vec::new(),
    };
    let mut wanted = access::for_drill(form, &source);
    // Whether the sources' own Secrets may be read is tried, each by its name.
    wanted.retain(|one| !(one.resource == "secrets" && one.verb == "get" && one.name.is_none()));
    access::check(kube, &wanted).await.map(Some)
}

fn seen<T>(result: Result<T, KubeError>, notes: &mut Vec<String>) -> Option<T> {
    result
        .map_err(|error| {
            // The same words come once.
            let words = format!("not seen: {error}");
            if !notes.contains(&words) {
                notes.push(words);
            }
        })
        .ok()
}

/// What lies beside the Clusters; `None` for what could not be seen.
struct Beside {
    /// When the next backup is due, by namespace and Cluster.
    due: BTreeMap<(String, String), DateTime<Utc>>,
    /// How many volume snapshots can be used.
    snapshots: Option<BTreeMap<(String, String), u64>>,
}

impl Beside {
    async fn see(kube: &Kube, namespace: Option<&str>, notes: &mut Vec<String>) -> Self {
        let (schedules, snapshots) = tokio::join!(
            cnpg::scheduled_backups(kube, namespace),
            cnpg::volume_snapshots(kube, namespace),
        );
        let mut due = BTreeMap::new();
        for schedule in seen(schedules, notes).into_iter().flat_map(|all| all.items) {
            if let Some(next) = schedule.next_schedule.filter(|_| !schedule.suspended) {
                due.entry((schedule.namespace, schedule.cluster))
                    .and_modify(|known: &mut DateTime<Utc>| *known = next.min(*known))
                    .or_insert(next);
            }
        }
        // Without the kinds there are no snapshots.
        let snapshots = match snapshots {
            Err(error) if error.kind == KubeErrorKind::NotFound => None,
            other => seen(other, notes),
        };
        let snapshots = snapshots.map(|listed| {
            let mut counted: BTreeMap<(String, String), u64> = BTreeMap::new();
            for snapshot in listed.items.into_iter().filter(|snapshot| snapshot.ready) {
                if let Some(cluster) = snapshot.cluster {
                    *counted.entry((snapshot.namespace, cluster)).or_default() += 1;
                }
            }
            counted
        });
        Self { due, snapshots }
    }

    fn enter(&self, report: &mut ScannedCluster) {
        let key = (report.namespace.clone(), report.name.clone());
        report.next_backup_at = self.due.get(&key).copied();
        report.snapshots = self
            .snapshots
            .as_ref()
            .map(|counted| counted.get(&key).copied().unwrap_or_default());
    }
}

fn operator(ground: &Ground) -> Option<OperatorReport> {
    let found = ground.operator.as_ref()?.as_ref()?;
    Some(OperatorReport {
        namespace: found.namespace.clone(),
        version: found.version.clone(),
        ready: found.ready,
        watches: found.watches.clone(),
        plugin: found.plugin.is_some(),
        plugin_version: found.plugin.as_ref().and_then(|one| one.version.clone()),
    })
}

fn counts(reports: &[ScannedCluster]) -> ScanCounts {
    let of = |outcome: ScanOutcome| {
        reports
            .iter()
            .filter(|report| report.outcome == outcome)
            .count() as u64
    };
    ScanCounts {
        clusters: reports.len() as u64,
        quiet: of(ScanOutcome::Quiet),
        problem: of(ScanOutcome::Problem),
        unread: of(ScanOutcome::Unread),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_drills_cluster_is_no_source() {
        let cluster = |labels: serde_json::Value| {
            SourceCluster::parse(json!({
                "metadata": {"namespace": "a", "name": "drill", "labels": labels}, "spec": {},
            }))
            .unwrap()
        };
        assert!(is_scratch(&cluster(json!({"walproof.dev/drill": "0190"}))));
        assert!(!is_scratch(&cluster(json!({"team": "shop"}))));
    }

    #[test]
    fn every_cluster_has_a_name_of_its_own() {
        let cluster = |namespace: &str, name: &str| {
            SourceCluster::parse(json!({
                "metadata": {"namespace": namespace, "name": name}, "spec": {},
            }))
            .unwrap()
        };
        let names = written_names(&[
            cluster("a", "db"),
            cluster("b", "db"),
            cluster("b", "orders"),
            cluster("c", "a-db"),
        ]);
        assert_eq!(names[2], "orders");
        let unique: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), 4, "{names:?}");
        assert_eq!(names[1], "b-db");
    }
}
