//! `[control]`: off by default, the devices as names or tables, and mistakes.

use std::time::Duration;

use super::*;

fn control(settings: &str) -> Option<bessai_control::ControlSettings> {
    Case::new().file("bessai.toml", settings).config().control
}

#[test]
fn control_is_off_unless_it_is_enabled() {
    assert_eq!(control(""), None);
    assert_eq!(control("[control]\ndevices = [\"battery\"]"), None);
    assert_eq!(control("[control]\nenabled = false\ndevices = [\"battery\"]"), None);
}

#[test]
fn devices_are_names_or_tables() {
    let settings = control("[control]\nenabled = true\ndevices = [\"battery\"]\npriority = [\"a\", \"b\"]").unwrap();
    let names: Vec<_> = settings.devices.keys().map(String::as_str).collect();
    assert_eq!(
        (names, settings.priority.len(), settings.longest_lease),
        (vec!["battery"], 2, Duration::from_secs(900))
    );
    let table = "[control]\nenabled = true\nlongest_lease = \"1h\"\n[control.devices.battery]\nmax_charge_kw = 5\n\
                 charge_limit_fallback_kw = 4.2\nwrites_per_day = 3";
    let settings = control(table).unwrap();
    let battery = &settings.devices["battery"];
    assert_eq!((battery.max_charge_kw, battery.max_discharge_kw), (Some(5.0), None));
    assert_eq!((battery.charge_limit_fallback_kw, battery.discharge_limit_fallback_kw), (Some(4.2), None));
    assert_eq!((battery.writes_per_day, settings.longest_lease), (3, Duration::from_secs(3600)));
    assert!(control("[control]\nenabled = true\n[control.devices]\nbattery = {}").is_some());
    let contact = "[control]\nenabled = true\ndevices = [\"battery\"]\n[[control.contact]]\n\
                   input = \"battery/alarm1\"\ndevice = \"battery\"\ndischarge_limit_kw = 0";
    let contacts = control(contact).unwrap().contacts;
    assert_eq!((contacts.len(), &contacts[0].limits[..]), (1, &[("discharge_limit_kw", 0.0)][..]));
}

#[test]
fn feeds_of_the_priority_that_do_not_exist_are_warned_of() {
    let settings =
        "[control]\nenabled = true\ndevices = [\"battery\"]\npriority = [\"default\", \"off\", \"trade\", \"x\"]";
    let case = Case::new().file("bessai.toml", settings).file("plugins/off.toml", "enabled = false");
    let case = case.file("plugins/trader.toml", "enabled = false");
    let warnings = case.warnings();
    let of_control: Vec<_> = warnings.iter().filter(|warning| warning.starts_with("control.")).collect();
    let expected = [
        "control.priority names the feed trade, which does not exist; did you mean `trader`?",
        "control.priority names the feed x, which does not exist; add x.toml to the plugins folder, or remove the name",
    ];
    assert_eq!(of_control, expected);
}

#[test]
fn invalid_control_settings() {
    let check = |settings: &str, expected: &str| check_file(&format!("[control]\n{settings}"), &[expected]);
    check(
        "enabled = true",
        "control.devices: is missing; name each device that may be written to, such as devices = [\"battery\"]",
    );
    check(
        "devices = [\"batery\"]",
        "control.devices = [\"batery\"]: the device batery is unknown; did you mean `battery`?",
    );
    check("[control.devices]\nbatery = {}", "control.devices.batery: is unknown; did you mean `battery`?");
    check(
        "[control.devices]\nbattery = 5",
        "control.devices.battery = 5: write a table, such as { max_charge_kw = 5 } or {}",
    );
    check(
        "[control.devices]\nbattery = { max_charge_kw = -5 }",
        "control.devices.battery.max_charge_kw = -5: write a power in kW, 0 or more",
    );
    let contact = |lines: &str| format!("devices = [\"battery\"]\n[[control.contact]]\n{lines}");
    check(&contact("device = \"battery\"\ncharge_limit_kw = 4.2"), "control.contact[0].input: is missing");
    check(
        &contact("input = \"battery/alarm\"\ndevice = \"battery\"\ncharge_limit_kw = 4.2"),
        "control.contact[0].input = \"battery/alarm\": the channel is unknown; did you mean `alarm3`?",
    );
    check(
        &contact("input = \"battery/alarm1\"\ndevice = \"battery\""),
        "control.contact[0].charge_limit_kw: is missing; write it, discharge_limit_kw or both",
    );
    check(
        "[[control.contact]]\ninput = \"battery/alarm1\"\ndevice = \"battery\"\ncharge_limit_kw = 4.2",
        "control.contact.device: names battery, which [control] devices does not; add it there",
    );
    check("longest_leese = \"1h\"", "control.longest_leese: is unknown; did you mean `longest_lease`?");
}
