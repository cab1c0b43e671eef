//! Writing down what was read, behind the reader's back.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{SubsecRound as _, Utc};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::listing::by_key;
use super::{ObjectReading, Place, memory};
use crate::state::{RememberedObject, StateError};

/// How many readings are written at once, and how long the first of them waits for more.
const BATCH: usize = 500;
const PATIENCE: Duration = Duration::from_millis(500);

/// What was written down.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// Objects that were read.
    pub(super) objects: u64,
    /// Their stored bytes.
    pub(super) bytes: u64,
    /// Objects that looked changed and hold the bytes that they always held.
    pub(super) same_bytes: u64,
    /// The keys of all that was read.
    pub(super) keys: HashSet<String>,
    /// Why not everything is remembered.
    pub(super) trouble: Option<StateError>,
}

/// Writes down what is noted until the last log is dropped.
pub(super) async fn write(place: Place, mut readings: mpsc::Receiver<ObjectReading>) -> Logged {
    let mut logged = Logged::default();
    let mut batch = Vec::with_capacity(BATCH);
    let mut open = true;
    while open {
        // The first one may let wait as long as it likes.
        match readings.recv().await {
            Some(reading) => batch.push(reading),
            None => break,
        }
        let written_at = Instant::now() + PATIENCE;
        while open && batch.len() < BATCH {
            match timeout_at(written_at, readings.recv()).await {
                Ok(Some(reading)) => batch.push(reading),
                Ok(None) => open = false,
                Err(_) => break,
            }
        }
        logged.keep(&place, std::mem::take(&mut batch)).await;
    }
    logged
}

impl Logged {
    async fn keep(&mut self, place: &Place, batch: Vec<ObjectReading>) {
        let keys: Vec<String> = batch
            .iter()
            .map(|reading| reading.entry.key.clone())
            .collect();
        self.objects += batch.len() as u64;
        self.bytes += batch.iter().map(|reading| reading.entry.size).sum::<u64>();
        if self.trouble.is_some() {
            return;
        }
        let now = Utc::now().trunc_subsecs(6);
        let mut same = 0;
        let update = |rows: Vec<RememberedObject>| {
            let mut rows = by_key(rows);
            same = 0;
            for reading in &batch {
                let before = rows.get(&reading.entry.key);
                let after = memory::read(before, reading, now);
                if before
                    .is_some_and(|before| before.change.is_some() && before.first_read.is_some())
                    && after.change.is_none()
                {
                    same += 1;
                }
                rows.insert(after.key.clone(), after);
            }
            rows.into_values().collect()
        };
        let done = place.state.objects_update(&place.name, &keys, update).await;
        match done {
            Ok(()) => {
                self.same_bytes += same;
                self.keys.extend(keys);
            }
            Err(error) => self.trouble = Some(error),
        }
    }
}
