//! Commands that are old before the gateway handles them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CONTROL, Controlled, MODE, POWERS, RIGHT};
use crate::support::publisher::publish_all;

#[tokio::test]
async fn a_command_that_came_while_the_process_did_not_run_ends_with_its_own_time() {
    /// Longer than the pause that the gateway takes for one, and than the set-points hold.
    const STOPPED: Duration = Duration::from_secs(6);
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    site.gateway.stop_running();
    let topic = "SITE-CL-001/cmd/battery/set_point_kw";
    let payloads =
        [r#"{"value": 2, "until_s": 4, "ref": "late"}"#, r#"{"value": 3, "until_s": 600, "ref": "in time"}"#];
    publish_all(site.broker.port, topic, payloads.map(|payload| payload.as_bytes().to_vec()).to_vec(), false).await;
    let mut command = site.gateway.command_beside(&["control", "set", "battery", "1", "--for", "4s"]);
    let operator = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::sleep(STOPPED).await;
    site.gateway.continue_running();
    let mut answers = Vec::new();
    for _ in payloads {
        let answer = site.customer.next("/battery/set_point_kw").await.json();
        answers.push((answer["ref"].clone(), answer["outcome"].clone(), answer["reason"].clone()));
    }
    let late = (json!("late"), json!("refused"), json!("its end is in the past"));
    assert!(answers.contains(&late), "{answers:?}");
    assert!(answers.contains(&(json!("in time"), json!("verified"), Value::Null)), "{answers:?}");
    let printed = String::from_utf8(operator.await.unwrap().stderr).unwrap();
    assert!(printed.contains("its end is in the past"), "{printed}");
    let written = site.device.registers.write_log();
    assert!(written.iter().all(|record| record.words != [0, 2000] && record.words != [0, 1000]), "{written:#?}");
    assert_eq!((site.register(POWERS[1]), site.register(MODE)), (3000.0, 2.0));
}

#[tokio::test]
async fn the_newest_command_of_a_burst_counts_and_the_others_are_answered() {
    /// More than are handled within the 10 s after which they are old.
    const COMMANDS: u32 = 300;
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    let watts = |number: u32| 1000 + number;
    let payload = |number: u32| json!({ "value": f64::from(watts(number)) / 1000.0, "until_s": 600, "ref": format!("c{number}") });
    let payloads = (0..COMMANDS).map(|number| payload(number).to_string().into_bytes()).collect();
    publish_all(site.broker.port, "SITE-CL-001/cmd/battery/set_point_kw", payloads, false).await;
    let (mut answered, mut newest) = (std::collections::BTreeSet::new(), Value::Null);
    while answered.len() < usize::try_from(COMMANDS).unwrap() {
        let answer = site.customer.next("/battery/set_point_kw").await.json();
        assert!(answer["outcome"].is_string(), "{answer}");
        if answer["ref"] == json!(format!("c{}", COMMANDS - 1)) {
            newest = answer["outcome"].clone();
        }
        answered.insert(answer["ref"].as_str().unwrap().to_owned());
    }
    assert_eq!(newest, json!("verified"));
    site.wait_for_register(POWERS[1], f64::from(watts(COMMANDS - 1))).await;
}
