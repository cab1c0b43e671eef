//! Every metric, once: its name, unit, labels and meaning.

use prometheus_client::metrics::MetricType;

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Goes up only, from the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets, from the start of the process.
    Histogram,
    /// Always 1; its labels say something.
    Info,
}

impl MetricKind {
    /// The word of the exposition format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

impl From<MetricKind> for MetricType {
    fn from(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter,
            MetricKind::Gauge => Self::Gauge,
            MetricKind::Histogram => Self::Histogram,
            MetricKind::Info => Self::Info,
        }
    }
}

/// A metric with `N` labels, so that each sample gives each label a value.
#[derive(Debug)]
pub(super) struct Metric<const N: usize> {
    /// The name without unit and suffix.
    pub(super) base: &'static str,
    /// `seconds`, `bytes`, or nothing.
    pub(super) unit: &'static str,
    /// What it is.
    pub(super) kind: MetricKind,
    /// The names of its labels.
    pub(super) labels: [&'static str; N],
    /// What it means.
    pub(super) help: &'static str,
}

impl<const N: usize> Metric<N> {
    const fn info(&'static self) -> MetricInfo {
        MetricInfo {
            base: self.base,
            unit: self.unit,
            kind: self.kind,
            labels: &self.labels,
            help: self.help,
        }
    }
}

/// A metric as its document lists it.
#[derive(Clone, Copy, Debug)]
pub struct MetricInfo {
    base: &'static str,
    unit: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
}

impl MetricInfo {
    /// The name of the family, as `# TYPE` says it in OpenMetrics.
    pub fn family(&self) -> String {
        match self.unit {
            "" => self.base.to_owned(),
            unit => format!("{}_{unit}", self.base),
        }
    }

    /// The name by which it is asked for; of a histogram without `_bucket`, `_sum`, `_count`.
    pub fn name(&self) -> String {
        let family = self.family();
        match self.kind {
            MetricKind::Counter => format!("{family}_total"),
            MetricKind::Info => format!("{family}_info"),
            MetricKind::Gauge | MetricKind::Histogram => family,
        }
    }

    /// What it is.
    pub const fn kind(&self) -> MetricKind {
        self.kind
    }

    /// Its unit; empty for a plain number.
    pub const fn unit(&self) -> &'static str {
        self.unit
    }

    /// Its labels, without those that Prometheus adds.
    pub const fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// What it means.
    pub const fn help(&self) -> &'static str {
        self.help
    }
}

macro_rules! catalogue {
    ($($id:ident = $kind:ident $base:literal $unit:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            pub(super) static $id: Metric<{ <[&str]>::len(&[$($label),*]) }> = Metric {
                base: $base,
                unit: $unit,
                kind: MetricKind::$kind,
                labels: [$($label),*],
                help: $help,
            };
        )*

        /// Every metric that [`super::render()`] writes, in its order.
        pub static CATALOGUE: &[MetricInfo] = &[$($id.info()),*];
    };
}

catalogue! {
    // The process and its state.
    BUILD = Info "walproof_build" "" ["version"]
        "The version that runs.";
    STATE_UP = Gauge "walproof_state_up" "" []
        "Whether the state answered when it was last asked: 1, or 0. While it is 0 the facts below are the last known, for an hour at most.";
    FACTS_AT = Gauge "walproof_facts_timestamp" "seconds" []
        "When the state was asked for the facts below.";
    COLLECTION_TIME = Gauge "walproof_scrape_collection" "seconds" []
        "How long the state took to answer, the last time it was asked.";
    COLLECTIONS = Counter "walproof_scrape_collections" "" ["result"]
        "How often the state was asked for facts: ok, failed or timeout. Scrapes that come soon after one another share an answer.";
    STARTED_AT = Gauge "walproof_daemon_started_timestamp" "seconds" []
        "When this daemon started.";
    TICK_AT = Gauge "walproof_tick_timestamp" "seconds" []
        "When the loop of this daemon last went round.";
    LEASE_SEEN_AT = Gauge "walproof_tick_lease_seen_timestamp" "seconds" []
        "When this daemon last saw that a daemon, itself or another, holds the lease of the tick.";
    CONFIGURATION_LOADED_AT = Gauge "walproof_configuration_loaded_timestamp" "seconds" []
        "When the configuration in use was loaded.";
    CONFIGURATION_REFUSED_AT = Gauge "walproof_configuration_refused_timestamp" "seconds" []
        "When a configuration was last refused; absent if none was.";
    CONFIGURATION_REFUSED = Gauge "walproof_configuration_refused" "" []
        "Whether the configuration's file as it is now is refused, so that an older one is in use: 1, or 0.";
    CLUSTERS = Gauge "walproof_clusters" "" []
        "Clusters in the configuration.";
    REQUESTS = Counter "walproof_kubernetes_requests" "" ["verb", "group", "resource", "code"]
        "What this process asked of API servers of Kubernetes, by verb, API group (empty for the core group), resource with its subresource, and the status of the answer (0 for none). A watch counts once, when it begins.";
    FOLLOWED_AT = Gauge "walproof_controller_followed_timestamp" "seconds" []
        "When the controller in this daemon last looked over its custom resources with every kind watched; its start where it never did; absent without a controller.";
    WRITES = Gauge "walproof_controller_writes" "" []
        "Whether the controller in this daemon is the one that writes statuses: 1, or 0; absent without a controller.";
    RESOURCE_READY = Gauge "walproof_resource_ready" "" ["kind", "resource"]
        "Whether what a ProtectedCluster or a RecoveryDrill (namespace/name) declares is in force, all of it: 1, or 0, and its conditions say why.";
    PROCESS_CPU = Counter "process_cpu" "seconds" []
        "Time that this process used of the processors, user and system.";
    PROCESS_MEMORY = Gauge "process_resident_memory" "bytes" []
        "Memory of this process that is resident.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory" "bytes" []
        "Memory of this process that is reserved.";
    PROCESS_FDS = Gauge "process_open_fds" "" []
        "Files and sockets that this process has open.";
    PROCESS_FDS_MAX = Gauge "process_max_fds" "" []
        "How many files and sockets this process may have open.";
    PROCESS_STARTED_AT = Gauge "process_start_time" "seconds" []
        "When this process started.";

    // Clusters and what was promised to them.
    CLUSTER = Info "walproof_cluster" "" ["cluster", "tier", "owner"]
        "A guarded cluster with its tier and owner, to join with.";
    RPO = Gauge "walproof_objective_rpo" "seconds" ["cluster"]
        "At most this much may be lost.";
    RTO = Gauge "walproof_objective_rto" "seconds" ["cluster"]
        "At most this long may recovery take, until all checks passed.";
    RETENTION = Gauge "walproof_objective_retention" "seconds" ["cluster"]
        "How far back any moment must be recoverable.";
    BACKUP_AGE_LIMIT = Gauge "walproof_objective_backup_age" "seconds" ["cluster"]
        "How old the newest usable base backup may be.";
    LAG_LIMIT = Gauge "walproof_objective_replica_lag" "seconds" ["cluster", "copy"]
        "How far this replica may be behind its source.";
    PROOF_DUE = Gauge "walproof_proof_due" "seconds" ["cluster", "kind"]
        "How old the newest proof of this kind may be.";

    // Copies, as the last verification saw them.
    COPY = Info "walproof_copy" "" ["cluster", "copy", "role"]
        "A copy of a cluster's repository: primary (the backup tool writes it) or replica (walproof copies to it).";
    VERIFIED_AT = Gauge "walproof_verification_timestamp" "seconds" ["cluster", "copy"]
        "When this copy was last verified. What the metrics of exposure, archive, windows, WAL and backups say is as of this moment.";
    EXPOSURE = Gauge "walproof_exposure" "seconds" ["cluster", "copy"]
        "What would be lost if production vanished now, as far as is known: now minus the commit time at the archive's tip. It grows between two verifications.";
    EXPOSURE_MEASURED = Gauge "walproof_exposure_measured" "seconds" ["cluster", "copy"]
        "The exposure at the moment of the last verification: its time minus the commit time at the archive's tip.";
    EXPOSURE_KNOWN = Gauge "walproof_exposure_known" "" ["cluster", "copy"]
        "Whether the commit time at the tip was read from WAL: 1; or is a bound by the times of objects, so that the true exposure is greater: 0.";
    TIP_AT = Gauge "walproof_archive_tip_timestamp" "seconds" ["cluster", "copy"]
        "Commit time at the archive's tip, the last point that is reachable through contiguous, valid WAL.";
    TIP_LSN = Gauge "walproof_archive_tip_position" "bytes" ["cluster", "copy"]
        "LSN of the archive's tip, as a number of bytes.";
    END_AT = Gauge "walproof_archive_end_timestamp" "seconds" ["cluster", "copy"]
        "When the newest WAL arrived in this copy, beyond gaps too.";
    END_LSN = Gauge "walproof_archive_end_position" "bytes" ["cluster", "copy"]
        "LSN of the newest WAL in this copy, beyond gaps too, as a number of bytes.";
    OLDEST_BEGIN = Gauge "walproof_window_oldest_begin_timestamp" "seconds" ["cluster", "copy"]
        "The earliest moment that can be restored from this copy; later ones may lie in gaps.";
    WINDOW_BEGIN = Gauge "walproof_window_begin_timestamp" "seconds" ["cluster", "copy"]
        "Begin of the newest window: from here to its end every moment can be restored from this copy.";
    WINDOW_END = Gauge "walproof_window_end_timestamp" "seconds" ["cluster", "copy"]
        "End of the newest window: the latest moment that can be restored from this copy.";
    GAPS = Gauge "walproof_wal_gaps" "" ["cluster", "copy"]
        "Gaps in the WAL of this copy.";
    MISSING_SEGMENTS = Gauge "walproof_wal_missing_segments" "" ["cluster", "copy"]
        "WAL segments that are missing in the gaps.";
    SEGMENTS = Gauge "walproof_wal_segments" "" ["cluster", "copy"]
        "Full WAL segments in this copy.";
    WAL_BYTES = Gauge "walproof_wal_stored" "bytes" ["cluster", "copy"]
        "WAL in this copy, as stored.";
    BASE_BYTES = Gauge "walproof_backup_stored" "bytes" ["cluster", "copy"]
        "Base backups in this copy, as stored.";
    BACKUPS_USABLE = Gauge "walproof_backups_usable" "" ["cluster", "copy"]
        "Base backups in this copy from which a restore is possible.";
    BACKUP_AT = Gauge "walproof_backup_newest_timestamp" "seconds" ["cluster", "copy"]
        "When the newest usable base backup ended.";
    BACKUP_AGE = Gauge "walproof_backup_newest_age" "seconds" ["cluster", "copy"]
        "How long ago the newest usable base backup ended.";
    BACKUP_FAILED_AT = Gauge "walproof_backup_failed_timestamp" "seconds" ["cluster", "copy"]
        "When the newest base backup that failed began; absent once one that can be used has ended after it.";
    DEPTH = Gauge "walproof_verification_depth" "" ["cluster", "copy"]
        "How deep the last verification looked: 0 names and sizes, 1 a part was read, 2 everything was read.";
    READ_BYTES = Gauge "walproof_verification_read" "bytes" ["cluster", "copy"]
        "What the last verification read, decoded.";

    // Proofs, findings, replicas and drills.
    PROOF_AT = Gauge "walproof_proof_timestamp" "seconds" ["cluster", "copy", "kind"]
        "When the newest run of this kind ended that gave an answer, good or bad; absent if none did.";
    PROOF_VERDICT = Gauge "walproof_proof_verdict" "" ["cluster", "copy", "kind"]
        "What the newest run of this kind that gave an answer came to: 1 proven, -1 failed; 0 while none has given one (it could not be checked); absent where a run gives no verdict.";
    PROOF_EXIT = Gauge "walproof_proof_exit_code" "" ["cluster", "copy", "kind"]
        "The exit code of the newest run of this kind: 0 good, 1 a problem was found, 3 could not be checked, 4 refused for safety.";
    FINDING_OPEN = Gauge "walproof_finding_open" "" ["cluster", "copy", "code", "severity"]
        "An open finding; the number is how many there are of the code. Gone when a run of the same kind that looked as deep and gave an answer no longer finds it. The copy is empty where it is about the whole cluster.";
    REPLICA_LAG = Gauge "walproof_replica_lag" "seconds" ["cluster", "copy"]
        "At most so far the replica is behind its source, in time of commits, by the newest verifications and replications of both.";
    REPLICA_MISSING = Gauge "walproof_replica_missing_objects" "" ["cluster", "copy"]
        "Objects that the last replication left to be copied.";
    REPLICA_FAILURES = Gauge "walproof_replica_failed_objects" "" ["cluster", "copy"]
        "Objects that the last replication could not copy.";
    REPLICA_COMPARED_AT = Gauge "walproof_replica_compared_timestamp" "seconds" ["cluster", "copy"]
        "When the last replication compared the replica with its source.";
    REPLICA_COPIED = Gauge "walproof_replica_copied" "bytes" ["cluster", "copy"]
        "What the last replication copied.";
    DRILL_LAST_PHASE = Gauge "walproof_drill_last_phase" "seconds" ["cluster", "copy", "phase"]
        "How long this phase took in the last drill.";
    DRILL_SERVICE = Gauge "walproof_drill_time_to_service" "seconds" ["cluster", "copy"]
        "Start of recovery to the first answered query, in the last drill.";
    DRILL_VERIFIED = Gauge "walproof_drill_time_to_verified" "seconds" ["cluster", "copy"]
        "Start of recovery until all checks passed, in the last drill. The RTO is compared with it.";
    DRILL_POINT = Gauge "walproof_drill_recovery_point" "seconds" ["cluster", "copy"]
        "What would have been lost, in the last drill. The RPO is compared with it.";
    DRILL_MET = Gauge "walproof_drill_objective_met" "" ["cluster", "copy", "objective"]
        "Whether drills meet the objective (rpo or rto): 0 from one that missed it until one of the same definition that gave an answer no longer does, else 1; absent if the last was not asked or could not measure it.";
    DRILL_PHASES = Histogram "walproof_drill_phase" "seconds" ["tier", "phase"]
        "How long the phases of drills took that ended since this process started, in any daemon.";

    // Work, records and notifications of the whole state.
    JOBS = Gauge "walproof_jobs" "" ["kind", "status"]
        "Jobs that the state keeps, by kind and status.";
    RUNS = Counter "walproof_runs" "" ["kind", "outcome"]
        "Runs that ended, of all daemons and by hand, since the ledger began: proven, failed, unproven; without a verdict done, found (a problem), unchecked, refused.";
    UNANSWERED = Counter "walproof_runs_unanswered" "" ["cluster", "copy", "kind"]
        "Runs that ended without an answer (it could not be checked), since the ledger began.";
    MISSED = Counter "walproof_runs_missed" "" ["cluster"]
        "Due runs that did not happen, since the ledger began; those that a late one stands for are among them, a proof that is overdue is not.";
    LATE = Counter "walproof_runs_late" "" ["cluster"]
        "Due runs that were caught up late, since the ledger began.";
    SKIPPED = Counter "walproof_runs_skipped" "" ["cluster"]
        "Due runs that were left out knowingly, since the ledger began: the one before was under way, or they were cancelled or are no longer wanted.";
    RECORDS_HEAD = Gauge "walproof_records_head" "" []
        "Sequence number of the newest record of the ledger; it never goes down.";
    RECORDS_FOLLOWED_AT = Gauge "walproof_records_followed_timestamp" "seconds" []
        "When the chain of records was last followed from its first to its newest; absent until then. A daemon does it once a day.";
    RECORDS_BROKEN = Gauge "walproof_records_broken" "" []
        "Whether the chain of records was found broken when it was last followed: 1, or 0; absent until then.";
    NOTICES_WAITING = Gauge "walproof_notifications_waiting" "" []
        "Notifications that are not delivered yet.";
    NOTICES_GIVEN_UP = Counter "walproof_notifications_given_up" "" []
        "Notifications that were given up since the state began: whom they were for was not told.";
}
