//! Files with certificates and keys to start from.

/// A certificate with names.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBkTCCATegAwIBAgIUOsQ+UISK0dqP8Jz7SQrn1pKjgCQwCgYIKoZIzj0EAwIw\n\
DzENMAsGA1UEAwwEc2VlZDAgFw0yNjExMjcyMzAwMDhaGA8yMTI2MTEwMzIzMDAw\n\
OFowDzENMAsGA1UEAwwEc2VlZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABP0y\n\
tO73xNLiZFtBj4gF/of006/X0Dwc8np+02nwimI8NHRv4tSdk0TP4pG76gThbSO0\n\
R6xL9lRQVQaLpURK4W2jbzBtMB0GA1UdDgQWBBRVW8KBNwW9uBMhdLJEDk6gPPlS\n\
QDAfBgNVHSMEGDAWgBRVW8KBNwW9uBMhdLJEDk6gPPlSQDAPBgNVHRMBAf8EBTAD\n\
AQH/MBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAKBggqhkjOPQQDAgNIADBF\n\
AiBmX8ysOa/7WUIJFiZObqTidQ+ZUBNmHsiXTG9Sv8GtHwIhAL5oKw5eaAWKmCHl\n\
Ofr8J99dyT2t6TCbFGO90U26AGx1\n\
-----END CERTIFICATE-----\n";

/// The same with what openssl trusts it for.
const TRUSTED: &str = "\
-----BEGIN TRUSTED CERTIFICATE-----\n\
MIIBkTCCATegAwIBAgIUOsQ+UISK0dqP8Jz7SQrn1pKjgCQwCgYIKoZIzj0EAwIw\n\
DzENMAsGA1UEAwwEc2VlZDAgFw0yNjExMjcyMzAwMDhaGA8yMTI2MTEwMzIzMDAw\n\
OFowDzENMAsGA1UEAwwEc2VlZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABP0y\n\
tO73xNLiZFtBj4gF/of006/X0Dwc8np+02nwimI8NHRv4tSdk0TP4pG76gThbSO0\n\
R6xL9lRQVQaLpURK4W2jbzBtMB0GA1UdDgQWBBRVW8KBNwW9uBMhdLJEDk6gPPlS\n\
QDAfBgNVHSMEGDAWgBRVW8KBNwW9uBMhdLJEDk6gPPlSQDAPBgNVHRMBAf8EBTAD\n\
AQH/MBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAKBggqhkjOPQQDAgNIADBF\n\
AiBmX8ysOa/7WUIJFiZObqTidQ+ZUBNmHsiXTG9Sv8GtHwIhAL5oKw5eaAWKmCHl\n\
Ofr8J99dyT2t6TCbFGO90U26AGx1MAwwCgYIKwYBBQUHAwE=\n\
-----END TRUSTED CERTIFICATE-----\n";

/// Its key, which protects nothing, in PKCS#8.
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgG9bypN/aNO2IgRmc\n\
C3TieG2eV86QTUw9bGqyswzUWGWhRANCAAT9MrTu98TS4mRbQY+IBf6H9NOv19A8\n\
HPJ6ftNp8IpiPDR0b+LUnZNEz+KRu+oE4W0jtEesS/ZUUFUGi6VESuFt\n\
-----END PRIVATE KEY-----\n";

/// The same in SEC1.
const SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----\n\
MHcCAQEEIBvW8qTf2jTtiIEZnAt04nhtnlfOkE1MPWxqsrMM1FhloAoGCCqGSM49\n\
AwEHoUQDQgAE/TK07vfE0uJkW0GPiAX+h/TTr9fQPBzyen7TafCKYjw0dG/i1J2T\n\
RM/ikbvqBOFtI7RHrEv2VFBVBoulRErhbQ==\n\
-----END EC PRIVATE KEY-----\n";

/// The same encrypted with `secret`, in few rounds.
const ENCRYPTED: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIHrMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAg4ObYHrPZQ4AIBAjAM\n\
BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQQOkdJcuVkJMNtRLDqaxMhwSBkIij\n\
Qr9ovznmLvMID4c0HNR0Z6AJsRYCQ7xuPJv8k1VsZA44MoWCax0E/C9Vd8+uJ1wu\n\
tM97CqpCTD4czPZ+VhbeCtbKF0L7LCS2NOx8gbGYuOgkq/vSkn2vsUUewcNy4SNk\n\
12Y+C4GPq5HpoXgjeQPvXD26LEGn9USDa2XLruUu3I+nHm31rK49QF8k4eCM7g==\n\
-----END ENCRYPTED PRIVATE KEY-----\n";

/// Likewise with scrypt.
const SCRYPT: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIHjME4GCSqGSIb3DQEFDTBBMCAGCSsGAQQB2kcECzATBAh+bgxHEKy0+wIBEAIB\n\
CAIBATAdBglghkgBZQMEASoEEGQ8Tb2QRfJVw0gzpiDRu1gEgZB9vCTOnS7bii8u\n\
9CtLHnS9ToonCf0BSxt/J+jQQPphy10dHm1+XjtKc9LOw7FzqxO13THfSMx35mx3\n\
sjC2q/uBDBkCclA4AvvDPvvATYliOw+jz9jZqy1pdbzM5DzP/zyXMwMjWwNfx4Ld\n\
9gDCWRj5MJotzqXFEVBH1TYrsMr5AUNo/OZEMAKDy4AnIrk3Sqs=\n\
-----END ENCRYPTED PRIVATE KEY-----\n";

/// The password of the encrypted keys.
pub const PASSWORD: &str = "secret";
/// What damaged files contain now and then.
#[allow(dead_code, reason = "the fuzzer has its own")]
pub const WORDS: [&str; 5] =
    ["-----BEGIN ", "-----END ", "ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n", "\u{feff}"];

/// Certificate and key in one file each, then what has no certificate or no key.
pub fn files() -> Vec<Vec<u8>> {
    let pairs = [KEY, SEC1, ENCRYPTED, SCRYPT].map(|key| format!("{CERTIFICATE}{key}"));
    let texts = pairs.into_iter().chain([TRUSTED, CERTIFICATE, KEY].map(str::to_owned));
    texts.map(String::into_bytes).chain([der(CERTIFICATE), der(KEY), der(ENCRYPTED)]).collect()
}

/// The bytes of a section.
fn der(pem: &str) -> Vec<u8> {
    use base64::Engine;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}
