//! The demo's MQTT broker: rumqttd in the process, with one listener for MQTT 3.1.1.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Clients at once.
const CONNECTIONS_MAX: usize = 256;
/// Packets handed to one client in a row.
const OUTGOING_PACKETS_MAX: u64 = 200;
/// Bytes of one part of a topic's history, and parts kept in memory; older messages are forgotten.
const SEGMENT_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;
const SEGMENTS_MAX: usize = 4;
/// The largest message, in bytes; a client that sends a larger one is disconnected.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Messages under way to one client that it has not yet acknowledged.
const INFLIGHT_MAX: usize = 100;
/// How long a client may take to send its CONNECT.
const CONNECT_LIMIT_MS: u16 = 5000;
/// Pause between two accepted connections.
const ACCEPT_PAUSE_MS: u64 = 1;

/// Tries to reach the new broker, and the wait for and after each: 5 s to 30 s in all.
const START_ATTEMPTS: u32 = 250;
const START_PAUSE: Duration = Duration::from_millis(20);
const START_CONNECT_LIMIT: Duration = Duration::from_millis(100);

/// A running broker. rumqttd cannot be stopped: it ends with the process.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
}

impl Broker {
    /// Starts a broker on threads of its own, and blocks until it accepts connections. Port 0 picks a free one.
    ///
    /// # Errors
    /// When the address cannot be bound, or the broker does not accept connections in time.
    pub fn start(listen: SocketAddr) -> anyhow::Result<Self> {
        let address = free_address(listen).with_context(|| format!("failed to listen for MQTT clients on {listen}"))?;
        let mut broker = rumqttd::Broker::new(config(address));
        let serving = thread::Builder::new()
            .name("mqtt-broker".to_owned())
            .spawn(move || serve(&mut broker))
            .context("failed to start the MQTT broker's thread")?;
        for _ in 0..START_ATTEMPTS {
            if serving.is_finished() {
                bail!("failed to start the MQTT broker on {address}: it ended at once, see its log");
            }
            if TcpStream::connect_timeout(&reachable(address), START_CONNECT_LIMIT).is_ok() {
                return Ok(Self { address });
            }
            thread::sleep(START_PAUSE);
        }
        bail!("failed to reach the MQTT broker on {address} after its start")
    }

    /// The address listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(broker: &mut rumqttd::Broker) {
    if let Err(error) = broker.start() {
        tracing::error!(%error, "MQTT broker ended");
    }
}

/// The address with a port that can be bound. rumqttd binds for itself, does not tell which port it got for 0, and only
/// logs a failure; so the port is bound here first, and let go for it to take.
fn free_address(listen: SocketAddr) -> std::io::Result<SocketAddr> {
    TcpListener::bind(listen)?.local_addr()
}

/// Where a client on this host finds an address that may stand for all interfaces.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// No console, metrics, bridge or cluster.
fn config(listen: SocketAddr) -> Config {
    let name = "mqtt-v4".to_owned();
    let listener = ServerSettings {
        name: name.clone(),
        listen,
        tls: None,
        next_connection_delay_ms: ACCEPT_PAUSE_MS,
        connections: ConnectionSettings {
            connection_timeout_ms: CONNECT_LIMIT_MS,
            max_payload_size: PAYLOAD_BYTES_MAX,
            max_inflight_count: INFLIGHT_MAX,
            auth: None,
            external_auth: None,
            // Without it a message on a topic nobody subscribed to yet is an error.
            dynamic_filters: true,
        },
    };
    Config {
        router: RouterConfig {
            max_connections: CONNECTIONS_MAX,
            max_outgoing_packet_count: OUTGOING_PACKETS_MAX,
            max_segment_size: SEGMENT_BYTES_MAX,
            max_segment_count: SEGMENTS_MAX,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([(name, listener)])),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const READ_LIMIT: Duration = Duration::from_secs(10);
    /// MQTT 3.1.1, clean session, keep alive 60 s, client id "sim".
    const CONNECT: [u8; 17] = *b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03sim";
    /// Session not present, code 0: accepted.
    const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

    #[test]
    fn a_client_is_accepted() {
        let broker = Broker::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut client = TcpStream::connect(broker.address()).unwrap();
        client.set_read_timeout(Some(READ_LIMIT)).unwrap();
        client.write_all(&CONNECT).unwrap();
        let mut reply = [0; CONNACK.len()];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(reply, CONNACK);
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let error = Broker::start(taken.local_addr().unwrap()).unwrap_err();
        assert!(error.to_string().contains("failed to listen"), "{error}");
    }
}
