//! The header of a proxy's answer.

/// Header lines of a reply; further ones make it no answer of a proxy.
const MAX_HEADERS: usize = 64;
/// Schemes of authentication that are kept.
const MAX_SCHEMES: usize = 4;
/// Characters of a scheme that are kept: an error shows them.
const SCHEME_LENGTH: usize = 20;

/// What a proxy answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The schemes of authentication that it accepts.
    pub(crate) schemes: Vec<String>,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReplyHead {
    /// The beginning of a header.
    Partial,
    /// A header of so many bytes.
    Complete(usize, Reply),
    /// A header of so many bytes, which another one follows (RFC 9110 §15.2).
    Interim(usize),
    /// Something else.
    NotHttp,
}

/// Reads the header of an answer; bytes behind it are not looked at.
pub(crate) fn parse(bytes: &[u8]) -> ReplyHead {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return ReplyHead::Partial,
        Err(_) => return ReplyHead::NotHttp,
    };
    match response.code {
        Some(100..200) => ReplyHead::Interim(length),
        Some(status) => ReplyHead::Complete(length, Reply { status, schemes: schemes(response.headers) }),
        None => ReplyHead::NotHttp,
    }
}

fn schemes(headers: &[httparse::Header<'_>]) -> Vec<String> {
    let offered = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("proxy-authenticate"));
    let first_words = offered.filter_map(|header| {
        let text = std::str::from_utf8(header.value).ok()?.split_ascii_whitespace().next()?;
        let scheme: String = text.chars().filter(char::is_ascii_alphanumeric).take(SCHEME_LENGTH).collect();
        (!scheme.is_empty()).then_some(scheme)
    });
    first_words.take(MAX_SCHEMES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let complete = |text: &str, status, schemes: &[&str]| {
            let schemes = schemes.iter().map(|scheme| (*scheme).to_owned()).collect();
            let with_more = format!("{text}\x10\x00MQTT");
            assert_eq!(
                parse(with_more.as_bytes()),
                ReplyHead::Complete(text.len(), Reply { status, schemes }),
                "{text}"
            );
        };
        complete("HTTP/1.1 200 Connection established\r\n\r\n", 200, &[]);
        complete("HTTP/1.0 200\r\n\r\n", 200, &[]);
        complete("HTTP/1.1 204 No Content\r\nVia: a\r\n\r\n", 204, &[]);
        complete("HTTP/1.1 200 OK\n\n", 200, &[]);
        let both = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Basic \
                    realm=\"squid\"\r\n\r\n";
        complete(both, 407, &["NTLM", "Basic"]);
        assert_eq!(parse(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), ReplyHead::Interim(25));
        assert_eq!(parse(b"HTTP/1.1 20"), ReplyHead::Partial);
        assert_eq!(parse(b""), ReplyHead::Partial);
        for other in
            [&b"\x15\x03\x01\0\x02"[..], b"SSH-2.0-x\r\n", b"\x20\x02\0\0", b"<html>", b"HTTP/1.1 2x0 OK\r\n\r\n"]
        {
            assert_eq!(parse(other), ReplyHead::NotHttp, "{other:?}");
        }
    }
}
