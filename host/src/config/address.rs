//! `host:port`, as devices and brokers are written.

use std::net::Ipv6Addr;

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("the host is missing")]
    NoHost,
    #[error("the host may have letters, digits, `.`, `-` and `_`; an IPv6 address stands in [ ]")]
    Host,
    #[error("the port is a whole number from 1 to 65535")]
    Port,
}

/// Host and port of `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
pub(super) fn split(text: &str) -> Result<(String, Option<u16>), Wrong> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(Wrong::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| Wrong::Host)?;
        let port = match rest {
            "" => None,
            rest => Some(port(rest.strip_prefix(':').ok_or(Wrong::Host)?)?),
        };
        return Ok((host.into(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, rest)) => (host, Some(port(rest)?)),
        None => (text, None),
    };
    match host {
        "" => Err(Wrong::NoHost),
        host if is_host(host) => Ok((host.into(), port)),
        _ => Err(Wrong::Host),
    }
}

/// A host name, an IPv4 address, or an IPv6 address without brackets.
pub(super) fn is_host(text: &str) -> bool {
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    !text.is_empty() && (is_name(text) || text.parse::<Ipv6Addr>().is_ok())
}

/// A port that can be connected to.
pub(super) fn port(text: &str) -> Result<u16, Wrong> {
    text.parse().ok().filter(|port| *port != 0).ok_or(Wrong::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let good =
            |text: &str, host: &str, port: Option<u16>| assert_eq!(split(text), Ok((host.into(), port)), "{text}");
        good("a.example", "a.example", None);
        good("192.168.1.20:1502", "192.168.1.20", Some(1502));
        good("[::1]", "::1", None);
        good("[fe80::1]:502", "fe80::1", Some(502));
        for (text, wrong) in [
            ("", Wrong::NoHost),
            (":502", Wrong::NoHost),
            ("a b", Wrong::Host),
            ("[::1", Wrong::Host),
            ("[a]:1", Wrong::Host),
            ("[::1]502", Wrong::Host),
            ("a:0", Wrong::Port),
            ("a:65536", Wrong::Port),
            ("a:x", Wrong::Port),
            ("a:", Wrong::Port),
            ("::1", Wrong::Port),
        ] {
            assert_eq!(split(text), Err(wrong), "{text}");
        }
    }
}
