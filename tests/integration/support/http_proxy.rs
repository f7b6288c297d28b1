//! An HTTP proxy that knows CONNECT only, wants a password and allows certain brokers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A running proxy in a thread of its own; stops when dropped.
pub struct HttpProxy {
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    _stop: oneshot::Sender<()>,
}

/// What a proxy does.
#[derive(Clone, Default)]
pub struct ProxyRules {
    /// The user name and password that it wants.
    pub login: Option<(&'static str, &'static str)>,
    /// The brokers that it connects to, as `host:port`, and their port on this machine: their names exist nowhere else.
    pub brokers: BTreeMap<String, u16>,
    /// It answers every request with these bytes and closes; without any it is silent.
    pub answer: Option<&'static [u8]>,
}

impl HttpProxy {
    pub fn start(rules: ProxyRules) -> Self {
        let (listening, port) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&requests);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                listening.send(listener.local_addr().unwrap().port()).unwrap();
                tokio::select! {
                    () = accept(listener, rules, recorded) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { port: port.recv().unwrap(), requests, _stop: stop }
    }

    /// The headers of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

async fn accept(listener: TcpListener, rules: ProxyRules, requests: Arc<Mutex<Vec<String>>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (rules, requests) = (rules.clone(), Arc::clone(&requests));
        tokio::spawn(async move {
            // What fails here shows at the client.
            let _ = serve(stream, &rules, &requests).await;
        });
    }
}

async fn serve(mut client: TcpStream, rules: &ProxyRules, requests: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n\r\n") {
        header.push(client.read_u8().await?);
    }
    let header = String::from_utf8(header).unwrap();
    requests.lock().unwrap().push(header.clone());
    match rules.answer {
        Some([]) => {
            // The client closes when its time is over.
            let _ = client.read_u8().await;
            return Ok(());
        }
        Some(answer) => {
            client.write_all(answer).await?;
            client.shutdown().await?;
            let _ = client.read_to_end(&mut Vec::new()).await;
            return Ok(());
        }
        None => {}
    }
    let target = header.strip_prefix("CONNECT ").and_then(|rest| rest.split_once(" HTTP/1.1\r\n")).unwrap().0;
    let wanted = rules.login.map(|(user, password)| STANDARD.encode(format!("{user}:{password}")));
    if let Some(wanted) = wanted
        && !header.contains(&format!("\r\nProxy-Authorization: Basic {wanted}\r\n"))
    {
        let reply = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"plant\"\r\n\
                     Content-Length: 6\r\n\r\nno one";
        return client.write_all(reply.as_bytes()).await;
    }
    let Some(port) = rules.brokers.get(target) else {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    };
    let Ok(mut broker) = TcpStream::connect(("127.0.0.1", *port)).await else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    };
    // In pieces, as a slow network brings it.
    for piece in b"HTTP/1.1 200 Connection established\r\nVia: 1.1 plant\r\n\r\n".chunks(7) {
        client.write_all(piece).await?;
        client.flush().await?;
        tokio::task::yield_now().await;
    }
    tokio::io::copy_bidirectional(&mut client, &mut broker).await.map(drop)
}
