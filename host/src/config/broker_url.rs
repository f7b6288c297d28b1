//! `mqtt://user:password@host:1883`, and how to show one without its password.

use percent_encoding::percent_decode_str;

use super::address;

const PLAIN_PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// A broker's URL, taken apart. No `Debug`: it holds a password.
pub(super) struct Url {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

/// Takes a URL apart, or says what to mend, without a word of the URL in it.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let (scheme, rest) = text.trim().split_once("://").ok_or("write mqtt://host:1883 or mqtts://host:8883")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err("its scheme is not known; write mqtt://host:1883 or mqtts://host:8883".into()),
    };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if user.is_some_and(|user| user.contains(['/', '?', '#'])) {
        return Err("write `/`, `?` and `#` in a user's name or password as %2F, %3F and %23".into());
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err("nothing may stand behind the port; write mqtt://host:1883 or mqtts://host:8883".into());
    }
    let (host, port) = address::split(authority).map_err(|wrong| wrong.to_string())?;
    let port = port.unwrap_or(if tls { TLS_PORT } else { PLAIN_PORT });
    let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((username, password)) => (decoded(username)?, decoded(password)?),
        None => (None, None),
    };
    Ok(Url { tls, host, port, username, password })
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
    }

    #[test]
    fn bad_urls_are_shown_without_their_password() {
        let check = |text: &str, expected: &str, mend: &str| {
            assert_eq!(shown(text), expected, "{text}");
            let found = parse(text).err().unwrap_or_else(|| panic!("{text} is read"));
            assert!(found.contains(mend), "{text}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
        };
        check("localhost:1883", "localhost:1883", "write mqtt://host:1883 or");
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
        check("hunter2 ://h", "h", "scheme");
    }
}
