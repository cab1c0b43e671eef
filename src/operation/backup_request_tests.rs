#![allow(
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    reason = "values are written where they are used"
)]

use serde_json::{Value, json};

use super::*;

fn cluster(spec: Value) -> SourceCluster {
    SourceCluster::parse(json!({
        "metadata": {"namespace": "shop", "name": "orders"},
        "spec": spec,
    }))
    .unwrap()
}

fn plugin() -> Value {
    json!({"plugins": [{"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": true,
        "parameters": {"barmanObjectName": "store"}}]})
}

#[test]
fn the_method_is_the_clusters_own_unless_one_is_named() {
    let in_tree = json!({"backup": {"barmanObjectStore": {"destinationPath": "s3://b/"}}});
    for (spec, wanted, method_) in [
        (plugin(), None, BackupMethod::Plugin),
        (plugin(), Some(BackupMethod::Plugin), BackupMethod::Plugin),
        (in_tree, None, BackupMethod::InTree),
        (
            json!({"backup": {"volumeSnapshot": {"className": "fast"}}}),
            Some(BackupMethod::VolumeSnapshot),
            BackupMethod::VolumeSnapshot,
        ),
    ] {
        assert_eq!(method(&cluster(spec), wanted).unwrap(), method_);
    }
}

#[test]
fn a_method_that_the_cluster_has_not_is_refused_before_anything_is_made() {
    for (spec, wanted, words) in [
        (
            plugin(),
            Some(BackupMethod::InTree),
            "archives in the form `plugin`",
        ),
        (
            plugin(),
            Some(BackupMethod::VolumeSnapshot),
            "takes no volume snapshots",
        ),
        (
            json!({"instances": 1}),
            None,
            "archives nowhere that is known",
        ),
    ] {
        let failure = method(&cluster(spec), wanted).unwrap_err();
        assert_eq!(failure.class, FailureClass::Configuration);
        assert!(failure.message.contains(words), "{failure}");
        assert!(failure.hint.is_some());
    }
}

#[test]
fn every_state_has_its_word_and_its_exit_code() {
    for (state, word, code) in [
        (BackupState::Asked, "asked", 0),
        (BackupState::Failed, "failed", 1),
        (BackupState::Unfinished, "unfinished", 3),
        (BackupState::Completed, "completed", 0),
        (BackupState::Unusable, "unusable", 1),
        (BackupState::Verified, "verified", 0),
    ] {
        assert_eq!((state.as_str(), state.exit_code()), (word, code));
        assert_eq!(serde_json::to_value(state).unwrap(), word);
    }
}

#[test]
fn a_backup_that_hangs_says_in_which_phase() {
    let backup = |status: Value| {
        Backup::parse(json!({"metadata": {"namespace": "shop", "name": "b"}, "status": status}))
            .unwrap()
    };
    let limit = Duration::from_mins(1);
    let words = why_unfinished(&backup(json!({})), limit);
    assert!(
        words.contains("the operator has not looked at it"),
        "{words}"
    );
    let words = why_unfinished(
        &backup(json!({"phase": "started", "error": "no route"})),
        limit,
    );
    assert!(
        words.contains("after 60 s it is in the phase `started` (no route)"),
        "{words}"
    );
    let words = why_failed(&backup(json!({"phase": "failed", "error": "403"})));
    assert_eq!(words, "the operator says `failed`: 403");
}
