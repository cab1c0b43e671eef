//! What comes to the configuration from elsewhere than its files: resources of Kubernetes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{
    Cluster, Config, DrillDefinition, Endpoint, LoadedDrill, RepositoryConfig, Schedule, Tier,
};
use crate::evidence::Digest;

/// Further configuration. Plain data: who made it has checked each part by itself;
/// [`merge`] checks it against the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overlay {
    /// Further clusters.
    #[serde(default)]
    pub clusters: Vec<Declared<Cluster>>,
    /// Further tiers, by name.
    #[serde(default)]
    pub tiers: Vec<Declared<(String, Tier)>>,
    /// Further schedules.
    #[serde(default)]
    pub schedules: Vec<Declared<Schedule>>,
    /// Further drill definitions.
    #[serde(default)]
    pub drills: Vec<Declared<DrillDefinition>>,
    /// What all of it was made of, for the ledger.
    #[serde(default, skip_serializing)]
    pub digests: Vec<Digest>,
}

/// A part of the configuration and the resource that declares it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declared<T> {
    /// The resource.
    pub by: Origin,
    /// What it declares.
    pub what: T,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Its kind, such as `RecoveryDrill`.
    pub kind: Cow<'static, str>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The reason of a refusal: what the file or an older resource declares has this name.
pub const NAME_TAKEN: &str = "NameTaken";

/// Why a part of an overlay does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The resource that declares it.
    pub by: Origin,
    /// The name of what does not hold: of a cluster, a drill, a tier, a schedule.
    pub what: String,
    /// Why, in a CamelCase word, such as [`NAME_TAKEN`].
    pub reason: &'static str,
    /// Why, and what to do.
    pub message: String,
}

/// A configuration with what resources add to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// What holds.
    pub config: Config,
    /// What does not.
    pub refusals: Vec<Refusal>,
}

/// The configuration of the files with an overlay. The files win: of a name that both have the
/// overlay's is refused, and with a cluster, a tier or a drill that is refused goes what needs
/// it. A resource that is refused never keeps others out.
pub fn merge(files: &Config, overlay: &Overlay) -> Merged {
    let mut merge = Merge {
        config: files.clone(),
        refusals: Vec::new(),
        by: BTreeMap::new(),
        places: BTreeMap::new(),
    };
    for cluster in &files.clusters {
        for (label, copy) in cluster.copies() {
            let owner = format!("{}/{label}", cluster.name);
            merge.places.insert(place(copy), owner);
        }
    }
    for tier in &overlay.tiers {
        merge.tier(tier);
    }
    for cluster in &overlay.clusters {
        merge.cluster(cluster);
    }
    for drill in &overlay.drills {
        merge.drill(drill);
    }
    for schedule in &overlay.schedules {
        merge.schedule(schedule);
    }
    Merged {
        config: merge.config,
        refusals: merge.refusals,
    }
}

struct Merge {
    config: Config,
    refusals: Vec<Refusal>,
    /// Who declared a name of each sort.
    by: BTreeMap<(&'static str, String), Origin>,
    /// Whose each place is: cluster and copy.
    places: BTreeMap<Place, String>,
}

/// Where a copy lies: endpoint and URL.
type Place = (Option<String>, String);

fn place(copy: &RepositoryConfig) -> Place {
    let endpoint = copy.endpoint.as_ref().map(Endpoint::as_str);
    let endpoint = endpoint.map(|one| one.trim_end_matches('/').to_owned());
    (endpoint, copy.url.to_string())
}

impl Merge {
    fn refuse(&mut self, by: &Origin, what: &str, reason: &'static str, message: String) {
        let refusal = Refusal {
            by: by.clone(),
            what: what.to_owned(),
            reason,
            message,
        };
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    /// Who has a name already, in words.
    fn taken(&mut self, sort: &'static str, name: &str, by: &Origin) {
        let other = self.by.get(&(sort, name.to_owned()));
        let other = other.map_or_else(
            || "the controller's configuration file".to_owned(),
            ToString::to_string,
        );
        let message = format!("there is a {sort} `{name}` already: it comes from {other}");
        self.refuse(by, name, NAME_TAKEN, message);
    }

    fn tier(&mut self, Declared { by, what }: &Declared<(String, Tier)>) {
        let (name, tier) = what;
        if self.config.tiers.contains_key(name) {
            self.taken("tier", name, by);
            return;
        }
        self.config.tiers.insert(name.clone(), tier.clone());
        self.by.insert(("tier", name.clone()), by.clone());
    }

    fn cluster(&mut self, Declared { by, what }: &Declared<Cluster>) {
        if self.config.cluster(&what.name).is_some() {
            self.taken("cluster", &what.name, by);
            return;
        }
        if let Some(tier) = what.tier.as_ref()
            && !self.config.tiers.contains_key(tier)
        {
            let known: Vec<&str> = self.config.tiers.keys().map(String::as_str).collect();
            let message = format!(
                "there is no tier `{tier}` in the controller's configuration; there are: {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            );
            self.refuse(by, &what.name, "NoSuchTier", message);
            return;
        }
        if let Some(message) = self.shared_place(what) {
            self.refuse(by, &what.name, "PlaceTaken", message);
            return;
        }
        for (label, copy) in what.copies() {
            let owner = format!("{}/{label}", what.name);
            self.places.insert(place(copy), owner);
        }
        self.config.clusters.push(what.clone());
        self.by.insert(("cluster", what.name.clone()), by.clone());
    }

    /// The first place of a cluster that another one has.
    fn shared_place(&self, cluster: &Cluster) -> Option<String> {
        cluster.copies().find_map(|(label, copy)| {
            let theirs = self.places.get(&place(copy))?;
            Some(format!(
                "{}/{label} is the same place as {theirs}; every cluster and every copy needs a place of its own",
                cluster.name
            ))
        })
    }

    fn drill(&mut self, Declared { by, what }: &Declared<DrillDefinition>) {
        if self.config.drill(&what.name).is_some() {
            self.taken("drill", &what.name, by);
            return;
        }
        let mut definition = what.clone();
        let missing: Vec<String> = definition
            .clusters
            .iter()
            .filter(|name| self.config.cluster(name).is_none())
            .cloned()
            .collect();
        definition.clusters.retain(|name| !missing.contains(name));
        if definition.clusters.is_empty() {
            let message = format!(
                "no ProtectedCluster guards {}",
                if missing.is_empty() {
                    "any Cluster of it".to_owned()
                } else {
                    missing.join(", ")
                }
            );
            self.refuse(by, &what.name, "ClusterNotGuarded", message);
            return;
        }
        if let Some(message) = self.lacks(&definition) {
            self.refuse(by, &what.name, "Invalid", message);
            return;
        }
        self.by.insert(("drill", what.name.clone()), by.clone());
        self.config.drills.push(LoadedDrill {
            file: by.to_string().into(),
            definition,
        });
    }

    /// What a definition wants of its clusters and they have not.
    fn lacks(&self, definition: &DrillDefinition) -> Option<String> {
        for name in &definition.clusters {
            let cluster = self.config.cluster(name)?;
            if !definition.alone.is_no() && cluster.replicas.is_empty() {
                return Some(format!(
                    "`alone`: cluster `{name}` has no other copy that could be away; name `replicas` in its ProtectedCluster"
                ));
            }
            if let Some(copy) = &definition.copy
                && !cluster.copies().any(|(label, _)| label == *copy)
            {
                let labels: Vec<String> = cluster.copies().map(|(label, _)| label).collect();
                return Some(format!(
                    "`copy`: cluster `{name}` has no copy `{copy}`; there are: {}",
                    labels.join(", ")
                ));
            }
        }
        None
    }

    fn schedule(&mut self, Declared { by, what }: &Declared<Schedule>) {
        let known = self.config.schedules.iter();
        if known.clone().any(|one| one.name == what.name) {
            self.taken("schedule", &what.name, by);
            return;
        }
        // With what it was for went the reason.
        if let Some(drill) = &what.drill
            && self.config.drill(drill).is_none()
        {
            return;
        }
        let mut schedule = what.clone();
        if let Some(clusters) = &mut schedule.clusters {
            clusters.retain(|name| self.config.cluster(name).is_some());
            if clusters.is_empty() {
                return;
            }
        }
        self.by.insert(("schedule", what.name.clone()), by.clone());
        self.config.schedules.push(schedule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str) -> Origin {
        Origin {
            kind: "ProtectedCluster".into(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    fn by<T>(name: &str, what: T) -> Declared<T> {
        Declared {
            by: origin(name),
            what,
        }
    }

    fn cluster(name: &str, url: &str, tier: Option<&str>) -> Cluster {
        Cluster {
            name: name.to_owned(),
            description: None,
            owner: None,
            tier: tier.map(str::to_owned),
            raci: None,
            primary: RepositoryConfig::at(url.parse().unwrap()),
            replicas: Vec::new(),
            heartbeat: None,
            kubernetes: None,
        }
    }

    fn drill(name: &str, clusters: &[&str]) -> DrillDefinition {
        DrillDefinition {
            clusters: clusters.iter().map(|one| (*one).to_owned()).collect(),
            ..DrillDefinition::plain(name)
        }
    }

    fn files() -> Config {
        let mut config = Config {
            clusters: vec![cluster("orders", "s3://b/orders", None)],
            ..Config::default()
        };
        config.tiers.insert("gold".to_owned(), Tier::default());
        config
    }

    #[track_caller]
    fn refused(overlay: &Overlay) -> (Config, Vec<(String, &'static str)>) {
        let merged = merge(&files(), overlay);
        let refusals = merged.refusals.into_iter();
        let refusals = refusals.map(|one| (one.what, one.reason)).collect();
        (merged.config, refusals)
    }

    #[test]
    fn the_files_win_and_what_is_refused_keeps_no_other_out() {
        let overlay = Overlay {
            clusters: vec![
                by("a", cluster("orders", "s3://b/other", None)),
                by("b", cluster("shop.x", "s3://b/orders", None)),
                by("c", cluster("shop.y", "s3://b/y", Some("silver"))),
                by("d", cluster("shop.z", "s3://b/z", Some("gold"))),
                by("e", cluster("shop.w", "s3://b/z", None)),
            ],
            ..Overlay::default()
        };
        let (config, refusals) = refused(&overlay);
        let expected = [
            ("orders", "NameTaken"),
            ("shop.x", "PlaceTaken"),
            ("shop.y", "NoSuchTier"),
            ("shop.w", "PlaceTaken"),
        ];
        assert_eq!(refusals, expected.map(|(what, why)| (what.to_owned(), why)));
        assert_eq!(config.clusters.len(), 2);
        assert_eq!(config.cluster("orders"), files().cluster("orders"));
        assert!(config.cluster("shop.z").is_some());
        // Nothing added is nothing changed.
        assert_eq!(merge(&files(), &Overlay::default()).config, files());
    }

    /// The state keeps it as JSON, for commands beside the daemon.
    #[test]
    fn it_is_the_same_after_it_was_kept() {
        let schedule = serde_json::json!({"name": "s", "job": "drill", "cron": "@daily",
            "drill": "good", "clusters": ["orders"]});
        let overlay = Overlay {
            clusters: vec![by("b", cluster("shop.x", "s3://b/x", Some("gold")))],
            tiers: vec![by("b", ("gold".to_owned(), Tier::default()))],
            schedules: vec![by("b", serde_json::from_value(schedule).unwrap())],
            drills: vec![by("b", drill("good", &["orders"]))],
            digests: Vec::new(),
        };
        let kept = serde_json::to_string(&overlay).unwrap();
        assert_eq!(serde_json::from_str::<Overlay>(&kept).unwrap(), overlay);
    }

    #[test]
    fn what_needs_a_cluster_goes_with_it() {
        let schedule = |name: &str, clusters: &[&str]| {
            let text = serde_json::json!({"name": name, "job": "drill", "cron": "@daily",
                "drill": name, "clusters": clusters});
            serde_json::from_value::<Schedule>(text).unwrap()
        };
        let overlay = Overlay {
            drills: vec![
                by("good", drill("good", &["orders", "gone"])),
                by("orphan", drill("orphan", &["gone"])),
                by("again", drill("good", &["orders"])),
            ],
            schedules: vec![
                by("good", schedule("good", &["orders", "gone"])),
                by("orphan", schedule("orphan", &["gone"])),
            ],
            ..Overlay::default()
        };
        let (config, refusals) = refused(&overlay);
        let expected = [("orphan", "ClusterNotGuarded"), ("good", "NameTaken")];
        assert_eq!(refusals, expected.map(|(what, why)| (what.to_owned(), why)));
        assert_eq!(config.drills.len(), 1);
        assert_eq!(config.drills[0].definition.clusters, ["orders"]);
        let names: Vec<&str> = config
            .schedules
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, ["good"]);
        let wanted = config.schedules[0].clusters.as_ref().unwrap();
        assert_eq!(*wanted, ["orders"]);
    }

    #[test]
    fn a_drill_needs_the_copies_that_it_speaks_of() {
        for (change, reason) in [
            ("copy", Some("Invalid")),
            ("alone", Some("Invalid")),
            ("", None),
        ] {
            let mut definition = drill("d", &["orders"]);
            match change {
                "copy" => definition.copy = Some("far".to_owned()),
                "alone" => definition.alone = crate::config::AloneSetting::Report,
                _ => {}
            }
            let overlay = Overlay {
                drills: vec![by("d", definition)],
                ..Overlay::default()
            };
            let (config, refusals) = refused(&overlay);
            assert_eq!(refusals.first().map(|(_, why)| *why), reason);
            assert_eq!(config.drills.is_empty(), reason.is_some());
        }
    }
}
