//! From a started server to a promoted one, with the proof taken on the way.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;

use super::Server;
use crate::drill::checks::sql::{ask_value, session_settings};
use crate::drill::course::{Course, Stop};
use crate::drill::facts::RecoveryFacts;
use crate::drill::last_words::gave_up;
use crate::drill::log::{LogEvent, LogFollower};
use crate::drill::neutral::{ask_back, settings_here};
use crate::drill::observer::{Progress, Unit};
use crate::drill::phases::Phase;
use crate::drill::proof::{ExpectedEnd, Histories, after_promotion, at_target};
use crate::drill::restored::{ConnectError, connect_anywhere};
use crate::finding::{Code, Finding};

/// How often the log and the process are looked at.
const LOOK: Duration = Duration::from_millis(25);
/// How long a server may take to accept a connection once its log says that it does.
const CONNECT_PATIENCE: Duration = Duration::from_mins(1);
/// How long promotion may take once it was asked for.
const PROMOTE_PATIENCE: Duration = Duration::from_mins(30);

/// Where the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Recovering,
    AtTarget,
    Promoted,
}

struct Recovery<'a, 'o> {
    server: &'a mut Server,
    expected: &'a ExpectedEnd,
    preload: &'a [String],
    segments: Option<u64>,
    course: &'a mut Course<'o>,
    facts: &'a mut RecoveryFacts,
    follower: LogFollower,
    state: State,
    setting_too_low: Option<String>,
}

/// Drives a started server through recovery: consistent, at the target, promoted, first
/// query answered. Phases are entered on the way; the caller has entered
/// [`Phase::ReachConsistency`].
pub(super) async fn recover(
    server: &mut Server,
    expected: &ExpectedEnd,
    preload: &[String],
    segments: Option<u64>,
    course: &mut Course<'_>,
    facts: &mut RecoveryFacts,
) -> Result<(), Stop> {
    let follower = LogFollower::new(server.log());
    let mut recovery = Recovery {
        server,
        expected,
        preload,
        segments,
        course,
        facts,
        follower,
        state: State::Recovering,
        setting_too_low: None,
    };
    recovery.until_target().await?;
    if recovery.state == State::AtTarget {
        recovery.enter_replay();
        recovery.ask_at_target().await?;
    }
    recovery.enter_replay();
    recovery.course.enter(Phase::Promote);
    recovery.until_promoted().await?;
    recovery.course.enter(Phase::FirstQuery);
    recovery.ask_promoted().await
}

impl Recovery<'_, '_> {
    /// Reads what the log has gained.
    fn look(&mut self) {
        let (facts, state, too_low) = (
            &mut self.facts.log,
            &mut self.state,
            &mut self.setting_too_low,
        );
        self.follower.poll(|line| match line.event() {
            Some(LogEvent::Consistent(lsn)) => {
                facts.consistent_at = Some(lsn);
                facts.consistent_time = Some(line.time);
            }
            Some(LogEvent::Restored(name)) => {
                facts.files_restored += 1;
                facts.last_restored = Some(name);
            }
            Some(LogEvent::RedoDone(lsn)) => facts.redo_done = Some(lsn),
            Some(LogEvent::Timeline(timeline)) => facts.new_timeline = Some(timeline),
            Some(LogEvent::Paused) => *state = State::AtTarget,
            // Not `archive recovery complete`, which comes before recovery is over.
            Some(LogEvent::Ready) => *state = State::Promoted,
            Some(LogEvent::SettingTooLow(words)) => *too_low = Some(words),
            Some(LogEvent::Fatal(words)) if facts.fatal.len() < 16 => facts.fatal.push(words),
            _ => {}
        });
    }

    /// Enters the replay phase, unless it was entered before.
    fn enter_replay(&mut self) {
        if self.course.clock().current() == Some(Phase::ReachConsistency) {
            self.course.enter(Phase::Replay);
        }
    }

    /// Lets a moment pass; then reads the log and sees whether the server still runs.
    async fn step(&mut self) -> Result<(), Stop> {
        // The end is looked at before the log, so that its last words are read.
        let ended = self.server.exited();
        self.look();
        if let Some(status) = ended {
            return Err(self.ended(&status.to_string()));
        }
        if let Some(words) = &self.setting_too_low {
            return Err(Stop::failed(Finding::new(
                Code::RecoveryFailed,
                "restored server",
                format!("recovery waits for ever: {words}"),
            )));
        }
        self.course.wait(tokio::time::sleep(LOOK)).await
    }

    /// What the server's end means.
    fn ended(&self, status: &str) -> Stop {
        gave_up(&self.facts.log.fatal, status)
    }

    async fn until_target(&mut self) -> Result<(), Stop> {
        let mut told = None;
        while self.state == State::Recovering {
            self.step().await?;
            if self.facts.log.consistent_at.is_some() {
                self.enter_replay();
            }
            let done = self.facts.log.files_restored;
            if told != Some(done) {
                told = Some(done);
                let phase = self.course.clock().current().unwrap_or(Phase::Replay);
                let progress = Progress {
                    unit: Unit::Segments,
                    done,
                    total: self.segments,
                };
                self.course.observer().progress(phase, progress);
            }
        }
        Ok(())
    }

    /// Connects, waiting while the server says "not yet".
    async fn connect(&mut self) -> Result<PgConnection, Stop> {
        let until = Instant::now() + CONNECT_PATIENCE;
        loop {
            let settings = session_settings(Duration::from_mins(1));
            let connecting = connect_anywhere(&*self.server, &settings);
            match self.course.wait(connecting).await? {
                Ok(connection) => return Ok(connection),
                Err(ConnectError::NotYet(_)) if Instant::now() < until => self.step().await?,
                Err(error @ ConnectError::Refused { code: Some(_), .. }) => {
                    // The server answered, and cannot open a maintenance database of its own.
                    return Err(Stop::failed(Finding::new(
                        Code::RecoveryFailed,
                        "restored server",
                        error.to_string(),
                    )));
                }
                Err(error) => return Err(Stop::unproven(error)),
            }
        }
    }

    /// The proof at the target, and the confinement, while the server waits there.
    async fn ask_at_target(&mut self) -> Result<(), Stop> {
        let mut connection = self.connect().await?;
        let major = self.server.plan().binaries.major;
        self.facts.safety.network_isolated = self.server.network_isolated();
        let (expected, preload) = (self.expected, self.preload);
        let facts = &mut *self.facts;
        let asking = async {
            ask_back(
                &mut connection,
                &settings_here(major, preload),
                &mut facts.safety,
                "at target",
            )
            .await?;
            at_target(&mut connection, expected, &mut facts.proof).await?;
            ask_value(&mut connection, "SELECT pg_catalog.pg_wal_replay_resume()").await
        };
        let asked = self.course.wait(asking).await?;
        self.facts.proof.conclude();
        self.facts.safety.conclude();
        if let Err(error) = asked {
            self.look();
            return Err(match self.server.exited() {
                Some(status) => self.ended(&status.to_string()),
                None => Stop::Unproven(format!("the server at its target gave no answer: {error}")),
            });
        }
        // A server that is not confined is not let go on.
        if self.facts.safety.holds == Some(false) {
            return Err(Stop::Failed(Vec::new()));
        }
        Ok(())
    }

    async fn until_promoted(&mut self) -> Result<(), Stop> {
        let until = Instant::now() + PROMOTE_PATIENCE;
        while self.state != State::Promoted {
            self.step().await?;
            if Instant::now() > until {
                return Err(Stop::Unproven(
                    "the server did not leave recovery within 30 minutes of being asked".to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// The first query, the proof after promotion, and the confinement once more.
    async fn ask_promoted(&mut self) -> Result<(), Stop> {
        let mut connection = self.connect().await?;
        let first = self
            .course
            .wait(ask_value(
                &mut connection,
                "SELECT pg_catalog.current_setting('server_version')",
            ))
            .await?;
        match first {
            Ok(version) => self.facts.server_version = version,
            Err(error) => {
                return Err(Stop::failed(Finding::new(
                    Code::RecoveryFailed,
                    "restored server",
                    format!("the first query failed: {error}"),
                )));
            }
        }
        self.course.enter(Phase::Checks);
        let major = self.server.plan().binaries.major;
        let data = self.server.plan().data.clone();
        let (expected, preload) = (self.expected, self.preload);
        let facts = &mut *self.facts;
        facts.safety.network_isolated = self.server.network_isolated();
        let asking = async {
            ask_back(
                &mut connection,
                &settings_here(major, preload),
                &mut facts.safety,
                "promoted",
            )
            .await?;
            after_promotion(
                &mut connection,
                Histories::Directory(&data),
                expected,
                &mut facts.proof,
            )
            .await?;
            ask_value(
                &mut connection,
                "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_checksums'",
            )
            .await
        };
        let asked = self.course.wait(asking).await?;
        self.facts.proof.conclude();
        self.facts.safety.conclude();
        match asked {
            Ok(checksums) => self.facts.data_checksums = checksums.as_deref() == Some("on"),
            Err(error) => {
                return Err(Stop::Unproven(format!(
                    "the promoted server gave no answer: {error}"
                )));
            }
        }
        if self.facts.safety.holds == Some(false) {
            return Err(Stop::Failed(Vec::new()));
        }
        Ok(())
    }
}
