//! What the tests on a cluster share: a place of their own, configurations, identities.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, Namespace};
use crate::common::scratch;
use crate::common::walproof::{self, Run};

/// A place of a test's own: configuration, state, definitions.
#[derive(Debug)]
pub(crate) struct Place {
    keep: TempDir,
    lab: &'static Lab,
    kubeconfig: PathBuf,
}

impl Place {
    pub(crate) fn new(lab: &'static Lab) -> Self {
        Self {
            keep: scratch::directory(),
            lab,
            kubeconfig: lab.kubeconfig.clone(),
        }
    }

    /// The same as somebody else.
    pub(crate) fn of(lab: &'static Lab, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            ..Self::new(lab)
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.keep.path()
    }

    /// Writes a configuration that knows the source as `orders`, its Secrets by reference.
    /// `more` are further lines of the cluster.
    pub(crate) fn configure(&self, source: &Source, more: &str) {
        let credential = |key: &str| json!({"kubernetes": {"namespace": source.name(), "name": Source::READER, "key": key}});
        let primary = json!({
            "url": source.url(),
            "endpoint": source.store.endpoint(),
            "region": "us-east-1",
            "path_style": true,
            "credentials": {
                "access_key_id": credential("ACCESS_KEY_ID"),
                "secret_access_key": credential("SECRET_ACCESS_KEY"),
            },
        });
        let resource = json!({"namespace": source.name(), "name": Source::CLUSTER});
        self.configure_with(&format!(
            "- name: orders\n  kubernetes: {resource}\n  primary: {primary}\n{more}"
        ));
    }

    /// Writes a configuration with these clusters.
    pub(crate) fn configure_with(&self, clusters: &str) {
        let access = json!({"kubeconfig": self.kubeconfig});
        let state = format!("sqlite://{}/state.sqlite", self.path().display());
        let text = format!(
            "version: 1\nstate: {}\nkubernetes: {access}\nclusters:\n{clusters}",
            json!(state)
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("walproof.yaml")
    }

    /// Writes a drill definition with these lines below its name, for the environment cnpg.
    /// Its scratch namespaces have names by which the tests remove them, should it not.
    pub(crate) fn definition(&self, name: &str, cnpg: &Value, lines: &str) -> String {
        let mut cnpg = cnpg.clone();
        cnpg["namespace_prefix"] = json!(format!("{}-drill", self.lab.prefix));
        let file = self.path().join(format!("{name}.yaml"));
        std::fs::write(
            &file,
            format!("version: 1\nname: {name}\nenvironment: cnpg\ncnpg: {cnpg}\n{lines}"),
        )
        .unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Runs walproof with this configuration.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Run {
        walproof::run_command(self.command(words))
    }

    /// A command line of walproof with this configuration.
    pub(crate) fn command(&self, words: &[&str]) -> std::process::Command {
        let config = self.config();
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(words);
        let mut command = walproof::command(&all, &[]);
        command.env_remove("KUBECONFIG").current_dir(self.path());
        command
    }
}

/// A kubeconfig of a ServiceAccount in `namespace` that may do what `rules` say, there and
/// nowhere else.
pub(crate) fn identity(
    lab: &'static Lab,
    namespace: &Namespace,
    name: &str,
    rules: &Value,
    directory: &Path,
) -> PathBuf {
    let metadata = json!({"name": name, "namespace": namespace.name});
    lab.apply(&[
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": metadata, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace.name}]}),
    ]);
    kubeconfig_of(lab, &namespace.name, name, directory)
}

/// A kubeconfig with a token of a ServiceAccount that exists.
pub(crate) fn kubeconfig_of(
    lab: &Lab,
    namespace: &str,
    account: &str,
    directory: &Path,
) -> PathBuf {
    let token = lab.ask(&[
        "-n",
        namespace,
        "create",
        "token",
        account,
        "--duration",
        "1h",
    ]);
    let text = lab.ask(&[
        "config",
        "view",
        "--raw",
        "--minify",
        "--flatten",
        "-o",
        "json",
    ]);
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({"token": token});
    let file = directory.join(format!("{account}.kubeconfig"));
    std::fs::write(&file, config.to_string()).unwrap();
    file
}
