//! Properties of files with certificates and keys that hold whatever they contain. `cargo test` runs them with damaged files,
//! `scripts/fuzz` with those that a fuzzer finds.

use std::cell::RefCell;

use bessai_tls::{Client, Identity, Settings};

use super::inputs::PASSWORD;

thread_local! {
    static FILE: RefCell<Option<tempfile::NamedTempFile>> = const { RefCell::new(None) };
}

/// Any file is usable as CA certificates, as a client's certificate and as its key, or has a reason that quotes nothing of it.
pub fn certificates(data: &[u8]) {
    usable(data);
}

/// The same; returns whether it is usable as CA certificates, and as a certificate with its key.
pub fn usable(data: &[u8]) -> (bool, bool) {
    FILE.with_borrow_mut(|file| {
        let path = file.get_or_insert_with(|| tempfile::NamedTempFile::new().unwrap()).path().to_owned();
        std::fs::write(&path, data).unwrap();
        let trusted = Settings { ca: Some(path.clone()), ..Settings::default() };
        let identity = Some(Identity::from_files(&path, &path));
        let pin = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().ok();
        let own = Settings { identity, pin, ..Settings::default() };
        if let Ok(certificates) = bessai_tls::certificates(&path) {
            certificates.iter().for_each(|certificate| assert!(!certificate.subject.contains(char::is_control)));
        }
        let usable = |settings: &Settings| match Client::new(settings, Some(PASSWORD)) {
            Ok(_) => true,
            Err(error) => {
                assert!(!error.reason.is_empty() && !error.to_string().contains("MII"), "{error}");
                false
            }
        };
        (usable(&trusted), usable(&own))
    })
}
