//! Where secrets are found. The configuration names them, it never holds them.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::VariableName;
use super::secret_reference::{NoSecretReader, SecretFault, SecretReader, SecretReference};

/// Where one secret is found: in an environment variable, in a file, or, for what reaches a
/// repository, in a Secret of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSource {
    /// The environment variable that holds it.
    #[serde(default)]
    #[schemars(with = "Option<VariableName>")]
    pub env: Option<String>,
    /// The file that holds it, relative to the configuration file. A newline at its end
    /// does not count.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The Secret of Kubernetes that holds it, read when it is needed, as whoever the
    /// kubeconfig or the pod's ServiceAccount says.
    #[serde(default)]
    pub kubernetes: Option<SecretReference>,
}

/// Where the credentials of a repository are found. What is left out is looked for in the
/// environment and then in the platform's own chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// S3: the access key's id.
    #[serde(default)]
    pub access_key_id: Option<SecretSource>,
    /// S3: the secret access key.
    #[serde(default)]
    pub secret_access_key: Option<SecretSource>,
    /// S3: the session token of temporary credentials.
    #[serde(default)]
    pub session_token: Option<SecretSource>,
    /// Google Cloud Storage: a service account's key, JSON.
    #[serde(default)]
    pub service_account_key: Option<SecretSource>,
    /// Azure: the storage account's name.
    #[serde(default)]
    pub account_name: Option<SecretSource>,
    /// Azure: the storage account's key.
    #[serde(default)]
    pub account_key: Option<SecretSource>,
    /// Azure: a shared access signature.
    #[serde(default)]
    pub sas_token: Option<SecretSource>,
    /// Azure: a connection string, which says all of these at once.
    #[serde(default)]
    pub connection_string: Option<SecretSource>,
}

/// A secret that could not be fetched. Names the place, never a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not there or empty.
    #[error(
        "read {key} from the environment: {variable} is not set (set it, or change `{key}` in the configuration)"
    )]
    Variable {
        /// The key in the configuration.
        key: &'static str,
        /// The variable's name.
        variable: String,
    },
    /// The file cannot be read.
    #[error("read {key} from {}: {cause} (the user that runs walproof must be able to read it)", path.display())]
    File {
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The Secret of Kubernetes cannot be read.
    #[error("read {key} from {reference}: {}", fault.cause)]
    Kubernetes {
        /// The key in the configuration.
        key: &'static str,
        /// The Secret and the key in it.
        reference: SecretReference,
        /// Why.
        fault: SecretFault,
    },
}

/// A secret is at most this long; a file beyond it is a mistake.
const LIMIT: u64 = 1 << 20;

impl Credentials {
    /// The sources with their keys here and the names that the stores' clients know.
    fn entries(&self) -> [(&'static str, &'static str, Option<&SecretSource>); 8] {
        [
            (
                "access_key_id",
                "AWS_ACCESS_KEY_ID",
                self.access_key_id.as_ref(),
            ),
            (
                "secret_access_key",
                "AWS_SECRET_ACCESS_KEY",
                self.secret_access_key.as_ref(),
            ),
            (
                "session_token",
                "AWS_SESSION_TOKEN",
                self.session_token.as_ref(),
            ),
            (
                "service_account_key",
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                self.service_account_key.as_ref(),
            ),
            (
                "account_name",
                "AZURE_STORAGE_ACCOUNT_NAME",
                self.account_name.as_ref(),
            ),
            (
                "account_key",
                "AZURE_STORAGE_ACCOUNT_KEY",
                self.account_key.as_ref(),
            ),
            (
                "sas_token",
                "AZURE_STORAGE_SAS_KEY",
                self.sas_token.as_ref(),
            ),
            (
                "connection_string",
                "AZURE_STORAGE_CONNECTION_STRING",
                self.connection_string.as_ref(),
            ),
        ]
    }

    /// The sources that are given, with their keys.
    pub fn sources(&self) -> impl Iterator<Item = (&'static str, &SecretSource)> {
        self.entries()
            .into_iter()
            .filter_map(|(key, _, source)| Some((key, source?)))
    }

    /// The secrets, by the names that the stores' clients know.
    pub(super) fn resolve(
        &self,
        reader: &dyn SecretReader,
    ) -> Result<Vec<(String, String)>, SecretError> {
        let mut resolved = Vec::new();
        for (key, name, source) in self.entries() {
            if let Some(source) = source {
                resolved.push((name.to_owned(), source.read_with(key, reader)?));
            }
        }
        Ok(resolved)
    }

    /// Makes the files' paths absolute, below `base`.
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        for source in [
            &mut self.access_key_id,
            &mut self.secret_access_key,
            &mut self.session_token,
            &mut self.service_account_key,
            &mut self.account_name,
            &mut self.account_key,
            &mut self.sas_token,
            &mut self.connection_string,
        ]
        .into_iter()
        .flatten()
        {
            if let Some(file) = &mut source.file {
                *file = base.join(&*file);
            }
        }
    }
}

impl SecretSource {
    /// Reads the secret now, from where it is said to be. `key` is where the source stands in
    /// the configuration, for the error. A Secret of Kubernetes is not read so.
    pub fn read(&self, key: &'static str) -> Result<String, SecretError> {
        self.read_with(key, &NoSecretReader)
    }

    /// Reads the secret now; `reader` is asked for a Secret of Kubernetes.
    pub fn read_with(
        &self,
        key: &'static str,
        reader: &dyn SecretReader,
    ) -> Result<String, SecretError> {
        if let Some(reference) = &self.kubernetes {
            return reader
                .read(reference)
                .map_err(|fault| SecretError::Kubernetes {
                    key,
                    reference: reference.clone(),
                    fault,
                });
        }
        match (&self.env, &self.file) {
            (Some(variable), _) => std::env::var(variable)
                .ok()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| SecretError::Variable {
                    key,
                    variable: variable.clone(),
                }),
            (None, Some(path)) => read_file(path).map_err(|cause| SecretError::File {
                key,
                path: path.clone(),
                cause,
            }),
            (None, None) => Err(SecretError::Variable {
                key,
                variable: "(no variable is named)".to_owned(),
            }),
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    use std::io::Read as _;

    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > LIMIT {
        return Err(format!("larger than {LIMIT} bytes"));
    }
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err("the file is empty".to_owned());
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_source(path: PathBuf) -> Credentials {
        Credentials {
            secret_access_key: Some(SecretSource {
                file: Some(path),
                ..SecretSource::default()
            }),
            ..Credentials::default()
        }
    }

    #[test]
    fn a_file_gives_the_secret_without_its_newline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "hush\r\n").unwrap();
        assert_eq!(
            file_source(path).resolve(&NoSecretReader).unwrap(),
            [("AWS_SECRET_ACCESS_KEY".to_owned(), "hush".to_owned())]
        );
    }

    #[test]
    fn errors_name_the_place_and_no_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let missing = file_source(path.clone())
            .resolve(&NoSecretReader)
            .unwrap_err()
            .to_string();
        assert!(missing.contains("secret_access_key") && missing.contains(path.to_str().unwrap()));
        std::fs::write(&path, "\n").unwrap();
        let empty = file_source(path)
            .resolve(&NoSecretReader)
            .unwrap_err()
            .to_string();
        assert!(empty.contains("the file is empty"), "{empty}");

        let credentials = Credentials {
            access_key_id: Some(SecretSource {
                env: Some("WALPROOF_TEST_NEVER_SET".to_owned()),
                ..SecretSource::default()
            }),
            ..Credentials::default()
        };
        let unset = credentials
            .resolve(&NoSecretReader)
            .unwrap_err()
            .to_string();
        assert!(
            unset.contains("WALPROOF_TEST_NEVER_SET is not set"),
            "{unset}"
        );
    }

    #[test]
    fn a_secret_of_kubernetes_is_asked_of_the_reader() {
        struct Known;
        impl SecretReader for Known {
            fn read(&self, reference: &SecretReference) -> Result<String, SecretFault> {
                if reference.name == "s3" {
                    Ok(format!("{reference}'s value"))
                } else {
                    Err(SecretFault::lasting("not found"))
                }
            }
        }
        let credentials = |name: &str| Credentials {
            secret_access_key: Some(SecretSource {
                kubernetes: Some(SecretReference {
                    namespace: "shop".to_owned(),
                    name: name.to_owned(),
                    key: "KEY".to_owned(),
                }),
                ..SecretSource::default()
            }),
            ..Credentials::default()
        };
        let resolved = credentials("s3").resolve(&Known).unwrap();
        assert_eq!(resolved[0].1, "Secret shop/s3[KEY]'s value");
        let missing = credentials("s4").resolve(&Known).unwrap_err().to_string();
        assert_eq!(
            missing,
            "read secret_access_key from Secret shop/s4[KEY]: not found"
        );
        let nobody = credentials("s3").resolve(&NoSecretReader).unwrap_err();
        assert!(
            nobody.to_string().contains("only for repositories"),
            "{nobody}"
        );
    }

    #[test]
    fn paths_are_taken_relative_to_the_configuration() {
        let mut credentials = file_source("secrets/key".into());
        credentials.resolve_paths(Path::new("/etc/walproof"));
        let file = credentials.secret_access_key.unwrap().file.unwrap();
        assert_eq!(file, Path::new("/etc/walproof/secrets/key"));
    }
}
