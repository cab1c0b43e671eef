//! `backup_label`, backup history and timeline history files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use walproof::postgres::{BackupHistory, BackupLabel, TimelineHistory, TimelineId};

fuzz_target!(|data: &[u8]| {
    let _ = BackupLabel::parse(data);
    let _ = BackupHistory::parse(data);
    let _ = TimelineHistory::parse(TimelineId(9), data);
});
