//! Manifests with which a person rebuilds production at another site, from a stored definition
//! and the replica beside it. Pure.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::kubernetes::cnpg::{Archive, PLUGIN};
use crate::kubernetes::definition::{CapturedObject, Content, canonical, to_yaml};
use crate::operation::Failure;
use crate::replicate::definition::StoredDefinition;
use crate::storage::{Location, Scheme};

/// What the ObjectStore, its Secret and the external cluster of the recovery are called.
const REPLICA: &str = "walproof-replica";

/// Where the rebuild recovers from, and where to.
#[derive(Clone, Debug)]
pub struct RebuildWish<'a> {
    /// The replica.
    pub location: &'a Location,
    /// Its endpoint as pods of the new site reach it.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Whether its endpoint has a certificate authority of its own.
    pub own_authority: bool,
    /// Another namespace than that of the definition.
    pub namespace: Option<String>,
    /// The moment, which names the folder that the new Cluster archives to.
    pub now: DateTime<Utc>,
}

/// Everything that a rebuild applies, in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuild {
    /// The files, in the order in which they are applied.
    pub files: Vec<RebuildFile>,
    /// The Secrets that must be there before the Cluster is applied.
    pub secrets: Vec<NeededSecret>,
    /// What to know, one sentence each.
    pub notes: Vec<String>,
}

/// A file of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RebuildFile {
    /// Its name.
    pub file: String,
    /// What it is.
    pub title: String,
    /// Its YAML.
    pub text: String,
}

/// A Secret that a person brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeededSecret {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The keys that it must have.
    pub keys: Vec<String>,
    /// Whether a rebuild works without.
    pub optional: bool,
    /// What refers to it.
    pub referenced_by: Vec<String>,
}

/// Makes a stored definition ready to be applied elsewhere: the Cluster recovers from the
/// replica and archives to a folder of its own.
///
/// # Errors
///
/// The definition holds no Cluster, or the replica is a place that no pod can reach.
pub fn rebuild(stored: &StoredDefinition, wish: &RebuildWish<'_>) -> Result<Rebuild, Failure> {
    let content = &stored.content;
    let namespace = wish
        .namespace
        .clone()
        .unwrap_or_else(|| content.namespace.clone());
    let source = content.source().map_err(Failure::configuration)?;
    let by_plugin = !matches!(source.archive, Archive::InTree { .. });
    let (folder, server) = wish
        .location
        .parent()
        .zip(wish.location.last_part())
        .ok_or_else(|| {
            Failure::configuration(format_args!("{} names no server's folder", wish.location))
        })?;
    let (configuration, keys) = store_of(wish, &folder)?;
    let secrets = secrets_of(content, wish, &namespace, keys);
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
    })];
    let rank = CapturedObject::rank;
    let cluster_rank = 5;
    let before = content
        .objects
        .iter()
        .filter(|one| rank(one) < cluster_rank);
    objects.extend(before.map(|object| moved(object, &namespace)));
    if by_plugin {
        objects.push(json!({
            "apiVersion": "barmancloud.cnpg.io/v1",
            "kind": "ObjectStore",
            "metadata": {"name": REPLICA, "namespace": namespace},
            "spec": {"configuration": configuration},
        }));
    }
    let mut notes = Vec::new();
    let archive = format!("{}-{}", content.name, wish.now.format("%Y%m%d%H%M%S"));
    let recovery = if by_plugin {
        json!({
            "name": REPLICA,
            "plugin": {
                "name": PLUGIN,
                "parameters": {"barmanObjectName": REPLICA, "serverName": server},
            },
        })
    } else {
        let mut configuration = configuration;
        if let Some(members) = configuration.as_object_mut() {
            members.insert("serverName".to_owned(), json!(server));
        }
        json!({"name": REPLICA, "barmanObjectStore": configuration})
    };
    for object in content
        .objects
        .iter()
        .filter(|one| rank(one) == cluster_rank)
    {
        let mut manifest = moved(object, &namespace);
        recover(&mut manifest, &recovery, &archive, &mut notes);
        objects.push(manifest);
    }
    let after = content
        .objects
        .iter()
        .filter(|one| rank(one) > cluster_rank);
    objects.extend(after.map(|object| moved(object, &namespace)));
    notes.extend(notes_of(content, stored));

    Ok(Rebuild {
        files: files_of(&objects),
        secrets,
        notes,
    })
}

/// The Secrets that a person brings: the way to the replica first.
fn secrets_of(
    content: &Content,
    wish: &RebuildWish<'_>,
    namespace: &str,
    mut keys: Vec<String>,
) -> Vec<NeededSecret> {
    keys.sort();
    let mut secrets = vec![NeededSecret {
        namespace: namespace.to_owned(),
        name: REPLICA.to_owned(),
        keys,
        optional: false,
        referenced_by: vec![format!(
            "the recovery from {}; it only needs to read",
            wish.location
        )],
    }];
    secrets.extend(content.secrets.iter().map(|secret| NeededSecret {
        namespace: namespace.to_owned(),
        name: secret.name.clone(),
        keys: if secret.wanted.is_empty() {
            secret.keys.clone().unwrap_or_default()
        } else {
            secret.wanted.clone()
        },
        optional: secret.optional,
        referenced_by: secret.referenced_by.clone(),
    }));
    secrets
}

/// One file per object, numbered in the order in which they are applied.
fn files_of(objects: &[Value]) -> Vec<RebuildFile> {
    let files = objects.iter().enumerate().map(|(index, manifest)| {
        let text = |pointer: &str| {
            let found = manifest.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        // What comes from a bucket is no path until it has been checked.
        let plain: String = format!("{}-{name}", kind.to_lowercase())
            .chars()
            .map(|c| match c {
                'a'..='z' | '0'..='9' | '-' => c,
                _ => '-',
            })
            .take(200)
            .collect();
        RebuildFile {
            file: format!("{:03}-{plain}.yaml", (index + 1) * 10),
            title: one_line(&format!("{kind} {name}")),
            text: to_yaml(&canonical(manifest)),
        }
    });
    files.collect()
}

/// A text that cannot end the comment that it stands in.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            let breaks = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            if breaks { ' ' } else { c }
        })
        .collect()
}

impl Rebuild {
    /// As one stream for `kubectl apply -f -`, with everything that a person must know as
    /// comments before it.
    pub fn to_stream(&self) -> String {
        let mut text = self.preface();
        for (index, file) in self.files.iter().enumerate() {
            let _ = write!(text, "---\n# {}. {}\n{}", index + 1, file.title, file.text);
        }
        text
    }

    /// What a person must know and bring, as comments.
    pub fn preface(&self) -> String {
        let mut text = String::from("# A rebuild, in this order:\n");
        for (index, file) in self.files.iter().enumerate() {
            let _ = writeln!(text, "#   {}. {}", index + 1, file.title);
            // Secrets are needed from the Cluster on; they live in the namespace.
            if index == 0 {
                text.push_str("#      then the Secrets below, before anything else\n");
            }
        }
        text.push_str("#\n# Secrets to provide (names and keys; no value was ever stored):\n");
        for secret in &self.secrets {
            let optional = if secret.optional { ", optional" } else { "" };
            let keys = if secret.keys.is_empty() {
                "not known".to_owned()
            } else {
                secret.keys.join(", ")
            };
            let what = format!(
                "{}/{}{optional}: keys {keys}",
                secret.namespace, secret.name
            );
            let _ = writeln!(text, "#   {}", one_line(&what));
            let by = secret.referenced_by.join(", ");
            let _ = writeln!(text, "#     for {}", one_line(&by));
        }
        if !self.notes.is_empty() {
            text.push_str("#\n# To know:\n");
        }
        for note in &self.notes {
            let _ = writeln!(text, "#   - {}", one_line(note));
        }
        text
    }
}

/// The object in the namespace of the rebuild.
fn moved(object: &CapturedObject, namespace: &str) -> Value {
    let mut manifest = object.manifest.clone();
    if object.namespace.is_some()
        && let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    manifest
}

/// Makes a Cluster recover from the replica and archive elsewhere than the one before.
fn recover(manifest: &mut Value, recovery: &Value, archive: &str, notes: &mut Vec<String>) {
    let annotations = manifest.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut)
        && annotations.remove("cnpg.io/hibernation").is_some()
    {
        notes.push("the Cluster was hibernated; the rebuilt one runs".to_owned());
    }
    let Some(spec) = manifest.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if spec.remove("replica").is_some() {
        notes.push(
            "the Cluster was a replica of another; the rebuilt one is a primary of its own"
                .to_owned(),
        );
    }
    let mut way = Map::new();
    way.insert("source".to_owned(), json!(REPLICA));
    let said = spec.get("bootstrap").and_then(|bootstrap| {
        ["initdb", "recovery", "pg_basebackup"]
            .into_iter()
            .find_map(|way| bootstrap.get(way))
    });
    for key in ["database", "owner", "secret"] {
        if let Some(value) = said.and_then(|said| said.get(key)) {
            way.insert(key.to_owned(), value.clone());
        }
    }
    spec.insert("bootstrap".to_owned(), json!({"recovery": way}));
    let others = spec.get("externalClusters").and_then(Value::as_array);
    let mut externals: Vec<Value> = others
        .into_iter()
        .flatten()
        .filter(|one| one.get("name") != Some(&json!(REPLICA)))
        .cloned()
        .collect();
    externals.push(recovery.clone());
    spec.insert("externalClusters".to_owned(), Value::Array(externals));
    let mut archives = false;
    let plugins = spec.get_mut("plugins").and_then(Value::as_array_mut);
    for plugin in plugins.into_iter().flatten() {
        if plugin.get("name") == Some(&json!(PLUGIN))
            && let Some(parameters) = plugin.get_mut("parameters").and_then(Value::as_object_mut)
        {
            parameters.insert("serverName".to_owned(), json!(archive));
            archives = true;
        }
    }
    let in_tree = spec
        .get_mut("backup")
        .and_then(|backup| backup.get_mut("barmanObjectStore"))
        .and_then(Value::as_object_mut);
    if let Some(store) = in_tree {
        store.insert("serverName".to_owned(), json!(archive));
        archives = true;
    }
    notes.push(if archives {
        format!(
            "the rebuilt Cluster archives to a folder of its own, `{archive}`: nothing is written into the \
             old archive; take a base backup as soon as it runs"
        )
    } else {
        "the Cluster archives nowhere: give it an archive before it takes writes".to_owned()
    });
}

/// The replica in the words of Barman Cloud, and the keys of the Secret that it refers to.
fn store_of(wish: &RebuildWish<'_>, folder: &Location) -> Result<(Value, Vec<String>), Failure> {
    let mut keys = Vec::new();
    let mut reference = |key: &str| {
        keys.push(key.to_owned());
        json!({"name": REPLICA, "key": key})
    };
    let mut configuration = Map::new();
    let (section, credentials, destination) = match wish.location.scheme() {
        Scheme::S3 => {
            let mut section = Map::new();
            section.insert("accessKeyId".to_owned(), reference("access-key-id"));
            section.insert("secretAccessKey".to_owned(), reference("secret-access-key"));
            if wish.region.is_some() {
                section.insert("region".to_owned(), reference("region"));
            }
            if let Some(endpoint) = &wish.endpoint {
                configuration.insert("endpointURL".to_owned(), json!(endpoint));
            }
            ("s3Credentials", Value::Object(section), folder.to_string())
        }
        Scheme::Azure => {
            let base = wish.endpoint.clone().unwrap_or_default();
            let parts = [base.trim_end_matches('/'), folder.bucket(), folder.prefix()];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let section = json!({"connectionString": reference("connection-string")});
            ("azureCredentials", section, parts.join("/"))
        }
        Scheme::Gcs => {
            let section = json!({"applicationCredentials": reference("application-credentials")});
            ("googleCredentials", section, folder.to_string())
        }
        Scheme::File => {
            return Err(Failure::configuration(format_args!(
                "{} is a directory of this machine, which no pod can reach",
                wish.location
            ))
            .with_hint("name a replica in object storage with --copy"));
        }
    };
    configuration.insert("destinationPath".to_owned(), json!(destination));
    configuration.insert(section.to_owned(), credentials);
    if wish.own_authority {
        configuration.insert("endpointCA".to_owned(), reference("ca.crt"));
    }
    // More than one at a time has restored less than was there.
    configuration.insert("wal".to_owned(), json!({"maxParallel": 1}));
    Ok((Value::Object(configuration), keys))
}

fn notes_of(content: &Content, stored: &StoredDefinition) -> Vec<String> {
    let mut notes = vec![format!(
        "captured {}; what was declared since is not in it",
        stored.manifest.captured_at.format("%Y-%m-%d %H:%M:%S UTC")
    )];
    if let Some(image) = &content.facts.image {
        notes.push(format!("its instances ran {image}"));
    }
    if let Some(operator) = &content.facts.operator {
        let plugin = content.facts.plugin.as_ref();
        let plugin = plugin.map_or_else(String::new, |plugin| {
            format!(", the Barman Cloud plugin {plugin}")
        });
        notes.push(format!("it ran under CloudNativePG {operator}{plugin}"));
    }
    let has = |kind: &str| content.objects.iter().any(|object| object.kind == kind);
    if has("Subscription") || has("Publication") {
        notes.push(
            "publications and subscriptions come last: look at each before you apply it, a subscription \
             connects out"
                .to_owned(),
        );
    }
    if has("Database") {
        notes.push(
            "Databases are in the restored data already; applying them lets the operator keep them"
                .to_owned(),
        );
    }
    for unread in &content.unread {
        notes.push(format!("missing: {} ({})", unread.object, unread.reason));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::definition::{Facts, SecretNames, files, manifest_of};

    fn stored(spec: &Value) -> StoredDefinition {
        let object = |api: &str, kind: &str, name: &str, spec: &Value| {
            CapturedObject::of(&json!({
                "apiVersion": api, "kind": kind,
                "metadata": {"namespace": "shop", "name": name}, "spec": spec,
            }))
            .unwrap()
        };
        let mut content = Content {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            facts: Facts::default(),
            objects: vec![
                object("postgresql.cnpg.io/v1", "Pooler", "rw", &json!({})),
                object("postgresql.cnpg.io/v1", "Cluster", "orders", spec),
                object("barmancloud.cnpg.io/v1", "ObjectStore", "store", &json!({})),
            ],
            secrets: vec![SecretNames {
                name: "login".to_owned(),
                keys: Some(vec!["password".to_owned(), "username".to_owned()]),
                present: Some(true),
                wanted: Vec::new(),
                optional: false,
                referenced_by: vec!["Cluster shop/orders spec.superuserSecret".to_owned()],
            }],
            unread: Vec::new(),
        };
        content.sort();
        let at = "2026-11-21T13:31:59Z".parse().unwrap();
        let manifest = manifest_of(&content, &files(&content), "orders", at);
        StoredDefinition {
            stamp: manifest.stamp(),
            manifest,
            content,
        }
    }

    fn made(spec: &Value, namespace: Option<&str>) -> Rebuild {
        let location: Location = "s3://second/dr/orders".parse().unwrap();
        let wish = RebuildWish {
            location: &location,
            endpoint: Some("https://s3.example".to_owned()),
            region: None,
            own_authority: true,
            namespace: namespace.map(str::to_owned),
            now: "2026-11-22T10:00:00Z".parse().unwrap(),
        };
        rebuild(&stored(spec), &wish).unwrap()
    }

    fn cluster(made: &Rebuild) -> Value {
        let file = made
            .files
            .iter()
            .find(|file| file.title == "Cluster orders");
        serde_saphyr::from_str(&file.unwrap().text).unwrap()
    }

    #[test]
    fn the_cluster_recovers_from_the_replica_and_archives_elsewhere() {
        let plugin = json!({
            "name": PLUGIN, "isWALArchiver": true, "parameters": {"barmanObjectName": "store"},
        });
        let made = made(
            &json!({
                "instances": 3,
                "bootstrap": {"initdb": {"database": "shop", "owner": "shop", "secret": {"name": "login"},
                                         "postInitSQL": ["SELECT 1"]}},
                "plugins": [plugin],
                "replica": {"enabled": false},
            }),
            Some("shop-dr"),
        );
        let titles: Vec<&str> = made.files.iter().map(|file| file.title.as_str()).collect();
        assert_eq!(
            titles,
            [
                "Namespace shop-dr",
                "ObjectStore store",
                "ObjectStore walproof-replica",
                "Cluster orders",
                "Pooler rw"
            ]
        );
        let cluster = cluster(&made);
        assert_eq!(cluster["metadata"]["namespace"], "shop-dr");
        let spec = &cluster["spec"];
        assert_eq!(
            spec["bootstrap"],
            json!({"recovery": {"source": REPLICA, "database": "shop", "owner": "shop",
                                "secret": {"name": "login"}}})
        );
        assert_eq!(
            spec["externalClusters"][0]["plugin"]["parameters"]["serverName"],
            "orders"
        );
        assert_eq!(
            spec["plugins"][0]["parameters"]["serverName"],
            "orders-20261122100000"
        );
        assert_eq!(spec["instances"], 3);
        assert!(spec.get("replica").is_none());
        assert_eq!(
            made.secrets[0].keys,
            ["access-key-id", "ca.crt", "secret-access-key"]
        );
        let stream = made.to_stream();
        assert!(
            stream.contains("shop-dr/login: keys password, username"),
            "{stream}"
        );
        let documents: Vec<Value> = serde_saphyr::from_multiple(&stream).unwrap();
        assert_eq!(documents.len(), 5);
    }

    /// Whoever can write to the replica can forge a whole definition; it stays data.
    #[test]
    fn names_from_a_bucket_are_neither_paths_nor_yaml() {
        let mut forged = stored(&json!({}));
        forged.content.objects[0].manifest["metadata"]["name"] = json!("../../etc/x");
        forged.content.secrets[0].name = "a\n---\nkind: Secret".to_owned();
        let location: Location = "s3://second/dr/orders".parse().unwrap();
        let wish = RebuildWish {
            location: &location,
            endpoint: None,
            region: None,
            own_authority: false,
            namespace: None,
            now: "2026-11-22T10:00:00Z".parse().unwrap(),
        };
        let made = rebuild(&forged, &wish).unwrap();
        assert!(
            made.files
                .iter()
                .all(|file| !file.file.contains('/') && !file.file.contains(".."))
        );
        let documents: Vec<Value> = serde_saphyr::from_multiple(&made.to_stream()).unwrap();
        assert_eq!(documents.len(), made.files.len());
    }

    #[test]
    fn without_the_plugin_the_recovery_is_in_the_cluster_itself() {
        let made = made(
            &json!({"backup": {"barmanObjectStore": {"destinationPath": "s3://first"}}}),
            None,
        );
        let spec = &cluster(&made)["spec"];
        let external = &spec["externalClusters"][0]["barmanObjectStore"];
        assert_eq!(external["serverName"], "orders");
        assert_eq!(external["destinationPath"], "s3://second/dr");
        assert_eq!(
            spec["backup"]["barmanObjectStore"]["serverName"],
            "orders-20261122100000"
        );
        assert!(
            !made
                .files
                .iter()
                .any(|file| file.title.contains("walproof-replica"))
        );
    }
}
