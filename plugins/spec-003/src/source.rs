//! The positions of a battery's channels in a source.

use bessai_plugin::{Frame, Source as Described};

use crate::safety::Battery;

/// A source with everything that the specification requires.
pub(crate) struct Source {
    pub(crate) device: String,
    pub(crate) soc: u32,
    pub(crate) power: u32,
    pub(crate) temperature: u32,
    pub(crate) mode: Option<u32>,
    pub(crate) alarm: Option<u32>,
    pub(crate) voltage: Option<u32>,
    pub(crate) current: Option<u32>,
    pub(crate) cycles: Option<u32>,
}

impl Source {
    /// None if the source lacks a required channel: a meter's readings are no battery's telemetry.
    pub(crate) fn of(described: &Described) -> Option<Self> {
        let find = |names: &[&str]| {
            let mut channels = (0..).zip(&described.channels);
            channels.find(|(_, channel)| names.contains(&channel.name.as_str())).map(|(position, _)| position)
        };
        Some(Self {
            device: described.device.clone(),
            soc: find(&["soc_pct"])?,
            power: find(&["power_kw"])?,
            temperature: find(&["temp_c", "temperature_c"])?,
            mode: find(&["mode"]),
            alarm: find(&["alarm_code"]),
            voltage: find(&["voltage_v", "voltage"]),
            current: find(&["current_a", "current"]),
            cycles: find(&["cycle_count", "cycle_number"]),
        })
    }

    /// The state of charge and the temperature; none if one of them was not read or is outside the specification's range.
    pub(crate) fn battery(&self, frame: &Frame) -> Option<Battery> {
        let soc = frame.read_value(self.soc).filter(|soc| (0.0..=100.0).contains(soc))?;
        let temperature = frame.read_value(self.temperature).filter(|temp| (-40.0..=100.0).contains(temp))?;
        Some(Battery { soc, temperature })
    }
}
