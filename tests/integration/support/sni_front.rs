//! The front of a broker in a cloud: many clusters share one address, and the name in the TLS handshake chooses one of them.

use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::LazyConfigAcceptor;

use super::certificates::Pem;

/// What a client's handshake named: no name, or one.
type Names = Arc<Mutex<Vec<Option<String>>>>;

/// A running front in a thread of its own; stops when dropped.
pub struct SniFront {
    pub port: u16,
    names: Names,
    _stop: oneshot::Sender<()>,
}

impl SniFront {
    /// Forwards the connections of clients that name `cluster` to a plain broker, and closes all others during the handshake.
    pub fn start(cluster: &'static str, certificate: &Pem, broker: u16) -> Self {
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(&certificate.certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(certificates, key).unwrap());
        let (listening, port) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let names = Names::default();
        let recorded = Arc::clone(&names);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                listening.send(listener.local_addr().unwrap().port()).unwrap();
                let accepting = async {
                    loop {
                        let Ok((client, _)) = listener.accept().await else { continue };
                        let (config, recorded) = (Arc::clone(&config), Arc::clone(&recorded));
                        tokio::spawn(async move {
                            // What fails here shows at the client.
                            let _ = serve(client, cluster, config, &recorded, broker).await;
                        });
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    _ = stopped => {}
                }
            });
        });
        Self { port: port.recv().unwrap(), names, _stop: stop }
    }

    /// The names of all handshakes so far.
    pub fn names(&self) -> Vec<Option<String>> {
        self.names.lock().unwrap().clone()
    }
}

async fn serve(
    client: TcpStream,
    cluster: &str,
    config: Arc<rustls::ServerConfig>,
    names: &Mutex<Vec<Option<String>>>,
    broker: u16,
) -> std::io::Result<()> {
    let started = LazyConfigAcceptor::new(Acceptor::default(), client).await?;
    let name = started.client_hello().server_name().map(str::to_owned);
    names.lock().unwrap().push(name.clone());
    if name.as_deref() != Some(cluster) {
        return Ok(());
    }
    let mut client = started.into_stream(config).await?;
    let mut broker = TcpStream::connect(("127.0.0.1", broker)).await?;
    tokio::io::copy_bidirectional(&mut client, &mut broker).await.map(drop)
}
