//! Checks shared access signatures, independently of the plugin that makes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// Decodes `%XX`; anything that is not RFC 3986 is an error.
pub fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).ok().filter(|digits| digits.len() == 2);
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or_else(|| format!("{text:?} has an incomplete %XX"))?);
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => bytes.push(byte),
            other => return Err(format!("{text:?} has {:?}, which must be percent-encoded", char::from(other))),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8"))
}

/// HMAC-SHA256.
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

/// Checks a token for a resource, signed with this key, at this time in Unix seconds; its expiry. `policy`: the value of `skn`.
pub fn check(token: &str, resource: &str, policy: Option<&str>, key: &[u8], now_s: u64) -> Result<u64, String> {
    let fields = token.strip_prefix("SharedAccessSignature ").ok_or("the password is no shared access signature")?;
    let mut known = std::collections::BTreeMap::new();
    for field in fields.split('&') {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("{field:?} has no value"))?;
        if !["sr", "sig", "se", "skn"].contains(&name) || known.insert(name, value).is_some() {
            return Err(format!("the field {name:?} is unknown or repeated"));
        }
    }
    let value = |name: &str| known.get(name).copied().ok_or_else(|| format!("the field {name} is missing"));
    let (encoded, expiry) = (value("sr")?, value("se")?);
    if decoded(encoded)? != resource {
        return Err(format!("a token for {encoded:?} instead of {resource:?}"));
    }
    // The vendor's SDKs leave it out even for the provisioning service.
    let named = known.get("skn").copied();
    if named.is_some() && named != policy {
        return Err(format!("skn is {named:?} instead of {policy:?}"));
    }
    let signature = STANDARD.decode(decoded(value("sig")?)?).map_err(|error| format!("sig is no base64: {error}"))?;
    // The text as it was sent is signed.
    if signature != hmac_sha256(key, format!("{encoded}\n{expiry}").as_bytes()) {
        return Err("another key has signed".into());
    }
    let expiry_s: u64 = expiry.parse().map_err(|_| format!("se = {expiry:?} is no number"))?;
    if expiry_s <= now_s { Err(format!("the token expired {} s ago", now_s - expiry_s)) } else { Ok(expiry_s) }
}
