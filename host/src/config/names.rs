//! Which names of variables are known, which are of the Python gateway alone, and which come from Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bessai_domain::settings::{Mistake, unknown};

use super::env_file::{self, Line};
use super::findings::Findings;

/// Variables with a meaning here.
const KNOWN: [&str; 18] = [
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
    "MQTT_CLIENT_ID",
    "LOG_LEVEL",
    "HEALTH_PORT",
    "HEALTH_HOST",
    "BESSAI_PLUGINS",
    "BESSAI_DATA",
];

/// A name that begins so is meant for this program, so an unknown one is a mistake in the process environment too.
const OURS: [&str; 5] = ["MQTT_", "BESSAI_", "INVERTER_", "MODBUS_", "SITE_"];

/// Variables of the Python gateway that mean nothing here.
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

/// Families of them.
const UNUSED_FAMILIES: [&str; 10] =
    ["ALERT_", "BESSAI_DRL_", "CEN_", "CSIRT_", "FL_", "GCP_", "OTEL_", "SC_", "SEP2_", "VPP_"];

/// The folder of compiled things that this project's own scripts name.
const OF_OUR_SCRIPTS: &str = "BESSAI_CACHE";

/// Names from the Python gateway's guides that it never read, with what is meant.
const MEANT: [(&str, &str); 13] = [
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

/// Says which names are unknown, and once which mean nothing here.
pub(super) fn check(process: &BTreeMap<String, String>, lines: &[Line], findings: &Findings) {
    let mut unused = BTreeSet::new();
    for (name, value) in process.iter().filter(|(name, _)| OURS.iter().any(|prefix| name.starts_with(prefix))) {
        if is_from_kubernetes(name, value, process) || name == OF_OUR_SCRIPTS || KNOWN.contains(&name.as_str()) {
            continue;
        }
        if is_unused(name) {
            unused.insert(name.as_str());
        } else if !value.is_empty() {
            findings.environment.add(Mistake::bare(name, sentence(name)));
        }
    }
    for Line { name, number, .. } in lines.iter().filter(|line| !KNOWN.contains(&line.name.as_str())) {
        if is_unused(name) {
            unused.insert(name.as_str());
        } else {
            findings.env_file.add(Mistake::bare(format!("{name} ({} line {number})", env_file::NAME), sentence(name)));
        }
    }
    if !unused.is_empty() {
        let unused: Vec<_> = unused.into_iter().collect();
        findings.note(format!("variables of the Python gateway that mean nothing here: {}", unused.join(", ")));
    }
}

fn is_unused(name: &str) -> bool {
    UNUSED.contains(&name) || UNUSED_FAMILIES.iter().any(|family| name.starts_with(family))
}

fn sentence(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    match MEANT.iter().find(|(written, _)| *written == name) {
        Some((_, meant)) => format!("is unknown; did you mean `{meant}`?"),
        None => unknown(&name, KNOWN.into_iter()),
    }
}

/// Whether Kubernetes set this for a Service of the namespace: `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT`,
/// `NAME_SERVICE_PORT_…`, `NAME_PORT`, `NAME_PORT_<number>_TCP…`, all with the values that it writes there. A Service
/// called `inverter` so sets `INVERTER_PORT=tcp://…`, which is not our setting.
pub(super) fn is_from_kubernetes(name: &str, value: &str, process: &BTreeMap<String, String>) -> bool {
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
