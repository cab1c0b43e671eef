//! What would remain, looked at before anything goes.

use super::decide::PlannedBackup;
use super::wal_cut::WalCut;
use crate::postgres::SegmentNumber;
use crate::repository::{Catalog, Keep, SegmentRun};
use crate::verify::VerifyOptions;
use crate::verify::listed::Survey;

/// Why a plan must not be carried out; `None` if all is well. Everything that stays and was
/// usable must be usable without what goes, and reach as far.
pub(super) fn objection(
    catalog: &Catalog,
    planned: &[PlannedBackup],
    cut: &WalCut,
    options: &VerifyOptions,
) -> Option<String> {
    let solid =
        |one: &&PlannedBackup| one.stays && one.usable && one.keep != Some(Keep::Standalone);
    if !planned.iter().any(|one| solid(&one)) {
        return Some(
            "no usable base backup would remain: whatever lies here may be all there is".to_owned(),
        );
    }
    let before = Survey::of(catalog, options);
    let remaining = remaining(catalog, planned, cut);
    let after = Survey::of(&remaining, options);
    for one in planned.iter().filter(|one| one.stays) {
        let usable = |survey: &Survey| {
            survey
                .backups
                .iter()
                .any(|found| found.usable && found.id == one.id)
        };
        if usable(&before) && !usable(&after) {
            return Some(format!(
                "backup {} could not be used any more without what goes",
                one.id
            ));
        }
        let end = |survey: &Survey| {
            survey
                .chains
                .iter()
                .find(|chain| chain.backup_id == one.id)
                .map(|chain| chain.end)
        };
        if end(&after) < end(&before) && one.keep != Some(Keep::Standalone) {
            return Some(format!(
                "from backup {} recovery would not come as far without what goes",
                one.id
            ));
        }
    }
    None
}

/// The catalog without what goes.
pub(super) fn remaining(catalog: &Catalog, planned: &[PlannedBackup], cut: &WalCut) -> Catalog {
    let mut remaining = catalog.clone();
    remaining.backups.retain(|backup| {
        let found = planned.iter().find(|one| one.id == backup.id);
        found.is_none_or(|one| one.stays)
    });
    for own in remaining.wal.timelines.values_mut() {
        own.runs = own.runs.iter().flat_map(|run| rest(*run, cut)).collect();
        own.alternates = own
            .alternates
            .iter()
            .flat_map(|run| rest(*run, cut))
            .collect();
        own.partials.retain(|(number, _)| !cut.takes(*number));
    }
    remaining
}

/// What stays of a run, in order.
fn rest(run: SegmentRun, cut: &WalCut) -> Vec<SegmentRun> {
    let mut stretches = cut.protected.clone();
    stretches.push((
        cut.before.unwrap_or(SegmentNumber(0)),
        SegmentNumber(u64::MAX),
    ));
    stretches.sort_unstable();
    let mut kept: Vec<SegmentRun> = Vec::new();
    let mut from = run.first;
    for (first, last) in stretches {
        let (first, last) = (first.max(from), last.min(run.last));
        if first <= last {
            kept.push(SegmentRun { first, last, ..run });
            from = last.next();
        }
        if from > run.last {
            break;
        }
    }
    kept
}
