//! Wrong settings: all of them at once, with key, value and mend; exit 78, nothing opened.

use crate::support::gateway::Setup;

fn refused(setup: &Setup, expected: &[&str]) {
    for command in ["check", "run"] {
        let output = setup.output(&[command]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{command}: {told}");
        for part in expected {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
    }
}

#[test]
fn every_mistake_is_listed_at_once() {
    let setup = Setup::new()
        .with("SITE_ID", "a/b")
        .with("INVERTER_PORT", "70000")
        .with("MQTT_BROKER_URL", "http://u:hidden@x")
        .with("MQTT_PASWORD", "hidden")
        .with("WATCHDOG_TIMEOUT", "soon")
        .file("bessai.toml", "[safety]\nsoc_pct = { min = \"low\" }\n[brocker]\n");
    let told = [
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
    refused(&setup, &told);
    let output = setup.output(&["check"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hidden"));
}

#[test]
fn no_broker_anywhere_names_the_variable() {
    refused(&Setup::new().device(502), &["MQTT_BROKER_URL"]);
}

#[test]
fn sites_that_are_no_topic_level() {
    for (site, shown) in [("a+b", "'+'"), ("a#", "'#'"), ("a/b", "'/'")] {
        refused(&Setup::new().device(502).broker("mqtt://localhost").with("SITE_ID", site), &["SITE_ID", shown]);
    }
    let settings = "site = \"a\\u0000b\"\n";
    let mut setup = Setup::new().device(502).broker("mqtt://localhost").file("bessai.toml", settings);
    setup = setup.with("SITE_ID", "");
    refused(&setup, &["site", "\\0"]);
}

#[test]
fn faults_of_a_profile_name_the_point() {
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
        refused(&setup.file("box.toml", format!("[points]\n{points}\n")), &[expected]);
    }
}

#[test]
fn certificates_that_are_none_are_found_before_anything_is_opened() {
    let setup = Setup::new().device(502).broker("mqtts://localhost").with("MQTT_TLS_CA_CERT_PATH", "ca.pem");
    refused(&setup.file("ca.pem", "no certificate"), &["ca.pem", "holds no certificate"]);
}

#[test]
fn a_sound_configuration_is_shown() {
    let setup = Setup::new().broker("mqtt://broker.example:1884").with("INVERTER_IP", "192.0.2.7");
    let env = "MQTT_USERNAME=bessai_edge   # the site's own\nBESSAI_MODE=production\n";
    let output = setup.file("config/.env", env).output(&["check"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for part in [
        "site SITE-CL-001",
        "device battery: 192.0.2.7:502 unit 1, profile huawei-sun2000, every 5s",
        "unit 1 function 3 registers 37752 to 37766",
        "safety soc_pct: 10 to 95",
        "feed default: bessai-json, built in → mqtt://broker.example:1884",
        "BESSAI_MODE",
    ] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
}
