//! TLS for MQTT and Modbus: certificates and keys are read from files, errors say what happened and what to change.
//!
//! The only crate that uses rustls.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::float_cmp,
        clippy::panic,
        clippy::expect_used,
        clippy::disallowed_methods
    )
)]

mod certificate;
mod client;
mod explain;
mod handshake;
mod identity;
mod key;
mod pem;
mod pin;
pub mod server;
mod settings;
mod stream;
mod token;
mod trust;

pub use certificate::{Certificate, PublicKey, certificates, date};
pub use client::{Client, connect};
pub use explain::explain;
pub use handshake::Handshake;
pub use pin::Pin;
pub use settings::{Identity, KeySource, Peer, SettingError, SettingNames, Settings, is_token_uri};
pub use stream::TlsStream;
pub use trust::TrustedBy;
