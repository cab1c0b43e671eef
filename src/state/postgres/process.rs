//! This process as the others see it: a row that is touched every ten seconds. A process
//! whose row was not touched for a minute, by the server's clock, is taken for dead, and
//! what it worked on for given up.

use std::collections::VecDeque;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::super::StateError;
use super::Postgres;

/// How often the row is touched.
const BEAT: Duration = Duration::from_secs(10);

/// How long leaving may take.
const LEAVING: Duration = Duration::from_secs(5);

/// Claims that were given up while the server was away, at most: the rest is found when
/// the process itself has gone.
const PENDING: usize = 4_096;

/// What a process has a claim on.
#[derive(Clone, Copy, Debug)]
enum Work {
    Run(Uuid),
    Pair(Uuid),
}

#[derive(Debug)]
enum Message {
    GivenUp(Work),
    Leave(oneshot::Sender<()>),
}

/// This process. Its row goes when the last handle of the state does.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: Uuid,
    sender: mpsc::UnboundedSender<Message>,
}

/// A claim of this process. Dropped, the work is given up at once.
#[derive(Debug)]
pub(in super::super) struct Claim {
    work: Option<Work>,
    sender: mpsc::UnboundedSender<Message>,
}

impl Claim {
    /// The work is done; there is nothing to give up.
    pub(in super::super) fn done(mut self) {
        self.work = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            // Nobody listens when the process has left: its row is gone, which says the same.
            let _ = self.sender.send(Message::GivenUp(work));
        }
    }
}

impl Process {
    pub(super) fn claim_run(&self, run: Uuid) -> Claim {
        self.claim(Work::Run(run))
    }

    pub(super) fn claim_pair(&self, hold: Uuid) -> Claim {
        self.claim(Work::Pair(hold))
    }

    fn claim(&self, work: Work) -> Claim {
        Claim {
            work: Some(work),
            sender: self.sender.clone(),
        }
    }

    /// Gives up what was given up meanwhile, and takes the row away.
    pub(super) async fn leave(&self) {
        let (left, leaving) = oneshot::channel();
        if self.sender.send(Message::Leave(left)).is_ok() {
            let _ = tokio::time::timeout(LEAVING, leaving).await;
        }
    }
}

impl Postgres {
    /// This process, made known to the others if it is not yet.
    pub(super) async fn process(&self) -> Result<&Process, StateError> {
        self.process
            .get_or_try_init(|| async {
                let id = Uuid::now_v7();
                self.patiently(|| async { beat(&self.pool, id).await.map_err(self.writing()) })
                    .await?;
                let (sender, messages) = mpsc::unbounded_channel();
                tokio::spawn(live(self.pool.clone(), id, messages));
                Ok(Process { id, sender })
            })
            .await
    }
}

/// Says that this process lives, also to a server that has lost the row.
async fn beat(pool: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    let host = nix::unistd::gethostname().ok();
    let host = host.as_deref().map(std::ffi::OsStr::to_string_lossy);
    sqlx::query(
        "INSERT INTO processes (id, host, pid, version) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET beat_at = clock_timestamp()",
    )
    .bind(id)
    .bind(host.as_deref().unwrap_or_default())
    .bind(i64::from(std::process::id()))
    .bind(env!("CARGO_PKG_VERSION"))
    .execute(pool)
    .await?;
    Ok(())
}

async fn live(pool: PgPool, id: Uuid, mut messages: mpsc::UnboundedReceiver<Message>) {
    let mut pending: VecDeque<Work> = VecDeque::new();
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats.tick().await;
    let left = loop {
        tokio::select! {
            _ = beats.tick() => {
                if let Err(error) = beat(&pool, id).await {
                    // The others wait six times as long.
                    tracing::debug!(%error, "the state database does not answer");
                }
            }
            message = messages.recv() => match message {
                Some(Message::GivenUp(work)) if pending.len() < PENDING => pending.push_back(work),
                Some(Message::GivenUp(_)) => {}
                Some(Message::Leave(left)) => break Some(left),
                None => break None,
            }
        }
        give_up(&pool, &mut pending).await;
    };
    give_up(&pool, &mut pending).await;
    // Should that fail, the row grows old.
    let _ = leave(&pool, id).await;
    if let Some(left) = left {
        let _ = left.send(());
    }
}

/// Everything that is pending, until the server does not answer.
async fn give_up(pool: &PgPool, pending: &mut VecDeque<Work>) {
    while let Some(work) = pending.front().copied() {
        let done = match work {
            Work::Run(run) => sqlx::query(
                "UPDATE runs SET process_id = NULL WHERE id = $1 AND status = 'running'",
            )
            .bind(run)
            .execute(pool),
            Work::Pair(hold) => sqlx::query("DELETE FROM pair_holders WHERE hold_id = $1")
                .bind(hold)
                .execute(pool),
        };
        match done.await {
            Ok(_) => {
                pending.pop_front();
            }
            Err(error) => {
                tracing::debug!(%error, "the state database does not answer");
                return;
            }
        }
    }
}

async fn leave(pool: &PgPool, id: Uuid) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("DELETE FROM pair_holders WHERE process_id = $1")
        .bind(id)
        .execute(&mut *transaction)
        .await?;
    // And what died a day ago, so that the table stays small.
    sqlx::query(
        "DELETE FROM processes WHERE id = $1 OR beat_at < clock_timestamp() - interval '1 day'",
    )
    .bind(id)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
