//! `host:port`, the form in which addresses of devices and brokers are written.

use std::net::Ipv6Addr;

/// Why a text is not `host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostPortError {
    #[error("the host is missing")]
    MissingHost,
    #[error("the host may contain only letters, digits, `.`, `-` and `_`; write an IPv6 address in [ ]")]
    InvalidHost,
    #[error("the port must be a whole number from 1 to 65535")]
    InvalidPort,
}

/// Host and port of `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
pub(super) fn split(text: &str) -> Result<(String, Option<u16>), HostPortError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(HostPortError::InvalidHost)?;
        host.parse::<Ipv6Addr>().map_err(|_| HostPortError::InvalidHost)?;
        let port = match rest {
            "" => None,
            rest => Some(port(rest.strip_prefix(':').ok_or(HostPortError::InvalidHost)?)?),
        };
        return Ok((host.into(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, rest)) => (host, Some(port(rest)?)),
        None => (text, None),
    };
    match host {
        "" => Err(HostPortError::MissingHost),
        host if is_host(host) => Ok((host.into(), port)),
        _ => Err(HostPortError::InvalidHost),
    }
}

/// Whether a text is a host name, an IPv4 address, or an IPv6 address without brackets.
pub(super) fn is_host(text: &str) -> bool {
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    !text.is_empty() && (is_name(text) || text.parse::<Ipv6Addr>().is_ok())
}

/// A TCP port; 0 is not one that can be connected to.
pub(super) fn port(text: &str) -> Result<u16, HostPortError> {
    text.parse().ok().filter(|port| *port != 0).ok_or(HostPortError::InvalidPort)
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
        for (text, error) in [
            ("", HostPortError::MissingHost),
            (":502", HostPortError::MissingHost),
            ("a b", HostPortError::InvalidHost),
            ("[::1", HostPortError::InvalidHost),
            ("[a]:1", HostPortError::InvalidHost),
            ("[::1]502", HostPortError::InvalidHost),
            ("a:0", HostPortError::InvalidPort),
            ("a:65536", HostPortError::InvalidPort),
            ("a:x", HostPortError::InvalidPort),
            ("a:", HostPortError::InvalidPort),
            ("::1", HostPortError::InvalidPort),
        ] {
            assert_eq!(split(text), Err(error), "{text}");
        }
    }
}
