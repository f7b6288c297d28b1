//! `[[device]]` and its profile.

use super::*;

#[test]
fn addresses_that_cannot_be() {
    let check = |address: &str, mend: &str| {
        let text = format!("[[device]]\naddress = \"tcp://a\"\n[[device]]\nname = \"b\"\naddress = \"{address}\"");
        check_file(&text, &[&format!("device[1].address = \"{address}\": {mend}")]);
    };
    let shapes =
        "write \"tcp://host:502\", \"rtu+tcp://host:502\", \"tls://host:802\" or \"rtu:///dev/ttyUSB0?baud=9600\"";
    check("10.0.0.1", shapes);
    check("http://a", shapes);
    check("tcp://", "the host is missing; write \"tcp://host:502\"");
    check("tcp://a:0", "the port is a whole number from 1 to 65535; write \"tcp://host:502\"");
    check("rtu:///dev/ttyS0?parity=x", "parity=x: write none, even or odd");
    check_file("[[device]]\n[[device]]\nname = \"b\"", &["device[1].address: is missing; write \"tcp://host:502\""]);
}

#[test]
fn names_units_and_periods_that_cannot_be() {
    let two =
        |name: &str| format!("[[device]]\naddress = \"tcp://a\"\n[[device]]\naddress = \"tcp://b\"\nname = \"{name}\"");
    let mend = "is the name of an earlier device; give each its own";
    check_file(&two("battery"), &[&format!("device[1].name = battery: {mend}")]);
    let mend = "has '/', which cannot stand in a topic's level; leave it out";
    check_file(&two("a/b"), &[&format!("device[1].name = a/b: {mend}")]);
    check_file(&two(""), &["device[1].name = : is empty; write a name"]);
    check_file("[[device]]\nunit = 256", &["device[0].unit = 256: write a whole number from 0 to 255"]);
    let mend = "write a time from 100µs to 86400s, such as \"5s\"";
    for period in ["\"0s\"", "\"25h\"", "5"] {
        check_file(&format!("[[device]]\nperiod = {period}"), &[&format!("device[0].period = {period}: {mend}")]);
    }
}

#[test]
fn profiles_by_name_and_path() {
    let check = |written: &str, name: &str, notes: &[&str]| {
        let case = Case::new().set("DRIVER_PROFILE_PATH", written);
        assert_eq!(case.config().devices[0].profile.name, name, "{written}");
        assert_eq!(case.notes(), notes);
    };
    check("simulator", "simulator", &[]);
    let missing = "no such file; the built-in profile `huawei-sun2000` is used";
    let note = format!("DRIVER_PROFILE_PATH = registry/huawei_sun2000.json: {missing}");
    check("registry/huawei_sun2000.json", "huawei-sun2000", &[&note]);
    let json = r#"{"device": {"slave_id_default": 3}, "driver": {"slave_id": 7}, "registers": {
        "soc": {"address": 10, "count": 2, "type": "UINT16", "scale": 1, "unit": "%"}}}"#;
    let case = Case::new().set("DRIVER_PROFILE_PATH", "registry/huawei_sun2000.json");
    let config = case.file("registry/huawei_sun2000.json", json).config();
    let device = &config.devices[0];
    assert_eq!(
        (device.profile.name.as_str(), device.unit, device.unit_was_given),
        ("huawei_sun2000", UnitId(7), false)
    );
    assert!(config.notes.iter().any(|note| note.starts_with("profile huawei_sun2000: ")), "{:?}", config.notes);
}

#[test]
fn profiles_that_cannot_be() {
    let check = |written: &str, expected: &str| {
        assert_eq!(Case::new().set("DRIVER_PROFILE_PATH", written).mistakes(), [expected]);
    };
    check("simulato", "DRIVER_PROFILE_PATH = simulato: is no profile; did you mean `simulator`?");
    check(
        "no/acme.json",
        "DRIVER_PROFILE_PATH = no/acme.json: no/acme.json cannot be read: No such file or directory (os error 2); \
         write a path or one of huawei-sun2000, sma-sunny-tripower, victron-multiplus2, fronius-gen24, \
         solaredge-storedge, simulator, sunspec",
    );
    let text = "[[device]]\nprofile = \"acme.toml\"";
    let case =
        Case::new().file("bessai.toml", text).file("acme.toml", "[points]\na = { address = 1, type = \"int7\" }");
    let mistakes = case.mistakes();
    assert!(mistakes.iter().all(|mistake| mistake.starts_with("acme.points.a.")), "{mistakes:?}");
    let case = Case::new().file("bessai.toml", "[[device]]\nprofile = \"acme.json\"").file("acme.json", "{");
    assert!(case.mistakes()[0].starts_with("acme: is not JSON"), "{:?}", case.mistakes());
}

#[test]
fn own_profiles_are_found_by_name() {
    const PROFILE: &str = "[points]\na = { address = 7, type = \"uint16\", scale = 1 }";
    const JSON: &str = r#"{"registers": {"b": {"address": 8, "type": "UINT16", "scale": 1}}}"#;
    let case = |toml: &str| Case::new().file("bessai.toml", toml);
    let address = |case: Case| case.config().devices[0].profile.points[0].address;
    let beside = case("[[device]]\nprofile = \"acme-box\"").file("profiles/acme-box.toml", PROFILE);
    assert_eq!(address(beside.file("profiles/acme-box.json", JSON)), 7, "TOML goes first");
    let elsewhere = "[profiles]\ndir = \"own\"\n[[device]]\nprofile = \"acme-meter\"";
    assert_eq!(address(case(elsewhere).file("own/acme-meter.json", JSON)), 8);
    let by_variable = Case::new().set("DRIVER_PROFILE_PATH", "acme-box").file("profiles/acme-box.toml", PROFILE);
    assert_eq!(address(by_variable), 7);
    let case = case("[[device]]\nprofile = \"simulator\"").file("profiles/simulator.toml", PROFILE);
    let notes = case.notes();
    assert!(
        notes.iter().any(|note| note.ends_with("profiles/simulator.toml is used, not the built-in one")),
        "{notes:?}"
    );
    assert_eq!(address(case), 7);
}

#[test]
fn own_profiles_that_cannot_be() {
    const PROFILE: &str = "[points]\na = { address = 7, type = \"uint16\", scale = 1 }";
    let case = |toml: &str| Case::new().file("bessai.toml", toml).file("profiles/acme-box.toml", PROFILE);
    let mistakes = case("[[device]]\nprofile = \"acme-bx\"").mistakes();
    assert_eq!(mistakes, ["device[0].profile = acme-bx: is no profile; did you mean `acme-box`?"]);
    let mistakes = case("[[device]]\nprofile = \"quite another\"").mistakes();
    assert!(mistakes[0].ends_with("simulator, sunspec, acme-box"), "{mistakes:?}");
    let mistakes = case("[profiles]\ndir = \"absent\"").mistakes();
    assert!(mistakes[0].starts_with("profiles.dir = \"absent\": "), "{mistakes:?}");
    assert!(mistakes[0].ends_with("No such file or directory (os error 2); write the folder of the profiles"));
    let mistakes = case("[profiles]\ndirr = \"own\"").mistakes();
    assert_eq!(mistakes, ["profiles.dirr: is unknown; did you mean `dir`?"]);
}

#[test]
fn a_serial_port_is_spoken_on_in_one_way() {
    let text = "[[device]]\naddress = \"rtu:///dev/ttyS0\"\n[[device]]\nname = \"b\"\naddress = \"rtu:///dev/ttyS0?baud=19200\"";
    let mend = "an earlier device says /dev/ttyS0 at 9600 baud, 8N1; write the same for both";
    check_file(text, &[&format!("device[1].address = /dev/ttyS0 at 19200 baud, 8N1: {mend}")]);
}

#[test]
fn nobody_answers_to_unit_0_on_a_serial_line() {
    let device = |address: &str| {
        format!("[[device]]\naddress = \"tcp://a\"\n[[device]]\nname = \"b\"\nunit = 0\naddress = \"{address}\"")
    };
    let mend = "on a serial line unit 0 means all of them, and none answers; write the device's own, 1 to 247";
    let check = |address: &str, shown: &str| {
        check_file(&device(address), &[&format!("device[1].address = {shown}: {mend}")]);
    };
    check("rtu:///dev/ttyS0", "/dev/ttyS0 at 9600 baud, 8N1");
    check("rtu+tcp://a", "rtu+tcp://a:502");
    let config = Case::new().file("bessai.toml", &device("tcp://b")).config();
    assert_eq!(config.devices[1].unit, UnitId(0), "a device behind TCP may well be asked as unit 0");
}

#[test]
fn how_a_device_is_asked_and_reported() {
    let text = "[[device]]\naddress = \"tls://a\"\nprofile = \"simulator\"\nrequest_gap = \"50ms\"\nconnect_pause = \"1s\"\n\
        reconnect_after = 3\nmax_registers = 32\nbridged_gap = 0\ntimeout = \"500ms\"\ndeadband = 0\nmax_silence = \"10s\"\n\
        ca = \"ca.pem\"\ncert = \"c.pem\"\nkey = \"k.pem\"\nserver_name = \"plc\"\n\
        channels.soc_pct = { deadband = 0.5 }";
    let config = Case::new().file("bessai.toml", text).config();
    let device = &config.devices[0];
    let reading = &device.reading;
    assert_eq!(device.address.to_string(), "tls://10.0.0.1:802");
    let ms = |pause: Option<Duration>| pause.unwrap().as_millis();
    assert_eq!((ms(reading.pacing.request_gap), ms(reading.pacing.connect_pause)), (50, 1000));
    assert_eq!((reading.pacing.reconnect_after, reading.timeout.as_millis()), (Some(3), 500));
    assert_eq!((reading.blocks.registers, reading.blocks.bits, reading.blocks.bridged_gap), (32, 2000, 0));
    let report =
        |channel: &str| reading.report(channel, None).map(|report| (report.deadband, report.max_silence.as_secs()));
    assert_eq!((report("soc_pct"), report("temp_c")), (Some((0.5, 60)), Some((0.0, 10))));
    assert!(reading.identity.is_some());
}

#[test]
fn what_does_not_belong_to_the_device_is_named() {
    let check = |line: &str, expected: &str| {
        check_file(&format!("[[device]]\naddress = \"tcp://a\"\nprofile = \"simulator\"\n{line}"), &[expected]);
    };
    check("channels.soc_pc = { deadband = 1 }", "device[0].channels.soc_pc: is unknown; did you mean `soc_pct`?");
    check("channels.soc_pct = 1", "device[0].channels.soc_pct = 1: write a table, such as { deadband = 0.5 }");
    check("channels.soc_pct = {}", "device[0].channels.soc_pct.deadband: is missing; write how far the value may move");
    check("sources = { slow = \"1m\" }", "device[0].sources.slow: is unknown; remove it");
    check_file(
        "[[device]]\naddress = \"tcp://a\"\nprofile = \"sunspec\"\nmodels = []",
        &["device[0].models = []: names no model; remove it to read all"],
    );
    check("models = [1]", "device[0].models: is for devices of the profile `sunspec`; remove it");
    check(
        "ca = \"ca.pem\"",
        "device[0].address = 10.0.0.1:502: certificates are shown to tls:// addresses alone; write tls://host:802, or remove ca, \
         cert, key and server_name",
    );
    check(
        "max_silence = \"5s\"",
        "device[0].max_silence = \"5s\": has no effect without a deadband; write deadband = 0 to report every change",
    );
}
