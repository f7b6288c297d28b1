//! `HEALTH_HOST` and `HEALTH_PORT`: the address that serves `/health`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::environment::Variables;

/// The host if `HEALTH_HOST` is not set: `/health` is reachable only from this machine.
const DEFAULT_HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The port of `/health` if `HEALTH_PORT` is not set.
const DEFAULT_PORT: u16 = 8000;

pub(super) fn read(variables: &Variables<'_>) -> SocketAddr {
    let address = |text: &str| if text == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() };
    let host = variables.parsed("HEALTH_HOST", "write an IP address, such as 127.0.0.1 or 0.0.0.0", address);
    let port = variables.parsed("HEALTH_PORT", "write a whole number from 0 to 65535", |text| text.parse().ok());
    SocketAddr::new(host.unwrap_or(DEFAULT_HOST), port.unwrap_or(DEFAULT_PORT))
}
