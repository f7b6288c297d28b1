//! `bessai-edge run`: the gateway as a service.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::config::Config;
use crate::{app, logging};

use super::configuration::ConfigArgument;
use super::error::{CommandError, FAILED};

/// Runs the gateway until a signal stops it.
pub(super) fn run(file: &ConfigArgument) -> Result<(), CommandError> {
    let config = file.load()?;
    logging::log_to_stderr(config.log_level)?;
    tracing::info!("bessai-edge {} for site {}", env!("CARGO_PKG_VERSION"), config.site);
    serve(config).map_err(CommandError::logged)
}

fn serve(config: Config) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let runtime = app::runtime()?;
    let tasks = LocalSet::new();
    tasks.spawn_local(stop_on_signal(stop));
    let served = tasks.block_on(&runtime, app::run(config, stopped));
    drop(tasks);
    // A name lookup or a file access that hangs on a network or disk must not delay the exit.
    runtime.shutdown_background();
    if served.is_ok() {
        tracing::info!("stopped");
    }
    served
}

/// The first signal stops the gateway and lets it drain, the second ends the process at once.
async fn stop_on_signal(stop: watch::Sender<bool>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("failed to listen for signals: the gateway will not drain when it is stopped");
        return std::future::pending().await;
    };
    for attempt in 0.. {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if attempt > 0 {
            tracing::error!("second signal: exiting without draining, with code {FAILED}");
            logging::finish();
            std::process::exit(i32::from(FAILED));
        }
        tracing::info!("stopping: feeds deliver what is in flight");
        stop.send_replace(true);
    }
}
