//! `[limits]`: how much a feed's plugin may use.

use std::ops::RangeInclusive;
use std::time::Duration;

use bessai_domain::message::Qos;
use bessai_domain::settings::SettingsTable;

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
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            memory_bytes: DEFAULT_MEMORY_BYTES,
            call: DEFAULT_CALL,
            rate_per_s: None,
            qos: DEFAULT_QOS,
            max_age: None,
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
        rate_per_s: read_rate(table),
        qos: qos.unwrap_or(default.qos),
        max_age: table.duration("max_age", MAX_AGES),
    };
    table.report_unknown_keys();
    limits
}

fn read_rate(table: &SettingsTable<'_>) -> Option<u32> {
    let text = table.value("rate")?.as_str();
    let rate = text.and_then(|text| text.strip_suffix("/s")?.trim().parse().ok()).filter(|rate| *rate > 0);
    if rate.is_none() {
        table.add_mistake("rate", "write the messages per second, such as \"100/s\"");
    }
    rate
}
