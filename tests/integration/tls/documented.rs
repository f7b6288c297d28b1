//! The commands of the documentation that make certificates and pins.

use super::*;
use crate::docs::page::pages;

#[test]
fn documented_commands_make_a_certificate_that_works_and_its_pin() {
    for folder in ["docs", "docs/es"] {
        let commands = |page: &str| {
            let name = format!("{folder}/{page}");
            let blocks = pages().into_iter().filter(|block| block.name == name).flat_map(|page| page.blocks);
            let found: Vec<_> = blocks.filter(|block| block.info == "sh openssl").map(|block| block.body).collect();
            assert_eq!(found.len(), 1, "{name}");
            found.concat()
        };
        let workshop = Workshop(crate::support::folder());
        workshop.sh(&commands("brokers.md"));
        let broker = broker(&workshop.pem("server"), None, &[]);
        let ca = text(&workshop.path("ca.crt"));
        let name = ("MQTT_TLS_SERVER_NAME", "broker.example.com");
        test(&site(broker.port, &[("MQTT_TLS_CA_CERT_PATH", &ca), name])).succeeds();
        workshop.sh(&format!("cp server.crt broker.crt; ({}) > pin", commands("configuration.md")));
        let pin = std::fs::read_to_string(workshop.path("pin")).unwrap();
        test(&site(broker.port, &[("MQTT_TLS_PIN", &format!("sha256:{}", pin.trim()))])).succeeds();
    }
}
