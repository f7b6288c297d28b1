//! Files with certificates as people have them.

use super::*;

#[test]
fn ca_files_are_read_whatever_tool_has_written_them() {
    let (workshop, other) = (Workshop::new(), Workshop::new());
    let broker = broker(&workshop.sign("localhost"), None, &[]);
    std::fs::copy(other.path("ca.crt"), workshop.path("other.crt")).unwrap();
    workshop.sh(
        "(printf '\\357\\273\\277'; cat ca.crt other.crt) | sed 's/$/\\r/' > mark.pem; (printf '\\357\\273\\277'; cat other.crt ca.crt) > \
         last.pem; openssl x509 -in ca.crt -text -out text.pem; openssl x509 -in ca.crt -trustout -addtrust serverAuth -out trusted.pem; \
         openssl x509 -in ca.crt -outform DER -out ca.der; sed 's/^/  /' ca.crt > indented.pem; tr '\\n' '\\r' < ca.crt > mac.pem; cat \
         ca.key ca.crt > with-key.pem",
    );
    for file in ["mark.pem", "last.pem", "text.pem", "trusted.pem", "ca.der", "indented.pem", "mac.pem", "with-key.pem"]
    {
        let tested = test(&site(broker.port, &[("MQTT_TLS_CA_CERT_PATH", &text(&workshop.path(file)))]));
        assert_eq!(tested.code, Some(0), "{file}: {}", tested.error);
    }
}

#[test]
fn files_that_are_no_certificates_are_named_with_the_setting() {
    let workshop = Workshop::new();
    let files: [(&str, &[u8], &str); 6] = [
        ("empty.pem", b"", "it contains no certificate, neither in PEM nor in DER format"),
        ("words.pem", b"trust me", "it contains no certificate"),
        ("broken.pem", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "is not valid PEM"),
        ("cut.pem", b"-----BEGIN CERTIFICATE-----\nMIIB", "its END line is missing"),
        (
            "damaged.pem",
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "certificate 1 of 1 in it is damaged",
        ),
        ("utf16.pem", &[0xff, 0xfe, b'-', 0], "it is UTF-16 text; save it as UTF-8"),
    ];
    for (name, content, expected) in files {
        std::fs::write(workshop.path(name), content).unwrap();
        let path = text(&workshop.path(name));
        let of_site = site(1, &[("MQTT_TLS_CA_CERT_PATH", &path)]);
        test(&of_site).has_wrong_settings(&[&format!("MQTT_TLS_CA_CERT_PATH = {path}: "), expected]);
        // The same in a feed's file, and in `check`.
        let feed = format!("[broker]\nurl = \"mqtts://localhost\"\nca = \"{path}\"\n");
        let of_feed = Setup::new().device(1).file("plugins/default.toml", feed);
        test(&of_feed).has_wrong_settings(&[&format!("default.toml: broker.ca = {path}: "), expected]);
        let checked = of_feed.output(&["check"]);
        let error = String::from_utf8(checked.stderr).unwrap();
        assert!(error.contains(&format!("default.toml: broker.ca = {path}: ")) && error.contains(expected), "{error}");
        assert_eq!(checked.status.code(), Some(78));
    }
}

#[test]
fn a_certificate_without_its_key_names_the_missing_setting() {
    let workshop = Workshop::new();
    let path = text(&workshop.path("ca.crt"));
    let without_key = site(1, &[("MQTT_TLS_CERTFILE", &path)]);
    test(&without_key).has_wrong_settings(&["the certificate's private key is missing; set MQTT_TLS_KEYFILE too"]);
    let feed = format!("[broker]\nurl = \"mqtts://localhost\"\nkey = \"{path}\"\n");
    let without_certificate = Setup::new().device(1).file("plugins/default.toml", feed);
    test(&without_certificate).has_wrong_settings(&[
        "default.toml: broker.key = ",
        "the private key's certificate is missing; set default.toml: broker.cert too",
    ]);
}
