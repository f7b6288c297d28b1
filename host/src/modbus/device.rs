//! What is known of one device: its plans, whether it answers, what it was already said to lack.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{DeviceStatus, Frame};
use bessai_domain::plan::Plan;
use bessai_domain::profile::Profile;
use bessai_domain::sunspec::Found;
use tokio::time::Instant;

use super::connection::{Connection, Trouble};
use super::{Settings, Source};

/// A unit that does not answer is left alone for this long, where others wait for the same line; doubles up to
/// [`SILENT_MAX`].
const SILENT_MIN: Duration = Duration::from_secs(1);
/// The longest that it is left alone.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// A point that the device refused is asked for again after this, doubling up to
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);
/// this, where it never had it: it may have been updated; or up to
const FORGIVEN_AFTER_MAX: Duration = Duration::from_hours(1);
/// this, where it once had it, or has no point at all: it is not ready, or has a fault that ends.
const RETURNS_AFTER_MAX: Duration = Duration::from_secs(60);
/// What else was learnt from refusals, how much the device gives at once and what must not be bridged, is forgotten after
/// this: a fault may have taught it.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);
/// A device is asked what it has at most so often, when it was gone in between.
const REDISCOVERED_AFTER: Duration = Duration::from_secs(5);
/// A device that is no SunSpec device is asked again after this: it may have been switched over.
const UNDESCRIBED_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Device {
    pub(super) settings: Settings,
    sources: Vec<SourceState>,
    online: Option<bool>,
    silent: Option<Silence>,
    discovery: Option<Discovered>,
}

/// When a device was asked what it has.
struct Discovered {
    at: Instant,
    connection: u64,
}

/// A source's plan and what came of it.
pub(super) struct SourceState {
    pub(super) settings: Source,
    pub(super) plan: Plan,
    /// The connection that it was last read on.
    connection: u64,
    /// Channels whose refusal was said.
    refused: Vec<usize>,
    /// Channels that never had a value so far.
    unseen: BTreeSet<usize>,
    last_refusal: Instant,
    patience: Duration,
    longest_patience: Duration,
    forgotten: Instant,
    brought_nothing: bool,
}

#[derive(Clone, Copy)]
struct Silence {
    until: Instant,
    pause: Duration,
}

impl Device {
    pub(super) fn new(settings: Settings) -> Self {
        let sources = settings.sources.iter().map(|source| SourceState::new(source.clone(), &settings)).collect();
        Self { settings, sources, online: None, silent: None, discovery: None }
    }

    /// Whether it tells its points itself and is to be asked for them: at first, and when it may have become another since.
    pub(super) fn is_to_be_discovered(&self, connection: &Connection) -> bool {
        let is_old = |discovered: &Discovered| {
            let is_refused = self.sources.iter().any(|source| source.plan.is_refused());
            (is_refused || !connection.is_open() || discovered.connection != connection.opened())
                && discovered.at.elapsed() >= REDISCOVERED_AFTER
        };
        self.settings.profile.is_discovered && self.discovery.as_ref().is_none_or(is_old)
    }

    /// Reads what was found from now on. Gives it, if that is new.
    pub(super) fn discovered(&mut self, found: &Found, connection: &Connection) -> Option<Arc<Profile>> {
        self.discovery = Some(Discovered { at: Instant::now(), connection: connection.opened() });
        let profile = found.profile(self.settings.models.as_deref());
        if profile == *self.settings.profile {
            return None;
        }
        let (device, models, points) = (&self.settings.name, found.models.len(), profile.points.len());
        tracing::info!(%device, "{} {}: {models} SunSpec models, {points} points", profile.manufacturer, profile.model);
        profile.mended.iter().for_each(|note| tracing::warn!(%device, "{note}"));
        self.settings.profile = Arc::new(profile);
        let sources = self.sources.iter().map(|state| SourceState::new(state.settings.clone(), &self.settings));
        self.sources = sources.collect();
        Some(Arc::clone(&self.settings.profile))
    }

    /// It answers, but not as a SunSpec device: it is asked again after a while.
    pub(super) fn undescribed(&mut self, reason: String) -> Trouble {
        let pause = UNDESCRIBED_PAUSE;
        self.silent = Some(Silence { until: Instant::now() + pause, pause });
        Trouble::Silent(reason)
    }

    pub(super) fn sources(&self) -> &[SourceState] {
        &self.sources
    }

    pub(super) fn source(&mut self, index: usize) -> Option<(&Settings, &mut SourceState)> {
        Some((&self.settings, self.sources.get_mut(index)?))
    }

    /// Why it is not to be asked now.
    pub(super) fn left_alone(&self, now: Instant) -> Option<Trouble> {
        let silence = self.silent.filter(|silence| now < silence.until)?;
        let unit = self.settings.unit.0;
        Some(Trouble::Silent(format!("unit {unit} did not answer and is left alone for {:?}", silence.pause)))
    }

    /// Takes note of a cycle; gives the change of its state, with its line in the log.
    pub(super) fn read(
        &mut self,
        source: usize,
        frame: &Frame,
        trouble: Option<&Trouble>,
        connection: &Connection,
        shares_line: bool,
    ) -> Option<DeviceStatus> {
        // A source without points, such as that of a profile whose points are all read slowly, asks for nothing.
        if trouble.is_none() && frame.values.is_empty() && self.has_points() {
            return None;
        }
        if let Some(state) = self.sources.get_mut(source) {
            state.brought_nothing = frame.is_empty();
            state.note_values(frame);
        }
        match trouble {
            // A cycle that was left out says nothing new.
            Some(_) if self.left_alone(Instant::now()).is_some() => {}
            Some(Trouble::Silent(_) | Trouble::Broken(_)) if shares_line && frame.is_empty() => {
                let pause = self.silent.map_or(SILENT_MIN, |silence| (silence.pause * 2).min(SILENT_MAX));
                self.silent = Some(Silence { until: Instant::now() + pause, pause });
            }
            // Part of a cycle came: the line is bad, not the unit gone.
            Some(_) if !frame.is_empty() => self.silent = None,
            Some(_) => {}
            None => self.silent = None,
        }
        let online = match trouble {
            Some(_) => !frame.is_empty(),
            None => self.sources.iter().any(|source| !source.brought_nothing),
        };
        self.status(online, trouble, connection)
    }

    fn has_points(&self) -> bool {
        self.sources.iter().any(|source| source.plan.channel_count() > 0)
    }

    fn status(&mut self, online: bool, trouble: Option<&Trouble>, connection: &Connection) -> Option<DeviceStatus> {
        if self.online == Some(online) {
            return None;
        }
        let (device, address) = (self.settings.name.clone(), connection.address());
        let detail = match trouble {
            Some(trouble) if !online => trouble.reason().to_owned(),
            _ if online => "answers".to_owned(),
            _ if !self.has_points() => "there is no point to read".to_owned(),
            _ => "answers, but refuses every point".to_owned(),
        };
        if online {
            tracing::info!(%device, "{address} answers");
        } else {
            // Only a connection that stands can tell a silent unit from an absent device.
            let unit_is_silent = connection.is_open() || matches!(trouble, Some(Trouble::Silent(_)));
            let hint = if unit_is_silent { self.unit_hint() } else { String::new() };
            tracing::warn!(%device, "{address} is not read: {detail}{hint}");
        }
        self.online = Some(online);
        Some(DeviceStatus { device, online, detail })
    }

    /// Names the maker's unit id when nobody chose one and the default is silent.
    fn unit_hint(&self) -> String {
        let asked = self.settings.unit;
        match self.settings.profile.usual_unit {
            Some(usual) if !self.settings.unit_was_given && usual != asked => format!(
                "; unit {} was asked, the maker ships {} as unit {}: set MODBUS_UNIT_ID={}",
                asked.0, self.settings.profile.model, usual.0, usual.0
            ),
            _ => String::new(),
        }
    }
}

impl SourceState {
    fn new(source: Source, device: &Settings) -> Self {
        let plan = device.profile.plan(source.name.as_deref(), device.unit, device.blocks);
        let now = Instant::now();
        Self {
            settings: source,
            unseen: (0..plan.channel_count()).collect(),
            plan,
            connection: 0,
            refused: Vec::new(),
            last_refusal: now,
            patience: FORGIVEN_AFTER,
            longest_patience: FORGIVEN_AFTER_MAX,
            forgotten: now,
            brought_nothing: true,
        }
    }

    /// Asks again for what the device did not have, when it may have it now: on a new connection, and from time to time.
    pub(super) fn renew(&mut self, connection: &Connection) {
        if self.forgotten.elapsed() >= FORGOTTEN_AFTER {
            self.forgotten = Instant::now();
            self.plan.forget();
        }
        let is_new = std::mem::replace(&mut self.connection, connection.opened()) != connection.opened();
        if self.last_refusal.elapsed() < if is_new { FORGIVEN_AFTER } else { self.patience } {
            return;
        }
        let longest = if self.plan.is_refused() { RETURNS_AFTER_MAX } else { self.longest_patience };
        self.patience = if self.plan.forgive() { (self.patience * 2).min(longest) } else { FORGIVEN_AFTER };
        self.last_refusal = Instant::now();
    }

    fn note_values(&mut self, frame: &Frame) {
        let has_text = |channel: usize| frame.texts.iter().any(|text| usize::try_from(text.channel) == Ok(channel));
        self.unseen
            .retain(|&channel| frame.values.get(channel).is_none_or(|value| value.is_nan()) && !has_text(channel));
    }

    /// A point that the device does not have is said once, not in every cycle.
    pub(super) fn note_refusal(&mut self, settings: &Settings, channels: Vec<usize>, reason: &str) {
        let device = &settings.name;
        self.last_refusal = Instant::now();
        let once_had = channels.iter().any(|channel| !self.unseen.contains(channel));
        self.longest_patience = if once_had { RETURNS_AFTER_MAX } else { FORGIVEN_AFTER_MAX };
        for channel in channels {
            if self.refused.contains(&channel) {
                continue;
            }
            self.refused.push(channel);
            let point = settings.profile.source(self.settings.name.as_deref()).nth(channel);
            let (point, address) = point.map_or(("", 0), |point| (point.name.as_str(), point.address));
            tracing::warn!(%device, point, address, "the device refuses to read {point} at {address}: {reason}");
        }
    }
}
