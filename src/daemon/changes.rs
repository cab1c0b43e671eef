//! What differs between two configurations, in words.

use crate::config::Config;

/// What differs, in words: names, never values that could be long or private.
pub(super) fn between(old: &Config, new: &Config) -> Vec<String> {
    let mut words = Vec::new();
    named(
        &mut words,
        "cluster",
        old.clusters.iter().map(|one| (one.name.as_str(), one)),
        new.clusters.iter().map(|one| (one.name.as_str(), one)),
    );
    named(
        &mut words,
        "tier",
        old.tiers.iter().map(|(name, one)| (name.as_str(), one)),
        new.tiers.iter().map(|(name, one)| (name.as_str(), one)),
    );
    named(
        &mut words,
        "schedule",
        old.schedules.iter().map(|one| (one.name.as_str(), one)),
        new.schedules.iter().map(|one| (one.name.as_str(), one)),
    );
    named(
        &mut words,
        "drill",
        old.drills
            .iter()
            .map(|one| (one.definition.name.as_str(), one)),
        new.drills
            .iter()
            .map(|one| (one.definition.name.as_str(), one)),
    );
    for (what, differs) in [
        ("daemon", old.daemon != new.daemon),
        ("time_zone", old.time_zone != new.time_zone),
        ("notifications", old.notifications != new.notifications),
    ] {
        if differs {
            words.push(format!("{what} changed"));
        }
    }
    words
}

fn named<'a, T: PartialEq + 'a>(
    words: &mut Vec<String>,
    what: &str,
    old: impl Iterator<Item = (&'a str, &'a T)>,
    new: impl Iterator<Item = (&'a str, &'a T)>,
) {
    let old: std::collections::BTreeMap<&str, &T> = old.collect();
    let new: std::collections::BTreeMap<&str, &T> = new.collect();
    for (name, one) in &new {
        match old.get(name) {
            None => words.push(format!("{what} {name} added")),
            Some(before) if before != one => words.push(format!("{what} {name} changed")),
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        words.push(format!("{what} {name} removed"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cluster, RepositoryConfig, Tier};

    #[test]
    fn what_differs_is_named() {
        let cluster = |name: &str, owner: Option<&str>| Cluster {
            name: name.to_owned(),
            description: None,
            owner: owner.map(str::to_owned),
            tier: None,
            raci: None,
            primary: RepositoryConfig::at("file:///srv/x".parse().unwrap()),
            replicas: Vec::new(),
            heartbeat: None,
            kubernetes: None,
        };
        let old = Config {
            clusters: vec![cluster("a", None), cluster("b", None), cluster("c", None)],
            ..Config::default()
        };
        let mut new = Config {
            clusters: vec![
                cluster("b", None),
                cluster("c", Some("me")),
                cluster("d", None),
            ],
            ..old.clone()
        };
        new.tiers.insert("gold".to_owned(), Tier::default());
        new.time_zone = "Europe/Berlin".parse().unwrap();
        assert_eq!(
            between(&old, &new),
            [
                "cluster c changed",
                "cluster d added",
                "cluster a removed",
                "tier gold added",
                "time_zone changed"
            ]
        );
        assert!(between(&old, &old).is_empty());
    }
}
