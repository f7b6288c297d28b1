//! The plugins folder and its feeds.

use std::os::unix::fs::symlink;

use bessai_domain::session::EndpointRight;
use bessai_feed::{DeliveryOrder, ProcessorShare};

use super::*;

fn names(config: &Config) -> Vec<&str> {
    config.feeds.iter().map(|feed| feed.name.as_str()).collect()
}

/// `plugins/acme.toml`, beside its component, has this mistake and no other.
fn check(text: &str, expected: &str) {
    let case = Case::new().file("plugins/acme.wasm", "").file("plugins/acme.toml", text);
    assert_eq!(case.mistakes(), [format!("acme.toml: {expected}")], "{text}");
}

#[test]
fn files_of_the_folder_by_feed() {
    let case = Case::new()
        .file("plugins/zeta.wasm", "")
        .file("plugins/acme.wasm", "")
        .file("plugins/acme.toml", "")
        .file("plugins/shared.wasm", "")
        .file("plugins/one.toml", "component = \"shared.wasm\"")
        .file("plugins/two.toml", "component = \"./shared.wasm\"")
        .file("plugins/both.wasm", "")
        .file("plugins/both.toml", "")
        .file("plugins/three.toml", "component = \"both.wasm\"")
        .file("plugins/off.toml", "enabled = false\nanything = 1")
        .file("plugins/off.wasm", "")
        .file("plugins/.hidden.wasm", "")
        .file("plugins/_draft.toml", "what = 1")
        .file("plugins/readme.md", "");
    let config = case.config();
    assert_eq!(names(&config), ["default", "acme", "both", "one", "three", "two", "zeta"]);
    let component = |name: &str| &config.feeds.iter().find(|feed| feed.name == name).unwrap().component;
    let file = |name: &str| ComponentSource::File(case.path("plugins").join(name));
    assert_eq!((component("acme"), component("one")), (&file("acme.wasm"), &file("shared.wasm")));
    assert_eq!((component("two"), component("three")), (&file("shared.wasm"), &file("both.wasm")));
}

#[test]
fn the_default_feed() {
    let case = Case::empty().set("INVERTER_IP", "a").file("plugins/default.toml", "enabled = false");
    assert_eq!((case.config().feeds, case.config().broker), (Vec::new(), None));
    let case = Case::new().file("plugins/default.toml", "component = \"x.wasm\"").file("plugins/x.wasm", "");
    let config = case.config();
    assert_eq!(names(&config), ["default"]);
    let feed = &config.feeds[0];
    assert_eq!((&feed.component, feed.is_default), (&ComponentSource::File(case.path("plugins/x.wasm")), true));
    let case = Case::new().file("plugins/default.wasm", "");
    let hint = "the name is reserved for the site's own feed; rename the file, or write component = \"default.wasm\" in default.toml";
    assert_eq!(case.mistakes(), [format!("default.wasm: {hint}")]);
    let case = case.file("plugins/default.toml", "component = \"default.wasm\"");
    assert_eq!(names(&case.config()), ["default"]);
}

#[test]
fn the_folder() {
    let of = |case: Case| (case.notes(), case.config().plugins.dir.strip_prefix(case.path("")).unwrap().to_owned());
    assert_eq!(of(Case::new()), (vec![], "plugins".into()));
    let note = |dir: &str| vec![format!("the plugins folder {dir} does not exist; only the default feed runs")];
    let file = "[plugins]\ndir = \"p\"";
    assert_eq!(of(Case::new().file("bessai.toml", file)), (note("p"), "p".into()));
    assert_eq!(of(Case::new().file("bessai.toml", file).set("BESSAI_PLUGINS", "q")), (note("q"), "q".into()));
    let case = Case::new().file("plugins", "");
    let unknown = "cannot be looked for, because the plugins folder cannot be read; the feed starts when it can";
    let expected = ["plugins: the plugins folder cannot be read: Not a directory (os error 20)".to_owned()];
    let expected = [&expected[..], &[format!("plugins/default.toml: {unknown}")]].concat();
    assert_eq!(case.mistakes(), expected);
    // It may contain the settings of the default feed, which must not publish more than they allow.
    assert_eq!(names(&case.start().unwrap()), Vec::<&str>::new());
}

#[test]
fn a_complete_feed() {
    let text = r#"
        component = "hub.wasm"
        enabled = true
        start = 2026-01-02T03:04:05Z
        [broker]
        url = "mqtts://hub.example"
        password = { file = "secret" }
        [config]
        zeta = "a"
        alpha = [1, 2.5, true]
        when = 2026-01-02
        [secrets]
        device-key = { file = "secret", encoding = "base64" }
        other = { env = "OTHER" }
        [rights]
        read = ["battery"]
        topics = ["devices/+/x/#"]
        subscribe = ["commands/#"]
        connect = ["hub.example", "hub.example:8883"]
        write = []
        [limits]
        memory = "16MiB"
        call = "50ms"
        rate = "100/s"
        qos = 2
        max_age = "72h"
        processor = "40 %"
        quarantine_size = "16MiB"
    "#;
    let case = Case::new()
        .set("OTHER", "x")
        .set("MQTT_USERNAME", "site")
        .set("MQTT_CLIENT_ID", "site")
        .file("plugins/acme.toml", text)
        .file("plugins/hub.wasm", "")
        .file("plugins/secret", "s\n");
    let config = case.config();
    assert_eq!(names(&config), ["default", "acme"]);
    let feed = &config.feeds[1];
    assert_eq!(feed.start, StartAt::At(Timestamp::from_nanos(1_767_323_045_000_000_000)));
    assert_eq!(feed.config_json, r#"{"zeta":"a","alpha":[1,2.5,true],"when":"2026-01-02"}"#);
    let broker = &feed.broker;
    assert_eq!(
        (broker.host.as_str(), broker.port, &broker.username, &broker.client_id),
        ("hub.example", 8883, &None, &None)
    );
    assert_eq!(broker.password.as_ref().unwrap().read().as_deref(), Ok("s"));
    let secret = Secret::File(SecretFile::new(case.path("plugins/secret")));
    assert_eq!(feed.secrets.get("device-key"), Some(&(secret, Encoding::Base64)));
    assert_eq!(feed.secrets.get("other"), Some(&(Secret::Variable("OTHER".into()), Encoding::Text)));
    let rights = Rights {
        read: Some(vec!["battery".into()]),
        topics: Some(vec!["devices/+/x/#".into()]),
        subscribe: vec!["commands/#".into()],
        connect: [None, Some(8883)].map(|port| EndpointRight { host: "hub.example".into(), port }).into(),
        write: Vec::new(),
    };
    assert_eq!(feed.rights, rights);
    let limits = FeedLimits {
        memory_bytes: 16 << 20,
        call: Duration::from_millis(50),
        rate_per_s: Some(100),
        qos: Qos::ExactlyOnce,
        max_age: Some(Duration::from_hours(72)),
        processor: ProcessorShare::percent(40),
        quarantine_bytes: 16 << 20,
    };
    assert_eq!((feed.limits, feed.is_default), (limits, false));
}

#[test]
fn the_sites_client_id_is_for_the_default_feed_alone() {
    let case = Case::new().set("MQTT_CLIENT_ID", "me").set("MQTT_USERNAME", "u").file("plugins/a.wasm", "");
    let config = case.config();
    let ids: Vec<_> = config.feeds.iter().map(|feed| feed.broker.client_id.as_deref()).collect();
    assert_eq!(ids, [Some("me"), None]);
    assert_eq!(config.feeds[1].broker.username.as_deref(), Some("u"));
}

#[test]
fn feeds_without_a_broker_or_a_component() {
    let case = Case::empty().set("INVERTER_IP", "a").file("plugins/a.wasm", "");
    let case = case.file("plugins/b.wasm", "").file("plugins/b.toml", "[broker]\nurl = \"mqtt://b\"");
    let not_found = format!("config/.env and bessai.toml: not found in {}", case.folder.path().display());
    let expected =
        format!("MQTT_BROKER_URL: is missing; write mqtt://host:1883 (no broker for `default`, `a`); {not_found}");
    assert_eq!(case.mistakes(), [expected]);
    // Without the default feed only the others are off.
    let case = case.file("plugins/default.toml", "enabled = false");
    assert_eq!((names(&case.start().unwrap()), case.mistakes().len()), (vec!["b"], 1));
    check("[broker]\nusername = \"u\"", "broker.url: is missing; write \"mqtts://host:8883\"");
    check(
        "component = \"no.wasm\"",
        "component = \"no.wasm\": plugins/no.wasm does not exist; copy the component there",
    );
    let case = Case::new().file("plugins/a.toml", "");
    let expected = "a.toml: component: plugins/a.wasm does not exist; copy it there, or name another component";
    assert_eq!(case.mistakes(), [expected]);
}

#[test]
fn invalid_settings() {
    check("enabeld = true", "enabeld: is unknown; did you mean `enabled`?");
    check("enabled = 1", "enabled = 1: write true or false");
    let hint = "write \"now\", \"oldest\" or a time in UTC, such as \"2026-01-02T03:04:05Z\"";
    check("start = \"soon\"", &format!("start = \"soon\": {hint}"));
    check("start = 2026-01-02", &format!("start = 2026-01-02: {hint}"));
    check("start = 5", &format!("start = 5: {hint}"));
    check("config = 5", "config = 5: write a table");
    check("[config]\na = [nan]", "config.a[0] = NaN: JSON cannot represent this number; write a finite one");
    check("[secrets]\nk = {}", "secrets.k: write { file = \"path\" } or { env = \"NAME\" }");
    check("[secrets]\nk = { env = \"NOT_SET\" }", "secrets.k: environment variable NOT_SET is not set");
    let hint = "write \"text\" or \"base64\" or \"hex\"";
    check("[secrets]\nk = { env = \"HOME\", encoding = \"x\" }", &format!("secrets.k.encoding = \"x\": {hint}"));
    let case = Case::new().file("plugins/a#.wasm", "");
    let hint = "contains '#', which is not allowed in a topic level; remove it";
    assert_eq!(case.mistakes(), [format!("a#.toml: the feed's name {hint}")]);
    let case = Case::new().file("plugins/a.toml", "= 1").file("plugins/a.wasm", "");
    assert!(case.mistakes()[0].starts_with("a.toml: is not TOML: line 1: "), "{:?}", case.mistakes());
}

#[test]
fn invalid_rights() {
    check("[rights]\nraed = []", "rights.raed: is unknown; did you mean `read`?");
    check("[rights]\nread = [\"batery\"]", "rights.read = \"batery\": the device is unknown; did you mean `battery`?");
    let hint = "is not a topic filter; write `+` for one whole level, `#` as the last level for all levels that follow";
    for filter in ["", "a/#/b", "a+", "a#"] {
        check(&format!("[rights]\ntopics = [\"{filter}\"]"), &format!("rights.topics = \"{filter}\": {hint}"));
        check(&format!("[rights]\nsubscribe = [\"{filter}\"]"), &format!("rights.subscribe = \"{filter}\": {hint}"));
    }
    let long = "x".repeat(70_000);
    let hint = "can never match: a topic of 70000 bytes is too long; MQTT allows 65535";
    check(&format!("[rights]\ntopics = [\"{long}\"]"), &format!("rights.topics = \"{long}\": {hint}"));
    let forms = "write a host, such as \"hub.example.com\", or a host and a port, such as \"hub.example.com:8883\"";
    for (entry, reason) in [
        ("tcp://a", "is a URL, which a host never equals"),
        ("*.example.com", "has a wildcard, which is not supported here"),
        ("a:0", "the port must be a whole number from 1 to 65535"),
        ("a b", "the host may contain only letters, digits, `.`, `-` and `_`; write an IPv6 address in [ ]"),
        ("", "the host is missing"),
        ("10.0.0.256", "ends in a number but is no IPv4 address, so no host has this name"),
        ("a..b:1", "has nothing between two dots, or a `-` beside one, so no host has this name"),
    ] {
        check(
            &format!("[rights]\nconnect = [\"{entry}\"]"),
            &format!("rights.connect = \"{entry}\": {reason}; {forms}"),
        );
    }
    check("[rights]\nwrite = [\"battery\"]", "rights.write = \"battery\": write \"device/channel\"");
    let hint = "the channel is unknown; did you mean `soc_pct`?";
    check("[rights]\nwrite = [\"battery/soc_pc\"]", &format!("rights.write = \"battery/soc_pc\": {hint}"));
    let hint = "the device's profile makes this channel read-only; remove it";
    check("[rights]\nwrite = [\"battery/soc_pct\"]", &format!("rights.write = \"battery/soc_pct\": {hint}"));
}

#[test]
fn invalid_limits() {
    let hint = "write a size from 1MiB to 4096MiB, such as \"64MiB\"";
    check("[limits]\nmemory = \"1kB\"", &format!("limits.memory = \"1kB\": {hint}"));
    check("[limits]\ncall = \"0s\"", "limits.call = \"0s\": write a time from 1ms to 60s, such as \"5s\"");
    let hint = "write the messages per second, such as \"100/s\"";
    for rate in ["\"100\"", "\"0/s\"", "\"5/m\"", "100"] {
        check(&format!("[limits]\nrate = {rate}"), &format!("limits.rate = {rate}: {hint}"));
    }
    check("[limits]\nqos = 3", "limits.qos = 3: write a whole number from 0 to 2");
    check("[limits]\nmax_age = \"0s\"", "limits.max_age = \"0s\": write a time from 1s to 315360000s, such as \"5s\"");
    let hint = "write the share of a core from 1% to 100%, such as \"25%\"";
    for share in ["\"0%\"", "\"101%\"", "\"25\"", "\"a%\"", "25", "0.25"] {
        check(&format!("[limits]\nprocessor = {share}"), &format!("limits.processor = {share}: {hint}"));
    }
    let hint = "write a size from 8MiB to 4096MiB, such as \"64MiB\"";
    check("[limits]\nquarantine_size = \"1MiB\"", &format!("limits.quarantine_size = \"1MiB\": {hint}"));
    check("[limits]\nmemmory = 1", "limits.memmory: is unknown; did you mean `memory`?");
}

#[test]
fn delivery() {
    let order = |text: &str| {
        let case = Case::new().file("plugins/acme.wasm", "").file("plugins/acme.toml", text);
        case.config().feeds[1].order
    };
    let live_first = |backlog_rate| DeliveryOrder::LiveFirst { backlog_rate };
    assert_eq!(
        (order(""), order("[delivery]\norder = \"in-order\"")),
        (DeliveryOrder::InOrder, DeliveryOrder::InOrder)
    );
    assert_eq!(order("[delivery]\norder = \"live-first\""), live_first(None));
    let text = "[delivery]\norder = \"live-first\"\nbacklog_rate = \"50/s\"";
    assert_eq!(order(text), live_first(Some(50)));
    let hint = "write \"in-order\" or \"live-first\"";
    check("[delivery]\norder = \"newest\"", &format!("delivery.order = \"newest\": {hint}"));
    let hint = "write the messages per second, such as \"100/s\"";
    let text = "[delivery]\norder = \"live-first\"\nbacklog_rate = 50";
    check(text, &format!("delivery.backlog_rate = 50: {hint}"));
    let hint = "has no effect without order = \"live-first\"; add that, or remove it";
    check("[delivery]\nbacklog_rate = \"5/s\"", &format!("delivery.backlog_rate = \"5/s\": {hint}"));
    check("[delivery]\nrate = \"5/s\"", "delivery.rate: is unknown; remove it");
}

#[test]
fn a_bad_feed_file_switches_that_feed_off_alone() {
    let case = Case::new().file("plugins/a.wasm", "").file("plugins/b.wasm", "").file("plugins/b.toml", "enabeld = 1");
    let config = case.start().unwrap();
    assert_eq!(names(&config), ["default", "a"]);
    let off: Vec<_> = config.off.iter().map(|feed| (feed.name.as_str(), feed.mistakes.len())).collect();
    assert_eq!((off, case.mistakes().len()), (vec![("b", 1)], 1));
    let case = case.file("plugins/default.toml", "= 1");
    assert_eq!(names(&case.start().unwrap()), ["a"]);
    // With a mistake in the site's settings nothing starts, and all are listed.
    let case = case.set("INVERTER_PORT", "0");
    assert_eq!(case.start().unwrap_err().len(), 3);
}

#[test]
fn only_regular_files_and_links_to_them_are_read_and_nothing_of_them_is_shown() {
    let case = Case::new().file("plugins/a.wasm", "").file("secret", "hunter2 = hunter2\nhunter2").file("b.toml", "");
    let check = |name: &str, expected: &[&str]| {
        assert_eq!(case.mistakes(), expected, "{name}");
        std::fs::remove_file(case.path(&format!("plugins/{name}"))).unwrap();
    };
    symlink("/dev/zero", case.path("plugins/a.toml")).unwrap();
    check("a.toml", &["a.toml: cannot be read: it is a device, not a regular file"]);
    rustix::fs::mkfifoat(rustix::fs::CWD, case.path("plugins/a.toml"), rustix::fs::Mode::RUSR).unwrap();
    check("a.toml", &["a.toml: cannot be read: it is a FIFO, not a regular file"]);
    std::fs::write(case.path("plugins/a.toml"), "#".repeat(1 << 21)).unwrap();
    check("a.toml", &["a.toml: cannot be read: it has 2097152 bytes; at most 1048576 are allowed"]);
    symlink(case.path("secret"), case.path("plugins/a.toml")).unwrap();
    let mistakes = case.mistakes();
    assert!(mistakes[0].starts_with("a.toml: is not TOML: line 2: "), "{mistakes:?}");
    assert!(!mistakes[0].contains("hunter2"), "{mistakes:?}");
    std::fs::remove_file(case.path("plugins/a.toml")).unwrap();
    symlink("../b.toml", case.path("plugins/a.toml")).unwrap();
    assert_eq!(names(&case.config()), ["default", "a"]);
}

#[test]
fn names_that_could_mislead_are_escaped_and_no_feeds() {
    let case = Case::new().file("plugins/acme\u{202e}x.wasm", "").file("plugins/a\nERROR b.toml", "x = 1");
    let hint = "the file name contains characters that are not visible; rename the file";
    let expected = [format!("a\\nERROR b.toml: {hint}"), format!("acme\\u{{202e}}x.wasm: {hint}")];
    assert_eq!((case.mistakes(), names(&case.start().unwrap())), (expected.to_vec(), vec!["default"]));
}

#[test]
fn ignored_files_are_noted_with_the_reason() {
    let case = Case::new().file("plugins/ACME.WASM", "").file("plugins/key.pem", "").file("plugins/x/y.wasm", "");
    let note = |text: &str| format!("ignored in the plugins folder: {text}");
    let expected = [
        note("ACME.WASM: the ending must be written `.wasm`; rename it to ACME.wasm"),
        note("x: it is a folder; only files in the plugins folder itself are feeds"),
    ];
    assert_eq!(case.notes(), expected);
}

#[test]
fn feeds_that_share_the_sites_broker() {
    let check = |settings: &str, expected: bool| {
        let case = Case::new().set("MQTT_BROKER_URL", "mqtt://localhost").file("plugins/a.wasm", "");
        let config = case.file("plugins/a.toml", settings).config();
        let shares: Vec<_> = config.feeds.iter().map(|feed| feed.shares_site_broker).collect();
        assert_eq!(shares, [false, expected], "{settings}");
    };
    check("", true);
    check("[broker]\nurl = \"mqtt://127.0.0.1:1883\"", true);
    check("[broker]\nurl = \"mqtt://[::1]\"", true);
    check("[broker]\nurl = \"mqtt://localhost:1884\"", false);
    let other = "[broker]\nurl = \"mqtt://broker.example\"";
    check(other, false);
    check(&format!("{other}\n[rights]\nconnect = [\"hub.example\"]"), false);
    check(&format!("{other}\n[rights]\nconnect = [\"LOCALHOST\"]"), true);
    check(&format!("{other}\n[rights]\nconnect = [\"localhost:8883\"]"), false);
}

#[test]
fn feeds_with_the_same_client_id_at_one_broker() {
    let case = |a: &str, b: &str| {
        let case = Case::new().set("SITE_ID", "S").set("MQTT_BROKER_URL", "mqtt://localhost");
        let case = case.file("plugins/a.wasm", "").file("plugins/b.wasm", "");
        case.file("plugins/a.toml", a).file("plugins/b.toml", b)
    };
    let broker = |host: &str, id: &str| format!("[broker]\nurl = \"mqtt://{host}\"\nclient_id = \"{id}\"");
    let hint =
        |other: &str| format!("is the client id of the feed `{other}` at the same broker, too; write another one");
    let equal = case(&broker("h", "x"), &broker("H", "x"));
    assert_eq!(equal.mistakes(), [format!("b.toml: broker.client_id = \"x\": {}", hint("a"))]);
    assert_eq!(names(&equal.start().unwrap()), ["default", "a"]);
    let default = case(&broker("127.0.0.1", "bessai-S"), "");
    assert_eq!(default.mistakes(), [format!("a.toml: broker.client_id = \"bessai-S\": {}", hint("default"))]);
    assert_eq!(names(&case(&broker("h", "x"), &broker("i", "x")).config()), ["default", "a", "b"]);
    assert_eq!(names(&case(&broker("h", "x"), &broker("h", "y")).config()), ["default", "a", "b"]);
}

#[test]
fn warnings_about_passwords_and_secret_files() {
    use std::os::unix::fs::PermissionsExt;
    let case = Case::new().file("plugins/a.wasm", "").file("plugins/key", "k").file("plugins/default.toml", "");
    let case = case.file("plugins/a.toml", "[broker]\nurl = \"mqtt://u:p@broker.example.com\"");
    let warning =
        "the password is sent unencrypted to mqtt://broker.example.com:1883, which is not in a private network";
    assert_eq!(case.config().warnings, [format!("a.toml: broker.url: {warning}; use mqtts://")]);
    let open = |path: PathBuf, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(case.path("plugins/key"), 0o600);
    let case = case.file("plugins/a.toml", "[secrets]\nk = { file = \"key\" }");
    assert_eq!(case.config().warnings, Vec::<String>::new());
    open(case.path(""), 0o755);
    open(case.path("plugins/key"), 0o644);
    let warnings = case.config().warnings;
    // Root's files in memory are what containers mount.
    if bessai_files::readable_by_others(&case.path("plugins/key")).is_some() {
        assert!(warnings[0].starts_with("a.toml: secrets.k: every user of this machine may read"), "{warnings:?}");
        assert!(warnings[0].contains("(mode 0644); run `chmod o-r"), "{warnings:?}");
    }
    open(case.path("plugins/key"), 0o640);
    assert_eq!(case.config().warnings, Vec::<String>::new());
}
