//! A definition as plain data, and its digest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clean::canonical;
use crate::codec::Sha256;
use crate::kubernetes::cnpg::{SourceCluster, ViewError};

/// What a Cluster is made of besides its data, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// The Cluster's namespace.
    pub namespace: String,
    /// The Cluster's name.
    pub name: String,
    /// What only the running Cluster says.
    pub facts: Facts,
    /// The objects, in the order in which a rebuild applies them.
    pub objects: Vec<CapturedObject>,
    /// The Secrets that they refer to, by name.
    pub secrets: Vec<SecretNames>,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// What a Cluster's status says and its declaration need not. Nothing that changes while it
/// just runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The image that its instances run.
    pub image: Option<String>,
    /// PostgreSQL's major version.
    pub major: Option<u16>,
    /// The system identifier, as text: it has more digits than some readers of JSON keep.
    pub system_id: Option<String>,
    /// CloudNativePG's version.
    pub operator: Option<String>,
    /// The Barman Cloud plugin's version.
    pub plugin: Option<String>,
}

/// One object, cleaned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapturedObject {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; none for what belongs to no namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The object.
    pub manifest: Value,
}

/// A Secret that is referred to, without its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretNames {
    /// Its name, in the Cluster's namespace.
    pub name: String,
    /// The names of the keys that it holds; `null` where it could not be read.
    pub keys: Option<Vec<String>>,
    /// Whether it is there; `null` where that is not known.
    pub present: Option<bool>,
    /// The keys that are referred to.
    pub wanted: Vec<String>,
    /// Whether nothing needs it: every reference to it is marked optional.
    pub optional: bool,
    /// The objects and fields that refer to it.
    pub referenced_by: Vec<String>,
}

/// Something that a definition lacks because it could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unread {
    /// What.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// A place that holds what looks like a secret, outside of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suspicion {
    /// The object.
    pub object: String,
    /// The key or path in it.
    pub path: String,
    /// What it looks like, never the value.
    pub looks_like: String,
}

impl CapturedObject {
    /// An object as the API gave it, cleaned; `None` when it has no kind or name.
    pub fn of(manifest: &Value) -> Option<Self> {
        let text = |pointer: &str| {
            let found = manifest.pointer(pointer).and_then(Value::as_str);
            found.map(str::to_owned)
        };
        Some(Self {
            api_version: text("/apiVersion")?,
            kind: text("/kind")?,
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name")?,
            manifest: super::clean(manifest),
        })
    }

    /// `Pooler shop/orders-rw`.
    pub fn title(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    /// In which order a rebuild applies the kinds; what is not known comes last.
    pub fn rank(&self) -> u8 {
        match self.kind.as_str() {
            "ConfigMap" => 1,
            "ClusterImageCatalog" => 2,
            "ImageCatalog" => 3,
            "ObjectStore" => 4,
            "Cluster" => 5,
            "Database" => 6,
            "ScheduledBackup" => 7,
            "Pooler" => 8,
            "Publication" => 9,
            "Subscription" => 10,
            _ => 20,
        }
    }
}

impl Content {
    /// Brings everything into its order: the same definition is the same content.
    pub fn sort(&mut self) {
        self.objects.sort_by(|one, other| {
            (one.rank(), &one.kind, &one.namespace, &one.name).cmp(&(
                other.rank(),
                &other.kind,
                &other.namespace,
                &other.name,
            ))
        });
        self.objects
            .dedup_by(|one, other| one.title() == other.title());
        self.secrets.sort_by(|one, other| one.name.cmp(&other.name));
        self.unread
            .sort_by(|one, other| (&one.object, &one.reason).cmp(&(&other.object, &other.reason)));
        self.unread.dedup();
    }

    /// The digest of everything in it, over JSON with sorted keys.
    pub fn sha256(&self) -> Sha256 {
        let value = serde_json::to_value(self).unwrap_or_default();
        Sha256::of(canonical(&value).to_string().as_bytes())
    }

    /// What in it looks like a secret although it stands in none.
    pub fn suspicions(&self) -> Vec<Suspicion> {
        super::suspicion::suspicions(&self.objects)
    }

    /// The Cluster itself.
    pub fn cluster(&self) -> Option<&CapturedObject> {
        self.objects.iter().find(|object| object.kind == "Cluster")
    }

    /// The Cluster as a recovery reads it, with what its status said.
    ///
    /// # Errors
    ///
    /// The definition holds no Cluster, or not a whole one.
    pub fn source(&self) -> Result<SourceCluster, ViewError> {
        let Some(cluster) = self.cluster() else {
            return Err(ViewError {
                object: format!("definition of {}/{}", self.namespace, self.name),
                problem: "it holds no Cluster".to_owned(),
            });
        };
        let mut manifest = cluster.manifest.clone();
        if let Some(members) = manifest.as_object_mut() {
            let mut status = serde_json::Map::new();
            let image = self.facts.image.clone().or_else(|| self.catalog_image());
            if let Some(image) = image {
                status.insert("image".to_owned(), image.into());
            }
            if let Some(major) = self.facts.major {
                let version = serde_json::json!({ "majorVersion": major });
                status.insert("pgDataImageInfo".to_owned(), version);
            }
            if let Some(system_id) = &self.facts.system_id {
                status.insert("systemID".to_owned(), system_id.clone().into());
            }
            members.insert("status".to_owned(), Value::Object(status));
        }
        SourceCluster::parse(manifest)
    }

    /// The image that the Cluster's catalog names for its major version.
    fn catalog_image(&self) -> Option<String> {
        let reference = self.cluster()?.manifest.pointer("/spec/imageCatalogRef")?;
        let text = |name: &str| reference.get(name).and_then(Value::as_str);
        let (kind, name) = (text("kind")?, text("name")?);
        let catalog = self
            .objects
            .iter()
            .find(|object| object.kind == kind && object.name == name)?;
        let major = reference.get("major")?;
        let images = catalog.manifest.pointer("/spec/images")?.as_array()?;
        images
            .iter()
            .find(|image| image.get("major") == Some(major))
            .and_then(|image| image.get("image")?.as_str())
            .map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, spec: &Value) -> CapturedObject {
        CapturedObject::of(&json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": kind,
            "metadata": {"namespace": "shop", "name": name}, "spec": spec,
        }))
        .unwrap()
    }

    fn content(objects: Vec<CapturedObject>) -> Content {
        let mut content = Content {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            facts: Facts::default(),
            objects,
            secrets: Vec::new(),
            unread: Vec::new(),
        };
        content.sort();
        content
    }

    #[test]
    fn the_digest_is_that_of_the_declaration() {
        let cluster = || object("Cluster", "orders", &json!({"instances": 3}));
        let pooler = || object("Pooler", "rw", &json!({}));
        let one = content(vec![pooler(), cluster()]);
        let other = content(vec![cluster(), pooler(), cluster()]);
        assert_eq!(one.sha256(), other.sha256());
        let fewer = content(vec![cluster()]);
        let changed = content(vec![
            object("Cluster", "orders", &json!({"instances": 2})),
            pooler(),
        ]);
        let mut blind = one.clone();
        blind.unread.push(Unread {
            object: "poolers in shop".to_owned(),
            reason: "forbidden".to_owned(),
        });
        for different in [fewer, changed, blind] {
            assert_ne!(different.sha256(), one.sha256());
        }
    }

    #[test]
    fn a_source_has_the_image_that_ran_or_that_its_catalog_names() {
        let cluster = object(
            "Cluster",
            "orders",
            &json!({"instances": 1, "imageCatalogRef": {"kind": "ImageCatalog", "name": "all", "major": 17}}),
        );
        let catalog = object(
            "ImageCatalog",
            "all",
            &json!({"images": [{"major": 16, "image": "x:16"}, {"major": 17, "image": "x:17"}]}),
        );
        let mut named = content(vec![cluster.clone(), catalog]);
        let source = named.source().unwrap();
        assert_eq!(
            (source.image.as_deref(), source.major),
            (Some("x:17"), Some(17))
        );
        named.facts.image = Some("x:17.1".to_owned());
        named.facts.system_id = Some("7".to_owned());
        let source = named.source().unwrap();
        assert_eq!(source.image.as_deref(), Some("x:17.1"));
        assert_eq!(source.system_id.map(|id| id.0), Some(7));
        assert_eq!(content(vec![cluster]).source().unwrap().image, None);
        assert!(content(Vec::new()).source().is_err());
    }
}
