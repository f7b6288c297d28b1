//! Units that are not polled and did not reply: each further request would delay the polled ones by a timeout.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::register::UnitId;
use bessai_domain::relay::{Exception, RelayError};
use tokio::time::Instant;

/// Shortest time for which a unit without a reply is not asked again; doubles each time up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest time for which a unit without a reply is not asked again.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Pauses by unit.
#[derive(Default)]
pub(super) struct SilentUnits {
    units: BTreeMap<UnitId, Silence>,
}

struct Silence {
    until: Instant,
    pause: Duration,
}

impl SilentUnits {
    /// Fails while a unit is not to be asked.
    pub(super) fn check(&self, unit: UnitId, now: Instant) -> Result<(), RelayError> {
        match self.units.get(&unit).map(|silence| silence.until.saturating_duration_since(now)) {
            Some(rest) if !rest.is_zero() => {
                let reason = format!("unit {} did not reply and is asked again in {rest:.1?}", unit.0);
                Err(RelayError::new(Exception::NO_REPLY, reason))
            }
            _ => Ok(()),
        }
    }

    /// The unit did not reply.
    pub(super) fn add(&mut self, unit: UnitId, now: Instant) {
        let known = self.units.get(&unit);
        let pause = known.map_or(MIN_PAUSE, |silence| (silence.pause * 2).min(MAX_PAUSE));
        self.units.insert(unit, Silence { until: now + pause, pause });
    }

    /// The unit replied.
    pub(super) fn remove(&mut self, unit: UnitId) {
        self.units.remove(&unit);
    }
}
