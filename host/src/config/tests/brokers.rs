//! `[broker]` and `MQTT_…`.

use super::*;

#[test]
fn urls_that_cannot_be_show_no_password() {
    let check = |url: &str, shown: &str, mend: &str| {
        let expected = format!("{shown}: {mend}");
        let case = Case::new().set("MQTT_BROKER_URL", url);
        assert_eq!(case.mistakes(), [format!("MQTT_BROKER_URL = {expected}")]);
        let case = Case::new().set("MQTT_BROKER_URL", "").file("config/.env", &format!("MQTT_BROKER_URL='{url}'"));
        assert_eq!(case.mistakes(), [format!("MQTT_BROKER_URL (config/.env line 1) = {expected}")]);
        let case = Case::new().set("MQTT_BROKER_URL", "").file("bessai.toml", &format!("[broker]\nurl = '{url}'"));
        assert_eq!(case.mistakes(), [format!("broker.url = {expected}")]);
        let case = Case::new().file("plugins/a.wasm", "").file("plugins/a.toml", &format!("[broker]\nurl = '{url}'"));
        assert_eq!(case.mistakes(), [format!("a.toml: broker.url = {expected}")]);
    };
    let slash = "write `/`, `?` and `#` in a user's name or password as %2F, %3F and %23";
    check("mqtt://u:hunter2/ss@host", "mqtt://…@host", slash);
    let forms = "write mqtt://host:1883, mqtts://host:8883, ws://host:80/mqtt or wss://host:443/mqtt";
    check("u:hunter2@host", "…@host", forms);
    check("tcp://u:hunter2@host", "tcp://…@host", &format!("its scheme is not known; {forms}"));
    check("mqtt://u:hunter2@", "mqtt://…@", "the host is missing");
    check("mqtt://u:hunter2@h:x", "mqtt://…@h…", "the port is a whole number from 1 to 65535");
    let behind = format!("nothing may stand behind the port; {forms}");
    check("mqtt://u:hunter2@h/x", "mqtt://…@h…", &behind);
    check("mqtt://h?x=hunter2", "mqtt://h…", &behind);
    let path = "a path has letters, digits and `-._~!$&\'()*+,;=:%/`, and nothing behind it";
    check("wss://h/mqtt?x=hunter2", "wss://h…", path);
}

#[test]
fn no_mistake_shows_a_password() {
    for text in [
        "url = [\"mqtt://u:hunter2@h\"]",
        "password = [\"hunter2\"]",
        "password = { text = \"hunter2\" }",
        "password = { file = \"no\", fiel = \"hunter2\" }",
        "pasword = \"hunter2\"",
        "password = \"hunter2\"\nurl = \"x\"\nkey = \"no\"",
        "password = \"hunter2",
    ] {
        let case = Case::new().file("bessai.toml", &format!("[broker]\n{text}"));
        let case = case.file("plugins/a.toml", &format!("[broker]\n{text}\n[secrets]\na = [\"hunter2\"]"));
        let mistakes = case.mistakes();
        assert!(mistakes.iter().all(|mistake| !mistake.contains("hunter2")), "{mistakes:#?}");
    }
    let case = Case::new().file("plugins/a.toml", "secrets = \"hunter2\"").file("plugins/a.wasm", "");
    assert_eq!(case.mistakes(), ["a.toml: secrets: write a table"]);
    let config = Case::new().set("MQTT_BROKER_URL", "mqtt://u:hunter2@h").config();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn who_signs_in() {
    let check = |case: Case, expected: (&str, &str)| {
        let broker = case.config().broker.unwrap();
        let password = broker.password.unwrap().read().unwrap();
        assert_eq!((broker.username.unwrap().as_str(), password.as_str()), expected);
    };
    let variables = || Case::new().set("MQTT_USERNAME", "v").set("MQTT_PASSWORD", " p ");
    check(variables(), ("v", " p "));
    check(variables().set("MQTT_BROKER_URL", "mqtt://u:q@h"), ("u", "q"));
    check(variables().set("MQTT_BROKER_URL", "mqtt://u@h"), ("u", " p "));
    let file = "[broker]\nurl = \"mqtt://u:q@h\"";
    check(variables().set("MQTT_BROKER_URL", "").file("bessai.toml", file), ("v", " p "));
    let file = "[broker]\nusername = \"u\"\npassword = { file = \"secret\" }";
    check(Case::new().file("bessai.toml", file).file("secret", "s\n"), ("u", "s"));
    let file = "[broker]\nusername = \"u\"\npassword = { env = \"CARGO_PKG_NAME\" }";
    let name = env!("CARGO_PKG_NAME");
    check(Case::new().set("CARGO_PKG_NAME", name).file("bessai.toml", file), ("u", name));
}

#[test]
fn passwords_that_are_not_there() {
    let check = |password: &str, expected: &str| {
        check_file(&format!("[broker]\npassword = {password}"), &[&format!("broker.password{expected}")]);
    };
    check("{ file = \"no\" }", ": no cannot be read: No such file or directory (os error 2)");
    check("{ env = \"NOT_SET\" }", ": environment variable NOT_SET is not set");
    check("{}", ": write { file = \"path\" } or { env = \"NAME\" }");
    check("5", ": write { file = \"path\" } or { env = \"NAME\" }");
    check("{ file = 5 }", ".file = 5: write a text in quotes");
    let case = Case::new().file("secret", "s");
    let case = case.file("bessai.toml", "[broker]\npassword = { file = \"secret\", encoding = \"hex\" }");
    assert_eq!(case.mistakes(), ["broker.password: a password is sent as it is; leave `encoding` out"]);
}

#[test]
fn certificates() {
    let with = |url: &str| {
        let case = Case::new().set("MQTT_BROKER_URL", url).file("ca.pem", "").file("c.pem", "").file("k.pem", "");
        case.set("MQTT_TLS_CA_CERT_PATH", "ca.pem").set("MQTT_TLS_CERTFILE", "c.pem").set("MQTT_TLS_KEYFILE", "k.pem")
    };
    for (url, port, notes) in [
        ("mqtts://h", 8883, &[][..]),
        ("mqtt://h", 1883, &["MQTT_BROKER_URL: TLS is used despite mqtt://, because certificates are set"]),
        ("wss://h", 443, &[]),
        ("ws://h", 80, &["MQTT_BROKER_URL: TLS is used despite ws://, because certificates are set"]),
    ] {
        let case = with(url);
        assert_eq!(case.notes(), notes);
        let broker = case.config().broker.unwrap();
        let identity = Some((case.path("c.pem"), case.path("k.pem")));
        assert_eq!(broker.tls, Some(Tls { ca: Some(case.path("ca.pem")), identity, alpn: None }));
        assert_eq!(broker.port, port);
    }
    let alone = with("mqtts://h").set("MQTT_TLS_KEYFILE", "");
    assert_eq!(alone.mistakes(), ["MQTT_TLS_CERTFILE = c.pem: the certificate's key is missing; set it too"]);
    let alone = with("mqtts://h").set("MQTT_TLS_CERTFILE", "");
    assert_eq!(alone.mistakes(), ["MQTT_TLS_KEYFILE = k.pem: the key's certificate is missing; set it too"]);
    let missing = with("mqtts://h").set("MQTT_TLS_CA_CERT_PATH", "no.pem");
    let expected = "MQTT_TLS_CA_CERT_PATH = no.pem: cannot be read: No such file or directory (os error 2)";
    assert_eq!(missing.mistakes(), [expected]);
    check_file("[broker]\nca = \"no\"", &["broker.ca = no: cannot be read: No such file or directory (os error 2)"]);
}

#[test]
fn keys_that_cannot_be() {
    check_file("[broker]\nprotocol = \"4\"", &["broker.protocol = \"4\": write \"auto\" or \"5\" or \"3.1.1\""]);
    check_file("[broker]\nin_flight = 0", &["broker.in_flight = 0: write a whole number from 1 to 65535"]);
    let mend = "write a time from 1s to 65535s, such as \"5s\"";
    check_file("[broker]\nkeep_alive = \"0s\"", &[&format!("broker.keep_alive = \"0s\": {mend}")]);
}

#[test]
fn where_a_broker_is() {
    for (url, shown) in [
        ("mqtt://u:p@h", "mqtt://h:1883"),
        ("mqtts://[::1]", "mqtts://[::1]:8883"),
        ("ws://h", "ws://h:80/mqtt"),
        ("wss://u:p@h/$iothub/websocket", "wss://h:443/$iothub/websocket"),
    ] {
        assert_eq!(Case::new().set("MQTT_BROKER_URL", url).config().broker.unwrap().url(), shown);
    }
}

#[test]
fn alpn_is_asked_for_where_tls_is() {
    let case = |url: &str| Case::new().file("bessai.toml", &format!("[broker]\nurl = \"{url}\"\nalpn = \"mqtt\""));
    let alpn = |url: &str| case(url).set("MQTT_BROKER_URL", "").config().broker.unwrap().tls.unwrap().alpn;
    assert_eq!(alpn("mqtts://h:443"), Some("mqtt".to_owned()));
    assert_eq!(alpn("wss://h"), Some("mqtt".to_owned()));
}
