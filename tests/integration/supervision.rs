//! What keeps the gateway running: restarts of tasks and threads, the watchdog, the service manager, `/health` under load,
//! missing threads and descriptors, and reloads of the settings.
//!
//! Faults are caused inside the program, which the tests' build supports: see `host/supervision/src/fault.rs`.

use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::{Gateway, Setup};
use crate::support::within;

mod exhaustion;
mod failures;
mod health_server;
mod reload;
mod service_manager;
mod task_deaths;
mod watchdog;

/// The folder of the faults that the gateway is to have.
const FAULTS: &str = "faults";

/// A gateway that can be given faults.
fn faulty(setup: Setup) -> Setup {
    let faults = setup.folder().join(FAULTS);
    std::fs::create_dir_all(&faults).unwrap();
    setup.with("EDGE_TEST_FAULTS", faults.display())
}

/// Causes a fault in the task or thread of this name when it runs next.
fn inject(gateway: &Gateway, task: &str, fault: &str) {
    let part = gateway.path("part");
    std::fs::write(&part, fault).unwrap();
    std::fs::rename(part, gateway.path(FAULTS).join(task.replace('/', "_"))).unwrap();
}

/// Waits until the report of `bessai-edge health` meets a condition, whether the command succeeds or not.
async fn wait_for_report(gateway: &Gateway, condition: impl Fn(&Value) -> bool) -> Value {
    within("a report", async {
        loop {
            let output = gateway.health_command().await;
            let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if condition(&report) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

/// Whether the task of this name was restarted because a test wanted it.
fn was_restarted(health: &Value, task: &str) -> bool {
    let report = &health["tasks"][task];
    let error = report["last_error"].as_str().unwrap_or_default();
    report["restarts"].as_u64() >= Some(1) && error.contains("a test wants")
}
