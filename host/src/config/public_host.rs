//! Whether a host is outside private networks, so that a password to it needs encryption.

use std::net::{IpAddr, Ipv4Addr};

/// Ends of names that are used in private networks only (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`).
const PRIVATE_DOMAINS: [&str; 9] =
    ["local", "localhost", "internal", "lan", "home", "home.arpa", "corp", "intranet", "localdomain"];

/// Whether a host is neither a private address nor a name that only a private network resolves.
pub(super) fn is_public(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => !is_private(address),
        Ok(IpAddr::V6(address)) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local())
        }
        Err(_) => {
            let is_below = |domain: &&str| host.strip_suffix(*domain).is_some_and(|name| name.ends_with('.'));
            host.contains('.') && !PRIVATE_DOMAINS.iter().any(is_below)
        }
    }
}

/// RFC 1918, loopback, link-local, and the addresses that carriers and overlay networks share (RFC 6598).
fn is_private(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    address.is_private() || address.is_loopback() || address.is_link_local() || address.is_unspecified() || is_shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_private_networks() {
        for host in [
            "broker",
            "localhost",
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.10",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:192.168.1.1",
            "mqtt.LOCAL.",
            "broker.site.internal",
            "nas.home.arpa",
        ] {
            assert!(!is_public(host), "{host}");
        }
        for host in ["broker.example.com", "8.8.8.8", "172.32.0.1", "2001:db8::1", "local.example", "notlocal.x"] {
            assert!(is_public(host), "{host}");
        }
    }
}
