//! Models in the running gateway: hanging ones, replaced ones, those that `check` and a reload find wrong; and what they compute
//! beside ONNX Runtime ([`engines`]).

use std::time::Duration;

use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::root;
use crate::support::subscriber::{ReceivedMessage, Subscriber};

mod engines;
mod refusals;

/// The shipped model and its manifest as files of a site.
fn with_model(setup: Setup) -> Setup {
    let file = |name: &str| std::fs::read(root().join("models").join(name)).unwrap();
    setup.file("models/dispatch.onnx", file("dispatch.onnx")).file("models/dispatch.toml", file("dispatch.toml"))
}

/// A site with the shipped model and more of its settings.
fn setup(device: &Device, broker: &Broker, more: &str) -> Setup {
    let setup = Setup::new().device(device.port()).broker(broker.url());
    with_model(setup).file("bessai.toml", settings("models/dispatch.onnx", more))
}

fn settings(file: &str, more: &str) -> String {
    format!("[[model]]\nfile = \"{file}\"\n{more}")
}

/// What the shipped model says about a reading of 85.5 kW charging at 25 °C, whichever hour it is; + = discharge.
fn target(soc_pct: f64) -> f64 {
    -((-2.0 * soc_pct + 0.25 * -85.5 + 110.0) / 60.0_f64).tanh() * 60.0
}

fn is_target(message: &ReceivedMessage, soc_pct: f64) -> bool {
    message.json()["dispatch_kw"].as_f64().is_some_and(|kw| (kw - target(soc_pct)).abs() < 0.001)
}

/// The entry of the model in `/health`, once it meets a condition.
async fn model_health(gateway: &Gateway, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let meets = |health: &Value| condition(&health["models"]["dispatch"]);
    gateway.wait_for_health(what, meets).await["models"]["dispatch"].clone()
}

/// Gives the model's thread a fault when it runs next.
fn inject(gateway: &Gateway, fault: &str) {
    let part = gateway.path("part");
    std::fs::write(&part, fault).unwrap();
    std::fs::rename(part, gateway.path("faults/model")).unwrap();
}

fn faulty(setup: Setup) -> Setup {
    let faults = setup.folder().join("faults");
    std::fs::create_dir_all(&faults).unwrap();
    setup.with("EDGE_TEST_FAULTS", faults.display())
}

/// Replaces a file of a site in one step.
fn replace(gateway: &Gateway, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(gateway.path("part"), content).unwrap();
    std::fs::rename(gateway.path("part"), gateway.path(name)).unwrap();
}

#[tokio::test]
async fn a_model_that_hangs_gives_no_answer_and_never_an_old_one() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = faulty(setup(&device, &broker, "")).run();
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    inject(&gateway, "stall 3000");
    // The reading that it hangs on ends with the limit; those that come meanwhile have no answer either.
    let is_late = |message: &ReceivedMessage| {
        message.json()["dispatch_kw"].is_null() && message.json()["inference_ms"].as_f64() >= Some(100.0)
    };
    subscriber.wait_for("/ai/dispatch", is_late).await;
    device.set("soc_pct", 40.0);
    subscriber.wait_for("/telemetry", |message| message.json()["soc_pct"] == 40.0).await;
    // What it still works on is the reading of 72.3 %, whose answer must not come any more.
    let next = |message: &ReceivedMessage| !message.json()["dispatch_kw"].is_null();
    let answer = subscriber.wait_for("/ai/dispatch", next).await;
    assert!(is_target(&answer, 40.0), "{answer:?}, not {}", target(40.0));
    let health = model_health(&gateway, "answers again", |model| model["unanswered"].as_u64() > Some(1)).await;
    let reasons = ["the model gave no answer within 100 ms", "the model still works on an earlier reading"];
    assert!(reasons.contains(&health["last_unanswered"].as_str().unwrap()), "{health}");
    assert_eq!(health["state"], "running");
}

#[tokio::test]
async fn a_model_that_never_answers_is_replaced_and_does_not_delay_the_stop() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = faulty(setup(&device, &broker, "")).run();
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    inject(&gateway, "stall 3600000");
    subscriber.wait_for("/ai/dispatch", |message| message.json()["dispatch_kw"].is_null()).await;
    // Its own copy, with a longer property: another length tells that the file has changed.
    let bytes = std::fs::read(gateway.path("models/dispatch.onnx")).unwrap();
    replace(&gateway, "models/dispatch.onnx", refusals::with_property(&bytes, 10));
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    inject(&gateway, "stall 3600000");
    subscriber.wait_for("/ai/dispatch", |message| message.json()["dispatch_kw"].is_null()).await;
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_model_whose_thread_panics_is_loaded_again() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = faulty(setup(&device, &broker, "")).run();
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    inject(&gateway, "panic");
    subscriber.wait_for("/ai/dispatch", |message| message.json()["dispatch_kw"].is_null()).await;
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    let restarted = |health: &Value| health["tasks"]["model dispatch"]["restarts"] == 1;
    gateway.wait_for_health("the restart of the thread", restarted).await;
}

#[tokio::test]
async fn a_reload_adds_changes_and_removes_models() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let setup = with_model(Setup::new().device(device.port()).broker(broker.url())).file("bessai.toml", "");
    let gateway = setup.run();
    subscriber.next("/telemetry").await;
    assert_eq!(gateway.health().await["models"], serde_json::json!({}));
    let reload = |more: &str| {
        std::fs::write(gateway.path("bessai.toml"), settings("models/dispatch.onnx", more)).unwrap();
        gateway.hang_up();
    };
    reload("");
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    reload("max_discharge_kw = 12.5\nshadow = true\n");
    let clamped = |message: &ReceivedMessage| message.json()["dispatch_kw"] == 12.5;
    let message = subscriber.wait_for("/ai/dispatch", clamped).await.json();
    assert_eq!((&message["model"], &message["shadow"]), (&Value::from("dispatch"), &Value::from(true)));
    let health = model_health(&gateway, "shadow mode", |model| model["shadow"] == true).await;
    // The rules apply to the model as it runs: it was not loaded again.
    assert_eq!(health["loads"], 1, "{health}");
    std::fs::write(gateway.path("bessai.toml"), "").unwrap();
    gateway.hang_up();
    gateway.wait_for_health("no models", |health| health["models"] == serde_json::json!({})).await;
    let reloaded = &gateway.health().await["reload"];
    assert_eq!(reloaded["needs_restart"], serde_json::json!([]), "{reloaded}");
}

#[tokio::test]
async fn a_file_that_is_refused_leaves_the_model_before_running() {
    let (device, broker) = (Device::huawei(), Broker::start());
    let mut subscriber = Subscriber::start(broker.port).await;
    let gateway = setup(&device, &broker, "").run();
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    let healthy = |health: &Value| health["status"] == "healthy";
    gateway.wait_for_health("the signs of health", healthy).await;
    let good = std::fs::read(gateway.path("models/dispatch.onnx")).unwrap();
    let refused_with = async |content: &[u8], reason: &str| {
        replace(&gateway, "models/dispatch.onnx", content);
        let is_refused = |model: &Value| model["refused"].as_str().is_some_and(|refused| refused.contains(reason));
        let health = model_health(&gateway, reason, is_refused).await;
        assert_eq!((&health["state"], &health["loads"]), (&"running".into(), &1.into()), "{health}");
    };
    refused_with(&[], "the file is empty; copy it again").await;
    refused_with(&good[..good.len() / 2], "the file is truncated or is no ONNX model").await;
    refused_with(&refusals::model("three"), "inputs: 4 values are listed for the tensor features").await;
    subscriber.discard_received();
    subscriber.wait_for("/ai/dispatch", |message| is_target(message, 72.3)).await;
    replace(&gateway, "models/dispatch.onnx", refusals::with_property(&good, 20));
    let health = model_health(&gateway, "another load", |model| model["loads"] == 2).await;
    assert_eq!(health["refused"], Value::Null, "{health}");
    gateway.wait_for_health("the signs of health", healthy).await;
    // Long enough for two looks: a file that stays the same is not loaded again.
    tokio::time::timeout(Duration::from_secs(5), std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(gateway.health().await["models"]["dispatch"]["loads"], 2);
}
