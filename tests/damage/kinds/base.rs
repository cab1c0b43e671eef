//! What is in a base backup: pages, relation files, the files beside them.

use std::ops::Range;

use super::{Ground, Hit, Kind, found, harmless};
use crate::common::pages::{self, BLOCK};
use crate::common::tape;

const PAGES: &str = "Pages";
const FILES: &str = "Relation files";
const CLUSTER: &str = "The cluster's own files";

/// The archive, and the relation's file which the message must name.
fn at_relation(ground: &Ground, key: String, relation: &str) -> Hit {
    Hit {
        object: key,
        detail: ground.file(relation).to_owned(),
    }
}

/// Changes a block of `ledger` that only the base backup itself has.
fn change_quiet(ground: &Ground, change: fn(&mut [u8], u32)) -> Hit {
    let key = ground.change_data(|tar| {
        let (block, at) = ground.quiet_block(tar);
        change(&mut tar[at], block);
    });
    at_relation(ground, key, "ledger")
}

/// Changes a member's bytes.
fn change_member(ground: &Ground, name: &str, change: impl FnOnce(&mut [u8])) -> Hit {
    let key = ground.change_data(|tar| {
        let at = tape::member(tar, name).contents;
        change(&mut tar[at]);
    });
    Hit {
        object: key,
        detail: name.to_owned(),
    }
}

/// Takes a member out.
fn drop_member(ground: &Ground, name: &str) -> Hit {
    let key = ground.change_data(|tar| {
        let member = tape::member(tar, name);
        tar.drain(member.all);
    });
    Hit {
        object: key,
        detail: name.to_owned(),
    }
}

/// The same, said of the backup as a whole.
fn of_backup(ground: &Ground, hit: Hit) -> Hit {
    Hit {
        object: ground.newest().to_owned(),
        ..hit
    }
}

fn add_member(ground: &Ground, name: &str, contents: &[u8]) -> String {
    ground.change_data(|tar| {
        let member = tape::hostile_member(name, b'0', "", contents);
        // In front of the control file: the tool puts that last, with the label.
        let at = tape::member(tar, "global/pg_control").all.start;
        tar.splice(at..at, member);
    })
}

/// The same block of the same file in the older backup.
fn older_block(ground: &Ground, relation: &str, block: u32) -> Vec<u8> {
    let tar = ground.tar(ground.older());
    let at = ground.member(&tar, relation).contents.start + block as usize * BLOCK;
    tar[at..at + BLOCK].to_vec()
}

/// A block of `ledger` that both backups have and that got rows between them.
fn changed_between(ground: &Ground, tar: &[u8]) -> (u32, Range<usize>) {
    let older = ground.tar(ground.older());
    let there = ground.member(&older, "ledger").contents.len() / BLOCK;
    let begin = ground.lsn(ground.newest(), "begin_xlog");
    let file = ground.member(tar, "ledger").contents;
    // `pd_lower` grows with every row.
    let lower = |page: &[u8]| u16::from_le_bytes([page[12], page[13]]);
    crate::ground::blocks(&file)
        .take(there)
        .find(|(block, at)| {
            let page = &tar[at.clone()];
            pages::lsn(page) < begin && lower(page) > lower(&older_block(ground, "ledger", *block))
        })
        .expect("no block got rows between the backups")
}

pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = of_pages();
    kinds.extend(of_files());
    kinds.extend(of_cluster());
    kinds.extend(harmless_ones());
    kinds
}

fn of_pages() -> Vec<Kind> {
    let corrupt = |name, damage| found(PAGES, name, "page-corrupt", damage);
    vec![
        corrupt("one byte of a row flipped", |ground| {
            change_quiet(ground, |page, _| page[BLOCK - 50] ^= 0xFF)
        }),
        corrupt("one bit of a page's header flipped", |ground| {
            change_quiet(ground, |page, _| page[12] ^= 0x04)
        }),
        corrupt("the second half of a page zeroed", |ground| {
            change_quiet(ground, |page, _| page[BLOCK / 2..].fill(0))
        }),
        corrupt("another block's page", |ground| {
            let key = ground.change_data(|tar| {
                let (_, at) = ground.quiet_block(tar);
                tar.copy_within(at.clone(), at.end);
            });
            at_relation(ground, key, "ledger")
        }),
        corrupt("a page torn that no page image heals", |ground| {
            let key = ground.change_data(|tar| {
                let (block, at) = changed_between(ground, tar);
                let old = older_block(ground, "ledger", block);
                let half = at.start + BLOCK / 2..at.end;
                tar[half].copy_from_slice(&old[BLOCK / 2..]);
                if tar[at.clone()] == old[..] {
                    tar[at.end - 1] ^= 1;
                }
            });
            at_relation(ground, key, "ledger")
        }),
        corrupt("a page of a system catalog flipped", |ground| {
            change_member(ground, &ground.in_database("1255"), |file| {
                file[3 * BLOCK - 70] ^= 0x20;
            })
        }),
        corrupt("a page of a shared catalog flipped", |ground| {
            change_member(ground, "global/2671", |file| file[BLOCK + 20] ^= 0x20)
        }),
        corrupt("a page of an index flipped", |ground| {
            let file = ground.file("ledger_pkey").to_owned();
            change_member(ground, &file, |file| file[2 * BLOCK - 9] ^= 0x20)
        }),
        corrupt("a page of a tablespace flipped", |ground| {
            let key = ground.tablespace();
            let file = ground.file("ledger_far").to_owned();
            let name = file.splitn(3, '/').nth(2).unwrap();
            ground.tree.change_inside(&key, |tar| {
                let at = tape::member(tar, name).contents.start;
                tar[at + 3 * BLOCK - 9] ^= 0x20;
            });
            Hit {
                object: key,
                detail: name.to_owned(),
            }
        }),
        corrupt("a page of zeros but for one bit", |ground| {
            change_quiet(ground, |page, _| {
                page.fill(0);
                page[5000] = 1;
            })
        }),
        found(
            PAGES,
            "a page older than its WAL, its checksum right",
            "page-stale",
            |ground| {
                let key = ground.change_data(|tar| {
                    let (block, at) = changed_between(ground, tar);
                    let old = older_block(ground, "ledger", block);
                    tar[at].copy_from_slice(&old);
                });
                at_relation(ground, key, "ledger")
            },
        ),
        found(PAGES, "a page of zeros", "page-stale", |ground| {
            change_quiet(ground, |page, _| page.fill(0))
        }),
        found(
            PAGES,
            "a page's LSN beyond the backup's end, its checksum right",
            "page-beyond-end",
            |ground| {
                change_quiet(ground, |page, block| {
                    let later = pages::lsn(page) + (64 << 20);
                    pages::set_lsn(page, later);
                    pages::seal(page, block);
                })
            },
        ),
    ]
}

fn of_files() -> Vec<Kind> {
    vec![
        found(
            FILES,
            "a relation ten pages short",
            "relation-file-short",
            |ground| {
                let key = ground.change_data(|tar| {
                    let ledger = ground.member(tar, "ledger");
                    tape::shorten(tar, &ledger, 20 * BLOCK);
                });
                at_relation(ground, key, "ledger")
            },
        ),
        found(
            FILES,
            "a relation cut to nothing",
            "relation-file-short",
            |ground| {
                let key = ground.change_data(|tar| {
                    let ledger = ground.member(tar, "ledger");
                    let length = ledger.contents.len();
                    tape::shorten(tar, &ledger, length);
                });
                at_relation(ground, key, "ledger")
            },
        ),
        found(
            FILES,
            "a relation absent",
            "relation-file-missing",
            |ground| {
                let key = ground.change_data(|tar| {
                    let ledger = ground.member(tar, "ledger");
                    tar.drain(ledger.all);
                });
                at_relation(ground, key, "ledger")
            },
        ),
        found(
            FILES,
            "a relation of a tablespace absent",
            "relation-file-missing",
            |ground| {
                let key = ground.tablespace();
                let file = ground.file("ledger_far").to_owned();
                let name = file.splitn(3, '/').nth(2).unwrap();
                ground.tree.change_inside(&key, |tar| {
                    let member = tape::member(tar, name);
                    tar.drain(member.all);
                });
                Hit {
                    object: key,
                    detail: name.to_owned(),
                }
            },
        ),
        found(
            FILES,
            "a relation that ends within a block",
            "relation-file-short",
            |ground| {
                let key = ground.change_data(|tar| {
                    let file = ground.file("ledger_pkey").to_owned();
                    let member = tape::member(tar, &file);
                    // Its last whole block was changed between the backups at the latest, or the
                    // block before it: three and a half are gone.
                    tape::shorten(tar, &member, 3 * BLOCK + BLOCK / 2);
                });
                at_relation(ground, key, "ledger_pkey")
            },
        ),
        found(
            FILES,
            "segment `.1` of a relation without its first",
            "relation-file-missing",
            |ground| {
                let key = add_member(ground, &ground.in_database("99999.1"), &[0; 2 * BLOCK]);
                Hit {
                    object: key,
                    detail: ground.in_database("99999"),
                }
            },
        ),
        found(
            FILES,
            "segment `.1` behind a first one that is not full",
            "relation-file-short",
            |ground| {
                let name = format!("{}.1", ground.file("ledger"));
                let key = add_member(ground, &name, &[0; 2 * BLOCK]);
                at_relation(ground, key, "ledger")
            },
        ),
        found(
            FILES,
            "the files of two relations swapped",
            "relation-file-short",
            |ground| {
                let key = ground.change_data(|tar| {
                    let one = ground.member(tar, "ledger").header;
                    let other = ground.member(tar, "heartbeat").header;
                    // Names of PostgreSQL's files fit into 100 bytes, PAX holds times only.
                    let names = [one, other].map(|at| tar[at..at + 100].to_vec());
                    for (at, name) in [(one, &names[1]), (other, &names[0])] {
                        tar[at..at + 100].copy_from_slice(name);
                        tape::seal(&mut tar[at..at + 512]);
                    }
                });
                at_relation(ground, key, "ledger")
            },
        ),
    ]
}

fn of_cluster() -> Vec<Kind> {
    let control = |name, code, damage| found(CLUSTER, name, code, damage);
    vec![
        control("`pg_control` absent", "backup-damaged", |ground| {
            drop_member(ground, "global/pg_control");
            ground.newest().to_owned().into()
        }),
        control("`pg_control`'s CRC wrong", "backup-damaged", |ground| {
            of_backup(
                ground,
                change_member(ground, "global/pg_control", |file| file[60] ^= 1),
            )
        }),
        control(
            "another cluster's `pg_control`, its CRC right",
            "backup-info-contradictory",
            |ground| {
                change_member(ground, "global/pg_control", |file| {
                    pages::change_control(file, |file| file[0] ^= 0x55);
                });
                ground.newest().to_owned().into()
            },
        ),
        control("`pg_control` of zeros", "backup-damaged", |ground| {
            of_backup(
                ground,
                change_member(ground, "global/pg_control", |file| file.fill(0)),
            )
        }),
        control("`PG_VERSION` absent", "backup-damaged", |ground| {
            drop_member(ground, "PG_VERSION");
            ground.newest().to_owned().into()
        }),
        control(
            "another major's `PG_VERSION`",
            "backup-info-contradictory",
            |ground| {
                change_member(ground, "PG_VERSION", |file| file.copy_from_slice(b"12\n"));
                ground.newest().to_owned().into()
            },
        ),
        control("`backup_label` absent", "backup-label-missing", |ground| {
            drop_member(ground, "backup_label");
            ground.newest().to_owned().into()
        }),
        control("`backup_label` garbled", "backup-damaged", |ground| {
            change_member(ground, "backup_label", |file| file[..40].fill(b'x'));
            ground.newest().to_owned().into()
        }),
        control(
            "another backup's `backup_label`",
            "backup-info-contradictory",
            |ground| {
                let tar = ground.tar(ground.older());
                let label = tar[tape::member(&tar, "backup_label").contents].to_vec();
                ground
                    .tree
                    .change_members(ground.newest(), &[("backup_label", Some(&label))]);
                ground.newest().to_owned().into()
            },
        ),
        control(
            "`pg_xact/0000` absent",
            "transaction-status-missing",
            |ground| Hit {
                detail: "pg_xact".to_owned(),
                ..drop_member(ground, "pg_xact/0000")
            },
        ),
        control(
            "`pg_xact/0000` empty",
            "transaction-status-missing",
            |ground| {
                let key = ground.change_data(|tar| {
                    let member = tape::member(tar, "pg_xact/0000");
                    let length = member.contents.len();
                    tape::shorten(tar, &member, length);
                });
                Hit {
                    object: key,
                    detail: "pg_xact".to_owned(),
                }
            },
        ),
        // Nobody ever made a multixact, and yet the server does not come up without it.
        control(
            "`pg_multixact/offsets/0000` absent",
            "transaction-status-missing",
            |ground| drop_member(ground, "pg_multixact/offsets/0000"),
        ),
        control(
            "a database's `pg_filenode.map` damaged",
            "relation-map-corrupt",
            |ground| {
                change_member(ground, &ground.in_database("pg_filenode.map"), |file| {
                    file[20] ^= 1;
                })
            },
        ),
        control(
            "a database's `pg_filenode.map` absent",
            "relation-map-corrupt",
            |ground| Hit {
                detail: "pg_filenode.map of database".to_owned(),
                ..drop_member(ground, &ground.in_database("pg_filenode.map"))
            },
        ),
        control(
            "the shared `pg_filenode.map` damaged",
            "relation-map-corrupt",
            |ground| change_member(ground, "global/pg_filenode.map", |file| file[20] ^= 1),
        ),
        control(
            "a database's `PG_VERSION` absent",
            "backup-damaged",
            |ground| {
                of_backup(
                    ground,
                    drop_member(ground, &ground.in_database("PG_VERSION")),
                )
            },
        ),
    ]
}

fn harmless_ones() -> Vec<Kind> {
    const PART: &str = "Base backups that only look damaged";
    vec![
        harmless(PART, "a page torn that a page image heals", |ground| {
            ground
                .change_data(|tar| {
                    let (_, at) = ground.busy_block(tar);
                    tar[at.start + 4096..at.end].fill(0x5A);
                })
                .into()
        }),
        harmless(PART, "a page of an unlogged table torn", |ground| {
            let file = ground.file("volatile").to_owned();
            change_member(ground, &file, |file| file[4096..BLOCK].fill(0x5A))
        }),
        harmless(PART, "an unlogged table cut within a block", |ground| {
            ground
                .change_data(|tar| {
                    let member = ground.member(tar, "volatile");
                    tape::shorten(tar, &member, 4096);
                })
                .into()
        }),
        harmless(PART, "a free space map torn", |ground| {
            let file = format!("{}_fsm", ground.file("ledger"));
            change_member(ground, &file, |file| file[100] ^= 0x5A)
        }),
        harmless(PART, "a page of zeros behind a relation's last", |ground| {
            ground
                .change_data(|tar| {
                    let member = ground.member(tar, "hot");
                    tape::lengthen(tar, &member, &[0; BLOCK]);
                })
                .into()
        }),
        harmless(
            PART,
            "a temporary table's file and a sort's, both garbage",
            |ground| {
                add_member(ground, &ground.in_database("t3_16999"), &[0x5A; 5000]);
                add_member(ground, "base/pgsql_tmp/pgsql_tmp123.0", &[0x5A; 5000]).into()
            },
        ),
        harmless(PART, "a relation cache file, garbage", |ground| {
            add_member(
                ground,
                &ground.in_database("pg_internal.init"),
                &[0x5A; 5000],
            )
            .into()
        }),
        harmless(PART, "the older base backup's `pg_control`", |ground| {
            let tar = ground.tar(ground.older());
            let older = tar[tape::member(&tar, "global/pg_control").contents].to_vec();
            change_member(ground, "global/pg_control", |file| {
                file.copy_from_slice(&older);
            })
        }),
    ]
}
