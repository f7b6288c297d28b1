//! `mqtt://user:password@host:1883` or `wss://host:443/path`, and how to show one without its password.

use percent_encoding::percent_decode_str;

use super::address;

/// What a URL begins with, and what it means: TLS, WebSocket, and the port where none is written.
const SCHEMES: [(&str, bool, bool, u16); 4] =
    [("mqtt", false, false, 1883), ("mqtts", true, false, 8883), ("ws", false, true, 80), ("wss", true, true, 443)];
/// Where brokers have their WebSocket, nearly all.
const USUAL_PATH: &str = "/mqtt";
const FORMS: &str = "write mqtt://host:1883, mqtts://host:8883, ws://host:80/mqtt or wss://host:443/mqtt";

/// A broker's URL, taken apart. No `Debug`: it holds a password.
pub(super) struct Url {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// The path of a WebSocket.
    pub(super) websocket: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

/// Takes a URL apart, or says what to mend, without a word of the URL in it.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let (scheme, rest) = text.trim().split_once("://").ok_or(FORMS)?;
    let scheme = scheme.to_ascii_lowercase();
    let known = SCHEMES.into_iter().find(|(name, ..)| *name == scheme);
    let (_, tls, is_websocket, usual_port) = known.ok_or_else(|| format!("its scheme is not known; {FORMS}"))?;
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if user.is_some_and(|user| user.contains(['/', '?', '#'])) {
        return Err("write `/`, `?` and `#` in a user's name or password as %2F, %3F and %23".into());
    }
    let (authority, path) =
        rest.split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len())).unwrap_or((rest, ""));
    let websocket = match (is_websocket, path) {
        (false, "" | "/") => None,
        (false, _) => return Err(format!("nothing may stand behind the port; {FORMS}")),
        (true, "" | "/") => Some(USUAL_PATH.to_owned()),
        (true, path) if is_path(path) => Some(path.to_owned()),
        (true, _) => return Err("a path has letters, digits and `-._~!$&\'()*+,;=:%/`, and nothing behind it".into()),
    };
    let (host, port) = address::split(authority).map_err(|wrong| wrong.to_string())?;
    let port = port.unwrap_or(usual_port);
    let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((username, password)) => (decoded(username)?, decoded(password)?),
        None => (None, None),
    };
    Ok(Url { tls, host, port, websocket, username, password })
}

/// A path as it is sent (RFC 3986 §3.3). A query, which may hold a secret, is not one.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:%/".contains(c))
}

fn decoded(text: &str) -> Result<Option<String>, String> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "the user's name or password is not UTF-8")?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

/// A URL for a mistake: everything before the last `@` as `…`, and nothing behind the host that is not a port.
pub(super) fn shown(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let scheme = if is_scheme { format!("{scheme}://") } else { String::new() };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", rest),
    };
    let host_end = rest.find(['/', '?', '#', ':', ' ']).filter(|_| !rest.starts_with('[')).unwrap_or(rest.len());
    let (host, behind) = rest.split_at_checked(host_end).unwrap_or((rest, ""));
    let is_port =
        |text: &str| text.strip_prefix(':').is_some_and(|port| port.parse::<u32>().is_ok_and(|port| port < 100_000));
    let behind = match behind {
        "" => "",
        port if is_port(port) => port,
        _ => "…",
    };
    format!("{scheme}{user}{host}{behind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_urls() {
        let check = |text: &str, tls: bool, host: &str, port: u16, user: Option<&str>, password: Option<&str>| {
            let url = parse(text).unwrap_or_else(|mend| panic!("{text}: {mend}"));
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
    fn paths_of_websockets() {
        let check = |text: &str, expected: Option<&str>| {
            let url = parse(text).unwrap_or_else(|mend| panic!("{text}: {mend}"));
            assert_eq!(url.websocket.as_deref(), expected, "{text}");
        };
        check("mqtt://h/", None);
        check("ws://h", Some("/mqtt"));
        check("ws://h:8080/", Some("/mqtt"));
        check("wss://u:p@h:443/$iothub/websocket", Some("/$iothub/websocket"));
        check("WSS://h/a%20b/", Some("/a%20b/"));
    }

    #[test]
    fn bad_urls_are_shown_without_their_password() {
        let check = |text: &str, expected: &str, mend: &str| {
            assert_eq!(shown(text), expected, "{text}");
            let found = parse(text).err().unwrap_or_else(|| panic!("{text} is read"));
            assert!(found.contains(mend), "{text}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
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
        check("mqtt://u:hunter2/x", "mqtt://u…", "behind the port");
        check("mqtt://u:hu/hunter2@h", "mqtt://…@h", "%2F");
        check("mqtt://u:hunter2#@h", "mqtt://…@h", "%23");
        check("mqtt://u:%ffhunter2@h", "mqtt://…@h", "UTF-8");
        check("mqtt://h/topic", "mqtt://h…", "behind the port");
        check("mqtt://h?password=hunter2", "mqtt://h…", "behind the port");
        check("mqtt://u:x@h hunter2", "mqtt://…@h…", "the host may have");
        check("ws://h?token=hunter2", "ws://h…", "a path has");
        check("wss://u:x@h/mqtt?token=hunter2", "wss://…@h…", "a path has");
        check("wss://u:x@h:443/mqtt#hunter2", "wss://…@h…", "a path has");
        check("wss://h/mqtt hunter2", "wss://h…", "a path has");
        check("wss://u:hunter2", "wss://u…", "the port");
        check("hunter2 ://h", "h", "scheme");
    }
}
