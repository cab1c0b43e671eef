//! What can be wrong with a recovery, and whose fault it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a trouble. [`TroubleClass::backup`] says whether the backup is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleClass {
    /// The image does not exist, or the node may not pull it.
    ImagePull,
    /// No node has room, or none fits.
    Unschedulable,
    /// A volume is not made or not bound.
    PvcPending,
    /// A ResourceQuota or LimitRange refused an object.
    Quota,
    /// Admission refused an object: Pod Security, a webhook, a policy engine.
    PolicyDenied,
    /// The object store refused the credentials.
    Credentials,
    /// The object store was not reached, or did not answer properly: DNS, network, TLS,
    /// NetworkPolicy, an outage.
    StoreUnreachable,
    /// The backup that was asked for is not there.
    BackupNotFound,
    /// A WAL segment that the recovery needs is not there.
    WalMissing,
    /// Everything was replayed, and the target lies past it.
    TargetNotReached,
    /// PostgreSQL gave up over what it read.
    RecoveryFailed,
    /// The image or the settings of the recovery do not fit the backup: a missing library,
    /// another major version, settings that are too low.
    Unfit,
    /// A volume is full.
    OutOfDisk,
    /// A container was killed for its memory, or the node had none.
    OutOfMemory,
    /// The pod was taken away: evicted, preempted, its node lost.
    PodLost,
    /// The operator does nothing.
    OperatorSilent,
    /// The operator does not know the plugin, or cannot talk to it.
    PluginUnknown,
    /// The Cluster has reached a phase that it does not leave.
    ClusterTerminal,
    /// The Cluster was deleted.
    ClusterGone,
    /// The namespace was deleted.
    NamespaceGone,
    /// The API server has not answered for two minutes.
    ApiUnreachable,
    /// walproof may not look at what it has to watch.
    Forbidden,
    /// It failed and said nothing that walproof knows.
    Unexplained,
}

impl TroubleClass {
    /// Every class, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::ImagePull,
        Self::Unschedulable,
        Self::PvcPending,
        Self::Quota,
        Self::PolicyDenied,
        Self::Credentials,
        Self::StoreUnreachable,
        Self::BackupNotFound,
        Self::WalMissing,
        Self::TargetNotReached,
        Self::RecoveryFailed,
        Self::Unfit,
        Self::OutOfDisk,
        Self::OutOfMemory,
        Self::PodLost,
        Self::OperatorSilent,
        Self::PluginUnknown,
        Self::ClusterTerminal,
        Self::ClusterGone,
        Self::NamespaceGone,
        Self::ApiUnreachable,
        Self::Forbidden,
        Self::Unexplained,
    ];

    /// Whether the backup is to blame. Everything else says nothing about the backup: the
    /// drill is unproven, not failed.
    pub const fn backup(self) -> bool {
        matches!(
            self,
            Self::BackupNotFound | Self::WalMissing | Self::TargetNotReached | Self::RecoveryFailed
        )
    }

    /// The kebab-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImagePull => "image-pull",
            Self::Unschedulable => "unschedulable",
            Self::PvcPending => "pvc-pending",
            Self::Quota => "quota",
            Self::PolicyDenied => "policy-denied",
            Self::Credentials => "credentials",
            Self::StoreUnreachable => "store-unreachable",
            Self::BackupNotFound => "backup-not-found",
            Self::WalMissing => "wal-missing",
            Self::TargetNotReached => "target-not-reached",
            Self::RecoveryFailed => "recovery-failed",
            Self::Unfit => "unfit",
            Self::OutOfDisk => "out-of-disk",
            Self::OutOfMemory => "out-of-memory",
            Self::PodLost => "pod-lost",
            Self::OperatorSilent => "operator-silent",
            Self::PluginUnknown => "plugin-unknown",
            Self::ClusterTerminal => "cluster-terminal",
            Self::ClusterGone => "cluster-gone",
            Self::NamespaceGone => "namespace-gone",
            Self::ApiUnreachable => "api-unreachable",
            Self::Forbidden => "forbidden",
            Self::Unexplained => "unexplained",
        }
    }
}

impl fmt::Display for TroubleClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What kind.
    pub class: TroubleClass,
    /// What it is about: `pod drill-1-full-recovery-abcde`, `persistentvolumeclaim drill-1`.
    pub object: String,
    /// Kubernetes', the operator's or PostgreSQL's own words, at most 1000 characters.
    pub words: String,
    /// What to do.
    pub hint: String,
    /// The first WAL file that was asked for and that the archive did not have, where the
    /// log tells.
    pub missing_wal: Option<String>,
    /// Whether the recovery is over. What may still pass (an image that is pulled a second
    /// time, a store that was away for one attempt) is told with `false` first.
    pub fatal: bool,
}

impl Trouble {
    /// Whether the backup is to blame.
    pub const fn backup(&self) -> bool {
        self.class.backup()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.words)
    }
}
