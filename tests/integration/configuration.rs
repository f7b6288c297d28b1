//! Invalid settings: all mistakes at once, each with key, value and hint; the exit code is 78.

use crate::support::gateway::Setup;

/// `check` and `run` print these parts and exit.
fn check_refused(setup: &Setup, expected: &[&str]) {
    for command in ["check", "run"] {
        let output = setup.output(&[command]);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{command}: {printed}");
        for part in expected {
            assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
        }
    }
}

#[test]
fn all_mistakes_are_listed_at_once() {
    let setup = Setup::new()
        .with("SITE_ID", "a/b")
        .with("INVERTER_PORT", "70000")
        .with("MQTT_BROKER_URL", "http://u:hidden@x")
        .with("MQTT_PASWORD", "hidden")
        .with("WATCHDOG_TIMEOUT", "soon")
        .file("bessai.toml", "[safety]\nsoc_pct = { min = \"low\" }\n[brocker]\n");
    let expected = [
        "SITE_ID",
        "'/'",
        "INVERTER_IP",
        "70000",
        "MQTT_BROKER_URL",
        "MQTT_PASSWORD",
        "WATCHDOG_TIMEOUT",
        "soon",
        "broker",
    ];
    check_refused(&setup, &expected);
    let output = setup.output(&["check"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hidden"));
}

#[test]
fn a_missing_broker_is_reported_with_its_variable() {
    check_refused(&Setup::new().device(502), &["MQTT_BROKER_URL"]);
}

#[test]
fn site_ids_that_are_no_topic_level_are_refused() {
    for (site, quoted) in [("a+b", "'+'"), ("a#", "'#'"), ("a/b", "'/'")] {
        check_refused(&Setup::new().device(502).broker("mqtt://localhost").with("SITE_ID", site), &["SITE_ID", quoted]);
    }
    let settings = "site = \"a\\u0000b\"\n";
    let mut setup = Setup::new().device(502).broker("mqtt://localhost").file("bessai.toml", settings);
    setup = setup.with("SITE_ID", "");
    check_refused(&setup, &["site", "\\0"]);
}

#[test]
fn mistakes_in_a_profile_name_the_point() {
    for (points, expected) in [
        ("soc = { address = 1, type = \"uint16\" }", "points.soc.scale: is missing"),
        ("soc = { address = 1, type = \"uint32\", count = 1, scale = 1 }", "points.soc.count = 1"),
        ("soc = { address = 1, type = \"uint16\", scale = 1, factor = 2 }", "points.soc.factor: is unknown"),
        (
            "soc = { address = 1, type = \"uint32\", scale = 1 }\nsoh = { address = 2, type = \"uint16\", scale = 1 }",
            "points.soh.address = 2: overlaps soc",
        ),
    ] {
        let setup = Setup::new().device(502).broker("mqtt://localhost").with("DRIVER_PROFILE_PATH", "box.toml");
        check_refused(&setup.file("box.toml", format!("[points]\n{points}\n")), &[expected]);
    }
}

#[test]
fn a_file_without_a_certificate_is_refused() {
    let setup = Setup::new().device(502).broker("mqtts://localhost").with("MQTT_TLS_CA_CERT_PATH", "ca.pem");
    check_refused(&setup.file("ca.pem", "no certificate"), &["ca.pem", "it contains no certificate"]);
}

#[test]
fn check_names_the_points_that_no_source_confirms() {
    let setup = Setup::new().device(502).broker("mqtt://localhost");
    let output = setup.with("DRIVER_PROFILE_PATH", "sma-sunny-tripower").output(&["check"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = "  unverified, never written: ac_current_total, grid_frequency, reactive_power, power_factor, internal_temperature, \
                operating_mode\n";
    assert!(printed.contains(line), "{printed}");
    assert_eq!(printed.matches("unverified").count(), 1, "{printed}");
}

#[test]
fn check_prints_a_valid_configuration() {
    let setup = Setup::new().broker("mqtt://broker.example:1884").with("INVERTER_IP", "192.0.2.7");
    let env = "MQTT_USERNAME=bessai_edge   # the site's own\nBESSAI_MODE=production\n";
    let output = setup.file("config/.env", env).output(&["check"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    for part in [
        "site SITE-CL-001",
        "device battery: 192.0.2.7:502 unit 1, profile huawei-sun2000, every 5s",
        "38 points in 7 requests:",
        "unit 1 function 3 registers 32008 to 32019",
        "unit 1 function 3 registers 32064 to 32115",
        "unit 1 function 3 registers 37003 to 37003",
        "unit 1 function 3 registers 37021 to 37022",
        "unit 1 function 3 registers 37758 to 37783",
        "unit 1 function 3 registers 47075 to 47100",
        "unit 1 function 3 registers 47246 to 47250",
        "dangerous to write: luna_charge_from_grid, luna_forcible_mode, luna_working_mode",
        "11 points can be written, set-point by a recipe",
        "charging writes luna_forcible_charge_power, luna_forcible_period, luna_forcible_target, luna_forcible_mode\n",
        "release writes luna_forcible_mode\n",
        "safety soc_pct: 10 to 95; unknown when the last good value is older than 30s",
        "feed default: bessai-json, built in → mqtt://broker.example:1884",
        "BESSAI_MODE",
    ] {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
}

#[test]
fn check_says_what_the_safety_limits_do_and_which_cannot_be_meant() {
    let check = |settings: &str| {
        let setup = Setup::new().broker("mqtt://broker.example").with("INVERTER_IP", "192.0.2.7");
        let output = setup.file("bessai.toml", settings).output(&["check"]);
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(printed).unwrap())
    };
    let (code, printed) = check(
        "[safety]\nsoc_pct = { min = 15 }\npower_kw = { min = -9, max = 9, ramp = 3, alarm = [0, 3] }\n\
         [safety.set_points]\nmax_charge_kw = 40\n[safety.set_points.battery]\nramp_kw_per_s = 2\n",
    );
    assert_eq!(code, Some(0), "{printed}");
    for line in [
        "safety soc_pct: 15 to 95; unknown when the last good value is older than 30s",
        "  below 20: set-points that discharge have half the power until it is back at 21",
        "safety temp_c: -20 to 60; unknown when the last good value is older than 30s",
        "  above 45: set-points have half the power until it is back at 44",
        "  below -10: set-points that charge are refused until it is back at -9",
        "  above 60: trips until an operator resets it",
        "  below -20: trips until an operator resets it",
        "safety power_kw: -9 to 9; unknown when the last good value is older than 30s",
        "  not safe when it changes by more than 3 per second",
        "  an alarm with one of the bits 0x9",
        "safety set-points: charge with 40 kW at most",
        "safety set-points of battery: charge with 40 kW at most",
        "safety set-points of battery: change by 2 kW per second at most",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line:?} is not in:\n{printed}");
    }
    // As with the settings of a gateway that was not safe from 45 °C: nothing is derated there.
    let (_, printed) = check("[safety]\ntemp_c = { max = 45 }\n");
    assert!(printed.contains("safety temp_c: -20 to 45;") && !printed.contains("above 45"), "{printed}");
    let (code, printed) = check("[safety]\ntemp_c = { trip_above = 80 }\n");
    let line = "safety.temp_c.trip_above = 80: a battery trips at 60 °C at the latest; lower it";
    assert!(code == Some(78) && printed.contains(line), "{code:?} {printed}");
}
