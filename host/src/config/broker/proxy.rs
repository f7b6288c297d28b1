//! `proxy` and `MQTT_PROXY`: the HTTP proxy through which a broker is reached, `http://user:password@host:port`.

use bessai_domain::settings::{Mistake, SettingsTable};

use super::super::broker_url::{decode, redact};
use super::super::environment::Variables;
use super::super::findings::{Findings, Sourced};
use super::super::host_port;
use super::super::public_host::is_public;
use super::super::secret::{self, Secret, SecretSources, warn_if_exposed};

/// The hint for a URL that has no other mistake.
const FORM: &str = "write http://host:3128 or http://user:password@host:3128";

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// User name and password.
    pub(crate) login: Option<(String, Secret)>,
}

impl ProxyConfig {
    /// Host and port.
    pub(crate) fn name(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Reads the key of a table: a text, or a file or variable with one.
pub(super) fn of_table(
    table: &SettingsTable<'_>,
    sources: SecretSources<'_>,
    findings: &Findings,
) -> Option<ProxyConfig> {
    let value = table.value("proxy")?;
    let key = table.key("proxy");
    let text = match value.as_str() {
        Some(text) => {
            if text.contains('@') {
                warn_if_exposed(&key, sources.settings, findings);
            }
            text.to_owned()
        }
        None => {
            let (secret, _) = secret::from_value(&key, value, sources, table.mistakes(), findings)?;
            secret.read().map_err(|error| table.mistakes().add(Mistake::without_value(&key, error))).ok()?
        }
    };
    let proxy = parse(&text);
    let proxy = proxy.map_err(|hint| table.mistakes().add(Mistake::new(&key, redact(&text), hint))).ok()?;
    warn_if_public(&key, &proxy, findings);
    Some(proxy)
}

/// Reads the variable.
pub(super) fn of_variables(variables: &Variables<'_>, findings: &Findings) -> Option<ProxyConfig> {
    let variable: Sourced<'_, String> = variables.get("MQTT_PROXY")?;
    let proxy = parse(&variable.value).map_err(|hint| variable.reject(redact(&variable.value), hint)).ok()?;
    warn_if_public(&variable.key, &proxy, findings);
    Some(proxy)
}

fn warn_if_public(key: &str, proxy: &ProxyConfig, findings: &Findings) {
    if proxy.login.is_some() && is_public(&proxy.host) {
        let name = proxy.name();
        findings.warn(format!(
            "{key}: the proxy's password is sent unencrypted to {name}, which is not in a private network"
        ));
    }
}

/// The error says what to change and contains no part of the URL but its scheme.
fn parse(text: &str) -> Result<ProxyConfig, String> {
    let (scheme, rest) = text.trim().split_once("://").ok_or(FORM)?;
    if !scheme.eq_ignore_ascii_case("http") {
        let known = ["https", "socks", "socks4", "socks4a", "socks5", "socks5h"];
        let known = known.into_iter().find(|known| scheme.eq_ignore_ascii_case(known));
        let scheme = known.map_or_else(String::new, |known| format!(", not {known}://"));
        return Err(format!("only http:// proxies are supported{scheme}; {FORM}"));
    }
    let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    if user.is_some_and(|user| user.contains(['/', '?', '#'])) {
        return Err("write `/`, `?` and `#` in the user name or password as %2F, %3F and %23".into());
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(format!("nothing may follow the port; {FORM}"));
    }
    let (host, port) = host_port::split(authority).map_err(|error| error.to_string())?;
    let port = port.ok_or_else(|| format!("the port is missing; {FORM}"))?;
    Ok(ProxyConfig { host, port, login: user.map(login).transpose()? })
}

fn login(user: &str) -> Result<(String, Secret), String> {
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    let (username, password) = (decode(username)?.unwrap_or_default(), decode(password)?.unwrap_or_default());
    // RFC 7617 §2: the first colon ends the user name.
    if username.contains(':') {
        return Err("the user name of a proxy cannot contain a colon".into());
    }
    if username.chars().chain(password.chars()).any(char::is_control) {
        return Err("the user name and password of a proxy cannot contain control characters".into());
    }
    Ok((username, Secret::Text(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        let check = |text: &str, name: &str, login: Option<(&str, &str)>| {
            let proxy = parse(text).unwrap_or_else(|hint| panic!("{text}: {hint}"));
            assert_eq!(proxy.name(), name, "{text}");
            let read = proxy.login.map(|(user, password)| (user, password.read().unwrap()));
            assert_eq!(read, login.map(|(user, password)| (user.to_owned(), password.to_owned())), "{text}");
        };
        check("http://proxy:3128", "proxy:3128", None);
        check(" HTTP://proxy.example:80/\n", "proxy.example:80", None);
        check("http://[::1]:3128", "[::1]:3128", None);
        check("http://plant:p%40s%2Fs%25@proxy:3128", "proxy:3128", Some(("plant", "p@s/s%")));
        check("http://plant:p:q@proxy:3128", "proxy:3128", Some(("plant", "p:q")));
        check("http://plant@proxy:3128", "proxy:3128", Some(("plant", "")));
    }

    #[test]
    fn mistakes_show_no_password() {
        let check = |text: &str, hint: &str| {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(error.contains(hint), "{text}: {error}");
            assert!(!error.contains("hunter2") && !redact(text).contains("hunter2"), "{text}: {error}");
        };
        check("proxy:3128", "write http://host:3128");
        check("https://u:hunter2@proxy:3128", "only http:// proxies are supported, not https://;");
        check("socks5://proxy:1080", "only http:// proxies are supported, not socks5://;");
        check("u:hunter2@proxy:3128", "write http://host:3128");
        check("http://u:hunter2@proxy", "the port is missing");
        check("http://u:hunter2@proxy:x", "the port must be");
        check("http://u:hunter2@", "the host is missing");
        check("http://u:hunter2@proxy:3128/path", "nothing may follow the port");
        check("http://u:hunter2/x@proxy:3128", "%2F");
        check("http://u%3Ax:hunter2@proxy:3128", "colon");
        check("http://u:hunter2%0a@proxy:3128", "control characters");
        check("http://u:%ffhunter2@proxy:3128", "UTF-8");
    }
}
