//! Segments that are stored as several objects: equal bytes are harmless, others not.

use crate::codec::Codec;
use crate::finding::{Code, Finding};
use crate::repository::{DuplicateSegment, WalObject};

use super::VerifyError;
use super::backups::Way;
use super::bad_segments::odd_objects;
use super::segment_reader::{SegmentRead, SegmentReader};
use super::words::count;
use crate::postgres::{SegmentName, SegmentNumber};

/// Compares the copies of segments that recovery needs, at most `limit` of them; the
/// others are told as one finding. Memory: two segments.
pub(super) async fn compare(
    reader: &SegmentReader<'_>,
    way: Way<'_>,
    from: SegmentNumber,
    limit: usize,
) -> Result<Vec<Finding>, VerifyError> {
    let wal = &way.catalog.wal;
    let needed: Vec<&DuplicateSegment> = wal
        .duplicates
        .iter()
        .filter(|twice| {
            twice.number >= from && way.path.timeline_of(twice.number) == twice.timeline
        })
        .collect();
    let mut findings = Vec::new();
    for twice in needed.iter().take(limit) {
        findings.extend(compare_one(reader, way, twice).await?);
    }
    if let Some(first) = needed.get(limit)
        && let Some((key, _)) = first.objects.first()
    {
        findings.push(Finding::new(
            Code::WalDuplicate,
            key,
            format!(
                "{} stored several times; {limit} were compared, the others not",
                match needed.len() as u64 {
                    1 => "1 segment is".to_owned(),
                    number => format!("{} are", count(number, "segment")),
                }
            ),
        ));
    }
    Ok(findings)
}

async fn compare_one(
    reader: &SegmentReader<'_>,
    way: Way<'_>,
    twice: &DuplicateSegment,
) -> Result<Option<Finding>, VerifyError> {
    let wal = &way.catalog.wal;
    let name = wal.name(twice.timeline, twice.number);
    // Copies that are bad by their size have been told already.
    let plausible = twice
        .objects
        .iter()
        .map(|(key, _)| key)
        .filter(|key| !odd_objects(wal).any(|(_, odd)| odd.key == **key));
    let mut reference: Option<(String, Vec<u8>)> = None;
    let mut bad: Option<(String, String)> = None;
    for key in plausible {
        let object = WalObject {
            key: key.clone(),
            codec: Codec::split_extension(key).1,
        };
        match (reader.read_object(&object).await?, &reference) {
            (SegmentRead::Missing, _) => {}
            (SegmentRead::Unreadable { key, reason }, _) => bad = Some((key, reason)),
            (SegmentRead::Bytes { key, bytes }, None) => reference = Some((key, bytes)),
            (SegmentRead::Bytes { key, bytes }, Some((other, expected))) => {
                if bytes != *expected {
                    bad = Some((key, format!("its bytes differ from those of {other}")));
                }
            }
        }
        if bad.is_some() && reference.is_some() {
            break;
        }
    }
    Ok(bad.map(|(key, reason)| {
        differs_finding(way, name, twice.number, twice.objects.len(), &key, &reason)
    }))
}

/// The finding of a segment whose copies are not the same.
pub(super) fn differs_finding(
    way: Way<'_>,
    name: SegmentName,
    number: SegmentNumber,
    copies: usize,
    key: &str,
    reason: &str,
) -> Finding {
    let size = way.catalog.wal.segment_size;
    Finding::new(
        Code::WalDuplicateDiffers,
        key,
        format!(
            "segment {name} is stored as {copies} objects, and they are not the same: {reason}"
        ),
    )
    .with_wal(name.timeline, number.begin_lsn(size), number.end_lsn(size))
}
