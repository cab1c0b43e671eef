//! Pod templates: the user's file, or the one that is built in.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A template is at most this long, in bytes.
const LIMIT: u64 = 1 << 20;

/// A pod template that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("read the pod template {}: {cause} (the daemon's user must be able to read it)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// It is no pod template.
    #[error("the pod template {}: {cause} (it holds `metadata` and `spec`, with at least one container)", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// Reads a pod template: YAML with `spec`, and `metadata` for labels and annotations. A whole
/// Pod or PodTemplate does as well; its name and kind mean nothing.
pub fn read(path: &Path) -> Result<Value, TemplateError> {
    let unreadable = |cause: String| TemplateError::Read {
        path: path.to_owned(),
        cause,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if length > LIMIT {
        return Err(unreadable(format!("it has {length} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    parse(&text).map_err(|cause| TemplateError::Shape {
        path: path.to_owned(),
        cause,
    })
}

fn parse(text: &str) -> Result<Value, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let template = match value.get("template") {
        Some(template) => template.clone(),
        None => value,
    };
    let containers = template.pointer("/spec/containers");
    match containers.and_then(Value::as_array) {
        Some(containers) if !containers.is_empty() => Ok(template),
        Some(_) => Err("`spec.containers` is empty".to_owned()),
        None => Err("there is no `spec.containers`".to_owned()),
    }
}

/// The template that holds without a file: what the Pod Security Standard `restricted` asks
/// for, a scratch volume for temporary files, and nothing of the daemon's own pod, so that no
/// secret of the daemon is handed on.
pub fn built_in(image: &str) -> Value {
    json!({
        "spec": {
            // Secrets and scratch namespaces are reached through the API, whatever the account says.
            "automountServiceAccountToken": true,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": super::CONTAINER,
                "image": image,
                "env": [
                    {"name": "HOME", "value": "/work"},
                    {"name": "TMPDIR", "value": "/work"},
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "work", "mountPath": "/work"}],
            }],
            "volumes": [{"name": "work", "emptyDir": {}}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ServiceAccount may say that its pods get no token.
    #[test]
    fn the_built_in_template_asks_for_a_token() {
        let spec = &built_in("walproof:1")["spec"];
        assert_eq!(spec["automountServiceAccountToken"], true);
        assert_eq!(spec["enableServiceLinks"], false);
    }

    #[test]
    fn what_has_containers_is_a_template() {
        let plain = parse("spec:\n  containers:\n  - {name: walproof, image: a}\n").unwrap();
        let whole = parse(
            "kind: PodTemplate\ntemplate:\n  spec:\n    containers:\n    - {name: walproof, image: a}\n",
        )
        .unwrap();
        assert_eq!(plain, whole);
        for wrong in [
            "",
            "spec: {}",
            "spec: {containers: []}",
            "[1",
            "spec: {containers: 3}",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let error = read(Path::new("/nonexistent/pod.yaml")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/pod.yaml"));
    }
}
