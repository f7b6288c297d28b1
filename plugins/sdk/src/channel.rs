//! Channels by name, looked up once in `configure`.

use crate::{FaultKind, Frame, Site};

/// Where a channel's values are: positions are per source, and change with the site's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelPosition {
    /// The index of the source.
    pub source: u32,
    /// The index of the channel among those of the source.
    pub index: u32,
}

impl Site {
    /// The first channel of this name, of any device.
    pub fn channel(&self, name: &str) -> Option<ChannelPosition> {
        self.find(|_| true, name)
    }

    /// The channel of this name of a device.
    pub fn channel_of(&self, device: &str, name: &str) -> Option<ChannelPosition> {
        self.find(|found| found == device, name)
    }

    fn find(&self, is_wanted: impl Fn(&str) -> bool, name: &str) -> Option<ChannelPosition> {
        let sources = (0..).zip(&self.sources).filter(|(_, source)| is_wanted(&source.device));
        sources.into_iter().find_map(|(source, described)| {
            let (index, _) = (0..).zip(&described.channels).find(|(_, channel)| channel.name == name)?;
            Some(ChannelPosition { source, index })
        })
    }
}

impl Frame {
    /// The channel's value, if this frame is of its source and has a good value: neither NaN nor with a fault.
    pub fn good_value(&self, channel: ChannelPosition) -> Option<f64> {
        if self.source != channel.source || self.faults.iter().any(|fault| fault.channel == channel.index) {
            return None;
        }
        self.values.get(usize::try_from(channel.index).ok()?).copied().filter(|value| !value.is_nan())
    }

    /// The value at this position in the source's channels, if it was read: a value outside the profile's range was, any
    /// other fault means that it was not.
    pub fn read_value(&self, channel: u32) -> Option<f64> {
        let unread = |kind| !matches!(kind, FaultKind::OutOfRange);
        if self.faults.iter().any(|fault| fault.channel == channel && unread(fault.kind)) {
            return None;
        }
        self.values.get(usize::try_from(channel).ok()?).copied().filter(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::site;
    use crate::{Fault, FaultKind};

    #[test]
    fn a_channel_is_found_by_name_and_read_by_position() {
        let battery = site("S").device("battery", &[("soc_pct", "%"), ("power_kw", "kW")]);
        let site = battery.device("meter", &[("power_kw", "kW")]).build();
        let power = site.channel("power_kw").unwrap();
        assert_eq!(power, ChannelPosition { source: 0, index: 1 });
        assert_eq!(site.channel_of("meter", "power_kw"), Some(ChannelPosition { source: 1, index: 0 }));
        assert_eq!((site.channel("voltage"), site.channel_of("meter", "soc_pct")), (None, None));
        let frame = |source, power, faults| Frame { source, values: vec![50.0, power], faults, texts: Vec::new() };
        assert_eq!(frame(0, 36.0, vec![]).good_value(power), Some(36.0));
        assert_eq!(frame(1, 36.0, vec![]).good_value(power), None);
        assert_eq!(frame(0, f64::NAN, vec![]).good_value(power), None);
        let fault = Fault { channel: 1, kind: FaultKind::OutOfRange };
        assert_eq!(frame(0, 36.0, vec![fault]).good_value(power), None);
    }
}
