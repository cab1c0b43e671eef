//! A definition as files: one manifest that names and digests all others, and a YAML file per
//! object. Pure: whoever keeps the files is somewhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, SubsecRound as _, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clean::canonical;
use super::content::{CapturedObject, Content, Facts, SecretNames, Unread};
use super::yaml::to_yaml;
use crate::codec::Sha256;

/// How a stamp tells its moment.
const MOMENT: &str = "%Y%m%dT%H%M%SZ";

/// How many digits of the digest a stamp has.
const DIGITS: usize = 12;

/// The name of a stored definition: when it was captured, and the beginning of its digest.
/// Stamps sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    moment: DateTime<Utc>,
    digest: String,
}

impl Stamp {
    /// The stamp of a content that was captured at a moment.
    pub fn of(captured_at: DateTime<Utc>, sha256: &Sha256) -> Self {
        let digest = sha256.to_string();
        Self {
            moment: captured_at.trunc_subsecs(0),
            digest: digest.get(..DIGITS).unwrap_or(&digest).to_owned(),
        }
    }

    /// When it was captured.
    pub const fn moment(&self) -> DateTime<Utc> {
        self.moment
    }

    /// The first 12 digits of the digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.moment.format(MOMENT), self.digest)
    }
}

impl FromStr for Stamp {
    type Err = ContentError;

    fn from_str(text: &str) -> Result<Self, ContentError> {
        let wrong = || ContentError::Stamp(text.chars().take(80).collect());
        let (moment, digest) = text.split_once('-').ok_or_else(wrong)?;
        let moment = NaiveDateTime::parse_from_str(moment, MOMENT)
            .map_err(|_| wrong())?
            .and_utc();
        let hexadecimal = digest
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let stamp = Self {
            moment,
            digest: digest.to_owned(),
        };
        // Only what is written the same way again: a name of a bucket is no path.
        (digest.len() == DIGITS && hexadecimal && stamp.to_string() == text)
            .then_some(stamp)
            .ok_or_else(wrong)
    }
}

/// Why stored files are not the definition that they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// A name that no definition has.
    #[error("`{0}` is not the name of a captured definition")]
    Stamp(String),
    /// The manifest cannot be read.
    #[error("its manifest cannot be read: {0}")]
    Manifest(String),
    /// It was written by something else, or by a newer version.
    #[error("its schema is `{0}`, this version reads `walproof.definition/v1`")]
    Schema(String),
    /// A file is not named as files here are.
    #[error("its manifest names a file `{0}`, which is no name that walproof gives")]
    Name(String),
    /// A file is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// A file is another one than was written.
    #[error("{file} has digest {found}, the manifest says {expected}")]
    File {
        /// The file.
        file: String,
        /// What lies there.
        found: String,
        /// What was written.
        expected: String,
    },
    /// A file cannot be read.
    #[error("{file} cannot be read: {problem}")]
    Content {
        /// The file.
        file: String,
        /// Why.
        problem: String,
    },
    /// Manifest and files together are not what was captured.
    #[error("its content has digest {found}, it was captured with {expected}")]
    Digest {
        /// What lies there.
        found: String,
        /// What was captured.
        expected: String,
    },
}

/// What is said of a stored definition, in `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// `walproof.definition/v1`.
    pub schema: String,
    /// The cluster's name in walproof's configuration.
    pub cluster: String,
    /// When it was captured, to the second.
    pub captured_at: DateTime<Utc>,
    /// The digest of the content: see the project's documentation of definitions.
    pub sha256: String,
    /// The version of walproof that captured it.
    pub walproof: String,
    /// The Cluster's namespace.
    pub namespace: String,
    /// The Cluster's name.
    pub name: String,
    /// What only the running Cluster said.
    pub facts: Facts,
    /// The files, in the order in which a rebuild applies them.
    pub files: Vec<StoredFile>,
    /// The Secrets that the objects refer to, by name.
    pub secrets: Vec<SecretNames>,
    /// What could not be read when it was captured.
    pub unread: Vec<Unread>,
}

/// A file of a stored definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredFile {
    /// Its name in the definition's folder.
    pub file: String,
    /// The object's API version.
    pub api_version: String,
    /// The object's kind.
    pub kind: String,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: String,
    /// SHA-256 of the file's bytes.
    pub sha256: String,
    /// How many bytes it has.
    pub size: u64,
}

impl Manifest {
    /// The document's name.
    pub const SCHEMA: &'static str = "walproof.definition/v1";

    /// The name of its own file.
    pub const FILE: &'static str = "manifest.json";

    /// Reads a manifest. The names in it can be trusted afterwards.
    ///
    /// # Errors
    ///
    /// It is no manifest of this version, or names files that are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContentError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| ContentError::Manifest(error.to_string()))?;
        let schema = value.get("schema").and_then(Value::as_str);
        if schema != Some(Self::SCHEMA) {
            let schema = schema.unwrap_or_default();
            return Err(ContentError::Schema(schema.chars().take(80).collect()));
        }
        let manifest =
            Self::deserialize(value).map_err(|error| ContentError::Manifest(error.to_string()))?;
        for file in &manifest.files {
            if !is_file_name(&file.file) {
                let name = file.file.chars().take(80).collect();
                return Err(ContentError::Name(name));
            }
        }
        Ok(manifest)
    }

    /// As it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).unwrap_or_default();
        format!("{value:#}\n").into_bytes()
    }

    /// Its stamp, by what it says of itself.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            moment: self.captured_at,
            digest: self.sha256.get(..DIGITS).unwrap_or_default().to_owned(),
        }
    }
}

/// `010-cluster-orders.yaml`: digits, lower-case letters, dots and dashes.
fn is_file_name(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".yaml") else {
        return false;
    };
    name.len() <= 300
        && !stem.is_empty()
        && !stem.starts_with('.')
        && !stem.contains("..")
        && stem
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
}

/// The files of a content, by name, without the manifest.
pub fn files(content: &Content) -> Vec<(String, String)> {
    let objects = content.objects.iter().enumerate();
    objects
        .map(|(index, object)| {
            // Names of Kubernetes are lower-case letters, digits, dots and dashes.
            let name: String = format!("{}-{}", object.kind.to_lowercase(), object.name)
                .chars()
                .map(|c| match c {
                    'a'..='z' | '0'..='9' | '-' => c,
                    _ => '-',
                })
                .take(250)
                .collect();
            let file = format!("{:03}-{name}.yaml", (index + 1) * 10);
            (file, to_yaml(&canonical(&object.manifest)))
        })
        .collect()
}

/// The manifest of a content with these files.
pub fn manifest_of(
    content: &Content,
    files: &[(String, String)],
    cluster: &str,
    captured_at: DateTime<Utc>,
) -> Manifest {
    Manifest {
        schema: Manifest::SCHEMA.to_owned(),
        cluster: cluster.to_owned(),
        captured_at: captured_at.trunc_subsecs(0),
        sha256: content.sha256().to_string(),
        walproof: env!("CARGO_PKG_VERSION").to_owned(),
        namespace: content.namespace.clone(),
        name: content.name.clone(),
        facts: content.facts.clone(),
        files: content
            .objects
            .iter()
            .zip(files)
            .map(|(object, (file, text))| StoredFile {
                file: file.clone(),
                api_version: object.api_version.clone(),
                kind: object.kind.clone(),
                namespace: object.namespace.clone(),
                name: object.name.clone(),
                sha256: Sha256::of(text.as_bytes()).to_string(),
                size: text.len() as u64,
            })
            .collect(),
        secrets: content.secrets.clone(),
        unread: content.unread.clone(),
    }
}

/// The content that a manifest and its files stand for, every digest checked: that of each
/// file, and that of the whole.
///
/// # Errors
///
/// Something is missing, or is not what was captured.
pub fn restored(
    manifest: &Manifest,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Content, ContentError> {
    let mut objects = Vec::new();
    for stored in &manifest.files {
        let bytes = files
            .get(&stored.file)
            .ok_or_else(|| ContentError::Missing(stored.file.clone()))?;
        let found = Sha256::of(bytes).to_string();
        if found != stored.sha256 {
            return Err(ContentError::File {
                file: stored.file.clone(),
                found,
                expected: stored.sha256.clone(),
            });
        }
        let problem = |problem: String| ContentError::Content {
            file: stored.file.clone(),
            problem,
        };
        let text = std::str::from_utf8(bytes).map_err(|error| problem(error.to_string()))?;
        let value: Value =
            serde_saphyr::from_str(text).map_err(|error| problem(error.to_string()))?;
        objects.push(CapturedObject {
            api_version: stored.api_version.clone(),
            kind: stored.kind.clone(),
            namespace: stored.namespace.clone(),
            name: stored.name.clone(),
            manifest: canonical(&value),
        });
    }
    let content = Content {
        namespace: manifest.namespace.clone(),
        name: manifest.name.clone(),
        facts: manifest.facts.clone(),
        objects,
        secrets: manifest.secrets.clone(),
        unread: manifest.unread.clone(),
    };
    let found = content.sha256().to_string();
    if found != manifest.sha256 {
        return Err(ContentError::Digest {
            found,
            expected: manifest.sha256.clone(),
        });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content() -> Content {
        let object = |kind: &str, name: &str| {
            CapturedObject::of(&json!({
                "apiVersion": "postgresql.cnpg.io/v1", "kind": kind,
                "metadata": {"namespace": "shop", "name": name},
                "spec": {"instances": 3, "parameters": {"hot_standby": "on"}, "sql": "a\nb\n"},
            }))
            .unwrap()
        };
        let mut content = Content {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            facts: Facts::default(),
            objects: vec![object("Pooler", "rw"), object("Cluster", "orders.a")],
            secrets: Vec::new(),
            unread: Vec::new(),
        };
        content.sort();
        content
    }

    fn stored() -> (Manifest, BTreeMap<String, Vec<u8>>) {
        let content = content();
        let files = files(&content);
        let at = "2026-11-21T13:31:59.7Z".parse().unwrap();
        let manifest = manifest_of(&content, &files, "orders", at);
        let manifest = Manifest::parse(&manifest.to_bytes()).unwrap();
        let files = files
            .into_iter()
            .map(|(name, text)| (name, text.into_bytes()))
            .collect();
        (manifest, files)
    }

    #[test]
    fn it_is_read_back_whole() {
        let (manifest, files) = stored();
        assert_eq!(restored(&manifest, &files).unwrap(), content());
        let names: Vec<&String> = files.keys().collect();
        assert_eq!(names, ["010-cluster-orders-a.yaml", "020-pooler-rw.yaml"]);
        let stamp = manifest.stamp();
        assert_eq!(stamp, Stamp::of(manifest.captured_at, &content().sha256()));
        assert!(stamp.to_string().starts_with("20261121T133159Z-"));
        assert_eq!(stamp.to_string().parse::<Stamp>().unwrap(), stamp);
    }

    #[test]
    fn nothing_can_be_changed_without_being_noticed() {
        let (manifest, whole) = stored();
        let name = "010-cluster-orders-a.yaml".to_owned();
        let mut files = whole.clone();
        files.get_mut(&name).unwrap().push(b'\n');
        assert!(matches!(
            restored(&manifest, &files),
            Err(ContentError::File { .. })
        ));
        files.remove(&name);
        assert_eq!(
            restored(&manifest, &files),
            Err(ContentError::Missing(name.clone()))
        );
        // Whoever changes a file and its digest in the manifest has another whole.
        let mut files = whole.clone();
        let text = String::from_utf8(files[&name].clone()).unwrap();
        let text = text.replace("instances: 3", "instances: 1");
        let mut forged = manifest.clone();
        forged.files[0].sha256 = Sha256::of(text.as_bytes()).to_string();
        files.insert(name, text.into_bytes());
        assert!(matches!(
            restored(&forged, &files),
            Err(ContentError::Digest { .. })
        ));
        let mut fewer = manifest;
        fewer.files.pop();
        assert!(restored(&fewer, &whole).is_err());
    }

    #[test]
    fn names_from_a_bucket_are_checked() {
        for name in [
            "",
            "x",
            "../x",
            "20261121T133159Z-abc",
            "20261121T133159Z-ABCDEF012345",
            "20261121T993159Z-abcdef012345",
            "20261121T133159Z-abcdef012345/",
        ] {
            assert!(name.parse::<Stamp>().is_err(), "{name}");
        }
        let (manifest, _) = stored();
        for name in ["../x.yaml", "a/b.yaml", ".yaml", "x.json", "A.yaml"] {
            let mut manifest = manifest.clone();
            manifest.files[0].file = name.to_owned();
            let read = Manifest::parse(&manifest.to_bytes());
            assert!(matches!(read, Err(ContentError::Name(_))), "{name}");
        }
        let other = json!({"schema": "walproof.definition/v2"}).to_string();
        assert!(matches!(
            Manifest::parse(other.as_bytes()),
            Err(ContentError::Schema(_))
        ));
    }
}
