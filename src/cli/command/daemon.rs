//! `walproof daemon`: the work of every night, without anybody remembering.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::cli::{Context, ExitCode, Failure};
use crate::controller::{self, ControllerOptions};
use crate::daemon::clock::{Clock, SystemClock};
use crate::daemon::{ByConfiguration, Daemon, DaemonError, DaemonOptions, Signals};
use crate::operation::secrets::access_of;

/// Run the schedules of the configuration: verify, replicate, drill, report
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Run the schedules of the configuration until it is asked to stop: verifications, replications, drills and reports, each recorded.\n\nWhat is due becomes a job in the state database, and daemons that share a state (PostgreSQL) share the jobs. What was due while none ran is made up for once and recorded as late; what could not be begun in time is recorded as missed, and so is a proof that is older than its tier allows.\n\nIt looks at its configuration file every few seconds and on SIGHUP, and takes up a changed one as a whole or not at all. SIGTERM and SIGINT stop it: nothing new is begun, what runs has `daemon: {stop_within: …}` to end and clean up, and the rest is handed back; a second signal leaves at once.\n\nHealth (/healthz), readiness (/readyz) and metrics (/metrics) are served at `daemon: {listen: …}`, 127.0.0.1:9188 by default. deploy/systemd/walproof.service runs it under systemd.",
    after_long_help = "Examples:\n  walproof daemon\n  walproof daemon --config /etc/walproof/walproof.yaml --log-format json\n  walproof schedule list\n  walproof job list\n\nExit codes: 0 stopped as asked; 2 the configuration is wrong; 3 the state database or the address cannot be used; 130 left at once."
)]
pub struct DaemonArgs {}

/// Runs `daemon`.
pub async fn run(_args: &DaemonArgs, context: &Context) -> Result<ExitCode, Failure> {
    let Some(file) = context.config_file() else {
        return Err(Failure::usage("run the daemon: there is no configuration")
            .with_hint("`walproof init` writes a commented starter; --config names a file"));
    };
    let config = context.config()?;
    let state = context.state(&config).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let executor = Arc::new(ByConfiguration::new(state.clone(), Arc::clone(&clock)));
    let controller = config.kubernetes.controller.clone();
    let access = access_of(&config.kubernetes);
    let (overlay, overlaid) = watch::channel(None);
    let options = DaemonOptions {
        config,
        file: Some(file),
        state_url: context.state.clone(),
        clock,
        executor,
        tick: Duration::from_secs(1),
        overlay: controller.is_some().then_some(overlaid),
        process: true,
    };
    let signals = Signals {
        stop: context.interrupt.clone(),
        hangup: hangup()?,
    };
    let daemon = Daemon::start(state.clone(), options).await?;
    let stop = context.interrupt.clone();
    let controlling = controller.map(|config| {
        let options = ControllerOptions {
            access,
            config,
            overlay,
            in_force: daemon.config(),
            refusals: daemon.refusals(),
            state: state.clone(),
            clock: daemon.clock(),
            holder: daemon.id(),
            health: daemon.health(),
            kinds: vec![controller::rounds(controller::request::RecoveryRequests)],
        };
        tokio::spawn(controller::run(options, stop))
    });
    daemon.run(signals).await?;
    if let Some(controlling) = controlling {
        // It hears of the stop itself; what hangs is left.
        let _ = tokio::time::timeout(Duration::from_secs(10), controlling).await;
    }
    state.close().await;
    Ok(ExitCode::Done)
}

/// Gives something at each SIGHUP.
fn hangup() -> Result<mpsc::Receiver<()>, Failure> {
    let mut hangup =
        signal(SignalKind::hangup()).map_err(|error| Failure::from(DaemonError::Signals(error)))?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // One that waits already says the same.
            let _ = sender.try_send(());
        }
    });
    Ok(receiver)
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::State(error) => error.into(),
            other => Self::unproven(other),
        }
    }
}
