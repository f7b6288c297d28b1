//! `bessai-edge broker`: signs in to a feed's broker without a gateway.

use bessai_domain::message::{Message, Qos};
use bessai_domain::session::{Login, Protocol};
use bessai_mqtt::{BrokerSettings, Probe, probe};
use bessai_tls::{Certificate, Handshake, TrustedBy};
use clap::Subcommand;
use tokio::task::LocalSet;

use crate::app;
use crate::config::{Config, FeedConfig};

use super::configuration::ConfigArgument;
use super::error::CommandError;
use super::output::{OutputError, print_line};

/// What the client id of a test ends with, so that the broker does not close the running gateway's session.
const TEST_SUFFIX: &str = "-test";
/// The payload of a message without `--payload`.
const PAYLOAD: &str = "test of bessai-edge";

#[derive(Subcommand)]
pub(super) enum BrokerCommand {
    /// Sign in to a feed's broker, print what it presents and grants, and explain a failure; publishes nothing unless asked.
    #[command(after_help = "\
Examples:
  bessai-edge broker test
  bessai-edge broker test --feed acme
  bessai-edge broker test --publish SITE-CL-001/test")]
    Test {
        #[command(flatten)]
        file: ConfigArgument,
        /// Feed whose settings and plugin are used.
        #[arg(long, value_name = "NAME", default_value = crate::config::DEFAULT_FEED)]
        feed: String,
        /// Topic to publish one message to.
        #[arg(long, value_name = "TOPIC")]
        publish: Option<String>,
        /// Payload of that message.
        #[arg(long, value_name = "TEXT", default_value = PAYLOAD, requires = "publish")]
        payload: String,
        /// Use the feed's own client id; a running gateway loses its session for a moment.
        #[arg(long)]
        take_over: bool,
    },
}

/// Runs a command.
pub(super) fn run(command: BrokerCommand) -> Result<(), CommandError> {
    let BrokerCommand::Test { file, feed, publish, payload, take_over } = command;
    let config = file.read().map_err(CommandError::invalid("configuration"))?;
    let feed = find(&config, &feed)?;
    if let Some(mistake) = app::check_broker_files(&feed.broker) {
        return Err(CommandError::invalid("configuration")(vec![mistake]));
    }
    let message = publish.map(|topic| {
        let qos = feed.limits.qos.min(Qos::AtLeastOnce);
        Message { topic, payload: payload.into_bytes(), qos, retain: false, properties: None }
    });
    let runtime = app::runtime()?;
    LocalSet::new().block_on(&runtime, test(&config, feed, message, take_over))
}

/// The feed with this name, if it can run.
fn find<'a>(config: &'a Config, name: &str) -> Result<&'a FeedConfig, CommandError> {
    if let Some(feed) = config.feeds.iter().find(|feed| feed.name == name) {
        return Ok(feed);
    }
    if let Some(off) = config.off.iter().find(|off| off.name == name) {
        return Err(CommandError::invalid("configuration")(off.mistakes.clone()));
    }
    let names: Vec<_> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
    Err(CommandError::Usage(format!("there is no feed {name:?}; the feeds are {}", names.join(", "))))
}

async fn test(
    config: &Config,
    feed: &FeedConfig,
    message: Option<Message>,
    take_over: bool,
) -> Result<(), CommandError> {
    print_line(format_args!("feed {} → {}", feed.name, feed.broker.route()))?;
    let from_plugin = app::login(config, feed).await.map_err(CommandError::Failed)?;
    if from_plugin.is_some() {
        print_line("  the feed's plugin decides how to sign in; its `connect` was called with empty state")?;
    }
    let settings = app::broker(&config.site, feed);
    let (settings, login, own_id) = prepare(settings, from_plugin.unwrap_or_default(), take_over);
    let topic = message.as_ref().map(|message| message.topic.clone());
    let probe = probe(&settings, login, message).await;
    print_probe(&probe, &own_id)?;
    let Some(failure) = probe.failure else {
        let done = topic.map_or_else(
            || "signed out; nothing was published".to_owned(),
            |topic| format!("published one message to {topic}, and signed out"),
        );
        return Ok(print_line(done)?);
    };
    let hint = match probe.is_refused && !take_over {
        true => format!(
            "; if it accepts only the client id {own_id:?}, add --take-over, which interrupts a running gateway"
        ),
        false => String::new(),
    };
    Err(CommandError::Failed(format!("{failure}{hint}")))
}

/// No last will, and unless the feed's own session is to be taken over, a client id that differs; returns the feed's own.
fn prepare(settings: BrokerSettings, login: Login, take_over: bool) -> (BrokerSettings, Login, String) {
    let own_id = login.client_id.clone().unwrap_or_else(|| settings.client_id.clone());
    let client_id = if take_over { own_id.clone() } else { format!("{own_id}{TEST_SUFFIX}") };
    // A session that the broker stores for the feed is neither resumed nor discarded under another client id.
    let (clean_start, session_expiry_s) = match take_over {
        true => (login.clean_start, login.session_expiry_s),
        false => (Some(true), None),
    };
    let login = Login { client_id: Some(client_id), will: None, clean_start, session_expiry_s, ..login };
    (BrokerSettings { will: None, ..settings }, login, own_id)
}

fn print_probe(probe: &Probe, own_id: &str) -> Result<(), OutputError> {
    match probe.client_id == own_id {
        true => print_line(format_args!("client id {own_id}"))?,
        false => print_line(format_args!("client id {}, not {own_id}, whose session continues", probe.client_id))?,
    }
    let address = &probe.address;
    match (probe.peer, &probe.proxy) {
        (Some(peer), None) => print_line(format_args!("connected to {address} at {peer}"))?,
        (Some(peer), Some(proxy)) if probe.is_tunnelled => {
            print_line(format_args!("connected to {address} through the proxy {proxy} at {peer}"))?;
        }
        (Some(peer), Some(proxy)) => {
            return print_line(format_args!("connected to the proxy {proxy} at {peer}, and not to {address}"));
        }
        (None, None) => return print_line(format_args!("not connected to {address}")),
        (None, Some(proxy)) => {
            return print_line(format_args!("not connected to {address}, nor to the proxy {proxy}"));
        }
    }
    if let Some(handshake) = &probe.handshake {
        print_handshake(handshake)?;
    } else if !probe.refused_chain.is_empty() {
        print_line("TLS failed; the broker presented:")?;
        print_chain(&probe.refused_chain)?;
    }
    if let Some(protocol) = probe.protocol {
        let version = if protocol == Protocol::V5 { "5" } else { "3.1.1" };
        print_line(format_args!("signed in with MQTT {version}; the broker grants:"))?;
        probe.granted.iter().try_for_each(|(name, value)| print_line(format_args!("  {name}: {value}")))?;
    }
    Ok(())
}

fn print_handshake(handshake: &Handshake) -> Result<(), OutputError> {
    let Handshake { version, cipher, alpn, chain, trusted_by, wants_certificate, presented } = handshake;
    let alpn = alpn.as_ref().map_or_else(String::new, |protocol| format!(", ALPN {protocol:?}"));
    print_line(format_args!("{version} with {cipher}{alpn}; the broker presented:"))?;
    print_chain(chain)?;
    let why = match trusted_by {
        Some(TrustedBy::Pin) => "it has the pin of the settings",
        Some(TrustedBy::Itself) => "it is one of the certificates in the CA file",
        Some(TrustedBy::Authority) | None => "a trusted CA has signed it for this name",
    };
    print_line(format_args!("  trusted, because {why}"))?;
    match (wants_certificate, presented) {
        (false, _) => print_line("  the broker asked for no client certificate"),
        (true, None) => print_line("  the broker asked for a client certificate, and none is set"),
        (true, Some(own)) => {
            print_line(format_args!("  the broker asked for a client certificate and got {}", own.subject))
        }
    }
}

fn print_chain(chain: &[Certificate]) -> Result<(), OutputError> {
    for (number, certificate) in (1..).zip(chain) {
        let Certificate { subject, issuer, names, version, key, pin, .. } = certificate;
        let (begin, end) = (bessai_tls::date(certificate.not_before), bessai_tls::date(certificate.not_after));
        print_line(format_args!("  certificate {number}: {subject}, signed by {issuer}"))?;
        if !names.is_empty() {
            print_line(format_args!("    for {}", names.join(", ")))?;
        }
        print_line(format_args!("    valid from {begin} to {end}; X.509 version {version}, {key}"))?;
        print_line(format_args!("    pin {pin}"))?;
    }
    Ok(())
}
