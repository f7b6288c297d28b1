//! `bessai-edge run`: the gateway as a service.

use std::sync::Arc;

use bessai_supervision::OnFailure;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use crate::app::{Outside, ReloadRequests};
use crate::config::Config;
use crate::service_manager::ServiceManager;
use crate::{app, logging};

use super::configuration::{ConfigArgument, process_environment};
use super::error::{CommandError, FAILED};

/// Reloads that may wait; a further signal asks for nothing more.
const WAITING_RELOADS: usize = 1;

/// Runs the gateway until a signal stops it.
pub(super) fn run(file: &ConfigArgument) -> Result<(), CommandError> {
    let config = file.load()?;
    // Journal, quarantine and cache are for this user alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    logging::log_to_stderr(config.log_level)?;
    tracing::info!("bessai-edge {} for site {}", env!("CARGO_PKG_VERSION"), config.site);
    serve(config, file.clone()).map_err(CommandError::logged)
}

fn serve(config: Config, file: ConfigArgument) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let (reload, requests) = mpsc::channel(WAITING_RELOADS);
    let outside = Outside {
        stop: stopped.clone(),
        reloads: Some(ReloadRequests { requests, read: Arc::new(move || file.read()) }),
        service_manager: Arc::new(ServiceManager::from_environment(&process_environment().variables)),
        abort_after: Some(config.abort_after),
    };
    let runtime = app::runtime()?;
    let tasks = LocalSet::new();
    let served = tasks.block_on(&runtime, async {
        let handle = async move || handle_signals(&stop, &reload).await;
        // Ends with the `LocalSet`.
        drop(bessai_supervision::spawn("signals", OnFailure::Restart, stopped, handle));
        app::run(config, outside).await
    });
    drop(tasks);
    // A name lookup or a file access that hangs on a network or disk must not delay the exit.
    runtime.shutdown_background();
    if served.is_ok() {
        tracing::info!("stopped");
    }
    served
}

/// SIGTERM and SIGINT stop the gateway and let it drain, the second one ends the process at once. SIGHUP reloads the
/// settings.
async fn handle_signals(stop: &watch::Sender<bool>, reload: &mpsc::Sender<()>) {
    let listen = || {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok::<_, std::io::Error>((terminate, interrupt, signal(SignalKind::hangup())?))
    };
    let (mut terminate, mut interrupt, mut hangup) = match listen() {
        Ok(signals) => signals,
        Err(error) => {
            // The task is started again after a pause.
            tracing::error!("failed to listen for signals: {error}; until that succeeds a stop does not drain");
            return;
        }
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                // A reload that has not begun yet reads the newest settings, too.
                let _ = reload.try_send(());
                continue;
            }
        }
        if *stop.borrow() {
            tracing::error!("second signal: exiting without draining, with code {FAILED}");
            logging::finish();
            std::process::exit(i32::from(FAILED));
        }
        tracing::info!("stopping: feeds deliver what is in flight");
        stop.send_replace(true);
    }
}
