//! `[[device]]` and profiles.

use super::*;

#[test]
fn invalid_addresses() {
    let check = |address: &str, hint: &str| {
        let text = format!("[[device]]\naddress = \"tcp://a\"\n[[device]]\nname = \"b\"\naddress = \"{address}\"");
        check_file(&text, &[&format!("device[1].address = \"{address}\": {hint}")]);
    };
    let forms =
        "write \"tcp://host:502\", \"rtu+tcp://host:502\", \"tls://host:802\" or \"rtu:///dev/ttyUSB0?baud=9600\"";
    check("10.0.0.1", forms);
    check("http://a", forms);
    check("tcp://", "the host is missing; write \"tcp://host:502\"");
    check("tcp://a:0", "the port must be a whole number from 1 to 65535; write \"tcp://host:502\"");
    check("rtu:///dev/ttyS0?parity=x", "parity=x: write none, even or odd");
    check_file("[[device]]\n[[device]]\nname = \"b\"", &["device[1].address: is missing; write \"tcp://host:502\""]);
}

#[test]
fn invalid_names_units_and_periods() {
    let two =
        |name: &str| format!("[[device]]\naddress = \"tcp://a\"\n[[device]]\naddress = \"tcp://b\"\nname = \"{name}\"");
    let hint = "is the name of an earlier device; give each device a unique name";
    check_file(&two("battery"), &[&format!("device[1].name = battery: {hint}")]);
    let hint = "contains '/', which is not allowed in a topic level; remove it";
    check_file(&two("a/b"), &[&format!("device[1].name = a/b: {hint}")]);
    check_file(&two(""), &["device[1].name = : is empty; write a name"]);
    check_file("[[device]]\nunit = 256", &["device[0].unit = 256: write a whole number from 0 to 255"]);
    let hint = "write a time from 100µs to 86400s, such as \"5s\"";
    for period in ["\"0s\"", "\"25h\"", "5"] {
        check_file(&format!("[[device]]\nperiod = {period}"), &[&format!("device[0].period = {period}: {hint}")]);
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
    let missing = "no such file; using the built-in profile `huawei-sun2000`";
    let note = format!("DRIVER_PROFILE_PATH = registry/huawei_sun2000.json: {missing}");
    check("registry/huawei_sun2000.json", "huawei-sun2000", &[&note]);
    let json = r#"{"device": {"slave_id_default": 3}, "driver": {"slave_id": 7}, "registers": {
        "soc": {"address": 10, "count": 2, "type": "UINT16", "scale": 1, "unit": "%"}}}"#;
    let case = Case::new().set("DRIVER_PROFILE_PATH", "registry/huawei_sun2000.json");
    let config = case.file("registry/huawei_sun2000.json", json).config();
    let device = &config.devices[0];
    assert_eq!(
        (device.profile.name.as_str(), device.unit, device.unit_is_configured),
        ("huawei_sun2000", UnitId(7), false)
    );
    assert!(config.notes.iter().any(|note| note.starts_with("profile huawei_sun2000: ")), "{:?}", config.notes);
}

#[test]
fn invalid_profiles() {
    let check = |written: &str, expected: &str| {
        assert_eq!(Case::new().set("DRIVER_PROFILE_PATH", written).mistakes(), [expected]);
    };
    check("simulato", "DRIVER_PROFILE_PATH = simulato: is not a profile; did you mean `simulator`?");
    check(
        "no/acme.json",
        "DRIVER_PROFILE_PATH = no/acme.json: no/acme.json cannot be read: No such file or directory (os error 2); \
         write a path or one of huawei-sun2000, sma-sunny-tripower, victron-multiplus2, fronius-gen24, \
         fronius-gen24-int, solaredge-storedge, sungrow-sh, growatt-sph, goodwe-et, deye-hybrid, byd-box, pylontech, simulator, sunspec",
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
fn site_profiles_are_found_by_name() {
    const PROFILE: &str = "[points]\na = { address = 7, type = \"uint16\", scale = 1 }";
    const JSON: &str = r#"{"registers": {"b": {"address": 8, "type": "UINT16", "scale": 1}}}"#;
    let case = |toml: &str| Case::new().file("bessai.toml", toml);
    let address = |case: Case| case.config().devices[0].profile.points[0].address;
    let beside = case("[[device]]\nprofile = \"acme-box\"").file("profiles/acme-box.toml", PROFILE);
    assert_eq!(address(beside.file("profiles/acme-box.json", JSON)), 7, "TOML is preferred");
    let elsewhere = "[profiles]\ndir = \"own\"\n[[device]]\nprofile = \"acme-meter\"";
    assert_eq!(address(case(elsewhere).file("own/acme-meter.json", JSON)), 8);
    let by_variable = Case::new().set("DRIVER_PROFILE_PATH", "acme-box").file("profiles/acme-box.toml", PROFILE);
    assert_eq!(address(by_variable), 7);
    let case = case("[[device]]\nprofile = \"simulator\"").file("profiles/simulator.toml", PROFILE);
    let notes = case.notes();
    assert!(
        notes.iter().any(|note| note.ends_with("using profiles/simulator.toml instead of the built-in profile")),
        "{notes:?}"
    );
    assert_eq!(address(case), 7);
}

#[test]
fn invalid_site_profiles() {
    const PROFILE: &str = "[points]\na = { address = 7, type = \"uint16\", scale = 1 }";
    let case = |toml: &str| Case::new().file("bessai.toml", toml).file("profiles/acme-box.toml", PROFILE);
    let mistakes = case("[[device]]\nprofile = \"acme-bx\"").mistakes();
    assert_eq!(mistakes, ["device[0].profile = acme-bx: is not a profile; did you mean `acme-box`?"]);
    let mistakes = case("[[device]]\nprofile = \"quite another\"").mistakes();
    assert!(mistakes[0].ends_with("simulator, sunspec, acme-box"), "{mistakes:?}");
    let mistakes = case("[profiles]\ndir = \"absent\"").mistakes();
    assert!(mistakes[0].starts_with("profiles.dir = \"absent\": "), "{mistakes:?}");
    assert!(mistakes[0].ends_with("No such file or directory (os error 2); write the folder of the profiles"));
    let mistakes = case("[profiles]\ndirr = \"own\"").mistakes();
    assert_eq!(mistakes, ["profiles.dirr: is unknown; did you mean `dir`?"]);
}

#[test]
fn a_serial_port_has_one_set_of_options() {
    let text = "[[device]]\naddress = \"rtu:///dev/ttyS0\"\n[[device]]\nname = \"b\"\naddress = \"rtu:///dev/ttyS0?baud=19200\"";
    let hint = "an earlier device has /dev/ttyS0 at 9600 baud, 8N1; write the same options for both";
    check_file(text, &[&format!("device[1].address = /dev/ttyS0 at 19200 baud, 8N1: {hint}")]);
}

#[test]
fn unit_0_is_rejected_on_a_serial_bus() {
    let device = |address: &str| {
        format!("[[device]]\naddress = \"tcp://a\"\n[[device]]\nname = \"b\"\nunit = 0\naddress = \"{address}\"")
    };
    let hint = "unit 0 is the broadcast address on a serial bus, and no device responds to it; write the device's own unit id, 1 to 247";
    let check = |address: &str, shown: &str| {
        check_file(&device(address), &[&format!("device[1].address = {shown}: {hint}")]);
    };
    check("rtu:///dev/ttyS0", "/dev/ttyS0 at 9600 baud, 8N1");
    check("rtu+tcp://a", "rtu+tcp://a:502");
    let config = Case::new().file("bessai.toml", &device("tcp://b")).config();
    assert_eq!(config.devices[1].unit, UnitId(0), "a device behind TCP may have unit id 0");
}

#[test]
fn read_settings_of_a_device() {
    let text = "[[device]]\naddress = \"tls://a\"\nprofile = \"simulator\"\nrequest_gap = \"50ms\"\nconnect_pause = \"1s\"\n\
        reconnect_after = 3\nmax_registers = 32\nbridged_gap = 0\ntimeout = \"500ms\"\ndeadband = 0\nmax_silence = \"10s\"\n\
        ca = \"ca.pem\"\ncert = \"c.pem\"\nkey = \"k.pem\"\nserver_name = \"plc\"\n\
        channels.soc_pct = { deadband = 0.5 }";
    let files = ["ca.pem", "c.pem", "k.pem"];
    let config = files.iter().fold(Case::new().file("bessai.toml", text), |case, file| case.file(file, "")).config();
    let device = &config.devices[0];
    let reading = &device.reading;
    assert_eq!(device.address.to_string(), "tls://10.0.0.1:802");
    let ms = |pause: Option<Duration>| pause.unwrap().as_millis();
    assert_eq!((ms(reading.pacing.request_gap), ms(reading.pacing.connect_pause)), (50, 1000));
    assert_eq!((reading.pacing.reconnect_after, reading.timeout.as_millis()), (Some(3), 500));
    assert_eq!(
        (reading.read_limits.registers, reading.read_limits.bits, reading.read_limits.bridged_gap),
        (32, 2000, 0)
    );
    let report =
        |channel: &str| reading.report(channel, None).map(|report| (report.deadband, report.max_silence.as_secs()));
    assert_eq!((report("soc_pct"), report("temp_c")), (Some((0.5, 60)), Some((0.0, 10))));
    assert!(reading.tls.identity.is_some());
}

#[test]
fn missing_certificates_of_a_device() {
    let hint = "cannot be read: No such file or directory (os error 2)";
    let text = "[[device]]\naddress = \"tls://a\"\nprofile = \"simulator\"\nca = \"no.pem\"\ncert = \"c.pem\"\nkey = \"k.pem\"";
    let expected = ["ca = no.pem", "cert = c.pem", "key = k.pem"].map(|key| format!("device[0].{key}: {hint}"));
    check_file(text, &expected.each_ref().map(String::as_str));
}

#[test]
fn settings_that_do_not_apply_to_the_device() {
    let check = |line: &str, expected: &str| {
        check_file(&format!("[[device]]\naddress = \"tcp://a\"\nprofile = \"simulator\"\n{line}"), &[expected]);
    };
    check("channels.soc_pc = { deadband = 1 }", "device[0].channels.soc_pc: is unknown; did you mean `soc_pct`?");
    check("channels.soc_pct = 1", "device[0].channels.soc_pct = 1: write a table, such as { deadband = 0.5 }");
    check(
        "channels.soc_pct = {}",
        "device[0].channels.soc_pct.deadband: is missing; write how far the value may move without being reported",
    );
    check("sources = { slow = \"1m\" }", "device[0].sources.slow: is unknown; remove it");
    check_file(
        "[[device]]\naddress = \"tcp://a\"\nprofile = \"sunspec\"\nmodels = []",
        &["device[0].models = []: is empty; name a model, or remove it to read all models"],
    );
    check("models = [1]", "device[0].models: applies only to devices with the profile `sunspec`; remove it");
    check("sunspec_base = 0", "device[0].sunspec_base: applies only to devices with the profile `sunspec`; remove it");
    check(
        "server_name = \"plc\"",
        "device[0].address = 10.0.0.1:502: certificates apply only to tls:// addresses; write tls://host:802, or remove ca, \
         cert, key and server_name",
    );
    check(
        "max_silence = \"5s\"",
        "device[0].max_silence = \"5s\": has no effect without a deadband; write deadband = 0 to report every change",
    );
}
