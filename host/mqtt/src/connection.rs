//! One sign-in in one version of MQTT, and what a stored session needs before it can be used.

use std::time::Duration;

use bessai_domain::message::Qos;
use bessai_domain::session::Protocol;
use tokio::time::timeout;

use crate::client::{ClientEvent, ClientLoop, Granted, PacketSender, SignedInClient};
use crate::connect_options::ConnectOptions;
use crate::driver::{Driver, drive};
use crate::error::SessionError;
use crate::limits::CONNECT_LIMIT_S;
use crate::packet_ids::id_count;
use crate::{packet_log, v5, v311};

/// A connection on which the broker accepted the CONNECT.
pub(crate) struct Connection {
    pub(crate) protocol: Protocol,
    pub(crate) sender: Box<dyn PacketSender>,
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) granted: Granted,
}

/// Connects and signs in.
pub(crate) async fn sign_in(protocol: Protocol, options: &ConnectOptions) -> Result<Connection, SessionError> {
    let (broker, version) = (options.address(), packet_log::version(protocol));
    let (client_id, clean_start, keep_alive) = (&options.client_id, options.clean_start, options.keep_alive);
    tracing::debug!(%broker, client_id, clean_start, ?keep_alive, "sending CONNECT of MQTT {version}");
    let connected = match protocol {
        Protocol::V311 => prepare(protocol, v311::sign_in(options).await?, options).await,
        Protocol::V5 => prepare(protocol, v5::sign_in(options).await?, options).await,
    };
    if let Ok(Connection { granted, .. }) = &connected {
        let Granted { window, max_packet, max_qos, retain, session_present } = granted;
        let max_qos = max_qos.level();
        tracing::debug!(%broker, window, max_packet, max_qos, retain, session_present, "CONNACK accepts the sign-in");
    }
    connected
}

async fn prepare<S: PacketSender, L: ClientLoop>(
    protocol: Protocol,
    client: SignedInClient<S, L>,
    options: &ConnectOptions,
) -> Result<Connection, SessionError> {
    let SignedInClient { sender, mut event_loop, granted } = client;
    if granted.session_present {
        resume(&mut event_loop, options, &granted).await?;
    }
    Ok(Connection { protocol, sender: Box::new(sender), driver: drive(event_loop), granted })
}

/// Completes the exchanges that an earlier client left unfinished at the broker. This client starts with packet id 1 again:
/// if the broker still holds a QoS 2 message with that id, it would discard a new one as its duplicate.
async fn resume<L: ClientLoop>(
    event_loop: &mut L,
    options: &ConnectOptions,
    granted: &Granted,
) -> Result<(), SessionError> {
    // Brokers without QoS 2 may close the connection at a PUBREL, so only a feed that uses QoS 2 sends it.
    if options.qos.min(granted.max_qos) == Qos::ExactlyOnce {
        let release = release(event_loop, id_count(granted.window));
        let released = timeout(Duration::from_secs(CONNECT_LIMIT_S), release).await;
        released.map_err(|_| SessionError::Timeout)?.map_err(|error| SessionError::NotResumed(Box::new(error)))?;
    }
    event_loop.accept_stale_releases();
    Ok(())
}

async fn release<L: ClientLoop>(event_loop: &mut L, last_packet_id: u16) -> Result<(), SessionError> {
    event_loop.release_all(last_packet_id);
    let mut remaining = last_packet_id;
    while remaining > 0 {
        if let ClientEvent::Completed(..) | ClientEvent::CompletedStillCounted(..) = event_loop.step().await? {
            remaining -= 1;
        }
    }
    event_loop.reset_in_flight();
    Ok(())
}
