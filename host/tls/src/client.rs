//! The client's end of TLS: its configuration, and the handshake.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use crate::explain::{self, Phase};
use crate::handshake::Handshake;
use crate::identity::{self, Resolver};
use crate::settings::{KeySource, SettingError, Settings};
use crate::stream::{Observed, TlsStream};
use crate::trust::{Seen, Trust};

/// Time for reading certificates and keys.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Time for a handshake in which a token signs: some TPMs take a second for an RSA signature.
const TOKEN_LIMIT: Duration = Duration::from_secs(15);

/// A client for one connection: certificates and keys as they were when it was made.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    context: Arc<Context>,
    // The key is in a token, which may take its time to sign.
    signs_in_token: bool,
}

/// What explanations of a connection's errors refer to.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    // Held by the configuration, and so only until the handshake is over: the system's CA certificates take memory.
    trust: Weak<Trust>,
    pub(crate) presented: Option<crate::Certificate>,
    resolver: Arc<Resolver>,
    seen: Arc<Mutex<Seen>>,
}

impl Context {
    /// What the other end has presented; it is not kept for longer.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The certificates that the other end has presented; malformed ones are left out.
    pub(crate) fn chain(&self) -> Vec<crate::Certificate> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.chain.iter().filter_map(crate::Certificate::read).collect()
    }

    /// The certificates of the CA file.
    pub(crate) fn given(&self) -> Vec<crate::Certificate> {
        self.trust.upgrade().map(|trust| trust.given()).unwrap_or_default()
    }

    /// Whether the other end has asked for a client certificate.
    pub(crate) fn was_asked(&self) -> bool {
        self.resolver.was_asked.load(Ordering::Relaxed)
    }
}

impl Client {
    /// Reads the files; `key_password`: of an encrypted private key. Blocks.
    ///
    /// # Errors
    /// When a setting cannot be used; the error names it.
    pub fn new(settings: &Settings, key_password: Option<&str>) -> Result<Self, SettingError> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let trust = Arc::new(Trust::new(settings, Arc::clone(&seen))?);
        let read = |identity| identity::read(identity, key_password, settings.peer, &settings.names);
        let presented = settings.identity.as_ref().map(read).transpose()?;
        let certified = presented.as_ref().map(|presented| Arc::clone(&presented.certified));
        let resolver = Arc::new(Resolver { identity: certified, was_asked: AtomicBool::new(false) });
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        // Fails only for a provider without the default versions.
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| SettingError {
            setting: settings.names.of("url"),
            value: None,
            reason: format!("failed to set up TLS: {error}"),
        })?;
        let verifier: Arc<Trust> = Arc::clone(&trust);
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_client_cert_resolver(Arc::<Resolver>::clone(&resolver));
        config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let presented = presented.and_then(|presented| presented.certificate);
        let context = Context { settings: settings.clone(), trust: Arc::downgrade(&trust), presented, resolver, seen };
        let identity = settings.identity.as_ref();
        let signs_in_token = identity.is_some_and(|identity| matches!(identity.key, KeySource::Token { .. }));
        Ok(Self { config: Arc::new(config), context: Arc::new(context), signs_in_token })
    }

    /// The certificates that the other end presented in a handshake that failed; malformed ones are left out.
    pub fn refused_chain(&self) -> Vec<crate::Certificate> {
        self.context.chain()
    }

    /// Performs the handshake with the host over a stream.
    ///
    /// # Errors
    /// A sentence that says what happened and what to change.
    pub async fn connect<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<(TlsStream<S>, Handshake), String> {
        let settings = &self.context.settings;
        let expected = settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(expected.to_owned()).map_err(|_| {
            let setting = settings.names.of("server_name");
            format!("{expected:?} is no name that a certificate can have; set {setting} to the name in the certificate")
        })?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connecting = connector.connect(name, Observed::new(stream)).into_fallible();
        let connected = match self.signs_in_token {
            false => connecting.await,
            true => off_main_loop(host, connecting).await?,
        };
        let stream = connected.map_err(|(error, stream)| {
            let phase = Phase::Handshake { received: stream.received, first: stream.first };
            explain::sentence(&self.context, expected, &error, phase)
        })?;
        let handshake = Handshake::of(stream.get_ref().1, &self.context);
        Ok((TlsStream::new(stream, Arc::clone(&self.context)), handshake))
    }
}

/// Performs a handshake in a thread of its own, which a token may block for as long as it signs.
#[allow(clippy::disallowed_methods, reason = "it blocks a thread of its own")]
async fn off_main_loop<F: Future<Output: Send + 'static> + Send + 'static>(
    host: &str,
    handshake: F,
) -> Result<F::Output, String> {
    let runtime = Handle::current();
    let owner = format!("TLS with {host} by a key in a token");
    let done = bessai_files::off_main_loop(&owner, TOKEN_LIMIT, move || runtime.block_on(handshake)).await;
    done.map_err(|error| format!("the token with the client key does not answer: {error}"))
}

/// Performs the handshake with the device `server_name` over a stream. The files are read each time, so renewed
/// certificates need no restart.
///
/// # Errors
/// When a setting cannot be used, or the handshake fails.
pub async fn connect<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    settings: &Settings,
    server_name: &str,
    stream: S,
) -> Result<TlsStream<S>, String> {
    let files = settings.clone();
    let owner = format!("TLS with {server_name}");
    let client = bessai_files::off_main_loop(&owner, READ_LIMIT, move || Client::new(&files, None)).await;
    let client = client.map_err(|error| format!("failed to read certificates: {error}"))?;
    let client = client.map_err(|error| error.to_string())?;
    match client.connect(server_name, stream).await {
        Ok((stream, _)) => Ok(stream),
        Err(reason) => Err(format!("TLS with {server_name} failed: {reason}")),
    }
}
