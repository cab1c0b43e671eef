//! How far a run is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a run is. The same figures go to progress bars and to metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// Keys compared so far.
    pub compared: u64,
    /// Whether the comparison has ended, so that the totals below are known.
    pub copying: bool,
    /// Objects copied so far.
    pub objects: u64,
    /// Objects to copy.
    pub of_objects: u64,
    /// Bytes that passed so far.
    pub bytes: u64,
    /// Bytes to copy.
    pub of_bytes: u64,
}

/// Who is told how far a run is; often, so it must be quick.
pub type OnCopyProgress = Arc<dyn Fn(CopyProgress) + Send + Sync>;

/// How many keys are compared between two tellings.
const EVERY: u64 = 1_000;

pub(super) struct Meter {
    tell: OnCopyProgress,
    compared: AtomicU64,
    copying: AtomicBool,
    objects: AtomicU64,
    of_objects: AtomicU64,
    bytes: AtomicU64,
    of_bytes: AtomicU64,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({:?})", self.now())
    }
}

impl Meter {
    pub(super) fn new(tell: OnCopyProgress) -> Self {
        Self {
            tell,
            compared: AtomicU64::new(0),
            copying: AtomicBool::new(false),
            objects: AtomicU64::new(0),
            of_objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            of_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> CopyProgress {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        CopyProgress {
            compared: get(&self.compared),
            copying: self.copying.load(Ordering::Relaxed),
            objects: get(&self.objects),
            of_objects: get(&self.of_objects),
            bytes: get(&self.bytes),
            of_bytes: get(&self.of_bytes),
        }
    }

    fn tell(&self) {
        (self.tell)(self.now());
    }

    /// One key was compared.
    pub(super) fn compared(&self) {
        let before = self.compared.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(EVERY) {
            self.tell();
        }
    }

    /// So much is to be copied, beside what was known before.
    pub(super) fn expect(&self, objects: u64, bytes: u64) {
        self.copying.store(true, Ordering::Relaxed);
        self.of_objects.fetch_add(objects, Ordering::Relaxed);
        self.of_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    /// Bytes passed.
    pub(super) fn passed(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    /// An object is done with.
    pub(super) fn done(&self) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }
}
