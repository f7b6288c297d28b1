//! The files that a broker's TLS settings name: each can be read, and what belongs together is complete.

use std::path::PathBuf;

use bessai_files::CERTIFICATE_BYTES;
use bessai_tls::is_token_uri;

use super::super::findings::Sourced;
use super::PartialBroker;

impl PartialBroker<'_> {
    /// Whether all files can be read, and certificate and private key are both set or neither is.
    pub(super) fn check_files(&self) -> bool {
        let key = self.key.as_ref().filter(|_| !self.has_token());
        let files = [self.ca.as_ref(), self.cert.as_ref(), key].into_iter().flatten();
        let unreadable = files.filter(|file| !is_readable(file)).count();
        unreadable == 0 && self.is_identity_complete() && self.is_token_complete()
    }

    /// Whether the key is in a token.
    pub(super) fn has_token(&self) -> bool {
        self.key.as_ref().and_then(|key| key.value.to_str()).is_some_and(is_token_uri)
    }

    /// Whether a key in a token has its module, and only such a key has one.
    fn is_token_complete(&self) -> bool {
        match (&self.key, &self.pkcs11_module) {
            (Some(key), None) if self.has_token() => {
                let module = self.names.of("pkcs11_module");
                key.reject(
                    key.value.display(),
                    format!("the module that reaches the token is missing; set {module} too"),
                );
                false
            }
            (_, Some(module)) if !self.has_token() => {
                let hint = format!("applies to a key in a token only; set {} to its pkcs11: URI", self.names.of("key"));
                module.reject(module.value.display(), hint);
                false
            }
            _ => true,
        }
    }

    /// Whether certificate and private key are both set or neither is.
    fn is_identity_complete(&self) -> bool {
        let (present, missing, what) = match (&self.cert, &self.key) {
            (Some(cert), None) => (cert, "key", "the certificate's private key is missing"),
            (None, Some(key)) => (key, "cert", "the private key's certificate is missing"),
            _ => return true,
        };
        present.reject(present.value.display(), format!("{what}; set {} too", self.names.of(missing)));
        false
    }
}

fn is_readable(file: &Sourced<'_, PathBuf>) -> bool {
    let check = bessai_files::check(&file.value, CERTIFICATE_BYTES);
    if let Err(error) = &check {
        file.reject(file.value.display(), format!("cannot be read: {error}"));
    }
    check.is_ok()
}
