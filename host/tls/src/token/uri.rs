//! The URI of a key in a token (RFC 7512): `pkcs11:token=gateway;object=client`.

/// What a URI asks for; what it does not name may be anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TokenUri {
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) object: Option<Vec<u8>>,
    pub(super) id: Option<Vec<u8>>,
}

impl TokenUri {
    /// Parses a URI. `KEY_PASSWORD` in the error stands for the setting of that name.
    pub(super) fn parse(uri: &str) -> Result<Self, String> {
        /// The hint for any other text.
        const FORM: &str = "write pkcs11:token=LABEL;object=LABEL, or ;id=%01 for the key's id";
        let rest = uri.strip_prefix("pkcs11:").ok_or(FORM)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if query.contains("pin-value=") || query.contains("pin-source=") {
            return Err("a PIN does not belong into the URI; set KEY_PASSWORD".into());
        }
        let mut parsed = Self::default();
        for attribute in path.split(';').filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or(FORM)?;
            let bytes = decoded(value).ok_or_else(|| format!("{name} is not percent-encoded correctly"))?;
            let text = || String::from_utf8(bytes.clone()).map_err(|_| format!("{name} is not UTF-8 text"));
            match name {
                "token" => parsed.token = Some(text()?),
                "serial" => parsed.serial = Some(text()?),
                "manufacturer" => parsed.manufacturer = Some(text()?),
                "model" => parsed.model = Some(text()?),
                "object" => parsed.object = Some(bytes),
                "id" => parsed.id = Some(bytes),
                "type" if value == "private" => {}
                "type" => return Err(format!("type={value} is no private key; write type=private, or leave it out")),
                _ => return Err(format!("{name} is not supported; {FORM}")),
            }
        }
        if parsed.object.is_none() && parsed.id.is_none() {
            return Err(format!("it names no key; {FORM}"));
        }
        Ok(parsed)
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        let parsed = TokenUri::parse("pkcs11:token=My%20token;serial=1;object=client;id=%01%fF;type=private").unwrap();
        assert_eq!((parsed.token.as_deref(), parsed.serial.as_deref()), (Some("My token"), Some("1")));
        assert_eq!((parsed.object, parsed.id), (Some(b"client".to_vec()), Some(vec![1, 0xff])));
        for (uri, expected) in [
            ("pkcs11:token=a", "it names no key"),
            ("pkcs11:object", "write pkcs11:token"),
            ("pkcs11:object=a;slot-id=1", "slot-id is not supported"),
            ("pkcs11:object=%4", "not percent-encoded"),
            ("pkcs11:object=a;type=cert", "no private key"),
            ("pkcs11:object=a?pin-value=1234", "set KEY_PASSWORD"),
        ] {
            let error = TokenUri::parse(uri).unwrap_err();
            assert!(error.contains(expected) && !error.contains("1234"), "{error}");
        }
    }
}
