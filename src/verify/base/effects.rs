//! What a record does to whole files: drops, truncations, creations.

use crate::postgres::wal::{RelationLocator, WalEvent, WalRecord};

/// What a record does to files as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileEffect {
    /// The relation's files are removed.
    Dropped(RelationLocator),
}

/// Hands out what `record` does to whole files; nothing for most records.
pub(super) fn file_effects(record: &WalRecord<'_>, take: &mut dyn FnMut(FileEffect)) {
    // Resource manager 1 writes the records that end transactions.
    if record.resource_manager != 1 {
        return;
    }
    match record.event() {
        Some(
            WalEvent::Commit {
                dropped_relations, ..
            }
            | WalEvent::Abort {
                dropped_relations, ..
            },
        ) => {
            for relation in dropped_relations {
                take(FileEffect::Dropped(relation));
            }
        }
        _ => {}
    }
}
