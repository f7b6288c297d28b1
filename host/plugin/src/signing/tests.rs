//! Keys are made and signatures are checked by openssl.

use std::path::Path;
use std::process::Command;

use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::*;

const DATA: &[u8] = b"header.payload";

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs openssl's commands, then returns these files.
fn keys<const N: usize>(commands: &[&str], files: [&str; N]) -> [Vec<u8>; N] {
    let folder = tempfile::tempdir().unwrap();
    commands.iter().for_each(|arguments| openssl(folder.path(), arguments));
    files.map(|file| std::fs::read(folder.path().join(file)).unwrap())
}

/// The last `bytes` of a public key in DER, which are the key itself.
fn end(der: &[u8], bytes: usize) -> &[u8] {
    &der[der.len() - bytes..]
}

#[test]
fn es256_takes_pkcs8_and_sec1() {
    let [sec1, pkcs8, public] = keys(
        &[
            "ecparam -name prime256v1 -genkey -out sec1.pem",
            "pkcs8 -topk8 -nocrypt -in sec1.pem -out pkcs8.pem",
            "pkey -in pkcs8.pem -pubout -outform DER -out public.der",
        ],
        ["sec1.pem", "pkcs8.pem", "public.der"],
    );
    assert!(sec1.starts_with(b"-----BEGIN EC PARAMETERS-----"));
    for pem in [&sec1, &pkcs8] {
        let signature = sign(pem, Algorithm::Es256, DATA).unwrap();
        assert_eq!(signature.len(), 64);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, end(&public, 65)).verify(DATA, &signature).unwrap();
    }
    assert!(sign(&sec1, Algorithm::Rs256, DATA).unwrap_err().contains("`EC PRIVATE KEY`, and RS256 needs an RSA key"));
    assert!(sign(&pkcs8, Algorithm::Ed25519, DATA).unwrap_err().contains("holds no Ed25519 key"));
}

#[test]
fn rs256_takes_pkcs8_and_pkcs1() {
    let [pkcs1, pkcs8, public, encrypted] = keys(
        &[
            "genrsa -traditional -out pkcs1.pem 2048",
            "pkcs8 -topk8 -nocrypt -in pkcs1.pem -out pkcs8.pem",
            "rsa -in pkcs1.pem -RSAPublicKey_out -outform DER -out public.der",
            "pkcs8 -topk8 -passout pass:x -in pkcs1.pem -out encrypted.pem",
        ],
        ["pkcs1.pem", "pkcs8.pem", "public.der", "encrypted.pem"],
    );
    for pem in [&pkcs1, &pkcs8] {
        let signature = sign(pem, Algorithm::Rs256, DATA).unwrap();
        assert_eq!(signature.len(), 256);
        assert_eq!(sign(pem, Algorithm::Rs256, DATA), Ok(signature.clone()));
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public).verify(DATA, &signature).unwrap();
    }
    assert!(sign(&encrypted, Algorithm::Rs256, DATA).unwrap_err().contains("encrypted private key; write it with"));
}

#[test]
fn ed25519_takes_what_openssl_writes() {
    let [pem, public] = keys(
        &["genpkey -algorithm ed25519 -out key.pem", "pkey -in key.pem -pubout -outform DER -out public.der"],
        ["key.pem", "public.der"],
    );
    // As a file from Windows has it, with something in front.
    let pem = format!("a comment\r\n{}", String::from_utf8(pem).unwrap().replace('\n', "\r\n"));
    let signature = sign(pem.as_bytes(), Algorithm::Ed25519, DATA).unwrap();
    UnparsedPublicKey::new(&ED25519, end(&public, 32)).verify(DATA, &signature).unwrap();
}

#[test]
fn keys_of_other_curves_are_refused_in_every_form() {
    let check = |commands: &[&str], algorithm: Algorithm, expected: &str| {
        let [pem] = keys(commands, ["key.pem"]);
        let refused = sign(&pem, algorithm, DATA).unwrap_err();
        assert!(refused.contains(expected), "{commands:?}: {refused}");
        assert!(sign(&pem, Algorithm::Rs256, DATA).is_err(), "{commands:?}");
    };
    for curve in ["secp384r1", "secp521r1", "secp256k1"] {
        let sec1 = format!("ecparam -name {curve} -genkey -out key.pem");
        let without_parameters = format!("ecparam -name {curve} -genkey -noout -out key.pem");
        let pkcs8 = format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out key.pem");
        for command in [&sec1, &without_parameters, &pkcs8] {
            check(&[command], Algorithm::Es256, "holds no EC key on P-256");
        }
        check(&[&sec1], Algorithm::Ed25519, "holds a key `EC PRIVATE KEY`, and Ed25519 needs a key in PKCS #8");
        check(&[&pkcs8], Algorithm::Ed25519, "holds no Ed25519 key");
    }
    for algorithm in ["ed448", "x25519"] {
        check(&[&format!("genpkey -algorithm {algorithm} -out key.pem")], Algorithm::Ed25519, "holds no Ed25519 key");
    }
    check(&["genpkey -algorithm ed25519 -out key.pem"], Algorithm::Es256, "holds no EC key on P-256");
}

#[test]
fn what_is_no_key_is_described_without_its_content() {
    let check = |pem: &[u8], expected: &str| {
        let error = sign(pem, Algorithm::Es256, DATA).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    };
    check(b"hunter2", "holds no private key in PEM");
    check(b"\xff\xfe", "is not text");
    check(b"-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----", "holds no private key in PEM");
    check(b"-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----", "not valid base64");
    check(b"-----BEGIN PRIVATE KEY-----\nhunter22\n-----END PRIVATE KEY-----", "holds no EC key on P-256");
    check(b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "encrypted private key");
    let long = format!("-----BEGIN EC PRIVATE KEY-----\n{}\n", "AAAA".repeat(100));
    check(long.as_bytes(), "too long for P-256");
}
