//! A Cluster's definition in a file, for when the Cluster itself is gone.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kubernetes::cnpg::{ObjectStore, SourceCluster};

/// A larger file is no definition.
const MOST: u64 = 4 << 20;

/// A captured definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The Cluster.
    pub cluster: SourceCluster,
    /// The ObjectStore beside it, where the file holds one.
    pub store: Option<ObjectStore>,
}

/// Why a file is not a definition.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// It cannot be read.
    #[error("read the definition {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// It does not hold what it must.
    #[error("the definition {path}: {problem}; `kubectl get cluster NAME -o yaml` prints one")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a file with one `Cluster` and, optionally, its `ObjectStore`: YAML or JSON, several
/// documents or a `List`, as `kubectl get -o yaml` prints them.
///
/// # Errors
///
/// The file cannot be read, is no such YAML, or holds not exactly one Cluster.
pub fn read(path: &Path) -> Result<Definition, DefinitionError> {
    let failed = |cause| DefinitionError::Read {
        path: path.to_owned(),
        cause,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MOST + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let wrong = |problem: String| DefinitionError::Content {
        path: path.to_owned(),
        problem,
    };
    if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
        return Err(wrong(format!("it is larger than {} MiB", MOST >> 20)));
    }
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Definition, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let mut clusters = Vec::new();
    let mut stores = Vec::new();
    for document in documents.into_iter().flat_map(items) {
        let is = |kind: &str, group: &str| {
            let text = |name: &str| document.get(name).and_then(Value::as_str);
            text("kind") == Some(kind)
                && text("apiVersion").is_some_and(|api| api.starts_with(group))
        };
        if is("Cluster", "postgresql.cnpg.io/") {
            clusters.push(document);
        } else if is("ObjectStore", "barmancloud.cnpg.io/") {
            stores.push(document);
        }
    }
    let found = clusters.len();
    let (Some(cluster), 1) = (clusters.pop(), found) else {
        return Err(format!(
            "one Cluster of postgresql.cnpg.io is wanted, it holds {found}"
        ));
    };
    let cluster = SourceCluster::parse(placed(cluster, None)).map_err(|error| error.to_string())?;
    let mut store = None;
    if stores.len() > 1 {
        return Err(format!(
            "at most one ObjectStore is wanted, it holds {}",
            stores.len()
        ));
    }
    if let Some(found) = stores.pop() {
        let found = placed(found, Some(&cluster.namespace));
        store = Some(ObjectStore::parse(found).map_err(|error| error.to_string())?);
    }
    Ok(Definition { cluster, store })
}

/// The members of a `List`, or the object itself.
fn items(document: Value) -> Vec<Value> {
    match document.get("items") {
        Some(Value::Array(items)) => items.clone(),
        _ if document.is_null() => Vec::new(),
        _ => vec![document],
    }
}

/// The object with a namespace. A definition from a repository of manifests often has none.
fn placed(mut object: Value, namespace: Option<&str>) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata
            .entry("namespace")
            .or_insert_with(|| json!(namespace.unwrap_or("default")));
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: orders}\n\
                           spec: {instances: 3, imageName: 'x/postgresql:17.2', storage: {size: 5Gi}}\n";
    const STORE: &str = "apiVersion: barmancloud.cnpg.io/v1\nkind: ObjectStore\nmetadata: {name: s}\n\
                         spec: {configuration: {destinationPath: 's3://b/p'}}\n";

    #[test]
    fn a_definition_is_read_from_documents_and_lists() {
        let read = parse(&format!("{CLUSTER}---\n{STORE}")).unwrap();
        assert_eq!(read.cluster.name, "orders");
        assert_eq!(read.cluster.namespace, "default");
        assert_eq!(read.cluster.major, Some(17));
        assert_eq!(
            read.store.unwrap().configuration.destination_path,
            "s3://b/p"
        );
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: postgresql.cnpg.io/v1\n  kind: Cluster\n  \
                    metadata: {name: a, namespace: b}\n  spec: {}\n";
        let read = parse(list).unwrap();
        assert_eq!((read.cluster.namespace.as_str(), read.store), ("b", None));
    }

    #[test]
    fn what_is_no_definition_says_why() {
        for (text, words) in [
            ("", "it holds 0"),
            (STORE, "it holds 0"),
            (&format!("{CLUSTER}---\n{CLUSTER}"), "it holds 2"),
            ("a: [", ""),
            ("kind: Cluster\napiVersion: other/v1\n", "it holds 0"),
            (
                "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: x}\n",
                "spec is missing",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let missing = read(Path::new("/nonexistent/definition.yaml")).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/definition.yaml"));
    }
}
