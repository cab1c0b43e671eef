//! Checks that no schema can express: what one part of the configuration says of another.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::error::Mistake;
use super::load::Document;
use super::suggest;
use super::tree::Step;
use super::{Cluster, ConfigFile, DrillDefinition, RepositoryConfig, SecretSource, StateDatabase};
use crate::storage::Scheme;

/// A mistake at a place of a document.
pub(super) fn mistake_at<T>(
    document: &Document<T>,
    path: &[Step<'_>],
    message: impl Into<String>,
) -> Mistake {
    Mistake::new(&document.file, Some(document.tree.place_of(path)), message)
}

/// Checks a configuration with its drills.
pub(super) fn check(
    main: &Document<ConfigFile>,
    drills: &[Document<DrillDefinition>],
    mistakes: &mut Vec<Mistake>,
) {
    let content = &main.content;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut places: BTreeMap<(String, String), String> = BTreeMap::new();
    for (index, cluster) in content.clusters.iter().enumerate() {
        let at = |key| [Step::Key("clusters"), Step::Index(index), Step::Key(key)];
        if let Some(first) = seen.get(cluster.name.as_str()) {
            mistakes.push(mistake_at(
                main,
                &at("name"),
                format!(
                    "two clusters are called `{}` (the other is `clusters[{first}]`)",
                    cluster.name
                ),
            ));
        }
        seen.insert(&cluster.name, index);
        if let Some(tier) = &cluster.tier
            && !content.tiers.contains_key(tier)
        {
            let known: Vec<&str> = content.tiers.keys().map(String::as_str).collect();
            mistakes.push(
                mistake_at(
                    main,
                    &at("tier"),
                    format!("cluster `{}`: there is no tier `{tier}`", cluster.name),
                )
                .with_help(suggest::help(tier, "tiers", &known)),
            );
        }
        check_copies(main, index, cluster, &mut places, mistakes);
    }
    check_state(main, mistakes);
    check_drills(main, drills, mistakes);
    super::notification_check::check(main, mistakes);
}

/// A file has no password, and its directory is its own.
fn check_state(main: &Document<ConfigFile>, mistakes: &mut Vec<Mistake>) {
    let content = &main.content;
    let server = content
        .state
        .as_ref()
        .is_some_and(|state| matches!(state.database(), StateDatabase::Postgres(_)));
    for (key, given) in [
        ("state_password", content.state_password.is_some()),
        ("state_directory", content.state_directory.is_some()),
    ] {
        if given && !server {
            mistakes.push(
                mistake_at(
                    main,
                    &[Step::Key(key)],
                    format!("`{key}` has no meaning for a state in SQLite"),
                )
                .with_help("remove it, or name a database in PostgreSQL: `state: postgres://…`"),
            );
        }
    }
    if let Some(message) = content.state_password.as_ref().and_then(check_source) {
        mistakes.push(mistake_at(
            main,
            &[Step::Key("state_password")],
            format!("`state_password` {message}"),
        ));
    }
}

fn repository_path<'a>(cluster: usize, copy: usize) -> Vec<Step<'a>> {
    let mut path = vec![Step::Key("clusters"), Step::Index(cluster)];
    match copy.checked_sub(1) {
        None => path.push(Step::Key("primary")),
        Some(replica) => path.extend([Step::Key("replicas"), Step::Index(replica)]),
    }
    path
}

fn check_copies(
    main: &Document<ConfigFile>,
    index: usize,
    cluster: &Cluster,
    places: &mut BTreeMap<(String, String), String>,
    mistakes: &mut Vec<Mistake>,
) {
    let mut labels: Vec<String> = Vec::new();
    for (copy, (label, repository)) in cluster.copies().enumerate() {
        let path = repository_path(index, copy);
        let below = |key| {
            let mut path = path.clone();
            path.push(Step::Key(key));
            path
        };
        let this = format!("{}/{label}", cluster.name);
        let place = (
            repository
                .endpoint
                .as_ref()
                .map(|endpoint| endpoint.as_str().trim_end_matches('/').to_owned())
                .unwrap_or_default(),
            repository.url.to_string(),
        );
        if let Some(other) = places.get(&place) {
            mistakes.push(
                mistake_at(
                    main,
                    &below("url"),
                    format!("{this} is the same place as {other}"),
                )
                .with_help("every cluster and every copy needs a place of its own"),
            );
        } else {
            places.insert(place, this.clone());
        }
        if labels.contains(&label) {
            mistakes.push(mistake_at(
                main,
                &below("name"),
                format!("cluster `{}` has two copies called `{label}`", cluster.name),
            ));
        }
        labels.push(label);
        check_settings(main, &this, repository, &path, mistakes);
        if copy == 0 && repository.replication.is_some() {
            mistakes.push(
                mistake_at(
                    main,
                    &below("replication"),
                    format!("{this}: `replication` has no meaning for the primary"),
                )
                .with_help("it belongs to the replicas, which are made from the primary"),
            );
        }
    }
}

/// Settings that have no meaning for the kind of store.
fn check_settings(
    main: &Document<ConfigFile>,
    this: &str,
    repository: &RepositoryConfig,
    path: &[Step<'_>],
    mistakes: &mut Vec<Mistake>,
) {
    let scheme = repository.url.scheme();
    let s3 = scheme == Scheme::S3;
    let file = scheme == Scheme::File;
    let locks = repository
        .replication
        .as_ref()
        .is_some_and(|replication| replication.retention.is_some());
    for (key, given, fits) in [
        ("endpoint", repository.endpoint.is_some(), !file),
        ("region", repository.region.is_some(), s3),
        ("path_style", repository.path_style.is_some(), s3),
        (
            "account",
            repository.account.is_some(),
            scheme == Scheme::Azure,
        ),
        ("ca_file", repository.ca_file.is_some(), !file),
        ("ca", repository.ca.is_some(), !file),
        ("credentials", repository.credentials.is_some(), !file),
        ("replication.retention", locks, s3),
    ] {
        if given && !fits {
            let mut path = path.to_vec();
            path.extend(key.split('.').map(Step::Key));
            mistakes.push(
                mistake_at(
                    main,
                    &path,
                    format!("{this}: `{key}` has no meaning for {}://", scheme.as_str()),
                )
                .with_help("remove it"),
            );
        }
    }
    if let Some(ca) = &repository.ca {
        let both = repository
            .ca_file
            .is_some()
            .then_some("is given beside `ca_file`; one of them is enough");
        if let Some(message) = check_any_source(ca).or(both) {
            let mut path = path.to_vec();
            path.push(Step::Key("ca"));
            mistakes.push(mistake_at(main, &path, format!("{this}: `ca` {message}")));
        }
    }
    if let Some(credentials) = &repository.credentials {
        for (key, source) in credentials.sources() {
            if let Some(message) = check_any_source(source) {
                let mut path = path.to_vec();
                path.extend([Step::Key("credentials"), Step::Key(key)]);
                mistakes.push(mistake_at(
                    main,
                    &path,
                    format!("{this}: `{key}` {message}"),
                ));
            }
        }
    }
}

/// A secret that is read where Kubernetes is not asked.
pub(super) fn check_source(source: &SecretSource) -> Option<&'static str> {
    if source.kubernetes.is_some() {
        return Some(
            "names a Secret of Kubernetes, which is possible for repositories only; mount it, and name `env` or `file`",
        );
    }
    match (&source.env, &source.file) {
        (Some(_), Some(_)) => Some("names both `env` and `file`; one of them is enough"),
        (None, None) => Some("needs `env` or `file`"),
        _ => None,
    }
}

/// A secret that may also lie in Kubernetes.
fn check_any_source(source: &SecretSource) -> Option<&'static str> {
    match (&source.env, &source.file, &source.kubernetes) {
        (None, None, None) => Some("needs `env`, `file` or `kubernetes`"),
        (_, _, None) => check_source(source),
        (None, None, Some(_)) => None,
        _ => Some("names more than one of `env`, `file` and `kubernetes`; one is enough"),
    }
}

fn check_drills(
    main: &Document<ConfigFile>,
    drills: &[Document<DrillDefinition>],
    mistakes: &mut Vec<Mistake>,
) {
    let known: Vec<&str> = main
        .content
        .clusters
        .iter()
        .map(|cluster| cluster.name.as_str())
        .collect();
    let mut names: BTreeMap<&str, &std::path::Path> = BTreeMap::new();
    for drill in drills {
        check_drill(drill, mistakes);
        let definition = &drill.content;
        if let Some(other) = names.get(definition.name.as_str()) {
            mistakes.push(mistake_at(
                drill,
                &[Step::Key("name")],
                format!(
                    "two drills are called `{}` (the other is in {})",
                    definition.name,
                    other.display()
                ),
            ));
        }
        names.insert(&definition.name, &drill.file);
        for (index, name) in definition.clusters.iter().enumerate() {
            let path = [Step::Key("clusters"), Step::Index(index)];
            let Some(cluster) = main.content.clusters.iter().find(|c| c.name == *name) else {
                mistakes.push(
                    mistake_at(
                        drill,
                        &path,
                        format!("drill `{}`: there is no cluster `{name}`", definition.name),
                    )
                    .with_help(suggest::help(name, "clusters", &known)),
                );
                continue;
            };
            if !definition.alone.is_no() && cluster.replicas.is_empty() {
                mistakes.push(
                    mistake_at(
                        drill,
                        &[Step::Key("alone")],
                        format!("cluster `{name}` has no other copy that could be away"),
                    )
                    .with_help("remove `alone`, or name the other copies under `replicas`"),
                );
            }
            if let Some(copy) = &definition.copy
                && !cluster.copies().any(|(label, _)| label == *copy)
            {
                let labels: Vec<String> = cluster.copies().map(|(label, _)| label).collect();
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                mistakes.push(
                    mistake_at(
                        drill,
                        &[Step::Key("copy")],
                        format!("cluster `{name}` has no copy `{copy}`"),
                    )
                    .with_help(suggest::help(copy, "copies", &labels)),
                );
            }
        }
    }
}

/// Checks what a drill definition says of itself.
pub(super) fn check_drill(drill: &Document<DrillDefinition>, mistakes: &mut Vec<Mistake>) {
    let mut names: Vec<&str> = Vec::new();
    for (index, check) in drill.content.checks.iter().enumerate() {
        let path = [Step::Key("checks"), Step::Index(index)];
        let below = |key| [Step::Key("checks"), Step::Index(index), Step::Key(key)];
        match (&check.expect, &check.rows) {
            (None, None) => mistakes.push(
                mistake_at(
                    drill,
                    &path,
                    format!(
                        "check `{}` expects nothing, so it could not fail",
                        check.name
                    ),
                )
                .with_help("add `expect` (such as `> 0`) or `rows`"),
            ),
            (Some(_), Some(_)) => mistakes.push(mistake_at(
                drill,
                &below("rows"),
                format!(
                    "check `{}` has both `expect` and `rows`; make two checks of it",
                    check.name
                ),
            )),
            _ => {}
        }
        if names.contains(&check.name.as_str()) {
            mistakes.push(mistake_at(
                drill,
                &below("name"),
                format!("two checks are called `{}`", check.name),
            ));
        }
        names.push(&check.name);
    }
    let blocks = drill.content.cnpg.iter().flat_map(|one| &one.store_cidrs);
    for (index, block) in blocks.enumerate() {
        if !is_address_block(block) {
            let path = [
                Step::Key("cnpg"),
                Step::Key("store_cidrs"),
                Step::Index(index),
            ];
            mistakes.push(
                mistake_at(drill, &path, format!("`{block}` is no block of addresses"))
                    .with_help("write it as `203.0.113.0/24` or `2001:db8::/32`"),
            );
        }
    }
}

/// Whether a text is an address with the length of a prefix.
fn is_address_block(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    prefix.bytes().all(|byte| byte.is_ascii_digit())
        && prefix.parse::<u8>().is_ok_and(|length| length <= longest)
}
