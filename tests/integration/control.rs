//! Set-points from a command on the broker, or from an operator, to the registers of a device and back.

mod late;
mod left_over;
mod misbehaviour;
mod others;
mod own_timer;
mod reloads;
mod simulated_box;
mod small;
mod sunspec;

use bessai_domain::profile::built_in;
use bessai_domain::register::Table;
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::component;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::publisher::publish;
use crate::support::subscriber::{ReceivedMessage, Subscriber};
use crate::support::within;

const CONTROL: &str = "[control]\nenabled = true\ndevices = [\"battery\"]\n";
const RIGHT: &str = "write = [\"battery/set_point_kw\", \"battery/discharge_limit_kw\"]\n";
/// The points of the recipe for charging, and for discharging.
const POWERS: [&str; 2] = ["luna_forcible_charge_power", "luna_forcible_discharge_power"];
const MODE: &str = "luna_forcible_mode";

/// A gateway with a feed of json-commands, and its customer.
struct Controlled {
    device: Device,
    broker: Broker,
    gateway: Gateway,
    customer: Subscriber,
}

fn feed(broker: &Broker, rights: &str) -> String {
    format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{}\"\n[rights]\nsubscribe = [\"SITE-CL-001/cmd/#\"]\n\
         topics = [\"SITE-CL-001/answer/#\"]\n{rights}",
        broker.port
    )
}

async fn subscribed(gateway: &Gateway) {
    let is_ready = |health: &Value| {
        let subscriptions = &health["feeds"]["customer"]["commands"]["subscriptions"];
        subscriptions["SITE-CL-001/cmd/+/+"] == json!("QoS 1") && health["safety_status"] == json!("ok")
    };
    gateway.wait_for_health("the subscription and the first verdict", is_ready).await;
}

impl Controlled {
    async fn start(settings: &str, rights: &str) -> Self {
        let (device, broker) = (Device::huawei(), Broker::start());
        let customer = Subscriber::with(broker.port, "SITE-CL-001/answer/#", None).await;
        let wasm = std::fs::read(component("json-commands")).unwrap();
        let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
        let setup = setup.file("plugins/customer.toml", feed(&broker, rights)).file("plugins/customer.wasm", wasm);
        let gateway = setup.file("bessai.toml", settings).run();
        subscribed(&gateway).await;
        Self { device, broker, gateway, customer }
    }

    /// The answer to a command.
    async fn command(&mut self, channel: &str, payload: &str) -> Value {
        publish(self.broker.port, &format!("SITE-CL-001/cmd/battery/{channel}"), payload, false).await;
        self.customer.next(&format!("/battery/{channel}")).await.json()
    }

    /// What a register of the device holds.
    fn register(&self, point: &str) -> f64 {
        let profile = built_in("huawei-sun2000").unwrap();
        let point = profile.point(point).unwrap();
        let count = u16::try_from(point.layout.encode(0.0).len()).unwrap();
        let words = self.device.registers.get(1, Table::Holding, point.address, count).unwrap();
        point.layout.decode(&words).unwrap()
    }

    fn set_register(&self, point: &str, value: f64) {
        let profile = built_in("huawei-sun2000").unwrap();
        let point = profile.point(point).unwrap();
        self.device.registers.set(1, Table::Holding, point.address, &point.layout.encode(value));
    }

    async fn wait_for_register(&self, point: &str, value: f64) {
        let reached = async {
            while self.register(point) != value {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        within(&format!("{point} = {value}"), reached).await;
    }

    /// How often the registers of the set-point were written.
    fn writes(&self) -> u64 {
        let profile = built_in("huawei-sun2000").unwrap();
        let points = POWERS.iter().chain([&MODE]).map(|name| profile.point(name).unwrap());
        points.map(|point| self.device.registers.writes(1, Table::Holding, point.address)).sum()
    }

    /// What a command of the operator prints, and whether it succeeds.
    async fn operator(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.gateway.output_beside(&[&["control"], arguments].concat()).await;
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(printed).unwrap())
    }

    /// The events `write` of the journal: the proposer, the channel, the value and the outcome.
    fn audit(&self) -> Vec<String> {
        let output = self.gateway.output(&["journal", "export", "--last", "1h", "--out", "events.jsonl"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let exported = std::fs::read_to_string(self.gateway.path("events.jsonl")).unwrap();
        let events = exported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let shown = |write: &Value| {
            let text = |key: &str| write[key].as_str().map_or_else(|| write[key].to_string(), str::to_owned);
            format!("{} {} {} {}", text("proposer"), text("channel"), text("value"), text("outcome"))
        };
        events.filter(|event| event["write"].is_object()).map(|event| shown(&event["write"])).collect()
    }
}

#[tokio::test]
async fn a_command_reaches_the_registers_and_is_answered_when_it_is_read_back() {
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": -2.5, "until_s": 60, "ref": "a1"}"#).await;
    assert_eq!(answer, json!({ "ref": "a1", "outcome": "verified", "value": -2.5 }));
    assert_eq!((site.register(POWERS[0]), site.register(MODE)), (2500.0, 1.0));
    let (_, status) = site.operator(&["status"]).await;
    assert!(status.contains("safety: safe\nbattery/set_point_kw: -2.5 kW\n  feed/customer: -2.5 kW, "), "{status}");

    // The operator comes first, then the customer again, then the device itself.
    assert_eq!(site.operator(&["set", "battery", "1.5", "--for", "10m"]).await, (true, "verified: 1.5\n".into()));
    assert_eq!((site.register(POWERS[1]), site.register(MODE)), (1500.0, 2.0));
    let answer = site.command("set_point_kw", r#"{"value": -3, "until_s": 60, "ref": "a2"}"#).await;
    assert_eq!(answer, json!({ "ref": "a2", "outcome": "superseded", "reason": "operator" }));
    assert_eq!(site.operator(&["release", "battery"]).await, (true, "released: operator\n".into()));
    site.wait_for_register(POWERS[0], 3000.0).await;
    site.wait_for_register(MODE, 1.0).await;
    let answer = site.command("set_point_kw", r#"{"value": null, "ref": "a3"}"#).await;
    assert_eq!(answer, json!({ "ref": "a3", "outcome": "released", "reason": "feed/customer" }));
    site.wait_for_register(MODE, 0.0).await;

    let audit = site.audit();
    // Each register write is announced before it is sent.
    let expected = [
        "feed/customer set_point_kw -2.5 null",
        "feed/customer luna_forcible_charge_power 2500.0 null",
        "feed/customer luna_forcible_charge_power 2500.0 {\"verified\":2500.0}",
        "feed/customer luna_forcible_period 1.0 null",
        "feed/customer luna_forcible_period 1.0 {\"verified\":1.0}",
        "feed/customer luna_forcible_target 0.0 null",
        "feed/customer luna_forcible_target 0.0 {\"verified\":0.0}",
        "feed/customer luna_forcible_mode 1.0 null",
        "feed/customer luna_forcible_mode 1.0 {\"verified\":1.0}",
        "feed/customer set_point_kw -2.5 {\"verified\":-2.5}",
        "operator set_point_kw 1.5 null",
    ];
    assert_eq!(audit[..expected.len()], expected, "{audit:#?}");
    let (announced, of_mode): (Vec<_>, Vec<_>) =
        audit.iter().filter(|step| step.contains(MODE)).partition(|step| step.ends_with(" null"));
    assert_eq!(announced.len(), of_mode.len(), "{audit:#?}");
    let profile = built_in("huawei-sun2000").unwrap();
    let mode = profile.point(MODE).unwrap().address;
    assert_eq!(
        u64::try_from(of_mode.len()).unwrap(),
        site.device.registers.writes(1, Table::Holding, mode),
        "{audit:#?}"
    );
}

#[tokio::test]
async fn health_shows_who_holds_what_and_why_it_is_blocked() {
    let settings = format!("{CONTROL}priority = [\"customer\", \"trader\"]\n[safety]\ntemp_c = {{ max = 40 }}\n");
    let mut site = Controlled::start(&settings, RIGHT).await;
    let warning = "control.priority names the feed trader, which does not exist; add trader.toml to the plugins folder";
    site.gateway.wait_for_log(warning).await;
    let output = site.gateway.output_beside(&["check"]).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(&format!("warning: {warning}")), "{printed}");

    let answer = site.command("discharge_limit_kw", r#"{"value": 3, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer["outcome"], json!("acknowledged"), "{answer}");
    let answer = site.command("set_point_kw", r#"{"value": 2, "until_s": 600, "ref": "a2"}"#).await;
    assert_eq!(answer["outcome"], json!("verified"), "{answer}");
    let health = site.gateway.health().await;
    let control = &health["control"];
    assert_eq!((&control["enabled"], &control["safety"]["state"]), (&json!(true), &json!("safe")), "{control}");
    let (set_point, limit) = (&control["set_points"][0], &control["limits"][0]);
    assert_eq!((&set_point["device"], &set_point["channel"]), (&json!("battery"), &json!("set_point_kw")), "{control}");
    assert_eq!((&set_point["applied"], &set_point["blocked"]), (&json!(2.0), &Value::Null), "{control}");
    assert_eq!((&set_point["holders"][0]["holder"], &set_point["unit"]), (&json!("feed/customer"), &json!("kW")));
    assert_eq!((&limit["channel"], &limit["applied"]), (&json!("discharge_limit_kw"), &json!(3.0)), "{control}");

    site.device.set("temp_c", 41.0);
    let is_blocked = |health: &Value| {
        let control = &health["control"];
        let reason = control["set_points"][0]["blocked"].as_str().unwrap_or_default();
        control["safety"]["violations"][0]["rule"] == "max" && reason.contains("battery temp_c is 41, limit 40")
    };
    let health = site.gateway.wait_for_health("the blocked set-point", is_blocked).await;
    assert_eq!(health["control"]["safety"]["state"], json!("unsafe"), "{health}");
}

#[tokio::test]
async fn without_right_or_control_nothing_is_written_and_the_answer_says_why() {
    for (settings, rights, channel, reason) in [
        ("", RIGHT, "set_point_kw", "[control] is off: this gateway writes no set-points"),
        ("[control]\nenabled = false\ndevices = [\"battery\"]\n", RIGHT, "set_point_kw", "[control] is off"),
        (
            CONTROL,
            "",
            "set_point_kw",
            "the feed has no right to write it; add \"battery/set_point_kw\" to [rights] write",
        ),
        (CONTROL, RIGHT, "luna_charge_target_soc", "add \"battery/luna_charge_target_soc\" to [rights] write"),
    ] {
        let mut site = Controlled::start(settings, rights).await;
        let answer = site.command(channel, r#"{"value": 1, "until_s": 60, "ref": "a1"}"#).await;
        assert_eq!((&answer["ref"], &answer["outcome"]), (&json!("a1"), &json!("refused")), "{answer}");
        assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer}");
        assert_eq!((site.writes(), site.register(MODE)), (0, 0.0), "{answer}");
    }
}

#[tokio::test]
async fn a_retained_or_queued_command_moves_nothing() {
    let site = Controlled::start(CONTROL, RIGHT).await;
    let Controlled { device, broker, gateway, mut customer } = site;
    let (status, setup) = gateway.stop_and_keep_setup().await;
    assert!(status.success());
    publish(broker.port, "SITE-CL-001/cmd/battery/set_point_kw", r#"{"value": 1, "ref": "kept"}"#, true).await;
    let gateway = setup.run();
    subscribed(&gateway).await;
    let answer = customer.next("/battery/set_point_kw").await.json();
    assert_eq!((&answer["ref"], &answer["outcome"]), (&json!("kept"), &json!("refused")), "{answer}");
    let site = Controlled { device, broker, gateway, customer };
    assert_eq!((site.writes(), site.register(MODE)), (0, 0.0));
}

#[tokio::test]
async fn an_unsafe_battery_is_released_and_takes_no_set_point_until_it_is_safe() {
    let mut site = Controlled::start(&format!("{CONTROL}[safety]\ntemp_c = {{ max = 40 }}\n"), RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 2, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer["outcome"], json!("verified"), "{answer}");
    site.device.set("temp_c", 41.0);
    site.wait_for_register(MODE, 0.0).await;
    let (is_done, printed) = site.operator(&["set", "battery", "1"]).await;
    assert!(!is_done && printed.contains("refused: safety rule max: battery temp_c is 41, limit 40"), "{printed}");
    site.device.set("temp_c", 30.0);
    // The set-point still holds.
    site.wait_for_register(MODE, 2.0).await;
}

#[tokio::test]
async fn a_device_is_released_at_a_stop_and_after_a_kill() {
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 2, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer["outcome"], json!("verified"), "{answer}");
    let Controlled { device, broker, gateway, customer } = site;
    let setup = gateway.kill();
    let site = Controlled { device, broker, gateway: setup.run(), customer };
    site.wait_for_register(MODE, 0.0).await;
    subscribed(&site.gateway).await;

    let mut site = site;
    let answer = site.command("set_point_kw", r#"{"value": 2, "until_s": 600, "ref": "a2"}"#).await;
    assert_eq!(answer["outcome"], json!("verified"), "{answer}");
    assert_eq!(site.register(MODE), 2.0);
    let Controlled { device, broker, gateway, customer } = site;
    let (status, setup) = gateway.stop_and_keep_setup().await;
    assert!(status.success());
    let profile = built_in("huawei-sun2000").unwrap();
    let mode = profile.point(MODE).unwrap().address;
    assert_eq!(device.registers.get(1, Table::Holding, mode, 1), Some(vec![0]));
    drop((broker, customer, setup));
}

#[tokio::test]
async fn a_hold_is_written_again_after_a_reconnect_and_another_program_s_write() {
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 2, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer["outcome"], json!("verified"), "{answer}");
    site.set_register(MODE, 0.0);
    site.wait_for_register(MODE, 2.0).await;
    // As a device that has lost its settings.
    site.set_register(POWERS[1], 0.0);
    site.set_register(MODE, 0.0);
    site.device.server.drop_connections();
    site.wait_for_register(MODE, 2.0).await;
    site.wait_for_register(POWERS[1], 2000.0).await;
}

#[tokio::test]
async fn a_limit_holds_set_points_back_and_its_fallback_applies_when_nobody_sets_one() {
    let settings = "[control]\nenabled = true\n[control.devices.battery]\ndischarge_limit_fallback_kw = 1\n";
    let mut site = Controlled::start(settings, RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 4, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer, json!({ "ref": "a1", "outcome": "verified", "value": 1.0 }));
    let answer = site.command("discharge_limit_kw", r#"{"value": 3, "until_s": 3, "ref": "a2"}"#).await;
    assert_eq!(answer["outcome"], json!("acknowledged"), "{answer}");
    site.wait_for_register(POWERS[1], 3000.0).await;
    // Its holder falls silent.
    site.wait_for_register(POWERS[1], 1000.0).await;
    let (_, status) = site.operator(&["status"]).await;
    assert!(status.contains("battery/discharge_limit_kw: 1 kW, the fallback"), "{status}");
}

#[tokio::test]
async fn a_reload_releases_a_device_that_is_no_longer_controlled() {
    let mut site = Controlled::start(CONTROL, RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 2, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer["outcome"], json!("verified"), "{answer}");
    std::fs::write(site.gateway.path("bessai.toml"), "").unwrap();
    site.gateway.hang_up();
    site.wait_for_register(MODE, 0.0).await;
    let (is_done, printed) = site.operator(&["hold", "battery"]).await;
    assert!(!is_done && printed.contains("[control] is off"), "{printed}");
    std::fs::write(site.gateway.path("bessai.toml"), CONTROL).unwrap();
    site.gateway.hang_up();
    site.gateway.wait_for_health("the second reload", |health| health["reload"]["count"] == json!(2)).await;
    assert_eq!(site.operator(&["hold", "battery"]).await, (true, "verified: 0\n".into()));
    site.wait_for_register(MODE, 2.0).await;
}

#[tokio::test]
async fn a_contact_on_a_digital_input_limits_the_power() {
    let contact = "[[control.contact]]\ninput = \"battery/alarm1\"\ndevice = \"battery\"\ndischarge_limit_kw = 1\n";
    let mut site = Controlled::start(&format!("{CONTROL}{contact}"), RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 4, "until_s": 600, "ref": "a1"}"#).await;
    assert_eq!(answer, json!({ "ref": "a1", "outcome": "verified", "value": 4.0 }));
    site.set_register("alarm1", 1.0);
    site.wait_for_register(POWERS[1], 1000.0).await;
    let (_, status) = site.operator(&["status"]).await;
    assert!(status.contains("battery/discharge_limit_kw: 1 kW\n  input/battery/alarm1: 1 kW"), "{status}");
    site.set_register("alarm1", 0.0);
    site.wait_for_register(POWERS[1], 4000.0).await;
}

#[tokio::test]
async fn later_outcomes_are_published_and_each_of_many_commands_is_answered() {
    let rights = "write = [\"battery/set_point_kw\", \"battery/discharge_limit_kw\"]\n\
                  [config]\noutcome_topic = \"<SITE_ID>/answer/<device>/<channel>/outcome\"\n";
    let mut site = Controlled::start(CONTROL, rights).await;
    let answer = site.command("set_point_kw", r#"{"value":-2.0,"until_s":3,"ref":"a1"}"#).await;
    assert_eq!((&answer["ref"], &answer["outcome"]), (&json!("a1"), &json!("verified")), "{answer}");
    let is_expired = |message: &ReceivedMessage| message.json() == json!({"ref": "a1", "outcome": "expired"});
    site.customer.wait_for("/set_point_kw/outcome", is_expired).await;
    // A burst that a customer sends without waiting for answers.
    for number in 0..100 {
        let payload = format!("{{\"value\":{number},\"until_s\":60,\"ref\":\"b{number}\"}}");
        publish(site.broker.port, "SITE-CL-001/cmd/battery/discharge_limit_kw", payload, false).await;
    }
    for number in 0..100 {
        let answer = site.customer.next("/battery/discharge_limit_kw").await.json();
        assert_eq!((&answer["ref"], &answer["outcome"]), (&json!(format!("b{number}")), &json!("acknowledged")));
    }
}

#[tokio::test]
async fn what_names_no_time_holds_for_no_longer_than_the_settings_allow() {
    let contact = "[[control.contact]]\ninput = \"battery/alarm1\"\ndevice = \"battery\"\ndischarge_limit_kw = 1\n";
    let mut site = Controlled::start(&format!("{CONTROL}longest_lease = \"20s\"\n{contact}"), RIGHT).await;
    let answer = site.command("set_point_kw", r#"{"value": 4, "ref": "a1"}"#).await;
    assert_eq!(answer, json!({ "ref": "a1", "outcome": "verified", "value": 4.0 }));
    assert_eq!(site.operator(&["set", "battery", "3"]).await, (true, "verified: 3\n".into()));
    site.set_register("alarm1", 1.0);
    site.wait_for_register(POWERS[1], 1000.0).await;
}
