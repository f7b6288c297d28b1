//! Where the settings of the site's broker stand: in `[broker]`, or in the `MQTT_…` variables.

use bessai_domain::settings::SettingsTable;
use bessai_tls::SettingNames;

use super::super::environment::Variables;

/// The variables that set keys of `[broker]`.
const VARIABLES: [(&str, &str); 12] = [
    ("url", "MQTT_BROKER_URL"),
    ("username", "MQTT_USERNAME"),
    ("password", "MQTT_PASSWORD"),
    ("client_id", "MQTT_CLIENT_ID"),
    ("ca", "MQTT_TLS_CA_CERT_PATH"),
    ("pin", "MQTT_TLS_PIN"),
    ("server_name", "MQTT_TLS_SERVER_NAME"),
    ("cert", "MQTT_TLS_CERTFILE"),
    ("key", "MQTT_TLS_KEYFILE"),
    ("key_password", "MQTT_TLS_KEY_PASSWORD"),
    ("proxy", "MQTT_PROXY"),
    ("pkcs11_module", "MQTT_TLS_PKCS11_MODULE"),
];

/// Where each setting of the site's broker stands. One that is not set belongs beside the URL.
pub(super) fn site_names(has_section: bool, table: &SettingsTable<'_>, variables: &Variables<'_>) -> SettingNames {
    let mut names = SettingNames::new("broker.");
    let is_in_file = |key: &str| table.value("broker").is_some_and(|broker| broker.get(key).is_some());
    let belongs_to_variables = !has_section || variables.get("MQTT_BROKER_URL").is_some();
    for (key, variable) in VARIABLES {
        match variables.get(variable) {
            Some(set) => names.set(key, set.key),
            None if belongs_to_variables && !is_in_file(key) => names.set(key, variable),
            None => {}
        }
    }
    names
}
