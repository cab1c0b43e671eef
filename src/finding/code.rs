//! The stable codes, each with its default severity, consequence and action.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Severity;

macro_rules! codes {
    ($($variant:ident, $name:literal, $severity:ident, $consequence:literal, $action:literal;)*) => {
        /// The stable name of a kind of finding. `runbooks/<code>.md` explains each.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum Code {
            $(
                #[doc = $consequence]
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl Code {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The kebab-case name, which never changes once released.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The severity unless a finding says otherwise.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$variant => Severity::$severity,)*
                }
            }

            /// What it means for recovery.
            pub const fn consequence(self) -> &'static str {
                match self {
                    $(Self::$variant => $consequence,)*
                }
            }

            /// What to do.
            pub const fn action(self) -> &'static str {
                match self {
                    $(Self::$variant => $action,)*
                }
            }
        }
    };
}

codes! {
    // The repository as a whole.
    RepositoryEmpty, "repository-empty", Critical,
        "Nothing can be restored from here.",
        "Check bucket, prefix and server name; run `walproof repository discover` on the level above.";
    RepositoryWithoutBackup, "repository-without-backup", Critical,
        "WAL without a base backup restores nothing.",
        "Take a base backup now and find out why none was stored.";
    BackupsBesideOnly, "backups-beside-only", Warning,
        "The only base backups are volume snapshots: they are lost with the storage they lie on, and no copy of this repository restores anything.",
        "Take base backups into the object store too, at least as often as the retention of the snapshots is long.";
    SystemIdMixed, "system-id-mixed", Critical,
        "Several database systems write to this place: a recovery that crosses from one to the other fails or ends early.",
        "Give each cluster a place of its own, then take a fresh base backup of each.";
    ArchiveNotConfigured, "archive-not-configured", Critical,
        "Nothing of this cluster can be recovered to a moment: it archives nowhere.",
        "Give it an ObjectStore and the Barman Cloud plugin, take a base backup, and scan again.";
    ArchivingFailing, "archiving-failing", Warning,
        "What is written now is in no archive: it is lost with the volumes, and WAL fills them.",
        "Read the operator's words and the log of the primary's pod; mend credentials, network or bucket.";
    ObjectUnknown, "object-unknown", Info,
        "Objects that belong to no known layout are not part of any recovery.",
        "Look at the sample; move what does not belong here.";
    ObjectEmpty, "object-empty", Critical,
        "The object holds nothing: recovery that needs it fails or ends there.",
        "Upload the original again if it still exists; otherwise take a fresh base backup.";
    ObjectTooSmall, "object-too-small", Critical,
        "The object is too small to hold what its name promises: recovery that needs it fails or ends there.",
        "Compare with the original if it still exists; otherwise take a fresh base backup.";
    ObjectChanged, "object-changed", Critical,
        "What was read and judged is no longer what lies here: nothing that was proven with it holds for it.",
        "Keep both states if you can (versions of the bucket); find out who wrote it and read it again before you rely on it.";
    RetentionTooShort, "retention-too-short", Warning,
        "Moments that the tier promises to keep can no longer be restored.",
        "Lengthen the retention of the backup tool or of the bucket's lifecycle rules.";
    // Base backups.
    BackupFailed, "backup-failed", Warning,
        "This base backup cannot be used, though some tools would pick it.",
        "Read its error, mend the cause, delete the remains with the tool that made it.";
    BackupUnfinished, "backup-unfinished", Warning,
        "This base backup was begun and never finished; it cannot be used.",
        "If no backup is running, the process died: delete the remains and take a new one.";
    BackupStale, "backup-stale", Warning,
        "Recovery must replay much WAL, so it takes long, and depends on every segment since.",
        "Take a base backup and check the schedule.";
    BackupInfoUnreadable, "backup-info-unreadable", Critical,
        "Without its description a base backup cannot be restored; some tools refuse to expire anything beside it.",
        "Restore the object from a version or copy; otherwise treat the backup as lost.";
    BackupInfoMissing, "backup-info-missing", Warning,
        "Data of a base backup lies here without its description; it cannot be used.",
        "If no backup is running, it was interrupted: delete the remains.";
    BackupInfoContradictory, "backup-info-contradictory", Critical,
        "The description contradicts itself or the data; a restore by it is not trustworthy.",
        "Do not use this backup; take a fresh one.";
    BackupPartMissing, "backup-part-missing", Critical,
        "Files of the database are missing from this base backup, and the usual tools restore it without an error.",
        "Do not use this backup; take a fresh one.";
    BackupPartMixed, "backup-part-mixed", Critical,
        "The parts of one base backup were written with different codecs, so they do not belong together.",
        "Do not use this backup; take a fresh one.";
    BackupTablespaceMissing, "backup-tablespace-missing", Critical,
        "A tablespace of the database is missing from this base backup.",
        "Do not use this backup; take a fresh one.";
    BackupWalMissing, "backup-wal-missing", Critical,
        "The WAL that makes this base backup consistent is not all there: it cannot be used.",
        "Find the segment on the server or a standby and archive it; otherwise take a fresh base backup.";
    BackupWalPartial, "backup-wal-partial", Critical,
        "WAL that this base backup needs exists only as an unfinished segment.",
        "Find the full segment on the new primary or a standby and archive it; otherwise take a fresh base backup.";
    BackupAbandoned, "backup-abandoned", Info,
        "This base backup belongs to a side branch; it cannot be used for the current timeline.",
        "Nothing to do once a base backup of the current timeline exists. To look at the branch, restore with `--target-timeline`.";
    BackupOnSnapshot, "backup-on-snapshot", Info,
        "The data of this backup lies in volume snapshots, which cannot be read from here.",
        "Drill it where the snapshots are.";
    BackupDamaged, "backup-damaged", Critical,
        "An archive of this base backup cannot be read to its end: a restore of it is incomplete.",
        "Do not use this backup; take a fresh one.";
    BackupMemberUnsafe, "backup-member-unsafe", Critical,
        "An archive of this base backup names files outside the data directory; extracting it could overwrite anything.",
        "Find out who wrote this object; do not restore it with other tools.";
    BackupLabelMissing, "backup-label-missing", Critical,
        "Without its backup label a base backup starts from the wrong place and may be silently inconsistent.",
        "Do not use this backup; take a fresh one.";
    BackupConfigurationSetAside, "backup-configuration-set-aside", Info,
        "The backup carries settings that would act on the world outside; the restored server runs without them.",
        "Nothing to do for the drill. Check that you have these settings elsewhere for a real recovery.";
    PageCorrupt, "page-corrupt", Critical,
        "A page in this base backup cannot be read, and no WAL of the backup heals it: what it held is lost in every restore from it.",
        "Do not use this backup; take a fresh one, and check production with `pg_checksums` or amcheck for the same damage.";
    PageBeyondEnd, "page-beyond-end", Critical,
        "A page in this base backup is younger than the backup: its files do not belong together, and a restored server cannot write the page.",
        "Do not use this backup; take a fresh one, and check production for pages past the end of WAL.";
    PageStale, "page-stale", Critical,
        "A page in this base backup is older than WAL says it must be: a write was lost, and recovery does not repeat it.",
        "Do not use this backup; take a fresh one, and check the storage of the server that was copied for lost writes.";
    RelationFileMissing, "relation-file-missing", Critical,
        "A file of a table or index is missing from this base backup: restored, it is unreadable or silently empty.",
        "Do not use this backup; take a fresh one.";
    RelationFileShort, "relation-file-short", Critical,
        "A file of a table or index is shorter in this base backup than it was: restored, rows are missing without an error.",
        "Do not use this backup; take a fresh one.";
    RelationMapCorrupt, "relation-map-corrupt", Critical,
        "The map of a database's system tables is damaged or missing in this base backup: nobody can connect to that database.",
        "Do not use this backup; take a fresh one.";
    TransactionStatusMissing, "transaction-status-missing", Critical,
        "This base backup lacks the record of which transactions committed: their rows vanish in a restore, or reading them fails.",
        "Do not use this backup; take a fresh one.";
    ManifestMismatch, "manifest-mismatch", Critical,
        "A file in this base backup is not the one that was backed up.",
        "Do not use this backup; take a fresh one.";
    // WAL.
    WalGap, "wal-gap", Critical,
        "Every moment from the gap up to the next base backup is lost; a plain restore promotes quietly before it, with rows missing.",
        "Find the segments in pg_wal of the primary or a standby and archive them; otherwise take a fresh base backup now.";
    WalDuplicate, "wal-duplicate", Warning,
        "One segment exists as several objects; which one a restore reads depends on the tool.",
        "Compare them; keep the one that is whole.";
    WalDuplicateDiffers, "wal-duplicate-differs", Critical,
        "Two different objects claim to be the same segment; a restore may be served the wrong one.",
        "Compare both with the server's own WAL; move the wrong one away.";
    WalTooLarge, "wal-too-large", Critical,
        "The object is larger than a WAL segment; PostgreSQL refuses it.",
        "Compare with the original if it still exists; otherwise take a fresh base backup.";
    WalNameIllegal, "wal-name-illegal", Warning,
        "No cluster with this segment size writes such a name; recovery never asks for it.",
        "Find out who wrote it; a wrong segment size in `backup.info` also looks like this.";
    WalUnreadable, "wal-unreadable", Critical,
        "Recovery ends before this segment and promotes quietly, with later rows missing.",
        "Replace the object with the original from pg_wal or a standby; otherwise take a fresh base backup now.";
    WalCorrupt, "wal-corrupt", Critical,
        "Recovery ends at this record and promotes quietly, with later rows missing.",
        "Replace the segment with the original from pg_wal or a standby; otherwise take a fresh base backup now.";
    WalForeign, "wal-foreign", Critical,
        "The segment was written by another database system; recovery ends before it.",
        "Find out which cluster writes here; give each a place of its own.";
    WalLevelMinimal, "wal-level-minimal", Critical,
        "Recovery cannot pass this record: changes were made without being logged in full.",
        "Take a base backup that begins after it; keep wal_level at replica or above.";
    WalTablespaceCreated, "wal-tablespace-created", Warning,
        "Replaying this on the database's own host links the copy to production's files; elsewhere recovery fails.",
        "Take a base backup that begins after it, or restore to a moment before it.";
    WalTablespaceDropped, "wal-tablespace-dropped", Info,
        "A tablespace is dropped within the range that is replayed.",
        "Nothing to do; newer base backups will not carry it.";
    WalSettingsRaised, "wal-settings-raised", Info,
        "A server restored with the old, lower settings would stop replaying and wait for ever.",
        "walproof takes the highest value; set at least these values in a manual recovery.";
    WalClockStepped, "wal-clock-stepped", Info,
        "Commit times are not in order here; a target in time stops at the first commit past it.",
        "Choose the target by LSN; check the servers' clocks.";
    HistoryMissing, "history-missing", Critical,
        "Without it recovery cannot follow this timeline and silently stays on the parent's abandoned branch.",
        "Copy it from pg_wal of the primary or a standby (`<timeline>.history`).";
    HistoryUnreadable, "history-unreadable", Critical,
        "Recovery to this timeline stops with an error.",
        "Copy it again from pg_wal of the primary or a standby.";
    HistoryContradictory, "history-contradictory", Critical,
        "The history file does not agree with the archive's segments or other history files; recovery takes a wrong path.",
        "Compare it with pg_wal of the primary; several clusters may share this place.";
    TimelineAbandoned, "timeline-abandoned", Info,
        "WAL after the switch point on the parent timeline is a side branch; it is not part of the current database.",
        "Nothing to do. To look at it, restore with `--target-timeline`.";
    ArchiveTipUnknown, "archive-tip-unknown", Warning,
        "The exact end of recovery could not be read, so exposure is bounded only by object times.",
        "Archive a segment with at least one commit, or write a heartbeat.";
    // Restores and drills.
    TargetUnreachable, "target-unreachable", Critical,
        "Recovery to this target would stop with an error or end elsewhere.",
        "Choose a target inside the windows that `walproof verify` shows.";
    RecoveryEndedEarly, "recovery-ended-early", Critical,
        "The restored database ends before the archive does: rows are missing.",
        "Run `walproof verify` and look at the WAL after the point where recovery ended.";
    RecoveryEndUnproven, "recovery-end-unproven", Warning,
        "The end of recovery could not be compared with the archive.",
        "Read the server log that the drill kept.";
    RecoveryFailed, "recovery-failed", Critical,
        "The server did not come up from this backup.",
        "Read the server log that the drill kept.";
    SystemIdDiffers, "system-id-differs", Critical,
        "The restored database is not the one that the repository claims to hold.",
        "Check server name and prefix; several clusters may share this place.";
    PreloadLibraryMissing, "preload-library-missing", Warning,
        "Functions of this library cannot be checked by this drill.",
        "Install the extension where drills run.";
    PreloadLibrarySetAside, "preload-library-set-aside", Info,
        "The library may act on the world outside, so the restored server runs without it.",
        "Nothing to do; name it under `preload` in the drill if its functions must be checked.";
    SafetyViolated, "safety-violated", Critical,
        "The restored server was not confined as it must be; it was stopped.",
        "Read the server log that the drill kept and report this as a defect of walproof.";
    CheckFailed, "check-failed", Critical,
        "The restored database does not hold what it should.",
        "Read the check's result; compare with production at the recovery point.";
    CorruptionFound, "corruption-found", Critical,
        "The restored database has damaged tables or indexes.",
        "Run the same check on production; restore the relation from an older backup if it is damaged there too.";
    ObjectiveMissedRpo, "objective-missed-rpo", Critical,
        "More would be lost than the tier allows.",
        "Look at archiving: archive_timeout, failures of archive_command, the newest segment's age.";
    ObjectiveMissedRto, "objective-missed-rto", Critical,
        "Bringing the database back takes longer than the tier allows.",
        "See which phase took longest; take base backups more often if it was replay.";
    PreparedTransactions, "prepared-transactions", Info,
        "Two-phase transactions survived the restore and hold their locks.",
        "Commit or roll them back after a real recovery.";
    CleanupFailed, "cleanup-failed", Warning,
        "Something of this drill was left behind.",
        "Run `walproof drill sweep`; if it persists, remove the named directory.";
    // Buckets.
    BucketLifecycleEatsArchive, "bucket-lifecycle-eats-archive", Critical,
        "The store deletes by itself what recovery within the promised time needs.",
        "Take base backups and WAL out of the rule now, or let it begin after the tier's retention; only the backup tool and `walproof replicate expire` should delete.";
    BucketPublic, "bucket-public", Critical,
        "Everybody can read the backups, and with them the whole database.",
        "Close it now (block public access), then treat the data as disclosed.";
    BucketNotVersioned, "bucket-not-versioned", Warning,
        "What is overwritten or deleted there by mistake or malice is gone at once.",
        "Turn on versioning, with a lifecycle rule that ends old versions after some weeks.";
    BucketNotEncrypted, "bucket-not-encrypted", Info,
        "Whoever gets at the store's disks can read the backups, unless they are encrypted otherwise.",
        "Set default encryption for the bucket.";
    CopyNotLocked, "copy-not-locked", Warning,
        "Whoever has the credentials of this copy, a thief included, can overwrite or delete it.",
        "Make the bucket with object lock and copy into it anew; `walproof replicate status --try-lock` proves it.";
    CopyLag, "copy-lag", Warning,
        "Were the primary repository lost now, this copy would lose more than it may.",
        "See whether `walproof replicate run` runs, and what it says.";
    PrimaryWritable, "primary-writable", Warning,
        "The credentials given to walproof can write to the primary repository.",
        "Give walproof read-only credentials.";
    ConfinementNotTried, "confinement-not-tried", Warning,
        "Nobody knows whether the restored server could have reached the network: the rules were made, and not seen to hold.",
        "Use an image with bash and coreutils, and a network plugin that enforces NetworkPolicies; then drill again.";
    // Copies.
    CopyDiffers, "copy-differs", Critical,
        "Source and target hold different bytes under one name: one of the two restores something else, and nobody knows yet which.",
        "Nothing was overwritten. Read both (`walproof verify --depth read` of each copy), keep the good one, and move the other away.";
    CopySourceChanged, "copy-source-changed", Critical,
        "The source was changed or has rotted since it was copied; what was proven with it before holds for the copy, not for the source.",
        "Keep the copy as it is; verify both, and mend the source from the copy if the copy is the sound one.";
    CopyMissing, "copy-missing", Warning,
        "The copy lacks an object that it should hold: a recovery from it may end earlier than one from the source.",
        "Run `walproof replicate run`; if it went away again, find out who deletes at the target.";
    CopyOnly, "copy-only", Info,
        "The copy holds what the source does not hold any more: expired there, as a rule, or deleted.",
        "Nothing to do if it was expired at the source. `walproof replicate expire` removes by the copy's own policy.";
    CopyDamaged, "copy-damaged", Critical,
        "The copy does not hold what was written to it: a recovery from it that needs this object fails or ends early.",
        "Keep the object's other versions if the bucket has them, move the damaged one away, and run `walproof replicate run` again.";
    // The records.
    RecordsBroken, "records-broken", Critical,
        "The records are not what was written: from the break on they prove nothing to anybody else.",
        "Copy the state database aside before anything else, and compare it with an export or a backup of it.";

    // What a rebuild needs besides data.
    DefinitionNotCaptured, "definition-not-captured", Warning,
        "The data can be restored, but nobody stored how the cluster was declared: a rebuild at another site begins from memory.",
        "Run `walproof definition capture` while the Cluster is there, and schedule `job: capture`.";
    DefinitionChangedDigest, "definition-changed-digest", Critical,
        "What was captured for a rebuild is not what lies here: it is not used.",
        "Capture anew while the Cluster is there; find out who wrote to the replica.";
    DefinitionStale, "definition-stale", Warning,
        "What was declared since the last capture would be missing from a rebuild.",
        "See why no capture ended (`walproof history orders --kind capture`), and run one by hand.";
    DefinitionIncomplete, "definition-incomplete", Warning,
        "Part of what a rebuild needs could not be read, and is missing from the captured definition.",
        "Grant what `walproof kubernetes check --for definition` names, and capture again.";
    DefinitionSecretMissing, "definition-secret-missing", Warning,
        "A rebuild stops at a Secret that nobody has at the other site.",
        "Bring a copy of it to the disaster site (External Secrets, a sealed copy, a vault), under the same name and keys.";
    DefinitionHoldsSecret, "definition-holds-secret", Warning,
        "A secret in plain text lies in the Kubernetes API, in every captured definition, and wherever those are read.",
        "Move it into a Secret, and change it: it has been seen.";

    // The daemon itself.
    VerificationOverdue, "verification-overdue", Warning,
        "Nobody looked at this copy for longer than its tier allows: whatever broke since then is not known.",
        "See why no verification ended (`walproof history orders --kind verify`), and run one by hand.";
    ReplicationOverdue, "replication-overdue", Warning,
        "The copy was not brought up to date for longer than the tier allows: a recovery from it loses at least that much.",
        "See why no replication ended (`walproof history orders --kind replicate`), and run one by hand.";
    DrillOverdue, "drill-overdue", Critical,
        "No restore of this cluster was tried for longer than its tier allows: that it can be restored is hope, not proof.",
        "See why no drill ended (`walproof history orders --kind drill`), and run one by hand.";
    ConfigurationRefused, "configuration-refused", Warning,
        "The configuration file has mistakes, so the daemon goes on with the one before: what was changed is not in force.",
        "Run `walproof config check`, mend what it names; the daemon takes the file up by itself.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_kebab_case_and_what_serde_writes() {
        let mut seen = BTreeSet::new();
        for code in Code::ALL {
            let name = code.as_str();
            assert!(seen.insert(name), "{name} twice");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{name}"
            );
            assert_eq!(
                serde_json::to_value(code).unwrap(),
                serde_json::Value::from(name)
            );
        }
    }

    #[test]
    fn every_code_has_its_runbook() {
        let runbooks = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
        for code in Code::ALL {
            let page = runbooks.join(format!("{code}.md"));
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(
                text.starts_with(&format!("# {code}\n")),
                "{}",
                page.display()
            );
        }
    }
}
