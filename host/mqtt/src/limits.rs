//! Limits of every connection.

/// Time for TCP, TLS, CONNECT and CONNACK together, in seconds: enough for a slow mobile link.
pub(crate) const CONNECT_LIMIT_S: u64 = 15;
/// Largest packet that is sent or accepted, in bytes: the messages of one call have 1 MiB together, plus their headers.
pub(crate) const MAX_PACKET: u32 = (1 << 20) + 4096;
