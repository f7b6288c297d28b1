//! Checks names of variables: known ones, those that only the Python gateway used, and those that Kubernetes sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bessai_domain::settings::{Mistake, unknown_name_hint};

use super::env_file::{self, Assignment};
use super::findings::Findings;

/// The variables that this program reads.
const KNOWN: [&str; 24] = [
    "SITE_ID",
    "INVERTER_IP",
    "INVERTER_PORT",
    "DRIVER_PROFILE_PATH",
    "WATCHDOG_TIMEOUT",
    "MODBUS_UNIT_ID",
    "MQTT_BROKER_URL",
    "MQTT_USERNAME",
    "MQTT_PASSWORD",
    "MQTT_TLS_CA_CERT_PATH",
    "MQTT_TLS_CERTFILE",
    "MQTT_TLS_KEYFILE",
    "MQTT_TLS_KEY_PASSWORD",
    "MQTT_TLS_PIN",
    "MQTT_TLS_PKCS11_MODULE",
    "MQTT_TLS_SERVER_NAME",
    "MQTT_CLIENT_ID",
    "MQTT_PROXY",
    "LOG_LEVEL",
    "HEALTH_PORT",
    "HEALTH_HOST",
    "BESSAI_PLUGINS",
    "BESSAI_DATA",
    "TZ",
];

/// Prefixes of names that are meant for this program: an unknown one is a mistake in the process environment too.
const PREFIXES: [&str; 5] = ["MQTT_", "BESSAI_", "INVERTER_", "MODBUS_", "SITE_"];

/// Variables of the Python gateway that this program does not read.
const UNUSED: [&str; 32] = [
    "BESS_CAPACITY_MWH",
    "BESS_DEGRADATION_USD",
    "BESS_EFFICIENCY_PCT",
    "BESS_POWER_MW",
    "BESSAI_COMPLIANCE_ENABLED",
    "BESSAI_DATA_DIR",
    "BESSAI_DRL_ENABLED",
    "BESSAI_DRL_MODEL_PATH",
    "BESSAI_DRL_WRITE",
    "BESSAI_ENTSOE_TOKEN",
    "BESSAI_EUR_USD_RATE",
    "BESSAI_LIGHTWEIGHT",
    "BESSAI_MARKET",
    "BESSAI_MODE",
    "BESSAI_MODEL_PATH",
    "BESSAI_P_NOM_KW",
    "BESSAI_Q_MAX_KVAR",
    "BESSAI_SIM_MODE",
    "BESSAI_WATCHDOG_ENABLED",
    "DASHBOARD_API_KEY",
    "DASHBOARD_MFA_SECRET",
    "IEC104_HOST",
    "IEC104_PORT",
    "OT_CA_CERT_PATH",
    "OT_CLIENT_CERT_PATH",
    "OT_CLIENT_KEY_PATH",
    "OT_MTLS_ENABLED",
    "RATE_LIMIT_READ_RPM",
    "WATCHDOG_BACKOFF_BASE_S",
    "WATCHDOG_BACKOFF_MAX_S",
    "WATCHDOG_HEALTH_INTERVAL_S",
    "WATCHDOG_MAX_HEAL_RETRIES",
];

/// Prefixes of further variables of the Python gateway that this program does not read.
const UNUSED_PREFIXES: [&str; 10] =
    ["ALERT_", "BESSAI_DRL_", "CEN_", "CSIRT_", "FL_", "GCP_", "OTEL_", "SC_", "SEP2_", "VPP_"];

/// The cache folder of this project's scripts; the program does not read it.
const SCRIPTS_CACHE: &str = "BESSAI_CACHE";

/// Names in the Python gateway's guides that no program reads, each with the intended one.
const MISNAMED: [(&str, &str); 13] = [
    ("BESSAI_SITE_ID", "SITE_ID"),
    ("DEVICE_PROFILE", "DRIVER_PROFILE_PATH"),
    ("INVERTER_HOST", "INVERTER_IP"),
    ("MODBUS_HOST", "INVERTER_IP"),
    ("MODBUS_PORT", "INVERTER_PORT"),
    ("MODBUS_SLAVE_ID", "MODBUS_UNIT_ID"),
    ("MQTT_BROKER_HOST", "MQTT_BROKER_URL"),
    ("MQTT_BROKER_PORT", "MQTT_BROKER_URL"),
    ("MQTT_CA_CERT", "MQTT_TLS_CA_CERT_PATH"),
    ("MQTT_ENABLED", "MQTT_BROKER_URL"),
    ("MQTT_SITE_ID", "SITE_ID"),
    ("MQTT_USE_TLS", "MQTT_BROKER_URL"),
    ("WATCHDOG_TIMEOUT_S", "WATCHDOG_TIMEOUT"),
];

/// Adds a mistake for each unknown name, and one note that lists the unused ones.
pub(super) fn check(process: &BTreeMap<String, String>, env_file: &[Assignment], findings: &Findings) {
    let quoted = |name: &&str| process.get(*name).is_some_and(|value| without_quotes(value).is_some());
    for name in KNOWN.iter().filter(|name| quoted(name)) {
        let hint = "the quotes around the value are part of it, as docker's --env-file leaves them; remove them";
        findings.causes.add(Mistake::without_value(*name, hint));
    }
    let mut unused = BTreeSet::new();
    for (name, value) in process.iter().filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix))) {
        if is_from_kubernetes(name, value, process) || name == SCRIPTS_CACHE || KNOWN.contains(&name.as_str()) {
            continue;
        }
        if is_unused(name) {
            unused.insert(name.as_str());
        } else if !value.is_empty() {
            findings.environment.add(Mistake::without_value(name, unknown_hint(name)));
        }
    }
    for Assignment { name, line, .. } in env_file.iter().filter(|entry| !KNOWN.contains(&entry.name.as_str())) {
        if is_unused(name) {
            unused.insert(name.as_str());
        } else {
            let key = format!("{name} ({} line {line})", env_file::NAME);
            findings.env_file.add(Mistake::without_value(key, unknown_hint(name)));
        }
    }
    if !unused.is_empty() {
        let unused: Vec<_> = unused.into_iter().collect();
        findings.note(format!("variables of the Python gateway have no effect: {}", unused.join(", ")));
    }
}

/// The value within quotes, if the variable of a process has some: a shell would have removed them.
pub(super) fn without_quotes(value: &str) -> Option<&str> {
    let value = value.trim();
    ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
}

fn is_unused(name: &str) -> bool {
    UNUSED.contains(&name) || UNUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn unknown_hint(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    match MISNAMED.iter().find(|(misnamed, _)| *misnamed == name) {
        Some((_, intended)) => format!("is unknown; did you mean `{intended}`?"),
        None => unknown_name_hint(&name, KNOWN.into_iter()),
    }
}

/// Whether Kubernetes set this variable for a Service of the namespace: `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`,
/// `NAME_SERVICE_PORT_…`, `NAME_PORT`, `NAME_PORT_<number>_TCP…`, each recognised by its value too. For a Service called
/// `inverter` it sets `INVERTER_PORT=tcp://…`, which is not this program's setting.
pub(super) fn is_from_kubernetes(name: &str, value: &str, process: &BTreeMap<String, String>) -> bool {
    /// The protocols of a Service's ports, as its variables name them.
    const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
    let is_number = || value.parse::<u16>().is_ok();
    let is_address = || value.parse::<IpAddr>().is_ok();
    let is_url = || value.split_once("://").is_some_and(|(scheme, _)| PROTOCOLS.contains(&scheme));
    let is_service = |service: &str| process.contains_key(&format!("{service}_SERVICE_HOST"));
    if name.ends_with("_SERVICE_HOST") {
        return is_address();
    }
    if let Some((service, rest)) = name.split_once("_SERVICE_PORT") {
        return (rest.is_empty() || rest.starts_with('_')) && is_service(service) && is_number();
    }
    let Some((service, rest)) = name.split_once("_PORT") else { return false };
    if !is_service(service) {
        return false;
    }
    match rest.split('_').collect::<Vec<_>>().as_slice() {
        [""] | ["", _, "TCP" | "UDP" | "SCTP"] => is_url(),
        ["", _, "TCP" | "UDP" | "SCTP", "PROTO"] => PROTOCOLS.contains(&value),
        ["", _, "TCP" | "UDP" | "SCTP", "PORT"] => is_number(),
        ["", _, "TCP" | "UDP" | "SCTP", "ADDR"] => is_address(),
        _ => false,
    }
}
