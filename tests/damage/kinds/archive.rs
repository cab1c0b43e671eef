//! The tar archives of a base backup, and how its parts belong together.

use super::{Ground, Hit, Kind, found, harmless};
use crate::common::codec;
use crate::common::tape;

const TAR: &str = "Tar archives";
const PARTS: &str = "Parts of a base backup";

fn damaged(name: &'static str, damage: fn(&Ground) -> Hit) -> Kind {
    found(TAR, name, "backup-damaged", damage)
}

fn unsafe_member(name: &'static str, damage: fn(&Ground) -> Hit) -> Kind {
    found(TAR, name, "backup-member-unsafe", damage)
}

fn put_first(ground: &Ground, members: &[u8]) -> Hit {
    ground
        .change_data(|tar| {
            tar.splice(0..0, members.iter().copied());
        })
        .into()
}

pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = of_tar();
    kinds.extend(of_parts());
    kinds
}

fn of_tar() -> Vec<Kind> {
    vec![
        damaged("cut between two members", |ground| {
            ground
                .change_data(|tar| {
                    let members = tape::members(tar);
                    tar.truncate(members[members.len() * 2 / 3].all.start);
                })
                .into()
        }),
        damaged("cut within a member", |ground| {
            ground
                .change_data(|tar| {
                    let late = tar.len() * 5 / 6;
                    let member = tape::members(tar)
                        .into_iter()
                        .find(|member| member.header > late && member.contents.len() >= 8192)
                        .unwrap();
                    tar.truncate(member.contents.start + 700);
                })
                .into()
        }),
        damaged("a member's header damaged", |ground| {
            ground
                .change_data(|tar| {
                    let header = ground.member(tar, "ledger").header;
                    tar[header + 3] ^= 0xFF;
                })
                .into()
        }),
        damaged("a PAX header damaged", |ground| {
            ground
                .change_data(|tar| {
                    let header = ground.member(tar, "ledger").all.start;
                    tar[header + 3] ^= 0xFF;
                })
                .into()
        }),
        damaged("a member's size told too small", |ground| {
            ground
                .change_data(|tar| {
                    let member = ground.member(tar, "ledger");
                    let size = member.contents.len() - 512;
                    let header = &mut tar[member.header..member.header + 512];
                    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
                    tape::seal(header);
                })
                .into()
        }),
        damaged("no end blocks", |ground| {
            ground
                .change_data(|tar| {
                    let end = tape::members(tar).last().unwrap().all.end;
                    tar.truncate(end);
                })
                .into()
        }),
        damaged("bytes behind the archive's end", |ground| {
            ground
                .change_data(|tar| {
                    let last = tar.len() - 1;
                    tar[last] = 0x5A;
                })
                .into()
        }),
        unsafe_member("a member twice", |ground| {
            let key = ground.change_data(|tar| {
                let member = ground.member(tar, "ledger");
                let again = tar[member.all.clone()].to_vec();
                tar.splice(member.all.end..member.all.end, again);
            });
            Hit {
                object: key,
                detail: ground.file("ledger").to_owned(),
            }
        }),
        unsafe_member("a member named `../../escaped`", |ground| {
            put_first(
                ground,
                &tape::hostile_member("../../escaped", b'0', "", b"x"),
            )
        }),
        unsafe_member("a member with an absolute name", |ground| {
            put_first(
                ground,
                &tape::hostile_member("/tmp/escaped", b'0', "", b"x"),
            )
        }),
        unsafe_member("a file behind a link that leads out", |ground| {
            let mut members = tape::hostile_member("out", b'2', "/tmp", b"");
            members.extend(tape::hostile_member("out/escaped", b'0', "", b"x"));
            put_first(ground, &members)
        }),
        unsafe_member("a device", |ground| {
            put_first(ground, &tape::hostile_member("device", b'3', "", b""))
        }),
        harmless(TAR, "the padding behind a member changed", |ground| {
            ground
                .change_data(|tar| {
                    let label = tape::member(tar, "backup_label");
                    assert!(label.contents.end < label.all.end);
                    tar[label.all.end - 1] = 0x5A;
                })
                .into()
        }),
        harmless(TAR, "`postgresql.conf` taken out", |ground| {
            ground
                .change_data(|tar| {
                    let member = tape::member(tar, "postgresql.conf");
                    tar.drain(member.all);
                })
                .into()
        }),
    ]
}

/// Splits a backup's archive of the data directory into three that each end in order, as the
/// tool does when `--max-archive-size` is reached. Gives the keys.
fn split(ground: &Ground, backup: &str) -> [String; 3] {
    let tar = ground.tar(backup);
    let members = tape::members(&tar);
    let third = |n: usize| members[members.len() * n / 3].all.start;
    let end = members.last().unwrap().all.end;
    let ranges = [0..third(1), third(1)..third(2), third(2)..end];
    let names = ["data", "data_0001", "data_0002"];
    std::array::from_fn(|index| {
        let mut part = tar[ranges[index].clone()].to_vec();
        part.extend([0; 1024]);
        part.resize(part.len().next_multiple_of(10240), 0);
        let key = format!("base/{backup}/{}.tar{}", names[index], ground.base);
        ground.tree.write(&key, &codec::encode(ground.base, &part));
        key
    })
}

fn of_parts() -> Vec<Kind> {
    vec![
        harmless(PARTS, "untouched in three parts", |ground| {
            let [first, ..] = split(ground, ground.newest());
            first.into()
        }),
        found(
            PARTS,
            "a part in the middle missing",
            "backup-part-missing",
            |ground| {
                let [_, middle, _] = split(ground, ground.newest());
                ground.tree.delete(&middle);
                middle.into()
            },
        ),
        found(PARTS, "the last part missing", "backup-damaged", |ground| {
            let [.., last] = split(ground, ground.newest());
            ground.tree.delete(&last);
            ground.newest().to_owned().into()
        }),
        found(
            PARTS,
            "a part doubled under the next one's name",
            "backup-member-unsafe",
            |ground| {
                let [first, middle, _] = split(ground, ground.newest());
                ground.tree.write(&middle, &ground.tree.read(&first));
                middle.into()
            },
        ),
        found(
            PARTS,
            "a member in two parts",
            "backup-member-unsafe",
            |ground| {
                let [first, _, last] = split(ground, ground.newest());
                let tar = ground.decoded(&first);
                let version = tape::member(&tar, "PG_VERSION").all;
                let version = tar[version].to_vec();
                ground.tree.change_inside(&last, |tar| {
                    tar.splice(0..0, version);
                });
                last.into()
            },
        ),
        found(
            PARTS,
            "a file of another base backup in a part",
            "page-stale",
            |ground| {
                let tar = ground.tar(ground.older());
                let newer = split(ground, ground.newest());
                // Whichever of them holds the ledger.
                let file = ground.file("ledger");
                let at = (0..3)
                    .find(|&at| {
                        let tar = ground.decoded(&newer[at]);
                        tape::members(&tar).iter().any(|member| member.name == file)
                    })
                    .unwrap();
                let mut part = ground.decoded(&newer[at]);
                let old = tape::member(&tar, file);
                let now = tape::member(&part, file);
                part.splice(now.all, tar[old.all].iter().copied());
                ground
                    .tree
                    .write(&newer[at], &codec::encode(ground.base, &part));
                Hit {
                    object: ground.newest().to_owned(),
                    detail: file.to_owned(),
                }
            },
        ),
        found(
            PARTS,
            "another base backup's archive of the data directory",
            "backup-info-contradictory",
            |ground| {
                let key = ground.data();
                let other = key.replace(ground.newest(), ground.older());
                ground.tree.write(&key, &ground.tree.read(&other));
                ground.newest().to_owned().into()
            },
        ),
        found(
            PARTS,
            "a tablespace's archive missing",
            "backup-tablespace-missing",
            |ground| {
                let key = ground.tablespace();
                ground.tree.delete(&key);
                key.into()
            },
        ),
        found(
            PARTS,
            "another base backup's archive of the tablespace",
            "page-stale",
            |ground| {
                let key = ground.tablespace();
                let other = key.replace(ground.newest(), ground.older());
                ground.tree.write(&key, &ground.tree.read(&other));
                Hit {
                    object: ground.newest().to_owned(),
                    detail: ground
                        .file("ledger_far")
                        .rsplit('/')
                        .next()
                        .unwrap()
                        .to_owned(),
                }
            },
        ),
        found(PARTS, "an archive empty", "object-empty", |ground| {
            let key = ground.data();
            ground.tree.write(&key, b"");
            key.into()
        }),
        found(
            PARTS,
            "a short error page under an archive's name",
            "object-too-small",
            |ground| {
                let key = ground.data();
                ground
                    .tree
                    .write(&key, b"<html><body>503 Service Unavailable</body></html>\n");
                key.into()
            },
        ),
    ]
}
