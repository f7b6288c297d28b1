//! The inputs of a model at a site: where each is found in the frames, its newest values, and the values of a run.

use std::collections::VecDeque;
use std::time::Duration;

use bessai_domain::event::Frame;
use bessai_domain::exchange::Exchange;
use bessai_domain::site::{Site, channel};
use bessai_domain::time::{Moment, MonotonicTime};

use crate::LocalTime;
use crate::manifest::{ClockInput, ExchangeInput, InputSource, Manifest};

/// Values of other sources than that which triggers a run are used up to this age, or three of their periods.
const LONGEST_AGE: Duration = Duration::from_secs(30);
/// Periods of a source after which its values are too old, if that is longer.
const LONGEST_AGE_PERIODS: u32 = 3;
/// Seconds of an hour.
const HOUR_S: f64 = 3600.0;
/// Seconds of a day.
const DAY_S: f64 = 86_400.0;

/// Why a model does not run at a site.
pub(crate) enum NotBound {
    /// The channels of a device are not discovered yet.
    DeviceUnknown(String),
    /// The manifest does not fit the site.
    Invalid(String),
}

/// Why there are no values for a run.
pub(crate) enum NoInputs {
    /// An input has no good value.
    Missing(String),
    /// An input was sampled, and its window is not full yet.
    TooFew(String),
}

/// Where an input is found.
struct Place {
    source: u32,
    channel: usize,
    longest_age: Duration,
}

/// An input, its place in the frames, its newest good value, and its samples if it has a window.
struct BoundInput {
    place: Option<Place>,
    newest: Option<(MonotonicTime, f64)>,
    samples: VecDeque<f64>,
}

/// The inputs of a model at a site.
pub(crate) struct Binding {
    pub(crate) device: String,
    /// The source whose frames trigger a run.
    pub(crate) trigger: u32,
    /// The time between two frames of that source.
    pub(crate) period: Duration,
    /// The battery's power, from which set-points ramp.
    power: Option<usize>,
    power_kw: Option<f64>,
    /// What the requests of the newest frame of that source met.
    exchange: Exchange,
    /// When the inputs were last sampled.
    sampled: Option<MonotonicTime>,
    inputs: Vec<BoundInput>,
}

impl Binding {
    /// Finds the inputs at a site. `device` is that of the settings.
    pub(crate) fn new(manifest: &Manifest, device: Option<&str>, site: &Site) -> Result<Self, NotBound> {
        let wanted = device.or(manifest.device.as_deref());
        let device = match wanted {
            Some(device) => device,
            None => site
                .devices
                .first()
                .map(|device| device.name.as_str())
                .ok_or_else(|| NotBound::Invalid("the site has no device".into()))?,
        };
        known(site, device)?;
        let mut inputs = Vec::with_capacity(manifest.inputs.len());
        for (index, input) in manifest.inputs.iter().enumerate() {
            let place = match &input.source {
                InputSource::Channel { device: own, channel } => {
                    let place = place(site, own.as_deref().unwrap_or(device), channel, input.unit.as_deref());
                    Some(place.map_err(|not_bound| not_bound.at(index))?)
                }
                InputSource::Clock(_) | InputSource::Constant(_) => None,
                InputSource::Interval | InputSource::Exchange(_) => None,
            };
            inputs.push(BoundInput { place, newest: None, samples: VecDeque::with_capacity(input.window) });
        }
        let own_sources: Vec<u32> =
            (0..).zip(&site.sources).filter(|(_, source)| source.device == device).map(|(index, _)| index).collect();
        let of_input = inputs.iter().filter_map(|input| input.place.as_ref()).map(|place| place.source);
        let trigger =
            of_input.into_iter().find(|source| own_sources.contains(source)).or_else(|| own_sources.first().copied());
        let trigger = trigger.ok_or_else(|| NotBound::Invalid(format!("device {device} is not read")))?;
        let read_every = usize::try_from(trigger).ok().and_then(|trigger| site.sources.get(trigger));
        let period = read_every.map_or(Duration::ZERO, |source| source.period);
        let power = place(site, device, channel::POWER, None).ok().filter(|place| place.source == trigger);
        Ok(Self {
            device: device.to_owned(),
            trigger,
            period,
            power: power.map(|place| place.channel),
            power_kw: None,
            exchange: Exchange::default(),
            sampled: None,
            inputs,
        })
    }

    /// Takes the newest values out of a frame.
    pub(crate) fn record(&mut self, at: Moment, frame: &Frame, exchange: &Exchange) {
        if frame.source == self.trigger {
            self.exchange = *exchange;
            self.power_kw = self.power.and_then(|power| frame.good(power));
        }
        for input in &mut self.inputs {
            if let Some(place) = input.place.as_ref().filter(|place| place.source == frame.source) {
                input.newest = frame.good(place.channel).map(|value| (at.monotonic, value));
            }
        }
    }

    /// The battery's power in the frame that triggered the run, + = discharge.
    pub(crate) fn power_kw(&self) -> Option<f64> {
        self.power_kw
    }

    /// What the requests of the frame that triggered the run met.
    pub(crate) fn exchange(&self) -> Exchange {
        self.exchange
    }

    /// Samples every input and returns the values of a run. No input is sampled unless each has a value, so that the samples of
    /// one run belong together.
    pub(crate) fn sample(
        &mut self,
        manifest: &Manifest,
        at: Moment,
        local: LocalTime,
    ) -> Result<Vec<Vec<f64>>, NoInputs> {
        let mut values = Vec::with_capacity(self.inputs.len());
        let mut missing = None;
        let before = self.sampled.replace(at.monotonic);
        let interval_s = before.map(|before| at.monotonic.since(before).as_secs_f64());
        let exchange = self.exchange;
        for (input, bound) in manifest.inputs.iter().zip(&mut self.inputs) {
            let value = match &input.source {
                InputSource::Constant(constant) => Some(*constant),
                InputSource::Clock(clock) => Some(clock.value(local)),
                InputSource::Interval => interval_s,
                InputSource::Exchange(figure) => figure.value(&exchange),
                InputSource::Channel { .. } => bound.young(at.monotonic),
            };
            match value {
                Some(value) => values.push(input.scaled(value)),
                None => {
                    // Samples before and after a gap do not follow each other.
                    bound.samples.clear();
                    missing.get_or_insert_with(|| format!("{input} has no good value"));
                }
            }
        }
        if let Some(missing) = missing {
            return Err(NoInputs::Missing(missing));
        }
        let mut too_few = None;
        for ((input, bound), value) in manifest.inputs.iter().zip(&mut self.inputs).zip(values) {
            if bound.samples.len() >= input.window {
                bound.samples.pop_front();
            }
            bound.samples.push_back(value);
            if bound.samples.len() < input.window {
                too_few
                    .get_or_insert_with(|| format!("{input} has {} of {} samples", bound.samples.len(), input.window));
            }
        }
        match too_few {
            None => Ok(self.inputs.iter().map(|input| input.samples.iter().copied().collect()).collect()),
            Some(too_few) => Err(NoInputs::TooFew(too_few)),
        }
    }
}

impl BoundInput {
    fn young(&self, now: MonotonicTime) -> Option<f64> {
        let longest = self.place.as_ref()?.longest_age;
        self.newest.filter(|(at, _)| now.since(*at) <= longest).map(|(_, value)| value)
    }
}

impl NotBound {
    fn at(self, index: usize) -> Self {
        match self {
            Self::Invalid(reason) => Self::Invalid(format!("inputs[{index}]: {reason}")),
            unknown @ Self::DeviceUnknown(_) => unknown,
        }
    }
}

impl ExchangeInput {
    /// None if nothing was answered in time to be measured.
    fn value(self, exchange: &Exchange) -> Option<f64> {
        Some(match self {
            Self::ReplyTime => return exchange.reply_ms,
            Self::Requests => exchange.requests.into(),
            Self::Failed => exchange.failed.into(),
            Self::Writes => exchange.writes.into(),
            Self::Irregular => exchange.irregular.into(),
        })
    }
}

impl ClockInput {
    fn value(self, local: LocalTime) -> f64 {
        let seconds = f64::from(local.second_of_day);
        let angle = seconds / DAY_S * std::f64::consts::TAU;
        match self {
            Self::Hour => (seconds / HOUR_S).floor(),
            Self::HourSine => angle.sin(),
            Self::HourCosine => angle.cos(),
            Self::DayFraction => seconds / DAY_S,
            Self::Weekday => f64::from(local.weekday),
        }
    }
}

/// Whether the site has a device and knows its channels.
fn known(site: &Site, device: &str) -> Result<(), NotBound> {
    let mut sources = site.sources.iter().filter(|source| source.device == device).peekable();
    if sources.peek().is_none() {
        return Err(NotBound::Invalid(format!("the site has no device {device:?}")));
    }
    if sources.all(|source| source.channels.is_empty()) {
        return Err(NotBound::DeviceUnknown(device.to_owned()));
    }
    Ok(())
}

fn place(site: &Site, device: &str, channel: &str, unit: Option<&str>) -> Result<Place, NotBound> {
    known(site, device)?;
    for (source, description) in (0..).zip(&site.sources).filter(|(_, source)| source.device == device) {
        let Some(index) = description.channels.iter().position(|known| known.name == channel) else { continue };
        let found = description.channels.get(index).map(|channel| channel.unit.as_str());
        if let Some(unit) = unit.filter(|unit| Some(*unit) != found) {
            let found = found.unwrap_or_default();
            return Err(NotBound::Invalid(format!(
                "unit = {unit:?}: channel {channel} of device {device} is in {found:?}"
            )));
        }
        let longest_age = LONGEST_AGE.max(description.period.saturating_mul(LONGEST_AGE_PERIODS));
        return Ok(Place { source, channel: index, longest_age });
    }
    Err(NotBound::Invalid(format!("device {device} has no channel {channel}")))
}
