//! URLs of brokers, `mqtt://user:password@host:1883` or `wss://host:443/path`; in mistakes they have no password.

use percent_encoding::percent_decode_str;

use super::host_port;

/// A scheme of a broker's URL.
struct BrokerScheme {
    name: &'static str,
    tls: bool,
    is_websocket: bool,
    default_port: u16,
}

/// The known schemes.
const SCHEMES: [BrokerScheme; 4] = [
    BrokerScheme { name: "mqtt", tls: false, is_websocket: false, default_port: 1883 },
    BrokerScheme { name: "mqtts", tls: true, is_websocket: false, default_port: 8883 },
    BrokerScheme { name: "ws", tls: false, is_websocket: true, default_port: 80 },
    BrokerScheme { name: "wss", tls: true, is_websocket: true, default_port: 443 },
];
/// The path of nearly every broker's WebSocket.
const DEFAULT_PATH: &str = "/mqtt";
/// The hint for a URL that has none of the forms.
const FORMS: &str = "write mqtt://host:1883, mqtts://host:8883, ws://host:80/mqtt or wss://host:443/mqtt";
/// The hint for a path that a WebSocket cannot have.
const INVALID_PATH: &str = "the path may contain only letters, digits and `-._~!$&'()*+,;=:%/`; remove any other \
                            character, and a query after `?`";

/// The parts of a broker's URL. No `Debug`: it may contain a password.
pub(super) struct BrokerUrl {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// The path of the WebSocket, if it uses one.
    pub(super) websocket: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

/// Parses a URL; the error says what to change and contains no part of the URL.
pub(super) fn parse(text: &str) -> Result<BrokerUrl, String> {
    let (scheme, rest) = text.trim().split_once("://").ok_or(FORMS)?;
    let scheme = scheme.to_ascii_lowercase();
    let known = SCHEMES.into_iter().find(|known| known.name == scheme);
    let BrokerScheme { tls, is_websocket, default_port, .. } =
        known.ok_or_else(|| format!("the scheme is unknown; {FORMS}"))?;
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if user.is_some_and(|user| user.contains(['/', '?', '#'])) {
        return Err("write `/`, `?` and `#` in the user name or password as %2F, %3F and %23".into());
    }
    let (authority, path) =
        rest.split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len())).unwrap_or((rest, ""));
    let websocket = match (is_websocket, path) {
        (false, "" | "/") => None,
        (false, _) => return Err(format!("nothing may follow the port; {FORMS}")),
        (true, "" | "/") => Some(DEFAULT_PATH.to_owned()),
        (true, path) if is_path(path) => Some(path.to_owned()),
        (true, _) => return Err(INVALID_PATH.into()),
    };
    let (host, port) = host_port::split(authority).map_err(|error| error.to_string())?;
    let port = port.unwrap_or(default_port);
    let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((username, password)) => (decode(username)?, decode(password)?),
        None => (None, None),
    };
    Ok(BrokerUrl { tls, host, port, websocket, username, password })
}

/// Whether a text is a path (RFC 3986 §3.3) without a query, which may contain a secret.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:%/".contains(c))
}

/// A percent-decoded user name or password; none if it is empty.
pub(super) fn decode(text: &str) -> Result<Option<String>, String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "the user name or password is not UTF-8")?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

/// The URL as a mistake shows it: `…` replaces what precedes the last `@`, and what follows the host if it is no port.
pub(super) fn redact(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let scheme = if is_scheme { format!("{scheme}://") } else { String::new() };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", rest),
    };
    let host_end = rest.find(['/', '?', '#', ':', ' ']).filter(|_| !rest.starts_with('[')).unwrap_or(rest.len());
    let (host, after_host) = rest.split_at_checked(host_end).unwrap_or((rest, ""));
    let is_port =
        |text: &str| text.strip_prefix(':').is_some_and(|port| port.parse::<u32>().is_ok_and(|port| port < 100_000));
    let after_host = match after_host {
        "" => "",
        port if is_port(port) => port,
        _ => "…",
    };
    format!("{scheme}{user}{host}{after_host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_urls() {
        let check = |text: &str, tls: bool, host: &str, port: u16, user: Option<&str>, password: Option<&str>| {
            let url = parse(text).unwrap_or_else(|hint| panic!("{text}: {hint}"));
            assert_eq!((url.tls, url.host.as_str(), url.port), (tls, host, port), "{text}");
            assert_eq!((url.username.as_deref(), url.password.as_deref()), (user, password), "{text}");
        };
        check("mqtt://localhost", false, "localhost", 1883, None, None);
        check("mqtts://a.example/", true, "a.example", 8883, None, None);
        check("MQTT://[::1]:1884", false, "::1", 1884, None, None);
        check("mqtt://u@h:1", false, "h", 1, Some("u"), None);
        check("mqtt://u:p%40s%2Fs%25@h", false, "h", 1883, Some("u"), Some("p@s/s%"));
        check("mqtt://u:p@ss@h", false, "h", 1883, Some("u"), Some("p@ss"));
        check("mqtt://u:p:q@h", false, "h", 1883, Some("u"), Some("p:q"));
        check("ws://h", false, "h", 80, None, None);
        check("wss://u:p@[::1]/mqtt", true, "::1", 443, Some("u"), Some("p"));
    }

    #[test]
    fn websocket_paths() {
        let check = |text: &str, expected: Option<&str>| {
            let url = parse(text).unwrap_or_else(|hint| panic!("{text}: {hint}"));
            assert_eq!(url.websocket.as_deref(), expected, "{text}");
        };
        check("mqtt://h/", None);
        check("ws://h", Some("/mqtt"));
        check("ws://h:8080/", Some("/mqtt"));
        check("wss://u:p@h:443/$iothub/websocket", Some("/$iothub/websocket"));
        check("WSS://h/a%20b/", Some("/a%20b/"));
    }

    #[test]
    fn invalid_urls_are_shown_without_their_password() {
        let check = |text: &str, expected: &str, hint: &str| {
            assert_eq!(redact(text), expected, "{text}");
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(error.contains(hint), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        check("localhost:1883", "localhost:1883", "write mqtt://host:1883, mqtts");
        check("tcp://u:hunter2@h:1883", "tcp://…@h:1883", "scheme");
        check("u:hunter2@h", "…@h", "write mqtt://host");
        check("mqtt:/u:hunter2@h", "…@h", "write mqtt://host");
        check("mqtt://", "mqtt://", "the host is missing");
        check("mqtt://u:hunter2@", "mqtt://…@", "the host is missing");
        check("mqtt://u:hunter2@:1883", "mqtt://…@:1883", "the host is missing");
        check("mqtt://u:hunter2@h:99999", "mqtt://…@h:99999", "the port");
        check("mqtt://u:hunter2", "mqtt://u…", "the port");
        check("mqtt://u:hunter2/x", "mqtt://u…", "follow the port");
        check("mqtt://u:hu/hunter2@h", "mqtt://…@h", "%2F");
        check("mqtt://u:hunter2#@h", "mqtt://…@h", "%23");
        check("mqtt://u:%ffhunter2@h", "mqtt://…@h", "UTF-8");
        check("mqtt://h/topic", "mqtt://h…", "follow the port");
        check("mqtt://h?password=hunter2", "mqtt://h…", "follow the port");
        check("mqtt://u:x@h hunter2", "mqtt://…@h…", "the host may contain");
        check("ws://h?token=hunter2", "ws://h…", "the path may contain");
        check("wss://u:x@h/mqtt?token=hunter2", "wss://…@h…", "the path may contain");
        check("wss://u:x@h:443/mqtt#hunter2", "wss://…@h…", "the path may contain");
        check("wss://h/mqtt hunter2", "wss://h…", "the path may contain");
        check("wss://u:hunter2", "wss://u…", "the port");
        check("hunter2 ://h", "h", "scheme");
    }
}
