//! `inputs` of a manifest.

use std::fmt;

use bessai_domain::settings::{Mistake, Mistakes, SettingsTable};
use bessai_domain::site::channel;

use super::{SIGNS, Sign};

/// The most values of one input: more than a day of samples, one a minute.
const MAX_WINDOW: usize = 4096;
/// What an input may be, for mistakes.
const HINT: &str =
    "list the model's inputs in its order: names such as \"soc_pct\", or tables such as { channel = \"soc_pct\" }";

/// Where an input's values come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum InputSource {
    /// A channel of a device; of the model's device if none is named.
    Channel { device: Option<String>, channel: String },
    /// The local time.
    Clock(ClockInput),
    /// Always the same.
    Constant(f64),
    /// Seconds since the model's last sample.
    Interval,
    /// What the requests of the reading met.
    Exchange(ExchangeInput),
}

/// A figure of the requests of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeInput {
    /// The shortest reply time, ms.
    ReplyTime,
    Requests,
    Failed,
    Writes,
    Irregular,
}

/// What of the local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockInput {
    /// The whole hour, 0 to 23.
    Hour,
    /// The sine of the time of day, one period a day, 0 at midnight.
    HourSine,
    /// Its cosine, 1 at midnight.
    HourCosine,
    /// The part of the day that is over, 0 to 1.
    DayFraction,
    /// 0 for Monday to 6.
    Weekday,
}

/// An input of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) source: InputSource,
    /// The tensor that it is part of; the model's first if none is named.
    pub(crate) tensor: Option<String>,
    /// The channel's unit, if it is to be checked.
    pub(crate) unit: Option<String>,
    /// Which direction is positive for the model; the value is negated for charge.
    pub(crate) sign: Sign,
    /// The model gets value × scale + offset.
    pub(crate) scale: f64,
    pub(crate) offset: f64,
    /// The number of samples, oldest first.
    pub(crate) window: usize,
}

/// The name of the input that is the time between two samples.
const INTERVAL: &str = "interval_s";
/// The names of the inputs that come from the requests.
const EXCHANGE: [(&str, ExchangeInput); 5] = [
    ("exchange_reply_ms", ExchangeInput::ReplyTime),
    ("exchange_requests", ExchangeInput::Requests),
    ("exchange_failed", ExchangeInput::Failed),
    ("exchange_writes", ExchangeInput::Writes),
    ("exchange_irregular", ExchangeInput::Irregular),
];
/// The names of the inputs that come from the clock.
const CLOCK: [(&str, ClockInput); 5] = [
    ("hour_of_day", ClockInput::Hour),
    ("hour_sin", ClockInput::HourSine),
    ("hour_cos", ClockInput::HourCosine),
    ("day_fraction", ClockInput::DayFraction),
    ("weekday", ClockInput::Weekday),
];

/// The inputs of a model without a manifest.
const STANDARD: [&str; 4] = [channel::SOC, channel::POWER, channel::TEMPERATURE, "hour_of_day"];

/// Reads `inputs`; `power` is the sign of inputs that have none of their own.
pub(super) fn read(reader: &SettingsTable<'_>, power: Sign) -> Vec<Input> {
    let Some(value) = reader.value("inputs") else {
        return STANDARD.iter().map(|name| Input::named(name, power)).collect();
    };
    let listed = value.as_array().filter(|listed| !listed.is_empty());
    let is_input = |value: &toml::Value| value.is_str() || value.is_table();
    let Some(listed) = listed.filter(|listed| listed.iter().all(is_input)) else {
        reader.add_mistake("inputs", HINT);
        return Vec::new();
    };
    let read = |(index, value): (usize, &toml::Value)| match (value.as_str(), value.as_table()) {
        (Some(name), _) => Some(Input::named(name, power)),
        (None, Some(table)) => Some(Input::read(&format!("inputs[{index}]"), table, reader.mistakes(), power)),
        (None, None) => None,
    };
    listed.iter().enumerate().filter_map(read).collect()
}

impl Input {
    fn named(name: &str, power: Sign) -> Self {
        let clock = CLOCK.iter().find(|(known, _)| *known == name).map(|&(_, clock)| InputSource::Clock(clock));
        let exchange = || EXCHANGE.iter().find(|(known, _)| *known == name).map(|&(_, one)| InputSource::Exchange(one));
        let interval = || (name == INTERVAL).then_some(InputSource::Interval);
        let channel = || InputSource::Channel { device: None, channel: name.to_owned() };
        let source = clock.or_else(exchange).or_else(interval).unwrap_or_else(channel);
        // `input_power` is about the battery's power only: other channels have no direction, or one of their own.
        let sign = if name == channel::POWER { power } else { Sign::Discharge };
        Self { source, tensor: None, unit: None, sign, scale: 1.0, offset: 0.0, window: 1 }
    }

    fn read(path: &str, table: &toml::Table, mistakes: &Mistakes, power: Sign) -> Self {
        let reader = SettingsTable::new(path, table, mistakes);
        let (channel, constant) = (reader.text("channel"), reader.number("constant"));
        let mut input = Self::named(channel.unwrap_or_default(), power);
        match (channel, constant) {
            (None, Some(constant)) => input.source = InputSource::Constant(constant),
            (Some(_), None) => {}
            (Some(_), Some(_)) => reader.add_mistake("channel", "name either a channel or a constant"),
            (None, None) => {
                let hint = "name either a channel or a constant";
                mistakes.add(Mistake::without_value(reader.key("channel"), hint));
            }
        }
        let named_device = reader.text("device").map(str::to_owned);
        if let InputSource::Channel { device, .. } = &mut input.source {
            *device = named_device;
        } else if named_device.is_some() {
            reader.add_mistake("device", "only a channel belongs to a device; remove it");
        }
        input.tensor = reader.text("tensor").map(str::to_owned);
        input.unit = reader.text("unit").map(str::to_owned);
        input.sign = reader.choice("positive", &SIGNS).unwrap_or(input.sign);
        input.scale = reader.number("scale").unwrap_or(1.0);
        if input.scale == 0.0 {
            reader.add_mistake("scale", "write a number other than 0");
        }
        input.offset = reader.number("offset").unwrap_or_default();
        input.window = reader.integer("window", 1..=MAX_WINDOW).unwrap_or(1);
        reader.report_unknown_keys();
        input
    }

    /// What the model gets for a value.
    pub(crate) fn scaled(&self, value: f64) -> f64 {
        self.sign.to_discharge(value) * self.scale + self.offset
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            InputSource::Channel { device: Some(device), channel } => write!(f, "{device}/{channel}"),
            InputSource::Channel { device: None, channel } => f.write_str(channel),
            InputSource::Clock(clock) => {
                f.write_str(CLOCK.iter().find(|(_, known)| known == clock).map_or("", |(name, _)| name))
            }
            InputSource::Constant(constant) => write!(f, "{constant}"),
            InputSource::Interval => f.write_str(INTERVAL),
            InputSource::Exchange(exchange) => {
                f.write_str(EXCHANGE.iter().find(|(_, known)| known == exchange).map_or("", |(name, _)| name))
            }
        }
    }
}
