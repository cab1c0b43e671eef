//! A definition asked of the API, with `get` and `list` only.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use serde_json::{Value, json};

use super::content::{CapturedObject, Content, Facts, SecretNames, Unread};
use super::references::References;
use crate::kubernetes::cnpg::{self, SourceCluster, resources};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind};

/// How many objects the API gives at a time.
const PAGE: u32 = 200;

/// A Cluster with more objects than this is not captured.
pub(super) const MOST_OBJECTS: usize = 1_000;

/// Reads what makes up a Cluster. What this identity may not read is told in
/// [`Content::unread`]; kinds that are not installed are simply not there.
///
/// Memory: the objects, at most a thousand. Values of Secrets pass by and are dropped.
///
/// # Errors
///
/// There is no such Cluster, it may not be read, or the API does not answer.
pub async fn collect(kube: &Kube, namespace: &str, name: &str) -> Result<Content, KubeError> {
    let action = format!("capture cluster {namespace}/{name}");
    let manifest = resources::read(kube, &resources::cluster(), namespace, name)
        .await?
        .ok_or_else(|| KubeError::new(KubeErrorKind::NotFound, &action, "there is none"))?;
    let cluster = SourceCluster::parse(manifest.clone())
        .map_err(|error| KubeError::new(KubeErrorKind::Invalid, &action, error.problem))?;
    let mut gathering = Gathering {
        kube,
        namespace,
        content: Content {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            facts: Facts {
                image: cluster.image.clone(),
                major: cluster.major,
                system_id: cluster.system_id.map(|id| id.0.to_string()),
                operator: None,
                plugin: None,
            },
            objects: Vec::new(),
            secrets: Vec::new(),
            unread: Vec::new(),
        },
    };
    gathering.take(&manifest, &resources::cluster());
    gathering.dependants(name).await?;
    gathering.stores(&manifest).await?;
    gathering.catalog(&cluster).await?;
    gathering.operator().await?;
    let mut references = References::default();
    for object in &gathering.content.objects {
        references.of(&object.title(), &object.manifest);
    }
    gathering.config_maps(&references).await?;
    gathering.secrets(references).await?;
    let mut content = gathering.content;
    if content.objects.len() > MOST_OBJECTS {
        return Err(KubeError::new(
            KubeErrorKind::Other,
            action,
            format!("it has more than {MOST_OBJECTS} objects"),
        ));
    }
    content.sort();
    Ok(content)
}

/// The names of the keys that a Secret holds; `None` when there is none of that name. The
/// values are dropped as they come.
///
/// # Errors
///
/// It may not be read, or the API does not answer.
pub async fn secret_keys(
    kube: &Kube,
    namespace: &str,
    name: &str,
) -> Result<Option<Vec<String>>, KubeError> {
    let secrets: Api<Secret> = Api::namespaced(kube.client(), namespace);
    let action = format!("get Secret {namespace}/{name}");
    let found = kube.call(action, secrets.get_opt(name)).await?;
    Ok(found.map(|secret| secret.data.unwrap_or_default().into_keys().collect()))
}

/// A content in the making.
struct Gathering<'a> {
    kube: &'a Kube,
    namespace: &'a str,
    content: Content,
}

impl Gathering<'_> {
    fn take(&mut self, manifest: &Value, resource: &ApiResource) {
        let mut manifest = manifest.clone();
        // A list's items come without kind and version.
        if let Some(members) = manifest.as_object_mut() {
            members.insert("apiVersion".to_owned(), json!(resource.api_version));
            members.insert("kind".to_owned(), json!(resource.kind));
        }
        self.content.objects.extend(CapturedObject::of(&manifest));
    }

    /// What was asked, or a note that it may not be read. Anything else is an error: a
    /// definition must not be thinner because the API was away.
    fn noted<T>(
        &mut self,
        object: &str,
        found: Result<Option<T>, KubeError>,
    ) -> Result<Option<T>, KubeError> {
        match found {
            Ok(found) => Ok(found),
            Err(error) if error.kind == KubeErrorKind::Forbidden => {
                self.content.unread.push(Unread {
                    object: object.to_owned(),
                    reason: "walproof's identity may not read it".to_owned(),
                });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn lacks(&mut self, object: String) {
        self.content.unread.push(Unread {
            object,
            reason: "there is none of that name".to_owned(),
        });
    }

    /// The kinds that name the Cluster.
    async fn dependants(&mut self, name: &str) -> Result<(), KubeError> {
        for resource in [
            resources::scheduled_backup(),
            resources::pooler(),
            resources::database(),
            resources::publication(),
            resources::subscription(),
        ] {
            let what = format!("{} in {}", resource.plural, self.namespace);
            let listed = list(self.kube, self.namespace, &resource).await;
            let listed = self.noted(&what, listed)?.unwrap_or_default();
            for manifest in listed {
                let of = manifest.pointer("/spec/cluster/name");
                if of.and_then(Value::as_str) == Some(name) {
                    self.take(&manifest, &resource);
                }
            }
        }
        Ok(())
    }

    /// The ObjectStores that the Cluster archives to or was recovered from.
    async fn stores(&mut self, manifest: &Value) -> Result<(), KubeError> {
        let mut names = BTreeSet::new();
        collect_texts(manifest.get("spec"), "barmanObjectName", &mut names);
        for name in names {
            self.named(&resources::object_store(), &name).await?;
        }
        Ok(())
    }

    /// The catalog that the image comes from.
    async fn catalog(&mut self, cluster: &SourceCluster) -> Result<(), KubeError> {
        match &cluster.catalog {
            Some(catalog) if catalog.kind == "ImageCatalog" => {
                self.named(&resources::image_catalog(), &catalog.name).await
            }
            Some(catalog) if catalog.kind == "ClusterImageCatalog" => {
                let resource = resources::cluster_image_catalog();
                let api: Api<DynamicObject> = Api::all_with(self.kube.client(), &resource);
                let title = format!("{} {}", resource.kind, catalog.name);
                let found = self
                    .kube
                    .call(format!("read {title}"), api.get_opt(&catalog.name))
                    .await
                    .map(|found| found.map(|object| value(&object)));
                let forbidden =
                    matches!(&found, Err(error) if error.kind == KubeErrorKind::Forbidden);
                match self.noted(&title, found)? {
                    Some(manifest) => self.take(&manifest, &resource),
                    None if forbidden => {}
                    None => self.lacks(title),
                }
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// One object of the namespace that something refers to.
    async fn named(&mut self, resource: &ApiResource, name: &str) -> Result<(), KubeError> {
        let title = format!("{} {}/{name}", resource.kind, self.namespace);
        let found = resources::read(self.kube, resource, self.namespace, name).await;
        let forbidden = matches!(&found, Err(error) if error.kind == KubeErrorKind::Forbidden);
        match self.noted(&title, found)? {
            Some(manifest) => self.take(&manifest, resource),
            None if forbidden => {}
            None => self.lacks(title),
        }
        Ok(())
    }

    /// The versions of operator and plugin; whoever may not see them does without.
    async fn operator(&mut self) -> Result<(), KubeError> {
        match cnpg::operator(self.kube).await {
            Ok(Some(operator)) => {
                self.content.facts.operator = operator.version;
                self.content.facts.plugin = operator.plugin.and_then(|plugin| plugin.version);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) if error.kind == KubeErrorKind::Forbidden => {
                self.content.unread.push(Unread {
                    object: "CloudNativePG's version".to_owned(),
                    reason: "its deployment may not be listed by walproof's identity".to_owned(),
                });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn config_maps(&mut self, references: &References) -> Result<(), KubeError> {
        let maps: Api<ConfigMap> = Api::namespaced(self.kube.client(), self.namespace);
        for name in references.config_maps.keys() {
            let title = format!("ConfigMap {}/{name}", self.namespace);
            let found = self
                .kube
                .call(format!("read {title}"), maps.get_opt(name))
                .await
                .map(|found| found.map(|map| value(&map)));
            let forbidden = matches!(&found, Err(error) if error.kind == KubeErrorKind::Forbidden);
            match self.noted(&title, found)? {
                Some(mut manifest) => {
                    if let Some(members) = manifest.as_object_mut() {
                        members.insert("apiVersion".to_owned(), json!("v1"));
                        members.insert("kind".to_owned(), json!("ConfigMap"));
                    }
                    self.content.objects.extend(CapturedObject::of(&manifest));
                }
                None if forbidden => {}
                None => self.lacks(title),
            }
        }
        Ok(())
    }

    async fn secrets(&mut self, references: References) -> Result<(), KubeError> {
        for (name, reference) in references.secrets {
            let title = format!("Secret {}/{name}", self.namespace);
            let found = secret_keys(self.kube, self.namespace, &name).await;
            let forbidden = matches!(&found, Err(error) if error.kind == KubeErrorKind::Forbidden);
            let mut keys = self.noted(&title, found)?;
            if let Some(keys) = &mut keys {
                keys.sort();
            }
            self.content.secrets.push(SecretNames {
                name,
                present: (!forbidden).then_some(keys.is_some()),
                keys,
                wanted: reference.keys.into_iter().collect(),
                optional: !reference.needed,
                referenced_by: reference.by.into_iter().collect(),
            });
        }
        Ok(())
    }
}

/// Every text under this key, however deep.
fn collect_texts(value: Option<&Value>, key: &str, found: &mut BTreeSet<String>) {
    match value {
        Some(Value::Object(members)) => {
            for (name, value) in members {
                if name == key
                    && let Some(text) = value.as_str().filter(|text| !text.is_empty())
                {
                    found.insert(text.to_owned());
                }
                collect_texts(Some(value), key, found);
            }
        }
        Some(Value::Array(items)) => {
            for item in items {
                collect_texts(Some(item), key, found);
            }
        }
        _ => {}
    }
}

fn value(object: &impl serde::Serialize) -> Value {
    // Types of the API can always be written.
    serde_json::to_value(object).unwrap_or_default()
}

/// Everything of a kind in a namespace; `None` when the kind is not installed.
async fn list(
    kube: &Kube,
    namespace: &str,
    resource: &ApiResource,
) -> Result<Option<Vec<Value>>, KubeError> {
    let api: Api<DynamicObject> = Api::namespaced_with(kube.client(), namespace, resource);
    let action = format!("list {}.{} in {namespace}", resource.plural, resource.group);
    let mut parameters = ListParams::default().limit(PAGE);
    let mut items = Vec::new();
    loop {
        let page = match kube.call(action.clone(), api.list(&parameters)).await {
            Ok(page) => page,
            Err(error) if error.kind == KubeErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        items.extend(page.items.iter().map(value));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(_) if items.len() > MOST_OBJECTS => {
                let words = format!("there are more than {MOST_OBJECTS}");
                return Err(KubeError::new(KubeErrorKind::Other, action, words));
            }
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(Some(items)),
        }
    }
}
