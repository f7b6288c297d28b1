//! One sign-in in one version of MQTT, and what a stored session needs before it can be used.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::Duration;

use bessai_domain::message::Qos;
use bessai_domain::session::Protocol;
use bytes::BytesMut;
use tokio::time::timeout;

use crate::client::{Client, ClientEvent, Granted};
use crate::connect_options::ConnectOptions;
use crate::error::SessionError;
use crate::limits::CONNECT_LIMIT_S;
use crate::packet_ids::id_count;
use crate::wire::Wire;
use crate::{packet_log, socket, v5, v311};

/// A connection on which the broker accepted the CONNECT.
pub(crate) struct Connection {
    pub(crate) protocol: Protocol,
    pub(crate) client: Client,
    pub(crate) granted: Granted,
    /// Messages that arrived while a stored session was resumed.
    pub(crate) arrived: VecDeque<ClientEvent>,
}

/// Connects and signs in.
pub(crate) async fn sign_in(protocol: Protocol, options: &ConnectOptions) -> Result<Connection, SessionError> {
    let (broker, version) = (options.address(), packet_log::version(protocol));
    let (client_id, clean_start, keep_alive) = (&options.client_id, options.clean_start, options.keep_alive);
    tracing::debug!(%broker, client_id, clean_start, ?keep_alive, "sending CONNECT of MQTT {version}");
    let limit = Duration::from_secs(CONNECT_LIMIT_S);
    let signed_in = timeout(limit, connect(protocol, options)).await;
    let mut connection = signed_in.map_err(|_| SessionError::Timeout)?.map_err(|error| match error {
        SessionError::Violation(_) | SessionError::NotMqtt
            if protocol == Protocol::V5 && options.trace.borrow().is_old_connack() =>
        {
            SessionError::UnsupportedProtocol
        }
        // Whatever is there, it does not speak this version of MQTT.
        SessionError::Violation(_) => SessionError::NotMqtt,
        error => error,
    })?;
    let Granted { window, max_packet, max_qos, retain, session_present } = connection.granted;
    let max_qos = max_qos.level();
    tracing::debug!(%broker, window, max_packet, max_qos, retain, session_present, "CONNACK accepts the sign-in");
    if session_present {
        resume(&mut connection, options).await?;
    }
    Ok(connection)
}

async fn connect(protocol: Protocol, options: &ConnectOptions) -> Result<Connection, SessionError> {
    let connect = match protocol {
        Protocol::V311 => v311::connect(options)?,
        Protocol::V5 => v5::connect(options)?,
    };
    let mut wire = Wire::new(socket::open(options).await?, protocol);
    let connack =
        exchange(&mut wire, connect).await.inspect_err(|_| options.trace.borrow_mut().answered(wire.head()))?;
    wire.signed_in(options.receives);
    let (client, mut granted) = match protocol {
        Protocol::V311 => v311::signed_in(options, connack, wire)?,
        Protocol::V5 => v5::signed_in(options, connack, wire)?,
    };
    granted.max_packet = granted.max_packet.min(options.habits.max_packet.unwrap_or(u32::MAX));
    Ok(Connection { protocol, client, granted, arrived: VecDeque::new() })
}

/// Sends CONNECT; returns CONNACK.
async fn exchange(wire: &mut Wire, connect: BytesMut) -> Result<BytesMut, SessionError> {
    wire.unsent = connect;
    poll_fn(|context| wire.poll_flush(context)).await?;
    poll_fn(|context| wire.poll_packet(context)).await
}

/// Completes the exchanges that an earlier client left unfinished at the broker. This client starts with packet id 1 again:
/// if the broker still holds a QoS 2 message with that id, it would discard a new one as its duplicate.
async fn resume(connection: &mut Connection, options: &ConnectOptions) -> Result<(), SessionError> {
    let Connection { client, granted, arrived, .. } = connection;
    // Brokers without QoS 2 may close the connection at a PUBREL, so only a feed that uses QoS 2 sends it.
    if options.qos.min(granted.max_qos) == Qos::ExactlyOnce {
        let release = release(client, id_count(granted.window), arrived);
        let released = timeout(Duration::from_secs(CONNECT_LIMIT_S), release).await;
        released.map_err(|_| SessionError::Timeout)?.map_err(|error| SessionError::NotResumed(Box::new(error)))?;
    }
    client.accept_stale_releases();
    Ok(())
}

async fn release(
    client: &mut Client,
    last_packet_id: u16,
    arrived: &mut VecDeque<ClientEvent>,
) -> Result<(), SessionError> {
    client.release_all(last_packet_id)?;
    let (mut remaining, mut events) = (last_packet_id, VecDeque::new());
    while remaining > 0 {
        poll_fn(|context| client.poll(context, &mut events)).await?;
        for event in events.drain(..) {
            match event {
                ClientEvent::Completed(..) | ClientEvent::CompletedStillCounted(..) => {
                    remaining = remaining.saturating_sub(1);
                }
                ClientEvent::Arrived(..) => arrived.push_back(event),
                _ => {}
            }
        }
    }
    client.reset_in_flight();
    Ok(())
}
