//! Objects of WAL and history files: missing, doubled, misnamed, lying.

use super::{Ground, Hit, Kind, found, harmless};
use crate::common::codec;
use crate::common::waldump;

const PART: &str = "WAL objects and timeline history";

pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = wal();
    kinds.extend(histories());
    kinds
}

fn wal() -> Vec<Kind> {
    vec![
        found(PART, "a segment missing", "wal-gap", |ground| {
            let name = ground.middle();
            ground.tree.delete_wal(&name);
            name.into()
        }),
        found(
            PART,
            "two neighbouring segments missing",
            "wal-gap",
            |ground| {
                let later = ground.later();
                let first = later.len() / 2 - 1;
                for name in &later[first..first + 2] {
                    ground.tree.delete_wal(name);
                }
                later[first].clone().into()
            },
        ),
        found(PART, "a segment only as `.partial`", "wal-gap", |ground| {
            let name = ground.middle();
            let key = ground.middle_key();
            ground
                .tree
                .rename(&key, &key.replace(&name, &format!("{name}.partial")));
            name.into()
        }),
        found(
            PART,
            "the segment of a base backup's end missing",
            "backup-wal-missing",
            |ground| {
                ground
                    .tree
                    .delete_wal(&ground.field(ground.newest(), "end_wal"));
                ground.newest().to_owned().into()
            },
        ),
        found(
            PART,
            "the segment of a base backup's begin missing",
            "backup-wal-missing",
            |ground| {
                ground
                    .tree
                    .delete_wal(&ground.field(ground.newest(), "begin_wal"));
                ground.newest().to_owned().into()
            },
        ),
        found(PART, "a segment's object empty", "object-empty", |ground| {
            ground.store_middle(b"").into()
        }),
        found(
            PART,
            "an error page under a segment's name",
            "object-too-small",
            |ground| {
                ground
                    .store_middle(b"<html><body>503 Service Unavailable</body></html>\n")
                    .into()
            },
        ),
        found(
            PART,
            "a segment stored twice, the first object damaged",
            "wal-duplicate-differs",
            |ground| {
                let other = ground.tree.duplicate(&ground.middle_key(), ".zst", |_| {});
                let key = other.replace(".zst", ".gz");
                ground.tree.change_inside(&key, |wal| wal[5000] ^= 1);
                key.into()
            },
        ),
        found(
            PART,
            "a segment stored twice, the second object damaged",
            "wal-duplicate-differs",
            |ground| {
                ground
                    .tree
                    .duplicate(&ground.middle_key(), ".zst", |wal| wal[5000] ^= 1)
                    .into()
            },
        ),
        harmless(PART, "a segment stored twice, alike", |ground| {
            // Two names for the same content are a warning elsewhere: here only one restore
            // path matters, so the copy lies beside it under the plain name.
            ground
                .tree
                .duplicate(&ground.middle_key(), ".zst", |_| {})
                .into()
        }),
    ]
}

/// A history file whose only switch point lies `by` bytes further.
fn moved(text: &str, by: i64) -> String {
    let switch = text.split('\t').nth(1).unwrap();
    let other = waldump::lsn(switch).checked_add_signed(by).unwrap();
    text.replace(switch, &waldump::lsn_text(other))
}

fn contradictory(name: &'static str, damage: fn(&Ground) -> Hit) -> Kind {
    found(PART, name, "history-contradictory", damage)
}

fn histories() -> Vec<Kind> {
    vec![
        found(
            PART,
            "the history file missing",
            "history-missing",
            |ground| {
                ground.tree.delete_wal("00000002.history");
                "00000002.history".to_owned().into()
            },
        ),
        found(
            PART,
            "the history file garbled",
            "history-unreadable",
            |ground| ground.change_history(|_| "garbled".to_owned()).into(),
        ),
        found(
            PART,
            "the history file of zeros",
            "history-unreadable",
            |ground| ground.change_history(|text| "\0".repeat(text.len())).into(),
        ),
        contradictory("a switch point two segments too early", |ground| {
            ground
                .change_history(|text| moved(&text, -2 * (1 << 20)))
                .into()
        }),
        contradictory("a switch point one segment too late", |ground| {
            ground.change_history(|text| moved(&text, 1 << 20)).into()
        }),
        contradictory("a switch point eight bytes too late", |ground| {
            ground.change_history(|text| moved(&text, 8)).into()
        }),
        contradictory("a switch point eight bytes too early", |ground| {
            ground.change_history(|text| moved(&text, -8)).into()
        }),
        found(
            PART,
            "the first segment of the new timeline missing",
            "wal-gap",
            |ground| {
                let first = ground.tree.segments_of(2)[0].clone();
                ground.tree.delete_wal(&first);
                first.into()
            },
        ),
        harmless(
            PART,
            "the history file's reason and line ends changed",
            |ground| {
                ground
                    .change_history(|text| format!("# by hand\n\n{}\n", text.trim_end()))
                    .into()
            },
        ),
    ]
}

/// Bytes of an object as another codec would have stored them.
pub(super) fn as_other(ground: &Ground, key: &str, extension: &str) -> Vec<u8> {
    codec::encode(extension, &ground.decoded(key))
}
