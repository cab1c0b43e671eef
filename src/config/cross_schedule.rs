//! What schedules say of clusters, tiers, copies and drills, and of themselves.

use std::collections::BTreeMap;

use super::cross::mistake_at;
use super::error::Mistake;
use super::load::Document;
use super::suggest;
use super::tree::Step;
use super::{
    ConfigFile, DaemonConfig, DrillDefinition, ExecutorKind, Schedule, ScheduledJob, StateDatabase,
};

/// Checks the schedules and the daemon's settings.
pub(super) fn check(
    main: &Document<ConfigFile>,
    drills: &[Document<DrillDefinition>],
    mistakes: &mut Vec<Mistake>,
) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, schedule) in main.content.schedules.iter().enumerate() {
        let name = schedule.name.as_str();
        if let Some(first) = seen.get(name) {
            mistakes.push(mistake_at(
                main,
                &at(index, "name"),
                format!("two schedules are called `{name}` (the other is `schedules[{first}]`)"),
            ));
        }
        seen.insert(name, index);
        check_names(main, index, schedule, drills, mistakes);
        check_meaning(main, index, schedule, mistakes);
    }
    if let Some(lease) = main.content.daemon.lease
        && lease.as_std() < DaemonConfig::LEAST_LEASE
    {
        mistakes.push(mistake_at(
            main,
            &[Step::Key("daemon"), Step::Key("lease")],
            format!("`daemon.lease` cannot be {lease}; a lease is at least 3s"),
        ));
    }
    check_executor(main, mistakes);
}

/// Pods share nothing with the daemon but the state.
fn check_executor(main: &Document<ConfigFile>, mistakes: &mut Vec<Mistake>) {
    let daemon = &main.content.daemon;
    if daemon.executor != ExecutorKind::Kubernetes {
        return;
    }
    let shared = main
        .content
        .state
        .as_ref()
        .is_some_and(|state| matches!(state.database(), StateDatabase::Postgres(_)));
    if !shared {
        mistakes.push(
            mistake_at(
                main,
                &[Step::Key("daemon"), Step::Key("executor")],
                "`executor: kubernetes` needs a state in PostgreSQL: pods cannot share a file",
            )
            .with_help("name it under `state`: postgres://walproof@host:5432/walproof"),
        );
    }
    let pods = daemon.kubernetes.as_ref();
    if pods.is_none_or(|pods| pods.template.is_none() && pods.image.is_none()) {
        mistakes.push(
            mistake_at(
                main,
                &[Step::Key("daemon"), Step::Key("kubernetes")],
                "`executor: kubernetes` needs to know its pods",
            )
            .with_help(
                "name a pod template or an image: `daemon: {kubernetes: {template: pod.yaml}}`",
            ),
        );
    }
}

fn at(index: usize, key: &'static str) -> [Step<'static>; 3] {
    [Step::Key("schedules"), Step::Index(index), Step::Key(key)]
}

/// Names that nothing has.
fn check_names(
    main: &Document<ConfigFile>,
    index: usize,
    schedule: &Schedule,
    drills: &[Document<DrillDefinition>],
    mistakes: &mut Vec<Mistake>,
) {
    let content = &main.content;
    let this = &schedule.name;
    let clusters: Vec<&str> = content
        .clusters
        .iter()
        .map(|cluster| cluster.name.as_str())
        .collect();
    let tiers: Vec<&str> = content.tiers.keys().map(String::as_str).collect();
    for (key, singular, given, known) in [
        ("clusters", "cluster", &schedule.clusters, &clusters),
        ("tiers", "tier", &schedule.tiers, &tiers),
    ] {
        for (position, name) in given.iter().flatten().enumerate() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let mut path = at(index, key).to_vec();
            path.push(Step::Index(position));
            mistakes.push(
                mistake_at(
                    main,
                    &path,
                    format!("schedule `{this}`: there is no {singular} `{name}`"),
                )
                .with_help(suggest::help(name, key, known)),
            );
        }
    }
    let selected: Vec<_> = content
        .clusters
        .iter()
        .filter(|cluster| schedule.selects(&cluster.name, cluster.tier.as_deref()))
        .collect();
    let copies: Vec<String> = selected
        .iter()
        .flat_map(|cluster| cluster.copies().map(|(label, _)| label))
        .collect();
    for (position, name) in schedule.copies.iter().flatten().enumerate() {
        if selected.is_empty() || copies.iter().any(|label| label == name) {
            continue;
        }
        let mut path = at(index, "copies").to_vec();
        path.push(Step::Index(position));
        let mut known: Vec<&str> = copies.iter().map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        mistakes.push(
            mistake_at(
                main,
                &path,
                format!("schedule `{this}`: none of its clusters has a copy `{name}`"),
            )
            .with_help(suggest::help(name, "copies", &known)),
        );
    }
    if let Some(name) = &schedule.drill
        && !drills.iter().any(|drill| drill.content.name == *name)
    {
        let known: Vec<&str> = drills
            .iter()
            .map(|drill| drill.content.name.as_str())
            .collect();
        mistakes.push(
            mistake_at(
                main,
                &at(index, "drill"),
                format!("schedule `{this}`: there is no drill `{name}`"),
            )
            .with_help(suggest::help(name, "drills", &known)),
        );
    }
}

/// Keys that mean nothing for the kind of job.
fn check_meaning(
    main: &Document<ConfigFile>,
    index: usize,
    schedule: &Schedule,
    mistakes: &mut Vec<Mistake>,
) {
    let job = schedule.job;
    let report = job == ScheduledJob::Report;
    for (key, given, fits) in [
        (
            "depth",
            schedule.depth.is_some(),
            job == ScheduledJob::Verify,
        ),
        (
            "drill",
            schedule.drill.is_some(),
            job == ScheduledJob::Drill,
        ),
        ("period", schedule.period.is_some(), report),
        ("copies", schedule.copies.is_some(), !report),
        ("clusters", schedule.clusters.is_some(), !report),
        ("tiers", schedule.tiers.is_some(), !report),
    ] {
        if given && !fits {
            mistakes.push(
                mistake_at(
                    main,
                    &at(index, key),
                    format!(
                        "schedule `{}`: `{key}` has no meaning for `{}`",
                        schedule.name,
                        job.as_str()
                    ),
                )
                .with_help("remove it"),
            );
        }
    }
}
