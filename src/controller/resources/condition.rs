//! Conditions, as the conventions of the API have them.

use chrono::{DateTime, Utc};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::kubernetes::time;

/// Sets a condition; gives whether its status is another than before. Its time of transition
/// changes only then. `message` is cut at 1,024 characters.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: &str,
    holds: Option<bool>,
    (reason, message): (&str, &str),
    generation: Option<i64>,
    now: DateTime<Utc>,
) -> bool {
    let status = match holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let message: String = message.chars().take(1024).collect();
    let Some(now) = time::to_api(now) else {
        return false;
    };
    if let Some(known) = conditions.iter_mut().find(|one| one.type_ == kind) {
        let changed = known.status != status;
        if changed {
            known.last_transition_time = now;
            status.clone_into(&mut known.status);
        }
        known.observed_generation = generation;
        reason.clone_into(&mut known.reason);
        known.message = message;
        return changed;
    }
    conditions.push(Condition {
        last_transition_time: now,
        message,
        observed_generation: generation,
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: kind.to_owned(),
    });
    true
}

/// Whether a condition is `True`.
pub fn holds(conditions: &[Condition], kind: &str) -> bool {
    conditions
        .iter()
        .any(|one| one.type_ == kind && one.status == "True")
}

/// The schema of a list of conditions: a map by `type`.
pub fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Where it stands, in the terms of the API's conventions.",
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "description": "What it is about.", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether it holds."},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0,
                    "description": "The generation of the spec that it is about."},
                "lastTransitionTime": {"type": "string", "format": "date-time",
                    "description": "When its status last changed."},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024,
                    "description": "Why, in a word."},
                "message": {"type": "string", "maxLength": 32768,
                    "description": "Why, and what to do."},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_status_is_a_transition() {
        let mut all = Vec::new();
        let first = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let later = DateTime::from_timestamp(1_800_000_100, 0).unwrap();
        let set = |all: &mut Vec<Condition>, holds, reason: &str, at| {
            set_condition(all, "Ready", holds, (reason, "why"), Some(3), at)
        };
        assert!(set(&mut all, Some(true), "Found", first));
        assert!(!set(&mut all, Some(true), "FoundAgain", later));
        assert_eq!(all[0].reason, "FoundAgain");
        assert_eq!(time::from_api(&all[0].last_transition_time), Some(first));
        assert!(holds(&all, "Ready"));
        assert!(set(&mut all, None, "Lost", later));
        assert_eq!(time::from_api(&all[0].last_transition_time), Some(later));
        assert!(!holds(&all, "Ready"));
        assert_eq!(all.len(), 1);
    }
}
