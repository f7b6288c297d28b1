//! Properties of a session that hold whatever a broker sends. `cargo test` runs them with damaged packets, `scripts/fuzz`
//! with those that a fuzzer finds.

use std::cell::RefCell;
use std::time::Duration;

use bessai_domain::command::Subscription;
use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{Broker, Notice, Session};
use bessai_domain::session::{Login, Protocol, ProtocolChoice};
use bessai_mqtt::{BrokerSettings, MqttBroker, ProxySettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// A sign-in or a session that takes longer although the broker has closed the connection does not end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// The options' byte: MQTT 5 instead of 3.1.1.
pub const V5: u8 = 1;
/// The options' byte: a valid CONNACK precedes the input.
pub const ACCEPTED: u8 = 2;
/// The options' byte: the client wants its stored session back.
pub const STORED: u8 = 4;
/// The options' byte: the bytes arrive in small pieces.
pub const IN_PIECES: u8 = 8;
/// The options' byte: the client subscribes.
pub const RECEIVES: u8 = 16;
/// Bytes of such a piece.
const PIECE_BYTES: usize = 3;
/// Messages that the client publishes in a session.
const MESSAGES: usize = 9;

thread_local! {
    static PEERS: RefCell<Option<(Runtime, TcpListener)>> = const { RefCell::new(None) };
}

/// A broker that answers CONNECT with any bytes and closes: the sign-in fails or the session ends, and only messages that
/// were published are acknowledged, each once. The first byte holds options.
pub fn hostile_broker(data: &[u8]) {
    acknowledged(data);
}

/// The same; returns how many messages were acknowledged, and none if the sign-in failed.
pub fn acknowledged(data: &[u8]) -> Option<usize> {
    let (options, bytes) = data.split_first()?;
    PEERS.with_borrow_mut(|peers| {
        let (runtime, listener) = peers.get_or_insert_with(start);
        runtime.block_on(async {
            tokio::select! {
                () = serve(listener, *options, bytes) => None,
                acknowledged = use_session(listener, *options) => acknowledged,
            }
        })
    })
}

/// A proxy that answers CONNECT with any bytes and closes: the sign-in fails with a sentence. The first byte holds options.
pub fn hostile_proxy(data: &[u8]) {
    let Some((options, bytes)) = data.split_first() else { return };
    PEERS.with_borrow_mut(|peers| {
        let (runtime, listener) = peers.get_or_insert_with(start);
        runtime.block_on(async {
            let proxy = ProxySettings {
                host: "127.0.0.1".into(),
                port: listener.local_addr().unwrap().port(),
                login: Some(("user".into(), Box::new(|| Ok("hunter2".into())))),
            };
            let settings =
                BrokerSettings { proxy: Some(proxy), host: "broker.invalid".into(), ..settings(listener, *options) };
            let mut broker = MqttBroker::new(settings);
            tokio::select! {
                () = serve(listener, *options & !ACCEPTED, bytes) => {}
                signed_in = timeout(ENDS_WITHIN, broker.sign_in(Login::default())) => {
                    // Bytes behind a good answer may be a CONNACK.
                    if let Err(reason) = signed_in.expect("the sign-in does not end") {
                        assert_sentence(&reason.to_string());
                        assert!(!reason.to_string().contains("hunter2"), "{reason} shows the password");
                    }
                }
            }
        });
    });
}

fn start() -> (Runtime, TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
    (runtime, listener)
}

/// Serves one connection after the other. What fails here shows at the client.
async fn serve(listener: &TcpListener, options: u8, bytes: &[u8]) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let mut read = vec![0; 4096];
        let _ = stream.read(&mut read).await;
        if options & ACCEPTED != 0 {
            let session_present = u8::from(options & STORED != 0);
            let connack: &[u8] =
                if options & V5 != 0 { &[0x20, 3, session_present, 0, 0] } else { &[0x20, 2, session_present, 0] };
            let _ = stream.write_all(connack).await;
        }
        let piece = if options & IN_PIECES != 0 { PIECE_BYTES } else { bytes.len().max(1) };
        for piece in bytes.chunks(piece) {
            let _ = stream.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let _ = stream.shutdown().await;
        // Until the client has closed its side, too: a reset could discard what it has not read.
        while stream.read(&mut read).await.is_ok_and(|count| count > 0) {}
    }
}

async fn use_session(listener: &TcpListener, options: u8) -> Option<usize> {
    let mut broker = MqttBroker::new(settings(listener, options));
    let (clean_start, receives) = (Some(options & STORED == 0), options & RECEIVES != 0);
    let login = Login { clean_start, session_expiry_s: Some(60), receives, ..Login::default() };
    let signed_in = timeout(ENDS_WITHIN, broker.sign_in(login)).await.expect("the sign-in does not end");
    let mut session = match signed_in {
        Ok(session) => session,
        Err(reason) => {
            assert_sentence(&reason.to_string());
            return None;
        }
    };
    if receives {
        let _ = session.subscribe(&[Subscription { filter: "site/#".into(), qos: Qos::AtLeastOnce }]);
    }
    for number in 0..MESSAGES {
        // Fails once the session is closed.
        let _ = session.publish(&message(number));
    }
    let mut completed = [false; MESSAGES];
    loop {
        match timeout(ENDS_WITHIN, session.notice()).await.expect("the session does not end") {
            Notice::Acknowledged { number, refusal } => {
                let number = usize::try_from(number).unwrap();
                assert!(number < MESSAGES && !completed[number], "message {number} is acknowledged");
                completed[number] = true;
                refusal.iter().for_each(|refusal| assert_sentence(&refusal.reason));
            }
            Notice::Arrived { receipt, .. } => {
                assert!(receives, "a message for a client that does not subscribe");
                receipt.into_iter().for_each(|receipt| session.acknowledge(receipt));
            }
            Notice::Subscribed(answer) => {
                let [(_, granted)] = &answer[..] else { panic!("{answer:?} to one filter") };
                granted.as_ref().err().into_iter().for_each(|reason| assert_sentence(reason));
            }
            Notice::Closed(reason) => {
                assert_sentence(&reason.reason);
                return Some(completed.into_iter().filter(|is_completed| *is_completed).count());
            }
        }
    }
}

/// A reason is one line that names something.
fn assert_sentence(reason: &str) {
    let is_sentence = !reason.trim().is_empty() && !reason.contains(|character: char| character.is_control());
    assert!(is_sentence, "{reason:?} is no sentence");
}

fn message(number: usize) -> Message {
    let qos = [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtMostOnce][number % 3];
    let topic = format!("site/battery/{}", number % 2);
    Message { topic, payload: vec![b'x'; number], qos, retain: number.is_multiple_of(4), properties: None }
}

fn settings(listener: &TcpListener, options: u8) -> BrokerSettings {
    let protocol = if options & V5 != 0 { Protocol::V5 } else { Protocol::V311 };
    BrokerSettings {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
        websocket: None,
        proxy: None,
        tls: None,
        key_password: None,
        names: Default::default(),
        client_id: "gateway".into(),
        username: None,
        password: None,
        protocol: ProtocolChoice::Only(protocol),
        keep_alive: Duration::from_secs(60),
        in_flight: 4,
        qos: Qos::ExactlyOnce,
        will: Some(message(1)),
        habits: Default::default(),
    }
}
