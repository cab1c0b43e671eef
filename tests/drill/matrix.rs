//! Healthy repositories, whatever wrote them: made by the real tools under load, read through
//! a real S3 server, verified without a finding and proven to the last commit, row for row.
//!
//! One row pairs a codec of base backups with one of WAL, so that every one of both occurs.

use crate::common::barman::{BaseCodec, WalCodec};
use crate::common::repository::{Fixture, RepositoryOptions, TimelineSwitch};
use crate::common::require;
use crate::common::walproof;
use crate::kit::{Place, check};

/// Each row with its options.
fn rows() -> Vec<(&'static str, RepositoryOptions)> {
    let pair = |base, wal| RepositoryOptions {
        base,
        wal,
        ..RepositoryOptions::default()
    };
    vec![
        ("plain", pair(BaseCodec::None, WalCodec::None)),
        ("gzip", pair(BaseCodec::Gzip, WalCodec::Bzip2)),
        ("bzip2", pair(BaseCodec::Bzip2, WalCodec::Xz)),
        ("snappy", pair(BaseCodec::Snappy, WalCodec::Snappy)),
        (
            "several parts",
            RepositoryOptions {
                max_archive_size: Some("2MB".to_owned()),
                ..pair(BaseCodec::Lz4, WalCodec::Lz4)
            },
        ),
        (
            "timeline switch",
            RepositoryOptions {
                switch: TimelineSwitch::Promotion,
                ..pair(BaseCodec::Lz4, WalCodec::Gzip)
            },
        ),
        (
            "segments of 16 MiB",
            RepositoryOptions {
                segment_size_mb: 16,
                ..pair(BaseCodec::Lz4, WalCodec::Zstd)
            },
        ),
    ]
}

/// The options of a row.
#[track_caller]
pub(crate) fn options(name: &str) -> RepositoryOptions {
    rows()
        .into_iter()
        .find(|row| row.0 == name)
        .unwrap_or_else(|| panic!("no row {name}"))
        .1
}

#[test]
fn every_codec_of_base_backups_and_of_wal_occurs() {
    let rows = rows();
    for codec in BaseCodec::ALL {
        assert!(rows.iter().any(|row| row.1.base == codec), "{codec:?}");
    }
    for codec in WalCodec::ALL {
        assert!(rows.iter().any(|row| row.1.wal == codec), "{codec:?}");
    }
    assert!(rows.iter().all(|row| row.1.tablespace));
    assert!(rows.iter().any(|row| row.1.segment_size_mb == 16));
}

/// Verified without a finding, proven, and equal to the server that was backed up.
fn healthy(row: &str) {
    let fixture = Fixture::get(&options(row));
    let facts = &fixture.facts;
    let (s3, url) = fixture.s3();
    let environment = s3.environment();

    let verified =
        walproof::run(&["verify", &url, "--output", "json"], &environment).expect_code(0);
    assert_eq!(verified.finding_codes(), Vec::<String>::new(), "{row}");
    let report = verified.json();
    assert_eq!(report["depth"], "listed", "{row}");
    let time = |value: &serde_json::Value| -> chrono::DateTime<chrono::Utc> {
        value.as_str().unwrap().parse().unwrap()
    };
    let tip = facts.tip();
    assert_eq!(time(&report["tip"]["commit"]["time"]), tip.time, "{row}");
    assert_eq!(report["tip"]["commit"]["xid"], tip.xid, "{row}");
    assert_eq!(report["counts"]["usable_backups"], 2, "{row}");

    // Every byte of it too: nothing but what a restore is to know.
    let read = walproof::run(
        &["verify", &url, "--depth", "read", "--output", "json"],
        &environment,
    )
    .expect_code(0)
    .json();
    assert_eq!(read["depth"], "read", "{row}");
    for finding in read["findings"].as_array().unwrap() {
        assert_eq!(finding["severity"], "info", "{row}: {finding:#}");
    }

    // From the first backup, all WAL of the archive is replayed.
    let place = Place::new();
    let definition = place.definition_of_tip(facts);
    let more = [
        "--definition",
        &definition,
        "--backup",
        &facts.backups[0].id,
    ];
    let report = place
        .drill_in(&url, &more, &environment)
        .expect_code(0)
        .json();
    assert_eq!(
        report["verdict"], "proven",
        "{row}: {:#}",
        report["reasons"]
    );
    assert_eq!(report["proof"]["state"], "held", "{row}");
    let point = &report["measurements"]["recovery_point"];
    assert_eq!(time(&point["time"]), tip.time, "{row}");
    assert_eq!(point["xid"], tip.xid, "{row}");
    for name in ["rows", "sum", "beats", "balance", "far", "amcheck"] {
        assert_eq!(check(&report, name)["outcome"], "passed", "{row}: {name}");
    }
    // Only what was expected on the way to a restore may be told, none of it a fault.
    for finding in report["findings"].as_array().unwrap() {
        assert_eq!(finding["severity"], "info", "{row}: {finding:#}");
    }
    place.assert_clean();
}

macro_rules! matrix {
    ($($test:ident: $row:literal;)*) => {
        $(
            #[test]
            fn $test() {
                require!(Postgres, S3, Barman);
                healthy($row);
            }
        )*
        #[test]
        fn every_row_has_its_test() {
            let tested = [$($row),*];
            assert!(rows().iter().map(|row| row.0).eq(tested));
        }
    };
}

matrix! {
    plain_base_and_plain_wal: "plain";
    gzip_base_and_bzip2_wal: "gzip";
    bzip2_base_and_xz_wal: "bzip2";
    snappy_base_and_snappy_wal: "snappy";
    lz4_base_in_several_parts_and_lz4_wal: "several parts";
    gzip_wal_across_a_timeline_switch: "timeline switch";
    zstd_wal_in_segments_of_16_mib: "segments of 16 MiB";
}
