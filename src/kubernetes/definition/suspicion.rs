//! What looks like a secret where none belongs: in a ConfigMap, in a plain variable.

use serde_json::Value;

use super::content::{CapturedObject, Suspicion};

/// Parts of names that secrets go by.
const NAMES: [&str; 9] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "private_key",
    "access_key",
    "credential",
];

/// Everything in these objects that looks like a secret. Never gives the value.
pub(super) fn suspicions(objects: &[CapturedObject]) -> Vec<Suspicion> {
    let mut found = Vec::new();
    for object in objects {
        let mut note = |path: String, looks_like: &str| {
            found.push(Suspicion {
                object: object.title(),
                path,
                looks_like: looks_like.to_owned(),
            });
        };
        if object.kind == "ConfigMap" {
            let data = object.manifest.get("data").and_then(Value::as_object);
            for (key, value) in data.into_iter().flatten() {
                if let Some(looks_like) = value.as_str().and_then(|text| judge(key, text)) {
                    note(format!("data.{key}"), looks_like);
                }
            }
        }
        let variables = object
            .manifest
            .pointer("/spec/env")
            .and_then(Value::as_array);
        for variable in variables.into_iter().flatten() {
            let text = |key: &str| variable.get(key).and_then(Value::as_str);
            if let (Some(name), Some(value)) = (text("name"), text("value"))
                && let Some(looks_like) = judge(name, value)
            {
                note(format!("spec.env.{name}"), looks_like);
            }
        }
    }
    found
}

/// What a value looks like.
fn judge(name: &str, value: &str) -> Option<&'static str> {
    if value.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    if value
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| word.len() == 20 && word.starts_with("AKIA"))
    {
        return Some("an access key of Amazon's");
    }
    if has_login(value) {
        return Some("a URL with a password");
    }
    let lower = name.to_ascii_lowercase();
    let one_line = !value.trim().is_empty() && !value.trim().contains(['\n', ' ']);
    if one_line && NAMES.iter().any(|part| lower.contains(part)) {
        return Some("a secret by its name");
    }
    value
        .lines()
        .any(sets_password)
        .then_some("a line that sets a password")
}

/// `scheme://user:password@host`.
fn has_login(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest
            .split(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\''))
            .next()
            .unwrap_or_default();
        authority
            .rsplit_once('@')
            .and_then(|(login, _)| login.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
    })
}

/// `password: x`, `password=x`, `PASSWORD 'x'`.
fn sets_password(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let Some((_, after)) = lower.split_once("password") else {
        return false;
    };
    let after = after.trim_start();
    let value = match after.strip_prefix(['=', ':']) {
        Some(value) => value.trim(),
        None if after.starts_with('\'') => after,
        None => return false,
    };
    let value = value.trim_matches(['\'', '"', ';']);
    !value.is_empty() && value != "null" && !value.starts_with('$') && !value.starts_with('{')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_noticed_and_plain_settings_are_not() {
        for (name, value) in [
            ("key.pem", "-----BEGIN RSA PRIVATE KEY-----\nx"),
            ("env", "id = AKIAIOSFODNN7EXAMPLE"),
            ("dsn", "postgres://app:hunter2@db/orders"),
            ("DB_PASSWORD", "hunter2"),
            ("setup.sql", "CREATE ROLE a LOGIN PASSWORD 'hunter2';"),
            ("app.ini", "user=a\npassword = hunter2"),
        ] {
            assert!(judge(name, value).is_some(), "{name}");
        }
        for (name, value) in [
            ("setup.sql", "ALTER ROLE a PASSWORD NULL;\nSELECT 1"),
            (
                "queries",
                "pg_roles:\n  query: \"SELECT count(*) FROM pg_authid WHERE rolpassword IS NULL\"",
            ),
            ("ca.crt", "-----BEGIN CERTIFICATE-----\nx"),
            ("url", "https://example.com/a:b@c"),
            ("dsn", "postgres://app:$PASSWORD@db/orders"),
            ("password_encryption", ""),
            ("mode", "on"),
        ] {
            assert_eq!(judge(name, value), None, "{name}");
        }
    }

    #[test]
    fn the_value_is_never_told() {
        let map = CapturedObject::of(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "shop", "name": "settings"},
            "data": {"API_TOKEN": "hunter2", "plain": "x"},
        }))
        .unwrap();
        let found = suspicions(&[map]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "data.API_TOKEN");
        assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"));
    }
}
