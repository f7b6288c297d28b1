//! The plugin example-token signs in to a broker that verifies its tokens with another implementation, PyJWT.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::device::Device;
use crate::support::gateway::Setup;
use crate::support::peer::Peer;
use crate::support::{component, folder};

/// Makes a private key and its public key in PEM.
fn key_pair(folder: &Path, options: &[&str]) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl(&[&["genpkey", "-out", "private.pem"], options].concat());
    openssl(&["pkey", "-in", "private.pem", "-pubout", "-out", "public.pem"]);
}

fn setup(device: &Device, port: &Value, algorithm: &str, key: &[u8]) -> Setup {
    let feed = format!(
        "[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\nprotocol = \"3.1.1\"\n[secrets]\ntoken-key = {{ file = \"private.pem\" }}\n\
         [config]\nuser = \"site-7\"\naudience = \"the broker\"\nalgorithm = \"{algorithm}\"\nlifetime_s = 10\n"
    );
    let wasm = std::fs::read(component("example-token")).unwrap();
    let setup = Setup::new().device(device.port()).file("plugins/default.toml", "enabled = false\n");
    setup.file("plugins/token.toml", feed).file("plugins/token.wasm", wasm).file("plugins/private.pem", key)
}

#[tokio::test]
async fn another_implementation_verifies_the_tokens_of_every_algorithm_and_their_renewal() {
    for (algorithm, options) in [
        ("ES256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..]),
        ("RS256", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("EdDSA", &["-algorithm", "ED25519"]),
    ] {
        let (device, keys) = (Device::huawei(), folder());
        key_pair(keys.path(), options);
        let public = keys.path().join("public.pem");
        let mut broker = Peer::start("jwt", "jwt_broker.py", &[algorithm, public.to_str().unwrap(), "the broker"]);
        let port = broker.next().await["port"].clone();
        let private = std::fs::read(keys.path().join("private.pem")).unwrap();
        let gateway = setup(&device, &port, algorithm, &private).run();
        let sign_in = broker.next().await;
        let claims = &sign_in["claims"];
        assert_eq!((&sign_in["user"], &claims["sub"]), (&json!("site-7"), &json!("site-7")), "{sign_in}");
        assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|at| at + 10));
        assert_eq!(sign_in["header"], json!({ "alg": algorithm, "typ": "JWT" }));
        assert_eq!(broker.next().await["topic"], "SITE-CL-001/reading");
        if algorithm == "ES256" {
            // The next token is verified before the first one expires.
            let renewed = loop {
                let event = broker.next().await;
                assert!(event["refused"].is_null(), "{event}");
                if event["claims"].is_object() {
                    break event;
                }
            };
            let at = |sign_in: &Value, key: &str| sign_in["claims"][key].as_u64().unwrap();
            assert!(at(&renewed, "iat") < at(&sign_in, "exp"), "{sign_in} {renewed}");
        }
        assert_eq!(gateway.log_count("PRIVATE KEY"), 0, "{}", gateway.log());
    }
}

#[tokio::test]
async fn a_token_of_another_key_is_refused() {
    let (device, keys, others) = (Device::huawei(), folder(), folder());
    key_pair(keys.path(), &["-algorithm", "ED25519"]);
    key_pair(others.path(), &["-algorithm", "ED25519"]);
    let public = keys.path().join("public.pem");
    let mut broker = Peer::start("jwt", "jwt_broker.py", &["EdDSA", public.to_str().unwrap(), "the broker"]);
    let port = broker.next().await["port"].clone();
    let other = std::fs::read(others.path().join("private.pem")).unwrap();
    let gateway = setup(&device, &port, "EdDSA", &other).run();
    assert!(broker.next().await["refused"].as_str().unwrap().contains("InvalidSignature"));
    gateway.wait_for_log("retrying in").await;
}
