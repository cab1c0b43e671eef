//! What a reader of objects tells the ledger.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::codec::Sha256;
use crate::finding::Finding;
use crate::storage::ObjectEntry;

/// One object that was read from its first stored byte to its last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectReading {
    /// What the store told when the object was opened for reading
    /// ([`crate::storage::ObjectRead::entry`]).
    pub entry: ObjectEntry,
    /// The digest of the stored bytes.
    pub sha256: Sha256,
    /// Whether its content was judged too, to the last record or page, and what is wrong
    /// with it is in `findings`. `false` when only the digest was taken, or when the verdict
    /// is still open: then it is read again the next time.
    pub judged: bool,
    /// What is wrong with this very object; they are told again, from memory, by runs that
    /// do not read it, until it is read sound or goes. Empty when it is sound.
    pub findings: Vec<Finding>,
}

/// Takes what was read, one object after the other. Cheap to clone. Everything is written
/// in batches behind the reader's back, so that a run that is killed keeps what it read but
/// for the last second.
///
/// An object is noted once it has been judged: of a WAL segment that is after it was joined
/// to the segment before. Memory: [`Self::WAITING`] readings of some 300 bytes.
#[derive(Clone, Debug, Default)]
pub struct ReadLog {
    sender: Option<mpsc::Sender<ObjectReading>>,
}

impl ReadLog {
    /// How many readings may wait to be written.
    pub const WAITING: usize = 1_024;

    /// A log that keeps nothing: for reading without a state database.
    pub const fn none() -> Self {
        Self { sender: None }
    }

    /// A log and the end at which it is written down.
    pub(super) fn channel() -> (Self, mpsc::Receiver<ObjectReading>) {
        let (sender, receiver) = mpsc::channel(Self::WAITING);
        let log = Self {
            sender: Some(sender),
        };
        (log, receiver)
    }

    /// Whether anything is kept, so that digests are worth their time.
    pub const fn is_kept(&self) -> bool {
        self.sender.is_some()
    }

    /// Notes what was read. Trouble with the database does not stop the reading; it is told
    /// when the log is closed. Waits while the database does not come along.
    pub async fn note(&self, reading: ObjectReading) {
        if let Some(sender) = &self.sender {
            // A receiver that is gone has said why.
            let _ = sender.send(reading).await;
        }
    }
}
