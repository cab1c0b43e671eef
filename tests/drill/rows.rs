//! The rows of the fault table.

use walproof::finding::Code;

use crate::common::codec;
use crate::common::damage::Tree;
use crate::common::tape;
use crate::table::{Drill, Fault, Ground, strict_tier};

impl Ground {
    /// The id of the base backup that the drill takes.
    fn newest(&self) -> &str {
        &self.facts.backups[1].id
    }

    fn oldest(&self) -> &str {
        &self.facts.backups[0].id
    }

    /// An archive of the newest base backup: that of the data directory.
    pub(crate) fn data(&self) -> String {
        self.tree
            .archives(self.newest())
            .into_iter()
            .find(|key| key.contains("/data.tar"))
            .unwrap()
    }

    /// That of its tablespace.
    fn tablespace(&self) -> String {
        self.tree
            .archives(self.newest())
            .into_iter()
            .find(|key| !key.contains("/data"))
            .unwrap()
    }

    fn info(&self) -> String {
        format!("base/{}/backup.info", self.newest())
    }

    /// Full segments that only recovery after the newest base backup needs.
    fn later(&self) -> Vec<String> {
        let end = &self.facts.backups[1].end_wal;
        let segments = self.tree.segments();
        segments.into_iter().filter(|name| name > end).collect()
    }

    /// The one in their middle.
    fn middle(&self) -> String {
        let later = self.later();
        later[later.len() / 2].clone()
    }

    fn middle_key(&self) -> String {
        self.tree.wal_key(&self.middle())
    }

    /// The key of the newest segment, which `verify` reads at every depth for the tip.
    fn last_key(&self) -> String {
        self.tree.wal_key(self.later().last().unwrap())
    }

    /// Changes the decoded bytes of the archive of the data directory.
    fn change_data(&self, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let key = self.data();
        self.tree.change_inside(&key, change);
        key
    }

    /// Changes the decoded bytes of the segment in the middle.
    fn change_middle(&self, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let key = self.middle_key();
        self.tree.change_inside(&key, change);
        key
    }

    /// Stores other bytes under the segment in the middle.
    fn store_middle(&self, bytes: &[u8]) -> String {
        let key = self.middle_key();
        self.tree.write(&key, bytes);
        key
    }

    /// Changes a history file's text.
    fn change_history(&self, change: impl FnOnce(String) -> String) -> String {
        let key = self.tree.wal_key("00000002.history");
        self.tree.change_inside(&key, |bytes| {
            *bytes = change(String::from_utf8(bytes.clone()).unwrap()).into_bytes();
        });
        key
    }
}

/// A third of an object from its end is cut away: the size stays plausible.
fn cut(ground: &Ground, key: String) -> String {
    let tree = &ground.tree;
    tree.truncate(&key, tree.read(&key).len() * 2 / 3);
    key
}

/// A byte in the middle of rows that nothing after the base backup touches.
fn flip_in_ledger(ground: &Ground) -> String {
    ground.change_data(|tar| {
        let ledger = tape::ledger(tar);
        tar[ledger.contents.start + 2 * 8192 - 50] ^= 0xFF;
    });
    "ledger".to_owned()
}

fn flip(ground: &Ground, key: String) -> String {
    ground.tree.flip_middle(&key);
    key
}

/// Takes a member out of an archive.
fn without(tar: &mut Vec<u8>, name: &str) {
    let member = tape::member(tar, name);
    tar.drain(member.all);
}

/// What a check names: its question, not the file that was damaged.
const ROWS: &str = "rows";

fn row(
    part: &'static str,
    on: &'static str,
    name: &'static str,
    verify: Option<Code>,
    drill: Drill,
    damage: fn(&Ground) -> String,
) -> Fault {
    Fault {
        part,
        name,
        on,
        damage,
        verify,
        drill,
        tier: |_| {},
    }
}

/// The same code from both.
fn both(
    part: &'static str,
    on: &'static str,
    name: &'static str,
    code: Code,
    damage: fn(&Ground) -> String,
) -> Fault {
    row(part, on, name, Some(code), Drill::Failed(code), damage)
}

/// Every row, in the order of the table.
pub(crate) fn all() -> Vec<Fault> {
    let mut rows = base_content();
    rows.extend(base_objects());
    rows.extend(descriptions());
    rows.extend(wal_objects());
    rows.extend(wal_content());
    rows.extend(histories());
    rows.extend(places());
    rows.extend(harmless());
    rows
}

/// The part whose rows change what is in the archive of the data directory.
pub(crate) const BASE_CONTENT: &str = "What is in a base backup";

fn base_content() -> Vec<Fault> {
    const PART: &str = BASE_CONTENT;
    let damaged = |on, name, damage| both(PART, on, name, Code::BackupDamaged, damage);
    let shows =
        |on, name, read, code, damage| row(PART, on, name, Some(read), Drill::Failed(code), damage);
    vec![
        shows(
            "plain",
            "plain: one byte of a table's page flipped",
            Code::PageCorrupt,
            Code::CorruptionFound,
            flip_in_ledger,
        ),
        shows(
            "",
            "lz4: one byte of a table's page flipped",
            Code::PageCorrupt,
            Code::CorruptionFound,
            flip_in_ledger,
        ),
        shows(
            "",
            "a table's page zeroed",
            Code::PageStale,
            Code::CheckFailed,
            |ground| {
                ground.change_data(|tar| {
                    let at = tape::ledger(tar).contents.start + 8192;
                    tar[at..at + 8192].fill(0);
                });
                ROWS.to_owned()
            },
        ),
        shows(
            "",
            "a table ten pages short",
            Code::RelationFileShort,
            Code::CheckFailed,
            |ground| {
                ground.change_data(|tar| {
                    let ledger = tape::ledger(tar);
                    tape::shorten(tar, &ledger, 10 * 8192);
                });
                ROWS.to_owned()
            },
        ),
        shows(
            "",
            "a table's file absent",
            Code::RelationFileMissing,
            Code::CheckFailed,
            |ground| {
                ground.change_data(|tar| {
                    let ledger = tape::ledger(tar);
                    tar.drain(ledger.all);
                });
                ROWS.to_owned()
            },
        ),
        shows(
            "",
            "`pg_xact/0000` absent",
            Code::TransactionStatusMissing,
            Code::CheckFailed,
            |ground| {
                ground.change_data(|tar| without(tar, "pg_xact/0000"));
                "balance".to_owned()
            },
        ),
        damaged("", "`global/pg_control` absent", |ground| {
            ground.change_data(|tar| without(tar, "global/pg_control"));
            ground.newest().to_owned()
        }),
        both(
            PART,
            "",
            "`backup_label` absent",
            Code::BackupLabelMissing,
            |ground| {
                ground.change_data(|tar| without(tar, "backup_label"));
                ground.newest().to_owned()
            },
        ),
        damaged("plain", "plain: cut between two members", |ground| {
            ground.change_data(|tar| {
                let members = tape::members(tar);
                tar.truncate(members[members.len() * 2 / 3].all.start);
            })
        }),
        damaged("plain", "plain: cut within a member", |ground| {
            ground.change_data(|tar| {
                let late = tar.len() * 5 / 6;
                let member = tape::members(tar)
                    .into_iter()
                    .find(|member| member.header > late && member.contents.len() >= 8192)
                    .unwrap();
                tar.truncate(member.contents.start + 700);
            })
        }),
        damaged("plain", "plain: a tar header damaged", |ground| {
            ground.change_data(|tar| {
                let header = tape::ledger(tar).header;
                tar[header + 3] ^= 0xFF;
            })
        }),
        damaged("plain", "plain: a PAX header damaged", |ground| {
            ground.change_data(|tar| {
                let header = tape::ledger(tar).all.start;
                tar[header + 3] ^= 0xFF;
            })
        }),
        damaged("plain", "plain: bytes behind the archive's end", |ground| {
            ground.change_data(|tar| {
                let last = tar.len() - 1;
                tar[last] = 0x5A;
            })
        }),
        damaged("gzip", "gzip: one byte flipped", |ground| {
            flip(ground, ground.data())
        }),
        damaged("gzip", "gzip: CRC trailer zeroed", |ground| {
            let key = ground.data();
            let mut bytes = ground.tree.read(&key);
            let end = bytes.len();
            bytes[end - 8..].fill(0);
            ground.tree.write(&key, &bytes);
            key
        }),
        damaged("gzip", "gzip: cut", |ground| cut(ground, ground.data())),
        damaged("bzip2", "bzip2: one byte flipped", |ground| {
            flip(ground, ground.data())
        }),
        damaged("bzip2", "bzip2: cut", |ground| cut(ground, ground.data())),
        damaged("snappy", "snappy: one byte flipped", |ground| {
            flip(ground, ground.data())
        }),
        damaged("snappy", "snappy: cut", |ground| cut(ground, ground.data())),
        damaged("", "lz4: cut", |ground| cut(ground, ground.data())),
        damaged("", "lz4: a tablespace's archive cut", |ground| {
            cut(ground, ground.tablespace())
        }),
        damaged(
            "",
            "gzip bytes under the name of an lz4 archive",
            |ground| {
                let key = ground.data();
                let bytes = codec::decode(".lz4", &ground.tree.read(&key));
                ground.tree.write(&key, &codec::encode(".gz", &bytes));
                key
            },
        ),
        both(
            PART,
            "",
            "another base backup's archive of the data directory",
            Code::BackupInfoContradictory,
            |ground| {
                let key = ground.data();
                let other = key.replace(ground.newest(), ground.oldest());
                ground.tree.write(&key, &ground.tree.read(&other));
                ground.newest().to_owned()
            },
        ),
        row(
            PART,
            "plain",
            "a member named `../../escaped`",
            Some(Code::BackupMemberUnsafe),
            Drill::Refused(Code::BackupMemberUnsafe),
            |ground| {
                ground.change_data(|tar| {
                    let member = tape::hostile_member("../../escaped", b'0', "", b"x");
                    tar.splice(0..0, member);
                })
            },
        ),
        row(
            PART,
            "plain",
            "a file behind a link that leads out",
            Some(Code::BackupMemberUnsafe),
            Drill::Refused(Code::BackupMemberUnsafe),
            |ground| {
                ground.change_data(|tar| {
                    let mut members = tape::hostile_member("out", b'2', "/tmp", b"");
                    members.extend(tape::hostile_member("out/escaped", b'0', "", b"x"));
                    tar.splice(0..0, members);
                })
            },
        ),
    ]
}

fn base_objects() -> Vec<Fault> {
    const PART: &str = "The objects of a base backup";
    vec![
        both(
            PART,
            "several parts",
            "a part in the middle missing",
            Code::BackupPartMissing,
            |ground| {
                let key = ground.data().replace("data.tar", "data_0001.tar");
                let next = key.replace("data_0001", "data_0002");
                assert!(ground.tree.file(&next).is_file(), "only two parts");
                ground.tree.delete(&key);
                key
            },
        ),
        row(
            PART,
            "several parts",
            "the last part missing",
            Some(Code::BackupDamaged),
            Drill::Failed(Code::BackupDamaged),
            |ground| {
                let last = ground
                    .tree
                    .archives(ground.newest())
                    .into_iter()
                    .rfind(|key| key.contains("/data_"))
                    .unwrap();
                ground.tree.delete(&last);
                ground.newest().to_owned()
            },
        ),
        both(
            PART,
            "several parts",
            "part numbers not contiguous",
            Code::BackupPartMissing,
            |ground| {
                let last = ground
                    .tree
                    .archives(ground.newest())
                    .into_iter()
                    .rfind(|key| key.contains("/data_"))
                    .unwrap();
                let number: u32 = last.split("data_").nth(1).unwrap()[..4].parse().unwrap();
                let moved = last.replace(
                    &format!("data_{number:04}"),
                    &format!("data_{:04}", number + 1),
                );
                ground.tree.rename(&last, &moved);
                last
            },
        ),
        both(
            PART,
            "",
            "the archive of the data directory missing",
            Code::BackupPartMissing,
            |ground| {
                let key = ground.data();
                ground.tree.delete(&key);
                key
            },
        ),
        both(
            PART,
            "",
            "a tablespace's archive missing",
            Code::BackupTablespaceMissing,
            |ground| {
                let key = ground.tablespace();
                ground.tree.delete(&key);
                key
            },
        ),
        both(
            PART,
            "several parts",
            "a part of another codec",
            Code::BackupPartMixed,
            |ground| {
                let key = ground.data();
                let other = ground.tree.duplicate(&key, ".gz", |_| {});
                ground.tree.delete(&key);
                other
            },
        ),
        both(PART, "", "an archive empty", Code::ObjectEmpty, |ground| {
            let key = ground.data();
            ground.tree.write(&key, b"");
            key
        }),
        both(
            PART,
            "",
            "an error page under an archive's name",
            Code::ObjectTooSmall,
            |ground| {
                let key = ground.data();
                ground
                    .tree
                    .write(&key, b"<html><body>503 Service Unavailable</body></html>\n");
                key
            },
        ),
    ]
}

fn descriptions() -> Vec<Fault> {
    const PART: &str = "The description of a base backup";
    vec![
        both(PART, "", "status FAILED", Code::BackupFailed, |ground| {
            ground.tree.set_info(ground.newest(), "status", "FAILED");
            ground.newest().to_owned()
        }),
        both(
            PART,
            "",
            "STARTED for a month",
            Code::BackupUnfinished,
            |ground| {
                let begin = chrono::Utc::now() - chrono::Duration::days(30);
                let begin = begin.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string();
                let id = ground.newest();
                ground.tree.set_info(id, "status", "STARTED");
                ground.tree.set_info(id, "begin_time", &begin);
                ground.tree.set_info(id, "end_time", "None");
                id.to_owned()
            },
        ),
        both(
            PART,
            "",
            "archives without `backup.info`",
            Code::BackupInfoMissing,
            |ground| {
                ground.tree.delete(&ground.info());
                ground.info()
            },
        ),
        both(
            PART,
            "",
            "`backup.info` unreadable",
            Code::BackupInfoUnreadable,
            |ground| {
                ground.tree.write(&ground.info(), b"<html>");
                ground.info()
            },
        ),
        both(
            PART,
            "",
            "`backup.info` cut",
            Code::BackupInfoUnreadable,
            |ground| {
                ground.tree.halve(&ground.info());
                ground.info()
            },
        ),
        both(
            PART,
            "",
            "end before begin",
            Code::BackupInfoContradictory,
            |ground| {
                let begin = ground.facts.backups[0].begin_xlog.clone();
                ground.tree.set_info(ground.newest(), "end_xlog", &begin);
                ground.info()
            },
        ),
        row(
            PART,
            "",
            "another database system's base backup beside it",
            Some(Code::SystemIdMixed),
            Drill::Proven,
            |ground| {
                ground
                    .tree
                    .set_info(ground.oldest(), "systemid", "7000000000000000042");
                ground.oldest().to_owned()
            },
        ),
        row(
            PART,
            "",
            "the newest base backup is another database system's",
            Some(Code::WalForeign),
            Drill::Failed(Code::WalForeign),
            |ground| {
                ground
                    .tree
                    .set_info(ground.newest(), "systemid", "7000000000000000042");
                ground.tree.wal_key(&ground.facts.backups[1].begin_wal)
            },
        ),
    ]
}

fn wal_objects() -> Vec<Fault> {
    const PART: &str = "WAL objects";
    vec![
        both(PART, "", "a segment missing", Code::WalGap, |ground| {
            let name = ground.middle();
            ground.tree.delete_wal(&name);
            name
        }),
        both(
            PART,
            "",
            "two neighbouring segments missing",
            Code::WalGap,
            |ground| {
                let later = ground.later();
                let first = later.len() / 2 - 1;
                assert!(first + 2 < later.len(), "none behind the hole: {later:?}");
                for name in &later[first..first + 2] {
                    ground.tree.delete_wal(name);
                }
                later[first].clone()
            },
        ),
        both(
            PART,
            "",
            "a segment only as `.partial`",
            Code::WalGap,
            |ground| {
                let name = ground.middle();
                let key = ground.middle_key();
                ground.tree.rename(&key, &key.replace(".gz", ".partial.gz"));
                name
            },
        ),
        both(
            PART,
            "",
            "the segment of a base backup's end missing",
            Code::BackupWalMissing,
            |ground| {
                ground.tree.delete_wal(&ground.facts.backups[1].end_wal);
                ground.newest().to_owned()
            },
        ),
        both(
            PART,
            "",
            "the segment of a base backup's begin missing",
            Code::BackupWalMissing,
            |ground| {
                ground.tree.delete_wal(&ground.facts.backups[1].begin_wal);
                ground.newest().to_owned()
            },
        ),
        both(
            PART,
            "",
            "the segment of a base backup's end only as `.partial`",
            Code::BackupWalPartial,
            |ground| {
                let key = ground.tree.wal_key(&ground.facts.backups[1].end_wal);
                ground.tree.rename(&key, &key.replace(".gz", ".partial.gz"));
                ground.newest().to_owned()
            },
        ),
        both(PART, "", "a segment empty", Code::ObjectEmpty, |ground| {
            ground.store_middle(b"")
        }),
        both(
            PART,
            "",
            "an error page under a segment's name",
            Code::ObjectTooSmall,
            |ground| ground.store_middle(b"<html><body>503 Service Unavailable</body></html>\n"),
        ),
        both(
            PART,
            "plain",
            "plain: a segment cut to half",
            Code::ObjectTooSmall,
            |ground| {
                let key = ground.middle_key();
                ground.tree.halve(&key);
                key
            },
        ),
        both(
            PART,
            "plain",
            "plain: bytes behind a segment's end",
            Code::WalTooLarge,
            |ground| {
                let key = ground.middle_key();
                ground.tree.append(&key, &[0; 4096]);
                key
            },
        ),
    ]
}

fn wal_content() -> Vec<Fault> {
    const PART: &str = "What is in WAL";
    let unreadable = |on, name, damage| both(PART, on, name, Code::WalUnreadable, damage);
    let corrupt = |name, damage| both(PART, "", name, Code::WalCorrupt, damage);
    vec![
        corrupt("a record damaged", |ground| {
            ground.change_middle(|bytes| {
                let at = bytes.len() / 2;
                bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x5A);
            })
        }),
        corrupt("zeros where records should be", |ground| {
            ground.change_middle(|bytes| {
                let at = bytes.len() / 2;
                bytes[at..at + 16384].fill(0);
            })
        }),
        corrupt(
            "`xl_prev` of a segment's first record wrong, its CRC right",
            |ground| {
                let later = ground.later();
                let (key, record) = later[1..later.len() - 1]
                    .iter()
                    .find_map(|name| {
                        let key = ground.tree.wal_key(name);
                        let bytes = codec::decode(".gz", &ground.tree.read(&key));
                        Some((key, tape::first_record(&bytes)?))
                    })
                    .unwrap();
                ground
                    .tree
                    .change_inside(&key, |bytes| tape::break_back_link(bytes, &record));
                key
            },
        ),
        corrupt("a segment's page address wrong", |ground| {
            ground.change_middle(|bytes| bytes[8 + 2] ^= 0x10)
        }),
        corrupt("an older segment's bytes", |ground| {
            let older = ground.tree.wal_key(&ground.facts.backups[1].begin_wal);
            ground.store_middle(&ground.tree.read(&older))
        }),
        corrupt("two neighbours swapped", |ground| {
            let later = ground.later();
            let at = later.len() / 2;
            let keys = [&later[at], &later[at + 1]].map(|name| ground.tree.wal_key(name));
            ground.tree.swap(&keys[0], &keys[1]);
            keys[0].clone()
        }),
        both(
            PART,
            "",
            "a segment of another database system",
            Code::WalForeign,
            |ground| ground.change_middle(|bytes| bytes[24] ^= 1),
        ),
        unreadable("", "a segment of half its size", |ground| {
            ground.change_middle(|bytes| bytes.truncate(bytes.len() / 2))
        }),
        unreadable(
            "",
            "an error page as long as the segment's object",
            |ground| {
                let length = ground.tree.read(&ground.middle_key()).len();
                let mut page = b"<html><body>503 Service Unavailable</body></html>\n".to_vec();
                page.resize(length, b' ');
                ground.store_middle(&page)
            },
        ),
        unreadable("", "a segment longer than its size", |ground| {
            ground.change_middle(|bytes| bytes.extend([0; 4096]))
        }),
        unreadable("", "gzip: a segment's object cut", |ground| {
            let key = ground.middle_key();
            ground.tree.halve(&key);
            key
        }),
        unreadable("", "gzip: a segment's CRC wrong", |ground| {
            let key = ground.middle_key();
            let length = ground.tree.read(&key).len();
            ground.tree.flip(&key, length - 6);
            key
        }),
        unreadable("", "gzip: bytes behind a segment's end", |ground| {
            let key = ground.middle_key();
            ground.tree.append(&key, b"not gzip");
            key
        }),
        unreadable(
            "segments of 16 MiB",
            "zstd: the last segment's object cut",
            |ground| {
                let key = ground.last_key();
                ground.tree.halve(&key);
                key
            },
        ),
        unreadable("bzip2", "xz: a segment's object flipped", |ground| {
            flip(ground, ground.middle_key())
        }),
        unreadable("gzip", "bzip2: a segment's object flipped", |ground| {
            flip(ground, ground.middle_key())
        }),
        unreadable("snappy", "snappy: a segment's object flipped", |ground| {
            flip(ground, ground.middle_key())
        }),
        unreadable("several parts", "lz4: a segment's object cut", |ground| {
            let key = ground.middle_key();
            ground.tree.halve(&key);
            key
        }),
        unreadable(
            "",
            "plain bytes under the name of a gzip segment",
            |ground| {
                let bytes = codec::decode(".gz", &ground.tree.read(&ground.middle_key()));
                ground.store_middle(&bytes)
            },
        ),
        both(
            PART,
            "",
            "the last segment's record damaged",
            Code::WalCorrupt,
            |ground| {
                let key = ground.tree.wal_key(ground.later().last().unwrap());
                ground.tree.change_inside(&key, |bytes| bytes[100] ^= 1);
                key
            },
        ),
    ]
}

fn histories() -> Vec<Fault> {
    const PART: &str = "Timeline history";
    const ON: &str = "timeline switch";
    let contradictory = |name, damage| both(PART, ON, name, Code::HistoryContradictory, damage);
    vec![
        both(
            PART,
            ON,
            "the history file missing",
            Code::HistoryMissing,
            |ground| {
                ground.tree.delete_wal("00000002.history");
                "00000002.history".to_owned()
            },
        ),
        both(
            PART,
            ON,
            "the history file garbled",
            Code::HistoryUnreadable,
            |ground| ground.change_history(|_| "garbled".to_owned()),
        ),
        contradictory("a switch point two segments too early", |ground| {
            ground.change_history(|text| moved(&text, -2 * (1 << 20)))
        }),
        contradictory("a switch point one segment too late", |ground| {
            ground.change_history(|text| moved(&text, 1 << 20))
        }),
        contradictory("a switch point eight bytes too late", |ground| {
            ground.change_history(|text| moved(&text, 8))
        }),
        both(
            PART,
            ON,
            "the first segment of the new timeline missing",
            Code::WalGap,
            |ground| {
                let first = ground.tree.segments_of(2)[0].clone();
                ground.tree.delete_wal(&first);
                first
            },
        ),
    ]
}

/// A history file whose only switch point lies `by` bytes further.
fn moved(text: &str, by: i64) -> String {
    let switch = text.split('\t').nth(1).unwrap();
    let lsn: walproof::postgres::Lsn = switch.parse().unwrap();
    let other = walproof::postgres::Lsn::new(lsn.bytes().checked_add_signed(by).unwrap());
    text.replace(switch, &other.to_string())
}

fn places() -> Vec<Fault> {
    const PART: &str = "The repository";
    fn remove(tree: &Tree, folder: &str) {
        std::fs::remove_dir_all(tree.file(folder)).unwrap();
    }
    vec![
        both(PART, "", "nothing there", Code::RepositoryEmpty, |ground| {
            remove(&ground.tree, "base");
            remove(&ground.tree, "wals");
            "orders".to_owned()
        }),
        both(
            PART,
            "",
            "WAL without a base backup",
            Code::RepositoryWithoutBackup,
            |ground| {
                remove(&ground.tree, "base");
                "orders".to_owned()
            },
        ),
        row(
            PART,
            "",
            "unknown objects",
            Some(Code::ObjectUnknown),
            Drill::Proven,
            |ground| {
                ground.tree.write("notes/README.txt", b"hello");
                "notes/README.txt".to_owned()
            },
        ),
        Fault {
            tier: strict_tier,
            ..row(
                PART,
                "",
                "the newest base backup older than the tier allows",
                Some(Code::BackupStale),
                Drill::Proven,
                |ground| ground.newest().to_owned(),
            )
        },
        Fault {
            tier: strict_tier,
            ..row(
                PART,
                "",
                "less kept than the tier promises",
                Some(Code::RetentionTooShort),
                Drill::Proven,
                |ground| ground.oldest().to_owned(),
            )
        },
    ]
}

/// What looks like a fault and is none, or is none for this restore.
fn harmless() -> Vec<Fault> {
    const PART: &str = "Harmless, or not for this restore";
    let healthy = |on, name, damage| row(PART, on, name, None, Drill::Proven, damage);
    vec![
        healthy("", "untouched", |_| String::new()),
        healthy("plain", "the padding behind a member changed", |ground| {
            ground.change_data(|tar| {
                let label = tape::member(tar, "backup_label");
                assert!(label.contents.end < label.all.end);
                tar[label.all.end - 1] = 0x5A;
            })
        }),
        healthy("", "a gzip segment of two members", |ground| {
            let bytes = codec::decode(".gz", &ground.tree.read(&ground.middle_key()));
            let (one, two) = bytes.split_at(bytes.len() / 3);
            let mut both = codec::encode(".gz", one);
            both.extend(codec::encode(".gz", two));
            ground.store_middle(&both)
        }),
        healthy("", "a segment stored twice, alike", |ground| {
            ground.tree.duplicate(&ground.middle_key(), ".zst", |_| {})
        }),
        healthy("", "an older base backup's `pg_control`", |ground| {
            let older = ground.data().replace(ground.newest(), ground.oldest());
            let tar = codec::decode(".lz4", &ground.tree.read(&older));
            let control = tape::member(&tar, "global/pg_control").contents;
            ground.change_data(|own| {
                let at = tape::member(own, "global/pg_control").contents;
                own[at].copy_from_slice(&tar[control]);
            })
        }),
        row(
            "WAL stored twice",
            "",
            "a segment stored twice, the first object damaged",
            Some(Code::WalDuplicateDiffers),
            Drill::Failed(Code::WalCorrupt),
            |ground| {
                let other = ground.tree.duplicate(&ground.middle_key(), ".zst", |_| {});
                let key = other.replace(".zst", ".gz");
                ground.tree.change_inside(&key, |bytes| bytes[5000] ^= 1);
                key
            },
        ),
        row(
            "WAL stored twice",
            "",
            "a segment stored twice, the second object damaged",
            Some(Code::WalDuplicateDiffers),
            Drill::Proven,
            |ground| {
                ground
                    .tree
                    .duplicate(&ground.middle_key(), ".zst", |bytes| bytes[5000] ^= 1)
            },
        ),
        row(
            "What a repository cannot tell",
            "",
            "the newest segment missing",
            None,
            Drill::Failed(Code::CheckFailed),
            |ground| {
                let newest = ground.later().last().unwrap().clone();
                ground.tree.delete_wal(&newest);
                ROWS.to_owned()
            },
        ),
    ]
}
