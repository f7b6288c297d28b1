//! `[broker]` and `MQTT_…`.

use super::*;

#[test]
fn invalid_urls_show_no_password() {
    let check = |url: &str, shown: &str, hint: &str| {
        let expected = format!("{shown}: {hint}");
        let case = Case::new().set("MQTT_BROKER_URL", url);
        assert_eq!(case.mistakes(), [format!("MQTT_BROKER_URL = {expected}")]);
        let case = Case::new().set("MQTT_BROKER_URL", "").file("config/.env", &format!("MQTT_BROKER_URL='{url}'"));
        assert_eq!(case.mistakes(), [format!("MQTT_BROKER_URL (config/.env line 1) = {expected}")]);
        let case = Case::new().set("MQTT_BROKER_URL", "").file("bessai.toml", &format!("[broker]\nurl = '{url}'"));
        assert_eq!(case.mistakes(), [format!("broker.url = {expected}")]);
        let case = Case::new().file("plugins/a.wasm", "").file("plugins/a.toml", &format!("[broker]\nurl = '{url}'"));
        assert_eq!(case.mistakes(), [format!("a.toml: broker.url = {expected}")]);
    };
    let slash = "write `/`, `?` and `#` in the user name or password as %2F, %3F and %23";
    check("mqtt://u:hunter2/ss@host", "mqtt://…@host", slash);
    let forms = "write mqtt://host:1883, mqtts://host:8883, ws://host:80/mqtt or wss://host:443/mqtt";
    check("u:hunter2@host", "…@host", forms);
    check("tcp://u:hunter2@host", "tcp://…@host", &format!("the scheme is unknown; {forms}"));
    check("mqtt://u:hunter2@", "mqtt://…@", "the host is missing");
    check("mqtt://u:hunter2@h:x", "mqtt://…@h…", "the port must be a whole number from 1 to 65535");
    let after_port = format!("nothing may follow the port; {forms}");
    check("mqtt://u:hunter2@h/x", "mqtt://…@h…", &after_port);
    check("mqtt://h?x=hunter2", "mqtt://h…", &after_port);
    let path = "the path may contain only letters, digits and `-._~!$&'()*+,;=:%/`; remove any other character, and a query after `?`";
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
fn precedence_of_credentials() {
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
fn missing_and_invalid_passwords() {
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
    assert_eq!(case.mistakes(), ["broker.password: a password is sent as written; remove `encoding`"]);
}

#[test]
fn certificates() {
    let with = |url: &str| {
        let case = Case::new().set("MQTT_BROKER_URL", url).file("ca.pem", "").file("c.pem", "").file("k.pem", "");
        case.set("MQTT_TLS_CA_CERT_PATH", "ca.pem").set("MQTT_TLS_CERTFILE", "c.pem").set("MQTT_TLS_KEYFILE", "k.pem")
    };
    for (url, port, notes) in [
        ("mqtts://h", 8883, &[][..]),
        ("mqtt://h", 1883, &["MQTT_BROKER_URL: using TLS despite mqtt://, because certificates or alpn are set"]),
        ("wss://h", 443, &[]),
        ("ws://h", 80, &["MQTT_BROKER_URL: using TLS despite ws://, because certificates or alpn are set"]),
    ] {
        let case = with(url);
        assert_eq!(case.notes(), notes);
        let broker = case.config().broker.unwrap();
        let identity = Some(bessai_tls::Identity::from_files(case.path("c.pem"), case.path("k.pem")));
        let tls = broker.tls.unwrap();
        assert_eq!((tls.ca, tls.identity, tls.alpn), (Some(case.path("ca.pem")), identity, None));
        assert_eq!(broker.port, port);
    }
    let incomplete = with("mqtts://h").set("MQTT_TLS_KEYFILE", "");
    assert_eq!(
        incomplete.mistakes(),
        ["MQTT_TLS_CERTFILE = c.pem: the certificate's private key is missing; set MQTT_TLS_KEYFILE too"]
    );
    let incomplete = with("mqtts://h").set("MQTT_TLS_CERTFILE", "");
    assert_eq!(
        incomplete.mistakes(),
        ["MQTT_TLS_KEYFILE = k.pem: the private key's certificate is missing; set MQTT_TLS_CERTFILE too"]
    );
    let missing = with("mqtts://h").set("MQTT_TLS_CA_CERT_PATH", "no.pem");
    let expected = "MQTT_TLS_CA_CERT_PATH = no.pem: cannot be read: No such file or directory (os error 2)";
    assert_eq!(missing.mistakes(), [expected]);
    check_file("[broker]\nca = \"no\"", &["broker.ca = no: cannot be read: No such file or directory (os error 2)"]);
}

#[test]
fn invalid_keys() {
    check_file("[broker]\nprotocol = \"4\"", &["broker.protocol = \"4\": write \"auto\" or \"5\" or \"3.1.1\""]);
    check_file("[broker]\nin_flight = 0", &["broker.in_flight = 0: write a whole number from 1 to 65535"]);
    let hint = "write a time from 1s to 65535s, such as \"5s\"";
    check_file("[broker]\nkeep_alive = \"0s\"", &[&format!("broker.keep_alive = \"0s\": {hint}")]);
}

#[test]
fn urls_without_credentials() {
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
fn alpn_is_requested_with_tls() {
    let case = |url: &str| Case::new().file("bessai.toml", &format!("[broker]\nurl = \"{url}\"\nalpn = \"mqtt\""));
    let alpn = |url: &str| case(url).set("MQTT_BROKER_URL", "").config().broker.unwrap().tls.unwrap().alpn;
    assert_eq!(alpn("mqtts://h:443"), Some("mqtt".to_owned()));
    assert_eq!(alpn("wss://h"), Some("mqtt".to_owned()));
}

#[test]
fn a_pin_is_checked_where_it_stands() {
    let pin = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let tls = |case: Case| case.config().broker.unwrap().tls.unwrap();
    let of_variable = tls(Case::new().set("MQTT_BROKER_URL", "mqtts://h").set("MQTT_TLS_PIN", pin));
    assert_eq!(of_variable.pin.map(|pin| pin.to_string()).as_deref(), Some(pin));
    let hint = "write sha256: and the SHA-256 of the public key in base64, as `bessai-edge broker test` prints it";
    let invalid = Case::new().set("MQTT_TLS_PIN", "sha256:no");
    assert_eq!(invalid.mistakes(), [format!("MQTT_TLS_PIN = sha256:no: {hint}")]);
    check_file("[broker]\npin = \"no\"", &[&format!("broker.pin = \"no\": {hint}")]);
}

#[test]
fn settings_are_named_where_they_are_set_or_belong() {
    let names = |case: Case| case.config().broker.unwrap().names;
    let variables = names(Case::new().set("MQTT_BROKER_URL", "mqtts://h"));
    assert_eq!((variables.of("ca").as_str(), variables.of("pin").as_str()), ("MQTT_TLS_CA_CERT_PATH", "MQTT_TLS_PIN"));
    let file = "[broker]\nurl = \"mqtts://h\"\n";
    let in_file = names(Case::new().set("MQTT_BROKER_URL", "").file("bessai.toml", file).set("MQTT_USERNAME", "u"));
    assert_eq!((in_file.of("ca").as_str(), in_file.of("username").as_str()), ("broker.ca", "MQTT_USERNAME"));
}

#[test]
fn a_proxy_is_a_url_or_a_secret_with_one() {
    let proxy = |case: Case| {
        let proxy = case.config().broker.unwrap().proxy.unwrap();
        (proxy.name(), proxy.login.map(|(user, password)| (user, password.read().unwrap())))
    };
    let login = Some(("u".to_owned(), "hunter2".to_owned()));
    let expected = ("proxy:3128".to_owned(), login);
    let url = "http://u:hunter2@proxy:3128";
    assert_eq!(proxy(Case::new().set("MQTT_PROXY", url)), expected);
    let file = format!("[broker]\nproxy = \"{url}\"");
    assert_eq!(proxy(Case::new().file("bessai.toml", &file)), expected);
    let file = "[broker]\nproxy = { file = \"proxy\" }";
    assert_eq!(proxy(Case::new().file("bessai.toml", file).file("proxy", &format!("{url}\n"))), expected);
    let case = Case::new().file("bessai.toml", "[broker]\nproxy = \"http://other:1\"").set("MQTT_PROXY", url);
    assert_eq!(proxy(case), expected);
    let config = Case::new().set("MQTT_PROXY", url).config();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_where_it_stands_without_its_password() {
    let hint =
        "only http:// proxies are supported, not socks5://; write http://host:3128 or http://user:password@host:3128";
    let case = Case::new().set("MQTT_PROXY", "socks5://u:hunter2@proxy:1080");
    assert_eq!(case.mistakes(), [format!("MQTT_PROXY = socks5://…@proxy:1080: {hint}")]);
    let case = Case::new().file("bessai.toml", "[broker]\nproxy = \"socks5://u:hunter2@proxy:1080\"");
    assert_eq!(case.mistakes(), [format!("broker.proxy = socks5://…@proxy:1080: {hint}")]);
    let text = "[broker]\nurl = \"mqtt://b\"\nproxy = { file = \"proxy\" }";
    let case = Case::new().file("plugins/a.wasm", "").file("plugins/a.toml", text);
    assert_eq!(
        case.mistakes(),
        ["a.toml: broker.proxy: plugins/proxy cannot be read: No such file or directory (os error 2)"]
    );
    let warnings = Case::new().set("MQTT_PROXY", "http://u:hunter2@proxy.example.com:3128").config().warnings;
    assert_eq!(
        warnings,
        [
            "MQTT_PROXY: the proxy's password is sent unencrypted to proxy.example.com:3128, which is not in a private network"
        ]
    );
}

#[test]
fn a_newline_at_the_end_of_a_variable_or_a_file_is_no_part_of_the_value() {
    for newline in ["\n", "\r\n"] {
        let mut case = Case::new();
        for name in ["MQTT_USERNAME", "MQTT_PASSWORD", "MQTT_CLIENT_ID"] {
            case = case.set(name, &format!("v{newline}"));
        }
        let config = case.config();
        let broker = config.broker.unwrap();
        assert_eq!((broker.username.as_deref(), broker.client_id.as_deref()), (Some("v"), Some("v")));
        assert_eq!(broker.password.unwrap().read().as_deref(), Ok("v"));
        let mut warned = config.warnings;
        warned.sort();
        let expected = ["MQTT_CLIENT_ID", "MQTT_PASSWORD", "MQTT_USERNAME"];
        assert_eq!(warned, expected.map(|name| format!("{name}: the newline at its end is ignored; remove it")));
        let file = "[broker]\npassword = { file = \"secret\" }\nkey_password = { file = \"secret\" }";
        let case = Case::new().file("bessai.toml", file).file("secret", &format!(" v {newline}"));
        let broker = case.config().broker.unwrap();
        assert_eq!(broker.password.unwrap().read().as_deref(), Ok(" v "));
        assert_eq!(broker.key_password.unwrap().read().as_deref(), Ok(" v "));
    }
}
