//! The description of a base backup: missing, unreadable, lying.

use super::{Ground, Hit, Kind, found, harmless};
use crate::common::waldump;

const PART: &str = "The description of a base backup";

fn contradictory(name: &'static str, damage: fn(&Ground) -> Hit) -> Kind {
    found(PART, name, "backup-info-contradictory", damage)
}

/// Sets a field of the newest backup's description; its id is to be named.
fn lie(ground: &Ground, field: &str, value: &str) -> Hit {
    ground.tree.set_info(ground.newest(), field, value);
    ground.newest().to_owned().into()
}

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        found(PART, "status FAILED", "backup-failed", |ground| {
            lie(ground, "status", "FAILED")
        }),
        found(
            PART,
            "`backup.info` missing",
            "backup-info-missing",
            |ground| {
                ground.tree.delete(&ground.info());
                ground.info().into()
            },
        ),
        found(
            PART,
            "`backup.info` an error page",
            "backup-info-unreadable",
            |ground| {
                ground.tree.write(&ground.info(), b"<html>");
                ground.info().into()
            },
        ),
        found(
            PART,
            "`backup.info` cut",
            "backup-info-unreadable",
            |ground| {
                ground.tree.halve(&ground.info());
                ground.info().into()
            },
        ),
        contradictory("the other backup's `backup.info`", |ground| {
            let other = ground.tree.info(ground.older());
            ground.tree.write(&ground.info(), other.as_bytes());
            ground.newest().to_owned().into()
        }),
        contradictory("end before begin", |ground| {
            let begin = ground.field(ground.older(), "begin_xlog");
            lie(ground, "end_xlog", &begin)
        }),
        contradictory("begin eight bytes too early", |ground| {
            let begin = ground.lsn(ground.newest(), "begin_xlog") - 8;
            lie(ground, "begin_xlog", &waldump::lsn_text(begin))
        }),
        contradictory("end eight bytes too early", |ground| {
            let end = ground.lsn(ground.newest(), "end_xlog") - 8;
            lie(ground, "end_xlog", &waldump::lsn_text(end))
        }),
        contradictory("end eight bytes too late", |ground| {
            let end = ground.lsn(ground.newest(), "end_xlog") + 8;
            lie(ground, "end_xlog", &waldump::lsn_text(end))
        }),
        found(
            PART,
            "end just behind its begin",
            "page-beyond-end",
            |ground| {
                let end = ground.lsn(ground.newest(), "begin_xlog") + 0x100;
                Hit {
                    object: ground.data(),
                    ..lie(ground, "end_xlog", &waldump::lsn_text(end))
                }
            },
        ),
        contradictory("another segment size", |ground| {
            lie(ground, "xlog_segment_size", "16777216")
        }),
        contradictory("another timeline", |ground| lie(ground, "timeline", "2")),
        contradictory("another major version", |ground| {
            let own = ground.field(ground.newest(), "version");
            let other = if own.starts_with("14") {
                "150004"
            } else {
                "140010"
            };
            lie(ground, "version", other)
        }),
        found(
            PART,
            "another database system's id",
            "wal-foreign",
            |ground| {
                ground
                    .tree
                    .set_info(ground.newest(), "systemid", "7000000000000000042");
                let begin = ground.field(ground.newest(), "begin_wal");
                ground.tree.wal_key(&begin).into()
            },
        ),
        contradictory("no tablespace told where there is one", |ground| {
            lie(ground, "tablespaces", "None")
        }),
        harmless(PART, "an annotation to keep the backup", |ground| {
            let key = format!("base/{}/annotations/keep", ground.newest());
            ground.tree.write(&key, b"full");
            key.into()
        }),
        harmless(PART, "statistics of the copy told wrong", |ground| {
            lie(ground, "cluster_size", "1")
        }),
    ]
}
