//! Where a drill restores, from its definition and the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Failure;
use super::drill::DrillRequest;
use super::source::Source;
use crate::config::{
    ByteSize, CnpgDrill, Config, DefinitionSource, Endpoint, Environment, Period, RecoveryForm,
    SettingValue,
};
use crate::drill::environments::cnpg::{CnpgOptions, Definition};
use crate::drill::environments::local::scratch::default_root;
use crate::drill::{self, EnvironmentOptions, LocalOptions};
use crate::kubernetes::Access;
use crate::kubernetes::scratch::{Form, Overrides, PREFIX, Quota};

/// A restored database that is kept for inspection is kept for at most this time.
const KEPT_AT_MOST: Duration = Duration::from_hours(24 * 14);

/// Where a drill restores.
pub(super) fn environment(
    request: &DrillRequest,
    source: &Source,
    config: &Config,
) -> Result<EnvironmentOptions, Failure> {
    let definition = &request.definition;
    match definition.environment {
        Environment::Local => {
            let settings = texts(&definition.settings);
            drill::settings::check_tuning(&settings).map_err(Failure::configuration)?;
            Ok(EnvironmentOptions::Local(LocalOptions {
                scratch_root: definition.scratch.clone().unwrap_or_else(default_root),
                scratch_limit: request.scratch_limit,
                binaries: request.binaries.clone(),
                program: request.program.clone(),
                run_as: request.run_as.clone(),
                superuser: definition
                    .superuser
                    .clone()
                    .unwrap_or_else(|| "postgres".to_owned()),
                preload: definition.preload.clone(),
                settings,
                ..LocalOptions::default()
            }))
        }
        Environment::Cnpg => cnpg(request, source, config),
    }
}

fn texts(settings: &BTreeMap<String, SettingValue>) -> BTreeMap<String, String> {
    settings
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()))
        .collect()
}

fn cnpg(
    request: &DrillRequest,
    source: &Source,
    config: &Config,
) -> Result<EnvironmentOptions, Failure> {
    let definition = &request.definition;
    let cnpg: CnpgDrill = definition.cnpg.clone().unwrap_or_default();
    let cluster = source.cluster.as_ref();
    let live = cnpg
        .source
        .clone()
        .or_else(|| Some(cluster?.kubernetes.as_ref()?.resource()));
    let takes_after = match (&cnpg.definition, live) {
        (Some(DefinitionSource::File(file)), _) => Definition::File(file.clone()),
        (Some(DefinitionSource::Captured), _) => Definition::Captured {
            cluster: source.name.clone(),
        },
        (None, Some(live)) => Definition::Live {
            namespace: live.namespace,
            name: live.name,
        },
        (None, None) => {
            return Err(Failure::configuration(format_args!(
                "drill `{}` has no Cluster to take after",
                definition.name
            ))
            .with_hint(format_args!(
                "give cluster `{}` a `kubernetes: {{namespace: …, name: …}}` in walproof.yaml, or name \
                 one under `cnpg.source`, or `captured` or a file under `cnpg.definition`",
                source.name
            )));
        }
    };
    let keep = request.keep_for.or_else(|| cnpg.keep.map(Period::as_std));
    if keep.is_some_and(|keep| keep > KEPT_AT_MOST) {
        return Err(
            Failure::configuration("a restored database is kept for at most 14 days").with_hint(
                "what is needed longer is no drill: restore it by a Cluster of your own",
            ),
        );
    }
    let mut parameters = texts(&definition.settings);
    parameters.extend(texts(&cnpg.parameters));
    let in_bytes = |size: Option<ByteSize>| size.map(|size| size.bytes().to_string());
    let options = CnpgOptions {
        access: Access {
            kubeconfig: config.kubernetes.kubeconfig.clone(),
            context: config.kubernetes.context.clone(),
        },
        scratch_role: config.kubernetes.scratch_role.clone(),
        definition: takes_after,
        form: cnpg.form.map(|form| match form {
            RecoveryForm::Plugin => Form::Plugin,
            RecoveryForm::InTree => Form::InTree,
            RecoveryForm::Snapshot => Form::Snapshot,
        }),
        snapshot: cnpg.snapshot.filter(|name| name != "newest"),
        namespace_prefix: cnpg.namespace_prefix.unwrap_or_else(|| PREFIX.to_owned()),
        overrides: Overrides {
            image: cnpg.image,
            storage_class: cnpg.storage_class,
            storage_size: in_bytes(cnpg.storage_size),
            wal_storage_size: in_bytes(cnpg.wal_storage_size),
            cpu: cnpg.cpu,
            memory: in_bytes(cnpg.memory),
            node_selector: cnpg.node_selector,
            tolerations: cnpg.tolerations,
            service_account_annotations: cnpg.service_account_annotations,
            parameters,
            preload: definition.preload.clone(),
        },
        quota: Quota {
            cpu: cnpg.quota.cpu,
            memory: in_bytes(cnpg.quota.memory),
            storage: in_bytes(cnpg.quota.storage),
        },
        store: source.options.clone(),
        endpoint: cnpg
            .endpoint
            .as_ref()
            .map(Endpoint::as_str)
            .map(str::to_owned),
        store_cidrs: cnpg.store_cidrs,
        owner: cluster.and_then(|cluster| cluster.owner.clone()),
        cost_centre: cnpg.cost_centre,
        secret_in: None,
        keep,
    };
    Ok(EnvironmentOptions::Cnpg(Box::new(options)))
}
