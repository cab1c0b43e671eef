//! The counts of this process, and the file with every call.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use chrono::{SecondsFormat, Utc};
use serde_json::json;

use super::Call;

/// The variable that names a file to which every call is appended, as a line of JSON.
pub const FILE: &str = "WALPROOF_KUBERNETES_CALLS";

/// So many different counts are kept. The paths that walproof asks for are its own, so this is
/// far more than there are.
const MOST: usize = 2000;

/// How often something was asked for, with this answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// The verb, as RBAC names it.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, with its subresource: `pods/log`.
    pub resource: String,
    /// The status of the answer; 0 where there was none.
    pub code: u16,
    /// How often.
    pub number: u64,
}

type Key = (&'static str, String, String, u16);

static COUNTS: Mutex<BTreeMap<Key, u64>> = Mutex::new(BTreeMap::new());

/// What this process asked of API servers since it began, sorted.
pub fn counts() -> Vec<Count> {
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    counts
        .iter()
        .map(|((verb, group, resource, code), number)| Count {
            verb,
            group: group.clone(),
            resource: resource.clone(),
            code: *code,
            number: *number,
        })
        .collect()
}

/// Notes a call and its answer. `own` is the namespace in which walproof itself runs.
pub(super) fn note(call: &Call, code: u16, own: Option<&str>) {
    let key = (call.verb, call.group.clone(), call.object(), code);
    {
        let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < MOST || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }
    if let Some(file) = file() {
        write(&file, call, code, own);
    }
}

/// Where in the cluster a call goes, as far as it can be told from here: `cluster` for what
/// belongs to no namespace or for all of them, `own`, `scratch` by the shape of its name, else
/// `other`.
fn place(call: &Call, own: Option<&str>) -> &'static str {
    match call.namespace.as_deref() {
        None => "cluster",
        Some(namespace) if Some(namespace) == own => "own",
        Some(namespace) if is_scratch(namespace) => "scratch",
        Some(_) => "other",
    }
}

/// Whether a name ends as those of scratch namespaces do: `-` and eight hexadecimal digits.
fn is_scratch(namespace: &str) -> bool {
    namespace.rsplit_once('-').is_some_and(|(_, tail)| {
        tail.len() == 8 && tail.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// The file, opened once. What cannot be opened is said once and then left.
fn file() -> Option<Arc<File>> {
    static OPENED: OnceLock<Option<Arc<File>>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| {
        let path = std::env::var_os(FILE).filter(|path| !path.is_empty())?;
        match OpenOptions::new().create(true).append(true).open(&path) {
            Ok(file) => Some(Arc::new(file)),
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "calls of the API are not written down");
                None
            }
        }
    });
    opened.clone()
}

/// One short line in one write, so that several processes may share the file.
fn write(mut file: &File, call: &Call, code: u16, own: Option<&str>) {
    let line = json!({
        "at": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        "verb": call.verb,
        "group": call.group,
        "resource": call.resource,
        "subresource": call.subresource,
        "namespace": call.namespace,
        "name": call.name,
        "place": place(call, own),
        "dry_run": call.dry_run,
        "code": code,
    });
    // A disk that is full must not end what is under way.
    let _ = file.write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_with_one_answer_are_counted_together() {
        let call = Call {
            verb: "get",
            group: "counted.example".to_owned(),
            resource: "pods".to_owned(),
            subresource: Some("log".to_owned()),
            ..Call::default()
        };
        note(&call, 200, None);
        note(&call, 200, None);
        note(&call, 403, None);
        let counted: Vec<(String, u16, u64)> = counts()
            .into_iter()
            .filter(|count| count.group == "counted.example")
            .map(|count| (count.resource, count.code, count.number))
            .collect();
        let expected = [(200, 2), (403, 1)];
        assert_eq!(
            counted,
            expected.map(|(code, number)| ("pods/log".to_owned(), code, number))
        );
    }

    #[test]
    fn a_place_is_told_by_its_namespace() {
        for (namespace, expected) in [
            (None, "cluster"),
            (Some("walproof"), "own"),
            (Some("walproof-drill-orders-456789ab"), "scratch"),
            (Some("shop"), "other"),
            (Some("shop-facade1"), "other"),
        ] {
            let call = Call {
                namespace: namespace.map(str::to_owned),
                ..Call::default()
            };
            assert_eq!(place(&call, Some("walproof")), expected);
        }
    }
}
