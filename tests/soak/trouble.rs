//! What goes wrong, one after the other.

use std::time::Duration;

use bessai_simulator::proxy::NetworkCondition;
use bessai_simulator::server::Fault;

use crate::gateway::Gateway;
use crate::site::Site;
use crate::support::guests::hostile_build;

/// What the hostile plugin does in turn.
const BEHAVIOURS: [&str; 11] =
    ["messages", "bytes", "loop", "trap", "allocate", "topics", "retry", "reject", "trap-on", "alias", "log"];
/// How long a broker is away.
const BROKER_AWAY: Duration = Duration::from_secs(4);
/// How long a device or a network fails.
const FAILS_FOR: Duration = Duration::from_secs(3);

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The site's broker stops and starts.
    SiteBroker,
    /// The customers' broker stops and starts.
    CustomersBroker,
    /// The meter does not answer.
    MeterSilent,
    /// The meter resets its connection at every request.
    MeterResets,
    /// The meter sends bytes that are no frame.
    MeterGarbage,
    /// The meter closes its connections.
    MeterCloses,
    /// The hostile feed's network forwards nothing.
    NetworkSilent,
    /// The working feed's component is replaced.
    PluginReplaced,
    /// A feed's file becomes invalid and is corrected.
    FeedFileInvalid,
    /// The hostile plugin does something else.
    HostileChanged,
    /// SIGHUP, where the gateway handles it.
    Hangup,
}

/// All kinds, in the order in which they occur.
const ORDER: [Trouble; 11] = [
    Trouble::CustomersBroker,
    Trouble::MeterSilent,
    Trouble::HostileChanged,
    Trouble::PluginReplaced,
    Trouble::SiteBroker,
    Trouble::MeterResets,
    Trouble::Hangup,
    Trouble::NetworkSilent,
    Trouble::MeterGarbage,
    Trouble::FeedFileInvalid,
    Trouble::MeterCloses,
];

impl Trouble {
    /// The trouble with this number; they repeat for ever.
    pub fn nth(number: usize) -> Self {
        ORDER[number % ORDER.len()]
    }

    /// How many times events may be delivered again: a session ends for the gateway, another for the subscriber.
    pub fn redeliveries(self) -> usize {
        match self {
            Self::SiteBroker | Self::CustomersBroker => 2,
            Self::PluginReplaced | Self::FeedFileInvalid | Self::Hangup => 1,
            _ => 0,
        }
    }

    /// Lets it happen and pass; `number` is how many troubles there were before.
    pub async fn happen(self, site: &mut Site, gateway: &Gateway, number: usize) {
        match self {
            Self::SiteBroker => {
                site.site_broker.terminate();
                tokio::time::sleep(BROKER_AWAY).await;
                site.site_broker.restart();
            }
            Self::CustomersBroker => {
                site.customers_broker.terminate();
                tokio::time::sleep(BROKER_AWAY).await;
                site.customers_broker.restart();
            }
            Self::MeterSilent => fail(site, Fault::Silence).await,
            Self::MeterResets => fail(site, Fault::Reset).await,
            Self::MeterGarbage => fail(site, Fault::Garbage).await,
            Self::MeterCloses => site.meter.server.drop_connections(),
            Self::NetworkSilent => {
                site.network.set_condition(NetworkCondition::BlackHole);
                tokio::time::sleep(FAILS_FOR).await;
                site.network.set_condition(NetworkCondition::Normal);
            }
            Self::PluginReplaced => {
                let letter = if (number / ORDER.len()).is_multiple_of(2) { 'b' } else { 'a' };
                site.write_plugin("working.wasm", hostile_build(letter));
            }
            Self::FeedFileInvalid => {
                site.write_plugin("power.toml", "start = \"oldest\"\n[brokr]\n");
                tokio::time::sleep(FAILS_FOR).await;
                site.write_plugin("power.toml", site.power_feed());
            }
            Self::HostileChanged => site.set_hostile(BEHAVIOURS[number / ORDER.len() % BEHAVIOURS.len()]),
            Self::Hangup if gateway.handles_hangup() => gateway.hang_up(),
            Self::Hangup => {}
        }
    }
}

async fn fail(site: &Site, fault: Fault) {
    site.meter.server.set_fault(Some(fault));
    tokio::time::sleep(FAILS_FOR).await;
    site.meter.server.set_fault(None);
}
