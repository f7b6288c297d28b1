//! Variables of the environment and of `config/.env`, and their precedence.

use super::*;

#[test]
fn the_environment_overrides_the_env_file_which_overrides_the_file() {
    let file = "site = \"file\"\n[[device]]\naddress = \"tcp://file:1\"\nunit = 1\nperiod = \"1s\"\n\
                [broker]\nurl = \"mqtt://file\"\nusername = \"file\"\npassword = \"file\"\nclient_id = \"file\"";
    let env =
        "SITE_ID=env # comment\nINVERTER_IP='10.0.0.2'\nMQTT_USERNAME=env\nMQTT_PASSWORD=p$HOME\nWATCHDOG_TIMEOUT=2";
    let case = Case::empty().file("bessai.toml", file);
    let settings = |case: &Case| {
        let config = case.config();
        let (device, broker) = (&config.devices[0], config.broker.as_ref().unwrap());
        let password = broker.password.as_ref().unwrap().read().unwrap();
        let broker = [&broker.host, broker.username.as_ref().unwrap(), &password, broker.client_id.as_ref().unwrap()];
        let host = device.address.host().unwrap().to_owned();
        let texts: Vec<_> = [&config.site, &host].into_iter().chain(broker).cloned().collect();
        (texts.join(" "), device.address.port().unwrap(), device.unit.0, device.period.as_millis())
    };
    assert_eq!(settings(&case), ("file file file file file file".into(), 1, 1, 1000));
    let case = case.file("config/.env", env);
    assert_eq!(settings(&case), ("env 10.0.0.2 file env p$HOME file".into(), 1, 1, 2000));
    let case = case
        .set("SITE_ID", "process")
        .set("INVERTER_IP", "")
        .set("INVERTER_PORT", "3")
        .set("MODBUS_UNIT_ID", "4")
        .set("WATCHDOG_TIMEOUT", "0.25")
        .set("MQTT_BROKER_URL", "mqtt://process")
        .set("MQTT_CLIENT_ID", "process");
    assert_eq!(settings(&case), ("process 10.0.0.2 process env p$HOME process".into(), 3, 4, 250));
    assert!(case.config().devices[0].unit_is_configured);
}

#[test]
fn invalid_values() {
    let check = |name: &str, value: &str, hint: &str| {
        assert_eq!(Case::new().set(name, value).mistakes(), [format!("{name} = {value}: {hint}")]);
    };
    check("INVERTER_PORT", "0", "write a whole number from 1 to 65535");
    check("MODBUS_UNIT_ID", "256", "write a whole number from 0 to 255");
    for seconds in ["0", "-1", "86401", "5s", "NaN", "inf"] {
        check("WATCHDOG_TIMEOUT", seconds, "write the seconds between two readings, from 0.0001 to 86400");
    }
    check("HEALTH_PORT", "65536", "write a whole number from 0 to 65535");
    check("HEALTH_HOST", "example.com", "write an IP address, such as 127.0.0.1 or 0.0.0.0");
    check("LOG_LEVEL", "verbose", "write ERROR, WARNING, INFO, DEBUG or TRACE");
    let only_host = "write only the host, such as 192.168.1.20, and its port in INVERTER_PORT";
    check("INVERTER_IP", "tcp://10.0.0.1", only_host);
    check("INVERTER_IP", "10.0.0.1:502", only_host);
    check("INVERTER_IP", "10.0 .0.1", "write an IP address or a host name, such as 192.168.1.20");
}

#[test]
fn the_health_address_is_known_despite_other_mistakes() {
    let case = Case::new().file("config/.env", "HEALTH_PORT=8123\n").file("plugins/acme.toml", "rigths = 1\n");
    assert!(case.load().is_err());
    assert_eq!(health_address(&case.environment()).to_string(), "127.0.0.1:8123");
}

#[test]
fn health_and_log_level() {
    let case = Case::new().set("HEALTH_HOST", "0.0.0.0").set("HEALTH_PORT", "0");
    assert_eq!(case.config().health.to_string(), "0.0.0.0:0");
    for (text, level) in [
        ("debug", LogLevel::Debug),
        ("INFO", LogLevel::Info),
        ("Warning", LogLevel::Warn),
        ("warn", LogLevel::Warn),
        ("ERROR", LogLevel::Error),
        ("CRITICAL", LogLevel::Error),
        ("trace", LogLevel::Trace),
    ] {
        assert_eq!(Case::new().set("LOG_LEVEL", text).config().log_level, level, "{text}");
    }
}

#[test]
fn unknown_names() {
    let check = |name: &str, hint: &str| {
        assert_eq!(Case::new().set(name, "hunter2").mistakes(), [format!("{name}: is unknown; {hint}")]);
        let case = Case::new().file("config/.env", &format!("\n{name}=hunter2"));
        assert_eq!(case.mistakes(), [format!("{name} (config/.env line 2): is unknown; {hint}")]);
    };
    check("MQTT_BROKER_URI", "did you mean `MQTT_BROKER_URL`?");
    check("MQTT_BROKER_PORT", "did you mean `MQTT_BROKER_URL`?");
    check("BESSAI_PLUGIN", "did you mean `BESSAI_PLUGINS`?");
    check("BESSAI_SITE_ID", "did you mean `SITE_ID`?");
    check("INVERTER_HOST", "did you mean `INVERTER_IP`?");
    check("MODBUS_UNIT", "did you mean `MODBUS_UNIT_ID`?");
    check("SITE_NAME", "did you mean `SITE_ID`?");
    Case::new().set("LOG_LEVLE", "x").set("PATH", "x").set("BESSAI_CACHE", "x").config();
    let case = Case::new().file("config/.env", "LOG_LEVLE=x\nsite_id=x\nQQQ=x");
    assert_eq!(
        case.mistakes(),
        [
            "LOG_LEVLE (config/.env line 1): is unknown; did you mean `LOG_LEVEL`?",
            "site_id (config/.env line 2): is unknown; did you mean `SITE_ID`?",
            "QQQ (config/.env line 3): is unknown; remove it",
        ]
    );
}

#[test]
fn variables_of_the_python_gateway_are_noted_once() {
    let env =
        "GCP_PROJECT_ID=x\nOTEL_SERVICE_NAME=x\nBESSAI_MODE=demo\nSC_PFR_PRICE_USD_MWH=1\nWATCHDOG_BACKOFF_MAX_S=3";
    let case =
        Case::new().set("BESSAI_MODE", "auto").set("BESSAI_P_NOM_KW", "1").set("ALERT_X", "1").file("config/.env", env);
    let names =
        "BESSAI_MODE, BESSAI_P_NOM_KW, GCP_PROJECT_ID, OTEL_SERVICE_NAME, SC_PFR_PRICE_USD_MWH, WATCHDOG_BACKOFF_MAX_S";
    assert_eq!(case.notes(), [format!("variables of the Python gateway have no effect: {names}")]);
}

#[test]
fn variables_that_kubernetes_sets_for_a_service_are_ignored() {
    let service = |case: Case, name: &str| {
        let set = |case: Case, end: &str, value: &str| case.set(&format!("{name}_{end}"), value);
        let case = set(case, "SERVICE_HOST", "10.0.0.11");
        let case = set(case, "SERVICE_PORT", "1883");
        let case = set(case, "SERVICE_PORT_MQTT", "1883");
        let case = set(case, "PORT", "tcp://10.0.0.11:1883");
        let case = set(case, "PORT_1883_TCP", "tcp://10.0.0.11:1883");
        let case = set(case, "PORT_1883_TCP_PROTO", "tcp");
        let case = set(case, "PORT_1883_TCP_PORT", "1883");
        set(case, "PORT_1883_TCP_ADDR", "10.0.0.11")
    };
    let case = ["MQTT_BROKER", "BESSAI_EDGE", "INVERTER", "HEALTH"].into_iter().fold(Case::new(), service);
    let config = case.config();
    assert_eq!((config.devices[0].address.port(), config.health.port(), config.notes.len()), (Some(502), 8000, 0));
    let case = Case::new().set("MQTT_SERVICE_HOST", "example.com").set("MQTT_X_PORT", "tcp://10.0.0.1:1");
    assert_eq!(case.mistakes().len(), 2, "recognised only by the values that Kubernetes writes");
}

#[test]
fn an_unreadable_env_file() {
    let case = Case::new().file("config/.env/file", "");
    assert_eq!(case.mistakes(), ["config/.env: cannot be read: it is a directory, not a regular file"]);
    let case = Case::new().file("config/.env", "A\n\nB=\"hunter2");
    let expected = ["config/.env line 1: write NAME=value", "config/.env line 3: the closing \" is missing; add it"];
    assert_eq!(case.mistakes(), expected);
}

#[test]
fn relative_paths() {
    let profile = "manufacturer = \"M\"\n[points]\nsoc_pct = { address = 1, type = \"uint16\", scale = 1 }";
    let of = |folder: &str| profile.replace('M', folder);
    let maker = |case: &Case| case.config().devices[0].profile.manufacturer.clone();
    let case = Case::new().file("p.toml", &of("working"));
    let in_env = || Case::new().file("config/.env", "DRIVER_PROFILE_PATH=p.toml").file("p.toml", &of("working"));
    assert_eq!(maker(&in_env()), "working");
    assert_eq!(maker(&in_env().file("config/p.toml", &of("config"))), "config");
    let case = case.set("DRIVER_PROFILE_PATH", "p.toml").file("data/p.toml", &of("data"));
    assert_eq!(maker(&case), "working");
    let case = case.set("BESSAI_DATA", "data");
    assert_eq!(maker(&case), "data");
    let config = case.config();
    assert_eq!((config.data_dir, config.cache_dir), (case.path("data"), Some(case.path("data/cache"))));
    assert_eq!(
        (config.journal.folder, config.plugins.dir.clone()),
        (case.path("data/journal"), case.path("data/plugins"))
    );
    let cache = Case::new().set("XDG_CACHE_HOME", "/cache").config().cache_dir;
    assert_eq!(cache, Some("/cache/bessai-edge".into()));
}

#[test]
fn an_env_file_in_another_encoding_is_named_first_and_nothing_counts_as_missing() {
    let check = |content: &[u8], expected: &str| {
        let case = Case::empty().set("INVERTER_PORT", "0").file("config/.env", "");
        std::fs::write(case.path("config/.env"), content).unwrap();
        let port = "INVERTER_PORT = 0: write a whole number from 1 to 65535";
        assert_eq!(case.mistakes(), [format!("config/.env: cannot be read: {expected}"), port.into()]);
    };
    check(b"\xff\xfeS\0I\0T\0E\0", "it is UTF-16 text; save it as UTF-8");
    let ansi = "line 2 is not UTF-8 text (perhaps ANSI); save the file as UTF-8";
    check(b"INVERTER_IP=10.0.0.1\nSITE_ID=Ca\xf1ete\n", ansi);
    let case = Case::new().set("SITE_ID", "").file("config/.env", "\u{feff}SITE_ID=Ca\u{f1}ete\n");
    assert_eq!(case.config().site, "Cañete");
}

#[test]
fn quotes_around_a_variable_of_the_process_are_named_first() {
    let case = Case::new().set("INVERTER_PORT", "0").set("MQTT_PASSWORD", "'hunter2'").set("HEALTH_PORT", "\"8123\"");
    let hint = "the quotes around the value are part of it, as docker's --env-file leaves them; remove them";
    let port = "INVERTER_PORT = 0: write a whole number from 1 to 65535";
    let expected = [format!("MQTT_PASSWORD: {hint}"), format!("HEALTH_PORT: {hint}"), port.into()];
    assert_eq!(case.mistakes(), expected);
    let case = Case::new().set("MQTT_PASSWORD", "it's").file("config/.env", "MQTT_USERNAME=\"u\"");
    assert_eq!(case.config().broker.unwrap().username.as_deref(), Some("u"));
}

#[test]
fn the_time_zone_of_the_env_file() {
    let zone = |case: Case| case.file("config/.env", "TZ=CLT4").config().time_zone;
    let at = jiff::Timestamp::from_second(1_740_151_200).unwrap();
    assert_eq!(zone(Case::new()).unwrap().to_datetime(at).hour(), 11);
    // The library that reads the process's own has precedence.
    assert!(zone(Case::new().set("TZ", "UTC")).is_none());
    let case = Case::new().file("config/.env", "\nTZ=Chile");
    let hint = "is not a time zone; write a name such as America/Santiago";
    assert_eq!(case.mistakes(), [format!("TZ (config/.env line 2) = Chile: {hint}")]);
}

#[test]
fn a_missing_setting_says_which_files_were_looked_for_and_where() {
    let hint = "is missing; write the address of the inverter, or add a [[device]] to bessai.toml";
    let mistake = |case: &Case| case.mistakes().remove(0);
    let case = Case::empty();
    let folder = case.folder.path().display();
    let not_found = format!("; config/.env and bessai.toml: not found in {folder}");
    assert_eq!(mistake(&case), format!("INVERTER_IP: {hint}{not_found}"));
    let case = case.file("bessai.toml", "");
    let folder = case.folder.path().display();
    assert_eq!(mistake(&case), format!("INVERTER_IP: {hint}; config/.env: not found in {folder}"));
    assert_eq!(mistake(&case.file("config/.env", "")), format!("INVERTER_IP: {hint}"));
}
