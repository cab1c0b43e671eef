//! What Kubernetes must have before anything is made: the operator, the permissions, the
//! definition to take after, room by the quota's and the volumes' sizes.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::options::{CnpgOptions, Definition};
use super::plan::PlannedCnpg;
use super::report::{KubernetesReport, TroubleReport};
use super::snapshot;
use super::store::{StorePlace, describe, network_endpoint};
use super::trouble::stopped_by;
use crate::drill::admit::decide;
use crate::drill::course::Stop;
use crate::drill::options::DrillOptions;
use crate::drill::plan::{DrillPlan, PlannedEnvironment};
use crate::drill::preload;
use crate::finding::{Code, Finding};
use crate::kubernetes::cnpg::{self, Operator, SourceCluster, resources};
use crate::kubernetes::scratch::{
    self, Form, RecoveryTarget, ScratchPlan, SecretBytes, namespace_name,
};
use crate::kubernetes::watch::TroubleClass;
use crate::kubernetes::{Identity, Kube, KubeErrorKind, access, holder};
use crate::replicate::definition::{self, DefinitionError};
use crate::repository::{BaseBackup, Catalog, Repository};
use crate::restore::Watch;
use crate::verify::VerifyOptions;
use crate::verify::listed::Survey;

/// Beyond the drill's own time limit its namespace lives for so long, for the tear-down.
const GRACE: TimeDelta = TimeDelta::minutes(10);

/// Replayed WAL goes at each restartpoint, which the source's `max_wal_size` brings about; this
/// is its default.
const WAL_AT_ONCE: u64 = 1 << 30;

/// A drill that may begin.
#[derive(Debug)]
pub(in crate::drill) struct Admitted {
    /// What it will do.
    pub plan: DrillPlan,
    /// The way to the API.
    pub kube: Kube,
    /// What is to be made.
    pub scratch: ScratchPlan,
    /// The objects, in the order in which they are made.
    pub manifests: Vec<serde_json::Value>,
    /// PostgreSQL's major version.
    pub major: u32,
    /// The libraries that the restored server loads.
    pub preload: Vec<String>,
    /// Stored bytes of base backup and WAL.
    pub fetched_bytes: u64,
    /// The report, as far as it is known.
    pub report: KubernetesReport,
    /// Why nothing would come of it although everything is there.
    pub hopeless: Option<TroubleReport>,
}

impl Admitted {
    /// Stops what nothing would come of.
    pub(in crate::drill) fn has_hope(&self) -> Result<(), Stop> {
        match &self.hopeless {
            None => Ok(()),
            Some(trouble) => Err(Stop::Unproven(format!(
                "{}: {} ({})",
                trouble.object, trouble.words, trouble.hint
            ))),
        }
    }
}

/// Whether the operator would see the Cluster. Without it nobody makes the recovery, and its
/// webhook, which has no address then, lets nobody create one.
fn hopeless(operator: &Operator, namespace: &str) -> Option<TroubleReport> {
    let silent = |words: String, hint: String| TroubleReport {
        class: TroubleClass::OperatorSilent.as_str().to_owned(),
        object: format!("deployment {}/{}", operator.namespace, operator.deployment),
        words,
        hint,
    };
    if operator.ready == 0 {
        return Some(silent(
            "CloudNativePG's operator has no pod that is ready: nobody would act on a Cluster"
                .to_owned(),
            format!(
                "`kubectl -n {} get pods` and the pods' events say why",
                operator.namespace
            ),
        ));
    }
    (!operator.watches(namespace)).then(|| {
        silent(
            format!(
                "CloudNativePG's operator watches only {}: it would not see namespace {namespace}",
                operator.watches.join(", ")
            ),
            "a drill makes a namespace of its own: let the operator watch all of them \
             (WATCH_NAMESPACE), or drill in a Kubernetes cluster where it does"
                .to_owned(),
        )
    })
}

/// The Cluster that the drill takes after.
async fn source(
    kube: &Kube,
    definition: &Definition,
    repository: &Repository,
) -> Result<SourceCluster, Stop> {
    match definition {
        Definition::Captured { cluster } => captured(cluster, repository).await,
        Definition::Live { namespace, name } => {
            let found = resources::read(kube, &resources::cluster(), namespace, name)
                .await
                .map_err(|error| stopped_by(&error))?;
            let Some(manifest) = found else {
                return Err(Stop::Unproven(format!(
                    "there is no Cluster {namespace}/{name} to take after; if it is gone, say \
                     `captured` or name a file under `cnpg.definition` in the drill definition"
                )));
            };
            SourceCluster::parse(manifest).map_err(Stop::unproven)
        }
        Definition::File(path) => scratch::definition::read(path)
            .map(|definition| definition.cluster)
            .map_err(Stop::unproven),
    }
}

/// The Cluster as the newest captured definition beside the copy has it, every digest checked.
async fn captured(cluster: &str, repository: &Repository) -> Result<SourceCluster, Stop> {
    let store = repository.store();
    match definition::newest(store, cluster).await {
        Ok(Some(stored)) => stored.content.source().map_err(Stop::unproven),
        Ok(None) => Err(Stop::Unproven(format!(
            "no definition of `{cluster}` was captured beside {}: run `walproof definition capture \
             {cluster}` while the Cluster is there, or name a file under `cnpg.definition`",
            store.location()
        ))),
        Err(DefinitionError::Changed { name, problem }) => Err(Stop::failed(Finding::new(
            Code::DefinitionChangedDigest,
            name,
            problem.to_string(),
        ))),
        Err(DefinitionError::Storage(error)) => Err(Stop::unproven(error)),
    }
}

/// By which form the drill recovers.
fn form(asked: Option<Form>, operator: &Operator) -> Result<Form, Stop> {
    match (asked, &operator.plugin) {
        (Some(Form::InTree), _) | (None, None) => Ok(Form::InTree),
        (None | Some(Form::Plugin), Some(_)) => Ok(Form::Plugin),
        (Some(form), Some(_)) => Ok(form),
        (Some(form), None) => Err(Stop::Unproven(format!(
            "form `{}` needs the Barman Cloud plugin, which is not installed in namespace {}; \
             install it, or drill with `form: in-tree`",
            form.as_str(),
            operator.namespace
        ))),
    }
}

/// The permissions that the drill needs and does not have.
async fn missing_permissions(kube: &Kube, form: Form, cnpg: &CnpgOptions) -> Result<(), Stop> {
    let namespace = match &cnpg.definition {
        Definition::Live { namespace, .. } => Some(namespace.clone()),
        Definition::File(_) | Definition::Captured { .. } => None,
    };
    // The credentials that pods get are walproof's own, not the source's.
    let place = access::Source {
        namespace,
        secrets: Vec::new(),
    };
    let form = match form {
        Form::Plugin => access::DrillForm::Plugin,
        Form::InTree => access::DrillForm::InTree,
        Form::Snapshot => access::DrillForm::Snapshot,
    };
    // What is to hold in the scratch namespace alone is asked for when that is there.
    let mut needed = match &cnpg.scratch_role {
        Some(role) => access::for_drill_outside(form, &place, role),
        None => access::for_drill(form, &place),
    };
    // Not found out after the whole restore.
    if let Some(namespace) = &cnpg.secret_in {
        needed.extend(access::for_request(Some(namespace)));
    }
    let answers = access::check(kube, &needed)
        .await
        .map_err(|error| stopped_by(&error))?;
    let missing: Vec<String> = answers
        .iter()
        .filter(|answer| answer.is_missing())
        .map(|answer| answer.permission.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Stop::Unproven(format!(
        "walproof may not {} here; `walproof kubernetes check --print-role` prints the role that it \
         needs",
        missing.join(", ")
    )))
}

/// What walproof binds itself to in the scratch namespace.
///
/// # Errors
///
/// The API server does not say as whom it takes walproof.
fn grant(cnpg: &CnpgOptions, username: Option<&str>) -> Result<Option<scratch::Grant>, Stop> {
    let Some(role) = &cnpg.scratch_role else {
        return Ok(None);
    };
    let username = username.ok_or_else(|| {
        Stop::Unproven(format!(
            "the API server does not say who walproof is, so nobody can be bound to `{role}` in the \
             scratch namespace; leave out `kubernetes.scratch_role` and grant its rights in all \
             namespaces"
        ))
    })?;
    Ok(Some(scratch::Grant {
        role: role.clone(),
        identity: Identity {
            username: username.to_owned(),
            groups: Vec::new(),
        },
    }))
}

/// What the source and the backup say of each other.
///
/// # Errors
///
/// They do not belong together.
fn compare(source: &SourceCluster, backup: &BaseBackup) -> Result<(), Stop> {
    // Backups that restore, and of which nothing of the live Cluster comes back.
    if let (Some(live), Some(stored)) = (source.system_id, backup.system_id)
        && live != stored
    {
        return Err(Stop::failed(Finding::new(
            Code::SystemIdDiffers,
            format!("cluster {}/{}", source.namespace, source.name),
            format!(
                "the live Cluster is database system {live}, the backups are of {stored}: they are not \
                 its backups"
            ),
        )));
    }
    let mut named: Vec<&str> = source
        .tablespaces
        .iter()
        .map(|tablespace| tablespace.name.as_str())
        .collect();
    let mut stored: Vec<&str> = backup
        .tablespaces
        .iter()
        .map(|tablespace| tablespace.name.as_str())
        .collect();
    named.sort_unstable();
    stored.sort_unstable();
    if named != stored {
        return Err(Stop::Unproven(format!(
            "backup {} has the tablespaces [{}], the Cluster declares [{}]: CloudNativePG cannot recover \
             one from the other; take a new base backup",
            backup.id,
            stored.join(", "),
            named.join(", ")
        )));
    }
    Ok(())
}

/// The Secrets with which the source's image is pulled, for the scratch namespace.
async fn pull_secrets(
    kube: &Kube,
    cnpg: &CnpgOptions,
    source: &SourceCluster,
) -> Result<BTreeMap<String, SecretBytes>, Stop> {
    let mut found = BTreeMap::new();
    // Nothing of the source's namespace is needed, or asked for.
    if matches!(cnpg.definition, Definition::Captured { .. }) {
        return Ok(found);
    }
    for name in &source.image_pull_secrets {
        match scratch::store::read_key(kube, &source.namespace, name, ".dockerconfigjson").await {
            Ok(value) => {
                found.insert(name.clone(), value);
            }
            // Another image, or a namespace that is gone: the pull says whether it is missed.
            Err(error)
                if cnpg.overrides.image.is_some() || error.kind == KubeErrorKind::NotFound =>
            {
                tracing::warn!(%error, "read a Secret for pulling images");
            }
            Err(error) => {
                return Err(Stop::Unproven(format!(
                    "{error}; the source's image is pulled with this Secret: grant `get` on it \
                     (`walproof kubernetes check --for drill --namespace {0} --secret {name}`), or name \
                     an image that needs none under `cnpg.image`",
                    source.namespace
                )));
            }
        }
    }
    Ok(found)
}

/// Looks at everything that decides whether and how the drill can run there. Reads the WAL
/// that will be replayed; makes nothing.
pub(in crate::drill) async fn admit(
    cnpg: &CnpgOptions,
    options: &DrillOptions,
    repository: &Repository,
    catalog: &Catalog,
    now: DateTime<Utc>,
    watch: &Watch,
) -> Result<Admitted, Stop> {
    // What Kubernetes lacks is said before gigabytes of WAL are read.
    let kube = Kube::connect(&cnpg.access)
        .await
        .map_err(|error| stopped_by(&error))?;
    let version = kube.version().await.map_err(|error| stopped_by(&error))?;
    let identity = kube.whoami().await.ok().map(|identity| identity.username);
    let operator = cnpg::operator(&kube)
        .await
        .map_err(|error| stopped_by(&error))?
        .ok_or_else(|| Stop::unproven("CloudNativePG's operator is not installed there"))?;
    let form = form(cnpg.form, &operator)?;
    missing_permissions(&kube, form, cnpg).await?;
    let source = source(&kube, &cnpg.definition, repository).await?;

    let location = repository.store().location();
    let role = !cnpg.overrides.service_account_annotations.is_empty();
    let place = describe(location, &cnpg.store, cnpg.endpoint.as_deref(), role)?;
    let store_endpoint = network_endpoint(&place, &cnpg.store);
    let StorePlace {
        access: store,
        server_name,
    } = place;

    let verify = VerifyOptions {
        now,
        ..VerifyOptions::default()
    };
    let with_snapshots;
    let asked;
    let (catalog, options) = if form == Form::Snapshot {
        with_snapshots = snapshot::catalog_of(&kube, &source, catalog).await?;
        asked = snapshot::wish(options, cnpg.snapshot.as_deref());
        (&with_snapshots, &asked)
    } else {
        (catalog, options)
    };
    let survey = Survey::of(catalog, &verify);
    let mut decision = decide(options, repository, catalog, &survey, watch).await?;
    let backup = decision.backup().clone();
    let snapshots = if form == Form::Snapshot {
        Some(snapshot::set(&kube, &source, &backup).await?)
    } else {
        None
    };
    compare(&source, &backup)?;
    let major = backup
        .major()
        .or_else(|| source.major.map(u32::from))
        .ok_or_else(|| {
            Stop::Unproven(format!(
                "backup {} does not say which PostgreSQL version made it",
                backup.id
            ))
        })?;
    if let Some(image) = source.major.map(u32::from)
        && image != major
        && cnpg.overrides.image.is_none()
    {
        return Err(Stop::Unproven(format!(
            "backup {} is of PostgreSQL {major}, the Cluster runs {image}: name an image of version \
             {major} under `cnpg.image` in the drill definition",
            backup.id
        )));
    }
    let preload = preload::decide(&source.preload, &cnpg.overrides.preload, |_| Some(true));
    decision.find(preload.findings.clone());

    let network = scratch::network::plan(&kube, &store_endpoint, &cnpg.store_cidrs, &operator)
        .await
        .map_err(|error| stopped_by(&error))?;
    let mut overrides = cnpg.overrides.clone();
    overrides.preload.clone_from(&preload.load);
    for (name, value) in &preload.settings {
        overrides.parameters.insert(name.clone(), value.clone());
    }
    let limit = TimeDelta::from_std(options.limit).unwrap_or(TimeDelta::hours(24));
    let kept = cnpg.keep.and_then(|keep| TimeDelta::from_std(keep).ok());
    let (timeline, stop) = decision.end();
    let plan = ScratchPlan {
        id: options.id,
        namespace: namespace_name(
            &cnpg.namespace_prefix,
            options.cluster.as_deref().unwrap_or(&server_name),
            options.id,
        ),
        cluster_label: options
            .cluster
            .clone()
            .unwrap_or_else(|| server_name.clone()),
        owner: cnpg.owner.clone(),
        cost_centre: cnpg.cost_centre.clone(),
        // By the clock that a sweep judges it by.
        expires_at: kube.time().await.unwrap_or_else(|_| Utc::now())
            + limit
            + GRACE
            + kept.unwrap_or_default(),
        holder: holder::this_process(),
        form,
        source: source.clone(),
        server_name,
        store,
        target: RecoveryTarget {
            backup_id: (form != Form::Snapshot).then(|| backup.id.clone()),
            stop: scratch::Stop::Lsn(stop.to_string()),
            timeline: timeline.0,
            exclusive: false,
        },
        snapshots,
        overrides,
        quota: cnpg.quota.clone(),
        network,
        pull_secrets: pull_secrets(&kube, cnpg, &source).await?,
        grant: grant(cnpg, identity.as_deref())?,
    };
    let manifests = scratch::manifests(&plan).map_err(|error| Stop::Refused {
        reason: error.to_string(),
        findings: Vec::new(),
    })?;
    let needed = room_needed(&backup, decision.wal_bytes());
    let environment = PlannedCnpg::of(&plan, &manifests, &source, needed);
    enough_room(&environment, &backup)?;
    let hopeless = hopeless(&operator, &plan.namespace);
    let report = KubernetesReport {
        server: kube.server().to_owned(),
        version: Some(version),
        identity,
        plugin: operator.plugin.and_then(|plugin| plugin.version),
        operator: operator.version,
        source: cnpg.definition.to_string(),
        form: form.as_str().to_owned(),
        namespace: plan.namespace.clone(),
        ..KubernetesReport::default()
    };
    let fetched_bytes = decision.bytes_to_fetch();
    Ok(Admitted {
        hopeless,
        plan: decision.plan(options, catalog, PlannedEnvironment::Cnpg(environment)),
        kube,
        scratch: plan,
        manifests,
        major,
        preload: preload.load,
        fetched_bytes,
        report,
    })
}

/// About how much the restored database needs: its size when the backup began, or else three
/// times what is stored of it, and of the WAL that is replayed what lies there at one time.
fn room_needed(backup: &BaseBackup, wal: u64) -> u64 {
    let data = backup
        .cluster_size
        .unwrap_or_else(|| backup.stored_bytes().saturating_mul(3));
    data.saturating_add(wal.min(WAL_AT_ONCE))
}

/// Refuses what cannot fit. Only what is certain counts: the size of the whole database, its
/// tablespaces too, when the backup began, against all its volumes. A recovery that fills
/// them later says so itself.
fn enough_room(planned: &PlannedCnpg, backup: &BaseBackup) -> Result<(), Stop> {
    let (Some(size), Some(certain)) = (planned.volume_bytes, backup.cluster_size) else {
        return Ok(());
    };
    if certain <= size {
        return Ok(());
    }
    Err(Stop::Unproven(format!(
        "the database had {certain} bytes when the backup began, its volumes have {size}: raise \
         `cnpg.storage_size` in the drill definition"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::verify::testing::backup;

    fn source(system: u64) -> SourceCluster {
        SourceCluster::parse(json!({
            "metadata": {"namespace": "shop", "name": "orders"},
            "spec": {"instances": 1, "storage": {"size": "1Gi"}},
            "status": {"systemID": system.to_string()},
        }))
        .unwrap()
    }

    #[test]
    fn an_operator_that_would_not_see_the_cluster_is_told_before() {
        let operator = |ready, watches: &[&str]| Operator {
            namespace: "cnpg-system".to_owned(),
            deployment: "cnpg-controller-manager".to_owned(),
            version: None,
            ready,
            pod_labels: BTreeMap::new(),
            watches: watches.iter().map(|name| (*name).to_owned()).collect(),
            plugin: None,
        };
        assert_eq!(hopeless(&operator(1, &[]), "walproof-drill-x"), None);
        let gone = hopeless(&operator(0, &[]), "walproof-drill-x").unwrap();
        assert_eq!(gone.class, "operator-silent");
        assert!(gone.words.contains("no pod that is ready"));
        let elsewhere = hopeless(&operator(1, &["shop", "bank"]), "walproof-drill-x").unwrap();
        assert!(elsewhere.words.contains("only shop, bank"));
    }

    /// Backups that restore are no proof for a Cluster that was made anew since.
    #[test]
    fn backups_of_another_database_prove_nothing() {
        let stored = backup("20261121T000000", 1, 1, 2, 1);
        let own = stored.system_id.unwrap().0;
        assert!(compare(&source(own), &stored).is_ok());
        let Err(Stop::Failed(findings)) = compare(&source(own + 1), &stored) else {
            panic!("another system must fail");
        };
        assert_eq!(findings[0].code, Code::SystemIdDiffers);
    }

    /// Replayed WAL goes again; tablespaces have volumes of their own.
    #[test]
    fn only_what_cannot_fit_is_refused() {
        let mut stored = backup("20261121T000000", 1, 1, 2, 1);
        stored.cluster_size = Some(10 << 30);
        assert_eq!(room_needed(&stored, 500 << 30), 11 << 30);
        let planned = |volume_bytes| PlannedCnpg {
            namespace: "n".to_owned(),
            form: "plugin".to_owned(),
            source: "shop/orders".to_owned(),
            image: None,
            version: "17".to_owned(),
            storage_size: None,
            storage_class: None,
            objects: Vec::new(),
            room_needed: room_needed(&stored, 500 << 30),
            volume_bytes,
        };
        assert!(enough_room(&planned(Some(10 << 30)), &stored).is_ok());
        assert!(enough_room(&planned(None), &stored).is_ok());
        let refused = enough_room(&planned(Some(9 << 30)), &stored);
        assert!(matches!(refused, Err(Stop::Unproven(words)) if words.contains("storage_size")));
    }
}
