//! Sentences about sign-ins that end without a reason: their hints follow from what was seen on the connection.

use bessai_tls::Handshake;

use crate::connect_options::ConnectOptions;
use crate::limits::CONNECT_LIMIT_S;

/// The answer to CONNECT is not MQTT.
pub(crate) fn not_mqtt(options: &ConnectOptions) -> String {
    let (address, url) = (options.address(), options.names.of("url"));
    let trace = options.trace.borrow();
    let through = through(trace.handshake.as_ref());
    match (trace.protocol(), trace.handshake.is_some()) {
        (Some("TLS"), false) => format!("{address} answered CONNECT with TLS; write mqtts:// (or wss://) in {url}"),
        (Some("HTTP"), is_tls) => {
            let scheme = if is_tls { "wss://" } else { "ws://" };
            format!(
                "{address} answered CONNECT with HTTP{through}; if it serves MQTT through a WebSocket, write {scheme} in {url}, else \
                 the port of its MQTT"
            )
        }
        (Some(protocol), _) => format!("{address} answered CONNECT with {protocol}{through}; check the port in {url}"),
        (None, _) => {
            let bytes: Vec<_> = trace.answer.iter().map(|byte| format!("{byte:02x}")).collect();
            let bytes = if bytes.is_empty() { String::new() } else { format!(" (bytes {})", bytes.join(" ")) };
            format!(
                "{address} answered CONNECT with something that is not MQTT{bytes}{through}; check the port in {url}"
            )
        }
    }
}

/// The broker closed the connection instead of answering CONNECT.
pub(crate) fn closed(options: &ConnectOptions) -> String {
    let (address, names, client_id) = (options.address(), &options.names, &options.client_id);
    let trace = options.trace.borrow();
    let Some(handshake) = &trace.handshake else {
        let url = names.of("url");
        let hint = match options.websocket {
            Some(_) => String::new(),
            None => format!(
                "; if that port is for TLS, write mqtts:// in {url}; if it is a WebSocket, write ws://; else it refuses the client \
                 id {client_id:?}, the user or this version of MQTT, and its log says which"
            ),
        };
        return format!("{address} closed the connection before answering CONNECT{hint}");
    };
    let (cert, key) = (names.of("cert"), names.of("key"));
    let hint = match (&handshake.presented, handshake.wants_certificate) {
        (None, true) => format!("it asked for a client certificate, and none is set: set {cert} and {key}"),
        (Some(own), true) => format!(
            "it may have refused the client certificate {:?} of {cert}, the client id {client_id:?} or the user; its log says which",
            own.subject
        ),
        (_, false) => format!(
            "it refuses the client id {client_id:?}, the user or this version of MQTT, or that port is not for MQTT; its log says \
             which"
        ),
    };
    format!("{address} closed the connection before answering CONNECT{}; {hint}", through(Some(handshake)))
}

/// Nothing came in time.
pub(crate) fn timeout(options: &ConnectOptions) -> String {
    let (address, url) = (options.address(), options.names.of("url"));
    let trace = options.trace.borrow();
    let at = |peer| match &options.proxy {
        Some(proxy) => format!("through the proxy {}", proxy.name()),
        None => format!("({peer})"),
    };
    match (trace.peer, &trace.handshake) {
        (None, _) if let Some(proxy) = &options.proxy => format!(
            "the proxy {} did not answer within {CONNECT_LIMIT_S} s: no TCP connection; check host and port in {}, and firewalls",
            proxy.name(),
            options.names.of("proxy")
        ),
        (None, _) => format!(
            "{address} did not answer within {CONNECT_LIMIT_S} s: no TCP connection; check host and port in {url}, and firewalls"
        ),
        (Some(peer), None) if options.tls.is_some() => format!(
            "{address} {} did not answer within {CONNECT_LIMIT_S} s: it accepted TCP, and not the TLS handshake; check whether \
             that port is for TLS",
            at(peer)
        ),
        (Some(_), handshake) => format!(
            "{address} did not answer within {CONNECT_LIMIT_S} s: no CONNACK{}; check whether that port is for MQTT{}",
            through(handshake.as_ref()),
            if options.tls.is_some() { "" } else { " without TLS" }
        ),
    }
}

/// That TLS is not to blame.
fn through(handshake: Option<&Handshake>) -> String {
    handshake.map_or_else(String::new, |handshake| format!(" after the {} handshake succeeded", handshake.version))
}
