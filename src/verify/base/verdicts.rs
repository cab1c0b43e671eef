//! From suspects that WAL did not clear to findings.

use super::PageCounts;
use super::doubt::{Doubt, DoubtfulBlock};
use super::limited::Limited;
use super::relation_reader::SEGMENT_BLOCKS;
use super::suspects::{Gap, Place, RelationSuspects, Suspects};
use crate::finding::{Code, Finding};
use crate::postgres::relation_file::{Fork, RelationFile};
use crate::postgres::wal::RelationLocator;

/// The verdict on all suspects.
pub(super) fn settle(suspects: Suspects) -> (PageCounts, Vec<Finding>) {
    let Suspects {
        place,
        mut counts,
        relations,
        others,
        overflowed,
    } = suspects;
    let mut findings = Limited::new(&place.backup_id);
    let mut relations: Vec<_> = relations.into_iter().collect();
    relations.sort_unstable_by_key(|(locator, _)| *locator);
    for (locator, relation) in &relations {
        for (doubtful, healed) in &relation.blocks {
            count(&mut counts, doubtful.doubt, *healed);
        }
        judge(&place, *locator, relation, &mut findings);
    }
    for other in others {
        findings.push(other.finding);
    }
    // Those that were not kept: more than anything healthy has.
    counts.corrupt += counts.suspect;
    counts.suspect = 0;
    if overflowed {
        findings.push(Finding::new(
            Code::PageCorrupt,
            &place.backup_id,
            format!(
                "more than {} of its blocks are not in order; only the first were looked up in WAL",
                super::suspects::MAX_SUSPECTS
            ),
        ));
    }
    (counts, findings.finish())
}

fn count(counts: &mut PageCounts, doubt: Doubt, healed: bool) {
    if !doubt.is_page() {
        return;
    }
    counts.suspect = counts.suspect.saturating_sub(1);
    let place = match doubt {
        _ if healed => &mut counts.healed,
        Doubt::BeyondEnd(_) => &mut counts.beyond_end,
        Doubt::Stale { .. } | Doubt::VisibleYetNew => &mut counts.stale,
        _ => &mut counts.corrupt,
    };
    *place += 1;
}

fn judge(
    place: &Place,
    locator: RelationLocator,
    relation: &RelationSuspects,
    findings: &mut Limited,
) {
    let file = |fork, segment| {
        RelationFile {
            locator,
            fork,
            segment,
            backend: None,
        }
        .path(&place.version_directory)
    };
    let mut whole_file_gone = false;
    for gap in relation.gaps.iter().filter(|gap| !gap.healed) {
        whole_file_gone |= gap.blocks.is_none() && gap.segment == 0;
        findings.push(gap_finding(place, gap, &file(Fork::Main, gap.segment)));
    }
    let left: Vec<DoubtfulBlock> = relation
        .blocks
        .iter()
        .filter(|(of, healed)| {
            !(*healed || whole_file_gone && matches!(of.doubt, Doubt::Absent { .. }))
        })
        .map(|(of, _)| *of)
        .collect();
    for run in left.chunk_by(|one, next| {
        let absent = |doubt| matches!(doubt, Doubt::Absent { .. } | Doubt::VisibleYetAbsent);
        one.fork == next.fork
            && one.archive == next.archive
            && one.block / SEGMENT_BLOCKS == next.block / SEGMENT_BLOCKS
            && std::mem::discriminant(&one.doubt) == std::mem::discriminant(&next.doubt)
            // Of absent blocks only those that are known of are in the list.
            && (absent(one.doubt) || one.block.checked_add(1) == Some(next.block))
    }) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let file = file(first.fork, first.block / SEGMENT_BLOCKS);
            findings.push(block_finding(place, *first, last.block, run.len(), &file));
        }
    }
}

fn key(place: &Place, archive: u16) -> &str {
    place
        .archives
        .get(usize::from(archive))
        .unwrap_or(&place.backup_id)
}

/// "between 0/2000028 and 0/3000100".
fn window(place: &Place) -> String {
    match place.end {
        Some(end) => format!("between the backup's begin {} and end {end}", place.begin),
        None => format!("after the backup's begin {}", place.begin),
    }
}

fn gap_finding(place: &Place, gap: &Gap, file: &str) -> Finding {
    let window = window(place);
    let key = key(place, gap.archive);
    match (gap.blocks, gap.because) {
        (None, Some(because)) => Finding::new(
            Code::RelationFileMissing,
            key,
            format!(
                "{file} is not in the backup: {because}, and nothing {window} removes or makes it"
            ),
        ),
        (None, None) => Finding::new(
            Code::RelationFileMissing,
            key,
            format!(
                "{file} is not in the backup, though other files of the relation are, and nothing {window} removes the relation"
            ),
        ),
        (Some(blocks), _) => Finding::new(
            Code::RelationFileShort,
            key,
            format!(
                "{file} has {blocks} blocks instead of {SEGMENT_BLOCKS}, though the relation goes on in a later file, and it neither grew nor shrank {window}"
            ),
        ),
    }
}

fn block_finding(
    place: &Place,
    first: DoubtfulBlock,
    last: u32,
    blocks: usize,
    file: &str,
) -> Finding {
    let begin = first.block;
    let window = window(place);
    let one = begin == last;
    let which = if one {
        format!("block {begin}")
    } else {
        format!("blocks {begin} to {last}")
    };
    let s = |singular: &'static str, plural: &'static str| if one { singular } else { plural };
    let unhealed = format!("no full-page image {window} makes {} good", s("it", "them"));
    let (code, message) = match first.doubt {
        Doubt::Checksum { found, computed } => (
            Code::PageCorrupt,
            format!(
                "{file}: {which} {} the checksum ({}{found:#06x} stands there, the bytes give {computed:#06x}), and {unhealed}",
                s("fails", "fail"),
                s("", "in the first "),
            ),
        ),
        Doubt::Header(what) => (
            Code::PageCorrupt,
            format!(
                "{file}: {which} {} no page header ({}{what}), and {unhealed}",
                s("has", "have"),
                s("", "of the first: "),
            ),
        ),
        Doubt::NotAllZero => (
            Code::PageCorrupt,
            format!(
                "{file}: {which} {} marked as new and {} not zero, and {unhealed}",
                s("is", "are"),
                s("is", "are")
            ),
        ),
        Doubt::Cut { bytes } => (
            Code::RelationFileShort,
            format!("{file} ends {bytes} bytes into {which}, and {unhealed}"),
        ),
        Doubt::BeyondEnd(lsn) => (
            Code::PageBeyondEnd,
            format!(
                "{file}: {which} {} changed at {lsn}{}, after the backup's end {}",
                s("was", "were"),
                s("", " (the first)"),
                place.end.unwrap_or_default()
            ),
        ),
        Doubt::Stale { found, changed } => {
            let found = if found.is_invalid() {
                format!("{which} {} empty", s("is", "are"))
            } else {
                format!(
                    "{which} {} last changed at {found}{}",
                    s("was", "were"),
                    s("", " (the first)")
                )
            };
            (
                Code::PageStale,
                format!(
                    "{file}: {found}, but WAL before the backup changed {} at {changed}, and {unhealed}",
                    s("it", "the first")
                ),
            )
        }
        Doubt::Absent { changed } => (
            Code::RelationFileShort,
            format!(
                "{file} ends before block {begin}, which WAL before the backup changed at {changed}{}, and nothing {window} cuts it off",
                if blocks > 1 {
                    format!(" ({} more such blocks up to {last})", blocks - 1)
                } else {
                    String::new()
                }
            ),
        ),
        Doubt::VisibleYetNew => (
            Code::PageStale,
            format!(
                "{file}: {which} {} empty, but the visibility map says that {} rows are visible to all, and {unhealed}",
                s("is", "are"),
                s("its", "their"),
            ),
        ),
        Doubt::VisibleYetAbsent => (
            Code::RelationFileShort,
            format!(
                "{file} ends before block {begin}, but the visibility map knows {} up to {last}, and nothing {window} adds or cuts off any",
                if blocks == 1 {
                    "one more block".to_owned()
                } else {
                    format!("{blocks} more blocks")
                }
            ),
        ),
    };
    Finding::new(code, key(place, first.archive), message)
}
