//! `[limits]`: how much a feed's plugin may use.

use std::ops::RangeInclusive;
use std::time::Duration;

use bessai_domain::broker_limits::BrokerLimits;
use bessai_domain::message::Qos;
use bessai_domain::settings::{Mistake, Mistakes, SettingsTable};
use bessai_feed::ProcessorShare;

use super::findings::Findings;
use super::rate;
use super::size::{self, MIB};

/// `memory` if it is not set: language runtimes need this much.
const DEFAULT_MEMORY_BYTES: u64 = 64 * MIB;
/// `memory`: from 1 MiB to the 4 GiB that a 32-bit component can address.
const MEMORY_BYTES: RangeInclusive<u64> = MIB..=4096 * MIB;
/// `call` if it is not set.
const DEFAULT_CALL: Duration = Duration::from_millis(500);
/// `call`: the times that can be configured.
const CALLS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(1);
/// `qos` if it is not set.
const DEFAULT_QOS: Qos = Qos::AtLeastOnce;
/// The values of `qos`, from 0.
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
/// `max_age`: from a second to ten years.
const MAX_AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 3650);

/// `quarantine_size` if it is not set: more than a thousand files of an ordinary feed have.
const DEFAULT_QUARANTINE_BYTES: u64 = 64 * MIB;
/// `quarantine_size`: the largest message fits into the smallest quarantine.
const QUARANTINE_BYTES: RangeInclusive<u64> = 8 * MIB..=4096 * MIB;
/// `processor` in percent of a core; more than one is never used.
const PROCESSOR_PERCENT: RangeInclusive<u32> = 1..=100;

/// How much a feed's plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeedLimits {
    /// Its linear memory.
    pub(crate) memory_bytes: u64,
    /// The time for one call.
    pub(crate) call: Duration,
    /// Messages per second; none means any number.
    pub(crate) rate_per_s: Option<u32>,
    /// The highest quality of service; a higher one is lowered to it.
    pub(crate) qos: Qos,
    /// The age above which events are skipped.
    pub(crate) max_age: Option<Duration>,
    /// The share of a core that its calls may use.
    pub(crate) processor: ProcessorShare,
    /// The most bytes of its quarantine.
    pub(crate) quarantine_bytes: u64,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            memory_bytes: DEFAULT_MEMORY_BYTES,
            call: DEFAULT_CALL,
            rate_per_s: None,
            qos: DEFAULT_QOS,
            max_age: None,
            processor: ProcessorShare::default(),
            quarantine_bytes: DEFAULT_QUARANTINE_BYTES,
        }
    }
}

/// Reads the section; what is not set keeps its default.
pub(super) fn read(table: &SettingsTable<'_>) -> FeedLimits {
    let default = FeedLimits::default();
    let memory = size::read(table, "memory", MEMORY_BYTES);
    let qos = table.integer("qos", 0..=2_u8).and_then(|qos| QOS.get(usize::from(qos)).copied());
    let limits = FeedLimits {
        memory_bytes: memory.unwrap_or(default.memory_bytes),
        call: table.duration("call", CALLS).unwrap_or(default.call),
        rate_per_s: rate::read(table, "rate"),
        qos: qos.unwrap_or(default.qos),
        max_age: table.duration("max_age", MAX_AGES),
        processor: read_processor(table).unwrap_or(default.processor),
        quarantine_bytes: size::read(table, "quarantine_size", QUARANTINE_BYTES).unwrap_or(default.quarantine_bytes),
    };
    table.report_unknown_keys();
    limits
}

/// Finds limits of a feed, whose settings are in `key`, that a broker of this kind does not accept.
pub(super) fn check(limits: &FeedLimits, broker: &BrokerLimits, key: &str, mistakes: &Mistakes, findings: &Findings) {
    let name = broker.name;
    if limits.qos > broker.max_qos {
        let (qos, most) = (limits.qos.level(), broker.max_qos.level());
        let hint = format!("{name} accepts QoS {most} at most; write {most}");
        mistakes.add(Mistake::new(format!("{key}.qos"), qos, hint));
    }
    if let (Some(rate), Some(most)) = (limits.rate_per_s, broker.paced_per_s())
        && rate > most
    {
        let accepted = broker.rate_per_s.unwrap_or(most);
        findings.warn(format!(
            "{key}.rate: {name} takes {accepted} messages/s, so no more than {most}/s are sent; write \"{most}/s\" or less"
        ));
    }
}

fn read_processor(table: &SettingsTable<'_>) -> Option<ProcessorShare> {
    let text = table.value("processor")?.as_str();
    let percent = text.and_then(|text| text.strip_suffix('%')?.trim().parse().ok());
    let percent = percent.filter(|percent| PROCESSOR_PERCENT.contains(percent));
    if percent.is_none() {
        let (min, max) = (PROCESSOR_PERCENT.start(), PROCESSOR_PERCENT.end());
        table.add_mistake("processor", format!("write the share of a core from {min}% to {max}%, such as \"25%\""));
    }
    percent.map(ProcessorShare::percent)
}
