//! The settings of `[config]`.

use bessai_plugin::{Config, Qos};

mod channels;
mod values;

pub(crate) use channels::{Aggregate, Selection};

use values::{chosen, duration, number_above_zero, texts};

/// What is published of which channels, where, and when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) topic: String,
    /// A template; without it `format` decides.
    pub(crate) payload: Option<String>,
    /// None if the payload is a template of any kind of text.
    pub(crate) format: Option<Format>,
    pub(crate) timestamp: TimestampForm,
    pub(crate) measurement: String,
    pub(crate) tags: Vec<(String, String)>,
    /// Whether a CSV payload begins with the names of its columns.
    pub(crate) header: bool,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) schedule: Schedule,
    /// Calculated of a window for each channel that does not say what is.
    pub(crate) aggregates: Vec<Aggregate>,
    /// The channels in their order; none for all.
    pub(crate) channels: Option<Vec<Selection>>,
    pub(crate) deadband: Option<f64>,
    pub(crate) swinging_door: Option<f64>,
    /// Nanoseconds after which a value is sent although it hardly changed.
    pub(crate) longest_silence: u64,
}

/// How a row becomes a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
    Influx,
}

/// How the time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimestampForm {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
    Rfc3339,
}

/// When a row is published; times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    EveryReading,
    /// At most one reading in this time.
    Throttled(u64),
    /// One row of aggregates for each window of this length.
    Windows(u64),
}

/// Without `topic`.
const TOPIC: &str = "{{ site }}/{{ device }}/readings";
/// Without `measurement`.
const MEASUREMENT: &str = "bessai";
/// Without `longest_silence`, in nanoseconds: a value that stands still is seen four times an hour.
const LONGEST_SILENCE: u64 = 900_000_000_000;

impl Settings {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let mut config = Config::read(json)?;
        let payload = config.text("payload")?;
        let format = chosen(&mut config, "format", &Format::NAMES)?;
        let format = format.or(if payload.is_some() { None } else { Some(Format::Json) });
        let timestamp = chosen(&mut config, "timestamp", &TimestampForm::NAMES)?;
        let every = duration(&mut config, "every")?;
        let window = duration(&mut config, "window")?;
        let aggregate = config.value("aggregate").map(|value| channels::aggregates("config.aggregate", &value));
        let aggregates = aggregate.transpose()?;
        let settings = Self {
            topic: config.text("topic")?.unwrap_or_else(|| TOPIC.into()),
            timestamp: timestamp.unwrap_or(TimestampForm::of(format)),
            measurement: config.text("measurement")?.unwrap_or_else(|| MEASUREMENT.into()),
            tags: texts(&mut config, "tags")?,
            header: config.boolean("header")?.unwrap_or(true),
            qos: chosen(&mut config, "qos", &[("0", Qos::AtMostOnce), ("1", Qos::AtLeastOnce)])?
                .unwrap_or(Qos::AtLeastOnce),
            retain: config.boolean("retain")?.unwrap_or(false),
            schedule: schedule(every, window, aggregates.is_some())?,
            aggregates: aggregates.unwrap_or_else(|| vec![Aggregate::Mean]),
            channels: config.value("channels").map(|value| channels::read(&value)).transpose()?,
            deadband: number_above_zero(&mut config, "deadband")?,
            swinging_door: number_above_zero(&mut config, "swinging_door")?,
            longest_silence: duration(&mut config, "longest_silence")?.unwrap_or(LONGEST_SILENCE),
            payload,
            format,
        };
        config.finish()?;
        settings.check()?;
        Ok(settings)
    }

    /// Refuses settings that exclude each other.
    fn check(&self) -> Result<(), String> {
        let channels = self.channels.as_deref().unwrap_or_default();
        let has_door = self.swinging_door.is_some() || channels.iter().any(|channel| channel.swinging_door.is_some());
        let has_deadband = self.deadband.is_some() || channels.iter().any(|channel| channel.deadband.is_some());
        let is_aggregated = matches!(self.schedule, Schedule::Windows(_));
        if self.format == Some(Format::Influx) && self.timestamp == TimestampForm::Rfc3339 {
            return Err(
                "config.timestamp is \"rfc3339\", which lines of InfluxDB do not have: write s, ms, us or ns".into()
            );
        }
        if self.deadband.is_some() && self.swinging_door.is_some() {
            return Err("config.deadband and config.swinging_door exclude each other: keep one of them".into());
        }
        if has_door && self.schedule != Schedule::EveryReading {
            return Err("swinging_door needs every reading: remove config.every and config.window".into());
        }
        if has_deadband && is_aggregated {
            return Err("deadband does not apply to windows: remove it, or config.window".into());
        }
        if let Some(channel) = channels.iter().find(|channel| channel.aggregates.is_some() && !is_aggregated) {
            return Err(format!("config.channels.{}.aggregate needs config.window: set it", channel.channel));
        }
        let door =
            |channel: &Selection| channel.swinging_door.or(self.swinging_door.filter(|_| channel.deadband.is_none()));
        let too_coarse = |channel: &&Selection| {
            let step = channel.decimals.map_or(0.0, |decimals| 0.5 * 10_f64.powi(-i32::from(decimals)));
            door(channel).or(channel.deadband).or(self.deadband).is_some_and(|bound| bound <= step)
        };
        match channels.iter().find(too_coarse) {
            Some(Selection { channel, .. }) => Err(format!(
                "config.channels.{channel}.decimals rounds by more than the error that is allowed: set more decimals"
            )),
            None => Ok(()),
        }
    }
}

impl Format {
    const NAMES: [(&str, Self); 3] = [("json", Self::Json), ("csv", Self::Csv), ("influx", Self::Influx)];
}

impl TimestampForm {
    const NAMES: [(&str, Self); 5] = [
        ("s", Self::Seconds),
        ("ms", Self::Milliseconds),
        ("us", Self::Microseconds),
        ("ns", Self::Nanoseconds),
        ("rfc3339", Self::Rfc3339),
    ];

    /// What readers of a format expect if nothing else is agreed.
    fn of(format: Option<Format>) -> Self {
        match format {
            Some(Format::Influx) => Self::Nanoseconds,
            Some(Format::Csv) => Self::Rfc3339,
            Some(Format::Json) | None => Self::Seconds,
        }
    }
}

fn schedule(every: Option<u64>, window: Option<u64>, has_aggregate: bool) -> Result<Schedule, String> {
    match (every, window) {
        (Some(_), Some(_)) => {
            Err("config.every and config.window exclude each other: a window is published once, when it ends".into())
        }
        (_, Some(window)) => Ok(Schedule::Windows(window)),
        _ if has_aggregate => Err("config.aggregate needs config.window: set it, such as \"1min\"".into()),
        (Some(every), None) => Ok(Schedule::Throttled(every)),
        (None, None) => Ok(Schedule::EveryReading),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults() {
        let settings = Settings::read("{}").unwrap();
        assert_eq!((settings.topic.as_str(), settings.format), (TOPIC, Some(Format::Json)));
        assert_eq!((settings.timestamp, settings.schedule), (TimestampForm::Seconds, Schedule::EveryReading));
        assert_eq!(Settings::read(r#"{"payload":"a"}"#).unwrap().format, None);
        assert_eq!(Settings::read(r#"{"format":"influx"}"#).unwrap().timestamp, TimestampForm::Nanoseconds);
        let window = Settings::read(r#"{"window":"1min","aggregate":["min","max"],"qos":0}"#).unwrap();
        assert_eq!((window.schedule, window.qos), (Schedule::Windows(60_000_000_000), Qos::AtMostOnce));
        assert_eq!(window.aggregates, [Aggregate::Min, Aggregate::Max]);
    }

    #[test]
    fn each_mistake_is_one_sentence() {
        let check = |json: &str, expected: &str| assert_eq!(Settings::read(json).unwrap_err(), expected, "{json}");
        check(r#"{"format":"xml"}"#, "config.format is \"xml\": write json or csv or influx");
        check(r#"{"format":1}"#, "config.format is 1: write json or csv or influx");
        check(r#"{"qos":2}"#, "config.qos is 2: write 0 or 1");
        check(r#"{"every":"5"}"#, "config.every is \"5\": write a time such as \"10s\", \"5min\" or \"1h\"");
        check(r#"{"every":10}"#, "config.every is 10: write a time such as \"10s\", \"5min\" or \"1h\"");
        check(r#"{"every":"0s"}"#, "config.every is \"0s\": write a time such as \"10s\", \"5min\" or \"1h\"");
        check(
            r#"{"every":"1s","window":"1s"}"#,
            "config.every and config.window exclude each other: a window is published once, when it ends",
        );
        check(r#"{"aggregate":"mean"}"#, "config.aggregate needs config.window: set it, such as \"1min\"");
        check(
            r#"{"window":"1s","aggregate":"median"}"#,
            "config.aggregate is \"median\": write min or max or mean or last or integral",
        );
        check(r#"{"deadband":-1}"#, "config.deadband is -1: write a number above 0");
        check(
            r#"{"deadband":1,"swinging_door":1}"#,
            "config.deadband and config.swinging_door exclude each other: keep one of them",
        );
        check(
            r#"{"swinging_door":1,"every":"1s"}"#,
            "swinging_door needs every reading: remove config.every and config.window",
        );
        check(r#"{"deadband":1,"window":"1s"}"#, "deadband does not apply to windows: remove it, or config.window");
        check(
            r#"{"channels":3}"#,
            "config.channels is neither a table nor a list: write [\"soc_pct\"] or { soc_pct = \"soc\" }",
        );
        check(r#"{"channels":{"a":{"aggregate":"min"}}}"#, "config.channels.a.aggregate needs config.window: set it");
        check(
            r#"{"channels":{"a":{"nam":"b"}}}"#,
            "config.channels.a.nam is unknown: write name or unit or factor or offset or decimals or integer or aggregate or deadband or swinging_door",
        );
        check(
            r#"{"channels":["a","a"]}"#,
            "config.channels publishes two values as \"a\": give one of them another name",
        );
        check(
            r#"{"channels":{"a":{"unit":"W","factor":2}}}"#,
            "config.channels.a has unit and factor: keep one of them",
        );
        check(
            r#"{"channels":{"a":{"decimals":20}}}"#,
            "config.channels.a.decimals is 20: write a whole number from 0 to 15",
        );
        check(r#"{"tags":{"a":1}}"#, "config.tags.a is not a text: put it in quotes");
        check(
            r#"{"channels":{"a":{"decimals":0,"deadband":0.5}}}"#,
            "config.channels.a.decimals rounds by more than the error that is allowed: set more decimals",
        );
    }
}
