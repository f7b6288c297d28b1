//! Each task and each thread panics once: it is restarted and nothing is lost, or the process exits.

use crate::supervision::{faulty, inject, wait_for_report, was_restarted};
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::guests::{hostile, hostile_feed};
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::DeliveredReadings;
use crate::support::root;
use crate::support::site::TestSite;
use crate::support::subscriber::Subscriber;

#[tokio::test]
async fn a_task_or_thread_that_panics_is_restarted_and_no_reading_is_lost() {
    const TASKS: [&str; 9] = [
        "feed default",
        "plugin folder",
        "signals",
        "reload",
        "health reports",
        "watchdog's answers",
        "blocking threads",
        "watchdog",
        "health",
    ];
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    let mut readings = DeliveredReadings::default();
    // The feed continues at its cursor, with what was not acknowledged.
    readings.allow_redelivery();
    let gateway = faulty(Setup::new()).device(device.port()).broker(broker.url()).run();
    subscriber.receive_below(&mut readings, 5, &gateway).await;
    for task in TASKS {
        inject(&gateway, task, "panic");
    }
    // The plugin folder and the signals are looked at when something happens to them.
    std::fs::create_dir_all(gateway.path("plugins")).unwrap();
    std::fs::write(gateway.path("plugins/ignored.txt"), "").unwrap();
    for task in TASKS {
        let restarted = |health: &serde_json::Value| {
            gateway.hang_up();
            was_restarted(health, task)
        };
        wait_for_report(&gateway, restarted).await;
        assert!(gateway.log().contains(&format!("{task} failed: panicked: a test wants {task} to panic")));
    }
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_bus_that_panics_is_rebuilt_from_its_settings() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    let mut readings = DeliveredReadings::default();
    let gateway = faulty(Setup::new()).device(device.port()).broker(broker.url()).run();
    subscriber.receive_below(&mut readings, 5, &gateway).await;
    let bus = format!("bus 127.0.0.1:{}", device.port());
    inject(&gateway, &bus, "panic");
    gateway.wait_for_health("the restart of the bus", |health| was_restarted(health, &bus)).await;
    // The reading in progress may be lost, as with a kill.
    let mut after = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    for _ in 0..5 {
        after.next("/telemetry").await;
    }
    let health = gateway.health().await;
    assert_eq!((&health["devices"]["battery"]["online"], &health["status"]), (&true.into(), &"healthy".into()));
}

#[tokio::test]
async fn the_threads_of_plugins_and_models_are_restarted() {
    let mut site = TestSite::with(|setup| {
        let setup = faulty(setup).file("plugins/hostile.wasm", hostile());
        let setup = setup.file("plugins/loop.toml", hostile_feed("loop", "[limits]\ncall = \"100ms\"\n"));
        for file in ["dispatch.onnx", "dispatch.toml"] {
            std::fs::create_dir_all(setup.folder().join("models")).unwrap();
            std::fs::copy(root().join("models").join(file), setup.folder().join("models").join(file)).unwrap();
        }
        for thread in ["epoch", "guests", "inference"] {
            std::fs::write(setup.folder().join("faults").join(thread), "panic").unwrap();
        }
        setup.file("bessai.toml", "[[model]]\nfile = \"models/dispatch.onnx\"\n")
    })
    .await;
    for thread in ["epoch", "guests", "inference"] {
        let restarted = |health: &serde_json::Value| was_restarted(health, thread);
        site.gateway.wait_for_health(&format!("the restart of {thread}"), restarted).await;
    }
    // The endless calls are interrupted by the restarted threads, and the model gives results again.
    site.off("loop").await;
    site.customers.next("/ai/dispatch").await;
    site.all_readings().await;
}

#[tokio::test]
async fn the_journals_threads_go_on_after_a_panic_and_lose_nothing() {
    for thread in ["journal-write", "journal-sync"] {
        let (device, broker) = (Device::counting(), Broker::start());
        let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
        let mut readings = DeliveredReadings::default();
        let gateway = faulty(Setup::new()).device(device.port()).broker(broker.url()).run();
        subscriber.receive_below(&mut readings, 5, &gateway).await;
        inject(&gateway, thread, "panic");
        gateway.wait_for_log(&format!("a test wants {thread} to panic")).await;
        subscriber.receive_all(&mut readings, &device, &gateway).await;
        gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
        assert!(gateway.stop().await.success());
    }
}

#[tokio::test]
async fn without_the_pipeline_the_process_exits_and_a_restart_continues() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    let mut gateway = faulty(Setup::new()).device(device.port()).broker(broker.url()).run();
    subscriber.next("/telemetry").await;
    inject(&gateway, "pipeline", "panic");
    let status = gateway.wait_for_exit().await;
    assert_eq!(status.code(), Some(1), "{}", gateway.log());
    gateway.wait_for_log("pipeline failed: panicked: a test wants pipeline to panic").await;
    let gateway = gateway.kill().run();
    let mut subscriber = Subscriber::with(broker.port, "SITE-CL-001/telemetry", None).await;
    subscriber.next("/telemetry").await;
    gateway.wait_for_health("the signs of health", |health| health["status"] == "healthy").await;
}
