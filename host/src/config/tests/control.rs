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
fn points_of_control_that_a_server_lists_are_warned_of() {
    let settings = "[control]\nenabled = true\ndevices = [\"battery\"]\n[[modbus_server]]\n\
                    listen = \"127.0.0.1:1502\"\nwrite = [\"battery/luna_forcible_mode\", \"battery/luna_charge_target_soc\"]";
    let warnings = Case::new().file("bessai.toml", settings).warnings();
    let of_server: Vec<_> = warnings.iter().filter(|warning| warning.starts_with("modbus_server.")).collect();
    let expected = "modbus_server.write lists battery/luna_forcible_mode, which clients cannot write: it belongs to the \
                    set-point of battery, which [control] writes; use `bessai-edge control set battery KW`";
    assert_eq!(of_server, [expected]);
}

#[test]
fn invalid_control_settings() {
    let check = |settings: &str, expected: &str| check_file(&format!("[control]\n{settings}"), &[expected]);
    check(
        "enabled = true",
        "control.devices: is missing; name each device that may be written to, such as devices = [\"battery\"]",
    );
    let hint = "names no device, so that nothing can be written; name each one that may be, or write enabled = false";
    check("enabled = true\ndevices = []", &format!("control.devices = []: {hint}"));
    check("enabled = true\ndevices = {}", &format!("control.devices = {{}}: {hint}"));
    check(
        "devices = [\"battery\", \"battery\"]",
        "control.devices = [\"battery\", \"battery\"]: names battery twice; name it once",
    );
    check(
        "devices = [\"battery\"]\npriority = [\"a\", \"b\", \"a\"]",
        "control.priority = [\"a\", \"b\", \"a\"]: names a twice; name it once",
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
    check(
        &format!(
            "longest_lease = \"10s\"\n{}",
            contact("input = \"battery/alarm1\"\ndevice = \"battery\"\ncharge_limit_kw = 1")
        ),
        "control.longest_lease = \"10s\": the limits of contacts would end before they are renewed; write 15s or more",
    );
    check("longest_leese = \"1h\"", "control.longest_leese: is unknown; did you mean `longest_lease`?");
}

#[test]
fn what_can_never_be_a_feed_has_no_priority() {
    let check = |names: &str, expected: &str| {
        let text = format!("[control]\nenabled = true\ndevices = [\"battery\"]\npriority = [{names}]");
        let case = Case::new().file("bessai.toml", &text).file("plugins/trader.toml", "enabled = false");
        assert_eq!(case.mistakes(), [format!("control.priority = [{names}]: {expected}")]);
    };
    check("\"operator\"", "the operator comes before all feeds; remove the name");
    check("\"feed/trader\"", "feed/trader is no name of a feed; write trader");
    check(
        "\"model/a\"",
        "model/a is no name of a feed: it contains '/', which is not allowed in a topic level; remove it",
    );
    check("\"\"", " is no name of a feed: it is empty; write a name");
}

/// A site whose device has this profile.
fn with_profile(profile: &str, settings: &str) -> Case {
    let case = Case::new().set("DRIVER_PROFILE_PATH", "box.toml").file("box.toml", profile);
    case.file("bessai.toml", &format!("[control]\nenabled = true\n{settings}"))
}

/// Points of a device that takes modes only.
const MODES: &str = "[set_point]\ncharge = [{ point = \"mode\", value = 1 }]\ncharge_kw = 5\n\
                     release = [{ point = \"mode\", value = 0 }]\n[points]\n\
                     mode = { address = 1, type = \"uint16\", scale = 1, access = \"RW\" }\n\
                     input = { address = 2, type = \"uint16\", scale = 1, source = \"slow\" }\n\
                     text = { address = 3, type = \"string\", count = 4 }\n";

#[test]
fn a_device_that_can_never_be_set_is_a_mistake() {
    let read_only = "[points]\nsoc_pct = { address = 1, type = \"uint16\", scale = 1 }";
    assert_eq!(
        with_profile(read_only, "devices = [\"battery\"]").mistakes(),
        ["control.devices.battery: its profile box has nothing that may be written; remove it"]
    );
    let modes = format!("sources = {{ slow = \"60s\" }}\n{MODES}");
    let limit = |limit: f64| with_profile(&modes, &format!("devices.battery = {{ max_charge_kw = {limit} }}"));
    assert_eq!(
        limit(3.0).mistakes(),
        [
            "control.devices.battery.max_charge_kw = 3: the device charges with 5 kW or not at all; write 5 or more, or 0 to \
          forbid it"
        ]
    );
    assert!(limit(0.0).config().control.is_some() && limit(5.0).config().control.is_some());
}

#[test]
fn a_contact_must_be_read_often_enough_and_be_a_number() {
    let modes = format!("sources = {{ slow = \"60s\" }}\n{MODES}");
    let contact = |input: &str| {
        let contact = format!("[[control.contact]]\ninput = \"{input}\"\ndevice = \"battery\"\ncharge_limit_kw = 1");
        with_profile(&modes, &format!("devices = [\"battery\"]\n{contact}")).mistakes()
    };
    assert_eq!(
        contact("battery/input"),
        [
            "control.contact[0].input = battery/input: battery reads it every 60s, and it counts as active when it has not been \
          read for 15s; read it more often"
        ]
    );
    assert_eq!(
        contact("battery/text"),
        [
            "control.contact[0].input = battery/text: it is a text, so that it is always active; write the channel of a digital \
          input"
        ]
    );
}

#[test]
fn powers_that_limit_nothing_are_warned_of() {
    let profile = "[set_point]\npower = \"power\"\n[points]\n\
                   power = { address = 1, type = \"int16\", scale = 1, unit = \"kW\", min = -10, max = 10, access = \"RW\" }\n\
                   input = { address = 2, type = \"uint16\", scale = 1 }\n";
    let warnings = |settings: &str| {
        let warnings = with_profile(profile, settings).warnings().into_iter();
        warnings.filter(|warning| warning.starts_with("control.")).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("devices.battery = { max_charge_kw = 99999, max_discharge_kw = 10 }"),
        [
            "control.devices.battery.max_charge_kw = 99999 is more than the 10 kW that the device's registers take; lower it"
        ]
    );
    assert_eq!(
        warnings("devices.battery = { max_discharge_kw = 5, discharge_limit_fallback_kw = 5 }"),
        ["control.devices.battery.discharge_limit_fallback_kw = 5 limits nothing: max_discharge_kw = 5; lower it"]
    );
    let contact = "[[control.contact]]\ninput = \"battery/input\"\ndevice = \"battery\"\ncharge_limit_kw = 7\n\
                   discharge_limit_kw = 4";
    assert_eq!(
        warnings(&format!("devices.battery = {{ max_charge_kw = 6, max_discharge_kw = 6 }}\n{contact}")),
        ["control.contact[0].charge_limit_kw = 7 limits nothing: battery is never set to more than 6 kW; lower it"]
    );
}
