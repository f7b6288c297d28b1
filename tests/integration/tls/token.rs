//! Client keys in a token: SoftHSM stands for an HSM or a TPM.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::docs::page::pages;
use crate::support::device::Device;
use crate::support::within;

/// Where Debian puts SoftHSM's module.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Further keys of the token, and how openssl makes them.
const OTHER_KEYS: [(&str, &str); 3] = [
    ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
    ("ed25519", "-algorithm ED25519"),
    ("p521", "-algorithm EC -pkeyopt ec_paramgen_curve:P-521"),
];

/// A broker that requires client certificates, and a token `gateway` with the keys of the certificates `ec` and `rsa`, and of
/// [`OTHER_KEYS`].
struct Hardware {
    workshop: Workshop,
    broker: Broker,
}

impl Hardware {
    fn new(version: &str) -> Self {
        assert!(Path::new(MODULE).exists(), "SoftHSM is missing: run scripts/setup");
        let workshop = Workshop::new();
        let broker = limited(&workshop.sign("localhost"), Some(&workshop.pem("ca")), version);
        workshop.sign("ec");
        workshop.sign_with("rsa", "subjectAltName=DNS:client\n", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048");
        for (name, options) in OTHER_KEYS {
            workshop.sign_with(name, "subjectAltName=DNS:client\n", options);
        }
        std::fs::create_dir(workshop.path("tokens")).unwrap();
        std::fs::write(
            workshop.path("softhsm.conf"),
            format!("directories.tokendir = {}\n", text(&workshop.path("tokens"))),
        )
        .unwrap();
        workshop.sh(
            "export SOFTHSM2_CONF=$PWD/softhsm.conf; softhsm2-util --init-token --free --label gateway --pin 1234 --so-pin 5678; softhsm2-util \
             --import ec.key --token gateway --label ec --id 01 --pin 1234; softhsm2-util --import rsa.key --token gateway --label rsa --id \
             02ff --pin 1234; rm ec.key rsa.key; echo 1234 > pin; chmod 600 pin",
        );
        for (index, (name, _)) in OTHER_KEYS.iter().enumerate() {
            workshop.sh(&format!(
                "export SOFTHSM2_CONF=$PWD/softhsm.conf; softhsm2-util --import {name}.key --token gateway --label {name} --id 1{index} --pin \
                 1234; rm {name}.key"
            ));
        }
        Self { workshop, broker }
    }

    fn site(&self, certificate: &str, uri: &str, pin: &str) -> Setup {
        let path = |name: &str| text(&self.workshop.path(name));
        site(
            self.broker.port,
            &[
                ("SOFTHSM2_CONF", &path("softhsm.conf")),
                ("MQTT_TLS_CA_CERT_PATH", &path("ca.crt")),
                ("MQTT_TLS_CERTFILE", &path(certificate)),
                ("MQTT_TLS_KEYFILE", uri),
                ("MQTT_TLS_KEY_PASSWORD", pin),
                ("MQTT_TLS_PKCS11_MODULE", MODULE),
            ],
        )
    }
}

#[test]
fn keys_in_a_token_sign_in_every_version_of_tls() {
    for version in VERSIONS {
        let hardware = Hardware::new(version);
        for (certificate, uri) in [
            ("ec.crt", "pkcs11:token=gateway;object=ec"),
            ("rsa.crt", "pkcs11:token=gateway;id=%02%ff;type=private"),
            ("p384.crt", "pkcs11:token=gateway;object=p384"),
            ("ed25519.crt", "pkcs11:token=gateway;object=ed25519"),
        ] {
            let tested = test(&hardware.site(certificate, uri, "1234")).succeeds();
            assert!(tested.out.contains(&version.replace("v", " ")), "{}", tested.out);
            let subject = certificate.trim_end_matches(".crt");
            assert!(tested.out.contains(&format!("client certificate and got CN={subject}")), "{}", tested.out);
        }
    }
}

#[tokio::test]
async fn the_documented_settings_deliver_with_a_key_in_a_token() {
    let (hardware, device) = (Hardware::new("TLSv1.3"), Device::huawei());
    let path = |name: &str| text(&hardware.workshop.path(name));
    let sample = pages().into_iter().flat_map(|page| page.blocks).find(|block| block.info == "toml token").unwrap();
    let mut feed = format!("{}ca = \"{}\"\n", sample.body, path("ca.crt"));
    for (documented, own) in [
        ("mqtts://broker.example.com", format!("mqtts://localhost:{}", hardware.broker.port)),
        ("/certs/gateway.crt", path("ec.crt")),
        ("object=client", "object=ec".to_owned()),
        ("/run/secrets/pin", path("pin")),
    ] {
        assert!(feed.contains(documented), "{feed}");
        feed = feed.replace(documented, &own);
    }
    let setup = Setup::new().device(device.port()).with("SOFTHSM2_CONF", path("softhsm.conf"));
    let gateway = setup.file("plugins/default.toml", feed).run();
    within("a delivered message", async {
        while gateway.health().await["feeds"]["default"]["delivered"].as_u64() == Some(0) {}
    })
    .await;
    assert!(gateway.stop().await.success());
}

#[test]
fn what_is_wrong_with_a_token_is_named_with_its_setting() {
    let hardware = Hardware::new("TLSv1.3");
    let not_a_module = hardware.workshop.path("ca.crt");
    std::fs::set_permissions(&not_a_module, std::fs::Permissions::from_mode(0o644)).unwrap();
    for (certificate, uri, pin, expected) in [
        (
            "ec.crt",
            "pkcs11:token=gateway;object=ec",
            "9999",
            "MQTT_TLS_KEY_PASSWORD: is not the PIN of the token \"gateway\"",
        ),
        (
            "ec.crt",
            "pkcs11:token=gateway;object=ec",
            "",
            "MQTT_TLS_KEY_PASSWORD: is not set, and the token \"gateway\" wants a PIN",
        ),
        ("ec.crt", "pkcs11:token=other;object=ec", "1234", "there is no such token; the module has \"gateway\""),
        ("ec.crt", "pkcs11:token=gateway;object=no", "1234", "the token \"gateway\" has no such private key"),
        (
            "rsa.crt",
            "pkcs11:token=gateway;object=ec",
            "1234",
            "it is not the key of the certificate of MQTT_TLS_CERTFILE, which is for \"CN=rsa\"",
        ),
        (
            "localhost.crt",
            "pkcs11:token=gateway;object=ec",
            "1234",
            "it is not the key of the certificate of MQTT_TLS_CERTFILE",
        ),
        (
            "p521.crt",
            "pkcs11:token=gateway;object=p521",
            "1234",
            "the token cannot sign with P-521 as TLS needs it; use a key of P-256 or RSA with 2048 bits",
        ),
        ("ec.crt", "pkcs11:token=gateway", "1234", "it names no key; write pkcs11:token=LABEL;object=LABEL"),
        (
            "ec.crt",
            "pkcs11:object=ec?pin-value=1234",
            "1234",
            "a PIN does not belong into the URI; set MQTT_TLS_KEY_PASSWORD",
        ),
    ] {
        let setup = hardware.site(certificate, uri, pin);
        test(&setup).has_wrong_settings(&[expected]);
        assert_eq!(setup.output(&["check"]).status.code(), Some(78), "{uri}");
    }
    let setup = hardware.site("ec.crt", "pkcs11:token=gateway;object=ec", "1234");
    let setup = setup.with("MQTT_TLS_PKCS11_MODULE", text(&not_a_module));
    test(&setup).has_wrong_settings(&["MQTT_TLS_PKCS11_MODULE = ", "is not a PKCS#11 module that can be loaded"]);
    let missing = "the module that reaches the token is missing; set MQTT_TLS_PKCS11_MODULE too";
    test(&setup.with("MQTT_TLS_PKCS11_MODULE", "")).has_wrong_settings(&["MQTT_TLS_KEYFILE = pkcs11:", missing]);
}
