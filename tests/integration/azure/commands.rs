//! Direct methods, messages from the cloud, and the twin.

use serde_json::json;

use super::*;

/// The message to a topic that begins so, and its payload as JSON.
async fn answer(hub: &mut Server<IotHub>, beginning: &str) -> (String, Value) {
    let find = |event| message(event).filter(|message| message.topic.starts_with(beginning));
    let found = hub.find(beginning, find).await;
    (found.topic, serde_json::from_slice(&found.payload).unwrap())
}

/// A gateway that is signed in and has subscribed.
async fn started(cloud: &Cloud, device: &Device) -> (Server<IotHub>, Gateway) {
    let mut hub = cloud.hub(Credential::Key(KEY.to_vec()), Clock::new(1.0)).await;
    let gateway = setup(device, &cloud.feed(hub.port, ""), KEY).run();
    let filters = hub.find("subscriptions", |event| match event {
        CloudEvent::Subscribed(filters) => Some(filters),
        _ => None,
    });
    assert_eq!(filters.await.len(), 4);
    (hub, gateway)
}

#[tokio::test]
async fn direct_methods_are_answered() {
    let (device, cloud) = (Device::huawei(), Cloud::new());
    let (mut hub, _gateway) = started(&cloud, &device).await;
    hub.send(DEVICE, "$iothub/methods/POST/status/?$rid=1a", "null", 0);
    let (topic, status) = answer(&mut hub, "$iothub/methods/res/").await;
    assert_eq!((topic.as_str(), &status["site_id"]), ("$iothub/methods/res/200/?$rid=1a", &json!("SITE-CL-001")));
    let payload = r#"{"device":"battery","channel":"power_kw","value":20.0}"#;
    hub.send(DEVICE, "$iothub/methods/POST/write/?$rid=2", payload, 0);
    let (topic, outcome) = answer(&mut hub, "$iothub/methods/res/").await;
    assert_eq!((topic.as_str(), &outcome["outcome"]), ("$iothub/methods/res/403/?$rid=2", &json!("refused")));
    hub.send(DEVICE, "$iothub/methods/POST/write/?$rid=3", "{", 0);
    assert_eq!(answer(&mut hub, "$iothub/methods/res/").await.0, "$iothub/methods/res/400/?$rid=3");
    hub.send(DEVICE, "$iothub/methods/POST/re%20boot/?$rid=4", "", 0);
    let (topic, outcome) = answer(&mut hub, "$iothub/methods/res/").await;
    assert_eq!(topic, "$iothub/methods/res/404/?$rid=4");
    assert!(outcome["reason"].as_str().unwrap().starts_with("there is no method \"re boot\""), "{outcome}");
}

#[tokio::test]
async fn messages_from_the_cloud_are_answered_with_their_id() {
    let (device, cloud) = (Device::huawei(), Cloud::new());
    let (mut hub, _gateway) = started(&cloud, &device).await;
    let to = "devices/site001/messages/devicebound/%24.mid=order%201&%24.to=%2Fdevices%2Fsite001";
    hub.send(DEVICE, to, r#"{"device":"battery","channel":"power_kw","value":20.0}"#, 1);
    let (topic, outcome) = answer(&mut hub, "devices/site001/messages/events/%24.cid=").await;
    assert!(topic.starts_with("devices/site001/messages/events/%24.cid=order%201&"), "{topic}");
    assert_eq!(outcome["outcome"], json!("refused"));
}

#[tokio::test]
async fn the_twin_is_reported_and_its_desired_properties_apply() {
    let (device, cloud) = (Device::huawei(), Cloud::new());
    let (mut hub, gateway) = started(&cloud, &device).await;
    let reports = "$iothub/twin/PATCH/properties/reported/";
    let (_, first) = answer(&mut hub, reports).await;
    assert_eq!((&first["site_id"], &first["interval"]), (&json!("SITE-CL-001"), &Value::Null));
    let (topic, payload) = hub.service.desire(&json!({ "interval": "1s", "channels": ["soc_pct"] }));
    hub.send(DEVICE, &topic, payload, 1);
    let is_applied = |event| {
        let report: Value = serde_json::from_slice(&message(event)?.payload).ok()?;
        (report["interval"] == json!("1s")).then_some(report)
    };
    let applied = hub.find("the desired properties in a report", is_applied).await;
    assert_eq!(applied["channels"], json!(["soc_pct"]), "{applied}");
    let thinned = hub.find("a reading of one channel", |event| {
        let payload: Value = serde_json::from_slice(&message(event)?.payload).ok()?;
        (payload.get("soc_pct").is_some() && payload.get("power_kw").is_none()).then_some(payload)
    });
    thinned.await;
    // A change while the gateway is away applies after the next sign-in.
    let (status, setup) = gateway.stop_and_keep_setup().await;
    assert!(status.success());
    hub.service.desire(&json!({ "interval": "2 weeks" }));
    let _gateway = setup.run();
    let find = |event| {
        let report: Value = serde_json::from_slice(&message(event)?.payload).ok()?;
        report["rejected"].as_str().map(str::to_owned)
    };
    let why = hub.find("a rejected value", find).await;
    assert!(why.starts_with("desired.interval = \"2 weeks\": write a time"), "{why}");
    assert!(hub.service.reported()["rejected"].is_string());
}
