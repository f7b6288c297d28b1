//! Reloads that take rights away, or change something else while a set-point holds.

use bessai_domain::profile::built_in;
use bessai_simulator::registers::Table;
use serde_json::json;

use super::{CONTROL, Controlled, MODE, POWERS, RIGHT, feed};

/// The values that were written to a point, in its unit.
fn written(site: &Controlled, point: &str) -> Vec<f64> {
    let profile = built_in("huawei-sun2000").unwrap();
    let point = profile.point(point).unwrap();
    let of_point = |table: Table, address: u16| table == Table::Holding && address == point.address;
    let log = site.device.registers.write_log();
    let records = log.iter().filter(|record| of_point(record.table, record.address));
    records.filter_map(|record| point.layout.decode(&record.words)).collect()
}

#[tokio::test]
async fn a_set_point_ends_when_its_holder_loses_the_right_to_it() {
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 2, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer["outcome"], json!("verified"), "{answer}");
    let answer = site.command("discharge_limit_kw", r#"{"value": 3, "until_s": 600, "ref": "a2"}"#).await;
    assert_eq!(answer["outcome"], json!("acknowledged"), "{answer}");
    let without = feed(&site.broker, "write = [\"battery/discharge_limit_kw\"]\n");
    std::fs::write(site.gateway.path("plugins/customer.toml"), without).unwrap();
    site.wait_for_register(MODE, 0.0).await;
    let (_, status) = site.operator(&["status"]).await;
    assert!(status.contains("battery/set_point_kw: not set\n"), "{status}");
    assert!(
        status.contains("battery/discharge_limit_kw: 3 kW\n  feed/customer: 3 kW"),
        "it keeps the other one: {status}"
    );
    assert!(site.audit().iter().any(|event| event.contains("set_point_kw 2.0 {\"released\"")), "{:#?}", site.audit());
}

#[tokio::test]
async fn a_feed_that_is_switched_off_lets_go_of_the_device() {
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": -2, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer["outcome"], json!("verified"), "{answer}");
    std::fs::write(site.gateway.path("plugins/customer.toml"), "enabled = false\n").unwrap();
    site.wait_for_register(MODE, 0.0).await;
}

#[tokio::test]
async fn an_inactive_contact_stays_inactive_over_a_reload() {
    let contact = "[[control.contact]]\ninput = \"battery/alarm1\"\ndevice = \"battery\"\ndischarge_limit_kw = 0.5\n";
    let settings = |longest: &str| format!("{CONTROL}longest_lease = \"{longest}\"\n{contact}");
    let mut site = Controlled::start(&settings("20m"), RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 3, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer, json!({ "ref": "a1", "outcome": "verified", "value": 3.0 }));
    let others = format!("{}[safety]\ntemp_c = {{ max = 55 }}\n", settings("30m"));
    let lower = settings("30m").replace("limit_kw = 0.5", "limit_kw = 0.7");
    for (count, changed) in [settings("30m"), lower, others].into_iter().enumerate() {
        std::fs::write(site.gateway.path("bessai.toml"), changed).unwrap();
        site.gateway.hang_up();
        let is_reloaded = |health: &serde_json::Value| health["reload"]["count"] == json!(count + 1);
        site.gateway.wait_for_health("the reload", is_reloaded).await;
        let answer = site.command("discharge_limit_kw", r#"{"value": 5, "until_s": 600, "ref": "a2"}"#).await;
        assert_eq!(answer["outcome"], json!("acknowledged"), "{answer}");
    }
    assert_eq!(written(&site, POWERS[1]), [3000.0], "no dip");
    // It still works.
    site.set_register("alarm1", 1.0);
    site.wait_for_register(POWERS[1], 500.0).await;
}
