//! Client certificates and their keys.

use super::*;

/// A broker that requires client certificates of the workshop's CA, and the settings for it with this identity.
struct Mutual {
    workshop: Workshop,
    broker: Broker,
}

impl Mutual {
    fn new(version: &str) -> Self {
        let workshop = Workshop::new();
        let broker = limited(&workshop.sign("localhost"), Some(&workshop.pem("ca")), version);
        Self { workshop, broker }
    }

    fn site(&self, certificate: &str, key: &str) -> Setup {
        let path = |name: &str| text(&self.workshop.path(name));
        site(
            self.broker.port,
            &[
                ("MQTT_TLS_CA_CERT_PATH", &path("ca.crt")),
                ("MQTT_TLS_CERTFILE", &path(certificate)),
                ("MQTT_TLS_KEYFILE", &path(key)),
            ],
        )
    }
}

#[test]
fn a_client_certificate_is_asked_for_and_refused_with_a_reason() {
    for version in VERSIONS {
        let mutual = Mutual::new(version);
        let ca = text(&mutual.workshop.path("ca.crt"));
        let wanted = "set MQTT_TLS_CERTFILE and MQTT_TLS_KEYFILE";
        test(&site(mutual.broker.port, &[("MQTT_TLS_CA_CERT_PATH", &ca)])).fails(&["client certificate", wanted]);
        mutual.workshop.sign("client");
        let accepted = test(&mutual.site("client.crt", "client.key")).succeeds();
        assert!(accepted.out.contains("asked for a client certificate and got CN=client"), "{}", accepted.out);
        let other = Workshop::new();
        other.sign("stranger");
        let stranger = [other.path("stranger.crt"), other.path("stranger.key")].map(|path| text(&path));
        let refused = test(&mutual.site(&stranger[0], &stranger[1])).fails(&["client certificate", "CN=stranger"]);
        assert!(refused.error.contains("MQTT_TLS_CERTFILE"), "{}", refused.error);
    }
}

#[test]
fn keys_are_read_in_every_common_format() {
    let mutual = Mutual::new("TLSv1.3");
    let workshop = &mutual.workshop;
    workshop.sign("ec");
    workshop.sign_with("rsa", "subjectAltName=DNS:client\n", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048");
    workshop.sign_with("ed", "subjectAltName=DNS:client\n", "-algorithm ED25519");
    workshop.sh(
        "openssl ec -in ec.key -out ec-sec1.key; openssl rsa -in rsa.key -traditional -out rsa-pkcs1.key; openssl pkcs8 -topk8 \
         -nocrypt -in ec.key -outform DER -out ec-pkcs8.der; openssl rsa -in rsa.key -traditional -outform DER -out rsa-pkcs1.der; \
         openssl ec -in ec.key -outform DER -out ec-sec1.der; (cat ca.crt; cat ec.crt) > ca-first.pem; (printf '\\357\\273\\277# the \
         key of the client\\n'; cat ec.crt ec-sec1.key) | sed 's/$/\\r/' > all.pem; openssl x509 -in ec.crt -outform DER -out ec.der; \
         chmod 600 *",
    );
    for (certificate, key) in [
        ("ec.crt", "ec.key"),
        ("ec.crt", "ec-sec1.key"),
        ("rsa.crt", "rsa.key"),
        ("rsa.crt", "rsa-pkcs1.key"),
        ("ed.crt", "ed.key"),
        ("ec.crt", "ec-pkcs8.der"),
        ("rsa.crt", "rsa-pkcs1.der"),
        ("ec.crt", "ec-sec1.der"),
        ("ca-first.pem", "ec.key"),
        ("all.pem", "all.pem"),
        ("ec.der", "ec.key"),
    ] {
        let tested = test(&mutual.site(certificate, key));
        assert_eq!(tested.code, Some(0), "{certificate}, {key}: {}", tested.error);
    }
}

#[test]
fn encrypted_keys_are_read_with_their_password() {
    let mutual = Mutual::new("TLSv1.3");
    let workshop = &mutual.workshop;
    workshop.sign("client");
    workshop.sh(
        "openssl pkcs8 -topk8 -in client.key -passout pass:secret -out aes.key; openssl pkcs8 -topk8 -scrypt -in client.key -passout \
         pass:secret -out scrypt.key; openssl pkcs8 -topk8 -v2 des3 -in client.key -passout pass:secret -out des3.key; openssl pkcs8 \
         -topk8 -v2 aes128 -v2prf hmacWithSHA1 -in client.key -passout pass:secret -outform DER -out aes.der; openssl pkcs8 -topk8 -v1 \
         PBE-SHA1-3DES -in client.key -passout pass:secret -out pbe.key; openssl ec -in client.key -aes256 -passout pass:secret -out \
         old.key; chmod 600 *",
    );
    std::fs::write(workshop.path("password"), "secret\n").unwrap();
    for key in ["aes.key", "scrypt.key", "des3.key", "aes.der"] {
        let setup = mutual.site("client.crt", key);
        let missing = [
            "MQTT_TLS_KEYFILE = ",
            "it is encrypted, and MQTT_TLS_KEY_PASSWORD is not set; set it, or decrypt the key: openssl",
        ];
        test(&setup).has_wrong_settings(&missing);
        let setup = setup.with("MQTT_TLS_KEY_PASSWORD", "wrong");
        test(&setup).has_wrong_settings(&["MQTT_TLS_KEY_PASSWORD is not its password"]);
        test(&setup.with("MQTT_TLS_KEY_PASSWORD", "secret")).succeeds();
    }
    let [ca, cert, key, password] =
        ["ca.crt", "client.crt", "aes.key", "password"].map(|name| text(&workshop.path(name)));
    let broker = format!(
        "[broker]\nurl = \"mqtts://localhost:{}\"\nca = \"{ca}\"\ncert = \"{cert}\"\nkey = \"{key}\"\n",
        mutual.broker.port
    );
    let setup = Setup::new().device(1).file("plugins/default.toml", &broker);
    let checked = setup.output(&["check"]);
    let error = String::from_utf8(checked.stderr).unwrap();
    assert!(
        error.contains("default.toml: broker.key = ") && error.contains("default.toml: broker.key_password is not set"),
        "{error}"
    );
    assert_eq!(checked.status.code(), Some(78));
    test(&setup.file("plugins/default.toml", format!("{broker}key_password = {{ file = \"{password}\" }}\n")))
        .succeeds();
    // Old encryption is not read, and the named command converts it.
    let setup = mutual.site("client.crt", "pbe.key").with("MQTT_TLS_KEY_PASSWORD", "secret");
    test(&setup).has_wrong_settings(&[
        "it is encrypted with an old algorithm; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in ",
    ]);
    let setup = mutual.site("client.crt", "old.key").with("MQTT_TLS_KEY_PASSWORD", "secret");
    let old = test(&setup)
        .has_wrong_settings(&["Proc-Type: 4,ENCRYPTED", "then set MQTT_TLS_KEY_PASSWORD to the new password"]);
    let command = old.error.split("convert it: ").nth(1).unwrap().split(';').next().unwrap();
    workshop.sh(&format!("{command} -passin pass:secret -passout pass:new; mv client.key converted.key; chmod 600 *"));
    test(&mutual.site("client.crt", "converted.key").with("MQTT_TLS_KEY_PASSWORD", "new")).succeeds();
}

#[test]
fn keys_that_cannot_be_used_are_named_with_the_fix() {
    let mutual = Mutual::new("TLSv1.3");
    let workshop = &mutual.workshop;
    workshop.sign("client");
    workshop.sign("other");
    workshop.sign_with("p521", "subjectAltName=DNS:client\n", "-algorithm EC -pkeyopt ec_paramgen_curve:P-521");
    workshop.sh(
        "openssl pkcs12 -export -in client.crt -inkey client.key -passout pass:secret -out client.p12; openssl crl2pkcs7 -nocrl \
         -certfile client.crt -out client.p7b; openssl pkey -in client.key -pubout -out public.pem; head -n 2 client.key > cut.key; \
         chmod 600 *",
    );
    for (certificate, key, expected) in [
        ("client.crt", "other.key", "MQTT_TLS_KEYFILE = "),
        ("client.crt", "other.key", "it is not the key of the certificate "),
        ("p521.crt", "p521.key", "keys of P-521 are not supported; make one: openssl ecparam -genkey -name prime256v1"),
        ("client.crt", "client.crt", "it contains a certificate and no private key"),
        ("client.key", "client.key", "it contains a private key and no certificate"),
        ("client.crt", "public.pem", "it is a public key"),
        ("client.crt", "client.p12", "it is PKCS#12; convert it: openssl pkcs12"),
        ("client.p12", "client.key", "it is PKCS#12; convert it: openssl pkcs12"),
        ("client.p7b", "client.key", "it is PKCS#7; convert it: openssl pkcs7"),
        ("client.csr", "client.key", "it is a certificate request, not a certificate"),
        ("client.crt", "cut.key", "its END line is missing"),
    ] {
        test(&mutual.site(certificate, key)).has_wrong_settings(&[expected]);
    }
}

/// A device has no setting for a password.
#[test]
fn an_encrypted_key_of_a_device_is_decrypted_by_the_named_command() {
    let workshop = Workshop::new();
    workshop.sign("client");
    workshop.sh(
        "openssl pkcs8 -topk8 -in client.key -passout pass:secret -out aes.key; openssl ec -in client.key -aes256 -passout pass:secret -out \
         old.key; chmod 600 *",
    );
    let certificate = text(&workshop.path("client.crt"));
    for key in ["aes.key", "old.key"] {
        let device = |key: &str| {
            let key = text(&workshop.path(key));
            format!(
                "[[device]]\naddress = \"tls://127.0.0.1\"\nprofile = \"simulator\"\ncert = \"{certificate}\"\nkey = \"{key}\"\n"
            )
        };
        let setup = Setup::new().broker("mqtt://localhost").file("bessai.toml", device(key));
        let output = setup.output(&["check"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("device[0].key = ") && error.contains("it is encrypted; decrypt it: openssl "),
            "{error}"
        );
        assert!(!error.contains("key_password"), "{error}");
        let command = error.split("decrypt it: ").nth(1).unwrap().lines().next().unwrap();
        workshop.sh(&format!("{command} -passin pass:secret; mv client.key plain.key; chmod 600 plain.key"));
        let output = setup.file("bessai.toml", device("plain.key")).output(&["check"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
