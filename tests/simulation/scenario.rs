//! What a seed decides beforehand: the site, how each device, plugin and broker misbehaves, and how often the machine fails.

use std::time::Duration;

use bessai_domain::journal::SyncPolicy;
use bessai_feed::DeliveryOrder;
use bessai_simulator::server::Framing;

use crate::observer::Expectation;
use crate::random::Random;

/// The longest time in which things fail.
const LONGEST: Duration = Duration::from_mins(20);
/// The shortest.
const SHORTEST: Duration = Duration::from_mins(4);

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) devices: Vec<DevicePlan>,
    pub(crate) feeds: Vec<FeedPlan>,
    pub(crate) sync: SyncPolicy,
    /// The time in which things fail.
    pub(crate) length: Duration,
    /// The mean time between two ends of the process.
    pub(crate) crash_every: Duration,
    /// The mean time between two disturbances from outside.
    pub(crate) disturb_every: Duration,
    /// Whether the wall clock shows 1970 after a boot.
    pub(crate) clock_has_no_battery: bool,
}

/// A device and its readings.
#[derive(Clone, Debug)]
pub(crate) struct DevicePlan {
    pub(crate) name: String,
    pub(crate) period: Duration,
    pub(crate) framing: Framing,
    /// The device has points that are read less often.
    pub(crate) slow_period: Option<Duration>,
    /// Frames are reduced by a deadband.
    pub(crate) reduces: bool,
}

/// A feed and how its customer's plugin and broker misbehave; a neighbour's do not.
#[derive(Clone, Debug)]
pub(crate) struct FeedPlan {
    pub(crate) name: String,
    pub(crate) plugin: PluginFaults,
    pub(crate) broker: BrokerFaults,
    /// Messages a second.
    pub(crate) rate_per_s: Option<u32>,
    /// Which events go first after an outage.
    pub(crate) order: DeliveryOrder,
}

/// What a plugin does wrong, as probabilities of each call unless noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginFaults {
    pub(crate) traps: f64,
    /// Of each event: the plugin traps on it whenever it sees it.
    pub(crate) poison: f64,
    pub(crate) retries: f64,
    pub(crate) slow: f64,
    pub(crate) floods: f64,
    pub(crate) refuses_start: f64,
    /// Of each message: larger than any broker takes.
    pub(crate) too_large: f64,
    /// It decides how to sign in, and refuses that with this probability.
    pub(crate) session: Option<f64>,
}

/// What a broker does wrong, as probabilities of each message unless noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokerFaults {
    /// Of each sign-in.
    pub(crate) refuses: f64,
    /// Of each sign-in: it takes up to 20 s.
    pub(crate) hangs: f64,
    /// Of each session: it acknowledges nothing.
    pub(crate) silent: f64,
    /// The mean time of a session.
    pub(crate) session: Option<Duration>,
    pub(crate) loses_acknowledgement: f64,
    pub(crate) delays_acknowledgement: f64,
    pub(crate) refuses_message: f64,
    /// Messages that may be in flight.
    pub(crate) window: usize,
}

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn of(random: &mut Random) -> Self {
        let devices = (0..random.number(1..4)).map(|index| DevicePlan::of(index, random)).collect();
        let mut feeds = vec![FeedPlan::neighbour()];
        feeds.extend((1..random.number(2..5)).map(|index| FeedPlan::of(index, random)));
        let interval = SyncPolicy::Interval(random.between(Duration::from_millis(50), Duration::from_secs(10)));
        Self {
            devices,
            feeds,
            sync: random.pick(&[interval, interval, SyncPolicy::EveryEvent]),
            length: random.between(SHORTEST, LONGEST),
            crash_every: random.between(Duration::from_secs(30), LONGEST),
            disturb_every: random.between(Duration::from_secs(2), Duration::from_secs(40)),
            clock_has_no_battery: random.chance(0.3),
        }
    }

    /// The order in which a feed delivers.
    pub(crate) fn expectation(feed: &FeedPlan) -> Expectation {
        match feed.order {
            _ if feed.is_neighbour() => Expectation::InTime,
            DeliveryOrder::InOrder => Expectation::InOrder,
            DeliveryOrder::LiveFirst { .. } => Expectation::AnyOrder,
        }
    }
}

impl DevicePlan {
    fn of(index: u64, random: &mut Random) -> Self {
        Self {
            name: format!("device-{index}"),
            period: Duration::from_secs(random.pick(&[1, 2, 5, 15, 60])),
            framing: random.pick(&[Framing::Tcp, Framing::Rtu]),
            slow_period: random.chance(0.3).then(|| Duration::from_secs(random.pick(&[10, 60]))),
            reduces: random.chance(0.3),
        }
    }
}

impl FeedPlan {
    /// The customer who does nothing wrong.
    fn neighbour() -> Self {
        let broker = BrokerFaults { window: 16, ..BrokerFaults::default() };
        Self {
            name: "neighbour".into(),
            plugin: PluginFaults::default(),
            broker,
            rate_per_s: None,
            order: DeliveryOrder::InOrder,
        }
    }

    fn is_neighbour(&self) -> bool {
        self.name == "neighbour"
    }

    /// Each fault with even odds, so that it also happens alone.
    fn of(index: u64, random: &mut Random) -> Self {
        let mut fault = |most: f64| if random.chance(0.3) { most * random.number(1..100) as f64 / 100.0 } else { 0.0 };
        let plugin = PluginFaults {
            traps: fault(0.2),
            poison: fault(0.02),
            retries: fault(0.3),
            slow: fault(0.5),
            floods: fault(0.05),
            refuses_start: fault(0.5),
            too_large: fault(0.02),
            session: None,
        };
        let broker = BrokerFaults {
            refuses: fault(0.8),
            hangs: fault(0.5),
            silent: fault(0.4),
            session: None,
            loses_acknowledgement: fault(0.05),
            delays_acknowledgement: fault(0.5),
            refuses_message: fault(0.02),
            window: 0,
        };
        let session = random.chance(0.4).then(|| random.between(Duration::from_secs(1), Duration::from_mins(2)));
        let broker = BrokerFaults { session, window: random.pick(&[1, 4, 16, 100]), ..broker };
        let plugin = PluginFaults { session: random.chance(0.3).then(|| random.pick(&[0.0, 0.2])), ..plugin };
        let rate_per_s = random.chance(0.2).then_some(20);
        let live_first = DeliveryOrder::LiveFirst { backlog_rate: random.chance(0.5).then_some(50) };
        let order = if random.chance(0.4) { live_first } else { DeliveryOrder::InOrder };
        Self { name: format!("feed-{index}"), plugin, broker, rate_per_s, order }
    }
}
