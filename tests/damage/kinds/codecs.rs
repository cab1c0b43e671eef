//! Objects damaged as they are stored, in each codec, and what each codec allows.

use super::objects::as_other;
use super::{Ground, Hit, Kind};
use crate::common::codec;
use crate::matrix::{BASE_CODECS, Expect, On, WAL_CODECS};

const WAL: &str = "Codecs of WAL";
const BASE: &str = "Codecs of base backups";
const PACKED_WAL: &[&str] = &[".gz", ".bz2", ".xz", ".snappy", ".zst", ".lz4"];
const PACKED_BASE: &[&str] = &[".lz4", ".gz", ".bz2", ".snappy"];

fn wal(
    codecs: &'static [&'static str],
    name: &'static str,
    expect: Expect,
    damage: fn(&Ground) -> Hit,
) -> Kind {
    Kind {
        part: WAL,
        name,
        on: On::Wal(codecs),
        damage,
        expect,
    }
}

fn base(
    codecs: &'static [&'static str],
    name: &'static str,
    expect: Expect,
    damage: fn(&Ground) -> Hit,
) -> Kind {
    Kind {
        part: BASE,
        name,
        on: On::Base(codecs),
        damage,
        expect,
    }
}

const UNREADABLE: Expect = Expect::Finding("wal-unreadable");
const DAMAGED: Expect = Expect::Finding("backup-damaged");

/// An object's contents as two of the codec's members or frames, one behind the other.
fn in_two(ground: &Ground, key: &str, extension: &str) {
    let bytes = ground.decoded(key);
    let (one, two) = bytes.split_at(bytes.len() / 3);
    let mut both = codec::encode(extension, one);
    both.extend(codec::encode(extension, two));
    ground.tree.write(key, &both);
}

/// Another codec than that one.
fn other(extension: &str) -> &'static str {
    if extension == ".gz" { ".bz2" } else { ".gz" }
}

fn page_of_error(length: usize) -> Vec<u8> {
    let mut page = b"<html><body>503 Service Unavailable</body></html>\n".to_vec();
    page.resize(length, b' ');
    page
}

/// Flips a byte of the stored object, counted from its end.
fn flip_from_end(ground: &Ground, key: &str, from_end: usize) {
    let length = ground.tree.read(key).len();
    ground.tree.flip(key, length - from_end);
}

pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = of_wal();
    kinds.extend(of_bases());
    kinds
}

fn of_wal() -> Vec<Kind> {
    vec![
        wal(
            PACKED_WAL,
            "a segment's object cut to half",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                ground.tree.halve(&key);
                key.into()
            },
        ),
        wal(
            PACKED_WAL,
            "a segment's object short of its last byte",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                let length = ground.tree.read(&key).len();
                ground.tree.truncate(&key, length - 1);
                key.into()
            },
        ),
        // zstd as the tools write it has no checksum: the records' own must tell.
        wal(
            &[".gz", ".bz2", ".xz", ".snappy"],
            "one byte of a segment's object flipped",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                ground.tree.flip_middle(&key);
                key.into()
            },
        ),
        wal(
            PACKED_WAL,
            "bytes behind a segment's object",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                ground.tree.append(&key, b"behind the end");
                key.into()
            },
        ),
        wal(
            PACKED_WAL,
            "another codec's bytes under a segment's name",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                let bytes = as_other(ground, &key, other(ground.wal));
                ground.tree.write(&key, &bytes);
                key.into()
            },
        ),
        wal(
            PACKED_WAL,
            "a segment plain under the codec's name",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                let bytes = ground.decoded(&key);
                ground.store_middle(&bytes).into()
            },
        ),
        wal(
            PACKED_WAL,
            "an error page as long as the segment's object",
            UNREADABLE,
            |ground| {
                let length = ground.tree.read(&ground.middle_key()).len();
                ground.store_middle(&page_of_error(length)).into()
            },
        ),
        wal(
            &[""],
            "an error page as long as a plain segment",
            UNREADABLE,
            |ground| {
                let length = ground.tree.read(&ground.middle_key()).len();
                ground.store_middle(&page_of_error(length)).into()
            },
        ),
        wal(
            &[""],
            "a plain segment cut to half",
            Expect::Finding("object-too-small"),
            |ground| {
                let key = ground.middle_key();
                ground.tree.halve(&key);
                key.into()
            },
        ),
        wal(
            &[""],
            "bytes behind a plain segment's end",
            Expect::Finding("wal-too-large"),
            |ground| {
                let key = ground.middle_key();
                ground.tree.append(&key, &[0; 4096]);
                key.into()
            },
        ),
        wal(
            &[".gz"],
            "a gzip segment's CRC wrong",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                flip_from_end(ground, &key, 6);
                key.into()
            },
        ),
        wal(
            &[".gz"],
            "a gzip segment's length wrong",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                flip_from_end(ground, &key, 2);
                key.into()
            },
        ),
        wal(
            &[".xz"],
            "an xz segment's index wrong",
            UNREADABLE,
            |ground| {
                let key = ground.middle_key();
                flip_from_end(ground, &key, 20);
                key.into()
            },
        ),
        wal(
            &[".gz", ".bz2", ".xz", ".zst", ".lz4", ".snappy"],
            "a segment in two members or frames of its codec",
            Expect::Harmless,
            |ground| {
                let key = ground.middle_key();
                in_two(ground, &key, ground.wal);
                key.into()
            },
        ),
        wal(
            &WAL_CODECS[1..],
            "untouched in this codec",
            Expect::Harmless,
            |_| Hit::default(),
        ),
    ]
}

fn of_bases() -> Vec<Kind> {
    vec![
        base(
            PACKED_BASE,
            "an archive cut to two thirds",
            DAMAGED,
            |ground| {
                let key = ground.data();
                ground
                    .tree
                    .truncate(&key, ground.tree.read(&key).len() * 2 / 3);
                key.into()
            },
        ),
        base(
            PACKED_BASE,
            "an archive short of its last byte",
            DAMAGED,
            |ground| {
                let key = ground.data();
                let length = ground.tree.read(&key).len();
                ground.tree.truncate(&key, length - 1);
                key.into()
            },
        ),
        base(
            &[".gz", ".bz2", ".snappy"],
            "one byte of an archive flipped",
            DAMAGED,
            |ground| {
                let key = ground.data();
                ground.tree.flip_middle(&key);
                key.into()
            },
        ),
        base(
            PACKED_BASE,
            "bytes behind an archive's last frame",
            DAMAGED,
            |ground| {
                let key = ground.data();
                ground.tree.append(&key, b"behind the end");
                key.into()
            },
        ),
        base(
            PACKED_BASE,
            "another codec's bytes under an archive's name",
            DAMAGED,
            |ground| {
                let key = ground.data();
                let bytes = as_other(ground, &key, other(ground.base));
                ground.tree.write(&key, &bytes);
                key.into()
            },
        ),
        base(
            PACKED_BASE,
            "a plain archive under the codec's name",
            DAMAGED,
            |ground| {
                let key = ground.data();
                let bytes = ground.decoded(&key);
                ground.tree.write(&key, &bytes);
                key.into()
            },
        ),
        base(
            BASE_CODECS,
            "an error page as long as an archive",
            DAMAGED,
            |ground| {
                let key = ground.data();
                let length = ground.tree.read(&key).len();
                ground.tree.write(&key, &page_of_error(length));
                key.into()
            },
        ),
        base(&[".gz"], "a gzip archive's CRC wrong", DAMAGED, |ground| {
            let key = ground.data();
            flip_from_end(ground, &key, 6);
            key.into()
        }),
        base(
            &[".gz"],
            "a gzip archive's length wrong",
            DAMAGED,
            |ground| {
                let key = ground.data();
                flip_from_end(ground, &key, 2);
                key.into()
            },
        ),
        base(
            PACKED_BASE,
            "an archive in two members or frames of its codec",
            Expect::Harmless,
            |ground| {
                let key = ground.data();
                in_two(ground, &key, ground.base);
                key.into()
            },
        ),
    ]
}
