//! What is kept of a segment and of a base backup.

use serde::{Deserialize, Serialize};

use super::pack::{pack, unpack};
use super::{Parts, of_base, of_segment};
use crate::codec::Sha256;
use crate::postgres::wal::{PieceData, PieceOptions, WalPiece};
use crate::postgres::{Lsn, RequiredSettings, SegmentName, SystemId, TimelineHistory};
use crate::repository::BaseBackup;
use crate::state::StateError;
use crate::storage::ObjectEntry;
use crate::verify::base::{BaseReport, TouchedData, TouchedPiece};
use crate::verify::ledger::ObjectReading;
use crate::verify::read::Seen;

/// A sound segment.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::verify) struct KeptSegment {
    /// With what it was read: another history or system reads it otherwise.
    pub(in crate::verify) read_with: String,
    /// Every object of it, with the digest of its stored bytes.
    pub(in crate::verify) objects: Vec<(ObjectEntry, Option<Sha256>)>,
    /// The object that counts.
    pub(in crate::verify) key: String,
    /// Its decoded bytes.
    pub(in crate::verify) bytes: u64,
    /// Where reading can begin in it; `None` where no record begins.
    pub(in crate::verify) begin: Option<Lsn>,
    pub(in crate::verify) piece: PieceData,
    pub(in crate::verify) seen: Seen,
}

/// A sound base backup that was read, and settled by the WAL of it.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::verify) struct KeptBase {
    /// As what it was read: another description or history reads it otherwise.
    pub(in crate::verify) read_with: String,
    pub(in crate::verify) report: BaseReport,
    pub(in crate::verify) settings: Option<RequiredSettings>,
    pub(in crate::verify) from_standby: Option<bool>,
    /// Its archives as they were read.
    pub(in crate::verify) archives: Vec<ObjectReading>,
}

/// What decides how a segment is read.
pub(in crate::verify) fn read_with(options: &PieceOptions) -> String {
    let PieceOptions {
        segment_size,
        system_id,
        history,
        start: _,
    } = options;
    let words = format!("{segment_size:?} {system_id:?} {history:?}");
    Sha256::of(words.as_bytes()).to_string()
}

/// What decides as what a base backup is read.
pub(in crate::verify) fn base_read_with(
    backup: &BaseBackup,
    system_id: Option<SystemId>,
    history: &TimelineHistory,
) -> String {
    let BaseBackup {
        info_sha256,
        begin_lsn,
        end_lsn,
        timeline,
        ..
    } = backup;
    let words =
        format!("{info_sha256:?} {begin_lsn:?} {end_lsn:?} {timeline:?} {system_id:?} {history:?}");
    Sha256::of(words.as_bytes()).to_string()
}

impl Parts {
    /// Keeps a segment. Tells whether it was kept; a piece in which something is wrong is
    /// not.
    pub(in crate::verify) async fn keep_segment(
        &self,
        name: SegmentName,
        piece: &WalPiece,
        touched: Option<&TouchedPiece>,
        about: impl FnOnce(PieceData) -> KeptSegment,
    ) -> Result<bool, StateError> {
        let Some((data, bytes)) = piece.to_data() else {
            return Ok(false);
        };
        let aside = match touched.map(TouchedPiece::to_data) {
            Some(touched) => match pack(&touched, &[]) {
                Some(packed) => Some(packed),
                None => return Ok(false),
            },
            None => None,
        };
        let Some(body) = pack(&about(data), &bytes) else {
            return Ok(false);
        };
        self.keep(of_segment(name), body, aside).await?;
        Ok(true)
    }

    /// A segment that was kept, as it was read with the same options. With `touched` only one
    /// that tells which blocks it changed.
    pub(in crate::verify) async fn segment(
        &self,
        name: SegmentName,
        options: &PieceOptions,
        touched: bool,
    ) -> Result<Option<(KeptSegment, WalPiece, Option<TouchedPiece>)>, StateError> {
        let Some(found) = self.find(&of_segment(name), touched).await? else {
            return Ok(None);
        };
        let of_touched = match found.aside.as_deref().map(unpack::<TouchedData>) {
            Some(Some((data, _))) => Some(TouchedPiece::of_data(data)),
            Some(None) => return Ok(None),
            None if touched => return Ok(None),
            None => None,
        };
        let Some((kept, bytes)) = unpack::<KeptSegment>(&found.body) else {
            return Ok(None);
        };
        if kept.read_with != read_with(options) {
            return Ok(None);
        }
        let piece = WalPiece::of_data(&kept.piece, bytes, options);
        Ok(piece.map(|piece| (kept, piece, of_touched)))
    }

    /// Keeps a base backup.
    pub(in crate::verify) async fn keep_base(&self, base: &KeptBase) -> Result<(), StateError> {
        match pack(base, &[]) {
            Some(body) => self.keep(of_base(&base.report.backup_id), body, None).await,
            None => Ok(()),
        }
    }

    /// A base backup that was kept.
    pub(in crate::verify) async fn base(&self, id: &str) -> Result<Option<KeptBase>, StateError> {
        let found = self.find(&of_base(id), false).await?;
        Ok(found
            .and_then(|found| unpack(&found.body))
            .map(|(base, _)| base))
    }
}
