//! Settings to start from.

use super::bodies::SEPARATOR;

/// A site with everything that can be set.
const SITE: &str = r#"
site = "SITE-CL-001"
[[device]]
name = "battery"
address = "tcp://192.168.1.20:1502"
unit = 3
profile = "own"
period = "1s"
[[device]]
name = "meter"
address = "rtu:///dev/ttyS0?baud=9600&parity=even"
profile = "old"
[broker]
url = "mqtts://u:p%40@b.example"
client_id = "me"
protocol = "3.1.1"
alpn = "mqtt"
keep_alive = "30s"
in_flight = 16
[safety]
soc_pct = { max = 90 }
temp_c = false
power_kw = { min = -5, max = 5.5 }
[[model]]
file = "models/dispatch.onnx"
device = "battery"
[journal]
dir = "j"
sync = "every-event"
max_size = "2GiB"
max_age = "1h"
[plugins]
compile_memory = "64MiB"
compile_time = "1m"
"#;
/// A site of variables.
const VARIABLES: &str = "SITE_ID=S # comment\nexport INVERTER_IP='10.0.0.1'\nINVERTER_PORT=502\n\
                         MQTT_BROKER_URL=\"mqtt://u:p@broker:1883\"\nMQTT_PASSWORD=\"a\\n$b\"\nWATCHDOG_TIMEOUT=0.5\n\
                         LOG_LEVEL=debug\nHEALTH_HOST=localhost\nMODBUS_UNIT_ID=3\nDRIVER_PROFILE_PATH=own\n";
/// A feed with everything that can be set.
const FEED: &str = r#"
enabled = true
start = 2026-01-02T03:04:05Z
[broker]
url = "wss://u@hub.example:443/mqtt"
password = { file = "key" }
[config]
channels = ["soc_pct", 1, 0.5, true, 2026-01-02]
nested = { "a b" = [] }
[secrets]
device-key = { env = "PASSWORD", encoding = "hex" }
[rights]
topics = ["acme/+/telemetry", "acme/#"]
read = ["battery"]
connect = ["hub.example:8883"]
write = ["battery/power_kw"]
[limits]
memory = "16MiB"
call = "100ms"
rate = "10/s"
qos = 1
max_age = "1h"
"#;
/// A profile of the site.
const PROFILE: &str = "timeout = \"1s\"\n[points]\nsoc_pct = { address = 1, type = \"uint16\", scale = 0.1, unit = \"%\" }\n\
                       power_kw = { address = 3, type = \"int32\", scale = 0.001, access = \"RW\" }\n";
/// A profile of the Python gateway.
const OLD_PROFILE: &str = include_str!("../../../../../tests/profiles/simulator.json");
/// Texts that mean something in one of the files.
pub(crate) const WORDS: [&str; 24] = [
    "\n",
    "\"",
    "'",
    "=",
    "[",
    "]]",
    "{",
    "}",
    "#",
    "\\u0000",
    "\\n",
    "\u{85}",
    "1e400",
    "nan",
    "-inf",
    "0x7fffffffffffffff",
    "99999999999999999999",
    "∞",
    "mqtt://",
    "@",
    "%00",
    "+",
    "1970-01-01",
    "\u{1b}[31m",
];

/// The first seeds are valid.
pub(crate) const VALID: usize = 2;

/// Files of one input, the missing ones empty.
fn files(texts: [&str; 6]) -> Vec<u8> {
    texts.map(str::as_bytes).join(&SEPARATOR)
}

pub(crate) fn settings() -> Vec<Vec<u8>> {
    let device = "[[device]]\naddress = \"tls://inverter\"\nprofile = \"sunspec\"\n";
    vec![
        files([SITE, "", FEED, "", PROFILE, OLD_PROFILE]),
        files(["", VARIABLES, FEED, "[config]\nchannels = \"all\"\n", PROFILE, OLD_PROFILE]),
        files([device, VARIABLES, "", "enabled = false\n", "", ""]),
        files([
            "site = \"S\"\nplugins = 3\n[[device]]\n",
            "MQTT_BROKER_URL=ws://h:80/mqtt\n",
            "component = \"x\"\n",
            "",
            "",
            "",
        ]),
    ]
}
