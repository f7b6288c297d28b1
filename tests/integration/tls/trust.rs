//! Certificates of brokers that are not trusted as they are.

use super::*;
use crate::support::certificates::Authority;

/// The settings of a site that trusts the CA of a workshop.
fn trusting(port: u16, workshop: &Workshop) -> Setup {
    site(port, &[("MQTT_TLS_CA_CERT_PATH", &text(&workshop.path("ca.crt")))])
}

#[test]
fn a_trusted_broker_shows_what_it_presents_and_grants() {
    let workshop = Workshop::new();
    let broker = broker(&workshop.sign("localhost"), None, &["max_packet_size 5000", "max_inflight_messages 7"]);
    let tested = test(&trusting(broker.port, &workshop)).succeeds();
    for line in [
        "client id bessai-SITE-CL-001-test, not bessai-SITE-CL-001, whose session continues",
        "TLS 1.3 with TLS_AES_256_GCM_SHA384; the broker presented:",
        "  certificate 1: CN=localhost, signed by CN=Plant CA",
        "    for localhost, 127.0.0.1",
        "X.509 version 3, P-256",
        "    pin sha256:",
        "  trusted, because a trusted CA has signed it for this name",
        "  the broker asked for no client certificate",
        "signed in with MQTT 5; the broker grants:",
        "  receive maximum: 7",
        "  maximum packet size: 5000 bytes",
        "  retain available: yes",
        "signed out; nothing was published",
    ] {
        assert!(tested.out.contains(line), "{line:?} is missing: {}", tested.out);
    }
    assert!(!broker.log().contains("PUBLISH"), "{}", broker.log());
}

#[test]
fn a_self_signed_certificate_is_trusted_by_its_file_or_its_pin() {
    let workshop = Workshop::new();
    // As openssl makes it by default, with the mark of a CA, and only a common name.
    workshop.sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.crt -days 30 -subj /CN=broker");
    let broker = broker(&workshop.pem("own"), None, &[]);
    let refused = test(&trusting(broker.port, &workshop)).fails(&[
        "the broker's certificate \"CN=broker\" is self-signed",
        "trust this certificate itself: its file as MQTT_TLS_CA_CERT_PATH, or MQTT_TLS_PIN = \"sha256:",
    ]);
    assert!(refused.out.contains("TLS failed; the broker presented:\n  certificate 1: CN=broker"), "{}", refused.out);
    let pin = refused.pin();
    let by_pin = test(&site(broker.port, &[("MQTT_TLS_PIN", &pin)])).succeeds();
    assert!(by_pin.out.contains("it has the pin of the settings") && by_pin.out.contains(&pin), "{}", by_pin.out);
    let by_file = test(&site(broker.port, &[("MQTT_TLS_CA_CERT_PATH", &text(&workshop.path("own.crt")))])).succeeds();
    assert!(by_file.out.contains("it is one of the certificates in the CA file"), "{}", by_file.out);
}

#[test]
fn a_certificate_of_version_1_is_replaced_by_the_named_command_or_trusted_itself() {
    let workshop = Workshop::new();
    // What mosquitto-tls(7) shows.
    workshop.sh(
        "openssl genrsa -out old.key 2048; openssl req -out old.csr -key old.key -new -subj /CN=localhost; openssl x509 -req -in \
         old.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out old.crt -days 30",
    );
    for version in VERSIONS {
        let broker = limited(&workshop.pem("old"), None, version);
        let refused = test(&trusting(broker.port, &workshop)).fails(&["is of X.509 version 1, which states no names"]);
        let pin = refused.pin();
        let tested = test(&site(broker.port, &[("MQTT_TLS_PIN", &pin)])).succeeds();
        assert!(tested.out.contains(&version.replace("v", " ")), "{}", tested.out);
        test(&site(broker.port, &[("MQTT_TLS_CA_CERT_PATH", &text(&workshop.path("old.crt")))])).succeeds();
        drop(broker);
        workshop.sh(&refused.command());
        let broker = limited(&workshop.pem("server"), None, version);
        test(&trusting(broker.port, &workshop)).succeeds();
    }
}

#[test]
fn a_name_in_the_subject_alone_is_explained() {
    let workshop = Workshop::new();
    let rsa = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";
    let broker = broker(&workshop.sign_with("localhost", "basicConstraints=CA:FALSE\n", rsa), None, &[]);
    let expected = "states its name only in its subject, \"CN=localhost\", where clients no longer look for it";
    let refused = test(&trusting(broker.port, &workshop)).fails(&[expected]);
    test(&site(broker.port, &[("MQTT_TLS_PIN", &refused.pin())])).succeeds();
    drop(broker);
    workshop.sh(&refused.command());
    let broker = super::broker(&workshop.pem("server"), None, &[]);
    test(&trusting(broker.port, &workshop)).succeeds();
}

#[test]
fn another_name_is_accepted_as_server_name() {
    let workshop = Workshop::new();
    let names = "subjectAltName=DNS:broker.plant.example,DNS:*.plant.example\n";
    let certificate = workshop.sign_with("plant", names, "-algorithm ED25519");
    let broker = broker(&certificate, None, &[]);
    let expected = "is for broker.plant.example, *.plant.example, and not for \"localhost\"; write one of these names in \
                    MQTT_BROKER_URL, or set MQTT_TLS_SERVER_NAME = \"broker.plant.example\"";
    test(&trusting(broker.port, &workshop)).fails(&[expected]);
    let named = trusting(broker.port, &workshop).with("MQTT_TLS_SERVER_NAME", "broker.plant.example");
    test(&named).succeeds();
    // The same in a feed's file, whose key the error names.
    let feed = |more: &str| {
        let ca = text(&workshop.path("ca.crt"));
        format!("[broker]\nurl = \"mqtts://localhost:{}\"\nca = \"{ca}\"\n{more}", broker.port)
    };
    let site = Setup::new().device(1).file("plugins/default.toml", feed(""));
    test(&site).fails(&["in default.toml: broker.url, or set default.toml: broker.server_name = "]);
    test(&site.file("plugins/default.toml", feed("server_name = \"x.plant.example\"\n"))).succeeds();
}

#[test]
fn an_unknown_authority_is_named_with_the_setting() {
    let (workshop, other) = (Workshop::new(), Workshop::new());
    let broker = broker(&workshop.sign("localhost"), None, &[]);
    let other_key = "the broker's certificate is from \"CN=Plant CA\", and the certificate in MQTT_TLS_CA_CERT_PATH = ";
    test(&trusting(broker.port, &other)).fails(&[other_key, "has the same name, but another key"]);
    let third = folder();
    let third = Authority::new(third.path(), "third");
    let ca = text(&third.pem.certificate);
    let absent = ["from \"CN=Plant CA\", a CA that is not in MQTT_TLS_CA_CERT_PATH = ", "which has \"CN=third\""];
    test(&site(broker.port, &[("MQTT_TLS_CA_CERT_PATH", &ca)])).fails(&absent);
    let system =
        "a CA that this system does not trust; set MQTT_TLS_CA_CERT_PATH to the file with that CA's certificate";
    let roots = [("SSL_CERT_FILE", ca.as_str())];
    test(&site(broker.port, &roots)).fails(&[system]);
}

#[test]
fn dates_are_shown_with_the_clock() {
    let folder = folder();
    let authority = Authority::new(folder.path(), "ca");
    let ca = text(&authority.pem.certificate);
    let expired = broker(&authority.sign_expired("localhost"), None, &[]);
    let setup = site(expired.port, &[("MQTT_TLS_CA_CERT_PATH", &ca)]);
    test(&setup)
        .fails(&["the broker's certificate expired on 2021-01-01T00:00:00Z; renew it (this machine's clock says 2"]);
    let future = broker(&authority.sign_from_2099("localhost"), None, &[]);
    let setup = site(future.port, &[("MQTT_TLS_CA_CERT_PATH", &ca)]);
    let expected = "is valid from 2099-01-01T00:00:00Z on, and this machine's clock says 2";
    test(&setup).fails(&[expected, "the clock may be wrong"]);
}

#[test]
fn a_wrong_pin_is_answered_with_the_right_one() {
    let workshop = Workshop::new();
    let broker = broker(&workshop.sign("localhost"), None, &[]);
    let wrong = format!("sha256:{}=", "A".repeat(43));
    let refused = test(&site(broker.port, &[("MQTT_TLS_PIN", &wrong)]));
    let refused = refused.fails(&[
        "has the pin sha256:",
        &format!("and MQTT_TLS_PIN is {wrong}; if that certificate is the right one, set"),
    ]);
    let right = refused.error.split("set MQTT_TLS_PIN = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    test(&site(broker.port, &[("MQTT_TLS_PIN", &right)])).succeeds();
    // The fingerprint of the certificate, as openssl prints it, is not the pin.
    let print = "openssl x509 -in localhost.crt -noout -fingerprint -sha256 | cut -d= -f2 > fingerprint";
    workshop.sh(print);
    let fingerprint = format!("sha256:{}", std::fs::read_to_string(workshop.path("fingerprint")).unwrap().trim());
    let hint = format!(
        "MQTT_TLS_PIN is the fingerprint of the broker's certificate; write the pin of its public key: MQTT_TLS_PIN = \"{right}\""
    );
    test(&site(broker.port, &[("MQTT_TLS_PIN", &fingerprint)])).fails(&[&hint]);
    // With a CA both must be right.
    let both = |pin: &str| trusting(broker.port, &workshop).with("MQTT_TLS_PIN", pin);
    test(&both(&right)).succeeds();
    test(&both(&wrong)).fails(&["has the pin"]);
    test(&site(broker.port, &[("MQTT_TLS_PIN", "sha256:short")]))
        .has_wrong_settings(&["MQTT_TLS_PIN = sha256:short: write sha256: and"]);
}
