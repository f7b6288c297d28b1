//! The state of a polled device: its sources, whether it answers, and what was discovered about it.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::device::MissingPoints;
use bessai_domain::event::{DeviceStatus, Frame};
use bessai_domain::outage::{Reminders, outage_text};
use bessai_domain::profile::Profile;
use bessai_domain::sunspec::DeviceDescription;
use tokio::time::Instant;

use crate::DeviceSettings;
use crate::chain_watch::ChainWatch;
use crate::connection::BusConnection;
use crate::discovery::HoldingReads;
use crate::request::BusError;
use crate::source::SourceState;

/// Shortest time for which polling a silent unit is suspended if others share its bus; doubles up to [`MAX_SUSPENSION`].
const MIN_SUSPENSION: Duration = Duration::from_secs(1);
/// Longest time for which polling a silent unit is suspended.
const MAX_SUSPENSION: Duration = Duration::from_secs(60);
/// Least time between two discoveries of a device that comes and goes.
const MIN_REDISCOVERY_INTERVAL: Duration = Duration::from_secs(5);
/// Time after which a device that is not a SunSpec device is discovered again: SunSpec may have been switched on.
const NOT_SUNSPEC_RETRY: Duration = Duration::from_secs(5);
/// An outage up to this long is not mentioned when it is over.
const SHORT_OUTAGE: Duration = Duration::from_mins(1);

pub(crate) struct PolledDevice {
    pub(crate) settings: DeviceSettings,
    sources: Vec<SourceState>,
    /// The last reported status; none before the first report.
    online: Option<bool>,
    /// The points without values that it named.
    reported_missing: String,
    /// While it is not online.
    outage: Option<Outage>,
    suspension: Option<Suspension>,
    last_discovery: Option<LastDiscovery>,
    /// The chain of models of a SunSpec device that was discovered.
    pub(crate) chain: Option<ChainWatch>,
}

#[derive(Clone, Copy)]
struct Suspension {
    until: Instant,
    pause: Duration,
}

struct Outage {
    since: Instant,
    reminders: Reminders,
    last_error: String,
}

struct LastDiscovery {
    at: Instant,
    /// The connection's generation.
    generation: u64,
}

impl PolledDevice {
    pub(crate) fn new(settings: DeviceSettings) -> Self {
        let sources = settings.sources.iter().map(|source| SourceState::new(source.clone(), &settings)).collect();
        let reported_missing = String::new();
        let (online, outage, suspension) = (None, None, None);
        Self { settings, sources, online, reported_missing, outage, suspension, last_discovery: None, chain: None }
    }

    /// Whether its points must be discovered: they have not been yet, or the device may have been replaced since.
    pub(crate) fn needs_discovery(&self, connection: &BusConnection) -> bool {
        let is_outdated = |last: &LastDiscovery| {
            let refuses_all = self.sources.iter().any(|source| source.plan.is_fully_refused());
            let has_changed = self.chain.as_ref().is_some_and(ChainWatch::has_changed);
            (refuses_all || has_changed || !connection.is_open() || last.generation != connection.generation())
                && last.at.elapsed() >= MIN_REDISCOVERY_INTERVAL
        };
        self.settings.profile.is_discovered && self.last_discovery.as_ref().is_none_or(is_outdated)
    }

    /// Plans to read what was discovered. Returns the discovered profile, if it has changed.
    pub(crate) fn apply_discovery(
        &mut self,
        found: &DeviceDescription,
        connection: &BusConnection,
    ) -> Option<Arc<Profile>> {
        self.last_discovery = Some(LastDiscovery { at: Instant::now(), generation: connection.generation() });
        self.chain = Some(ChainWatch::new(found, self.settings.read_limits.registers));
        let sunspec_base = self.settings.profile.sunspec_base;
        let mut profile = found.profile(self.settings.models.as_deref());
        profile.sunspec_base = sunspec_base;
        if profile == *self.settings.profile {
            return None;
        }
        let (device, models, points) = (&self.settings.name, found.models.len(), profile.points.len());
        tracing::info!(
            %device,
            "discovered {} {}: {models} SunSpec models, {points} points",
            profile.manufacturer,
            profile.model
        );
        profile.corrections.iter().chain(&found.note).for_each(|note| tracing::warn!(%device, "{note}"));
        self.settings.profile = Arc::new(profile);
        self.sources = self.sources.iter().map(|state| state.replaced(&self.settings)).collect();
        Some(Arc::clone(&self.settings.profile))
    }

    /// Suspends a device that replies, but not as a SunSpec device.
    pub(crate) fn suspend_until_rediscovery(&mut self, reason: String) -> BusError {
        self.suspend(NOT_SUNSPEC_RETRY);
        BusError::NoReply(reason)
    }

    fn suspend(&mut self, pause: Duration) {
        self.suspension = Some(Suspension { until: Instant::now() + pause, pause });
    }

    /// How its holding registers are read for a discovery.
    pub(crate) fn holding_reads(&self) -> HoldingReads {
        let DeviceSettings { unit, read_limits, timeout, .. } = self.settings;
        HoldingReads { unit, max_registers: read_limits.registers, timeout }
    }

    /// Whether the device has lately answered another source that is read at least as often as this one.
    pub(crate) fn answers_others(&self, source: usize) -> bool {
        let Some(period) = self.sources.get(source).map(|state| state.settings.period) else { return false };
        let mut others = self.sources.iter().enumerate().filter(|(index, _)| *index != source);
        others.any(|(_, state)| !state.is_empty && state.settings.period <= period)
    }

    /// The points of a source without values, if they have changed.
    pub(crate) fn take_missing(&mut self, source: usize) -> Option<MissingPoints> {
        self.sources.get_mut(source)?.missing.take_report()
    }

    pub(crate) fn sources(&self) -> &[SourceState] {
        &self.sources
    }

    pub(crate) fn source(&mut self, index: usize) -> Option<(&DeviceSettings, &mut SourceState)> {
        Some((&self.settings, self.sources.get_mut(index)?))
    }

    /// Why it must not be polled now.
    pub(crate) fn suspension_error(&self, now: Instant) -> Option<BusError> {
        let suspension = self.suspension.filter(|suspension| now < suspension.until)?;
        let (unit, pause) = (self.settings.unit.0, suspension.pause);
        Some(BusError::Postponed(format!("polling of unit {unit} is suspended for {pause:?} after an error")))
    }

    /// Its name and why it cannot be read, while it is offline.
    pub(crate) fn failure(&self) -> Option<(String, String)> {
        let outage = self.outage.as_ref().filter(|_| self.online == Some(false))?;
        Some((self.settings.name.clone(), outage.last_error.clone()))
    }

    /// `has_replied`: the device has replied in this cycle.
    fn offline_reason(&self, error: Option<&BusError>, has_replied: bool) -> String {
        match error {
            Some(error) => error.reason().to_owned(),
            None if !self.has_points() => "the profile has no point to read".to_owned(),
            None => {
                let what = if has_replied { "answers, but refuses every point" } else { "does not answer" };
                match self.sources.iter().filter_map(|source| source.missing.status()).find(|text| !text.is_empty()) {
                    Some(missing) => format!("{what}: {missing}"),
                    None => what.to_owned(),
                }
            }
        }
    }

    /// Records the outcome of a cycle. Returns the device's status, if it has changed, after logging it.
    pub(crate) fn record_cycle(
        &mut self,
        source: usize,
        frame: &Frame,
        error: Option<&BusError>,
        connection: &BusConnection,
        shares_bus: bool,
    ) -> Option<DeviceStatus> {
        // A source without points sends no request, such as the device's own if all points of the profile are slow ones.
        if error.is_none() && frame.values.is_empty() && self.has_points() {
            return None;
        }
        if let Some(state) = self.sources.get_mut(source) {
            state.record_values(frame);
        }
        self.update_suspension(frame, error, shares_bus);
        let online = match error {
            Some(_) => !frame.is_empty(),
            None => self.sources.iter().any(|source| !source.is_empty),
        };
        let has_replied = self.sources.get(source).is_some_and(|state| state.has_replied);
        self.update_status(online, error, has_replied, connection)
    }

    fn update_suspension(&mut self, frame: &Frame, error: Option<&BusError>, shares_bus: bool) {
        match error {
            // A cycle skipped because of the suspension is no new evidence.
            Some(_) if self.suspension_error(Instant::now()).is_some() => {}
            Some(BusError::NoReply(_) | BusError::Broken(_)) if shares_bus && frame.is_empty() => {
                let last = self.suspension.map(|suspension| suspension.pause);
                let pause = last.map_or(MIN_SUSPENSION, |pause| (pause * 2).min(MAX_SUSPENSION));
                let (device, unit) = (&self.settings.name, self.settings.unit.0);
                tracing::debug!(%device, "polling of unit {unit} is suspended for {pause:?}, as others share its bus");
                self.suspend(pause);
            }
            // Some requests were answered: the bus is unreliable, but the unit is there.
            Some(_) if !frame.is_empty() => self.suspension = None,
            Some(_) => {}
            None => self.suspension = None,
        }
    }

    fn has_points(&self) -> bool {
        self.sources.iter().any(|source| source.plan.channel_count() > 0)
    }

    fn update_status(
        &mut self,
        online: bool,
        error: Option<&BusError>,
        has_replied: bool,
        connection: &BusConnection,
    ) -> Option<DeviceStatus> {
        if online && self.online == Some(true) {
            return self.update_missing();
        }
        let detail = if online { "answers".to_owned() } else { self.offline_reason(error, has_replied) };
        if self.online == Some(online) {
            // A cycle that was postponed says nothing new, nor does one without a request: all points wait for their retry.
            let is_news = match error {
                Some(error) => !matches!(error, BusError::Postponed(_)),
                None => has_replied,
            };
            let detail = is_news.then_some(detail);
            self.remind(detail, connection);
            return None;
        }
        let (device, address) = (self.settings.name.clone(), connection.address());
        if online {
            match self.outage.take().map(|outage| outage.since.elapsed()).filter(|lasted| *lasted > SHORT_OUTAGE) {
                Some(lasted) => tracing::info!(%device, "{address} answers after {}", outage_text(lasted)),
                None => tracing::info!(%device, "{address} answers"),
            }
        } else {
            let (since, reminders) = (Instant::now(), Reminders::default());
            self.outage = Some(Outage { since, reminders, last_error: detail.clone() });
            // On a failed connection nothing is known about the unit id.
            let unit_is_silent = connection.is_open() || matches!(error, Some(BusError::NoReply(_)));
            let hint = if unit_is_silent { self.unit_hint() } else { String::new() };
            tracing::warn!(%device, "{address} cannot be read: {detail}; retrying{hint}");
        }
        self.online = Some(online);
        self.reported_missing.clear();
        let with_missing = if online { self.update_missing() } else { None };
        Some(with_missing.unwrap_or(DeviceStatus { device, online, detail }))
    }

    /// The status of a device that answers, if it has other points without values than the last reported one.
    fn update_missing(&mut self) -> Option<DeviceStatus> {
        if self.reported_missing.is_empty() && self.sources.iter().all(|state| state.missing.is_empty()) {
            return None;
        }
        let texts: Option<Vec<&str>> = self.sources.iter().map(|state| state.missing.status()).collect();
        // While a search is under way, it is not certain which points are.
        let missing = texts?.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        if missing == self.reported_missing {
            return None;
        }
        let detail = if missing.is_empty() { "answers".to_owned() } else { format!("answers, but not {missing}") };
        self.reported_missing = missing;
        Some(DeviceStatus { device: self.settings.name.clone(), online: true, detail })
    }

    /// Logs that an outage lasts, from time to time. `detail`: its newest error.
    fn remind(&mut self, detail: Option<String>, connection: &BusConnection) {
        let Some(outage) = &mut self.outage else { return };
        if let Some(detail) = detail {
            outage.last_error = detail;
        }
        let lasted = outage.since.elapsed();
        if outage.reminders.is_due(lasted) {
            let (device, address, last_error) = (&self.settings.name, connection.address(), &outage.last_error);
            let lasted = outage_text(lasted);
            tracing::warn!(%device, "{address} has had no reading for {lasted}; last error: {last_error}; retrying");
        }
    }

    /// Names the manufacturer's unit id, if none is configured and the default one is silent.
    fn unit_hint(&self) -> String {
        let (polled, model) = (self.settings.unit, &self.settings.profile.model);
        match self.settings.profile.usual_unit {
            Some(usual) if !self.settings.unit_is_configured && usual != polled => format!(
                "; polled unit {}, but {model} is shipped as unit {}: set MODBUS_UNIT_ID={}",
                polled.0, usual.0, usual.0
            ),
            _ => String::new(),
        }
    }
}
